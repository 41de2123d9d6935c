"""The path of conjugate gradients ends where Steihaug's and Toint's does, and says truly what it gained."""

import contextlib
from unittest import mock

import numpy as np
import pytest

from dmin_core.solvers.device import truncated_cg
from dmin_core.solvers.device.arithmetic import Host
from dmin_core.solvers.device.truncated_cg import ENDED, SOLVING, advance, begin

N = 12
EPS = float(np.finfo(float).eps)


def spd(n=N, condition=100.0, seed=0):
    """A symmetric matrix with eigenvalues from 1 to ``condition``."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    return (q * np.geomspace(1.0, condition, n)) @ q.T


def follow(hessian, g, radius, longest=1000, eps=EPS, goal=None):
    """The step, the path at its end and the model along it."""
    a = Host(eps)
    path = begin(a, np.zeros_like(g), g.copy(), -g, radius, 0)
    model = [0.0]
    while path.phase == SOLVING:
        z, r, d, h = path.z, path.r, path.d, hessian @ path.d
        with contextlib.nullcontext() if goal is None else mock.patch.object(truncated_cg, "goal", return_value=goal):
            path, move = advance(a, path, r @ d, r @ r, d @ h, r @ h, h @ h, longest)
        r = r + move.t * h
        path = path._replace(z=z + move.t * d, r=r, d=move.beta * d - r)
        model.append(float(g @ path.z + 0.5 * path.z @ hessian @ path.z))
    assert path.phase == ENDED
    return path.z, path, np.array(model)


def gradient(seed=1):
    return np.random.default_rng(seed).normal(size=N)


def test_in_a_large_region_it_is_newtons_step():
    hessian, g = spd(), gradient()
    z, path, model = follow(hessian, g, 1e6, goal=0.0)
    np.testing.assert_allclose(z, -np.linalg.solve(hessian, g), rtol=1e-8)
    assert not path.edge
    # At the end of the path the model changes by its rounding.
    assert (np.diff(model) <= 1e-14 * abs(model[-1])).all()


def test_the_gain_is_the_models():
    hessian, g = spd(), gradient()
    for radius in (1e-3, 0.1, 1.0, 1e3):
        _, path, model = follow(hessian, g, radius)
        assert path.gain == pytest.approx(-model[-1], rel=1e-10)


def test_lengths_by_recurrence_are_the_vectors():
    hessian, g = spd(), gradient()
    for longest in (1, 2, 5, 9):
        z, path, _ = follow(hessian, g, 1e3, longest=longest, goal=0.0)
        assert path.count == longest
        assert path.zz == pytest.approx(z @ z, rel=1e-9)
        assert path.zd == pytest.approx(z @ path.d, rel=1e-9, abs=1e-12)
        assert path.dd == pytest.approx(path.d @ path.d, rel=1e-9)


def test_a_short_step_along_a_large_gradient_has_a_length():
    """Though the square of what the gradient is multiplied by is too small for a number."""
    z, path, _ = follow(spd(), gradient() * 1e140, 1e-30)
    assert path.edge
    assert path.zz / 1e-60 == pytest.approx(1.0)
    assert z @ z / 1e-60 == pytest.approx(1.0)


def test_it_ends_as_soon_as_the_residual_is_small_enough():
    hessian, g = spd(), gradient()
    z, path, _ = follow(hessian, g, 1e6)
    left = np.linalg.norm(hessian @ z + g)
    assert left**2 <= path.goal
    before, _, _ = follow(hessian, g, 1e6, longest=path.count - 1)
    assert np.linalg.norm(hessian @ before + g) ** 2 > path.goal
    assert 1 < path.count < N


@pytest.mark.parametrize("radius", [1e-6, 1e-2, 0.3])
def test_it_leaves_a_small_region_at_its_boundary(radius):
    z, path, model = follow(spd(), gradient(), radius)
    assert path.edge
    assert np.linalg.norm(z) == pytest.approx(radius, rel=1e-9)
    assert (np.diff(model) <= 1e-14 * abs(model[-1])).all()


def test_no_step_gains_less_than_cauchys():
    """The best one along the gradient: what convergence needs (Nocedal and Wright 2006, lemma 4.3)."""
    for seed in range(20):
        hessian = spd(seed=seed) - np.eye(N) * (seed % 4) * 5
        g = gradient(seed)
        radius = 10.0 ** (seed % 5 - 3)
        curvature, norm = g @ hessian @ g, np.linalg.norm(g)
        t = radius / norm if curvature <= 0 else min(radius / norm, norm**2 / curvature)
        cauchy = t * norm**2 - 0.5 * t**2 * curvature
        assert follow(hessian, g, radius)[1].gain >= cauchy * (1 - 1e-12)


def test_along_negative_curvature_it_goes_to_the_boundary():
    hessian, g = np.diag([1.0, 2.0, -3.0]), np.array([1.0, 1.0, 1e-3])
    z, path, _ = follow(hessian, g, 10.0, goal=0.0)
    assert path.edge
    assert np.linalg.norm(z) == pytest.approx(10.0, rel=1e-9)
    assert path.gain > 0.5 * 3.0 * 90.0


def test_without_curvature_it_goes_down_the_gradient_to_the_boundary():
    g = gradient()
    z, path, _ = follow(np.zeros((N, N)), g, 2.0)
    np.testing.assert_allclose(z, -2.0 * g / np.linalg.norm(g), rtol=1e-12)
    assert path.gain == pytest.approx(2.0 * np.linalg.norm(g), rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_before_a_product_that_is_not_finite_it_ends(bad):
    g = gradient()
    with np.errstate(all="ignore"):
        z, path, _ = follow(np.full((N, N), bad), g, 0.5)
    np.testing.assert_allclose(z, -0.5 * g / np.linalg.norm(g), rtol=1e-12)
    assert (path.count, path.gain) == (1, pytest.approx(0.5 * np.linalg.norm(g), rel=1e-12))


def test_where_rounding_keeps_the_residual_up_it_ends():
    """In float32 it does not fall to what it would in exact arithmetic, and the path must not go on for ever."""
    hessian, g = spd(condition=1e6).astype(np.float32), gradient().astype(np.float32)
    z, path, _ = follow(hessian, g, 1e6, goal=0.0, eps=float(np.finfo(np.float32).eps))
    assert path.count < 200
    exact = -np.linalg.solve(hessian.astype(float), g.astype(float))
    assert g @ z + 0.5 * z @ hessian @ z <= 0.9 * (0.5 * g @ exact)
