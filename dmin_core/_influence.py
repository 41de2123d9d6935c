"""Leaves that `fun` seems not to depend on.

A leaf that is not used, or that a detached tensor cuts off, has a gradient of exact zeros, and the run would
"converge" without moving it. So may a leaf that merely starts where it is stationary (the intercept of a balanced
logistic regression), which is why two gradients are looked at before anybody is warned.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from ._errors import outside
from ._tree import Tree


class Influence:
    """Looks at the first two gradients of a run.

    Attributes
    ----------
    undecided : bool
        Whether another gradient is to be looked at.
    """

    def __init__(self, tree: Tree, bounds: tuple[np.ndarray, np.ndarray] | None) -> None:
        self.tree = tree
        self.bounds = bounds
        self.undecided = True
        self._silent: list[int] | None = None

    def look(self, g: np.ndarray) -> None:
        """Take note of a gradient; warn if it is the second one in which a leaf's part is zero."""
        if self._silent is None and g.all():  # the usual case, at once
            self._silent, self.undecided = [], False
            return
        self.look_leafwise(lambda k: bool(g[self._part(k)].any()))

    def look_leafwise(self, is_nonzero: Callable[[int], bool]) -> None:
        """The same, told of each leaf whether its part is not all zero."""
        before = self._free_leaves() if self._silent is None else self._silent
        silent = [k for k in before if not is_nonzero(k)]
        second = self._silent is not None
        self._silent = silent
        self.undecided = bool(silent) and not second
        if silent and second:
            self._warn("at the start and after a step")

    @property
    def seen(self) -> tuple[bool, list[int] | None]:
        """What it knows, for another to go on with."""
        return self.undecided, self._silent

    @seen.setter
    def seen(self, known: tuple[bool, list[int] | None]) -> None:
        self.undecided, self._silent = known

    def conclude(self) -> None:
        """Warn of what only one gradient was computed for."""
        if self.undecided and self._silent:
            self.undecided = False
            self._warn("at the start")

    def _part(self, k: int) -> slice:
        end = int(self.tree.ends[k])
        return slice(end - self.tree.sizes[k], end)

    def _free_leaves(self) -> list[int]:
        """Leaves that are not empty, nor fixed by their bounds."""
        free = np.ones(self.tree.n, dtype=bool) if self.bounds is None else self.bounds[0] < self.bounds[1]
        return [k for k in range(len(self.tree.sizes)) if free[self._part(k)].any()]

    def _warn(self, when: str) -> None:
        silent = self._silent or []
        named = ", ".join(self.tree.variable_path(k) for k in silent[:5])
        more = f" and {len(silent) - 5} more" if len(silent) > 5 else ""
        # Only NumPy's arrays are taken by the others' functions, which then compute in float32, say.
        foreign = " If `fun` is written in another framework, make x0 of its arrays." * (
            self.tree.backend.name == "numpy"
        )
        warnings.warn(
            f"The gradient of `fun` with respect to {named}{more} is exactly zero {when}: `fun` does not depend on it, "
            f"or is cut off from it (a detached or converted array), or is stationary there. To have it move, leave "
            f"out of `fun` what stops gradients (detach, .item(), no_grad, stop_gradient, NumPy); if it shall not, "
            f"name it in frozen=.{foreign}",
            RuntimeWarning,
            stacklevel=outside(),
        )
