"""The Hessian and the covariance at the answer, in every backend, against what is worked out by hand."""

import copy
import pickle

import numpy as np
import optree
import pytest

from dmin_core import CurvatureError, Interrupted, NonlinearConstraint, backends, get_backend, minimize
from dmin_core._objective import dense_hessian
from dmin_core._tree import Tree
from dmin_core.testing.problems import bounded, quadratic, rosenbrock, smooth

BACKENDS = [name for name, info in backends().items() if info.error is None and info.devices]
PROBLEMS = {"smooth": smooth, "quadratic": quadratic, "rosenbrock": rosenbrock, "bounded": bounded}
DTYPES = ("float32", "float64")


def pose(problem, backend, dtype="float64"):
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    return problem.pose(xp, lambda array: host.from_numpy(np.array(array, dtype=dtype), None))


def on_host(nest, backend):
    return optree.tree_map(get_backend(backend).to_numpy, nest)


def digits(backend, dtype):
    """The relative precision of a Hessian: exact, or twice differenced."""
    eps = float(np.finfo(dtype).eps)
    return 100 * (eps if get_backend(backend).exact_hvp else eps**0.5)


def flat_of(result, backend):
    return np.concatenate([np.ravel(leaf) for leaf in optree.tree_leaves(on_host(result.x, backend))], dtype=float)


# The Hessian ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_hessian_is_the_one_worked_out_by_hand(backend, problem, dtype):
    problem = PROBLEMS[problem]()
    fun, x0, data = pose(problem, backend, dtype)
    result = minimize(fun, x0, args=data, bounds=problem.bounds)
    counts = (result.nfev, result.njev, result.nhev, dict(result.time))

    expected = problem.hessian(on_host(result.x, backend), *problem.data)
    tolerance = digits(backend, dtype) * max(np.abs(expected).max(), abs(result.fun))
    matrix = result.hessian(flat=True)

    assert type(matrix) is np.ndarray
    assert matrix.dtype == np.float64
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert counts == (result.nfev, result.njev, result.nhev, dict(result.time))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_blocks_are_arrays_of_the_framework_nested_as_x0_twice(backend, dtype):
    host = get_backend(backend)
    fun, x0, data = pose(rosenbrock(), backend, dtype)
    result = minimize(fun, x0, args=data)
    nest = result.hessian()
    block = nest["rest"][0]["rest"][1]["c"]
    assert type(block) is type(x0["rest"][0])
    assert block.dtype == x0["a"].dtype
    assert tuple(block.shape) == (2, 1, 1)
    assert tuple(nest["a"]["a"].shape) == ()
    # The form that `hess=` takes, and the same numbers.
    back = dense_hessian(nest, Tree(x0, host))
    np.testing.assert_allclose(back, result.hessian(flat=True), rtol=float(np.finfo(dtype).eps))


def test_what_is_no_variable_has_no_block():
    result = minimize(lambda p: np.sum(p["w"] ** 2), {"w": np.ones(2), "name": "a label", "none": None})
    nest = result.hessian()
    assert set(nest) == {"w", "name", "none"}
    assert nest["name"] is nest["none"] is nest["w"]["name"] is None
    np.testing.assert_allclose(nest["w"]["w"], 2 * np.eye(2), atol=1e-6)


def test_mixed_precision_blocks_have_the_widest_dtype():
    x0 = {"half": np.ones(2, np.float16), "single": np.ones(1, np.float32)}

    def fun(p):
        both = np.concatenate([p["half"].astype(np.float64), p["single"].astype(np.float64)])
        return np.sum((both - 0.5) ** 2), {"half": 2 * (both[:2] - 0.5), "single": 2 * (both[2:] - 0.5)}

    nest = minimize(fun, x0, jac=True).hessian()
    assert {block.dtype for block in optree.tree_leaves(nest)} == {np.dtype(np.float32)}


QUARTIC = {
    "hess": {"hess": lambda x: np.diag(12 * x**2)},
    "hessp": {"hessp": lambda x, p: 12 * x**2 * p},
    "jac": {},
}


@pytest.mark.parametrize("given", QUARTIC)
@pytest.mark.parametrize("method", ["L-BFGS-B", "Nelder-Mead", "trust-constr"])
@pytest.mark.filterwarnings("ignore:.* makes no use of:RuntimeWarning")
def test_what_the_user_gave_is_used(method, given):
    calls = []
    counted = {name: (lambda *a, f=function: calls.append(None) or f(*a)) for name, function in QUARTIC[given].items()}
    x0 = np.array([1.0, -2.0])
    result = minimize(
        lambda x: np.sum(x**4), x0, jac=lambda x: 4 * x**3, method=method, options={"maxfun": 3}, **counted
    )
    before = len(calls)
    eps = np.finfo(float).eps
    expected = np.diag(12 * result.x**2)
    np.testing.assert_allclose(
        result.hessian(flat=True), expected, rtol=4 * eps if counted else 10 * eps ** (2 / 3), atol=10 * eps ** (2 / 3)
    )
    assert len(calls) > before if counted else not calls


@pytest.mark.parametrize("jac", [None, "2-point", "3-point", "cs"])
def test_differences_of_differences_keep_half_the_digits(jac):
    result = minimize(lambda x: np.sum(np.exp(x) - x) + (x[0] + x[1]) ** 2 / 2, np.array([0.5, 0.25, 3.0]), jac=jac)
    expected = np.diag(np.exp(result.x))
    expected[:2, :2] += 1.0
    eps = np.finfo(float).eps
    tolerance = 20 * eps ** (2 / 3 if jac == "cs" else 1 / 2)
    np.testing.assert_allclose(result.hessian(flat=True), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("of", ["values", "gradients"])
def test_differences_do_not_leave_the_bounds(of):
    def fun(x):
        assert (x >= [0.5, 2.0, 1.0]).all()
        assert (x <= [0.5, 9.0, 1.0001]).all()
        return np.sum(x - np.log(x))

    def gradient(x):
        fun(x)
        return 1 - 1 / x

    given = gradient if of == "gradients" else None
    bounds = ([0.5, 2.0, 1.0], [0.5, 9.0, 1.0001])
    result = minimize(fun, np.array([0.5, 3.0, 1.00005]), jac=given, bounds=bounds)
    matrix = result.hessian(flat=True)
    # 2 is the answer on its bound, 1 that in a box of 1e-4.
    assert matrix[1, 1] == pytest.approx(0.25, rel=1e-3)
    assert matrix[2, 2] == pytest.approx(1.0, rel=1e-2)
    assert matrix[1, 2] == pytest.approx(0.0, abs=1e-3)
    # Nothing tells the curvature along a variable that cannot move.
    assert np.isnan(matrix[0, 0])


def test_limits_of_the_run_do_not_hold_after_it():
    result = minimize(lambda x: np.sum((x - 1) ** 2), np.zeros(3), options={"maxfun": 4, "maxtime": 1e9})
    assert result.nfev == 4
    np.testing.assert_allclose(result.hessian(flat=True), 2 * np.eye(3), atol=1e-6)
    assert result.nfev == 4


def test_it_is_computed_once():
    calls = []
    result = minimize(lambda x: calls.append(None) or np.sum((x - 1) ** 2), np.zeros(2))
    first = result.hessian(flat=True)
    made = len(calls)
    first[:] = 77.0  # the caller's own
    np.testing.assert_allclose(result.hessian()[0, 0], 2.0, atol=1e-6)
    result.covariance()
    assert len(calls) == made


def test_the_answer_may_be_overwritten_meanwhile():
    result = minimize(lambda x: np.sum(x**4 - x), np.full(2, 0.5))
    x = result.x.copy()
    result.x[:] = 1e6
    np.testing.assert_allclose(result.hessian(flat=True), np.diag(12 * x**2), rtol=1e-5, atol=1e-5)


def test_an_interrupted_run_has_one_too():
    def fun(x):
        if len(seen) == 5:
            seen.append(None)
            raise KeyboardInterrupt
        seen.append(None)
        return np.sum((x - 1) ** 2)

    seen = []
    with pytest.raises(Interrupted) as caught:
        minimize(fun, np.zeros(2), method="BFGS")
    np.testing.assert_allclose(caught.value.result.hessian(flat=True), 2 * np.eye(2), atol=1e-6)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
@pytest.mark.parametrize("what", ["hessian", "covariance"])
def test_a_copy_says_that_it_has_no_fun_any_more(duplicate, what):
    result = minimize(lambda x: np.sum((x - 1) ** 2), np.zeros(2))
    result.hessian()
    other = duplicate(result)
    assert not {"hessian", "covariance", "_curvature"} & set(other)
    with pytest.raises(CurvatureError, match=rf"copy or was unpickled.*call {what}\(\)"):
        getattr(other, what)()
    result.covariance()


@pytest.mark.parametrize("backend", BACKENDS)
def test_limits_on_blas_are_as_before_afterwards(backend):
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="a dependency of the core")
    before = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
    fun, x0, data = pose(smooth(), backend)
    minimize(fun, x0, args=data).hessian()
    assert [library["num_threads"] for library in threadpoolctl.threadpool_info()][: len(before)] == before


# The covariance ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", ["smooth", "quadratic", "rosenbrock"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_covariance_is_the_inverse(backend, problem):
    problem = PROBLEMS[problem]()
    fun, x0, data = pose(problem, backend)
    result = minimize(fun, x0, args=data, method="BFGS")
    covariance = result.covariance(flat=True)
    hessian = problem.hessian(on_host(result.x, backend), *problem.data)
    condition = np.linalg.cond(hessian)
    np.testing.assert_allclose(
        covariance,
        np.linalg.inv(hessian),
        rtol=0,
        atol=condition * digits(backend, "float64") * np.abs(covariance).max(),
    )
    nest = result.covariance()
    assert optree.tree_structure(nest) == optree.tree_structure(result.hessian())
    np.testing.assert_allclose(dense_hessian(nest, Tree(x0, get_backend(backend))), covariance)


def test_the_laplace_approximation_of_a_linear_regression_is_its_posterior():
    rng = np.random.default_rng(3)
    inputs, sigma = rng.normal(size=(60, 3)), 0.3
    y = inputs @ [1.0, -2.0, 0.5] + 0.7 + sigma * rng.normal(size=60)

    def negative_log_posterior(p):
        residual = inputs @ p["w"] + p["b"] - y
        return np.sum(residual**2) / (2 * sigma**2) + np.sum(p["w"] ** 2) / 2

    result = minimize(negative_log_posterior, {"b": 0.0, "w": np.zeros(3)}, jac="3-point")
    columns = np.hstack([np.ones((60, 1)), inputs])
    precision = columns.T @ columns / sigma**2 + np.diag([0.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(result.covariance(flat=True), np.linalg.inv(precision), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_variables_on_a_bound_count_as_fixed(backend):
    problem = bounded()
    fun, x0, data = pose(problem, backend)
    result = minimize(fun, x0, args=data, bounds=problem.bounds)
    covariance = result.covariance(flat=True)
    hessian = problem.hessian(problem.answer, *problem.data)
    free = [1, 2]  # rates[0] and shift are on their bounds
    np.testing.assert_allclose(
        covariance[np.ix_(free, free)],
        np.linalg.inv(hessian[np.ix_(free, free)]),
        rtol=1e3 * digits(backend, "float64"),
    )
    assert not covariance[[0, 3]].any()
    assert not covariance[:, [0, 3]].any()
    whole = result.covariance(flat=True, ignore_bounds=True)
    np.testing.assert_allclose(whole, np.linalg.inv(hessian), rtol=1e3 * digits(backend, "float64"), atol=1e-7)


def test_where_all_variables_are_on_bounds_nothing_varies():
    result = minimize(lambda x: np.sum(x), np.ones(2), bounds=(0, 2))
    np.testing.assert_array_equal(result.covariance(flat=True), 0.0)


def test_scales_far_apart_are_no_reason_to_refuse():
    scales = np.array([1e-9, 1.0, 1e7])

    def fun(x):
        z = x / scales - 1
        return z @ z / 2 + 0.4 * z[0] * z[1], (z + 0.4 * np.array([z[1], z[0], 0])) / scales

    hessian = (np.eye(3) + 0.4 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])) / np.outer(scales, scales)
    result = minimize(fun, scales * 0.999, jac=True, hess=lambda x: hessian, method="trust-exact")
    np.testing.assert_allclose(result.covariance(flat=True), np.linalg.inv(hessian), rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_saddle_is_refused_with_its_eigenvalue_and_leaf(backend):
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))

    def fun(p):
        return xp.sum(p["up"] ** 2) - 1.5 * p["layers"][0]["w"][1, 0] ** 2 + p["layers"][0]["w"][0, 1] ** 2

    x0 = {
        "up": host.from_numpy(np.array([0.1]), None),
        "layers": [{"w": host.from_numpy(np.array([[0.0, 0.5], [0.0, 0.0]]), None)}],
    }
    # Along the valley of the saddle, which gradients do not see.
    result = minimize(fun, x0, method="CG")
    with pytest.raises(CurvatureError, match="not positive definite") as caught:
        result.covariance()
    assert caught.value.smallest == pytest.approx(-3.0, abs=1e-5)
    assert caught.value.path == "x0['layers'][0]['w']"
    assert "smallest eigenvalue is -3" in str(caught.value)
    assert "above all along x0['layers'][0]['w'][1, 0]" in str(caught.value)
    assert host.to_numpy(result.hessian()["layers"][0]["w"]["layers"][0]["w"])[1, 0, 1, 0] == pytest.approx(
        -3, abs=1e-5
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_direction_that_fun_does_not_determine_is_refused(backend, dtype):
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))

    def fun(p):
        return (p["a"] + p["b"] - 1.0) ** 2 + xp.sum(p["c"] ** 2)

    x0 = {
        name: host.from_numpy(np.full(shape, 0.3, dtype), None) for name, shape in (("a", ()), ("b", ()), ("c", (2,)))
    }
    result = minimize(fun, x0)
    with pytest.raises(CurvatureError, match="does not determine that direction") as caught:
        result.covariance()
    assert caught.value.path in ("x0['a']", "x0['b']")
    assert abs(caught.value.smallest) < 10 * digits(backend, dtype)


def test_a_hessian_that_is_not_finite_is_refused():
    poisoned = []
    result = minimize(
        lambda x: np.sum((x["w"] - 1) ** 2),
        {"w": np.full(2, 1.0)},
        method="trust-constr",
        hess=lambda x: np.eye(2) * (np.nan if poisoned else 2.0),
    )
    poisoned.append(True)
    with pytest.raises(CurvatureError, match=r"not finite at x0\['w'\]\[0\], x0\['w'\]\[0\]"):
        result.covariance()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_frozen_leaf_has_no_block(backend):
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    x0 = {name: host.from_numpy(np.array([0.5, 1.5]), None) for name in ("free", "held")}
    result = minimize(lambda p: xp.sum((p["free"] - p["held"] - 1.0) ** 2 * p["held"]), x0, frozen="held")
    nest = result.hessian()
    assert nest["held"] is nest["free"]["held"] is None
    tolerance = digits(backend, "float64")
    np.testing.assert_allclose(host.to_numpy(nest["free"]["free"]), np.diag([1.0, 3.0]), atol=tolerance)
    np.testing.assert_allclose(result.covariance(flat=True), np.diag([1.0, 1 / 3]), atol=tolerance)


@pytest.mark.parametrize("limit", [0.5, 5.0])
def test_an_active_constraint_has_no_covariance_and_an_inactive_one_does_not_matter(limit):
    constraint = NonlinearConstraint(lambda x: np.sum(x), -np.inf, limit)
    result = minimize(lambda x: np.sum((x - 1.0) ** 2), np.zeros(2), constraints=constraint)
    np.testing.assert_allclose(result.hessian(flat=True), 2 * np.eye(2), atol=1e-6)
    if limit > 2:
        np.testing.assert_allclose(result.covariance(flat=True), np.eye(2) / 2, atol=1e-6)
        return
    with pytest.raises(CurvatureError, match="constraints is active at the answer"):
        result.covariance()
