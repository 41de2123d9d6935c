"""L-BFGS in coefficient space: everything but two products with the history is done on 2m + 1 numbers.

The direction -H g is a combination of the m steps s, the m changes y of the gradient, and g, so it is found as 2m + 1
coefficients from inner products of these vectors: Chen, Wang and Zhou (2014), "Large-scale L-BFGS using MapReduce",
NeurIPS 27, section 3. A new gradient times the history gives all the products that are new: those with the new y are
differences of what is known.

H is written as Byrd, Nocedal and Schnabel do (1994), "Representations of quasi-Newton matrices and their use in limited
memory methods", Mathematical Programming 63, theorem 2.2, with R, the upper triangle of SᵀY::

    H = γ I + [S, γ Y] [[R⁻ᵀ (D + γ YᵀY) R⁻¹, -R⁻ᵀ], [-R⁻¹, 0]] [S, γ Y]ᵀ

**The scale** γ is what H does where no pair says anything, which for many variables is nearly everywhere. Usual is

    γ = sᵀy / yᵀy

of the newest pair, the shorter of the two step lengths of Barzilai and Borwein (1988), "Two-point step size gradient
methods", IMA J. Numer. Anal. 8. It is that of the largest curvatures along s: steps are short where kinks or noise make
y large. Whether they are, a step tells that was taken, by the curvature along d over the one that H⁻¹ has there,

    r = (g₊ᵀd - gᵀd) / (-t gᵀd),

1 where the unit step ends at the minimum along d. So γ is κ sᵀy / yᵀy, and κ √(ρ / r) is the next κ, within 1 and where
γ is the longer of the two lengths, sᵀs / sᵀy. Steps aim beyond the minimum (ρ is `BEYOND`), which is good for steepest
descent too: Raydan and Svaiter (2002), "Relaxed steepest descent and Cauchy-Barzilai-Borwein method", Comput. Optim.
Appl. 21. From r = 2 on a unit step ends as high as it began and takes a trial more; so the larger of the last two r is
what κ goes by, and steps whose r goes up and down are the shorter for it. What it gains is in benchmarks/RESULTS.md.

R⁻¹ is kept, not R. When a pair comes, R gets a last column and loses its first row and column; so does the inverse of
a triangular matrix. Rows and columns stay where they are, in slots that are used in turn: "upper triangular" is a
matter of age, not of place, and nothing is shifted, sorted or solved. There is no loop over the history, in Python or
compiled, so neither time nor the length of a compiled program grows with the number of pairs but by arithmetic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

BEYOND = 1.35
"""ρ, the ratio of curvatures that γ is steered to."""


class Memory(NamedTuple):
    """The inner products of m pairs (s, y) and a gradient g.

    Attributes
    ----------
    inverse : (m, m)
        R⁻¹, zero in the rows and columns of slots without a pair.
    yy : (m, m)
        yᵢᵀyⱼ.
    sy : (m,)
        sᵢᵀyᵢ.
    sg, yg : (m,)
        sᵢᵀg and yᵢᵀg.
    scale, stretch : scalar
        γ and κ.
    r : scalar
        That of the newest pair; ρ before the second, so that one step alone makes nothing longer.
    slot, size : int
        Where the next pair goes, and how many there are.
    """

    inverse: Any
    yy: Any
    sy: Any
    sg: Any
    yg: Any
    scale: Any
    stretch: Any
    r: Any
    slot: Any
    size: Any


def empty(arithmetic: Any, m: int) -> Memory:
    """No pairs: H is the identity."""
    a = arithmetic
    square, row, one, none = a.zeros(m, m), a.zeros(m), a.number(1.0), a.count(0)
    return Memory(square, square, row, row, row, one, one, a.number(BEYOND), none, none)


def remember(a: Any, memory: Memory, products: Any, r: Any, ss: Any, sy: Any, yy: Any, sg: Any, yg: Any) -> Memory:
    """The memory with one more pair, at the new gradient.

    Parameters
    ----------
    a : Host or Traced
    memory : Memory
    products : (2m,)
        The history times the new gradient. What it has in the pair's slot does not count.
    r : scalar
        Curvature along the direction of the step over what H gave it.
    ss, sy, yy, sg, yg : scalar
        sᵀs, sᵀy, yᵀy, sᵀg and yᵀg of the new pair. Where sᵀy is not positive, it is left out (and the oldest lost).
    """
    m = memory.sy.shape[0]
    good = sy > a.eps * yy
    here = a.place(m, memory.slot)
    s_g, y_g = products[:m], products[m:]
    divisor = a.pick(good, sy, 1.0)
    weight = a.pick(good, a.number(1.0), a.number(0.0))
    change = a.put(s_g - memory.sg, here, 0.0)
    column = a.put(-a.times(memory.inverse, change), here, 1.0) * (weight / divisor)
    across = a.put(y_g - memory.yg, here, yy) * weight
    scale, stretch, r = _scale(a, memory, r, ss, sy, yy)
    return Memory(
        a.cross(memory.inverse, here, 0.0, column),
        a.cross(memory.yy, here, across, across),
        a.put(a.copied(memory.sy), here, weight * sy),
        a.put(a.copied(s_g), here, weight * sg),
        a.put(a.copied(y_g), here, weight * yg),
        a.pick(good, scale, memory.scale),
        a.pick(good, stretch, memory.stretch),
        a.pick(good, r, memory.r),
        (memory.slot + a.pick(good, 1, 0)) % m,
        a.minimum(memory.size + a.pick(good, 1, 0), m),
    )


def remember_free(a: Any, memory: Memory, products: Any, ss: Any, r: Any) -> Memory:
    """The same over the free variables of a bounded problem, which may be others than before.

    Parameters
    ----------
    products : (2m + 1, m + 1)
        The history, with the pair and the gradient in it, times the changes of the gradient and the gradient, over the
        variables that are free now.
    ss : scalar
        sᵀs of the new pair, likewise.
    r : scalar
        As for `remember`.
    """
    m = memory.sy.shape[0]
    matrix, yy, sg, yg = products[:m, :m], products[m : 2 * m, :m], products[:m, m], products[m : 2 * m, m]
    slots, here = a.slots(m), a.place(m, memory.slot)
    identity = a.small.where(slots[:, None] == slots, a.number(1.0), a.number(0.0))
    sy, squares = _sums(a, matrix * identity), _sums(a, yy * identity)
    good = a.small.where(sy > a.eps * squares, a.number(1.0), a.number(0.0))
    age = (slots - memory.slot - 1) % m
    older = a.small.where(age[:, None] <= age, a.number(1.0), a.number(0.0))
    both = good[:, None] * good
    inverse = a.small.linalg.inv(matrix * older * both + identity * (1.0 - good)) * both
    newest = a.entry(good, here) > 0.0
    scaled = _scale(a, memory, r, ss, a.entry(sy, here), a.entry(squares, here))
    scale, stretch, r = a.choose(newest, scaled, (memory.scale, memory.stretch, memory.r))
    more = a.pick(newest, 1, 0)
    size = a.minimum(memory.size + more, m)
    slot = (memory.slot + more) % m
    return Memory(inverse, yy * both, sy * good, sg * good, yg * good, scale, stretch, r, slot, size)


def _scale(a: Any, memory: Memory, r: Any, ss: Any, sy: Any, yy: Any) -> tuple[Any, Any, Any]:
    """γ, κ and r with a pair more."""
    first = memory.size == 0
    highest = a.minimum(a.maximum(a.maximum(r, memory.r), BEYOND / 4.0), BEYOND * 4.0)
    # The first step was along the gradient, with a length that no H gave it.
    change = a.pick(first, a.number(1.0), a.sqrt(a.ratio(BEYOND, highest)))
    longest = a.ratio(ss, sy) * a.ratio(yy, sy)
    stretch = a.minimum(a.maximum(memory.stretch * change, 1.0), longest)
    return a.number(stretch * a.ratio(sy, yy)), a.number(stretch), a.pick(first, memory.r, a.number(r))


def _sums(a: Any, matrix: Any) -> Any:
    return a.small.sum(matrix, axis=1)


def direction(a: Any, memory: Memory) -> tuple[Any, Any, Any]:
    """Coefficients of -H g over the s, the y and g: (m,), (m,) and a scalar."""
    p = a.times(memory.inverse, memory.sg)
    inner = memory.sy * p + memory.scale * (a.times(memory.yy, p) - memory.yg)
    return -a.times(a.transpose(memory.inverse), inner), memory.scale * p, -memory.scale
