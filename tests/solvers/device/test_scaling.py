"""Units make curvatures alike as far as products show that they can be, and leave alone what nothing was shown of."""

import math

import numpy as np
import pytest
from array_api_compat import numpy as xp

from dmin_core import minimize
from dmin_core.solvers.device.arithmetic import Host, Traced
from dmin_core.solvers.device.points import Vectors
from dmin_core.solvers.device.scaling import Shown, begin, fade, find_units, show

VECTORS = Vectors(xp, xp.matmul, None)
EPS = float(np.finfo(float).eps)
ARITHMETIC = {"Host": Host(EPS), "Traced": Traced(EPS, EPS, xp, np.zeros(1))}
either = pytest.mark.parametrize("a", ARITHMETIC.values(), ids=ARITHMETIC)


@pytest.fixture(autouse=True)
def silent():
    """Of what is not finite NumPy, in the place of a framework, would warn."""
    with np.errstate(all="ignore"):
        yield


def products(a, hessian, directions):
    """What is shown by the Hessian times each of them."""
    n = len(hessian)
    shown = begin((np.zeros(n),), (np.zeros(n),), a.number(0.0))
    for d in directions:
        h = hessian @ d
        shown = show(xp, a, shown, (d,), (h,), a.number(h @ h), a.number(d @ d))
    return shown


def directions(n, count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, n))


@either
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_where_the_hessian_is_diagonal_curvatures_become_alike(a, sign):
    curvature = np.geomspace(1e-2, 1e3, 8)
    spreads = []
    for count in (1, 3, 10, 3000):
        (units,) = find_units(VECTORS, a, products(a, sign * np.diag(curvature), directions(8, count)))
        assert np.prod(units) == pytest.approx(1.0)
        spreads.append(np.log(units[0] / units[-1]) / np.log(curvature[-1] / curvature[0]))
    # By the power of ½ K / (K + 3); after one product, which would fit any Hessian, not at all.
    np.testing.assert_allclose(spreads, [0.0, 0.25, 5 / 13, 0.4995], rtol=1e-4)


@either
def test_where_a_diagonal_explains_nothing_units_stay_alike(a):
    """Data whose columns nearly agree: no variable has a curvature that is not all the others' too."""
    n = 40
    data = np.ones((100, n)) + 0.1 * np.random.default_rng(1).normal(size=(100, n))
    hessian = (data * np.geomspace(0.5, 2.0, n)).T @ (data * np.geomspace(0.5, 2.0, n))
    (units,) = find_units(VECTORS, a, products(a, hessian, directions(n, 30)))
    assert units.max() / units.min() < 1.2
    diagonal = np.sqrt(np.diag(hessian))
    assert diagonal.max() / diagonal.min() > 3.5


@either
def test_nothing_shown_and_nothing_curved_leave_variables_as_they_are(a):
    for shown in (products(a, np.zeros((3, 3)), directions(3, 2)), products(a, np.eye(3), [])):
        np.testing.assert_array_equal(find_units(VECTORS, a, shown)[0], np.ones(3))


@either
def test_a_variable_that_never_moved_has_the_mean_unit(a):
    moved = directions(4, 9) * np.array([1.0, 1.0, 0.0, 1.0])
    (units,) = find_units(VECTORS, a, products(a, np.diag([1.0, 100.0, 1e8, 1e4]), moved))
    assert units[0] > 4.0
    assert units[3] == pytest.approx(1.0 / units[0])
    np.testing.assert_allclose(units[1:3], 1.0, rtol=1e-12)


@either
def test_a_variable_without_curvature_is_not_given_the_whole_region(a):
    (units,) = find_units(VECTORS, a, products(a, np.diag([1.0, 0.0, 1.0]), directions(3, 3000)))
    assert units[1] / units[0] == pytest.approx(1e3, rel=0.02)


@either
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300])
def test_a_product_whose_square_is_not_finite_shows_nothing(a, bad):
    good = products(a, np.diag([1.0, 4.0]), directions(2, 2))
    d, h = np.ones(2), np.array([bad, 1.0])
    after = show(xp, a, good, (d,), (h,), a.number(h @ h), a.number(2.0))
    none = show(xp, a, good, (0.0 * d,), (d,), a.number(2.0), a.number(0.0))
    for shown in (after, none):
        np.testing.assert_array_equal(find_units(VECTORS, a, shown)[0], find_units(VECTORS, a, good)[0])


@either
def test_what_was_shown_last_counts_most(a):
    old = products(a, np.eye(2), directions(2, 9))
    for _ in range(40):
        old = fade(old)
    new = products(a, np.diag([1.0, 16.0]), directions(2, 9))
    vectors = [(old[k][0] + new[k][0],) for k in (0, 1)]
    both = Shown(*vectors, *(old[k] + new[k] for k in (2, 3, 4)))
    np.testing.assert_allclose(find_units(VECTORS, a, both)[0], find_units(VECTORS, a, new)[0], rtol=1e-6)
    assert find_units(VECTORS, a, new)[0][1] < 0.6 < 1.6 < find_units(VECTORS, a, new)[0][0]


def test_several_arrays_are_as_one():
    a, hessian = Host(EPS), np.diag([1.0, 10.0, 100.0, 1000.0]) + 0.3
    whole = products(a, hessian, directions(4, 6))
    parts = Shown(*((u[0][:1], u[0][1:]) for u in whole[:2]), *whole[2:])
    np.testing.assert_allclose(
        np.concatenate(find_units(VECTORS, a, parts)), find_units(VECTORS, a, whole)[0], rtol=1e-12
    )


# -- what it is for ---------------------------------------------------------------------------------------


def string(units):
    """A convex quartic over a chain of 40 numbers, each in its unit: value and gradient, and Hessian product."""

    def bend(y):
        return 2.5 * y - np.concatenate([y[1:], [0.0]]) - np.concatenate([[0.0], y[:-1]])

    def fun(x):
        y = units * x - 1.0
        return 0.5 * y @ bend(y) + 0.25 * np.sum(y**4), units * (bend(y) + y**3)

    def hessp(x, p):
        y = units * x - 1.0
        return units * (bend(units * p) + 3.0 * y**2 * units * p)

    return fun, hessp


@pytest.mark.parametrize("bounds", [None, (-1e9, 1e9)], ids=["free", "bounded"])
def test_variables_of_very_unlike_units_cost_few_products_more(bounds):
    counts = []
    for spread in (0.0, 4.0):
        units = 10.0 ** (spread * np.random.default_rng(3).uniform(-0.5, 0.5, 40))
        fun, hessp = string(units)
        result = minimize(
            fun, np.zeros(40), jac=True, hessp=hessp, method="device-newton-cg", bounds=bounds, options={"gtol": 1e-8}
        )
        assert result.success
        np.testing.assert_allclose(units * result.x, 1.0, atol=1e-5)
        counts.append(result.nhev)
    assert counts[1] <= 6 * counts[0]


def test_a_wall_near_one_variable_does_not_hold_the_others_back():
    """In one ball for both, the second goes no farther at a time than the first may: a thousandth of its way."""

    def fun(x):
        return np.sum(x - 1e-3 * np.log(x)), 1.0 - 1e-3 / x

    result = minimize(
        fun, np.array([5.0, 9.0]), jac=True, hess=lambda x: np.diag(1e-3 / x**2), method="device-newton-cg"
    )
    assert result.success
    assert result.nfev < 60
    np.testing.assert_allclose(result.x, 1e-3, rtol=1e-4)
