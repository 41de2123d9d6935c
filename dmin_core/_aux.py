"""Auxiliary output: what `fun` returns beside its value, taken apart for the backend and kept with the point.

Derivatives are of the value alone (`ValueOf`). An evaluation returns both (`WithAux`): the arrays in aux go through the
backend, which may compile them, in a list; how they are nested and all that is no array goes round it, for backends
know no nests. An evaluator is wrapped so that it returns what it would without aux, which is put aside for the visit of
that point (`Aside`). So a run without aux passes through nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._errors import ObjectiveError
from ._leaves import flatten, is_array
from ._objective import Objective, described, value_and_nest
from ._plugins import Backend, owner_of

NOTHING = object()
"""In the place of aux where `fun` was not called. (None is an aux like any other.)"""


class ValueOf(Objective):
    """A ``fun`` that returns ``(value, aux)``, as the scalar to differentiate."""

    __slots__ = ()

    def __call__(self, point: Any, *args: Any) -> Any:
        return self.scalar(value_and_aux(self.beside_frozen(point, args))[0])


class WithAux(Objective):
    """A ``fun`` that returns ``(value, aux)``, as ``(scalar, (arrays, rest))``: what hooks with aux are given."""

    __slots__ = ("owner",)

    def __init__(self, *arguments: Any, owner: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.owner = owner

    def __call__(self, point: Any, *args: Any) -> Any:
        value, aux = value_and_aux(self.beside_frozen(point, args))
        return self.scalar(value), take_apart(aux, self.owner)


class Rest:
    """How aux is nested, and what of it is no array of the framework."""

    def __init__(self, spec: Any, leaves: list[Any], places: list[int]) -> None:
        self.spec, self.leaves, self.places = spec, leaves, places

    def join(self, arrays: Any) -> Any:
        """Aux, with these arrays."""
        leaves = list(self.leaves)
        for place, array in zip(self.places, arrays, strict=True):
            leaves[place] = array
        return self.spec.unflatten(leaves)


def take_apart(aux: Any, owner: str) -> tuple[list[Any], Rest]:
    """The arrays in aux that belong to the backend ``owner``, and all else."""
    leaves, spec = flatten(aux)
    places = [i for i, leaf in enumerate(leaves) if is_array(leaf) and owner_of(type(leaf)) == owner]
    arrays = [leaves[i] for i in places]
    for i in places:
        leaves[i] = None
    return arrays, Rest(spec, leaves, places)


class Aside:
    """Where evaluators put aux, and the next visit finds it."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.aux: Any = NOTHING

    def from_value(self, evaluate: Callable[..., Any]) -> Callable[..., Any]:
        """An evaluator of ``(value, aux)`` as one of the value."""

        def value_alone(point: Any, *args: Any) -> Any:
            value, (arrays, rest) = evaluate(point, *args)
            self.aux = rest.join(arrays)
            return value

        return value_alone

    def from_pair(self, evaluate: Callable[..., Any]) -> Callable[..., Any]:
        """An evaluator of ``((value, aux), gradient)`` as one of ``(value, gradient)``."""

        def value_and_grad(point: Any, *args: Any) -> Any:
            (value, (arrays, rest)), gradient = evaluate(point, *args)
            self.aux = rest.join(arrays)
            return value, gradient

        return value_and_grad

    def from_user_pair(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same for a user's own function of both, under ``jac=True``."""

        def value_and_gradient(point: Any, *args: Any) -> Any:
            both, gradient = value_and_nest(call(point, *args), has_aux=True)
            value, aux = value_and_aux(both, jac=True)
            arrays, rest = take_apart(aux, self.backend.name)
            self.aux = rest.join([self.backend.detach(array) for array in arrays])
            return value, gradient

        return value_and_gradient

    def take(self) -> Any:
        """Aux of the evaluation just made, or `NOTHING` where none was (a value that was on record)."""
        aux, self.aux = self.aux, NOTHING
        return aux


def value_and_aux(returned: Any, jac: bool = False) -> tuple[Any, Any]:
    """What `fun` returns under ``has_aux=True``, taken apart.

    Raises
    ------
    ObjectiveError
        It is no pair.
    """
    if isinstance(returned, tuple | list) and len(returned) == 2:
        return returned[0], returned[1]
    if jac:
        raise ObjectiveError(
            f"With jac=True and has_aux=True `fun` must return ((value, aux), gradient), as jax.value_and_grad does; "
            f"the first of the two is {described(returned)}."
        )
    raise ObjectiveError(f"With has_aux=True `fun` must return (value, aux); it returned {described(returned)}.")
