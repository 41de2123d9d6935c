"""A Keras 3 model as x0: what `fun` sees of it, where the answer goes, and what is left alone."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from dmin_core import InputError, Interrupted, NonlinearConstraint, minimize

keras = pytest.importorskip("keras", minversion="3.0", reason="Keras 3 is not installed")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras runs on another framework here", allow_module_level=True)

METHODS = ["L-BFGS-B", "trust-ncg", "trust-exact", "Nelder-Mead"]
each_method = pytest.mark.parametrize("method", METHODS)
each_way = pytest.mark.parametrize("compile", [None, False, True], ids=["graph", "eager", "XLA"])

rng = np.random.default_rng(0)
X = tf.constant(rng.normal(size=(20, 2)), tf.float32)
Y = X[:, :1] * X[:, 1:] + 0.5


def make(name="net"):
    """A model with a regulariser, moving averages and a random generator, by layers of known names."""
    return keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(3, activation="tanh", kernel_regularizer="l2", name="first"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.1, seed=1, name="drop"),
            keras.layers.Dense(1, name="last"),
        ],
        name=name,
    )


NAMES = [
    f"net/{rest}" for rest in ("first/kernel", "first/bias", "norm/gamma", "norm/beta", "last/kernel", "last/bias")
]


def loss(model, training=True):
    return tf.reduce_mean((model(X, training=training) - Y) ** 2) + sum(model.losses)


def value_of(model, training=True):
    """The loss of another model with the same weights, so that this one's averages stay as they are."""
    other = keras.models.clone_model(model)
    for variable, twin in zip(model.variables, other.variables, strict=True):
        twin.assign(variable)
    return float(loss(other, training))


def state(variables):
    return {variable.path: variable.numpy().copy() for variable in variables}


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name], err_msg=name)


@each_way
@each_method
def test_a_model_holds_the_answer_and_its_averages_do_not_drift(method, compile):
    model = make()
    before, start = state(model.non_trainable_variables), value_of(model)
    variables = list(model.trainable_variables)

    res = minimize(loss, model, method=method, compile=compile, options={"maxfun": 8})

    assert res.x is model
    assert all(a is b for a, b in zip(model.trainable_variables, variables, strict=True))
    assert_same(before, state(model.non_trainable_variables))
    assert value_of(model) == pytest.approx(res.fun, rel=1e-5)
    assert res.fun < start
    if "jac" in res:
        assert list(res.jac) == NAMES


def test_a_model_is_made_a_graph_once_and_its_averages_are_those_of_the_moment():
    model, calls = make(), [0]

    def counted(model):
        calls[0] += 1
        return loss(model, training=False)

    first = minimize(counted, model, options={"maxfun": 1})
    traced = calls[0]
    model.get_layer("norm").moving_mean.assign(tf.fill((3,), 2.0))
    again = minimize(counted, model, options={"maxfun": 1})

    assert calls[0] == traced
    assert again.fun != first.fun
    assert again.fun == pytest.approx(value_of(model, training=False), rel=1e-5)


def test_two_models_are_not_taken_for_each_other():
    def fun(model):
        return loss(model, training=False)

    models = [make(), make()]
    found = [minimize(fun, model, options={"maxfun": 3}).fun for model in models]

    for model, value in zip(models, found, strict=True):
        assert value_of(model, training=False) == pytest.approx(value, rel=1e-5)


def test_layers_that_are_not_trainable_are_left_alone():
    model = make()
    model.get_layer("first").trainable = False
    before = state(model.get_layer("first").variables)

    res = minimize(loss, model, options={"maxfun": 3})

    assert list(res.jac) == [name for name in NAMES if "first" not in name]
    assert_same(before, state(model.get_layer("first").variables))


def test_a_layer_alone_is_a_model_too():
    layer = keras.layers.Dense(1, name="dense")
    layer.build((None, 2))

    res = minimize(lambda layer: tf.reduce_mean((layer(X) - Y) ** 2), layer)

    solution = np.linalg.lstsq(np.c_[X.numpy(), np.ones(20)], Y.numpy(), rcond=None)[0]
    np.testing.assert_allclose(np.concatenate([layer.kernel.numpy(), layer.bias.numpy()[None]]), solution, atol=1e-2)
    assert res.x is layer


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_run_that_raises_leaves_the_model_as_it_was(error):
    model, calls = make(), [0]
    before = state(model.variables)

    def fails(model):
        calls[0] += 1
        if calls[0] == 5:
            raise error
        return loss(model)

    with pytest.raises(error) as caught:
        minimize(fails, model, method="Nelder-Mead", compile=False)

    assert_same(before, state(model.variables))
    if isinstance(caught.value, Interrupted):
        best = caught.value.result
        for variable in model.trainable_variables:
            variable.assign(best.x[variable.path])
        assert value_of(model) == pytest.approx(best.fun, rel=1e-5)
    assert minimize(loss, model, options={"maxfun": 3}).fun < value_of(make()) * 2


@pytest.mark.parametrize("compile", [None, False], ids=["graph", "eager"])
def test_constraints_are_differentiated_through_the_model(compile):
    model = make()

    def norm(model):
        return tf.reduce_sum(tf.convert_to_tensor(model.get_layer("last").kernel) ** 2)

    limit = NonlinearConstraint(norm, 0.0, 0.25)
    minimize(loss, model, method="SLSQP", constraints=limit, compile=compile, options={"maxiter": 20})

    assert float(norm(model)) <= 0.25 + 1e-4


def test_a_callback_sees_the_model_at_the_iterate():
    model, seen = make(), []

    def callback(intermediate_result):
        assert intermediate_result.x is model
        seen.append((value_of(model), intermediate_result.fun))

    minimize(loss, model, callback=callback, options={"maxiter": 3})

    assert len(seen) == 3
    for got, expected in seen:
        assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("ignore:x0 lies outside its bounds:RuntimeWarning")
@pytest.mark.parametrize("name", ["net/last/kernel", "x0['net/last/kernel']", "net/last/k*", "**/last/kernel"])
def test_bounds_and_frozen_by_name_path_and_glob(name):
    model = make()
    before = state(model.variables)

    minimize(loss, model, bounds={name: (-0.1, 0.1)}, frozen="*/first/*", options={"maxfun": 5})

    after = state(model.variables)
    assert np.abs(after["net/last/kernel"]).max() <= 0.1 + 1e-7
    for rest in ("kernel", "bias"):
        np.testing.assert_array_equal(after[f"net/first/{rest}"], before[f"net/first/{rest}"])


def test_what_cannot_be_optimised_says_why():
    with pytest.raises(InputError, match=r"Dense without trainable variables.*Call it once"):
        minimize(loss, keras.layers.Dense(1))

    class Twins(keras.Model):
        def __init__(self):
            super().__init__(name="twins")
            self.a, self.b = (keras.layers.Dense(1, name="dense") for _ in range(2))

        def call(self, x):
            return self.a(x) + self.b(x)

    twins = Twins()
    twins(X)
    with pytest.raises(InputError, match=r"2 variables of the path 'twins/dense/kernel'"):
        minimize(loss, twins)


def test_a_model_in_a_nest_is_refused():
    with pytest.raises(InputError, match=r"x0\['net'\] is a .*Sequential inside a nest"):
        minimize(lambda p: loss(p["net"]) * p["w"] ** 2, {"net": make(), "w": tf.ones(())})


def test_what_is_compiled_keeps_no_model_alive():
    model = make()
    gone = weakref.ref(model), weakref.ref(model.get_layer("first").kernel)
    minimize(loss, model, options={"maxfun": 2})

    del model
    gc.collect()

    assert [ref() for ref in gone] == [None, None]
