"""Every installed backend x every method x problems whose answers are known, in float32 and in float64.

``--backend`` and ``--method`` choose a part: ``pytest tests/test_matrix.py --backend torch --method L-BFGS-B``. How
near an answer must be follows from the problem's curvature, the dtype's precision and where gradients come from
(`KnownProblem.tolerances`).
"""

import functools

import numpy as np
import optree
import pytest

from dmin_core import MethodError, backends, get_backend, methods, minimize
from dmin_core.testing.problems import bounded, flat, logistic_regression, quadratic, rosenbrock, smooth

DTYPES = ("float32", "float64")


def irises():
    """One species of Fisher's irises told from the other two."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the data come with scikit-learn, which is not installed")
    measured, species = datasets.load_iris(return_X_y=True)
    return logistic_regression(measured, species == 2)


PROBLEMS = {
    "smooth": smooth,
    "quadratic": quadratic,
    "rosenbrock": rosenbrock,
    "bounded": bounded,
    "logistic": functools.cache(irises),
}

OPTIONS = {
    # Values alone tell x apart to half the digits only: these methods go on as long as values differ.
    "Nelder-Mead": {"maxiter": 4000, "xatol": 1e-7, "fatol": 1e-11},
    "Powell": {"maxiter": 200, "xtol": 1e-8, "ftol": 1e-12},
    "COBYQA": {"maxfev": 1000},
    # Enough for easy problems; on the others ten times as many would not do either.
    "COBYLA": {"maxiter": 500},
    "TNC": {"maxfun": 4000},
    "SLSQP": {"maxiter": 1000, "ftol": 1e-9},
}
"""What a method is run with: limits by the name that it has for them."""

LIMITS = {"maxiter": 2000}

UNFINISHED = (
    *(
        "No lower value was found",
        "precision loss",
        "ABNORMAL",
        "bad approximation",
        "Hessian is not positive definite",
    ),
    *("evaluated MAXFUN times", "(maxfun)", "function evaluations reached", "function evaluations has been exceeded"),
    "Iteration limit reached",  # SLSQP, before SciPy 1.16, where differences in float32 have no more digits
)
"""What a method may say that did not converge: its gradients, by differences, ran out of digits; or the evaluations."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "problem" not in metafunc.fixturenames:
        return
    cases = [
        pytest.param(backend, method, problem, dtype, id=f"{backend}-{method}-{problem}-{dtype}")
        for backend in _chosen(metafunc, "backend", _usable())
        for method in _chosen(metafunc, "method", methods())
        for problem in PROBLEMS
        for dtype in DTYPES
    ]
    metafunc.parametrize(("backend", "method", "problem", "dtype"), cases)


def _usable():
    """Backends that can compute here: CuPy's is installed where there is no GPU too, to test what it says then."""
    return [name for name, info in backends().items() if info.error is None and info.devices]


def _chosen(metafunc, option, known):
    chosen = metafunc.config.getoption(option) or list(known)
    for name in chosen:
        if name not in known:
            raise pytest.UsageError(f"--{option} {name}: there is none; there are {', '.join(known)}")
    return chosen


# SciPy's quasi-Newton update for trust-constr says so of differences that are the same twice, as in float32.
@pytest.mark.filterwarnings("ignore:delta_grad == 0.0:UserWarning")
# Where products are differences in float32, SciPy's trust-krylov now and then tries a step out of all proportion, where
# `fun` overflows (not in every run: it reads memory that was not set); it goes back, and the answer is the same.
@pytest.mark.filterwarnings("ignore:(trust-krylov. )?(overflow|invalid value) encountered:RuntimeWarning")
def test_answer_is_found(backend, method, problem, dtype, record_property):
    for name, value in (("backend", backend), ("method", method), ("problem", problem), ("dtype", dtype)):
        record_property(name, value)  # for --matrix-report
    host, ability, problem = get_backend(backend), methods()[method], PROBLEMS[problem]()
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    fun, x0, data = problem.pose(xp, lambda array: host.from_numpy(np.array(array, dtype=dtype), None))

    def run():
        options = OPTIONS.get(method, LIMITS)
        return minimize(fun, x0, args=data, method=method, bounds=problem.bounds, options=options)

    if problem.bounds is not None and not ability.bounds:
        with pytest.raises(MethodError, match=f"^{method} cannot keep to bounds. Methods that can: "):
            run()
        return

    res = run()

    if "non-psd" in res.message:
        # Differences of differences in float32 are no longer positive definite, which dogleg cannot do without. Where
        # second derivatives are exact they are: the starts are chosen so.
        assert (method, dtype, host.exact_hvp, res.success) == ("dogleg", "float32", False, False)
        assert res.fun <= problem.derivatives(problem.start, problem.data)[0] * (1 + 1e-6)
        return
    eps = float(np.finfo(dtype).eps)
    gap, distance = problem.tolerances(eps, ability, exact_gradient=host.exact_gradient)
    x = optree.tree_map(host.to_numpy, res.x)
    # The value itself may be wrong in its last digits, to either side.
    assert abs(res.fun - problem.value) <= gap
    assert np.linalg.norm(flat(x) - flat(problem.answer)) <= distance
    # What it says of itself is true.
    assert (res.method, res.backend) == (method, backend)
    assert res.fun == pytest.approx(float(host.to_numpy(fun(res.x, *data))), rel=10 * eps, abs=4 * eps)
    assert res.nit > 0
    if not res.success:
        # With exact gradients every other method converges, to what its dtype can show.
        assert method == "COBYLA" or (ability.gradient and not host.exact_gradient)
        assert any(why in res.message for why in UNFINISHED), res.message
    if problem.bounds is not None:
        slack = 1e-8 if not ability.strict_bounds else eps
        assert (x["rates"] >= -slack).all()
        assert x["shift"] <= 0.5 + slack
