"""What is JAX's alone: compiling, args, registered containers, 64 bits, control flow."""

import dataclasses
import functools
import gc
import os
import signal
import threading
import warnings
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dmin_jax
from dmin_core import InputError, Interrupted, ObjectiveError, backend_of, get_backend, minimize

METHODS = ["L-BFGS-B", "trust-ncg", "trust-exact", "Nelder-Mead"]


@pytest.fixture(autouse=True)
def sixty_four_bits():
    with jax.enable_x64(True):
        yield


def counting(fun):
    """``fun`` with a count of how often it is traced, or run as Python."""

    def counted(*args):
        counted.calls += 1
        return fun(*args)

    counted.calls = 0
    return counted


def bowl(p, centre=3.0):
    return jnp.sum((p["a"] - centre) ** 2) + jnp.sum((p["b"] - p["a"][0]) ** 2)


def start(a=0.0, b=1.0):
    return {"a": jnp.full(2, a), "b": jnp.full((1, 2), b)}


# Points of several arrays ------------------------------------------------------------------------------


def wide(p):
    return jnp.sum((p["w"] - jnp.mean(p["b"])) ** 2) + jnp.sum((p["b"] - 2.0) ** 4)


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "trust-exact"])
def test_large_leaves_change_nothing_but_how_they_are_handed_over(method, monkeypatch):
    """Each is a vector of its own on a CPU, in the gradient, in products and in the dense Hessian."""
    backend, x0 = get_backend("jax"), {"b": jnp.zeros(3), "w": jnp.ones((2, 4))}

    def run(large):
        monkeypatch.setattr(backend, "own_array", lambda size, like: size >= large)
        fun, options = counting(wide), {"maxiter": 10}
        return minimize(fun, x0, method=method, options=options), minimize(wide, x0, method=method, options=options)

    expected, apart = run(100)[0], run(8)
    assert expected.nit >= 3
    for got in apart:
        np.testing.assert_allclose(got.history.fun, expected.history.fun, rtol=1e-9)
        np.testing.assert_allclose(got.x["w"], expected.x["w"], rtol=1e-9)


def test_one_function_serves_leaves_that_were_put_somewhere_and_leaves_that_were_not():
    x0 = {"b": jnp.zeros(3), "w": jnp.ones((2, dmin_jax.LARGE // 2))}
    free, put = (minimize(wide, each, options={"maxiter": 3}) for each in (x0, jax.device_put(x0, jax.devices()[0])))
    np.testing.assert_allclose(put.x["w"], free.x["w"], rtol=1e-9)


def test_leaves_are_apart_where_they_are_large_and_nobody_put_them_anywhere():
    like = jnp.zeros(3)
    backend = get_backend("jax")
    assert backend.own_array(dmin_jax.LARGE, like)
    assert not backend.own_array(dmin_jax.LARGE - 1, like)
    assert not backend.own_array(dmin_jax.LARGE, jax.device_put(like, jax.devices()[0]))


# Compiling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_second_run_traces_nothing(method):
    fun = counting(bowl)
    minimize(fun, start(), method=method)
    traced = fun.calls
    res = minimize(fun, start(1.0, 0.0), method=method)
    assert fun.calls == traced
    np.testing.assert_allclose(res.x["a"], 3.0, atol=1e-3)


def test_one_trace_serves_a_whole_run():
    fun = counting(bowl)
    res = minimize(fun, start())
    assert res.nfev > 2
    assert fun.calls == 1


def test_a_run_in_another_thread_traces_nothing():
    fun, found = counting(bowl), []
    minimize(fun, start())

    def work():
        with jax.enable_x64(True):  # the context is a thread's own
            found.append(minimize(fun, start()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert fun.calls == 1
    np.testing.assert_allclose(found[0].x["a"], 3.0, atol=1e-4)


@pytest.mark.parametrize("centres", [(1.0, 2.0), (jnp.array(1.0), jnp.array(2.0)), (np.float64(1), np.float64(2))])
def test_other_values_of_args_trace_nothing(centres):
    fun = counting(bowl)
    results = [minimize(fun, start(), args=(centre,)) for centre in centres]
    assert fun.calls == 1
    for res, centre in zip(results, centres, strict=True):
        np.testing.assert_allclose(res.x["a"], centre, atol=1e-4)


def test_an_integer_among_the_args_may_set_a_shape():
    def fun(x, degree):
        return sum(jnp.sum((x - k) ** 2) for k in range(degree))

    assert minimize(fun, jnp.zeros(2), args=(2,)).x == pytest.approx(0.5, abs=1e-4)
    assert minimize(fun, jnp.zeros(2), args=(3,)).x == pytest.approx(1.0, abs=1e-4)


def test_nests_strings_and_none_among_the_args_are_handed_on():
    def fun(x, data, kind, nothing):
        assert kind == "square"
        assert nothing is None
        return jnp.sum((x - data["centre"]) ** 2)

    res = minimize(fun, jnp.zeros(2), args=({"centre": jnp.array([1.0, 2.0]), "name": "c"}, "square", None))
    np.testing.assert_allclose(res.x, [1.0, 2.0], atol=1e-4)


def test_new_lambdas_do_not_pile_up():
    alive = []
    for k in range(dmin_jax.KEPT + 40):
        fun = lambda x, k=k: (x - 1.0) ** 2 + 0.0 * k  # noqa: E731 - the point is that it is one
        minimize(fun, jnp.array(0.0), options={"maxiter": 1})
        if k < 40:
            alive.append(weakref.ref(fun))
        del fun
    gc.collect()
    assert sum(ref() is not None for ref in alive) < 10


def test_a_callable_without_a_hash_is_compiled_for_its_run():
    @dataclasses.dataclass
    class Distance:
        centre: float

        def __call__(self, x):
            return jnp.sum((x - self.centre) ** 2)

    np.testing.assert_allclose(minimize(Distance(3.0), jnp.zeros(2)).x, 3.0, atol=1e-4)


def test_without_compiling_fun_runs_as_python_each_time():
    seen = []

    def fun(x):
        seen.append(x.size)
        return jnp.sum((x - 2.0) ** 2)

    res = minimize(fun, jnp.zeros(3), compile=False)
    assert len(seen) == res.nfev
    np.testing.assert_allclose(res.x, 2.0, atol=1e-4)


def test_a_decision_by_value_is_explained_and_can_be_run_as_python():
    def fun(x):
        return jnp.sum(x**2) if x[0] > 0 else jnp.sum((x - 1.0) ** 2)

    with pytest.raises(ObjectiveError, match="compile=False") as caught:
        minimize(fun, jnp.full(2, 5.0))
    assert isinstance(caught.value.__cause__, jax.errors.TracerBoolConversionError)
    assert minimize(fun, jnp.full(2, 5.0), compile=False).fun < 0.51


def test_numpy_inside_fun_is_explained():
    with pytest.raises(ObjectiveError, match=r"jax\.numpy") as caught:
        minimize(lambda x: np.sum(np.asarray(x) ** 2), jnp.ones(2))
    assert isinstance(caught.value.__cause__, jax.errors.TracerArrayConversionError)


def test_an_exception_of_funs_own_passes_through():
    def fun(x):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        minimize(fun, jnp.ones(2))


def test_user_gradients_need_not_be_traceable():
    def fun(x):
        x = np.asarray(x)
        return np.sum((x - 1.0) ** 2), jnp.asarray(2.0 * (x - 1.0))

    np.testing.assert_allclose(minimize(fun, jnp.zeros(2), jac=True).x, 1.0, atol=1e-5)


# Auxiliary output ----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Fit:
    residual: jax.Array
    name: str


def residuals(p, centre, name):
    residual = p["a"] - centre
    return jnp.sum(residual**2) + p["b"] ** 2, {"fit": Fit(residual, name), "host": np.arange(3), "n": 3}


@pytest.mark.parametrize("compile", [None, False])
@pytest.mark.parametrize("method", METHODS)
def test_aux_holds_no_tracer(method, compile):
    res = minimize(residuals, {"a": jnp.zeros(2), "b": 1.0}, (3.0, "here"), method, has_aux=True, compile=compile)

    assert isinstance(res.aux["fit"].residual, jax.Array)
    assert not isinstance(res.aux["fit"].residual, jax.core.Tracer)
    np.testing.assert_array_equal(res.aux["fit"].residual, res.x["a"] - 3.0)
    assert (res.aux["fit"].name, res.aux["n"]) == ("here", 3)
    np.testing.assert_array_equal(res.aux["host"], np.arange(3))


@pytest.mark.parametrize("compile", [None, False])
def test_jax_itself_finds_no_leak_in_aux(compile):
    with jax.checking_leaks():
        minimize(residuals, {"a": jnp.zeros(2), "b": 1.0}, (3.0, "here"), has_aux=True, compile=compile)


def test_aux_is_compiled_once_and_follows_what_was_traced():
    fun = counting(residuals)
    x0 = {"a": jnp.zeros(2), "b": 1.0}

    first = minimize(fun, x0, args=(3.0, "first"), has_aux=True)
    calls = fun.calls
    again = minimize(fun, x0, args=(2.0, "first"), has_aux=True)
    assert fun.calls == calls
    other = minimize(fun, x0, args=(2.0, "other"), has_aux=True)

    assert [res.aux["fit"].name for res in (first, again, other)] == ["first", "first", "other"]
    np.testing.assert_array_equal(again.aux["fit"].residual, again.x["a"] - 2.0)


def test_fun_with_aux_and_without_are_not_taken_for_each_other():
    def fun(p):
        return p["a"] ** 2, p["a"] * 2

    minimize(fun, {"a": 1.0}, backend="jax", has_aux=True)
    with pytest.raises(ObjectiveError, match="has_aux=True"):
        minimize(fun, {"a": 1.0}, backend="jax")


def test_jaxs_own_value_and_grad_is_a_fun_with_aux():
    fun = jax.value_and_grad(lambda p: (jnp.sum((p - 1.0) ** 2), p * 2), has_aux=True)

    res = minimize(fun, jnp.zeros(2), jac=True, has_aux=True)

    np.testing.assert_array_equal(res.aux, res.x * 2)


# Second order --------------------------------------------------------------------------------------------


def test_products_and_hessians_are_exact():
    def fun(point):
        (x,) = point
        return jnp.sum(jnp.sin(x)) + x[0] ** 2 * x[1]

    x, v = jnp.array([0.3, -0.7, 1.1]), jnp.array([1.0, 2.0, -1.0])
    expected = np.array(jax.hessian(lambda y: fun((y,)))(x))
    backend = get_backend("jax")
    np.testing.assert_allclose(backend.hvp(fun)((x,), (v,))[0], expected @ v, rtol=1e-12)
    np.testing.assert_allclose(backend.hessian(fun)((x,)), expected, rtol=1e-12)


@pytest.mark.parametrize("m", [2, 5])
def test_the_jacobian_is_exact_whether_tall_or_wide(m):
    a = np.arange(3.0 * m).reshape(m, 3)
    jacobian = get_backend("jax").jacobian(lambda point: jnp.sin(a @ point[0]))
    x = jnp.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(jacobian((x,)), np.cos(a @ x)[:, None] * a, rtol=1e-12)


# Containers ----------------------------------------------------------------------------------------------


@jax.tree_util.register_pytree_node_class
class Registered:
    def __init__(self, weight, label):
        self.weight, self.label = weight, label

    def tree_flatten(self):
        return (self.weight,), self.label

    @classmethod
    def tree_unflatten(cls, label, children):
        return cls(children[0], label)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    weight: jax.Array
    width: int = dataclasses.field(metadata={"static": True}, default=2)


def test_a_class_registered_with_jax_is_a_nest():
    res = minimize(lambda p: jnp.sum((p.weight - 2.0) ** 2), Registered(jnp.zeros(2), "kept"))
    assert isinstance(res.x, Registered)
    assert res.x.label == "kept"
    np.testing.assert_allclose(res.x.weight, 2.0, atol=1e-4)


def test_static_fields_of_a_registered_dataclass_are_no_leaves():
    res = minimize(lambda p: jnp.sum((p["l"].weight - p["l"].width) ** 2), {"l": Layer(jnp.zeros(3), 5)})
    assert res.x["l"].width == 5
    np.testing.assert_allclose(res.x["l"].weight, 5.0, atol=1e-4)


def test_leaves_of_registered_classes_are_named_by_path():
    with pytest.raises(InputError, match=r"x0\['l'\]\.weight.* is nan"):
        minimize(lambda p: 0.0, {"l": Layer(jnp.full(3, jnp.nan))})


def test_an_equinox_module_is_a_nest_with_its_static_parts():
    eqx = pytest.importorskip("equinox", reason="equinox is not installed")
    model = eqx.nn.MLP(2, 1, 4, 1, key=jax.random.PRNGKey(0), dtype=jnp.float64)
    inputs = jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    targets = jnp.array([1.0, 1.0, 0.0])

    def loss(m):
        return jnp.mean((jax.vmap(m)(inputs)[:, 0] - targets) ** 2)

    res = minimize(loss, model)
    assert isinstance(res.x, eqx.nn.MLP)
    assert res.x.activation is model.activation
    assert res.fun < 1e-4 < loss(model)


def test_flax_parameters_are_a_nest():
    nn = pytest.importorskip("flax.linen", reason="flax is not installed")
    model = nn.Dense(1, param_dtype=jnp.float64)
    inputs = jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    params = model.init(jax.random.PRNGKey(0), inputs)
    res = minimize(lambda p: jnp.mean((model.apply(p, inputs)[:, 0] - jnp.array([2.0, 3.0, 4.0])) ** 2), params)
    assert jax.tree_util.tree_structure(res.x) == jax.tree_util.tree_structure(params)
    assert res.fun < 1e-9


# Precision and places ------------------------------------------------------------------------------------


def test_float64_leaves_without_64_bits_are_an_error_that_says_how():
    x0 = jnp.zeros(2)
    with jax.enable_x64(False), pytest.raises(InputError, match="jax_enable_x64"):
        minimize(lambda x: jnp.sum(x**2), x0)


def test_numpy_leaves_that_lose_precision_are_warned_of_once():
    x0 = {"a": np.zeros(2), "b": np.ones(1)}
    with jax.enable_x64(False), pytest.warns(RuntimeWarning, match=r"x0\['a'\] and 1 more became float32") as caught:
        res = minimize(lambda p: jnp.sum((p["a"] - 1.0) ** 2) + p["b"][0] ** 2, x0, backend="jax")
    assert len(caught) == 1
    assert res.x["a"].dtype == jnp.float32


def test_the_flag_is_left_alone():
    with jax.enable_x64(False):
        minimize(lambda x: jnp.sum((x - 1.0) ** 2), jnp.zeros(2, jnp.float32))
        assert not jax.config.jax_enable_x64


def test_a_leaf_that_was_put_somewhere_comes_back_there():
    device = jax.devices()[0]
    x0 = jax.device_put(jnp.zeros(2), device)
    res = minimize(lambda x: jnp.sum((x - 1.0) ** 2), x0)
    assert res.x.committed
    assert res.x.devices() == {device}


def test_many_leaves_come_back_in_their_dtypes():
    x0 = {f"k{i}": jnp.zeros((i % 3, 2), jnp.float32 if i % 2 else jnp.float64) for i in range(60)}
    res = minimize(lambda p: sum(jnp.sum((v - 1.0) ** 2) for v in p.values()), x0)
    for name, leaf in x0.items():
        assert res.x[name].dtype == leaf.dtype
        assert res.x[name].shape == leaf.shape
        np.testing.assert_allclose(res.x[name], 1.0, atol=1e-4)


def sum_of_cubes_in(leaves):
    """A function of one vector that is cut into so many leaves of 3 numbers, the k-th of which counts k + 1 times."""

    def fun(vector):
        pieces = get_backend("jax").split(vector, ((3,),) * leaves, (vector.dtype,) * leaves)
        return sum((k + 1) * jnp.sum(piece**3) for k, piece in enumerate(pieces))

    return fun


@pytest.mark.parametrize("leaves", [1, 16, 17, 24, 70])
@pytest.mark.parametrize("barriers", [True, False])
def test_derivatives_are_exact_however_many_leaves_share_a_vector(leaves, barriers, monkeypatch):
    monkeypatch.setattr(dmin_jax, "_passes_barriers", lambda: barriers)
    fun, x = sum_of_cubes_in(leaves), jnp.asarray(np.random.default_rng(0).normal(size=3 * leaves))
    weights = np.repeat(np.arange(1.0, leaves + 1), 3)
    near = functools.partial(np.testing.assert_allclose, rtol=1e-14)
    near(jax.grad(fun)(x), 3 * weights * x**2)
    near(jax.jvp(jax.grad(fun), (x,), (x,))[1], 6 * weights * x**2)
    near(jax.hessian(fun)(x), np.diag(6 * weights * x))


def test_gradients_of_many_small_leaves_share_kernels():
    if not dmin_jax._passes_barriers():
        pytest.skip("leaves are kept apart for CPUs alone, by a JAX that differentiates barriers")
    x = jnp.arange(600.0)
    kernels = jax.jit(jax.grad(sum_of_cubes_in(200))).lower(x).compile().as_text().count(" fusion(")
    assert 0 < kernels <= 200 // dmin_jax.FUSED + 1


def test_a_run_inside_fun_needs_an_outer_run_that_is_not_compiled():
    def fun(x):
        return jnp.sum((x - minimize(lambda y: jnp.sum((y - 2.0) ** 2), jnp.zeros(2)).x) ** 2)

    with pytest.raises(InputError, match="In the `fun` of another run, give that one compile=False"):
        minimize(fun, jnp.zeros(2))
    np.testing.assert_allclose(minimize(fun, jnp.zeros(2), compile=False).x, 2.0, atol=1e-3)


def test_arrays_and_tracers_are_recognised():
    assert backend_of(jnp.zeros(2)) == "jax"
    seen = []
    jax.jit(lambda x: seen.append(backend_of({"x": x})) or x)(jnp.zeros(2))
    assert seen == ["jax"]


def test_the_plugin_exports_minimize_with_its_backend():
    res = dmin_jax.minimize(lambda x: jnp.sum((x - 1.0) ** 2), np.zeros(2))
    assert isinstance(res.x, jax.Array)
    assert res.backend == "jax"


def test_no_warning_comes_of_an_ordinary_run():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in METHODS:
            minimize(bowl, start(), method=method)


# Failures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compile", [None, False], ids=["compiled", "eager"])
@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "trust-exact", "Nelder-Mead", "TNC"])
def test_a_cholesky_factorisation_that_fails_shortens_the_step(method, compile):
    def fun(x):
        factor = jnp.linalg.cholesky(jnp.array([[x[0], x[1]], [x[1], 1.0]]))
        return x[0] - 2.0 * jnp.log(jnp.diagonal(factor)).sum() + 0.3 * x[1]

    res = minimize(fun, jnp.array([6.0, -2.2]), method=method, compile=compile)
    assert res.success
    assert res.nfail > 0
    assert 1 <= np.isinf(res.history.fun).sum() <= res.nfail  # Hessians there fail as well
    np.testing.assert_allclose(np.asarray(res.x), [1.0 + 0.15**2, -0.15], atol=1e-3)


# Faults within compiled functions ------------------------------------------------------------------------


def spoilt(at, misbehave):
    """A function that calls back to the host at each evaluation, where it misbehaves once."""
    count = [0]

    def host(value):
        count[0] += 1
        if count[0] == at:
            misbehave()
        return np.asarray(value)

    @jax.custom_jvp
    def through(value):
        return jax.pure_callback(host, jax.ShapeDtypeStruct(value.shape, value.dtype), value)

    through.defjvps(lambda t, answer, value: t)
    return lambda p: through(bowl(p))


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_within_a_compiled_function_waits_for_it_and_is_not_lost(method, at):
    before = signal.getsignal(signal.SIGINT)
    fun = spoilt(at, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted) as caught:
        minimize(fun, start(), method=method)
    result = caught.value.result
    # The evaluation that it fell into is there, unless it was one of a Hessian, which is no point.
    assert result.nfev == len(result.history) >= min(at, 1)
    assert result.fun == min(result.history.fun)
    assert signal.getsignal(signal.SIGINT) is before
    np.testing.assert_allclose(np.asarray(minimize(fun, start(), method=method).x["a"]), 3.0, atol=1e-3)


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_an_exception_within_a_compiled_function_is_jaxs_and_has_a_note(method, at):
    def fail():
        raise ZeroDivisionError("mine")

    fun = spoilt(at, fail)
    with pytest.raises(Exception, match="ZeroDivisionError: mine") as caught:
        minimize(fun, start(), method=method)
    assert any("dmin: raised in" in note for note in getattr(caught.value, "__notes__", ["dmin: raised in"]))
    np.testing.assert_allclose(np.asarray(minimize(fun, start(), method=method).x["a"]), 3.0, atol=1e-3)


# Loops that are compiled quickly -----------------------------------------------------------------------


QUICK = {"xla_cpu_use_fusion_emitters": False}

on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the option is one of XLA's for CPUs")


def jaxpr_of(fun, *points):
    return jax.jit(fun).trace(*points).jaxpr.jaxpr


def test_a_loop_is_light_by_what_it_moves_and_what_it_joins():
    small, large = jnp.ones(100), jnp.ones(dmin_jax.LIGHT // 8)

    def repeated(times):
        return lambda x: jax.lax.scan(lambda y, _: (jnp.sin(y) * y, None), x, length=times)[0]

    assert dmin_jax._is_light(jaxpr_of(repeated(10), small))
    assert not dmin_jax._is_light(jaxpr_of(repeated(10), large))
    assert not dmin_jax._is_light(jaxpr_of(repeated(dmin_jax.LIGHT), small))
    arrays, numbers = dmin_jax.MANY
    for pieces, size, light in ((arrays + 1, numbers, False), (arrays + 1, 2, True), (arrays, numbers, True)):
        joined = jaxpr_of(lambda *x: jnp.concatenate(x), *[jnp.ones(size)] * pieces)
        assert dmin_jax._is_light(joined) is light


@on_cpu
@pytest.mark.parametrize("light", [True, False])
def test_the_answer_and_the_one_trace_are_those_of_either_way_to_compile(light, monkeypatch):
    asked = []
    monkeypatch.setattr(dmin_jax, "_quick_options", lambda: QUICK)
    monkeypatch.setattr(dmin_jax, "_is_light", lambda jaxpr: asked.append(jaxpr.eqns) or light)
    fun = counting(bowl)
    res = [minimize(fun, start(), method="device-lbfgs") for _ in range(2)]
    assert fun.calls == 1
    assert len(asked) == 1
    for each in res:
        np.testing.assert_allclose(each.x["b"], 3.0, atol=1e-5)
    assert res[0].fun == res[1].fun


@on_cpu
def test_an_option_that_xla_does_not_have_is_not_used(monkeypatch):
    def refuse(*args, compiler_options=None, **named):
        raise RuntimeError("INVALID_ARGUMENT: No such compile option")

    choose = dmin_jax._quick_options.__wrapped__
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=true")
    assert choose() == {}, "the user's own choice"
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setattr(jax, "jit", refuse)
    assert choose() == {}
