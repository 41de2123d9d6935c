"""`device-lbfgs` on a GPU, beside the L-BFGS of others there: time, memory bandwidth, reads by the host.

    python benchmarks/gpu.py --framework torch            # or jax, or cupy; on the GPU, n = 10⁶, 10⁷, 10⁸, float32
    python benchmarks/gpu.py --framework torch --device cpu --sizes 1e5     # that it works, where there is no GPU
    nox -s gpu_bench                                      # all three in the frameworks of the Python that runs nox

All minimise the chained Rosenbrock function from its standard start in float32, for `--iterations` iterations: a cheap
objective, so that the solver's own work is most of the time. Wall time, waited for; the least of `--rounds` after a
first call that compiles.

**The solver's part** is the time of the run less its evaluations, each as long as a bare value and gradient timed in
the same process.

**Bytes** that device-lbfgs must move, with m pairs, E evaluations, I iterations and numbers of s bytes:

    s n (E (2m + 11) + I (2m + 8))        where Python runs the loop on a GPU (torch, CuPy)
    s n (5 E + I (4m + 15))               in JAX, and in torch on a CPU

An evaluation makes the trial point of the old one and the direction (2 read, 1 written) and reads direction and
gradient once more for the sums (2). Of each trial, or in the second case of the one at which a search ended, the change
of the gradient is made (2 and 1) and read for a sum (1), and 2m + 1 rows of the history and the gradient are read
(2m + 2). An iteration copies the pair and the gradient into the history (3 and 3), and reads 2m + 1 rows to write a
direction (2m + 2); in the second case it reads the step once more for a sum (1). What a framework moves beyond this,
for want of fused operations, counts as time alone.

**Share** is these bytes over the seconds of the solver's part, over the bandwidth of a copy on the device of as many
numbers, 2 s n bytes each, measured in the same process. It is device-lbfgs's alone: others move other bytes. Where the
vectors fit into a cache it says nothing of memory.

**Reads** are copies from the device to the host in one run, begin and end included. torch: `torch.profiler` counts the
copies that CUDA makes; on a CPU, where there are none, it counts `item`, and `Tensor.numpy` is counted by wrapping it.
JAX and CuPy: calls of the backend's `to_numpy`, through which alone dmin reads (the proxy tests of dmin-cupy hold it to
that), by wrapping it; of optax, whose loop is one compiled function, none are counted.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# JAX would take most of the memory at once, and fail where another process has some.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import contender  # after what JAX reads when it is imported
import numpy as np

NUMBER = 4
"""Bytes of a float32."""
COPIES = 10
"""In one timing of a copy."""
WANTED = {
    "torch": (contender.DEVICE, "torch.optim.LBFGS", "pytorch-minimize"),
    "jax": (contender.DEVICE, "optax.lbfgs"),
    "cupy": (contender.DEVICE,),
}
NO_DEVICE = 3
"""The exit status where there is no such device."""


def arguments() -> argparse.Namespace:
    """The command line."""
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--framework", choices=sorted(WANTED), default="torch")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--sizes", default="1e6,1e7,1e8", help="numbers of variables, with commas")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def points(n: int) -> np.ndarray:
    """The standard start."""
    return np.tile(np.array([-1.2, 1.0], np.float32), (n + 1) // 2)[:n]


@contextmanager
def reads_of_the_backend(framework: Any) -> Iterator[Callable[[], int]]:
    """Counts the calls of `to_numpy`."""
    backend, asked = framework.backend, [0]
    before = backend.to_numpy

    def counted(array: Any) -> np.ndarray:
        asked[0] += 1
        return before(array)

    backend.to_numpy = counted
    try:
        yield lambda: asked[0]
    finally:
        backend.to_numpy = before


class Torch:
    """What is measured in torch, on a device of it."""

    def __init__(self, device: str) -> None:
        import torch
        import torch_contenders
        import torch_objectives

        if device == "gpu" and not torch.cuda.is_available():
            raise LookupError(f"torch {torch.__version__} finds no GPU")
        self.torch, self.objectives, self.contenders = torch, torch_objectives, torch_contenders.CONTENDERS
        self.device = "cuda" if device == "gpu" else "cpu"
        self.early = device == "gpu"
        self.name = torch.cuda.get_device_name() if device == "gpu" else "cpu"
        self.name = f"torch {torch.__version__} on {self.name}"
        self.how = "CUDA's copies, by torch.profiler" if device == "gpu" else "item and numpy"

    def start(self, n: int) -> dict[str, Any]:
        """The standard start, there."""
        return {"x": self.torch.from_numpy(points(n)).to(self.device)}

    def fun(self) -> Callable:
        """The objective."""
        return self.objectives.rosenbrock

    def copied(self, leaf: Any) -> Any:
        """A copy on the device."""
        return leaf.clone()

    def wait(self, _: Any) -> None:
        """Return when all is computed."""
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    @contextmanager
    def reads(self) -> Iterator[Callable[[], int]]:
        """Counts reads by the host."""
        torch, numpy, asked = self.torch, self.torch.Tensor.numpy, [0]
        kinds = torch.profiler.ProfilerActivity
        kinds = [kinds.CPU, kinds.CUDA] if self.device == "cuda" else [kinds.CPU]

        def counted(*given: Any, **named: Any) -> np.ndarray:
            asked[0] += 1
            return numpy(*given, **named)

        torch.Tensor.numpy = counted
        try:
            with torch.profiler.profile(activities=kinds) as profile:
                yield (
                    lambda: sum(self._is_read(event) for event in profile.events()) + asked[0] * (self.device == "cpu")
                )
        finally:
            torch.Tensor.numpy = numpy

    def _is_read(self, event: Any) -> bool:
        return "DtoH" in event.name if self.device == "cuda" else event.name == "aten::_local_scalar_dense"


class Jax:
    """The same in JAX."""

    early = False

    def __init__(self, device: str) -> None:
        import jax
        import jax_contenders
        import jax_objectives

        from dmin_core import get_backend

        found = jax.devices()[0]
        if device == "gpu" and found.platform == "cpu":
            raise LookupError(f"JAX {jax.__version__} finds no GPU")
        self.where = found if device == "gpu" else jax.devices("cpu")[0]
        self.jax, self.objectives, self.contenders = jax, jax_objectives, jax_contenders.CONTENDERS
        self.name, self.how = f"JAX {jax.__version__} on {self.where.device_kind}", "calls of to_numpy"
        self.backend = get_backend("jax")
        self.copied = jax.jit(lambda leaf: leaf.copy())

    def start(self, n: int) -> dict[str, Any]:
        """The standard start, there."""
        return {"x": self.jax.device_put(points(n), self.where)}

    def fun(self) -> Callable:
        """The objective."""
        return self.objectives.rosenbrock()

    def wait(self, found: Any) -> None:
        """Return when all is computed."""
        self.jax.block_until_ready(found)

    reads = reads_of_the_backend


class CuPyObjectives:
    """Rosenbrock's function of a chain with its gradient, since CuPy has none, in any namespace."""

    Counted = contender.Counted

    @staticmethod
    def bare(fun: Callable, leaves: dict[str, Any]) -> Callable[[], object]:
        """One value and gradient."""
        return lambda: fun(leaves)

    @staticmethod
    def rosenbrock(leaves: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Value and gradient."""
        x = leaves["x"]
        d, e = x[1:] - x[:-1] * x[:-1], 1.0 - x[:-1]
        gradient = x * 0.0
        gradient[1:] += 200.0 * d
        gradient[:-1] -= 400.0 * d * x[:-1] + 2.0 * e
        return 100.0 * (d @ d) + e @ e, {"x": gradient}


class CuPy:
    """The same in CuPy, which computes on a GPU only."""

    early = True

    def __init__(self, device: str) -> None:
        from dmin_core import backends, get_backend

        info = backends().get("cupy")
        if device == "cpu":
            raise LookupError("CuPy computes on a GPU only: nothing of it was run")
        if info is None or not info.devices:
            raise LookupError(f"CuPy finds no GPU: {getattr(info, 'error', None) or 'it is not installed'}")
        import cupy

        self.cupy, self.objectives, self.backend = cupy, CuPyObjectives, get_backend("cupy")
        self.contenders = (contender.Contender(contender.DEVICE, _in_cupy, drives_scipy=False),)
        self.name, self.how = f"CuPy {cupy.__version__} on {info.devices[0]}", "calls of to_numpy"

    def start(self, n: int) -> dict[str, Any]:
        """The standard start, there."""
        return {"x": self.cupy.asarray(points(n))}

    def fun(self) -> Callable:
        """The objective."""
        return CuPyObjectives.rosenbrock

    def copied(self, leaf: Any) -> Any:
        """A copy on the device."""
        return leaf.copy()

    def wait(self, _: Any) -> None:
        """Return when all is computed."""
        self.cupy.cuda.runtime.deviceSynchronize()

    reads = reads_of_the_backend


def _in_cupy() -> Callable:
    from dmin_core import minimize

    def run(fun: Callable, start: dict[str, Any], maxiter: int) -> dict[str, Any]:
        options = contender.scipy_options(maxiter)
        return minimize(fun, start, jac=True, method="device-lbfgs", options=options).x

    return run


FRAMEWORKS = {"torch": Torch, "jax": Jax, "cupy": CuPy}


def seconds(wait: Callable[[Any], None], work: Callable[[], Any], rounds: int, times: int = 1) -> float:
    """The least of several rounds, of one of `times` runs in a row."""
    least = np.inf
    for _ in range(rounds):
        wait(None)
        begun = time.perf_counter()
        for _ in range(times):
            found = work()
        wait(found)
        least = min(least, (time.perf_counter() - begun) / times)
    return least


def must_move(n: int, evaluations: int, iterations: int, early: bool, m: int = contender.PAIRS) -> int:
    """Bytes, by the first formula above where products are taken `early`, or the second."""
    if early:
        return NUMBER * n * (evaluations * (2 * m + 11) + iterations * (2 * m + 8))
    return NUMBER * n * (evaluations * 5 + iterations * (4 * m + 15))


def measure(framework: Any, n: int, given: argparse.Namespace) -> None:
    """Print the rows of one size."""
    start, fun = framework.start(n), framework.fun()
    runs, left_out = contender.load_all(each for each in framework.contenders if each.name in WANTED[given.framework])
    framework.wait(framework.copied(start["x"]))
    copy = seconds(framework.wait, lambda: framework.copied(start["x"]), given.rounds, COPIES)
    bandwidth = 2 * NUMBER * n / copy
    evaluate = framework.objectives.bare(fun, start)
    framework.wait(evaluate())
    each = seconds(framework.wait, evaluate, given.rounds, COPIES)
    print(f"\nn = {n:,}: a copy {bandwidth / 1e9:.1f} GB/s, a bare value and gradient {1e3 * each:.3f} ms\n")
    print("| | first s | ms in all | evaluations | solver's ms | bytes it must move | share of the copy | reads |")
    print("|---|---|---|---|---|---|---|---|")
    for name, run in runs.items():
        print(row(framework, name, run, fun, start, each, bandwidth, given), flush=True)
    for name, why in left_out.items():
        print(f"| {name}: left out, {why} |")


def row(
    framework: Any,
    name: str,
    run: Callable,
    fun: Callable,
    start: dict[str, Any],
    each: float,
    bandwidth: float,
    given: argparse.Namespace,
) -> str:
    """One contender at one size."""
    n, iterations = int(start["x"].shape[0]), given.iterations
    first = seconds(framework.wait, lambda: run(fun, start, iterations), 1)
    took = seconds(framework.wait, lambda: run(fun, start, iterations), given.rounds)
    with framework.reads() as reads:
        framework.wait(run(fun, start, iterations))
    # The profiler knows all of them only when it has ended. What is not counted is no zero.
    found = reads() if isinstance(framework, Torch) or name == contender.DEVICE else "–"
    counted = framework.objectives.Counted(fun)
    framework.wait(run(counted, start, iterations))
    # One more is the trace, where the function that is counted is not the one that is compiled.
    evaluations = counted.calls
    own = took - evaluations * each
    cells = [name, f"{first:.2f}", f"{1e3 * took:.1f}", f"{evaluations}", f"{1e3 * own:.1f}" if own > 0.0 else "–"]
    if name == contender.DEVICE:
        moved = must_move(n, evaluations, iterations, framework.early)
        share = f"{moved / own / bandwidth:.0%}" if own > 0.0 else "–"
        cells += [f"{moved / 1e9:.3g} GB", share]
    else:
        cells += ["–", "–"]
    return f"| {' | '.join([*cells, str(found)])} |"


def main() -> int:
    """Measure and print; what was not run is said."""
    given = arguments()
    try:
        framework = FRAMEWORKS[given.framework](given.device)
    except (LookupError, ImportError) as error:
        print(f"NOT RUN: {given.framework} on a {given.device}: {error}.")
        return NO_DEVICE
    print(f"{framework.name}; float32, {given.iterations} iterations, {contender.PAIRS} pairs; reads: {framework.how}.")
    for size in given.sizes.split(","):
        measure(framework, int(float(size)), given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
