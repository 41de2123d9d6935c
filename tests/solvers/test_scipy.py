"""SciPy's methods, given whatever each can use, over the nest."""

import numpy as np
import pytest
from scipy.optimize import BFGS, OptimizeWarning, rosen, rosen_der, rosen_hess, rosen_hess_prod
from scipy.optimize import minimize as scipy_minimize

from dmin_core import MethodError, minimize
from dmin_core.solvers import EMBEDDED, SCIPY_METHODS, able

pytestmark = pytest.mark.numpy

# The Hessian of Rosenbrock's function is positive definite on the way from here, as dogleg wants it.
X0 = {"head": 1.1, "tail": np.array([[1.2, 1.4]])}
FLAT = np.array([1.1, 1.2, 1.4])


def flat(p):
    return np.concatenate([np.ravel(p["head"]), np.ravel(p["tail"])])


def nest(x):
    return {"head": x[0], "tail": x[1:].reshape(1, 2)}


def fun(p):
    return rosen(flat(p))


def jac(p):
    return nest(rosen_der(flat(p)))


def hess(p):
    return rosen_hess(flat(p))


def hessp(p, v):
    return nest(rosen_hess_prod(flat(p), flat(v)))


class Calls:
    """Counts calls of a function."""

    def __init__(self, function):
        self.function, self.count = function, 0

    def __call__(self, *args):
        self.count += 1
        return self.function(*args)


def derivatives(method):
    ability = EMBEDDED[method]
    given = {"jac": jac, "hess": hess}
    return {name: given[name] for name in given if ability.get({"jac": "gradient"}.get(name, name))}


@pytest.mark.parametrize("tol", [None, 0.03])
@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_the_path_is_that_of_scipy_over_the_flat_vector(method, tol):
    """Same derivatives, same evaluations, same answer: dmin adds nothing and loses nothing."""
    ours = derivatives(method)
    theirs = {"jac": rosen_der, "hess": rosen_hess}
    result = minimize(fun, X0, method=method, tol=tol, **ours)
    expected = scipy_minimize(rosen, FLAT, method=method, tol=tol, **{name: theirs[name] for name in ours})
    if result.fun == pytest.approx(expected.fun, rel=1e-9):
        np.testing.assert_allclose(flat(result.x), expected.x, rtol=1e-9)
    else:  # before SciPy 1.16 it returns its last point, which may not be its best
        assert (method, tol, result.nfev) == ("COBYLA", 0.03, expected.nfev)
        assert result.fun < expected.fun
    assert result.success == expected.success
    assert result.nit == expected.get("nit", result.nit)
    assert result.nfev <= expected.nfev
    if tol is not None:
        assert result.nfev < minimize(fun, X0, method=method, **ours).nfev


def test_what_lbfgsb_would_print_is_not_asked_for(capfd):
    """SciPy prints nothing any more, and warns of being asked."""
    plain, asked = (minimize(fun, X0, method="L-BFGS-B", jac=jac, options=given) for given in ({}, {"iprint": 1}))
    assert asked.nfev == plain.nfev
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("method", able("gradient"))
def test_without_derivatives_the_answer_is_the_same(method):
    result = minimize(fun, X0, method=method)
    assert result.fun < 1e-5
    np.testing.assert_allclose(flat(result.x), 1.0, atol=1e-2)


@pytest.mark.parametrize("method", able("hessp"))
def test_products_are_used_where_given(method):
    product = Calls(hessp)
    result = minimize(fun, X0, method=method, jac=jac, hessp=product)
    np.testing.assert_allclose(flat(result.x), 1.0, atol=1e-3)
    assert product.count == result.nhev > 0


@pytest.mark.parametrize("method", able("hess"))
def test_dense_hessians_are_used_where_given(method):
    matrix = Calls(hess)
    result = minimize(fun, X0, method=method, jac=jac, hess=matrix)
    np.testing.assert_allclose(flat(result.x), 1.0, atol=1e-3)
    assert matrix.count == result.nhev > 0


@pytest.mark.parametrize("method", ["dogleg", "trust-exact"])
def test_products_make_a_dense_hessian_where_one_is_needed(method):
    result = minimize(fun, X0, method=method, jac=jac, hessp=hessp)
    np.testing.assert_allclose(flat(result.x), 1.0, atol=1e-3)


@pytest.mark.parametrize("strategy", ["2-point", "3-point", BFGS()], ids=["2-point", "3-point", "BFGS"])
def test_trust_constr_takes_scipys_strategies(strategy):
    result = minimize(fun, X0, method="trust-constr", jac=jac, hess=strategy)
    np.testing.assert_allclose(flat(result.x), 1.0, atol=1e-3)


@pytest.mark.parametrize("method", ["trust-exact", "dogleg"])
@pytest.mark.parametrize("strategy", ["2-point", BFGS()], ids=["2-point", "BFGS"])
def test_a_strategy_is_refused_where_a_dense_hessian_is_needed(method, strategy):
    with pytest.raises(MethodError, match=method):
        minimize(fun, X0, method=method, jac=jac, hess=strategy)


@pytest.mark.parametrize("method", able("hessp"))
def test_a_complex_step_of_the_gradient_is_refused(method):
    with pytest.raises(ValueError, match=r"hess.*'?cs'?"):
        minimize(fun, X0, method=method, jac=jac, hess="cs")


def on_the_face(x):
    """Least value of Rosenbrock's function with the first variable at ``x``."""
    return scipy_minimize(lambda rest: rosen([x, *rest]), [x**2, x**4], method="BFGS", options={"gtol": 1e-9}).fun


@pytest.mark.parametrize("method", able("bounds"))
def test_no_evaluation_lies_outside_bounds_unless_the_method_says_so(method):
    seen = []

    def watched(p):
        seen.append(flat(p))
        return fun(p)

    limits = {"options": {"maxiter": 3000}} if method == "COBYLA" else {}
    result = minimize(watched, X0, method=method, bounds={"head": (1.1, None), "tail": (None, 1.5)}, **limits)
    lb, ub = np.array([1.1, -np.inf, -np.inf]), np.array([np.inf, 1.5, 1.5])
    within = [(lb <= x).all() and (x <= ub).all() for x in seen]
    assert all(within) or not EMBEDDED[method].get("strict_bounds", True)
    assert result.fun == pytest.approx(on_the_face(1.1), rel=0.03)
    assert result.x["head"] == pytest.approx(1.1, abs=1e-3)


@pytest.mark.parametrize("method", able("bounds"))
def test_fixed_variables_stay(method, capsys):
    result = minimize(fun, X0, method=method, bounds={"head": (1.1, 1.1)}, options={"maxfun": 1000})
    assert result.x["head"] == pytest.approx(1.1, abs=1e-6)
    assert result.fun == pytest.approx(on_the_face(1.1), rel=0.03)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "SLSQP"])
def test_everything_fixed_is_the_start(method):
    tail = X0["tail"]
    result = minimize(fun, X0, method=method, jac=jac, bounds={"head": (1.1, 1.1), "tail": (tail, tail)})
    np.testing.assert_array_equal(flat(result.x), FLAT)
    assert result.fun == rosen(FLAT)


def test_cobyqa_inside_cobyqa_is_refused_where_scipy_would_wait_for_ever():
    def nested(p):
        return minimize(fun, p, method=inner[0], options={"maxfun": 20}).fun

    inner = ["COBYQA"]
    with pytest.raises(MethodError, match="COBYQA cannot run inside a function that COBYQA minimises"):
        minimize(nested, X0, method="COBYQA", options={"maxfun": 3})
    inner[0] = "COBYLA"
    assert minimize(nested, X0, method="COBYQA", options={"maxfun": 3}).nfev == 3


def custom(fun, x0, args=(), jac=None, hessp=None, bounds=None, callback=None, step=1.0, **ignored):
    """SciPy's protocol: one Newton step for a quadratic, by the gradient and products."""
    matrix = np.array([hessp(x0, unit) for unit in np.eye(x0.size)])
    x = x0 - step * np.linalg.solve(matrix, jac(x0))
    callback(x)
    return {"x": x, "fun": fun(x), "success": True, "status": 0, "message": "one step"}


def test_a_callable_is_scipys_protocol_for_custom_methods():
    def quadratic(p):
        return np.sum((flat(p) - 2.0) ** 2)

    seen = []
    result = minimize(
        quadratic,
        X0,
        method=custom,
        jac=lambda p: nest(2.0 * (flat(p) - 2.0)),
        callback=seen.append,
        options={"step": 1.0},
    )
    np.testing.assert_allclose(flat(result.x), 2.0, rtol=1e-7)
    np.testing.assert_allclose(flat(seen[0]), 2.0, rtol=1e-7)
    assert (result.method, result.message, result.success, result.nit) == ("custom", "one step", True, 1)


def test_a_custom_method_gets_the_bounds():
    seen = []

    def look(fun, x0, args=(), bounds=None, **ignored):
        seen.append(bounds)
        return {"x": x0, "fun": fun(x0), "success": True}

    minimize(fun, X0, method=look, bounds={"head": (None, 2.0)})
    np.testing.assert_array_equal(seen[0].ub, [2.0, np.inf, np.inf])


def test_scipys_warning_comes_once():
    with pytest.warns(OptimizeWarning, match="direc input is not full rank") as caught:
        minimize(fun, X0, method="Powell", options={"direc": np.zeros((3, 3)), "maxiter": 2})
    assert len(caught) == 1


def test_a_linear_function_is_nothing_to_warn_of():
    """SciPy's trust-constr warns at each step that the gradient has not changed."""
    result = minimize(lambda x: np.sum(x), np.full(2, 0.5), method="trust-constr", jac=np.ones_like, bounds=(0, 1))
    np.testing.assert_allclose(result.x, 0.0, atol=1e-7)


@pytest.mark.parametrize("method", EMBEDDED)
def test_an_option_of_the_method_reaches_it(method):
    limit = "maxfun" if method == "TNC" else "maxfev" if method in ("COBYQA", "Powell") else "maxiter"
    result = minimize(fun, X0, method=method, options={limit: 6}, **derivatives(method))
    assert not result.success
    assert max(result.nit, result.nfev if limit.startswith("maxf") else 0) <= 9
