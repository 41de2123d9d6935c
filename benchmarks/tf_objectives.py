"""The objectives in TensorFlow, written as users write them, and the least an evaluation of them can cost.

Each call of `objective` makes a function anew, as TensorFlow keeps its graphs by function: so a first call can be
timed more than once in a process.
"""

from collections.abc import Callable

import tensorflow as tf
from tasks import LAYERS, PENALTY, Task, digits

tf.get_logger().setLevel("ERROR")  # it warns of graphs made anew, which is what is timed here

Leaves = dict[str, tf.Tensor]
Objective = Callable[[Leaves], tf.Tensor]

COMPILES = True


def rosenbrock() -> Objective:
    """Sum over leaves of Rosenbrock's function of a chain."""

    def objective(leaves: Leaves) -> tf.Tensor:
        total = 0.0
        for x in leaves.values():
            total = total + tf.reduce_sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)
        return total

    return objective


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean negative log-likelihood."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def logreg() -> Objective:
    """Mean cross-entropy of a softmax regression plus the penalty."""
    images, labels = map(tf.constant, digits())

    def objective(leaves: Leaves) -> tf.Tensor:
        logits = images @ leaves["weight"] + leaves["bias"]
        return cross_entropy(logits, labels) + PENALTY * tf.reduce_sum(tf.square(leaves["weight"]))

    return objective


def mlp() -> Objective:
    """Mean cross-entropy of a tanh network plus the penalty on its weights."""
    images, labels = map(tf.constant, digits())
    last = len(LAYERS) - 2

    def objective(leaves: Leaves) -> tf.Tensor:
        hidden, penalty = images, 0.0
        for k in range(last + 1):
            hidden = hidden @ leaves[f"weight{k}"] + leaves[f"bias{k}"]
            hidden = tf.tanh(hidden) if k < last else hidden
            penalty = penalty + tf.reduce_sum(tf.square(leaves[f"weight{k}"]))
        return cross_entropy(hidden, labels) + PENALTY * penalty

    return objective


KINDS: dict[str, Callable[[], Objective]] = {"rosenbrock": rosenbrock, "logreg": logreg, "mlp": mlp}


def objective(task: Task) -> Objective:
    """The task's objective, its data already in TensorFlow."""
    return KINDS[task.kind]()


def start(task: Task) -> Leaves:
    """The task's starting point in TensorFlow."""
    return {name: tf.constant(leaf) for name, leaf in task.start().items()}


def bare(fun: Objective, leaves: Leaves) -> Callable[[], object]:
    """One value and gradient in a graph, with nothing around it."""

    @tf.function
    def evaluate(leaves: Leaves) -> tuple[tf.Tensor, Leaves]:
        with tf.GradientTape() as tape:
            tape.watch(leaves)
            value = fun(leaves)
        return value, tape.gradient(value, leaves)

    return lambda: evaluate(leaves)


class Counted:
    """An objective that counts how often the graph made of it runs: by a variable in the graph."""

    def __init__(self, fun: Objective):
        self.fun = fun
        self.variable = tf.Variable(0, dtype=tf.int64, trainable=False)

    def __call__(self, leaves: Leaves) -> tf.Tensor:
        """Evaluate, and count at each evaluation."""
        self.variable.assign_add(1)
        return self.fun(leaves)

    @property
    def calls(self) -> int:
        """Evaluations so far."""
        return int(self.variable.numpy())


def value(fun: Objective, leaves: Leaves) -> float:
    """The objective's value as a number."""
    return float(fun(leaves))


def wait(leaves: Leaves) -> None:
    """Return at once: on a CPU TensorFlow hands out tensors that are computed."""


def limit_threads(count: int) -> None:
    """Hold TensorFlow to `count` threads; before it computes anything."""
    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)
