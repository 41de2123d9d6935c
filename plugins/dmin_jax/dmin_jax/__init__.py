"""JAX for dmin: one compiled function an objective.

`fun` is traced once for each (fun, nest, shapes, dtypes), with the nest unravelled inside the compiled function, and
what was compiled is kept for later calls, from whatever thread. The user's ``args`` are inputs of the compiled
function: arrays and floats are traced, all else (strings, flags, integers that may set a shape) is part of the key.

No flag of JAX's is ever set: x64, platforms, threads and the debug modes are the user's. An option of XLA's is
given with the loops of device methods alone (`_quick_options`), where ``XLA_FLAGS`` does not name it.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from dmin_core import InputError, ObjectiveError, hookimpl, with_backend

from ._nnx import Module, adopt_module

__version__ = "0.1.0"
__all__ = ["minimize"]

minimize = with_backend("jax")

KEPT = 128
"""Compiled functions kept at a time: a program that makes a new lambda for each call must not grow for ever."""

LARGE = 8192
"""From so many numbers on a leaf is an array of its own on a CPU.

XLA writes a concatenated gradient number by number, choosing a leaf for each, in one loop with what computes it.
Measured for the benchmarks' mlp of 26,000 numbers, two leaves of which are as large as this: 0.8 of an evaluation's
time (in some processes 1.0: it depends on where the memory lies); Rosenbrock's function over 100 leaves of 16,384:
0.4; over 10 of 4,096: 1.07, and over 100 of them: 1.6.
"""

NOT_TRACEABLE = (
    jax.errors.ConcretizationTypeError,  # and its heirs: bool(), int(), float() of a traced value
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.UnexpectedTracerError,
)


# To the host and back ------------------------------------------------------------------------------------


@hookimpl
def to_numpy(array: Any) -> np.ndarray:
    host = np.asarray(array)
    return host.astype(np.float32) if host.dtype.itemsize == 2 else host


@hookimpl
def from_numpy(array: np.ndarray, like: Any) -> jax.Array:
    if like is None:
        return jnp.array(array)
    host = feed(array, like)
    # A copy: JAX may otherwise view the memory, and hold it for as long as the array lives.
    return jnp.array(host) if isinstance(host, np.ndarray) else host


@hookimpl
def feed(array: np.ndarray, like: Any) -> Any:
    _check_x64(like.dtype)
    host = array.astype(like.dtype, copy=False)
    # Compiled functions take NumPy's arrays themselves, in half the time. A leaf that was put somewhere stays there.
    return jax.device_put(host, like.sharding) if getattr(like, "committed", False) else host


@hookimpl
def own_array(size: int, like: Any) -> bool:
    # Elsewhere each is a transfer of its own; where leaves were put somewhere, `feed` takes some 20 µs an array.
    return size >= LARGE and not getattr(like, "committed", False) and like.device.platform == "cpu"


@hookimpl
def is_sharded(array: Any) -> bool:
    if not (isinstance(array, jax.Array) and len(array.sharding.device_set) > 1):
        return False
    kinds = getattr(getattr(array.sharding, "mesh", None), "axis_types", None) or ()
    if any(getattr(kind, "name", None) == "Explicit" for kind in kinds):
        raise InputError(
            "x0 is sharded over a mesh with explicit axes, by which types say where every array lies. dmin leaves that "
            "to XLA: make the mesh with axis_types=(jax.sharding.AxisType.Auto, …), one for each of its axes."
        )
    return True


@hookimpl
def restore(array: Any, like: Any, inside: bool) -> Any:
    """Where the leaf lay. XLA chooses where a result lies, and chooses the same unless it has a reason."""
    if inside or not is_sharded(like) or array.sharding.is_equivalent_to(like.sharding, like.ndim):
        return array
    return jax.device_put(array, like.sharding)


def _check_x64(dtype: Any) -> None:
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise InputError(
            "x0 holds float64 leaves, but JAX computes in float32 here. Switch 64 bits on before any array is made, "
            "jax.config.update('jax_enable_x64', True) or JAX_ENABLE_X64=1, or convert the leaves to float32."
        )


@hookimpl
def device(array: jax.Array) -> str:
    try:
        return _device(array.sharding)
    except Exception as error:
        if not isinstance(array, jax.core.Tracer):
            raise
        raise InputError(
            "x0 is traced by JAX: minimize is called inside jax.jit, jax.grad, jax.vmap or the like, where arrays have "
            "no values yet. Call it outside; what it evaluates is compiled all the same. In the `fun` of another run, "
            "give that one compile=False."
        ) from error


@functools.lru_cache(maxsize=128)
def _device(sharding: Any) -> str:
    found = sorted(map(str, sharding.device_set))
    return found[0] if len(found) == 1 else f"{len(found)} devices ({found[0]}, …)"


@hookimpl
def split(vector: Any, shapes: tuple[tuple[int, ...], ...], dtypes: tuple[Any, ...]) -> Sequence[jax.Array]:
    pieces = _pieces(vector, [math.prod(shape) for shape in shapes])
    return [piece.reshape(shape).astype(dtype) for piece, shape, dtype in zip(pieces, shapes, dtypes, strict=True)]


FUSED = 8
"""So many arrays XLA fuses into one kernel on a CPU, with what computes them, where they are joined; not more."""


def _pieces(vector: Any, sizes: Sequence[int]) -> list[Any]:
    """Parts of a vector, whose derivative is one concatenation; slices would each be differentiated by padding.

    Of many parts it is a concatenation of concatenations, with a barrier between, or XLA makes one of them again: a
    kernel for each leaf's gradient is most of what many small leaves take, to compile and to run.
    """
    if not (len(sizes) > 2 * FUSED and _passes_barriers()):
        return _cut(vector, sizes)
    groups = [sizes[start : start + FUSED] for start in range(0, len(sizes), FUSED)]
    parts = _barrier(_cut(vector, [sum(group) for group in groups]))
    return [piece for part, group in zip(parts, groups, strict=True) for piece in _cut(part, group)]


def _cut(vector: Any, sizes: Sequence[int]) -> list[Any]:
    # A sharded leaf is one part in its own shape, which may be that of a number, and is not to be cut.
    return list(jnp.split(vector, np.cumsum(sizes)[:-1])) if len(sizes) > 1 else [vector]


def _barrier(arrays: Any) -> Any:
    """The same arrays, and nothing before them fused with what follows."""
    barrier: Any = jax.lax.optimization_barrier
    return barrier(arrays)


@functools.cache
def _passes_barriers() -> bool:
    """Whether to put barriers: on a CPU, where this JAX differentiates them in both ways."""
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.eval_shape(jax.hessian(_barrier), 1.0)
    except NotImplementedError:  # what JAX raises for an operation without a rule: barriers had none at first
        return False
    return True


@hookimpl
def container(node: Any) -> tuple[list[Any], Any, list[str | None]] | None:
    """Take apart what is registered with JAX: flax's and equinox's modules, the user's own classes."""
    if tree_util.all_leaves([node]):
        return None
    pairs, structure = tree_util.tree_flatten_with_path(node, is_leaf=lambda part: part is not node)
    names = [getattr(path[0], "name", None) for path, _ in pairs]
    return [child for _, child in pairs], structure, names


@hookimpl
def rebuild(structure: Any, children: Sequence[Any]) -> Any:
    return tree_util.tree_unflatten(structure, children)


@hookimpl
def adopt(x0: Any) -> Module | None:
    return adopt_module(x0)


# Compiled functions --------------------------------------------------------------------------------------


def _value_and_grad(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda point, *args: jax.value_and_grad(lambda p: _scalar(fun(p, *args)))(point)


def _hvp(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Forward over reverse: one linearised gradient, and no graph kept."""

    def product(point: Any, vector: Any, *args: Any) -> Any:
        gradient = jax.grad(lambda p: _scalar(fun(p, *args)))
        return jax.jvp(gradient, (point,), (vector,))[1]

    return product


def _hessian(fun: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate(point: Any, *args: Any) -> jax.Array:
        blocks = jax.hessian(lambda p: _scalar(fun(p, *args)))(point)
        sizes = [math.prod(array.shape) for array in point]
        rows = [
            jnp.concatenate([block.reshape(height, width) for block, width in zip(row, sizes, strict=True)], axis=1)
            for row, height in zip(blocks, sizes, strict=True)
        ]
        return jnp.concatenate(rows, axis=0)

    return evaluate


def _value_and_jacobian(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Rows by reverse mode, or columns by forward mode, whichever are fewer; the shape is known from the value."""

    def evaluate(point: Any, *args: Any) -> tuple[jax.Array, jax.Array]:
        def outputs(p: Any) -> Any:
            return jnp.ravel(fun(p, *args))

        value, pull_back = jax.vjp(outputs, point)
        if value.size <= sum(math.prod(a.shape) for a in point):
            (blocks,) = jax.vmap(pull_back)(jnp.eye(value.size, dtype=value.dtype))
        else:
            blocks = jax.jacfwd(outputs)(point)
        return value, jnp.concatenate([block.reshape(value.size, -1) for block in blocks], axis=1)

    return evaluate


def _jacobian(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda point, *args: _value_and_jacobian(fun)(point, *args)[1]


def _value(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda point, *args: fun(point, *args)


class _Constant:
    """What a compiled function returns as it was when it was traced: part of the structure of its output."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing


tree_util.register_pytree_node(_Constant, lambda constant: ((), constant), lambda constant, _: constant)


def _parted(fun: Callable[..., Any]) -> Callable[..., Any]:
    """``fun(point, *args) -> (scalar, (arrays, rest))`` with ``rest`` as a constant."""

    def parted(point: Any, *args: Any) -> Any:
        value, (arrays, rest) = fun(point, *args)
        return _scalar(value), (arrays, _Constant(rest))

    return parted


def _joined(aux: Any) -> Any:
    arrays, constant = aux
    return arrays, constant.thing


def _value_with_aux(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda point, *args: _parted(fun)(point, *args)


def _value_and_grad_with_aux(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda point, *args: jax.value_and_grad(lambda p: _parted(fun)(p, *args), has_aux=True)(point)


def _scalar(value: Any) -> jax.Array:
    return jnp.asarray(value, dtype=float) if isinstance(value, float) else value


@functools.lru_cache(maxsize=KEPT)
def _compiled(transform: Callable[..., Any], fun: Callable[..., Any]) -> Callable[..., Any]:
    """One compiled function of the point, for objectives without args."""
    return jax.jit(transform(fun))


@functools.lru_cache(maxsize=KEPT)
def _compiled_with_args(transform: Callable[..., Any], fun: Callable[..., Any]) -> Callable[..., Any]:
    """One compiled function for all calls with equal objectives, whatever the values of their args."""

    def run(fixed: Any, traced: Sequence[Any], *points: Any) -> Any:
        return transform(fun)(*points, *_join(fixed, traced))

    return jax.jit(run, static_argnums=0)


def _join(fixed: Any, traced: Sequence[Any]) -> Any:
    structure, constants, places = fixed
    leaves = list(constants)
    for place, leaf in zip(places, traced, strict=True):
        leaves[place] = leaf
    return tree_util.tree_unflatten(structure, leaves)


def _separate(args: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    """``args`` as a hashable key and the list of what is traced."""
    leaves, structure = tree_util.tree_flatten(args)
    places = tuple(i for i, leaf in enumerate(leaves) if _is_traced(leaf))
    traced = [leaves[i] for i in places]
    for i in places:
        leaves[i] = None
    return (structure, tuple(leaves), places), traced


def _is_traced(leaf: Any) -> bool:
    # An integer is as often a shape or a number of layers as it is data: another one compiles anew, and works.
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | complex)


def _prepare(transform: Callable[..., Any], fun: Any, points: int = 1) -> Callable[..., Any]:
    """``transform(fun)``, compiled unless the objective says otherwise."""
    if getattr(fun, "compile", None) is False:
        return transform(fun)
    try:
        plain, with_args = _compiled(transform, fun), _compiled_with_args(transform, fun)
    except TypeError:  # `fun` has no hash (a dataclass with __call__): compiled for this run alone
        plain, with_args = _compiled.__wrapped__(transform, fun), _compiled_with_args.__wrapped__(transform, fun)

    def evaluate(*arguments: Any) -> Any:
        try:
            if len(arguments) == points:
                return plain(*arguments)
            fixed, traced = _separate(arguments[points:])
            return with_args(fixed, traced, *arguments[:points])
        except NOT_TRACEABLE as cause:
            raise _not_traceable() from cause

    return evaluate


def _not_traceable() -> ObjectiveError:
    return ObjectiveError(
        "`fun` cannot be compiled as it stands: it decides by a value, or hands one to code that is not JAX's "
        "(the cause says where). Use jax.numpy and jax.lax.cond inside it, and jax.debug.print to print, or pass "
        "compile=False to run it as plain Python."
    )


@hookimpl
def value_and_grad(fun: Callable[..., Any]) -> Callable[..., Any]:
    return _prepare(_value_and_grad, fun)


@hookimpl
def value(fun: Callable[..., Any]) -> Callable[..., Any]:
    return _prepare(_value, fun)


@hookimpl
def value_with_aux(fun: Callable[..., Any]) -> Callable[..., Any]:
    evaluate = _prepare(_value_with_aux, fun)

    def with_aux(point: Any, *args: Any) -> Any:
        value, aux = evaluate(point, *args)
        return value, _joined(aux)

    return with_aux


@hookimpl
def value_and_grad_with_aux(fun: Callable[..., Any]) -> Callable[..., Any]:
    evaluate = _prepare(_value_and_grad_with_aux, fun)

    def with_aux(point: Any, *args: Any) -> Any:
        (value, aux), gradient = evaluate(point, *args)
        return (value, _joined(aux)), gradient

    return with_aux


@hookimpl
def hvp(fun: Callable[..., Any]) -> Callable[..., Any]:
    return _prepare(_hvp, fun, points=2)


@hookimpl
def hessian(fun: Callable[..., Any]) -> Callable[..., Any]:
    return _prepare(_hessian, fun)


@hookimpl
def jacobian(fun: Callable[..., Any]) -> Callable[..., Any]:
    return _prepare(_jacobian, fun)


@hookimpl
def value_and_jacobian(fun: Callable[..., Any]) -> Callable[..., Any]:
    return _prepare(_value_and_jacobian, fun)


@hookimpl
def compile(fun: Callable[..., Any]) -> Callable[..., Any]:
    if getattr(fun, "compile", None) is False:
        return fun
    try:
        jitted = _compiled_loop(fun)
    except TypeError:  # no hash
        jitted = _compiled_loop.__wrapped__(fun)
    spent, carried = getattr(fun, "spent", 0), getattr(fun, "carried", 0)

    def run(point: Any, *args: Any) -> Any:
        fixed, traced = _separate(args)
        point, where = _on_one_mesh(point, carried)
        try:
            return jitted((fixed, where), tuple(point[:spent]), tuple(point[spent:]), traced)
        except NOT_TRACEABLE as cause:
            raise _not_traceable() from cause

    return run


def _on_one_mesh(point: Any, carried: int) -> tuple[Any, tuple[Any, ...]]:
    """A point with the arrays that come out again put where they come out, and where that is; () where none is sharded.

    Sharded arrays stay as they are, and all others are copied to each device. A loop's first call is so called as the
    second is, and one program serves both.
    """
    meshes = (array.sharding.mesh for array in point[:carried] if is_sharded(array) and _is_named(array.sharding))
    if (mesh := next(meshes, None)) is None:
        return point, ()
    where = tuple(_spelled(array.sharding) if is_sharded(array) else _everywhere(mesh) for array in point[:carried])
    kept = (
        array if isinstance(array, jax.Array) and array.sharding == sharding else jax.device_put(array, sharding)
        for array, sharding in zip(point, where, strict=False)
    )
    return (*kept, *point[carried:]), where


def _is_named(sharding: Any) -> bool:
    return isinstance(sharding, jax.sharding.NamedSharding)


def _everywhere(mesh: Any) -> Any:
    spec = jax.sharding.PartitionSpec()  # type: ignore[no-untyped-call, unused-ignore]  # JAX's own, in some versions
    return jax.sharding.NamedSharding(mesh, spec)


def _spelled(sharding: Any) -> Any:
    """As JAX spells it in what a compiled function returns: dimensions that are whole at the end are left out."""
    if not _is_named(sharding):
        return sharding
    spec = list(sharding.spec)
    while spec and spec[-1] is None:
        spec.pop()
    whole = jax.sharding.PartitionSpec(*spec)  # type: ignore[no-untyped-call, unused-ignore]  # JAX's own, in some versions
    return jax.sharding.NamedSharding(sharding.mesh, whole)


@functools.lru_cache(maxsize=KEPT)
def _compiled_loop(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled, with the memory of the arrays that ``fun`` spends given to what it returns.

    By the function's name it is found in what XLA writes out: ``jit_dmin_loop``, with ``--xla_dump_to``.
    """

    def dmin_loop(constants: Any, spent: Any, kept: Any, traced: Sequence[Any]) -> Any:
        fixed, where = constants
        results = list(fun((*spent, *kept), *_join(fixed, traced)))
        for k, sharding in enumerate(where):
            constrain: Any = jax.lax.with_sharding_constraint
            results[k] = constrain(results[k], sharding)
        return tuple(results)

    compiled = functools.partial(jax.jit, dmin_loop, static_argnums=0, donate_argnums=1)
    thorough = compiled()
    if not (options := _quick_options()):
        return thorough
    chosen: list[Callable[..., Any]] = []

    def run(*arguments: Any) -> Any:
        if not chosen:
            # JAX keeps what it traced by function, so the call that follows does not trace again.
            traced = thorough.trace(*arguments).jaxpr.jaxpr
            chosen.append(compiled(compiler_options=options) if _is_light(traced) else thorough)
        return chosen[0](*arguments)

    return run


LIGHT = 2_000_000
"""So many numbers an iteration may move and be compiled quickly. Kernels for more are worth their time: a network whose
hidden layer has 3,200,000 numbers took 0.87 of the time by them."""

MANY = 16, 1000
"""Concatenations of more arrays than this, to more numbers, take the quick emitters longer than the others."""


@functools.cache
def _quick_options() -> dict[str, Any]:
    """What makes XLA compile for a CPU in half the time; nothing where there is no such thing.

    A search and the arithmetic on a history are a hundred kernels of a few numbers each. XLA's newer emitters take some
    11 ms of CPU to make one, the older ones 4.5, of the same speed.
    """
    option = "xla_cpu_use_fusion_emitters"
    if jax.default_backend() != "cpu" or option in os.environ.get("XLA_FLAGS", ""):
        return {}
    options = {option: False}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except Exception:  # noqa: BLE001 - XLA's options come and go, and JAX has had several errors for that
        return {}
    return options


def _is_light(jaxpr: Any) -> bool:
    """Whether quick kernels are good enough for a loop."""
    moved = 0
    for equation, times in _equations(jaxpr):
        operands, results = (sum(map(_size, each)) for each in (equation.invars, equation.outvars))
        if equation.primitive.name == "concatenate" and len(equation.invars) > MANY[0] and results > MANY[1]:
            return False
        moved += times * (operands + results)
    return moved <= LIGHT


def _size(variable: Any) -> int:
    return math.prod(getattr(variable.aval, "shape", ()))


def _equations(jaxpr: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
    """The operations, and how many times each is done; once, in a loop that does not say."""
    for equation in jaxpr.eqns:
        parameters = tree_util.tree_leaves(list(equation.params.values()))
        inner = [getattr(each, "jaxpr", each) for each in parameters]  # with its constants, or without
        inner = [each for each in inner if hasattr(each, "eqns")]
        if not inner:
            yield equation, times
        for each in inner:
            yield from _equations(each, times * equation.params.get("length", 1))


@hookimpl
def while_loop(cond: Callable[[Any], Any], body: Callable[[Any], Any], state: Any) -> Any:
    return jax.lax.while_loop(cond, body, state)


@hookimpl
def cond(predicate: Any, true: Callable[..., Any], false: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
    return jax.lax.cond(predicate, true, false, *operands)


@hookimpl
def put_row(array: Any, index: Any, row: Any) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(array, row, index, 0)


@hookimpl
def namespace(array: Any) -> Any:
    return jnp


# What there is -------------------------------------------------------------------------------------------


@hookimpl
def framework() -> str:
    return f"jax {jax.__version__}"


@hookimpl
def devices() -> tuple[str, ...]:
    return tuple(map(str, jax.devices()))
