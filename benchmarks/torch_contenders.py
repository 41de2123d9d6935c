"""Who takes part in torch: this project, what a careful user writes by hand, and the peers that pip installs.

Each contender is one function that imports its library and returns `run(fun, start, maxiter)`, which leaves
`start` as it was and returns the leaves found. Importing inside the function lets a missing peer be left out.
All are told the same: ten pairs, a largest gradient entry of 1e-5, no other test, the same limit of
iterations.
"""

from collections import OrderedDict
from collections.abc import Callable
from importlib.metadata import distribution

import scipy.optimize
import torch
from contender import DEVICE, GRADIENT, PAIRS, Contender, scipy_options
from torch_objectives import Leaves, Objective

Run = Callable[[Objective, Leaves, int], Leaves]


def splitter(start: Leaves) -> Callable[[torch.Tensor], Leaves]:
    """From one flat tensor to named leaves, by the one operation whose backward is a single concatenation."""
    names = tuple(start)
    shapes = [leaf.shape for leaf in start.values()]
    sizes = [leaf.numel() for leaf in start.values()]

    def split(flat: torch.Tensor) -> Leaves:
        parts = zip(names, flat.split(sizes), shapes, strict=True)
        return {name: part if part.shape == shape else part.view(shape) for name, part, shape in parts}

    return split


def flatten(leaves: Leaves) -> torch.Tensor:
    """All leaves in one new flat tensor."""
    return torch.cat([leaf.reshape(-1) for leaf in leaves.values()])


def dmin() -> Run:
    """Run this project."""
    from dmin_core import minimize

    distribution("dmin-torch")

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return minimize(fun, start, method="L-BFGS-B", options=scipy_options(maxiter)).x

    return run


def device_lbfgs() -> Run:
    """Run this project's own L-BFGS, whose vectors stay in the framework."""
    from dmin_core import minimize

    distribution("dmin-torch")

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        return minimize(fun, start, method="device-lbfgs", options=scipy_options(maxiter)).x

    return run


def hand_written() -> Run:
    """Run SciPy's L-BFGS-B over one flat tensor, split inside autograd, nothing copied that need not be."""

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        split = splitter(start)

        def evaluate(x):
            flat = torch.from_numpy(x).requires_grad_()
            value = fun(split(flat))
            (gradient,) = torch.autograd.grad(value, flat)
            return value.item(), gradient.numpy()

        result = scipy.optimize.minimize(
            evaluate, flatten(start).numpy(), method="L-BFGS-B", jac=True, options=scipy_options(maxiter)
        )
        return split(torch.from_numpy(result.x))

    return run


def dict_minimize() -> Run:
    """Run dict-minimize: a flat OrderedDict, gradients by the user."""
    from dict_minimize.torch_api import minimize

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        def evaluate(leaves):
            value = fun(leaves)
            gradients = torch.autograd.grad(value, tuple(leaves.values()))
            return value, OrderedDict(zip(leaves, gradients, strict=True))

        options = scipy_options(maxiter)
        return minimize(evaluate, OrderedDict(start), method="L-BFGS-B", options=options)

    return run


def autograd_minimize() -> Run:
    """Run autograd-minimize: a dictionary of NumPy arrays that become keyword arguments."""
    from autograd_minimize import minimize

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        result = minimize(
            lambda **leaves: fun(leaves),
            {name: leaf.numpy() for name, leaf in start.items()},
            backend="torch",
            precision="float64",
            method="L-BFGS-B",
            options=scipy_options(maxiter),
        )
        return {name: torch.from_numpy(leaf) for name, leaf in result.x.items()}

    return run


def botorch() -> Run:
    """Run botorch's scipy_minimize: parameters changed in place, gradients through their `.grad`."""
    from botorch.optim.closures.core import ForwardBackwardClosure
    from botorch.optim.core import scipy_minimize

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        leaves = {name: leaf.clone().requires_grad_() for name, leaf in start.items()}
        closure = ForwardBackwardClosure(lambda: fun(leaves), leaves)
        scipy_minimize(closure, leaves, method="L-BFGS-B", options=scipy_options(maxiter))
        return leaves

    return run


def torch_optim() -> Run:
    """Run torch.optim.LBFGS with its Wolfe search, in one call of `step`."""

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        leaves = {name: leaf.clone().requires_grad_() for name, leaf in start.items()}
        optimiser = torch.optim.LBFGS(
            leaves.values(),
            max_iter=maxiter,
            max_eval=100 * maxiter,
            tolerance_grad=GRADIENT,
            tolerance_change=0.0,
            history_size=PAIRS,
            line_search_fn="strong_wolfe",
        )

        def closure():
            optimiser.zero_grad()
            value = fun(leaves)
            value.backward()
            return value

        optimiser.step(closure)
        return leaves

    return run


def pytorch_minimize() -> Run:
    """Run pytorch-minimize's own L-BFGS over one flat tensor, which its user splits."""
    from torchmin import minimize

    def run(fun: Objective, start: Leaves, maxiter: int) -> Leaves:
        split = splitter(start)
        options = {"history_size": PAIRS, "gtol": GRADIENT, "xtol": 0.0, "gtd_tol": 0.0}
        result = minimize(lambda flat: fun(split(flat)), flatten(start), "l-bfgs", max_iter=maxiter, options=options)
        return split(result.x)

    return run


CONTENDERS = (
    Contender("dmin", dmin, drives_scipy=True),
    Contender(DEVICE, device_lbfgs, drives_scipy=False),
    Contender("hand-written", hand_written, drives_scipy=True),
    Contender("dict-minimize", dict_minimize, drives_scipy=True),
    Contender("autograd-minimize", autograd_minimize, drives_scipy=True),
    Contender("botorch", botorch, drives_scipy=True),
    Contender("torch.optim.LBFGS", torch_optim, drives_scipy=False),
    Contender("pytorch-minimize", pytorch_minimize, drives_scipy=False),
)
