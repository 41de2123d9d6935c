"""Which bounds and constraints hold the answer: by path, a small array for each leaf that has one.

The states are those of ``scipy.optimize.lsq_linear``'s ``active_mask``, with one more for equations. Leaves without
an active bound are left out, so that a million bounds of which none is active cost nothing to look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ._tree import Tree

ACTIVE = 1e-6
"""How near a number must be to its limit, relative to 1 + |limit|: interior-point methods stay a little off it."""

LOWER, UPPER, EQUATION = -1, 1, 2


def activity(x: np.ndarray, lb: np.ndarray, ub: np.ndarray, tolerance: Any = ACTIVE) -> np.ndarray:
    """For each number -1 at its lower limit, 1 at its upper one, 2 where both are equal, else 0; int8."""
    found = np.zeros(x.shape, dtype=np.int8)
    found[(np.abs(x - lb) <= tolerance * (1.0 + np.abs(lb))) & np.isfinite(lb)] = LOWER
    found[(np.abs(x - ub) <= tolerance * (1.0 + np.abs(ub))) & np.isfinite(ub)] = UPPER
    found[lb == ub] = EQUATION
    return found


def active_bounds(x: np.ndarray, bounds: tuple[np.ndarray, np.ndarray], tree: Tree) -> dict[str, np.ndarray]:
    """By the path of each leaf with an active bound, an int8 array of the leaf's shape."""
    with np.errstate(invalid="ignore"):
        states = activity(x, *bounds)
    found = {}
    if states.any():
        parts = np.split(states, tree.ends[:-1])
        for k, (part, shape) in enumerate(zip(parts, tree.shapes, strict=True)):
            if part.any():
                found[tree.variable_path(k)] = part.reshape(shape)
    return found
