"""L-BFGS whose vectors stay where the arrays are, with or without bounds.

One iteration is a search along a direction, whose every trial is one evaluation and one product of the history with the
new gradient, and then arithmetic on 2m + 1 numbers (`coefficients`) and one more product, which is the next direction.
`Lbfgs.iterate` says so once, over points, scalars and the three operations that Python and compiled loops do each in
their own way (`arithmetic`, and `loop` and `put_row` below): no framework has an algorithm of its own.

**The history** is one (2m + 1, …) array for each array of the point: m steps, m changes of the gradient, the gradient.

**What an evaluation costs where Python runs the loop**: some twenty of the framework's operations (forty with bounds),
whatever m, n and the number of leaves, beside those of `fun`, and one read of 2m + 7 numbers, on which everything is
decided.

**Bounds.** Trials are projected onto the bounds, so all are feasible. Variables at a bound which the gradient pushes
outwards are held there, and the quasi-Newton direction is that of the others: the inner products are taken over the
free variables alone, by one more matrix product, so that the inverse approximated is the free variables' own. Bertsekas
(1982), "Projected Newton Methods for Optimization Problems with Simple Constraints", SIAM J. Control Optim. 20(2); with
L-BFGS, Schmidt, Kim and Sra (2011), "Projected Newton-type Methods in Machine Learning", in Optimization for Machine
Learning, section 11.4. Any number of variables may meet or leave their bounds in one iteration, and nothing loops over
them.

**Sums** are taken in the vectors' dtype, which is float32 at least, by the framework's own products. These add up in
blocks, whose errors grow far more slowly than n; to sum float32 in float64 would need copies of the history twice its
size, more than all the rest of the iteration moves.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from . import coefficients, line_search
from .coefficients import Memory

Point = tuple[Any, ...]

RUNNING, GRADIENT, VALUE, RESOLUTION, EVALUATIONS, ITERATIONS, FAILED, START = range(8)
"""Why an iteration was the last."""

FIRST_STEP = 2.0
"""Length of the first trial step along the gradient. L-BFGS-B has 1; on the same problems 2 takes fewer evaluations."""


class Limits(NamedTuple):
    """What ends a run or a stretch of it: numbers that do not belong to the program."""

    gtol: Any
    ftol: Any
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
    gg, yy : scalar
        ‖g‖², and the square of the change of g over the search.
    largest : scalar
        The largest number of the gradient, projected where there are bounds.
    t : scalar
        How far along the direction.
    pair : tuple
        The step and the change of the gradient, where they are kept.
    products : array
        Without bounds (2m + 1,), the history times g; with bounds `_free_products`.
    """

    x: Point
    g: Point
    f: Any
    slope: Any
    gg: Any
    yy: Any
    largest: Any
    products: Any
    t: Any
    pair: Any


class State(NamedTuple):
    """All that one iteration hands to the next.

    Attributes
    ----------
    history : tuple of arrays
        First, since its memory is what a stretch hands on.
    x, g, d : point
        Where the run is, the gradient and the direction there.
    memory : Memory
    f, slope, t : scalar
        Value, slope along ``d``, and the first step to try.
    largest : scalar
        What is compared with gtol.
    hope : scalar
        The most that trials in vain promised to gain from here.
    nfev, nit, status : int
    """

    history: tuple[Any, ...]
    x: Point
    g: Point
    d: Point
    memory: Memory
    f: Any
    slope: Any
    t: Any
    gg: Any
    largest: Any
    hope: Any
    nfev: Any
    nit: Any
    status: Any


class Lbfgs:
    """The method over points of one kind.

    Parameters
    ----------
    arithmetic : Host or Traced
    xp : namespace
        For the arrays of points.
    m : int
        Pairs to remember.
    evaluate : callable
        ``evaluate(point) -> (value, gradient point)``.
    observe : callable
        ``observe(value, scalars, products)``: the same as scalars and a small array, read from the device if need be.
    record : callable
        ``record(log, trial)`` is told of every evaluation, and returns what it keeps of them.
    loop : callable
        ``loop(condition, body, state)``.
    put_row : callable
        ``put_row(array, k, row)``, with which a history is written.
    beside : callable
        From coefficients to an array that multiplies the history.
    bounds : pair of points, or None
    times : callable, optional
        The product of vectors and matrices; default: the namespace's.
    """

    def __init__(
        self,
        arithmetic: Any,
        xp: Any,
        m: int,
        evaluate: Callable[[Point], Any],
        observe: Callable[..., Any],
        record: Callable[..., Any],
        loop: Callable[..., Any],
        put_row: Callable[..., Any],
        beside: Callable[[Any], Any],
        bounds: tuple[Point, Point] | None = None,
        times: Callable[..., Any] | None = None,
    ) -> None:
        self.a, self.xp, self.m = arithmetic, xp, m
        self.evaluate, self.observe, self.record, self.loop = evaluate, observe, record, loop
        self.put_row, self.beside, self.bounds = put_row, beside, bounds
        self.times: Callable[..., Any] = xp.matmul if times is None else times

    # -- a run ----------------------------------------------------------------------------------------------

    def begin(self, x: Point, zeros: Point, history: tuple[Any, ...]) -> State:
        """The state before the first evaluation, whose search is along a direction of zeros."""
        a = self.a
        zero, none = a.number(0.0), a.count(0)
        memory = coefficients.empty(a, self.m)
        return State(history, x, zeros, zeros, memory, zero, zero, zero, zero, zero, a.number(-1.0), none, none, none)

    def iterate(self, state: State, limits: Limits, log: Any) -> tuple[State, Any]:
        """One iteration: a search, and the direction of the next."""
        a = self.a
        first = state.nfev == 0
        search, trial, nfev, log = self._search(state, limits, first, log)
        moved = (search.best > 0.0) | first
        history = self._write(state, trial)
        memory = self._remember(state, trial)
        nit = state.nit + a.pick(moved & a.negate(first), 1, 0)

        fall = state.f - trial.f
        size = a.maximum(a.maximum(a.abs(state.f), a.abs(trial.f)), 1.0)
        hope = a.pick(moved, a.number(-1.0), a.maximum(state.hope, search.hope))
        noise = line_search.NOISE * a.eps * a.abs(state.f)
        still = a.negate(moved)
        why = a.pick(nit >= limits.maxiter, ITERATIONS, RUNNING)
        why = a.pick(nfev >= limits.maxfun, EVALUATIONS, why)
        exhausted = still & search.done & (state.memory.size == 0)
        why = a.pick(exhausted, FAILED, why)
        why = a.pick(still & search.done & (hope >= 0.0) & (hope <= noise), RESOLUTION, why)
        why = a.pick(moved & a.negate(first) & (fall <= limits.ftol * size), VALUE, why)
        why = a.pick(trial.largest <= limits.gtol, GRADIENT, why)
        why = a.pick(a.isfinite(trial.f) & a.isfinite(trial.gg), why, START)

        d, slope, memory = self._direct(trial, history, memory, still)
        t = a.pick(memory.size == 0, a.minimum(1.0, a.ratio(FIRST_STEP, a.sqrt(trial.gg))), 1.0)
        return State(
            history,
            trial.x,
            trial.g,
            d,
            memory,
            trial.f,
            slope,
            t,
            trial.gg,
            trial.largest,
            hope,
            nfev,
            nit,
            a.count(why),
        ), log

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

    def _search(self, state: State, limits: Limits, first: Any, log: Any) -> Any:
        a = self.a

        def body(carried: Any) -> Any:
            search, best, nfev, log = carried
            trial = self._try(state, search.t)
            log = self.record(log, trial)
            slope = a.pick(a.isfinite(trial.gg), trial.slope, trial.gg)  # a gradient that is not finite shows here
            after = line_search.advance(a, search, state.f, state.slope, trial.f, slope, limits.maxls)
            taken = (after.best_f < search.best_f) | first
            after = after._replace(done=after.done | first)
            return after, a.choose(taken, trial, best), nfev + 1, log

        def goes_on(carried: Any) -> Any:
            search, _, nfev, _ = carried
            return a.negate(search.done) & (nfev < limits.maxfun)

        search = line_search.begin(a, state.f, state.slope, state.t)
        return self.loop(goes_on, body, (search, self._standing(state), state.nfev, log))

    def _standing(self, state: State) -> Trial:
        """The start of a search as a trial, for a search that finds nothing lower."""
        a, m = self.a, self.m
        products = a.zeros(2 * m + 1) if self.bounds is None else a.zeros(2 * m + 3, m + 2)
        zero = a.number(0.0)
        return Trial(state.x, state.g, state.f, zero, state.gg, zero, state.largest, products, zero, ())

    def _try(self, state: State, t: Any) -> Trial:
        """Evaluate at a step ``t``, with all the inner products that are wanted if the search ends there."""
        xp = self.xp
        s = tuple([d * t for d in state.d])
        ahead = tuple([x + step for x, step in zip(state.x, s, strict=True)])
        x = ahead if self.bounds is None else self._project(ahead)
        value, g = self.evaluate(x)
        y = tuple([new - old for new, old in zip(g, state.g, strict=True)])
        if self.bounds is None:
            along, span, products = state.d, g, self._times(state.history, g)
        else:
            # The path bends where a variable meets its bound, and goes on without it.
            along = tuple(xp.where(free == kept, d, d * 0.0) for free, kept, d in zip(ahead, x, state.d, strict=True))
            there = self._project(tuple(b - c for b, c in zip(x, g, strict=True)))
            span = tuple(b - c for b, c in zip(there, x, strict=True))
            s = tuple([new - old for new, old in zip(x, state.x, strict=True)])
            products = self._free_products(state.history, x, g, s, y)
        # Two reductions, and no array of absolute values.
        top, bottom = (
            functools.reduce(both, [each(array) for array in span])
            for each, both in ((xp.max, xp.maximum), (xp.min, xp.minimum))
        )
        scalars = [self._dot(g, along), self._dot(g, g), self._dot(y, y), top, bottom]
        f, (slope, gg, yy, top, bottom), products = self.observe(value, scalars, products)
        largest = self.a.maximum(top, -bottom)
        # Compiled, the pair is computed again when it is wanted: to carry it through the search would cost more.
        return Trial(x, g, f, slope, gg, yy, largest, products, t, (s, y) if self.a.eager else ())

    def _write(self, state: State, trial: Trial) -> tuple[Any, ...]:
        """The history with the pair of a search, and the new gradient."""
        k, m, put = state.memory.slot, self.m, self.put_row
        if trial.pair:
            steps, changes = trial.pair
        else:
            steps = tuple([a - b for a, b in zip(trial.x, state.x, strict=True)])
            changes = tuple([a - b for a, b in zip(trial.g, state.g, strict=True)])
        return tuple(
            put(put(put(history, k, s), k + m, y), 2 * m, g)
            for history, s, y, g in zip(state.history, steps, changes, trial.g, strict=True)
        )

    def _remember(self, state: State, trial: Trial) -> Memory:
        a, memory, t, m = self.a, state.memory, trial.t, self.m
        if self.bounds is not None:
            return coefficients.remember_free(a, memory, trial.products)
        sy, sg = t * (trial.slope - state.slope), t * trial.slope
        yg = trial.gg - trial.products[2 * m]
        return coefficients.remember(a, memory, trial.products[: 2 * m], sy, trial.yy, sg, yg)

    def _direct(self, trial: Trial, history: Any, memory: Memory, anew: Any) -> tuple[Point, Any, Memory]:
        """The direction -H g and the slope along it; -g where that would not lead downwards."""
        a = self.a
        memory = a.choose(anew, coefficients.empty(a, self.m), memory)
        gg = self._free_square(trial)
        of_s, of_y, of_g = coefficients.direction(a, memory)
        slope = a.total(of_s * memory.sg) + a.total(of_y * memory.yg) + of_g * gg
        upwards = a.negate(slope < 0.0)
        memory = a.choose(upwards, coefficients.empty(a, self.m), memory)
        nothing = of_s * 0.0
        of_s, of_y = a.choose(upwards, (nothing, nothing), (of_s, of_y))
        of_g, slope = a.pick(upwards, a.number(-1.0), of_g), a.pick(upwards, -gg, slope)
        weights = self.beside(a.join([of_s, of_y, a.as_array([of_g])]))
        d = self._combine(weights, history)
        if self.bounds is not None:
            d = tuple(f * b for f, b in zip(self._free(trial.x, trial.g), d, strict=True))
        return d, slope, memory

    # -- vectors --------------------------------------------------------------------------------------------

    def _dot(self, u: Point, v: Point) -> Any:
        if len(u) == 1 and u[0].ndim == 1:
            return self.times(u[0], v[0])
        return sum_of(self.times(a, b) if a.ndim == 1 else self.xp.sum(a * b) for a, b in zip(u, v, strict=True))

    def _times(self, history: tuple[Any, ...], v: Point) -> Any:
        """Every row of the history times ``v``."""
        xp = self.xp
        return sum_of(
            self.times(rows, a) if a.ndim == 1 else xp.tensordot(rows, a, axes=a.ndim)
            for rows, a in zip(history, v, strict=True)
        )

    def _combine(self, weights: Any, history: tuple[Any, ...]) -> Point:
        xp = self.xp
        return tuple(
            self.times(weights, rows) if rows.ndim == 2 else xp.tensordot(weights, rows, axes=1) for rows in history
        )

    # -- bounds ---------------------------------------------------------------------------------------------

    def _project(self, x: Point) -> Point:
        assert self.bounds is not None
        xp = self.xp
        return tuple(xp.minimum(xp.maximum(a, low), high) for a, low, high in zip(x, *self.bounds, strict=True))

    def _free(self, x: Point, g: Point) -> Point:
        """1 for variables that can go where the gradient says, 0 for those that it holds at a bound."""
        assert self.bounds is not None
        xp = self.xp
        held = (
            ((a <= low) & (b > 0.0)) | ((a >= high) & (b < 0.0))
            for a, b, low, high in zip(x, g, *self.bounds, strict=True)
        )
        return tuple(xp.astype(xp.logical_not(h), a.dtype) for h, a in zip(held, x, strict=True))

    def _free_products(self, history: tuple[Any, ...], x: Point, g: Point, s: Point, y: Point) -> Any:
        """(2m + 3, m + 2): the steps, the changes, s, y and g, times the changes, g and y over the free variables."""
        xp, m, parts = self.xp, self.m, []
        for rows, free, b, c, e in zip(history, self._free(x, g), g, s, y, strict=True):
            flat = [xp.reshape(free * each, (1, -1)) for each in (b, e)]
            known = xp.reshape(rows[: 2 * m, ...], (2 * m, -1))
            right = xp.concat([known[m:, :] * xp.reshape(free, (1, -1)), *flat])
            left = xp.concat([known, *(xp.reshape(each, (1, -1)) for each in (c, e, b))])
            parts.append(xp.matmul(left, xp.matrix_transpose(right)))
        return sum_of(parts)

    def _free_square(self, trial: Trial) -> Any:
        """‖g‖² over the free variables."""
        return trial.gg if self.bounds is None else trial.products[2 * self.m + 2, self.m]


def sum_of(terms: Any) -> Any:
    """The sum of arrays, without a zero to start from."""
    return functools.reduce(operator.add, terms)
