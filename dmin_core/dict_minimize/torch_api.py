"""dict_minimize's interface for PyTorch.

The old package gave `fun` tensors that require gradients, made anew at each evaluation, so that `fun` may differentiate
by ``torch.autograd.grad`` or ``backward``. So does this module; torch itself is reached through the tensors, never
imported.
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

    Parameters are those of `dmin_core.dict_minimize.numpy_api.minimize`, with tensors for arrays. The tensors given to
    ``fun`` and to ``callback``, and those of the solution, require gradients, as the old package's did.

    Returns
    -------
    OrderedDict of str to torch.Tensor

    Examples
    --------
    >>> from collections import OrderedDict
    >>> import torch  # doctest: +SKIP
    >>> from dmin_core.dict_minimize.torch_api import minimize
    >>> def fun(x):
    ...     value = ((x["a"] - 2.0) ** 2).sum()
    ...     (gradient,) = torch.autograd.grad(value, [x["a"]])
    ...     return value, OrderedDict(a=gradient)
    >>> minimize(fun, OrderedDict(a=torch.zeros(2)))["a"]  # doctest: +SKIP
    tensor([2., 2.], requires_grad=True)
    """
    return requiring_grad(
        minimize_dict(
            lambda x, *rest: fun(requiring_grad(x), *rest),
            x0_dict,
            backend="torch",
            lb_dict=lb_dict,
            ub_dict=ub_dict,
            args=args,
            method=method,
            tol=tol,
            callback=None if callback is None else lambda x: callback(requiring_grad(x)),
            options=options,
        )
    )


def requiring_grad(x: OrderedDict[str, Any]) -> OrderedDict[str, Any]:
    """The same tensors as leaves of a new graph."""
    return OrderedDict((name, tensor.detach().clone().requires_grad_()) for name, tensor in x.items())
