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

from ._errors import InputError, outside
from ._leaves import is_array
from ._match import Mismatch, match
from ._tree import Tree

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
    lb, ub = np.full(tree.n, -np.inf), np.full(tree.n, np.inf)
    if (pairs := _as_pairs(bounds, tree)) is not None:
        lb[:] = [-np.inf if low is None else low for low, _ in pairs]
        ub[:] = [np.inf if high is None else high for _, high in pairs]
    elif isinstance(bounds, Mapping):
        for key, pair in bounds.items():
            _fill_below(key, pair, x0, "x0", tree, lb, ub)
    elif isinstance(bounds, tuple | list) and len(bounds) == 2:
        every = range(len(tree.variables))
        _fill_side(lb, bounds[0], x0, every, "x0", tree, "lower")
        _fill_side(ub, bounds[1], x0, every, "x0", tree, "upper")
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
        stacklevel=outside(),
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


def _as_pairs(bounds: Any, tree: Tree) -> Sequence[Any] | None:
    """SciPy's ``[(min, max), …]``, as many pairs of numbers as there are variables; None if it is another form.

    For two variables ``([0, 0], [1, 1])`` could be either this or ``(lb, ub)``: it is refused.
    """
    if isinstance(bounds, np.ndarray) and bounds.ndim == 2 and bounds.shape[1] == 2:
        bounds = [tuple(row) for row in bounds.tolist()]
    if not isinstance(bounds, list | tuple) or len(bounds) != tree.n:
        return None
    if not (isinstance(bounds, list) or tree.spec.is_leaf()):
        return None
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_number, pair)) for pair in bounds):
        return None
    if isinstance(bounds, tuple) and all(isinstance(pair, list) for pair in bounds):
        raise InputError(
            f"bounds={bounds!r} could be (lb, ub) or a list of (min, max). Write the sides of (lb, ub) as arrays, "
            f"or the pairs as a list of tuples."
        )
    return bounds


def _is_number(side: Any) -> bool:
    return side is None or isinstance(side, int | float | np.number)


# A dictionary from leaf to pair --------------------------------------------------------------------------


def _fill_below(key: Any, pair: Any, node: Any, path: str, tree: Tree, lb: np.ndarray, ub: np.ndarray) -> None:
    """Fill in what ``{key: pair}`` says of the part of x0 that ``key`` names."""
    if isinstance(node, Mapping) and key in node:
        path, below = f"{path}[{key!r}]", node[key]
    else:
        path, below = key, _leaf_of_path(key, node, path, tree)
    if pair is None:
        return
    if isinstance(pair, Mapping) and isinstance(below, Mapping):
        for inner, inner_pair in pair.items():
            _fill_below(inner, inner_pair, below, path, tree, lb, ub)
        return
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InputError(
            f"The bounds of {path} are a {type(pair).__qualname__}{_length(pair)}; expected a pair (lb, ub)."
        )
    which = [k for k in range(len(tree.variables)) if _is_below(tree.variable_path(k), path)]
    _fill_side(lb, pair[0], below, which, path, tree, "lower")
    _fill_side(ub, pair[1], below, which, path, tree, "upper")


def _leaf_of_path(key: Any, node: Any, path: str, tree: Tree) -> Any:
    for i in tree.variables:
        if tree.path(i) == key:
            return tree.leaves[i]
    known = list(map(repr, node)) if isinstance(node, Mapping) else [tree.path(i) for i in tree.variables]
    more = ", …" if len(known) > 8 else ""
    raise InputError(f"bounds names {key!r}, which {path} does not have; it has {', '.join(known[:8])}{more}.")


def _is_below(path: str, root: str) -> bool:
    return path.startswith(root) and path[len(root) : len(root) + 1] in ("", "[", ".")


# One side, a prefix of x0's nest -------------------------------------------------------------------------


def _fill_side(
    target: np.ndarray, side: Any, node: Any, which: Sequence[int], path: str, tree: Tree, word: str
) -> None:
    """Write one side of the bounds of the variables ``which``, those below ``node``."""
    if side is None:
        return
    for k, bound in zip(which, _spread(side, node, which, path, tree, word), strict=True):
        if bound is not None:
            end = int(tree.ends[k])
            target[end - tree.sizes[k] : end] = _broadcast(bound, k, tree, word).ravel()


def _spread(side: Any, node: Any, which: Sequence[int], path: str, tree: Tree, word: str) -> Sequence[Any]:
    """One bound for each variable below ``node``."""
    if _is_number(side):
        return [side] * len(which)
    if is_array(side):
        # SciPy's x0 is often a list of floats, and its bounds an array.
        each = len(which) > 1 and side.shape == (len(which),) and all(tree.shapes[k] == () for k in which)
        return list(_to_host(side, tree)) if each else [side] * len(which)
    try:
        spread = match(node, side, path, lambda part: _is_number(part) or is_array(part))
    except Mismatch as cause:
        raise InputError(f"The {word} bounds are not nested as x0 is: {cause}. {FORMS}") from cause
    below = [i for i in range(len(tree.leaves)) if _is_below(tree.path(i), path)]
    variables = set(tree.variables)
    return [bound for i, bound in zip(below, spread, strict=True) if i in variables]


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
