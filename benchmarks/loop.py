"""A thousand minimisations of one small function: what is traced again, and what memory they leave behind.

    python benchmarks/loop.py                    # torch, JAX and TensorFlow, as far as they are installed
    python benchmarks/loop.py --only jax --check # fails on a trace after the first call, or memory that grows
    nox -s loop                                  # all of them, checked; tests/test_loop.py is a short sample of it

Each framework runs in a process of its own, once with the function alone and once with an argument that has another
value at each call. Traces are calls of the function itself once it has been compiled; where nothing is compiled there
are none to count. Memory is looked at over the second half, when all caches and nearly all free lists are filled: the
blocks that Python holds, and the peak of the process, to which what the framework holds belongs. (Not the bytes that
tracemalloc counts: it takes what stands in the place of an object older than itself for new, and grows for a thousand
calls where nothing is kept, with NumPy too.)
"""

import argparse
import gc
import importlib
import json
import resource
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import threads

CALLS = 1000
MAXITER = 5
# A leak of one small object a call is twice as much; what Python's free lists still take by then is less.
BLOCKS_A_CALL = 0.5
PEAK_BYTES = 256 * 1024
MODULES = {"torch": ("torch", "dmin_torch"), "jax": ("jax", "dmin_jax"), "tf": ("tensorflow", "dmin_tf")}
# getrusage counts in bytes there, in KiB elsewhere.
UNIT = 1 if sys.platform == "darwin" else 1024


def arguments() -> argparse.Namespace:
    """The command line."""
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--only", choices=threads.FRAMEWORKS, help="one framework")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--check", action="store_true", help="exit with 1 and name what fails")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def peak() -> int:
    """Bytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


def python_holds() -> int:
    """Blocks of memory that Python has allocated and not freed."""
    gc.collect()
    return sys.getallocatedblocks()


class Watched:
    """An objective with an argument, which counts how often it is called."""

    def __init__(self, fun):
        self.fun = fun
        self.calls = 0

    def __call__(self, leaves, factor=1.0):
        """Evaluate and count."""
        self.calls += 1
        return factor * self.fun(leaves)


def loop(name: str, calls: int, with_argument: bool) -> dict[str, float | None]:
    """Minimise in a loop; the traces after the first call, and by how much memory grew in the second half."""
    from tasks import TASKS

    from dmin_core import minimize

    framework = importlib.import_module(f"{name}_objectives")
    framework.limit_threads(1)
    task = TASKS["rosen10"]
    fun, start = Watched(framework.objective(task)), framework.start(task)

    def run(k: int) -> None:
        args = (1.0 + k / calls,) if with_argument else ()
        minimize(fun, start, args, method="L-BFGS-B", options={"maxiter": MAXITER})

    run(0)
    first = fun.calls
    for k in range(1, calls // 2):
        run(k)
    before, peak_before = python_holds(), peak()
    for k in range(calls // 2, calls):
        run(k)
    grown = {"python": python_holds() - before, "peak": peak() - peak_before}
    return {"traces": fun.calls - first if framework.COMPILES else None, **grown}


def in_own_process(name: str, calls: int) -> dict[str, dict] | None:
    """Both loops in a fresh process; None where the framework or its plugin is not installed."""
    if not all(map(find_spec, MODULES[name])):
        return None
    command = [sys.executable, __file__, "--here", "--only", name, "--calls", str(calls)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure_here(options: argparse.Namespace) -> int:
    """What the fresh process does: print its figures."""
    threads.limit(1)
    kinds = {"alone": False, "with an argument": True}
    print(json.dumps({kind: loop(options.only, options.calls, given) for kind, given in kinds.items()}))
    return 0


def failures(found: dict, calls: int) -> list[str]:
    """The limits exceeded, in words."""
    failed = []
    for where, figures in found.items():
        if figures["traces"]:
            failed.append(f"{where}: {figures['traces']} traces after the first call")
        if figures["python"] > BLOCKS_A_CALL * (calls // 2):
            failed.append(f"{where}: Python holds {figures['python']:,} blocks more")
        if figures["peak"] > PEAK_BYTES:
            failed.append(f"{where}: the peak grew by {figures['peak']:,} bytes")
    return failed


def main() -> int:
    """Measure, print, write, check."""
    options = arguments()
    if options.here:
        return measure_here(options)
    found: dict[str, dict] = {}
    print(
        f"{options.calls} minimisations; Python's blocks and the peak's bytes more after the second half than the first"
    )
    for name in [options.only] if options.only else threads.FRAMEWORKS:
        figures = in_own_process(name, options.calls)
        if figures is None:
            print(f"Left out: {name} (not installed)")
            continue
        for kind, each in figures.items():
            found[f"{name}, {kind}"] = each
            traces = "nothing is traced" if each["traces"] is None else f"{each['traces']} traces after the first"
            print(f"{name + ', ' + kind:24}{traces:28}Python {each['python']:>9,}  peak {each['peak']:>12,}")
    failed = failures(found, options.calls) or ([] if found else ["nothing took part"])
    if options.json:
        options.json.write_text(json.dumps(found | {"failures": failed}, indent=1) + "\n")
    if options.check:
        print("\n".join(f"FAILED {failure}" for failure in failed) or "Every limit is kept.")
    return int(options.check and bool(failed))


if __name__ == "__main__":
    sys.exit(main())
