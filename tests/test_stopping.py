"""A run can be stopped at any moment, by a limit or by Ctrl-C, and gives what it has found."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from dmin_core import Interrupted, minimize
from dmin_core._interrupts import Deferral
from dmin_core.solvers import EMBEDDED

pytestmark = pytest.mark.numpy

X0 = {"a": np.array([3.0, -1.0]), "b": 2.0}


def flat(p):
    return np.concatenate([p["a"], [p["b"]]])


def bowl(p):
    return float(np.sum(np.cosh(flat(p))))


@pytest.fixture(autouse=True)
def as_it_was():
    before = signal.getsignal(signal.SIGINT), threading.active_count()
    yield
    assert (signal.getsignal(signal.SIGINT), threading.active_count()) == before


# Ctrl-C: a real signal ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 2, 7])
@pytest.mark.parametrize("method", EMBEDDED)
def test_a_signal_within_fun(method, at):
    values = []

    def fun(p):
        values.append(bowl(p))
        if len(values) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return values[-1]

    with pytest.raises(Interrupted) as caught:
        minimize(fun, X0, method=method)
    result = caught.value.result
    assert result.nfev == len(values) == at
    assert (result.success, result.status) == (False, 130)
    if at > 1:
        assert result.fun == bowl(result.x) <= values[0]
    assert minimize(fun, X0, method=method).fun == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize("method", EMBEDDED)
def test_a_signal_from_another_thread(method):
    """Wherever it falls: within `fun`, within SciPy or within dmin."""
    interrupted = []

    def fun(p):
        time.sleep(0.001)
        return bowl(p)

    def go_on():
        while True:  # some methods are done before the signal
            minimize(fun, X0, method=method)

    timer = threading.Timer(0.05, lambda: (interrupted.append(True), os.kill(os.getpid(), signal.SIGINT)))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            go_on()
    finally:
        timer.join()
    # Between two runs it is none of dmin's.
    assert interrupted
    if isinstance(caught.value, Interrupted):
        assert caught.value.result.fun == bowl(caught.value.result.x) or caught.value.result.nfev <= 1


def test_a_signal_while_the_result_is_made(monkeypatch):
    from dmin_core import _minimize

    conclude, calls = _minimize._conclude, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return conclude(*args)

    monkeypatch.setattr(_minimize, "_conclude", interrupted)
    with pytest.raises(Interrupted) as caught:
        minimize(bowl, X0)
    assert caught.value.result.fun == pytest.approx(3.0, abs=1e-6)


# Ctrl-C and compiled functions ----------------------------------------------------------------------------


class Visits:
    """A problem over compiled functions, whose evaluations take a signal."""

    def __init__(self, compiled=True, signals=1):
        self.compiled, self.signals, self.done = compiled, signals, 0

    def defer(self, around):
        if around is None:
            vars(self).pop("visit")
        else:
            self.visit = around(self.visit)

    def visit(self, x):
        for _ in range(self.signals):
            signal.raise_signal(signal.SIGINT)
        self.done += 1
        return x


def test_an_evaluation_is_finished_first():
    problem = Visits()
    with Deferral(problem), pytest.raises(KeyboardInterrupt):
        problem.visit(1.0)
    assert problem.done == 1


def test_a_second_signal_does_not_wait():
    problem = Visits(signals=2)
    with Deferral(problem), pytest.raises(KeyboardInterrupt):
        problem.visit(1.0)
    assert problem.done == 0
    problem.signals = 0
    assert problem.visit(1.0) == 1.0


def test_between_evaluations_it_does_not_wait():
    problem = Visits(signals=0)
    with Deferral(problem):
        problem.visit(1.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("why", ["plain Python", "a handler of the user's", "another thread"])
def test_otherwise_nothing_is_changed(why):
    seen = []

    def look():
        with Deferral(Visits(compiled=why != "plain Python")):
            seen.append(signal.getsignal(signal.SIGINT))

    def own(number, frame):
        pass

    before = signal.getsignal(signal.SIGINT)
    if why == "a handler of the user's":
        signal.signal(signal.SIGINT, own)
    try:
        if why == "another thread":
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        else:
            look()
        assert seen == [own if why == "a handler of the user's" else before]
        assert signal.getsignal(signal.SIGINT) is seen[0]
    finally:
        signal.signal(signal.SIGINT, before)


# Limits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 5, 11])
@pytest.mark.parametrize("jac", [None, "3-point"])
@pytest.mark.parametrize("method", EMBEDDED)
def test_maxfun_holds_in_differences_line_searches_and_products(method, jac, limit):
    calls = []
    result = minimize(lambda p: calls.append(p) or bowl(p), X0, method=method, jac=jac, options={"maxfun": limit})
    assert len(calls) == result.nfev <= limit
    assert not result.success
    assert result.fun == bowl(result.x)


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (method, what)
        for what in ("fun", "hess", "hessp")
        for method in EMBEDDED
        if what == "fun" or EMBEDDED[method].get(what)
    ],
)
def test_maxtime_is_looked_at_before_every_call(method, what, monkeypatch):
    """Each call takes a second by a clock of our own."""
    from dmin_core import _problem

    ability = EMBEDDED[method]
    now, calls = [0.0], []
    monkeypatch.setattr(_problem, "perf_counter", lambda: now[0])

    def slow(name, function):
        def call(*args):
            if name == what:
                now[0] += 1.0
                calls.append(now[0])
            return function(*args)

        return call

    derivatives = {"jac": lambda p: {"a": np.sinh(p["a"]), "b": np.sinh(p["b"])}} if ability.get("gradient") else {}
    second = {
        "hess": lambda p: np.diag(np.cosh(flat(p))),
        "hessp": lambda p, v: {"a": np.cosh(p["a"]) * v["a"], "b": np.cosh(p["b"]) * v["b"]},
    }
    if what != "fun":
        derivatives[what] = slow(what, second[what])
    result = minimize(slow("fun", bowl), X0, method=method, options={"maxtime": 2.5}, **derivatives)
    assert len(calls) == 3  # the third began in time
    assert (result.success, result.status) == (False, 1)
    assert "2.5 seconds (maxtime)" in result.message
    assert result.fun == bowl(result.x)
