"""Objectives as TensorFlow graphs: what is traced, what is kept, and what of ``args`` is an input.

`tf.function` would do most of this by itself, but takes as long to find the graph as a small graph takes to run,
warns of retracing where each call of `minimize` has a new lambda, and keeps every graph it made. So graphs are
kept here, by objective and by the kind of arguments, and called as what TensorFlow calls concrete functions.

**Arguments.** Tensors in ``args`` are inputs of the graph. So are floats and NumPy arrays, as tensors, if `fun` can be
traced with them so: new values then trace nothing. If it cannot (it decides by a float, hands an array to NumPy, or
mixes float64 arrays with float32 leaves, which TensorFlow allows for arrays but not for tensors), they are constants
of the graph, and new values make a new one. All else (strings, flags, integers, variables) always is a constant.

**XLA** is for ``compile=True``. Measured on a CPU it takes a tenth to three quarters off an evaluation, but with 200
leaves the first one takes twice as long, some seconds more; what pays, the user knows. It is not used where the graph
has an operation with effects (assertions, which XLA leaves out without a word, random numbers, variables, Python
functions), nor where XLA turns out not to know one of the operations: what runs then is the plain graph.
"""

from __future__ import annotations

import functools
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

import numpy as np
import optree
import tensorflow as tf

from dmin_core import ObjectiveError

KEPT = 128
"""Graphs, and objectives, kept at a time: a program that makes a new lambda for each call must not grow for ever."""

SYMPTOMS = (
    "ymbolic",  # "a symbolic `tf.Tensor` as a Python `bool`", "not 'SymbolicTensor'": all that needs a value
    "is out of scope and cannot be used here",  # a tensor of another graph, kept in a list
    "tf.function only supports singleton tf.Variables",
)
"""What TensorFlow says of functions that cannot be traced; it has a class for one of these errors alone."""

CONSTANTS = "constants"
"""Kept in a graph's place where numbers among the arguments cannot be inputs."""


def is_eager(fun: Any) -> bool:
    """Whether ``fun`` is to be run as plain Python."""
    return getattr(fun, "compile", None) is False or bool(tf.config.functions_run_eagerly())


def prepare(transform: Callable[..., Any], fun: Any, points: int = 1) -> Callable[..., Any]:
    """``transform(fun)``, as a graph unless the objective says otherwise.

    Parameters
    ----------
    transform : callable
        From a function of points to another.
    fun : callable
    points : int
        How many of the first arguments are points.
    """
    if is_eager(fun):
        function = transform(fun)
        return _on_its_device(function.call if isinstance(function, Beside) else function)
    return Evaluator(_graphs(transform, fun) if _is_hashable(fun) else Graphs(transform, fun), points)


class Evaluator:
    """What calls the graphs of an objective, and remembers which one it called last.

    Parameters
    ----------
    graphs : Graphs
    points : int
        How many of the first arguments are points.
    """

    __slots__ = ("args", "graph", "graphs", "inputs", "points", "shapes")

    def __init__(self, graphs: Graphs, points: int) -> None:
        self.graphs, self.points = graphs, points
        self.graph: Any = None
        self.shapes: Any = None
        self.args: tuple[Any, ...] = ()
        self.inputs: list[Any] = []

    def __call__(self, *arguments: Any) -> Any:
        points = self.points
        if points == 1:
            arrays, args = arguments[0], arguments[1:]
        else:
            arrays, args = sum(arguments[:points], ()), arguments[points:]
        known = self.graph is not None and len(args) == len(self.args) and all(map(operator.is_, args, self.args))
        if known and (self.shapes is None or self.shapes == [array.shape for array in arrays]):
            return self.graph(*arrays, *self.inputs)
        try:
            graph, inputs = self.graphs.find([len(point) for point in arguments[:points]], arrays, args)
        except Exception as cause:
            if any(symptom in str(cause) for symptom in SYMPTOMS) and not isinstance(cause, ObjectiveError):
                raise _not_traceable() from cause
            raise
        if all(isinstance(arg, IMMUTABLE) for arg in args):
            self.graph, self.args, self.inputs = graph, args, inputs
            self.shapes = None if self.graphs.dtypes else [array.shape for array in arrays]
        return graph(*arrays, *inputs)


def _on_its_device(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """``evaluate`` on the device of the point, as a graph is, and not on TensorFlow's default."""

    def moved(point: Any, *args: Any) -> Any:
        with tf.device(_place(point[0])):
            return evaluate(point, *args)

    return moved if _has_several_devices() else evaluate


IMMUTABLE = (tf.Tensor, float, int, str, type(None))
"""What the inputs that were made of it need not be made of again, as long as it is the same object."""


def _is_hashable(fun: Any) -> bool:
    try:
        hash(fun)
    except TypeError:
        return False
    return True


def _not_traceable() -> ObjectiveError:
    return ObjectiveError(
        "`fun` cannot be made a graph as it stands: it decides by a value, or hands one to code that is not "
        "TensorFlow's (the cause says where). Use TensorFlow's own functions and tf.cond or tf.where inside it, and "
        "tf.print to print, decorate it with tf.function, which rewrites `if` and `while`, or pass compile=False to "
        "run it as plain Python."
    )


class Graphs:
    """The graphs of one transform of one objective, by the kind of their arguments."""

    def __init__(self, transform: Callable[..., Any], fun: Any) -> None:
        self.function = transform(fun)
        self.xla = getattr(fun, "compile", None) is True
        self.dtypes = getattr(getattr(fun, "structure", None), "dtypes", None)
        self.known: OrderedDict[Hashable, Any] = OrderedDict()
        self.lock = threading.RLock()

    def find(self, sizes: Sequence[int], arrays: Sequence[Any], args: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        """The graph for these arguments, and what it is to be given beside the arrays."""
        place = _place(arrays[0])
        points = (tuple(sizes), *(tf.TensorSpec(array.shape, array.dtype) for array in arrays), place)
        with self.lock:
            fixed, inputs = separate(args, self._float_dtype(arrays))
            graph = self.known.get((points, fixed))
            if graph is None:
                try:
                    return self._keep((points, fixed), self._trace(points, fixed)), inputs
                except ObjectiveError:
                    raise
                except Exception:
                    if separate(args, None)[0] == fixed:
                        raise
            elif graph is not CONSTANTS:
                return graph, inputs
            literal, inputs = separate(args, None)
            graph = self.known.get((points, literal))
            if graph is None:
                graph = self._keep((points, literal), self._trace(points, literal))
                self._keep((points, fixed), CONSTANTS)
            return graph, inputs

    def _float_dtype(self, arrays: Sequence[Any]) -> Any:
        """The one dtype that a Python float can have beside the leaves."""
        dtypes = set(self.dtypes or [array.dtype for array in arrays])
        return tf.as_dtype(dtypes.pop()) if len(dtypes) == 1 else tf.float16

    def _keep(self, key: Hashable, graph: Any) -> Any:
        self.known[key] = graph
        while len(self.known) > KEPT:
            self.known.popitem(last=False)
        return graph

    def _trace(self, points: Any, fixed: Fixed) -> Any:
        sizes, *specs, place = points

        def run(*inputs: Any) -> Any:
            given = iter(inputs)
            points = [tuple(next(given) for _ in range(size)) for size in sizes]
            with tf.device(place):
                return self.function(*points, *fixed.join(given))

        specs += fixed.specs
        graph = tf.function(run, autograph=False).get_concrete_function(*specs)
        call = _with_xla(graph, specs, place) if self.xla and not _has_effects(graph) else graph
        return self.function.beside(call) if isinstance(self.function, Beside) else call


class Beside:
    """A function of which a part of what it returns is no tensor, and cannot be the output of a graph.

    Parameters
    ----------
    evaluate : callable
        Returns ``(outputs, rest)``; the outputs become the graph's, ``rest`` stays as it was when it was traced.
    join : callable
        ``join(outputs, rest)`` is what the whole returns.
    """

    def __init__(self, evaluate: Callable[..., Any], join: Callable[[Any, Any], Any]) -> None:
        self.evaluate, self.join = evaluate, join
        self.rest: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """The outputs, inside a trace."""
        outputs, self.rest = self.evaluate(*arguments)
        return outputs

    def call(self, *arguments: Any) -> Any:
        """The whole, outside."""
        return self.join(*self.evaluate(*arguments))

    def beside(self, graph: Callable[..., Any]) -> Callable[..., Any]:
        """A graph just traced, as a function that returns the whole."""
        rest, self.rest = self.rest, None
        return lambda *inputs: self.join(graph(*inputs), rest)


@functools.lru_cache(maxsize=KEPT)
def _graphs(transform: Callable[..., Any], fun: Any) -> Graphs:
    return Graphs(transform, fun)


def _place(array: Any) -> str | None:
    """Where a graph is to run: with its arguments, where there is a choice."""
    return array.device if _has_several_devices() else None


@functools.lru_cache(maxsize=1)
def _has_several_devices() -> bool:
    return len(tf.config.list_logical_devices()) > 1


def _has_effects(graph: Any) -> bool:
    return any(operation.op_def.is_stateful for operation in graph.graph.get_operations())


def _with_xla(graph: Any, specs: Sequence[Any], place: str | None) -> Callable[..., Any]:
    def run(*inputs: Any) -> Any:
        with tf.device(place):
            return graph(*inputs)

    fast = tf.function(run, autograph=False, jit_compile=True).get_concrete_function(*specs)
    candidates = [fast, graph]

    def call(*inputs: Any) -> Any:
        if len(candidates) > 1:
            try:
                return fast(*inputs)
            except tf.errors.OpError:
                candidates.remove(fast)
        return graph(*inputs)

    return call


# What of ``args`` is an input ------------------------------------------------------------------------------


class Fixed:
    """What of ``args`` belongs to the graph: how they are nested, the kinds of the inputs, and the constants.

    Attributes
    ----------
    specs : list
        TensorFlow's description of every input.
    """

    def __init__(self, structure: Any, leaves: Sequence[Any], is_input: Sequence[bool]) -> None:
        self.structure, self.leaves, self.is_input = structure, leaves, is_input
        self.specs = [leaf for leaf, given in zip(leaves, is_input, strict=True) if given]
        self._key = (structure, tuple(is_input), tuple(map(_identity, leaves)))

    def join(self, inputs: Any) -> Any:
        """``args``, with the graph's own tensors for the inputs."""
        leaves = [next(inputs) if given else leaf for leaf, given in zip(self.leaves, self.is_input, strict=True)]
        return optree.tree_unflatten(self.structure, leaves)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fixed) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def separate(args: tuple[Any, ...], dtype: Any) -> tuple[Fixed, list[Any]]:
    """``args`` as what belongs to the graph, and the list of its inputs.

    Parameters
    ----------
    args : tuple
    dtype : tf.DType or None
        What floats are as tensors. None: numbers and NumPy arrays are no inputs.
    """
    leaves: list[Any]
    leaves, structure = optree.tree_flatten(cast(Any, args), none_is_leaf=True)
    inputs, is_input = [], []
    for i, leaf in enumerate(leaves):
        tensor = _as_input(leaf, dtype)
        is_input.append(tensor is not None)
        if tensor is not None:
            inputs.append(tensor)
            leaves[i] = tf.type_spec_from_value(tensor)
        elif isinstance(leaf, np.ndarray):
            leaves[i] = leaf.copy()  # the user's may be written into
    return Fixed(structure, leaves, is_input), inputs


TENSORS = (tf.Tensor, tf.RaggedTensor, tf.SparseTensor)


def _as_input(leaf: Any, dtype: Any) -> Any:
    if isinstance(leaf, TENSORS):
        return leaf
    if dtype is None:
        return None
    if isinstance(leaf, np.ndarray):
        return tf.constant(leaf) if leaf.dtype.kind in "fiubc" else None
    # As a tensor of half precision a float would lose digits that it has in Python.
    if isinstance(leaf, float | np.floating) and dtype.size >= 4:
        # Of an array: TensorFlow keeps the tensor of every Python float that it ever saw.
        return tf.constant(np.asarray(leaf, dtype.as_numpy_dtype))
    return None


def _identity(leaf: Any) -> Hashable:
    """What tells one constant from another."""
    if isinstance(leaf, np.ndarray) and not leaf.dtype.hasobject:
        return leaf.shape, leaf.dtype.str, leaf.tobytes()
    return (type(leaf), leaf) if _is_hashable(leaf) else _Same(leaf)


class _Same:
    """Equal for one and the same object."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)
