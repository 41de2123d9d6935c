"""Constraint functions as one function of a point: their values laid end to end in one vector.

Backends differentiate and compile functions of points. All constraints that the framework differentiates are one such
function, so that their values and the whole Jacobian come from one compiled evaluation, and a product with the
Hessian of v · c from one more.

How a constraint nests what it returns is noted when the function runs, which in a framework that compiles is once, not
in a later run that finds it compiled already: the layouts are therefore kept beside what the backend keeps.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ._constraints import Nonlinear, Outputs
from ._errors import ObjectiveError
from ._leaves import dtype_name, flatten, is_array, is_float_dtype, paths
from ._tree import Tree

KEPT = 512
"""Layouts kept at a time; more than the compiled functions that a backend keeps."""

_layouts: OrderedDict[Combined, tuple[Outputs, ...]] = OrderedDict()


class Combined:
    """``(point, *args) -> vector (m,)``.

    ``args`` are the frozen arrays, as in an `Objective`, and then either nothing or one tuple with a tuple for each
    constraint.
    """

    def __init__(self, constraints: Sequence[Nonlinear], tree: Tree, compile: bool | None) -> None:
        self.compile = compile
        self.functions = tuple(constraint.fun for constraint in constraints)
        self.wheres = tuple(constraint.where for constraint in constraints)
        self.structure = tree.structure
        self.dtype = tree.prototype.dtype
        self._outputs: tuple[Outputs, ...] | None = None

    def __call__(self, point: Any, *args: Any) -> Any:
        found, outputs = [], []
        frozen = len(self.structure.inputs)
        for i, function in enumerate(self.functions):
            given = args[frozen][i] if len(args) > frozen else ()
            returned = function(self.structure.unpack(point, args[:frozen]), *given)
            leaves, each = self._take_apart(returned, self.wheres[i], point[0])
            found += leaves
            outputs.append(each)
        self._note(tuple(outputs))
        return found[0] if len(found) == 1 else self._concatenate(found)

    def _take_apart(self, returned: Any, where: str, vector: Any) -> tuple[list[Any], Outputs]:
        leaves, spec = flatten(returned)
        names = [where] if spec.is_leaf() else paths(spec, where)
        arrays = [self._checked(leaf, name, vector) for leaf, name in zip(leaves, names, strict=True)]
        if not arrays:
            raise ObjectiveError(f"{where} returned an empty {type(returned).__qualname__}: nothing to constrain.")
        outputs = Outputs(where, spec, [tuple(map(int, a.shape)) for a in arrays], [a.dtype for a in arrays])
        if not all(outputs.sizes):
            raise ObjectiveError(f"{names[outputs.sizes.index(0)]} returned an empty array: nothing to constrain.")
        return [self._flat(array) for array in arrays], outputs

    def _checked(self, leaf: Any, name: str, vector: Any) -> Any:
        if is_array(leaf):
            self._check_shape(leaf, name)
            if is_float_dtype(leaf.dtype) or "complex" in dtype_name(leaf.dtype):
                return leaf
            raise ObjectiveError(f"{name} returned dtype {leaf.dtype}; a constraint returns real floating numbers.")
        if isinstance(leaf, float | int) and not isinstance(leaf, bool):
            xp = self.structure.namespace(vector)
            return xp.reshape(xp.full_like(vector[:1], leaf), ())
        if leaf is None:
            raise ObjectiveError(f"{name} returned None; expected an array or a nest of arrays. Is a `return` missing?")
        if isinstance(leaf, complex):
            return self.structure.namespace(vector).asarray(leaf)
        raise ObjectiveError(f"{name} returned a {type(leaf).__qualname__}; expected an array or a nest of arrays.")

    def _check_shape(self, leaf: Any, name: str) -> None:
        try:
            known = all(d is not None for d in tuple(leaf.shape))
        except ValueError:  # TensorFlow's, of what came out of Python code that it cannot see into
            known = False
        if not known:
            raise ObjectiveError(f"{name} returned an array of unknown shape. Say its shape.")

    def _flat(self, array: Any) -> Any:
        xp = self.structure.namespace(array)
        flat = array if len(array.shape) == 1 else xp.reshape(array, (-1,))
        return flat if flat.dtype == self.dtype or "complex" in dtype_name(flat.dtype) else xp.astype(flat, self.dtype)

    def _concatenate(self, arrays: Sequence[Any]) -> Any:
        xp = self.structure.namespace(arrays[0])
        join: Callable[..., Any] = xp.concat if hasattr(xp, "concat") else xp.concatenate
        return join(arrays)

    # -- how what they return is nested -------------------------------------------------------------------

    def _note(self, outputs: tuple[Outputs, ...]) -> None:
        if self._outputs is not None:
            self._outputs = outputs
            return
        self._outputs = outputs
        try:
            _layouts[self] = outputs
        except TypeError:  # one of the functions has no hash: nobody keeps it compiled either
            return
        while len(_layouts) > KEPT:
            _layouts.popitem(last=False)

    @property
    def outputs(self) -> tuple[Outputs, ...] | None:
        """One for each constraint; None before the first call."""
        if self._outputs is None:
            try:
                self._outputs = _layouts.get(self)
            except TypeError:
                return None
        if self._outputs is None:
            return None
        return tuple(each.called(where) for each, where in zip(self._outputs, self.wheres, strict=True))

    def plain(self) -> Combined:
        """The same as plain Python, to see how what they return is nested; it shares what it sees."""
        other = copy.copy(self)
        other.compile, other._note = False, self._note  # type: ignore[method-assign]  # notes for both
        return other

    def _key(self) -> Any:
        return (self.functions, self.structure.key, self.compile)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Combined) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


class Weighted:
    """``(point, weights, *args) -> weights · c``, a scalar whose Hessian is the constraints' in the Lagrangian."""

    def __init__(self, combined: Combined) -> None:
        self.combined, self.compile, self.structure = combined, combined.compile, combined.structure

    def __call__(self, point: Any, weights: Any, *args: Any) -> Any:
        xp = self.structure.namespace(weights)
        return xp.sum(weights * self.combined(point, *args))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weighted) and self.combined == other.combined

    def __hash__(self) -> int:
        return hash((Weighted, self.combined))
