"""What passes between dmin and a method in one run: seen from there, since `minimize` sets much of it right.

A method may return another point than it evaluated, write into the vectors that it was given, or ask for gradients that
it did not say it uses; the result that users get shows none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from .. import _minimize
from ..solvers import solver


class Between:
    """Stands between dmin and the methods while a test runs, and remembers the last run.

    Attributes
    ----------
    asked : list of (str, array, array)
        The name of each call, the very vector that it was given, and a copy of what the vector was then.
    kept : dict of str to list of (array, array)
        What the method must not write into, and copies of what it was: ``x0``, ``bounds``, ``gradients``.
    report : object
        What `solve` returned.
    n, m : int
        Number of variables, and of rows of constraints.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, np.ndarray, np.ndarray]] = []
        self.kept: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        self.report: Any = None
        self.n = self.m = 0
        monkeypatch.setattr(_minimize, "solver", lambda name: self._watching(solver(name)))

    def asked_for(self, call: str) -> set[bytes]:
        """The points at which the method made this call, by their bytes."""
        return {then.tobytes() for name, _, then in self.asked if name == call}

    def written(self) -> list[str]:
        """Names of what the method wrote into."""
        return [name for name, pairs in self.kept.items() if any(not _same(now, then) for now, then in pairs)]

    def _watching(self, solve: Callable[..., Any]) -> Callable[..., Any]:
        def watched(
            name: str, problem: Any, tol: float | None, callback: Callable[[Any], Any], options: Mapping[str, Any]
        ) -> Any:
            self.asked, self.kept = [], {"x0": [], "bounds": [], "gradients": []}
            self.n, self.m = problem.n, getattr(problem, "m", 0)
            self._keep("x0", problem.x0)
            for side in problem.bounds or ():
                self._keep("bounds", side)
            for call in ("value", "gradient", "product", "hessian"):
                setattr(problem, call, self._noting(call, getattr(problem, call)))
            self.report = solve(name, problem, tol, callback, options)
            return self.report

        return watched

    def _noting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(x: np.ndarray, *more: np.ndarray) -> Any:
            self.asked.append((name, x, np.array(x)))
            answer = call(x, *more)
            if name == "gradient":
                self._keep("gradients", answer)
            return answer

        return noting

    def _keep(self, name: str, array: np.ndarray) -> None:
        self.kept[name].append((array, array.copy()))


def _same(now: np.ndarray, then: np.ndarray) -> bool:
    return np.array_equal(now, then, equal_nan=True)
