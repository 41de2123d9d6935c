"""Finding backends and methods: metadata lists, pluggy loads, one plugin manager each.

Listing reads entry points and imports nothing, so that ``import dmin_core`` and calls for another backend
never import a framework. Loading happens on first use. pluggy alone would load every plugin of a group, let
the first of two that claim one name win silently, and stop at the first that is broken; so each backend and
each method gets a manager of its own, and a broken one hurts only whoever asked for it.

Whose array something is, the array's class already says: the root module of a class in its ``__mro__``
(``torch``, ``jaxlib``, ``tensorflow``) is compared with the listed names. An ``__array_namespace__`` attribute
would not do, TensorFlow's tensors have none.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pluggy

from ._defaults import Defaults
from ._errors import (
    BrokenPluginError,
    InputError,
    MissingBackendError,
    PluginClashError,
    PluginError,
    UnknownBackendError,
)
from .hookspecs import BACKENDS, SOLVERS, BackendSpec, SolverSpec

REQUIRED = ("to_numpy", "from_numpy", "device")
"""Hooks of a backend that have no default."""

EXTRAS = {"torch": "torch", "jax": "jax", "jaxlib": "jax", "tf": "tf", "tensorflow": "tf", "cupy": "cupy"}
"""What a framework's arrays and users call it -> the extra of dmin-core that brings its backend."""


@dataclass(frozen=True)
class Entry:
    """A name that a distribution claims in one of dmin's entry-point groups."""

    name: str
    value: str
    distribution: str
    version: str
    embedded: bool = False


# Listing -----------------------------------------------------------------------------------------------


def listed(group: str) -> Mapping[str, tuple[Entry, ...]]:
    """Names in an entry-point group and who claims them, the core's own first; imports nothing."""
    return _listed(group, tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _listed(group: str, path: tuple[str, ...]) -> Mapping[str, tuple[Entry, ...]]:
    claims: dict[str, dict[tuple[str, str], Entry]] = {}
    for entry in (*_embedded(group), *_installed(group)):
        # A distribution may be found twice on the path (an editable install beside its source): that is no clash.
        claims.setdefault(entry.name, {}).setdefault((entry.distribution, entry.value), entry)
    return {name: tuple(entries.values()) for name, entries in claims.items()}


def spellings(group: str) -> Mapping[str, tuple[str, ...]]:
    """Names in lower case, and how they are listed."""
    return _spellings(group, tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _spellings(group: str, path: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in _listed(group, path):
        found[name.lower()] = (*found.get(name.lower(), ()), name)
    return found


def _embedded(group: str) -> Iterable[Entry]:
    from . import __version__
    from .solvers import DEVICE_METHODS, SCIPY_METHODS

    if group == BACKENDS:
        yield Entry("numpy", "dmin_core._backends.numpy", "dmin-core", __version__, embedded=True)
    else:
        for name in SCIPY_METHODS:
            yield Entry(name, "dmin_core.solvers.scipy", "dmin-core", __version__, embedded=True)
        for name in DEVICE_METHODS:
            yield Entry(name, "dmin_core.solvers.device", "dmin-core", __version__, embedded=True)


def _installed(group: str) -> Iterable[Entry]:
    import importlib.metadata  # brings the email package with it: as long to import as pluggy and optree together

    for point in importlib.metadata.entry_points(group=group):
        dist = point.dist
        yield Entry(point.name, point.value, dist.name if dist else "?", dist.version if dist else "?")


def refresh() -> None:
    """Forget what was listed and loaded, so that what was installed meanwhile is seen."""
    _listed.cache_clear()
    _spellings.cache_clear()
    _load.cache_clear()
    _claimed.cache_clear()
    load_solver.cache_clear()
    _owner_of.cache_clear()


def claim(group: str, name: str) -> Entry:
    """The one entry of that name.

    Raises
    ------
    KeyError
        If nobody claims it.
    PluginClashError
        If several distributions do.
    """
    entries = listed(group)[name]
    if len(entries) > 1:
        who = " and ".join(f"{e.distribution} ({e.value})" for e in entries)
        kind = "Backend" if group == BACKENDS else "Method"
        raise PluginClashError(f"{kind} {name!r} is provided by {who}. Uninstall all but one of them.")
    return entries[0]


# Loading -----------------------------------------------------------------------------------------------


def load(group: str, entry: Entry, spec: type) -> pluggy.PluginManager:
    """Load one plugin into a manager of its own; a fault in it becomes a `BrokenPluginError` with its cause."""
    kind = "Backend" if group == BACKENDS else "Method"
    manager = pluggy.PluginManager("dmin")
    manager.add_hookspecs(spec)
    try:
        if entry.embedded:
            manager.register(importlib.import_module(entry.value), name=entry.name)
        elif not manager.load_setuptools_entrypoints(group, name=entry.name):
            raise ImportError(f"its entry point {entry.value!r} is listed but was not found again")
        manager.check_pending()
    except PluginError:
        raise
    except Exception as cause:
        raise BrokenPluginError(
            f"{kind} {entry.name!r} ({entry.distribution} {entry.version}) failed to load {entry.value!r}: {cause}"
        ) from cause
    return manager


def hooks(manager: pluggy.PluginManager, spec: type) -> dict[str, Callable[..., Any]]:
    """The winning implementation of each hook as a plain function of the spec's own parameters, in their order.

    pluggy's caller costs about 5 µs, as much as a small objective in NumPy; `to_numpy` and `from_numpy` are
    called once an evaluation.
    """
    functions = {}
    for name in vars(spec):
        if name.startswith("_"):
            continue
        caller = getattr(manager.hook, name)
        implementations = caller.get_hookimpls()
        if implementations:
            functions[name] = _positional(implementations[-1], tuple(caller.spec.argnames))
    return functions


def _positional(implementation: Any, parameters: tuple[str, ...]) -> Callable[..., Any]:
    function: Callable[..., Any] = implementation.function
    taken = tuple(implementation.argnames)
    if taken == parameters:
        return function
    # pluggy lets a plugin declare fewer of a hook's parameters, in any order.
    places = [parameters.index(name) for name in taken]

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*(arguments[place] for place in places))

    return call


class Backend:
    """A loaded backend: the hooks of `BackendSpec` as methods, and what it is.

    Attributes
    ----------
    name : str
        What users call it: ``"torch"``.
    distribution, version : str
        Where it comes from.
    exact_gradient, exact_hvp : bool
        Whether the framework differentiates, or the core takes differences.
    compiles : bool
        Whether it compiles objectives.
    compiles_on_request : bool
        Whether it does so only for ``compile=True``, and nothing but `fun` itself.
    shields : bool
        Whether nothing can be written into a host array through what `feed` makes of it.

    Examples
    --------
    >>> import numpy as np
    >>> from dmin_core import get_backend
    >>> backend = get_backend("numpy")
    >>> backend.device(np.zeros(3))
    'cpu'
    >>> backend.exact_gradient
    False
    """

    to_numpy: Callable[..., Any]
    from_numpy: Callable[..., Any]
    device: Callable[..., str]
    value_and_grad: Callable[..., Any]
    on_host: Callable[..., Any]
    hvp: Callable[..., Any]
    value: Callable[..., Any]
    value_with_aux: Callable[..., Any]
    value_and_grad_with_aux: Callable[..., Any]
    detach: Callable[..., Any]
    hessian: Callable[..., Any]
    jacobian: Callable[..., Any]
    is_failure: Callable[[Exception], bool]
    value_and_jacobian: Callable[..., Any]
    split: Callable[..., Any]
    join: Callable[..., Any]
    restore: Callable[..., Any]
    feed: Callable[..., Any]
    own_array: Callable[..., bool]
    is_sharded: Callable[[Any], bool]
    container: Callable[..., Any]
    rebuild: Callable[..., Any]
    adopt: Callable[..., Any]
    namespace: Callable[..., Any]
    compile: Callable[..., Any]
    compile_fun: Callable[..., Any]
    while_loop: Callable[..., Any]
    cond: Callable[..., Any]
    put_row: Callable[..., Any]
    framework: Callable[[], str]
    devices: Callable[[], Any]

    def __init__(self, entry: Entry, manager: pluggy.PluginManager) -> None:
        self.name = entry.name
        self.distribution = entry.distribution
        self.version = entry.version
        own = {name for name in vars(BackendSpec) if _implements(manager, name)}
        missing = [name for name in REQUIRED if name not in own]
        if missing:
            raise BrokenPluginError(
                f"Backend {entry.name!r} ({entry.distribution}) does not implement {', '.join(missing)}; "
                f"see dmin_core.hookspecs.BackendSpec."
            )
        manager.register(Defaults(self), name="dmin_core defaults")
        for name, function in hooks(manager, BackendSpec).items():
            setattr(self, name, function)
        self.shields = "feed" in own
        if "feed" not in own:
            self.feed = self.from_numpy  # without the default's frame between: it is called once an evaluation
        self.exact_gradient = "value_and_grad" in own
        self.exact_hvp = "hvp" in own
        self.compiles = "compile" in own
        self.compiles_on_request = "compile_fun" in own
        self.plain_classes: dict[type, type] = {}

    def __repr__(self) -> str:
        return f"<backend {self.name!r} of {self.distribution} {self.version}>"


def _implements(manager: pluggy.PluginManager, name: str) -> bool:
    return not name.startswith("_") and bool(getattr(manager.hook, name).get_hookimpls())


@functools.lru_cache(maxsize=64)
def _load(entry: Entry) -> Backend:
    return Backend(entry, load(BACKENDS, entry, BackendSpec))


def get_backend(name: str) -> Backend:
    """Load a backend by the name that its users, or its arrays, call it.

    Parameters
    ----------
    name : str
        ``"numpy"``, ``"torch"``, …: one of `backends`.

    Returns
    -------
    Backend

    Raises
    ------
    InputError
        The name is no string.
    UnknownBackendError
        Nothing installed provides it.
    MissingBackendError
        dmin has a plugin for it that is not installed.
    BrokenPluginError
        It is installed but does not load; the cause is chained.
    PluginClashError
        Two distributions provide it.

    Examples
    --------
    >>> from dmin_core import get_backend
    >>> get_backend("numpy").name
    'numpy'
    """
    if not isinstance(name, str):
        raise InputError(f"backend must be a name such as 'numpy' or 'torch', not {name!r}.")
    if name not in listed(BACKENDS):
        refresh()  # installed since (a notebook that ran pip)
    if name not in listed(BACKENDS):
        raise _absent(name)
    return _claimed(name, tuple(sys.path))


@functools.lru_cache(maxsize=64)
def _claimed(name: str, path: tuple[str, ...]) -> Backend:
    return _load(_canonical(claim(BACKENDS, name)))


def _absent(name: str) -> PluginError:
    installed = sorted({_canonical(e[0]).name for e in listed(BACKENDS).values()})
    if name in EXTRAS:
        return MissingBackendError(
            f"Backend {name!r} is not installed (installed: {', '.join(installed)}). "
            f"Install it with: pip install 'dmin-core[{EXTRAS[name]}]'"
        )
    import difflib

    near = difflib.get_close_matches(name, installed, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return UnknownBackendError(
        f"Unknown backend {name!r}; installed backends are {', '.join(installed)}. {hint}"
        f"A backend is a distribution with an entry point in the group '{BACKENDS}'."
    )


def _canonical(entry: Entry) -> Entry:
    """The shortest of the names under which a distribution lists one plugin: ``tf`` rather than ``tensorflow``."""
    names = [
        e
        for claims in listed(BACKENDS).values()
        for e in claims
        if (e.distribution, e.value) == (entry.distribution, entry.value)
    ]
    return min(names, key=lambda e: (len(e.name), e.name))


# Whose array is this? ------------------------------------------------------------------------------------


def owner_of(cls: type) -> str | None:
    """The listed backend whose framework defines ``cls`` or a class it derives from, or None; imports nothing."""
    return _owner_of(cast(Hashable, cls))


@functools.lru_cache(maxsize=1024)
def _owner_of(cls: Any) -> str | None:
    for name in _roots(cls):
        entries = listed(BACKENDS).get(name)
        if entries:
            return _canonical(entries[0]).name if len(entries) == 1 else name
    return None


def imported() -> list[str]:
    """Names of the listed backends whose framework the program has imported already."""
    found = {_canonical(claims[0]).name for name, claims in listed(BACKENDS).items() if name in sys.modules}
    return sorted(found - {"numpy"})


def framework_of(cls: type) -> str | None:
    """A framework that dmin knows by name but has no installed backend for, or None."""
    return next((root for root in _roots(cls) if root in EXTRAS), None)


def _roots(cls: type) -> list[str]:
    return [c.__module__.partition(".")[0] for c in cls.__mro__[:-1]]


# The table -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BackendInfo:
    """A line of `backends`.

    Attributes
    ----------
    name, aliases : str, tuple of str
        What to pass as ``backend=``, and what else its arrays are called.
    distribution, version : str
        Where it comes from.
    framework : str
        Framework and version; empty where the backend is broken.
    devices : tuple of str
        As the framework spells them.
    gradient : str
        ``"exact"`` or ``"differences"``; empty where broken.
    error : Exception or None
        Why it cannot be used.

    Examples
    --------
    >>> from dmin_core import backends
    >>> backends()["numpy"].devices
    ('cpu',)
    """

    name: str
    aliases: tuple[str, ...]
    distribution: str
    version: str
    framework: str = ""
    devices: tuple[str, ...] = ()
    gradient: str = ""
    error: Exception | None = None


def backends() -> dict[str, BackendInfo]:
    """Every installed backend, loaded, with what it is or why it is broken.

    Returns
    -------
    dict of str to BackendInfo
        By canonical name, ``numpy`` first.

    Examples
    --------
    >>> from dmin_core import backends
    >>> backends()["numpy"].gradient
    'differences'
    """
    refresh()
    table: dict[str, BackendInfo] = {}
    for name in listed(BACKENDS):
        entry = _canonical(listed(BACKENDS)[name][0])
        if entry.name not in table:
            table[entry.name] = _inspect(entry)
    return table


def _inspect(entry: Entry) -> BackendInfo:
    aliases = tuple(
        name
        for name, claims in listed(BACKENDS).items()
        if name != entry.name and (entry.distribution, entry.value) in {(e.distribution, e.value) for e in claims}
    )
    line = (entry.name, aliases, entry.distribution, entry.version)
    try:
        backend = get_backend(entry.name)
        gradient = "exact" if backend.exact_gradient else "differences"
        return BackendInfo(*line, backend.framework(), tuple(backend.devices()), gradient)
    except Exception as error:  # noqa: BLE001 - a table that shows what is broken must survive it, whatever it is
        return BackendInfo(*line, error=error)


@functools.lru_cache(maxsize=64)
def load_solver(entry: Entry) -> dict[str, Callable[..., Any]]:
    """`SolverSpec`'s hooks of one method, both of which a method needs."""
    functions = hooks(load(SOLVERS, entry, SolverSpec), SolverSpec)
    missing = [name for name in ("describe", "solve") if name not in functions]
    if missing:
        raise BrokenPluginError(
            f"Method {entry.name!r} ({entry.distribution}) does not implement {' and '.join(missing)}; "
            f"see dmin_core.hookspecs.SolverSpec."
        )
    return functions
