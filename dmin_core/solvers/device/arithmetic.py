"""Scalars and small arrays, in Python or inside what a framework compiles, by the same names.

The solvers' decisions are written over these. Where Python runs the loop, a scalar is a Python float that was read from
the device with the evaluation, a small array (as long as the history, whatever n) is NumPy's, and a choice computes
what it needs. Where the framework compiles the loop, both are the framework's own arrays and nothing is read.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optree


class Host:
    """Python's floats, and NumPy in float64 for small arrays, whatever the dtype of the vectors.

    Parameters
    ----------
    eps : float
        Precision of the vectors.
    coarsest : float, optional
        That of the least precise leaf; default: `eps`.

    Attributes
    ----------
    value_eps : float
        Precision of the values that are compared: the vectors', until a value is seen that has less (`sees`).
    """

    eager = True
    small: Any = np
    number, truth, count, abs, negate = float, bool, int, abs, staticmethod(lambda c: not c)
    maximum, minimum = max, min
    isfinite = math.isfinite

    def __init__(self, eps: float, coarsest: float | None = None) -> None:
        self.eps = self.value_eps = eps
        self.coarsest = eps if coarsest is None else coarsest

    def sees(self, eps: float) -> None:
        """A value has come whose dtype has this precision."""
        self.value_eps = max(self.value_eps, eps)

    @staticmethod
    def pick(condition: bool, yes: Any, no: Any) -> Any:
        """One of two scalars or nests of arrays."""
        return yes if condition else no

    choose = pick

    @staticmethod
    def ratio(a: float, b: float) -> float:
        """``a / b``, nan where there is none."""
        return a / b if b else math.nan

    @staticmethod
    def sqrt(a: float) -> float:
        """Square root; nan of nan."""
        return math.sqrt(a)

    @staticmethod
    def as_array(values: Any) -> Any:
        """A small array of scalars."""
        return np.asarray(values, dtype=float)

    # The method is called in half the time of `@`.
    join, times = staticmethod(np.concatenate), staticmethod(np.ndarray.dot)

    @staticmethod
    def inner(u: Any, v: Any) -> float:
        """The inner product of small vectors."""
        return float(u.dot(v))

    @staticmethod
    def place(m: int, slot: int) -> int:
        """A slot of m, as `put`, `cross` and `entry` want it."""
        return slot

    copied = staticmethod(np.ndarray.copy)

    @staticmethod
    def put(vector: Any, place: int, value: Any) -> Any:
        """A small vector, which may be written into, with another number in a place."""
        vector[place] = value
        return vector

    @staticmethod
    def cross(matrix: Any, place: int, row: Any, column: Any) -> Any:
        """A small matrix with another row in a place, and another column, which has the corner."""
        changed = matrix.copy()
        changed[place] = row
        changed[:, place] = column
        return changed

    @staticmethod
    def entry(vector: Any, place: int) -> float:
        """The number in a place."""
        return float(vector[place])

    @staticmethod
    def transpose(matrix: Any) -> Any:
        """A small matrix transposed."""
        return matrix.T

    def zeros(self, *shape: int) -> Any:
        """A small array of zeros."""
        return np.zeros(shape)

    def slots(self, m: int) -> Any:
        """0, 1, …, m - 1."""
        return np.arange(m)


class Traced:
    """0-d and small arrays of the framework's, of the dtype of its vectors.

    Parameters
    ----------
    eps, coarsest : float
        As for `Host`.
    xp : namespace
    like : array
        Of the vectors' dtype, on their device.
    """

    eager = False
    sees = Host.sees

    def __init__(self, eps: float, coarsest: float, xp: Any, like: Any) -> None:
        self.eps = self.value_eps = eps
        self.coarsest, self.small, self.dtype = coarsest, xp, like.dtype
        self.abs, self.isfinite, self.negate, self.sqrt = xp.abs, xp.isfinite, xp.logical_not, xp.sqrt
        self.maximum, self.minimum, self.pick = xp.maximum, xp.minimum, xp.where

    def number(self, value: Any) -> Any:
        """A floating scalar."""
        return self.small.asarray(value, dtype=self.dtype)

    def truth(self, value: Any) -> Any:
        """A truth value."""
        return self.small.asarray(value, dtype=self.small.bool)

    def count(self, value: Any) -> Any:
        """An integer."""
        return self.small.asarray(value, dtype=self.small.int32)

    def choose(self, condition: Any, yes: Any, no: Any) -> Any:
        """One of two nests of arrays."""
        return optree.tree_map(lambda a, b: self.small.where(condition, a, b), yes, no)

    @staticmethod
    def ratio(a: Any, b: Any) -> Any:
        """``a / b``, not finite where there is none."""
        return a / b

    def as_array(self, values: Any) -> Any:
        """A small array of scalars."""
        return self.small.stack([self.number(value) for value in values])

    def times(self, matrix: Any, vector: Any) -> Any:
        """A small matrix times a small vector."""
        return self.small.matmul(matrix, vector[:, None])[:, 0]

    def transpose(self, matrix: Any) -> Any:
        """A small matrix transposed."""
        return self.small.matrix_transpose(matrix)

    def inner(self, u: Any, v: Any) -> Any:
        """The inner product of small vectors."""
        return self.small.sum(u * v)

    def place(self, m: int, slot: Any) -> Any:
        """A slot of m, as `put`, `cross` and `entry` want it: true there."""
        return self.slots(m) == slot

    @staticmethod
    def copied(vector: Any) -> Any:
        """A small vector that may be written into."""
        return vector

    def put(self, vector: Any, place: Any, value: Any) -> Any:
        """A small vector, which may be written into, with another number in a place."""
        return self.small.where(place, value, vector)

    def cross(self, matrix: Any, place: Any, row: Any, column: Any) -> Any:
        """A small matrix with another row in a place, and another column, which has the corner."""
        where = self.small.where
        return where(place, column[:, None], where(place[:, None], row, matrix))

    def entry(self, vector: Any, place: Any) -> Any:
        """The number in a place."""
        return self.small.sum(self.small.where(place, vector, 0.0))

    def join(self, parts: Any) -> Any:
        """Small arrays end to end."""
        return self.small.concat(parts)

    def zeros(self, *shape: int) -> Any:
        """A small array of zeros."""
        return self.small.zeros(shape, dtype=self.dtype)

    def slots(self, m: int) -> Any:
        """0, 1, …, m - 1."""
        return self.small.arange(m, dtype=self.small.int32)
