"""Bounds in the user's own nest, as two flat vectors.

A bound is written where the variable is: as a pair ``(lb, ub)`` whose sides are numbers, arrays or nests that
reach as deep into x0's as they like (a *prefix*: what stands at a node holds for all below it), or as a dictionary
from leaf to pair. None is no bound. SciPy's own forms, ``Bounds`` and a list of pairs for a single vector, mean what
they mean there.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optree

from ._errors import InputError
from ._problem import _outside
from ._tree import NAMESPACE, Tree, flatten, is_array

Pair = tuple[np.ndarray, np.ndarray]

FORMS = (
    "Bounds are (lb, ub), Bounds(lb, ub), each side None, a number, an array or a nest like x0's; "
    "or a dict from leaf to such a pair."
)


def flatten_bounds(bounds: Any, x0: Any, tree: Tree) -> tuple[Pair | None, Any]:
    """Lower and upper bounds of the flat vector, and ``keep_feasible``.

    Returns
    -------
    pair of (n,) float64 arrays, or None
        None where every variable is free.
    bool or (n,) array of bool
        What SciPy's ``Bounds`` says; False for the other forms.

    Raises
    ------
    InputError
        The form, the nest or a shape is wrong, a bound is nan, or a lower one lies above its upper one; the
        message names the leaf.
    """
    if bounds is None:
        return None, False
    keep_feasible: Any = False
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        keep_feasible = _keep_feasible(bounds, tree)
        bounds = (_unwrapped(bounds.lb), _unwrapped(bounds.ub))
    elif _is_list_of_pairs(bounds, tree):
        bounds = _from_pairs(bounds, tree)
    if isinstance(bounds, Mapping):
        lb, ub = _from_mapping(bounds, x0, tree)
    elif isinstance(bounds, tuple | list) and len(bounds) == 2:
        lb = _side(bounds[0], x0, tree, -np.inf, "lower")
        ub = _side(bounds[1], x0, tree, np.inf, "upper")
    else:
        raise InputError(f"bounds is a {type(bounds).__qualname__}{_length(bounds)}. {FORMS}")
    _check(lb, ub, tree)
    if np.isneginf(lb).all() and np.isposinf(ub).all():
        return None, False
    return (lb, ub), keep_feasible


def clip_start(x: np.ndarray, bounds: Pair, tree: Tree) -> np.ndarray:
    """x0 within its bounds; a warning names what was moved."""
    inside = np.clip(x, *bounds)
    moved = np.flatnonzero(inside != x)
    if not moved.size:
        return x
    j = int(moved[0])
    more = f", and {moved.size - 1} more" if moved.size > 1 else ""
    warnings.warn(
        f"x0 lies outside its bounds and was moved onto them: {tree.locate(j)} from {x[j]:g} to {inside[j]:g}{more}.",
        RuntimeWarning,
        stacklevel=_outside(),
    )
    return inside


def _length(bounds: Any) -> str:
    return f" of {len(bounds)}" if hasattr(bounds, "__len__") else ""


def _unwrapped(side: Any) -> Any:
    """SciPy's Bounds puts what it is given into an array, a nest into one of a single object."""
    if isinstance(side, np.ndarray) and side.dtype == object and side.size == 1:
        return side.item()
    return side[0] if isinstance(side, np.ndarray) and side.shape == (1,) else side


def _keep_feasible(bounds: Any, tree: Tree) -> Any:
    keep = np.asarray(bounds.keep_feasible, dtype=bool)
    if keep.size == 1:
        return bool(keep.ravel()[0])
    if keep.size != tree.n:
        raise InputError(
            f"keep_feasible has {keep.size} entries for {tree.n} variables; pass one bool, or one for each."
        )
    return keep.ravel()


# SciPy's list of pairs -----------------------------------------------------------------------------------


def _is_list_of_pairs(bounds: Any, tree: Tree) -> bool:
    """Whether this is SciPy's ``[(min, max), …]``: as many pairs of numbers as there are variables.

    ``((0, None), (0, None))`` for two variables could be either form; a side of the other one is never a bare pair
    unless x0 is a pair itself, so SciPy's reading holds for a single vector, and for lists.
    """
    if not isinstance(bounds, list | tuple) or len(bounds) != tree.n:
        return False
    if not (isinstance(bounds, list) or tree.spec.is_leaf()):
        return False
    return all(isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_number, pair)) for pair in bounds)


def _is_number(side: Any) -> bool:
    return side is None or isinstance(side, int | float | np.number)


def _from_pairs(pairs: Sequence[Any], tree: Tree) -> tuple[Any, Any]:
    lb = np.array([-np.inf if low is None else low for low, _ in pairs], dtype=float)
    ub = np.array([np.inf if high is None else high for _, high in pairs], dtype=float)
    return tree.fill(_cut(lb, tree)), tree.fill(_cut(ub, tree))


def _cut(x: np.ndarray, tree: Tree) -> list[np.ndarray]:
    return [part.reshape(shape) for part, shape in zip(np.split(x, tree.ends[:-1]), tree.shapes, strict=True)]


# A dictionary from leaf to pair --------------------------------------------------------------------------


def _from_mapping(bounds: Mapping[Any, Any], x0: Any, tree: Tree) -> Pair:
    lb, ub = np.full(tree.n, -np.inf), np.full(tree.n, np.inf)
    for key, pair in bounds.items():
        _bound_below(key, pair, x0, "x0", tree, lb, ub)
    return lb, ub


def _bound_below(key: Any, pair: Any, node: Any, root: str, tree: Tree, lb: np.ndarray, ub: np.ndarray) -> None:
    """Fill in what ``{key: pair}`` says of the part of x0 that ``key`` names."""
    if isinstance(node, Mapping) and key in node:
        path, below = f"{root}[{key!r}]", node[key]
    elif key in (known := {tree.path(i): i for i in tree.variables}):
        path, below = key, tree.leaves[known[key]]
    else:
        has = ", ".join(map(repr, node)) if isinstance(node, Mapping) else ", ".join(list(known)[:5])
        raise InputError(f"bounds names {key!r}, which {root} does not have; it has {has}.")
    if pair is None:
        return
    if isinstance(pair, Mapping) and isinstance(below, Mapping):
        for inner, inner_pair in pair.items():
            _bound_below(inner, inner_pair, below, path, tree, lb, ub)
        return
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InputError(
            f"The bounds of {path} are a {type(pair).__qualname__}{_length(pair)}; expected a pair (lb, ub)."
        )
    where = _variables_below(path, tree)
    for target, side, free, word in ((lb, pair[0], -np.inf, "lower"), (ub, pair[1], np.inf, "upper")):
        _fill_side(target, side, below, where, tree, free, word, path)


def _variables_below(path: str, tree: Tree) -> list[int]:
    """The variables whose path begins with ``path`` at a boundary."""
    below = []
    for k in range(len(tree.variables)):
        name = tree.variable_path(k)
        if name.startswith(path) and name[len(path) : len(path) + 1] in ("", "[", "."):
            below.append(k)
    return below


# One side, a prefix of x0's nest -------------------------------------------------------------------------


def _side(side: Any, x0: Any, tree: Tree, free: float, word: str) -> np.ndarray:
    x = np.full(tree.n, free)
    _fill_side(x, side, x0, range(len(tree.variables)), tree, free, word, "x0")
    return x


def _fill_side(
    target: np.ndarray,
    side: Any,
    node: Any,
    which: Sequence[int],
    tree: Tree,
    free: float,
    word: str,
    path: str,
) -> None:
    if side is None:
        return
    for k, bound in zip(which, _spread(side, node, which, tree, word, path), strict=True):
        if bound is None:
            continue
        end = int(tree.ends[k])
        target[end - tree.sizes[k] : end] = _broadcast(bound, k, tree, word).ravel()


def _spread(side: Any, node: Any, which: Sequence[int], tree: Tree, word: str, path: str) -> list[Any]:
    """One bound for each variable below ``node``."""
    if _is_number(side) or is_array(side):
        return [side] * len(which)
    try:
        _, full = flatten(node)
        spread = optree.broadcast_prefix(side, node, none_is_leaf=True, namespace=NAMESPACE)
        if len(spread) != full.num_leaves:
            raise ValueError(f"{len(spread)} bounds for {full.num_leaves} leaves")
    except (ValueError, TypeError) as cause:
        errors = optree.prefix_errors(side, node, none_is_leaf=True, namespace=NAMESPACE)
        why = str(errors[0](f"the {word} bounds")) if errors else str(cause)
        raise InputError(f"The {word} bounds of {path} are not nested as x0 is: {why}. {FORMS}") from cause
    first = min((tree.variables[k] for k in which), default=0)
    leaves_before = _leaf_offset(path, tree, first)
    return [spread[tree.variables[k] - leaves_before] for k in which]


def _leaf_offset(path: str, tree: Tree, first: int) -> int:
    """Number of the first leaf, static ones too, below ``path``."""
    if path == "x0":
        return 0
    while (
        first > 0 and tree.path(first - 1).startswith(path) and tree.path(first - 1)[len(path) :][:1] in ("", "[", ".")
    ):
        first -= 1
    return first


def _broadcast(bound: Any, k: int, tree: Tree, word: str) -> np.ndarray:
    shape, where = tree.shapes[k], tree.variable_path(k)
    try:
        host = np.asarray(_to_host(bound, tree), dtype=float)
    except Exception as cause:
        raise InputError(f"The {word} bound of {where} is no number or array: {cause}") from cause
    if np.isnan(host).any():
        raise InputError(f"The {word} bound of {where} holds nan. Write None, or an infinity, for no bound.")
    try:
        return np.broadcast_to(host, shape)
    except ValueError as cause:
        raise InputError(
            f"The {word} bound of {where} has shape {host.shape}, which does not broadcast to the leaf's {shape}."
        ) from cause


def _to_host(bound: Any, tree: Tree) -> Any:
    if is_array(bound) and not isinstance(bound, np.ndarray | np.generic):
        return tree.backend.to_numpy(bound)
    return bound


def _check(lb: np.ndarray, ub: np.ndarray, tree: Tree) -> None:
    crossed = np.flatnonzero((lb > ub) | (lb == np.inf) | (ub == -np.inf))
    if crossed.size:
        j = int(crossed[0])
        more = f" (and {crossed.size - 1} more)" if crossed.size > 1 else ""
        raise InputError(f"No number lies within the bounds of {tree.locate(j)}: {lb[j]:g} to {ub[j]:g}{more}.")
