"""PyTorch for dmin: eager automatic differentiation of objectives over one flat tensor.

The flat tensor is the leaf of the graph and `split` cuts it inside the differentiation: its backward is a single
concatenation, where slices would each give a gradient as long as the whole vector. The user's own tensors are never
part of a graph, so neither their ``.grad`` nor their values can be touched.

Gradient mode is switched on around the user's function, whatever it is outside, and found again afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dmin_core import ObjectiveError, hookimpl, with_backend

from . import _compiled
from ._modules import Module, adopt_module

__version__ = "0.1.0"
__all__ = ["minimize"]

minimize = with_backend("torch")

Point = tuple[Tensor, ...]
HALF = (torch.bfloat16, torch.float16)
ROWS_AT_ONCE = 256
"""Rows of a dense derivative computed in one vectorised sweep: each keeps a copy of the backward pass's memory."""


# To the host and back ------------------------------------------------------------------------------------


@hookimpl
def to_numpy(array: Any) -> np.ndarray:
    if not isinstance(array, Tensor):
        return np.asarray(array)
    plain = array.detach() if array.requires_grad else array
    if plain.dtype in HALF:
        plain = plain.float()
    # `force` copies from the device and resolves lazy negation; it costs as much again where there is nothing to do.
    return plain.numpy() if plain.is_cpu and not plain.is_neg() else plain.numpy(force=True)


@hookimpl
def from_numpy(array: np.ndarray, like: Tensor | None) -> Tensor:
    if torch.is_inference_mode_enabled():
        # Tensors made in inference mode can never be differentiated.
        with torch.inference_mode(False):
            return from_numpy(array, like)
    if not array.flags.carray:  # contiguous, aligned and writeable
        array = array.copy()
    if like is None:
        return torch.as_tensor(array, device=torch.get_default_device())
    tensor = torch.from_numpy(array)
    if tensor.dtype is like.dtype and like.is_cpu:
        return tensor
    return tensor.to(device=like.device, dtype=like.dtype)


@hookimpl
def device(array: Tensor) -> str:
    return _spelled(array.device)


# torch puts the name together anew each time, at 3 µs; every leaf is asked.
_spelled = functools.lru_cache(maxsize=64)(str)


@hookimpl
def split(vector: Tensor, shapes: tuple[tuple[int, ...], ...], dtypes: tuple[torch.dtype, ...]) -> Sequence[Tensor]:
    sizes, changes = _layout(shapes, dtypes, vector.dtype)
    pieces: Sequence[Tensor] = vector.split_with_sizes(sizes)
    if changes:
        pieces = list(pieces)
        for k, shape, dtype in changes:
            piece = pieces[k] if shape is None else pieces[k].view(shape)
            pieces[k] = piece if dtype is None else piece.to(dtype)
    return pieces


@functools.lru_cache(maxsize=128)
def _layout(
    shapes: tuple[tuple[int, ...], ...], dtypes: tuple[torch.dtype, ...], own: torch.dtype
) -> tuple[list[int], list[tuple[int, tuple[int, ...] | None, torch.dtype | None]]]:
    """Sizes of the pieces, and what must be done to those that are not one-dimensional or of another dtype."""
    changes = [
        (k, None if len(shape) == 1 else shape, None if dtype is own else dtype)
        for k, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
        if len(shape) != 1 or dtype is not own
    ]
    return [math.prod(shape) for shape in shapes], changes


@hookimpl
def join(arrays: Sequence[Tensor]) -> Tensor | None:
    # Subclasses may mean other shapes or places than they show (DTensor).
    if not all(type(array) in (Tensor, torch.nn.Parameter) and not array.is_cpu for array in arrays):
        return None
    return torch.cat([array.detach().reshape(-1) for array in arrays])


@hookimpl
def restore(array: Tensor, like: Tensor, inside: bool) -> Tensor:
    if inside and isinstance(like, torch.nn.Parameter):
        # A Parameter is always the leaf of a graph; inside `fun` one would cut it off from the flat vector.
        return array
    if type(like) is torch.nn.Parameter:
        return torch.nn.Parameter(array, requires_grad=like.requires_grad)
    if type(like) is not Tensor:
        array = array.as_subclass(type(like))
    if like.requires_grad and not inside:
        array.requires_grad_()
    return array


@hookimpl
def adopt(x0: Any) -> Module | None:
    return adopt_module(x0) if isinstance(x0, torch.nn.Module) else None


# Derivatives ---------------------------------------------------------------------------------------------


class _differentiating(contextlib.AbstractContextManager[None]):
    """Gradient mode on and inference mode off, and as they were afterwards."""

    def __enter__(self) -> None:
        self.inference = torch.inference_mode(False) if torch.is_inference_mode_enabled() else None
        if self.inference is not None:
            self.inference.__enter__()
        self.before = torch.is_grad_enabled()
        torch.set_grad_enabled(True)

    def __exit__(self, *error: Any) -> None:
        torch.set_grad_enabled(self.before)
        if self.inference is not None:
            self.inference.__exit__(*error)


def _variables(point: Point) -> Point:
    return tuple(array.detach().requires_grad_() for array in _ordinary(point))


def _ordinary(point: Point) -> Point:
    """Copies of what was computed in inference mode, as device methods' vectors are there: autograd takes none."""
    return tuple(array.clone() if array.is_inference() else array for array in point)


def _not_a_tensor(value: Any) -> ObjectiveError:
    return ObjectiveError(
        f"`fun` returned the {type(value).__name__} {value!r}, which torch cannot differentiate. Return a tensor: "
        f"leave out .item(), float() and conversions to NumPy; or pass jac=True and return (value, gradient)."
    )


@hookimpl
def value_and_grad(fun: Callable[..., Any]) -> Callable[..., tuple[Tensor, Point]]:
    # Written out for the one flat vector, which a point is unless it is sharded: every call between here and `fun`
    # counts where `fun` itself takes microseconds.
    def evaluate(point: Point, *args: Any) -> tuple[Tensor, Point]:
        # Switching what is switched already costs a tenth of what dmin may cost on a small objective.
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            with _differentiating():
                return evaluate(_ordinary(point), *args)
        variables = (point[0].detach().requires_grad_(),) if len(point) == 1 else _variables(point)
        value = fun(variables, *args)
        if not isinstance(value, Tensor):
            raise _not_a_tensor(value)
        if not value.requires_grad:
            return value, tuple(torch.zeros_like(v) for v in variables)
        gradient = torch.autograd.grad(value, variables, allow_unused=True)
        if len(gradient) == 1 and gradient[0] is not None:
            return value.detach(), gradient
        return value.detach(), _filled(gradient, variables)

    return _compiled.explained(evaluate) if getattr(fun, "compile", None) else evaluate


@hookimpl
def compile_fun(fun: Callable[..., Any], like: Tensor) -> Callable[..., Any]:
    return _compiled.compile_fun(fun, like.is_cuda)


@hookimpl
def on_host(fun: Callable[..., Any], like: Tensor) -> Callable[..., tuple[float, np.ndarray]] | None:
    if type(like) not in (Tensor, torch.nn.Parameter) or not like.is_cpu or like.dtype is not torch.float64:
        return None

    def evaluate(x: np.ndarray, *args: Any) -> tuple[float, np.ndarray]:
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            with _differentiating():
                return evaluate(x, *args)
        vector = torch.from_numpy(x if x.flags.carray else x.copy()).requires_grad_()
        value = fun((vector,), *args)
        if not isinstance(value, Tensor):
            raise _not_a_tensor(value)
        if not value.requires_grad:
            return value.item(), np.zeros_like(x)
        gradient: Tensor | None = torch.autograd.grad(value, vector, allow_unused=True)[0]
        return value.item(), np.zeros_like(x) if gradient is None else to_numpy(gradient)

    return _compiled.explained(evaluate) if getattr(fun, "compile", None) else evaluate


def _filled(gradient: Sequence[Tensor | None], variables: Point) -> Point:
    """Zeros for None, as ``materialize_grads`` does at five times the cost."""
    return tuple(torch.zeros_like(v) if g is None else g for g, v in zip(gradient, variables, strict=True))


@hookimpl
def value(fun: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate(point: Point, *args: Any) -> Any:
        # An objective may differentiate inside (a physics-informed loss): gradient mode is on here too.
        with _differentiating():
            result = fun(point, *args)
            return result.detach() if isinstance(result, Tensor) else result

    return _compiled.explained(evaluate) if getattr(fun, "compile", None) else evaluate


@hookimpl
def detach(array: Any) -> Any:
    return array.detach() if isinstance(array, Tensor) and array.requires_grad else array


@hookimpl
def hvp(fun: Callable[..., Any]) -> Callable[..., Point]:
    """Double backward, with the graph of the gradient kept while the point stays the same.

    A truncated Newton method asks for tens of products at one point: each is then one backward pass.
    """
    kept: list[Any] = [None, (), (), ()]

    def product(point: Point, vector: Point, *args: Any) -> Point:
        if kept[0] is not point:
            kept[:] = [point, args, *_gradient_graph(fun, point, args)]
        _, _, variables, gradient = kept
        return _backward(gradient, variables, vector)

    return product


def _gradient_graph(fun: Callable[..., Any], point: Point, args: tuple[Any, ...]) -> tuple[Point, Point]:
    with _differentiating():
        variables = _variables(point)
        value = fun(variables, *args)
        if not isinstance(value, Tensor):
            raise _not_a_tensor(value)
        if not value.requires_grad:
            return variables, tuple(torch.zeros_like(v, requires_grad=False) for v in variables)
        return variables, torch.autograd.grad(value, variables, create_graph=True, materialize_grads=True)


def _backward(gradient: Point, variables: Point, vector: Point) -> Point:
    curved = [(g, v) for g, v in zip(gradient, vector, strict=True) if g.requires_grad]
    if not curved:  # linear: nothing to differentiate again
        return tuple(torch.zeros_like(v, requires_grad=False) for v in variables)
    with _differentiating():
        return torch.autograd.grad(
            [g for g, _ in curved],
            variables,
            grad_outputs=_ordinary(tuple([v for _, v in curved])),
            retain_graph=True,
            materialize_grads=True,
        )


@hookimpl
def hessian(fun: Callable[..., Any]) -> Callable[..., Tensor]:
    def evaluate(point: Point, *args: Any) -> Tensor:
        variables, gradient = _gradient_graph(fun, point, args)
        with _differentiating():
            flat = torch.cat([g.reshape(-1) for g in gradient])
        matrix = _rows(flat, variables)
        return (matrix + matrix.mT) / 2

    return evaluate


@hookimpl
def jacobian(fun: Callable[..., Any]) -> Callable[..., Tensor]:
    def evaluate(point: Point, *args: Any) -> Tensor:
        with _differentiating():
            variables = _variables(point)
            return _rows(fun(variables, *args).reshape(-1), variables)

    return evaluate


@hookimpl
def value_and_jacobian(fun: Callable[..., Any]) -> Callable[..., tuple[Tensor, Tensor]]:
    def evaluate(point: Point, *args: Any) -> tuple[Tensor, Tensor]:
        with _differentiating():
            variables = _variables(point)
            outputs = fun(variables, *args).reshape(-1)
            return outputs.detach(), _rows(outputs, variables)

    return evaluate


def _rows(outputs: Tensor, variables: Point) -> Tensor:
    """Derivative of every output, a row each: vectorised, or row by row where an operation has no batching rule."""
    n = sum(v.numel() for v in variables)
    if not outputs.requires_grad:
        return outputs.new_zeros(outputs.numel(), n)
    rows = []
    with _differentiating():
        for start in range(0, outputs.numel(), ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, outputs.numel())
            units = outputs.new_zeros(stop - start, outputs.numel())
            units[torch.arange(stop - start), torch.arange(start, stop)] = 1
            rows.append(_batch(outputs, variables, units))
    return torch.cat(rows)


def _batch(outputs: Tensor, variables: Point, units: Tensor) -> Tensor:
    def differentiate(weights: Tensor, batched: bool) -> Tensor:
        parts = torch.autograd.grad(
            outputs, variables, weights, retain_graph=True, materialize_grads=True, is_grads_batched=batched
        )
        lead = weights.shape[:1] if batched else ()
        return torch.cat([p.reshape(*lead, -1) for p in parts], dim=-1)

    try:
        return differentiate(units, True)
    except RuntimeError:
        # vmap raises a plain RuntimeError for what it cannot batch (autograd.Function without a vmap rule, say).
        return torch.stack([differentiate(unit, False) for unit in units])


@hookimpl
def is_failure(error: Exception) -> bool:
    # torch exports it in all but its types
    return isinstance(error, torch.linalg.LinAlgError)  # type: ignore[attr-defined, unused-ignore]


# What there is -------------------------------------------------------------------------------------------


@hookimpl
def framework() -> str:
    return f"torch {torch.__version__}"


@hookimpl
def devices() -> tuple[str, ...]:
    found = [
        "cpu",
        *(f"cuda:{i}" for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)),
    ]
    return (*found, "mps") if torch.backends.mps.is_available() else tuple(found)
