"""What an interactive session shows of a public object: what it is and holds, not where it lies in memory."""

import numpy as np
import pytest

from dmin_core import Bounds, Checkpoint, LinearConstraint, backends, get_backend, methods, minimize


def seen_by_a_callback():
    seen = []
    minimize(
        lambda p: np.sum(p["w"] ** 2),
        {"w": np.ones(2)},
        callback=lambda intermediate_result: seen.append(repr(intermediate_result)),
    )
    return seen[0]


@pytest.mark.parametrize(
    ("make", "shows"),
    [
        (lambda: repr(backends()["numpy"]), ["BackendInfo", "name='numpy'", "gradient='differences'"]),
        (lambda: repr(get_backend("numpy")), ["backend 'numpy'", "dmin-core"]),
        (lambda: repr(methods()["L-BFGS-B"]), ["Method", "'L-BFGS-B'", "bounds=True", "maxcor"]),
        (lambda: repr(Checkpoint("fit.dmin")), ["Checkpoint", "fit.dmin"]),
        (
            lambda: repr(LinearConstraint({"w": np.ones((1, 2))}, 0, None)),
            ["LinearConstraint", "'w'", "lb=0", "ub=None"],
        ),
        (lambda: repr(LinearConstraint(np.ones((1, 2)), 0, 1)), ["LinearConstraint", "1., 1.", "lb="]),
        (lambda: repr(Bounds(0, 1)), ["Bounds"]),
        (lambda: repr(minimize(lambda x: np.sum(x**2), np.ones(2))), ["success: True", "fun:", "x:", "L-BFGS-B"]),
        (seen_by_a_callback, ["fun:", "nit: 1", "w:"]),
    ],
    ids=["info", "backend", "method", "checkpoint", "nested rows", "matrix", "bounds", "result", "intermediate"],
)
def test_a_repr_says_what_it_is_and_holds(make, shows):
    shown = make()
    assert " object at 0x" not in shown
    for part in shows:
        assert part in shown
