"""A `flax.nnx.Module` as x0: its `nnx.Param`s are the variables.

Unlike the modules of Equinox and the parameters of flax.linen, which are nests to JAX and are treated as such, an nnx
module holds its parameters and is trained in place. It is taken apart by `nnx.split`; `fun` is called with a module
that `nnx.merge` makes of the same graph, other parameters, and all the other state (statistics, random generators).
That state is the same at every evaluation, whatever `fun` does to it. It is an input of the compiled function, which so
uses the state of the moment, and not that of the run that compiled it.

Flax is the user's: it is looked at only where the program has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from jax import tree_util

from dmin_core import InputError


class Module:
    """`dmin_core._models.Model` of an nnx module.

    What is compiled keeps ``key`` and ``call``, so these hold the graph, and no array.
    """

    def __init__(self, nnx: Any, module: Any) -> None:
        self.nnx, self.module = nnx, module
        graph, parameters, rest = nnx.split(module, nnx.Param, ...)
        pairs, structure = tree_util.tree_flatten_with_path(parameters)
        places = [tuple(map(_part, path)) for path, _ in pairs]
        self.names = [".".join(str(part) for part in place if part is not None) for place in places]
        self.paths = ["".join(map(_step, place)) for place in places]
        self.structure = structure
        state, state_structure = tree_util.tree_flatten(rest)
        self.key: Hashable = (graph, structure, state_structure)
        self.inputs: tuple[Any, ...] = (state,)
        self.call = _caller(nnx.merge, *self.key)

    def read(self) -> list[Any]:
        return tree_util.tree_leaves(self.nnx.state(self.module, self.nnx.Param))

    def write(self, arrays: Sequence[Any]) -> None:
        self.nnx.update(self.module, tree_util.tree_unflatten(self.structure, arrays))


def _caller(merge: Callable[..., Any], graph: Any, structure: Any, state_structure: Any) -> Callable[..., Any]:
    def call(function: Callable[..., Any], arrays: Sequence[Any], state: Sequence[Any], *args: Any) -> Any:
        # Put together here and not outside: nnx lets variables be written only in the trace that made them.
        parameters = tree_util.tree_unflatten(structure, arrays)
        rest = tree_util.tree_unflatten(state_structure, state)
        return function(merge(graph, parameters, rest), *args)

    return call


def _part(key: Any) -> str | int | None:
    """A step of JAX's path: an attribute's name or an index; None for that from a Param to its value."""
    if isinstance(key, tree_util.DictKey):
        return key.key
    return key.idx if isinstance(key, tree_util.SequenceKey) else None


def _step(part: str | int | None) -> str:
    return "" if part is None else f"[{part}]" if isinstance(part, int) else f".{part}"


def adopt_module(x0: Any) -> Module | None:
    """Take over an nnx module; None for whatever is none.

    Raises
    ------
    InputError
        It has no parameters, or is a flax.linen module, which never has any.
    """
    linen = getattr(sys.modules.get("flax.linen"), "Module", None)
    if linen is not None and isinstance(x0, linen):
        raise InputError(
            f"x0 is the flax.linen module {type(x0).__qualname__}, which holds no parameters. Pass those that its "
            f"init() returned, and call its apply() in fun."
        )
    nnx = sys.modules.get("flax.nnx")
    kind = getattr(nnx, "Module", None)
    if kind is None or not isinstance(x0, kind):
        return None
    module = Module(nnx, x0)
    if not module.names:
        raise InputError(f"x0 is a {type(x0).__qualname__} without an nnx.Param, so there is nothing to optimise.")
    return module
