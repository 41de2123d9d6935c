"""What a checkpoint adds to an evaluation, beside one of 10 ms.

    python benchmarks/checkpoint.py             # n = 10, 1,000, 100,000
    python benchmarks/checkpoint.py --check     # fails if it adds more than 3 %

The objective computes until its 10 ms are over, over vectors of its own, so that the caches are as they would be. Runs
with and without a checkpoint take turns. What is compared is the time from one call of the objective to the next, at
the same place in both runs; the median over places and rounds is what a shared machine disturbs least.
"""

import argparse
import itertools
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
ROUNDS, EVALUATIONS = 6, 60


class Slow:
    """A quadratic with its gradient, which takes its time; notes when it was called."""

    def __init__(self, n):
        self.weights = np.geomspace(1.0, 1e4, n)
        self.scratch = np.random.default_rng(0).random(500_000)
        self.calls = []

    def __call__(self, x):
        """Evaluate, and compute something else until the time is over."""
        begun = perf_counter()
        self.calls.append(begun)
        gradient = self.weights * (x - 1.0)
        value = 0.5 * float(gradient @ (x - 1.0))
        while perf_counter() - begun < SECONDS:
            self.scratch.sum()
        return value, gradient


def between_calls(n, path):
    """Seconds from each call to the next in one run."""
    from dmin_core import minimize

    fun = Slow(n)
    minimize(fun, np.zeros(n), jac=True, checkpoint=path, options={"maxfun": EVALUATIONS, "ftol": 0, "gtol": 0})
    return [after - before for before, after in itertools.pairwise(fun.calls)]


def measure(n, folder):
    """Median of the seconds that a checkpoint adds to an evaluation, and bytes an evaluation."""
    added, size = [], 0
    for round_ in range(ROUNDS):
        path = Path(folder) / f"{n}-{round_}"
        runs = {"without": None, "with": path}
        order = list(runs) if round_ % 2 else list(runs)[::-1]
        times = {name: between_calls(n, runs[name]) for name in order}
        added += [more - less for more, less in zip(times["with"], times["without"], strict=True)]
        size = path.stat().st_size / EVALUATIONS
        path.unlink()
    return median(added), size


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written (default: a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the limit is exceeded")
    options = parser.parse_args()
    threads.limit(1)
    found = {}
    print(
        f"Added to an evaluation of {1e3 * SECONDS:g} ms, the median of {ROUNDS * (EVALUATIONS - 1)}; limit {LIMIT:.0%}"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for n in SIZES:
            seconds, size = measure(n, folder)
            found[n] = {"seconds": seconds, "share": seconds / SECONDS, "bytes": size}
            print(
                f"n = {n:>7,}   {1e6 * seconds:8.1f} µs  {seconds / SECONDS:7.2%}   {size:12,.0f} bytes an evaluation"
            )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    failed = [f"n = {n:,}: {each['share']:.1%}" for n, each in found.items() if each["share"] > LIMIT]
    if options.check:
        print("\n".join(f"FAILED {failure}" for failure in failed) or "The limit is kept.")
    return int(options.check and bool(failed))


if __name__ == "__main__":
    sys.exit(main())
