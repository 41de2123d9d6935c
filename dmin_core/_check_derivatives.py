"""Derivatives held against differences before a run: ``check_derivatives=True``.

A slope is compared along random directions, one for each leaf, so that a whole leaf costs two evaluations and the leaf
that is wrong has a name; only where one is wrong is it halved again and again to find the number that is furthest off.

No single step of a difference is right for all functions and dtypes: a long one is wrong by curvature, a short one by
rounding. So where the usual one, ``eps^(1/3)``, does not agree at once, four more are taken, from ``eps^(1/6)`` to
``eps^(1/2)``. By how much a step's slope differs from its neighbours' says how far it can be trusted (the idea of
Lyness & Moler 1967, "Numerical Differentiation of Analytic Functions", SIAM J. Numer. Anal. 4, and of Gill, Murray,
Saunders & Wright 1983, "Computing Forward-Difference Intervals for Numerical Optimization", SIAM J. Sci. Stat. Comput.
4); the one that can be trusted most is held against the derivative, with that doubt allowed for. float32 and noisy
functions so make the check weaker, and not false.

At a kink both one-sided slopes are slopes: a derivative that lies between them is no error, but is told.

The problem is one of the check's own: what it evaluates is counted nowhere, and no limit holds for it.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._errors import DerivativeError, outside
from ._problem import Problem

EXPONENTS = (1 / 6, 1 / 4, 1 / 3, 5 / 12, 1 / 2)
"""Steps, relative to max(1, |x|), are ``eps`` to these."""

USUAL = 2
"""Which of them is tried first: the best for a smooth function whose numbers are all of one size."""

CENTRAL = ((-0.5, -1), (0.5, 1))
INWARD = ((-1.5, 0), (2.0, 1), (-0.5, 2))
"""Weights and places, in steps: from both sides, or from a bound into the box (second order too)."""

CAUTION = 10
"""A derivative is wrong if it is off by so many times what the difference may be."""


COARSE = 1e-4
"""Precision from which on nothing is checked: on small networks in float16 right gradients were called wrong."""

AGREES, UNSEEN = "agrees", "unseen"
"""What else a comparison may end in: no step tells, within the bounds or where `fun` is finite."""


@dataclass
class Slope:
    """A difference quotient beside what the derivative says of it.

    Attributes
    ----------
    h : float
        Step.
    got, expected : float or (n,) array
        By the derivative, by differences.
    rounding : float or (n,) array
        What rounding may do to ``expected``.
    doubt : float
        Rounding, and by how much the neighbouring steps' slopes differ.
    """

    h: float
    got: Any
    expected: Any
    rounding: Any
    doubt: Any = 0.0


@dataclass
class Finding:
    """A leaf where derivative and difference part."""

    leaf: int
    excess: float
    """How many times as much as is allowed."""
    slope: Slope
    direction: np.ndarray
    stencil: tuple[tuple[float, int], ...]
    kink: tuple[float, float] | None = None
    """Slopes on the left and on the right, where `fun` has a kink."""


def check(problem: Problem, *, first: bool, second: bool, dense: bool, constrained: bool = False) -> None:
    """Compare a problem's derivatives at its start with differences.

    Parameters
    ----------
    problem : Problem
        Made for this purpose, as it is left with counts and a history. It keeps within its bounds.
    first, second : bool
        Whether the gradient, and Hessian products, are used by the method or given by the user.
    dense : bool
        Whether they are to be those of the dense Hessian.
    constrained : bool
        Whether the problem is a `ConstrainedProblem`, begun, whose Jacobians are to be looked at too.

    Raises
    ------
    DerivativeError
        They disagree, or `fun` is not the same twice.
    """
    problem.influence.undecided = False  # the run itself warns of leaves without influence
    first, second = first and problem.exact_gradient, second and problem.exact_product
    rows = _checked_rows(problem) if constrained else []
    curved = _blocks_with_hessian(problem) if constrained else []
    if not (first or second or rows or curved):
        warnings.warn(
            "check_derivatives=True finds nothing to check: the method uses no derivatives, or they are differences.",
            RuntimeWarning,
            stacklevel=outside(),
        )
        return
    if problem.tree.coarsest_eps > COARSE:
        warnings.warn(
            "check_derivatives=True cannot tell right from wrong in leaves of 16 bits: no step is long enough for "
            "their rounding and short enough for a curve. Convert x0 to float32 for the check.",
            RuntimeWarning,
            stacklevel=outside(),
        )
        return
    x = problem.tree.round(problem.x0)
    checker = _Checker(problem, x, problem.bare_value, problem.value(x))
    checker.must_be_deterministic()
    if first:
        checker.check_gradient()
    if second:
        checker.check_product(dense)
    if rows:
        _check_jacobian(problem, x, rows)
    for block in curved:
        _ConstraintHessian(problem, x, block).check_product(dense=True)


def _checked_rows(problem: Any) -> list[tuple[Any, int]]:
    """Rows of constraints whose Jacobian is no difference itself, each with its constraint's block."""
    return [
        (block, i)
        for block in problem.blocks
        if block.outputs is not None and problem.has_exact_jacobian(block.constraint)
        for i in range(block.rows.start, block.rows.stop)
    ]


def _blocks_with_hessian(problem: Any) -> list[Any]:
    """Constraints whose Hessian the user gives."""
    return [block for block in problem.blocks if callable(getattr(block.constraint, "hess", None))]


def _check_jacobian(problem: Any, x: np.ndarray, rows: list[tuple[Any, int]]) -> None:
    """Each row as the gradient of a function."""
    jacobian = problem.constraint_jacobian(x)
    known: dict[bytes, np.ndarray] = {}

    def values(y: np.ndarray) -> np.ndarray:
        """All rows, which are asked for one by one, always at the same points."""
        key = y.tobytes()
        if key not in known:
            known[key] = problem.bare_constraint_values(y)
        return known[key]

    worst: tuple[Finding, _Checker] | None = None
    for block, i in rows:
        of = problem.locate_row(i)
        how = f"`jac` of {block.constraint.where}" if callable(block.constraint.jac) else problem.backend.name

        def component(y: np.ndarray, i: int = i) -> float:
            return float(values(y)[i])

        row = _Checker(problem, x, component, component(x), of, how)
        wrong, blind, kinks = row.findings(jacobian[i])
        if wrong and (worst is None or wrong[0].excess > worst[0].excess):
            worst = wrong[0], row
        row.tell(blind, kinks)
    if worst is not None:
        raise worst[1].wrong_gradient([worst[0]])


def _noise(slopes: list[Slope]) -> Any:
    """How far from smooth `fun` is: short steps' slopes differ by that over the step, where `eps` says less.

    What cancels inside of `fun`, for example, leaves rounding that its value does not show.
    """
    pairs = list(itertools.pairwise(slopes))[USUAL:]
    return np.max([np.abs(long.expected - short.expected) * short.h for long, short in pairs], axis=0, initial=0.0)


class _Checker:
    """Derivatives of one scalar function at one point.

    Parameters
    ----------
    problem : Problem
    x : (n,) float64
    value : callable
        The function, of a host vector.
    f : float
        It at ``x``.
    of, source : str
        What to call the function, and where its gradient comes from; default: `fun`, and what the problem says.
    """

    def __init__(
        self,
        problem: Problem,
        x: np.ndarray,
        value: Callable[[np.ndarray], float],
        f: float,
        of: str = "",
        source: str = "",
    ) -> None:
        self.problem, self.tree, self.x, self.value, self.f = problem, problem.tree, x, value, f
        self.of, self.source = of or "`fun`", f"The gradient of {of} from {source}" if of else self._source()
        self.eps = self.tree.coarsest_eps
        self.tolerance = self.eps**0.4
        self.noise = 0.0
        self.exact = problem.exact_gradient

    def must_be_deterministic(self) -> None:
        again = self.value(self.x)
        self.noise = abs(again - self.f)
        if self.noise > 1e3 * self.eps * max(abs(self.f), abs(again)):
            raise DerivativeError(
                f"`fun` is {self.f:.17g} at x0, and the next time {again:.17g}: derivatives of what is not the same "
                f"twice cannot be checked. Fix its random numbers (a seed, a generator in args), or leave "
                f"check_derivatives out."
            )

    # -- directions and steps -----------------------------------------------------------------------------

    def _directions(self, chosen: np.ndarray, scale: np.ndarray) -> Iterator[tuple[np.ndarray, Any]]:
        """One direction among the chosen variables that have room on both sides, and one among those near a bound."""
        # No two numbers alike: errors of opposite sign must not cancel.
        rng = np.random.default_rng(0)
        d = np.where(chosen, rng.choice([-1.0, 1.0], self.x.size) * rng.uniform(0.5, 1.5, self.x.size) * scale, 0.0)
        longest = self.eps ** EXPONENTS[0]
        bounds = self.problem.bounds
        if bounds is None:
            yield d, CENTRAL
            return
        below, above = self.x - bounds[0], bounds[1] - self.x
        inside = np.minimum(below, above) >= longest * np.abs(d)
        if (inside & chosen).any():
            yield np.where(inside, d, 0.0), CENTRAL
        room = np.maximum(below, above)
        inward = np.where(above >= below, 1.0, -1.0) * np.minimum(np.abs(d), room / (2 * longest))
        if (~inside & chosen & (room > 0)).any():
            yield np.where(inside, 0.0, inward), INWARD

    def _points(self, direction: np.ndarray, stencil: Any, h: float) -> list[tuple[float, np.ndarray]]:
        points = []
        for weight, place in stencil:
            y = self.x + place * h * direction
            if self.problem.bounds is not None:
                y = np.clip(y, *self.problem.bounds)
            points.append((weight, self.tree.round(y) if place else self.x))
        return points

    def _best(self, slope_at: Callable[[float], Slope]) -> Slope | None:
        """The slope that can be trusted most; None where none is finite."""
        slopes = [slope_at(self.eps**exponent) for exponent in EXPONENTS]
        finite = [slope for slope in slopes if np.isfinite(slope.expected).all()]
        noise = _noise(finite)
        for i, slope in enumerate(finite):
            slope.rounding = np.maximum(slope.rounding, noise / slope.h)
            beside = [finite[j] for j in (i - 1, i + 1) if 0 <= j < len(finite)]
            gaps = [np.linalg.norm(np.atleast_1d(slope.expected - other.expected)) for other in beside]
            slope.doubt = np.linalg.norm(np.atleast_1d(slope.rounding)) + max(gaps, default=0.0)
        return min(finite, key=lambda slope: float(slope.doubt), default=None)

    def _scales(self) -> list[np.ndarray]:
        """Steps relative to max(1, |x|); where those lead nowhere, relative to |x|."""
        size = np.abs(self.x)
        scales = [np.maximum(1.0, size)]
        if (size < 0.1).any():
            scales.append(np.where(size > 0, size, self.eps ** (1 / 3)))
        return scales

    # -- the gradient -------------------------------------------------------------------------------------

    def check_gradient(self) -> None:
        wrong, blind, kinks = self.findings(self.problem.gradient(self.x))
        if wrong:
            raise self.wrong_gradient(wrong)
        self.tell(blind, kinks)

    def findings(self, g: np.ndarray) -> tuple[list[Finding], list[int], list[Finding]]:
        """Leaves that are wrong, the worst first; those of which nothing is seen; those with a kink."""
        self.g = g
        wrong: list[Finding] = []
        kinks: list[Finding] = []
        blind: list[int] = []
        for k, size in enumerate(self.tree.sizes):
            outcome = self._look_at(k) if size else AGREES
            if isinstance(outcome, Finding):
                (wrong if outcome.excess > 1 else kinks).append(outcome)
            elif outcome is UNSEEN:
                blind.append(k)
        return sorted(wrong, key=lambda finding: -finding.excess), blind, kinks

    def _look_at(self, k: int) -> Any:
        """`AGREES`, `UNSEEN`, or what is wrong in leaf ``k``."""
        chosen = np.zeros(self.tree.n, dtype=bool)
        chosen[int(self.tree.ends[k]) - self.tree.sizes[k] : int(self.tree.ends[k])] = True
        tried: list[tuple[float, Any]] = []
        for scale in self._scales():
            verdicts = [self._compare(k, *direction) for direction in self._directions(chosen, scale)]
            findings = [outcome for outcome, _ in verdicts if isinstance(outcome, Finding)]
            doubt = max((doubt for _, doubt in verdicts), default=np.inf)
            if findings:
                tried.append((doubt, max(findings, key=lambda finding: finding.excess)))
            elif doubt < np.inf:
                tried.append((doubt, AGREES))
            if not findings and doubt < np.inf and len(tried) == 1:
                break
        # Of two scales the one that tells more: with steps of no use everything agrees.
        return min(tried, key=lambda each: each[0])[1] if tried else UNSEEN

    def _compare(self, k: int, direction: np.ndarray, stencil: Any) -> tuple[Any, float]:
        """What is found along a direction, and how much a slope of length one is in doubt."""
        size, length = float(np.linalg.norm(self.g * direction)), float(np.linalg.norm(direction))

        def allowed(slope: Slope) -> float:
            return self.tolerance * max(abs(slope.expected), size) + CAUTION * float(slope.doubt)

        usual = self._slope(direction, stencil, self.eps ** EXPONENTS[USUAL])
        usual.doubt = usual.rounding
        if abs(usual.got - usual.expected) <= allowed(usual):
            return AGREES, float(usual.doubt) / length
        best = self._best(lambda h: self._slope(direction, stencil, h))
        if best is None:
            return UNSEEN, np.inf
        doubt = float(best.doubt) / length
        off = abs(best.got - best.expected)
        if off <= allowed(best):
            return AGREES, doubt
        finding = Finding(k, off / allowed(best), best, direction, stencil)
        if stencil is CENTRAL:
            finding.kink = self._kink(direction, float(best.rounding) * best.h)
        if finding.kink is not None:
            low, high = sorted(finding.kink)
            finding.excess = max(low - best.got, best.got - high, 0.0) / allowed(best)
        return finding, doubt

    def _slope(self, direction: np.ndarray, stencil: Any, h: float) -> Slope:
        points = self._points(direction, stencil, h)
        values = [self.f if y is self.x else self.value(y) for _, y in points]
        weights = [weight / h for weight, _ in points]
        # Along the steps that were really taken, after rounding.
        moved = sum(weight * (y - self.x) for weight, (_, y) in zip(weights, points, strict=True))
        largest = max(map(abs, values))
        return Slope(
            h,
            got=float(self.g @ moved),
            expected=float(sum(weight * value for weight, value in zip(weights, values, strict=True))),
            rounding=sum(map(abs, weights)) * (2 * self.eps * largest + self.noise),
        )

    def _kink(self, direction: np.ndarray, noise: float) -> tuple[float, float] | None:
        """Slopes on the left and on the right, if they differ however near they are taken."""
        jumps, sides = [], []
        for exponent in EXPONENTS:
            h = self.eps**exponent
            (_, down), (_, up) = self._points(direction, CENTRAL, h)
            left, right = (self.f - self.value(down)) / h, (self.value(up) - self.f) / h
            if np.isfinite([left, right]).all():
                # A curve's slopes differ by as much less as the step is shorter.
                jumps.append((abs(right - left), 2 * noise / h))
                sides.append((left, right))
        if len(jumps) < 2:
            return None
        (long, _), (middle, rounding) = jumps[0], jumps[len(jumps) // 2]
        lasting = middle > long / 2 and middle > CAUTION * rounding
        return sides[len(jumps) // 2] if lasting and long > 0 else None

    # -- the Hessian product ------------------------------------------------------------------------------

    def check_product(self, dense: bool) -> None:
        everything = np.ones(self.tree.n, dtype=bool)
        reliable = self.eps if self.exact else self.eps ** (2 / 3)
        tried: list[tuple[float, tuple[float, int, Slope] | None]] = []
        for scale in self._scales():
            worst, doubt = None, 0.0
            for direction, stencil in self._directions(everything, scale):
                product = self._product(direction, dense)
                for excess, k, slope in self._compare_products(direction, stencil, product, reliable):
                    doubt = max(doubt, float(slope.doubt) / float(np.linalg.norm(direction)))
                    if excess > max(1.0, 0.0 if worst is None else worst[0]):
                        worst = (excess, k, slope)
            tried.append((doubt, worst))
            if worst is None:
                break
        _, worst = min(tried, key=lambda each: each[0])
        if worst is not None:
            raise self._wrong_product(*worst[1:])

    def _compare_products(
        self, direction: np.ndarray, stencil: Any, product: np.ndarray, reliable: float
    ) -> Iterator[tuple[float, int, Slope]]:
        def slope_at(h: float) -> Slope:
            points = self._points(direction, stencil, h)
            gradients = [self._gradient(y) for _, y in points]
            weights = [weight / h for weight, _ in points]
            expected = sum(weight * g for weight, g in zip(weights, gradients, strict=True))
            largest = np.max(np.abs(gradients), axis=0)
            return Slope(h, product, expected, sum(map(abs, weights)) * 2 * reliable * largest)

        slopes = [slope_at(self.eps**exponent) for exponent in EXPONENTS]
        for k, size in enumerate(self.tree.sizes):
            part = slice(int(self.tree.ends[k]) - size, int(self.tree.ends[k]))
            of_leaf = iter([Slope(s.h, s.got[part], s.expected[part], s.rounding[part]) for s in slopes])

            def following(h: float, of_leaf: Iterator[Slope] = of_leaf) -> Slope:
                return next(of_leaf)

            best = self._best(following) if size else None
            if best is None:
                continue
            length = max(float(np.linalg.norm(best.expected)), float(np.linalg.norm(best.got)))
            allowed = max(self.tolerance, reliable**0.4) * length + CAUTION * float(best.doubt)
            yield float(np.linalg.norm(best.got - best.expected)) / allowed if allowed else 0.0, k, best

    def _product(self, direction: np.ndarray, dense: bool) -> np.ndarray:
        return self.problem.bare_product(self.x, direction, dense=dense)

    def _gradient(self, y: np.ndarray) -> np.ndarray:
        return self.problem.bare_gradient(y) if self.exact else self._gradient_by_differences(y)

    def _gradient_by_differences(self, y: np.ndarray) -> np.ndarray:
        from ._differences import gradient

        problem = self.problem
        return gradient(
            self.value,
            y,
            scheme="3-point",
            eps=self.tree.eps(),
            bounds=problem.bounds,
            round_to=self.tree.round,
        )

    # -- what is said -------------------------------------------------------------------------------------

    def wrong_gradient(self, findings: list[Finding]) -> DerivativeError:
        worst = findings[0]
        j, got, expected = self._narrow(worst)
        of = " of `fun`" if self.of == "`fun`" else ""
        others = [self.tree.variable_path(finding.leaf) for finding in findings[1:]]
        also = f" Also wrong: {', '.join(others[:5])}{' and more' if len(others) > 5 else ''}." if others else ""
        kink = ""
        if worst.kink is not None:
            left, right = worst.kink
            kink = (
                f" {self.of} has a kink there (along the direction tried its slope is {left:.6g} on one side and "
                f"{right:.6g} on the other, and {worst.slope.got:.6g} by the gradient): start elsewhere to tell."
            )
        return DerivativeError(
            f"{self.source} disagrees with differences{of} in {self.tree.variable_path(worst.leaf)}, above all at "
            f"{self.tree.locate(j)}: got {got:.6g}, expected {expected:.6g} (step {worst.slope.h:.2g}, relative to "
            f"max(1, |x|)).{also}{kink}",
            path=self.tree.variable_path(worst.leaf),
        )

    def _source(self) -> str:
        if callable(self.problem.jac):
            return "The gradient from `jac`"
        return (
            "The gradient from `fun`"
            if self.problem.jac is True
            else f"{self.problem.backend.name}'s gradient of `fun`"
        )

    def _narrow(self, finding: Finding) -> tuple[int, float, float]:
        """The number of a leaf that is furthest off, by halving, and both its derivatives."""
        chosen = np.flatnonzero(finding.direction)
        while True:
            tried = []
            for half in np.array_split(chosen, 2) if chosen.size > 1 else [chosen]:
                direction = np.zeros(self.x.size)
                direction[half] = finding.direction[half]
                slope = self._slope(direction, finding.stencil, finding.slope.h)
                tried.append((abs(slope.got - slope.expected), half, slope))
            _, chosen, slope = max(tried, key=lambda each: each[0] if np.isfinite(each[0]) else -1.0)
            if chosen.size == 1:
                j = int(chosen[0])
                return j, float(self.g[j]), slope.expected / float(finding.direction[j])

    def _wrong_product(self, leaf: int, slope: Slope) -> DerivativeError:
        given = self.problem.hess if callable(self.problem.hess) else self.problem.hessp
        name = "`hess`" if given is self.problem.hess and given is not None else "`hessp`" if given is not None else ""
        what = f"The Hessian from {name}" if name == "`hess`" else f"The Hessian product from {name}"
        if not name:
            what = f"{self.problem.backend.name}'s Hessian of `fun`"
        return self._wrong(what, "the gradient" if self.exact else "`fun`", leaf, slope)

    def _wrong(self, what: str, of: str, leaf: int, slope: Slope) -> DerivativeError:
        start = int(self.tree.ends[leaf]) - self.tree.sizes[leaf]
        i = int(np.argmax(np.abs(slope.got - slope.expected)))
        return DerivativeError(
            f"{what} disagrees with differences of {of} in {self.tree.variable_path(leaf)}, above all at "
            f"{self.tree.locate(start + i)}: its product with a random direction is {slope.got[i]:.6g} there, expected "
            f"{slope.expected[i]:.6g} (step {slope.h:.2g}, relative to max(1, |x|)).",
            path=self.tree.variable_path(leaf),
        )

    def tell(self, blind: list[int], kinks: list[Finding]) -> None:
        if kinks:
            left, right = kinks[0].kink or (np.nan, np.nan)
            paths = ", ".join(self.tree.variable_path(finding.leaf) for finding in kinks[:5])
            warnings.warn(
                f"{self.of} has a kink at x0 in {paths}: its slope is {left:.6g} on one side and {right:.6g} on the "
                f"other. The gradient is one of those in between, and more cannot be told; start elsewhere for that.",
                RuntimeWarning,
                stacklevel=outside(),
            )
        if blind:
            paths = ", ".join(self.tree.variable_path(k) for k in blind[:5])
            warnings.warn(
                f"The gradient of {self.of} in {paths} could not be checked: no step along it is possible within the "
                f"bounds, or the value is not finite there.",
                RuntimeWarning,
                stacklevel=outside(),
            )


class _ConstraintHessian(_Checker):
    """The user's ``hess(x, v)`` of one constraint, as the Hessian of the scalar v · c.

    v is random, so that one comparison serves all of what the constraint returns; only where it is wrong is each number
    looked at by itself.
    """

    def __init__(self, problem: Any, x: np.ndarray, block: Any, v: np.ndarray | None = None) -> None:
        m = block.rows.stop - block.rows.start
        rng = np.random.default_rng(1)
        self.block, self.v = block, rng.choice([-1.0, 1.0], m) * rng.uniform(0.5, 1.5, m) if v is None else v
        self.of_all: Any = problem
        super().__init__(problem, x, self._weighted, self._weighted_at(problem, x), block.constraint.where)
        self.exact = problem.has_exact_jacobian(block.constraint)

    def _weighted(self, y: np.ndarray) -> float:
        return self._weighted_at(self.of_all, y)

    def _weighted_at(self, problem: Any, y: np.ndarray) -> float:
        return float(self.v @ problem.bare_constraint_values(y)[self.block.rows])

    def _product(self, direction: np.ndarray, dense: bool) -> np.ndarray:
        return np.asarray(self.of_all.bare_constraint_hessian(self.block, self.x, self.v) @ direction)

    def _gradient(self, y: np.ndarray) -> np.ndarray:
        if not self.exact:
            return self._gradient_by_differences(y)
        return np.asarray(self.v @ self.of_all.bare_constraint_jacobian(self.block, y))

    def _wrong_product(self, leaf: int, slope: Slope) -> DerivativeError:
        where = self.block.constraint.where
        if self.v.size > 1 and np.count_nonzero(self.v) > 1:
            for v in np.eye(self.v.size):
                row = _ConstraintHessian(self.of_all, self.x, self.block, v)
                try:
                    row.check_product(dense=True)
                except DerivativeError as error:
                    return error
        elif self.v.size > 1:
            where = self.of_all.locate_row(self.block.rows.start + int(np.argmax(np.abs(self.v))))
        what = f"The Hessian of {where} from `hess` of {self.block.constraint.where}"
        return self._wrong(what, "its Jacobian" if self.exact else "its values", leaf, slope)
