"""A method that gave up starts again from the best point where something it was told was wrong, or can be told better.

What stands in for a value, a gradient or a product that is not finite (`_failures`) is none of `fun`'s, and a model
that was built on it may be so wrong that the method finds no way out. SciPy's trust regions end at once when their
model predicts no gain, line searches when nothing along a wrong direction is lower; and trust-constr, whose penalty
such a model has driven up for good, shortens its steps until that ends it. The best point is no worse than any, and a
method that begins there knows nothing false. So it begins there, as conjugate gradients do when their directions have
become useless (Powell 1977, "Restart Procedures for the Conjugate Gradient Method", Mathematical Programming 12): a few
times at most, and only if it came to a new point since it last began, for where `fun` is the same twice, the same start
fails in the same way.

The same where gradients are forward differences and nobody asked for just these: they are wrong by √ε times the
curvature, and where that is more than the gradient no line search succeeds. From there on central ones are taken (Gill,
Murray & Wright 1981, "Practical Optimization", section 8.6.2), which are twice as dear and wrong by ε^(2/3).

Counts, limits, the best point and the history are the problem's, and go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._problem import Problem
from ._tolerances import NOT_FINITE

MOST = 3
"""How many times a run may begin again."""

GAVE_UP: dict[str, tuple[int, ...]] = {
    **{"CG": (2, 3), "BFGS": (2, 3), "Newton-CG": (2, 3), "L-BFGS-B": (2,), "TNC": (4,)},
    # Of SLSQP's, 4 to 7 are those of its linear subproblem.
    **{"SLSQP": (4, 5, 6, 7, 8), "COBYQA": (-2,)},
    # trust-constr says so of its convergence by the length of its step, too.
    **{"trust-constr": (2,), "dogleg": (2, 3), "trust-ncg": (2, 3), "trust-krylov": (2, 3), "trust-exact": (2, 3)},
}
"""The statuses by which SciPy's methods say that they found no way on: neither a test of convergence nor a limit."""

Report = Mapping[str, Any]


def persevere(
    name: str, problem: Problem, attempt: Callable[[np.ndarray, Mapping[str, Any]], Report], options: Mapping[str, Any]
) -> Report:
    """The report of ``attempt(x0, options)``, made again while it gives up for a reason that can be mended.

    Parameters
    ----------
    name : str
        The method.
    problem : Problem
    attempt : callable
        Runs the method from a point and returns its report.
    options : mapping
        The user's.
    """
    done: list[Report] = []
    x, best, failed, why = problem.x0, problem.best, problem.failures.count, set[str]()
    while True:
        report = attempt(x, options)
        done.append(report)
        gave_up = report.get("status") in (*GAVE_UP.get(name, ()), NOT_FINITE)
        left = _left(options, done, problem)
        if not gave_up or problem.best is None or left is None or len(done) > MOST:
            break
        moved = problem.best is not best and not np.array_equal(problem.best.x, x)
        if problem.failures.count != failed and moved:
            why.add("after evaluations that had failed")
        elif not report.get("success") and problem.refine_differences():
            why.add("with central differences")
        else:
            break
        x, best, failed, options = problem.begin_again(), problem.best, problem.failures.count, left
    return report if len(done) == 1 else _joined(done, why)


def _left(options: Mapping[str, Any], done: list[Report], problem: Problem) -> Mapping[str, Any] | None:
    """The options with what is left of the method's own limits; None where nothing is."""
    left = dict(options)
    if left.get("maxiter") is not None:
        left["maxiter"] = left["maxiter"] - max(done[-1].get("nit", 0), 1)
    if left.get("maxfev") is not None:
        left["maxfev"] = left["maxfev"] - done[-1].get("nfev", problem.nfev)
    return left if all(left.get(limit) is None or left[limit] > 0 for limit in ("maxiter", "maxfev")) else None


def _joined(done: list[Report], why: set[str]) -> Report:
    """The last report, with the iterations of all."""
    last = dict(done[-1])
    times = "once" if len(done) == 2 else f"{len(done) - 1} times"
    said = str(last.get("message", "")).strip().rstrip(".")
    last["message"] = f"{said}. Begun again {times} from the best point, {' and '.join(sorted(why))}."
    if all("nit" in report for report in done):
        last["nit"] = sum(report["nit"] for report in done)
    if all("allvecs" in report for report in done):
        last["allvecs"] = [x for report in done for x in report["allvecs"]]
    return last
