"""A run that failed for want of digits only is told from one that failed for another reason."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmin_core import minimize
from dmin_core._precision import Precision
from dmin_core._problem import Visit
from dmin_core.solvers import SCIPY_METHODS, able
from dmin_core.solvers._tolerances import DEFAULTS, NO_DECREASE, judge, loosen

EPS = {dtype: float(np.finfo(dtype).eps) for dtype in ("float16", "float32", "float64")}


def visit(x, f, g):
    return Visit(np.array(x, dtype=float), f, None if g is None else np.array(g, dtype=float), True)


# The test itself ------------------------------------------------------------------------------------------


def on_parabola(x, curvature=2.0, offset=1.0, gradient=True):
    """1 + x² at ``x``."""
    return visit([x], offset + curvature * x * x / 2, [curvature * x] if gradient else None)


@pytest.mark.parametrize("gradient", [True, False])
def test_the_hope_is_what_a_parabola_can_still_fall(gradient):
    precision = Precision(EPS["float64"], True, None)
    best = on_parabola(0.1)
    precision.note(best, on_parabola(-0.3, gradient=gradient))
    assert precision.hope == pytest.approx(0.1**2)
    precision.note(best, on_parabola(-0.2, gradient=gradient))
    assert precision.hope == pytest.approx(0.1**2)


def test_hope_below_the_noise_is_the_end():
    precision = Precision(EPS["float32"], True, None)
    best = on_parabola(1e-4)
    precision.note(best, on_parabola(-2e-4))
    assert precision.reached(best)
    precision = Precision(EPS["float64"], True, None)
    precision.note(best, on_parabola(-2e-4))
    assert not precision.reached(best)


def test_a_step_into_nothing_is_no_proof():
    """However short the last steps are: a longer one promised more."""
    precision = Precision(EPS["float32"], True, None)
    best = visit([1.0], 1.0, [2.0])
    for step in (1.0, 1e-4, 1e-12):  # uphill, wherever it goes: the gradient is wrong
        precision.note(best, visit([1.0 - step], 1.0 + 2 * step, [2.0 - 2 * step]))
    assert not precision.reached(best)
    better = visit([1.0 - 1e-13], 1.0 - 1e-13, [2.0])
    precision.note(better, visit([1.0 - 2e-13], 1.0, [2.0]))
    assert not precision.reached(better)
    much_better = visit([0.0], 0.0, [0.0])
    precision.note(much_better, visit([1e-9], 0.0, [0.0]))
    assert precision.reached(much_better)


def test_without_a_trial_nothing_is_known():
    precision = Precision(EPS["float32"], True, None)
    assert not precision.reached(None)
    assert not precision.reached(on_parabola(0.1))


def test_the_best_point_again_is_no_trial():
    precision = Precision(EPS["float32"], True, None)
    best = on_parabola(0.1)
    precision.note(best, on_parabola(0.1))
    assert not precision.reached(best)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_fall_without_end_is_no_success():
    result = minimize(lambda x: -np.sum(x * x), np.ones(2), jac=lambda x: -2 * x, method="L-BFGS-B")
    assert result.fun < -1e300
    assert np.isinf(result.history.fun).any()
    assert not result.success


def test_without_a_slope_there_is_nothing_to_gain():
    assert Precision(EPS["float32"], True, None).reached(on_parabola(0.0))


def test_a_slope_of_some_variables_is_one():
    assert not Precision(EPS["float32"], True, None).reached(visit([1.0, 0.0], 1.0, [2.0, 0.0]))


def test_variables_on_their_bounds_add_no_noise():
    bounds = (np.array([1e6, -1.0]), np.array([2e6, 1.0]))
    best = visit([1e6, 0.5], 1.0, [1e6, 0.5])
    assert Precision(1.0, True, bounds).noise(best) == pytest.approx(10 * 1.25)
    assert Precision(1.0, True, None).noise(best) == pytest.approx(10 * (1e12 + 1.25))


# Runs -----------------------------------------------------------------------------------------------------


def rounded(dtype):
    """A function whose digits run out: a large constant and a small bowl."""
    scale = np.array([1, 30], dtype=dtype)

    def fun(p):
        d = (p["w"] - dtype(0.3)) * scale
        return dtype(1000) + np.sum(d**2, dtype=dtype), {"w": 2 * d * scale}

    return fun


TIGHT = {
    "CG": {"gtol": 0.0},
    "BFGS": {"gtol": 0.0},
    "Newton-CG": {"xtol": 1e-20},
    "L-BFGS-B": {"ftol": 0.0, "gtol": 0.0},
    "TNC": {"gtol": 1e-30, "xtol": 1e-30},
    "SLSQP": {"ftol": 1e-12},
    "trust-constr": {"gtol": 1e-6, "xtol": 1e-12},
}


# SciPy's trust-krylov divides by a gradient of zero, and multiplies memory that it has not set, whatever is in it.
@pytest.mark.filterwarnings(
    "ignore:(trust-krylov. )?(divide by zero|invalid value|overflow) encountered:RuntimeWarning"
)
@pytest.mark.parametrize("method", able("gradient"))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_run_fails_where_its_dtype_can_show_no_more(method, dtype):
    options = TIGHT.get(method, {"gtol": 1e-300})
    if method == "SLSQP" and dtype is np.float32:
        options = {}  # it goes by differences of values alone, and would wait for ever for smaller ones
    second = {"hess": lambda p: np.diag([2.0, 1800.0])} if method in able("hess") else {}
    x0 = {"w": np.array([2.0, -1.0], dtype=dtype)}
    result = minimize(rounded(dtype), x0, method=method, jac=True, options=options, **second)
    assert result.success, result.message
    assert result.fun == pytest.approx(1000.0, rel=10 * EPS[dtype.__name__])
    np.testing.assert_allclose(result.x["w"], 0.3, atol=(20 * 1000 * EPS[dtype.__name__]) ** 0.5)


def difference_problems():
    """Float32 functions of one array, without gradients, with a start and the least value."""
    t = np.linspace(0, 1, 40, dtype=np.float32)
    weights = np.array([1, 30], dtype=np.float32)
    quadratic_weights = np.geomspace(1, 1e3, 10).astype(np.float32)
    return {
        "singular": (
            lambda x: (
                (x[0] + 10 * x[1]) ** 2 + 5 * (x[2] - x[3]) ** 2 + (x[1] - 2 * x[2]) ** 4 + 10 * (x[0] - x[3]) ** 4
            ),
            [3.0, -1.0, 0.0, 1.0],
            0.0,
        ),
        "on a height": (
            lambda x: np.float32(1000) + np.sum(((x - np.float32(0.3)) * weights) ** 2),
            [2.0, -1.0],
            1000.0,
        ),
        "large": (lambda x: np.sum((x - 1) ** 2) * np.float32(1e5), [2.0, -1.0], 0.0),
        "stiff": (lambda x: np.sum(quadratic_weights * (x - 1) ** 2), np.zeros(10), 0.0),
        "a fit": (lambda x: np.sum((x[0] * np.exp(-x[1] * t) - 2 * np.exp(-3 * t)) ** 2), [1.0, 1.0], 0.0),
        "convex": (lambda x: np.sum(np.cosh(x * np.array([1, 3], dtype=np.float32))), [1.0, -2.0], 2.0),
    }


# Not trust-krylov: SciPy's reads memory that it has not set, and on a singular Hessian may take a wild step for it.
HOST = [name for name in able("gradient") if name in SCIPY_METHODS and name != "trust-krylov"]


@pytest.mark.filterwarnings(
    "ignore:(trust-krylov. )?(divide by zero|invalid value|overflow) encountered:RuntimeWarning"
)
@pytest.mark.parametrize("problem", difference_problems())
@pytest.mark.parametrize("method", HOST)
def test_no_run_by_differences_fails_where_float32_can_show_no_more(method, problem):
    fun, start, least = difference_problems()[problem]
    x0 = np.array(start, dtype=np.float32)
    result = minimize(fun, x0, method=method)
    if method == "TNC" and result.status == 3:  # SciPy's limit on evaluations
        return
    assert result.success, result.message
    assert result.fun - least <= 3e-4 * (fun(x0) - least)


def test_central_differences_are_taken_where_forward_ones_lead_no_further():
    fun, start, _ = difference_problems()["singular"]

    def run(**more):
        return minimize(fun, np.array(start, dtype=np.float32), method="BFGS", **more)

    result, rough = run(), run(jac="2-point")
    assert "Begun again once from the best point, with central differences" in result.message
    # What is asked for is what is taken.
    assert "Begun" not in rough.message
    assert not rough.success
    assert result.fun < rough.fun
    assert "Begun" not in run(options={"eps": 3.5e-4}).message


@pytest.mark.parametrize("method", [name for name in NO_DECREASE if name not in ("TNC", "SLSQP")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_wrong_gradient_is_a_failure(method, dtype):
    def fun(p):
        d = p["w"] - dtype(1)
        return dtype(10) + np.sum(d**2, dtype=dtype), {"w": -2 * d}

    second = {"hess": lambda p: 2 * np.eye(2)} if method in able("hess") else {}
    result = minimize(fun, {"w": np.array([2.0, -1.0], dtype=dtype)}, method=method, jac=True, **second)
    assert not result.success
    assert "Converged to the precision" not in result.message


def test_the_message_names_the_coarsest_dtype_and_what_scipy_said():
    x0 = {"w": np.array([2.0, -1.0], dtype=np.float32)}
    result = minimize(rounded(np.float32), x0, method="BFGS", jac=True, options={"gtol": 0.0})
    assert (result.success, result.status) == (True, 0)
    assert result.message == (
        "Converged to the precision of float32: no step lowers `fun` by more than that "
        "(Desired error not necessarily achieved due to precision loss)."
    )


@pytest.mark.parametrize(
    ("method", "streak", "reached", "at", "success"),
    [
        ("BFGS", 0, True, 0.0, True),
        ("BFGS", 0, False, 0.0, False),
        ("BFGS", 1, True, 0.0, False),  # failures ended it, and say nothing of what a step could gain
        ("trust-ncg", 0, False, 0.0, True),  # its step is too short to change x
        ("trust-ncg", 0, False, 1.0, False),  # it ended elsewhere
        ("trust-ncg", 1, False, 0.0, False),
    ],
)
def test_a_failed_search_is_a_success_where_digits_alone_ended_it(method, streak, reached, at, success):
    best = visit([0.0], 1.0, [1e-9])
    problem = SimpleNamespace(
        failures=SimpleNamespace(streak=streak),
        precision=SimpleNamespace(reached=lambda visit: reached),
        best=best,
        last=best,
        tree=SimpleNamespace(coarsest_dtype=np.dtype("float64")),
    )
    report = {"success": False, "status": 2, "message": "No way on.", "x": np.array([at])}
    told = judge(method, problem, report)
    assert told["success"] is success
    assert told is report or told["message"].startswith("Converged to the precision of float64")
    # One that says that it converged has, unless `fun` was not finite on the way to where it ended.
    told = judge(method, problem, {**report, "success": True, "status": 0})
    assert told["success"] is (streak == 0)


# Leaves coarser than the value ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["device-lbfgs", "device-bfgs", "device-newton-cg"])
@pytest.mark.parametrize("offset", [0.0, 10.0])
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_bfloat16_leaf_does_not_coarsen_what_the_value_shows(backend, method, offset):
    """Curvatures above 1 / ε of bfloat16, 128, are as good as others, and so is a fall below ε of the value."""
    framework = pytest.importorskip(backend, reason=f"{backend} is not installed")
    xp = framework if backend == "torch" else framework.numpy
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 20)).astype(np.float32)
    target = xp.asarray(rows @ rng.normal(size=20).astype(np.float32) + np.float32(0.3))
    rows = xp.asarray(rows * np.geomspace(1, 30, 20).astype(np.float32))
    x0 = {"w": xp.zeros(20, dtype=xp.bfloat16), "b": xp.zeros((), dtype=xp.float32)}

    def fun(p):
        w = p["w"].to(xp.float32) if backend == "torch" else p["w"].astype(xp.float32)
        return ((rows @ w + p["b"] - target) ** 2).mean() + offset

    result = minimize(fun, x0, method=method)
    assert result.success
    assert result.nfev < 500
    assert result.fun - offset <= 1e-3 * (result.history.fun[0] - offset)


@pytest.mark.parametrize("method", ["device-lbfgs", "device-bfgs", "device-newton-cg"])
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_bfloat16_value_is_not_asked_for_more_digits_than_it_has(backend, method):
    framework = pytest.importorskip(backend, reason=f"{backend} is not installed")
    xp = framework if backend == "torch" else framework.numpy
    x0 = {"w": xp.ones(20, dtype=xp.bfloat16), "b": xp.ones(5, dtype=xp.float32)}

    def fun(p):
        w = (p["w"] - 0.3) ** 2
        return w.sum() + ((p["b"].to(w.dtype) if backend == "torch" else p["b"].astype(w.dtype)) ** 2).sum() + 1

    result = minimize(fun, x0, method=method, options={"gtol": 0.0})
    assert result.success
    assert result.nfev < 100
    assert 1.0 <= result.fun <= 1.0 + 2.0**-6


@pytest.mark.parametrize("method", ["device-lbfgs", "device-bfgs", "device-newton-cg"])
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_bfloat16_value_of_float32_leaves_is_not_either(backend, method):
    framework = pytest.importorskip(backend, reason=f"{backend} is not installed")
    xp = framework if backend == "torch" else framework.numpy
    rng = np.random.default_rng(0)
    rows, w = (xp.asarray(rng.normal(size=shape).astype(np.float32)) for shape in ((40, 8), (8,)))

    def fun(x):
        value = ((rows @ (x - w)) ** 2).mean() + 50
        return value.to(xp.bfloat16) if backend == "torch" else value.astype(xp.bfloat16)

    result = minimize(fun, xp.zeros(8, dtype=xp.float32), method=method, options={"gtol": 0.0})
    assert result.success, result.message
    assert result.nfev < 100
    assert result.fun == 50.0


# Default tolerances ---------------------------------------------------------------------------------------


class Leaves:
    """As much of a problem as tolerances depend on."""

    def __init__(self, *dtypes):
        self.tree = self
        self.coarsest_eps = max(EPS[dtype] for dtype in dtypes)


@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_tolerances_are_scipys_own_for_float64(method):
    assert loosen(method, Leaves("float64"), None, {}) == {}


@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_tolerances_are_at_least_what_the_coarsest_leaf_can_show(method):
    loosened = loosen(method, Leaves("float64", "float16"), None, {})
    assert set(loosened) <= set(SCIPY_METHODS[method]["options"])
    assert set(loosened) == set(DEFAULTS[method])
    for option, value in loosened.items():
        default, power = DEFAULTS[method][option]
        assert value == max(default, EPS["float16"] ** power)


def test_what_the_user_gives_is_kept():
    leaves = Leaves("float32")
    assert loosen("L-BFGS-B", leaves, 1e-3, {}) == {}
    assert loosen("L-BFGS-B", leaves, None, {"gtol": 1e-9}) == {"ftol": EPS["float32"]}
