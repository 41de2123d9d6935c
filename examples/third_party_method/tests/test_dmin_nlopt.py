"""What NLopt's methods have of their own: options, codes, when they call back. The rest is in test_conformance.py."""

import numpy as np
import pytest

from dmin_core import InputError, methods, minimize

METHODS = ["nlopt-MMA", "nlopt-SLSQP", "nlopt-LBFGS"]
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


# Stopping ------------------------------------------------------------------------------------------------


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
