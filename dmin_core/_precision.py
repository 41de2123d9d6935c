"""Whether a run has got as far as the precision of its leaves allows.

Near a minimum the value changes by less than its last digits, and a line search that wants a decrease finds none. SciPy
then gives up ("ABNORMAL", "precision loss"), which is what it also says where a gradient is wrong. The two can be told
apart by what the method hoped to gain. Every trial from the best point x_b that was no better, at x_b + s, says how far
`fun` could fall along s: by the quadratic with its slope ``d = g_b·s`` and the curvature ``κ = (g - g_b)·s`` between
the two gradients, ``d²/2κ``, or at least ``|d|/2`` where the minimum lies beyond. If none of the trials promised more
than the digits of `fun` can show, no method could do better; if one did, something else is wrong.

``fun`` is taken to be right to ``10 ε (|f_b| + Σ|g_i x_i|)``: the second term is what rounding x to its dtype changes.
Gradients by forward differences have an error that could be worth as much for each variable (Gill, Murray & Wright
1981, "Practical Optimization", section 8.6).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._problem import Visit

DIGITS = 10.0
"""Of units in the last place: how wrong a value may be."""


class Precision:
    """What the trials since the best point could have gained.

    Parameters
    ----------
    eps : float
        Precision of the coarsest leaf.
    exact : bool
        Whether gradients are exact.
    bounds : pair of (n,) arrays, or None
    """

    def __init__(self, eps: float, exact: bool, bounds: tuple[np.ndarray, np.ndarray] | None) -> None:
        self.eps, self.exact, self.bounds = eps, exact, bounds
        self.best: Visit | None = None
        self.hope = 0.0

    def note(self, best: Visit, trial: Visit) -> None:
        """A trial that was no better than the best."""
        if best.g is None:
            return
        s = trial.x - best.x
        if not s.any():  # a method that begins again evaluates where it begins, and has tried nothing by that
            return
        if best is not self.best:
            # An improvement within the noise does not make an earlier trial's promise untrue.
            if self.best is not None and self._is_above_noise(self.best.f - best.f, best):
                self.hope = 0.0
            self.best = best
        slope = float(best.g.dot(s))
        curvature = 2.0 * (trial.f - best.f - slope) if trial.g is None else float(trial.g.dot(s)) - slope
        slope = abs(slope)
        self.hope = max(self.hope, slope / 2 if curvature <= slope else slope * slope / (2.0 * curvature))

    def _is_above_noise(self, gain: float, visit: Visit) -> bool:
        """Whether ``gain`` is larger than `noise`: by Cauchy's bound where that will do, in a quarter of the time."""
        g, x = visit.g, visit.x
        assert g is not None
        bound = self._digits(x.size) * (abs(visit.f) + math.sqrt(g.dot(g) * x.dot(x)))
        return gain > bound or gain > self.noise(visit)

    def _digits(self, n: int) -> float:
        return (DIGITS if self.exact else DIGITS * (1 + n)) * self.eps

    def noise(self, visit: Visit) -> float:
        """What two values there may differ by though `fun` does not."""
        assert visit.g is not None
        terms = np.abs(visit.g * visit.x)
        if self.bounds is not None:  # there x is not rounded from anything, and does not move
            terms = terms[(visit.x > self.bounds[0]) & (visit.x < self.bounds[1])]
        return self.rounding(visit.x.size, visit.f, float(terms.sum()))

    def rounding(self, n: int, f: float, terms: float) -> float:
        """The same of the value and of ``Σ|g_i x_i|``."""
        return self._digits(n) * (abs(f) + terms)

    def reached(self, best: Visit | None) -> bool:
        """Whether no trial from ``best``, of which there was one, promised more than the precision can show."""
        if best is None or best.g is None:
            return False
        if not best.g.any():
            return True
        if best is not self.best:
            return False
        noise = self.noise(best)
        return math.isfinite(noise) and self.hope <= noise
