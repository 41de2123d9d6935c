"""Programs written for dict_minimize 0.0.4 with TensorFlow run after changing their import line and nothing else."""

from collections import OrderedDict

import numpy as np
import pytest

pytest.importorskip("dmin_tf", reason="dmin-tf or TensorFlow is not installed", exc_type=ImportError)
tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from dmin_core.dict_minimize.tensorflow_api import minimize  # noqa: E402 - after the skip

README = '''
import tensorflow as tf
from dmin_core.dict_minimize.tensorflow_api import minimize

def rosen_obj(params, shift):
    """Based on augmented Rosenbrock from botorch."""
    X, Y = params["x_half_a"], params["x_half_b"]
    X = X - shift
    Y = Y - shift
    obj = 100 * (X[1] - X[0] ** 2) ** 2 + 100 * (Y[1] - Y[0] ** 2) ** 2
    return obj

def d_rosen_obj(params, shift):
    with tf.GradientTape(persistent=True) as t:
        t.watch(params["x_half_a"])
        t.watch(params["x_half_b"])

        obj = rosen_obj(params, shift=shift)

    da = t.gradient(obj, params["x_half_a"])
    db = t.gradient(obj, params["x_half_b"])
    d_obj = OrderedDict([("x_half_a", da), ("x_half_b", db)])
    del t  # Explicitly drop the reference to the tape
    return obj, d_obj

tf.random.set_seed(123)

n_a = 2
n_b = 2
shift = -1.0

params = OrderedDict([("x_half_a", tf.random.normal((n_a,))), ("x_half_b", tf.random.normal((n_b,)))])

params = minimize(d_rosen_obj, params, args=(shift,), method="L-BFGS-B", options={"disp": True})
'''
"""The example of the old package's README, which forgets to import OrderedDict, but for the import line."""


def fun(params, shift=0.0):
    with tf.GradientTape() as tape:
        tape.watch(list(params.values()))
        value = tf.reduce_sum((params["b"] - 1.0 - shift) ** 4)
        value += tf.cast(tf.reduce_sum((params["a"] - 2.0) ** 2), tf.float64)
    return value, tape.gradient(value, params)


def start():
    return OrderedDict([("b", tf.zeros(2, tf.float64)), ("a", tf.zeros((1, 3)))])


def test_the_example_of_the_old_readme(capsys):
    scope = {"OrderedDict": OrderedDict}
    exec(README, scope)
    params = scope["params"]
    assert type(params) is OrderedDict
    assert list(params) == ["x_half_a", "x_half_b"]
    # Without Rosenbrock's second term the minimum is a valley, of value zero.
    for x in params.values():
        x = x.numpy() + 1.0
        assert x.dtype == np.float32
        assert abs(x[1] - x[0] ** 2) < 1e-3
    assert "CONVERGENCE" in capsys.readouterr().out


def test_the_answer_has_the_shapes_and_dtypes_of_x0():
    x = minimize(fun, start(), method="BFGS")
    assert [(v.shape, v.dtype) for v in x.values()] == [((2,), tf.float64), ((1, 3), tf.float32)]
    np.testing.assert_allclose(x["b"], 1.0, atol=0.05)
    np.testing.assert_allclose(x["a"], 2.0, atol=1e-3)


def test_fun_runs_as_plain_python_at_every_evaluation():
    seen = []

    def looks(params):
        seen.append(params["b"].numpy())  # only an eager tensor has this
        return fun(params)

    minimize(looks, start(), method="L-BFGS-B")
    assert len(seen) > 2


def test_a_variable_is_a_tensor_in_fun_and_a_new_variable_in_the_answer():
    x0 = OrderedDict(b=tf.Variable(tf.zeros(2, tf.float64)), a=tf.zeros((1, 3)))

    def watched(params):
        assert not isinstance(params["b"], tf.Variable)
        return fun(params)

    x = minimize(watched, x0, method="BFGS")
    assert isinstance(x["b"], tf.Variable)
    assert x0["b"].numpy().tolist() == [0.0, 0.0]


def test_bounds_are_tensors():
    lb = OrderedDict([("b", tf.fill(2, -1.0)), ("a", tf.fill((1, 3), -1.0))])
    ub = OrderedDict([("b", tf.fill(2, 0.25)), ("a", tf.fill((1, 3), 0.5))])
    x = minimize(fun, start(), lb_dict=lb, ub_dict=ub, method="L-BFGS-B")
    np.testing.assert_array_equal(x["b"], 0.25)
    np.testing.assert_array_equal(x["a"], 0.5)


def test_args_and_callback_are_handed_on():
    seen = []
    x = minimize(fun, start(), args=(2.0,), method="BFGS", callback=lambda x: seen.append(type(x)))
    np.testing.assert_allclose(x["b"], 3.0, atol=0.05)
    assert set(seen) == {OrderedDict}
