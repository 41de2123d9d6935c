"""The embedded backend: NumPy.

The thinnest there can be. NumPy does not differentiate, so gradients are the user's (``jac=True`` or a
callable) or the core's finite differences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..hookspecs import hookimpl

PLAIN = (np.ndarray, np.memmap)
"""Other subclasses (masked arrays, quantities, matrices) mean more than their numbers, which packing would drop."""


@hookimpl
def to_numpy(array: Any) -> np.ndarray:
    if isinstance(array, np.ndarray) and type(array) not in PLAIN:
        raise TypeError(
            f"{type(array).__name__} is a subclass of numpy.ndarray that means more than its numbers; "
            f"pass plain arrays, as numpy.asarray(...) or the class's own conversion gives them"
        )
    plain = np.asarray(array)
    return plain.astype(np.float32) if plain.dtype == np.float16 else plain


@hookimpl
def from_numpy(array: np.ndarray, like: Any) -> np.ndarray:
    # Always a copy: `fun` may write into what it is given, and nothing in NumPy would stop it.
    return np.array(array, dtype=None if like is None or np.iscomplexobj(array) else like.dtype)


feed = from_numpy
"""It copies, so dmin need not."""


@hookimpl
def device(array: Any) -> str:
    return "cpu"


@hookimpl
def split(vector: np.ndarray, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any]) -> list[np.ndarray]:
    # A complex vector is one on which a complex step is being taken: its leaves stay complex.
    kept = np.iscomplexobj(vector)
    pieces, start = [], 0
    for shape, dtype in zip(shapes, dtypes, strict=True):
        stop = start + math.prod(shape)
        piece = vector[start:stop].reshape(shape)
        pieces.append(piece if kept or piece.dtype == dtype else piece.astype(dtype))
        start = stop
    return pieces


@hookimpl
def restore(array: np.ndarray, like: Any, inside: bool) -> Any:
    # A scalar (numpy.float64, which is also a Python float) went in, and comes back.
    return array[()] if isinstance(like, np.generic) and not inside else array


@hookimpl
def framework() -> str:
    return f"numpy {np.__version__}"
