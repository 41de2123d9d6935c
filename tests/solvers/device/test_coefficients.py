"""The direction in coefficient space is that of the two-loop recursion over the same pairs."""

import numpy as np
import pytest

from dmin_core.solvers.device.arithmetic import Host
from dmin_core.solvers.device.coefficients import BEYOND, direction, empty, remember, remember_free

HOST = Host(float(np.finfo(float).eps))


def two_loops(pairs, g, stretch):
    """-H g by Nocedal and Wright (2006), algorithm 7.4, with a stretched scale."""
    q, weights = g.copy(), []
    for s, y in reversed(pairs):
        weights.append(s @ q / (s @ y))
        q = q - weights[-1] * y
    s, y = pairs[-1]
    r = q * stretch * (s @ y) / (y @ y)
    for (s, y), weight in zip(pairs, reversed(weights), strict=True):
        r = r + s * (weight - y @ r / (s @ y))
    return -r


class Run:
    """Iterates of no method in particular on a quadratic, remembered in coefficient space."""

    def __init__(self, m, n=12, free=None):
        self.m, self.rng = m, np.random.default_rng(0)
        a = self.rng.normal(size=(n, n))
        self.matrix = a @ a.T + np.eye(n)
        self.history = np.zeros((2 * m, n))
        self.memory = empty(HOST, m)
        self.x = self.rng.normal(size=n)
        self.g = self.matrix @ self.x
        self.free = np.ones(n) if free is None else free
        self.pairs, self.stretch, self.r = [], 1.0, BEYOND

    def step(self, by_free=False, backwards=False, r=None):
        s = self.rng.normal(size=self.x.size)
        g = self.g + (self.matrix @ s) * (-1 if backwards else 1)
        y, k, m = g - self.g, self.memory.slot, self.m
        r = float(np.exp(self.rng.normal())) if r is None else r
        self.adapt(self.free * s, self.free * y, r)
        if by_free:
            self.history[k], self.history[k + m] = s, y
            left, right = np.vstack([self.history, g]), np.vstack([self.history[m:], g])
            self.memory = remember_free(HOST, self.memory, left @ (self.free * right).T, self.free @ s**2, r)
        else:
            self.memory = remember(HOST, self.memory, self.history @ g, r, s @ s, s @ y, y @ y, s @ g, y @ g)
        self.history[k], self.history[k + m] = s, y
        if not backwards:
            self.pairs = [*self.pairs, (s, y)][-m:]
        self.x, self.g = self.x + s, g

    def adapt(self, s, y, r):
        """κ, by the docstring of `coefficients`; no step changes it to more than twice or less than half."""
        if s @ y > 1e-10:
            change = np.clip(np.sqrt(BEYOND / max(r, self.r)), 0.5, 2.0) if self.memory.size else 1.0
            self.r = r if self.memory.size else BEYOND
            self.stretch = np.clip(self.stretch * change, 1.0, (s @ s) / (s @ y) / ((s @ y) / (y @ y)))

    def direction(self):
        of_s, of_y, of_g = direction(HOST, self.memory)
        return of_s @ self.history[: self.m] + of_y @ self.history[self.m :] + of_g * self.g


@pytest.mark.parametrize("m", [1, 3, 10])
def test_directions_are_those_of_the_two_loops(m):
    run = Run(m)
    for _ in range(2 * m + 3):
        run.step()
        np.testing.assert_allclose(run.direction(), two_loops(run.pairs, run.g, run.stretch), rtol=1e-7, atol=1e-9)
        assert run.memory.size == len(run.pairs)


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("by_free", [False, True])
def test_a_pair_of_negative_curvature_is_left_out(by_free, m):
    """And so is what its step said of the scale; where the history is full, the oldest is lost all the same."""
    run = Run(m)
    for _ in range(3):
        run.step(by_free, r=0.3)
    assert run.stretch > 1.0
    run.step(by_free, backwards=True, r=100.0)
    left = run.pairs[1 - m :]
    np.testing.assert_allclose(run.direction(), two_loops(left, run.g, run.stretch), rtol=1e-7, atol=1e-9)
    run.step(by_free, r=0.3)
    np.testing.assert_allclose(run.direction(), two_loops(run.pairs, run.g, run.stretch), rtol=1e-7, atol=1e-9)
    assert run.memory.size == len(run.pairs) == m


def test_the_scale_follows_the_curvature_that_steps_find_and_stays_between_two_lengths():
    run, stretches, longest = Run(3), [], []
    run.rng = np.random.default_rng(1)
    for _ in range(40):
        run.step()
        s, y = run.pairs[-1]
        stretches.append(run.memory.stretch)
        longest.append((s @ s) * (y @ y) / (s @ y) ** 2)
        assert run.memory.scale == pytest.approx(run.memory.stretch * (s @ y) / (y @ y))
    stretches, longest = np.array(stretches), np.array(longest)
    assert ((stretches >= 1.0) & (stretches <= longest * (1 + 1e-12))).all()
    for inside in (stretches == 1.0, np.isclose(stretches, longest), (stretches > 1.0) & (stretches < 0.99 * longest)):
        assert inside.any()


def test_the_scale_grows_where_two_steps_in_turn_fell_short_and_not_where_one_did():
    steady, varying = Run(3), Run(3)
    for short, far in [(0.3, 0.3), (0.3, 2.5)] * 10:
        steady.step(r=short)
        varying.step(r=far)
        assert varying.memory.stretch == 1.0
    assert steady.memory.stretch > 2.0
    again = Run(3)
    again.step(r=0.1)  # the first was along the gradient, and what it says does not count
    again.step(r=0.3)
    assert again.memory.stretch == 1.0
    again.step(r=0.3)
    assert again.memory.stretch > 1.0


def test_without_pairs_it_is_the_gradient_reversed():
    of_s, of_y, of_g = direction(HOST, empty(HOST, 3))
    assert (of_s.tolist(), of_y.tolist(), of_g) == ([0.0] * 3, [0.0] * 3, -1.0)


@pytest.mark.parametrize("m", [1, 3, 10])
def test_over_free_variables_it_is_the_recursion_over_their_parts(m):
    free = (np.arange(12) % 3 > 0).astype(float)
    run = Run(m, free=free)
    for _ in range(2 * m + 3):
        run.step(by_free=True)
        parts = [(free * s, free * y) for s, y in run.pairs]
        expected = two_loops([(s, y) for s, y in parts if s @ y > 1e-10], free * run.g, run.stretch)
        got = run.direction()
        np.testing.assert_allclose(got * free, expected, rtol=1e-6, atol=1e-8)
