"""Methods of second order get exact second derivatives, from every backend that differentiates, and compiled ones.

That they are products where products will do, that they are exact, and that nothing is traced twice, is counted.
"""

import numpy as np
import pytest

from dmin_core import backends, get_backend, methods, minimize
from dmin_core._problem import Problem
from dmin_core.testing.problems import rosenbrock

USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
BACKENDS = [name for name in USABLE if get_backend(name).exact_hvp] or [
    pytest.param(None, marks=pytest.mark.skip(reason="no backend that differentiates is installed"))
]
BY_PRODUCTS = ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr")
DENSE = ("dogleg", "trust-exact")


class Counted:
    """Rosenbrock's function over a nest, that counts how often Python runs it."""

    def __init__(self, backend):
        self.host = get_backend(backend)
        xp = self.host.namespace(self.host.from_numpy(np.zeros(1), None))
        self.problem = rosenbrock()
        self.fun, self.x0, _ = self.problem.pose(xp, lambda array: self.host.from_numpy(np.array(array), None))
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return self.fun(x)


@pytest.fixture
def asked(monkeypatch):
    """How often a solver asked the problem for products, and for dense Hessians; and whether they were right."""
    counts = {"product": 0, "hessian": 0}
    product, hessian = Problem.product, Problem.hessian
    known = rosenbrock()

    def expected(x):
        return known.hessian({"a": x[0], "rest": [x[1:3], {"c": x[3:].reshape(1, 1)}]})

    def must_be(got, wanted, scale):
        # Exact to rounding: the numbers of the Hessian are of the size of 1,000.
        np.testing.assert_allclose(got, wanted, rtol=0, atol=100 * np.finfo(float).eps * scale)

    def counted_product(self, x, v):
        counts["product"] += 1
        got = product(self, x, v)
        must_be(got, expected(x) @ v, 1e3 * np.linalg.norm(v))
        return got

    def counted_hessian(self, x):
        counts["hessian"] += 1
        got = hessian(self, x)
        must_be(got, expected(x), 1e3)
        return got

    monkeypatch.setattr(Problem, "product", counted_product)
    monkeypatch.setattr(Problem, "hessian", counted_hessian)
    return counts


def test_these_are_the_methods_of_second_order():
    table = methods()
    assert {name for name, method in table.items() if method.hessp and method.distribution == "dmin-core"} >= {
        *BY_PRODUCTS
    }
    assert {name for name in (*BY_PRODUCTS, *DENSE) if table[name].hess} == {*BY_PRODUCTS, *DENSE}


@pytest.mark.parametrize("method", BY_PRODUCTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_products_are_exact_and_no_dense_hessian_is_made(backend, method, asked):
    fun = Counted(backend)
    result = minimize(fun, fun.x0, method=method, tol=1e-9)
    assert result.fun < 1e-10
    assert result.nhev == asked["product"] >= 2 * result.nit or method == "trust-constr"
    assert asked["product"] > 5
    assert asked["hessian"] == 0


@pytest.mark.parametrize("method", DENSE)
@pytest.mark.parametrize("backend", BACKENDS)
def test_dense_hessians_are_exact(backend, method, asked):
    fun = Counted(backend)
    result = minimize(fun, fun.x0, method=method)
    assert result.fun < 1e-10
    assert result.nhev == asked["hessian"] >= result.nit
    assert asked["product"] == 0


@pytest.mark.parametrize("method", [*BY_PRODUCTS, *DENSE])
@pytest.mark.parametrize("backend", BACKENDS)
def test_python_runs_fun_only_while_it_is_compiled(backend, method):
    fun = Counted(backend)
    if not fun.host.compiles:
        pytest.skip(f"{backend} compiles nothing")
    first = minimize(fun, fun.x0, method=method)
    # A gradient, and a product or a Hessian; TensorFlow traces a row more, JAX may trace what it differentiates twice.
    traced = fun.calls
    assert first.nfev + first.nhev > 3 * traced
    second = minimize(fun, fun.x0, method=method)
    assert fun.calls == traced
    assert (second.nfev, second.nhev, second.fun) == (first.nfev, first.nhev, first.fun)


@pytest.mark.parametrize("method", BY_PRODUCTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_eager_framework_keeps_the_graph_of_a_point_for_all_its_products(backend, method):
    fun = Counted(backend)
    if fun.host.compiles:
        pytest.skip(f"{backend} compiles, and runs no Python")
    result = minimize(fun, fun.x0, method=method)
    # One call an evaluation, and one for all products at a point.
    assert fun.calls <= 2 * result.nfev
    assert result.nhev > result.nit


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_hessian_at_the_answer_compiles_once(backend):
    fun = Counted(backend)
    if not fun.host.compiles:
        pytest.skip(f"{backend} compiles nothing")
    minimize(fun, fun.x0).hessian()
    traced = fun.calls
    minimize(fun, fun.x0).covariance()
    assert fun.calls == traced
