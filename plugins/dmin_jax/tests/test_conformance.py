"""The JAX backend keeps every promise that dmin asks of a backend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dmin_core.testing import BackendTests


@pytest.fixture(scope="module", autouse=True)
def sixty_four_bits():
    """Float64 leaves need JAX's flag, which is the user's to set; here the tests are the user."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


class TestJax(BackendTests):
    backend = "jax"
    xp = jnp
    exact_gradient = True
    exact_hvp = True
    compiles = True
    dtypes = ("bfloat16", "float16", "float32", "float64")

    def array(self, values, dtype):
        return jnp.array(np.asarray(values), dtype=dtype)

    def state(self):
        return jax.config.jax_enable_x64, jax.config.jax_default_device, jax.config.jax_disable_jit


@pytest.mark.gpu
class TestJaxOnGpu(TestJax):
    def array(self, values, dtype):
        return jax.device_put(super().array(values, dtype), jax.devices("gpu")[0])
