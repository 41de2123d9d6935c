"""Programs written for dict_minimize 0.0.4 with NumPy run after changing their import line and nothing else."""

import inspect
from collections import OrderedDict

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

import dmin_core.dict_minimize.numpy_api as api
from dmin_core import InputError

pytestmark = pytest.mark.numpy

README = """
import numpy as np
from scipy.optimize import rosen, rosen_der
from dmin_core.dict_minimize.numpy_api import minimize

def rosen_obj(params, shift):
    val = rosen(params["x_half_a"] - shift) + rosen(params["x_half_b"] - shift)

    dval = OrderedDict(
        [
            ("x_half_a", rosen_der(params["x_half_a"] - shift)),
            ("x_half_b", rosen_der(params["x_half_b"] - shift)),
        ]
    )
    return val, dval

np.random.seed(0)

n_a = 3
n_b = 5
shift = -1.0

params = OrderedDict([("x_half_a", np.random.randn(n_a)), ("x_half_b", np.random.randn(n_b))])

params = minimize(rosen_obj, params, args=(shift,), method="L-BFGS-B", options={"disp": True})
"""
"""The example of the old package's README, which forgets to import OrderedDict, but for the import line."""


def fun(params, shift=0.0):
    a, b = params["b"] - shift, params["a"] - shift
    return rosen(a) + rosen(b), OrderedDict([("b", rosen_der(a)), ("a", rosen_der(b))])


X0 = OrderedDict([("b", np.array([1.2, 0.8])), ("a", np.array([0.9, 1.1, 0.7], dtype=np.float32))])


def test_the_example_of_the_old_readme(capsys):
    scope = {"OrderedDict": OrderedDict}
    exec(README, scope)
    params = scope["params"]
    assert type(params) is OrderedDict
    assert list(params) == ["x_half_a", "x_half_b"]
    # The answer is 1 + shift everywhere.
    np.testing.assert_allclose(params["x_half_a"], 0.0, atol=1e-4)
    np.testing.assert_allclose(params["x_half_b"], 0.0, atol=1e-4)
    assert "CONVERGENCE" in capsys.readouterr().out


def test_the_signature_is_the_old_ones():
    parameters = inspect.signature(api.minimize).parameters
    assert " ".join(parameters) == "fun x0_dict lb_dict ub_dict args method tol callback options"
    assert [p.kind for p in parameters.values()][2:] == [inspect.Parameter.KEYWORD_ONLY] * 7


@pytest.mark.parametrize("method", ["CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "trust-constr", None])
def test_every_method_that_the_old_package_named(method):
    x = api.minimize(fun, X0, method=method)
    assert type(x) is OrderedDict
    assert list(x) == ["b", "a"]
    assert [v.dtype for v in x.values()] == [np.float64, np.float32]
    # TNC stops early along the valley, the earlier the older SciPy is: its value is small there, its variables inexact.
    assert fun(x)[0] < (0.05 if method == "TNC" else 1e-2)
    assert all(np.allclose(value, 1.0, atol=0.3 if method == "TNC" else 0.05) for value in x.values())


@pytest.mark.parametrize("order", [("b", "a"), ("a", "b")])
def test_bounds_are_dictionaries_like_x0(order):
    limits = {"b": np.array([0.5, 0.5]), "a": np.array([0.9, 0.9, 0.9])}
    ub = OrderedDict((name, limits[name]) for name in order)
    lb = OrderedDict((name, limits[name] - 1.0) for name in order)
    start = OrderedDict([("b", np.array([0.1, 0.1])), ("a", np.array([0.5, 0.6, 0.7]))])
    x = api.minimize(fun, start, lb_dict=lb, ub_dict=ub)
    assert all((lb[name] <= x[name]).all() and (x[name] <= ub[name]).all() for name in x)
    np.testing.assert_allclose(x["b"], [0.5, 0.25], atol=1e-3)


def test_args_may_be_any_sequence():
    for args in ((1.0,), [1.0]):
        np.testing.assert_allclose(api.minimize(fun, X0, args=args, method="BFGS")["b"], 2.0, atol=1e-3)


def test_callback_gets_an_ordered_dict():
    seen = []
    x = api.minimize(fun, X0, callback=seen.append, method="BFGS")
    assert all(type(step) is OrderedDict and list(step) == ["b", "a"] for step in seen)
    np.testing.assert_array_equal(seen[-1]["b"], x["b"])


def test_a_callback_whatever_its_parameter_is_called_gets_x():
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result)

    api.minimize(fun, X0, callback=callback, method="BFGS")
    assert type(seen[0]) is OrderedDict


def test_x0_is_not_modified():
    before = {name: value.copy() for name, value in X0.items()}
    api.minimize(fun, X0)
    for name, value in X0.items():
        np.testing.assert_array_equal(value, before[name])


def test_tol_and_options_are_the_methods():
    calls = []

    def counted(params):
        calls.append(None)
        return fun(params)

    api.minimize(counted, X0, method="L-BFGS-B", options={"maxfun": 4})
    assert len(calls) <= 4
    loose, calls[:] = api.minimize(counted, X0, tol=1.0, method="BFGS"), []
    assert rosen(loose["b"]) > 1e-9


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"x0_dict": {"b": np.zeros(2)}}, "x0_dict must be an OrderedDict, not a dict"),
        ({"x0_dict": X0, "lb_dict": X0}, "lb_dict and ub_dict must both be given, or neither"),
        ({"x0_dict": X0, "ub_dict": X0}, "lb_dict and ub_dict must both be given, or neither"),
        ({"x0_dict": OrderedDict()}, "no leaf"),
    ],
    ids=["dict", "lower alone", "upper alone", "empty"],
)
def test_what_the_old_package_asserted_is_an_error(arguments, says):
    with pytest.raises(InputError, match=says):
        api.minimize(fun, **arguments)
