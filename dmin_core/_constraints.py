"""What the user passes as ``constraints=``, read at the door: every form becomes a `Nonlinear` or a `Linear`.

SciPy has two classes and a dict; nests come in by what they hold: ``fun`` takes x0's nest and returns an array or a
nest, limits are prefixes of what ``fun`` returns, a matrix is a nest of (m, *leaf.shape) arrays. What ``fun`` returns
is only known once it is called, so its limits are laid out there (`Outputs.limits`), which is before the first
evaluation of the objective; all else is checked here, before anything is called.

Evaluating them is another matter, and stands in `_constrained`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optree

from ._differences import SCHEMES
from ._errors import InputError, ObjectiveError
from ._leaves import class_of, flatten, is_array, paths
from ._match import Mismatch, match
from ._tree import Tree

FORMS = (
    "A constraint is NonlinearConstraint(fun, lb, ub), LinearConstraint(A, lb, ub), or a dict with 'type' ('eq' or "
    "'ineq'), 'fun' and perhaps 'jac' and 'args'; constraints= takes one or a sequence of them."
)


@dataclass
class Nonlinear:
    """``lb <= fun(x, *args) <= ub``.

    Attributes
    ----------
    where : str
        What to call it: ``constraints[1]``.
    fun, args
        The user's.
    lb, ub : prefix of what ``fun`` returns
    jac : None, callable or str
        None: the backend's, or forward differences where it has none. A string: differences of that kind.
    hess : None, callable or a strategy of SciPy's
        None: the backend's products, or SciPy's BFGS where it has none.
    keep_feasible : bool or array of bool
    relative_step : float or (n,) array, optional
        Of the differences.
    """

    PARTS = ("fun", "lb", "ub", "args", "jac", "hess", "keep_feasible", "relative_step")

    where: str
    fun: Callable[..., Any]
    lb: Any
    ub: Any
    args: tuple[Any, ...] = ()
    jac: Any = None
    hess: Any = None
    keep_feasible: Any = False
    relative_step: Any = None


@dataclass
class Linear:
    """``lb <= matrix @ x + offset <= ub`` over the flat vector; the offset is the part of frozen leaves.

    ``where`` is as in `Nonlinear`.
    """

    PARTS = ("matrix", "offset", "lb", "ub", "keep_feasible")

    where: str
    matrix: Any
    offset: np.ndarray
    lb: np.ndarray
    ub: np.ndarray
    keep_feasible: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


def read_constraints(constraints: Any, x0: Any, tree: Tree) -> list[Nonlinear | Linear]:
    """The user's constraints in order; none for an empty sequence.

    Raises
    ------
    InputError
        One is of no known form, a part of it is missing or of the wrong kind, a matrix does not fit x0, a lower limit
        lies above its upper one; the message says which constraint, and which leaf.
    """
    if isinstance(constraints, list | tuple):
        return [_read(each, f"constraints[{i}]", x0, tree) for i, each in enumerate(constraints)]
    return [_read(constraints, "constraints", x0, tree)]


def _read(given: Any, where: str, x0: Any, tree: Tree) -> Nonlinear | Linear:
    if isinstance(given, Mapping):
        return _read_dict(given, where, tree)
    if all(hasattr(given, name) for name in ("fun", "lb", "ub")):
        return _read_nonlinear(given, where, tree)
    if all(hasattr(given, name) for name in ("A", "lb", "ub")):
        return _read_linear(given, where, x0, tree)
    if hasattr(given, "lb") and hasattr(given, "ub"):
        raise InputError(f"{where} is Bounds; pass it as bounds=. {FORMS}")
    hint = " For fun(x) >= 0 write NonlinearConstraint(fun, 0, None)." if callable(given) else ""
    raise InputError(f"{where} is a {type(given).__qualname__}.{hint} {FORMS}")


# Nonlinear -----------------------------------------------------------------------------------------------


def _read_dict(given: Mapping[str, Any], where: str, tree: Tree) -> Nonlinear:
    unknown = [key for key in given if key not in ("type", "fun", "jac", "args")]
    if unknown or "type" not in given or "fun" not in given:
        what = f"has the key {unknown[0]!r}" if unknown else "lacks 'type' or 'fun'"
        raise InputError(f"{where} {what}. {FORMS}")
    kind = str(given["type"]).lower()
    if kind not in ("eq", "ineq"):
        raise InputError(f"{where} has type {given['type']!r}; expected 'eq' (fun(x) = 0) or 'ineq' (fun(x) >= 0).")
    args = given.get("args", ())
    return _checked(
        Nonlinear(
            where=where,
            fun=given["fun"],
            lb=0.0,
            ub=0.0 if kind == "eq" else None,
            args=args if isinstance(args, tuple) else (args,),
            jac=given.get("jac"),
        ),
        tree,
    )


def _read_nonlinear(given: Any, where: str, tree: Tree) -> Nonlinear:
    if getattr(given, "finite_diff_jac_sparsity", None) is not None:
        raise InputError(f"{where} has finite_diff_jac_sparsity, which dmin does not use; leave it out.")
    return _checked(
        Nonlinear(
            where=where,
            fun=given.fun,
            lb=given.lb,
            ub=given.ub,
            jac=getattr(given, "jac", None),
            hess=getattr(given, "hess", None),
            keep_feasible=getattr(given, "keep_feasible", False),
            relative_step=getattr(given, "finite_diff_rel_step", None),
        ),
        tree,
    )


def _checked(constraint: Nonlinear, tree: Tree) -> Nonlinear:
    where, jac, hess = constraint.where, constraint.jac, constraint.hess
    if not callable(constraint.fun):
        raise InputError(f"`fun` of {where} must be callable, not {constraint.fun!r}.")
    if not (jac is None or callable(jac) or (isinstance(jac, str) and jac in SCHEMES)):
        schemes = ", ".join(map(repr, SCHEMES))
        raise InputError(f"`jac` of {where} must be None, a callable or one of {schemes}; not {jac!r}.")
    if jac == "cs" and tree.backend.name != "numpy":
        raise InputError(f"jac='cs' of {where} makes the leaves complex, which only NumPy's can be; leave it out.")
    if jac == "2-point" and constraint.relative_step is None:
        # The default of SciPy's class, where nobody asked for differences.
        constraint.jac = None
    if type(hess).__name__ == "BFGS":
        constraint.hess = None  # likewise
    elif not (hess is None or callable(hess) or isinstance(hess, str) or hasattr(hess, "update")):
        raise InputError(f"`hess` of {where} must be a callable or a strategy such as scipy.optimize.SR1().")
    _check_step(constraint, tree)
    return constraint


def _check_step(constraint: Nonlinear, tree: Tree) -> None:
    if constraint.relative_step is None:
        return
    try:
        np.broadcast_to(np.asarray(constraint.relative_step, dtype=float), (tree.n,))
    except (TypeError, ValueError) as cause:
        raise InputError(
            f"finite_diff_rel_step of {constraint.where} must be a number or one for each of the {tree.n} variables."
        ) from cause


class Outputs:
    """What one constraint returns: how it is nested, and the shapes and dtypes of its leaves.

    Attributes
    ----------
    m : int
        How many numbers it holds.
    """

    def __init__(self, where: str, spec: optree.PyTreeSpec, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any]):
        self.where, self.spec, self.shapes, self.dtypes = where, spec, tuple(shapes), tuple(dtypes)
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.m = sum(self.sizes)
        self.paths = paths(spec, where)

    def called(self, where: str) -> Outputs:
        """The same under another name: a compiled function may know a constraint from an earlier call."""
        return self if where == self.where else Outputs(where, self.spec, self.shapes, self.dtypes)

    def limits(self, side: Any, infinity: float, word: str, tree: Tree) -> np.ndarray:
        """One side's limits, (m,), from a prefix of what the constraint returns."""
        parts = self._spread(side, word, tree)
        flat = [
            np.full(size, infinity) if part is None else self._broadcast(part, shape, path, word, tree).ravel()
            for part, shape, size, path in zip(parts, self.shapes, self.sizes, self.paths, strict=True)
        ]
        return np.concatenate(flat)

    def _spread(self, side: Any, word: str, tree: Tree) -> Sequence[Any]:
        count = len(self.shapes)
        if _is_number(side):
            return [side] * count
        if count > 1 and _is_flat_list(side):
            side = np.asarray(side, dtype=float)
        if is_array(side):
            # A list of numbers is as often an array's counterpart as a nest's.
            each = count > 1 and side.shape == (count,) and all(shape == () for shape in self.shapes)
            return list(to_host(side, tree)) if each else [side] * count
        if count == 1 and self.spec.is_leaf():
            return [side]
        try:
            model = self.spec.unflatten([np.zeros(()) for _ in range(count)])
            return match(model, side, self.where, lambda part: _is_number(part) or is_array(part))
        except Mismatch as cause:
            raise InputError(f"The {word} limit of {self.where} is not nested as what it returns: {cause}.") from cause

    def _broadcast(self, part: Any, shape: tuple[int, ...], path: str, word: str, tree: Tree) -> np.ndarray:
        host = limit_of(part, path, word, tree)
        try:
            return np.broadcast_to(host, shape)
        except ValueError as cause:
            raise InputError(
                f"The {word} limit of {path} has shape {host.shape}, which does not broadcast to {shape}, the shape "
                f"of what the constraint returned."
            ) from cause

    def locate(self, j: int) -> str:
        """Path and index of number ``j``: ``constraints[1]['a'][0, 3]``."""
        for path, shape, size in zip(self.paths, self.shapes, self.sizes, strict=True):
            if j < size:
                index = np.unravel_index(j, shape) if shape else ()
                return path + (f"[{', '.join(str(int(d)) for d in index)}]" if index else "")
            j -= size
        raise IndexError(j)

    def nest(self, pieces: Sequence[Any]) -> Any:
        """The nest with these leaves."""
        return self.spec.unflatten(pieces)

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        """Host arrays, one a leaf, from the constraint's part of a flat vector."""
        parts = np.split(flat, np.cumsum(self.sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]


def check_limits(lb: np.ndarray, ub: np.ndarray, locate: Callable[[int], str]) -> None:
    """No number may be asked to lie where none can."""
    crossed = np.flatnonzero((lb > ub) | (lb == np.inf) | (ub == -np.inf))
    if crossed.size:
        j = int(crossed[0])
        more = f" (and {crossed.size - 1} more)" if crossed.size > 1 else ""
        raise InputError(f"No number lies within the limits of {locate(j)}: {lb[j]:g} to {ub[j]:g}{more}.")


# Linear --------------------------------------------------------------------------------------------------


def _read_linear(given: Any, where: str, x0: Any, tree: Tree) -> Linear:
    matrix, offset = _matrix(given.A, where, x0, tree)
    m = matrix.shape[0]
    sides = []
    for side, infinity, word in ((given.lb, -np.inf, "lower"), (given.ub, np.inf, "upper")):
        host = np.full(m, infinity) if side is None else limit_of(side, where, word, tree)
        try:
            sides.append(np.array(np.broadcast_to(host, (m,))))
        except ValueError as cause:
            raise InputError(
                f"The {word} limit of {where} has shape {host.shape}; expected a number, or one for each of the {m} "
                f"rows of A."
            ) from cause
    check_limits(sides[0], sides[1], lambda j: f"{where}, row {j}")
    keep = np.asarray(given.keep_feasible, dtype=bool)
    if keep.size not in (1, m):
        raise InputError(f"keep_feasible of {where} has {keep.size} entries for {m} rows of A.")
    return Linear(where, matrix, offset, sides[0], sides[1], np.array(np.broadcast_to(keep.ravel(), (m,))))


def _matrix(given: Any, where: str, x0: Any, tree: Tree) -> tuple[Any, np.ndarray]:
    """A over the variables, (m, n), and what it makes of the frozen leaves, (m,)."""
    if hasattr(given, "tocsr"):
        return _of_variables(given.tocsr().astype(float), f"A of {where}", tree)
    if not is_array(given) and not any(is_array(leaf) for leaf in flatten(given)[0]):
        try:
            given = np.atleast_2d(np.asarray(given, dtype=float))  # lists of numbers
        except (TypeError, ValueError) as cause:
            raise InputError(f"A of {where} is a {type(given).__qualname__} that holds no arrays: {cause}") from cause
    if is_array(given):
        host = _numbers(given, f"A of {where}", tree)
        if tree.spec.is_leaf() and host.shape[1:] == tree.shapes[0]:
            host = host.reshape(host.shape[0], tree.n)
        return _of_variables(host, f"A of {where}", tree)
    try:
        blocks = match(tree.without_frozen(x0), given, "x0", lambda part: part is None)
    except Mismatch as cause:
        raise InputError(
            f"A of {where} is not nested as x0 is: {cause}. Write None where a leaf has no part."
        ) from cause
    return _joined(blocks, where, tree)


def _joined(blocks: Sequence[Any], where: str, tree: Tree) -> tuple[np.ndarray, np.ndarray]:
    """Blocks (m, *leaf.shape) side by side, (m, n), and what those of frozen leaves come to; None is zeros."""
    shapes = dict(zip(tree.variables, tree.shapes, strict=True))
    shapes |= {i: tuple(getattr(tree.leaves[i], "shape", ())) for i in tree.frozen}
    hosts = {i: _numbers(blocks[i], f"A of {where} at {tree.path(i)}", tree) for i in shapes if blocks[i] is not None}
    m = next((host.shape[0] for host in hosts.values() if host.ndim), None)
    if m is None:
        raise InputError(f"A of {where} holds no array of shape (m, *leaf.shape).")
    for i, host in hosts.items():
        if host.shape != (m, *shapes[i]):
            raise InputError(
                f"A of {where} has shape {host.shape} at {tree.path(i)}; expected {(m, *shapes[i])}: a row for each "
                f"of its {m} equations or inequalities, and the leaf's own shape."
            )
    flat = [hosts.get(i, np.zeros((m, *shapes[i]))).reshape(m, -1) for i in tree.variables]
    offset = np.zeros(m)
    for i in tree.frozen:
        if i in hosts:
            offset += hosts[i].reshape(m, -1) @ _frozen_numbers(i, tree)
    return np.hstack(flat), offset


def _frozen_numbers(i: int, tree: Tree) -> np.ndarray:
    return np.ravel(_numbers(tree.leaves[i], tree.path(i), tree))


def _of_variables(matrix: Any, what: str, tree: Tree) -> tuple[Any, np.ndarray]:
    """The columns of the variables, of a matrix over those alone or over all numbers in x0, frozen ones too."""
    free = tree.is_variable_number
    if len(matrix.shape) == 2 and tree.frozen and matrix.shape[1] == free.size:
        held = np.concatenate([_frozen_numbers(i, tree) for i in tree.frozen])
        return matrix[:, free], np.asarray(matrix[:, ~free] @ held)
    _check_matrix(matrix, what, tree)
    return matrix, np.zeros(matrix.shape[0])


def _check_matrix(matrix: Any, what: str, tree: Tree) -> None:
    if len(matrix.shape) != 2 or matrix.shape[1] != tree.n:
        raise InputError(
            f"{what} has shape {tuple(matrix.shape)}; expected (m, {tree.n}), x0 holding {tree.n} numbers, or a nest "
            f"like x0 of arrays (m, *leaf.shape)."
        )


def _numbers(given: Any, what: str, tree: Tree) -> np.ndarray:
    try:
        host = np.asarray(to_host(given, tree), dtype=float)
    except Exception as cause:
        raise InputError(f"{what} is a {class_of(given)} that holds no real numbers: {cause}") from cause
    if not np.isfinite(host).all():
        raise InputError(f"{what} holds nan or an infinity.")
    return host


# Both ----------------------------------------------------------------------------------------------------


def limit_of(part: Any, path: str, word: str, tree: Tree) -> np.ndarray:
    """A limit as host numbers."""
    try:
        host = np.asarray(to_host(part, tree), dtype=float)
    except Exception as cause:
        raise InputError(f"The {word} limit of {path} is no number or array: {cause}") from cause
    if np.isnan(host).any():
        raise InputError(f"The {word} limit of {path} holds nan. Write None, or an infinity, for no limit.")
    return host


def to_host(given: Any, tree: Tree) -> Any:
    """An array of the framework as NumPy's; all else as it is."""
    if is_array(given) and not isinstance(given, np.ndarray | np.generic):
        return tree.backend.to_numpy(given)
    return given


def _is_number(side: Any) -> bool:
    return side is None or isinstance(side, int | float | np.number)


def _is_flat_list(side: Any) -> bool:
    return isinstance(side, list) and bool(side) and all(isinstance(s, int | float | np.number) for s in side)


# What a user's own Jacobian may be -----------------------------------------------------------------------


def dense_jacobian(returned: Any, outputs: Outputs, tree: Tree) -> np.ndarray:
    """A user's Jacobian, in either of its two forms, as an (m, n) host matrix.

    Parameters
    ----------
    returned : array or nest
        One (m, n) matrix over the values and the variables laid end to end, dense or sparse, or (n,) where there is
        one value; or nests in what the constraint returns of nests like x0 of blocks of shape
        ``value.shape + leaf.shape``, as ``jax.jacobian`` returns.
    """
    what, m, n = f"The Jacobian of {outputs.where}", outputs.m, tree.n
    if hasattr(returned, "toarray"):
        returned = returned.toarray()
    if isinstance(returned, list) and not any(is_array(leaf) for leaf in flatten(returned)[0]):
        with contextlib.suppress(TypeError, ValueError):  # where it is no matrix, it may be a nest of blocks
            returned = np.asarray(returned, dtype=float)
    if is_array(returned):
        matrix = _reals(returned, what, tree)
        if tree.frozen and matrix.shape[-1:] == tree.is_variable_number.shape:
            matrix = matrix[..., tree.is_variable_number]
        whole = outputs.spec.is_leaf() and tree.spec.is_leaf() and matrix.shape == outputs.shapes[0] + tree.shapes[0]
        if matrix.shape == (m, n) or whole or (m == 1 and matrix.shape == (n,)):
            return matrix.reshape(m, n)
        raise ObjectiveError(f"{what} has shape {matrix.shape}; expected {(m, n)}, or a nest of blocks.")
    try:
        rows = outputs.spec.flatten_up_to(returned)
    except (ValueError, TypeError) as cause:
        raise ObjectiveError(f"{what} is not nested as the constraint's values are: {cause}") from cause
    parts = []
    for row, shape, size, path in zip(rows, outputs.shapes, outputs.sizes, outputs.paths, strict=True):
        blocks = tree.match(row, f"The Jacobian of {path}")
        parts.append(np.hstack([_block(block, shape, size, k, path, tree) for k, block in enumerate(blocks)]))
    return np.vstack(parts)


def _block(block: Any, shape: tuple[int, ...], size: int, k: int, path: str, tree: Tree) -> np.ndarray:
    what, expected = f"The Jacobian of {path} at {tree.variable_path(k)}", shape + tree.shapes[k]
    if block is None:
        return np.zeros((size, tree.sizes[k]))
    host = _reals(block, what, tree)
    if host.shape != expected:
        raise ObjectiveError(f"{what} has shape {host.shape}; expected {expected}.")
    return host.reshape(size, tree.sizes[k])


def _reals(array: Any, what: str, tree: Tree) -> np.ndarray:
    try:
        host = np.asarray(to_host(array, tree))
    except Exception as cause:
        raise ObjectiveError(f"{what} holds a {class_of(array)}: {cause}") from cause
    if host.dtype.kind not in "fiu":
        raise ObjectiveError(f"{what} has dtype {host.dtype}; expected real numbers.")
    return host.astype(float)
