"""TensorFlow for dmin: one graph an objective.

`fun` is traced once for each (fun, nest, shapes, dtypes), with the flat vector cut by `tf.split` inside the graph, and
what was traced is kept for later calls, from whatever thread (`_compiled`). Autograph is left off: it would rewrite
dmin's own code and whatever else `fun` calls. A ``fun`` that needs it is decorated with ``tf.function`` by its author.

No setting of TensorFlow's is ever changed: memory growth, eager mode, default floats, threads and logging are the
user's, and importing this module makes no tensor, which would start the runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

try:
    import tensorflow as tf
except ModuleNotFoundError as cause:
    if cause.name != "tensorflow":
        raise
    raise ModuleNotFoundError(
        "dmin-tf leaves the choice of TensorFlow to you: pip install 'dmin-tf[tensorflow]' or 'dmin-tf[cpu]'.",
        name="tensorflow",
    ) from cause

from dmin_core import ObjectiveError, hookimpl, with_backend

from . import _namespace
from ._compiled import TENSORS, Beside, is_eager, prepare
from ._keras import Model, adopt_model

__version__ = "0.1.0"
__all__ = ["minimize"]

minimize = with_backend("tf")

Point = tuple[Any, ...]
ZERO = tf.UnconnectedGradients.ZERO
ROWS_AT_ONCE = 256
"""Rows of a dense derivative computed in one vectorised sweep: each keeps a copy of the backward pass's memory."""


# To the host and back ------------------------------------------------------------------------------------


@hookimpl
def to_numpy(array: Any) -> np.ndarray:
    if not isinstance(array, tf.Tensor):
        if isinstance(array, np.ndarray):
            return array
        array = tf.convert_to_tensor(array)  # variables, and the slices that the gradient of tf.gather is
    if array.dtype.size == 2 and array.dtype.is_floating:
        array = tf.cast(array, tf.float32)
    return np.asarray(array)  # a view, where the tensor is on the host


@hookimpl
def from_numpy(array: np.ndarray, like: Any) -> tf.Tensor:
    if like is None:
        return tf.constant(array)
    dtype = tf.as_dtype(like.dtype).as_numpy_dtype
    # A copy always: `from_dlpack` makes none, and aborts the process where NumPy's memory is not aligned to 64 bytes.
    tensor = tf.constant(array if array.dtype == dtype else array.astype(dtype))
    where = _where(like)
    if tensor.device == where:
        return tensor
    with tf.device(where):
        return tf.identity(tensor)


feed = from_numpy
"""It copies, so dmin need not."""


def _where(array: Any) -> str:
    """TensorFlow's full name of a device; Keras's variables do not tell theirs themselves."""
    try:
        return array.device
    except AttributeError:
        return array.value.device


@hookimpl
def device(array: Any) -> str:
    return _where(array).removeprefix("/job:localhost/replica:0/task:0").removeprefix("/device:")


@hookimpl
def split(vector: Any, shapes: tuple[tuple[int, ...], ...], dtypes: tuple[Any, ...]) -> Sequence[tf.Tensor]:
    pieces = [vector] if len(shapes) == 1 else tf.split(vector, [math.prod(shape) for shape in shapes])
    return [_shaped(*each) for each in zip(pieces, shapes, dtypes, strict=True)]


def _shaped(piece: Any, shape: tuple[int, ...], dtype: Any) -> tf.Tensor:
    if len(shape) != 1:
        piece = tf.reshape(piece, shape)
    return piece if piece.dtype == dtype else tf.cast(piece, dtype)


@hookimpl
def restore(array: tf.Tensor, like: Any, inside: bool) -> Any:
    """A variable comes back as a new one. `fun` sees a tensor: a variable would be cut off from the flat vector."""
    if inside:
        return array if isinstance(array, TENSORS) else tf.convert_to_tensor(array)
    if isinstance(like, tf.Tensor):
        return array
    with tf.device(array.device):
        if isinstance(like, tf.Variable):
            return tf.Variable(array, trainable=like.trainable, name=like.name.partition(":")[0])
        return type(like)(array, dtype=like.dtype, trainable=like.trainable, name=like.name)  # Keras's


@hookimpl
def adopt(x0: Any) -> Model | None:
    return adopt_model(x0)


# Derivatives ---------------------------------------------------------------------------------------------


def _scalar(value: Any) -> tf.Tensor:
    if isinstance(value, tf.Tensor):
        return value
    raise ObjectiveError(
        f"`fun` returned the {type(value).__name__} {value!r}, which TensorFlow cannot differentiate. Return a tensor: "
        f"leave out float(), .numpy() and other conversions; or pass jac=True and return (value, gradient)."
    )


def _slope(tape: tf.GradientTape, target: Any, point: Point, weights: Any = None) -> Point:
    """Gradient in dense tensors: zeros for what ``target`` does not depend on, and no slices (tf.gather's)."""
    pieces = tape.gradient(target, point, output_gradients=weights, unconnected_gradients=ZERO)
    return tuple(map(tf.convert_to_tensor, pieces))


def _value(fun: Callable[..., Any]) -> Callable[..., Any]:
    return fun


def _value_and_grad(fun: Callable[..., Any]) -> Callable[..., tuple[tf.Tensor, Point]]:
    def evaluate(point: Point, *args: Any) -> tuple[tf.Tensor, Point]:
        # Variables that `fun` reads are none of its arguments, here and below.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(point)
            value = _scalar(fun(point, *args))
        return value, _slope(tape, value, point)

    return evaluate


def _value_with_aux(fun: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate(point: Point, *args: Any) -> Any:
        value, (arrays, rest) = fun(point, *args)
        return (value, _tensors(arrays)), rest

    return Beside(evaluate, lambda outputs, rest: (outputs[0], (outputs[1], rest)))


def _value_and_grad_with_aux(fun: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate(point: Point, *args: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(point)
            value, (arrays, rest) = fun(point, *args)
            value = _scalar(value)
        return (value, _tensors(arrays), _slope(tape, value, point)), rest

    return Beside(evaluate, lambda outputs, rest: ((outputs[0], (outputs[1], rest)), outputs[2]))


def _tensors(arrays: Sequence[Any]) -> list[Any]:
    """Variables as what they hold now; ragged and sparse tensors as they are."""
    return [array if isinstance(array, TENSORS) else tf.identity(tf.convert_to_tensor(array)) for array in arrays]


def _hvp(fun: Callable[..., Any]) -> Callable[..., Point]:
    """Reverse over reverse: TensorFlow's forward mode lacks rules for what reverse mode can do."""

    def product(point: Point, vector: Point, *args: Any) -> Point:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(point)
            _, gradient = _value_and_grad(fun)(point, *args)
        return _slope(tape, gradient, point, vector)

    return product


def _flat_gradient(fun: Callable[..., Any]) -> Callable[..., tf.Tensor]:
    return lambda point, *args: _flat(_value_and_grad(fun)(point, *args)[1])


def _flat_output(fun: Callable[..., Any]) -> Callable[..., tf.Tensor]:
    return lambda point, *args: tf.reshape(fun(point, *args), [-1])


def _flat(arrays: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.concat([tf.reshape(array, [-1]) for array in arrays], 0)


def _rows(outputs: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """``weights`` (k, m) times the (m, n) derivative of ``outputs``, all of them in one sweep."""

    def evaluate(point: Point, weights: Point, *args: Any) -> tf.Tensor:
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(point)
            result = outputs(point, *args)

        def row(unit: tf.Tensor) -> tf.Tensor:
            return _flat(_slope(tape, result, point, unit))

        # The fallback would log a warning for each operation that cannot be vectorised.
        return tf.vectorized_map(row, weights[0], fallback_to_while_loop=False)

    return evaluate


def _row(outputs: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """The same for one row of weights (1, m)."""

    def evaluate(point: Point, weights: Point, *args: Any) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(point)
            result = outputs(point, *args)
        return _flat(_slope(tape, result, point, weights[0][0]))[tf.newaxis]

    return evaluate


def _hessian_rows(fun: Callable[..., Any]) -> Callable[..., tf.Tensor]:
    return _rows(_flat_gradient(fun))


def _hessian_row(fun: Callable[..., Any]) -> Callable[..., tf.Tensor]:
    return _row(_flat_gradient(fun))


def _jacobian_rows(fun: Callable[..., Any]) -> Callable[..., tf.Tensor]:
    return _rows(_flat_output(fun))


def _jacobian_row(fun: Callable[..., Any]) -> Callable[..., tf.Tensor]:
    return _row(_flat_output(fun))


class _Dense:
    """A dense derivative by blocks of rows: vectorised, or row by row where an operation cannot be.

    Parameters
    ----------
    fun : callable
    many, one : callable
        The transforms that multiply a block of weights, and a block of one row, by the derivative.
    """

    def __init__(self, fun: Any, many: Callable[..., Any], one: Callable[..., Any]) -> None:
        self.one = prepare(one, fun, points=2)
        self.many = None if is_eager(fun) else prepare(many, fun, points=2)

    def matrix(self, m: int, dtype: Any, point: Point, args: tuple[Any, ...]) -> tf.Tensor:
        units = np.eye(m, dtype=dtype.as_numpy_dtype)
        if self.many is not None:
            try:
                return self._by_blocks(self.many, min(m, ROWS_AT_ONCE), units, point, args)
            except Exception:  # noqa: BLE001 - what `fun` itself raises, it raises again below
                self.many = None
        return self._by_blocks(self.one, 1, units, point, args)

    def _by_blocks(
        self, rows: Callable[..., Any], size: int, units: np.ndarray, point: Point, args: tuple[Any, ...]
    ) -> tf.Tensor:
        m = len(units)
        short = -m % size  # every block has the same size, so that there is one graph for all
        units = np.concatenate([units, np.zeros((short, m), units.dtype)])
        blocks = [rows(point, (_beside(block, point[0]),), *args) for block in np.split(units, len(units) // size)]
        return tf.concat(blocks, 0)[:m]


def _beside(array: np.ndarray, like: tf.Tensor) -> tf.Tensor:
    with tf.device(like.device):
        return tf.constant(array)


@hookimpl
def value_and_grad(fun: Callable[..., Any]) -> Callable[..., tuple[tf.Tensor, Point]]:
    return prepare(_value_and_grad, fun)


@hookimpl
def value(fun: Callable[..., Any]) -> Callable[..., Any]:
    return prepare(_value, fun)


@hookimpl
def value_with_aux(fun: Callable[..., Any]) -> Callable[..., Any]:
    return prepare(_value_with_aux, fun)


@hookimpl
def value_and_grad_with_aux(fun: Callable[..., Any]) -> Callable[..., Any]:
    return prepare(_value_and_grad_with_aux, fun)


@hookimpl
def hvp(fun: Callable[..., Any]) -> Callable[..., Point]:
    return prepare(_hvp, fun, points=2)


@hookimpl
def hessian(fun: Callable[..., Any]) -> Callable[..., tf.Tensor]:
    dense = _Dense(fun, _hessian_rows, _hessian_row)

    def evaluate(point: Point, *args: Any) -> tf.Tensor:
        n = sum(math.prod(array.shape) for array in point)
        matrix = dense.matrix(n, point[0].dtype, point, args)
        return (matrix + tf.transpose(matrix)) / 2

    return evaluate


@hookimpl
def jacobian(fun: Callable[..., Any]) -> Callable[..., tf.Tensor]:
    outputs = prepare(_flat_output, fun)
    dense = _Dense(fun, _jacobian_rows, _jacobian_row)

    def evaluate(point: Point, *args: Any) -> tf.Tensor:
        result = outputs(point, *args)
        return dense.matrix(len(result), result.dtype, point, args)

    return evaluate


@hookimpl
def is_failure(error: Exception) -> bool:
    # One class for what a matrix is not, and for shapes that do not fit and assertions: only the text tells them apart.
    # Of a Cholesky factorisation some versions raise this, and others give nan.
    said = ("decomposition was not successful", "is not invertible")
    return isinstance(error, tf.errors.InvalidArgumentError) and any(words in str(error) for words in said)


def _value_and_rows(fun: Callable[..., Any]) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """Outputs (m,) and their whole derivative (m, n) in one sweep."""

    def evaluate(point: Point, *args: Any) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(point)
            result = tf.reshape(fun(point, *args), [-1])
        m = result.shape[0]
        if m is None or m > ROWS_AT_ONCE:
            raise _TooMany
        units = tf.eye(m, dtype=result.dtype)
        # The fallback would log a warning for each operation that cannot be vectorised.
        rows = tf.vectorized_map(
            lambda unit: _flat(_slope(tape, result, point, unit)), units, fallback_to_while_loop=False
        )
        return result, rows

    return evaluate


def _value_and_each_row(fun: Callable[..., Any]) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """The same row by row, for plain Python: `fun` is called once, and no operation need be vectorised."""

    def evaluate(point: Point, *args: Any) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(point)
            result = tf.reshape(fun(point, *args), [-1])
        units = tf.unstack(tf.eye(len(result), dtype=result.dtype))
        return result, tf.stack([_flat(_slope(tape, result, point, unit)) for unit in units])

    return evaluate


class _TooMany(Exception):
    """More rows than are computed in one sweep."""


@hookimpl
def value_and_jacobian(fun: Callable[..., Any]) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    if is_eager(fun):
        return prepare(_value_and_each_row, fun)
    together: Any = prepare(_value_and_rows, fun)
    outputs, rows = prepare(_flat_output, fun), jacobian(fun)

    def evaluate(point: Point, *args: Any) -> tuple[tf.Tensor, tf.Tensor]:
        nonlocal together
        if together is not None:
            try:
                return together(point, *args)
            except Exception:  # noqa: BLE001 - what `fun` itself raises, it raises again below
                together = None
        return outputs(point, *args), rows(point, *args)

    return evaluate


# For solvers that run on the device ----------------------------------------------------------------------


@hookimpl
def compile(fun: Callable[..., Any]) -> Callable[..., Any]:
    run = prepare(_value, fun)
    if not is_eager(fun):
        return run
    # TensorFlow may be told to run graphs eagerly: then nothing makes tensors of what is fed.
    return lambda point, *args: run(tuple(map(tf.convert_to_tensor, point)), *args)


@hookimpl
def while_loop(cond: Callable[[Any], Any], body: Callable[[Any], Any], state: Any) -> Any:
    (last,) = tf.while_loop(cond, lambda state: (body(state),), (state,))
    return last


@hookimpl
def cond(predicate: Any, true: Callable[..., Any], false: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
    return tf.cond(predicate, lambda: true(*operands), lambda: false(*operands))


@hookimpl
def put_row(array: Any, index: Any, row: Any) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(array, tf.reshape(index, [1, 1]), row[tf.newaxis])


@hookimpl
def namespace(array: Any) -> Any:
    return _namespace


# What there is -------------------------------------------------------------------------------------------


@hookimpl
def framework() -> str:
    return f"tensorflow {tf.__version__}"


@hookimpl
def devices() -> tuple[str, ...]:
    # Physical ones: to list the logical ones starts the runtime, and then memory growth can no longer be chosen.
    return tuple(each.name.removeprefix("/physical_device:") for each in tf.config.list_physical_devices())
