"""L-BFGS whose vectors stay where the arrays are, with or without bounds.

One iteration is a search along a direction, a product of the history with the gradient where it ended, arithmetic on
2m + 1 numbers (`coefficients`) and one more product, which is the next direction. The search, and what ends a run, are
`descent`'s.

**The history** is one (2m + 1, …) array for each array of the point: m steps, m changes of the gradient, the gradient.

**What an evaluation costs where Python runs the loop**: some twenty of the framework's operations (forty with bounds),
whatever m, n and the number of leaves, beside those of `fun`, and one read of 2m + 8 numbers, on which everything is
decided; or, where nothing waits for an accelerator (`early`), of three, and of 2m + 3 an iteration, with two more where
the gradient may be small enough, or there are bounds.

**Bounds.** Trials are projected onto the bounds, so all are feasible. Variables at a bound which the gradient pushes
outwards are held there, and so are those that the last step brought nearly there, which go the rest of the way: a long
step that is cut short at once by such a bound has the search end at a kink. The quasi-Newton direction is that of the
others: the inner products are taken over the free variables alone, so that the inverse approximated is the free
variables' own. Where these are others than before, a matrix product gives all of them anew; where they are the same,
what is known is carried on. Bertsekas (1982), "Projected Newton Methods for Optimization Problems with Simple
Constraints", SIAM J. Control Optim. 20(2); with L-BFGS, Schmidt, Kim and Sra (2011), "Projected Newton-type Methods in
Machine Learning", in Optimization for Machine Learning, section 11.4. Any number of variables may meet or leave their
bounds in one iteration, and nothing loops over them.

**Sums** are taken in the vectors' dtype, which is float32 at least, by the framework's own products. These add up in
blocks, whose errors grow far more slowly than n; to sum float32 in float64 would need copies of the history twice its
size, more than all the rest of the iteration moves.
"""

from __future__ import annotations

import functools
from typing import Any

from . import coefficients
from .coefficients import Memory
from .descent import Descent, State, Trial
from .points import Point, add, multiply, scale, subtract, sum_of

Learnt = tuple[Memory, Any, Any]
"""The memory with a pair more; ‖g‖², with bounds over the free variables; the slope along what held ones have to go."""


class Lbfgs(Descent):
    """The method over points of one kind.

    Parameters
    ----------
    m : int
        Pairs to remember.
    **parts
        `Descent`'s.

    Its trials' ``products`` are the history times g, (2m + 1,), ‖s‖² and ‖y‖²; with bounds `_free_products`, ‖s‖²
    and the slope along what held variables have still to go.
    ``kept`` is the step s where Python runs the loop, where products are taken `early` the change y of the gradient
    too, or with bounds the history and what `Vectors.hold` found.
    """

    def __init__(self, m: int, **parts: Any) -> None:
        super().__init__(**parts)
        self.m = m
        self.nothing: Any = None

    def _memory(self) -> Memory:
        # Traced numbers belong to one trace, and none may outlive it.
        if self.nothing is None or not self.a.eager:
            self.nothing = coefficients.empty(self.a, self.m)
        return self.nothing

    def _try(self, state: State, t: Any) -> Trial:
        xp, vectors, dot = self.xp, self.vectors, self.vectors.dot
        s = scale(t, state.d)
        x = ahead = add(state.x, s)
        if self.bounds is not None:
            x = vectors.project(ahead)
            s = subtract(x, state.x)
        value, g = self.evaluate(x)
        if self.bounds is None:
            along = state.d
        else:
            # The path bends where a variable meets its bound, and goes on without it.
            along = tuple(xp.where(free == kept, d, d * 0.0) for free, kept, d in zip(ahead, x, state.d, strict=True))
        scalars, products = [dot(g, along), dot(g, g)], None
        # Compiled, the step is computed again when it is wanted: to carry it through the search would cost more.
        kept: tuple[Any, ...] = (s,) if self.a.eager else ()
        if self.early:
            y = subtract(g, state.g)
            free, rest = held = vectors.hold(x, g, state.x)
            history, kept = state.history, (s, y)
            if self.bounds is not None:
                # The state's is not written into before the search has ended: a checkpoint may be taken of it.
                history = self._rewritten(state, g, s, y)
                kept = history, held
            products, *more = self._products(history, free, g, s, y, rest)
            scalars += [*self._sums(x, g), *more]
        f, (slope, gg, *more), products = self.observe(value, scalars, products)
        if not self.early:
            return Trial(x, g, f, slope, gg, (), (), t, kept)
        top, bottom, *more = more
        return Trial(x, g, f, slope, gg, (self._size(gg, (top, bottom)),), (products, *more), t, kept)

    def _sums(self, x: Point, g: Point) -> tuple[Any, ...]:
        """The largest number and the least of the gradient, projected where there are bounds."""
        vectors = self.vectors
        return vectors.extremes(g if self.bounds is None else subtract(vectors.project(subtract(x, g)), x))

    def _size(self, gg: Any, sums: Any) -> Any:
        """That of the number of it that is farthest from zero."""
        return self.a.maximum(sums[0], -sums[1])

    def _products(self, history: Any, free: Point, g: Point, s: Point, y: Point, rest: Point) -> list[Any]:
        """What the gradient makes with the history, and the pair with itself; with bounds over the free variables.

        Then last the slope along ``rest``.
        """
        dot = self.vectors.dot
        if self.bounds is None:
            return [self._times(history, g), dot(s, s), dot(y, y)]
        return [self._free_products(history, free), dot(multiply(free, s), s), dot(g, rest)]

    def _hold(self, state: State, trial: Trial) -> tuple[Point, Point]:
        if trial.products and self.bounds is not None:
            held: tuple[Point, Point] = trial.kept[1]
            return held
        return super()._hold(state, trial)

    def _turn(
        self, state: State, trial: Trial, free: Point, rest: Point, anew: Any
    ) -> tuple[tuple[Any, ...], Any, Point, Any]:
        if trial.products:
            history = self._write(state, trial.g, *trial.kept) if self.bounds is None else trial.kept[0]
            memory, gg, along_rest = self._remember(state, trial, trial.products, known=False)
        else:
            s, y = self._step(state, trial), subtract(trial.g, state.g)
            history = self._write(state, trial.g, s, y)
            memory, gg, along_rest = self._learn_after(state, trial, history, (free, s, y, rest))
        d, slope, memory = self._direct(gg, history, memory, anew)
        if self.bounds is None:
            return history, memory, d, slope
        return history, memory, add(multiply(free, d), rest), slope + along_rest

    def _step(self, state: State, trial: Trial) -> Point:
        """That of a search: zeros where it found nothing."""
        if trial.kept:
            (s,) = trial.kept
            return s
        return scale(trial.t, state.d) if self.bounds is None else subtract(trial.x, state.x)

    def _learn_after(self, state: State, trial: Trial, history: Any, points: tuple[Point, ...]) -> Learnt:
        """What is learnt once a search has ended: the quicker way where that is enough."""
        if self.bounds is None:
            return self._learn(state, trial, history, *points)
        changed = self.xp.astype(self.vectors.differ(points[0], state.free), trial.x[0].dtype)
        _, (changed,), _ = self.observe(None, [changed], None)
        whole, more = (functools.partial(way, state, trial) for way in (self._learn, self._learn_more))
        learnt: Learnt = self.branch(changed > 0.0, whole, more, (history, *points))
        return learnt

    def _learn(self, state: State, trial: Trial, history: Any, free: Point, s: Point, y: Point, rest: Point) -> Learnt:
        """From a pair that is in the history."""
        products, *scalars = self._products(history, free, trial.g, s, y, rest)
        _, scalars, products = self.observe(None, scalars, products)
        return self._remember(state, trial, (products, *scalars), known=True)

    def _learn_more(
        self, state: State, trial: Trial, history: Any, free: Point, s: Point, y: Point, rest: Point
    ) -> Learnt:
        """The same, where the free variables are those of the iteration before: by products with g alone."""
        a, m, dot = self.a, self.m, self.vectors.dot
        s = multiply(free, s)  # without what held variables had still to go
        scalars = [dot(s, s), dot(s, y), dot(multiply(free, y), y), dot(trial.g, rest)]
        _, scalars, products = self.observe(None, scalars, self._times(history, multiply(free, trial.g)))
        *scalars, along_rest = scalars
        here, r = a.place(m, state.memory.slot), self._curvature(state, trial)
        of_pair = [a.entry(each, here) for each in (products[:m], products[m : 2 * m])]
        memory = coefficients.remember(a, state.memory, products[: 2 * m], r, *scalars, *of_pair)
        return memory, a.number(products[2 * m]), a.number(along_rest)

    def _write(self, state: State, g: Point, s: Point, y: Point) -> tuple[Any, ...]:
        """The history with a pair more, and the gradient."""
        k, m, put = state.memory.slot, self.m, self.put_row
        return tuple(
            put(put(put(history, k, a), k + m, b), 2 * m, c)
            for history, a, b, c in zip(state.history, s, y, g, strict=True)
        )

    def _rewritten(self, state: State, g: Point, s: Point, y: Point) -> tuple[Any, ...]:
        """The same as arrays of its own."""
        xp, k, m, rows = self.xp, state.memory.slot, self.m, []
        for history, *new in zip(state.history, s, y, g, strict=True):
            a, b, c = (xp.expand_dims(each, axis=0) for each in new)
            steps, changes = history[:m, ...], history[m : 2 * m, ...]
            parts = [steps[:k, ...], a, steps[k + 1 :, ...], changes[:k, ...], b, changes[k + 1 :, ...], c]
            rows.append(xp.concat(parts))
        return tuple(rows)

    def _curvature(self, state: State, trial: Trial) -> Any:
        """That along the direction over what H gave it."""
        return self.a.ratio(trial.slope - state.slope, -trial.t * state.slope)

    def _remember(self, state: State, trial: Trial, learnt: Any, known: bool) -> Learnt:
        """By the products; ``known``: the history had the pair in it when it was multiplied."""
        a, memory, t, m, r = self.a, state.memory, trial.t, self.m, self._curvature(state, trial)
        if self.bounds is not None:
            products, ss, along_rest = learnt
            memory = coefficients.remember_free(a, memory, products, ss, r)
            # NumPy's float64 scalars, unlike Python's floats, would make float64 of float32 vectors.
            return memory, a.number(products[2 * m, m]), a.number(along_rest)
        products, ss, yy = learnt
        sy, sg = t * (trial.slope - state.slope), t * trial.slope
        yg = a.entry(products[m : 2 * m], a.place(m, memory.slot)) if known else trial.gg - products[2 * m]
        return coefficients.remember(a, memory, products[: 2 * m], r, ss, sy, yy, sg, yg), trial.gg, a.number(0.0)

    def _direct(self, gg: Any, history: Any, memory: Memory, anew: Any) -> tuple[Point, Any, Memory]:
        """The direction -H g and the slope along it; -g where that would not lead downwards."""
        a = self.a
        memory = a.choose(anew, self._memory(), memory)
        of_s, of_y, of_g = coefficients.direction(a, memory)
        slope = a.inner(of_s, memory.sg) + a.inner(of_y, memory.yg) + of_g * gg
        upwards = a.negate(slope < 0.0)
        memory = a.choose(upwards, self._memory(), memory)
        nothing = of_s * 0.0
        of_s, of_y = a.choose(upwards, (nothing, nothing), (of_s, of_y))
        of_g, slope = a.pick(upwards, a.number(-1.0), of_g), a.pick(upwards, -gg, slope)
        weights = self.beside(a.join([of_s, of_y, a.as_array([of_g])]))
        return self._combine(weights, history), slope, memory

    # -- vectors --------------------------------------------------------------------------------------------

    def _times(self, history: tuple[Any, ...], v: Point) -> Any:
        """Every row of the history times ``v``."""
        xp = self.xp
        if len(v) == 1 and v[0].ndim == 1:
            return self.times(history[0], v[0])
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

    def _free_products(self, history: tuple[Any, ...], free: Point) -> Any:
        """(2m + 1, m + 1): the history times the changes and the gradient, over the free variables."""
        xp, m, parts = self.xp, self.m, []
        for rows, each in zip(history, free, strict=True):
            right = rows[m:, ...] * each
            if each.ndim == 1:
                # So round, BLAS takes half the time.
                parts.append(xp.matrix_transpose(xp.matmul(right, xp.matrix_transpose(rows))))
            else:  # sharded, which could become vectors only in one place
                every = list(range(1, rows.ndim))
                parts.append(xp.tensordot(rows, right, axes=(every, every)))
        return sum_of(parts)
