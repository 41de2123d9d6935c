"""A step within a trust region, by conjugate gradients that end early.

Minimise the quadratic model ``m(z) = gᵀz + ½ zᵀHz`` over ``‖z‖ ≤ Δ`` by conjugate gradients from z = 0, until the
residual is small enough, or the path leaves the region or meets a direction of negative curvature, along which it goes
on to the boundary: Steihaug (1983), "The Conjugate Gradient Method and Trust Regions in Large Scale Optimization", SIAM
J. Numer. Anal. 20(3); Toint (1981), "Towards an Efficient Sparsity Exploiting Newton Method for Minimization", in
Sparse Matrices and Their Uses; Conn, Gould and Toint (2000), "Trust-Region Methods", algorithm 7.5.1; Nocedal and
Wright (2006), "Numerical Optimization", algorithm 7.2.

An iteration is one product h = Hd, five inner products and the scalars here; `advance` says what follows from these
numbers, and whoever runs the loop does it to the vectors. So the product stands in one place in a compiled program, and
where Python runs the loop one read an iteration is enough: ``‖z‖``, ``zᵀd`` and ``‖d‖`` follow by recurrence (Conn,
Gould and Toint, section 7.5.1), and the next ``‖r‖²`` and β from the products with h, before r is computed.

Further ends: the limit on iterations; an iteration that gains nothing beside what was gained before, which is where
rounding keeps a residual from falling any more; a product that is not finite, before which the path stops (or, at the
first one, goes to the boundary along the gradient).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .points import Point

SOLVING, ENDED, CHECKING, SOLVED = range(4)
"""Phases: on the path; at its end; the model along the step itself is wanted, where bounds cut it short; done."""

LOOSEST = 0.1
"""How much of the residual may be left at most, relative to the first one. With Nocedal and Wright's ½ the problems of
tests/solvers/device/collection.py take a sixth more evaluations and no fewer products; with less fewer are solved."""


class Subproblem(NamedTuple):
    """Where a path is.

    Attributes
    ----------
    z, r, d : point
        The step, the model's gradient there, and the vector whose product with H is wanted next. The first of all
        arrays in a solver's state, for their memory is what a stretch hands on.
    zz, zd, dd : scalar
        ‖z‖², zᵀd and ‖d‖².
    gain : scalar
        How far the model has fallen.
    goal : scalar
        ‖r‖² at which to end, once the first product is there.
    radius : scalar
        Δ.
    edge : bool
        Whether z lies on the boundary.
    count, phase, refused : int
        Iterations; what is being done; steps that the model did not think good once bounds had cut them short.
    """

    z: Point
    r: Point
    d: Point
    zz: Any
    zd: Any
    dd: Any
    gain: Any
    goal: Any
    radius: Any
    edge: Any
    count: Any
    phase: Any
    refused: Any


class Move(NamedTuple):
    """What to do to the vectors: ``z + t d``, ``r + t h``, and then ``β d - r``."""

    t: Any
    beta: Any


def goal(a: Any, gg: Any) -> Any:
    """‖r‖² at which a path from a gradient of square ``gg`` ends.

    The forcing sequence min(`LOOSEST`, √‖g‖), by which convergence is superlinear: Nocedal and Wright, section 7.1.
    """
    norm = a.sqrt(gg)
    forcing = a.minimum(LOOSEST, a.sqrt(norm))
    return a.maximum(forcing * forcing, a.number(a.coarsest)) * gg


def begin(a: Any, z: Point, r: Point, d: Point, radius: Any, refused: Any) -> Subproblem:
    """The path before its first product, where r = g and d = -g; ‖g‖² is read with that."""
    zero, none = a.number(0.0), a.count(0)
    phase = a.count(SOLVING)
    return Subproblem(z, r, d, zero, zero, zero, zero, zero, radius, a.truth(False), none, phase, refused)


def square(a: Any, path: Subproblem, rr: Any) -> Any:
    """‖d‖², by ``rr`` = ‖r‖² where the path begins, since d is -r there."""
    return a.pick(path.count == 0, rr, path.dd)


def advance(
    a: Any, path: Subproblem, rd: Any, rr: Any, dh: Any, rh: Any, hh: Any, longest: Any
) -> tuple[Subproblem, Move]:
    """The path after a product, its vectors apart, and what is to be done to these.

    Parameters
    ----------
    a : Host or Traced
    path : Subproblem
    rd, rr, dh, rh, hh : scalar
        rᵀd, ‖r‖², dᵀh, rᵀh and ‖h‖².
    longest : int
        Iterations there may be.
    """
    zz, zd, radius, first = path.zz, path.zd, path.radius, path.count == 0
    dd, enough = square(a, path, rr), a.pick(first, goal(a, rr), path.goal)
    finite, none = a.isfinite(dh + rh + hh), a.number(0.0)
    curved = finite & (dh > 0.0)
    downwards = rd < 0.0
    alpha = a.pick(curved, a.ratio(-rd, dh), none)
    inside = curved & downwards & (zz + 2.0 * alpha * zd + alpha * (alpha * dd) < radius * radius)
    reach = _to_boundary(a, zz, zd, dd, radius)
    # Past a product that is not finite nothing is known of the model but its slope.
    outside = a.pick(downwards & (finite | first), reach, none)
    t = a.pick(inside, alpha, outside)
    gain = -t * (rd + 0.5 * t * a.pick(finite, dh, none))
    left = a.maximum(rr + 2.0 * t * rh + t * (t * hh), none)
    beta = a.pick(inside, a.maximum(a.ratio(rh + t * hh, dh), none), none)
    count = path.count + 1
    ended = a.negate(inside) | (left <= enough) | (count >= longest) | (gain <= a.coarsest * path.gain)
    return path._replace(
        zz=a.maximum(zz + 2.0 * t * zd + t * (t * dd), none),
        zd=beta * (zd + t * dd),
        dd=left + beta * beta * dd,
        gain=path.gain + gain,
        goal=enough,
        edge=a.negate(inside) & (t > 0.0),
        count=count,
        phase=a.count(a.pick(ended, ENDED, SOLVING)),
    ), Move(t, beta)


def _to_boundary(a: Any, zz: Any, zd: Any, dd: Any, radius: Any) -> Any:
    """The positive τ with ‖z + τ d‖ = Δ, without cancellation for either sign of zᵀd."""
    gap = a.maximum(radius * radius - zz, a.number(0.0))
    root = a.sqrt(zd * zd + dd * gap)
    return a.pick(zd > 0.0, a.ratio(gap, zd + root), a.ratio(root - zd, dd))
