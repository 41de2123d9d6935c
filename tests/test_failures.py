"""Values that are not finite count as +inf: they shorten the step, are counted, and are never the answer."""

import math

import numpy as np
import pytest

from dmin_core import minimize
from dmin_core._failures import Failures
from dmin_core._problem import Visit
from dmin_core.solvers import EMBEDDED, SCIPY_METHODS, able
from dmin_core.solvers._tolerances import TRUST_REGIONS

pytestmark = pytest.mark.numpy

BAD = [math.nan, math.inf, -math.inf]
X0 = {"a": np.array([3.0, -1.0]), "b": 2.0}


def flat(p):
    return np.concatenate([p["a"], [p["b"]]])


def nest(x):
    return {"a": x[:2], "b": x[2]}


class Bowl:
    """Convex, with its minimum 3 at (0, 0, 0); what it returns at some evaluations is another's."""

    weights = np.array([1.0, 4.0, 2.0])

    def __init__(self, instead=None, at=()):
        self.instead, self.at, self.seen = instead, at, []

    def value(self, x):
        return float(np.sum(np.cosh(self.weights * x / 4)))

    def slope(self, x):
        return self.weights / 4 * np.sinh(self.weights * x / 4)

    def __call__(self, p):
        x = flat(p)
        self.seen.append(x)
        f, g = self.value(x), self.slope(x)
        if len(self.seen) in self.at:
            f, g = self.instead(f, g)
        return f, nest(g)


def hess(p):
    return np.diag((Bowl.weights / 4) ** 2 * np.cosh(Bowl.weights * flat(p) / 4))


def run(fun, method, **more):
    second = {"hess": hess} if EMBEDDED[method].get("hess") else {}
    return minimize(fun, X0, method=method, jac=True, **second, **more)


def check(result, method):
    assert result.success, result.message
    assert result.fun == pytest.approx(3.0, abs=1e-4)
    np.testing.assert_allclose(flat(result.x), 0.0, atol=0.02)
    assert result.fun == Bowl().value(flat(result.x))


# What a solver is told ------------------------------------------------------------------------------------


def base(x, f, g):
    return Visit(np.array(x), f, np.array(g), True)


def test_the_stand_in_has_its_minimum_at_a_tenth_of_the_step():
    failures = Failures(lambda error: False)
    failures.base = base([1.0, 2.0], 5.0, [-3.0, 1.0])
    step = np.array([4.0, 2.0])
    f, g = failures.stand_in(failures.base.x + step, [])
    slope = failures.base.g @ step
    assert slope < 0
    # The quadratic along the step with these slopes at both ends: it has this value, and this minimum.
    assert f == pytest.approx(5.0 + (slope + g @ step) / 2)
    assert slope / (slope - g @ step) == pytest.approx(0.1)
    assert f > 5.0


@pytest.mark.parametrize(
    ("x", "g"),
    [([1.0, 2.0], [1.0, 0.0]), ([1.0, 9.0], [1.0, 0.0]), ([1e300, -1e300], [1e300, 0.0]), ([math.inf, 0], [1, 1])],
)
def test_the_stand_in_is_finite_and_worse_wherever_it_stands(x, g):
    failures = Failures(lambda error: False)
    failures.base = base([1.0, 2.0], 5.0, g)
    f, g = failures.stand_in(np.array(x, dtype=float), [(1, 5.0)])
    assert math.isfinite(f)
    assert np.isfinite(g).all()
    assert f > 5.0


def test_a_bad_gradient_beside_a_good_value_turns_a_line_search_back_and_no_trust_region():
    failures = Failures(lambda error: False)
    np.testing.assert_array_equal(failures.slope(np.ones(2)), [0.0, 0.0])
    failures.base = base([1.0, 2.0], 5.0, [-3.0, 1.0])
    step = np.array([4.0, 2.0])
    assert failures.base.g @ step < 0 < failures.slope(failures.base.x + step) @ step
    failures.turns_back = False
    np.testing.assert_array_equal(failures.slope(failures.base.x + step), failures.base.g)


def test_without_gradients_the_stand_in_is_worse_than_all_there_was():
    failures = Failures(lambda error: False)
    history = [(1, 5.0), (2, -2.0), (3, math.inf), (4, 7.0)]
    assert failures.stand_in(np.zeros(2), history) == (7.0 + 10 * 9.0 + 8.0, None)
    history.append((5, 1e308))
    assert failures.stand_in(np.zeros(2), history)[0] < math.inf


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("method", EMBEDDED)
def test_a_value_that_is_not_finite_does_not_stop_a_run(method, bad):
    fun = Bowl(lambda f, g: (bad, g), at=(2, 3))
    result = run(fun, method)
    check(result, method)
    assert result.nfail == 2
    assert np.isinf(result.history.fun[1:3]).all()
    assert np.isfinite(np.delete(result.history.fun, [1, 2])).all()


@pytest.mark.parametrize("method", able("gradient"))
def test_it_shortens_the_step(method):
    k = 2 if method == "TNC" else 1  # TNC's second evaluation is for a difference
    fun = Bowl(lambda f, g: (math.nan, g), at=(k + 1,))
    run(fun, method)
    start, bad, after = fun.seen[0], *fun.seen[k : k + 2]
    assert np.linalg.norm(after - start) < 0.6 * np.linalg.norm(bad - start)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("method", able("gradient"))
def test_a_gradient_that_is_not_finite_does_not_stop_a_run(method, bad):
    fun = Bowl(lambda f, g: (f, np.array([g[0], bad, g[2]])), at=(2, 4))
    result = run(fun, method)
    check(result, method)
    assert result.nfail == 2
    assert np.isfinite(result.history.fun).all()
    assert not np.isfinite(result.history.grad_norm[1])


@pytest.mark.parametrize("method", [name for name in EMBEDDED if name not in able("gradient")])
def test_methods_without_gradients_do_not_mind_a_bad_one(method):
    result = run(Bowl(lambda f, g: (f, g * math.nan), at=range(2, 9999)), method)
    check(result, method)
    assert result.nfail == 0


@pytest.mark.parametrize("method", able("gradient"))
def test_a_gradient_of_its_own_function_may_fail_too(method):
    fun, calls = Bowl(), []

    def jac(p):
        calls.append(p)
        return nest(fun.slope(flat(p)) * (math.nan if len(calls) == 2 else 1.0))

    result = minimize(
        lambda p: fun.value(flat(p)), X0, method=method, jac=jac, hess=hess if method in able("hess") else None
    )
    check(result, method)
    assert result.nfail == 1


@pytest.mark.parametrize("method", [name for name in able("gradient") if name in SCIPY_METHODS and name != "TNC"])
def test_after_a_bad_gradient_a_line_search_turns_back_and_a_trust_region_goes_on(method):
    """TNC asks for gradients at other points than those it goes to."""
    fun, values, gradients = Bowl(), [], []

    def value(p):
        values.append(flat(p))
        return fun.value(flat(p))

    def jac(p):
        gradients.append((len(values), flat(p)))
        return nest(fun.slope(flat(p)) * (math.nan if len(gradients) == 2 else 1.0))

    minimize(value, X0, method=method, jac=jac, hess=hess if method in able("hess") else None)
    known, bad = gradients[1]
    step, following = bad - values[0], next(x for x in values[known:] if (x != bad).any())
    gone = (following - values[0]) @ step / (step @ step)
    assert gone > 1.0 if method in TRUST_REGIONS else 0.0 < gone < 1.0


@pytest.mark.parametrize("method", EMBEDDED)
def test_a_domain_need_not_be_written_as_bounds(method):
    def fun(p):
        if (p["w"] <= 0).any():
            return math.nan, {"w": np.full(2, math.nan)}
        return np.sum(p["w"] - np.log(p["w"])), {"w": 1 - 1 / p["w"]}

    second = {"hess": lambda p: np.diag(p["w"] ** -2.0)} if method in able("hess") else {}
    result = minimize(fun, {"w": np.array([5.0, 0.1])}, method=method, jac=True, **second)
    assert result.success, result.message
    np.testing.assert_allclose(result.x["w"], 1.0, atol=0.01)


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG", "SLSQP"])
def test_a_run_towards_the_edge_of_the_domain_has_not_converged(method):
    """The first evaluation of a fresh start is the best point again: no trial, so it shows no precision reached."""

    def fun(x):
        with np.errstate(all="ignore"):
            return np.sum(np.log(x)), 1 / x

    result = minimize(fun, np.ones(2), method=method, jac=True)
    assert not result.success, result.message
    assert result.jac.min() > 1


@pytest.mark.parametrize("method", EMBEDDED)
def test_where_all_else_fails_the_answer_is_the_start(method):
    fun = Bowl(lambda f, g: (math.nan, g), at=range(2, 9999))
    result = run(fun, method, options={"maxfun": 200})
    assert not result.success or method not in able("gradient")
    assert result.fun == Bowl().value(flat(X0))
    np.testing.assert_array_equal(flat(result.x), flat(X0))
    np.testing.assert_array_equal(flat(result.jac), Bowl().slope(flat(X0)))
    assert result.nfail == result.nfev - 1


def test_the_answer_may_be_where_the_gradient_is_not_finite():
    """The root has its minimum where it has no derivative."""
    seen = []

    def fun(x):
        seen.append(float(x))
        with np.errstate(divide="ignore"):
            return np.sqrt(x), 0.5 / np.sqrt(x)

    result = minimize(fun, 1.0, jac=True, bounds=(0.0, None))
    assert 0.0 in seen
    assert (result.fun, result.x, result.jac) == (0.0, 0.0, math.inf)


# Errors of linear algebra ---------------------------------------------------------------------------------


def likelihood(x, seen=None):
    """Of a covariance matrix that is not positive definite for all x."""
    matrix = np.array([[x[0], x[1]], [x[1], 1.0]])
    if seen is not None:
        seen.append(x)
    np.linalg.cholesky(matrix)
    return np.trace(matrix) - np.log(np.linalg.det(matrix)) + 0.3 * x[1]


@pytest.mark.parametrize("method", [name for name in EMBEDDED if name not in ("dogleg", "Newton-CG")])
def test_a_matrix_that_is_not_positive_definite_counts_as_inf(method):
    seen = []
    result = minimize(likelihood, np.array([6.0, -2.2]), (seen,), method=method)
    assert result.nfail >= sum(x[0] <= x[1] ** 2 for x in seen)  # a difference of differences counts as well
    expected = minimize(likelihood, np.array([1.0, 0.0]), method="BFGS")
    assert result.fun == pytest.approx(expected.fun, abs=1e-3)


def test_at_the_start_it_is_an_error():
    with pytest.raises(np.linalg.LinAlgError):
        minimize(likelihood, np.array([1.0, 2.0]))


@pytest.mark.parametrize("error", [ValueError, ArithmeticError, RuntimeError])
def test_other_errors_are_errors(error):
    def instead(f, g):
        raise error("mine")

    with pytest.raises(error, match="mine"):
        run(Bowl(instead, at=(2,)), "BFGS")


# Second derivatives ---------------------------------------------------------------------------------------


def fails(matrix):
    raise np.linalg.LinAlgError("singular")


@pytest.mark.parametrize(
    "instead", [lambda h: h * math.nan, lambda h: h * math.inf, fails], ids=["nan", "inf", "error"]
)
@pytest.mark.parametrize("method", able("hess"))
def test_a_hessian_that_is_not_finite_is_replaced(method, instead):
    calls = []

    def spoilt(p):
        calls.append(p)
        with np.errstate(invalid="ignore"):
            return instead(hess(p)) if len(calls) == 2 else hess(p)

    result = minimize(Bowl(), X0, method=method, jac=True, hess=spoilt)
    check(result, method)
    assert result.nfail == 1


@pytest.mark.parametrize("instead", [lambda h: h * math.nan, fails], ids=["nan", "error"])
@pytest.mark.parametrize("method", able("hessp"))
def test_a_product_that_is_not_finite_is_replaced(method, instead):
    calls = []

    def spoilt(p, v):
        calls.append(p)
        product = hess(p) @ flat(v)
        return nest(instead(product) if len(calls) in (1, 3) else product)

    result = minimize(Bowl(), X0, method=method, jac=True, hessp=spoilt)
    check(result, method)
    assert result.nfail == 2


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-exact", "Nelder-Mead"])
def test_a_checkpoint_knows_of_failures(method, tmp_path):
    def go():
        seen = []
        x0 = np.array([6.0, -2.2])
        return seen, minimize(likelihood, x0, (seen,), method=method, checkpoint=tmp_path / "run")

    first_seen, first = go()
    again_seen, again = go()
    assert first.nfail > 0
    assert len(first_seen) > 0 == len(again_seen)
    assert (again.fun, again.nfail, again.nfev) == (first.fun, first.nfail, first.nfev)
    np.testing.assert_array_equal(again.x, first.x)
    np.testing.assert_array_equal(again.history.fun, first.history.fun)
