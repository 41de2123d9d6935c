"""The same with PyTorch: the plugin's own `minimize`, tensors, and a module, which is what comes back."""

from typing import TYPE_CHECKING

import torch
from dmin_core import Result
from dmin_core import minimize as any_minimize
from dmin_torch import minimize

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value, kind):
        return value


def tensors() -> None:
    x0 = {"w": torch.zeros(3)}
    result = minimize(lambda p: torch.sum((p["w"] - 1) ** 2), x0, method="device-lbfgs")
    assert_type(result, Result[dict[str, torch.Tensor]])
    assert_type(any_minimize(lambda x: (x**2).sum(), torch.ones(2)).x, torch.Tensor)
    minimize(lambda p: p, x0, backend="jax")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def module() -> None:
    model = torch.nn.Linear(2, 1)
    result = minimize(lambda m: torch.sum((m(torch.ones(1, 2)) - 1) ** 2), model)
    assert_type(result.x, torch.nn.Linear)
    assert result.x is model


if __name__ == "__main__":
    module()
