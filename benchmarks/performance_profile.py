"""Draw a performance profile of all methods over the unconstrained problems, by evaluations.

    python benchmarks/performance_profile.py                            # run what is missing, draw, print the table
    python benchmarks/performance_profile.py --methods BFGS,device-bfgs --anew

Dolan and Moré (2002), "Benchmarking optimization software with performance profiles", Mathematical Programming 91: for
each method the share of problems that it solves at no more than τ times the cost of the method that solves them at the
least. The problems are those of tests/solvers/device/collection.py with at most `--largest` variables; solved is f -
f* <= 1e-6 (f0 - f*), f* the known minimum that the run is nearest to in the end. What counts is evaluations up to then:
one for a value, with its gradient or without, one for a Hessian product, n for a dense Hessian. A run may have
`--evaluations` and `--seconds`. (Not called profile.py: cProfile imports a module of that name.)

Every outcome goes to a file of JSON lines, so that a run that was stopped goes on.
"""

import argparse
import importlib.util
import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from dmin_core import MethodError, methods, minimize
from dmin_core.solvers import EMBEDDED

HERE = Path(__file__).resolve().parent
COLLECTION = HERE.parent / "tests" / "solvers" / "device" / "collection.py"
SOLVED = 1e-6
FURTHEST = 64.0
"""Where the picture ends: τ."""
# Convergence is judged here: the methods' own tests are not to end a run before.
TIGHT = {
    **dict.fromkeys(("gtol", "ftol", "xtol"), 1e-15),
    **dict.fromkeys(("fatol", "xatol", "tol", "final_tr_radius"), 1e-10),
    "maxiter": 10_000,
}


def arguments() -> argparse.Namespace:
    """The command line."""
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--methods", default=",".join(EMBEDDED), help="which, with commas")
    parser.add_argument("--largest", type=int, default=100, help="variables that a problem may have")
    parser.add_argument("--evaluations", type=int, default=6000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--outcomes", type=Path, default=Path("performance_profile.jsonl"))
    parser.add_argument("--anew", action="store_true", help="forget the outcomes in that file")
    parser.add_argument("--picture", type=Path, default=HERE.parent / "docs" / "performance-profile.svg")
    return parser.parse_args()


def collection():
    """The problems, from the tests, which are no package."""
    spec = importlib.util.spec_from_file_location("collection", COLLECTION)
    module = importlib.util.module_from_spec(spec)
    sys.modules["collection"] = module
    spec.loader.exec_module(module)
    return module.PROBLEMS


def cost(method, problem, given):
    """What it took until the problem was solved; infinite where it was not."""
    ability, seen, second = methods()[method], [], [0]
    options = {name: value for name, value in TIGHT.items() if name in ability.options}
    options |= {"maxfun": given.evaluations, "maxtime": given.seconds}

    def hessp(x, p):
        second[0] += 1
        return torch.autograd.functional.hvp(problem.fun, x, p)[1]

    def hess(x):
        second[0] += problem.n
        return torch.autograd.functional.hessian(problem.fun, x)

    lowest, f0 = min(problem.least), float(problem.fun(torch.tensor(problem.start)))

    def note(intermediate_result):
        seen.append((intermediate_result.nfev + second[0], intermediate_result.fun))
        if intermediate_result.fun <= lowest + SOLVED * (f0 - lowest):
            raise StopIteration

    derivatives = {"hessp": hessp} if ability.hessp else {"hess": hess} if ability.hess else {}
    try:
        result = minimize(
            problem.fun, torch.tensor(problem.start), method=method, options=options, callback=note, **derivatives
        )
    except MethodError as error:  # dogleg's, where a Hessian is not positive definite
        print(f"{method}, {problem.name}: {error}", file=sys.stderr)
        return math.inf
    history = result.history
    target = problem.target(history.fun[0], history.fun.min(), SOLVED)
    if not second[0]:
        below = history.fun <= target
        return float(history.evaluation[np.argmax(below)]) if below.any() else math.inf
    # Those of second derivatives are known where an iteration ends.
    seen.append((result.nfev + second[0], result.fun))
    return float(min((evaluations for evaluations, f in seen if f <= target), default=math.inf))


def outcomes(given):
    """Costs by method and problem, those that are in the file read from there."""
    if given.anew:
        given.outcomes.unlink(missing_ok=True)
    found = {}
    if given.outcomes.exists():
        for line in given.outcomes.read_text().splitlines():
            method, name, value = json.loads(line)
            found[method, name] = math.inf if value is None else value
    problems = [problem for problem in collection() if problem.n <= given.largest]
    chosen = given.methods.split(",")
    with given.outcomes.open("a") as file:
        for method in chosen:
            for problem in problems:
                if (method, problem.name) not in found:
                    value = found[method, problem.name] = cost(method, problem, given)
                    file.write(json.dumps([method, problem.name, value if value < math.inf else None]) + "\n")
                    file.flush()
    return {method: np.array([found[method, problem.name] for problem in problems]) for method in chosen}


def draw(ratios, path):
    """The picture."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "dmin", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.8))
    order = sorted(ratios, key=lambda method: -np.mean(ratios[method] <= FURTHEST))
    colours = plt.get_cmap("tab10").colors
    for k, method in enumerate(order):
        steps = np.sort(ratios[method][ratios[method] <= FURTHEST])
        share = np.arange(1, len(steps) + 1) / len(ratios[method])
        x, y = np.concatenate([[1.0], steps, [FURTHEST]]), np.concatenate([[0.0], share, share[-1:]])
        wide = 2.2 if method.startswith("device") else 1.0
        axis.step(x, y, where="post", color=colours[k % 10], ls=("-", "--")[k // 10], lw=wide, label=method)
    axis.set_xscale("log", base=2)
    axis.set(
        xlim=(1, FURTHEST), ylim=(0, 1), xlabel="τ: evaluations over the fewest", ylabel="share of problems solved"
    )
    axis.grid(alpha=0.3)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    given = arguments()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    costs = outcomes(given)
    best = np.min(list(costs.values()), axis=0)
    ratios = {method: np.where(np.isfinite(each), each / best, math.inf) for method, each in costs.items()}
    print("| Method | τ = 1 | 2 | 4 | 16 | solved |")
    print("|---|---|---|---|---|---|")
    for method, each in ratios.items():
        shares = [f"{np.mean(each <= tau):.2f}" for tau in (1, 2, 4, 16)]
        print(f"| {method} | {' | '.join(shares)} | {np.isfinite(each).sum()} of {len(each)} |")
    draw(ratios, given.picture)


if __name__ == "__main__":
    main()
