"""How a run is getting on, while it runs: ``progress=True``.

In a terminal or a notebook it is tqdm's bar; where the output is neither (a log, a pipe), a line now and then, since a
bar's carriage returns make one endless line there.

It hangs on the history: the list that the problem notes each point in is one that also looks at the clock. A run that
is not watched so has a plain list and pays nothing; a run that is pays a comparison a point, and a redraw, of some
hundred microseconds, at most ten times a second. Nothing is left behind: neither tqdm's monitor thread nor its lock
between processes is made. A stream that breaks ends the showing and not the run.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ._errors import InputError
from ._problem import Problem

Record = tuple[int, float, float, float]

REDRAW = 0.1
"""Seconds between two looks of a bar."""

FIRST_LINE, RARER, LAST_LINE = 10.0, 0.1, 600.0
"""Seconds before a log's first line; what part of the run so far is waited until the next; and the longest wait."""


class Watched(list[Record]):
    """A history that shows itself.

    Parameters
    ----------
    show : callable
        Is given the record that is due, and returns the seconds (since the start) when the next one is.
    """

    def __init__(self, show: Any) -> None:
        super().__init__()
        self.show, self.due, self.least = show, 0.0, math.inf

    def append(self, record: Record) -> None:
        """Note a point down, and show it if it is time."""
        list.append(self, record)
        if record[1] < self.least:
            self.least = record[1]
        if record[3] >= self.due:
            self.due = self.show(record)


class Progress(contextlib.AbstractContextManager["Progress"]):
    """``with Progress(...):`` run; closed however that ends.

    Parameters
    ----------
    problem : Problem
        Whose history is watched.
    method : str
    options : mapping
        As the user gave them: limits make a bar's length.
    """

    def __init__(self, problem: Problem, method: str, options: Mapping[str, Any]) -> None:
        bars = find_tqdm()
        self.problem, self.method = problem, method
        evaluations = options.get("maxfun", options.get("maxfev"))
        # A method on the device has its iterations inside a compiled loop, where nobody counts them as they happen.
        counts = not method.startswith("device-")
        self.by_iterations = counts and evaluations is None and options.get("maxiter") is not None
        self.total = options.get("maxiter") if self.by_iterations else evaluations
        if self.by_iterations:
            problem.unwatched = False  # have iterations counted as they happen
        self.bar: Any = None
        self.bars = bars if _draws(bars) else None

    def __enter__(self) -> Progress:
        self.history = self.problem.history = Watched(self._draw if self.bars else self._write)
        if self.bars is None:
            self.history.due = FIRST_LINE
        else:
            total = self.total if self.total is not None and math.isfinite(self.total) else None
            with self._unless_broken():
                unit = " iterations" if self.by_iterations else " evaluations"
                self.bar = self.bars(desc=self.method, total=total, unit=unit, dynamic_ncols=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        last = self.history[-1] if self.history else None
        if self.bar is not None:
            with self._unless_broken():
                if last is not None:
                    self._draw(last)
                if kind is None:
                    # A run that ended early by itself is done, and no failure.
                    self.bar.total = self.bar.n
                    self.bar.refresh()
            with contextlib.suppress(OSError, ValueError):
                self.bar.close()
        elif self.bars is None and last is not None:
            self._write(last, "ended after " if kind is None else "broken off after ")

    def _draw(self, record: Record) -> float:
        if self.bar is None:
            return math.inf
        with self._unless_broken():
            self.bar.n = self.problem.nit if self.by_iterations else self.problem.nfev
            self.bar.set_postfix_str(self._numbers(record), refresh=False)
            self.bar.refresh()
        return record[3] + REDRAW if self.bar is not None else math.inf

    def _write(self, record: Record, how: str = "") -> float:
        count = f"{self.problem.nfev:,} evaluations"
        if self.by_iterations:
            count = f"{self.problem.nit:,} iterations, {count}"
        line = f"{self.method}: {how}{count}, {record[3]:.1f} s, {self._numbers(record)}\n"
        try:
            sys.stderr.write(line)
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):  # a closed stream, or none
            return math.inf
        return record[3] + min(max(FIRST_LINE, RARER * record[3]), LAST_LINE)

    def _numbers(self, record: Record) -> str:
        slope = "" if math.isnan(record[2]) else f", |grad| {record[2]:.2e}"
        return f"fun {self.history.least:.6g}{slope}"

    @contextlib.contextmanager
    def _unless_broken(self) -> Any:
        try:
            yield
        except (OSError, ValueError):  # the terminal is gone, or its stream is closed
            self.bar = None


def find_tqdm() -> Any:
    """Class of tqdm's for where this runs, without the thread and the semaphore that others of it may make.

    Raises
    ------
    InputError
        It is not installed; in a log too, which needs none: a program should not fail on some machines only.
    """
    try:
        auto: Any = importlib.import_module("tqdm.auto")
    except ImportError as cause:
        raise InputError(
            "progress=True needs tqdm, which is not installed here: pip install 'dmin-core[progress]'"
        ) from cause

    own: dict[str, Any] = {"monitor_interval": 0, "in_notebook": auto.tqdm is not auto.asyncio_tqdm}
    if not hasattr(auto.tqdm, "_lock"):
        own["_lock"] = threading.RLock()
    return type("Bar", (auto.tqdm,), own)


def _draws(bars: Any) -> bool:
    """Whether what tqdm writes to can be drawn on."""
    try:
        return bool(bars.in_notebook or sys.stderr.isatty())
    except (AttributeError, ValueError):  # none, or a closed one
        return False
