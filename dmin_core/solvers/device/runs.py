"""The methods put together: options, the loop that runs them, what they report."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from ..._device_problem import DeviceProblem
from ..._device_products import Products
from ..._errors import InputError, MethodError
from ..._options import LARGEST as WITHOUT_END
from ..._problem import Problem
from . import descent, line_search, newton_cg
from .bfgs import Bfgs
from .descent import Limits
from .lbfgs import Lbfgs
from .loops import MANY, Compiled, InPython
from .newton_cg import NewtonCg

MESSAGES = {
    descent.GRADIENT: (True, 0, "The largest number of the (projected) gradient is at most gtol."),
    descent.VALUE: (True, 0, "The relative reduction of the value is at most ftol."),
    descent.RESOLUTION: (True, 0, "The value cannot be made lower: its precision is reached."),
    descent.EVALUATIONS: (False, 1, "The limit of {maxfun} evaluations (maxfun) was reached."),
    descent.ITERATIONS: (False, 1, "The limit of {maxiter} iterations (maxiter) was reached."),
    descent.FAILED: (False, 2, "No lower value was found along the gradient (line search, maxls = {maxls})."),
    descent.START: (False, 2, "The value or the gradient is not finite."),
}
NO_STEP = (False, 2, "No lower value was found, however small the trust region.")

SEARCH = {"c1": line_search.DECREASE, "c2": line_search.CURVATURE}

LARGEST = 46_340
"""Variables that device-bfgs may have: n² still counts in 32 bits, and is 17 GB in float64."""


def run_lbfgs(
    problem: Problem, tol: float | None, callback: Callable[[Any], Any], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """`device-lbfgs`."""
    tolerances = {} if tol is None else {"ftol": tol, "gtol": tol}
    given = {"maxcor": 10, "ftol": 2.220446049250313e-09, "gtol": 1e-5, "maxiter": 15000, "maxls": 20, **SEARCH}
    given.update(tolerances)
    _take(options, given)
    if problem.maxfun == math.inf:
        problem.maxfun = 15000
        problem._limited = True
    m = int(given["maxcor"])
    device = DeviceProblem(problem)
    make = functools.partial(_make_lbfgs, m=m)
    return _run(device, make, ("lbfgs", m), device.zeros(2 * m + 1), callback, given)[1]


def run_bfgs(
    problem: Problem, tol: float | None, callback: Callable[[Any], Any], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """`device-bfgs`."""
    n, eps = problem.n, problem.tree.coarsest_eps
    # What the coarsest leaf can show, as for SciPy's methods (`_tolerances`).
    gtol = max(1e-5, math.sqrt(eps)) if tol is None else tol
    given = {"gtol": gtol, "norm": math.inf, "maxiter": 200 * n, "maxls": 20, **SEARCH}
    _take(options, given)
    begun = _initial_matrix(options.get("hess_inv0"), n)
    device = DeviceProblem(problem)
    if n > LARGEST:
        raise _too_large(device, f"n is {n}, and may be {LARGEST}")
    try:
        history = (device.square() if begun is None else device.backend.from_numpy(begun, device.like),)
    except (AttributeError, TypeError):
        raise  # the backend's namespace lacks something: no framework says so of memory
    except Exception as cause:
        raise _too_large(device, f"n is {n}, and there is no memory for that") from cause
    norm = float(given["norm"])
    make = functools.partial(_make_bfgs, norm=norm, given=begun is not None)
    messages = {**MESSAGES, descent.GRADIENT: (True, 0, "The norm of the gradient is at most gtol.")}
    # A fall of the value ends no run: none is that small.
    given["ftol"] = -1.0
    state, report = _run(device, make, ("bfgs", norm), history, callback, given, messages)
    if int(state.memory.size):
        matrix = device.backend.to_numpy(state.history[0])
        report["hess_inv"] = 0.5 * (matrix + matrix.T)
    else:
        report["hess_inv"] = np.eye(n, dtype=device.host_dtype)
    return report


def run_newton_cg(
    problem: Problem, tol: float | None, callback: Callable[[Any], Any], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """`device-newton-cg`."""
    given = _read_trust_region(problem, tol, options)
    if not (problem.hess is None or callable(problem.hess) or isinstance(problem.hess, str)):
        raise MethodError(
            f"device-newton-cg takes hess as a callable or None, not {problem.hess!r}, which is for trust-constr. "
            f"device-lbfgs builds an approximation of its own."
        )
    device = DeviceProblem(problem, sharing=False)  # products are the framework's
    product = Products(device)
    device.traced = device.traced and product.inlined
    loop: Any
    if device.traced:
        loop = Compiled(device, _make_newton_cg, "newton-cg", second=True)
    else:
        loop = InPython(device, _make_newton_cg, product)
    number, count = (device.host_dtype.type, np.int32) if device.traced else (float, int)
    limits = newton_cg.Limits(
        gtol=number(given["gtol"]),
        eta=number(given["eta"]),
        radius=number(given["initial_trust_radius"]),
        largest_radius=number(given["max_trust_radius"]),
        longest=count(min(given["maxCGit"], MANY)),
        maxiter=count(min(given["maxiter"], MANY)),
        maxfun=count(0),
        until_evaluation=count(0),
        until_iteration=count(0),
        until_product=count(MANY),
    )
    try:
        ones = [array + 1.0 for array in device.zeros()]
        work = (*(array for _ in range(5) for array in device.zeros()), *ones)
        state = loop.run(work, limits, _notifier(device, callback))
    finally:
        device.conclude()
    return _tell(device, state, given, {**MESSAGES, descent.FAILED: NO_STEP})


def _read_trust_region(problem: Problem, tol: float | None, options: Mapping[str, Any]) -> dict[str, Any]:
    # What the coarsest leaf can show, as for SciPy's methods (`_tolerances`).
    given: dict[str, Any] = {
        "gtol": max(1e-5, math.sqrt(problem.tree.coarsest_eps)) if tol is None else tol,
        "eta": 0.15,
        "initial_trust_radius": 1.0,
        "max_trust_radius": 1e9,
        "maxCGit": max(20, 2 * problem.n),
        "maxiter": 200 * problem.n,
    }
    _take(options, given)
    if not given["eta"] < newton_cg.POOR:
        raise InputError(f"options['eta'] must be less than {newton_cg.POOR}, not {given['eta']!r}.")
    if not 0.0 < given["initial_trust_radius"] <= given["max_trust_radius"] < math.inf:
        raise InputError(
            f"options['initial_trust_radius'] must be positive and at most options['max_trust_radius'], which must be "
            f"finite; not {given['initial_trust_radius']!r} and {given['max_trust_radius']!r}."
        )
    return given


RUNS = {"device-lbfgs": run_lbfgs, "device-bfgs": run_bfgs, "device-newton-cg": run_newton_cg}


def _run(
    device: DeviceProblem,
    make: Callable[..., Any],
    key: Hashable,
    history: tuple[Any, ...],
    callback: Callable[[Any], Any],
    given: Mapping[str, Any],
    messages: Mapping[int, tuple[bool, int, str]] = MESSAGES,
) -> tuple[descent.State, dict[str, Any]]:
    """A run of a `Descent` to its end: the last state, and what is reported of it."""
    loop: Any = Compiled(device, make, key) if device.traced else InPython(device, make)
    number, count = (device.host_dtype.type, np.int32) if device.traced else (float, int)
    limits = Limits(
        **{name: number(given[name]) for name in ("gtol", "ftol", "c1", "c2")},
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
    return state, _tell(device, state, given, messages)


def _tell(
    device: DeviceProblem, state: Any, given: Mapping[str, Any], messages: Mapping[int, tuple[bool, int, str]]
) -> dict[str, Any]:
    """What a run reports, by the state that it ended in."""
    why = int(state.status)
    if why == descent.FAILED:
        hope = float(device.backend.to_numpy(state.hope) if device.traced else state.hope)
        why = descent.RESOLUTION if 0.0 <= hope <= device.noise() else why
    success, status, message = messages[why]
    return {
        "success": success,
        "status": status,
        "message": message.format(maxfun=device.problem.maxfun, **given),
        "nit": int(state.nit),
    }


def _make_newton_cg(**parts: Any) -> NewtonCg:
    return NewtonCg(**parts)


def _make_lbfgs(**parts: Any) -> Lbfgs:
    return Lbfgs(**parts)


def _make_bfgs(**parts: Any) -> Bfgs:
    return Bfgs(**parts)


def _initial_matrix(given: Any, n: int) -> np.ndarray | None:
    """``hess_inv0``, on the host, an array of the solver's own; that it holds numbers `check_values` has seen to."""
    if given is None:
        return None
    matrix = np.array(given, dtype=float)
    if matrix.shape != (n, n):
        raise InputError(f"options['hess_inv0'] must have shape {(n, n)}, not {matrix.shape}.")
    try:
        if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=0.0):
            raise InputError("options['hess_inv0'] must be symmetric.")
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError as cause:
        raise InputError("options['hess_inv0'] must be positive definite.") from cause
    return matrix


def _too_large(device: DeviceProblem, why: str) -> MethodError:
    gigabytes = device.problem.n**2 * device.host_dtype.itemsize / 1e9
    return MethodError(
        f"device-bfgs keeps an n × n matrix on the device, here of {gigabytes:.3g} GB: {why}. device-lbfgs keeps "
        f"maxcor pairs of vectors instead."
    )


def _take(options: Mapping[str, Any], given: dict[str, Any]) -> None:
    """Write the options over the defaults; None is the default."""
    given.update({name: value for name, value in options.items() if name in given and value is not None})
    _check(given)


def _check(given: Mapping[str, Any]) -> None:
    if given.get("maxcor") == WITHOUT_END:
        raise InputError("options['maxcor'] must be finite: so many pairs of vectors are kept.")
    if "c1" not in given:
        return
    c1, c2 = given["c1"], given["c2"]
    if not 0.0 < c1 < c2 < 1.0:
        raise InputError(
            f"options['c1'] and options['c2'] must be numbers with 0 < c1 < c2 < 1, not {c1!r} and {c2!r}."
        )


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

    def nest(self) -> Any:
        """The point as the user knows it."""
        device = self._device
        return device.tree.restore(self._point if device.tree.sharded else self.download())

    @property
    def x(self) -> np.ndarray:
        """The host vector, by the name that SciPy has for it."""
        return self.download()
