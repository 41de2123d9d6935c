"""Units for the variables, by the curvature along each that products with the Hessian have shown.

A trust region is a ball, and conjugate gradients begin along the gradient: either is as good as the units of the
variables. Where some are a thousand times others a path is long, and a step that the ball cuts short goes astray. The
remedy is a norm in which the curvatures are alike, a diagonal one by the Hessian's diagonal: Conn, Gould and Toint
(2000), "Trust-Region Methods", section 6.7; Hsia, Chiang and Lin (2018), "Preconditioned Conjugate Gradient Methods in
Truncated Newton Frameworks for Large-scale Linear Classification", PMLR 95.

The diagonal is not at hand where the Hessian is products. But every product h = Hd says something of it: the number
that fits ``hⱼ = Dⱼ dⱼ`` best over the products so far, by least squares, is

    Dⱼ = Σ dⱼ hⱼ / Σ dⱼ²,

with a weight of 1 / ‖d‖² each, and half the weight for those of a path before. A diagonal is a poor likeness of many a
Hessian, and units by it then do harm: a regression on correlated data takes twice the products in them. How good it is,
the fit itself tells, by the part of the products that it explains, the coefficient of determination

    R² = Σⱼ (Σ dⱼ hⱼ)² / Σ dⱼ² / Σ ‖h‖²,

1 where the variables have nothing to do with one another; adjusted for how few the products are, since one is explained
by any diagonal. So units are ``|Dⱼ|`` to the power of ``-½ R² K / (K + 3)`` after K products: near all that it takes
for curvatures to be alike, or as much of it as is known to be good. They are 1 in the geometric mean, so that the
radius means what it meant before. What it gains is in benchmarks/RESULTS.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .points import Point, Vectors, multiply, scale, sum_of

FLOOR = 1e-6
"""The least that a curvature counts for, over the largest: a variable without any would be given the whole region."""
KEPT = 0.5
"""What is left of a path's weight after each later one."""
DOUBTED = 3.0
"""Products that are set against those there are: the first few are much alike, since steps are."""


class Shown(NamedTuple):
    """What products have shown.

    Attributes
    ----------
    products, squares : point
        Σ dⱼhⱼ / ‖d‖² and Σ dⱼ² / ‖d‖².
    total : scalar
        Σ ‖h‖² / ‖d‖².
    weight, weight_squared : scalar
        Of the products, Σ w and Σ w²: as good as (Σ w)² / Σ w² of one weight.
    """

    products: Point
    squares: Point
    total: Any
    weight: Any
    weight_squared: Any


def begin(products: Point, squares: Point, zero: Any) -> Shown:
    """Nothing, by points of zeros."""
    return Shown(products, squares, zero, zero, zero)


def show(xp: Any, a: Any, shown: Shown, d: Point, h: Point, hh: Any, dd: Any) -> Shown:
    """The sums with one more product h = Hd, if the squares ``hh`` and ``dd`` of their lengths are finite and not 0."""
    weight = a.ratio(1.0, dd)
    usable = (dd > 0.0) & a.isfinite(weight) & a.isfinite(hh * weight)
    if a.eager:
        if not usable:
            return shown
    else:
        weight, hh = a.choose(usable, (weight, hh), (a.number(0.0), a.number(0.0)))
        h = tuple(xp.where(usable, each, 0.0 * u) for each, u in zip(h, d, strict=True))
    weighed = scale(weight, d)
    sums = _plus(shown.products, weighed, h), _plus(shown.squares, weighed, d), shown.total + weight * hh
    one = a.pick(usable, a.number(1.0), a.number(0.0))
    return Shown(*sums, shown.weight + one, shown.weight_squared + one)


def _plus(u: Point, v: Point, w: Point) -> Point:
    return tuple([a + b * c for a, b, c in zip(u, v, w, strict=True)])


def fade(shown: Shown) -> Shown:
    """The sums as they count beside those of the next path."""
    numbers = KEPT * shown.total, KEPT * shown.weight, KEPT**2 * shown.weight_squared
    return Shown(scale(KEPT, shown.products), scale(KEPT, shown.squares), *numbers)


def find_units(vectors: Vectors, a: Any, shown: Shown) -> Point:
    """The units, positive; 1 for variables of which nothing was shown, and where nothing is curved."""
    xp = vectors.xp
    # A variable that has long not moved, or hardly at all beside others: of that little rounding may be the most.
    least = a.eps**4
    signed = tuple([p / (q + least) for p, q in zip(shown.products, shown.squares, strict=True)])
    explained = sum_of(map(xp.sum, multiply(shown.products, signed))) / (shown.total + least)
    power = _power(xp, a, explained, a.ratio(shown.weight * shown.weight, shown.weight_squared))
    sizes = tuple([xp.abs(each) for each in signed])
    known = tuple([xp.astype(q > least, q.dtype) for q in shown.squares])
    floor = FLOOR * vectors.greatest(sizes) + least
    logs = tuple([xp.log(xp.maximum(size, floor)) for size in sizes])
    mean = sum_of(map(xp.sum, multiply(known, logs))) / (sum_of(map(xp.sum, known)) + least)
    return tuple([xp.exp(power * one * (mean - log)) for one, log in zip(known, logs, strict=True)])


def _power(xp: Any, a: Any, explained: Any, many: Any) -> Any:
    """How much of them: ``explained`` is R² of so ``many`` products, 1 of one whatever the Hessian."""
    enough = many > 1.0
    few = a.pick(enough, a.ratio(many, many - 1.0), a.number(1.0))
    most = a.pick(enough, 0.5 * a.ratio(many, many + DOUBTED), a.number(0.0))
    return most * xp.maximum(1.0 - few * (1.0 - explained), 0.0 * explained)
