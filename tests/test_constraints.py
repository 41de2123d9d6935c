"""Every form that constraints= takes, and what is refused at the door, by constraint and leaf."""

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import LinearConstraint as ScipyLinear

from dmin_core import Bounds, InputError, LinearConstraint, MethodError, NonlinearConstraint, ObjectiveError, minimize
from dmin_core.solvers import able

pytestmark = pytest.mark.numpy

X0 = {"a": np.array(0.5), "b": np.array([[1.0, 2.0]])}
METHODS = able("constraints")


def fun(p):
    """Its minimum is at a = 1, b = (2, 3)."""
    return (p["a"] - 1.0) ** 2 + np.sum((p["b"] - np.array([2.0, 3.0])) ** 2)


def never(*args):
    raise AssertionError("evaluated")


def solve(constraints, method="SLSQP", **named):
    return minimize(fun, X0, constraints=constraints, method=method, **named)


def total(p):
    return p["a"] + np.sum(p["b"])


def answer(result):
    return np.array([result.x["a"], *result.x["b"].ravel()])


# Projection of (1, 2, 3) on a + b0 + b1 = 3.
ON_THE_PLANE = np.array([0.0, 1.0, 2.0])
ROW = {"a": np.ones(1), "b": np.ones((1, 1, 2))}
PLANE = {
    "nonlinear": NonlinearConstraint(total, 3.0, 3.0),
    "nonlinear, one-sided": NonlinearConstraint(total, None, 3.0),
    "a nest": NonlinearConstraint(lambda p: {"t": [total(p)]}, {"t": 3.0}, {"t": [np.array(3.0)]}),
    "dict, eq": {"type": "eq", "fun": lambda p: total(p) - 3.0},
    "dict, ineq": {"type": "ineq", "fun": lambda p, limit: limit - total(p), "args": (3.0,)},
    "dict, one arg": {"type": "INEQ", "fun": lambda p, limit: limit - total(p), "args": 3.0},
    "a list of numbers": NonlinearConstraint(lambda p: [total(p), p["a"]], [3.0, -9.0], [3.0, 9.0]),
    "linear, nest": LinearConstraint(ROW, 3.0, 3.0),
    "linear, no lower limit": LinearConstraint(ROW, None, np.array([3.0])),
    "linear, matrix": LinearConstraint(np.ones((1, 3)), 3.0, 3.0),
    "linear, list": LinearConstraint([1.0, 1.0, 1.0], 3.0, 3.0),
    "linear, SciPy's": ScipyLinear([1.0, 1.0, 1.0], 3.0, 3.0),
    "linear, sparse": LinearConstraint(scipy.sparse.csr_array(np.ones((1, 3))), 3.0, 3.0),
    "several": (LinearConstraint(ROW, None, 3.0), NonlinearConstraint(total, 0.0, None)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", PLANE)
def test_every_form_means_the_same_to_every_method(form, method):
    options = {"COBYLA": {"tol": 1e-7}, "SLSQP": {"ftol": 1e-12}}.get(method, {})
    result = solve(PLANE[form], method, options=options)
    np.testing.assert_allclose(answer(result), ON_THE_PLANE, atol=2e-5)
    assert result.maxcv < 1e-6


def test_none_in_a_nest_of_rows_is_a_leaf_without_a_part():
    result = solve(LinearConstraint({"a": None, "b": np.array([[[1.0, 0.0]]])}, None, 1.5))
    np.testing.assert_allclose(answer(result), [1.0, 1.5, 3.0], atol=1e-6)


def test_rows_over_a_single_array_have_its_shape():
    x0 = np.zeros((2, 2))
    rows = np.array([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]])
    result = minimize(lambda x: np.sum((x - 1.0) ** 2), x0, constraints=LinearConstraint(rows, [1.0, 4.0], [1.0, 4.0]))
    np.testing.assert_allclose(result.x, [[0.5, 0.5], [2.0, 2.0]], atol=1e-6)


def test_the_objectives_args_are_not_the_constraints():
    result = minimize(
        lambda x, shift: np.sum((x - shift) ** 2), np.zeros(2), args=(3.0,), constraints=NonlinearConstraint(sum, 2, 2)
    )
    np.testing.assert_allclose(result.x, 1.0, atol=1e-6)


def test_limits_reach_as_deep_as_they_like():
    def both(p):
        return {"whole": p["b"], "parts": [p["a"], p["b"][0, 0]]}

    lower = {"whole": np.array([[2.5, 0.0]]), "parts": 0.0}
    upper = {"whole": None, "parts": [0.25, None]}
    result = solve(NonlinearConstraint(both, lower, upper))
    np.testing.assert_allclose(answer(result), [0.25, 2.5, 3.0], atol=1e-6)


# Methods --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [name for name in able() if name not in METHODS])
def test_a_method_that_cannot_keep_to_them_lists_those_that_can(method):
    with pytest.raises(MethodError, match=f"^{method} cannot keep to constraints. .*COBYLA, COBYQA, SLSQP, trust-con"):
        minimize(never, X0, method=method, constraints=NonlinearConstraint(never, 0, 0))


@pytest.mark.parametrize(("n", "method"), [(3, "SLSQP"), (200, "SLSQP"), (201, "trust-constr")])
def test_the_default_method_depends_on_the_size(n, method):
    x0, row = np.zeros(n), np.ones((1, n))
    result = minimize(lambda x: (x @ x, 2 * x), x0, jac=True, constraints=LinearConstraint(row, 1, 1))
    assert result.method == method
    np.testing.assert_allclose(result.x, 1 / n, rtol=1e-5)


@pytest.mark.parametrize("none", [None, (), []])
def test_no_constraints_are_none(none):
    result = minimize(fun, X0, constraints=none)
    assert result.method == "L-BFGS-B"
    assert "maxcv" not in result


def test_a_custom_method_gets_them_over_the_flat_vector():
    def look(fun, x0, args=(), constraints=(), **ignored):
        (nonlinear, linear) = constraints
        np.testing.assert_array_equal(nonlinear.fun(x0), [3.5])
        np.testing.assert_allclose(nonlinear.jac(x0), [[1.0, 1.0, 1.0]], rtol=1e-6)
        np.testing.assert_array_equal(linear.A, [[1.0, 1.0, 1.0]])
        return {"x": x0, "fun": fun(x0), "success": True}

    constraints = [LinearConstraint(ROW, None, 3.0), NonlinearConstraint(total, 0, 9)]
    assert solve(constraints, look).success


# Errors before anything is called -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (total, "constraints is a function.*NonlinearConstraint\\(fun, 0, None\\)"),
        ([None], "constraints\\[0\\] is a NoneType. A constraint is"),
        ([Bounds(0, 1)], "constraints\\[0\\] is Bounds; pass it as bounds="),
        ({"type": "eq"}, "constraints lacks 'type' or 'fun'"),
        ({"type": "le", "fun": never}, "constraints has type 'le'; expected 'eq'"),
        ({"type": "eq", "fun": never, "hess": never}, "constraints has the key 'hess'"),
        ({"type": "eq", "fun": 3}, "`fun` of constraints must be callable, not 3"),
        ({"type": "eq", "fun": never, "jac": "4-point"}, "`jac` of constraints must be None, a callable or one of"),
        ([NonlinearConstraint(never, 0, 1, hess=3)], "`hess` of constraints\\[0\\] must be a callable or a strategy"),
        (
            [NonlinearConstraint(never, 0, 1, finite_diff_jac_sparsity=np.eye(3))],
            "constraints\\[0\\] has finite_diff_jac_sparsity, which dmin does not use",
        ),
        (
            [NonlinearConstraint(never, 0, 1, finite_diff_rel_step=[1e-3, 1e-3])],
            "finite_diff_rel_step of constraints\\[0\\] must be a number or one for each of the 3",
        ),
        (LinearConstraint(np.ones((2, 4)), 0, 1), "A of constraints has shape \\(2, 4\\); expected \\(m, 3\\)"),
        (
            LinearConstraint({"a": np.ones(1), "b": np.ones((1, 2))}, 0, 1),
            "A of constraints has shape \\(1, 2\\) at x0\\['b'\\]; expected \\(1, 1, 2\\)",
        ),
        (LinearConstraint({"a": np.ones(1)}, 0, 1), "x0\\['b'\\] has no counterpart. Write None where"),
        (LinearConstraint({**ROW, "c": np.ones(1)}, 0, 1), "there is no x0\\['c'\\]"),
        (LinearConstraint({"a": None, "b": None}, 0, 1), "A of constraints.* holds no array"),
        (LinearConstraint({"a": np.array(1.0), "b": None}, 0, 1), "A of constraints holds no array of shape \\(m, "),
        (
            LinearConstraint({"a": np.array(["x"]), "b": None}, 0, 1),
            "A of constraints at x0\\['a'\\] is a .* that holds no real numbers",
        ),
        (LinearConstraint({"a": np.array([np.nan]), "b": None}, 0, 1), "A of constraints at x0\\['a'\\] holds nan"),
        (LinearConstraint(ROW, [0.0, 0.0], None), "The lower limit of constraints has shape \\(2,\\); expected a numb"),
        (LinearConstraint(ROW, 1.0, 0.0), "No number lies within the limits of constraints, row 0: 1 to 0"),
        (LinearConstraint(ROW, np.nan, None), "The lower limit of constraints holds nan"),
        (LinearConstraint(ROW, "a", None), "The lower limit of constraints is no number"),
        (LinearConstraint(ROW, 0, 1, [True, True]), "keep_feasible of constraints has 2 entries for 1 rows"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_called(given, message):
    with pytest.raises(InputError, match=message):
        minimize(never, X0, constraints=given)


# Errors before the objective is called --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (NonlinearConstraint(lambda p: None, 0, 1), ObjectiveError, "constraints\\[1\\] returned None; .*`return`"),
        (
            NonlinearConstraint(lambda p: [p["a"], None], 0, 1),
            ObjectiveError,
            "constraints\\[1\\]\\[1\\] returned None",
        ),
        (NonlinearConstraint(lambda p: "no", 0, 1), ObjectiveError, "constraints\\[1\\] returned a str"),
        (NonlinearConstraint(lambda p: [], 0, 1), ObjectiveError, "constraints\\[1\\] returned an empty list"),
        (
            NonlinearConstraint(lambda p: np.zeros(0), 0, 1),
            ObjectiveError,
            "constraints\\[1\\] returned an empty array",
        ),
        (NonlinearConstraint(lambda p: np.array([1, 2]), 0, 1), ObjectiveError, "returned dtype int64; a constraint"),
        (NonlinearConstraint(lambda p: p["b"] > 0, 0, 1), ObjectiveError, "constraints\\[1\\] returned dtype bool"),
        (
            NonlinearConstraint(lambda p: {"c": np.array([1.0, np.nan])}, 0, 1),
            ObjectiveError,
            "constraints\\[1\\]\\['c'\\]\\[1\\] is nan at the start",
        ),
        (
            NonlinearConstraint(total, [0.0, 0.0], 1),
            InputError,
            "The lower limit of constraints\\[1\\] has shape \\(2,\\), which does not broadcast to \\(\\)",
        ),
        (
            NonlinearConstraint(lambda p: p, {"a": 0.0, "c": 1.0}, 1),
            InputError,
            "The lower limit of constraints\\[1\\] is not nested as what it returns: .*\\['b'\\] has no counterpart",
        ),
        (
            NonlinearConstraint(lambda p: p, {"a": 2.0, "b": None}, {"a": 1.0, "b": 0.0}),
            InputError,
            "No number lies within the limits of constraints\\[1\\]\\['a'\\]: 2 to 1",
        ),
        (
            NonlinearConstraint(lambda p: p["b"], 0, 1, keep_feasible=[True] * 3),
            InputError,
            "keep_feasible of constraints\\[1\\] has 3 entries for 2 values",
        ),
    ],
)
def test_what_a_constraint_returns_is_checked_before_the_objective(given, error, message):
    fine = NonlinearConstraint(total, None, 99.0)
    with pytest.raises(error, match=message):
        minimize(never, X0, constraints=[fine, given])


# The user's own derivatives -------------------------------------------------------------------------------


def curved(p):
    return {"r": p["a"] ** 2 + np.sum(p["b"] ** 2), "b": p["b"]}


LIMITS = ({"r": None, "b": 0.0}, {"r": 4.0, "b": None})


def in_blocks(p):
    b = {"a": np.zeros((1, 2)), "b": np.eye(2).reshape(1, 2, 1, 2)}
    return {"r": {"a": 2 * p["a"], "b": 2 * p["b"]}, "b": b}


def as_a_matrix(p):
    x = np.array([p["a"], *p["b"].ravel()])
    return np.vstack([[[0, 1, 0], [0, 0, 1]], 2 * x])  # the nest's order: "b" before "r"


def hess(p, v):
    return 2 * v["r"] * np.eye(3)


def slope(p):
    return {"a": 2 * (p["a"] - 1), "b": 2 * (p["b"] - [2.0, 3.0])}


ON_THE_BALL = 2.0 * np.array([1.0, 2.0, 3.0]) / 14**0.5


def in_blocks_with_gaps(p):
    """None where a value does not depend on a leaf."""
    return {**in_blocks(p), "b": {"a": None, "b": np.eye(2).reshape(1, 2, 1, 2)}}


@pytest.mark.parametrize(
    "jac",
    [
        *(in_blocks, in_blocks_with_gaps, as_a_matrix),
        lambda p: as_a_matrix(p).tolist(),
        lambda p: scipy.sparse.csr_array(as_a_matrix(p)),
    ],
    ids=["blocks", "gaps", "matrix", "lists", "sparse"],
)
def test_a_jacobian_in_blocks_or_as_a_matrix_is_used(jac):
    calls = []
    constraint = NonlinearConstraint(curved, *LIMITS, jac=lambda p: calls.append(1) or jac(p))
    result = solve(constraint, jac=slope, options={"ftol": 1e-12})
    np.testing.assert_allclose(answer(result), ON_THE_BALL, atol=1e-6)
    assert len(calls) == result.ncjev
    assert result.ncev <= result.nfev + 1  # none for differences


@pytest.mark.parametrize("columns", [slice(None), slice(1, None)], ids=["all", "free"])
def test_a_jacobian_as_a_matrix_may_have_columns_for_frozen_leaves_too(columns):
    calls = []
    constraint = NonlinearConstraint(curved, *LIMITS, jac=lambda p: calls.append(1) or as_a_matrix(p)[:, columns])
    result = solve(constraint, jac=slope, frozen="a", options={"ftol": 1e-12})
    np.testing.assert_allclose(result.x["b"].ravel(), np.array([2.0, 3.0]) * (3.75 / 13) ** 0.5, atol=1e-6)
    assert len(calls) == result.ncjev > 0


def test_a_jacobian_over_a_single_array_has_its_shape():
    """(3, 2, 1) is that of three values by two rows of one; (3, 2) may be meant too, and no other."""

    def posed(jac):
        limits = NonlinearConstraint(lambda x: np.append(x, x.sum()), [1.0, 2.0, 4.0], None, jac=jac)
        return minimize(lambda x: np.sum(x**2), np.full((2, 1), 5.0), constraints=limits)

    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    for shape in ((3, 2, 1), (3, 2)):
        np.testing.assert_allclose(posed(lambda x, shape=shape: rows.reshape(shape)).x, [[2.0], [2.0]], atol=1e-5)
    with pytest.raises(ObjectiveError, match=r"has shape \(2, 3\); expected \(3, 2\), or a nest of blocks"):
        posed(lambda x: rows.T)


def test_a_jacobian_in_blocks_may_be_made_of_pythons_numbers():
    """A list of nests is no matrix."""
    both = NonlinearConstraint(
        lambda x: [x["u"] + 2 * x["v"], x["u"]],
        [4.0, 0.5],
        None,
        jac=lambda x: [{"u": 1.0, "v": 2.0}, {"u": 1, "v": 0}],
    )
    result = minimize(lambda x: x["u"] ** 2 + x["v"] ** 2, {"u": 3.0, "v": 3.0}, constraints=both)
    assert (result.x["u"], result.x["v"]) == (pytest.approx(0.8, abs=1e-5), pytest.approx(1.6, abs=1e-5))


@pytest.mark.parametrize(
    ("jac", "message"),
    [
        (lambda p: np.ones((2, 3)), r"The Jacobian of constraints has shape \(2, 3\); expected \(3, 3\), or a nest"),
        (lambda p: [[0.0, 1.0], [1.0]], "The Jacobian of constraints is not nested as the constraint's values are"),
        (lambda p: 1j * as_a_matrix(p), "The Jacobian of constraints has dtype complex128; expected real numbers"),
        (
            lambda p: {**in_blocks(p), "r": {"a": [[], [1.0]], "b": p["b"]}},
            r"The Jacobian of constraints\['r'\] at x0\['a'\] holds a .*list: ",
        ),
        (
            lambda p: {**in_blocks(p), "r": {"a": 2 * p["a"], "b": 2 * p["b"][0]}},
            r"The Jacobian of constraints\['r'\] at x0\['b'\] has shape \(2,\); expected \(1, 2\)",
        ),
    ],
    ids=["shape", "ragged", "complex", "no numbers", "block"],
)
def test_a_jacobian_that_does_not_fit_is_named(jac, message):
    with pytest.raises(ObjectiveError, match=message):
        solve(NonlinearConstraint(curved, *LIMITS, jac=jac))


def test_a_hessian_is_used():
    calls = []

    def counted(p, v):
        calls.append(v)
        return hess(p, v)

    constraint = NonlinearConstraint(curved, *LIMITS, jac=in_blocks, hess=counted)
    result = solve(constraint, "trust-constr", jac=slope)
    np.testing.assert_allclose(answer(result), ON_THE_BALL, atol=1e-6)
    assert calls
    assert calls[0]["b"].shape == (1, 2)
    assert result.nchev == len(calls)


@pytest.mark.parametrize("jac", ["2-point", "3-point", "cs"])
def test_differences_are_of_the_kind_that_is_asked_for(jac):
    result = solve(NonlinearConstraint(curved, *LIMITS, jac=jac, finite_diff_rel_step=1e-7), options={"ftol": 1e-12})
    np.testing.assert_allclose(answer(result), ON_THE_BALL, atol=1e-4)


def test_differences_keep_within_the_bounds():
    seen = []

    def constraint(p):
        seen.append(float(p["a"]))
        return np.sqrt(p["a"]) + np.sum(p["b"])

    solve(NonlinearConstraint(constraint, 3.0, None), bounds={"a": (0.0, 0.5)})
    assert min(seen) >= 0.0
    assert max(seen) <= 0.5


@pytest.mark.parametrize(
    ("jac", "message"),
    [
        (lambda p: np.ones((2, 3)), "The Jacobian of constraints has shape \\(2, 3\\); expected \\(3, 3\\)"),
        (lambda p: {"b": 1.0}, "The Jacobian of constraints is not nested as the constraint's values are"),
        (
            lambda p: {**in_blocks(p), "r": {"a": np.ones(2), "b": p["b"]}},
            "The Jacobian of constraints\\['r'\\] at x0\\['a'\\] has shape \\(2,\\); expected \\(\\)",
        ),
        (
            lambda p: {**in_blocks(p), "r": {"a": "no", "b": p["b"]}},
            "The Jacobian of constraints\\['r'\\] at x0\\['a'\\] has dtype",
        ),
    ],
)
def test_a_wrong_jacobian_is_located(jac, message):
    with pytest.raises(ObjectiveError, match=message):
        solve(NonlinearConstraint(curved, *LIMITS, jac=jac))


def test_a_wrong_hessian_is_said_to_be_the_constraints():
    constraint = NonlinearConstraint(curved, *LIMITS, jac=in_blocks, hess=lambda p, v: np.eye(2))
    with pytest.raises(ObjectiveError, match="`hess` of constraints returned shape \\(2, 2\\)"):
        solve(constraint, "trust-constr")


def test_an_exception_in_a_constraint_passes_through():
    calls = []

    def failing(p):
        calls.append(1)
        if len(calls) == 5:
            raise ZeroDivisionError("mine")
        return total(p)

    with pytest.raises(ZeroDivisionError, match="mine"):
        solve(NonlinearConstraint(failing, 0, 3))
