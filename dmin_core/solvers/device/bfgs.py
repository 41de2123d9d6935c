"""BFGS whose matrix stays where the arrays are: the inverse Hessian's approximation H, dense.

Broyden, Fletcher, Goldfarb and Shanno (1970), in the inverse form of Nocedal and Wright (2006), "Numerical
Optimization", equation 6.17. Before the first pair (s, y) H is γ I with γ = sᵀy / yᵀy (their equation 6.20), so that
the first matrix has the size of the true one. A pair that has not sᵀy > ε yᵀy is left out: strong Wolfe conditions give
sᵀy > 0 (their section 6.1), but a search may end without them where digits do. Damping is for methods that cannot
choose their step so.

**One matrix, not a block for each pair of the point's arrays**: these say how leaves are handed over, at most a few
(`_layout`), and blocks would make every product as many calls as there are pairs of them. Vectors are laid end to end
for the products, n numbers beside n².

**What an iteration costs**: one product of H with two vectors, the gradient g and its change y, which gives all that
the next direction is decided on (gᵀHg, gᵀHy, yᵀHy). H g is wanted for the direction, and Hy is not H g less what was
known before it, for where a step is short the digits of that difference are gone. It then reads H once more and writes
it, in place where the framework has arrays that can be written:

    H ← H + [Hy, s] M [Hy, s]ᵀ,  M = [[0, -1 / sᵀy], [-1 / sᵀy, (1 + yᵀHy / sᵀy) / sᵀy]]

The next direction is -H g less the same two vectors times what M makes of their products with g: no further product
with the new H. Where Python runs the loop that is some thirty of the framework's operations an evaluation, whatever n.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..._device_problem import array_device
from .descent import Descent, State, Trial
from .points import Point, negate, step, subtract, sum_of


class Known(NamedTuple):
    """``size`` is 0 where the matrix in the history counts for nothing and H is the identity."""

    size: Any


class Bfgs(Descent):
    """The method over points of one kind. The history is one (n, n) array.

    A trial's ``kept`` is ``([Hg, Hy],)``, its ``products`` are [[gᵀHg, gᵀHy], [yᵀHg, yᵀHy]] and ‖y‖².

    Parameters
    ----------
    norm : float
        Of the gradient, at least 1: what gtol is compared with.
    given : bool
        Whether the history that a run begins with is a matrix to begin with.
    **parts
        `Descent`'s.
    """

    def __init__(self, norm: float, given: bool, **parts: Any) -> None:
        super().__init__(**parts)
        self.norm, self.given = norm, given

    def _memory(self) -> Known:
        return Known(self.a.count(1 if self.given else 0))

    def _try(self, state: State, t: Any) -> Trial:
        dot = self.vectors.dot
        x = step(state.x, t, state.d)
        value, g = self.evaluate(x)
        scalars, products = [dot(g, state.d), dot(g, g)], None
        images: tuple[Any, ...] = ()
        if self.early:
            square, images, products = self._products(state, g)
            scalars += [square, *self._sums(x, g)]
        f, (slope, gg, *more), products = self.observe(value, scalars, products)
        if not self.early:
            return Trial(x, g, f, slope, gg, (), (), t, images)
        square, *sums = more
        return Trial(x, g, f, slope, gg, (self._size(gg, sums),), (products, square), t, images)

    def _learn(self, state: State, trial: Trial) -> Trial:
        """The trial with what the next direction takes."""
        square, images, products = self._products(state, trial.g)
        _, (yy,), products = self.observe(None, [square], products)
        return trial._replace(products=(products, yy), kept=images)

    def _products(self, state: State, g: Point) -> tuple[Any, tuple[Any], Any]:
        """‖y‖², H times g and y, and the products of these with g and y."""
        y = subtract(g, state.g)
        rows = self.xp.stack([self._row(g), self._row(y)])
        images = self._times_matrix(state, rows)
        return self.vectors.dot(y, y), (images,), self.times(rows, self.xp.matrix_transpose(images))

    def _turn(
        self, state: State, trial: Trial, free: Point, rest: Point, anew: Any
    ) -> tuple[tuple[Any, ...], Known, Point, Any]:
        a, (matrix,), fresh = self.a, state.history, state.memory.size == 0
        if not trial.products:
            trial = self._learn(state, trial)
        products, yy = trial.products
        ghg, ghy, yhy = (a.number(products[i, j]) for i, j in ((0, 0), (0, 1), (1, 1)))
        sg, sy = trial.t * trial.slope, trial.t * (trial.slope - state.slope)
        good = sy > a.eps * yy
        # Of the identity before the first pair.
        scale = a.pick(good & fresh, a.ratio(sy, yy), a.number(1.0))
        cross = a.pick(good, -a.ratio(scale, sy), a.number(0.0))
        corner = a.pick(good, a.ratio(1.0 + a.ratio(scale * yhy, sy), sy), a.number(0.0))
        of_hy, of_s = cross * sg, corner * sg + cross * ghy
        slope = -(scale * ghg + of_s * sg + cross * sg * ghy)
        # Rounding may leave a matrix that is not positive definite, or not finite.
        forget = anew | a.negate(yhy > 0.0) | a.negate((slope < 0.0) | (trial.gg == 0.0))
        size = a.minimum(state.memory.size + a.pick(good, 1, 0), 1)
        known = Known(a.count(a.pick(forget, 0, size)))
        slope = a.pick(forget, -trial.gg, slope)
        if a.eager and forget:
            return state.history, known, negate(trial.g), slope
        weights = (-scale, -of_hy, -of_s, 0.0 * scale, cross, corner)
        turned, rows, column = self._combine(trial, self._row(state.d) * trial.t, weights)
        d = a.choose(forget, negate(trial.g), self._cut(turned, trial.g))
        return (self._update(matrix, fresh, good, scale, column, rows),), known, d, slope

    # -- vectors --------------------------------------------------------------------------------------------

    def _row(self, point: Point) -> Any:
        """A point laid end to end."""
        xp = self.xp
        if len(point) == 1 and point[0].ndim == 1:
            return point[0]
        return xp.concat([xp.reshape(array, (-1,)) for array in point])

    def _cut(self, row: Any, like: Point) -> Point:
        """The inverse of `_row`."""
        if len(like) == 1 and like[0].ndim == 1:
            return (row,)
        parts, start = [], 0
        for array in like:
            stop = start + math.prod(array.shape)
            parts.append(self.xp.reshape(row[start:stop], array.shape))
            start = stop
        return tuple(parts)

    def _sums(self, x: Point, g: Point) -> tuple[Any, ...]:
        """What the norm of the gradient is made of, beside its square."""
        if self.norm == math.inf:
            return self.vectors.extremes(g)
        xp, p = self.xp, self.norm
        return () if p == 2.0 else (sum_of(xp.sum(xp.abs(array) ** p) for array in g),)

    def _size(self, gg: Any, sums: Any) -> Any:
        """The norm of the gradient."""
        if self.norm == math.inf:
            return self.a.maximum(sums[0], -sums[1])
        return self.a.sqrt(gg) if self.norm == 2.0 else sums[0] ** (1.0 / self.norm)

    # -- the matrix -----------------------------------------------------------------------------------------

    def _times_matrix(self, state: State, rows: Any) -> Any:
        """H, which is symmetric, times each of the rows."""
        a, fresh = self.a, state.memory.size == 0
        if a.eager:
            return rows if fresh else self.times(rows, state.history[0])
        return self.xp.where(fresh, rows, self.times(rows, state.history[0]))

    def _combine(self, trial: Trial, s: Any, weights: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        """The direction, and the two factors, (2, n) each, whose product is what H changes by."""
        of_hg, of_hy, of_s, none, cross, corner = weights
        xp, a = self.xp, self.a
        (images,) = trial.kept
        rows = xp.concat([images, s[None, :]])
        matrix = a.small.reshape(a.as_array([of_hg, of_hy, of_s, none, none, cross, none, cross, corner]), (3, 3))
        made = self.times(self.beside(matrix), rows)
        return made[0, :], made[1:, :], rows[1:, :]

    def _update(self, matrix: Any, fresh: Any, good: Any, scale: Any, left: Any, right: Any) -> Any:
        xp, n = self.xp, matrix.shape[0]
        if self.a.eager:
            if not good:
                return matrix
            base = matrix
            if fresh:
                base = xp.eye(n, dtype=matrix.dtype, device=array_device(matrix)) * scale
            return self.add_to(base, self.times(xp.matrix_transpose(left), right))
        # Products of numbers, which compilers put into one pass over the matrix: two factors are too few for a matmul.
        change = left[0, :, None] * right[0, None, :] + left[1, :, None] * right[1, None, :]
        numbers = xp.arange(n)
        base = xp.where(fresh, xp.where(numbers[:, None] == numbers, scale, 0.0 * scale), matrix)
        return xp.where(good, base + change, matrix)
