"""A method that gave up because evaluations had failed starts again from the best point, and arrives."""

import math

import numpy as np
import pytest

from dmin_core import Interrupted, minimize
from dmin_core.solvers import able
from dmin_core.solvers._restarts import GAVE_UP, MOST, persevere
from dmin_core.solvers._tolerances import NOT_FINITE

pytestmark = pytest.mark.numpy

W = np.array([1.0, 300.0, 7.0])
X0 = np.array([3.0, -0.7, 2.0])


class Stiff:
    """Convex, with its minimum 3 at zero and curvatures from 0.0025 to 225; of one of its answers it makes nan."""

    def __init__(self, what, at):
        self.what, self.at = what, at
        self.counts = {"value": 0, "gradient": 0, "hess": 0, "hessp": 0}

    def spoilt(self, what, answer):
        self.counts[what] += 1
        return answer * math.nan if (self.what, self.at) == (what, self.counts[what]) else answer

    def __call__(self, x):
        with np.errstate(over="ignore"):  # SLSQP's first step is as long as the gradient
            value, gradient = np.sum(np.cosh(W * x / 20)), W / 20 * np.sinh(W * x / 20)
        return self.spoilt("value", value), self.spoilt("gradient", gradient)

    def hess(self, x):
        return self.spoilt("hess", np.diag((W / 20) ** 2 * np.cosh(W * x / 20)))

    def hessp(self, x, v):
        return self.spoilt("hessp", (W / 20) ** 2 * np.cosh(W * x / 20) * v)


def run(method, what, at, **more):
    fun = Stiff(what, at)
    second = "hessp" if method in able("hessp") else "hess" if method in able("hess") else None
    given = {} if second is None else {second: getattr(fun, second)}
    return minimize(fun, X0, method=method, jac=True, **given, **more)


# CG's own line search gives up on this function, whatever happens: see below.
@pytest.mark.parametrize("method", [name for name in able("gradient") if name not in ("CG", "device-lbfgs")])
@pytest.mark.parametrize("what", ["value", "gradient", "hessp", "hess"])
def test_one_failure_anywhere_does_not_keep_a_method_from_its_answer(method, what):
    for at in range(2, 30):
        result = run(method, what, at)
        assert result.success, (at, result.message)
        assert result.fun == pytest.approx(3.0, abs=1e-5), at
        assert result.nfail <= 1 or method == "SLSQP"  # whose first step leads to where `fun` overflows


@pytest.mark.parametrize("method", ["trust-ncg", "trust-krylov", "trust-constr", "Newton-CG", "CG"])
def test_the_message_says_that_it_began_again(method):
    what = "value" if method == "CG" else "hessp"
    results = [run(method, what, at) for at in range(2, 30)]
    again = [result for result in results if "Begun again once from the best point" in result.message]
    assert again
    for result in again:
        assert result.success
        assert result.fun == pytest.approx(3.0, abs=1e-5)
        assert result.nfail == 1
        assert result.nfev == len(result.history)


def test_the_best_point_is_not_evaluated_again():
    seen = []

    class Seen(Stiff):
        def __call__(self, x):
            seen.append(x.copy())
            return super().__call__(x)

    fun = Seen("hessp", 2)
    result = minimize(fun, X0, method="trust-ncg", jac=True, hessp=fun.hessp)
    assert "Begun again" in result.message
    assert len({x.tobytes() for x in seen}) == len(seen) == result.nfev


@pytest.mark.parametrize("limit", [{"maxfun": 12}, {"maxiter": 12}])
def test_limits_hold_for_all_attempts_together(limit):
    free = run("trust-ncg", "hessp", 12)
    assert "Begun again" in free.message
    assert free.nit > 12
    assert free.nfev > 12
    result = run("trust-ncg", "hessp", 12, options=limit)
    assert not result.success
    assert result.nit <= 12
    assert result.nfev <= 14  # two attempts evaluated once more than they iterated


def test_iterations_and_callbacks_are_those_of_all_attempts():
    states = []
    result = run("trust-ncg", "hessp", 12, callback=states.append, options={"return_all": True})
    assert "Begun again" in result.message
    assert len(states) == result.nit
    assert len(result.allvecs) == result.nit + 2  # both starts
    unwatched = run("trust-ncg", "hessp", 12)
    assert unwatched.nit == result.nit


def test_without_a_failure_nothing_begins_again():
    result = run("CG", "value", 10**9)
    assert result.nfail == 0
    assert "Begun" not in result.message


def test_ctrl_c_in_a_later_attempt_still_has_the_best():
    fun, states = Stiff("hessp", 2), []

    def stop(x):
        states.append(x)
        if len(states) == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        minimize(fun, X0, method="trust-ncg", jac=True, hessp=fun.hessp, callback=stop)
    assert caught.value.result.fun == min(caught.value.result.history.fun)


def test_a_step_to_a_better_point_without_a_promise_is_no_convergence():
    """SciPy's trust regions end where they predict no gain, though the point that they tried was better."""
    for at in range(2, 30):
        result = run("trust-ncg", "hessp", at, options={"maxiter": 1})
        assert "Converged to the precision" not in result.message


# The loop itself ------------------------------------------------------------------------------------------


class Failing:
    """As much of a problem as the loop looks at; every attempt fails once, and goes a little further."""

    def __init__(self, moves=True):
        self.failures, self.count, self.moves = self, 0, moves
        self.x0 = np.zeros(1)
        self.best, self.nfev = None, 0

    def attempt(self, x0, options):
        self.count += 1
        self.nfev += 5
        if self.best is None or self.moves:
            best = self.best = type("Visit", (), {})()
            best.x = x0 + self.moves
        return {"status": NOT_FINITE, "success": False, "message": "Lost.", "nit": 4, "nfev": 5}

    def begin_again(self):
        return self.best.x

    def refine_differences(self):
        return False


def test_it_begins_again_a_few_times_at_most():
    problem = Failing()
    report = persevere("BFGS", problem, problem.attempt, {})
    assert problem.count == MOST + 1
    assert report["nit"] == 4 * (MOST + 1)
    assert report["message"] == (
        f"Lost. Begun again {MOST} times from the best point, after evaluations that had failed."
    )


def test_from_where_it_began_it_does_not_begin_again():
    problem = Failing(moves=False)
    persevere("BFGS", problem, problem.attempt, {})
    assert problem.count == 1


@pytest.mark.parametrize(("limit", "attempts"), [({"maxiter": 9}, 3), ({"maxiter": 8}, 2), ({"maxfev": 10}, 2)])
def test_it_ends_with_the_methods_own_limit(limit, attempts):
    problem = Failing()
    persevere("COBYQA", problem, problem.attempt, limit)
    assert problem.count == attempts


@pytest.mark.parametrize("method", GAVE_UP)
def test_limits_and_convergence_are_no_reason(method):
    problem = Failing()
    for status in (0, 1):
        persevere(
            method, problem, lambda x0, options, status=status: {**problem.attempt(x0, options), "status": status}, {}
        )
    assert problem.count == 2
