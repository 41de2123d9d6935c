"""A search ends at a point of the strong Wolfe conditions, and says so when values are too coarse to tell."""

import math
import types

import numpy as np
import pytest

from dmin_core.solvers.device.arithmetic import Host
from dmin_core.solvers.device.line_search import CURVATURE, DECREASE, advance, begin

EPS = float(np.finfo(float).eps)


def search(phi, t=1.0, maxls=20, eps=EPS):
    """The search along ``phi``, a function from t to value and slope, and the trials it made."""
    arithmetic = Host(eps)
    limits = types.SimpleNamespace(c1=DECREASE, c2=CURVATURE, maxls=maxls)
    f0, slope0 = phi(0.0)
    state, trials = begin(arithmetic, f0, slope0, t), []
    while not state.done:
        trials.append(state.t)
        state = advance(arithmetic, state, f0, slope0, *phi(state.t), limits)
    return state, trials


# The functions of Moré and Thuente (1994), section 5, of Yanai, Ozawa and Kaneko where they are 4 to 6.
def more_thuente_1(t, beta=2.0):
    return -t / (t**2 + beta), (t**2 - beta) / (t**2 + beta) ** 2


def more_thuente_2(t, beta=0.004):
    return (t + beta) ** 5 - 2 * (t + beta) ** 4, 5 * (t + beta) ** 4 - 8 * (t + beta) ** 3


def more_thuente_3(t, beta=0.01, waves=39):
    if t <= 1 - beta:
        base, slope = 1 - t, -1.0
    elif t >= 1 + beta:
        base, slope = t - 1, 1.0
    else:
        base, slope = (t - 1) ** 2 / (2 * beta) + beta / 2, (t - 1) / beta
    angle = waves * math.pi / 2
    return base + 2 * (1 - beta) / (waves * math.pi) * math.sin(angle * t), slope + (1 - beta) * math.cos(angle * t)


def yanai(beta1, beta2):
    def gamma(beta):
        return math.sqrt(1 + beta**2) - beta

    def phi(t):
        left, right = math.sqrt((1 - t) ** 2 + beta2**2), math.sqrt(t**2 + beta1**2)
        return gamma(beta1) * left + gamma(beta2) * right, gamma(beta1) * (t - 1) / left + gamma(beta2) * t / right

    return phi


FUNCTIONS = {
    "1": more_thuente_1,
    "2": more_thuente_2,
    "3": more_thuente_3,
    "4": yanai(0.001, 0.001),
    "5": yanai(0.01, 0.001),
    "6": yanai(0.001, 0.01),
}


@pytest.mark.parametrize("t", [1e-3, 1e-1, 1e1, 1e3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_end_is_lower_enough_and_flatter_enough(name, t):
    phi = FUNCTIONS[name]
    state, trials = search(phi, t)
    f0, slope0 = phi(0.0)
    f, _ = phi(state.best)
    assert state.best_f == f <= min(phi(each)[0] for each in trials)
    assert f <= f0 + DECREASE * state.best * slope0
    assert state.accepted or len(trials) > 1
    if state.accepted:
        last = trials[-1]
        assert abs(phi(last)[1]) <= -CURVATURE * slope0
    assert len(trials) <= 12


def test_a_good_first_step_is_the_only_trial():
    state, trials = search(lambda t: ((t - 1.2) ** 2, 2 * (t - 1.2)))
    assert (trials, state.accepted, state.best) == ([1.0], True, 1.0)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("unit", [2.0**600, 2.0**-400])
def test_trials_do_not_depend_on_the_units_of_the_function(name, unit):
    """Nor where squares of slopes are no numbers."""
    phi = FUNCTIONS[name]

    def scaled(t):
        f, slope = phi(t)
        return f * unit, slope * unit

    for t in (1e-3, 1e1):
        assert search(scaled, t)[1] == search(phi, t)[1]


@pytest.mark.parametrize("bad", [(math.nan, math.nan), (math.inf, math.inf), (-2.0, math.nan), (math.nan, -1.0)])
def test_what_is_not_finite_is_a_wall(bad):
    """A logarithm's domain ends at 0.5; the minimum is before it."""

    def phi(t):
        return bad if t >= 0.5 else (-t - 0.1 * math.log(1 - 2 * t), -1 + 0.2 / (1 - 2 * t))

    state, trials = search(phi, t=100.0)
    assert state.accepted
    assert 0 < state.best < 0.5
    assert len(trials) <= 10


def test_slopes_decide_where_values_are_too_coarse():
    """A parabola on a constant so high that all values near its minimum are the same number."""

    def phi(t):
        return 1e8 + 1e-10 * (t - 1) ** 2, 2e-10 * (t - 1)

    state, trials = search(phi)
    assert (trials, state.accepted) == ([1.0], True)


def test_a_step_into_rising_values_ends():
    """Where the slope lies there is nothing to find, and the search does not go on for ever."""
    state, trials = search(lambda t: (t, -1.0), maxls=20)
    assert state.best == 0.0
    assert not state.accepted
    assert len(trials) <= 20


def test_no_more_trials_than_asked_for():
    _, trials = search(more_thuente_3, t=1e3, maxls=3)
    assert len(trials) == 3


@pytest.mark.parametrize("t", [0.01, 0.7, 2.0, 30.0])
def test_a_trial_promises_what_a_quadratic_has_or_half_its_slopes_where_the_minimum_lies_beyond(t):
    """By 3 (t - 0.7)², whose slope at 0 is -4.2 and whose minimum is 1.47 lower. What is not finite promises none."""
    limits = types.SimpleNamespace(c1=DECREASE, c2=CURVATURE, maxls=20)
    begun = begin(Host(EPS), 1.47, -4.2, t)
    after = advance(Host(EPS), begun, 1.47, -4.2, 3.0 * (t - 0.7) ** 2, 6.0 * (t - 0.7), limits)
    assert after.hope == pytest.approx(min(1.47, 2.1 * t))
    assert begun.hope == advance(Host(EPS), begun, 1.47, -4.2, math.nan, 0.0, limits).hope == -1.0
    for worse in ((math.inf, 0.0), (1.47, -4.2)):
        assert after.hope == advance(Host(EPS), after._replace(t=1e-6), 1.47, -4.2, *worse, limits).hope
