"""Sixty-odd unconstrained problems with known least values, in PyTorch, whose gradients nobody has to write.

Sums of squares of residuals from standard starts, all from Moré, Garbow and Hillstrom (1981), "Testing Unconstrained
Optimization Software", ACM TOMS 7(1), section 3, where numbers (1) to (35) stand; least values are those given there,
in later errata, or those to which Newton's method goes from the standard start in float64. Functions of any number of
variables come in several sizes. A few more are named where they stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

Residuals = Callable[[torch.Tensor], torch.Tensor]
stack, cat, exp, arange = torch.stack, torch.cat, torch.exp, torch.arange


@dataclass(frozen=True)
class Problem:
    """``fun`` from ``start``; ``least`` is the lowest of its known minima' values, or all that count."""

    name: str
    fun: Callable[[torch.Tensor], torch.Tensor]
    start: np.ndarray
    least: tuple[float, ...]

    @property
    def n(self) -> int:
        """How many variables."""
        return self.start.size

    def target(self, f0: float, f: float, tolerance: float) -> float:
        """What counts as solved for a run that ended at ``f``: near to a known minimum, as Moré and Wild (2009) say."""
        near = min(self.least, key=lambda least: abs(f - least))
        return near + tolerance * (f0 - near)


def squares(residuals: Residuals) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: (residuals(x) ** 2).sum()


def t(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def index(m: int) -> torch.Tensor:
    """1, 2, …, m."""
    return arange(1, m + 1, dtype=torch.float64)


# -- of a fixed number of variables ---------------------------------------------------------------------------


def rosenbrock(x):
    return stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def freudenstein_roth(x):
    a, b = x
    return stack([-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b])


def powell_badly_scaled(x):
    return stack([1e4 * x[0] * x[1] - 1, exp(-x[0]) + exp(-x[1]) - 1.0001])


def brown_badly_scaled(x):
    return stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


def beale(x):
    return t([1.5, 2.25, 2.625]) - x[0] * (1 - x[1] ** index(3))


def jennrich_sampson(x):
    i = index(10)
    return 2 + 2 * i - (exp(i * x[0]) + exp(i * x[1]))


def helical_valley(x):
    theta = torch.atan2(x[1], x[0]) / (2 * math.pi)
    return stack([10 * (x[2] - 10 * theta), 10 * (torch.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]])


def bard(x):
    y = t([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])
    u = index(15)
    v = 16 - u
    return y - (x[0] + u / (v * x[1] + torch.minimum(u, v) * x[2]))


def gaussian(x):
    y = t([0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521])
    y = cat([y, t([0.3989]), y.flip(0)])
    return x[0] * exp(-x[1] * ((8 - index(15)) / 2 - x[2]) ** 2 / 2) - y


def gulf(x):
    u = index(99) / 100
    y = 25 + (-50 * torch.log(u)) ** (2 / 3)
    return exp(-(torch.abs(y - x[1]) ** x[2]) / x[0]) - u


def box(x):
    u = 0.1 * index(10)
    return exp(-u * x[0]) - exp(-u * x[1]) - x[2] * (exp(-u) - exp(-10 * u))


def powell_singular(x):
    a, b, c, d = x
    return stack([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2])


def wood(x):
    a, b, c, d = x
    return stack(
        [
            *(10 * (b - a**2), 1 - a, 90**0.5 * (d - c**2), 1 - c),
            *(10**0.5 * (b + d - 2), 10**-0.5 * (b - d)),
        ]
    )


def kowalik_osborne(x):
    y = t([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
    u = t([4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
    return y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def brown_dennis(x):
    u = index(20) / 5
    return (x[0] + u * x[1] - exp(u)) ** 2 + (x[2] + x[3] * torch.sin(u) - torch.cos(u)) ** 2


def osborne_1(x):
    y = t(
        [
            *(0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628),
            *(0.603, 0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420),
            *(0.414, 0.411, 0.406),
        ]
    )
    u = 10 * (index(33) - 1)
    return y - (x[0] + x[1] * exp(-u * x[3]) + x[2] * exp(-u * x[4]))


def biggs(x):
    u = 0.1 * index(13)
    y = exp(-u) - 5 * exp(-10 * u) + 3 * exp(-4 * u)
    return x[2] * exp(-u * x[0]) - x[3] * exp(-u * x[1]) + x[5] * exp(-u * x[4]) - y


def osborne_2(x):
    y = t(
        [
            *(1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608, 0.655, 0.616),
            *(0.606, 0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495),
            *(0.500, 0.423, 0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653, 0.672),
            *(0.708, 0.633, 0.668, 0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581),
            *(0.428, 0.292, 0.162, 0.098, 0.054),
        ]
    )
    u = (index(65) - 1) / 10
    bumps = sum(x[k] * exp(-((u - x[k + 7]) ** 2) * x[k + 4]) for k in (1, 2, 3))
    return y - x[0] * exp(-u * x[4]) - bumps


# -- of any number --------------------------------------------------------------------------------------------


def watson(x):
    n = x.numel()
    powers = (index(29) / 29)[:, None] ** arange(n, dtype=torch.float64)
    slope = powers[:, : n - 1] @ (x[1:] * arange(1, n, dtype=torch.float64))
    return cat([slope - (powers @ x) ** 2 - 1, stack([x[0], x[1] - x[0] ** 2 - 1])])


def extended_rosenbrock(x):
    return cat([10 * (x[1::2] - x[::2] ** 2), 1 - x[::2]])


def extended_powell(x):
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    return cat([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2])


def penalty_1(x):
    return cat([1e-5**0.5 * (x - 1), (x @ x - 0.25)[None]])


def penalty_2(x):
    n = x.numel()
    i, small = index(n), 1e-5**0.5
    y = exp(i[1:] / 10) + exp(i[:-1] / 10)
    weights = n - i + 1
    return cat(
        [
            (x[0] - 0.2)[None],
            small * (exp(x[1:] / 10) + exp(x[:-1] / 10) - y),
            small * (exp(x[1:] / 10) - math.exp(-0.1)),
            ((weights * x**2).sum() - 1)[None],
        ]
    )


def variably_dimensioned(x):
    total = (index(x.numel()) * (x - 1)).sum()
    return cat([x - 1, stack([total, total**2])])


def trigonometric(x):
    n = x.numel()
    return n - torch.cos(x).sum() + index(n) * (1 - torch.cos(x)) - torch.sin(x)


def brown_almost_linear(x):
    return cat([x[:-1] + x.sum() - (x.numel() + 1), (x.prod() - 1)[None]])


def discrete_boundary(x):
    h = 1 / (x.numel() + 1)
    ends = cat([t([0.0]), x, t([0.0])])
    return 2 * x - ends[:-2] - ends[2:] + h**2 * (x + h * index(x.numel()) + 1) ** 3 / 2


def discrete_integral(x):
    n = x.numel()
    h = 1 / (n + 1)
    u = h * index(n)
    cubes = (x + u + 1) ** 3
    below, above = torch.cumsum(u * cubes, 0), torch.cumsum(((1 - u) * cubes).flip(0), 0).flip(0)
    return x + h * ((1 - u) * below + u * (above - (1 - u) * cubes)) / 2


def broyden_tridiagonal(x):
    ends = cat([t([0.0]), x, t([0.0])])
    return (3 - 2 * x) * x - ends[:-2] - 2 * ends[2:] + 1


def broyden_banded(x):
    n, terms = x.numel(), x * (1 + x)
    padded = cat([torch.zeros(5, dtype=x.dtype), terms, torch.zeros(1, dtype=x.dtype)])
    near = sum(padded[k : k + n] for k in range(7)) - terms
    return x * (2 + 5 * x**2) + 1 - near


def linear_full_rank(x):
    m = x.numel() + 5
    shift = 2 / m * x.sum() + 1
    return cat([x - shift, (-shift).expand(5)])


def linear_rank_1(x):
    n = x.numel()
    return index(n + 5) * (index(n) * x).sum() - 1


def chebyquad(x):
    n, y = x.numel(), 2 * x - 1
    before, now, rows = torch.ones_like(y), y, []
    for i in range(1, n + 1):
        rows.append(now.mean() - (-1 / (i**2 - 1) if i % 2 == 0 else 0.0))
        before, now = now, 2 * y * now - before
    return stack(rows)


# -- and some that are no sums of squares: sources beside them --------------------------------------------------


def convex_quadratic(x):
    """Eigenvalues from 1 to 10⁴, spread evenly over their logarithms."""
    return 0.5 * (10 ** torch.linspace(0, 4, x.numel(), dtype=x.dtype) * x**2).sum()


def raydan_1(x):
    """Raydan (1997), "The Barzilai and Borwein Gradient Method", SIAM J. Optim. 7(1), section 3: strictly convex 1."""
    return (exp(x) - x).sum()


def raydan_2(x):
    """The same, strictly convex 2."""
    return (index(x.numel()) / 10 * (exp(x) - x)).sum()


def dixon_price(x):
    """Dixon and Price (1989), "Truncated Newton Method for Sparse Unconstrained Optimization", JOTA 60(2)."""
    return (x[0] - 1) ** 2 + (index(x.numel())[1:] * (2 * x[1:] ** 2 - x[:-1]) ** 2).sum()


def chained_rosenbrock(x):
    """Toint (1978), "Some Numerical Results Using a Sparse Matrix Updating Formula", Math. Comp. 32, problem 1."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def alternate(*values: float) -> Callable[[int], np.ndarray]:
    return lambda n: np.resize(values, n).astype(float)


FIXED = [
    (rosenbrock, [-1.2, 1], (0.0,)),
    (freudenstein_roth, [0.5, -2], (48.98425367924, 0.0)),
    (powell_badly_scaled, [0, 1], (0.0,)),
    (brown_badly_scaled, [1, 1], (0.0,)),
    (beale, [1, 1], (0.0,)),
    (jennrich_sampson, [0.3, 0.4], (124.3621823556,)),
    (helical_valley, [-1, 0, 0], (0.0,)),
    (bard, [1, 1, 1], (8.2148773065e-3,)),
    (gaussian, [0.4, 1, 0], (1.12793276962e-8,)),
    (gulf, [5, 2.5, 0.15], (0.0,)),
    (box, [0, 10, 20], (0.0,)),
    (powell_singular, [3, -1, 0, 1], (0.0,)),
    (wood, [-3, -1, -3, -1], (0.0,)),
    (kowalik_osborne, [0.25, 0.39, 0.415, 0.39], (3.0750560385e-4,)),
    (brown_dennis, [25, 5, -5, -1], (85822.20162635,)),
    (osborne_1, [0.5, 1.5, -1, 0.01, 0.02], (5.46489469748e-5,)),
    (biggs, [1, 2, 1, 1, 1, 1], (5.65565e-3, 0.0)),
    (osborne_2, [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5], (4.0137736293e-2,)),
]


def sized() -> Iterator[tuple[Callable, int, np.ndarray, tuple[float, ...] | None]]:
    """Residuals, n, start, least values."""
    for n in (6, 9, 12):
        yield watson, n, np.zeros(n), ({6: 2.28767005355e-3, 9: 1.39976013809e-6, 12: 4.72238110894e-10}[n],)
    for n in (10, 100, 1000):
        yield extended_rosenbrock, n, alternate(-1.2, 1)(n), (0.0,)
        yield broyden_tridiagonal, n, -np.ones(n), (0.0,)
        yield broyden_banded, n, -np.ones(n), (0.0,)
        yield linear_full_rank, n, np.ones(n), (5.0,)
        u = np.arange(1, n + 1) / (n + 1)
        yield discrete_integral, n, u * (u - 1), (0.0,)
        if n == 10:  # of more variables its condition number is n⁴, and it starts where its value is 10⁻⁷ already
            yield discrete_boundary, n, u * (u - 1), (0.0,)
    for n in (12, 100, 1000):
        yield extended_powell, n, alternate(3, -1, 0, 1)(n), (0.0,)
    for n in (10, 50, 100):
        yield variably_dimensioned, n, 1 - np.arange(1, n + 1) / n, (0.0,)
    for n, least in ((4, 2.24997e-5), (10, 7.08765e-5)):
        yield penalty_1, n, np.arange(1.0, n + 1), (least,)
    for n, least in ((4, 9.37629e-6), (10, 2.93660e-4)):
        yield penalty_2, n, np.full(n, 0.5), (least,)
    for n in (10, 40):
        yield brown_almost_linear, n, np.full(n, 0.5), (0.0, 1.0)
        m = n + 5
        yield linear_rank_1, n, np.ones(n), (m * (m - 1) / (2 * (2 * m + 1)),)
    for n, least in ((2, 0.0), (5, 0.0), (7, 0.0), (8, 3.51687e-3), (9, 0.0), (10, 6.50395e-3)):
        yield chebyquad, n, np.arange(1, n + 1) / (n + 1), (least,) if n < 10 else (least, 4.77271e-3)


def smooth() -> Iterator[tuple[Callable, int, np.ndarray, tuple[float, ...]]]:
    """Functions, not residuals."""
    for n in (10, 100, 1000):
        yield raydan_1, n, np.ones(n), (float(n),)
        yield convex_quadratic, n, np.ones(n), (0.0,)
    for n in (10, 100):
        yield raydan_2, n, np.ones(n), (n * (n + 1) / 20,)
        yield dixon_price, n, np.ones(n), (0.0, 2 / 3)
    yield chained_rosenbrock, 10, alternate(-1.2, 1)(10), (0.0, 3.98662)


PROBLEMS = [
    *(Problem(r.__name__, squares(r), np.array(start, float), least) for r, start, least in FIXED),
    *(Problem(f"{r.__name__}-{n}", squares(r), start, least) for r, n, start, least in sized()),
    *(Problem(f"{f.__name__}-{n}", f, start, least) for f, n, start, least in smooth()),
]
