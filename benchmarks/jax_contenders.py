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
from contender import DEVICE, GRADIENT, PAIRS, Contender, scipy_options
from jax.flatten_util import ravel_pytree
from jax_objectives import Leaves, Objective
from peer_adapters import optax_step

Run = Callable[[Objective, Leaves, int], Leaves]


def dmin() -> Run:
    """Run this project."""
    from dmin_core import minimize

    distribution("dmin-jax")

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return minimize(fun, start, method="L-BFGS-B", options=scipy_options(maxiter)).x

    return run


def device_lbfgs() -> Run:
    """Run this project's own L-BFGS, whose vectors stay in the framework."""
    from dmin_core import minimize

    distribution("dmin-jax")

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return minimize(fun, start, method="device-lbfgs", options=scipy_options(maxiter)).x

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


def jaxopt_lbfgs() -> Run:
    """Run jaxopt.LBFGS, its whole run compiled and kept by `fun`."""
    from jaxopt import LBFGS

    @cache
    def compiled(fun: Objective, maxiter: int) -> Callable:
        solver = LBFGS(fun, maxiter=maxiter, tol=GRADIENT, history_size=PAIRS, linesearch="zoom")
        return jax.jit(lambda start: solver.run(start).params)

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return compiled(fun, maxiter)(start)

    return run


def optax_lbfgs() -> Run:
    """Run optax.lbfgs with its zoom search in a compiled loop, as its documentation has it."""
    import optax

    @cache
    def compiled(fun: Objective, maxiter: int) -> Callable:
        solver = optax.lbfgs(memory_size=PAIRS)
        step = optax_step(fun, solver)

        def goes_on(carried):
            _, state = carried
            count, gradient = (optax.tree_utils.tree_get(state, name) for name in ("count", "grad"))
            largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient)]))
            return (count == 0) | ((count < maxiter) & (largest > GRADIENT))

        return jax.jit(lambda start: jax.lax.while_loop(goes_on, step, (start, solver.init(start)))[0])

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return compiled(fun, maxiter)(start)

    return run


def optimistix_lbfgs() -> Run:
    """Run optimistix.LBFGS; the library keeps what it compiled."""
    import optimistix

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        solver = optimistix.LBFGS(rtol=0.0, atol=GRADIENT, history_length=PAIRS)
        found = optimistix.minimise(lambda x, _: fun(x), solver, start, max_steps=2 * maxiter, throw=False)
        return found.value

    return run


CONTENDERS = (
    Contender("dmin", dmin, drives_scipy=True),
    Contender(DEVICE, device_lbfgs, drives_scipy=False),
    Contender("hand-written", hand_written, drives_scipy=True),
    Contender("dict-minimize", dict_minimize, drives_scipy=True),
    Contender("jaxopt.ScipyMinimize", jaxopt, drives_scipy=True),
    Contender("autograd-minimize", autograd_minimize, drives_scipy=True),
    Contender("jaxopt.LBFGS", jaxopt_lbfgs, drives_scipy=False),
    Contender("optax.lbfgs", optax_lbfgs, drives_scipy=False),
    Contender("optimistix.LBFGS", optimistix_lbfgs, drives_scipy=False),
)
