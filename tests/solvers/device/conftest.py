"""Rosenbrock's function, as the tests of device methods pose it."""

import numpy as np
import pytest

from dmin_core import get_backend
from dmin_core.testing.problems import rosenbrock


@pytest.fixture(scope="session")
def posed():
    """In a backend, with its derivatives where the backend has none: ``posed(backend) -> fun, x0, derivatives``."""

    def posed(backend, dtype="float64"):
        problem, host = rosenbrock(), get_backend(backend)
        xp = host.namespace(host.from_numpy(np.zeros(1), None))
        fun, x0, _ = problem.pose(xp, lambda values: host.from_numpy(np.array(values, dtype=dtype), None))
        return fun, x0, {} if host.exact_gradient else {"jac": problem.gradient}

    return posed


@pytest.fixture(scope="session")
def chained():
    """Of chains of numbers, by hand: ``chained(n, leaves) -> fun, x0``, where `fun` returns value and gradient."""

    def chained(n, leaves=1):
        def fun(x):
            value, gradient = 0.0, {}
            for name, leaf in x.items():
                d, e = leaf[1:] - leaf[:-1] ** 2, 1 - leaf[:-1]
                gradient[name] = np.zeros_like(leaf)
                gradient[name][1:] += 200 * d
                gradient[name][:-1] -= 400 * d * leaf[:-1] + 2 * e
                value = value + np.sum(100 * d**2) + np.sum(e**2)
            return value, gradient

        return fun, {str(k): np.tile([-1.2, 1.0], n // 2) for k in range(leaves)}

    return chained
