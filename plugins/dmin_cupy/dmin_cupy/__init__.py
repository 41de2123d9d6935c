"""CuPy for dmin: NumPy's functions on the GPU, and like NumPy's without derivatives.

The thinnest layer there can be, because none of it runs without a GPU. What is done with arrays stands in
`_array_api`, written for any array-API namespace, so that it is tested where there is none; here is what is CuPy's
alone: its namespace, the names of its devices, and the current device. CuPy makes new arrays on the current device,
wherever its operands are, so `fun` runs on the device of its point.

Gradients are the user's (``jac=True`` or a callable), or the core's finite differences; Hessian products are
differences of those. Importing this module needs neither CuPy nor a GPU: `_gpu` says what is missing when an array is
first wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dmin_core import BackendUnavailableError, hookimpl, with_backend

from . import _array_api, _gpu

__version__ = "0.1.0"
__all__ = ["BackendUnavailableError", "minimize"]

minimize = with_backend("cupy")

HOST = "cpu"
"""What array-api-compat calls the host for CuPy, whose own devices are all GPUs."""


def _on(array: Any) -> Any:
    """Make the device of an array the current one, as a context manager."""
    return array.device


@hookimpl
def to_numpy(array: Any) -> np.ndarray:
    return _array_api.to_numpy(array, HOST)


@hookimpl
def from_numpy(array: np.ndarray, like: Any) -> Any:
    return _array_api.from_numpy(array, like, _gpu.namespace())


feed = from_numpy
"""It copies, so dmin need not."""


@hookimpl
def device(array: Any) -> str:
    return _gpu.device_name(array.device.id)


@hookimpl
def split(vector: Any, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any]) -> list[Any]:
    return _array_api.split(vector, shapes, dtypes, _gpu.namespace(), _on)


@hookimpl
def join(arrays: Sequence[Any]) -> Any:
    return _array_api.join(arrays, _gpu.namespace(), _on)


@hookimpl
def value(fun: Callable[..., Any]) -> Callable[..., Any]:
    return _array_api.value(fun, _on)


@hookimpl
def framework() -> str:
    return f"cupy {_gpu.load_cupy().__version__}{'' if devices() else ' (no usable GPU)'}"


@hookimpl
def devices() -> tuple[str, ...]:
    return tuple(map(_gpu.device_name, range(_gpu.count())))
