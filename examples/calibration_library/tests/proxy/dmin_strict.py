"""array-api-strict for dmin, on a device that is not the host: what CuPy is like, where there is no GPU.

It has the standard's functions only, no derivatives, and NumPy cannot read its arrays there: a method of NumPy's
arrays, a stray ``np.asarray`` or a forgotten device is an error.
"""

import math

import array_api_strict as xp
import numpy as np

from dmin_core import hookimpl

HOST, AWAY = xp.Device("CPU_DEVICE"), xp.Device("device1")


@hookimpl
def to_numpy(array):
    return np.array(xp.to_device(array, HOST) if hasattr(xp, "to_device") else array.to_device(HOST))


@hookimpl
def from_numpy(array, like):
    if like is None:
        return xp.asarray(array, device=AWAY, copy=True)
    return xp.asarray(array, dtype=like.dtype, device=like.device, copy=True)


@hookimpl
def device(array):
    return str(array.device)


@hookimpl
def split(vector, shapes, dtypes):
    pieces, start = [], 0
    for shape, dtype in zip(shapes, dtypes, strict=True):
        stop = start + math.prod(shape)
        pieces.append(xp.astype(xp.reshape(vector[start:stop], shape), dtype))
        start = stop
    return pieces


@hookimpl
def devices():
    return str(HOST), str(AWAY)
