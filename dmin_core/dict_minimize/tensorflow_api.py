"""dict_minimize's interface for TensorFlow.

The old package ran `fun` eagerly and gave it plain tensors, which it watches on a tape of its own. So does this module;
TensorFlow itself is reached through the backend, never imported here.
"""

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
    """Minimise a scalar function of an OrderedDict of tensors, with gradients from the user.

    Parameters are those of `dmin_core.dict_minimize.numpy_api.minimize`, with tensors for arrays. A variable in
    ``x0_dict`` is a tensor in ``fun`` and a new variable in the solution.

    Returns
    -------
    OrderedDict of str to tf.Tensor

    Examples
    --------
    >>> from collections import OrderedDict
    >>> import tensorflow as tf  # doctest: +SKIP
    >>> from dmin_core.dict_minimize.tensorflow_api import minimize
    >>> def fun(x):
    ...     with tf.GradientTape() as tape:
    ...         tape.watch(x["a"])
    ...         value = tf.reduce_sum((x["a"] - 2.0) ** 2)
    ...     return value, OrderedDict(a=tape.gradient(value, x["a"]))
    >>> minimize(fun, OrderedDict(a=tf.zeros(2)))["a"].numpy()  # doctest: +SKIP
    array([2., 2.], dtype=float32)
    """
    return minimize_dict(
        fun,
        x0_dict,
        backend="tf",
        lb_dict=lb_dict,
        ub_dict=ub_dict,
        args=args,
        method=method,
        tol=tol,
        callback=callback,
        options=options,
    )
