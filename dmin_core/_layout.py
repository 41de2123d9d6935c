"""How the variables lie in the point that a backend differentiates: one flat vector, or a few.

One vector is the cheapest there is to hand over, whatever the number of leaves. But frameworks that fuse what they
compile write its gradient number by number through a choice of branches, one a leaf, and where leaves are large that
costs more than handing each over by itself would. So a backend may ask (`BackendSpec.own_array`) for leaves of some
size to be arrays of their own. Those between them still share one vector, so that the number of arrays grows with the
large leaves alone. All arrays of a point are flat and of one dtype: a leaf's own shape and dtype come inside what is
compiled.

Where leaves are spread over several devices there is no choice (`ShardedLayout`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ._plugins import Backend


class Layout:
    """Which variables share an array of the point, and which numbers of the host vector those are.

    Parameters
    ----------
    backend : Backend
    prototype : array
        Of the dtype and on the device of every array of the point.
    sizes : sequence of int
        Of the variables, in their order.

    Attributes
    ----------
    groups : tuple of slice
        Of the variables: an entry for each array of the point.
    ranges : tuple of slice
        Of the host vector: likewise.
    point : callable
        From a host vector (n,) to a point, by `feed`; from its parts where there are several arrays.
    join : callable
        From a point (a gradient, a product) to one float64 host vector.
    """

    def __init__(self, backend: Backend, prototype: Any, sizes: Sequence[int]) -> None:
        self._feed, self._to_numpy, self._like = backend.feed, backend.to_numpy, prototype
        self.groups = tuple(_groups([bool(backend.own_array(size, prototype)) for size in sizes]))
        ends = itertools.accumulate(sum(sizes[group]) for group in self.groups)
        self.ranges = tuple(itertools.starmap(slice, itertools.pairwise([0, *ends])))
        one = len(self.groups) == 1
        self.point: Callable[[np.ndarray], Any] = self._one_vector if one else self._several_vectors
        self.join: Callable[[Any], np.ndarray] = self._join_one if one else self._join_several

    start: Any = None
    """x0 as a point, where it need not come from the host."""

    def made_by(self, make: Callable[..., Any], x: np.ndarray, like: Any) -> Any:
        """A point of arrays that ``make(part, like)`` makes of the parts of a host vector, in memory of their own."""
        return tuple([make(np.array(x[part]), like) for part in self.ranges])

    def _one_vector(self, x: np.ndarray) -> Any:
        return (self._feed(x, self._like),)

    def _several_vectors(self, x: np.ndarray) -> Any:
        feed, like = self._feed, self._like
        return tuple([feed(x[part], like) for part in self.ranges])

    def _join_one(self, point: Any) -> np.ndarray:
        (vector,) = point
        return np.asarray(self._to_numpy(vector), dtype=float)

    def _join_several(self, point: Any) -> np.ndarray:
        return np.concatenate(list(map(self._to_numpy, point)), dtype=float, casting="unsafe")


class ShardedLayout(Layout):
    """Each leaf by itself, in its own shape and where it lies: to flatten or to join it would bring its parts together.

    Attributes
    ----------
    start : point
        The leaves, in the dtype of the solver's vectors.
    """

    def __init__(self, backend: Backend, prototype: Any, sizes: Sequence[int], leaves: Sequence[Any]) -> None:
        self._feed, self._to_numpy, self._like = backend.feed, backend.to_numpy, prototype
        self.groups = tuple(slice(k, k + 1) for k in range(len(leaves)))
        self.ranges = tuple(itertools.starmap(slice, itertools.pairwise([0, *itertools.accumulate(sizes)])))
        xp = backend.namespace(prototype)
        self.start = tuple(a if a.dtype == prototype.dtype else xp.astype(a, prototype.dtype) for a in leaves)
        self.point, self.join = self._leaf_by_leaf, self._join_leaves

    def made_by(self, make: Callable[..., Any], x: np.ndarray, like: Any) -> Any:
        """A point of arrays like the leaves, in their shapes."""
        parts = zip(self.ranges, self.start, strict=True)
        return tuple([make(np.array(x[part]).reshape(leaf.shape), leaf) for part, leaf in parts])

    def _leaf_by_leaf(self, x: np.ndarray) -> Any:
        return self.made_by(self._feed, x, self._like)

    def _join_leaves(self, point: Any) -> np.ndarray:
        parts = [np.ravel(self._to_numpy(array)) for array in point]
        return np.concatenate(parts, dtype=float, casting="unsafe")


def _groups(apart: Sequence[bool]) -> Iterator[slice]:
    """Runs of variables that share an array; one that is to be apart is a run of its own."""
    start = 0
    for stop in range(1, len(apart) + 1):
        if stop == len(apart) or apart[stop - 1] or apart[stop]:
            yield slice(start, stop)
            start = stop
