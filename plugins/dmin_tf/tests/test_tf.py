"""What is TensorFlow's alone: graphs and what is kept of them, variables and Keras, slices, XLA, devices.

What every backend must do is in test_conformance.py.
"""

import dataclasses
import gc
import inspect
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref

import array_api_compat.numpy as reference
import numpy as np
import pytest
import tensorflow as tf

import dmin_tf
from dmin_core import Interrupted, ObjectiveError, array_namespace, get_backend, minimize
from dmin_tf import _compiled

DTYPES = [tf.bfloat16, tf.float16, tf.float32, tf.float64]
METHODS = ["L-BFGS-B", "trust-ncg", "trust-exact", "Nelder-Mead"]
"""One for each of what the backend is asked for: gradients, products, dense Hessians, values alone."""
COMPILE = [None, False, True]

each_method = pytest.mark.parametrize("method", METHODS)
each_way = pytest.mark.parametrize("compile", COMPILE, ids=["graph", "eager", "XLA"])


def bowl(x):
    return tf.reduce_sum((x - 1.0) ** 2)


def nested_bowl(x):
    return sum(tf.cast(bowl(leaf), tf.float64) for leaf in x.values())


def zeros(*shape, dtype=tf.float64):
    return tf.zeros(shape, dtype)


def point(*values):
    return (tf.constant(values, tf.float64),)


def largest(difference):
    return float(np.max(np.abs(difference)))


def counting(fun):
    """``fun``, which counts how often Python runs it: once for a graph."""

    def counted(*args):
        counted.calls += 1
        return fun(*args)

    counted.calls = 0
    return counted


@pytest.fixture(autouse=True)
def log():
    """What TensorFlow logs; nothing, in every test that does not say otherwise."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = tf.get_logger()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
    assert [record.getMessage() for record in records] == []


# dtypes --------------------------------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_leaf_keeps_its_dtype_inside_fun_and_in_the_result(dtype, compile):
    seen = set()

    def fun(x):
        seen.add(x.dtype)
        return bowl(x)

    res = minimize(fun, zeros(3, dtype=dtype), method="L-BFGS-B", compile=compile)

    assert seen == {dtype}
    assert (res.x.dtype, res.jac.dtype) == (dtype, dtype)
    assert largest(tf.cast(res.x, tf.float64) - 1.0) <= dtype_eps(dtype)


def dtype_eps(dtype):
    return {tf.bfloat16: 2.0**-7, tf.float16: 2.0**-10, tf.float32: 2.0**-23, tf.float64: 2.0**-52}[dtype]


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "trust-exact"])
def test_leaves_of_all_dtypes_are_minimised_together(method):
    x0 = {dtype.name: zeros(2, dtype=dtype) for dtype in DTYPES}

    def fun(x):
        return sum(bowl(tf.cast(leaf, tf.float64)) for leaf in x.values())

    res = minimize(fun, x0, method=method)

    for name, leaf in res.x.items():
        assert leaf.dtype.name == name
        assert largest(tf.cast(leaf, tf.float64) - 1.0) <= max(1e-4, dtype_eps(leaf.dtype))


# Variables -----------------------------------------------------------------------------------------------


@each_way
@each_method
def test_variable_comes_back_as_a_new_variable_and_is_never_assigned(method, compile):
    seen = []

    def fun(x):
        seen.append(isinstance(x["v"], tf.Variable))
        return nested_bowl(x)

    x0 = {"v": tf.Variable(zeros(2), trainable=False, name="weight"), "t": zeros(1)}
    res = minimize(fun, x0, method=method, compile=compile)

    assert not any(seen)
    found = res.x["v"]
    assert isinstance(found, tf.Variable)
    assert found is not x0["v"]
    assert (found.trainable, found.name, found.dtype) == (False, "weight:0", tf.float64)
    assert isinstance(res.x["t"], tf.Tensor)
    assert largest(found.numpy() - 1.0) < 1e-3
    assert x0["v"].numpy().tolist() == [0.0, 0.0]
    if method != "Nelder-Mead":
        assert isinstance(res.jac["v"], tf.Tensor)


def test_variables_that_fun_reads_are_read_at_every_evaluation():
    target = tf.Variable(tf.constant([2.0, 3.0], tf.float64))
    fun = counting(lambda x: tf.reduce_sum((x - target) ** 2))
    first = minimize(fun, zeros(2))
    traced = fun.calls
    target.assign([-1.0, 5.0])
    second = minimize(fun, zeros(2))
    assert largest(first.x - [2.0, 3.0]) < 1e-6
    assert largest(second.x - [-1.0, 5.0]) < 1e-6
    assert fun.calls == traced


@pytest.fixture
def keras():
    keras = pytest.importorskip("keras", minversion="3.0", reason="Keras 3 is not installed")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras runs on another framework here")
    return keras


def test_weights_of_a_keras_model_are_trained(keras):
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(40, 3)), tf.float32)
    wanted = tf.constant([[1.0], [-2.0], [0.5]])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

    def loss(weights):
        outputs, _ = model.stateless_call(weights, model.non_trainable_variables, inputs)
        return tf.reduce_mean((outputs - inputs @ wanted - 3.0) ** 2)

    before = [weight.numpy() for weight in model.trainable_variables]
    res = minimize(loss, model.trainable_variables, method="L-BFGS-B")

    assert res.backend == "tf"
    for weight, value in zip(model.trainable_variables, before, strict=True):
        assert (weight.numpy() == value).all()
    assert [type(leaf) for leaf in res.x] == [keras.Variable] * 2
    for weight, found in zip(model.trainable_variables, res.x, strict=True):
        weight.assign(found)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(kernel, wanted, atol=1e-3)
    np.testing.assert_allclose(bias, 3.0, atol=1e-3)


def test_keras_variable_keeps_what_it_is(keras):
    x0 = {"k": keras.Variable(np.zeros(2), dtype="float64", trainable=False, name="w"), "t": zeros(1)}
    res = minimize(nested_bowl, x0, method="trust-exact")
    found = res.x["k"]
    assert (found.dtype, found.trainable, found.name) == ("float64", False, "w")
    assert largest(found.numpy() - 1.0) < 1e-6
    assert (x0["k"].numpy() == 0.0).all()


# Graphs and what is kept of them -------------------------------------------------------------------------


@each_method
def test_second_run_traces_nothing(method):
    fun = counting(lambda x: nested_bowl(x))
    x0 = {"a": zeros(2), "b": zeros(1)}
    minimize(fun, x0, method=method)
    traced = fun.calls
    res = minimize(fun, {"a": zeros(2) + 3.0, "b": zeros(1)}, method=method)
    assert fun.calls == traced
    assert largest(res.x["a"] - 1.0) < 1e-3


ARGS = {
    "float": lambda k: float(k),
    "NumPy scalar": lambda k: np.float64(k),
    "array": lambda k: np.full(2, float(k)),
    "tensor": lambda k: tf.fill([2], tf.constant(k, tf.float64)),
    "nest": lambda k: {"deep": [np.full(2, float(k))], "name": "other"},
    "ragged": lambda k: tf.RaggedTensor.from_row_lengths(tf.fill([2], tf.constant(k, tf.float64)), [2, 0]),
}


def target_in(arg):
    if isinstance(arg, dict):
        return arg["deep"][0]
    return arg.flat_values if isinstance(arg, tf.RaggedTensor) else arg


@pytest.mark.parametrize("kind", ARGS)
def test_other_args_trace_nothing(kind):
    fun = counting(lambda x, arg: tf.reduce_sum((x - target_in(arg)) ** 2))
    for k in (2, 3, 4):
        res = minimize(fun, zeros(2), args=(ARGS[kind](k),))
        assert largest(res.x - k) < 1e-6
        if k == 2:
            traced = fun.calls
    assert fun.calls == traced


def test_another_thread_traces_nothing():
    fun, found = counting(bowl), []
    minimize(fun, zeros(2))
    traced = fun.calls
    thread = threading.Thread(target=lambda: found.append(minimize(fun, zeros(2)).x))
    thread.start()
    thread.join()
    assert largest(found[0] - 1.0) < 1e-6
    assert fun.calls == traced


def test_threads_that_start_together_share_one_trace():
    fun, found = counting(bowl), []
    threads = [threading.Thread(target=lambda: found.append(minimize(fun, zeros(2)).fun)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = counting(bowl)
    minimize(alone, zeros(2))
    assert fun.calls == alone.calls
    assert len(set(found)) == 1


@pytest.mark.parametrize("constant", [3, "3", True, None])
def test_what_is_no_number_is_part_of_the_graph(constant):
    seen = []

    def fun(x, arg):
        seen.append(arg)
        return tf.reduce_sum((x - (float(arg) if arg else 0.0)) ** 2)

    for arg in (constant, constant, 2):
        res = minimize(fun, zeros(2) + 9.0, args=(arg,))
        assert largest(res.x - (float(arg) if arg else 0.0)) < 1e-6
    assert {type(arg) for arg in seen} == {type(constant), int}
    assert len(seen) == 2


def test_array_written_into_between_evaluations_is_seen():
    target = np.zeros(2)

    def change(x):
        target[:] = 1.0

    res = minimize(lambda x, target: tf.reduce_sum((x - target) ** 4), zeros(2) + 2.0, args=(target,), callback=change)
    assert res.history.fun[0] == 32.0
    assert largest(res.x - 1.0) < 0.1


@pytest.mark.parametrize(
    ("fun", "first", "second"),
    [
        (lambda x, a: tf.reduce_sum((x - a) ** 2) if a > 0 else tf.reduce_sum((x - 5.0) ** 2), 2.0, -1.0),
        (lambda x, a: tf.reduce_sum((x - np.linalg.inv(a)[0]) ** 2), np.eye(2) / 2, np.eye(2) / 5),
        (lambda x, a: tf.reduce_sum((tf.cast(x, tf.float32) - a) ** 2), np.full(2, 2.0), np.full(2, 5.0)),
    ],
    ids=["decides by a float", "NumPy on an array", "float64 array and float32"],
)
def test_numbers_that_cannot_be_tensors_are_constants(fun, first, second):
    """What works on plain numbers and arrays works, at the price of a graph for each of them."""
    found = [minimize(fun, zeros(2), args=(arg,)).x.numpy()[0] for arg in (first, second, first)]
    np.testing.assert_allclose(found, [2.0, 5.0, 2.0], atol=1e-3)


def test_constant_array_written_into_makes_a_new_graph():
    def fun(x, a):
        return tf.reduce_sum((x - np.linalg.inv(a)[0, 0]) ** 2)

    a = np.eye(1) / 2
    assert largest(minimize(fun, zeros(1), args=(a,)).x - 2.0) < 1e-6
    a[:] = 0.2
    assert largest(minimize(fun, zeros(1), args=(a,)).x - 5.0) < 1e-6


def test_new_lambdas_do_not_pile_up_and_are_not_warned_about():
    alive = []
    _compiled._graphs.cache_clear()
    for k in range(_compiled.KEPT + 20):
        fun = lambda x, k=k: tf.reduce_sum((x - k) ** 2)  # noqa: E731
        alive.append(weakref.ref(fun))
        minimize(fun, zeros(2) - 1.0, method="L-BFGS-B", options={"maxiter": 1})
        del fun
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= _compiled.KEPT


def test_graphs_of_one_function_are_bounded_too():
    fun = lambda x, k: tf.reduce_sum((x - k) ** 2)  # noqa: E731
    graphs = _compiled.Graphs(dmin_tf._value_and_grad, lambda point, k: fun(point[0], k))
    x = point(0.0)
    for k in range(_compiled.KEPT + 5):
        graphs.find([1], x, (k,))
    assert len(graphs.known) == _compiled.KEPT


def test_fun_that_cannot_be_hashed_is_compiled_all_the_same():
    class Fun:
        __hash__ = None
        calls = 0

        def __call__(self, x):
            self.calls += 1
            return bowl(x)

    fun = Fun()
    res = minimize(fun, zeros(2), method="L-BFGS-B")
    assert largest(res.x - 1.0) < 1e-6
    assert fun.calls < res.nfev


@pytest.mark.parametrize("method", ["L-BFGS-B", "device-lbfgs", "device-bfgs", "device-newton-cg"])
def test_users_eager_mode_is_honoured(method):
    fun = counting(bowl)
    tf.config.run_functions_eagerly(True)
    try:
        res = minimize(fun, zeros(2), method=method)
    finally:
        tf.config.run_functions_eagerly(False)
    assert fun.calls == res.nfev + res.nhev


@each_method
def test_eager_run_calls_fun_at_every_evaluation(method):
    fun = counting(bowl)
    res = minimize(fun, zeros(2), method=method, compile=False)
    assert fun.calls >= res.nfev
    assert largest(res.x - 1.0) < 1e-3


# What cannot be traced -----------------------------------------------------------------------------------


def kinked(x):
    return x**2 if x > 0 else x**4


UNTRACEABLE = {
    "if": lambda x: kinked(x[0] - 1.0),
    "numpy": lambda x: tf.constant(np.sum(np.asarray(x))) + bowl(x),
    ".numpy()": lambda x: bowl(x) * (1.0 + 0.0 * x.numpy()[0]),
    "float": lambda x: bowl(x) + 0.0 * float(x[0]),
    "range": lambda x: sum(bowl(x) for _ in range(1 + 0 * tf.cast(x[0], tf.int32))),
    "variable": lambda x: bowl(x) + 0.0 * tf.Variable(0.0, dtype=tf.float64),
}


@each_method
@pytest.mark.parametrize("kind", UNTRACEABLE)
def test_function_that_cannot_be_traced_is_told_what_to_do(kind, method):
    with pytest.raises(ObjectiveError, match=r"cannot be made a graph.*tf\.cond.*compile=False") as caught:
        minimize(UNTRACEABLE[kind], zeros(2) + 2.0, method=method)
    assert caught.value.__cause__ is not None
    assert minimize(UNTRACEABLE[kind], zeros(2) + 2.0, method=method, compile=False, options={"maxiter": 2}).nit > 0


def test_control_flow_by_tensorflow_is_traced():
    def by_cond(x):
        y = x[0] - 1.0
        return tf.cond(y > 0, lambda: y**2, lambda: y**4)

    by_autograph = tf.function(lambda x: kinked(x[0] - 1.0))
    for fun in (by_cond, by_autograph):
        assert minimize(fun, zeros(1) + 3.0).x.numpy()[0] == pytest.approx(1.0, abs=1e-3)


@each_way
def test_while_loop_is_differentiated_twice(compile):
    def fun(x):
        _, total = tf.while_loop(lambda k, total: k < 3, lambda k, total: (k + 1, total + bowl(x) ** 2), (0, bowl(x)))
        return total

    res = minimize(fun, zeros(2), method="trust-exact", compile=compile)
    assert res.success
    assert largest(res.x - 1.0) < 1e-4


@each_way
def test_errors_of_fun_pass_through(compile):
    def fun(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        minimize(fun, zeros(2), compile=compile)


@pytest.mark.parametrize("compile", [None, True], ids=["graph", "XLA"])
def test_assertions_in_the_graph_hold(compile):
    def fun(x):
        tf.debugging.assert_less(x, tf.constant(0.5, x.dtype), message="too far")
        return bowl(x)

    with pytest.raises(tf.errors.InvalidArgumentError, match="too far"):
        minimize(fun, zeros(2), compile=compile)


# What fun returns ----------------------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "trust-exact"])
def test_python_float_cannot_be_differentiated(method, compile):
    with pytest.raises(ObjectiveError, match=r"returned the float 3\.0, which TensorFlow cannot differentiate"):
        minimize(lambda x: 3.0, zeros(2), method=method, compile=compile)


def test_python_float_is_enough_for_a_method_without_gradients():
    res = minimize(lambda x: float(bowl(x)), zeros(2), method="Nelder-Mead", compile=False)
    assert largest(res.x - 1.0) < 1e-3


@each_way
def test_leaf_without_influence_has_a_gradient_of_zeros(compile):
    x0 = {"kept": zeros(2), "cut": zeros(2) + 7.0}
    with pytest.warns(RuntimeWarning, match=r"respect to x0\['cut'\] is exactly zero"):
        res = minimize(lambda x: bowl(x["kept"]) + bowl(tf.stop_gradient(x["cut"])), x0, compile=compile)
    assert res.jac["cut"].numpy().tolist() == [0.0, 0.0]
    assert res.x["cut"].numpy().tolist() == [7.0, 7.0]


@each_way
@each_method
@pytest.mark.parametrize("leaves", [1, 2])
def test_slices_of_a_gradient_are_made_dense(method, compile, leaves):
    """tf.gather's gradient is no tensor, but the rows that are not zero."""

    def fun(x):
        table = x["table"]
        return tf.reduce_sum((tf.gather(table, [0, 2, 2]) - [[1.0], [2.0], [2.0]]) ** 2) + table[1, 0] ** 2

    x0 = {"table": zeros(3, 1)} | ({"other": zeros(1)} if leaves == 2 else {})
    whole = fun if leaves == 1 else lambda x: fun(x) + bowl(x["other"])
    res = minimize(whole, x0, method=method, compile=compile)
    np.testing.assert_allclose(res.x["table"], [[1.0], [0.0], [2.0]], atol=1e-3)


def test_slices_of_a_vector_are_made_dense():
    res = minimize(lambda x: tf.reduce_sum((tf.gather(x, [0, 1, 1]) - 1.0) ** 2), zeros(2))
    assert largest(res.x - 1.0) < 1e-5


def test_slices_that_the_user_returns_as_a_gradient_are_made_dense():
    def fun(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum((tf.gather(x, [0, 1, 1]) - 1.0) ** 2)
        return value, tape.gradient(value, x)

    assert isinstance(fun(zeros(2))[1], tf.IndexedSlices)
    assert largest(minimize(fun, zeros(2), jac=True).x - 1.0) < 1e-5


@each_way
@each_method
def test_fun_may_differentiate_inside(method, compile):
    """A physics-informed loss: u(t) = a exp(b t) is to satisfy u' = -u and u(0) = 2."""
    t = tf.linspace(tf.constant(0.0, tf.float64), 1.0, 5)

    def fun(x):
        with tf.GradientTape() as tape:
            tape.watch(t)
            u = x["a"] * tf.exp(x["b"] * t)
        return tf.reduce_sum((tape.gradient(u, t) + u) ** 2) + (x["a"] - 2.0) ** 2

    x0 = {"a": tf.constant(1.5, tf.float64), "b": tf.constant(-0.5, tf.float64)}
    res = minimize(fun, x0, method=method, compile=compile)
    assert (float(res.x["a"]), float(res.x["b"])) == pytest.approx((2.0, -1.0), abs=1e-3)


# Auxiliary output ----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Fit:
    residual: tf.Tensor
    name: str


@each_way
@each_method
def test_aux_is_of_real_tensors_and_whatever_else_there_was(method, compile):
    scale = tf.Variable(tf.constant(2.0, tf.float64))

    def fun(x, centre, name):
        residual = x["w"] - centre
        aux = {"fit": Fit(residual, name), "scale": scale, "host": np.arange(3), "none": None}
        return tf.reduce_sum(residual**2), aux

    res = minimize(fun, {"w": zeros(2)}, args=(3.0, "here"), method=method, has_aux=True, compile=compile)

    assert isinstance(res.aux["fit"].residual.numpy(), np.ndarray)
    np.testing.assert_array_equal(res.aux["fit"].residual, res.x["w"] - 3.0)
    assert res.aux["fit"].name == "here"
    assert res.aux["none"] is None
    np.testing.assert_array_equal(res.aux["host"], np.arange(3))
    scale.assign(5.0)
    assert float(res.aux["scale"]) == 2.0


def test_aux_follows_the_graph_that_was_run():
    @counting
    def fun(x, name, *more):
        return tf.reduce_sum((x - 1.0) ** 2), [name, *(2 * x for _ in more)]

    names = [minimize(fun, zeros(2), args=args, has_aux=True).aux for args in (("a",), ("b", 1), ("a",), ("b", 1))]
    traced = fun.calls

    assert [aux[0] for aux in names] == ["a", "b", "a", "b"]
    assert [len(aux) for aux in names] == [1, 2, 1, 2]
    minimize(fun, zeros(2), args=("a",), has_aux=True)
    assert fun.calls == traced


def test_ragged_and_sparse_tensors_come_out_of_a_graph():
    def fun(x):
        ragged = tf.RaggedTensor.from_row_lengths(x, [1, 2])
        return tf.reduce_sum((x - 1.0) ** 2), (ragged, tf.sparse.from_dense(x))

    ragged, sparse = minimize(fun, zeros(3), has_aux=True).aux

    assert [len(row) for row in ragged.to_list()] == [1, 2]
    assert tuple(sparse.shape) == (3,)


# Second derivatives --------------------------------------------------------------------------------------


def quartic(x):
    return tf.reduce_sum(x[0] ** 4) + tf.reduce_prod(x[0])


def quartic_hessian(x):
    n = len(x)
    outside = np.array([[np.prod(np.delete(x, [i, j])) if i != j else 0.0 for j in range(n)] for i in range(n)])
    return 12 * np.diag(np.square(x)) + outside


def test_product_is_exact_and_traced_once():
    fun = counting(quartic)
    product = get_backend("tf").hvp(fun)
    for x in ((1.0, 2.0, 3.0), (0.5, -1.0, 2.0)):
        for k in range(3):
            (got,) = product(point(*x), point(*np.eye(3)[k]))
            np.testing.assert_allclose(got, quartic_hessian(x)[k], rtol=1e-14)
    assert fun.calls == 1


def test_hessian_is_one_graph_whatever_the_number_of_variables():
    fun, x = counting(quartic), np.linspace(0.5, 1.5, 12)
    evaluate = get_backend("tf").hessian(fun)
    for _ in range(2):
        np.testing.assert_allclose(evaluate(point(*x)), quartic_hessian(x), rtol=1e-12)
    assert fun.calls == 1


def test_hessian_of_many_variables_is_complete():
    n = 2 * dmin_tf.ROWS_AT_ONCE + 88  # three blocks, the last of them not full
    fun = lambda x: tf.reduce_sum(x[0] ** 4) + tf.reduce_sum(x[0][1:] * x[0][:-1])  # noqa: E731
    x = np.linspace(-1, 1, n)
    got = get_backend("tf").hessian(fun)(point(*x))
    beside = np.diag(np.ones(n - 1), 1)
    np.testing.assert_allclose(got, 12 * np.diag(x**2) + beside + beside.T, atol=1e-13)


@tf.custom_gradient
def unvectorised(x):
    """x**2 by a Python function, which cannot be vectorised, with its gradient by the same."""

    def by_python(y):
        z = tf.py_function(lambda y: y, [y], y.dtype)
        z.set_shape(y.shape)
        return z

    return by_python(x**2), lambda upstream: by_python(upstream) * 2 * x


@pytest.mark.parametrize("compile", [None, False])
def test_what_cannot_be_vectorised_is_made_row_by_row(compile):
    def fun(x):
        return tf.reduce_sum(unvectorised(x[0]) ** 2) + tf.reduce_prod(x[0])

    fun.compile = compile
    x = (1.0, 2.0, -0.5)
    np.testing.assert_allclose(get_backend("tf").hessian(fun)(point(*x)), quartic_hessian(x), rtol=1e-14)
    got = get_backend("tf").jacobian(lambda x: unvectorised(x[0]))(point(*x))
    np.testing.assert_allclose(got, np.diag([2.0, 4.0, -1.0]))


def test_second_derivatives_of_a_function_linear_in_one_array():
    def fun(point):
        return tf.reduce_sum(point[1] ** 2) + tf.reduce_sum(point[0])

    backend, at = get_backend("tf"), (tf.zeros(2), tf.ones(1))
    product = backend.hvp(fun)(at, (tf.ones(2), tf.ones(1)))
    assert [piece.numpy().tolist() for piece in product] == [[0.0, 0.0], [2.0]]
    assert backend.hessian(fun)(at).numpy().tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]


# XLA -----------------------------------------------------------------------------------------------------


def uses_xla(fun, n=2):
    """Whether XLA is what runs for a function of a vector."""
    fun.compile = True
    graphs = _compiled.Graphs(dmin_tf._value_and_grad, fun)
    graph, _ = graphs.find([1], (zeros(n),), ())
    if not inspect.isfunction(graph):
        return False
    graph(zeros(n))
    return len(inspect.getclosurevars(graph).nonlocals["candidates"]) == 2


def test_xla_is_used_where_it_is_asked_for():
    assert uses_xla(lambda x: bowl(x[0]))


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: bowl(x[0]) + tf.random.uniform([], dtype=tf.float64) * 0.0,
        lambda x: bowl(x[0]) + tf.strings.to_number(tf.strings.as_string(x[0][0]), tf.float64) * 0.0,
        lambda x: bowl(x[0]) + tf.reduce_sum(tf.unique(tf.stop_gradient(x[0]))[0]) * 0.0,
    ],
    ids=["random numbers", "strings", "shapes that depend on values"],
)
def test_where_xla_cannot_be_used_the_plain_graph_is(fun):
    uses_xla(fun)
    res = minimize(lambda x: fun((x,)), zeros(2), compile=True)
    assert largest(res.x - 1.0) < 1e-6


# Memory and devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", range(0, 64, 8))
def test_memory_of_any_alignment_is_copied(offset):
    """TensorFlow's own from_dlpack aborts the process on most of these."""
    memory = np.zeros(64 + 24, np.uint8)
    start = (offset - memory.ctypes.data) % 64
    host = memory[start : start + 24].view(np.float64)
    host[:] = [1.0, 2.0, 3.0]
    made = get_backend("tf").from_numpy(host, zeros(1))
    host[:] = 0.0
    assert made.numpy().tolist() == [1.0, 2.0, 3.0]


def run_python(source):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_leaves_stay_on_their_device():
    """A second logical device of the processor stands for a graphics card."""
    printed = run_python("""
        import tensorflow as tf
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

        from dmin_core import InputError, get_backend, minimize

        def bowl(x):
            seen.add(tf.reduce_sum(x).device[-5:])
            return tf.reduce_sum((x - 1.0) ** 2)

        with tf.device("CPU:1"):
            x0 = tf.zeros(2, tf.float64)
            variable = tf.Variable(x0)
        seen = set()
        for start in (x0, variable):
            for method in ("L-BFGS-B", "trust-ncg", "trust-exact", "Nelder-Mead"):
                for compile in (None, False, True):
                    res = minimize(bowl, start, method=method, compile=compile)
                    assert seen == {"CPU:1"}, seen
                    assert get_backend("tf").device(res.x) == "CPU:1"
                    assert abs(res.x.numpy() - 1.0).max() < 1e-3
        try:
            minimize(lambda x: bowl(x["a"]), {"a": x0, "b": tf.zeros(1)})
        except InputError as error:
            print(error)
    """)
    assert "x0['a'] is on CPU:1 and x0['b'] is on CPU:0" in printed


def test_import_does_not_start_the_runtime():
    """What must be chosen before it starts (devices, memory growth, threads) can still be chosen."""
    run_python("""
        import tensorflow as tf
        from dmin_core import backends, get_backend
        assert backends()["tf"].error is None
        get_backend("tf")
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.set_soft_device_placement(True)
    """)


def test_without_tensorflow_the_error_says_what_to_install():
    printed = run_python("""
        import sys
        sys.modules["tensorflow"] = None
        try:
            import dmin_tf
        except ModuleNotFoundError as error:
            print(error)
    """)
    assert "pip install 'dmin-tf[tensorflow]'" in printed


# The plugin's own minimize -------------------------------------------------------------------------------


def test_plugin_exports_minimize_with_its_backend():
    res = dmin_tf.minimize(nested_bowl, {"numpy": np.zeros(2), "float": 0.0, "tf": tf.zeros(1)})
    assert res.backend == "tf"
    assert all(isinstance(leaf, tf.Tensor) for leaf in res.x.values())
    # NumPy's keep their dtype, a Python float has that of the tensors.
    assert [leaf.dtype for leaf in res.x.values()] == [tf.float64, tf.float32, tf.float32]
    assert max(largest(leaf.numpy() - 1.0) for leaf in res.x.values()) < 1e-4


def test_backend_has_two_names():
    assert get_backend("tensorflow") is get_backend("tf")


# The namespace -------------------------------------------------------------------------------------------

X = np.array([[0.5, -1.25, 2.0], [0.0, 3.5, -0.75]])
Y = np.array([[1.5, 0.25, -2.0], [4.0, 1.0, 0.5]])
P = np.abs(X) + 0.125

CALLS = {
    "abs exp expm1 sign sin tanh floor ceil trunc square negative isnan isfinite signbit": (X,),
    "log log1p log2 log10 sqrt reciprocal": (P,),
    "add subtract multiply divide maximum minimum atan2 hypot logaddexp copysign remainder less equal": (X, Y),
    "sum prod mean std var max min argmax argmin count_nonzero flip sort matrix_transpose zeros_like": (X,),
    "matmul": (X, Y.T),
    "tensordot vecdot": (X, X),
    "concat stack broadcast_arrays": ([X, Y],),
    "reshape broadcast_to": (X[:1], (1, 3)),
}


@pytest.mark.parametrize(("name", "arguments"), [(n, a) for names, a in CALLS.items() for n in names.split()])
def test_namespace_agrees_with_numpy(name, arguments):
    xp = array_namespace(tf.constant(X))
    tensors = [
        tf.constant(a) if isinstance(a, np.ndarray) else [*map(tf.constant, a)] if isinstance(a, list) else a
        for a in arguments
    ]
    keywords = {"axes": 2} if name == "tensordot" else {}
    if name == "broadcast_arrays":
        tensors, arguments = tensors[0], arguments[0]
    expected = getattr(reference, name)(*arguments, **keywords)
    eager = getattr(xp, name)(*tensors, **keywords)
    graph = tf.function(lambda: getattr(xp, name)(*tensors, **keywords), autograph=False).get_concrete_function()()
    for got in (eager, graph):
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-13)


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "std"])
def test_reductions_know_axes(name, axis, keepdims):
    xp = array_namespace(tf.constant(X))
    got = getattr(xp, name)(tf.constant(X), axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(got, getattr(np, name)(X, axis=axis, keepdims=keepdims), rtol=1e-13)


def test_namespace_mixes_tensors_and_python_numbers():
    xp, x = array_namespace(tf.constant(X)), tf.constant(X)
    np.testing.assert_array_equal(xp.maximum(0.0, x), np.maximum(0.0, X))
    np.testing.assert_array_equal(xp.where(x > 0, x, 0.0), np.where(X > 0, X, 0.0))
    np.testing.assert_array_equal(xp.where(x > 0, 0.0, x), np.where(X > 0, 0.0, X))
    np.testing.assert_array_equal(xp.clip(x, -1, 1), np.clip(X, -1, 1))
    assert xp.maximum(0.0, x).dtype == tf.float64


@pytest.mark.parametrize(("a", "b"), [((2, 3), (3,)), ((3,), (3, 2)), ((3,), (3,)), ((4, 2, 3), (3, 5))])
def test_matmul_takes_vectors(a, b):
    a, b = np.arange(np.prod(a)).reshape(a) + 0.5, np.arange(np.prod(b)).reshape(b) - 1.0
    np.testing.assert_allclose(array_namespace(tf.constant(a)).matmul(tf.constant(a), tf.constant(b)), a @ b)


SPD = np.array(
    [[[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 2.0]], [[2.0, 0.0, 1.0], [0.0, 5.0, 0.0], [1.0, 0.0, 1.5]]]
)
STACK = np.arange(12.0).reshape(2, 3, 2)


@pytest.mark.parametrize(
    ("name", "arguments", "keywords"),
    [
        ("cholesky", (SPD[0],), {}),
        ("cholesky", (SPD,), {"upper": True}),
        ("det", (SPD,), {}),
        ("diagonal", (SPD,), {"offset": 1}),
        ("inv", (SPD,), {}),
        ("matmul", (SPD, X[0]), {}),
        ("matrix_transpose", (STACK,), {}),
        ("outer", (X[0], Y[1]), {}),
        ("slogdet", (-SPD,), {}),
        ("solve", (SPD[0], X[0]), {}),
        ("solve", (SPD, X[0]), {}),
        ("solve", (SPD, STACK), {}),
        ("solve", (SPD[0], STACK), {}),
        ("solve", (SPD, X.T), {}),
        ("trace", (SPD,), {"offset": -1}),
    ],
)
def test_linear_algebra_agrees_with_numpy(name, arguments, keywords):
    linalg = array_namespace(tf.constant(X)).linalg
    tensors = [tf.constant(a) for a in arguments]
    expected = getattr(reference.linalg, name)(*arguments, **keywords)
    eager = getattr(linalg, name)(*tensors, **keywords)
    graph = tf.function(lambda: getattr(linalg, name)(*tensors, **keywords), autograph=False).get_concrete_function()()
    for got in (eager, graph):
        for part, other in zip(got, expected, strict=True) if name == "slogdet" else [(got, expected)]:
            np.testing.assert_allclose(np.asarray(part), other, rtol=1e-12, atol=1e-13)


def test_a_gaussian_likelihood_over_the_namespace_is_differentiated():
    def fun(p):  # the negative log-likelihood of centred data with covariance s² ((1 - r) I + r)
        xp = array_namespace(p)
        eye = xp.eye(3, dtype=xp.float64)
        factor = xp.linalg.cholesky(xp.exp(2 * p["log_s"]) * ((1 - p["r"]) * eye + p["r"]))
        white = xp.linalg.solve(factor, data)
        return 40 * xp.sum(xp.log(xp.linalg.diagonal(factor))) + xp.sum(white**2) / 2

    data = tf.constant(np.random.default_rng(0).normal(size=(3, 40)))
    # r = -0.9 is outside, where the matrix has no factor.
    res = minimize(fun, {"log_s": zeros(), "r": zeros()}, bounds={"r": (-0.9, 0.9)}, tol=1e-10)
    moments = data.numpy() @ data.numpy().T / 40
    variance = np.trace(moments) / 3
    assert res.success
    np.testing.assert_allclose(np.exp(2 * res.x["log_s"].numpy()), variance, rtol=1e-6)
    correlation = (np.sum(moments) - np.trace(moments)) / 6 / variance
    np.testing.assert_allclose(res.x["r"].numpy(), correlation, atol=1e-6)


def test_namespace_makes_arrays():
    xp = array_namespace(tf.constant(1.0))
    assert xp.asarray([1.0, 2.0], dtype=xp.float64).dtype == tf.float64
    np.testing.assert_array_equal(xp.eye(2, 3, k=1), np.eye(2, 3, 1))
    np.testing.assert_array_equal(xp.arange(3, dtype=xp.float32), np.arange(3.0))
    np.testing.assert_allclose(xp.linspace(0.0, 1.0, 4, endpoint=False), np.linspace(0, 1, 4, endpoint=False))
    np.testing.assert_array_equal(xp.full((2,), 3.0, dtype=xp.float64), [3.0, 3.0])
    np.testing.assert_array_equal(xp.tril(xp.ones((3, 3)), k=-1), np.tril(np.ones((3, 3)), -1))
    np.testing.assert_array_equal(xp.permute_dims(xp.zeros((2, 3, 4)), (2, 0, 1)).shape, (4, 2, 3))
    np.testing.assert_array_equal(xp.moveaxis(xp.zeros((2, 3, 4)), 0, -1).shape, (3, 4, 2))
    np.testing.assert_array_equal(xp.cumulative_sum(xp.arange(4), include_initial=True), [0, 0, 1, 3, 6])
    np.testing.assert_array_equal(xp.take_along_axis(tf.constant(X), tf.constant([[2], [0]]), axis=1), [[2.0], [0.0]])
    assert xp.finfo(xp.float32).eps == np.finfo(np.float32).eps
    assert xp.isdtype(xp.float32, "real floating")


def test_library_code_over_the_namespace_is_differentiated():
    def fun(x):
        xp = array_namespace(x)
        return xp.mean(xp.log1p(xp.exp(xp.matmul(data, x["w"])))) + xp.sum(xp.maximum(x["b"], 0.0) ** 2) - x["w"][0] / 9

    data = tf.constant(X.T, tf.float64)
    res = minimize(fun, {"w": zeros(2), "b": zeros(1) + 1.0}, method="BFGS")
    assert float(res.x["b"][0]) <= 1e-4


# Failures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compile", [None, False], ids=["graph", "eager"])
def test_a_matrix_that_cannot_be_inverted_shortens_the_step(compile):
    def fun(x):
        # Singular for x <= 1, where the function grows without end.
        matrix = tf.linalg.diag(tf.stack([tf.nn.relu(x[0] - 1.0), x[1] ** 2 + 1.0]))
        return tf.reduce_sum(tf.linalg.inv(matrix)) + 25.0 * x[0] + 2.0 * x[1] ** 2

    res = minimize(fun, tf.constant([9.0, 2.0], tf.float64), method="L-BFGS-B", compile=compile)
    assert res.success
    assert res.nfail > 0
    np.testing.assert_allclose(res.x.numpy(), [1.2, 0.0], atol=1e-3)


def test_errors_of_linear_algebra_are_failures_and_others_are_not():
    is_failure = get_backend("tf").is_failure
    with pytest.raises(tf.errors.InvalidArgumentError) as singular:
        tf.linalg.solve(tf.zeros((2, 2)), tf.ones((2, 1)))
    with pytest.raises(tf.errors.InvalidArgumentError) as assertion:
        tf.debugging.assert_positive(-1.0)
    with pytest.raises(tf.errors.InvalidArgumentError) as mismatch:
        tf.matmul(tf.ones((2, 2)), tf.ones((3, 2)))
    assert is_failure(singular.value)
    assert not is_failure(assertion.value)
    assert not is_failure(mismatch.value)


# Faults within graphs ------------------------------------------------------------------------------------


def spoilt(at, misbehave):
    """A function whose graph calls Python at each evaluation, which misbehaves once."""
    count = [0]

    def host(value):
        count[0] += 1
        if count[0] == at:
            misbehave()
        return value

    @tf.custom_gradient
    def through(value):
        # The value comes back as it went in, so its gradient does too.
        answer = tf.ensure_shape(tf.py_function(host, [value], value.dtype), ())
        return answer, lambda slope: slope

    return lambda x: through(bowl(x))


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "Nelder-Mead"])
def test_ctrl_c_within_a_graph_waits_for_it_and_is_not_lost(method, at):
    before = signal.getsignal(signal.SIGINT)
    fun = spoilt(at, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted) as caught:
        minimize(fun, zeros(3), method=method)
    result = caught.value.result
    assert result.nfev == len(result.history) == at
    assert result.fun == min(result.history.fun)
    assert signal.getsignal(signal.SIGINT) is before
    np.testing.assert_allclose(minimize(fun, zeros(3), method=method).x.numpy(), 1.0, atol=1e-3)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "Nelder-Mead"])
def test_an_exception_within_a_graph_is_tensorflows_and_has_a_note(method, at):
    def fail():
        raise ZeroDivisionError("mine")

    fun = spoilt(at, fail)
    with pytest.raises(Exception, match="ZeroDivisionError: mine") as caught:
        minimize(fun, zeros(3), method=method)
    assert any("dmin: raised in" in note for note in getattr(caught.value, "__notes__", ["dmin: raised in"]))
    np.testing.assert_allclose(minimize(fun, zeros(3), method=method).x.numpy(), 1.0, atol=1e-3)
