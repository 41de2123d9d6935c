"""What a solver is told of a point where `fun` has no finite value.

SciPy's line searches and trust regions do arithmetic with every value: after one nan they stop, or go on for ever, and
after one inf they interpolate to nan. So a solver never sees either. Where a value, or its gradient, is not finite it
is told of a *stand-in*, which is finite, and so bad that the step is taken back and shortened. It never counts as
evaluated: it is neither in the history, which shows inf, nor can it be the answer.

For methods with gradients it is the quadratic ``f(x) = f_b + g_b·s + (L/2)‖s‖²``, s = x - x_b, about the last point
x_b whose value f_b and gradient g_b are finite. It continues what the method knows of `fun` there, and with
``L = 10 |g_b·s| / ‖s‖²`` has its minimum along s at a tenth of the step. That is where cubic interpolation in a line
search goes next (Moré & Thuente 1994, "Line Search Algorithms with Guaranteed Sufficient Decrease", ACM TOMS 20(3),
section 4), and since the value lies ``4 |g_b·s|`` above f_b no test of sufficient decrease accepts the point.

Some points are not steps at all: TNC evaluates gradients nearby, to take their differences. There a curvature that
would turn back a step as short as that would be all that it sees of `fun`, so very near to x_b it is ``‖g_b‖`` only.

Methods without gradients compare values, or interpolate them: they are told of one that is worse than all there have
been, by ten times the spread of these. Not of a huge one, beside which the models of COBYLA and COBYQA would see
nothing else, and not of inf, whose differences are nan (Powell).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._differences import EPS

if TYPE_CHECKING:
    from ._problem import Visit

SHORTER = 10.0
"""How many times shorter the step is where the stand-in has its minimum."""
LEAST_RISE = 1e-10
"""Of 1 + |f_b|: what the stand-in lies above f_b even if the gradient has no part along the step."""


class Failures:
    """Counts failed evaluations and makes their stand-ins.

    Attributes
    ----------
    count : int
        Points, products and Hessians that were not finite, or whose computation failed: `Result.nfail`.
    streak : int
        How many of them since the last other point with a finite value and gradient.
    base : Visit or None
        That point.
    known_curvature : pair of float
        ‖Hv‖² and ‖v‖² of the last finite product; of a dense Hessian H its ‖H‖² and n.
    turns_back : bool
        Whether a bad gradient beside a good value should turn the step back, as in a line search. A trust region asks
        for the gradient where it has already gone: it is told the last one, and goes on.

    Parameters
    ----------
    is_failure : callable
        The backend's hook.
    eps : float
        Precision of the leaves.
    """

    def __init__(self, is_failure: Callable[[Exception], bool], eps: float = EPS) -> None:
        self.count = self.streak = 0
        self.base: Visit | None = None
        self.known_curvature = 0.0, 0.0
        self.turns_back = True
        self._nearby = 10.0 * eps**0.5
        self._is_failure = is_failure
        self._least, self._greatest, self._looked_at = math.inf, -math.inf, 0

    def include(self, error: Exception) -> bool:
        """Whether an exception says that a matrix could not be factorised, or the like, at the point."""
        return isinstance(error, np.linalg.LinAlgError) or bool(self._is_failure(error))

    def note(self) -> None:
        """One more point that failed."""
        self.count += 1
        self.streak += 1

    def stand_in(self, x: np.ndarray, history: Sequence[Any]) -> tuple[float, np.ndarray | None]:
        """Value and gradient that a solver is told for ``x``; the latter None where no gradient is known yet.

        Parameters
        ----------
        x : (n,) float64
        history : sequence
            Of records whose second entry is a value.
        """
        if self.base is None:
            return self._worse(history), None
        f, g = self._quadratic(self.base, x)
        if math.isfinite(f) and np.isfinite(g).all():
            return f, g
        return self._worse(history), self.base.g  # x is so far away that nothing can be computed with it

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Gradient that a solver is told for ``x``, where the value is good."""
        if self.base is None or self.base.g is None:
            return np.zeros_like(x)
        g = self._quadratic(self.base, x)[1] if self.turns_back else self.base.g
        return g if np.isfinite(g).all() else self.base.g

    def curvature(self, g: np.ndarray | None) -> float:
        """Of the multiple of the identity that stands in for a Hessian where the gradient is ``g``.

        Newton's step is then one of length 1 along -g, the first that quasi-Newton methods try; or a shorter one, if by
        the last curvature known that one would lead far beyond the minimum. Twice that curvature, for another direction
        may have a greater one.
        """
        norm = 0.0 if g is None else float(np.linalg.norm(g))
        with np.errstate(all="ignore"):
            product, direction = self.known_curvature
            known = 2.0 * float(np.sqrt(product / direction)) if direction else 0.0
        norm = max(norm, known) if known < math.inf else norm
        return norm if 0.0 < norm < math.inf else 1.0

    def begin_again(self, best: Visit) -> None:
        """A method that knows nothing starts from there."""
        self.streak = 0
        self.base = best if best.sound and best.g is not None else None

    def _worse(self, history: Sequence[Any]) -> float:
        for record in history[self._looked_at :]:
            if math.isfinite(record[1]):
                self._least, self._greatest = min(self._least, record[1]), max(self._greatest, record[1])
        self._looked_at = len(history)
        if self._looked_at == 0 or self._greatest == -math.inf:
            return 1.0
        worse = self._greatest + SHORTER * (self._greatest - self._least) + 1.0 + abs(self._greatest)
        return min(worse, float(np.finfo(float).max) / 4)

    def _quadratic(self, base: Visit, x: np.ndarray) -> tuple[float, np.ndarray]:
        assert base.g is not None
        with np.errstate(all="ignore"):
            s = x - base.x
            length = float(np.linalg.norm(s))
            if length == 0.0:  # a function that is finite and not at the same point
                return base.f + LEAST_RISE * (1.0 + abs(base.f)), base.g
            unit = s / length
            slope = float(base.g @ unit)  # for a step of length 1
            rise = max(abs(slope) * length, LEAST_RISE * (1.0 + abs(base.f)))
            curvature = SHORTER * rise / length
            if length <= self._nearby * (1.0 + float(np.linalg.norm(base.x))):
                curvature = self.curvature(base.g) * length
            return base.f + slope * length + SHORTER / 2 * rise, base.g + curvature * unit
