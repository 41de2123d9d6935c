"""Peak memory of `minimize` beside the hand-written version, in vectors of n float64.

    python benchmarks/memory.py             # n = 10,000,000 in 100 leaves; about 3 GB
    python benchmarks/memory.py --check     # fails if dmin needs over two vectors more

Each runs in a process of its own, because a process only ever reports its highest peak. What imports and
first calls need is left out: a tiny problem is solved first, and the peak before the call is subtracted.
The objective is a quadratic that keeps almost nothing for its gradient, so that what is measured is the
solver and the glue.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import threads

MORE_VECTORS = 2.0
ITERATIONS = 3
CONTENDERS = ("hand-written", "dmin")
# glibc otherwise keeps what was freed, up to 32 MiB a block, as it happens to have been laid out: the peak
# would be chance to within a vector.
RETURN_WHAT_IS_FREED = {"MALLOC_MMAP_THRESHOLD_": str(64 * 1024)}
# getrusage counts in bytes there, in KiB elsewhere.
UNIT = 1 if sys.platform == "darwin" else 1024


def arguments() -> argparse.Namespace:
    """The command line."""
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--size", type=int, default=10_000_000, help="n, a multiple of the leaves")
    parser.add_argument("--leaves", type=int, default=100)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the limit is exceeded")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    return parser.parse_args()


def peak() -> int:
    """Bytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


def quadratic(leaves: dict):
    """Each leaf's square, the later ones the steeper, so that three iterations do not reach the minimum."""
    return sum((1 + k) * leaf.dot(leaf) for k, leaf in enumerate(leaves.values()))


def vectors(name: str, size: int, leaves: int) -> float:
    """What one contender's call adds to this process's peak, in vectors of `size` float64."""
    import torch
    from torch_contenders import CONTENDERS as everyone

    torch.set_num_threads(1)
    run = next(each for each in everyone if each.name == name).load()

    def solve(length: int) -> int:
        start = {f"leaf{k:05d}": torch.ones(length, dtype=torch.float64) for k in range(leaves)}
        before = peak()
        run(quadratic, start, ITERATIONS)
        return peak() - before

    solve(10)
    return solve(size // leaves) / (8 * size)


def in_own_process(name: str, options: argparse.Namespace) -> float | None:
    """The same from a fresh process; None where the contender is not installed."""
    sizes = ["--size", str(options.size), "--leaves", str(options.leaves)]
    command = [sys.executable, __file__, "--only", name, *sizes]
    environment = threads.environment(1) | RETURN_WHAT_IS_FREED
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure_here(options: argparse.Namespace) -> int:
    """What the fresh process does: print its figure."""
    try:
        found = vectors(options.only, options.size, options.leaves)
    except ImportError:
        found = None
    print(json.dumps(found))
    return 0


def main() -> int:
    """Measure, print, write, check."""
    options = arguments()
    if options.only:
        return measure_here(options)
    sizes = {"n": options.size, "leaves": options.leaves, "iterations": ITERATIONS}
    print("Vectors of n float64 at the peak:", ", ".join(f"{name} {size:,}" for name, size in sizes.items()))
    found = {name: in_own_process(name, options) for name in CONTENDERS}
    for name, value in found.items():
        print(f"{name:14}{'left out: not installed' if value is None else f'{value:6.2f}'}")
    if options.json:
        options.json.write_text(json.dumps(found | sizes, indent=1) + "\n")
    by_hand, ours = found["hand-written"], found["dmin"]
    kept = by_hand is not None and ours is not None and ours <= by_hand + MORE_VECTORS
    if options.check:
        verdict = "The limit is kept" if kept else "FAILED"
        print(f"{verdict}: dmin at most {MORE_VECTORS:g} vectors over hand-written.")
    return int(options.check and not kept)


if __name__ == "__main__":
    sys.exit(main())
