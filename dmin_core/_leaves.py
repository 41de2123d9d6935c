"""Leaves of nests: taking nests apart, telling variables from what rides along, and whose arrays they are.

A nest is whatever optree can take apart (dict, OrderedDict, list, tuple, namedtuple, deque, registered classes)
and any dataclass. Its leaves are of two kinds. *Variables* are real floating arrays, and Python floats. *Static*
leaves (None, strings, flags, anything that is no array) ride along and come back as the same objects.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from typing import Any

import numpy as np
import optree

from ._errors import InputError, MissingBackendError, PluginError, UnknownBackendError
from ._plugins import EXTRAS, framework_of, get_backend, imported, owner_of, refresh

NAMESPACE = "dmin"
"""optree's namespace for the dataclasses that dmin registers; the user's global registrations hold in it too."""


# Taking nests apart --------------------------------------------------------------------------------------


def flatten(nest: Any) -> tuple[list[Any], optree.PyTreeSpec]:
    """Leaves and structure of ``nest``, with None as a leaf and dataclasses as nodes."""
    while True:
        leaves, spec = optree.tree_flatten(nest, none_is_leaf=True, namespace=NAMESPACE)
        opaque = {type(leaf): leaf for leaf in leaves if type(leaf) not in _LEAVES and not is_array(leaf)}
        found = [_register(leaf) for leaf in opaque.values()]
        if not any(found):
            return leaves, spec


_LEAVES: set[type] = {float, int, bool, complex, str, bytes, type(None)}
"""Classes known to be no containers."""

_registering = threading.RLock()
"""A class may be registered once only, by whichever thread meets it first."""


def _register(node: Any) -> bool:
    """Make optree know the class of a container it takes for a leaf, if it is one."""
    if isinstance(node, type):
        return False
    with _registering:
        if not optree.all_leaves([node], none_is_leaf=True, namespace=NAMESPACE):
            return True  # another thread has done so since
        # A framework's registration goes first: it says which fields of a dataclass are static.
        if any(_register_framework_container(backend, node) for backend in imported()):
            return True
        if dataclasses.is_dataclass(node):
            _register_dataclass(type(node))
            return True
        return False


def _register_framework_container(backend: str, node: Any) -> bool:
    """Make optree know a class that a framework has registered (flax's and equinox's modules with JAX)."""
    try:
        hooks = get_backend(backend)
    except PluginError:
        return False  # it hurts those whose arrays are its framework's, and them later on
    if hooks.container(node) is None:
        return False

    def take_apart(instance: Any) -> tuple[list[Any], Any, tuple[Any, ...]]:
        children, structure, names = hooks.container(instance)
        named = all(name is not None for name in names)
        return list(children), structure, tuple(names if named else range(len(names)))

    entry_type = optree.GetAttrEntry if all(name is not None for name in hooks.container(node)[2]) else optree.AutoEntry
    optree.register_pytree_node(type(node), take_apart, hooks.rebuild, path_entry_type=entry_type, namespace=NAMESPACE)
    return True


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
        for name in list(getattr(self.instance, "__dict__", ())):
            # What a cached_property computed from x0's leaves is not true of other leaves.
            if isinstance(inspect.getattr_static(type(instance), name, None), functools.cached_property):
                del self.instance.__dict__[name]

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


def is_number(leaf: Any) -> bool:
    """Whether ``leaf`` is an array or a Python number, of whatever dtype."""
    return is_array(leaf) or (isinstance(leaf, int | float | complex) and not isinstance(leaf, bool))


FLOATS = {
    "bfloat16": 16,
    "float16": 16,
    "float32": 32,
    "float64": 64,
    "longdouble": 128,
    "float96": 96,
    "float128": 128,
}
"""The dtypes that can be optimised, by name, and their bits. Eight-bit floats are no numbers to take a step in."""


@functools.lru_cache(maxsize=64, typed=True)
def dtype_name(dtype: Any) -> str:
    """A framework's dtype by the name they all share: ``float32`` for ``torch.float32``."""
    return (getattr(dtype, "name", None) or str(dtype)).rpartition(".")[2]


def is_float_dtype(dtype: Any) -> bool:
    """Whether a framework's dtype is real and floating, and wide enough."""
    return dtype_name(dtype) in FLOATS


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


def infer_backend(
    leaves: Sequence[Any], spec: optree.PyTreeSpec, root: str = "x0", frozen: Collection[int] = ()
) -> str:
    """`backend_of` for a nest that has been taken apart already; ``frozen`` leaves may be of any framework."""
    seen: dict[str, int] = {}
    floats = False
    for i, leaf in enumerate(leaves):
        if i in frozen:
            continue
        if is_array(leaf):
            seen.setdefault(_owner(leaf, functools.partial(_path, spec, root, i)), i)
        floats = floats or isinstance(leaf, float)
    if len(seen) > 1:
        names = paths(spec, root)
        which = " and ".join(f"{names[i]} is a {class_of(leaves[i])}" for i in seen.values())
        raise InputError(
            f"The leaves of {root} belong to more than one framework: {which}. Convert them to one, "
            f"or name it: backend={next(iter(sorted(set(seen) - {'numpy'})), 'numpy')!r} converts NumPy's."
        )
    if not seen and not floats:
        for i, leaf in enumerate(leaves):
            if i not in frozen:
                is_variable(leaf, functools.partial(_path, spec, root, i))  # says better what is wrong, if it can
        if frozen:
            raise nothing_free([_path(spec, root, i) for i in sorted(frozen)])
        raise no_leaves(leaves, spec, root)
    return next(iter(seen), "numpy")


def _path(spec: optree.PyTreeSpec, root: str, i: int) -> str:
    return paths(spec, root)[i]


def nothing_free(frozen: Sequence[str]) -> InputError:
    """The error where all that could be optimised is frozen."""
    more = ", …" if len(frozen) > 3 else ""
    return InputError(
        f"frozen leaves nothing to optimise: it holds for {', '.join(frozen[:3])}{more}. Leave a floating leaf free."
    )


def no_leaves(leaves: Sequence[Any], spec: optree.PyTreeSpec, root: str) -> InputError:
    """The error for a nest in which there is nothing to optimise."""
    found = view = ""
    if leaves:
        names = paths(spec, root)
        found = ": " + ", ".join(f"{names[i]} is {_described(leaf)}" for i, leaf in enumerate(leaves[:3]))
        found += ", …" if len(leaves) > 3 else ""
        if isinstance(leaves[0], Iterator | ValuesView):
            view = (
                " What is iterated over is no nest: make a list of it, list(…); or hand over the model or dict itself."
            )
    return InputError(
        f"{root} holds no leaf to optimise{found}.{view} Leaves are floating arrays or Python floats, "
        f"in any nest of dicts, lists, tuples, namedtuples and dataclasses."
    )


def _owner(leaf: Any, path: Callable[[], str]) -> str:
    owner = owner_of(type(leaf))
    if owner is None:
        refresh()  # installed since
        owner = owner_of(type(leaf))
    if owner is not None:
        return owner
    framework = framework_of(type(leaf))
    if framework is not None:
        raise MissingBackendError(
            f"No installed backend handles {path()}, a {class_of(leaf)}. "
            f"Install one with: pip install 'dmin-core[{EXTRAS[framework]}]'"
        )
    raise UnknownBackendError(
        f"No installed backend handles {path()}, a {class_of(leaf)}. Convert it to an array of a framework that has "
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


def class_of(leaf: Any) -> str:
    """A leaf's class as users know it: ``torch.Tensor``."""
    return f"{type(leaf).__module__.partition('.')[0]}.{type(leaf).__qualname__}"


def _described(leaf: Any) -> str:
    return "None" if leaf is None else f"the {type(leaf).__qualname__} {_short(leaf)}"


def _short(leaf: Any) -> str:
    text = repr(leaf)
    return text if len(text) <= 40 else text[:37] + "…"


# Which leaves are variables ------------------------------------------------------------------------------

COMPLEX = (
    "minimize works on real numbers for now: pass the real and imaginary parts as two leaves, "
    "and put them together in fun."
)


def is_variable(leaf: Any, path: Callable[[], str]) -> bool:
    """Whether a leaf is to be optimised.

    Raises
    ------
    InputError
        It looks as if it were meant to be, but cannot: integers, complex numbers, containers that hide arrays.
    """
    if type(leaf) is float:
        return True
    if is_array(leaf):
        if not is_float_dtype(leaf.dtype):
            raise InputError(f"{path()} has dtype {leaf.dtype}. {_remedy(leaf.dtype)}")
        return True
    if isinstance(leaf, complex):
        raise InputError(f"{path()} is the complex number {leaf!r}. {COMPLEX}")
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        raise InputError(
            f"{path()} is the integer {leaf!r}; leaves are floating. Write {float(leaf)!r} to optimise it, "
            f"or name it in frozen= if it is not to be optimised."
        )
    if _holds_variables(leaf):
        raise InputError(
            f"{path()} is a {class_of(leaf)}, which optree does not know how to take apart. Pass a plain dict, "
            f"list or tuple, or register the class with optree.register_pytree_node."
        )
    return isinstance(leaf, float)


def _remedy(dtype: Any) -> str:
    if "complex" in dtype_name(dtype):
        return COMPLEX
    return "minimize needs real floating leaves. Convert it, or name it in frozen= if it is not to be optimised."


def _holds_variables(leaf: Any) -> bool:
    """Whether an opaque leaf is a container with something in it that the user may believe is optimised."""
    if isinstance(leaf, str | bytes) or not isinstance(leaf, Mapping | Sequence | Set):
        return False
    elements = leaf.values() if isinstance(leaf, Mapping) else leaf
    return any(is_array(e) or isinstance(e, float | Mapping) for e in elements)
