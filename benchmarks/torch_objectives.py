"""The objectives in torch, written as users write them, and the least an evaluation of them can cost."""

from collections.abc import Callable

import torch
from contender import Counted  # noqa: F401  measure.py and gpu.py ask each framework's module for it
from tasks import LAYERS, PENALTY, Task, digits
from torch.nn.functional import cross_entropy

Leaves = dict[str, torch.Tensor]
Objective = Callable[[Leaves], torch.Tensor]

COMPILES = False


def rosenbrock(leaves: Leaves) -> torch.Tensor:
    """Sum over leaves of Rosenbrock's function of a chain."""
    total = 0.0
    for x in leaves.values():
        total = total + (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()
    return total


def logreg() -> Objective:
    """Mean cross-entropy of a softmax regression plus the penalty."""
    images, labels = map(torch.from_numpy, digits())

    def objective(leaves: Leaves) -> torch.Tensor:
        logits = images @ leaves["weight"] + leaves["bias"]
        return cross_entropy(logits, labels) + PENALTY * leaves["weight"].square().sum()

    return objective


def mlp() -> Objective:
    """Mean cross-entropy of a tanh network plus the penalty on its weights."""
    images, labels = map(torch.from_numpy, digits())
    last = len(LAYERS) - 2

    def objective(leaves: Leaves) -> torch.Tensor:
        hidden, penalty = images, 0.0
        for k in range(last + 1):
            hidden = hidden @ leaves[f"weight{k}"] + leaves[f"bias{k}"]
            hidden = torch.tanh(hidden) if k < last else hidden
            penalty = penalty + leaves[f"weight{k}"].square().sum()
        return cross_entropy(hidden, labels) + PENALTY * penalty

    return objective


KINDS: dict[str, Callable[[], Objective]] = {"rosenbrock": lambda: rosenbrock, "logreg": logreg, "mlp": mlp}


def objective(task: Task) -> Objective:
    """The task's objective, its data already in torch."""
    return KINDS[task.kind]()


def start(task: Task) -> Leaves:
    """The task's starting point in torch."""
    return {name: torch.from_numpy(leaf) for name, leaf in task.start().items()}


def bare(fun: Objective, leaves: Leaves) -> Callable[[], object]:
    """One value and gradient with nothing around it: the limit for whoever evaluates `fun` in torch."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in leaves.items()}
    inputs = tuple(leaves.values())
    return lambda: torch.autograd.grad(fun(leaves), inputs)


def value(fun: Objective, leaves: Leaves) -> float:
    """The objective's value as a number."""
    return fun(leaves).item()


def wait(leaves: Leaves) -> None:
    """Return at once: on a CPU torch hands out tensors that are computed."""


def limit_threads(count: int) -> None:
    """Hold torch to `count` threads."""
    torch.set_num_threads(count)
