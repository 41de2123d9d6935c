"""What is marked ``gpu`` is skipped where JAX cannot use one, and fails there instead if DMIN_REQUIRE_GPU=1."""

import jax
import jax.numpy as jnp

from dmin_core.testing import gpu_marker

pytest_runtest_setup = gpu_marker("JAX", lambda: (jax.device_put(jnp.arange(3.0), jax.devices("gpu")[0]) * 2).sum())
