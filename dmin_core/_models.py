"""Models as x0: objects that hold their parameters and are called, such as a ``torch.nn.Module`` or a Keras model.

Everywhere else x0 is a nest, `fun` is given another of its kind, and nothing is changed. The frameworks that have
models do it another way round: parameters belong to an object, and training changes them in place. So where x0 is a
model, its backend *adopts* it: it names the parameters, and knows how to call a function with the model while it holds
other ones. From there on the run is one over a flat nest, `Parameters`, and every function of the user's is wrapped so
that it is given the model (`Applied`). When the run has ended well, its answer is written into the model, which is
``Result.x``; if it raises, the model is as it was, for nothing has been written until then.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from typing import Any, Protocol

import numpy as np
import optree

from ._errors import InputError, PluginError
from ._leaves import NAMESPACE, class_of, is_array, paths
from ._plugins import get_backend, imported, owner_of


class Model(Protocol):
    """What the hook `adopt` makes of a model.

    Attributes
    ----------
    names : sequence of str
        The parameters to optimise, as the framework calls them: ``layers.0.weight``.
    paths : sequence of str
        How each is reached from the model in Python: ``.layers[0].weight``.
    key : hashable
        Equal for models with which a compiled `fun` is the same. Neither it nor ``call`` may keep the parameters alive,
        for a compiled function keeps both.
    inputs : tuple
        What `call` needs beside the parameters and may be other in the next run (the state of a random generator,
        say): arguments of `fun`, so that they are no constants of what is compiled.
    """

    names: Sequence[str]
    paths: Sequence[str]
    key: Hashable
    inputs: tuple[Any, ...]

    def read(self) -> list[Any]:
        """Arrays of the framework that hold the parameters of now, and still will when others are written."""

    def write(self, arrays: Sequence[Any]) -> None:
        """Give the model these parameters, in place."""

    def call(self, function: Callable[..., Any], arrays: Sequence[Any], *inputs_and_args: Any) -> Any:
        """``function(model, *args)`` while the model holds ``arrays``, differentiably; it is as before afterwards."""


# The nest ------------------------------------------------------------------------------------------------


class Parameters(dict[str, Any]):
    """A model's parameters by name: what `Result.jac` is nested as where x0 is a model."""


class Name(str):
    """The name of a parameter, which knows its path."""

    __slots__ = ("path",)
    path: str

    @classmethod
    def of(cls, name: str, path: str) -> Name:
        made = cls(name)
        made.path = path
        return made


class NameEntry(optree.PyTreeEntry):
    """A step of a path that is a parameter's name: written as Python reaches it, and for globs by its parts."""

    @property
    def name(self) -> str:
        """``layers/0/weight``."""
        return str(self.entry).replace(".", "/")

    def codify(self, node: str = "") -> str:
        """``x0.layers[0].weight``."""
        return f"{node}{self.entry.path}"


def _take_apart(parameters: Any) -> tuple[list[Any], tuple[str, ...], tuple[str, ...]]:
    names = tuple(parameters)
    return list(parameters.values()), names, names


def _put_together(names: Any, arrays: Any) -> Any:
    return Parameters(zip(names, arrays, strict=True))


optree.register_pytree_node(Parameters, _take_apart, _put_together, path_entry_type=NameEntry, namespace=NAMESPACE)


# Calls ---------------------------------------------------------------------------------------------------


class Applied:
    """A function of a model as a function of its `Parameters`; equal for equal functions of equal models.

    Parameters
    ----------
    function : callable
    model : Model
    inputs : tuple
        The model's, where they do not come with the arguments.
    """

    def __init__(self, function: Callable[..., Any], model: Model, inputs: tuple[Any, ...] = ()) -> None:
        self.function, self.call, self.inputs = function, model.call, inputs
        self._key = (function, model.key, *map(id, inputs))

    def __call__(self, parameters: Parameters, *args: Any) -> Any:
        return self.call(self.function, list(parameters.values()), *self.inputs, *args)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Applied) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class Lent:
    """The user's callback, which sees the model with the parameters of the moment while it is called."""

    def __init__(self, callback: Callable[..., Any], model: Model, x0: Any) -> None:
        self.callback, self.model, self.x0 = callback, model, x0
        self.__signature__ = _signature(callback)

    def __call__(self, *given: Any, **named: Any) -> Any:
        state = named.get("intermediate_result")
        parameters = given[0] if state is None else state["x"]
        before = self.model.read()
        self.model.write(list(parameters.values()))
        try:
            if state is None:
                return self.callback(self.x0, *given[1:])
            state["x"] = self.x0
            return self.callback(intermediate_result=state)
        finally:
            self.model.write(before)


def _signature(callback: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(callback)
    except (TypeError, ValueError):  # a built-in, such as list.append
        return inspect.Signature([inspect.Parameter("x", inspect.Parameter.POSITIONAL_ONLY)])


def _apply_constraints(constraints: Any, applied: Callable[[Any], Any]) -> Any:
    """Constraints whose functions are given the model."""
    if isinstance(constraints, list | tuple):
        return [_apply_constraints(each, applied) for each in constraints]
    if isinstance(constraints, Mapping):
        return {name: applied(part) if name in ("fun", "jac") else part for name, part in constraints.items()}
    if not callable(getattr(constraints, "fun", None)):
        return constraints
    changed = copy.copy(constraints)
    for name in ("fun", "jac", "hess"):
        setattr(changed, name, applied(getattr(changed, name, None)))
    return changed


# In `minimize` -------------------------------------------------------------------------------------------


def adopt(x0: Any, backend: str | None) -> Model | None:
    """The model that x0 is, taken over by its backend; None where x0 is a nest.

    Raises
    ------
    InputError
        It is a model in which there is nothing to optimise; the message says why.
    """
    if type(x0) in _NESTS or (is_array(x0) and not callable(x0)):
        return None
    for name in _who_may_know(x0) if backend is None else [backend]:
        try:
            hooks = get_backend(name)
        except PluginError:
            if backend is not None:
                raise
            continue  # it hurts those who ask for it, and them later on
        model: Model | None = hooks.adopt(x0)
        if model is not None:
            return model
    return None


_NESTS: set[type] = {dict, list, tuple, float, np.ndarray}
"""Classes of what is no model, as most x0 are."""


def _who_may_know(x0: Any) -> list[str]:
    owner = owner_of(type(x0))
    return imported() if owner is None else [owner]


def refuse_nested(leaves: Sequence[Any], spec: optree.PyTreeSpec, frozen: Set[int]) -> None:
    """Refuse a model among the leaves, unless it is frozen: `fun` would get it, and nothing would optimise it."""
    for i, leaf in enumerate(() if spec.is_leaf() else leaves):
        if not callable(leaf) or is_array(leaf) or i in frozen:
            continue
        try:
            is_model = adopt(leaf, None) is not None
        except InputError:
            continue  # a model with nothing to optimise may well ride along
        if is_model:
            raise InputError(
                f"{paths(spec)[i]} is a {class_of(leaf)} inside a nest, where its parameters would not be optimised. "
                f"Pass it as x0 itself, together with others in a module that holds them all; or, if it is not to be "
                f"optimised, freeze it or pass it by args=."
            )


def minimize_model(minimize: Callable[..., Any], model: Model, given: dict[str, Any]) -> Any:
    """`minimize` over a model's parameters, which it holds in the end.

    Parameters
    ----------
    minimize : callable
    model : Model
        What the backend made of ``given["x0"]``.
    given : dict
        The arguments of `minimize`.
    """
    x0, args = given["x0"], given["args"]

    def applied(function: Any, inputs: tuple[Any, ...] = ()) -> Any:
        return Applied(function, model, inputs) if callable(function) else function

    names = [Name.of(*each) for each in zip(model.names, model.paths, strict=True)]
    inner = {
        **given,
        **{name: applied(given[name]) for name in ("fun", "jac", "hess", "hessp")},
        "x0": Parameters(zip(names, model.read(), strict=True)),
        "args": (*model.inputs, *(args if isinstance(args, tuple) else (args,))),
        "constraints": _apply_constraints(given["constraints"], functools.partial(applied, inputs=model.inputs)),
    }
    if callable(given["callback"]):
        inner["callback"] = Lent(given["callback"], model, x0)
    result = minimize(**inner)
    model.write(list(result.x.values()))
    result["x"] = x0
    return result
