"""What bounds on a million variables cost: dmin's own part in reading them, and each method's.

    python benchmarks/bounds.py                      # both
    python benchmarks/bounds.py --check              # fails if dmin's part takes more than 50 ms
    python benchmarks/bounds.py --solvers L-BFGS-B   # which methods; none: dmin's part alone

dmin's part is what `minimize` does more where it is given bounds: read them, move the start within, look for the
leaves that are free. A method's part is what `scipy.optimize.minimize` (`dmin_core.minimize` for device-lbfgs) takes
up to the second evaluation, for L-BFGS-B goes through the bounds in Python after the first one too; in CPU seconds,
without bounds and with, for the methods that keep to bounds and no n x n matrix.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from scipy.optimize import Bounds, minimize

import dmin_core
from dmin_core import get_backend
from dmin_core._bounds import clip_start, flatten_bounds
from dmin_core._influence import Influence
from dmin_core._tree import Tree

LIMIT = 0.050
N = 10**6
LEAVES = 100
# Methods, and options that end them after a few evaluations.
SOLVERS = {
    "L-BFGS-B": {"maxiter": 3},
    "TNC": {"maxfun": 10},
    "trust-constr": {"maxiter": 3},
    "device-lbfgs": {"maxiter": 5},
}


def arguments() -> argparse.Namespace:
    """The command line."""
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--solvers", nargs="*", default=list(SOLVERS), choices=list(SOLVERS), metavar="METHOD")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the limit is exceeded")
    return parser.parse_args()


def cases() -> dict[str, tuple[object, object]]:
    """Starts and bounds."""
    one = np.full(N, 0.5)
    many = {f"w{k:02}": np.full(N // LEAVES, 0.5) for k in range(LEAVES)}
    low = {name: np.full(N // LEAVES, -1.0) for name in many}
    return {
        "one leaf, numbers": (one, (0, 1)),
        "one leaf, one side": (one, (None, 1)),
        "one leaf, arrays": (one, (np.zeros(N), np.ones(N))),
        "100 leaves, numbers": (many, (0, 1)),
        "100 leaves, a nest of arrays": (many, (low, None)),
        "100 leaves, by name": (many, dict.fromkeys(many, (-1, 2))),
        "100 leaves, by glob": (many, {"**": (0, None), "w[0-4]*": (-1, 1), "w77": (None, 2)}),
    }


def own_part(x0: object, bounds: object) -> float:
    """Seconds that dmin spends on bounds, on a nest that it has taken apart already."""
    tree = Tree(x0, get_backend("numpy"))
    x, g = tree.pack_x0(), np.ones(N)
    g[0] = 0.0  # else nobody looks which leaves are free
    begin = time.perf_counter()
    pair, _ = flatten_bounds(bounds, x0, tree)
    assert pair is not None
    clip_start(x, pair, tree)
    Influence(tree, pair).look(g)
    return time.perf_counter() - begin


def methods_part(method: str) -> dict[str, list[float]]:
    """Seconds up to the second evaluation, and for each later one, without bounds and with."""
    centre = np.random.default_rng(0).normal(size=N)
    moments: list[float] = []

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        moments.append(time.process_time())
        d = x - centre
        return float(d @ d), 2 * d

    def seconds(bounds: Bounds | None) -> list[float]:
        given = {"hessp": lambda x, v: 2 * v} if method == "trust-constr" else {}
        run = dmin_core.minimize if method.startswith("device") else minimize
        moments[:] = [time.process_time()]
        run(fun, np.zeros(N), jac=True, method=method, bounds=bounds, options=SOLVERS[method], **given)
        end = time.process_time()
        return [moments[2] - moments[0], (end - moments[2]) / (len(moments) - 2)]

    return {"without": seconds(None), "with": seconds(Bounds(np.full(N, -0.5), np.full(N, np.inf)))}


def main() -> int:
    """Measure, print, write, check."""
    options = arguments()
    starts = cases()
    rounds: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(options.rounds):
        for name, case in starts.items():
            rounds[name].append(own_part(*case))
    own = {name: median(times) for name, times in rounds.items()}
    print(f"dmin's part, n = {N:,}, median of {options.rounds} rounds")
    for name, took in own.items():
        print(f"  {name:32}{1e3 * took:8.1f} ms")
    solvers = {method: methods_part(method) for method in options.solvers}
    if solvers:
        print("\nMethods, CPU seconds            up to the second evaluation    for each later one")
    for method, took in solvers.items():
        (start, later), (start_within, later_within) = took["without"], took["with"]
        print(
            f"  {method:14} without, with bounds {start:14.2f}, {start_within:5.2f} {later:23.2f}, {later_within:5.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"own": own, "solvers": solvers}, indent=1) + "\n", encoding="utf-8")
    slow = [name for name, took in own.items() if took > LIMIT]
    if options.check:
        print(f"\n{'FAILED: ' + ', '.join(slow) if slow else 'The limit is kept'}: at most {1e3 * LIMIT:.0f} ms.")
    return int(options.check and bool(slow))


if __name__ == "__main__":
    sys.exit(main())
