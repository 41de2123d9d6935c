"""dict_minimize's interface for NumPy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._interface import minimize_dict


def minimize(
    fun: Callable[..., tuple[Any, Mapping[str, Any]]],
    x0_dict: OrderedDict[str, Any],
    *,
    lb_dict: OrderedDict[str, Any] | None = None,
    ub_dict: OrderedDict[str, Any] | None = None,
    args: Sequence[Any] = (),
    method: str | None = None,
    tol: float | None = None,
    callback: Callable[[OrderedDict[str, Any]], Any] | None = None,
    options: dict[str, Any] | None = None,
) -> OrderedDict[str, Any]:
    """Minimise a scalar function of an OrderedDict of arrays, with gradients from the user.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> (value, gradients)``: ``x`` an OrderedDict as ``x0_dict``, the gradients one with the
        same keys and shapes.
    x0_dict : OrderedDict of str to array
        Where to start.
    lb_dict, ub_dict : OrderedDict, optional
        Bounds, both or neither, with the keys and shapes of ``x0_dict``.
    args : sequence
        Further arguments of ``fun``.
    method : str, optional
        One of SciPy's that use gradients. Default: BFGS, with bounds L-BFGS-B.
    tol : float, optional
    callback : callable, optional
        ``callback(x)``, once an iteration.
    options : dict, optional
        The method's own.

    Returns
    -------
    OrderedDict
        The solution, with the keys and shapes of ``x0_dict``.

    Examples
    --------
    >>> from collections import OrderedDict
    >>> import numpy as np
    >>> from dmin_core.dict_minimize.numpy_api import minimize
    >>> def fun(x):
    ...     return np.sum((x["a"] - 2.0) ** 2), OrderedDict(a=2.0 * (x["a"] - 2.0))
    >>> minimize(fun, OrderedDict(a=np.zeros(2)))["a"].round(4)
    array([2., 2.])
    """
    return minimize_dict(
        fun,
        x0_dict,
        backend="numpy",
        lb_dict=lb_dict,
        ub_dict=ub_dict,
        args=args,
        method=method,
        tol=tol,
        callback=callback,
        options=options,
    )
