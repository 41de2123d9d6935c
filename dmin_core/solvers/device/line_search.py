"""A step along a direction: strong Wolfe conditions, found by Moré and Thuente's interpolation, one trial at a time.

The search is a state machine without loops: `begin` sets the first trial, `advance` takes what was found there and sets
the next one or ends the search. So whoever runs it, Python or a compiled loop, has the objective in one place, and the
first trial of a good direction is the last.

- Which interval, and which point in it: Moré and Thuente (1994), "Line Search Algorithms with Guaranteed Sufficient
  Decrease", ACM TOMS 20(3), sections 2 to 4, on their auxiliary function ψ throughout.
- Near the precision limit differences of values are noise, though slopes still tell. There the value is replaced by
  that of the quadratic through the two slopes, which makes sufficient decrease the *approximate Wolfe* condition of
  Hager and Zhang (2005), "A New Conjugate Gradient Method with Guaranteed Descent and an Efficient Line Search", SIAM
  J. Optim. 16(1), section 4.
- A trial where the value or the slope is not finite is a wall: the search goes back towards the best point before it.

A search gives back the trial with the lowest value, whichever ended it. All numbers are scalars: Python's floats, or
the framework's inside what it compiles; `arithmetic` has the functions for both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

DECREASE = 1e-4
CURVATURE = 0.9
FARTHEST = 9.0
"""How many times the last distance an extrapolation may add to it. MINPACK's 4 takes more evaluations, on the problems
of tests/solvers/device/collection.py: those of a first step that is far too short."""
NARROW = 0.1
"""Relative width of an interval in which a point of sufficient decrease is good enough, as in L-BFGS-B."""
NOISE = 10.0
"""Values that differ by less than so many units in their last place do not differ."""


class Search(NamedTuple):
    """What a search knows.

    Attributes
    ----------
    t : scalar
        The trial, or after the search its last.
    low, low_psi, low_slope : scalar
        The end of the interval with the lowest ψ, and ψ and its derivative there.
    high, high_psi, high_slope : scalar
        The other end.
    bracketed : bool
        Whether a minimum lies between them.
    least, most : scalar
        Limits for the next trial.
    wall : scalar
        Where the objective was not finite.
    width, width_before : scalar
        Of the interval, and of that before it.
    best, best_f : scalar
        The trial with the lowest value, 0 where none is lower than the start's.
    hope : scalar
        The most that a trial promised to gain, by the quadratic through its slope and the start's; -1 before there was
        one. It tells a search that is at the end of its digits from one along a wrong gradient, as
        `dmin_core._precision` has it.
    count : int
    accepted, done : bool
    """

    t: Any
    low: Any
    low_psi: Any
    low_slope: Any
    high: Any
    high_psi: Any
    high_slope: Any
    bracketed: Any
    least: Any
    most: Any
    wall: Any
    width: Any
    width_before: Any
    best: Any
    best_f: Any
    hope: Any
    count: Any
    accepted: Any
    done: Any


def resolution(arithmetic: Any, f: Any, exhausted: Any) -> Any:
    """What `f` can be told to have fallen by; where all has been tried, what the leaves can show, if that is coarser.

    A value may show more digits than the leaves have that it is computed from: those are tried for, and not missed.
    """
    a = arithmetic
    shown = a.number(a.value_eps)
    return NOISE * a.pick(exhausted, a.maximum(shown, a.number(a.coarsest)), shown) * a.abs(f)


def begin(arithmetic: Any, f: Any, slope: Any, t: Any, c1: Any = DECREASE) -> Search:
    """The search from value ``f`` and ``slope`` whose first trial is ``t``."""
    zero, no = arithmetic.number(0.0), arithmetic.truth(False)
    reduced = (1.0 - c1) * slope
    # By position: by keyword it takes three times as long, once a search.
    ends = zero, zero, reduced, zero, zero, reduced, no
    reach = zero, t + FARTHEST * t, arithmetic.number(1e30), arithmetic.number(1e30), arithmetic.number(2e30)
    return Search(t, *ends, *reach, zero, f, arithmetic.number(-1.0), arithmetic.count(0), no, no)


def advance(arithmetic: Any, search: Search, f0: Any, slope0: Any, f: Any, slope: Any, limits: Any) -> Search:
    """The search after its trial gave ``f`` and ``slope``; ``f0`` and ``slope0`` are those of its start.

    ``limits`` has the constants of the conditions, ``c1`` and ``c2``, and ``maxls``, how many trials there may be.
    """
    c1, c2, maxls = limits.c1, limits.c2, limits.maxls
    a, t, low = arithmetic, search.t, search.low
    usable = a.isfinite(f) & a.isfinite(slope)
    near = a.abs(f - f0) <= NOISE * a.value_eps * a.abs(f0)
    psi = a.pick(near, 0.5 * t * (slope0 + slope), f - f0) - c1 * t * slope0
    psi_slope = slope - c1 * slope0
    enough = usable & (psi <= 0.0)
    better = usable & (f < search.best_f)
    best, best_f = a.pick(better, t, search.best), a.pick(better, f, search.best_f)

    fall, curvature = a.abs(t * slope0), t * (slope - slope0)
    hope = a.pick(curvature > fall, 0.5 * fall * a.ratio(fall, curvature), 0.5 * fall)
    hope = a.pick(usable, a.maximum(search.hope, hope), search.hope)
    accepted = enough & (a.abs(slope) <= -c2 * slope0)
    if a.eager and accepted:  # the usual end, after which nothing more is wanted
        return Search(*search[:-6], best, best_f, hope, search.count + 1, True, True)

    above = a.negate(psi <= search.low_psi)
    turned = a.negate(above) & (psi_slope * search.low_slope < 0.0)
    between = _interpolate(a, search, psi, psi_slope, above, turned)

    high = a.pick(above, t, a.pick(turned, low, search.high))
    high_psi = a.pick(above, psi, a.pick(turned, search.low_psi, search.high_psi))
    high_slope = a.pick(above, psi_slope, a.pick(turned, search.low_slope, search.high_slope))
    new_low = a.pick(above, low, t)
    low_psi = a.pick(above, search.low_psi, psi)
    low_slope = a.pick(above, search.low_slope, psi_slope)
    bracketed = search.bracketed | above | turned
    # What is not finite bounds the interval, but nothing can be interpolated from it.
    beyond = a.negate(usable)
    wall = a.pick(beyond, t, search.wall)
    new_low, low_psi = a.pick(beyond, low, new_low), a.pick(beyond, search.low_psi, low_psi)
    low_slope = a.pick(beyond, search.low_slope, low_slope)
    bracketed = a.pick(beyond, search.bracketed, bracketed)
    high = a.pick(beyond, a.pick(search.bracketed, t, search.high), high)

    width = a.pick(bracketed, a.abs(high - new_low), search.width)
    stuck = bracketed & (width >= 0.66 * search.width_before)
    halfway = new_low + 0.5 * (high - new_low)
    following = a.pick(stuck, halfway, between)
    inside = a.negate(bracketed) | ((following > a.minimum(new_low, high)) & (following < a.maximum(new_low, high)))
    following = a.pick(a.isfinite(following) & inside, following, a.pick(bracketed, halfway, search.most))
    following = a.pick(beyond, new_low + 0.2 * (t - new_low), following)
    following = a.minimum(following, new_low + 0.5 * (wall - new_low))
    step = following - new_low
    narrow = bracketed & (width <= NARROW * a.maximum(new_low, high)) & (best > 0.0) & enough
    lost = (a.abs(step) <= a.eps * a.abs(new_low)) | (following <= 0.0)
    return Search(
        t=following,
        low=new_low,
        low_psi=low_psi,
        low_slope=low_slope,
        high=high,
        high_psi=high_psi,
        high_slope=high_slope,
        bracketed=bracketed,
        least=a.pick(bracketed, a.minimum(new_low, high), following + 1.1 * step),
        most=a.pick(bracketed, a.maximum(new_low, high), following + FARTHEST * step),
        wall=wall,
        width=width,
        width_before=a.pick(bracketed, search.width, search.width_before),
        best=best,
        best_f=best_f,
        hope=hope,
        count=search.count + 1,
        accepted=accepted,
        done=accepted | narrow | lost | (search.count + 1 >= maxls),
    )


def _interpolate(a: Any, search: Search, psi: Any, slope: Any, above: Any, turned: Any) -> Any:
    """The next trial by the four cases of Moré and Thuente's section 4."""
    t, low, low_psi, low_slope = search.t, search.low, search.low_psi, search.low_slope
    cubic = _cubic(a, low, low_psi, low_slope, t, psi, slope)
    quadratic = low + 0.5 * (t - low) * a.ratio(low_slope, low_slope + a.ratio(low_psi - psi, t - low))
    secant = t + (low - t) * a.ratio(slope, slope - low_slope)
    # 1: higher than the best. Nearer to it of the cubic's and the mean of both.
    nearer = a.pick(a.abs(cubic - low) < a.abs(quadratic - low), cubic, 0.5 * (cubic + quadratic))
    # 2: lower, and the slope has turned round.
    farther = a.pick(a.abs(cubic - t) > a.abs(secant - t), cubic, secant)
    # 3: lower, and the slope is less steep. The cubic may have no minimum on that side.
    end = a.pick(t > low, search.most, search.least)
    ahead = a.pick((cubic - t) * (t - low) > 0.0, cubic, end)
    beyond = a.abs(ahead - t) > a.abs(secant - t)
    inside = a.pick(beyond, secant, ahead)
    limit = t + 0.66 * (search.high - t)
    inside = a.pick(t > low, a.minimum(limit, inside), a.maximum(limit, inside))
    outside = a.pick(beyond, ahead, secant)
    outside = a.minimum(a.maximum(outside, search.least), search.most)
    flatter = a.pick(search.bracketed, inside, outside)
    # 4: lower, and at least as steep.
    back = _cubic(a, t, psi, slope, search.high, search.high_psi, search.high_slope)
    steeper = a.pick(search.bracketed, back, end)
    return a.pick(above, nearer, a.pick(turned, farther, a.pick(a.abs(slope) < a.abs(low_slope), flatter, steeper)))


def _cubic(a: Any, t1: Any, f1: Any, s1: Any, t2: Any, f2: Any, s2: Any) -> Any:
    """Minimiser of the cubic with these values and slopes (Nocedal and Wright 2006, equation 3.59)."""
    d1 = s1 + s2 + 3.0 * a.ratio(f1 - f2, t2 - t1)
    scale = a.maximum(a.abs(d1), a.maximum(a.abs(s1), a.abs(s2)))
    d1, s1, s2 = a.ratio(d1, scale), a.ratio(s1, scale), a.ratio(s2, scale)
    root = a.sqrt(a.maximum(d1 * d1 - s1 * s2, 0.0))
    d2 = a.pick(t2 > t1, root, -root)
    return t2 - (t2 - t1) * a.ratio(s2 + d2 - d1, s2 - s1 + 2.0 * d2)
