"""NLopt's methods find known answers, stop when told to, and let whatever is raised in them through."""

import contextlib
import gc
import weakref

import numpy as np
import optree
import pytest

from dmin_core import InputError, Interrupted, backends, get_backend, methods, minimize
from dmin_core.testing.problems import bounded, flat, quadratic, rosenbrock, smooth

METHODS = ["nlopt-MMA", "nlopt-SLSQP", "nlopt-LBFGS"]
PROBLEMS = {"smooth": smooth, "quadratic": quadratic, "rosenbrock": rosenbrock, "bounded": bounded}
START = {"a": np.array([-1.2, 1.0]), "b": np.array(2.0)}


def valley(p):
    """Rosenbrock's function and a parabola: 0 where all is 1."""
    return 100 * (p["a"][1] - p["a"][0] ** 2) ** 2 + (1 - p["a"][0]) ** 2 + (p["b"] - 1) ** 2


every_method = pytest.mark.parametrize("method", METHODS)


@every_method
def test_abilities_are_declared(method):
    found = methods()[method]
    assert found.error is None
    assert found.distribution == "dmin-nlopt"
    assert found.gradient
    assert found.bounds
    assert not any([found.hess, found.hessp, found.constraints])


@every_method
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_known_answers_are_found(backend, problem, method):
    if backend not in backends():
        pytest.skip(f"needs dmin-{backend}")
    host, problem = get_backend(backend), PROBLEMS[problem]()
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    fun, x0, data = problem.pose(xp, lambda values: host.from_numpy(np.array(values), None))
    result = minimize(fun, x0, args=data, method=method, bounds=problem.bounds, tol=1e-12)
    gap, distance = problem.tolerances(
        float(np.finfo(float).eps), methods()[method], exact_gradient=host.exact_gradient
    )
    assert result.fun - problem.value <= gap, result.message
    x = flat(optree.tree_map(host.to_numpy, result.x))
    assert np.linalg.norm(x - flat(problem.answer)) <= distance
    assert result.backend == backend


@every_method
def test_every_point_lies_within_the_bounds(method):
    seen = []

    def fun(p):
        seen.append(p["a"][0])
        return valley(p)

    result = minimize(
        fun, {**START, "a": np.array([0.0, 1.0])}, method=method, jac="3-point", bounds={"a": ([-0.5, -9], [0.5, 9])}
    )
    assert result.x["a"] == pytest.approx([0.5, 0.25], abs=1e-3)
    assert min(seen) >= -0.5
    assert max(seen) <= 0.5


@every_method
def test_a_variable_between_equal_bounds_stays(method):
    result = minimize(valley, START, method=method, bounds={"b": (2.0, 2.0)}, tol=1e-12)
    assert result.x["b"] == 2.0
    assert result.fun == pytest.approx(1.0, abs=1e-4)


# Stopping ------------------------------------------------------------------------------------------------


@every_method
def test_maxfun_stops_at_that_evaluation(method):
    result = minimize(valley, START, method=method, options={"maxfun": 99})
    assert result.nfev == 99
    assert not result.success
    assert "(maxfun)" in result.message
    assert result.fun == result.history.fun.min() < valley(START)


@every_method
def test_maxeval_is_nlopts_limit(method):
    result = minimize(valley, START, method=method, options={"maxeval": 10})
    assert not result.success
    assert (result.status, result.message) == (5, "Maxeval reached (NLopt's code 5).")


@every_method
def test_stopval_ends_a_run_with_success(method):
    result = minimize(valley, START, method=method, options={"stopval": 2.0})
    assert result.success
    assert result.status == 2
    assert result.fun <= 2.0


@every_method
def test_a_smaller_tol_comes_nearer(method):
    rough, fine = (minimize(valley, START, method=method, jac="3-point", tol=tol) for tol in (1e-2, 1e-6))
    assert rough.success
    assert fine.fun < rough.fun


@every_method
def test_options_go_before_tol(method):
    named = {"ftol_rel": 1e-2, "xtol_rel": 1e-2}
    by_tol, by_name, by_both = (
        minimize(valley, START, method=method, **how)
        for how in ({"tol": 1e-2}, {"options": named}, {"tol": 1e-12, "options": named})
    )
    assert by_tol.nfev == by_name.nfev == by_both.nfev


@every_method
@pytest.mark.parametrize(("option", "value"), [("ftol_rel", "small"), ("maxeval", 1.5)])
def test_an_option_of_the_wrong_kind_is_named(method, option, value):
    with pytest.raises(InputError, match=rf"options\['{option}'\] = {value!r}"):
        minimize(valley, START, method=method, options={option: value})


# The callback --------------------------------------------------------------------------------------------


@every_method
def test_the_callback_gets_each_new_least_value(method):
    seen = []

    def callback(intermediate_result):
        seen.append((intermediate_result.fun, valley(intermediate_result.x)))

    result = minimize(valley, START, method=method, callback=callback, tol=1e-4)
    values = [fun for fun, _ in seen]
    assert all(fun == value for fun, value in seen)
    assert values == sorted(set(values), reverse=True)
    assert values[-1] == result.fun
    assert values[0] < valley(START)
    assert len(seen) == result.nit


@every_method
def test_stop_iteration_in_the_callback_stops(method):
    points = []

    def callback(x):
        points.append(x)
        if len(points) == 3:
            raise StopIteration

    result = minimize(valley, START, method=method, callback=callback)
    assert len(points) == result.nit == 3
    assert (result.success, result.status) == (False, 99)
    np.testing.assert_array_equal(result.x["a"], points[-1]["a"])


# What is raised inside -----------------------------------------------------------------------------------


class Unknown(BaseException):
    """Not even an Exception."""


@every_method
@pytest.mark.parametrize("where", ["fun", "jac", "callback"])
@pytest.mark.parametrize("error", [ZeroDivisionError("here"), Unknown("there")], ids=["Exception", "BaseException"])
def test_an_exception_comes_out_as_it_is(method, where, error):
    calls = []

    def fail_the_fourth_time(name):
        if name == where:
            calls.append(name)
            if len(calls) == 4:
                raise error

    def fun(p):
        fail_the_fourth_time("fun")
        return valley(p)

    def jac(p):
        fail_the_fourth_time("jac")
        u, v = p["a"]
        return {
            "a": np.array([-400 * u * (v - u**2) - 2 * (1 - u), 200 * (v - u**2)]),
            "b": 2 * (p["b"] - 1),
        }

    with pytest.raises(type(error)) as caught:
        minimize(fun, START, method=method, jac=jac, callback=lambda x: fail_the_fourth_time("callback"))
    assert caught.value is error
    assert len(calls) == 4


@every_method
def test_the_keyboard_interrupts(method):
    calls = []

    def fun(p):
        calls.append(p)
        if len(calls) == 99:
            raise KeyboardInterrupt
        return valley(p)

    with pytest.raises(Interrupted) as caught:
        minimize(fun, START, method=method)
    assert caught.value.result.fun < valley(START)
    assert len(calls) == 99


@every_method
def test_no_run_outlives_its_end(method):
    class Big(np.ndarray):
        """Something whose end can be seen."""

    kept = []

    def run(fails):
        data = np.zeros(3).view(Big)
        kept.append(weakref.ref(data))
        calls = []

        def fun(p):
            calls.append(data.size)
            if fails and len(calls) == 9:
                raise ZeroDivisionError
            return valley(p)

        minimize(fun, START, method=method, tol=1e-3)

    run(fails=False)
    with contextlib.suppress(ZeroDivisionError):
        run(fails=True)
    gc.collect()
    assert all(ref() is None for ref in kept)


# Hard cases ----------------------------------------------------------------------------------------------


@every_method
def test_values_that_are_not_finite_do_no_harm(method):
    def fun(x):
        with np.errstate(invalid="ignore", divide="ignore"):
            return x[0] - np.log(x[0])  # nan left of 0, least at 1

    result = minimize(fun, np.array([3.0]), method=method, options={"maxfun": 500})
    assert np.isfinite(result.fun)
    assert result.fun == result.history.fun[np.isfinite(result.history.fun)].min()


@every_method
def test_float32_leaves_end_in_success_or_say_why(method):
    start = {name: value.astype(np.float32) for name, value in START.items()}
    result = minimize(valley, start, method=method)
    assert result.x["a"].dtype == np.float32
    assert result.success or result.status in (-1, -4)  # a failure or the limit of roundoff, after much progress
    assert result.fun < valley(START) / 500
