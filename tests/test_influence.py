"""Leaves that `fun` seems not to depend on: one warning, and no false alarm at a stationary start."""

import warnings

import numpy as np
import pytest

from dmin_core import minimize

pytestmark = pytest.mark.numpy

SIGNS = np.array([1.0, -1.0, 1.0, -1.0])
INPUTS = np.array([[0.5, 1.0], [-1.0, 0.2], [0.3, -0.8], [0.9, 0.4]])


def balanced(p):
    margin = SIGNS * (INPUTS @ p["weights"] + p["intercept"])
    value = np.sum(np.log1p(np.exp(-margin))) + 0.1 * np.sum(p["weights"] ** 2)
    pull = -SIGNS / (1 + np.exp(margin))
    return value, {"weights": INPUTS.T @ pull + 0.2 * p["weights"], "intercept": pull.sum()}


def test_a_leaf_that_is_stationary_at_the_start_only_is_not_warned_of():
    x0 = {"weights": np.zeros(2), "intercept": 0.0}
    assert balanced(x0)[1]["intercept"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = minimize(balanced, x0, jac=True)
    assert result.success
    assert result.x["intercept"] != 0


def test_an_unused_leaf_is_warned_of_once():
    x0 = {"used": np.zeros(2), "idle": np.ones(3), "other": np.ones(1)}
    with pytest.warns(RuntimeWarning) as caught:
        minimize(lambda p: np.sum((p["used"] - 1) ** 2), x0)
    (warning,) = caught
    assert "x0['idle'], x0['other'] is exactly zero at the start and after a step" in str(warning.message)
    assert warning.filename == __file__


def test_a_leaf_of_which_some_numbers_alone_do_nothing_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = minimize(lambda p: (p["a"][0] - 1) ** 2 + (p["b"] - 1) ** 2, {"a": np.zeros(3), "b": 0.0})
    np.testing.assert_allclose(result.x["a"], [1.0, 0.0, 0.0], atol=1e-6)


def test_a_constant_is_warned_of_though_there_is_no_second_gradient():
    with pytest.warns(RuntimeWarning, match=r"x0 is exactly zero at the start:"):
        minimize(lambda x: 3.0, np.zeros(2))


def test_leaves_fixed_by_their_bounds_are_left_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        minimize(lambda p: np.sum((p["a"] - 1) ** 2), {"a": np.zeros(2), "b": np.ones(2)}, bounds={"b": (1, 1)})


def test_many_leaves_are_counted_and_not_all_named():
    x0 = [np.ones(1), *(np.ones(1) for _ in range(9))]
    with pytest.warns(RuntimeWarning, match=r"x0\[5\] and 4 more is exactly zero"):
        minimize(lambda x: (x[0][0] - 3) ** 2, x0)
