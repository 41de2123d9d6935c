"""A fault at whatever evaluation: nothing is lost, x0 is as it was, and a second call works.

Every method in every installed backend, with an exception, a nan, an inf and Ctrl-C at evaluations 1, 2, 7 and one
chosen by chance. A seeded sample of them runs always, the whole with ``-m soak``. Frameworks that compile run `fun` as
plain Python here, for it has to misbehave at its own time; faults inside compiled functions are in the plugins' tests,
and at the end of this file.
"""

import math
import random
import signal
import threading
import warnings

import numpy as np
import optree
import pytest

from dmin_core import Interrupted, ObjectiveError, backends, get_backend, methods, minimize
from dmin_core.testing.problems import flat, smooth

USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
FAULTS = ["exception", "nan", "inf", "Ctrl-C"]
KEPT = 3
"""How many of the sixteen faults of a method in a backend run always."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "at" in metafunc.fixturenames:
        metafunc.parametrize(("backend", "method", "fault", "at"), list(_cases()))


def _cases():
    chance = random.Random(20240229)
    for backend in USABLE:
        for method in methods():
            faults = [(fault, at) for fault in FAULTS for at in (1, 2, 7, chance.randint(3, 20))]
            always = chance.sample(range(len(faults)), KEPT)
            for i, (fault, at) in enumerate(faults):
                marks = [] if i in always else [pytest.mark.soak]
                yield pytest.param(backend, method, fault, at, id=f"{backend}-{method}-{fault}-{i}@{at}", marks=marks)


class Boom(Exception):
    """The user's own."""


class Spoilt:
    """``fun``, but for one evaluation."""

    def __init__(self, fun, fault, at):
        self.fun, self.fault, self.at, self.count = fun, fault, at, 0

    def __call__(self, *args):
        self.count += 1
        if self.count == self.at:
            if self.fault == "exception":
                raise Boom
            if self.fault == "Ctrl-C":
                raise KeyboardInterrupt
        value = self.fun(*args)
        return value * float(self.fault) if self.count == self.at else value


def state():
    """What a run must leave as it found it."""
    from threadpoolctl import threadpool_info

    return (
        signal.getsignal(signal.SIGINT),
        warnings.showwarning,
        list(warnings.filters),
        threading.active_count(),
        sorted((info["filepath"], info["num_threads"]) for info in threadpool_info()),
        np.geterr(),
    )


@pytest.mark.filterwarnings("ignore:(trust-krylov. )?(overflow|invalid value) encountered:RuntimeWarning")
def test_nothing_is_lost(backend, method, fault, at):
    host, ability, problem = get_backend(backend), methods()[method], smooth()
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    plain, x0, data = problem.pose(xp, lambda array: host.from_numpy(np.array(array), None))
    before = optree.tree_map(lambda leaf: np.array(host.to_numpy(leaf)), x0)
    fun = Spoilt(plain, fault, at)
    options = {"maxiter": 400} if method in ("COBYLA", "Nelder-Mead") else {}

    def run():
        return minimize(fun, x0, args=data, method=method, compile=False, options=options)

    def value(x):
        return float(host.to_numpy(plain(x, *data)))

    def check(result):
        gap, distance = problem.tolerances(2.3e-16, ability, exact_gradient=host.exact_gradient)
        assert abs(result.fun - problem.value) <= max(gap, 1e-6)
        assert np.linalg.norm(flat(optree.tree_map(host.to_numpy, result.x)) - flat(problem.answer)) <= distance
        assert result.fun == pytest.approx(value(result.x), rel=1e-12)

    found = state()
    try:
        result = run()
        assert fun.count < at or fault in ("nan", "inf")
        assert result.nfail >= 1 or fun.count < at
        check(result)
    except Boom as error:
        assert fault == "exception"
        notes = getattr(error, "__notes__", None)
        assert notes is None or notes[-1].startswith(f"dmin: raised in {method} at evaluation ")
    except Interrupted as interrupt:
        assert fault == "Ctrl-C"
        result = interrupt.result
        assert not result.success
        assert result.nfev <= at
        if at > 1:
            assert result.fun == pytest.approx(value(result.x), rel=1e-12)
            assert result.fun == min(result.history.fun) <= value(x0)
    except ObjectiveError as error:
        said = str(error)
        assert at == 1
        assert "at the start" in said
    assert state() == found
    optree.tree_map(np.testing.assert_array_equal, optree.tree_map(host.to_numpy, x0), before)

    fun.at = -1
    check(run())


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("backend", USABLE)
def test_a_compiled_function_may_have_a_domain(backend, method):
    """nan by data, for what a compiled function does cannot be changed on the way."""
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    x0 = {"w": host.from_numpy(np.array([5.0, 0.25]), None), "v": host.from_numpy(np.array(3.0), None)}

    def fun(p):
        return xp.sum(p["w"] - xp.log(p["w"])) + p["v"] - xp.log(p["v"])

    with np.errstate(invalid="ignore", divide="ignore"):
        result = minimize(fun, x0, method=method)
    assert math.isclose(result.fun, 3.0, abs_tol=1e-4)
    np.testing.assert_allclose(flat(optree.tree_map(host.to_numpy, result.x)), 1.0, atol=0.02)
    assert np.isfinite(result.history.fun).sum() + result.nfail >= len(result.history)
