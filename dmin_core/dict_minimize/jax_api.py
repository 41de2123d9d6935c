"""dict_minimize's interface for JAX. JAX itself is reached through the arrays, never imported."""

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
    """Minimise a scalar function of an OrderedDict of JAX arrays, with gradients from the user.

    Parameters are those of `dmin_core.dict_minimize.numpy_api.minimize`, with JAX's arrays. As in the old package
    ``fun`` is called as it is: compile it with ``jax.jit`` if it is to be quick.

    Returns
    -------
    OrderedDict of str to jax.Array

    Examples
    --------
    >>> from collections import OrderedDict
    >>> import jax, jax.numpy as jnp  # doctest: +SKIP
    >>> from dmin_core.dict_minimize.jax_api import minimize
    >>> fun = jax.value_and_grad(lambda x: jnp.sum((x["a"] - 2.0) ** 2))  # doctest: +SKIP
    >>> minimize(fun, OrderedDict(a=jnp.zeros(2)))["a"].round(3).tolist()  # doctest: +SKIP
    [2.0, 2.0]
    """
    return minimize_dict(
        fun,
        x0_dict,
        backend="jax",
        lb_dict=lb_dict,
        ub_dict=ub_dict,
        args=args,
        method=method,
        tol=tol,
        callback=callback,
        options=options,
    )
