"""Finite differences: as near the derivative as the arithmetic allows, never outside the bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmin_core import _differences as differences

pytestmark = pytest.mark.numpy

EPS = np.finfo(float).eps
EPS32 = float(np.finfo(np.float32).eps)
X = np.array([0.3, -2.0, 0.0, 40.0])

# Error of each scheme, truncation balanced against rounding, with a factor for the function's own derivatives.
ERROR = {"2-point": 10 * EPS ** (1 / 2), "3-point": 10 * EPS ** (2 / 3), "cs": 10 * EPS}


def smooth(x):
    return np.sum(np.exp(0.1 * x) + np.sin(x))


def slope(x):
    return 0.1 * np.exp(0.1 * x) + np.cos(x)


@pytest.mark.parametrize("scheme", differences.SCHEMES)
def test_gradient_is_as_exact_as_the_scheme(scheme):
    g = differences.gradient(smooth, X, scheme=scheme)
    # f is about 50 and steps grow with x: both scale what rounding does.
    np.testing.assert_allclose(g, slope(X), atol=50 * ERROR[scheme])


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
def test_steps_follow_scipys_rule(scheme):
    power = {"2-point": 1 / 2, "3-point": 1 / 3}[scheme]
    h = differences.default_step(X, scheme, EPS)
    np.testing.assert_allclose(h, EPS**power * np.array([1.0, -2.0, 1.0, 40.0]), rtol=4 * EPS)


def test_a_relative_step_replaces_the_default():
    h = differences.default_step(X, "2-point", EPS, relative=1e-3)
    np.testing.assert_allclose(h, [1e-3, -2e-3, 1e-3, 4e-2], rtol=4 * EPS)


def test_an_absolute_step_is_taken_as_it_is():
    seen = []
    differences.gradient(lambda x: seen.append(x.copy()) or 0.0, np.zeros(2), 0.0, step=np.array([0.25, -0.5]))
    np.testing.assert_array_equal(seen, [[0.25, 0.0], [0.0, -0.5]])


def test_a_known_value_is_not_computed_again():
    seen = []
    differences.gradient(lambda x: seen.append(x) or 0.0, X, 0.0)
    assert len(seen) == X.size


@pytest.mark.parametrize(("scheme", "evaluations"), [("2-point", 5), ("3-point", 8), ("cs", 4)])
def test_evaluations_per_gradient(scheme, evaluations):
    seen = []
    differences.gradient(lambda x: seen.append(x) or np.sum(x), X, scheme=scheme)
    assert len(seen) == evaluations


def rounded_to_float32(x):
    return x.astype(np.float32).astype(float)


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
def test_a_float32_function_has_a_gradient_and_not_rounding_noise(scheme):
    def fun(x):
        return float(np.sum(np.sin(x.astype(np.float32)), dtype=np.float32))

    x = np.array([0.3, -0.7, 1.1])
    g = differences.gradient(fun, x, scheme=scheme, eps=EPS32, round_to=rounded_to_float32)
    power = {"2-point": 1 / 2, "3-point": 2 / 3}[scheme]
    np.testing.assert_allclose(g, np.cos(x), atol=10 * EPS32**power)


def test_the_step_that_is_divided_by_is_the_one_taken():
    """x + h rounds to a float32: for a linear function of the rounded x the quotient is then exact."""
    x = np.array([1000.1])
    g = differences.gradient(lambda x: 3.0 * x[0], x, eps=EPS32, round_to=rounded_to_float32)
    np.testing.assert_allclose(g, [3.0], rtol=1e-9)


def test_a_step_too_small_for_the_dtype_gives_zero_and_no_warning():
    x = np.array([1e6])
    g = differences.gradient(lambda x: x[0], x, step=np.array([1e-9]), round_to=rounded_to_float32)
    np.testing.assert_array_equal(g, [0.0])


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
@pytest.mark.parametrize("x", [0.0, 1.0, 0.5, 1e-12, 1 - 1e-12])
def test_no_evaluation_leaves_the_bounds(scheme, x):
    lb, ub = np.zeros(1), np.ones(1)

    def guarded(y):
        assert (y >= lb).all()
        assert (y <= ub).all()
        return np.sum(y**3)

    g = differences.gradient(guarded, np.array([x]), scheme=scheme, bounds=(lb, ub))
    np.testing.assert_allclose(g, [3 * x**2], atol=20 * EPS**0.5)


@settings(deadline=None, derandomize=True)
@given(st.sampled_from(["2-point", "3-point"]), st.floats(-10, 10), st.floats(0, 1e-6), st.floats(0, 1))
def test_no_evaluation_leaves_a_box_narrower_than_a_step(scheme, lb, width, place):
    ub = lb + width
    x = np.clip(np.array([lb + place * width]), lb, ub)
    seen = []
    differences.gradient(lambda y: seen.append(y[0]) or 0.0, x, scheme=scheme, bounds=(np.array([lb]), np.array([ub])))
    assert all(lb <= y <= ub for y in seen)


@pytest.mark.parametrize("scheme", ["2-point", "3-point"])
def test_a_fixed_variable_has_slope_zero(scheme):
    bounds = (np.array([1.0, 0.0]), np.array([1.0, 2.0]))
    g = differences.gradient(lambda x: x[0] + x[1], np.array([1.0, 1.0]), scheme=scheme, bounds=bounds)
    np.testing.assert_allclose(g, [0.0, 1.0], atol=20 * EPS**0.5)


def test_three_points_on_one_side_are_of_second_order():
    bounds = (np.zeros(1), np.full(1, np.inf))
    g = differences.gradient(lambda x: np.exp(x[0]), np.zeros(1), scheme="3-point", bounds=bounds)
    np.testing.assert_allclose(g, [1.0], atol=10 * EPS ** (2 / 3))


# Products -------------------------------------------------------------------------------------------------

A = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 2.0]])
V = np.array([1.0, -2.0, 0.5])


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_product_with_an_exact_gradient(scale):
    hv = differences.product(lambda x: A @ x, np.ones(3), scale * V, exact=True)
    np.testing.assert_allclose(hv, scale * A @ V, rtol=10 * EPS**0.5)


def test_product_with_a_gradient_by_differences():
    def fun(x):
        return 0.5 * x @ A @ x

    hv = differences.product(lambda x: differences.gradient(fun, x), np.ones(3), V, exact=False)
    np.testing.assert_allclose(hv, A @ V, atol=10 * EPS ** (1 / 3))


def test_product_with_a_known_gradient_evaluates_once():
    seen = []
    differences.product(lambda x: seen.append(x) or A @ x, np.ones(3), V, A @ np.ones(3), exact=True)
    assert len(seen) == 1


def test_product_with_zero_is_zero_without_evaluation():
    hv = differences.product(lambda x: 1 / 0, np.ones(3), np.zeros(3), exact=True)
    np.testing.assert_array_equal(hv, 0.0)
