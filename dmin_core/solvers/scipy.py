"""SciPy's methods, run on the host over the flat vector.

Each is given whatever it can use: gradient, Hessian product, dense Hessian. Only the public
``scipy.optimize.minimize`` is called; SciPy is imported when the first method runs, for it costs four times what
NumPy does.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._constrained import TOLERANCES
from .._errors import DminError, MethodError
from .._problem import Problem
from ..hookspecs import hookimpl
from . import SCIPY_METHODS, Method
from ._fixed import minimize_free
from ._restarts import persevere
from ._tolerances import NOT_FINITE, TRUST_REGIONS, judge, loosen
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
    if problem.bounds is not None and (problem.bounds[0] == problem.bounds[1]).all():
        return _nothing_to_do(problem)
    problem.failures.turns_back = name not in TRUST_REGIONS
    options = {**options, **loosen(name, problem, tol, options)}
    if name == "COBYLA" and problem.constraints:
        options.setdefault("catol", TOLERANCES[name][1])

    def attempt(x0: np.ndarray, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return _run(name, problem, x0, tol, callback, options)

    return persevere(name, problem, attempt, options)


def _run(
    name: str,
    problem: Problem,
    x0: np.ndarray,
    tol: float | None,
    callback: Callable[[Any], Any],
    options: Mapping[str, Any],
) -> Mapping[str, Any]:
    """The method from a point to its end."""
    from scipy.optimize import minimize

    barrier = Barrier(problem, tol, options) if name == "trust-constr" else None
    try:
        with _not_inside_itself(name):
            report: Mapping[str, Any] = minimize_free(
                minimize,
                problem.value,
                x0,
                method=name,
                tol=tol,
                bounds=_bounds(problem),
                constraints=constraints_for(name, problem),
                callback=_callback(name, problem, callback, barrier),
                options=_options(name, options if barrier is None else barrier.options),
                **_derivatives(name, problem),
            )
    except DminError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or not _is_by_the_method(error):
            raise
        return _broken_off(name, problem, error)
    if barrier is not None:
        report = barrier.concluded(report)
    return report_of(name, problem, judge(name, problem, report))


_running = threading.local()


@contextmanager
def _not_inside_itself(name: str) -> Iterator[None]:
    """SciPy lets one COBYQA run at a time, by a lock: a run inside `fun` of another would wait for itself for ever."""
    if name != "COBYQA":
        yield
        return
    if getattr(_running, "cobyqa", False):
        raise MethodError(
            "COBYQA cannot run inside a function that COBYQA minimises: SciPy runs one at a time, and the inner one "
            "would wait for the outer one's end. Take another method for one of them."
        )
    _running.cobyqa = True
    try:
        yield
    finally:
        _running.cobyqa = False


def _callback(name: str, problem: Problem, callback: Callable[[Any], Any], barrier: Barrier | None) -> Any:
    if barrier is not None:
        return barrier.watched(None if problem.unwatched else callback)
    if problem.unwatched:
        return None
    # TNC knows no OptimizeResult, but where variables are fixed SciPy looks at the parameter's name all the same.
    return (lambda xk: callback(xk)) if name == "TNC" else callback


def _nothing_to_do(problem: Problem) -> Mapping[str, Any]:
    """Some methods make this of it too, others an error of their own."""
    f = problem.value(problem.x0)
    feasible = problem.best is not None and problem.best.feasible
    message = "Every variable is fixed by its bounds" + ("." if feasible else ", where a constraint does not hold.")
    return {
        "x": problem.x0,
        "fun": f,
        "success": feasible,
        "status": 0 if feasible else 4,
        "message": message,
        "nit": 0,
    }


def _is_by_the_method(error: Exception) -> bool:
    """Whether an exception comes from SciPy itself, and not from what the problem called."""
    trace = error.__traceback__
    while trace is not None and (trace := trace.tb_next) is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == "dmin_core" and module != minimize_free.__module__:
            return False
    return True


def _broken_off(name: str, problem: Problem, error: Exception) -> Mapping[str, Any]:
    """A method that breaks off loses nothing of what was found; one that cannot begin was asked for too much."""
    what = f"{type(error).__name__}: {error}"
    if problem.best is None:
        raise MethodError(f"{name} does not work with these arguments and options. SciPy says: {what}") from error
    return {"success": False, "status": NOT_FINITE, "message": f"{name} broke off in SciPy: {what}"}


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
