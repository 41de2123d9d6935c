"""BLAS threads: one around the solver's own arithmetic, the user's setting inside the user's function.

SciPy's solvers make many small BLAS calls; OpenBLAS's idle threads spin while they wait for the next one, and
fight the framework's threads for the cores. With default threads a logistic regression in torch takes 20 times
as long as with one. So the libraries are limited to one thread while the solver runs, and given back what they
had for the length of every evaluation, which may be a NumPy function that wants its threads.

The limit is the process's, not a thread's: when several threads minimise at once it holds while any of their
solvers runs.
"""

from __future__ import annotations

import functools
import threading
from types import TracebackType
from typing import Any

_lock = threading.Lock()
_solving: set[object] = set()
"""The solvers that are at their own arithmetic now. A set and not a count, so that Ctrl-C at whatever moment, after
which everything is given back once more, cannot make it wrong."""
_before: list[tuple[Any, int]] = []


@functools.lru_cache(maxsize=1)
def _libraries() -> tuple[Any, ...]:
    from threadpoolctl import ThreadpoolController

    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


def _limit(who: object) -> None:
    with _lock:
        if not _solving:
            _before[:] = [(library, library.get_num_threads()) for library in _libraries()]
        _solving.add(who)
        for library, threads in _before:
            if threads > 1:
                library.set_num_threads(1)


def _give_back(who: object) -> None:
    with _lock:
        _solving.discard(who)
        if not _solving:
            for library, threads in _before:
                if threads > 1:
                    library.set_num_threads(threads)


class SingleThreadedBlas:
    """``with SingleThreadedBlas() as blas:`` solve, with `release` and `retake` around the user's function."""

    def __enter__(self) -> SingleThreadedBlas:
        # Where everything has one thread already there is nothing to guard, at no cost an evaluation.
        self.needed = bool(_solving) or any(library.get_num_threads() > 1 for library in _libraries())
        if self.needed:
            _limit(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.needed:
            _give_back(self)

    def release(self) -> None:
        """Before the user's function."""
        if self.needed:
            _give_back(self)

    def retake(self) -> None:
        """After it."""
        if self.needed:
            _limit(self)
