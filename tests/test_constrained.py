"""Constraints evaluated: once a point, by the framework's derivatives, and the best feasible point as the answer.

What does not depend on the framework is tested in NumPy; the rest in every backend that is installed.
"""

import math

import numpy as np
import pytest

from dmin_core import InputError, LinearConstraint, NonlinearConstraint, ObjectiveError, backends, get_backend, minimize
from dmin_core._constrained import ConstrainedProblem, feasibility_tolerance
from dmin_core._constraints import read_constraints
from dmin_core._tree import Tree
from dmin_core.solvers import able

pytestmark = pytest.mark.numpy

METHODS = able("constraints")
USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
EXACT = [name for name in USABLE if get_backend(name).exact_gradient]
SCIPY_MULTIPLIERS = "SciPy's SLSQP reports multipliers since 1.16"


def has_multipliers(method):
    import scipy

    return method == "trust-constr" or tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 16)


# Over a nest: min (a - 2)² + |b|², subject to a b0 = 1, a + b1 <= 1.5 (linear), b >= 0.25.


class Posed:
    """One problem in one backend, which counts its calls."""

    def __init__(self, backend, dtype="float64"):
        self.host = get_backend(backend)
        self.xp = self.host.namespace(self.host.from_numpy(np.zeros(1), None))
        self.calls = {"fun": 0, "constraint": 0}
        self.x0 = {"a": self.array(1.0, dtype), "b": self.array([1.0, 0.5], dtype)}

    def array(self, values, dtype="float64"):
        return self.host.from_numpy(np.array(values, dtype=dtype), None)

    def fun(self, p):
        self.calls["fun"] += 1
        return (p["a"] - 2.0) ** 2 + self.xp.sum(p["b"] ** 2)

    def constraint(self, p):
        self.calls["constraint"] += 1
        return {"product": p["a"] * p["b"][0], "free": [p["b"]]}

    @property
    def constraints(self):
        return [
            NonlinearConstraint(self.constraint, {"product": 1.0, "free": None}, {"product": 1.0, "free": None}),
            LinearConstraint({"a": np.ones(1), "b": np.array([[0.0, 1.0]])}, None, 1.5),
        ]

    def solve(self, method, **named):
        named = {"bounds": {"b": (0.25, None)}, "constraints": self.constraints, **named}
        return minimize(self.fun, self.x0, method=method, **named)

    def host_of(self, leaf):
        return np.asarray(self.host.to_numpy(leaf), dtype=float)


A, B = 1.25, np.array([0.8, 0.25])
# Stationarity: 2(a - 2) + λ b0 + μ = 0, 2 b0 + λ a = 0, 2 b1 + μ + ζ = 0.
PRODUCT = -2 * B[0] / A
SUM = -2 * (A - 2) - PRODUCT * B[0]
BOUND = -2 * B[1] - SUM


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", USABLE)
def test_every_method_finds_the_answer_and_says_what_holds_it(backend, method):
    posed = Posed(backend)
    result = posed.solve(method, options={"tol": 1e-7} if method == "COBYLA" else {})
    np.testing.assert_allclose(posed.host_of(result.x["a"]), A, atol=1e-4 if method == "COBYLA" else 1e-5)
    np.testing.assert_allclose(posed.host_of(result.x["b"]), B, atol=1e-4 if method == "COBYLA" else 1e-5)
    assert result.maxcv <= 1e-6
    assert posed.host_of(result.constr[0]["product"]) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_array_equal(posed.host_of(result.constr[0]["free"][0]), posed.host_of(result.x["b"]))
    np.testing.assert_allclose(posed.host_of(result.constr[1]), [1.5], atol=1e-5)
    assert type(result.constr[1]) is type(result.x["a"])
    assert list(result.active["bounds"]) == ["x0['b']"]
    np.testing.assert_array_equal(result.active["bounds"]["x0['b']"], [0, -1])
    assert list(result.active["constraints"]) == ["constraints[0]['product']", "constraints[1]"]
    assert result.active["constraints"]["constraints[0]['product']"] == 2
    np.testing.assert_array_equal(result.active["constraints"]["constraints[1]"], [1])


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
@pytest.mark.parametrize("backend", USABLE)
def test_multipliers_have_one_sign(backend, method):
    if not has_multipliers(method):
        pytest.skip(SCIPY_MULTIPLIERS)
    posed = Posed(backend)
    result = posed.solve(method, options={"ftol": 1e-12} if method == "SLSQP" else {})
    assert posed.host_of(result.multipliers[0]["product"]) == pytest.approx(PRODUCT, abs=1e-4)
    np.testing.assert_allclose(posed.host_of(result.multipliers[0]["free"][0]), 0.0, atol=1e-4)
    np.testing.assert_allclose(posed.host_of(result.multipliers[1]), [SUM], atol=1e-4)
    if method == "trust-constr":
        np.testing.assert_allclose(posed.host_of(result.bound_multipliers["a"]), 0.0, atol=1e-4)
        np.testing.assert_allclose(posed.host_of(result.bound_multipliers["b"]), [0.0, BOUND], atol=1e-4)


@pytest.mark.parametrize("method", ["COBYLA", "COBYQA"])
def test_methods_without_multipliers_report_none(method):
    assert "multipliers" not in Posed("numpy").solve(method)


# One evaluation a point -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", USABLE)
def test_the_objective_is_not_evaluated_more_for_the_constraints(backend, method):
    """Nor are they where it is not: values and Jacobian are computed once at each of its points."""
    posed = Posed(backend)
    result = posed.solve(method, compile=False if posed.host.compiles else None)
    differences = 3 * result.ncjev if "gradient" in able_of(method) and not posed.host.exact_gradient else 0
    assert result.ncev - differences <= len(result.history) + 1
    products = result.nchev + result.nhev
    # JAX has to make sense of a product without compiling it: twice.
    assert result.ncev <= posed.calls["constraint"] <= result.ncev + 2 * products
    if "gradient" in able_of(method):
        assert result.ncjev == result.ncev or differences
    else:
        assert result.ncjev == 0


def able_of(method):
    return {ability for ability in ("gradient",) if method in able(ability)}


@pytest.mark.parametrize("backend", [name for name in EXACT if get_backend(name).compiles])
def test_they_are_compiled_once_for_all_runs(backend):
    posed = Posed(backend)
    posed.solve("trust-constr")
    assert posed.calls["constraint"] <= 6  # traced: value and Jacobian, product
    before = dict(posed.calls)
    result = posed.solve("trust-constr")
    assert posed.calls == before
    assert result.constr[0]["free"][0].shape == (2,)


@pytest.mark.parametrize("backend", EXACT)
def test_args_may_change_how_much_is_returned(backend):
    posed = Posed(backend)

    def scaled(p, factors):
        return factors * p["a"]

    for factors in ([1.0, 2.0], [1.0, 2.0, 4.0], [1.0, 2.0]):
        given = {"type": "ineq", "fun": scaled, "args": (posed.array(factors),)}
        constr = posed.solve("SLSQP", constraints=given, bounds=None).constr
        np.testing.assert_allclose(posed.host_of(constr[0]), 2.0 * np.array(factors), atol=1e-5)


@pytest.mark.parametrize("backend", EXACT)
def test_args_of_a_dict_are_inputs(backend):
    posed = Posed(backend)
    found = []
    for limit in (0.5, 1.0):
        given = {"type": "ineq", "fun": lambda p, limit: limit - p["a"], "args": (posed.array(limit),)}
        found.append(posed.host_of(posed.solve("SLSQP", constraints=given, bounds=None).x["a"]))
    np.testing.assert_allclose(found, [0.5, 1.0], atol=1e-6)


@pytest.mark.parametrize("backend", EXACT)
def test_derivatives_are_the_frameworks(backend):
    """Jacobian, and Hessian of v · c along p, against those by hand, whatever else is mixed with them."""
    posed = Posed(backend)
    given = [
        NonlinearConstraint(posed.constraint, -1.0, 1.0),
        LinearConstraint({"a": np.ones(1), "b": np.array([[0.0, 1.0]])}, None, 1.5),
        NonlinearConstraint(lambda p: p["a"] ** 3, 0, 9, jac="3-point"),
    ]
    problem = problem_of(posed, given)
    x, v, p = np.array([1.5, 2.0, 3.0]), np.array([1.0, -1.0, 2.0, 7.0, 0.0]), np.array([1.0, 2.0, 3.0])
    # The nest's order: "free" before "product".
    expected = [[0, 1, 0], [0, 0, 1], [2.0, 1.5, 0], [1, 0, 1], [3 * 1.5**2, 0, 0]]
    np.testing.assert_allclose(problem.constraint_values(x), [2.0, 3.0, 3.0, 4.5, 1.5**3])
    np.testing.assert_allclose(problem.constraint_jacobian(x), expected, rtol=1e-8)
    np.testing.assert_array_equal(problem.has_product, [True, True, True, True, False])
    np.testing.assert_allclose(problem.constraint_product(x, v, p), [4.0, 2.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(problem.constraint_product(x, 3 * v, p), [12.0, 6.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("backend", EXACT)
def test_a_constant_among_the_values_has_no_slope(backend):
    posed = Posed(backend)
    problem = problem_of(posed, NonlinearConstraint(lambda p: [p["a"], 3.0], 0, 9))
    np.testing.assert_allclose(problem.constraint_jacobian(problem.x0), [[1, 0, 0], [0, 0, 0]])


def problem_of(posed, given, **named):
    tree = Tree(posed.x0, posed.host)
    constraints = read_constraints(given, posed.x0, tree)
    problem = ConstrainedProblem(
        tree,
        posed.fun,
        tree.pack_x0(),
        constraints=constraints,
        tolerance=1e-8,
        uses_gradient=True,
        compile=None,
        **named,
    )
    problem.begin()
    return problem


@pytest.mark.parametrize("backend", USABLE)
def test_float32_leaves_have_float32s_tolerance(backend):
    posed = Posed(backend, "float32")
    for method in METHODS:
        result = posed.solve(method)
        assert posed.host_of(result.x["a"]) == pytest.approx(A, abs=5e-3), method
        assert result.maxcv <= 1e-4, method
        assert "float32" in str(result.x["a"].dtype)


@pytest.mark.parametrize("backend", [name for name in USABLE if get_backend(name).compiles])
def test_a_constraint_that_cannot_be_compiled_is_named(backend):
    posed = Posed(backend)

    def decides(p):
        return p["a"] if p["a"] > 0 else p["b"]

    fine = NonlinearConstraint(lambda p: p["a"], 0, 9)
    with pytest.raises(ObjectiveError, match=r"^`fun` of constraints\[0\] or constraints\[1\] cannot be "):
        posed.solve("SLSQP", constraints=[fine, NonlinearConstraint(decides, 0, 9)])
    result = posed.solve("SLSQP", constraints=[fine, NonlinearConstraint(decides, 0, 9)], compile=False)
    assert result.success


# The best point -------------------------------------------------------------------------------------------


def visited(points, values, limits=(0.0, 1.0), tolerance=1e-3, x=None, success=False):
    """The answer after evaluations at ``points``, which are their own constraint, with these values."""
    answers = iter(values)
    tree = Tree(np.zeros(1), get_backend("numpy"))
    problem = ConstrainedProblem(
        tree,
        lambda p: next(answers),
        np.array([float(points[0])]),
        constraints=read_constraints(NonlinearConstraint(lambda p: p, *limits), np.zeros(1), tree),
        tolerance=tolerance,
        uses_gradient=False,
        compile=None,
    )
    problem.begin()
    for point in points:
        problem.value(np.array([float(point)]))
    return problem.settle(None if x is None else np.array([float(x)]), success), problem


@pytest.mark.parametrize(
    ("points", "values", "expected"),
    [
        ([0.5, 0.7, 0.6], [3.0, 1.0, 2.0], 0.7),
        ([0.5, 1.1, 0.6], [3.0, 1.0, 2.0], 0.6),  # feasible before lower
        ([1.5, 1.1, 1.3], [1.0, 3.0, 2.0], 1.1),  # the least violation where nothing is feasible
        ([1.0, 1.0005], [1.0, 0.5], 1.0005),  # within the tolerance
        ([0.5, 0.7], [1.0, math.nan], 0.5),
        ([1.5, 0.7], [1.0, math.inf], 1.5),
    ],
)
def test_the_answer_is_the_best_feasible_point(points, values, expected):
    assert visited(points, values)[0].x == expected


def test_a_method_that_converged_is_not_outdone_by_a_larger_violation():
    """Within the tolerance a value may always be lowered by violating more."""
    points, values = [1.0009, 1.0], [0.9, 1.0]
    assert visited(points, values, x=1.0, success=True)[0].x == 1.0
    assert visited(points, values, x=1.0, success=False)[0].x == 1.0009
    assert visited(points, [1.0 - 1e-7, 1.0], x=1.0, success=False)[0].x == 1.0


def test_a_better_point_on_the_way_is_the_answer_even_so():
    assert visited([0.5, 0.7], [0.9, 1.0], x=0.7, success=True)[0].x == 0.5


def test_looking_at_feasibility_costs_no_evaluation_of_the_objective():
    _, problem = visited([0.5, 1.5, 0.25], [1.0, 2.0, 3.0])
    assert (problem.nfev, problem.ncev) == (3, 3)


def asked(*constraints, start=1.0):
    """The problem of one variable with these constraints, once its value and gradient have been asked for."""
    tree, x = Tree(np.zeros(1), get_backend("numpy")), np.array([start])
    read = read_constraints(constraints, np.zeros(1), tree)
    problem = ConstrainedProblem(
        tree, lambda p: p[0] ** 3, x, constraints=read, tolerance=1e-6, uses_gradient=True, compile=None
    )
    problem.begin()
    problem.value(x)
    problem.gradient(x)
    return problem, x


def test_where_differences_become_central_those_of_the_constraints_do_so_too():
    """Unless their step was asked for; and at the point that is known already."""
    free, chosen = NonlinearConstraint(lambda p: p**3, 0, 9), NonlinearConstraint(lambda p: p**3, 0, 9)
    chosen.finite_diff_rel_step = 1e-5
    problem, x = asked(free, chosen)
    forward = problem.constraint_jacobian(x)[:, 0] - 3.0
    assert (np.abs(forward) > 1e-9).all()
    assert problem.refine_differences()
    central = problem.constraint_jacobian(x)[:, 0] - 3.0
    assert abs(central[0]) < 0.1 * abs(forward[0])
    assert central[1] == forward[1]


def test_a_value_that_is_not_finite_is_told_as_one_that_violates_its_limits_by_more_than_any():
    """The others beside it as they are. Rows without a limit on one side violate that on the other."""
    rows = (np.array([each, 5.0, each, each]) for each in (1.0, math.nan, math.inf))
    problem, x = asked(NonlinearConstraint(lambda p: next(rows), [0.0, 0.0, -np.inf, 2.0], [np.inf, 1.0, 3.0, 2.0]))
    np.testing.assert_array_equal(problem.constraint_values(x), [1.0, 5.0, 1.0, 1.0])
    for step in (0.1, 0.2):
        told = problem.constraint_values(x + step)
        assert told[1] == 5.0
        assert told[0] <= -10.0 * 4.0
        assert 3.0 + 10.0 * 4.0 <= told[2] < math.inf
        assert 10.0 * 4.0 <= abs(told[3] - 2.0) < math.inf
    np.testing.assert_array_equal(problem.violations(np.array([math.nan, 0.5, -math.inf, 3.0])), [np.inf, 0, np.inf, 1])


def test_a_row_of_a_jacobian_that_is_not_finite_is_told_as_it_last_was():
    rows = iter([[math.nan], [2.0], [math.inf]])
    problem, x = asked(NonlinearConstraint(lambda p: p, 0, 9, jac=lambda p: np.array([next(rows)])))
    told = [problem.constraint_jacobian(x + step).tolist() for step in (0.0, 0.1, 0.2)]
    assert told == [[[0.0]], [[2.0]], [[2.0]]]
    assert problem.failures.count == 2


def test_a_constraint_that_is_not_finite_is_violated():
    calls = iter([1.0, math.nan, 1.0])
    result = minimize(
        lambda x: np.sum(x**2),
        np.ones(1),
        method="COBYLA",
        constraints=NonlinearConstraint(lambda p: next(calls), 0, 2),
        options={"maxfun": 2},
    )
    assert result.x == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_stopped_returns_the_best_it_has(method):
    result = Posed("numpy").solve(method, options={"maxfun": 3})
    assert (result.nfev, result.success) == (3, False)
    assert result.maxcv is not None
    assert len(result.constr) == 2


def test_maxtime_holds_while_constraints_are_differenced(monkeypatch):
    import time

    def slow(p):
        time.sleep(0.05)
        return p["b"]

    result = Posed("numpy").solve(
        "SLSQP", constraints=NonlinearConstraint(slow, 0.3, None), options={"maxtime": 0.12}, bounds=None
    )
    assert "maxtime" in result.message
    assert result.ncev <= 4


@pytest.mark.parametrize(
    ("method", "tol", "options", "expected"),
    [
        ("SLSQP", None, {}, 1e-6),
        ("SLSQP", 1e-4, {}, 1e-4),
        ("SLSQP", 1e-4, {"ftol": 1e-9}, 1e-9),
        ("trust-constr", None, {"gtol": 1e-5}, 1e-5),
        ("trust-constr", 1e-3, {}, 1e-3),
        ("COBYLA", 1e-2, {}, 1e-6),
        ("COBYLA", None, {"catol": 1e-4}, 1e-4),
        ("COBYQA", None, {"feasibility_tol": 1e-6}, 1e-6),
        ("another's", None, {"catol": 1e-2}, 1e-2),
        ("another's", None, {}, 1e-8),
    ],
)
def test_the_tolerance_is_the_methods_own(method, tol, options, expected):
    assert feasibility_tolerance(method, tol, options) == expected


# With the rest of minimize --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_replays_the_constraints(method, tmp_path):
    posed = Posed("numpy")
    first = posed.solve(method, checkpoint=tmp_path / "run")
    before = dict(posed.calls)
    again = posed.solve(method, checkpoint=tmp_path / "run")
    assert again.fun == first.fun
    np.testing.assert_array_equal(again.x["b"], first.x["b"])
    assert posed.calls["fun"] == before["fun"]
    assert posed.calls["constraint"] == before["constraint"]
    # Nor does another process call it, to which the function is a new one.
    posed.constraint = lambda p: Posed.constraint(posed, p)
    posed.constraint.__qualname__ = "Posed.constraint"
    posed.solve(method, checkpoint=tmp_path / "run")
    assert posed.calls["constraint"] == before["constraint"]


def test_a_checkpoint_of_other_constraints_is_refused(tmp_path):
    from dmin_core import CheckpointError

    posed = Posed("numpy")
    posed.solve("SLSQP", checkpoint=tmp_path / "run")
    others = [posed.constraints[0], LinearConstraint({"a": np.ones(1), "b": None}, None, 1.5)]
    with pytest.raises(CheckpointError, match=r"constraints\[1\], matrix was"):
        posed.solve("SLSQP", constraints=others, checkpoint=tmp_path / "run")


@pytest.mark.parametrize("method", METHODS)
def test_callbacks_and_stopping_work(method):
    seen = []

    def callback(x):
        seen.append(x["b"])
        raise StopIteration

    result = Posed("numpy").solve(method, callback=callback)
    assert len(seen) == 1
    assert (result.status, result.success) == (99, False)


def test_a_leaf_that_only_a_constraint_depends_on_is_no_fault():
    result = minimize(
        lambda p: np.sum(p["a"] ** 2),
        {"a": np.ones(1), "b": np.ones(1)},
        constraints=NonlinearConstraint(lambda p: p["a"] - p["b"], 0, 0),
    )
    np.testing.assert_allclose(result.x["b"], 0.0, atol=1e-6)


def test_a_limit_that_the_shape_does_not_fit_is_an_input_error():
    with pytest.raises(InputError, match="does not broadcast"):
        Posed("numpy").solve("SLSQP", constraints=NonlinearConstraint(lambda p: p["b"], np.zeros(3), None))


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("method", METHODS)
def test_frozen_leaves_are_seen_by_every_kind_of_constraint(backend, method):
    posed = Posed(backend)
    x0 = {**posed.x0, "shift": posed.array([1.0, 2.0])}
    constraints = [
        NonlinearConstraint(lambda p: p["a"] - p["shift"][1], 0.0, 0.0),
        LinearConstraint({"a": None, "b": np.array([[1.0, 1.0]]), "shift": np.array([[1.0, 0.0]])}, 3.0, 3.0),
    ]
    result = minimize(posed.fun, x0, method=method, frozen="shift", constraints=constraints)
    assert posed.host_of(result.x["a"]) == pytest.approx(2.0, abs=1e-5)
    # SciPy's COBYLA alone stops as far away along the line that the equations leave.
    np.testing.assert_allclose(posed.host_of(result.x["b"]), 1.0, atol=0.2 if method == "COBYLA" else 1e-4)
    np.testing.assert_allclose(posed.host_of(result.constr[1]), 3.0, atol=1e-5)
    assert result.x["shift"] is x0["shift"]


def test_a_matrix_may_have_columns_for_frozen_leaves_too():
    x0 = {"a": np.array(1.0), "b": np.zeros(2)}
    for columns in ([[1.0, 1.0, 1.0]], [[1.0, 1.0]]):
        rows = LinearConstraint(np.array(columns), 4.0, 4.0)
        result = minimize(lambda p: np.sum(p["b"] ** 2), x0, frozen="a", constraints=rows)
        np.testing.assert_allclose(result.x["b"], (4.0 - (len(columns[0]) == 3)) / 2, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("limit", "held"), [(1.0, True), (0.0, False)])
def test_fixed_variables_are_a_success_where_the_constraints_hold(method, limit, held):
    constraint = NonlinearConstraint(lambda x: x, None, limit)
    result = minimize(lambda x: np.sum(x), np.ones(2), bounds=(1, 1), constraints=constraint, method=method)
    assert (result.success, result.maxcv) == (held, 1.0 - limit)


# Where a constraint fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["nan", "inf", "LinAlgError"])
def test_a_constraint_that_fails_on_the_way_is_gone_round(method, how):
    """The domain ends at a = 0.5, where the answer's constraint is not defined."""

    def constraint(p):
        if p["a"] < 0.5:
            if how == "LinAlgError":
                raise np.linalg.LinAlgError("not positive definite")
            return p["a"] * float(how)
        return p["a"]

    result = minimize(
        lambda p: (p["a"] + 3.0) ** 2 + np.sum(p["b"] ** 2),
        {"a": 2.0, "b": np.ones(2)},
        method=method,
        constraints=NonlinearConstraint(constraint, 0.75, None),
    )
    assert float(result.x["a"]) == pytest.approx(0.75, abs=1e-2)
    assert result.maxcv <= 1e-6
