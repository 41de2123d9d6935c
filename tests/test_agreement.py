"""One problem, one start, one method: the same iterates in every backend.

In float64, to 1e-8 over 30 iterations. NumPy's are the reference: it gets the derivatives that were worked out by hand,
the other backends their own. A method that takes another path in one backend gets another derivative there, or the
same one in other digits than float64's last.
"""

import numpy as np
import optree
import pytest

from dmin_core import backends, get_backend, methods, minimize
from dmin_core.solvers import SCIPY_METHODS
from dmin_core.testing.problems import flat, rosenbrock

ITERATIONS = 30
TOLERANCES = {
    # TNC differences gradients over steps of 1e-8, so the last bit of one is the eighth digit of a step, and the next
    # iterations multiply that: in NumPy alone, a gradient changed by its last bit moves these iterates by 1e-4.
    "TNC": 1e-3,
}
OTHERS = [name for name, info in backends().items() if info.devices and name != "numpy"]
"""CuPy's backend is installed where there is no GPU too: it has no device then."""


def iterates(backend, method, **derivatives):
    """The points after each of the first iterations, as rows."""
    problem, host, rows = rosenbrock(), get_backend(backend), []
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    fun, x0, _ = problem.pose(xp, lambda values: host.from_numpy(np.array(values), None))

    def note(x):
        rows.append(flat(optree.tree_map(host.to_numpy, x)))
        if len(rows) == ITERATIONS:
            raise StopIteration

    minimize(fun, x0, method=method, callback=note, **derivatives)
    return np.array(rows)


@pytest.mark.parametrize("method", SCIPY_METHODS)
@pytest.mark.parametrize("backend", OTHERS)
def test_iterates_agree(backend, method):
    problem, ability = rosenbrock(), methods()[method]
    by_hand = {"jac": problem.gradient} if ability.gradient else {}
    if ability.hess:
        by_hand["hess"] = problem.hessian

    expected = iterates("numpy", method, **by_hand)
    got = iterates(backend, method)

    assert len(got) == len(expected)
    np.testing.assert_allclose(got, expected, rtol=TOLERANCES.get(method, 1e-8), atol=0)
