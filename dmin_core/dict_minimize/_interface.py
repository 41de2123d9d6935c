"""What the four modules of the old package have in common: all but what `fun` is given."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._errors import InputError
from .._minimize import minimize


def minimize_dict(
    fun: Callable[..., tuple[Any, Mapping[str, Any]]],
    x0_dict: OrderedDict[str, Any],
    *,
    backend: str,
    lb_dict: OrderedDict[str, Any] | None,
    ub_dict: OrderedDict[str, Any] | None,
    args: Sequence[Any],
    method: str | None,
    tol: float | None,
    callback: Callable[[OrderedDict[str, Any]], Any] | None,
    options: dict[str, Any] | None,
) -> OrderedDict[str, Any]:
    """Minimise with the old package's arguments; see ``numpy_api.minimize``."""
    if not isinstance(x0_dict, OrderedDict):
        raise InputError(f"x0_dict must be an OrderedDict, not a {type(x0_dict).__qualname__}.")
    if (lb_dict is None) != (ub_dict is None):
        raise InputError("lb_dict and ub_dict must both be given, or neither.")
    bounds = None if lb_dict is None else (lb_dict, ub_dict)
    if method is None:
        # The old package left the choice to SciPy.
        method = "BFGS" if bounds is None else "L-BFGS-B"
    told = None if callback is None else lambda x: callback(x)
    result = minimize(
        fun,
        x0_dict,
        args=tuple(args),
        method=method,
        jac=True,
        bounds=bounds,
        tol=tol,
        callback=told,
        options=options,
        backend=backend,
    )
    return result.x
