"""The objectives in JAX, written as users write them, and the least an evaluation of them can cost.

Each call of `objective` makes a function anew, as JAX keeps what it compiled by function: so a first call can be
timed more than once in a process.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from tasks import LAYERS, PENALTY, Task, digits

jax.config.update("jax_enable_x64", True)

Leaves = dict[str, jax.Array]
Objective = Callable[[Leaves], jax.Array]

COMPILES = True


def rosenbrock() -> Objective:
    """Sum over leaves of Rosenbrock's function of a chain."""

    def objective(leaves: Leaves) -> jax.Array:
        total = 0.0
        for x in leaves.values():
            total = total + (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()
        return total

    return objective


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean negative log-likelihood."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -chosen.mean()


def logreg() -> Objective:
    """Mean cross-entropy of a softmax regression plus the penalty."""
    images, labels = map(jnp.asarray, digits())

    def objective(leaves: Leaves) -> jax.Array:
        logits = images @ leaves["weight"] + leaves["bias"]
        return cross_entropy(logits, labels) + PENALTY * jnp.square(leaves["weight"]).sum()

    return objective


def mlp() -> Objective:
    """Mean cross-entropy of a tanh network plus the penalty on its weights."""
    images, labels = map(jnp.asarray, digits())
    last = len(LAYERS) - 2

    def objective(leaves: Leaves) -> jax.Array:
        hidden, penalty = images, 0.0
        for k in range(last + 1):
            hidden = hidden @ leaves[f"weight{k}"] + leaves[f"bias{k}"]
            hidden = jnp.tanh(hidden) if k < last else hidden
            penalty = penalty + jnp.square(leaves[f"weight{k}"]).sum()
        return cross_entropy(hidden, labels) + PENALTY * penalty

    return objective


KINDS: dict[str, Callable[[], Objective]] = {"rosenbrock": rosenbrock, "logreg": logreg, "mlp": mlp}


def objective(task: Task) -> Objective:
    """The task's objective, its data already in JAX."""
    return KINDS[task.kind]()


def start(task: Task) -> Leaves:
    """The task's starting point in JAX."""
    return {name: jnp.asarray(leaf) for name, leaf in task.start().items()}


def bare(fun: Objective, leaves: Leaves) -> Callable[[], object]:
    """One compiled value and gradient with nothing around it."""
    evaluate = jax.jit(jax.value_and_grad(fun))
    return lambda: jax.block_until_ready(evaluate(leaves))


class Counted:
    """An objective that counts how often what was compiled of it runs: by a call back to the host."""

    def __init__(self, fun: Objective):
        self.fun = fun
        self._calls = 0

    def __call__(self, leaves: Leaves) -> jax.Array:
        """Evaluate, and count at each evaluation."""
        jax.debug.callback(self._note)
        return self.fun(leaves)

    def _note(self) -> None:
        self._calls += 1

    @property
    def calls(self) -> int:
        """Evaluations so far."""
        jax.effects_barrier()
        return self._calls


def value(fun: Objective, leaves: Leaves) -> float:
    """The objective's value as a number."""
    return fun(leaves).item()


def wait(leaves: Leaves) -> None:
    """Return when the leaves are there: JAX hands out arrays that it still computes."""
    jax.block_until_ready(leaves)


def limit_threads(count: int) -> None:
    """Nothing is left to do: JAX reads XLA_FLAGS (`threads.py`)."""
