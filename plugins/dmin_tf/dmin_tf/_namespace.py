"""An array-API namespace over TensorFlow, which has none: what `array_namespace` gives for tensors.

The functions have the standard's names, parameters and rules (2024.12) where TensorFlow's differ: ``matmul`` takes
vectors, ``var`` knows a correction, ``argmax`` an axis of None, and a Python number beside a tensor takes its dtype.
They work on eager tensors and inside graphs, and nothing global is switched on: ``tensorflow.experimental.numpy``
is not used, it makes float64 of what was float32.

What tensors do by themselves stays TensorFlow's: ``a @ v`` needs matrices on both sides (`matmul` does not), and
dtypes do not mix (`astype` first). Functions whose results have a shape that depends on values are left out, but for
`nonzero`.
"""

from __future__ import annotations

import builtins
import math
import types
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

__array_api_version__ = "2024.12"

e, pi, inf, nan, newaxis = math.e, math.pi, math.inf, math.nan, None

bool, int8, int16, int32, int64 = tf.bool, tf.int8, tf.int16, tf.int32, tf.int64
uint8, uint16, uint32, uint64 = tf.uint8, tf.uint16, tf.uint32, tf.uint64
float32, float64, complex64, complex128 = tf.float32, tf.float64, tf.complex64, tf.complex128
bfloat16, float16 = tf.bfloat16, tf.float16

Axis = int | tuple[int, ...] | None


# Making arrays -------------------------------------------------------------------------------------------


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> tf.Tensor:
    with tf.device(device):
        tensor = tf.convert_to_tensor(obj)
        if dtype is not None and tensor.dtype != dtype:
            tensor = tf.cast(tensor, dtype)
        return tf.identity(tensor) if copy else tensor


def astype(x: tf.Tensor, dtype: Any, /, *, copy: Any = True, device: Any = None) -> tf.Tensor:
    with tf.device(device):
        return tf.cast(x, dtype)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> tf.Tensor:
    with tf.device(device):
        return tf.zeros(shape, dtype or tf.float32)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> tf.Tensor:
    with tf.device(device):
        return tf.ones(shape, dtype or tf.float32)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> tf.Tensor:
    with tf.device(device):
        return tf.fill(shape, tf.constant(fill_value, dtype))


empty = zeros


def zeros_like(x: tf.Tensor, /, *, dtype: Any = None, device: Any = None) -> tf.Tensor:
    with tf.device(device):
        return tf.zeros_like(x, dtype)


def ones_like(x: tf.Tensor, /, *, dtype: Any = None, device: Any = None) -> tf.Tensor:
    with tf.device(device):
        return tf.ones_like(x, dtype)


def full_like(x: tf.Tensor, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> tf.Tensor:
    with tf.device(device):
        return tf.fill(tf.shape(x), tf.constant(fill_value, dtype or x.dtype))


empty_like = zeros_like


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> tf.Tensor:
    first, last = (0, start) if stop is None else (start, stop)
    with tf.device(device):
        return tf.range(first, last, step, dtype=dtype)


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: builtins.bool = True
) -> tf.Tensor:
    with tf.device(device):
        low, high = tf.constant(start, dtype or tf.float32), tf.constant(stop, dtype or tf.float32)
        return tf.linspace(low, high, num) if endpoint else tf.linspace(low, high, num + 1)[:-1]


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> tf.Tensor:
    columns = n_rows if n_cols is None else n_cols
    with tf.device(device):
        distance = tf.range(columns)[tf.newaxis] - tf.range(n_rows)[:, tf.newaxis]
        return tf.cast(distance == k, dtype or tf.float32)


def tril(x: tf.Tensor, /, *, k: int = 0) -> tf.Tensor:
    return x * _band(x, lambda distance: distance <= k)


def triu(x: tf.Tensor, /, *, k: int = 0) -> tf.Tensor:
    return x * _band(x, lambda distance: distance >= k)


def _band(x: tf.Tensor, inside: Callable[[Any], Any]) -> tf.Tensor:
    """1 where ``inside(column - row)``, else 0, in ``x``'s dtype: what `tril` and `triu` keep."""
    rows, columns = x.shape[-2], x.shape[-1]
    return tf.cast(inside(tf.range(columns)[tf.newaxis] - tf.range(rows)[:, tf.newaxis]), x.dtype)


def from_dlpack(x: Any, /, *, device: Any = None, copy: Any = None) -> tf.Tensor:
    # TensorFlow's own aborts the process on memory that is not aligned to 64 bytes: by way of NumPy it is a copy.
    import numpy as np

    return asarray(x if tf.is_tensor(x) else np.from_dlpack(x), device=device)


# Number by number ----------------------------------------------------------------------------------------


def _both(x1: Any, x2: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Two operands as tensors: a Python number takes the other's dtype."""
    if not tf.is_tensor(x1):
        return tf.convert_to_tensor(x1, tf.convert_to_tensor(x2).dtype), tf.convert_to_tensor(x2)
    return tf.convert_to_tensor(x1), tf.convert_to_tensor(x2, x1.dtype)


def _of_two(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    return lambda x1, x2, /: function(*_both(x1, x2))


abs, acos, acosh, asin, asinh = tf.abs, tf.acos, tf.acosh, tf.asin, tf.asinh
atan, atanh, ceil, conj, cos, cosh = tf.atan, tf.atanh, tf.math.ceil, tf.math.conj, tf.cos, tf.cosh
exp, expm1, floor, imag, real = tf.exp, tf.math.expm1, tf.floor, tf.math.imag, tf.math.real
isfinite, isinf, isnan = tf.math.is_finite, tf.math.is_inf, tf.math.is_nan
log, log1p, logical_not, negative = tf.math.log, tf.math.log1p, tf.logical_not, tf.negative
reciprocal, round, sign, sin, sinh = tf.math.reciprocal, tf.round, tf.sign, tf.sin, tf.sinh
sqrt, square, tan, tanh = tf.sqrt, tf.square, tf.tan, tf.tanh

add, subtract, multiply = _of_two(tf.add), _of_two(tf.subtract), _of_two(tf.multiply)
divide, floor_divide, remainder = _of_two(tf.divide), _of_two(tf.math.floordiv), _of_two(tf.math.floormod)
pow, atan2, maximum, minimum = _of_two(tf.pow), _of_two(tf.atan2), _of_two(tf.maximum), _of_two(tf.minimum)
equal, not_equal, less, less_equal = _of_two(tf.equal), _of_two(tf.not_equal), _of_two(tf.less), _of_two(tf.less_equal)
greater, greater_equal = _of_two(tf.greater), _of_two(tf.greater_equal)
logical_and, logical_or, logical_xor = _of_two(tf.logical_and), _of_two(tf.logical_or), _of_two(tf.math.logical_xor)
nextafter = _of_two(tf.math.nextafter)


def positive(x: tf.Tensor, /) -> tf.Tensor:
    return tf.identity(x)


def log2(x: tf.Tensor, /) -> tf.Tensor:
    return tf.math.log(x) / tf.constant(math.log(2.0), x.dtype)


def log10(x: tf.Tensor, /) -> tf.Tensor:
    return tf.math.log(x) / tf.constant(math.log(10.0), x.dtype)


def trunc(x: tf.Tensor, /) -> tf.Tensor:
    return tf.sign(x) * tf.floor(tf.abs(x))


def signbit(x: tf.Tensor, /) -> tf.Tensor:
    # The sign of a zero shows in what it does to a divisor.
    return tf.where(x == 0, tf.math.reciprocal(x) < 0, x < 0)


def copysign(x1: Any, x2: Any, /) -> tf.Tensor:
    x1, x2 = _both(x1, x2)
    return tf.where(signbit(x2), -tf.abs(x1), tf.abs(x1))


def hypot(x1: Any, x2: Any, /) -> tf.Tensor:
    x1, x2 = map(tf.abs, _both(x1, x2))
    largest = tf.maximum(x1, x2)
    scale = tf.where(largest == 0, tf.ones_like(largest), largest)
    return largest * tf.sqrt(tf.square(x1 / scale) + tf.square(x2 / scale))


def logaddexp(x1: Any, x2: Any, /) -> tf.Tensor:
    x1, x2 = _both(x1, x2)
    return tf.reduce_logsumexp(tf.stack(_broadcast(x1, x2)), 0)


def _broadcast(*arrays: Any) -> list[tf.Tensor]:
    shape = arrays[0].shape
    for array in arrays[1:]:
        shape = tf.broadcast_static_shape(shape, array.shape)
    return [tf.broadcast_to(array, shape) for array in arrays]


def clip(x: tf.Tensor, /, min: Any = None, max: Any = None) -> tf.Tensor:
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


def where(condition: Any, x1: Any, x2: Any, /) -> tf.Tensor:
    return tf.where(condition, *_both(x1, x2))


# Over axes -----------------------------------------------------------------------------------------------


def sum(x: tf.Tensor, /, axis: Axis = None, *, dtype: Any = None, keepdims: builtins.bool = False) -> tf.Tensor:
    return tf.reduce_sum(x if dtype is None else tf.cast(x, dtype), axis, keepdims)


def prod(x: tf.Tensor, /, axis: Axis = None, *, dtype: Any = None, keepdims: builtins.bool = False) -> tf.Tensor:
    return tf.reduce_prod(x if dtype is None else tf.cast(x, dtype), axis, keepdims)


def mean(x: tf.Tensor, /, axis: Axis = None, *, keepdims: builtins.bool = False) -> tf.Tensor:
    return tf.reduce_mean(x, axis, keepdims)


def var(x: tf.Tensor, /, axis: Axis = None, *, correction: float = 0.0, keepdims: builtins.bool = False) -> tf.Tensor:
    centred = x - tf.reduce_mean(x, axis, keepdims=True)
    squares = tf.reduce_sum(tf.square(centred), axis, keepdims)
    axes = range(x.shape.rank) if axis is None else [axis] if isinstance(axis, int) else axis
    count = math.prod(x.shape[each] for each in axes)
    return squares / tf.constant(count - correction, x.dtype)


def std(x: tf.Tensor, /, axis: Axis = None, *, correction: float = 0.0, keepdims: builtins.bool = False) -> tf.Tensor:
    return tf.sqrt(var(x, axis, correction=correction, keepdims=keepdims))


def max(x: tf.Tensor, /, axis: Axis = None, *, keepdims: builtins.bool = False) -> tf.Tensor:
    return tf.reduce_max(x, axis, keepdims)


def min(x: tf.Tensor, /, axis: Axis = None, *, keepdims: builtins.bool = False) -> tf.Tensor:
    return tf.reduce_min(x, axis, keepdims)


def all(x: tf.Tensor, /, axis: Axis = None, *, keepdims: builtins.bool = False) -> tf.Tensor:
    return tf.reduce_all(tf.cast(x, tf.bool), axis, keepdims)


def any(x: tf.Tensor, /, axis: Axis = None, *, keepdims: builtins.bool = False) -> tf.Tensor:
    return tf.reduce_any(tf.cast(x, tf.bool), axis, keepdims)


def count_nonzero(x: tf.Tensor, /, axis: Axis = None, *, keepdims: builtins.bool = False) -> tf.Tensor:
    return tf.math.count_nonzero(x, axis, keepdims)


def _chosen(function: Callable[..., tf.Tensor], x: tf.Tensor, axis: int | None, keepdims: builtins.bool) -> tf.Tensor:
    found = function(tf.reshape(x, [-1]), 0) if axis is None else function(x, axis)
    if not keepdims:
        return found
    return tf.reshape(found, [1] * x.shape.rank) if axis is None else tf.expand_dims(found, axis)


def argmax(x: tf.Tensor, /, axis: int | None = None, *, keepdims: builtins.bool = False) -> tf.Tensor:
    return _chosen(tf.argmax, x, axis, keepdims)


def argmin(x: tf.Tensor, /, axis: int | None = None, *, keepdims: builtins.bool = False) -> tf.Tensor:
    return _chosen(tf.argmin, x, axis, keepdims)


def cumulative_sum(
    x: tf.Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: builtins.bool = False
) -> tf.Tensor:
    x = x if dtype is None else tf.cast(x, dtype)
    axis = 0 if axis is None else axis
    total = tf.cumsum(x, axis)
    return tf.concat([tf.zeros_like(tf.gather(x, [0], axis=axis)), total], axis) if include_initial else total


def cumulative_prod(
    x: tf.Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: builtins.bool = False
) -> tf.Tensor:
    x = x if dtype is None else tf.cast(x, dtype)
    axis = 0 if axis is None else axis
    total = tf.math.cumprod(x, axis)
    return tf.concat([tf.ones_like(tf.gather(x, [0], axis=axis)), total], axis) if include_initial else total


def diff(x: tf.Tensor, /, *, axis: int = -1, n: int = 1) -> tf.Tensor:
    for _ in range(n):
        length = x.shape[axis]
        x = tf.gather(x, tf.range(1, length), axis=axis) - tf.gather(x, tf.range(length - 1), axis=axis)
    return x


def sort(
    x: tf.Tensor, /, *, axis: int = -1, descending: builtins.bool = False, stable: builtins.bool = True
) -> tf.Tensor:
    return tf.sort(x, axis, "DESCENDING" if descending else "ASCENDING")


def argsort(
    x: tf.Tensor, /, *, axis: int = -1, descending: builtins.bool = False, stable: builtins.bool = True
) -> tf.Tensor:
    return tf.argsort(x, axis, "DESCENDING" if descending else "ASCENDING", stable=stable)


def nonzero(x: tf.Tensor, /) -> tuple[tf.Tensor, ...]:
    return tuple(tf.unstack(tf.where(tf.cast(x, tf.bool)), x.shape.rank, axis=1))


def searchsorted(x1: tf.Tensor, x2: tf.Tensor, /, *, side: str = "left", sorter: Any = None) -> tf.Tensor:
    return tf.searchsorted(x1 if sorter is None else tf.gather(x1, sorter), x2, side)


# Shapes --------------------------------------------------------------------------------------------------


def reshape(x: tf.Tensor, /, shape: Any, *, copy: Any = None) -> tf.Tensor:
    return tf.reshape(x, shape)


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> tf.Tensor:
    if axis is None:
        return tf.concat([tf.reshape(array, [-1]) for array in arrays], 0)
    return tf.concat(list(arrays), axis)


def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> tf.Tensor:
    return tf.stack(list(arrays), axis)


def unstack(x: tf.Tensor, /, *, axis: int = 0) -> tuple[tf.Tensor, ...]:
    return tuple(tf.unstack(x, axis=axis))


def expand_dims(x: tf.Tensor, /, *, axis: int = 0) -> tf.Tensor:
    return tf.expand_dims(x, axis)


def squeeze(x: tf.Tensor, /, axis: int | tuple[int, ...]) -> tf.Tensor:
    return tf.squeeze(x, axis)


def permute_dims(x: tf.Tensor, /, axes: tuple[int, ...]) -> tf.Tensor:
    return tf.transpose(x, axes)


def matrix_transpose(x: tf.Tensor, /) -> tf.Tensor:
    return tf.linalg.matrix_transpose(x)


def moveaxis(x: tf.Tensor, source: Any, destination: Any, /) -> tf.Tensor:
    sources = [source] if isinstance(source, int) else list(source)
    places = [destination] if isinstance(destination, int) else list(destination)
    rank = x.shape.rank
    order = [axis for axis in range(rank) if axis not in [each % rank for each in sources]]
    for place, axis in sorted((place % rank, axis % rank) for place, axis in zip(places, sources, strict=True)):
        order.insert(place, axis)
    return tf.transpose(x, order)


def broadcast_to(x: tf.Tensor, /, shape: Any) -> tf.Tensor:
    return tf.broadcast_to(x, shape)


def broadcast_arrays(*arrays: tf.Tensor) -> list[tf.Tensor]:
    return _broadcast(*arrays)


def flip(x: tf.Tensor, /, *, axis: Axis = None) -> tf.Tensor:
    return tf.reverse(x, list(range(x.shape.rank)) if axis is None else [axis] if isinstance(axis, int) else list(axis))


def roll(x: tf.Tensor, /, shift: Any, *, axis: Axis = None) -> tf.Tensor:
    if axis is None:
        return tf.reshape(tf.roll(tf.reshape(x, [-1]), shift, 0), x.shape)
    return tf.roll(x, shift, axis)


def tile(x: tf.Tensor, repetitions: tuple[int, ...], /) -> tf.Tensor:
    missing = len(repetitions) - x.shape.rank
    if missing > 0:
        x = tf.reshape(x, [1] * missing + x.shape.as_list())
    return tf.tile(x, [1] * -missing + list(repetitions))


def repeat(x: tf.Tensor, repeats: Any, /, *, axis: int | None = None) -> tf.Tensor:
    return tf.repeat(x, repeats, axis)


def take(x: tf.Tensor, indices: Any, /, *, axis: int | None = None) -> tf.Tensor:
    return tf.gather(x, indices, axis=0 if axis is None else axis)


def take_along_axis(x: tf.Tensor, indices: tf.Tensor, /, *, axis: int = -1) -> tf.Tensor:
    last = moveaxis(x, axis, -1), moveaxis(indices, axis, -1)
    return moveaxis(tf.gather(*last, batch_dims=x.shape.rank - 1), -1, axis)


# Linear algebra ------------------------------------------------------------------------------------------


def matmul(x1: tf.Tensor, x2: tf.Tensor, /) -> tf.Tensor:
    if x1.shape.rank == 1 and x2.shape.rank == 1:
        return tf.tensordot(x1, x2, 1)
    if x1.shape.rank == 1:
        return tf.linalg.matvec(x2, x1, transpose_a=True)
    return tf.linalg.matvec(x1, x2) if x2.shape.rank == 1 else tf.matmul(x1, x2)


def tensordot(x1: tf.Tensor, x2: tf.Tensor, /, *, axes: Any = 2) -> tf.Tensor:
    return tf.tensordot(x1, x2, axes)


def vecdot(x1: tf.Tensor, x2: tf.Tensor, /, *, axis: int = -1) -> tf.Tensor:
    return tf.reduce_sum(tf.math.conj(x1) * x2, axis)


def cholesky(x: tf.Tensor, /, *, upper: builtins.bool = False) -> tf.Tensor:
    factor = tf.linalg.cholesky(x)
    return tf.linalg.adjoint(factor) if upper else factor


def solve(x1: tf.Tensor, x2: tf.Tensor, /) -> tf.Tensor:
    if x2.shape.rank == 1:  # the standard: a vector only if it has one dimension, else a stack of matrices
        x2 = tf.broadcast_to(x2, tf.shape(x1)[:-1])
        return tf.squeeze(tf.linalg.solve(x1, x2[..., None]), -1)
    stack = tf.broadcast_static_shape(x1.shape[:-2], x2.shape[:-2])
    return tf.linalg.solve(tf.broadcast_to(x1, stack + x1.shape[-2:]), tf.broadcast_to(x2, stack + x2.shape[-2:]))


def slogdet(x: tf.Tensor, /) -> Any:
    return tf.linalg.slogdet(x)


def diagonal(x: tf.Tensor, /, *, offset: int = 0) -> tf.Tensor:
    return tf.linalg.diag_part(x, k=offset)


def trace(x: tf.Tensor, /, *, offset: int = 0, dtype: Any = None) -> tf.Tensor:
    return sum(diagonal(x, offset=offset), -1, dtype=dtype)


def outer(x1: tf.Tensor, x2: tf.Tensor, /) -> tf.Tensor:
    return tf.tensordot(x1, x2, 0)


linalg = types.SimpleNamespace(
    cholesky=cholesky,
    det=tf.linalg.det,
    diagonal=diagonal,
    inv=tf.linalg.inv,
    matmul=matmul,
    matrix_transpose=matrix_transpose,
    outer=outer,
    slogdet=slogdet,
    solve=solve,
    tensordot=tensordot,
    trace=trace,
    vecdot=vecdot,
)
"""Of the standard's extension what densities and least squares need; no eigenvalues, singular values or QR."""


# What a dtype is -----------------------------------------------------------------------------------------


def finfo(type: Any, /) -> Any:
    import ml_dtypes  # TensorFlow's own requirement: NumPy does not know bfloat16

    describe: Any = ml_dtypes.finfo
    return describe(tf.as_dtype(getattr(type, "dtype", type)).as_numpy_dtype)


def isdtype(dtype: Any, kind: Any) -> builtins.bool:
    if isinstance(kind, tuple):
        return builtins.any(isdtype(dtype, each) for each in kind)
    dtype = tf.as_dtype(dtype)
    known = {
        "bool": dtype.is_bool,
        "signed integer": dtype.is_integer and not dtype.is_unsigned,
        "unsigned integer": dtype.is_integer and dtype.is_unsigned,
        "integral": dtype.is_integer,
        "real floating": dtype.is_floating,
        "complex floating": dtype.is_complex,
        "numeric": dtype.is_integer or dtype.is_floating or dtype.is_complex,
    }
    return known[kind] if isinstance(kind, str) else dtype == kind
