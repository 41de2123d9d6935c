"""Who takes part in TensorFlow: this project, what a careful user writes by hand, and the peers that pip installs.

As in `torch_contenders.py`. What a user makes a graph of, once for many minimisations, is kept by `fun`;
autograd-minimize makes its own, anew for each minimisation. What ends in ``-xla`` is the same compiled by XLA.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import distribution
from math import prod

import scipy.optimize
import tensorflow as tf
from contender import DEVICE, GRADIENT, PAIRS, Contender, scipy_options
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


def dmin(method: str = "L-BFGS-B", xla: bool = False) -> Run:
    """Run this project: SciPy's L-BFGS-B, or its own, whose vectors stay in the framework."""
    from dmin_core import minimize

    distribution("dmin-tf")

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return minimize(fun, start, method=method, options=scipy_options(maxiter), compile=xla or None).x

    return run


def hand_written(xla: bool = False) -> Run:
    """Run SciPy's L-BFGS-B over one flat vector, split inside one graph."""

    @cache
    def graph(fun: Objective, layout: Layout) -> Callable:
        @tf.function(jit_compile=xla or None)
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


def tfp_lbfgs(xla: bool = False) -> Run:
    """Run TensorFlow Probability's L-BFGS over one flat vector, its whole run one graph that is kept by `fun`."""
    from tensorflow_probability import optimizer

    @cache
    def graph(fun: Objective, layout: Layout, maxiter: int) -> Callable:
        def value_and_gradient(flat):
            with tf.GradientTape() as tape:
                tape.watch(flat)
                value = fun(split(flat, layout))
            return value, tape.gradient(value, flat)

        @tf.function(jit_compile=xla or None)
        def solve(flat):
            return optimizer.lbfgs_minimize(
                value_and_gradient, flat, num_correction_pairs=PAIRS, tolerance=GRADIENT, max_iterations=maxiter
            ).position

        return solve

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        layout = layout_of(start)
        return split(graph(fun, layout, maxiter)(flatten(start)), layout)

    return run


CONTENDERS = (
    Contender("dmin", dmin, drives_scipy=True),
    Contender("dmin-xla", partial(dmin, xla=True), drives_scipy=True),
    Contender(DEVICE, partial(dmin, DEVICE), drives_scipy=False),
    Contender(f"{DEVICE}-xla", partial(dmin, DEVICE, xla=True), drives_scipy=False),
    Contender("hand-written", hand_written, drives_scipy=True),
    Contender("hand-written-xla", partial(hand_written, xla=True), drives_scipy=True),
    Contender("dict-minimize", dict_minimize, drives_scipy=True),
    Contender("autograd-minimize", autograd_minimize, drives_scipy=True),
    Contender("tfp.lbfgs", tfp_lbfgs, drives_scipy=False),
    Contender("tfp.lbfgs-xla", partial(tfp_lbfgs, xla=True), drives_scipy=False),
)
