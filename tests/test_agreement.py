"""Two problems, one start each, every method: the same iterates in every backend.

In float64, to 1e-8 over 30 iterations. NumPy's are the reference: it gets the derivatives that were worked out by hand,
the other backends their own. A method that takes another path in one backend gets another derivative there, or the
same one in other digits than float64's last.
"""

from dataclasses import replace

import numpy as np
import optree
import pytest

from dmin_core import backends, get_backend, methods, minimize
from dmin_core.solvers import EMBEDDED
from dmin_core.testing.problems import flat, rosenbrock

ITERATIONS = 30
OTHERS = [name for name, info in backends().items() if info.devices and name != "numpy"]
"""CuPy's backend is installed where there is no GPU too: it has no device then."""


def banana(xp):
    """Rosenbrock's valley, so written that value and gradient have the same bits whoever computes them.

    Compilers fuse a product and the sum that it goes into, and round once instead of twice. Here every product that
    goes into a sum, of the value or of the gradient, is by a power of two and so exact: fused or not, its sum has the
    same bits. No sum has more than two terms, which have one order, and squares alone are not linear: they and their
    slopes are rounded once in every framework (square roots are not, in MKL's vectors, nor are exponentials anywhere).
    """

    def fun(p):
        across, along = p["y"] - 0.5 * xp.square(0.5 * p["x"]), 1.0 - 0.25 * p["x"]
        return 64.0 * xp.square(across) + 0.5 * xp.square(along)

    return fun


def banana_gradient(p):
    across, along = p["y"] - 0.5 * np.square(0.5 * p["x"]), 1.0 - 0.25 * p["x"]
    return {"x": 0.5 * (-64.0 * across * p["x"]) - 0.25 * along, "y": 128.0 * across}


def banana_hessian(p):
    slope = -0.25 * p["x"]  # of `across` along x
    along_x = 128.0 * (slope**2 - 0.25 * (p["y"] - 0.5 * np.square(0.5 * p["x"]))) + 0.0625
    return np.array([[along_x, 128.0 * slope], [128.0 * slope, 128.0]])


PROBLEMS = {
    "rosenbrock": rosenbrock(),
    "banana": replace(
        rosenbrock(),
        objective=banana,
        gradient=banana_gradient,
        hessian=banana_hessian,
        start={"x": np.array(-4.8), "y": np.array(1.0)},
        answer={"x": np.array(4.0), "y": np.array(2.0)},
    ),
}
NOT_ALIKE = {
    # TNC differences gradients over steps of 1e-8, so the last bit of one is the eighth digit of a step, and the next
    # iterations multiply that: in NumPy alone, a gradient changed by its last bit moves these iterates by 1e-4. So TNC
    # is held to what all are where gradients agree to the last bit.
    ("TNC", "rosenbrock"),
    # Its own sums are the frameworks', in their order, so that it is at the mercy of last bits in any case, and this
    # path multiplies them: in NumPy alone, a gradient changed by its last bit moves these iterates by 1e-6 (SciPy's
    # BFGS: by 1e-7). tests/solvers/device/test_runs.py has thirty iterations of a steadier one.
    ("device-bfgs", "banana"),
    # Likewise: the last bit of one of 30 gradients moves these iterates by 1e-8, but those of Rosenbrock, to which it
    # is held, by 5e-10.
    ("device-lbfgs", "banana"),
}


def iterates(backend, method, problem, **derivatives):
    """The points after each of the first iterations, as rows."""
    host, rows = get_backend(backend), []
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    fun, x0, _ = problem.pose(xp, lambda values: host.from_numpy(np.array(values), None))

    def note(x):
        rows.append(flat(optree.tree_map(host.to_numpy, x)))
        if len(rows) == ITERATIONS:
            raise StopIteration

    minimize(fun, x0, method=method, callback=note, **derivatives)
    return np.array(rows)


def by_hand(method, problem):
    ability = methods()[method]
    return ({"jac": problem.gradient} if ability.gradient else {}) | ({"hess": problem.hessian} if ability.hess else {})


@pytest.mark.parametrize(("method", "name"), [(m, p) for m in EMBEDDED for p in PROBLEMS if (m, p) not in NOT_ALIKE])
@pytest.mark.parametrize("backend", OTHERS)
def test_iterates_agree(backend, method, name):
    problem = PROBLEMS[name]
    expected = iterates("numpy", method, problem, **by_hand(method, problem))
    got = iterates(backend, method, problem)

    assert len(got) == len(expected) >= (1 if method == "Powell" else 5)
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("backend", OTHERS)
def test_the_banana_has_the_same_bits_everywhere(backend):
    """Without which TNC's iterates would not agree: whoever breaks this learns it here."""
    problem, histories = PROBLEMS["banana"], []
    for name in ("numpy", backend):
        host = get_backend(name)
        xp = host.namespace(host.from_numpy(np.zeros(1), None))
        fun, x0, _ = problem.pose(xp, lambda values, host=host: host.from_numpy(np.array(values), None))
        derivatives = {"jac": problem.gradient} if name == "numpy" else {}
        histories.append(minimize(fun, x0, method="TNC", **derivatives).history)
    for column in ("fun", "grad_norm"):
        np.testing.assert_array_equal(getattr(histories[1], column), getattr(histories[0], column))


@pytest.mark.parametrize("name", PROBLEMS)
def test_derivatives_by_hand_are_those_of_the_problem(name):
    problem = PROBLEMS[name]
    fun, x0, _ = problem.pose(np, lambda values: np.array(values))
    minimize(fun, x0, jac=problem.gradient, method="trust-exact", hess=problem.hessian, check_derivatives=True)
