"""The type of a `minimize` whose backend is given: what `with_backend` returns, and what each plugin exports.

A protocol, since no other type keeps names, defaults and the nest's type together; a test holds it against
`minimize` itself, parameter by parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from ._result import Result

T = TypeVar("T")


class Minimize(Protocol):
    """`minimize` without ``backend``: of an ``x0`` of type T the result is a ``Result[T]``."""

    def __call__(
        self,
        fun: Callable[..., Any],
        x0: T,
        args: Any = (),
        method: str | Callable[..., Any] | None = None,
        jac: Any = None,
        hess: Any = None,
        hessp: Callable[..., Any] | None = None,
        bounds: Any = None,
        constraints: Any = (),
        tol: float | None = None,
        callback: Callable[..., Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        compile: bool | None = None,
        frozen: Any = None,
        has_aux: bool = False,
        check_derivatives: bool = False,
        progress: bool = False,
        checkpoint: Any = None,
    ) -> Result[T]:
        """As `minimize`."""
