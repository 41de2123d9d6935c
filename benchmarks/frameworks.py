"""The few operations that the problems of `peers.py` need of each framework, so that one problem does for all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Framework:
    """`record(fun, calls)` is `fun` of one array that appends (point, value) to `calls` at each evaluation."""

    name: str
    long_name: str
    kind: type
    array: Callable[..., Any]
    sum: Callable[[Any], Any]
    log: Callable[[Any], Any]
    value_and_gradient: Callable[[Callable, Any], tuple]
    record: Callable[[Callable, list], Callable]


def record_eagerly(to_numpy: Callable[[Any], np.ndarray]) -> Callable[[Callable, list], Callable]:
    def record(fun, calls):
        def recorded(x):
            value = fun(x)
            calls.append((to_numpy(x).copy(), float(value)))
            return value

        return recorded

    return record


def rebuilt(leaves: Any, gradients: list) -> Any:
    """Gradients as the leaves come: alone, or in a flat container."""
    if isinstance(leaves, dict):
        return type(leaves)(zip(leaves, gradients, strict=True))
    return gradients[0]


def numpy_framework() -> Framework:
    def value_and_gradient(fun, leaves):
        """Central differences, by which NumPy's user would get a gradient without writing it."""
        names = list(leaves) if isinstance(leaves, dict) else [None]
        gradients = []
        for name in names:
            leaf = leaves if name is None else leaves[name]
            gradient = np.zeros_like(leaf)
            for index in np.ndindex(leaf.shape):
                step = np.zeros_like(leaf)
                step[index] = 1e-6
                ahead, behind = (
                    fun(leaf + sign * step if name is None else {**leaves, name: leaf + sign * step})
                    for sign in (1, -1)
                )
                gradient[index] = (ahead - behind) / 2e-6
            gradients.append(gradient)
        return np.asarray(fun(leaves)), rebuilt(leaves, gradients)

    return Framework(
        "numpy", "numpy", np.ndarray, np.array, np.sum, np.log, value_and_gradient, record_eagerly(np.asarray)
    )


def torch_framework() -> Framework:
    import torch

    def array(values, dtype="float64"):
        return torch.tensor(values, dtype=getattr(torch, dtype))

    def value_and_gradient(fun, leaves):
        value = fun(leaves)
        flat = list(leaves.values()) if isinstance(leaves, dict) else [leaves]
        return value, rebuilt(leaves, list(torch.autograd.grad(value, flat)))

    recorder = record_eagerly(lambda x: x.detach().numpy())
    return Framework("torch", "torch", torch.Tensor, array, torch.sum, torch.log, value_and_gradient, recorder)


def jax_framework() -> Framework:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def record(fun, calls):
        def recorded(x):
            value = fun(x)
            jax.debug.callback(lambda x, value: calls.append((np.array(x), float(value))), x, value)
            return value

        return recorded

    def value_and_gradient(fun, leaves):
        return jax.value_and_grad(fun)(leaves)

    return Framework("jax", "jax", jax.Array, jnp.array, jnp.sum, jnp.log, value_and_gradient, record)


def tf_framework() -> Framework:
    import tensorflow as tf

    def value_and_gradient(fun, leaves):
        flat = list(leaves.values()) if isinstance(leaves, dict) else [leaves]
        with tf.GradientTape() as tape:
            tape.watch(flat)
            value = fun(leaves)
        return value, rebuilt(leaves, tape.gradient(value, flat))

    recorder = record_eagerly(lambda x: x.numpy())
    return Framework(
        *("tf", "tensorflow", tf.Tensor),
        *(lambda values, dtype="float64": tf.constant(values, dtype), tf.reduce_sum, tf.math.log),
        *(value_and_gradient, recorder),
    )


LOADERS = {"numpy": numpy_framework, "torch": torch_framework, "jax": jax_framework, "tf": tf_framework}
_loaded: dict[str, Framework] = {}


def load(name: str) -> Framework:
    """The framework of this name; ImportError where it is not installed."""
    if name not in _loaded:
        _loaded[name] = LOADERS[name]()
    return _loaded[name]


def of(x0: Any) -> Framework:
    """The framework of an array, or of the first array in a nest."""
    while isinstance(x0, dict | list | tuple):
        x0 = next(iter(x0.values() if isinstance(x0, dict) else x0))
    return next(each for each in map(load, LOADERS) if isinstance(x0, each.kind))
