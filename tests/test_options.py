"""The values of SciPy's options, said at the door; and what happens where SciPy itself breaks off."""

import numpy as np
import pytest
import scipy.optimize

from dmin_core import InputError, LinearConstraint, MethodError, NonlinearConstraint, ObjectiveError, minimize
from dmin_core._options import KINDS, LARGEST, check_values
from dmin_core.solvers import SCIPY_METHODS

pytestmark = pytest.mark.numpy


def fun(x):
    return np.sum((x - 1.0) ** 2)


def never(x):
    raise AssertionError("evaluated")


@pytest.mark.parametrize(
    ("method", "option", "value", "expected"),
    [
        ("L-BFGS-B", "gtol", "1e-5", "a number, not negative"),
        ("L-BFGS-B", "gtol", np.nan, "a number, not negative"),
        ("L-BFGS-B", "maxcor", 0, "a whole number of at least 1"),
        ("L-BFGS-B", "maxiter", 2.5, "a whole number, not negative"),
        ("L-BFGS-B", "maxiter", -1, "a whole number, not negative"),
        ("L-BFGS-B", "maxiter", True, "a whole number, not negative"),
        ("trust-ncg", "initial_trust_radius", 0.0, "a positive number"),
        ("TNC", "gtol", "small", "a number"),
        ("Nelder-Mead", "adaptive", "yes", "True or False"),
        ("Nelder-Mead", "initial_simplex", [[0.0, 1.0], [2.0]], "a matrix of numbers"),
        ("Powell", "direc", "coordinates", "a matrix of numbers"),
        ("BFGS", "hess_inv0", [[None]], "a matrix of numbers"),
        ("TNC", "scale", "yes", "an array of numbers"),
        ("TNC", "maxCGit", -np.inf, "a whole number"),
        ("COBYQA", "scale", [1.0, 1.0], "True or False"),
        ("trust-constr", "factorization_method", 3, "a text"),
        ("trust-constr", "verbose", 0.5, "a whole number, not negative"),
    ],
)
def test_a_value_that_the_option_cannot_have_is_refused_before_any_evaluation(method, option, value, expected):
    with pytest.raises(InputError) as caught:
        minimize(never, np.zeros(2), method=method, options={option: value})
    assert str(caught.value) == f"options[{option!r}] must be {expected}, not {value!r}."


@pytest.mark.parametrize("tol", [np.nan, -1e-3])
def test_a_tolerance_is_a_number_that_is_not_negative(tol):
    with pytest.raises(InputError, match="tol must be a number, not negative"):
        minimize(never, np.zeros(2), tol=tol)


@pytest.mark.parametrize("method", [name for name, ability in SCIPY_METHODS.items() if "maxiter" in ability["options"]])
@pytest.mark.parametrize("value", [np.inf, 1e3, np.int64(1000)], ids=["inf", "1e3", "int64"])
def test_a_count_may_be_infinite_or_a_whole_float(method, value):
    assert minimize(fun, np.zeros(2), method=method, options={"maxiter": value}).fun < 1e-4


def test_counts_become_integers_and_all_else_stays():
    given = {"maxiter": 5.0, "maxfev": np.inf, "gtol": np.float32(0.5), "norm": np.inf, "unheard of": "x", "xtol": None}
    checked = check_values(given, "BFGS")
    assert checked == {**given, "maxiter": 5, "maxfev": LARGEST}
    assert type(checked["maxiter"]) is int


def test_arrays_are_let_through_as_they_are():
    assert minimize(fun, np.zeros(1), method="BFGS", options={"hess_inv0": np.array([[0.5]])}).success
    assert minimize(fun, np.zeros(1), method="Powell", options={"direc": np.array([[1.0]])}).success
    assert minimize(fun, np.zeros(2), method="TNC", options={"scale": [1.0, 2.0], "maxCGit": -1}).success


def test_tncs_own_minus_one_is_let_through():
    assert minimize(fun, np.zeros(2), method="TNC", options={"gtol": -1, "ftol": -1}).success


def test_every_option_that_is_checked_is_one_of_a_methods():
    known = {option for ability in SCIPY_METHODS.values() for option in ability["options"]}
    assert set(KINDS) - known == {"disp"}


@pytest.mark.parametrize("method", [name for name, ability in SCIPY_METHODS.items() if ability.get("bounds")])
def test_where_every_variable_is_fixed_the_answer_is_there(method):
    result = minimize(fun, np.array([0.5, 2.0]), method=method, bounds=[(0.5, 0.5), (2.0, 2.0)])
    assert result.success
    assert (result.x == [0.5, 2.0]).all()
    assert (result.fun, result.nfev) == (1.25, 1)


@pytest.mark.parametrize("method", [name for name, ability in SCIPY_METHODS.items() if ability.get("constraints")])
@pytest.mark.parametrize("most", [3.0, 2.0])
def test_where_every_variable_is_fixed_constraints_hold_or_not(method, most):
    constraint = NonlinearConstraint(np.sum, -np.inf, most)
    result = minimize(fun, np.array([0.5, 2.0]), method=method, bounds=[(0.5, 0.5), (2, 2)], constraints=constraint)
    assert result.success is (most == 3.0)
    assert ("does not hold" in result.message) is (most == 2.0)
    assert (result.x == [0.5, 2.0]).all()


LINEAR = LinearConstraint(np.ones((1, 3)), 1.0, np.inf)
NONLINEAR = NonlinearConstraint(lambda x: x[0] + x[1] + x[2], 1.0, np.inf)
AS_A_DICT = {"type": "ineq", "fun": lambda x: np.sum(x) - 1.0}


@pytest.mark.parametrize("method", [name for name, ability in SCIPY_METHODS.items() if ability.get("constraints")])
@pytest.mark.parametrize("constraint", [LINEAR, NONLINEAR, AS_A_DICT], ids=["linear", "nonlinear", "dict"])
@pytest.mark.filterwarnings("ignore:trust-constr. Singular Jacobian matrix:UserWarning")
def test_constraints_see_all_variables_where_one_is_fixed(method, constraint):
    seen = []
    result = minimize(
        lambda x: np.sum((x + 1.0) ** 2),
        np.array([0.5, 0.0, 0.0]),
        method=method,
        bounds=[(0.5, 0.5), (-5, 5), (-5, 5)],
        constraints=constraint,
        callback=lambda x: seen.append(x.shape),
    )
    np.testing.assert_allclose(result.x, [0.5, 0.25, 0.25], atol=1e-4)
    assert set(seen) <= {(3,)}


def test_a_complex_value_at_a_real_point_is_refused():
    with pytest.raises(ObjectiveError, match="complex number 1j at a real point"):
        minimize(lambda x: 1j, np.zeros(2), jac="cs")


def test_a_method_that_breaks_off_in_scipy_loses_nothing(monkeypatch):
    real = scipy.optimize.minimize

    def breaks_off(fun, x0, **named):
        real(fun, x0, **{**named, "options": {"maxiter": 1}})
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(scipy.optimize, "minimize", breaks_off)
    result = minimize(fun, np.zeros(2), method="BFGS")
    assert not result.success
    assert result.message.startswith("BFGS broke off in SciPy: LinAlgError: Singular matrix")
    assert result.fun < fun(np.zeros(2))


def test_a_method_that_cannot_begin_says_why(monkeypatch):
    def refuses(*given, **named):
        raise ValueError("no such thing")

    monkeypatch.setattr(scipy.optimize, "minimize", refuses)
    with pytest.raises(MethodError, match=r"BFGS does not work with these .*ValueError: no such thing") as caught:
        minimize(fun, np.zeros(2), method="BFGS")
    assert isinstance(caught.value.__cause__, ValueError)


def test_what_fun_raises_still_passes_through():
    def raises(x):
        return np.linalg.inv(np.zeros((2, 2)))[0, 0] if x.any() else {}[3]

    with pytest.raises(KeyError):
        minimize(raises, np.zeros(2), method="BFGS")
