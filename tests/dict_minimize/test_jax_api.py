"""Programs written for dict_minimize 0.0.4 with JAX run after changing their import line and nothing else."""

from collections import OrderedDict

import numpy as np
import pytest

pytest.importorskip("dmin_jax", reason="dmin-jax is not installed")
jax = pytest.importorskip("jax", reason="jax is not installed")

import jax.numpy as jnp  # noqa: E402 - after the skip

from dmin_core.dict_minimize.jax_api import minimize  # noqa: E402

README = """
from jax import random, value_and_grad
import jax.numpy as np
from dmin_core.dict_minimize.jax_api import minimize

def rosen(x):
    r = np.sum(100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0, axis=0)
    return r

def rosen_obj(params, shift):
    val = rosen(params["x_half_a"] - shift) + rosen(params["x_half_b"] - shift)
    return val

n_a = 3
n_b = 5
shift = -1.0

# Jax makes it this simple:
d_rosen_obj = value_and_grad(rosen_obj, argnums=0)

# Setup randomness in JAX
key = random.PRNGKey(0)
key, subkey_a = random.split(key)
key, subkey_b = random.split(key)

params = OrderedDict(
    [("x_half_a", random.normal(subkey_a, shape=(n_a,))), ("x_half_b", random.normal(subkey_b, shape=(n_b,)))]
)

params = minimize(d_rosen_obj, params, args=(shift,), method="L-BFGS-B", options={"disp": True})
"""
"""The old README's program, but for the import line. It forgets OrderedDict, which the test supplies."""


def test_the_program_of_the_old_readme(capsys):
    scope = {"OrderedDict": OrderedDict}
    exec(README, scope)
    params = scope["params"]
    assert list(params) == ["x_half_a", "x_half_b"]
    assert isinstance(params["x_half_a"], jax.Array)
    # Rosenbrock's minimum is at 1, shifted by -1; a valley in float32.
    np.testing.assert_allclose(params["x_half_a"], 0.0, atol=2e-2)
    np.testing.assert_allclose(params["x_half_b"], 0.0, atol=2e-2)
    assert "L-BFGS-B (jax)" in capsys.readouterr().out


def test_bounds_and_callback():
    seen = []
    x0 = OrderedDict(a=jnp.zeros(2), b=jnp.zeros(1))
    lb = OrderedDict(a=jnp.full(2, -jnp.inf), b=jnp.full(1, -1.0))
    ub = OrderedDict(a=jnp.full(2, 1.5), b=jnp.full(1, jnp.inf))
    fun = jax.value_and_grad(lambda x: jnp.sum((x["a"] - 2.0) ** 2) + jnp.sum((x["b"] + 0.5) ** 2))
    x = minimize(fun, x0, lb_dict=lb, ub_dict=ub, callback=seen.append)
    np.testing.assert_allclose(x["a"], 1.5)
    np.testing.assert_allclose(x["b"], -0.5, atol=1e-4)
    assert isinstance(seen[-1], OrderedDict)
