"""The same with JAX."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from dmin_core import Result
from dmin_jax import minimize

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value, kind):
        return value


def arrays() -> None:
    x0 = {"w": jnp.zeros(3)}
    result = minimize(lambda p: jnp.sum((p["w"] - 1) ** 2), x0, compile=False)
    assert_type(result, Result[dict[str, jax.Array]])


if __name__ == "__main__":
    arrays()
