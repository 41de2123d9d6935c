"""What a checkpoint adds to an evaluation, beside one of 10 ms.

    python benchmarks/checkpoint.py             # n = 10, 1,000, 100,000
    python benchmarks/checkpoint.py --check     # fails if it adds more than 3 %

The objective computes until its 10 ms are over, over vectors of its own, so that the caches are as they would be. What
is timed is the layer that the checkpoint puts around it, less the objective itself: on a shared machine the solver's
own time differs from run to run by more than the layer takes. The median is over all evaluations of a run by L-BFGS-B.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import threads

SECONDS = 0.01
LIMIT = 0.03
SIZES = (10, 1_000, 100_000)
EVALUATIONS = 300


class Slow:
    """A quadratic with its gradient, which takes its time."""

    def __init__(self, n):
        self.weights = np.geomspace(1.0, 1e4, n)
        self.scratch = np.random.default_rng(0).random(500_000)

    def __call__(self, x):
        """Evaluate, and compute something else until the time is over."""
        begun = perf_counter()
        gradient = self.weights * (x - 1.0)
        value = 0.5 * float(gradient @ (x - 1.0))
        while perf_counter() - begun < SECONDS:
            self.scratch.sum()
        return value, gradient


def timed(around, found):
    """`Log.around`, noting what it takes beside the call that it is around."""

    def around_and_note(log, name, call):
        inside = []

        def within(*vectors):
            begun = perf_counter()
            outcome = call(*vectors)
            inside.append(perf_counter() - begun)
            return outcome

        answer = around(log, name, within)
        if name == "_check_limits":
            return answer

        def noted(*vectors):
            begun = perf_counter()
            outcome = answer(*vectors)
            found.append(perf_counter() - begun - inside.pop())
            return outcome

        return noted

    return around_and_note


def measure(n, folder):
    """Seconds that a checkpoint adds to each evaluation, and bytes an evaluation."""
    from dmin_core import _checkpoint, minimize

    found, path = [], Path(folder) / str(n)
    real = _checkpoint.Log.around
    _checkpoint.Log.around = timed(real, found)
    try:
        options = {"maxfun": EVALUATIONS, "ftol": 0, "gtol": 0}
        result = minimize(Slow(n), np.zeros(n), jac=True, method="L-BFGS-B", checkpoint=path, options=options)
    finally:
        _checkpoint.Log.around = real
    return found, path.stat().st_size / result.nfev


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written (default: a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the limit is exceeded")
    options = parser.parse_args()
    threads.limit(1)
    figures = {}
    print(f"Added to an evaluation of {1e3 * SECONDS:g} ms; limit {LIMIT:.0%}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for n in SIZES:
            found, size = measure(n, folder)
            seconds = median(found)
            figures[n] = {"seconds": seconds, "share": seconds / SECONDS, "bytes": size}
            print(
                f"n = {n:>7,}   median {1e6 * seconds:6.1f} µs  {seconds / SECONDS:6.2%}   "
                f"least {1e6 * min(found):6.1f} µs   {size:9,.0f} bytes an evaluation"
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    failed = [f"n = {n:,}: {each['share']:.1%}" for n, each in figures.items() if each["share"] > LIMIT]
    if options.check:
        print("\n".join(f"FAILED {failure}" for failure in failed) or "The limit is kept.")
    return int(options.check and bool(failed))


if __name__ == "__main__":
    sys.exit(main())
