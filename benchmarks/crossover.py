"""From how many variables on a method on the device is quicker than SciPy's, in each framework.

    python benchmarks/crossover.py --framework numpy     # or torch, jax, tf
    python benchmarks/crossover.py --methods BFGS,device-bfgs --sizes 1e2,3e2,1e3

Both methods minimise the chained Rosenbrock function from its standard start, a cheap objective, so that what counts is
the solver; both stop after as many evaluations. The figures are seconds of CPU an evaluation (of the process: on a
machine that others use, wall time says more of them), the least of several rounds in turn, after a first call whose
seconds stand beside, since compiling is in them.
"""

import argparse
import os
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np  # noqa: E402 - after what it reads when it is imported

from dmin_core import get_backend, methods, minimize  # noqa: E402 - likewise


def arguments() -> argparse.Namespace:
    """The command line."""
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--framework", choices=["numpy", "torch", "jax", "tf"], default="numpy")
    parser.add_argument("--methods", default="L-BFGS-B,device-lbfgs", help="SciPy's, and the one on the device")
    parser.add_argument("--sizes", default="1e2,1e3,3e3,1e4,3e4,1e5,1e6", help="numbers of variables, with commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--evaluations", type=int, default=50)
    return parser.parse_args()


def chained(xp):
    """Rosenbrock's function of a chain."""

    def fun(x):
        d, e = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
        return 100.0 * xp.sum(d * d) + xp.sum(e * e)

    return fun


def by_hand(x):
    """The same in NumPy with its gradient."""
    d, e = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
    g = np.zeros_like(x)
    g[1:] += 200.0 * d
    g[:-1] -= 400.0 * d * x[:-1] + 2.0 * e
    return 100.0 * d @ d + e @ e, g


def measure(run):
    """Seconds of CPU an evaluation, and evaluations."""
    start = time.process_time()
    result = run()
    return (time.process_time() - start) / result.nfev, result.nfev


def main() -> None:
    given = arguments()
    host = get_backend(given.framework)
    like = host.from_numpy(np.zeros(1), None)
    fun = by_hand if given.framework == "numpy" else chained(host.namespace(like))
    if given.framework == "torch":
        import torch

        torch.set_num_threads(1)
    names = given.methods.split(",")
    tight = {name: 0.0 for name in ("gtol", "ftol") if name in methods()[names[0]].options}
    options = {"maxfun": given.evaluations, **tight}
    print(f"{Path(__file__).name}: {given.framework}; microseconds of CPU an evaluation (seconds of a first call)")
    print(f"{'n':>9} {names[0]:>18} {names[1]:>18} {'ratio':>7}")
    for n in (int(float(size)) for size in given.sizes.split(",")):
        x0 = host.from_numpy(np.tile([-1.2, 1.0], n // 2), None)
        runs = {
            method: lambda method=method, x0=x0: minimize(
                fun, x0, method=method, jac=given.framework == "numpy", options=options
            )
            for method in names
        }
        first, least = {}, dict.fromkeys(names, float("inf"))
        for method, run in runs.items():
            each, evaluations = measure(run)
            first[method] = each * evaluations
        for _ in range(given.rounds):
            for method, run in runs.items():
                least[method] = min(least[method], measure(run)[0])
        cells = [f"{1e6 * least[m]:10.1f} ({first[m]:5.2f})" for m in names]
        print(f"{n:9d} {cells[0]:>18} {cells[1]:>18} {least[names[1]] / least[names[0]]:7.2f}", flush=True)


if __name__ == "__main__":
    main()
