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
_solving = 0
_before: list[tuple[Any, int]] = []


@functools.lru_cache(maxsize=1)
def _libraries() -> tuple[Any, ...]:
    from threadpoolctl import ThreadpoolController

    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


def _limit() -> None:
    global _solving
    with _lock:
        _solving += 1
        if _solving == 1:
            _before[:] = [(library, library.get_num_threads()) for library in _libraries()]
            for library, threads in _before:
                if threads > 1:
                    library.set_num_threads(1)


def _give_back() -> None:
    global _solving
    with _lock:
        _solving -= 1
        if _solving == 0:
            for library, threads in _before:
                if threads > 1:
                    library.set_num_threads(threads)


class SingleThreadedBlas:
    """``with SingleThreadedBlas() as blas:`` solve, with `release` and `retake` around the user's function."""

    def __enter__(self) -> SingleThreadedBlas:
        # Where everything has one thread already there is nothing to guard, at no cost an evaluation.
        self.needed = any(library.get_num_threads() > 1 for library in _libraries()) or _solving > 0
        if self.needed:
            _limit()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.needed:
            _give_back()

    def release(self) -> None:
        """Before the user's function."""
        if self.needed:
            _give_back()

    def retake(self) -> None:
        """After it."""
        if self.needed:
            _limit()
