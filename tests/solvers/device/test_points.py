"""Points are kept within bounds, and it is known which of their variables the bounds hold."""

import operator

import numpy as np
import pytest

from dmin_core._device_problem import numpy_namespace
from dmin_core.solvers.device.points import FARTHER, Vectors

INF = np.inf


def vectors(low, high):
    return Vectors(numpy_namespace(), operator.matmul, ((np.array(low),), (np.array(high),)))


def test_held_is_what_is_at_a_bound_and_the_gradient_leads_there():
    x, g = (np.array([0.0, 0.0, 1.0, 1.0, 0.5]),), (np.array([1.0, -1.0, -1.0, 1.0, 1.0]),)
    (free,) = vectors([0.0] * 5, [1.0] * 5).free(x, g)
    np.testing.assert_array_equal(free, [0, 1, 0, 1, 1])


def test_a_step_that_ends_next_to_a_bound_holds_the_variable_and_leaves_the_rest():
    """From 0.5: a tenth of the step more would reach the bound, or not, or the gradient leads away."""
    near = 0.5 * FARTHER / (1.0 + FARTHER) * 0.99
    x = (np.array([near, 2.5 * near, near, 1.0 - near]),)
    before, g = (np.full(4, 0.5),), (np.array([1.0, 1.0, -1.0, -1.0]),)
    free, rest = vectors([0.0] * 4, [1.0] * 4).hold(x, g, before)
    np.testing.assert_array_equal(free[0], [0, 1, 1, 0])
    np.testing.assert_allclose(rest[0], [-near, 0.0, 0.0, near], rtol=1e-12, atol=0.0)


def test_without_a_step_held_is_what_is_at_its_bound():
    x, g = (np.array([0.0, 1e-300, 5.0]),), (np.array([1.0, 1.0, 1.0]),)
    free, rest = vectors([0.0, 0.0, -INF], [INF] * 3).hold(x, g, x)
    np.testing.assert_array_equal(free[0], [0, 1, 1])
    np.testing.assert_array_equal(rest[0], [0, 0, 0])


def test_without_bounds_nothing_is_held():
    free = Vectors(numpy_namespace(), operator.matmul, None)
    x = (np.zeros(2),)
    assert free.hold(x, x, x) == ((), ())
    assert free.free(x, x) == ()


@pytest.mark.parametrize("shapes", [[(5,)], [(2, 3)], [(3,), (2, 2), ()]], ids=str)
def test_sums_and_extremes_are_those_of_the_arrays_laid_end_to_end(shapes):
    """Whatever the number of arrays and of their axes: sharded leaves keep their own."""
    rng, space = np.random.default_rng(0), Vectors(numpy_namespace(), operator.matmul, None)
    u, v = (tuple(rng.normal(size=shape) for shape in shapes) for _ in range(2))
    one, other = (np.concatenate([np.ravel(array) for array in point]) for point in (u, v))
    np.testing.assert_allclose(space.dot(u, v), one @ other, rtol=1e-14)
    assert space.extremes(u) == (one.max(), one.min())
    assert space.extremes(v) == (other.max(), other.min())
    assert not space.differ(u, tuple(np.copy(array) for array in u))
    for k in range(len(u)):
        assert space.differ(u, (*u[:k], u[k] + (u[k] == u[k].max()), *u[k + 1 :]))
