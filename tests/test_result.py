"""The result reads as SciPy's, in the user's own nest."""

import copy
import pickle

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from dmin_core import Result, minimize
from dmin_core._result import as_history, merge
from dmin_core.solvers import EMBEDDED


def fun(p):
    return np.sum((p["w"] - 3.0) ** 2)


def jac(p):
    return {"w": 2.0 * (p["w"] - 3.0)}


@pytest.fixture(scope="module")
def result():
    return minimize(fun, {"w": np.zeros(2, np.float32)}, jac=jac, method="BFGS", options={"return_all": True})


def test_it_is_an_optimize_result(result):
    assert isinstance(result, OptimizeResult)
    assert isinstance(result, Result)
    assert result["fun"] == result.fun
    assert {"x", "fun", "jac", "success", "status", "message", "nit", "nfev", "njev", "nhev"} <= set(dir(result))


def test_x_and_jac_have_the_nest_and_dtypes_of_x0(result):
    for nest in (result.x, result.jac):
        assert nest["w"].dtype == np.float32
        assert nest["w"].shape == (2,)
    np.testing.assert_allclose(result.x["w"], 3.0, rtol=1e-5)
    np.testing.assert_allclose(result.jac["w"], 0.0, atol=1e-4)


@pytest.mark.parametrize("method", EMBEDDED)
def test_plain_fields_are_plain_python(method):
    gradient = jac if EMBEDDED[method].get("gradient") else None
    result = minimize(fun, {"w": np.zeros(2)}, jac=gradient, method=method)
    kinds = {"fun": float, "success": bool, "status": int, "message": str, "nit": int, "nfev": int, "njev": int}
    assert {name: type(result[name]) for name in kinds} == kinds
    assert (result.method, result.backend, result.success) == (method, "numpy", True)
    assert ("jac" in result) == bool(gradient)


def test_what_the_method_adds_is_kept(result):
    assert result.hess_inv.shape == (2, 2)


def test_iterates_are_nests(result):
    assert [set(x) for x in result.allvecs] == [{"w"}] * (result.nit + 1)
    np.testing.assert_array_equal(result.allvecs[0]["w"], 0.0)


def test_history_is_a_record_array(result):
    history = result.history
    assert history.dtype.names == ("evaluation", "fun", "grad_norm", "seconds")
    assert history.fun[0] == 18.0
    assert history.grad_norm[0] == pytest.approx(72**0.5)
    assert min(history.fun) == result.fun
    assert list(history.evaluation) == list(range(1, result.nfev + 1))
    assert (np.diff(history.seconds) >= 0).all()


def test_history_makes_no_evaluation():
    calls = []
    result = minimize(lambda p: calls.append(None) or (fun(p), jac(p)), {"w": np.zeros(2)}, jac=True)
    assert len(calls) == result.nfev == len(result.history)


def test_an_empty_history_has_the_same_fields():
    assert as_history([]).fun.shape == (0,)


def test_seconds_add_up(result):
    parts = [result.time[part] for part in ("objective", "copies", "solver", "compile")]
    assert all(seconds >= 0 for seconds in parts)
    assert sum(parts) == pytest.approx(result.time["total"])


def test_repr_shows_the_answer_and_names_the_rest(result):
    text = repr(result)
    assert "message: Optimization terminated successfully." in text
    assert "array([3., 3.], dtype=float32)" in text
    assert "also: " in text
    assert "history" in text.partition("also: ")[2]


def test_repr_of_a_large_result_is_short():
    result = minimize(lambda x: np.sum((x - 1) ** 2), np.zeros(5_000), jac=lambda x: 2 * (x - 1))
    assert len(repr(result)) < 3_000


def test_summary_says_what_disp_prints(result):
    lines = result.summary().splitlines()
    assert lines[0] == result.message
    assert "BFGS (numpy)    converged" in lines[1]
    assert f"{result.nfev} of the function, {result.njev} of the gradient" in lines[3]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_it_can_be_copied_and_pickled(result, duplicate):
    other = duplicate(result)
    assert type(other) is Result
    np.testing.assert_array_equal(other.x["w"], result.x["w"])
    assert other.time == result.time


def test_dmin_knows_better_than_the_method():
    merged = merge({"x": [1.0], "nfev": 7, "grad": [0.0], "maxcv": 0.5}, {"x": {"w": 1.0}, "nfev": 9})
    assert dict(merged) == {"x": {"w": 1.0}, "nfev": 9, "maxcv": 0.5}


def test_the_gradient_of_a_parameter_is_no_parameter():
    pytest.importorskip("dmin_torch", reason="dmin-torch is not installed")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    result = minimize(lambda w: ((w - 3.0) ** 2).sum(), torch.nn.Parameter(torch.zeros(2)))
    assert type(result.x) is torch.nn.Parameter
    assert type(result.jac) is torch.Tensor
    assert not result.jac.requires_grad
