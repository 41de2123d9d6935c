"""`device-bfgs`: the matrix it keeps and hands out, what an evaluation costs, and what it refuses."""

import math

import numpy as np
import pytest

from dmin_core import InputError, MethodError, _device_problem, backends, get_backend, minimize

METHOD = "device-bfgs"
USABLE = [name for name, info in backends().items() if info.error is None and info.devices]

rng = np.random.default_rng(3)
MATRIX = np.diag(np.arange(1.0, 7.0)) + 0.3 * (rng.normal(size=(6, 6)) @ rng.normal(size=(6, 6)).T)
MATRIX = MATRIX @ MATRIX.T
CENTRE = rng.normal(size=6)


def bowl(x):
    """A quadratic with a full matrix, and its gradient."""
    g = MATRIX @ (x - CENTRE)
    return 0.5 * (x - CENTRE) @ g, g


def chained(x):
    """Rosenbrock's function of a chain of numbers, and its gradient."""
    d, e = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    g = np.zeros_like(x)
    g[1:] += 200 * d
    g[:-1] -= 400 * d * x[:-1] + 2 * e
    return np.sum(100 * d**2) + np.sum(e**2), g


START = np.tile([-1.2, 1.0], 5)


@pytest.mark.parametrize("backend", USABLE)
def test_the_matrix_is_the_inverse_of_the_hessian(backend):
    """On a quadratic, after more steps than it has variables."""
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    matrix, centre = (host.from_numpy(array, None) for array in (MATRIX, CENTRE))

    def fun(x):
        y = x - centre
        return 0.5 * xp.sum(y * xp.sum(matrix * y, axis=1))

    given = {} if host.exact_gradient else {"jac": lambda x: matrix @ (x - centre)}
    result = minimize(fun, host.from_numpy(np.zeros(6), None), method=METHOD, options={"gtol": 1e-9}, **given)
    assert result.success
    inverse = np.linalg.inv(MATRIX)
    np.testing.assert_allclose(result.hess_inv, inverse, atol=0.02 * np.abs(inverse).max())
    np.testing.assert_array_equal(result.hess_inv, result.hess_inv.T)
    assert (np.linalg.eigvalsh(result.hess_inv) > 0).all()
    np.testing.assert_allclose(host.to_numpy(result.x), CENTRE, atol=1e-8)


@pytest.mark.parametrize("backend", USABLE)
def test_a_matrix_to_begin_with_is_used(backend):
    """With the exact one, a quadratic's first step is its last."""
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    scale = np.array([1.0, 10.0, 100.0])
    weights = host.from_numpy(scale, None)
    given = {} if host.exact_gradient else {"jac": lambda x: scale * (x - 1.0)}
    options = {"hess_inv0": np.diag(1.0 / scale)}
    x0 = host.from_numpy(np.zeros(3), None)
    result = minimize(lambda x: 0.5 * xp.sum(weights * (x - 1.0) ** 2), x0, method=METHOD, options=options, **given)
    assert (result.nfev, result.nit, result.success) == (2, 1, True)
    np.testing.assert_allclose(result.hess_inv, np.diag(1.0 / scale), atol=1e-12)


def test_without_a_pair_the_matrix_is_the_identity():
    result = minimize(bowl, np.zeros(6), jac=True, method=METHOD, options={"gtol": 1e6})
    assert (result.nfev, result.success) == (1, True)
    np.testing.assert_array_equal(result.hess_inv, np.eye(6))


def test_several_arrays_have_one_matrix(monkeypatch):
    """Where a backend has large leaves handed over by themselves, the path and the matrix are the same."""
    x0 = {"a": START[:3].copy(), "b": START[3:7].reshape(2, 2).copy(), "c": START[7:].copy()}

    def fun(nest):
        value, g = chained(np.concatenate([np.ravel(leaf) for leaf in nest.values()]))
        return value, {"a": g[:3], "b": g[3:7].reshape(2, 2), "c": g[7:]}

    alone = minimize(fun, x0, jac=True, method=METHOD)
    monkeypatch.setattr(get_backend("numpy"), "own_array", lambda size, like: size > 3)
    apart = minimize(fun, x0, jac=True, method=METHOD)
    np.testing.assert_allclose(apart.history.fun[:20], alone.history.fun[:20], rtol=1e-9)
    np.testing.assert_allclose(apart.hess_inv, alone.hess_inv, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("norm", [1, 2, 3.0, math.inf])
def test_gtol_is_compared_with_the_norm_that_is_asked_for(norm):
    result = minimize(chained, START, jac=True, method=METHOD, options={"gtol": 1e-4, "norm": norm})
    assert result.success
    assert np.linalg.norm(result.jac, norm) <= 1e-4
    # And not before: the last point but one is no answer.
    shorter = minimize(chained, START, jac=True, method=METHOD, options={"maxiter": result.nit - 1})
    assert np.linalg.norm(shorter.jac, norm) > 1e-4


def test_a_smaller_c2_has_the_search_go_on_for_longer():
    usual, exact = (
        minimize(chained, START, jac=True, method=METHOD, options=given) for given in ({}, {"c1": 1e-4, "c2": 0.01})
    )
    assert usual.success
    assert exact.success
    assert exact.nfev / exact.nit > 1.3 * usual.nfev / usual.nit


@pytest.mark.parametrize(("dtype", "least"), [("float64", 1e-5), ("float32", 3.4526698e-4)])
def test_gtol_is_no_less_than_the_leaves_can_show(dtype, least):
    scale = np.array([1.0, 30.0, 900.0], dtype)
    result = minimize(lambda x: (0.5 * scale @ x**2, scale * x), np.ones(3, dtype), jac=True, method=METHOD)
    assert result.success
    assert "gtol" in result.message
    assert np.abs(result.jac).max() <= least


def test_evaluations_are_read_once(monkeypatch):
    backend = get_backend("numpy")
    reads, original = [], backend.to_numpy
    monkeypatch.setattr(backend, "to_numpy", lambda array: reads.append(array.shape) or original(array))
    # NumPy's own float64 would be on the host as it is.
    result = minimize(chained, START[:7].astype(np.float32), jac=True, method=METHOD)
    # The value, the slope, two squares, the gradient's extremes, and four products with the matrix.
    assert reads.count((10,)) == result.nfev > 20
    # x0 at the door; the first two gradients, which are looked at; the answer, its gradient, and the matrix.
    assert len(reads) - result.nfev <= 7


@pytest.mark.parametrize("norm", [1.0, 2.0, np.inf])
def test_any_norm_ends_a_run_over_many_variables(norm, monkeypatch):
    """Where no accelerator is waited for, and the norm is asked for once it may be small: of 2, nothing is missing."""
    monkeypatch.setattr(_device_problem, "FEW", 1)
    options = {"norm": norm, "gtol": 1e-2}
    result = minimize(chained, START[:7].astype(np.float32), jac=True, method=METHOD, options=options)
    assert "gtol" in result.message
    assert np.linalg.norm(result.jac, norm) <= 1e-2


def test_operations_an_iteration_do_not_grow():
    """As the documentation says: some thirty of the framework's, whatever the number of variables and leaves."""
    torch = pytest.importorskip("torch", reason="counts the operations that PyTorch dispatches")
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            Count.calls += 1
            return function(*args, **(kwargs or {}))

    def operations(size, leaves, limit):
        x0 = [torch.full((size,), 3.0, dtype=torch.float32) for _ in range(leaves)]

        def fun(x):
            with torch.utils._python_dispatch._disable_current_modes():
                return sum(((leaf - 1.0) ** 4).sum() for leaf in x)

        Count.calls = 0
        with Count():
            result = minimize(fun, x0, method=METHOD, options={"maxfun": limit, "gtol": 0.0})
        assert result.nfev == limit
        return Count.calls

    def each(size, leaves):
        return (operations(size, leaves, 22) - operations(size, leaves, 12)) / 10

    operations(3, 1, 12)  # what is asked once a process
    assert each(3, 1) == each(50, 1)
    assert each(3, 1) <= 50


def test_the_callers_matrix_is_not_written_into():
    begun = np.eye(10)
    minimize(chained, START, jac=True, method=METHOD, options={"hess_inv0": begun})
    np.testing.assert_array_equal(begun, np.eye(10))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": 0.5}, r"options\['norm'\] must be a number of at least 1"),
        ({"c1": 0.5, "c2": 0.1}, r"options\['c1'\] and options\['c2'\] must be numbers with 0 < c1 < c2 < 1"),
        ({"c2": "0.9"}, r"options\['c2'\] must be a number, not negative, not '0.9'"),
        ({"c2": 1}, r"options\['c1'\] and options\['c2'\] must be numbers with"),
        ({"hess_inv0": np.eye(5)}, r"options\['hess_inv0'\] must have shape \(6, 6\), not \(5, 5\)"),
        ({"hess_inv0": "eye"}, r"options\['hess_inv0'\] must be a matrix of numbers"),
        ({"hess_inv0": np.triu(np.ones((6, 6)))}, r"options\['hess_inv0'\] must be symmetric"),
        (
            {"hess_inv0": 1e-9 * (np.eye(6) + 0.1 * np.triu(np.ones((6, 6))))},
            r"options\['hess_inv0'\] must be symmetric",
        ),
        ({"hess_inv0": -np.eye(6)}, r"options\['hess_inv0'\] must be positive definite"),
        ({"hess_inv0": np.full((6, 6), math.nan)}, r"options\['hess_inv0'\] must be"),
    ],
)
def test_a_senseless_option_is_refused(options, message):
    def never(x):
        raise AssertionError("evaluated")

    with pytest.raises(InputError, match=message):
        minimize(never, np.zeros(6), jac=True, method=METHOD, options=options)


def test_bounds_are_for_other_methods():
    with pytest.raises(MethodError, match=r"device-bfgs cannot keep to bounds\. Methods that can: .*device-lbfgs"):
        minimize(bowl, np.zeros(6), jac=True, method=METHOD, bounds=(0, 1))


def test_a_matrix_that_would_be_too_large_is_an_error():
    def never(x):
        raise AssertionError("evaluated")

    with pytest.raises(MethodError, match=r"of 20 GB: n is 50000, and may be 46340. device-lbfgs"):
        minimize(never, np.zeros(50_000), jac=True, method=METHOD)


def test_no_memory_for_the_matrix_is_the_same_error(monkeypatch):
    from dmin_core._device_problem import DeviceProblem

    def refuse(self):
        raise MemoryError

    monkeypatch.setattr(DeviceProblem, "square", refuse)
    with pytest.raises(MethodError, match=r"of 2\.88e-07 GB: n is 6, and there is no memory for that") as caught:
        minimize(bowl, np.zeros(6), jac=True, method=METHOD)
    assert isinstance(caught.value.__cause__, MemoryError)


def test_a_namespace_without_zeros_is_not_taken_for_a_lack_of_memory(monkeypatch):
    from dmin_core._device_problem import DeviceProblem

    def refuse(self):
        raise AttributeError("the namespace has no 'zeros'")

    monkeypatch.setattr(DeviceProblem, "square", refuse)
    with pytest.raises(AttributeError, match="the namespace has no 'zeros'"):
        minimize(bowl, np.zeros(6), jac=True, method=METHOD)


def test_a_matrix_that_is_spoilt_is_given_up():
    """Where the objective changes its scale on the way, what was learnt may lead upwards: it starts from anew."""

    def fun(x):
        y = np.where(x > 0.5, 1e6 * (x - 0.5) + 0.5, x)
        return np.sum(y**2 + np.cos(3 * y)), (2 * y - 3 * np.sin(3 * y)) * np.where(x > 0.5, 1e6, 1.0)

    result = minimize(fun, np.full(4, 3.0), jac=True, method=METHOD)
    assert np.abs(result.jac).max() < 1e-3 or result.success
    assert result.fun < fun(np.zeros(4))[0]
