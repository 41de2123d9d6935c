"""What is marked ``gpu`` is skipped where JAX cannot use one, and fails there instead if DMIN_REQUIRE_GPU=1."""

import functools
import os

import jax
import jax.numpy as jnp
import pytest


@functools.cache
def missing():
    """What JAX lacks to compute on a GPU here, or None: one that is listed need not be usable."""
    try:
        six = float((jax.device_put(jnp.arange(3.0), jax.devices("gpu")[0]) * 2).sum())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is missing
        return str(error).partition("\n")[0]
    return None if six == 6 else f"0 + 2 + 4 is {six} there"


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and (why := missing()):
        required = os.environ.get("DMIN_REQUIRE_GPU") == "1"
        (pytest.fail if required else pytest.skip)(f"JAX has no GPU here: {why}")
