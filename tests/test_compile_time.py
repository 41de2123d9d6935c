"""Compilation is told apart from evaluation, and from what was compiled before."""

import time

import numpy as np
import pytest

from dmin_core import backends, get_backend, minimize
from dmin_core._compile_time import FirstCalls, Traces
from dmin_core._tree import Tree

USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
COMPILING = [name for name in USABLE if get_backend(name).compiles] or [
    pytest.param(None, marks=pytest.mark.skip(reason="no backend that compiles is installed"))
]


def pose(backend, slow=0.0):
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))

    def fun(p):
        time.sleep(slow)  # as long as Python runs it: while it is traced
        return xp.sum((p["w"] - 1.0) ** 4) + xp.sum(xp.exp(p["w"]))

    return fun, {"w": host.from_numpy(np.linspace(0, 2, 5), None)}


def parts_add_up(result):
    parts = [result.time[part] for part in ("objective", "copies", "solver", "compile")]
    assert all(seconds >= 0 for seconds in parts)
    assert sum(parts) == pytest.approx(result.time["total"])


@pytest.mark.parametrize("method", ["L-BFGS-B", "Nelder-Mead", "trust-ncg", "trust-exact"])
@pytest.mark.parametrize("backend", COMPILING)
def test_the_first_run_compiles_and_the_second_does_not(backend, method):
    fun, x0 = pose(backend, slow=0.05)
    first, second = (minimize(fun, x0, method=method, options={"maxiter": 30}) for _ in range(2))
    assert first.time["compile"] > 0.05 * (2 if method.startswith("trust") else 1)
    assert first.time["objective"] < first.time["compile"]
    assert second.time["compile"] == 0.0
    parts_add_up(first)
    parts_add_up(second)


@pytest.mark.parametrize("backend", COMPILING)
def test_an_evaluation_costs_nothing_more_after_the_first_two(backend):
    fun, x0 = pose(backend)
    problem = minimize(fun, x0, method="trust-ncg")._curvature.problem
    assert type(problem._evaluate_pair) is not FirstCalls


@pytest.mark.parametrize("backend", COMPILING)
def test_plain_python_compiles_nothing(backend):
    fun, x0 = pose(backend)
    result = minimize(fun, x0, compile=False, options={"maxfun": 3})
    assert result.time["compile"] == 0.0
    parts_add_up(result)


@pytest.mark.parametrize("backend", COMPILING)
def test_a_run_of_one_evaluation_is_compilation_whole(backend):
    fun, x0 = pose(backend, slow=0.05)
    result = minimize(fun, x0, options={"maxfun": 1})
    assert result.time["compile"] > 0.05
    parts_add_up(result)


@pytest.mark.parametrize("backend", COMPILING)
def test_auxiliary_output_compiles_too(backend):
    fun, x0 = pose(backend, slow=0.05)

    def with_aux(p):
        return fun(p), p["w"]

    assert minimize(with_aux, x0, has_aux=True).time["compile"] > 0.05
    assert minimize(with_aux, x0, has_aux=True).time["compile"] == 0.0


@pytest.mark.parametrize("backend", [name for name in USABLE if not get_backend(name).compiles])
def test_a_framework_that_compiles_nothing_takes_no_time_for_it(backend):
    fun, x0 = pose(backend)
    result = minimize(fun, x0)
    assert result.time["compile"] == 0.0
    parts_add_up(result)


class Clock:
    """What is charged, and what is called after the watch has stepped aside."""

    def __init__(self, traced):
        self.tree = Tree({"w": np.zeros(2)}, get_backend("numpy"))
        self.traces, self.left, self.charged, self.calls = Traces(self.tree.structure), list(traced), 0.0, 0
        self.function = FirstCalls(self.evaluate, self.traces, self.charge, self.step_aside)

    def evaluate(self, seconds):
        self.calls += 1
        time.sleep(seconds)
        if self.left and self.left.pop(0):
            self.tree.structure.unpack((np.zeros(2),))
        return "returned"

    def charge(self, seconds):
        self.charged += seconds

    def step_aside(self, function):
        self.function = function


def test_the_second_call_is_taken_from_the_first():
    clock = Clock([True])
    assert clock.function(0.06) == "returned"
    assert clock.charged >= 0.06
    clock.function(0.03)
    assert 0.01 < clock.charged < 0.05
    assert clock.function == clock.evaluate
    assert clock.calls == 2


def test_a_first_call_that_traces_nothing_is_an_evaluation_like_others():
    clock = Clock([False])
    clock.function(0.02)
    assert clock.charged == 0.0
    assert clock.function == clock.evaluate


def test_a_slow_second_call_leaves_nothing_but_no_less():
    clock = Clock([True])
    clock.function(0.01)
    clock.function(0.05)
    assert clock.charged == 0.0
