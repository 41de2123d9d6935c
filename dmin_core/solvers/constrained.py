"""One spelling of constraints for four methods: what each of SciPy's is told, and what it reports.

SLSQP wants equations and inequalities >= 0 apart; COBYLA the latter alone (SciPy before 1.16 refuses equations, and
later ones split them just so); COBYQA two-sided values, linear ones apart; trust-constr the same with Jacobians and
Hessians. All of them are views of the one c(x) of the problem, which computes it once a point.

**Signs.** SciPy's methods disagree about multipliers. Here they are those of trust-constr: at a solution the gradient
of f + λ · c, plus the bounds' own multipliers, is zero; λ is negative or zero at a lower limit, positive or zero at an
upper one.

**trust-constr with inequalities** is an interior-point method, whose test of optimality is SciPy's for the barrier
problem: it holds at whatever barrier parameter the run has come to, and SciPy stops there, with values 1e-3 too high.
Here it also waits until the parameter is down at ``barrier_tol``: SciPy's own test is set aside (``gtol=0``), and the
callback, which sees the state of the method, makes the test in its stead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._constrained import ConstrainedProblem, dense
from .._constraints import Linear
from .._problem import Problem

GTOL, XTOL, BARRIER_TOL = 1e-8, 1e-8, 1e-8
"""SciPy's defaults for trust-constr."""


def constraints_for(name: str, problem: Problem) -> Any:
    """What SciPy's ``minimize`` is given as ``constraints``; a method of no known name gets trust-constr's form."""
    if not isinstance(problem, ConstrainedProblem):
        return ()
    if name == "SLSQP":
        return _equations_and_inequalities(problem)
    if name == "COBYLA":
        return _inequalities(problem)
    return _two_sided(problem, derivatives=name != "COBYQA")


class Sides:
    """Rows of c by what they are: equations, and inequalities with a lower or an upper limit.

    Attributes
    ----------
    equal, low, high : arrays of int
        A row with both limits is in ``low`` and in ``high``.
    """

    def __init__(self, problem: ConstrainedProblem) -> None:
        self.problem = problem
        lb, ub = problem.lb, problem.ub
        equal = lb == ub
        self.equal = np.flatnonzero(equal)
        self.low = np.flatnonzero(np.isfinite(lb) & ~equal)
        self.high = np.flatnonzero(np.isfinite(ub) & ~equal)

    def equations(self, x: np.ndarray) -> np.ndarray:
        """What is to be zero."""
        return (self.problem.constraint_values(x) - self.problem.lb)[self.equal]

    def equations_jacobian(self, x: np.ndarray) -> np.ndarray:
        """Its derivative."""
        return self.problem.constraint_jacobian(x)[self.equal]

    def inequalities(self, x: np.ndarray) -> np.ndarray:
        """All of them as something that is to be >= 0: first the lower limits, then the upper ones."""
        c = self.problem.constraint_values(x)
        return np.concatenate([(c - self.problem.lb)[self.low], (self.problem.ub - c)[self.high]])

    def inequalities_jacobian(self, x: np.ndarray) -> np.ndarray:
        """Its derivative."""
        rows = self.problem.constraint_jacobian(x)
        return np.concatenate([rows[self.low], -rows[self.high]])

    def multipliers(self, given: np.ndarray) -> np.ndarray:
        """SLSQP's multipliers, of equations and then of inequalities, as λ of the rows of c."""
        found = np.zeros(self.problem.m)
        equal, low, high = np.split(given, np.cumsum([self.equal.size, self.low.size]))
        found[self.equal] = -equal
        found[self.low] -= low
        found[self.high] += high
        return found


def _equations_and_inequalities(problem: ConstrainedProblem) -> list[dict[str, Any]]:
    sides = Sides(problem)
    found = []
    if sides.equal.size:
        found.append({"type": "eq", "fun": sides.equations, "jac": sides.equations_jacobian})
    if sides.low.size or sides.high.size:
        found.append({"type": "ineq", "fun": sides.inequalities, "jac": sides.inequalities_jacobian})
    return found


def _inequalities(problem: ConstrainedProblem) -> list[dict[str, Any]]:
    sides = Sides(problem)

    def every(x: np.ndarray) -> np.ndarray:
        equations = sides.equations(x)
        return np.concatenate([equations, -equations, sides.inequalities(x)])

    return [{"type": "ineq", "fun": every}] if sides.equal.size or sides.low.size or sides.high.size else []


def _two_sided(problem: ConstrainedProblem, *, derivatives: bool) -> list[Any]:
    from scipy.optimize import LinearConstraint, NonlinearConstraint

    found: list[Any] = []
    lb, ub, keep = problem.lb, problem.ub, problem.keep_feasible_rows
    for rows, hess in _blocks(problem, derivatives):
        chosen = _Rows(problem, rows)
        extra = {"jac": chosen.jacobian, "hess": chosen.hessian if hess is None else hess} if derivatives else {}
        found.append(NonlinearConstraint(chosen.values, lb[rows], ub[rows], keep_feasible=keep[rows], **extra))
    if problem.is_linear.any():
        rows = np.flatnonzero(problem.is_linear)
        matrix = _stacked(problem, sparse=derivatives and not found)
        offset = _offset(problem)
        found.append(LinearConstraint(matrix, lb[rows] - offset, ub[rows] - offset, keep_feasible=keep[rows]))
    return found


def _stacked(problem: ConstrainedProblem, *, sparse: bool) -> Any:
    """The linear rows in one matrix: sparse where all of them are and nothing beside them is dense."""
    matrices = [block.constraint.matrix for block in problem.blocks if isinstance(block.constraint, Linear)]
    if sparse and all(hasattr(matrix, "tocsr") for matrix in matrices):
        from scipy.sparse import vstack

        return vstack(matrices, format="csr")
    return np.vstack([dense(matrix) for matrix in matrices])


def _offset(problem: ConstrainedProblem) -> np.ndarray:
    return np.concatenate([b.constraint.offset for b in problem.blocks if isinstance(b.constraint, Linear)])


def _blocks(problem: ConstrainedProblem, derivatives: bool) -> list[tuple[np.ndarray, Any]]:
    """Nonlinear rows that SciPy is given as one constraint, with the strategy for their Hessian, None for products."""
    known = problem.has_product if derivatives else np.ones(problem.m, bool)
    together = np.flatnonzero(known & ~problem.is_linear)
    found: list[tuple[np.ndarray, Any]] = [(together, None)] if together.size else []
    for block in problem.blocks:
        rows = np.arange(block.rows.start, block.rows.stop)
        if not known[rows].all():
            strategy = getattr(block.constraint, "hess", None)
            found.append((rows, quasi_newton() if strategy is None else strategy))
    return found


class _Rows:
    """Some rows of c as SciPy's classes want them."""

    def __init__(self, problem: ConstrainedProblem, rows: np.ndarray) -> None:
        self.problem, self.rows = problem, rows

    def values(self, x: np.ndarray) -> np.ndarray:
        """``fun`` of SciPy's class."""
        return self.problem.constraint_values(x)[self.rows]

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """``jac`` of SciPy's class."""
        return self.problem.constraint_jacobian(x)[self.rows]

    def hessian(self, x: np.ndarray, v: np.ndarray) -> Any:
        """``hess`` of SciPy's class: an operator, whose every product is one evaluation."""
        from scipy.sparse.linalg import LinearOperator

        x, weights = np.array(x, dtype=float), np.zeros(self.problem.m)
        weights[self.rows] = v
        n = self.problem.n
        return LinearOperator(
            (n, n), matvec=lambda p: self.problem.constraint_product(x, weights, np.ravel(p)), dtype=float
        )


def quasi_newton() -> Any:
    """SciPy's default strategy, but for its warning at every step on a linear function."""
    from scipy.optimize import BFGS

    class QuietBFGS(BFGS):  # type: ignore[misc, unused-ignore]
        def update(self, delta_x: Any, delta_grad: Any) -> None:
            if delta_grad.any():
                super().update(delta_x, delta_grad)

    return QuietBFGS()


# What they report ----------------------------------------------------------------------------------------

SCIPYS_OWN = ("constr", "constr_nfev", "constr_njev", "constr_nhev", "v", "jac", "multipliers", "maxcv")
"""What is reported in terms of the constraints as SciPy was given them."""


def report_of(name: str, problem: Problem, raw: Mapping[str, Any]) -> dict[str, Any]:
    """A method's report with its multipliers, where it has any, as λ of the rows of c (m,) and of the bounds (n,)."""
    found = {key: value for key, value in raw.items() if key not in SCIPYS_OWN}
    if name == "SLSQP" and isinstance(problem, ConstrainedProblem) and "multipliers" in raw:  # SciPy 1.16 and later
        found["multipliers"] = Sides(problem).multipliers(np.asarray(raw["multipliers"]))
    if name == "trust-constr" and "v" in raw:
        parts = list(raw["v"])
        if problem.bounds is not None:
            found["bound_multipliers"] = np.asarray(parts.pop())
        if isinstance(problem, ConstrainedProblem):
            found["multipliers"] = _in_order(problem, parts)
    return found


def _in_order(problem: ConstrainedProblem, parts: list[Any]) -> np.ndarray:
    rows = [rows for rows, _ in _blocks(problem, True)]
    if problem.is_linear.any():
        rows.append(np.flatnonzero(problem.is_linear))
    found = np.zeros(problem.m)
    for chosen, part in zip(rows, parts, strict=True):
        found[chosen] = part
    return found


# trust-constr to the end of its barrier ------------------------------------------------------------------


class Barrier:
    """Runs trust-constr until its own test holds and its barrier parameter is small.

    Attributes
    ----------
    needed : bool
        Whether there is a barrier: bounds or inequalities.
    options : dict
        What SciPy is given.

    Parameters
    ----------
    problem : Problem
    tol : float or None
    options : mapping
        The user's.
    """

    def __init__(self, problem: Problem, tol: float | None, options: Mapping[str, Any]) -> None:
        self.problem = problem
        default = {"gtol": GTOL, "barrier_tol": BARRIER_TOL}
        self.gtol, self.barrier_tol = (
            float(next(given for given in (options.get(name), tol, default[name]) if given is not None))
            for name in ("gtol", "barrier_tol")
        )
        # Without inequalities there is no barrier, and SciPy's own test is right.
        self.needed = problem.bounds is not None or bool(
            isinstance(problem, ConstrainedProblem) and (problem.lb != problem.ub).any()
        )
        self.options = {**options, "gtol": 0.0} if self.needed else dict(options)
        self.held = False

    def watched(self, callback: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
        """The callback with the test."""
        if not self.needed:
            return callback

        def watch(intermediate_result: Any) -> Any:
            if callback is not None and callback(intermediate_result):
                return True
            state = intermediate_result
            small = state.optimality < self.gtol and state.constr_violation < self.gtol
            if small and state.get("barrier_parameter", 0.0) <= self.barrier_tol:
                self.held = True
                raise StopIteration
            return False

        return watch

    def concluded(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The report, as SciPy would have written it had it made the test itself."""
        found = dict(raw)
        if self.held:
            found.update(status=1, success=True, message="`gtol` termination condition is satisfied.")
        elif raw["status"] in (2, 4):
            # Since SciPy 1.17 4 says that the constraints do not hold to `gtol`, which here is zero.
            held = raw["constr_violation"] <= max(self.gtol, self._precision())
            said = "`xtol` termination condition is satisfied"
            found.update(status=2 if held else 4, success=held)
            found["message"] = f"{said}." if held else f"{said}, but the constraints do not hold to `gtol`."
        return found

    def _precision(self) -> float:
        """What the leaves' precision leaves of a violation."""
        return float(getattr(self.problem, "least_tolerance", 8 * self.problem.tree.coarsest_eps))
