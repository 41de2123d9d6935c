"""SciPy's methods, run on the host over the flat vector.

Each is given whatever it can use: gradient, Hessian product, dense Hessian. Only the public
``scipy.optimize.minimize`` is called; SciPy is imported when the first method runs, for it costs four times what
NumPy does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .._problem import Problem
from ..hookspecs import hookimpl
from . import SCIPY_METHODS, Method
from ._tolerances import TRUST_REGIONS, judge, loosen
from .constrained import Barrier, constraints_for, quasi_newton, report_of

OURS = {
    # dmin prints the summary itself, alike for all methods (L-BFGS-B's own `disp` and `iprint` are deprecated).
    "disp",
    "maxtime",
    # The differences are dmin's own.
    "eps",
    "finite_diff_rel_step",
}


@hookimpl
def describe(name: str) -> Method:
    return Method(name, **SCIPY_METHODS[name])


@hookimpl
def solve(
    name: str, problem: Problem, tol: float | None, callback: Callable[[Any], Any], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    from scipy.optimize import minimize

    problem.failures.turns_back = name not in TRUST_REGIONS
    options = {**options, **loosen(name, problem, tol, options)}
    barrier = Barrier(problem, tol, options) if name == "trust-constr" else None
    report: Mapping[str, Any] = minimize(
        problem.value,
        problem.x0,
        method=name,
        tol=tol,
        bounds=_bounds(problem),
        constraints=constraints_for(name, problem),
        callback=_callback(name, problem, callback, barrier),
        options=_options(name, options if barrier is None else barrier.options),
        **_derivatives(name, problem),
    )
    if barrier is not None:
        report = barrier.concluded(report)
    return report_of(name, problem, judge(name, problem, report))


def _callback(name: str, problem: Problem, callback: Callable[[Any], Any], barrier: Barrier | None) -> Any:
    if barrier is not None:
        return barrier.watched(None if problem.unwatched else callback)
    if problem.unwatched:
        return None
    # TNC knows no OptimizeResult, but where variables are fixed SciPy looks at the parameter's name all the same.
    return (lambda xk: callback(xk)) if name == "TNC" else callback


def solve_custom(
    method: Callable[..., Any],
    problem: Problem,
    tol: float | None,
    callback: Callable[[Any], Any],
    options: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Run a user's own method by SciPy's protocol, ``method(fun, x0, args, jac=, hessp=, bounds=, **options)``."""
    from scipy.optimize import minimize

    report: Mapping[str, Any] = minimize(
        problem.value,
        problem.x0,
        method=method,
        jac=problem.gradient,
        hessp=problem.product,
        bounds=_bounds(problem),
        constraints=constraints_for("", problem),
        tol=tol,
        callback=callback,
        options={key: value for key, value in options.items() if key not in {"disp", "maxfun", "maxtime"}},
    )
    return report


def _bounds(problem: Problem) -> Any:
    if problem.bounds is None:
        return None
    from scipy.optimize import Bounds

    return Bounds(*problem.bounds, keep_feasible=problem.keep_feasible)


def _options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in options.items() if key not in OURS}
    if name not in ("L-BFGS-B", "TNC"):
        kept.pop("maxfun", None)  # the others know it by another name or not at all; `Problem` counts
    elif kept.get("maxfun", math.inf) == math.inf:
        kept.pop("maxfun", None)
    if name == "L-BFGS-B":
        kept.pop("iprint", None)
    return kept


def _derivatives(name: str, problem: Problem) -> dict[str, Any]:
    method = describe(name)
    given: dict[str, Any] = {"jac": problem.gradient} if method.gradient else {}
    if problem.hess is not None and not callable(problem.hess):
        # '2-point' and its like, or a quasi-Newton strategy: SciPy's own, over the flat vector.
        given["hess"] = problem.hess
    elif method.hessp and (problem.exact_product or method.needs_hessian):
        if callable(problem.hess) and not callable(problem.hessp):
            given["hess"] = problem.hessian  # a user's dense Hessian is handed on as such; SciPy multiplies by it
        else:
            given["hessp"] = problem.product
    elif method.needs_hessian:
        given["hess"] = problem.hessian
    elif method.hess:
        given["hess"] = quasi_newton()
    return given
