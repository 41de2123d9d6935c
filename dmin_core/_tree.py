"""The structure of an x0: its variables laid end to end in one flat vector, and back.

The order is optree's: dictionaries by sorted key, OrderedDicts and everything else as they stand.

Why one vector: per-leaf glue costs 3 to 4 ms an evaluation at 200 leaves in torch, where one vector and `split`
inside autograd cost what the objective costs.
"""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

import numpy as np
import optree

from ._errors import InputError, ObjectiveError, outside
from ._layout import Layout, ShardedLayout
from ._leaves import (
    FLOATS,
    class_of,
    dtype_name,
    flatten,
    is_array,
    is_float_dtype,
    is_number,
    is_variable,
    no_leaves,
    nothing_free,
    paths,
)
from ._match import Mismatch, match
from ._plugins import Backend, owner_of

MANY_LEAVES = 32
"""From here on one compiled function that cuts a vector up is quicker than a copy a leaf (JAX, 200: 0.3 for 2.2 ms)."""


class Structure:
    """What `fun` sees of an x0 but its numbers: enough to make the nest from a flat vector.

    It keeps no array of x0's (save leaves of special classes, to make others like them), so that a backend may
    hold on to a compiled function without holding on to the data. Frozen arrays are therefore passed to `unpack`: they
    are inputs of what is compiled, like the arrays in the user's ``args``, before which they stand in every call.

    Attributes
    ----------
    inputs : tuple of int
        Which of the leaves are frozen and passed so.
    """

    def __init__(
        self,
        backend: Backend,
        spec: optree.PyTreeSpec,
        template: list[Any],
        variables: tuple[int, ...],
        shapes: tuple[tuple[int, ...], ...],
        dtypes: tuple[Any, ...],
        special: dict[int, Any],
        groups: tuple[slice, ...],
        inputs: tuple[int, ...] = (),
    ) -> None:
        self.spec, self.template, self.variables, self.inputs = spec, template, variables, inputs
        self.shapes, self.dtypes, self.special = shapes, dtypes, special
        self._split, self._restore, self.namespace = backend.split, backend.restore, backend.namespace
        self._has_static = len(variables) < len(template)
        self._plain = not self._has_static and not special
        self._parts = [(shapes[group], dtypes[group]) for group in groups]
        self._ends = tuple(group.stop for group in groups)

    def unpack(self, point: Any, inputs: Sequence[Any] = ()) -> Any:
        """The nest that `fun` sees, made of pieces of the point's vectors and the frozen arrays; differentiable.

        The point may be one flat vector or what `Layout` makes.
        """
        if len(point) == 1:
            pieces = self._split(point[0], self.shapes, self.dtypes)
        else:
            parts = zip(point, self._parts, strict=True)
            pieces = [piece for vector, part in parts for piece in self._split(vector, *part)]
        if self._plain:
            return self.spec.unflatten(pieces)
        pieces = list(pieces)
        for k, like in self.special.items():
            pieces[k] = self._restore(pieces[k], like, True)
        return self.fill(pieces, inputs)

    def fill(self, pieces: Sequence[Any], inputs: Sequence[Any] = ()) -> Any:
        """The nest with these variables and frozen arrays, and x0's static leaves."""
        if not self._has_static:
            return self.spec.unflatten(pieces)
        leaves = list(self.template)
        for i, piece in zip(self.variables, pieces, strict=True):
            leaves[i] = piece
        for i, array in zip(self.inputs, inputs, strict=True):
            leaves[i] = array
        return self.spec.unflatten(leaves)

    @functools.cached_property
    def key(self) -> Hashable:
        """Equal for nests between which a compiled function can be shared."""
        variables = frozenset(self.variables)
        static = tuple(
            (i, leaf if isinstance(leaf, Hashable) and not is_array(leaf) else id(leaf))
            for i, leaf in enumerate(self.template)
            if i not in variables
        )
        return (self.spec, self.shapes, self.dtypes, self._ends, self.inputs, static)


class Cut:
    """A flat vector to its pieces, as a function that a backend may compile."""

    def __init__(self, backend: Backend, shapes: tuple[tuple[int, ...], ...], dtypes: tuple[Any, ...]) -> None:
        self.key = (shapes, dtypes)
        self._split = backend.split

    def __call__(self, point: Any) -> list[Any]:
        return list(self._split(point[0], *self.key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cut) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class Tree:
    """An ``x0`` taken apart: which of its leaves are variables, and how they lie in the flat vector.

    Attributes
    ----------
    backend : Backend
    spec : optree.PyTreeSpec
    leaves : list
        Of ``x0``: variables as arrays of the backend, frozen and static leaves as they are.
    variables : tuple of int
        Which of the leaves are variables.
    frozen : tuple of int
        Which of the leaves are frozen arrays and numbers.
    inputs : tuple
        Those of them that stand before the user's ``args`` in every call of an `Objective`.
    shapes, dtypes, sizes : tuple
        One entry a variable.
    n : int
        Length of the flat vector.
    device : str
        Where the variables are.
    sharded : bool
        Whether leaves are spread over several devices.
    layout : Layout
        What a point is best made of where the backend differentiates; `point` makes one flat vector always, but of
        sharded leaves.
    """

    def __init__(
        self,
        x0: Any,
        backend: Backend,
        leaves: list[Any] | None = None,
        spec: Any = None,
        frozen: Collection[int] = (),
    ) -> None:
        if leaves is None or spec is None:
            leaves, spec = flatten(x0)
        self.backend = backend
        self.spec = spec
        self.leaves = leaves
        self._paths: list[str] | None = None
        self.frozen = tuple(i for i in sorted(frozen) if is_number(leaves[i]))
        self.variables = tuple(
            i for i, leaf in enumerate(leaves) if i not in frozen and is_variable(leaf, functools.partial(self.path, i))
        )
        self._convert_foreign()
        arrays = [leaves[i] for i in self.variables]
        self.shapes = tuple(tuple(int(d) for d in a.shape) for a in arrays)
        self.dtypes = tuple(a.dtype for a in arrays)
        self.sizes = tuple(math.prod(shape) for shape in self.shapes)
        self.ends = tuple(itertools.accumulate(self.sizes))
        self.n = self.ends[-1] if self.ends else 0
        if not self.n:
            raise self._nothing()
        self._check_devices(arrays)
        self.sharded = any(map(backend.is_sharded, arrays))
        self.prototype = self._make_prototype(arrays)
        self.layout = (
            ShardedLayout(backend, self.prototype, self.sizes, arrays)
            if self.sharded
            else Layout(backend, self.prototype, self.sizes)
        )
        self._joins = len(arrays) > 1 and backend.join(arrays[:2]) is not None
        inputs = tuple(i for i in self.frozen if self._can_be_input(leaves[i]))
        template = list(leaves)
        for i in (*self.variables, *inputs):
            template[i] = None
        self.inputs = tuple(leaves[i] for i in inputs)
        self.structure = Structure(
            backend,
            spec,
            template,
            self.variables,
            self.shapes,
            self.dtypes,
            self._find_special(arrays),
            self.layout.groups,
            inputs,
        )
        self.unpack: Callable[[Any], Any] = self.structure.unpack
        self.fill: Callable[[Sequence[Any]], Any] = self.structure.fill
        if inputs:
            self.unpack = functools.partial(self.structure.unpack, inputs=self.inputs)
            self.fill = functools.partial(self.structure.fill, inputs=self.inputs)

    # -- at the door ------------------------------------------------------------------------------------

    def _nothing(self) -> InputError:
        if not self.variables:
            if self.frozen:
                return nothing_free([self.path(i) for i in self.frozen])
            return no_leaves(self.leaves, self.spec, "x0")
        which = ", ".join(self.path(i) for i in self.variables[:3])
        return InputError(
            f"x0 has no numbers to optimise: {which} {'is' if len(self.variables) == 1 else 'are'} empty."
        )

    def _convert_foreign(self) -> None:
        """Python floats, and NumPy leaves where another backend was named, become arrays of the backend."""
        like = next((self.leaves[i] for i in self.variables if self._is_own(self.leaves[i])), None)
        lost: list[int] = []
        for i in self.variables:
            leaf = self.leaves[i]
            if self._is_own(leaf):
                continue
            if isinstance(leaf, float) and not is_array(leaf):
                if self.backend.name == "numpy":
                    # numpy.float64 is a Python float too, so the result is what x0 was.
                    self.leaves[i] = np.float64(leaf)
                else:
                    self.leaves[i] = self.backend.from_numpy(np.array(float(leaf)), like)
            elif owner_of(type(leaf)) == "numpy":
                self.leaves[i] = self.backend.from_numpy(np.array(leaf), None)
                if _bits(self.leaves[i].dtype) < _bits(leaf.dtype):
                    lost.append(i)
            else:
                raise InputError(
                    f"{self.path(i)} is a {class_of(leaf)}, which backend={self.backend.name!r} cannot take. "
                    f"Convert it, or leave backend= out."
                )
        if lost:
            dtype = dtype_name(self.leaves[lost[0]].dtype)
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            warnings.warn(
                f"{self.path(lost[0])}{more} became {dtype}: {self.backend.name} has no wider floats switched on.",
                RuntimeWarning,
                stacklevel=outside(),
            )

    def _is_own(self, leaf: Any) -> bool:
        return is_array(leaf) and owner_of(type(leaf)) == self.backend.name

    def _can_be_input(self, leaf: Any) -> bool:
        """Whether a frozen leaf can be passed to what a backend compiles; the rest are constants in it.

        Those are integers, which may be shapes, as in ``args``; arrays of strings; arrays of another framework.
        """
        if isinstance(leaf, float):
            return True
        if not is_array(leaf):
            return False
        if not self.backend.compiles or self._is_own(leaf):
            return True
        return owner_of(type(leaf)) == "numpy" and (is_float_dtype(leaf.dtype) or leaf.dtype.kind in "biuc")

    def inputs_of(self, compile: bool | None) -> tuple[Any, ...]:
        """What to pass to an `Objective` for the frozen leaves, before ``args``.

        Where it is compiled, framework's variables become arrays: as variables they would be constants in it.
        """
        if compile is False or not self.backend.compiles:
            return self.inputs
        return tuple(
            self.backend.restore(leaf, leaf, True) if is_array(leaf) and self._is_own(leaf) else leaf
            for leaf in self.inputs
        )

    def _check_devices(self, arrays: Sequence[Any]) -> None:
        first: dict[str, int] = {}
        for i, array in zip(self.variables, arrays, strict=True):
            first.setdefault(self.backend.device(array), i)
        if len(first) > 1:
            which = " and ".join(f"{self.path(i)} is on {device}" for device, i in first.items())
            raise InputError(
                f"The leaves of x0 are on more than one device: {which}. Move them to one; "
                f"dmin does not choose for you."
            )
        (self.device,) = first

    def _make_prototype(self, arrays: Sequence[Any]) -> Any:
        """An array of the flat vector's dtype, the widest of the leaves' but at least float32, and of its device."""
        array = max(arrays, key=lambda a: _bits(a.dtype))
        if _bits(array.dtype) >= 32:
            return array
        xp = self.backend.namespace(array)
        if self.sharded:
            return xp.astype(array, xp.float32)
        # By `split`, which casts where its vector is: a framework may else do so on some current device.
        (wide,) = self.backend.split(xp.reshape(array, (-1,)), ((math.prod(array.shape),),), (xp.float32,))
        return wide

    def _find_special(self, arrays: Sequence[Any]) -> dict[int, Any]:
        """The variables that `fun` must not get as plain pieces of the vector (tensor subclasses)."""
        found: dict[int, Any] = {}
        if self.sharded:  # what is like a sharded array has its class, and cannot be made of a single number
            return found
        plain = self._plain_class()
        if all(type(like) is plain for like in arrays):
            return found
        for k, like in enumerate(arrays):
            if type(like) is not plain:
                piece = self.backend.from_numpy(np.zeros(self.shapes[k]), like)
                if self.backend.restore(piece, like, True) is not piece:
                    found[k] = like
        return found

    def _plain_class(self) -> type:
        """The class of what the backend makes, which depends on the class of what it is to be like alone."""
        known: dict[type, type] = self.backend.plain_classes
        kind = type(self.prototype)
        if kind not in known:
            known[kind] = type(self.backend.from_numpy(np.zeros(1), self.prototype))
        return known[kind]

    # -- names ------------------------------------------------------------------------------------------

    def path(self, i: int) -> str:
        """Path of leaf ``i`` of all leaves."""
        if self._paths is None:
            self._paths = paths(self.spec)
        return self._paths[i]

    def variable_path(self, k: int) -> str:
        """Path of variable ``k``."""
        return self.path(self.variables[k])

    def is_scalar(self, i: int) -> bool:
        """Whether leaf ``i`` is a single number, of shape ()."""
        return tuple(getattr(self.leaves[i], "shape", ())) == ()

    @functools.cached_property
    def is_variable_number(self) -> np.ndarray:
        """Of every number in x0, frozen ones too, in order, whether it is one of the n."""
        if not self.frozen:
            return np.ones(self.n, dtype=bool)
        sizes = {**dict(zip(self.variables, self.sizes, strict=True)), **{i: self._size(i) for i in self.frozen}}
        order, free = sorted(sizes), set(self.variables)
        return np.repeat([i in free for i in order], [sizes[i] for i in order])

    def _size(self, i: int) -> int:
        try:
            return math.prod(int(d) for d in getattr(self.leaves[i], "shape", ()))
        except (TypeError, ValueError):  # rows of different lengths, or no shape known
            return 1

    def locate(self, j: int) -> str:
        """Path and index of number ``j`` of the flat vector: ``x0['w'][0, 3]``."""
        k = int(np.searchsorted(self.ends, j, side="right"))
        inner = j - (int(self.ends[k - 1]) if k else 0)
        index = np.unravel_index(inner, self.shapes[k]) if self.shapes[k] else ()
        where = f"[{', '.join(str(int(d)) for d in index)}]" if index else ""
        return self.variable_path(k) + where

    # -- between nests, points and host vectors ---------------------------------------------------------

    def point(self, x: np.ndarray) -> Any:
        """The point for a host vector: one flat vector on the device, or of sharded leaves their own arrays."""
        if self.sharded:
            return self.layout.point(x)
        return (self.backend.feed(x, self.prototype),)

    def restore(self, x: Any, *, classes: bool = True) -> Any:
        """The nest for a host vector, in x0's dtypes and on its devices; new arrays, and x0's own frozen leaves.

        Of sharded leaves also for a point, which does not go through the host then.
        ``classes`` False is for gradients: plain arrays, for a gradient is no parameter, and None at frozen leaves, for
        none was computed there.
        """
        likes = [self.leaves[i] for i in self.variables]
        if isinstance(x, tuple):
            # Put where the leaf lies, a gradient too: a sharded array has no other class.
            pieces = [self.backend.restore(piece, a, False) for piece, a in zip(self._cast(x), likes, strict=True)]
        elif self.backend.compiles and len(likes) >= MANY_LEAVES and not self.sharded:
            pieces = self.backend.value(Cut(self.backend, self.shapes, self.dtypes))(self.point(x))
        else:
            make = self.backend.from_numpy
            pieces = [
                make(x[end - size : end].reshape(shape).copy(), like)
                for end, size, shape, like in zip(self.ends, self.sizes, self.shapes, likes, strict=True)
            ]
        if classes:
            pieces = [self.backend.restore(piece, like, False) for piece, like in zip(pieces, likes, strict=True)]
        return self.fill(pieces) if classes or not self.frozen else self._fill_around(pieces, lambda leaf: None)

    def _cast(self, point: Any) -> list[Any]:
        """The leaves' own arrays in the leaves' dtypes."""
        split = self.backend.split
        return [split(array, (s,), (d,))[0] for array, s, d in zip(point, self.shapes, self.dtypes, strict=True)]

    def direction(self, point: Any) -> Any:
        """The nest for a vector along which a derivative is taken: zeros at frozen leaves, whose part does not move."""
        nest = self.unpack(point)
        return self._fill_around(self.match(nest, "x0"), self._zeros) if self.frozen else nest

    def _zeros(self, leaf: Any) -> Any:
        if isinstance(leaf, float) and not is_array(leaf):
            return 0.0
        if not is_array(leaf) or not is_float_dtype(leaf.dtype):
            return leaf  # nothing can be differentiated by it
        if owner_of(type(leaf)) == "numpy":
            return np.zeros_like(leaf)
        return self.backend.from_numpy(np.zeros(leaf.shape), leaf) if self._is_own(leaf) else leaf

    def _fill_around(self, pieces: Sequence[Any], at_frozen: Callable[[Any], Any]) -> Any:
        """The nest with these variables, and something else in place of each frozen leaf."""
        leaves = list(self.leaves)
        for i, piece in zip(self.variables, pieces, strict=True):
            leaves[i] = piece
        for i in self.frozen:
            leaves[i] = at_frozen(leaves[i])
        return self.spec.unflatten(leaves)

    def without_frozen(self, x0: Any) -> Any:
        """``x0`` with None in place of frozen leaves, to match nests against that need not say anything there."""
        if not self.frozen:
            return x0
        return self._fill_around([self.leaves[i] for i in self.variables], lambda leaf: None)

    def pack_host(self, arrays: Sequence[Any]) -> np.ndarray:
        """Variables laid end to end in a new float64 host vector."""
        if self._joins:
            return np.asarray(self.backend.to_numpy(self.backend.join(arrays)), dtype=float)
        return np.concatenate([np.ravel(self.backend.to_numpy(a)) for a in arrays], dtype=float, casting="unsafe")

    def check_finite(self) -> None:
        """What `pack_x0` raises, without bringing the leaves to the host."""
        for i in self.variables:
            xp = self.backend.namespace(self.leaves[i])
            if not bool(self.backend.to_numpy(xp.all(xp.isfinite(self.leaves[i])))):
                self.pack_x0()

    def pack_x0(self) -> np.ndarray:
        """x0 as a host vector.

        Raises
        ------
        InputError
            A number is nan or infinite, or a leaf cannot be brought to the host.
        """
        parts = []
        for i in self.variables:
            try:
                parts.append(self.backend.to_numpy(self.leaves[i]).reshape(-1))
            except Exception as cause:
                raise InputError(
                    f"{self.path(i)} could not be copied to the host: {cause} It must have values that can be read, as "
                    f"it has none inside what a framework transforms (tf.function, torch.func)."
                ) from cause
        x = np.concatenate(parts, dtype=float, casting="unsafe")
        finite = np.isfinite(x)
        if not finite.all():
            bad = np.flatnonzero(~finite)
            more = f" (and {bad.size - 1} more)" if bad.size > 1 else ""
            raise InputError(f"{self.locate(int(bad[0]))} is {x[bad[0]]}{more}; start from finite numbers.")
        return x

    def pack_like(self, nest: Any, what: str) -> np.ndarray:
        """A nest of x0's structure (a gradient) as a new host vector.

        Raises
        ------
        ObjectiveError
            It has another structure, shape, or a None; the message says where.
        """
        arrays = self.match(nest, what)
        if self._joins and self._can_be_joined(arrays):
            return self.pack_host(arrays)
        parts = []
        for k, (array, shape) in enumerate(zip(arrays, self.shapes, strict=True)):
            parts.append(np.ravel(self._host_part(array, shape, k, what)))
        return np.concatenate(parts, dtype=float, casting="unsafe")

    def _can_be_joined(self, arrays: Sequence[Any]) -> bool:
        """Whether they are all as x0's: anything else is looked at one by one, for its error or its conversion."""
        where = self.backend.device(self.prototype)
        return all(
            self._is_own(array)
            and is_float_dtype(array.dtype)
            and tuple(array.shape) == shape
            and self.backend.device(array) == where
            for array, shape in zip(arrays, self.shapes, strict=True)
        )

    def match(self, nest: Any, what: str) -> list[Any]:
        """What a nest of x0's structure holds for each variable."""
        if nest is None:
            raise ObjectiveError(f"{what} is None. Is a `return` missing?")
        try:
            leaves = self.spec.flatten_up_to(nest)
        except (ValueError, TypeError):
            try:
                leaves = match(self.without_frozen(self.spec.unflatten(self.leaves)), nest)
            except Mismatch as cause:
                raise ObjectiveError(f"{what} is not nested as x0 is: {cause}.") from cause
        return [leaves[i] for i in self.variables]

    def _host_part(self, array: Any, shape: tuple[int, ...], k: int, what: str) -> np.ndarray:
        where = self.variable_path(k)
        if array is None:
            raise ObjectiveError(
                f"{what} is None at {where}. Return zeros of shape {shape} where fun does not depend on a leaf."
            )
        try:
            host = np.asarray(array) if isinstance(array, float | int) else self.backend.to_numpy(array)
        except Exception as cause:
            raise ObjectiveError(f"{what} has a {class_of(array)} at {where}: {cause}") from cause
        if host.dtype.kind not in "fiu":
            raise ObjectiveError(f"{what} has dtype {host.dtype} at {where}; expected real numbers.")
        if tuple(host.shape) != shape:
            raise ObjectiveError(f"{what} has shape {tuple(host.shape)} at {where}; expected {shape}, the leaf's own.")
        return host

    def eps(self) -> np.ndarray:
        """Relative precision of every number of the flat vector, (n,)."""
        each = [eps_of(dtype) for dtype in self.dtypes]
        return np.repeat(each, self.sizes)

    @functools.cached_property
    def coarsest_eps(self) -> float:
        """Relative precision of the least precise leaf."""
        return max(eps_of(dtype) for dtype in self.dtypes)

    @property
    def coarsest_dtype(self) -> Any:
        """Its dtype."""
        return max(self.dtypes, key=eps_of)

    def round(self, x: np.ndarray) -> np.ndarray:
        """What a trip through the leaves' dtypes does to a host vector."""
        if all(_bits(dtype) >= 64 for dtype in self.dtypes):
            return x
        if self.sharded:
            return self.pack_host(self._cast(self.point(x)))
        (vector,) = self.point(np.array(x))
        return self.pack_host(self.backend.split(vector, self.shapes, self.dtypes))


def _bits(dtype: Any) -> int:
    return FLOATS[dtype_name(dtype)]


@functools.lru_cache(maxsize=64, typed=True)
def eps_of(dtype: Any) -> float:
    """Relative precision of a floating dtype of any framework's."""
    name = dtype_name(dtype)
    # bfloat16 keeps 8 bits of significand; NumPy has no dtype of that name.
    return 2.0**-7 if name == "bfloat16" else float(np.finfo(name).eps)
