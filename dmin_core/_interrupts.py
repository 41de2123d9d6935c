"""Ctrl-C while a compiled function runs: the evaluation is finished and kept, and then the run ends.

Python looks at signals between two of its own steps. While a compiled function runs there are none, so Ctrl-C waits
for it anyway, and then ``KeyboardInterrupt`` is raised before the function's result is in anyone's hands: an evaluation
that took minutes is lost. So for the length of a run over compiled functions a handler of dmin's stands in for Python's
own, notes the signal down while a point is evaluated, and raises when that point is recorded. A second Ctrl-C does not
wait (tracing a function is Python code, and may take long). Plain Python functions are interrupted at once, as ever.

Only Python's own handler is stood in for, only in the main thread, which alone may set handlers; and it is put back.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class Deferral:
    """``with Deferral(problem):`` solve.

    Parameters
    ----------
    problem : Problem
        Its visits are the evaluations that are finished.
    """

    def __init__(self, problem: Any) -> None:
        self.problem = problem
        self.inside = self.noted = self.active = False

    def __enter__(self) -> Deferral:
        self.active = (
            self.problem.compiled
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self.active:
            self.problem.defer(self.around)
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.active:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.problem.defer(None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.inside or self.noted:
            self.noted = False
            signal.default_int_handler(number, frame)
        self.noted = True

    def around(self, visit: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A visit that is finished before Ctrl-C has its effect."""

        def finished(x: Any) -> Any:
            self.inside = True
            try:
                return visit(x)
            finally:
                self.inside = False
                if self.noted:
                    self.noted = False
                    raise KeyboardInterrupt

        return finished
