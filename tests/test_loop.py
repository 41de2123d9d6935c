"""Minimising one function over and over traces nothing after the first time and leaves nothing behind.

A short sample of benchmarks/loop.py (``nox -s loop``), which takes a thousand minimisations and looks at the peak of
the process too.
"""

import gc
import sys

import numpy as np
import pytest

from dmin_core import backends, get_backend, minimize

COMPILING = [name for name, info in backends().items() if info.devices and get_backend(name).compiles]
WARM_UP, CALLS = 300, 200
BLOCKS = 3 * CALLS // 4
"""A leak of one small object a call is more."""

pytestmark = pytest.mark.skipif(not COMPILING, reason="no installed backend compiles")


def loop(backend, with_argument, keep=lambda result: None):
    """Traces after the first call, and by how many blocks of memory Python holds more after `CALLS` others.

    Blocks, not tracemalloc's bytes: it counts as new what takes the place of objects older than itself. Python's free
    lists grow for some hundred calls, less and less, so the lesser of two counts is taken: a leak is in both.
    """
    host, random, traces = get_backend(backend), np.random.default_rng(3), [0]
    xp = host.namespace(host.from_numpy(np.zeros(1), None))

    def fun(x, factor=1.0):
        traces[0] += 1
        return factor * (xp.sum((x["a"] - 1.0) ** 2) + xp.sum((x["b"] - x["a"][0]) ** 4))

    def run():
        x0 = {name: host.from_numpy(random.normal(size=3), None) for name in "ab"}
        args = (float(random.uniform(1.0, 2.0)),) if with_argument else ()
        keep(minimize(fun, x0, args, options={"maxiter": 3}))

    def held():
        gc.collect()
        return sys.getallocatedblocks()

    run()
    first, counts = traces[0], []
    for calls in (WARM_UP, CALLS, CALLS):
        for _ in range(calls):
            run()
        counts.append(held())
    return traces[0] - first, min(counts[1] - counts[0], counts[2] - counts[1])


@pytest.mark.parametrize("with_argument", [False, True], ids=["alone", "with an argument"])
@pytest.mark.parametrize("backend", COMPILING)
def test_a_loop_traces_nothing_and_holds_nothing(backend, with_argument):
    traces, grown = loop(backend, with_argument)
    assert traces == 0
    assert grown <= BLOCKS


@pytest.mark.parametrize("backend", COMPILING)
def test_what_is_kept_is_noticed(backend):
    kept = []
    _, grown = loop(backend, False, keep=lambda result: kept.append(object()))
    assert grown > BLOCKS
