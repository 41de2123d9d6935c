"""Thousands of calls leave nothing behind: no memory, no files, no threads, no settings.

A few hundred calls always, ten thousand with ``-m soak``.
"""

import gc
import os
import signal
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

from dmin_core import backends, get_backend, methods, minimize
from dmin_core.testing.problems import smooth

USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
FILES = Path("/proc/self/fd")
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Boom(Exception):
    """The user's own."""


def runs(backend, precise):
    """A function that makes the k-th call of `minimize`: every method, with and without a failure."""
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    fun, x0, data = smooth().pose(xp, lambda array: host.from_numpy(np.array(array, dtype=precise), None))
    names = list(methods())

    def fail(x, *data):
        raise Boom

    def run(k):
        method = names[k % len(names)]
        if k % 7 == 3:
            with pytest.raises(Boom):
                minimize(fail, x0, args=data, method=method, compile=False)
            return
        options = {"maxfun": 1 + k % 12}
        if k % 11 == 5:
            options["maxtime"] = 0.0
        result = minimize(
            fun, x0, args=data, method=method, options=options, callback=None if k % 2 else lambda x: None
        )
        assert result.nfev <= options["maxfun"]

    return run


def resident():
    """Bytes of memory that the process holds; None where the system does not say so in a file."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * PAGE if statm.exists() else None


def settings():
    return (
        signal.getsignal(signal.SIGINT),
        warnings.showwarning,
        list(warnings.filters),
        np.geterr(),
        threading.active_count(),
        len(list(FILES.iterdir())) if FILES.exists() else None,
        sys.getrecursionlimit(),
    )


@pytest.mark.filterwarnings("ignore:(trust-krylov. )?(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize(
    "calls", [500, pytest.param(10_000, marks=pytest.mark.soak)], ids=["five hundred", "ten thousand"]
)
@pytest.mark.parametrize("backend", USABLE)
def test_calls_leave_nothing_behind(backend, calls):
    run = runs(backend, "float64")
    for k in range(max(calls // 10, 2 * len(methods()) * 7)):  # whatever is cached is cached then
        run(k)
    gc.collect()
    found, held = settings(), resident()
    tracemalloc.start()
    try:
        for k in range(calls // 10):
            run(k)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for k in range(calls // 10, calls):
            run(k)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # Caches fill up for some time (about 100 kB, the same for two thousand calls as for ten); what each call left
    # behind would add up: the smallest of Python's objects has 16 bytes.
    assert grown <= 150e3 + 8 * calls, f"{grown} bytes in {calls} calls"
    assert settings() == found
    if held is not None:
        # The traced calls themselves are noted down in memory; what a leak of 2 kB a call would be is more than that.
        assert resident() - held <= 16e6 + 2000 * calls


def test_a_new_function_at_each_call_is_not_kept():
    import weakref

    alive = []
    for _ in range(300):

        def fun(x):
            return np.sum((x - 1.0) ** 2)

        minimize(fun, np.zeros(2), options={"maxfun": 5})
        alive.append(weakref.ref(fun))
    del fun
    gc.collect()
    assert not [ref for ref in alive if ref() is not None]
