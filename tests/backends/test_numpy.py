"""The NumPy backend keeps every promise that dmin asks of a backend; and what is NumPy's alone.

That is finite differences by SciPy's rules, and arrays that are more, or less, than plain float64.
"""

import numpy as np
import pytest
import scipy.optimize

from dmin_core import InputError, minimize
from dmin_core.testing import BackendTests
from dmin_core.testing.problems import flat, quadratic, rosenbrock

pytestmark = pytest.mark.numpy


class TestNumpy(BackendTests):
    backend = "numpy"
    xp = np
    dtypes = ("float16", "float32", "float64")

    def array(self, values, dtype):
        return np.array(values, dtype=dtype)

    def state(self):
        return np.geterr(), np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002


def bowl(x):
    return np.sum((x - 1.0) ** 2)


def waves(x):
    return np.sum(np.exp(x) - x) + 0.1 * np.prod(x)


def waves_gradient(x):
    return np.exp(x) - 1 + 0.1 * np.array([np.prod(np.delete(x, i)) for i in range(x.size)])


def gradient_at(x0, fun, **how):
    """The gradient that a method would get at x0."""

    def method(fun, x0, args, jac, **others):
        return scipy.optimize.OptimizeResult(x=x0, fun=fun(x0), jac=jac(x0), success=True, message="")

    return minimize(fun, x0, method=method, **how).jac


START = np.array([1.5, 0.0, -0.5, -3.0])


# Finite differences --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "points"), [("2-point", 5), ("3-point", 9), ("cs", 5)])
def test_differences_take_scipys_steps(scheme, points):
    ours, theirs = set(), set()

    def noting(seen):
        def fun(x):
            # Of an imaginary step the sign makes no difference.
            seen.add((*x.real.tolist(), *np.abs(x.imag).tolist()))
            return waves(x)

        return fun

    gradient_at(START, noting(ours), jac=scheme)
    scipy.optimize.minimize(noting(theirs), START, method="BFGS", jac=scheme, options={"maxiter": 0})

    assert ours == theirs
    assert len(ours) == points


@pytest.mark.parametrize("scheme", ["2-point", "3-point", "cs"])
@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "SLSQP"])
def test_run_by_differences_is_scipys(method, scheme):
    res = minimize(waves, START, method=method, jac=scheme)
    expected = scipy.optimize.minimize(waves, START, method=method, jac=scheme)
    assert (res.nfev, res.nit) == (expected.nfev, expected.nit)
    np.testing.assert_allclose(res.x, expected.x, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("scheme", "power"), [("2-point", 1 / 2), ("3-point", 2 / 3), ("cs", 1)])
def test_error_of_differences_is_that_of_their_order(scheme, power):
    error = np.abs(gradient_at(START, waves, jac=scheme) - waves_gradient(START)).max()
    assert error <= 20 * np.finfo(float).eps ** power


def test_differences_are_two_point_where_nothing_is_asked_for():
    runs = [minimize(waves, START, jac=jac) for jac in (None, "2-point")]
    assert (runs[0].history.fun == runs[1].history.fun).all()


def test_step_is_relative_to_the_leafs_own_precision():
    """A step for float64 would vanish when it is added to a float32, or drown in the value's rounding."""
    x0 = {"single": np.array([3.0], dtype=np.float32), "double": np.array([3.0])}
    gradient = gradient_at(x0, lambda x: np.sum(x["single"] ** 2) + np.sum(x["double"] ** 2))
    for name, leaf in x0.items():
        assert abs(gradient[name][0] - 6.0) <= 20 * np.finfo(leaf.dtype).eps ** 0.5


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
def test_differences_stay_within_bounds(scheme):
    def fun(x):
        assert (x >= 0).all()
        assert (x <= 1).all()
        return np.sum(np.sqrt(x * (1 - x)) * [1.0, -1.0])

    res = minimize(fun, np.array([0.25, 0.75]), jac=scheme, bounds=(0.0, 1.0))
    np.testing.assert_allclose(res.x[1], 0.5, atol=1e-6)
    assert res.x[0] in (0.0, 1.0)


def test_complex_step_sees_complex_leaves():
    seen = set()

    def fun(x):
        seen.add((x["w"].dtype.name, x["b"].dtype.name))
        return np.sum((x["w"] - 1.0) ** 2) + (x["b"] - 1.0) ** 2

    res = minimize(fun, {"w": np.zeros((2, 2)), "b": 0.0}, jac="cs")

    assert seen == {("float64", "float64"), ("complex128", "complex128")}
    assert res.x["w"].dtype == np.float64
    np.testing.assert_allclose(res.x["w"], 1.0, atol=1e-6)


# Derivatives of the user's -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["Newton-CG", "trust-ncg", "trust-krylov", "dogleg", "trust-exact", "trust-constr"])
def test_second_derivatives_are_differences_of_the_users_gradient(method):
    problem = rosenbrock()
    fun, x0, _ = problem.pose(np, np.array)
    calls = []

    def jac(x):
        calls.append(x)
        return problem.gradient(x)

    res = minimize(fun, x0, method=method, jac=jac)

    np.testing.assert_allclose(flat(res.x), flat(problem.answer), atol=1e-3)
    assert res.njev == len(calls)
    assert res.nfev < 60  # `fun` itself is not differenced


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "trust-ncg"])
def test_value_and_gradient_may_come_together(method):
    problem = quadratic()
    fun, x0, data = problem.pose(np, np.array)

    def both(x, *data):
        both.calls += 1
        return fun(x, *data), problem.gradient(x, *data)

    both.calls = 0
    res = minimize(both, x0, args=data, jac=True, method=method)
    apart = minimize(fun, x0, args=data, jac=problem.gradient, method=method)

    assert (res.history.fun == apart.history.fun).all()
    assert res.nfev == res.njev == both.calls


# Arrays that are more, or less, than plain float64 -------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(np.float16, 0.05), (np.float32, 1e-3), (np.float64, 1e-6), (np.longdouble, 1e-6)],
    ids=["float16", "float32", "float64", "longdouble"],
)
def test_leaf_keeps_its_dtype_inside_fun_and_in_the_result(dtype, tolerance):
    seen = set()

    def fun(x):
        seen.add(x.dtype)
        return bowl(x)

    res = minimize(fun, np.zeros(3, dtype=dtype))

    assert seen == {np.dtype(dtype)}
    assert res.x.dtype == dtype
    np.testing.assert_allclose(res.x.astype(float), 1.0, atol=tolerance)


@pytest.mark.parametrize(
    "scalar", [0.5, np.float64(0.5), np.float32(0.5), np.float16(0.5), np.longdouble(0.5)], ids=str
)
@pytest.mark.parametrize("method", ["L-BFGS-B", "Nelder-Mead"])
def test_scalar_comes_back_as_a_scalar(scalar, method):
    res = minimize(lambda x: (x["s"] - 1.0) ** 2 + bowl(x["w"]), {"s": scalar, "w": np.zeros(2)}, method=method)
    assert isinstance(res.x["s"], type(scalar))
    assert float(res.x["s"]) == pytest.approx(1.0, abs=0.05)


def test_zero_dimensional_array_stays_an_array():
    res = minimize(bowl, np.zeros(()))
    assert isinstance(res.x, np.ndarray)
    assert res.x.shape == ()


@pytest.mark.parametrize(
    "x0",
    [np.ma.masked_array([1.0, 2.0], mask=[False, True]), np.matrix([[1.0, 2.0]])],
    ids=["masked", "matrix"],
)
def test_array_that_means_more_than_its_numbers_is_refused_by_path(x0):
    with pytest.raises(InputError, match=rf"x0\['w'\].*{type(x0).__name__}.* means more than its numbers"):
        minimize(lambda x: np.sum(x["w"] ** 2), {"w": x0})


def test_memory_mapped_leaf_is_read_and_not_written(tmp_path):
    x0 = np.memmap(tmp_path / "x0", dtype=np.float64, mode="w+", shape=(3,))
    res = minimize(bowl, x0)
    np.testing.assert_allclose(res.x, 1.0, atol=1e-6)
    assert (x0 == 0).all()


@pytest.mark.parametrize(
    "x0",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0).reshape(2, 6)[:, ::-2],
        np.broadcast_to(np.zeros(3), (2, 3)),
        np.arange(6.0).reshape(2, 3).astype(">f8"),
    ],
    ids=["fortran", "reversed", "broadcast", "big-endian"],
)
def test_leaf_of_any_memory_layout(x0):
    target = np.arange(6.0).reshape(2, 3) / 2
    before = x0.copy()
    res = minimize(lambda x: np.sum((x - target) ** 2) + (x[0, 1] - target[0, 1]) ** 2, x0)
    np.testing.assert_allclose(res.x, target, atol=1e-5)
    assert res.x.dtype == x0.dtype
    assert res.history.fun[0] == np.sum((before - target) ** 2) + (before[0, 1] - target[0, 1]) ** 2
    assert (x0 == before).all()


def test_fun_may_write_into_its_argument():
    def fun(x):
        x -= 1.0
        return np.sum(x**2)

    x0 = np.zeros(3)
    res = minimize(fun, x0)
    assert (x0 == 0).all()
    np.testing.assert_allclose(res.x, 1.0, atol=1e-6)


def test_fun_and_jac_each_get_arrays_of_their_own():
    def fun(x):
        x -= 1.0
        return np.sum(x**2)

    gradient = gradient_at(np.zeros(3), fun, jac=lambda x: 2 * (x - 1.0))
    assert gradient.tolist() == [-2.0, -2.0, -2.0]
