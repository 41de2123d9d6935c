"""The methods put together: options, the loop that runs them, what they report."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..._device_problem import DeviceProblem
from ..._errors import InputError
from ..._problem import Problem
from . import descent, line_search
from .descent import Limits
from .lbfgs import Lbfgs
from .loops import MANY, Compiled, InPython

MESSAGES = {
    descent.GRADIENT: (True, 0, "The largest number of the (projected) gradient is at most gtol."),
    descent.VALUE: (True, 0, "The relative reduction of the value is at most ftol."),
    descent.RESOLUTION: (True, 0, "The value cannot be made lower: its precision is reached."),
    descent.EVALUATIONS: (False, 1, "The limit of {maxfun} evaluations (maxfun) was reached."),
    descent.ITERATIONS: (False, 1, "The limit of {maxiter} iterations (maxiter) was reached."),
    descent.FAILED: (False, 2, "No lower value was found along the gradient (line search, maxls = {maxls})."),
    descent.START: (False, 2, "The value or the gradient is not finite."),
}


def run_lbfgs(
    problem: Problem, tol: float | None, callback: Callable[[Any], Any], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """`device-lbfgs`."""
    tolerances = {} if tol is None else {"ftol": tol, "gtol": tol}
    given = {"maxcor": 10, "ftol": 2.220446049250313e-09, "gtol": 1e-5, "maxiter": 15000, "maxls": 20}
    given.update(tolerances)
    given.update({name: value for name, value in options.items() if name in given})
    _check(given)
    if problem.maxfun == math.inf:
        problem.maxfun = 15000
        problem._limited = True
    m = int(given["maxcor"])
    device = DeviceProblem(problem)
    history = device.zeros(2 * m + 1)
    make = functools.partial(_make_lbfgs, m=m)
    loop: Any = Compiled(device, make, ("lbfgs", m)) if device.traced else InPython(device, make)
    number, count = (device.host_dtype.type, np.int32) if device.traced else (float, int)
    limits = Limits(
        gtol=number(given["gtol"]),
        ftol=number(given["ftol"]),
        c1=number(line_search.DECREASE),
        c2=number(line_search.CURVATURE),
        maxls=count(given["maxls"]),
        maxiter=count(min(given["maxiter"], MANY)),
        maxfun=count(0),
        until_evaluation=count(0),
        until_iteration=count(0),
    )
    try:
        state = loop.run(history, limits, _notifier(device, callback))
    finally:
        device.conclude()
    why = int(state.status)
    if why == descent.FAILED:
        hope = float(device.backend.to_numpy(state.hope) if device.traced else state.hope)
        why = descent.RESOLUTION if 0.0 <= hope <= device.noise() else why
    success, status, message = MESSAGES[why]
    return {
        "success": success,
        "status": status,
        "message": message.format(maxfun=problem.maxfun, **given),
        "nit": int(state.nit),
    }


RUNS = {"device-lbfgs": run_lbfgs}


def _make_lbfgs(**parts: Any) -> Lbfgs:
    return Lbfgs(**parts)


def _check(given: Mapping[str, Any]) -> None:
    for name, least in (("maxcor", 1), ("maxiter", 0), ("maxls", 1), ("ftol", 0), ("gtol", 0)):
        value = given.get(name)
        if value is not None and not (isinstance(value, int | float | np.number) and value >= least):
            raise InputError(f"options[{name!r}] must be a number of at least {least}, not {value!r}.")


def _notifier(device: DeviceProblem, callback: Any) -> Callable[[Any], None] | None:
    """What to call after an iteration; None where nobody watches."""
    problem = device.problem
    if getattr(callback, "watches", True):
        return lambda state: callback(Iterate(device, state))
    return None if device.traced else lambda state: setattr(problem, "nit", state.nit)


class Iterate:
    """What a callback is given: `x` comes to the host if it is looked at."""

    def __init__(self, device: DeviceProblem, state: Any) -> None:
        self._device, self._point, self.fun = device, state.x, float(state.f)

    def download(self) -> np.ndarray:
        """The point as a host vector."""
        return self._device.download(self._point)

    @property
    def x(self) -> np.ndarray:
        """The same, by the name that SciPy has for it."""
        return self.download()
