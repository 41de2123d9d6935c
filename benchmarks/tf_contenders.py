"""Who takes part in TensorFlow: this project, what a careful user writes by hand, and the peers that pip installs.

As in `torch_contenders.py`. What a user makes a graph of, once for many minimisations, is kept by `fun`;
autograd-minimize makes its own, anew for each minimisation.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from importlib.metadata import distribution
from math import prod

import scipy.optimize
import tensorflow as tf
from contender import DEVICE, Contender, scipy_options
from tf_objectives import Leaves, Objective

Run = Callable[[Objective, Leaves, int], Leaves]
Layout = tuple[tuple[str, tuple[int, ...]], ...]


def layout_of(leaves: Leaves) -> Layout:
    """Names and shapes, hashable."""
    return tuple((name, tuple(leaf.shape)) for name, leaf in leaves.items())


def split(flat: tf.Tensor, layout: Layout) -> Leaves:
    """From one flat tensor to named leaves, by the one operation whose gradient is a single concatenation."""
    parts = tf.split(flat, [prod(shape) for _, shape in layout])
    return {name: tf.reshape(part, shape) for part, (name, shape) in zip(parts, layout, strict=True)}


def flatten(leaves: Leaves) -> tf.Tensor:
    """All leaves in one new flat tensor."""
    return tf.concat([tf.reshape(leaf, [-1]) for leaf in leaves.values()], 0)


def dmin() -> Run:
    """Run this project."""
    from dmin_core import minimize

    distribution("dmin-tf")

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return minimize(fun, start, method="L-BFGS-B", options=scipy_options(maxiter)).x

    return run


def device_lbfgs() -> Run:
    """Run this project's own L-BFGS, whose vectors stay in the framework."""
    from dmin_core import minimize

    distribution("dmin-tf")

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return minimize(fun, start, method="device-lbfgs", options=scipy_options(maxiter)).x

    return run


def hand_written() -> Run:
    """Run SciPy's L-BFGS-B over one flat vector, split inside one graph."""

    @cache
    def graph(fun: Objective, layout: Layout) -> Callable:
        @tf.function
        def value_and_gradient(flat):
            with tf.GradientTape() as tape:
                tape.watch(flat)
                value = fun(split(flat, layout))
            return value, tape.gradient(value, flat)

        return value_and_gradient

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        layout = layout_of(start)
        value_and_gradient = graph(fun, layout)

        def evaluate(x):
            value, gradient = value_and_gradient(tf.constant(x))
            return value.numpy(), gradient.numpy()

        result = scipy.optimize.minimize(
            evaluate, flatten(start).numpy(), method="L-BFGS-B", jac=True, options=scipy_options(maxiter)
        )
        return split(tf.constant(result.x), layout)

    return run


def dict_minimize() -> Run:
    """Run dict-minimize: a flat OrderedDict, gradients by the user in a graph."""
    from dict_minimize.tensorflow_api import minimize

    @cache
    def graph(fun: Objective) -> Callable:
        @tf.function
        def value_and_gradients(leaves):
            with tf.GradientTape() as tape:
                tape.watch(leaves)
                value = fun(leaves)
            return value, tape.gradient(value, leaves)

        return value_and_gradients

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return minimize(graph(fun), OrderedDict(start), method="L-BFGS-B", options=scipy_options(maxiter))

    return run


def autograd_minimize() -> Run:
    """Run autograd-minimize: a dictionary of NumPy arrays that become keyword arguments."""
    from autograd_minimize import minimize

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        result = minimize(
            lambda **leaves: fun(leaves),
            {name: leaf.numpy() for name, leaf in start.items()},
            backend="tf",
            precision="float64",
            method="L-BFGS-B",
            options=scipy_options(maxiter),
        )
        return {name: tf.constant(leaf) for name, leaf in result.x.items()}

    return run


CONTENDERS = (
    Contender("dmin", dmin, drives_scipy=True),
    Contender(DEVICE, device_lbfgs, drives_scipy=False),
    Contender("hand-written", hand_written, drives_scipy=True),
    Contender("dict-minimize", dict_minimize, drives_scipy=True),
    Contender("autograd-minimize", autograd_minimize, drives_scipy=True),
)
