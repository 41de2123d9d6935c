"""Newton's method in a trust region, by Hessian products, whose vectors stay where the arrays are.

An iteration is a step by truncated conjugate gradients (`truncated_cg`), which costs a product each, and then one
evaluation, which says how good the model was: Conn, Gould and Toint (2000), "Trust-Region Methods", algorithm 6.1.1;
Nocedal and Wright (2006), "Numerical Optimization", algorithm 4.1, whose constants are also SciPy's.

`NewtonCg` says so once, over points and scalars, for loops in Python and for compiled ones. In a compiled one the
product and the evaluation stand in one place each, so that the objective is traced once for either; and the path of
conjugate gradients is part of the state, so that a stretch may end in its middle.

**Units.** Paths and regions are those of variables in units of their own, in which what products have shown of their
curvatures is alike (`scaling`): the step is ``units * z``, and the Hessian of which a path is told multiplies by units,
by H, and by units again. Lengths are those of z. The first path is in the variables as they are.

**What it costs where Python runs the loop**: beside `fun` and its products, some thirty of the framework's operations
and one read of six numbers a product; forty, and one read of seven, an evaluation. With bounds one operation more a
product, some thirty-five more an evaluation, and one more read of one number.

**Near the precision limit** the change of the value is noise, and the ratio of it to the model's change would shrink
the region for nothing. There the change is taken from the slopes at both ends instead, as in `line_search` (Hager and
Zhang 2005). A run whose trials promised nothing that the digits of `fun` could show has converged.

**Bounds.** Variables at a bound which the gradient pushes outwards are held there; conjugate gradients run over the
others as if there were no bounds, and the trial is projected onto these (Bertsekas 1982, "Projected Newton Methods for
Optimization Problems with Simple Constraints", SIAM J. Control Optim. 20(2)). So any number of variables may meet or
leave their bounds in one iteration. Where the projection cut the step short, one more product says what the model
thinks of what is left of it, as in Lin and Moré (1999), "Newton's Method for Large Bound-Constrained Optimization
Problems", SIAM J. Optim. 9(4): that is what the ratio is taken of, and a step that the model does not think good is not
evaluated, but the region made smaller. In a region small enough the step is the projected gradient's, which leads
downwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import line_search, scaling, truncated_cg
from .descent import EVALUATIONS, FAILED, GRADIENT, ITERATIONS, RESOLUTION, RUNNING, START
from .points import Point, Vectors, add, divide, multiply, negate, scale, step, subtract
from .scaling import Shown
from .truncated_cg import CHECKING, ENDED, SOLVED, Subproblem

POOR, GOOD = 0.25, 0.75
"""Ratios below which the region is made smaller, and above which it may grow."""
SHRINK, GROW = 0.25, 2.0
"""How."""
SUFFICIENT = 0.01
"""How much of its slope the model must fall along a step that bounds cut short: Lin and Moré's μ₀."""
REFUSALS = 12
"""Steps the model may refuse in a row before `fun` is asked."""
VAIN = 60
"""Trials in a row that may be turned down: the region is then 10⁻³⁶ of what it was."""


class Limits(NamedTuple):
    """What ends a run or a stretch of it, and other numbers that do not belong to the program."""

    gtol: Any
    eta: Any
    radius: Any
    largest_radius: Any
    longest: Any
    maxiter: Any
    maxfun: Any
    until_evaluation: Any
    until_iteration: Any
    until_product: Any


class Trial(NamedTuple):
    """A point that was evaluated.

    Attributes
    ----------
    x, g : point
    free : point, or ()
        1 for the variables that are free there, 0 for those held at a bound; () without bounds.
    f, gg, largest : scalar
        Value; ‖g‖²; the largest number of the projected gradient.
    slope, slope_there : scalar
        Derivatives along the step, at its two ends.
    length : scalar
        Of the step in its units.
    """

    x: Point
    g: Point
    free: Point
    f: Any
    gg: Any
    largest: Any
    slope: Any
    slope_there: Any
    length: Any


class State(NamedTuple):
    """All that one iteration hands to the next.

    Attributes
    ----------
    path : Subproblem
    shown : Shown
        What products have shown of the variables' curvatures.
    units : point
        Those of the path.
    x, g, free : point
    f, gg, largest : scalar
        As a `Trial` has them, of the point where the run is.
    hope : scalar
        The most that trials in vain promised to gain from here.
    lowest : tuple
        Point, gradient and value of the lowest trial, where the loop is compiled: a lower trial may be turned down.
    vain, nfev, nhev, nit, status : int
    """

    path: Subproblem
    shown: Shown
    units: Point
    x: Point
    g: Point
    free: Point
    f: Any
    gg: Any
    largest: Any
    hope: Any
    lowest: tuple[Any, ...]
    vain: Any
    nfev: Any
    nhev: Any
    nit: Any
    status: Any


class NewtonCg:
    """The method over points of one kind.

    Parameters
    ----------
    arithmetic : Host or Traced
    xp : namespace
        For the arrays of points.
    evaluate : callable
        ``evaluate(point) -> (value, gradient point)``.
    product : callable
        ``product(point, vector, gradient)``: the Hessian at the point times the vector.
    read : callable
        ``read(values)``: 0-d arrays as scalars, read from the device if need be.
    record : callable
        ``record(log, trial)`` is told of every evaluation, and returns what it keeps of them.
    loop : callable
        ``loop(condition, body, state)``.
    branch : callable
        ``branch(predicate, true, false, operands)``.
    bounds : pair of points, or None
    times : callable, optional
        The product of vectors; default: the namespace's.
    """

    def __init__(
        self,
        arithmetic: Any,
        xp: Any,
        evaluate: Callable[[Point], Any],
        product: Callable[..., Point],
        read: Callable[[list[Any]], list[Any]],
        record: Callable[..., Any],
        loop: Callable[..., Any],
        branch: Callable[..., Any],
        bounds: tuple[Point, Point] | None = None,
        times: Callable[..., Any] | None = None,
    ) -> None:
        self.a, self.xp = arithmetic, xp
        self.evaluate, self.product, self.read = evaluate, product, read
        self.record, self.loop, self.branch = record, loop, branch
        self.bounded = bounds is not None
        self.vectors = Vectors(xp, xp.matmul if times is None else times, bounds)

    # -- a run ----------------------------------------------------------------------------------------------

    def begin(self, x: Point, zeros: Point, work: tuple[Any, ...]) -> State:
        """The state before the first evaluation, whose step is zero.

        Parameters
        ----------
        x : point
        zeros : point
        work : tuple of arrays
            Five points of zeros and one of ones, each in memory of its own.
        """
        a, k = self.a, len(x)
        zero, none = a.number(0.0), a.count(0)
        z, r, d, products, squares, units = (work[i : i + k] for i in range(0, 6 * k, k))
        path = Subproblem(z, r, d, *(zero,) * 6, a.truth(False), none, a.count(SOLVED), none)
        free = zeros if self.bounded else ()
        lowest = () if a.eager else (x, zeros, zero)
        return State(
            path,
            *(scaling.begin(products, squares, zero), units),
            *(x, zeros, free),
            *(zero, zero, zero, a.number(-1.0)),
            lowest,
            *(none, none, none, none, none),
        )

    def run(self, state: State, limits: Limits, log: Any) -> tuple[State, Any]:
        """Iterations until the limits."""

        def goes_on(carried: Any) -> Any:
            state, _ = carried
            fewer = (state.nfev < limits.until_evaluation) & (state.nit < limits.until_iteration)
            fewer = fewer & (state.nhev < limits.until_product)
            return (state.status == RUNNING) & (fewer | (state.nfev == 0))

        result: tuple[State, Any] = self.loop(
            goes_on, lambda carried: self.iterate(carried[0], limits, carried[1]), (state, log)
        )
        return result

    def iterate(self, state: State, limits: Limits, log: Any) -> tuple[State, Any]:
        """One iteration: the path to its end, or as far as a stretch may go; and at its end the trial."""
        state = self._solve(state, limits)
        result: tuple[State, Any] = self.branch(
            state.path.phase == SOLVED,
            lambda state, log: self._judge(state, limits, log),
            lambda state, log: (state, log),
            (state, log),
        )
        return result

    # -- the step -------------------------------------------------------------------------------------------

    def _solve(self, state: State, limits: Limits) -> State:
        def goes_on(carried: Any) -> Any:
            path, _, nhev = carried
            return (path.phase != SOLVED) & (nhev < limits.until_product)

        def body(carried: Any) -> Any:
            path, shown, nhev = carried
            path, shown = self._advance(state, path, shown, limits)
            if self.bounded:
                path = self.branch(path.phase == ENDED, self._close, lambda _, path: path, (state, path))
            return path, shown, nhev + 1

        path, shown, nhev = self.loop(goes_on, body, (state.path, state.shown, state.nhev))
        return state._replace(path=path, shown=shown, nhev=nhev)

    def _advance(self, state: State, path: Subproblem, shown: Shown, limits: Limits) -> tuple[Subproblem, Shown]:
        """One product, and what follows from it."""
        along = multiply(state.units, path.d)
        h = self.product(state.x, along, state.g)
        if self.bounded:
            h = multiply(state.free, h)
        shown, numbers, h = self._see(state, path, shown, along, h)
        return self._follow(state, path, h, numbers, limits), shown

    def _see(
        self, state: State, path: Subproblem, shown: Shown, along: Point, there: Point
    ) -> tuple[Shown, list[Any], Point]:
        """What a product shows, the inner products with it, and the product in the path's units."""
        a, dot, r, d = self.a, self.vectors.dot, path.r, path.d
        h = multiply(state.units, there)
        *numbers, size = self.read([dot(r, d), dot(r, r), dot(d, h), dot(r, h), dot(h, h), dot(there, there)])
        _, rr, dh, rh, hh = numbers
        finite = a.isfinite(dh + rh + hh)
        if a.eager and not finite:
            self.product.spoilt()  # type: ignore[attr-defined]  # where Python runs the loop it is `Products`
        # Along what bounds left of a step, ‖d‖² is not the path's.
        dd = a.pick(path.phase == CHECKING, a.number(0.0), truncated_cg.square(a, path, rr))
        return scaling.show(self.xp, a, shown, along, there, size, dd), numbers, h

    def _follow(self, state: State, path: Subproblem, h: Point, numbers: list[Any], limits: Limits) -> Subproblem:
        a, (rd, rr, dh, rh, hh) = self.a, numbers
        after, move = truncated_cg.advance(a, path, rd, rr, dh, rh, hh, limits.longest)
        if not self.bounded:
            after = after._replace(phase=a.count(a.pick(after.phase == ENDED, SOLVED, after.phase)))
            return self._move(after, h, move.t, move.beta)
        # Of a step that bounds cut short only the model's change was wanted.
        checking = path.phase == CHECKING
        gain = -(rd + 0.5 * dh)
        poor = a.negate(gain > -SUFFICIENT * rd) & (path.refused < REFUSALS)
        checked = path._replace(gain=gain, phase=a.count(SOLVED))
        after = a.pick(checking, checked, after) if a.eager else self._pick(checking, checked, after)
        none = a.number(0.0)
        after = self._move(after, h, a.pick(checking, none, move.t), a.pick(checking, none, move.beta))
        restart: Subproblem = self.branch(checking & poor, self._refuse, lambda _, path: path, (state, after))
        return restart

    def _pick(self, condition: Any, yes: Subproblem, no: Subproblem) -> Subproblem:
        """One of two whose vectors are the same, which are left alone."""
        chosen = self.a.choose(condition, yes[3:], no[3:])
        return Subproblem(*no[:3], *chosen)

    @staticmethod
    def _move(path: Subproblem, h: Point, t: Any, beta: Any) -> Subproblem:
        z, r = step(path.z, t, path.d), step(path.r, t, h)
        return path._replace(z=z, r=r, d=subtract(scale(beta, path.d), r))

    def _begin_path(self, units: Point, g: Point, free: Point, radius: Any, refused: Any) -> Subproblem:
        """The path before its first product."""
        r = multiply(units, multiply(free, g) if self.bounded else g)
        return truncated_cg.begin(self.a, scale(0.0, units), r, negate(r), radius, refused)

    # -- bounds ---------------------------------------------------------------------------------------------

    def _close(self, state: State, path: Subproblem) -> Subproblem:
        """The end of a path: whether bounds cut the step short, so that the model has to be asked again."""
        a, vectors, units = self.a, self.vectors, state.units
        ahead = add(state.x, multiply(units, path.z))
        there = vectors.project(ahead)
        (cut,) = self.read([vectors.differ(ahead, there)])
        r, d = multiply(units, state.g), divide(subtract(there, state.x), units)
        checking = path._replace(r=r, d=d, phase=a.count(CHECKING))
        chosen: Subproblem = a.choose(cut, checking, path._replace(phase=a.count(SOLVED)))
        return chosen

    def _refuse(self, state: State, path: Subproblem) -> Subproblem:
        """A path in a smaller region."""
        a = self.a
        radius = SHRINK * a.minimum(path.radius, a.sqrt(path.zz))
        return self._begin_path(state.units, state.g, state.free, radius, path.refused + 1)

    # -- the trial ------------------------------------------------------------------------------------------

    def _judge(self, state: State, limits: Limits, log: Any) -> tuple[State, Any]:
        """Evaluate at the end of the step, and decide by what is found there."""
        a, path = self.a, state.path
        first = state.nfev == 0
        units = scaling.find_units(self.vectors, a, state.shown)
        trial, widest = self._try(state, units)
        log = self.record(log, trial)
        nfev = state.nfev + 1
        nit = state.nit + a.pick(first, 0, 1)

        finite = a.isfinite(trial.f) & a.isfinite(trial.gg)
        fall = state.f - trial.f
        noise = line_search.NOISE * a.value_eps * a.abs(state.f)
        seen = a.pick(a.abs(fall) <= noise, -0.5 * (trial.slope + trial.slope_there), fall)
        ratio = a.pick(finite, a.ratio(seen, path.gain), a.number(-1.0))
        taken = first | (finite & (fall > 0.0) & (ratio > limits.eta))
        hope = a.pick(taken, a.number(-1.0), a.maximum(state.hope, _promise(a, trial, finite, fall, noise)))
        still = a.negate(taken)
        vain = a.count(a.pick(taken, 0, state.vain + 1))
        radius = _resize(a, path, a.pick(taken, ratio, a.number(-1.0)), trial.length, limits.largest_radius)
        # In units of up to `widest`, so long may z be lest a step be longer than asked for.
        radius = a.minimum(a.pick(first, limits.radius, radius), limits.largest_radius / widest)

        flat = a.negate(a.abs(trial.slope) > noise)
        why = a.pick(nit >= limits.maxiter, ITERATIONS, RUNNING)
        why = a.pick(nfev >= limits.maxfun, EVALUATIONS, why)
        exhausted = still & (flat | (vain >= VAIN))
        why = a.pick(exhausted, FAILED, why)
        least = line_search.resolution(a, state.f, exhausted)
        why = a.pick(still & (hope >= 0.0) & (hope <= least), RESOLUTION, why)
        why = a.pick(taken & (trial.largest <= limits.gtol), GRADIENT, why)
        why = a.pick(first & a.negate(finite), START, why)

        lowest = state.lowest
        if not a.eager:
            lower = first | (finite & (trial.f < lowest[2]))
            lowest = a.choose(lower, (trial.x, trial.g, trial.f), lowest)
        here = (state.x, state.g, state.free, state.f, state.gg, state.largest)
        there = (trial.x, trial.g, trial.free, trial.f, trial.gg, trial.largest)
        x, g, free, f, gg, largest = a.choose(taken, there, here)
        path = self._begin_path(units, g, free, radius, a.count(0))
        shown = scaling.fade(state.shown)
        return State(
            *(path, shown, units, x, g, free),
            *(f, gg, largest, hope, lowest, vain, nfev, state.nhev, nit, a.count(why)),
        ), log

    def _try(self, state: State, units: Point) -> tuple[Trial, Any]:
        """Evaluate; and the largest of the next path's units, which is read with that."""
        a, vectors, dot = self.a, self.vectors, self.vectors.dot
        s = multiply(state.units, state.path.z)
        x = add(state.x, s)
        if self.bounded:
            x = vectors.project(x)
            s = subtract(x, state.x)
        value, g = self.evaluate(x)
        span, free, more = g, (), []
        if self.bounded:
            span = subtract(vectors.project(subtract(x, g)), x)
            free, z = vectors.free(x, g), divide(s, state.units)
            more = [dot(z, z)]
        scalars = [dot(state.g, s), dot(g, s), dot(g, g), *vectors.extremes(span), vectors.greatest(units), *more]
        f, slope, slope_there, gg, top, bottom, widest, *more = self.read([value, *scalars])
        (zz,) = more or (state.path.zz,)
        return Trial(x, g, free, f, gg, a.maximum(top, -bottom), slope, slope_there, a.sqrt(zz)), widest


ALIKE = 0.25
"""How far, relative to it, the rise along a step may be from a quadratic's by the slopes that were found."""


def _promise(a: Any, trial: Trial, finite: Any, fall: Any, noise: Any) -> Any:
    """How far `fun` could fall along the step, by its two slopes: `dmin_core._precision`.

    Unless it is no quadratic there: of a step that went far too far the slopes would say that nothing was to be had.
    """
    slope = a.abs(trial.slope)
    curvature = trial.slope_there - trial.slope
    rise = 0.5 * (trial.slope + trial.slope_there)
    quadratic = a.abs(rise + fall) <= ALIKE * a.abs(rise) + noise
    promise = a.pick((curvature <= slope) | a.negate(quadratic), 0.5 * slope, a.ratio(0.5 * slope * slope, curvature))
    return a.pick(finite, promise, a.number(-1.0))


def _resize(a: Any, path: Subproblem, ratio: Any, length: Any, largest: Any) -> Any:
    """The next radius."""
    smaller = SHRINK * a.minimum(path.radius, length)
    larger = a.minimum(GROW * path.radius, largest)
    kept = a.pick((ratio > GOOD) & path.edge, larger, path.radius)
    return a.pick(ratio >= POOR, kept, smaller)
