"""What the four modules of the old package have in common: all but what `fun` is given."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._errors import InputError
from .._minimize import minimize
from ..solvers import COMMON_OPTIONS, describe


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
    bounds, options = _as_scipy_would(method, bounds, options)
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


def _as_scipy_would(method: Any, bounds: Any, options: Any) -> tuple[Any, Any]:
    """Bounds and options that the method does not know: a warning, as they were to the old package, and left out."""
    if not isinstance(method, str):
        return bounds, options
    ability = describe(method)
    if bounds is not None and not ability.bounds:
        warnings.warn(f"Method {method} cannot handle bounds; they are ignored.", RuntimeWarning, stacklevel=4)
        bounds = None
    known = {*ability.options, *COMMON_OPTIONS}
    unknown = [name for name in options or () if name not in known]
    if unknown:
        warnings.warn(f"Unknown solver options: {', '.join(unknown)}; ignored.", RuntimeWarning, stacklevel=4)
        options = {name: value for name, value in options.items() if name in known}
    return bounds, options
