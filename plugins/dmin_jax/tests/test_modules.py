"""Modules of flax.nnx, flax.linen, flax.struct and Equinox as x0."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dmin_core import InputError, Interrupted, NonlinearConstraint, minimize

# Second derivatives in eager mode take JAX seconds, and are checked with every backend in the conformance kit.
EACH = pytest.mark.parametrize(
    ("method", "compile"),
    [
        *[(method, None) for method in ("L-BFGS-B", "trust-ncg", "trust-exact", "Nelder-Mead")],
        *[(method, False) for method in ("L-BFGS-B", "Nelder-Mead")],
    ],
    ids=lambda value: {None: "compiled", False: "eager"}.get(value, value),
)


@pytest.fixture(autouse=True)
def sixty_four_bits():
    with jax.enable_x64(True):
        yield


@pytest.fixture(name="nnx")
def flax_nnx():
    return pytest.importorskip("flax.nnx", reason="flax is not installed")


@pytest.fixture(name="make")
def maker(nnx):
    """A function that makes a net with statistics, random numbers, an activation and tied parameters."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(2, 3, rngs=rngs)
            self.norm = nnx.BatchNorm(3, rngs=rngs)
            self.drop = nnx.Dropout(0.1, rngs=rngs)
            self.last = nnx.Linear(3, 1, rngs=rngs)
            self.tied = self.last
            self.activation = jnp.tanh

        def __call__(self, x):
            return self.tied(self.drop(self.activation(self.norm(self.first(x)))))

    return lambda: Net(nnx.Rngs(0))


NAMES = ["first.bias", "first.kernel", "last.bias", "last.kernel", "norm.bias", "norm.scale"]


def data(dtype=jnp.float32):
    x = jax.random.normal(jax.random.key(1), (20, 2), dtype)
    return x, x[:, :1] * x[:, 1:] + 0.5


def loss(net, x, y):
    return jnp.mean((net(x) - y) ** 2) + 1e-3 * jnp.sum(net.first.kernel[...] ** 2)


def leaves(nnx, net, kind):
    return [
        np.array(jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a)
        for a in jax.tree_util.tree_leaves(nnx.state(net, kind))
    ]


def assert_same(before, after):
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


# flax.nnx ------------------------------------------------------------------------------------------------


@EACH
def test_an_nnx_module_holds_the_answer_and_its_state_does_not_drift(nnx, make, method, compile):
    net, args = make(), data()
    before = leaves(nnx, net, nnx.Not(nnx.Param))
    start = float(loss(nnx.clone(net), *args))

    res = minimize(loss, net, args, method=method, compile=compile, options={"maxfun": 12})

    assert res.x is net
    assert_same(before, leaves(nnx, net, nnx.Not(nnx.Param)))
    assert net.tied is net.last
    assert float(loss(nnx.clone(net), *args)) == pytest.approx(res.fun, rel=1e-5)
    assert res.fun < start
    if "jac" in res:
        assert sorted(res.jac) == NAMES


def test_an_nnx_module_is_compiled_once_and_its_state_is_that_of_the_moment(nnx, make):
    calls, args = [0], data()

    def counted(net, x, y):
        calls[0] += 1
        return loss(net, x, y)

    net = make()
    net.norm.use_running_average = True
    first = minimize(counted, net, args, options={"maxfun": 1})
    traced = calls[0]
    net.norm.mean[...] = net.norm.mean[...] + 1.0
    again = minimize(counted, net, args, options={"maxfun": 1})
    minimize(counted, make(), args, options={"maxfun": 1})

    assert again.fun != first.fun
    assert again.fun == pytest.approx(float(loss(nnx.clone(net), *args)), rel=1e-5)
    # Another module of the same graph has been in training mode, which is another graph; the first has not changed.
    assert traced > 0
    assert calls[0] <= 2 * traced
    before = calls[0]
    minimize(counted, net, args, options={"maxfun": 3})
    minimize(counted, make(), args, options={"maxfun": 3})
    assert calls[0] == before


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_nnx_module_is_as_it_was_if_the_run_raises(nnx, make, error):
    net, args, calls = make(), data(), [0]
    before = leaves(nnx, net, ...)

    def fails(net, x, y):
        calls[0] += 1
        if calls[0] == 5:
            raise error
        return loss(net, x, y)

    with pytest.raises(error) as caught:
        minimize(fails, net, args, method="Nelder-Mead", compile=False)

    assert_same(before, leaves(nnx, net, ...))
    if isinstance(caught.value, Interrupted):
        assert sorted(caught.value.result.x) == NAMES


def test_names_of_an_nnx_module(nnx, make):
    net, args = make(), data()
    before = np.array(net.first.kernel[...])
    bounds = {"x0.last.kernel": (-0.1, 0.1), "norm/*": (0.0, 2.0)}

    with pytest.warns(RuntimeWarning, match=r"x0 lies outside its bounds.*x0\.last\.kernel\["):
        minimize(loss, net, args, bounds=bounds, frozen="first.kernel", options={"maxiter": 10})

    assert float(jnp.abs(net.last.kernel[...]).max()) <= 0.1 + 1e-7
    assert float(net.norm.scale[...].min()) >= 0.0
    np.testing.assert_array_equal(net.first.kernel[...], before)


def test_constraints_see_the_nnx_module_with_its_state(nnx, make):
    net, args = make(), data()

    def norm(net):
        assert net.norm.mean.shape == (3,)
        return jnp.sum(net.last.kernel[...] ** 2)

    minimize(loss, net, args, method="SLSQP", constraints=NonlinearConstraint(norm, 0.0, 0.25), options={"maxiter": 20})

    assert float(norm(net)) <= 0.25 + 1e-4


def test_a_callback_sees_the_nnx_module_at_the_iterate(nnx, make):
    net, args, seen = make(), data(), []

    def callback(intermediate_result):
        assert intermediate_result.x is net
        seen.append((float(loss(nnx.clone(net), *args)), intermediate_result.fun))

    minimize(loss, net, args, callback=callback, options={"maxiter": 4})

    assert len(seen) == 4
    for got, expected in seen:
        assert got == pytest.approx(expected, rel=1e-5)


def test_what_is_compiled_keeps_no_nnx_module_alive(nnx, make):
    net = make()
    kernel = weakref.ref(net.first.kernel[...])
    minimize(loss, net, data(), options={"maxfun": 2})
    gone = weakref.ref(net)

    del net
    gc.collect()

    assert gone() is None
    assert kernel() is None


def test_an_nnx_module_without_parameters_says_so(nnx):
    with pytest.raises(InputError, match=r"Dropout without an nnx\.Param"):
        minimize(loss, nnx.Dropout(0.1, rngs=nnx.Rngs(0)))


# flax.linen and flax.struct ------------------------------------------------------------------------------


def test_parameters_of_a_linen_module_are_a_nest_with_globs():
    nn = pytest.importorskip("flax.linen", reason="flax is not installed")
    net = nn.Sequential([nn.Dense(3, param_dtype=jnp.float64), nn.tanh, nn.Dense(1, param_dtype=jnp.float64)])
    x, y = data(jnp.float64)
    params = net.init(jax.random.key(0), x)

    res = minimize(
        lambda params: jnp.mean((net.apply(params, x) - y) ** 2), params, frozen="params/*/bias", options={"maxiter": 5}
    )

    assert jax.tree_util.tree_structure(res.x) == jax.tree_util.tree_structure(params)
    for layer in ("layers_0", "layers_2"):
        assert res.x["params"][layer]["bias"] is params["params"][layer]["bias"]
        assert (res.x["params"][layer]["kernel"] != params["params"][layer]["kernel"]).all()


def test_a_linen_module_itself_says_what_to_pass():
    nn = pytest.importorskip("flax.linen", reason="flax is not installed")
    with pytest.raises(InputError, match=r"flax\.linen module Dense, which holds no parameters.*init\(\)"):
        minimize(loss, nn.Dense(1))


def test_a_struct_dataclass_keeps_its_static_fields():
    struct = pytest.importorskip("flax.struct", reason="flax is not installed")

    @struct.dataclass
    class Curve:
        rate: jax.Array
        height: jax.Array
        degree: int = struct.field(pytree_node=False, default=2)

    def fun(curve):
        return (curve.rate - curve.degree) ** 2 + jnp.sum((curve.height - curve.rate) ** 2)

    start = Curve(jnp.array(0.0), jnp.zeros(2), degree=3)
    res = minimize(fun, start)

    assert isinstance(res.x, Curve)
    assert res.x.degree == 3
    assert float(res.x.rate) == pytest.approx(3.0, abs=1e-4)
    with pytest.raises(InputError, match=r"x0\.rate is nan"):
        minimize(fun, start.replace(rate=jnp.array(jnp.nan)))


# Equinox -------------------------------------------------------------------------------------------------


@EACH
def test_an_equinox_module_comes_back_as_another(method, compile):
    eqx = pytest.importorskip("equinox", reason="equinox is not installed")
    x, y = data(jnp.float64)
    net = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=jax.random.key(0), dtype=jnp.float64)
    weight = np.array(net.layers[0].weight)

    def fun(net, x, y):
        return jnp.mean((jax.vmap(net)(x) - y) ** 2)

    res = minimize(fun, net, (x, y), method=method, compile=compile, options={"maxfun": 20})

    assert isinstance(res.x, eqx.nn.MLP)
    assert res.x is not net
    assert res.x.activation is net.activation
    np.testing.assert_array_equal(net.layers[0].weight, weight)
    assert float(fun(res.x, x, y)) == pytest.approx(res.fun, rel=1e-12)
    assert res.fun < float(fun(net, x, y))


def test_equinox_parameters_are_named_as_python_reaches_them():
    eqx = pytest.importorskip("equinox", reason="equinox is not installed")
    x, y = data(jnp.float64)
    net = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=jax.random.key(0), dtype=jnp.float64)

    res = minimize(
        lambda net: jnp.mean((jax.vmap(net)(x) - y) ** 2),
        net,
        frozen=["x0.layers[0].bias", "layers/1/*"],
        options={"maxiter": 3},
    )

    assert res.x.layers[0].bias is net.layers[0].bias
    assert res.x.layers[1].weight is net.layers[1].weight
    assert (res.x.layers[0].weight != net.layers[0].weight).all()
