"""NLopt for dmin: three of its gradient-based methods, which keep to bounds.

Options have NLopt's names. `tol`, 1e-9 if not given, stands for those of ``ftol_rel`` and ``xtol_rel`` that the options
do not name; ``maxeval`` is 15,000 if they do not. ``status`` is NLopt's own code, negative where it failed. NLopt does
not say where an iteration ends: the callback is called, and `nit` counts, at each evaluation with the least value so
far, the start's apart.
"""

import math
import operator
import weakref

import nlopt
from scipy.optimize import OptimizeResult

from dmin_core import InputError, Method, hookimpl

ALGORITHMS = {"nlopt-MMA": nlopt.LD_MMA, "nlopt-SLSQP": nlopt.LD_SLSQP, "nlopt-LBFGS": nlopt.LD_LBFGS}
OPTIONS = {
    "ftol_rel": float,
    "ftol_abs": float,
    "xtol_rel": float,
    "xtol_abs": float,
    "stopval": float,
    "maxeval": operator.index,
}
CODES = (
    *("SUCCESS", "STOPVAL_REACHED", "FTOL_REACHED", "XTOL_REACHED", "MAXEVAL_REACHED"),
    *("FAILURE", "INVALID_ARGS", "OUT_OF_MEMORY", "ROUNDOFF_LIMITED"),
)
MESSAGES = {getattr(nlopt, code): code.replace("_", " ").capitalize() for code in CODES}
CONVERGED = (nlopt.SUCCESS, nlopt.STOPVAL_REACHED, nlopt.FTOL_REACHED, nlopt.XTOL_REACHED)


@hookimpl
def describe(name):
    return Method(name, gradient=True, bounds=True, options=tuple(OPTIONS))


@hookimpl
def solve(name, problem, tol, callback, options):
    optimizer = nlopt.opt(ALGORITHMS[name], problem.n)
    optimizer.set_exceptions_enabled(False)  # outcomes come as codes, the best point with them
    run = Run(problem, callback, optimizer)
    optimizer.set_min_objective(run)
    if problem.bounds is not None:
        optimizer.set_lower_bounds(problem.bounds[0])
        optimizer.set_upper_bounds(problem.bounds[1])
    tol = 1e-9 if tol is None else tol
    # Without a limit SLSQP may go on for ever where values and gradients do not agree to the last digits.
    for option, value in {"ftol_rel": tol, "xtol_rel": tol, "maxeval": 15_000, **options}.items():
        if option in OPTIONS:  # the others, such as maxfun, are dmin's own
            set_option(optimizer, option, value)
    try:
        optimizer.optimize(problem.x0)
        if run.raised is not None:
            raise run.raised
    finally:
        run.raised = None  # its traceback leads back here: see `Run`
    code = optimizer.last_optimize_result()
    message = f"{MESSAGES[code]} (NLopt's code {code})."
    return {"x": run.x, "fun": run.f, "success": code in CONVERGED, "status": code, "message": message}


def set_option(optimizer, option, value):
    try:
        getattr(optimizer, f"set_{option}")(OPTIONS[option](value))
    except (TypeError, ValueError, OverflowError) as cause:
        raise InputError(f"options[{option!r}] = {value!r} is not what NLopt takes: {cause}") from cause


class Run:
    """What NLopt calls, and what it must not see.

    Exceptions do not survive NLopt: from some of its methods they come out as its own errors. So none enters it, not
    even those with which dmin ends a run or Ctrl-C does: the first is kept and NLopt told to stop.

    NLopt's object is out of the garbage collector's sight. Whatever it leads back to itself by would never be freed:
    hence the weak reference.
    """

    def __init__(self, problem, callback, optimizer):
        self.problem, self.callback, self.optimizer = problem, callback, weakref.proxy(optimizer)
        self.x, self.f, self.raised = None, math.inf, None

    def __call__(self, x, gradient):
        """The value at ``x``, its gradient written into ``gradient``; infinity once something was raised."""
        if self.raised is None:
            try:
                return self.evaluate(x, gradient)
            except BaseException as error:  # noqa: BLE001 - `solve` raises it again
                self.raised = error
                self.optimizer.force_stop()
        return math.inf  # for a method that asks again before it stops

    def evaluate(self, x, gradient):
        """The same, with whatever `fun` and the callback raise."""
        value = self.problem.value(x)
        if gradient.size:  # to be written into; of no size where NLopt wants the value only
            gradient[:] = self.problem.gradient(x)
        if value < self.f:
            started = self.x is not None
            self.x, self.f = x.copy(), value  # x is NLopt's own memory
            if started:
                self.callback(OptimizeResult(x=self.x, fun=value))
        return value
