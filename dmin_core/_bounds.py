"""Bounds in the user's own nest, as two flat vectors.

A bound is written where the variable is: as a pair ``(lb, ub)`` whose sides are numbers, arrays or nests that
reach as deep into x0's as they like (a *prefix*: what stands at a node holds for all below it), or as a dictionary
from name to pair, whose names may be globs (`_globs`). None is no bound. SciPy's own forms, ``Bounds`` and a list of
pairs for a single vector, mean what they mean there.

What is said of frozen leaves is passed over, so that a leaf may be frozen and set free with its bounds left standing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ._errors import InputError, outside
from ._globs import Entry, Names
from ._leaves import is_array
from ._match import Mismatch, match
from ._tree import Tree, eps_of

Pair = tuple[np.ndarray, np.ndarray]

FORMS = (
    "Bounds are (lb, ub), Bounds(lb, ub), each side None, a number, an array or a nest like x0's; "
    "or a dict from key, path or glob to such a pair."
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
        The form, the nest, a name or a shape is wrong, a bound is nan, or a lower one lies above its upper one; the
        message names the leaf.
    """
    if bounds is None:
        return None, False
    keep_feasible: Any = False
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        keep_feasible = _keep_feasible(bounds, tree)
        bounds = (_unwrapped(bounds.lb), _unwrapped(bounds.ub))
    if (pairs := _as_pairs(bounds, tree)) is not None:
        lb = np.array([-np.inf if low is None else low for low, _ in pairs], dtype=float)
        ub = np.array([np.inf if high is None else high for _, high in pairs], dtype=float)
    else:
        sides = _Sides(tree.without_frozen(x0), tree)
        if isinstance(bounds, Mapping):
            sides.fill_by_name(bounds)
        elif isinstance(bounds, tuple | list) and len(bounds) == 2:
            _refuse_pair_for_each(bounds, tree)
            sides.fill(sides.names.whole, *bounds)
        else:
            _refuse_wrong_count(bounds, tree)
            raise InputError(f"bounds is a {type(bounds).__qualname__}{_length(bounds)}. {FORMS}")
        lb, ub = sides.lb, sides.ub
    highest, lowest = lb.max(), ub.min()
    if np.isnan(highest) or np.isnan(lowest):
        raise _no_number(*((lb, "lower") if np.isnan(highest) else (ub, "upper")), tree)
    if highest == -np.inf and lowest == np.inf:
        return None, False
    if highest == np.inf or lowest == -np.inf or (highest > lowest and (lb > ub).any()):
        raise _empty(lb, ub, tree)
    return (lb, ub), keep_feasible


def clip_start(x: np.ndarray, bounds: Pair, tree: Tree) -> np.ndarray:
    """x0 within its bounds; a warning names what was moved."""
    outside_them = (x < bounds[0]) | (x > bounds[1])
    if not outside_them.any():
        return x
    inside = np.clip(x, *bounds)
    # A start on its bound, which a leaf of float32 holds as float32 has it, is not outside.
    digits = np.repeat([eps_of(dtype) for dtype in tree.dtypes], tree.sizes)
    moved = np.flatnonzero(np.abs(x - inside) > digits * np.abs(inside))
    if not moved.size:
        return inside
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
    """SciPy's Bounds puts what it is given into an array, a number or a nest into one of a single object."""
    return side[0] if isinstance(side, np.ndarray) and side.shape == (1,) else side


def _keep_feasible(bounds: Any, tree: Tree) -> Any:
    keep = np.asarray(bounds.keep_feasible, dtype=bool)
    if keep.size and (keep == keep.flat[0]).all():  # SciPy gives one bool the shape of the sides, right or wrong
        return bool(keep.flat[0])
    each = tree.is_variable_number
    if keep.size != each.size:
        raise InputError(f"keep_feasible has {keep.size} entries for {each.size} numbers; pass one bool, or one each.")
    return keep.ravel()[each]


# SciPy's list of pairs -----------------------------------------------------------------------------------


def _as_pairs(bounds: Any, tree: Tree) -> Sequence[Any] | None:
    """SciPy's ``[(min, max), …]``, as many pairs of numbers as x0 has numbers; None if it is another form.

    For two variables ``([0, 0], [1, 1])`` could be either this or ``(lb, ub)``: it is refused.
    """
    each = tree.is_variable_number
    if isinstance(bounds, np.ndarray) and bounds.ndim == 2 and bounds.shape[1] == 2:
        bounds = [tuple(row) for row in bounds.tolist()]
    if not isinstance(bounds, list | tuple) or len(bounds) != each.size:
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
    return [pair for pair, is_variable in zip(bounds, each.tolist(), strict=True) if is_variable]


def _refuse_wrong_count(bounds: Any, tree: Tree) -> None:
    """An error that says so, where it is a list of pairs but not as many as x0 has numbers."""
    n = tree.is_variable_number.size
    if isinstance(bounds, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in bounds):
        raise InputError(
            f"bounds is a {type(bounds).__name__} of {len(bounds)} pairs, and x0 holds {n} numbers. {FORMS}"
        )


def _refuse_pair_for_each(bounds: Sequence[Any], tree: Tree) -> None:
    """An error where ``((0, 1), (0, 1))`` is meant as a pair for each of two leaves: as sides it would fix them all."""
    lower, upper = bounds
    if not (isinstance(lower, list | tuple) and isinstance(upper, list | tuple) and len(lower) == len(upper) == 2):
        return
    if all(map(_is_number, (*lower, *upper))) and [*lower] == [*upper] and None not in lower and lower[0] < lower[1]:
        raise InputError(
            f"bounds={bounds!r}, read as (lb, ub), would fix every variable. If each pair is (min, max) of a leaf, "
            f"write a dict from name to pair, as in {{{tree.path(0)!r}: {tuple(lower)!r}}}."
        )


def _is_number(side: Any) -> bool:
    return side is None or isinstance(side, int | float | np.number)


# The other forms: sides that are prefixes of x0's nest ---------------------------------------------------


class _Sides:
    """The bounds while they are written.

    Parameters
    ----------
    x0 : nest
        None where a leaf is frozen.
    tree : Tree
    """

    def __init__(self, x0: Any, tree: Tree) -> None:
        self.tree = tree
        self.names = Names(x0, tree.spec, "bounds")
        self.lb, self.ub = np.full(tree.n, -np.inf), np.full(tree.n, np.inf)
        self._order = {i: k for k, i in enumerate(tree.variables)}
        self._numbers = {*tree.variables, *tree.frozen}

    def fill_by_name(self, bounds: Mapping[Any, Any]) -> None:
        """Write what a dictionary says; the last entry to name a leaf says both of its sides."""
        for entry in self.names.entries(bounds):
            pair = (None, None) if entry.value is None else entry.value
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                given = repr(pair) if _is_number(pair) else f"a {type(pair).__qualname__}{_length(pair)}"
                raise InputError(f"The bounds of {entry.name} are {given}; expected a pair (lb, ub).")
            if entry.part is None and self._numbers.isdisjoint(entry.leaves):
                raise InputError(f"bounds names {entry.name}, under which x0 holds no number.")
            self.fill(entry, *pair)

    def fill(self, where: Entry, lower: Any, upper: Any) -> None:
        """Write the bounds of the leaves that ``where`` names."""
        self._fill_side(self.lb, lower, where, "lower", -np.inf)
        self._fill_side(self.ub, upper, where, "upper", np.inf)

    def _fill_side(self, target: np.ndarray, side: Any, where: Entry, word: str, free: float) -> None:
        for k, bound in self._spread(side, where, word):
            end = int(self.tree.ends[k])
            part = target[end - self.tree.sizes[k] : end].reshape(self.tree.shapes[k])
            part[...] = free if bound is None else _broadcast(bound, k, self.tree, word)

    def _spread(self, side: Any, where: Entry, word: str) -> Iterator[tuple[int, Any]]:
        """Each of the variables there, with its bound."""
        if side is None or _is_number(side):
            each = [side] * len(where.leaves)
        elif is_array(side):
            each = self._spread_array(side, where)
        elif where.part is None:
            raise InputError(
                f"The {word} bound of {where.name} is a {type(side).__qualname__}; expected None, a number or "
                f"an array, for the name may mean several parts of x0."
            )
        else:
            each = self._spread_nest(side, where, word)
        for i, bound in zip(where.leaves, each, strict=True):
            if i in self._order:
                yield self._order[i], bound

    def _spread_array(self, side: Any, where: Entry) -> list[Any]:
        """The array for each leaf; or one number for each, for SciPy's x0 is often a list of floats."""
        numbers = [i for i in where.leaves if i in self._numbers]
        scalars = len(numbers) > 1 and all(map(self.tree.is_scalar, numbers))
        if not (scalars and side.shape == (len(numbers),)):
            return [side] * len(where.leaves)
        values = dict(zip(numbers, _to_host(side, self.tree).tolist(), strict=True))
        return [values.get(i) for i in where.leaves]

    def _spread_nest(self, side: Any, where: Entry, word: str) -> list[Any]:
        assert where.part is not None
        try:
            return match(where.part.node, side, where.name, lambda part: _is_number(part) or is_array(part))
        except Mismatch as cause:
            raise InputError(f"The {word} bounds are not nested as x0 is: {cause}. {FORMS}") from cause


def _broadcast(bound: Any, k: int, tree: Tree, word: str) -> np.ndarray:
    shape, where = tree.shapes[k], tree.variable_path(k)
    try:
        if isinstance(bound, str):  # which NumPy would read
            raise TypeError(f"it is the text {bound!r}")
        host = np.asarray(_to_host(bound, tree), dtype=float)
    except Exception as cause:
        raise InputError(f"The {word} bound of {where} is no number or array: {cause}") from cause
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


def _no_number(side: np.ndarray, word: str, tree: Tree) -> InputError:
    where = tree.locate(int(np.flatnonzero(np.isnan(side))[0]))
    return InputError(f"The {word} bound of {where} is nan. Write None, or an infinity, for no bound.")


def _empty(lb: np.ndarray, ub: np.ndarray, tree: Tree) -> InputError:
    crossed = np.flatnonzero((lb > ub) | (lb == np.inf) | (ub == -np.inf))
    j = int(crossed[0])
    more = f" (and {crossed.size - 1} more)" if crossed.size > 1 else ""
    return InputError(f"No number lies within the bounds of {tree.locate(j)}: {lb[j]:g} to {ub[j]:g}{more}.")
