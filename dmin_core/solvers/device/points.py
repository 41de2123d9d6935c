"""Vectors as points: tuples of arrays that are added, multiplied and kept within bounds array by array."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._device_problem import numpy_namespace

Point = tuple[Any, ...]

FARTHER = 0.1
"""Of a step: what is left for a variable that has gone nearly all of the way to its bound."""


class Vectors:
    """Operations on points of one framework.

    Parameters
    ----------
    xp : namespace
        For the arrays of points.
    times : callable
        The product of two vectors.
    bounds : pair of points, or None
    """

    def __init__(self, xp: Any, times: Callable[..., Any], bounds: tuple[Point, Point] | None) -> None:
        self.xp, self.times, self.bounds = xp, times, bounds
        # What NumPy's `max` comes to, in a third of the time where vectors are short.
        ours = xp is numpy_namespace()
        self.largest: Callable[[Any], Any] = functools.partial(np.maximum.reduce, axis=None) if ours else xp.max
        self.least: Callable[[Any], Any] = functools.partial(np.minimum.reduce, axis=None) if ours else xp.min

    def dot(self, u: Point, v: Point) -> Any:
        """Inner product, a 0-d array."""
        if len(u) == 1 and u[0].ndim == 1:
            return self.times(u[0], v[0])
        xp = self.xp
        return sum_of(self.times(a, b) if a.ndim == 1 else xp.sum(a * b) for a, b in zip(u, v, strict=True))

    def extremes(self, u: Point) -> tuple[Any, Any]:
        """The largest number and the least: two reductions, and no array of absolute values."""
        if len(u) == 1:
            return self.largest(u[0]), self.least(u[0])
        return self.greatest(u), functools.reduce(self.xp.minimum, [self.least(array) for array in u])

    def greatest(self, u: Point) -> Any:
        """The largest number."""
        return functools.reduce(self.xp.maximum, [self.largest(array) for array in u])

    def project(self, x: Point) -> Point:
        """The nearest point within the bounds."""
        assert self.bounds is not None
        xp = self.xp
        return tuple(xp.minimum(xp.maximum(a, low), high) for a, low, high in zip(x, *self.bounds, strict=True))

    def free(self, x: Point, g: Point) -> Point:
        """1 for variables that can go where the gradient says, 0 for those held at a bound; () where there are none."""
        if self.bounds is None:
            return ()
        return tuple(self._free(h, a) for h, a in zip(self._held(x, g), x, strict=True))

    def hold(self, x: Point, g: Point, before: Point) -> tuple[Point, Point]:
        """The same after a step from ``before``, and what held variables have still to go, 0 for the others.

        Held is here too what a step that goes on by `FARTHER` would bring to the bound to which the gradient leads.
        """
        if self.bounds is None:
            return (), ()
        ahead = tuple([a + FARTHER * (a - b) for a, b in zip(x, before, strict=True)])
        held = self._held(ahead, g)
        ends, where = self.project(ahead), self.xp.where
        rest = tuple(where(h, end - a, 0.0 * a) for h, end, a in zip(held, ends, x, strict=True))
        return tuple(self._free(h, a) for h, a in zip(held, x, strict=True)), rest

    def _held(self, x: Point, g: Point) -> Point:
        """Truth for what is at a bound, or past it, and the gradient leads there."""
        assert self.bounds is not None
        parts = zip(x, g, *self.bounds, strict=True)
        return tuple(((a <= low) & (b > 0.0)) | ((a >= high) & (b < 0.0)) for a, b, low, high in parts)

    def _free(self, held: Any, like: Any) -> Any:
        return self.xp.astype(self.xp.logical_not(held), like.dtype)

    def differ(self, u: Point, v: Point) -> Any:
        """Whether two points are not the same, a 0-d array of truth."""
        return functools.reduce(operator.or_, [self.xp.any(a != b) for a, b in zip(u, v, strict=True)])


def add(u: Point, v: Point) -> Point:
    """The sum."""
    return tuple([a + b for a, b in zip(u, v, strict=True)])


def subtract(u: Point, v: Point) -> Point:
    """The difference."""
    return tuple([a - b for a, b in zip(u, v, strict=True)])


def multiply(u: Point, v: Point) -> Point:
    """Number by number."""
    return tuple([a * b for a, b in zip(u, v, strict=True)])


def divide(u: Point, v: Point) -> Point:
    """Number by number."""
    return tuple([a / b for a, b in zip(u, v, strict=True)])


def scale(t: Any, u: Point) -> Point:
    """A number times a vector: the vector itself where Python knows that the number is 1, as it is of most steps."""
    return u if isinstance(t, float) and t == 1.0 else tuple([a * t for a in u])


def step(u: Point, t: Any, v: Point) -> Point:
    """The vector ``u + t v``."""
    return add(u, scale(t, v))


def negate(u: Point) -> Point:
    """The vector turned round."""
    return tuple([-a for a in u])


def sum_of(terms: Any) -> Any:
    """The sum of arrays, without a zero to start from."""
    return functools.reduce(operator.add, terms)
