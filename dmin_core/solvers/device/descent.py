"""Quasi-Newton methods but for the matrix: search along a direction, learn from where it ended, turn, test, go on.

`Descent.iterate` says so once, over points, scalars and the few operations that Python and compiled loops do each in
their own way (`arithmetic`, and `loop` and `put_row` below): no framework has an algorithm of its own. What a method
adds is what it evaluates beside value and gradient (`_try`) and the next direction (`_turn`): `lbfgs`, `bfgs`.

**Products with the history or the matrix** are wanted of one trial of a search, that at which it ends, and so taken
after it: they read far more memory than all the rest. Not so where the loop is Python's and has to wait for an
accelerator: there all that an iteration may be decided on is read with the trial, in one read (`early`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from . import line_search
from .points import Point, Vectors

RUNNING, GRADIENT, VALUE, RESOLUTION, EVALUATIONS, ITERATIONS, FAILED, START = range(8)
"""Why an iteration was the last."""

FIRST_STEP = 2.0
"""Length of the first trial step along the gradient. L-BFGS-B has 1; on the same problems 2 takes fewer evaluations."""


class Limits(NamedTuple):
    """What ends a run or a stretch of it: numbers that do not belong to the program."""

    gtol: Any
    ftol: Any
    c1: Any
    c2: Any
    maxls: Any
    maxiter: Any
    maxfun: Any
    until_evaluation: Any
    until_iteration: Any


class Trial(NamedTuple):
    """A point that was evaluated in a search.

    Attributes
    ----------
    x, g : point
    f, slope : scalar
        Value, and derivative along the direction.
    gg : scalar
        ‖g‖².
    largest : scalar
        What is compared with gtol, in a tuple; () where it is found once the search has ended.
    t : scalar
        How far along the direction.
    kept : tuple
        Arrays of the method's own.
    products : tuple
        Inner products of the method's own, on the host where Python runs the loop; () where they are not taken `early`.
    """

    x: Point
    g: Point
    f: Any
    slope: Any
    gg: Any
    largest: Any
    products: Any
    t: Any
    kept: Any


class State(NamedTuple):
    """All that one iteration hands to the next.

    Attributes
    ----------
    history : tuple of arrays
        First, since its memory is what a stretch hands on.
    x, g, d : point
        Where the run is, the gradient and the direction there.
    free : point
        1 for the variables that no bound holds, 0 for the others (`Vectors.hold`); () where there are no bounds.
    memory : NamedTuple
        What the method knows beside the history; ``size`` of it is 0 where that is nothing.
    f, slope, t : scalar
        Value, slope along ``d``, and the first step to try.
    largest : scalar
        What is compared with gtol, or a lower bound of it that is larger.
    hope : scalar
        The most that trials in vain promised to gain from here.
    nfev, nit, status : int
    """

    history: tuple[Any, ...]
    x: Point
    g: Point
    d: Point
    free: Point
    memory: Any
    f: Any
    slope: Any
    t: Any
    gg: Any
    largest: Any
    hope: Any
    nfev: Any
    nit: Any
    status: Any


class Descent:
    """A method over points of one kind.

    Parameters
    ----------
    arithmetic : Host or Traced
    xp : namespace
        For the arrays of points.
    evaluate : callable
        ``evaluate(point) -> (value, gradient point)``.
    observe : callable
        ``observe(value, scalars, products)``: the same as scalars and a small array, read from the device if need be.
        There may be no value and no products, None.
    record : callable
        ``record(log, trial)`` is told of every evaluation, and returns what it keeps of them.
    loop : callable
        ``loop(condition, body, state)``.
    put_row, add_to : callable
        ``put_row(array, k, row)`` and ``add_to(array, increment)``, with which a history is written: in place where
        that can be.
    branch : callable
        ``branch(predicate, true, false, operands)``: one of two functions.
    beside : callable
        From coefficients to an array that multiplies the history.
    bounds : pair of points, or None
    early : bool
        Whether all that is wanted of a trial is read with its value.
    times : callable, optional
        The product of vectors and matrices; default: the namespace's.
    """

    def __init__(
        self,
        arithmetic: Any,
        xp: Any,
        evaluate: Callable[[Point], Any],
        observe: Callable[..., Any],
        record: Callable[..., Any],
        loop: Callable[..., Any],
        put_row: Callable[..., Any],
        add_to: Callable[..., Any],
        branch: Callable[..., Any],
        beside: Callable[[Any], Any],
        bounds: tuple[Point, Point] | None = None,
        early: bool = False,
        times: Callable[..., Any] | None = None,
    ) -> None:
        self.a, self.xp = arithmetic, xp
        self.evaluate, self.observe, self.record, self.loop = evaluate, observe, record, loop
        self.put_row, self.add_to, self.beside, self.bounds = put_row, add_to, beside, bounds
        self.early, self.branch = early, branch
        self.times: Callable[..., Any] = xp.matmul if times is None else times
        self.vectors = Vectors(xp, self.times, bounds)

    # -- what a method adds ---------------------------------------------------------------------------------

    def _memory(self) -> Any:
        """The memory that a run begins with; its ``size`` is 0 where that knows nothing."""
        raise NotImplementedError

    def _try(self, state: State, t: Any) -> Trial:
        """Evaluate at a step ``t``: value, slope and gradient; and where they are read `early`, the products."""
        raise NotImplementedError

    def _sums(self, x: Point, g: Point) -> tuple[Any, ...]:
        """What the size of the gradient is made of, beside ‖g‖²: scalars."""
        raise NotImplementedError

    def _size(self, gg: Any, sums: Any) -> Any:
        """The size of the gradient, which is compared with gtol; no less than that of its largest number, unbounded."""
        raise NotImplementedError

    def _hold(self, state: State, trial: Trial) -> tuple[Point, Point]:
        """Which variables are free from there on, and what the others have still to go to their bounds."""
        return self.vectors.hold(trial.x, trial.g, state.x)

    def _turn(
        self, state: State, trial: Trial, free: Point, rest: Point, anew: Any
    ) -> tuple[tuple[Any, ...], Any, Point, Any]:
        """History, memory, the next direction and the slope along it; ``anew``: all but -g is to be forgotten."""
        raise NotImplementedError

    # -- a run ----------------------------------------------------------------------------------------------

    def begin(self, x: Point, zeros: Point, history: tuple[Any, ...]) -> State:
        """The state before the first evaluation, whose search is along a direction of zeros."""
        a = self.a
        zero, none = a.number(0.0), a.count(0)
        free = () if self.bounds is None else zeros
        return State(
            history,
            x,
            zeros,
            zeros,
            free,
            self._memory(),
            zero,
            zero,
            zero,
            zero,
            zero,
            a.number(-1.0),
            none,
            none,
            none,
        )

    def iterate(self, state: State, limits: Limits, log: Any) -> tuple[State, Any]:
        """One iteration: a search, and the direction of the next."""
        a = self.a
        first = state.nfev == 0
        search, trial, nfev, log = self._search(state, limits, first, log)
        moved = (search.best > 0.0) | first
        nit = state.nit + a.pick(moved & a.negate(first), 1, 0)

        fall = state.f - trial.f
        size = a.maximum(a.maximum(a.abs(state.f), a.abs(trial.f)), 1.0)
        hope = a.pick(moved, a.number(-1.0), a.maximum(state.hope, search.hope))
        still = a.negate(moved)
        why = a.pick(nit >= limits.maxiter, ITERATIONS, RUNNING)
        why = a.pick(nfev >= limits.maxfun, EVALUATIONS, why)
        exhausted = still & search.done & (state.memory.size == 0)
        why = a.pick(exhausted, FAILED, why)
        least = line_search.resolution(a, state.f, exhausted)
        why = a.pick(still & search.done & (hope >= 0.0) & (hope <= least), RESOLUTION, why)
        why = a.pick(moved & a.negate(first) & (fall <= limits.ftol * size), VALUE, why)
        largest = self._largest(trial, limits.gtol)
        why = a.pick(largest <= limits.gtol, GRADIENT, why)
        why = a.pick(a.isfinite(trial.f) & a.isfinite(trial.gg), why, START)

        free, rest = self._hold(state, trial)
        history, memory, d, slope = self._turn(state, trial, free, rest, still)
        t = a.pick(memory.size == 0, a.minimum(1.0, a.ratio(FIRST_STEP, a.sqrt(trial.gg))), 1.0)
        return State(
            history,
            trial.x,
            trial.g,
            d,
            free,
            memory,
            trial.f,
            slope,
            t,
            trial.gg,
            largest,
            hope,
            nfev,
            nit,
            a.count(why),
        ), log

    def _largest(self, trial: Trial, gtol: Any) -> Any:
        """The size of the gradient; where it cannot be as small as gtol, Python does not ask for more than that."""
        if trial.largest:
            return trial.largest[0]
        a = self.a
        if a.eager and self.bounds is None:
            mean = a.ratio(trial.gg, sum(math.prod(array.shape) for array in trial.g))
            if mean > gtol * gtol:
                return a.sqrt(mean)
        sums = self._sums(trial.x, trial.g)
        if sums:
            _, sums, _ = self.observe(None, list(sums), None)
        return self._size(trial.gg, sums)

    def run(self, state: State, limits: Limits, log: Any) -> tuple[State, Any]:
        """Iterations until the limits."""

        def goes_on(carried: Any) -> Any:
            state, _ = carried
            fewer = (state.nfev < limits.until_evaluation) & (state.nit < limits.until_iteration)
            return (state.status == RUNNING) & (fewer | (state.nfev == 0))

        result: tuple[State, Any] = self.loop(
            goes_on, lambda carried: self.iterate(carried[0], limits, carried[1]), (state, log)
        )
        return result

    # -- the search -----------------------------------------------------------------------------------------

    def _standing(self, state: State) -> Trial:
        """The start of a search as a trial, for a search that finds nothing lower."""
        zero = self.a.number(0.0)
        largest = (state.largest,) if self.a.eager else ()
        return Trial(state.x, state.g, state.f, zero, state.gg, largest, (), zero, ())

    def _search(self, state: State, limits: Limits, first: Any, log: Any) -> Any:
        a = self.a

        def body(carried: Any) -> Any:
            search, best, nfev, log = carried
            trial = self._try(state, search.t)
            log = self.record(log, trial)
            slope = a.pick(a.isfinite(trial.gg), trial.slope, trial.gg)  # a gradient that is not finite shows here
            after = line_search.advance(a, search, state.f, state.slope, trial.f, slope, limits)
            taken = (after.best_f < search.best_f) | first
            done = after.done | first
            if done is not after.done:  # as Python's True and False are, each time but the first
                after = after._replace(done=done)
            return after, a.choose(taken, trial, best), nfev + 1, log

        def goes_on(carried: Any) -> Any:
            search, _, nfev, _ = carried
            return a.negate(search.done) & (nfev < limits.maxfun)

        search = line_search.begin(a, state.f, state.slope, state.t, limits.c1)
        return self.loop(goes_on, body, (search, self._standing(state), state.nfev, log))
