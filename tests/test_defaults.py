"""The core's own hooks, on a backend that has only the three required ones."""

from types import SimpleNamespace

import numpy as np
import pluggy
import pytest

from dmin_core import hookimpl
from dmin_core._plugins import Backend, Entry
from dmin_core.hookspecs import BackendSpec

EPS = np.finfo(float).eps
EPS32 = float(np.finfo(np.float32).eps)


class Least:
    """NumPy as a framework that can only move arrays: all else is the core's."""

    @hookimpl
    def to_numpy(self, array):
        return np.asarray(array)

    @hookimpl
    def from_numpy(self, array, like):
        return np.array(array, dtype=None if like is None else like.dtype)

    @hookimpl
    def device(self, array):
        return "cpu"


def loaded(plugin):
    manager = pluggy.PluginManager("dmin")
    manager.add_hookspecs(BackendSpec)
    manager.register(plugin)
    return Backend(Entry("least", "least", "dmin-least", "1"), manager)


@pytest.fixture
def backend():
    return loaded(Least())


A = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 2.0]])
POINT = (np.array([1.0, -2.0]), np.array([[0.5]]))
X = np.array([1.0, -2.0, 0.5])
V = np.array([0.5, 1.0, -1.0])


def quadratic(point, shift=0.0):
    x = np.concatenate([np.ravel(a) for a in point]) - shift
    return 0.5 * x @ A @ x


def assert_point(actual, expected, atol):
    assert [a.shape for a in actual] == [(2,), (1, 1)]
    np.testing.assert_allclose(np.concatenate([np.ravel(a) for a in actual]), expected, atol=atol)


class Standard:
    """An array that has what the array API says and no more: `reshape` and `astype` are functions of its namespace."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape, self.dtype = self.values.shape, self.values.dtype

    def __getitem__(self, key):
        return Standard(self.values[key])


def test_split_takes_arrays_without_methods(monkeypatch, backend):
    namespace = SimpleNamespace(
        reshape=lambda array, shape: Standard(array.values.reshape(shape)),
        astype=lambda array, dtype: Standard(array.values.astype(dtype)),
    )
    monkeypatch.setattr(backend, "namespace", lambda array: namespace)
    first, second = backend.split(Standard(np.arange(5.0)), ((2, 2), ()), (np.float32, np.float64))
    np.testing.assert_array_equal(first.values, np.array([[0, 1], [2, 3]], np.float32), strict=True)
    np.testing.assert_array_equal(second.values, np.array(4.0), strict=True)


def test_a_backend_without_derivatives_says_so(backend):
    assert (backend.exact_gradient, backend.exact_hvp) == (False, False)


def test_value_and_grad_takes_differences(backend):
    value, gradient = backend.value_and_grad(quadratic)(POINT)
    assert value == quadratic(POINT)
    assert_point(gradient, A @ X, atol=20 * EPS**0.5)


def test_value_and_grad_hands_on_args(backend):
    _, gradient = backend.value_and_grad(quadratic)(POINT, 1.0)
    assert_point(gradient, A @ (X - 1.0), atol=20 * EPS**0.5)


def test_value_and_grad_takes_steps_for_the_dtype(backend):
    point = tuple(a.astype(np.float32) for a in POINT)
    _, gradient = backend.value_and_grad(lambda p: np.float32(quadratic(p)))(point)
    assert {a.dtype for a in gradient} == {np.dtype(np.float32)}
    assert_point(gradient, A @ X, atol=20 * EPS32**0.5)


def test_hvp_differences_the_differences(backend):
    vector = (V[:2], V[2:].reshape(1, 1))
    assert_point(backend.hvp(quadratic)(POINT, vector), A @ V, atol=50 * EPS ** (1 / 3))


def test_hvp_differences_an_exact_gradient_where_the_backend_has_one():
    class Differentiates(Least):
        @hookimpl
        def value_and_grad(self, fun):
            def evaluate(point, *args):
                g = A @ np.concatenate([np.ravel(a) for a in point])
                return fun(point, *args), (g[:2], g[2:].reshape(1, 1))

            return evaluate

    backend = loaded(Differentiates())
    assert (backend.exact_gradient, backend.exact_hvp) == (True, False)
    product = backend.hvp(quadratic)(POINT, (V[:2], V[2:].reshape(1, 1)))
    assert_point(product, A @ V, atol=50 * EPS**0.5)


def test_value_is_fun_itself(backend):
    assert backend.value(quadratic)(POINT, 1.0) == quadratic(POINT, 1.0)


def test_hessian_is_dense_and_symmetric(backend):
    matrix = backend.hessian(quadratic)(POINT)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix, A, atol=50 * EPS ** (1 / 3))


def test_jacobian_is_taken_column_by_column(backend):
    matrix = backend.jacobian(lambda point: np.array([point[0][0] * point[1][0, 0], point[0][1]]))(POINT)
    np.testing.assert_allclose(matrix, [[0.5, 0.0, 1.0], [0.0, 1.0, 0.0]], atol=20 * EPS**0.5)


def test_split_cuts_in_order_and_casts(backend):
    shapes, dtypes = (
        ((2,), (), (0, 3), (1, 2)),
        (np.dtype(float), np.dtype(np.float32), np.dtype(float), np.dtype(float)),
    )
    pieces = backend.split(np.arange(5.0), shapes, dtypes)
    assert [p.shape for p in pieces] == list(shapes)
    assert [p.dtype for p in pieces] == list(dtypes)
    np.testing.assert_array_equal(np.concatenate([np.ravel(p) for p in pieces]), np.arange(5.0))


@pytest.mark.parametrize("inside", [True, False])
def test_restore_leaves_the_array_as_it_is(backend, inside):
    assert backend.restore(array := np.zeros(2), np.ones(2), inside) is array


def test_namespace_is_of_the_array(backend):
    assert float(backend.namespace(np.zeros(2)).sum(np.ones(2))) == 2.0


def test_compile_is_the_function_itself(backend):
    assert backend.compile(quadratic) is quadratic


def test_while_loop_is_pythons(backend):
    assert backend.while_loop(lambda n: n < 100, lambda n: 2 * n, 3) == 192
    assert backend.while_loop(lambda n: False, lambda n: 1 / 0, 3) == 3


@pytest.mark.parametrize(("predicate", "expected"), [(True, 5), (np.bool_(False), -1)])
def test_cond_chooses_and_calls_only_one(backend, predicate, expected):
    called = []
    result = backend.cond(
        predicate, lambda a, b: called.append("true") or a + b, lambda a, b: called.append("false") or a - b, (2, 3)
    )
    assert result == expected
    assert called == ["true" if predicate else "false"]


def test_framework_and_devices_have_plain_answers(backend):
    assert backend.framework() == "least"
    assert backend.devices() == ("cpu",)


def test_what_is_fed_to_an_evaluator_is_made_as_any_array(backend):
    fed = backend.feed(np.array([1.0, 2.0]), np.zeros(1, np.float32))
    assert fed.dtype == np.float32
    np.testing.assert_array_equal(fed, [1.0, 2.0])


def test_nothing_is_a_container_of_the_frameworks(backend):
    assert backend.container(object()) is None
    with pytest.raises(NotImplementedError, match="takes containers apart"):
        backend.rebuild(None, [])


def test_nothing_is_sharded_and_nothing_compiled_on_request(backend):
    assert backend.is_sharded(np.zeros(3)) is False
    assert not backend.compiles_on_request
    with pytest.raises(NotImplementedError, match="refuses compile=True"):
        backend.compile_fun(abs, np.zeros(1))
