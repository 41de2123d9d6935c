"""Who takes part in JAX: this project, what a careful user writes by hand, and the peers that pip installs.

As in `torch_contenders.py`. What a user compiles, and makes once for many minimisations, is kept by `fun`; only
autograd-minimize takes no compiled gradient, so there the user's function alone is compiled.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from importlib.metadata import distribution

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from contender import Contender, scipy_options
from jax.flatten_util import ravel_pytree
from jax_objectives import Leaves, Objective

Run = Callable[[Objective, Leaves, int], Leaves]


def dmin() -> Run:
    """Run this project."""
    from dmin_core import minimize

    distribution("dmin-jax")

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return minimize(fun, start, method="L-BFGS-B", options=scipy_options(maxiter)).x

    return run


def hand_written() -> Run:
    """Run SciPy's L-BFGS-B over a ravelled vector and one compiled function, which takes NumPy's arrays as they are."""

    @cache
    def compiled(fun: Objective, unravel: Callable) -> Callable:
        return jax.jit(jax.value_and_grad(lambda flat: fun(unravel(flat))))

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        flat, unravel = ravel_pytree(start)
        value_and_gradient = compiled(fun, unravel)

        def evaluate(x):
            value, gradient = value_and_gradient(x)
            return float(value), np.asarray(gradient)

        result = scipy.optimize.minimize(
            evaluate, np.asarray(flat), method="L-BFGS-B", jac=True, options=scipy_options(maxiter)
        )
        return unravel(result.x)

    return run


def dict_minimize() -> Run:
    """Run dict-minimize: a flat OrderedDict, compiled gradients by the user."""
    from dict_minimize.jax_api import minimize

    @cache
    def compiled(fun: Objective) -> Callable:
        return jax.jit(jax.value_and_grad(fun))

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return minimize(compiled(fun), OrderedDict(start), method="L-BFGS-B", options=scipy_options(maxiter))

    return run


def jaxopt() -> Run:
    """Run jaxopt.ScipyMinimize, which compiles value and gradient over the leaves."""
    from jaxopt import ScipyMinimize

    @cache
    def solver(fun: Objective, maxiter: int) -> ScipyMinimize:
        options = scipy_options(maxiter)
        return ScipyMinimize(fun=fun, method="L-BFGS-B", maxiter=options.pop("maxiter"), options=options)

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return solver(fun, maxiter).run(start).params

    return run


def autograd_minimize() -> Run:
    """Run autograd-minimize: leaves that become keyword arguments, gradients by itself and not compiled."""
    from autograd_minimize import minimize

    compiled = cache(jax.jit)

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        inner = compiled(fun)
        result = minimize(
            lambda **leaves: inner(leaves),
            {name: np.asarray(leaf) for name, leaf in start.items()},
            backend="jax",
            precision="float64",
            method="L-BFGS-B",
            options=scipy_options(maxiter),
        )
        return {name: jnp.asarray(leaf) for name, leaf in result.x.items()}

    return run


CONTENDERS = (
    Contender("dmin", dmin, drives_scipy=True),
    Contender("hand-written", hand_written, drives_scipy=True),
    Contender("dict-minimize", dict_minimize, drives_scipy=True),
    Contender("jaxopt.ScipyMinimize", jaxopt, drives_scipy=True),
    Contender("autograd-minimize", autograd_minimize, drives_scipy=True),
)
