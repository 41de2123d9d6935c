"""A `torch.nn.Module` as x0: its parameters that require gradients are the variables.

`fun` is called with the module itself, by `torch.func.functional_call`, which puts pieces of the flat tensor where the
parameters are and takes them away again. So ``module.weight`` and ``module.parameters()`` are differentiable inside,
and the parameters proper, their values and their ``.grad``, are not touched before the answer is written.

Buffers are handed to `fun` as copies, new ones at each evaluation: what a module notes down of its inputs (the running
statistics of a normalisation, in training mode) would else make `fun` another function at each evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from dmin_core import InputError


class Module:
    """`dmin_core._models.Model` of a module."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.key: Hashable = id(module)  # nothing of torch is kept from one run to another
        self.inputs: tuple[Any, ...] = ()
        # One tensor under several names (tied weights) is one variable.
        shared = _by_tensor(module.named_parameters(remove_duplicate=False))
        self.parameters = [tensor for tensor, _ in shared if tensor.requires_grad]
        self.names = [names[0] for tensor, names in shared if tensor.requires_grad]
        self.paths = list(map(_path, self.names))
        self._places = [[f"module.{name}" for name in names] for tensor, names in shared if tensor.requires_grad]
        buffers = _by_tensor(module.named_buffers(remove_duplicate=False))
        self._buffers = [(tensor, [f"module.{name}" for name in names]) for tensor, names in buffers]
        self._call = _Call(module)

    def read(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]

    def write(self, arrays: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, array in zip(self.parameters, arrays, strict=True):
                parameter.copy_(array)

    def call(self, function: Callable[..., Any], arrays: Sequence[Tensor], *args: Any) -> Any:
        held = {place: array for array, places in zip(arrays, self._places, strict=True) for place in places}
        for tensor, places in self._buffers:
            copy = tensor.clone()
            for place in places:
                held[place] = copy
        # The names are complete, so that torch need not look for ties, at every evaluation, in the whole module.
        return torch.func.functional_call(self._call, held, (function, args), tie_weights=False)


class _Call(torch.nn.Module):
    """Gives a function of a module the form of a module, which is all that functional_call calls."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return function(self.module, *args)


def adopt_module(module: torch.nn.Module) -> Module:
    """Take over a module.

    Raises
    ------
    InputError
        It has no parameter to optimise, one that is not initialised, or is not called by torch (scripted, Keras's).
    """
    kind = type(module).__qualname__
    if any(cls.__module__.partition(".")[0] == "keras" for cls in type(module).__mro__):
        raise InputError(
            f"x0 is Keras's {kind} over torch, whose variables torch cannot exchange. Run Keras on TensorFlow "
            f"(KERAS_BACKEND=tensorflow), or pass [v.value for v in model.trainable_variables] as x0."
        )
    if isinstance(module, torch.jit.ScriptModule | torch.nn.DataParallel):
        raise InputError(f"x0 is a {kind}, which torch cannot call with other parameters. Pass the module inside it.")
    for name, parameter in module.named_parameters():
        if torch.nn.parameter.is_lazy(parameter):
            raise InputError(f"x0{_path(name)} is not initialised yet. Call the module once before, for its shapes.")
    model = Module(module)
    if not model.parameters:
        raise InputError(
            f"x0 is a {kind} without a parameter that requires gradients, so there is nothing to optimise. "
            f"Switch some on: x0.requires_grad_(True)."
        )
    return model


def _by_tensor(named: Any) -> list[tuple[Tensor, list[str]]]:
    """Tensors with all their names."""
    found: dict[int, tuple[Tensor, list[str]]] = {}
    for name, tensor in named:
        found.setdefault(id(tensor), (tensor, []))[1].append(name)
    return list(found.values())


def _path(name: str) -> str:
    """``.layers[0].weight`` of ``layers.0.weight``, as Python reaches it."""
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in name.split("."))
