"""The table of methods against the SciPy that is installed."""

import inspect
import re
import textwrap

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize
from scipy.optimize import show_options

from dmin_core import Method, MethodError, methods
from dmin_core.solvers import COMMON_OPTIONS, EMBEDDED, SCIPY_METHODS, able, describe

LEFT_OUT = {
    # dmin does these alike for all methods.
    "disp": "printed by dmin",
    "maxfun": "counted by dmin",
    # Parameters and results that SciPy's text describes beside the options.
    "bounds": "an argument of minimize",
    "workers": "differences are dmin's own",
}

UNDOCUMENTED = {
    # Taken by SciPy's functions though their texts do not say so.
    "Newton-CG": {"finite_diff_rel_step"},
    "TNC": {"mesg_num"},
    "SLSQP": {"iprint"},
    "trust-constr": {"eps"},
    "dogleg": {"maxiter", "return_all"},
    "trust-ncg": {"maxiter", "return_all"},
    "trust-exact": {"maxiter", "return_all"},
    "trust-krylov": {"maxiter", "return_all", "gtol", "eta", "initial_trust_radius", "max_trust_radius"},
}

# Options that came with a later SciPy than the oldest one that dmin runs with.
LATER = {"c1", "c2", "hess_inv0", "subproblem_maxiter", "xrtol", "f_target", "catol", "adaptive", "inexact"}


# Options that a newer SciPy no longer has, and dmin has never passed on.
GONE = {"L-BFGS-B": {"iprint"}}


def documented(method):
    """Names in the section of SciPy's text that lists options: the one so called, else the parameters."""
    text = inspect.cleandoc(show_options("minimize", method, disp=False))
    head = "Options\n-------\n" if "Options\n-------\n" in text else "Parameters\n----------\n"
    section = re.split(r"\n\w+\n-{3,}\n", text.partition(head)[2])[0]
    names = re.findall(r"^(\w+(?:, \w+)*) ?: ", textwrap.dedent(section), re.M)
    return {name for group in names for name in group.split(", ")}


@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_each_option_that_scipy_documents_is_in_the_table(method):
    found = documented(method)
    assert found, "SciPy's text has changed its form"
    assert found - set(SCIPY_METHODS[method]["options"]) - set(LEFT_OUT) == set()


@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_each_option_in_the_table_is_one_that_scipy_documents(method):
    beyond = set(SCIPY_METHODS[method]["options"]) - documented(method)
    assert beyond - LATER - GONE.get(method, set()) <= UNDOCUMENTED.get(method, set())


@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_no_option_is_listed_twice(method):
    options = [*SCIPY_METHODS[method]["options"], *COMMON_OPTIONS]
    assert len(options) == len(set(options))


def test_the_methods_are_those_of_scipy():
    text = scipy_minimize.__doc__
    listed = re.findall(r"^\s+- '([\w-]+)'", text.partition("method : ")[2].partition("jac : ")[0], re.M)
    assert sorted(SCIPY_METHODS) == sorted(name for name in listed if name != "custom")


@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_methods_that_cannot_keep_to_bounds_are_those_that_scipy_warns_of(method):
    fun, jac, hess = (lambda x: x @ x), (lambda x: 2 * x), (lambda x: 2 * np.eye(2))
    derivatives = {"jac": jac, "hess": hess} if SCIPY_METHODS[method].get("needs_hessian") else {}
    if not derivatives and SCIPY_METHODS[method].get("gradient"):
        derivatives = {"jac": jac}
    warned = False
    try:
        scipy_minimize(fun, np.full(2, 0.5), method=method, bounds=[(-1, 1)] * 2, **derivatives)
    except RuntimeWarning as warning:
        warned = "cannot handle" in str(warning)
    except UserWarning:  # trust-constr, of a quadratic
        pass
    assert warned is not bool(SCIPY_METHODS[method].get("bounds"))


def test_methods_are_listed_with_scipys_first():
    table = methods()
    assert list(table)[: len(SCIPY_METHODS)] == list(SCIPY_METHODS)
    assert all(isinstance(method, Method) and method.error is None for method in list(table.values())[:15])


@pytest.mark.parametrize("name", ["l-bfgs-b", "L-BFGS-B", "L-bfgs-B"])
def test_case_does_not_matter(name):
    assert describe(name).name == "L-BFGS-B"


@pytest.mark.parametrize(
    ("name", "near"),
    [("lbfgs", "L-BFGS-B"), ("neldermead", "Nelder-Mead"), ("newton", "Newton-CG"), ("trust_ncg", "trust-ncg")],
)
def test_an_unknown_method_is_told_the_nearest_names(name, near):
    with pytest.raises(
        MethodError, match=f"Unknown method '{name}'. Did you mean .*'{near}'.*Methods are Nelder-Mead, "
    ):
        describe(name)


def test_a_name_like_none_is_told_all():
    with pytest.raises(MethodError, match=r"Unknown method 'zzz'. Methods are Nelder-Mead, .*, trust-exact"):
        describe("zzz")


def test_abilities_select_methods():
    assert able("hess", "bounds") == ["trust-constr", "device-newton-cg"]
    assert able("needs_hessian", "bounds") == ["device-newton-cg"]
    assert able("needs_hessian")[:5] == ["Newton-CG", "dogleg", "trust-ncg", "trust-krylov", "trust-exact"]
    assert able() == list(EMBEDDED)
