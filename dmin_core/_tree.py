"""Nests of arrays <-> leaves, paths, one flat vector.

A nest is whatever optree can take apart (dict, OrderedDict, list, tuple, namedtuple, deque, registered classes)
and any dataclass. Its leaves are of two kinds. *Variables* are real floating arrays, and Python floats: they are
laid end to end in one flat vector, in optree's order (dictionaries by sorted key, OrderedDicts as they stand).
*Static* leaves (None, strings, flags, anything that is no array) ride along and come back as the same objects.

Why one vector: per-leaf glue costs 3 to 4 ms an evaluation at 200 leaves in torch, where one vector and `split`
inside autograd cost what the objective costs.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import optree

from ._errors import InputError, MissingBackendError, ObjectiveError, UnknownBackendError
from ._plugins import EXTRAS, Backend, framework_of, get_backend, owner_of

NAMESPACE = "dmin"
"""optree's namespace for the dataclasses that dmin registers; the user's global registrations hold in it too."""


# Taking nests apart --------------------------------------------------------------------------------------


def flatten(nest: Any) -> tuple[list[Any], optree.PyTreeSpec]:
    """Leaves and structure of ``nest``, with None as a leaf and dataclasses as nodes."""
    while True:
        leaves, spec = optree.tree_flatten(nest, none_is_leaf=True, namespace=NAMESPACE)
        unknown = {type(leaf) for leaf in leaves if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type)}
        if not unknown:
            return leaves, spec
        for cls in unknown:
            _register_dataclass(cls)


def _register_dataclass(cls: type) -> None:
    fields = tuple(field.name for field in dataclasses.fields(cls))

    def take_apart(instance: Any) -> tuple[list[Any], _Shell, tuple[str, ...]]:
        return [getattr(instance, name) for name in fields], _Shell(instance, fields), fields

    def put_together(shell: Any, children: Iterable[Any]) -> Any:
        return shell.fill(fields, children)

    optree.register_pytree_node(cls, take_apart, put_together, path_entry_type=optree.GetAttrEntry, namespace=NAMESPACE)


class _Shell:
    """A dataclass instance without its fields: what a structure must remember to make one like it.

    `__init__` is not called again (nor `__post_init__`, which may refuse a framework's tracers); what an instance
    has beyond its fields is carried over.
    """

    def __init__(self, instance: Any, fields: Sequence[str]) -> None:
        self.instance = self._copy(instance)
        for name in fields:
            object.__setattr__(self.instance, name, None)

    @staticmethod
    def _copy(instance: Any) -> Any:
        return copy.copy(instance)

    def fill(self, fields: Sequence[str], children: Iterable[Any]) -> Any:
        new = self._copy(self.instance)
        for name, child in zip(fields, children, strict=True):
            object.__setattr__(new, name, child)
        return new

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shell) and type(self.instance) is type(other.instance)

    def __hash__(self) -> int:
        return hash(type(self.instance))

    def __repr__(self) -> str:
        return type(self.instance).__qualname__


def paths(spec: optree.PyTreeSpec, root: str = "x0") -> list[str]:
    """The leaves' paths as the user would index them: ``x0['layers'][0]['w']``."""
    return [accessor.codify(root) for accessor in spec.accessors()]


# What a leaf is ------------------------------------------------------------------------------------------


def is_array(leaf: Any) -> bool:
    """Whether ``leaf`` is an array of some framework, known or not (a class is not)."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not isinstance(leaf, type)


def is_float_dtype(dtype: Any) -> bool:
    """Whether a framework's dtype is real and floating, told by its name: ``torch.bfloat16``, ``float32``."""
    name = getattr(dtype, "name", None) or str(dtype)
    return "float" in name


def backend_of(x: Any) -> str:
    """Name the installed backend whose arrays ``x`` holds; import nothing.

    Parameters
    ----------
    x : array or nest of arrays
        Python floats alone count as NumPy's.

    Returns
    -------
    str
        What `get_backend` takes.

    Raises
    ------
    InputError
        ``x`` holds no array, or arrays of two frameworks; the message names a leaf of each.
    MissingBackendError, UnknownBackendError
        Its framework has no installed backend.

    Examples
    --------
    >>> import numpy as np
    >>> from dmin_core import backend_of
    >>> backend_of({"w": np.zeros((2, 3)), "b": 0.0})
    'numpy'
    """
    if is_array(x):
        return _owner(x, lambda: "x")
    leaves, spec = flatten(x)
    return infer_backend(leaves, spec, root="x")


def infer_backend(leaves: Sequence[Any], spec: optree.PyTreeSpec, root: str = "x0") -> str:
    """`backend_of` for a nest that has been taken apart already."""
    seen: dict[str, int] = {}
    floats = False
    for i, leaf in enumerate(leaves):
        if is_array(leaf):
            seen.setdefault(_owner(leaf, functools.partial(_path, spec, root, i)), i)
        floats = floats or isinstance(leaf, float)
    if len(seen) > 1:
        names = paths(spec, root)
        which = " and ".join(f"{names[i]} is a {_class(leaves[i])}" for i in seen.values())
        raise InputError(
            f"The leaves of {root} belong to more than one framework: {which}. Convert them to one, "
            f"or name it: backend={next(iter(sorted(set(seen) - {'numpy'})), 'numpy')!r} converts NumPy's."
        )
    if not seen and not floats:
        raise no_leaves(leaves, spec, root)
    return next(iter(seen), "numpy")


def _path(spec: optree.PyTreeSpec, root: str, i: int) -> str:
    return paths(spec, root)[i]


def no_leaves(leaves: Sequence[Any], spec: optree.PyTreeSpec, root: str) -> InputError:
    """The error for a nest in which there is nothing to optimise."""
    found = ""
    if leaves:
        names = paths(spec, root)
        found = ": " + ", ".join(f"{names[i]} is {_described(leaf)}" for i, leaf in enumerate(leaves[:3]))
        found += ", …" if len(leaves) > 3 else ""
    return InputError(
        f"{root} holds no leaf to optimise{found}. Leaves are floating arrays or Python floats, "
        f"in any nest of dicts, lists, tuples, namedtuples and dataclasses."
    )


def _owner(leaf: Any, path: Callable[[], str]) -> str:
    owner = owner_of(type(leaf))
    if owner is not None:
        return owner
    framework = framework_of(type(leaf))
    if framework is not None:
        raise MissingBackendError(
            f"No installed backend handles {path()}, a {_class(leaf)}. "
            f"Install one with: pip install 'dmin-core[{EXTRAS[framework]}]'"
        )
    raise UnknownBackendError(
        f"No installed backend handles {path()}, a {_class(leaf)}. Convert it to an array of a framework that has "
        f"one (python -m dmin_core lists them)."
    )


def array_namespace(x: Any) -> Any:
    """The array-API namespace for the arrays in ``x``, for code that takes whatever its callers pass.

    Parameters
    ----------
    x : array or nest of arrays, all of one framework

    Returns
    -------
    module
        ``xp``, with ``xp.exp``, ``xp.sum``, … as the array API standard (2024.12) has them.

    Raises
    ------
    As `backend_of`.

    Examples
    --------
    >>> import numpy as np
    >>> from dmin_core import array_namespace
    >>> x = {"w": np.array([3.0, 4.0])}
    >>> xp = array_namespace(x)
    >>> float(xp.sqrt(xp.sum(x["w"] ** 2)))
    5.0
    """
    if is_array(x):
        return get_backend(_owner(x, lambda: "x")).namespace(x)
    leaves, spec = flatten(x)
    backend = get_backend(infer_backend(leaves, spec, root="x"))
    array = next((leaf for leaf in leaves if is_array(leaf)), None)
    return backend.namespace(backend.from_numpy(np.zeros(()), None) if array is None else array)


def _class(leaf: Any) -> str:
    return f"{type(leaf).__module__.partition('.')[0]}.{type(leaf).__qualname__}"


def _described(leaf: Any) -> str:
    return "None" if leaf is None else f"the {type(leaf).__qualname__} {_short(leaf)}"


def _short(leaf: Any) -> str:
    text = repr(leaf)
    return text if len(text) <= 40 else text[:37] + "…"


# The structure of x0 -------------------------------------------------------------------------------------


class Tree:
    """The structure of an ``x0``: which of its leaves are variables, and how they lie in the flat vector.

    Attributes
    ----------
    backend : Backend
    spec : optree.PyTreeSpec
    leaves : list
        Of ``x0``: variables as arrays of the backend, static leaves as they are.
    variables : tuple of int
        Which of the leaves are variables.
    shapes, dtypes, sizes : tuple
        One entry a variable.
    n : int
        Length of the flat vector.
    """

    def __init__(self, x0: Any, backend: Backend, leaves: list[Any] | None = None, spec: Any = None) -> None:
        if leaves is None or spec is None:
            leaves, spec = flatten(x0)
        self.backend = backend
        self.spec = spec
        self.leaves = leaves
        self._paths: list[str] | None = None
        self.variables = tuple(i for i, leaf in enumerate(leaves) if self._is_variable(i, leaf))
        self._convert_foreign()
        arrays = [leaves[i] for i in self.variables]
        self.shapes = tuple(tuple(int(d) for d in a.shape) for a in arrays)
        self.dtypes = tuple(a.dtype for a in arrays)
        self.sizes = tuple(math.prod(shape) for shape in self.shapes)
        self.ends = np.cumsum(self.sizes, dtype=int) if arrays else np.zeros(0, int)
        self.n = int(sum(self.sizes))
        self._has_static = len(self.variables) < len(leaves)
        if not self.n:
            raise self._nothing()
        self._check_devices(arrays)
        self.prototype = self._make_prototype(arrays)
        self._restored = self._find_restored(arrays)

    # -- at the door ------------------------------------------------------------------------------------

    def _is_variable(self, i: int, leaf: Any) -> bool:
        if type(leaf) is float:
            return True
        if is_array(leaf):
            if not is_float_dtype(leaf.dtype):
                raise InputError(f"{self.path(i)} {self._why_not(leaf)}")
            return True
        if isinstance(leaf, complex):
            raise InputError(f"{self.path(i)} is the complex number {leaf!r}. {_COMPLEX}")
        if isinstance(leaf, int) and not isinstance(leaf, bool):
            raise InputError(
                f"{self.path(i)} is the integer {leaf!r}; leaves are floating. Write {float(leaf)!r} to optimise it, "
                f"or pass it to fun by args=."
            )
        if isinstance(leaf, float):  # a subclass that is no array
            return True
        if _holds_variables(leaf):
            raise InputError(
                f"{self.path(i)} is a {_class(leaf)}, which optree does not know how to take apart. Pass a plain dict, "
                f"list or tuple, or register the class with optree.register_pytree_node."
            )
        return False

    @staticmethod
    def _why_not(leaf: Any) -> str:
        name = getattr(leaf.dtype, "name", None) or str(leaf.dtype)
        if "complex" in name:
            return f"has dtype {leaf.dtype}. {_COMPLEX}"
        return (
            f"has dtype {leaf.dtype}; minimize needs real floating leaves. Convert it, "
            f"or pass it to fun by args= if it is not to be optimised."
        )

    def _nothing(self) -> InputError:
        if not self.variables:
            return no_leaves(self.leaves, self.spec, "x0")
        which = ", ".join(self.path(i) for i in self.variables[:3])
        return InputError(
            f"x0 has no numbers to optimise: {which} {'is' if len(self.variables) == 1 else 'are'} empty."
        )

    def _convert_foreign(self) -> None:
        """Python floats, and NumPy leaves where another backend was named, become arrays of the backend."""
        like = next((self.leaves[i] for i in self.variables if self._is_own(self.leaves[i])), None)
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
            else:
                raise InputError(
                    f"{self.path(i)} is a {_class(leaf)}, which backend={self.backend.name!r} cannot take. "
                    f"Convert it, or leave backend= out."
                )

    def _is_own(self, leaf: Any) -> bool:
        return is_array(leaf) and owner_of(type(leaf)) == self.backend.name

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

    def _make_prototype(self, arrays: Sequence[Any]) -> Any:
        """An empty flat vector of the widest leaf dtype, at least float32: the ``like`` of every point."""
        array = max(arrays, key=lambda a: _bits(a.dtype))
        if _bits(array.dtype) >= 32:
            return array
        xp = self.backend.namespace(array)
        return xp.astype(array, xp.float32)

    def _find_restored(self, arrays: Sequence[Any]) -> tuple[int, ...]:
        """The variables that `fun` must not get as plain pieces of the vector (tensor subclasses)."""
        plain = type(self.backend.from_numpy(np.zeros(1), self.prototype))
        found = []
        for k, like in enumerate(arrays):
            if type(like) is not plain:
                piece = self.backend.from_numpy(np.zeros(self.shapes[k]), like)
                if self.backend.restore(piece, like, True) is not piece:
                    found.append(k)
        return tuple(found)

    # -- names ------------------------------------------------------------------------------------------

    def path(self, i: int) -> str:
        """Path of leaf ``i`` of all leaves."""
        if self._paths is None:
            self._paths = paths(self.spec)
        return self._paths[i]

    def variable_path(self, k: int) -> str:
        """Path of variable ``k``."""
        return self.path(self.variables[k])

    def locate(self, j: int) -> str:
        """Path and index of number ``j`` of the flat vector: ``x0['w'][0, 3]``."""
        k = int(np.searchsorted(self.ends, j, side="right"))
        inner = j - (int(self.ends[k - 1]) if k else 0)
        index = np.unravel_index(inner, self.shapes[k]) if self.shapes[k] else ()
        where = f"[{', '.join(str(int(d)) for d in index)}]" if index else ""
        return self.variable_path(k) + where

    @functools.cached_property
    def key(self) -> Hashable:
        """Equal for nests between which a compiled function can be shared."""
        variables = frozenset(self.variables)
        static = tuple(
            (i, leaf if isinstance(leaf, Hashable) else id(leaf))
            for i, leaf in enumerate(self.leaves)
            if i not in variables
        )
        return (self.spec, self.shapes, self.dtypes, static)

    # -- between nests, points and host vectors ---------------------------------------------------------

    def _split(self, vector: Any) -> list[Any]:
        return self.backend.split(vector, self.shapes, self.dtypes)

    def unpack(self, point: Any) -> Any:
        """The nest that `fun` sees, made of pieces of the flat vector; differentiable."""
        (vector,) = point
        pieces = self._split(vector)
        if self._restored:
            pieces = list(pieces)
            for k in self._restored:
                pieces[k] = self.backend.restore(pieces[k], self.leaves[self.variables[k]], True)
        return self.fill(pieces)

    def fill(self, pieces: Sequence[Any]) -> Any:
        """The nest with these variables, and x0's static leaves."""
        if not self._has_static:
            return self.spec.unflatten(pieces)
        leaves = list(self.leaves)
        for i, piece in zip(self.variables, pieces, strict=True):
            leaves[i] = piece
        return self.spec.unflatten(leaves)

    def point(self, x: np.ndarray) -> Any:
        """The point on the device for a host vector."""
        return (self.backend.from_numpy(x, self.prototype),)

    def restore(self, x: np.ndarray, *, classes: bool = True) -> Any:
        """The nest for a host vector, in x0's dtypes and on its devices; new arrays.

        ``classes`` False leaves them plain arrays (a gradient is no parameter).
        """
        pieces = []
        for k, (part, shape) in enumerate(zip(np.split(x, self.ends[:-1]), self.shapes, strict=True)):
            like = self.leaves[self.variables[k]]
            piece = self.backend.from_numpy(np.array(part).reshape(shape), like)
            pieces.append(self.backend.restore(piece, like, False) if classes else piece)
        return self.fill(pieces)

    def pack_host(self, arrays: Sequence[Any]) -> np.ndarray:
        """Variables laid end to end in a new float64 host vector."""
        return np.concatenate([np.ravel(self.backend.to_numpy(a)) for a in arrays], dtype=float, casting="unsafe")

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
                parts.append(np.ravel(self.backend.to_numpy(self.leaves[i])))
            except Exception as cause:
                raise InputError(f"{self.path(i)} could not be copied to the host: {cause}") from cause
        x = np.concatenate(parts, dtype=float, casting="unsafe")
        bad = np.flatnonzero(~np.isfinite(x))
        if bad.size:
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
        arrays = self._match(nest, what)
        parts = []
        for k, (array, shape) in enumerate(zip(arrays, self.shapes, strict=True)):
            parts.append(np.ravel(self._host_part(array, shape, k, what)))
        return np.concatenate(parts, dtype=float, casting="unsafe")

    def _match(self, nest: Any, what: str) -> list[Any]:
        try:
            leaves = self.spec.flatten_up_to(nest)
        except (ValueError, TypeError) as cause:
            raise ObjectiveError(
                f"{what} does not have the nest of x0: {cause}. It must be nested as x0 is, {self.describe()}."
            ) from cause
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
            raise ObjectiveError(f"{what} has a {_class(array)} at {where}: {cause}") from cause
        if tuple(host.shape) != shape:
            raise ObjectiveError(f"{what} has shape {tuple(host.shape)} at {where}; expected {shape}, the leaf's own.")
        return host

    def describe(self) -> str:
        """The structure in optree's notation."""
        text = str(self.spec).removeprefix("PyTreeSpec(").partition(", NoneIsLeaf")[0]
        return text if len(text) < 300 else text[:297] + "…"

    def eps(self) -> np.ndarray:
        """Relative precision of every number of the flat vector, (n,)."""
        each = [_eps(dtype) for dtype in self.dtypes]
        return np.repeat(each, self.sizes)

    @property
    def coarsest_eps(self) -> float:
        """Relative precision of the least precise leaf."""
        return max(_eps(dtype) for dtype in self.dtypes)

    def round(self, x: np.ndarray) -> np.ndarray:
        """What a trip through the leaves' dtypes does to a host vector."""
        if all(_bits(dtype) >= 64 for dtype in self.dtypes):
            return x
        return self.pack_host(self._split(self.point(np.array(x))[0]))


_COMPLEX = (
    "minimize works on real numbers for now: pass the real and imaginary parts as two leaves, "
    "and put them together in fun."
)


def _holds_variables(leaf: Any) -> bool:
    """Whether an opaque leaf is a container with something in it that the user may believe is optimised."""
    if isinstance(leaf, str | bytes) or not isinstance(leaf, Mapping | Sequence | Set):
        return False
    elements = leaf.values() if isinstance(leaf, Mapping) else leaf
    return any(is_array(e) or isinstance(e, float | Mapping) for e in elements)


def _bits(dtype: Any) -> int:
    name = (getattr(dtype, "name", None) or str(dtype)).rpartition(".")[2]
    digits = "".join(c for c in name.removeprefix("b") if c.isdigit())
    return int(digits[:3]) if digits[:3] in ("128",) else int(digits[:2] or 64)


def _eps(dtype: Any) -> float:
    name = (getattr(dtype, "name", None) or str(dtype)).rpartition(".")[2]
    # bfloat16 keeps 8 bits of significand; NumPy has no dtype of that name.
    return 2.0**-7 if name == "bfloat16" else float(np.finfo(name if hasattr(np, name) else float).eps)
