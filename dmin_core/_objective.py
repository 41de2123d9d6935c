"""`fun` as a function of a point, and what it may return.

Backends differentiate, compile and cache functions of points; users write functions of nests. `Objective` stands
between the two. It is hashable, and equal to another of the same `fun` over a nest of the same structure, shapes
and dtypes, so that a backend that compiles can keep what it compiled.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ._errors import ObjectiveError
from ._leaves import is_array, is_float_dtype
from ._plugins import Backend
from ._tree import Tree

VALUE_FIRST = "With jac=True or has_aux=True the value comes first: (value, gradient), (value, aux)."


class Objective:
    """``fun(x, *args)`` over a nest, as a function ``(point, *args) -> scalar``.

    Where leaves of the nest are frozen, ``args`` begin with their arrays, `Tree.inputs`: no array is part of an
    objective, so that one that was compiled serves other frozen arrays too, and keeps none of them.
    """

    __slots__ = ("_checked", "compile", "complex_step", "fun", "structure")

    def __init__(
        self, fun: Callable[..., Any], tree: Tree, complex_step: bool = False, compile: bool | None = None
    ) -> None:
        self.compile = compile
        self.fun = fun
        self.structure = tree.structure
        self.complex_step = complex_step
        self._checked: set[Any] = set()

    def __call__(self, point: Any, *args: Any) -> Any:
        structure = self.structure
        value = self.beside_frozen(point, args) if structure.inputs else self.fun(structure.unpack(point), *args)
        # The usual case first: this stands on the path of every evaluation.
        if getattr(value, "ndim", None) == 0 and value.dtype in self._checked:
            return value
        return self.scalar(value)

    def beside_frozen(self, point: Any, args: tuple[Any, ...]) -> Any:
        """What `fun` returns; ``args`` as they are after the point, with the frozen arrays first."""
        frozen = len(self.structure.inputs)
        return self.fun(self.structure.unpack(point, args[:frozen]), *args[frozen:])

    def scalar(self, value: Any) -> Any:
        """``value`` if it is a real scalar; of several shapes that hold one number, the 0-d one."""
        shape = getattr(value, "shape", None)
        if shape is None:
            return self._python_scalar(value)
        if value.dtype not in self._checked:
            self._check_dtype(value)
        return value if getattr(value, "ndim", None) == 0 else self._reshape(value, shape)

    def _python_scalar(self, value: Any) -> float | complex:
        if isinstance(value, float | int):
            return float(value)
        if value is None:
            raise ObjectiveError("`fun` returned None; minimize needs a scalar. Is there a `return` missing?")
        if isinstance(value, tuple | list):
            raise ObjectiveError(
                f"`fun` returned a {type(value).__name__} of {len(value)}; minimize needs a scalar. "
                f"If it is (value, gradient), pass jac=True; if it is (value, aux), pass has_aux=True."
            )
        if isinstance(value, complex):
            if self.complex_step:
                return value
            raise ObjectiveError(f"`fun` returned the complex number {value}; minimize needs a real scalar.")
        raise ObjectiveError(f"`fun` returned a {type(value).__qualname__}; minimize needs a scalar. {VALUE_FIRST}")

    def _check_dtype(self, value: Any) -> None:
        name = str(value.dtype)
        if not is_float_dtype(value.dtype) and not (self.complex_step and "complex" in name):
            raise ObjectiveError(
                f"`fun` returned dtype {name}; minimize needs a real floating scalar, "
                f"and nothing can be differentiated through this one."
            )
        self._checked.add(value.dtype)

    def _reshape(self, value: Any, shape: Any) -> Any:
        try:
            known = tuple(shape)
        except ValueError as cause:  # TensorFlow's, of what came out of Python code that it cannot see into
            raise ObjectiveError(
                f"`fun` returned an array of unknown shape ({cause}); minimize needs a scalar. Say its shape, ()."
            ) from cause
        if known == ():
            return value
        if all(d == 1 for d in known):
            return self.structure.namespace(value).reshape(value, ())
        raise ObjectiveError(
            f"`fun` returned shape {known}; minimize needs a scalar. Sum or average it first. {VALUE_FIRST}"
        )

    def compiled_by(self, backend: Backend, like: Any) -> Objective:
        """The same over `fun` as a backend compiles it on request."""
        twin = copy.copy(self)
        twin.fun = backend.compile_fun(self.fun, like)
        return twin

    def inline(self) -> Objective:
        """The same to be run as it is, inside a function that is compiled as a whole."""
        twin = copy.copy(self)
        twin.compile = False
        return twin

    def _key(self) -> Any:
        return (type(self), self.fun, self.structure.key, self.compile)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


class Given:
    """What the user gave beside a plain ``fun``, as a function of a point: called as it is, never differentiated.

    ``fun`` under ``jac=True``, ``jac``, ``hess`` and ``hessp``, whose results are nests.
    """

    def __init__(self, function: Callable[..., Any], tree: Tree) -> None:
        self.function = function
        self.compile = False  # what the user differentiated by hand need not be what the framework can trace
        self.structure = tree.structure
        self.unpack = tree.unpack

    def __call__(self, point: Any, *args: Any) -> Any:
        # Nobody keeps this, so that it may hold the frozen leaves itself: they are no arguments here.
        return self.function(self.unpack(point), *args)


def value_and_nest(returned: Any, has_aux: bool = False) -> tuple[Any, Any]:
    """What `fun` returns under ``jac=True``, taken apart.

    Raises
    ------
    ObjectiveError
        It is no pair.
    """
    if isinstance(returned, tuple | list) and len(returned) == 2:
        return returned[0], returned[1]
    asked, form = ("jac=True", "(value, gradient)")
    if has_aux:
        asked, form = ("jac=True and has_aux=True", "((value, aux), gradient)")
    raise ObjectiveError(f"With {asked} `fun` must return {form}, nested as x0 is; it returned {described(returned)}.")


def described(returned: Any) -> str:
    """What came back in a pair's place: ``a tuple of 3``, ``shape (2,)``."""
    if is_array(returned):
        return f"shape {tuple(returned.shape)}"
    length = f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
    return f"a {type(returned).__qualname__}{length}"


def dense_hessian(returned: Any, tree: Tree) -> np.ndarray:
    """A user's Hessian, in either of its two forms, as an (n, n) host matrix.

    Parameters
    ----------
    returned : array or nest
        One (n, n) array over the flat vector; or a nest of nests, whose block at leaves i and j has shape
        ``shape_i + shape_j``, as ``jax.hessian`` and `torch.func.hessian` return.
    """
    if hasattr(returned, "toarray"):  # a sparse matrix
        returned = returned.toarray()
    elif hasattr(returned, "matmat"):  # a LinearOperator
        returned = returned @ np.eye(tree.n)
    if is_array(returned):
        matrix = _real(returned, "", tree)
        square = len(tree.shapes) == 1 and matrix.shape == tree.shapes[0] * 2
        if matrix.shape == (tree.n, tree.n) or square:
            return matrix.reshape(tree.n, tree.n)
        raise ObjectiveError(
            f"`hess` returned shape {matrix.shape}; expected ({tree.n}, {tree.n}), or a nest of blocks as x0 is nested."
        )
    rows = []
    for i, row in enumerate(tree.match(returned, "The Hessian from `hess`")):
        blocks = tree.match(row, f"The row of the Hessian from `hess` at {tree.variable_path(i)}")
        rows.append(np.hstack([_block(block, i, j, tree) for j, block in enumerate(blocks)]))
    return np.vstack(rows)


def _block(block: Any, i: int, j: int, tree: Tree) -> np.ndarray:
    expected = tree.shapes[i] + tree.shapes[j]
    where = f" at {tree.variable_path(i)}, {tree.variable_path(j)}"
    host = _real(block, where, tree)
    if host.shape != expected:
        raise ObjectiveError(f"`hess` returned a block of shape {host.shape}{where}; expected {expected}.")
    return host.reshape(tree.sizes[i], tree.sizes[j])


def _real(array: Any, where: str, tree: Tree) -> np.ndarray:
    try:
        host = np.asarray(tree.backend.to_numpy(array) if is_array(array) else array)
    except Exception as cause:
        raise ObjectiveError(f"`hess` returned a {type(array).__qualname__}{where}: {cause}") from cause
    if host.dtype.kind not in "fiu":
        raise ObjectiveError(f"`hess` returned dtype {host.dtype}{where}; expected real numbers.")
    return host.astype(float)
