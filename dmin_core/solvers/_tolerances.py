"""SciPy's methods at the precision of the leaves: default tolerances, and what a failed line search means.

SciPy's defaults suppose float64. Where a leaf is coarser, and the user gave neither ``tol`` nor the option, a tolerance
is at least what that precision ε can show: of a value or a step ε, for that is the last digit; of a gradient √ε, for
what is gained by following it changes with its square (Nocedal & Wright 2006, "Numerical Optimization", section 2.2).
With float64 alone nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._leaves import dtype_name
from .._problem import Problem, Visit
from . import SCIPY_METHODS

DEFAULTS: dict[str, dict[str, tuple[float, float]]] = {
    "Nelder-Mead": {"xatol": (1e-4, 1.0), "fatol": (1e-4, 1.0)},
    "Powell": {"xtol": (1e-4, 1.0), "ftol": (1e-4, 1.0)},
    "CG": {"gtol": (1e-5, 0.5)},
    "BFGS": {"gtol": (1e-5, 0.5)},
    "Newton-CG": {"xtol": (1e-5, 1.0)},
    "L-BFGS-B": {"ftol": (2.2e-9, 1.0), "gtol": (1e-5, 0.5)},
    # `accuracy` is that of the gradient, of which TNC takes differences; √ε is its own rule, with float64's ε.
    "TNC": {"ftol": (0.0, 1.0), "xtol": (1e-8, 0.5), "accuracy": (1e-8, 0.5)},
    "COBYLA": {"tol": (1e-4, 1.0)},
    "COBYQA": {"final_tr_radius": (1e-6, 1.0)},
    "SLSQP": {"ftol": (1e-6, 1.0)},
    # Its gtol is also what ends the barrier's subproblems: one of √ε leaves the barrier where it began.
    "trust-constr": {"gtol": (1e-8, 1.0), "xtol": (1e-8, 1.0), "barrier_tol": (1e-8, 1.0)},
    "dogleg": {"gtol": (1e-4, 0.5)},
    "trust-ncg": {"gtol": (1e-4, 0.5)},
    "trust-krylov": {"gtol": (1e-4, 0.5)},
    "trust-exact": {"gtol": (1e-4, 0.5)},
}
"""SciPy's own, by method, and the power of ε that they are at least."""

EPS = float(np.finfo(float).eps)

NO_DECREASE: dict[str, int] = {
    **{"CG": 2, "BFGS": 2, "Newton-CG": 2, "L-BFGS-B": 2, "TNC": 4, "SLSQP": 8},
    **{"dogleg": 2, "trust-ncg": 2, "trust-krylov": 2, "trust-exact": 2},
}
"""The status by which a method says that it found no lower value."""


NOT_FINITE = 98
"""The status of a run that seemed to converge, but only because `fun` was not finite wherever it went."""

TRUST_REGIONS = ("trust-constr", "dogleg", "trust-ncg", "trust-krylov", "trust-exact")
"""Methods that ask for a gradient where they have gone, and not on the way."""


def loosen(name: str, problem: Problem, tol: float | None, options: Mapping[str, Any]) -> dict[str, float]:
    """The tolerances that a method is given beside the user's options."""
    eps = problem.tree.coarsest_eps
    if tol is not None or eps <= EPS:
        return {}
    least = {option: max(default, eps**power) for option, (default, power) in DEFAULTS[name].items()}
    return {option: value for option, value in least.items() if option not in options}


def judge(name: str, problem: Problem, report: Mapping[str, Any]) -> Mapping[str, Any]:
    """The method's report; a success where it failed for want of digits only (`Precision`)."""
    said = str(report.get("message", "")).strip().rstrip(".")
    if report.get("success"):
        if SCIPY_METHODS[name].get("gradient") and problem.failures.streak:
            # The step was shortened until a test of convergence took its length for an answer.
            message = f"Stopped where `fun` or its gradient is not finite next to the best point ({said})."
            return {**report, "success": False, "status": NOT_FINITE, "message": message}
        return report
    if report.get("status") != NO_DECREASE.get(name, -1):
        return report
    if problem.failures.streak:  # it was failures that ended it, and they say nothing of what a step could gain
        return report
    # A trust region whose step is too short to change x has tried nothing since. One that went to a better point where
    # its model had promised none ends at the point before.
    unmoved = name in TRUST_REGIONS and problem.best is problem.last and _is_at(report, problem.best)
    if not (unmoved or problem.precision.reached(problem.best)):
        return report
    dtype = dtype_name(problem.tree.coarsest_dtype)
    message = f"Converged to the precision of {dtype}: no step lowers `fun` by more than that ({said})."
    return {**report, "success": True, "status": 0, "message": message}


def _is_at(report: Mapping[str, Any], visit: Visit | None) -> bool:
    """Whether the method itself ended at that point."""
    return visit is not None and "x" in report and np.array_equal(report["x"], visit.x)
