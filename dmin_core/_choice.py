"""Which method runs where the user names none, and why.

SciPy's methods work on the host in float64: on an accelerator each evaluation costs a copy down and one up, and waits
for both; on a CPU, from some number of variables on, their arithmetic costs more than that of the method which keeps
its vectors where the arrays are. So L-BFGS-B, the default, gives way there to device-lbfgs, which has the same options
with the same meaning, and keeps to bounds too. Not so where gradients are differences, which are taken on the host in
either, n + 1 evaluations each, nor where there is an option that L-BFGS-B alone has.

Where an accelerator is, is told by the name of the device (the hook `device`): frameworks spell it ``cuda:0``,
``GPU:0``, ``TPU_0(process=0,…)``, ``mps:0``. It is one if a word of it is among `ACCELERATORS`. A device with another
name counts as a CPU, where n decides.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Any

from ._tree import Tree
from .solvers import COMMON_OPTIONS, DEVICE_METHODS

MANY = 200
"""Variables from which on a constrained problem is not given to SLSQP, whose subproblems are dense."""

ACCELERATORS = frozenset(("cuda", "gpu", "rocm", "hip", "tpu", "mps", "metal", "xpu", "hpu", "npu", "neuron"))
"""Words in the names of devices that are no CPU."""

OVERTAKES = {"numpy": 5_000, "torch": 10_000, "jax": 300_000, "tf": math.inf}
"""Variables from which on device-lbfgs is the quicker on a CPU, by backend: benchmarks/RESULTS.md.

JAX compiles its loop, for two seconds. Once that is done it is the quicker at any size; here the first call counts, and
from this size on some three hundred evaluations make up for it. In TensorFlow, which runs a compiled loop an operation
at a time, it is not clearly the quicker at any size.
"""
UNMEASURED = 300_000
"""The same for backends that nobody has measured: the most that it is anywhere."""


@functools.lru_cache(maxsize=64)
def is_accelerator(device: str) -> bool:
    """Whether a device with this name is one."""
    return not ACCELERATORS.isdisjoint(re.findall("[a-z]+", device.lower()))


def default_method(tree: Tree, constrained: bool, jac: Any, options: Any) -> tuple[str, str | None]:
    """The method's name; and, where it is one on the device, why.

    Parameters
    ----------
    tree : Tree
        Of x0.
    constrained : bool
        Whether there are constraints; bounds are none.
    jac, options
        As `minimize` got them.
    """
    if constrained:
        return ("SLSQP" if tree.n <= MANY else "trust-constr"), None
    has_gradient = jac is True or callable(jac) or (not isinstance(jac, str) and tree.backend.exact_gradient)
    if not (has_gradient and _has_all(options)):
        return "L-BFGS-B", None
    if tree.sharded:  # which nothing on the host could leave as it is
        return "device-lbfgs", f"x0 is sharded over {tree.device}"
    if is_accelerator(tree.device):
        return "device-lbfgs", f"x0 is on {tree.device}"
    least = OVERTAKES.get(tree.backend.name, UNMEASURED)
    if tree.n >= least:
        return "device-lbfgs", f"x0 has {tree.n:,} numbers, and in {tree.backend.name} {least:,} are many"
    return "L-BFGS-B", None


def _has_all(options: Any) -> bool:
    """Whether device-lbfgs has every option that was given."""
    if not isinstance(options, Mapping):  # None, or what is refused in a moment
        return True
    return {*DEVICE_METHODS["device-lbfgs"]["options"], *COMMON_OPTIONS}.issuperset(options)
