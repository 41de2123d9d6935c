"""What makes two runs the same run: enough of a call of `minimize`, in plain JSON, to refuse another's checkpoint.

Everything the solver's path depends on is in it, but for what cannot be looked into: the code of `fun`, which has its
name only, and objects that are neither numbers nor arrays nor nests of them, which have their class only. Limits
are not: a run that was stopped by ``maxiter`` may go on with a higher one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import scipy

from . import __version__
from ._leaves import class_of, dtype_name, flatten, is_array, paths
from ._logfile import digest
from ._plugins import owner_of
from ._problem import Problem
from ._tree import Tree

LIMITS = ("maxfun", "maxtime", "maxiter", "maxfev", "disp", "iprint", "verbose", "mesg_num")
"""Options that end a run or say something, and change nothing of its path."""


def identify(problem: Problem, method: str, tol: float | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's header says of a run.

    Returns
    -------
    dict
        Of what JSON can hold: ``"versions"``, and beside it what must be equal.
    """
    tree = problem.tree
    return {
        "versions": versions(tree),
        "method": method,
        "backend": tree.backend.name,
        "leaves": _leaves(problem.x0, tree),
        "static": _static(tree),
        "bounds": None if problem.bounds is None else [_hex(digest(side)) for side in problem.bounds],
        "constraints": {
            f"{each.where}, {name}": _plain(getattr(each, name), tree)
            for each in problem.constraints
            for name in each.PARTS
        },
        "keep_feasible": _plain(problem.keep_feasible, tree),
        "fun": _named(problem.fun),
        **{name: _plain(getattr(problem, name), tree) for name in ("jac", "hess", "hessp")},
        "args": [_plain(argument, tree) for argument in problem.args],
        "tol": _plain(tol, tree),
        "options": {str(name): _plain(value, tree) for name, value in sorted(options.items()) if name not in LIMITS},
    }


def versions(tree: Tree) -> dict[str, str]:
    """What a solver's last bits depend on."""
    from ._threads import _libraries

    blas = {f"{lib.internal_api} {lib.version} {getattr(lib, 'architecture', '')}".strip() for lib in _libraries()}
    return {
        "dmin": __version__,
        "scipy": scipy.__version__,
        "numpy": np.__version__,
        "framework": tree.backend.framework(),
        "BLAS": ", ".join(sorted(blas)),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """In words and in the user's names, what two identities differ in; ``versions`` apart."""
    yield from _leaf_differences(there.get("leaves", []), here["leaves"])
    for name in here:
        if (
            name not in ("leaves", "static", "versions", "options", "args", "bounds", "constraints")
            and there.get(name) != here[name]
        ):
            yield f"{name} was {_shown(there.get(name))} and is {_shown(here[name])}"
    if there.get("bounds") != here["bounds"]:
        yield "the bounds are others" if there.get("bounds") and here["bounds"] else "one has bounds, the other none"
    before, now = there.get("args", []), here["args"]
    if len(before) != len(now):
        yield f"there were {len(before)} args and are {len(now)}"
    for i, (old, new) in enumerate(zip(before, now, strict=False)):
        if old != new:
            yield f"args[{i}] was {_shown(old)} and is {_shown(new)}"
    yield from _mapping_differences("{}", there.get("static", {}), here["static"])
    yield from _mapping_differences("{}", there.get("constraints", {}), here["constraints"])
    yield from _mapping_differences("options[{!r}]", there.get("options", {}), here["options"])


def _leaf_differences(there: list[Any], here: list[Any]) -> Iterator[str]:
    before, now = {leaf[0]: leaf[1:] for leaf in there}, {leaf[0]: leaf[1:] for leaf in here}
    for path in [*now, *(path for path in before if path not in now)]:
        if path not in before:
            yield f"{path} was no variable"
        elif path not in now:
            yield f"{path} was a variable and is none"
        else:
            for what, old, new in zip(("shape", "dtype"), before[path], now[path], strict=False):
                if old != new:
                    yield f"{path} had {what} {_shown(old)} and has {_shown(new)}"
            if before[path][:2] == now[path][:2] and before[path] != now[path]:
                yield f"{path} starts at other numbers"


def _mapping_differences(name_of: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*there, *here}):
        old, new = there.get(name, "not given"), here.get(name, "not given")
        if old != new:
            yield f"{name_of.format(name)} was {_shown(old)} and is {_shown(new)}"


def _leaves(x0: np.ndarray, tree: Tree) -> list[list[Any]]:
    parts = np.split(x0, tree.ends[:-1])
    return [
        [tree.variable_path(k), list(tree.shapes[k]), dtype_name(tree.dtypes[k]), _hex(digest(part))]
        for k, part in enumerate(parts)
    ]


def _static(tree: Tree) -> dict[str, Any]:
    """What rides along in x0, frozen leaves among it: `fun` depends on it."""
    variables = set(tree.variables)
    return {tree.path(i): _plain(leaf, tree) for i, leaf in enumerate(tree.leaves) if i not in variables}


def _plain(value: Any, tree: Tree) -> Any:
    """``value`` as JSON can hold it, and as the same value will be written again by another process."""
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float | complex) and not is_array(value):
        return repr(value)
    if is_array(value):
        return _array(value, tree)
    if callable(value):
        return _named(value)
    if hasattr(value, "tocsr"):
        sparse = value.tocsr()
        return [_array(part, tree) for part in (sparse.data, sparse.indices, sparse.indptr)]
    leaves, spec = flatten(value)
    if spec.is_leaf():
        return class_of(value)
    return {path: _plain(leaf, tree) for path, leaf in zip(paths(spec, ""), leaves, strict=True)}


def _array(array: Any, tree: Tree) -> str:
    named = f"{class_of(array)} of shape {list(map(int, array.shape))}, {dtype_name(array.dtype)}"
    owner = owner_of(type(array))
    if owner == "numpy":
        host = np.asarray(array)
    elif owner == tree.backend.name:
        try:
            host = np.asarray(tree.backend.to_numpy(array))
        except TypeError:  # a key of JAX's random numbers
            return named
    else:
        return named
    if host.dtype.kind not in "fciub":
        return named
    if host.dtype.itemsize > 8 and host.dtype.kind == "f":
        host = host.astype(float)  # the bytes between long doubles hold anything
    return f"{named}, {_hex(digest(host))}"


def _named(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None) or getattr(type(function), "__qualname__", "")
    return str(name)


def _hex(number: int) -> str:
    return f"{number:016x}"


def _shown(value: Any) -> str:
    text = "None" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "…"
