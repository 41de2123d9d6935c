"""What the backend does with arrays, for any array-API namespace.

Nothing here knows of CuPy: the tests run these very functions over array-api-strict, on a device of it that is not the
host, where a stray ``np.asarray`` or a forgotten ``device=`` is an error as it would be on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from array_api_compat import to_device

HALVES = ("bfloat16", "float16")

On = Callable[[Any], AbstractContextManager[Any]]
"""Makes the device of an array the current one."""


def to_numpy(array: Any, host: Any) -> np.ndarray:
    """A host copy; ``host`` is what the namespace calls that device. NumPy's own arrays are there already."""
    near = isinstance(array, np.ndarray | np.generic)
    plain = np.asarray(array if near else to_device(array, host))
    return plain.astype(np.float32) if plain.dtype.name in HALVES else plain


def from_numpy(array: np.ndarray, like: Any, xp: Any, default: Any = None) -> Any:
    """An array in memory of its own with ``like``'s dtype and device; without ``like``, on the ``default`` device."""
    if like is None:
        return xp.asarray(array, device=default, copy=True)
    return xp.asarray(array, dtype=like.dtype, device=like.device, copy=True)


def split(vector: Any, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any], xp: Any, on: On) -> list[Any]:
    """Pieces of a flat vector: views, but where a dtype changes."""
    pieces, start = [], 0
    with on(vector):
        for shape, dtype in zip(shapes, dtypes, strict=True):
            stop = start + math.prod(shape)
            pieces.append(xp.astype(xp.reshape(vector[start:stop], shape), dtype, copy=False))
            start = stop
    return pieces


def join(arrays: Sequence[Any], xp: Any, on: On) -> Any:
    """Arrays laid end to end in one vector, of the widest dtype among them."""
    with on(arrays[0]):
        dtype = xp.result_type(*arrays)
        return xp.concat([xp.reshape(xp.astype(array, dtype, copy=False), (-1,)) for array in arrays])


def value(fun: Callable[..., Any], on: On) -> Callable[..., Any]:
    """``fun``, run on the device of its point."""

    def evaluate(point: tuple[Any, ...], *args: Any) -> Any:
        with on(point[0]):
            return fun(point, *args)

    return evaluate
