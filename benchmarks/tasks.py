"""The six tasks, apart from any framework: sizes, limits, data and starting points, all NumPy and float64.

A task names the kind of its objective; each framework supplies one objective a kind (`torch_objectives.py`),
so that a task means the same everywhere. Parameters are a dictionary, as users keep them, and its keys are in
alphabetical order: whoever sorts them and whoever does not then builds the same flat vector, and evaluations
can be compared one for one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

LAYERS = (64, 128, 128, 10)
PENALTY = 1e-4


@dataclass(frozen=True)
class Task:
    """One objective from one starting point, with a limit on the iterations."""

    name: str
    kind: str
    start: Callable[[], dict[str, np.ndarray]]
    maxiter: int

    @property
    def size(self) -> int:
        """How many numbers are sought."""
        return sum(leaf.size for leaf in self.start().values())

    @property
    def leaves(self) -> int:
        """How many arrays they are kept in."""
        return len(self.start())


def chains(leaves: int, length: int) -> dict[str, np.ndarray]:
    """Rosenbrock's classic start -1.2, 1, -1.2, ... in every leaf."""
    start = np.where(np.arange(length) % 2, 1.0, -1.2)
    return {f"chain{index:03d}": start.copy() for index in range(leaves)}


def linear() -> dict[str, np.ndarray]:
    """Bias and weight of a softmax regression on the digits, all zero."""
    return {"bias": np.zeros(LAYERS[-1]), "weight": np.zeros((LAYERS[0], LAYERS[-1]))}


def network() -> dict[str, np.ndarray]:
    """Biases of zero and random weights of variance 1/fan-in, the same in every run."""
    random = np.random.default_rng(0)
    biases = {f"bias{k}": np.zeros(width) for k, width in enumerate(LAYERS[1:])}
    weights = {
        f"weight{k}": random.normal(scale=fan_in**-0.5, size=(fan_in, fan_out))
        for k, (fan_in, fan_out) in enumerate(pairwise(LAYERS))
    }
    return biases | weights


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits: 1797 images of 64 pixels in [0, 1], and what they show."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images / 16.0, labels.astype(np.int64)


TASKS = {
    task.name: task
    for task in (
        Task("rosen10", "rosenbrock", lambda: chains(2, 5), 200),
        Task("logreg", "logreg", linear, 200),
        Task("mlp", "mlp", network, 100),
        Task("rosen200x5", "rosenbrock", lambda: chains(200, 5), 60),
        Task("rosen1e5x100", "rosenbrock", lambda: chains(100, 1_000), 60),
        Task("rosen1e6", "rosenbrock", lambda: chains(10, 100_000), 60),
    )
}

SMALL = ("rosen10", "logreg", "mlp")
