"""Whether ``compile=True`` pays in PyTorch: whole runs by L-BFGS-B with and without, and what the first call takes.

    python benchmarks/compile.py                      # one thread, every task but one
    python benchmarks/compile.py --tasks mlp,logreg

Runs alternate; what counts is the least of each. The first call compiles; torch keeps part of that on the disk
(``TORCHINDUCTOR_CACHE_DIR``), which is an empty directory here.
"""

import argparse
import os
import tempfile
from time import perf_counter

import threads

TASKS = ("rosen10", "logreg", "mlp", "rosen200x5", "rosen1e6")


def main():
    threads.limit(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        for name in arguments.tasks.split(","):
            print(*compare(name, arguments.rounds), sep="\n", flush=True)


def compare(name, rounds):
    """Lines of what a task takes."""
    import torch_objectives
    from tasks import TASKS as every

    from dmin_core import minimize

    task = every[name]
    fun, x0 = torch_objectives.objective(task), torch_objectives.start(task)

    def run(compile):
        begun = perf_counter()
        result = minimize(fun, x0, method="L-BFGS-B", options={"maxiter": task.maxiter}, compile=compile)
        return perf_counter() - begun, result

    first, _ = run(True)
    seconds = {None: [], True: []}
    evaluations = {}
    for _ in range(rounds):
        for compile, taken in seconds.items():
            took, result = run(compile)
            taken.append(took)
            evaluations[compile] = result.nfev
    plain, compiled = min(seconds[None]), min(seconds[True])
    yield (
        f"{name}: first call {first:.1f} s; then {1e3 * plain:.1f} ms plain ({evaluations[None]} evaluations), "
        f"{1e3 * compiled:.1f} ms compiled ({evaluations[True]}), {compiled / plain:.2f} of it"
    )


if __name__ == "__main__":
    main()
