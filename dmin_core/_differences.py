"""Finite differences, for frameworks that do not differentiate and users who ask for them.

The step rules are those of SciPy (``scipy.optimize.approx_fprime`` documents them; its engine is not public):
``h_i = eps^(1/s) sign(x_i) max(1, |x_i|)`` with s = 2 for forward and 3 for central differences, after Nocedal &
Wright (2006), "Numerical Optimization", section 8.1. Two things are dmin's: ``eps`` is that of the leaf, not of
the host's float64, and the step that is divided by is the one that was really taken, after x + h was rounded
to the leaf's dtype. Without them float32 leaves get gradients of pure rounding noise. Near a bound the step
turns round, so that `fun` is never evaluated outside its domain.

Everything here is over host vectors in float64; a caller wraps the evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

EPS = float(np.finfo(float).eps)
SCHEMES = ("2-point", "3-point", "cs")

Function = Callable[[np.ndarray], float]


def gradient(
    fun: Callable[[np.ndarray], Any],
    x: np.ndarray,
    f: Any = None,
    *,
    scheme: str = "2-point",
    step: np.ndarray | None = None,
    eps: np.ndarray | float = EPS,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    round_to: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Gradient of ``fun`` at ``x`` by differences.

    Parameters
    ----------
    fun : callable
        ``fun(x)`` for ``x`` of shape (n,), complex for ``'cs'``: a number, or a vector (m,).
    x : (n,) float64
    f : float or (m,) array, optional
        ``fun(x)``, if known; only ``'2-point'`` needs it.
    scheme : {'2-point', '3-point', 'cs'}
    step : (n,) float64, optional
        Absolute steps, signed; default: the rule above.
    eps : float or (n,) array
        Relative precision of ``fun``'s argument and value.
    bounds : pair of (n,) arrays, optional
        No evaluation leaves them; where a box is too narrow for a step, the larger side is used.
    round_to : callable, optional
        What ``fun`` will round its argument to.

    Returns
    -------
    (n,) float64, or (n, m): the Jacobian of a vector, transposed
    """
    h = default_step(x, scheme, eps) if step is None else np.broadcast_to(step, x.shape).astype(float)
    if scheme == "cs":
        return np.array([_imaginary(fun, x, i, abs(h[i])) / abs(h[i]) for i in range(x.size)])
    rounded = (lambda y: y) if round_to is None else round_to
    base = rounded(x)
    if scheme == "3-point":
        return _central(fun, base, np.abs(h), bounds, rounded, np.zeros(np.shape(f)) if np.ndim(f) else 0.0)
    if f is None:
        f = fun(base)
    h = _turn_inside(base, h, bounds)
    result = np.zeros((x.size, *np.shape(f)))
    for i in range(x.size):
        y = _moved(base, i, h[i], bounds, rounded)
        value = fun(y) if y[i] != base[i] else f
        if not np.isfinite(value).all() and np.isfinite(f).all():  # `fun` ends here: look the other way
            y = _moved(base, i, -h[i], bounds, rounded)
            value = fun(y) if y[i] != base[i] else np.full(np.shape(f), math.nan)
        result[i] = (value - f) / (y[i] - base[i]) if y[i] != base[i] else value - f
    return result


def default_step(x: np.ndarray, scheme: str, eps: np.ndarray | float, relative: np.ndarray | None = None) -> np.ndarray:
    """SciPy's absolute steps for ``scheme`` at ``x``, signed."""
    if relative is None:
        relative = np.asarray(eps) ** (1 / 3 if scheme == "3-point" else 1 / 2)
    return relative * np.where(x >= 0, 1.0, -1.0) * np.maximum(1.0, np.abs(x))


def _imaginary(fun: Callable[[np.ndarray], Any], x: np.ndarray, i: int, h: float) -> Any:
    """Squire & Trapp (1998), "Using Complex Variables to Estimate Derivatives of Real Functions", SIAM Review 40(1)."""
    y = x.astype(complex)
    y[i] += 1j * h
    return np.imag(fun(y))


def _central(
    fun: Callable[[np.ndarray], Any],
    x: np.ndarray,
    h: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray] | None,
    rounded: Callable[[np.ndarray], np.ndarray],
    stuck: Any = 0.0,
) -> np.ndarray:
    """Derivative of ``fun``, a number or a vector, along each variable; ``stuck`` where there is no room for a step."""
    result = []
    f = None
    for i in range(x.size):
        room_below, room_above = (np.inf, np.inf) if bounds is None else (x[i] - bounds[0][i], bounds[1][i] - x[i])
        if min(room_below, room_above) >= h[i]:
            up, down = _moved(x, i, h[i], bounds, rounded), _moved(x, i, -h[i], bounds, rounded)
            if up[i] == down[i]:
                result.append(stuck)
                continue
            above, below = fun(up), fun(down)
            if not np.isfinite(above).all():  # `fun` ends here: one side has to do
                f, up = fun(x) if f is None else f, x
                above = f
            elif not np.isfinite(below).all():
                f, down = fun(x) if f is None else f, x
                below = f
            result.append((above - below) / (up[i] - down[i]) if up[i] != down[i] else stuck)
            continue
        # Too near a bound for both sides: three points on the wider one (second order on unequal steps too).
        f = fun(x) if f is None else f
        widest = max(room_below, room_above)
        side = np.copysign(min(h[i], widest / 2), 1 if room_above >= room_below else -1)
        near, far = _moved(x, i, side, bounds, rounded), _moved(x, i, 2 * side, bounds, rounded)
        moved = near[i] != x[i] and far[i] != near[i]
        result.append(_one_sided(near[i] - x[i], far[i] - x[i], f, fun(near), fun(far)) if moved else stuck)
    return np.array(result)


def _one_sided(a: float, b: float, f: Any, fa: Any, fb: Any) -> Any:
    """Slope at 0 of the parabola through (0, f), (a, fa), (b, fb)."""
    return ((fa - f) * b / a - (fb - f) * a / b) / (b - a)


def _turn_inside(x: np.ndarray, h: np.ndarray, bounds: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """Steps that stay within the bounds: turned round where they leave them, shortened where both sides do."""
    if bounds is None:
        return h
    below, above = x - bounds[0], bounds[1] - x
    room = np.where(h >= 0, above, below)
    opposite = np.where(h >= 0, below, above)
    turned = np.where(np.abs(h) <= room, h, -h)
    fits = np.abs(h) <= np.maximum(room, opposite)
    # Where neither side has room for a whole step, all the room of the wider side.
    return np.where(fits, turned, np.where(above >= below, above, -below))


def _moved(
    x: np.ndarray,
    i: int,
    h: float,
    bounds: tuple[np.ndarray, np.ndarray] | None,
    rounded: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    y = x.copy()
    y[i] += h
    if bounds is not None:  # x + (ub - x) may round to above ub
        y[i] = min(max(y[i], bounds[0][i]), bounds[1][i])
    return rounded(y)


def product(
    gradient: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    v: np.ndarray,
    g: np.ndarray | None = None,
    *,
    exact: bool,
    eps: float = EPS,
) -> np.ndarray:
    """Hessian times ``v`` at ``x`` by differencing ``gradient`` along ``v``.

    An exact gradient is differenced forwards, with a step of ``eps^(1/2)``. One that is itself a forward
    difference has an error of ``eps^(1/2)``, so it is differenced centrally with a step of ``eps^(1/6)``: both
    balance truncation against the gradient's error (Nocedal & Wright 2006, section 8.1). Steps are relative to
    ``(1 + ‖x‖∞) / ‖v‖∞``.

    Parameters
    ----------
    gradient : callable
        ``gradient(x)``, (n,) to (n,).
    x, v : (n,) float64
    g : (n,) float64, optional
        ``gradient(x)``, if known.
    exact : bool
        Whether ``gradient`` is exact to rounding.
    eps : float
        Relative precision of ``x`` and of the gradient.

    Returns
    -------
    (n,) float64
    """
    length = float(np.max(np.abs(v), initial=0.0))
    if length == 0:
        return np.zeros_like(x)
    step = eps ** (1 / 2 if exact else 1 / 6) * (1.0 + float(np.max(np.abs(x), initial=0.0))) / length
    if exact:
        base = gradient(x) if g is None else g
        return (gradient(x + step * v) - base) / step
    return (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)


def hessian(
    derivative: Callable[[np.ndarray], Any],
    x: np.ndarray,
    *,
    from_values: bool,
    eps: np.ndarray | float = EPS,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    round_to: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Dense Hessian at ``x``: central differences of the gradient, or of central differences of ``fun``.

    Steps are ``eps^(1/3)`` and ``eps^(1/4)`` times ``max(1, |x_i|)``, which balance truncation against rounding
    (Nocedal & Wright 2006, section 8.1): of the digits two thirds are left, or half.

    Parameters
    ----------
    derivative : callable
        The gradient, (n,) to (n,), exact to rounding; ``fun`` itself with ``from_values``.
    x : (n,) float64
    from_values : bool
    eps, bounds, round_to
        As in `gradient`.

    Returns
    -------
    (n, n) float64
        Symmetric; nan where no step within the bounds tells.
    """
    rounded = (lambda y: y) if round_to is None else round_to
    base = rounded(x)
    h = np.asarray(eps) ** (1 / 4 if from_values else 1 / 3) * np.maximum(1.0, np.abs(x))

    def slope(y: np.ndarray) -> np.ndarray:
        if not from_values:
            return np.asarray(derivative(y))
        return _central(derivative, y, h, bounds, rounded, stuck=np.nan)

    rows = _central(slope, base, h, bounds, rounded, stuck=np.full(x.size, np.nan))
    return np.where(np.isnan(rows), rows.T, np.where(np.isnan(rows.T), rows, (rows + rows.T) / 2))
