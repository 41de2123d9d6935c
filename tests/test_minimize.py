"""The one entry: its arguments, what it refuses before any evaluation, how a run may end."""

import inspect
import math
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import scipy.optimize

from dmin_core import (
    InputError,
    Interrupted,
    MethodError,
    NotSupportedYet,
    ObjectiveError,
    UnknownBackendError,
    minimize,
    with_backend,
)
from dmin_core.solvers import EMBEDDED, able

X0 = {"a": np.zeros(2), "b": np.array(0.5)}


def fun(p):
    return np.sum((p["a"] - 1.0) ** 2 + (p["a"] - 1.0) ** 4) + (p["b"] + 2.0) ** 2


def jac(p):
    return {"a": 2.0 * (p["a"] - 1.0) + 4.0 * (p["a"] - 1.0) ** 3, "b": 2.0 * (p["b"] + 2.0)}


def both(p):
    return fun(p), jac(p)


def never(*args):
    raise AssertionError("evaluated")


def assert_minimum(result, atol=1e-3):
    np.testing.assert_allclose(result.x["a"], 1.0, atol=atol)
    np.testing.assert_allclose(result.x["b"], -2.0, atol=atol)
    assert result.fun < atol


# Arguments ------------------------------------------------------------------------------------------------


def test_the_signature_begins_as_scipys():
    ours, theirs = (list(inspect.signature(f).parameters) for f in (minimize, scipy.optimize.minimize))
    assert ours[: len(theirs)] == theirs
    parameters = inspect.signature(minimize).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters)[len(theirs) :])


@pytest.mark.parametrize("method", EMBEDDED)
def test_every_method_finds_the_minimum(method):
    result = minimize(fun, X0, method=method)
    assert result.success, result.message
    assert_minimum(result)


def test_the_method_is_l_bfgs_b_unless_another_is_asked_for():
    assert minimize(fun, X0).method == "L-BFGS-B"
    assert minimize(fun, X0, bounds=(-9, 9)).method == "L-BFGS-B"


@pytest.mark.parametrize(
    ("args", "expected"),
    [((2.0, 3.0), 5.0), ([2.0, 3.0], 5.0), (5.0, 5.0), ((), 0.0), (None, 0.0)],
    ids=["tuple", "a list is one argument", "a number is one argument", "none", "None is one argument"],
)
def test_args(args, expected):
    def shifted(x, *rest):
        target = np.sum([np.sum(r) for r in rest if r is not None])
        return (x - target) ** 2

    assert minimize(shifted, 1.0, args=args).x == pytest.approx(expected, abs=1e-5)


def test_args_reach_every_function_of_the_user():
    def called(value):
        return lambda x, *rest: value(x) if rest[-2:] == ("one", "two") else never()

    result = minimize(
        called(lambda x: np.sum((x - 1.0) ** 2)),
        np.zeros(2),
        args=("one", "two"),
        method="trust-ncg",
        jac=called(lambda x: 2.0 * (x - 1.0)),
        hessp=lambda x, p, *rest: 2.0 * p if rest == ("one", "two") else never(),
    )
    np.testing.assert_allclose(result.x, 1.0)
    assert result.nhev > 0


def test_arguments_may_be_arrays_and_are_not_optimised():
    data = np.arange(3.0)
    result = minimize(lambda x, d: np.sum((x - d) ** 2), np.ones(3), args=(data,))
    np.testing.assert_allclose(result.x, data, atol=1e-5)
    np.testing.assert_array_equal(data, np.arange(3.0))


@pytest.mark.parametrize(
    ("objective", "derivative"),
    [(fun, None), (fun, False), (both, True), (fun, jac), (fun, "2-point"), (fun, "3-point"), (fun, "cs")],
    ids=["None", "False", "True", "callable", "2-point", "3-point", "cs"],
)
def test_forms_of_jac(objective, derivative):
    assert_minimum(minimize(objective, X0, jac=derivative), atol=1e-4)


def test_a_dict_is_a_gradient_where_x0_is_an_ordered_dict():
    x0 = OrderedDict(b=X0["b"], a=X0["a"])
    result = minimize(both, x0, jac=True)
    assert_minimum(result)
    assert list(result.x) == ["b", "a"]


@pytest.mark.parametrize("method", able("hess"))
@pytest.mark.parametrize("form", ["flat", "blocks"])
def test_forms_of_hess(method, form):
    def flat(p):
        return np.diag([*(2.0 + 12.0 * (p["a"] - 1.0) ** 2), 2.0])

    def blocks(p):
        matrix = flat(p)
        return {"a": {"a": matrix[:2, :2], "b": matrix[:2, 2]}, "b": {"a": matrix[2, :2], "b": matrix[2, 2]}}

    hess = {"flat": flat, "blocks": blocks}[form]
    assert_minimum(minimize(fun, X0, jac=jac, method=method, hess=hess))


@pytest.mark.parametrize("method", able("hess"))
def test_hessp_takes_and_returns_nests(method):
    def hessp(p, v):
        return {"a": (2.0 + 12.0 * (p["a"] - 1.0) ** 2) * v["a"], "b": 2.0 * v["b"]}

    assert_minimum(minimize(fun, X0, jac=jac, method=method, hessp=hessp))


@pytest.mark.parametrize("method", EMBEDDED)
def test_tol_is_the_methods(method):
    gradient = jac if EMBEDDED[method].get("gradient") else None
    loose, tight = (minimize(fun, X0, method=method, tol=tol, jac=gradient) for tol in (1e-1, 1e-6))
    assert loose.nfev <= tight.nfev
    assert_minimum(tight)


@pytest.mark.parametrize("relative", [True, False])
def test_steps_of_differences_are_options(relative):
    seen = []

    def watched(x):
        seen.append(x[0])
        return x[0] ** 2

    option = {"finite_diff_rel_step": 0.25} if relative else {"eps": 0.25}
    minimize(watched, np.array([2.0]), method="L-BFGS-B", options={**option, "maxiter": 1, "maxls": 1})
    assert seen[1] == (2.5 if relative else 2.25)


def test_steps_of_differences_must_fit_the_variables():
    for option in ("eps", "finite_diff_rel_step"):
        with pytest.raises(InputError, match=option):
            minimize(never, X0, options={option: np.full(7, 1e-6)})


def test_options_are_not_modified():
    options = {"maxiter": 3, "maxfun": 100, "disp": False, "gtol": 1e-3}
    minimize(fun, X0, options=options)
    assert options == {"maxiter": 3, "maxfun": 100, "disp": False, "gtol": 1e-3}


def test_x0_is_not_modified():
    x0 = {"a": np.zeros(2), "b": np.array(0.5)}
    result = minimize(fun, x0)
    np.testing.assert_array_equal(x0["a"], 0.0)
    assert not np.shares_memory(result.x["a"], x0["a"])


def test_float32_leaves_stay_float32_inside_fun():
    def watched(x):
        assert x.dtype == np.float32
        return np.sum((x - 1) ** 2)

    result = minimize(watched, np.zeros(3, np.float32))
    assert result.x.dtype == np.float32
    np.testing.assert_allclose(result.x, 1.0, atol=10 * np.finfo(np.float32).eps ** 0.5)


def test_mixed_dtypes_and_static_leaves():
    x0 = {"w": np.zeros(2, np.float32), "b": 0.5, "act": "square", "none": None}

    def objective(p):
        assert (p["act"], p["none"]) == ("square", None)
        return float(np.sum((p["w"] - 1) ** 2)) + (p["b"] - 3) ** 2

    x = minimize(objective, x0).x
    assert (x["w"].dtype, x["act"], x["none"], list(x)) == (np.float32, "square", None, list(x0))
    assert x["b"] == pytest.approx(3.0, abs=1e-4)


def test_with_backend_gives_the_backend():
    bound = with_backend("numpy")
    assert "backend" not in inspect.signature(bound).parameters
    assert_minimum(bound(fun, X0, method="BFGS"))
    with pytest.raises(TypeError):
        bound(fun, X0, backend="torch")


# Bad input, before any evaluation -------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [None, 3, "fun"])
def test_fun_must_be_callable(bad):
    with pytest.raises(InputError, match="`fun` must be callable"):
        minimize(bad, X0)


@pytest.mark.parametrize("bad", [0, 3, "print"])
@pytest.mark.parametrize("name", ["callback", "hessp"])
def test_callback_and_hessp_must_be_callable(name, bad):
    with pytest.raises(InputError, match=f"`{name}` must be callable"):
        minimize(never, X0, method="trust-ncg", **{name: bad})


@pytest.mark.parametrize("bad", [3, "4-point", [1.0], np.zeros(2)], ids=str)
def test_jac_must_be_one_of_its_forms(bad):
    with pytest.raises(
        InputError, match="jac must be None, True, a callable or one of '2-point', '3-point', 'cs'; not "
    ):
        minimize(never, X0, jac=bad)


@pytest.mark.parametrize("bad", [3, "4-point", np.eye(3)], ids=str)
@pytest.mark.parametrize("method", ["trust-constr", "trust-exact"])
def test_hess_must_be_one_of_its_forms(bad, method):
    with pytest.raises(InputError, match="hess"):
        minimize(never, X0, method=method, hess=bad)


@pytest.mark.parametrize("bad", [3, b"BFGS", ["BFGS"]])
def test_method_must_be_a_name_or_a_callable(bad):
    with pytest.raises(MethodError, match="method must be a name or a callable"):
        minimize(never, X0, method=bad)


def test_an_unknown_method_is_told_the_nearest():
    with pytest.raises(MethodError, match=r"Unknown method 'LBFGS'. Did you mean .*'L-BFGS-B'"):
        minimize(never, X0, method="LBFGS")


@pytest.mark.parametrize("method", EMBEDDED)
def test_an_unknown_option_is_told_the_methods_own(method):
    with pytest.raises(
        MethodError, match=f"{method} has no option 'learning_rate'. Its options are .*; every method also"
    ):
        minimize(never, X0, method=method, options={"learning_rate": 0.1})


@pytest.mark.parametrize(
    ("method", "option"),
    [("Nelder-Mead", "bounds"), ("Powell", "callback"), ("Powell", "fun"), ("trust-constr", "nit"), ("SLSQP", "res")],
)
def test_what_scipys_text_names_beside_the_options_is_no_option(method, option):
    with pytest.raises(MethodError, match=f"{method} has no option '{option}'"):
        minimize(never, X0, method=method, options={option: None})


@pytest.mark.parametrize("bad", [3, ["maxiter"], "maxiter"])
def test_options_must_be_a_dict(bad):
    with pytest.raises(InputError, match="options must be a dict"):
        minimize(never, X0, options=bad)


def test_an_option_is_named_by_a_string():
    with pytest.raises(MethodError, match="L-BFGS-B has no option 3"):
        minimize(never, X0, options={3: 4})


@pytest.mark.parametrize(("name", "bad"), [("maxfun", 0), ("maxfun", "9"), ("maxtime", -1.0), ("maxtime", math.nan)])
def test_limits_must_be_numbers(name, bad):
    with pytest.raises(InputError, match=rf"options\['{name}'\] must be a number of at least"):
        minimize(never, X0, options={name: bad})


def test_evaluations_are_whole():
    with pytest.raises(InputError, match=r"options\['maxfun'\] must be a whole number or infinite, not 1\.5"):
        minimize(never, X0, options={"maxfun": 1.5})
    assert minimize(lambda p: sum(map(np.sum, (v**2 for v in p.values()))), X0, options={"maxfun": math.inf}).success


@pytest.mark.parametrize("method", [m for m in EMBEDDED if m not in able("bounds")])
def test_bounds_are_refused_where_the_method_cannot_keep_to_them(method):
    with pytest.raises(
        MethodError, match=f"{method} cannot keep to bounds. Methods that can: .*L-BFGS-B.*trust-constr"
    ):
        minimize(never, X0, method=method, bounds=(0, 1))


def test_crossed_bounds_name_the_leaf():
    with pytest.raises(InputError, match=r"No number lies within the bounds of x0\['a'\]\[1\]: 2 to 1"):
        minimize(never, X0, bounds=({"a": np.array([0.0, 2.0]), "b": None}, 1.0))


def test_a_wrong_nest_of_bounds_names_the_leaf():
    with pytest.raises(InputError, match=r"x0\['b'\] has no counterpart"):
        minimize(never, X0, bounds=({"a": 0.0}, None))


@pytest.mark.parametrize(
    ("x0", "says"),
    [
        (None, "x0 holds no leaf to optimise: x0 is None"),
        ({}, "x0 holds no leaf"),
        ({"a": np.zeros(0)}, r"no numbers to optimise: x0\['a'\] is empty"),
        ({"a": np.arange(3)}, r"x0\['a'\] has dtype int64"),
        ([1, 2], r"x0\[0\] is the integer 1"),
        ({"a": np.zeros(2, complex)}, r"x0\['a'\] has dtype complex128.*two leaves"),
        ({"a": np.array([[0.0, math.nan]])}, r"x0\['a'\]\[0, 1\] is nan"),
        ({"a": -math.inf}, r"x0\['a'\] is -inf"),
    ],
    ids=["None", "nothing", "empty", "integers", "Python integers", "complex", "nan", "inf"],
)
def test_a_start_that_cannot_be_optimised_is_named(x0, says):
    with pytest.raises(InputError, match=says):
        minimize(never, x0)


def test_an_unknown_backend_lists_the_installed_ones():
    with pytest.raises(UnknownBackendError, match=r"'abacus'; installed backends are .*numpy"):
        minimize(never, X0, backend="abacus")


@pytest.mark.parametrize(
    "argument",
    [
        {"compile": True},
    ],
    ids=lambda argument: next(iter(argument)),
)
def test_what_is_not_in_this_version_says_so(argument):
    with pytest.raises(NotSupportedYet, match=f"{next(iter(argument))}"):
        minimize(never, X0, **argument)


@pytest.mark.parametrize("empty", [(), [], None])
def test_no_constraints_are_no_constraints(empty):
    assert_minimum(minimize(fun, X0, constraints=empty))


@pytest.mark.parametrize("eager", [None, False])
def test_compile_may_be_left_out_or_off(eager):
    assert_minimum(minimize(fun, X0, compile=eager))


def test_compile_must_be_one_of_three():
    with pytest.raises(InputError, match="compile must be None, True or False"):
        minimize(never, X0, compile="yes")


# Bad input, at the first evaluation -----------------------------------------------------------------------


@pytest.mark.parametrize("method", EMBEDDED)
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "returned None"),
        (np.zeros(2), r"returned shape \(2,\)"),
        ((1.0, X0), "returned a tuple of 2; .*jac=True"),
        (math.nan, "is nan at the start"),
        (math.inf, "is inf at the start"),
        (1j, "complex"),
        (np.complex128(1.0), "complex"),
    ],
    ids=["None", "vector", "pair", "nan", "inf", "complex", "NumPy's complex"],
)
def test_a_value_that_cannot_be_minimised_is_refused_at_once(method, value, says):
    calls = []

    def bad(p):
        calls.append(None)
        return value

    with pytest.raises(ObjectiveError, match=says):
        minimize(bad, X0, method=method)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("gradient", "says"),
    [
        ({"a": np.zeros(2)}, r"gradient from `fun` is not nested as x0 is: x0\['b'\]"),
        ({"a": np.zeros(3), "b": 0.0}, r"gradient from `fun` has shape \(3,\) at x0\['a'\]"),
        ({"a": None, "b": 0.0}, r"gradient from `fun` is None at x0\['a'\]"),
        (np.zeros(3), "gradient from `fun` is not nested as x0 is"),
        ({"a": np.array([0.0, math.nan]), "b": 0.0}, r"at the start is nan at x0\['a'\]\[1\]"),
        ({"a": np.zeros(2) + 1j, "b": 0.0}, r"complex"),
    ],
    ids=["nest", "shape", "None", "flat", "nan", "complex"],
)
@pytest.mark.parametrize("form", ["True", "callable"])
def test_a_gradient_that_does_not_fit_is_named(gradient, says, form):
    if form == "callable":
        arguments, says = (fun, lambda p: gradient), says.replace("from `fun`", "from `jac`")
    else:
        arguments = (lambda p: (fun(p), gradient), True)
    with pytest.raises(ObjectiveError, match=says):
        minimize(arguments[0], X0, jac=arguments[1])


@pytest.mark.parametrize("returned", [1.0, None, (1.0, 2.0, 3.0), np.zeros(3)], ids=str)
def test_jac_true_wants_a_pair(returned):
    with pytest.raises(ObjectiveError, match=r"With jac=True `fun` must return \(value, gradient\)"):
        minimize(lambda p: returned, X0, jac=True)


@pytest.mark.parametrize(("product", "says"), [(None, "`hessp`"), ({"a": np.zeros(2)}, r"`hessp`.*x0\['b'\]")])
def test_a_product_that_does_not_fit_is_named(product, says):
    with pytest.raises(ObjectiveError, match=says):
        minimize(fun, X0, jac=jac, hessp=lambda p, v: product, method="trust-ncg")


@pytest.mark.parametrize("matrix", [None, np.eye(2), np.zeros(3)], ids=str)
def test_a_hessian_that_does_not_fit_is_named(matrix):
    with pytest.raises(ObjectiveError, match="`hess`"):
        minimize(fun, X0, jac=jac, hess=lambda p: matrix, method="trust-exact")


# Warnings, once -------------------------------------------------------------------------------------------


def warnings_of(*args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        minimize(*args, **kwargs)
    assert {warning.filename for warning in caught} <= {__file__}
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("method", able("gradient"))
def test_a_leaf_without_influence_is_named_once(method):
    (message,) = warnings_of(
        lambda p: fun(p), {**X0, "idle": np.ones(2)}, method=method if method != "dogleg" else "CG"
    )
    assert "x0['idle'] is exactly zero" in message


def test_a_leaf_fixed_by_its_bounds_is_not_said_to_lack_influence():
    assert warnings_of(fun, X0, bounds={"b": (0.5, 0.5)}) == []


def test_a_start_out_of_bounds_is_moved_with_one_warning():
    (message,) = warnings_of(fun, X0, bounds={"b": (1.0, 2.0)})
    assert message.startswith("x0 lies outside its bounds and was moved onto them: x0['b'] from 0.5 to 1")


@pytest.mark.parametrize(
    ("method", "given", "named"),
    [
        ("Nelder-Mead", {"jac": jac}, "jac"),
        ("BFGS", {"jac": jac, "hess": never}, "hess"),
        ("L-BFGS-B", {"jac": jac, "hessp": never, "hess": never}, "hess and hessp"),
    ],
)
def test_what_a_method_makes_no_use_of_is_named_once(method, given, named):
    assert warnings_of(fun, X0, method=method, **given) == [f"{method} makes no use of {named}."]


def test_a_plain_run_warns_of_nothing():
    for method in EMBEDDED:
        assert warnings_of(fun, X0, method=method) == []


# How a run may end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 4, np.int64(5), 6.0])
@pytest.mark.parametrize("method", EMBEDDED)
def test_maxfun_is_never_exceeded(method, limit):
    calls = []
    result = minimize(lambda p: calls.append(None) or fun(p), X0, method=method, options={"maxfun": limit})
    assert len(calls) == result.nfev <= limit
    assert not result.success
    assert result.fun == min(result.history.fun) <= fun(X0)
    assert result.fun == pytest.approx(fun(result.x))


@pytest.mark.parametrize("method", EMBEDDED)
def test_no_limit_is_infinity(method):
    assert_minimum(minimize(fun, X0, method=method, options={"maxfun": math.inf, "maxtime": math.inf}))
    assert_minimum(minimize(fun, X0, method=method, options={"maxfun": None, "maxtime": None}))


@pytest.mark.parametrize("method", EMBEDDED)
def test_maxtime_stops(method):
    result = minimize(fun, X0, method=method, options={"maxtime": 0})
    assert (result.nfev, result.success) == (0, False)
    assert "limit of 0 seconds (maxtime)" in result.message
    np.testing.assert_array_equal(result.x["a"], X0["a"])
    assert math.isnan(result.fun)


def test_maxtime_stops_a_slow_objective_soon():
    import time

    def slow(p):
        time.sleep(0.02)
        return fun(p)

    result = minimize(slow, X0, method="Nelder-Mead", options={"maxtime": 0.1})
    assert 1 <= result.nfev <= 6
    assert result.fun <= fun(X0)


@pytest.mark.parametrize("method", EMBEDDED)
def test_disp_prints_one_summary(method, capsys):
    result = minimize(fun, X0, method=method, options={"disp": True})
    assert capsys.readouterr().out == result.summary() + "\n"


@pytest.mark.parametrize("method", EMBEDDED)
def test_without_disp_nothing_is_printed(method, capfd):
    minimize(fun, X0, method=method)
    minimize(fun, X0, method=method, options={"disp": False})
    assert capfd.readouterr() == ("", "")


class Fails:
    """`fun` that raises at its n-th evaluation."""

    def __init__(self, error, at):
        self.error, self.at, self.count = error, at, 0

    def __call__(self, p):
        self.count += 1
        if self.count == self.at:
            raise self.error
        return fun(p)


class Mine(Exception):
    """The user's own."""


@pytest.mark.parametrize(
    "error", [Mine("why"), StopIteration("why"), AssertionError("why"), ValueError("why")], ids=repr
)
@pytest.mark.parametrize("method", EMBEDDED)
def test_an_exception_in_fun_passes_through_with_a_note(method, error):
    error = type(error)(*error.args)
    with pytest.raises(type(error)) as caught:
        minimize(Fails(error, at=3), X0, method=method)
    assert caught.value is error
    assert caught.value.__cause__ is None
    if hasattr(error, "__notes__"):
        (note,) = error.__notes__
        assert f"raised in {method} at evaluation 3 of `fun`; the best value so far is " in note


def test_an_exception_at_the_first_evaluation_has_no_best_value():
    error = Mine("why")
    with pytest.raises(Mine):
        minimize(Fails(error, at=1), X0)
    assert getattr(error, "__notes__", ["evaluation 1 of `fun`."])[0].endswith("evaluation 1 of `fun`.")


@pytest.mark.parametrize("method", EMBEDDED)
def test_ctrl_c_raises_interrupted_with_what_was_found(method):
    with pytest.raises(KeyboardInterrupt) as caught:
        minimize(Fails(KeyboardInterrupt(), at=5), X0, method=method)
    assert type(caught.value) is Interrupted
    result = caught.value.result
    assert (result.nfev, result.success) == (5, False)
    assert "Ctrl-C" in result.message
    assert result.fun == min(result.history.fun) <= fun(X0)
    assert result.fun == pytest.approx(fun(result.x))


def test_ctrl_c_before_any_value_gives_the_start():
    with pytest.raises(Interrupted) as caught:
        minimize(Fails(KeyboardInterrupt(), at=1), X0)
    np.testing.assert_array_equal(caught.value.result.x["a"], X0["a"])
    assert math.isnan(caught.value.result.fun)


def test_ctrl_c_in_a_callback_is_ctrl_c():
    def interrupt(x):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        minimize(fun, X0, callback=interrupt)
    assert caught.value.result.nit == 1


@pytest.mark.parametrize("method", EMBEDDED)
def test_the_answer_is_finite_however_the_objective_behaves(method):
    """A quadratic that is nan a little beyond its minimum."""

    def edge(p):
        return np.sum((p["w"] - 1.0) ** 2) if (p["w"] <= 1.2).all() else math.nan

    result = minimize(edge, {"w": np.array([0.0, -3.0])}, method=method, options={"maxfun": 2_000})
    assert math.isfinite(result.fun)
    assert result.fun == edge(result.x) <= edge({"w": np.array([0.0, -3.0])})
    assert np.isfinite(result.x["w"]).all()


def test_a_minimize_within_fun_is_another_run():
    def outer(x):
        inner = minimize(lambda y: (y - x) ** 2 + y**2, 0.5)
        return inner.fun + (x - 1.0) ** 2

    result = minimize(outer, 2.0, method="Nelder-Mead")
    assert result.x == pytest.approx(2.0 / 3.0, abs=1e-3)


def test_runs_are_deterministic():
    first, second = (minimize(fun, X0) for _ in range(2))
    np.testing.assert_array_equal(first.x["a"], second.x["a"])
    np.testing.assert_array_equal(first.history.fun, second.history.fun)


def test_ten_thousand_leaves_are_minimised():
    x0 = {f"leaf{i}": float(i % 7) for i in range(10_000)}

    def objective(p):
        return sum((v - 3.0) ** 2 for v in p.values())

    result = minimize(objective, x0, jac=lambda p: {k: 2.0 * (v - 3.0) + 1e-30 for k, v in p.items()})
    assert max(abs(v - 3.0) for v in result.x.values()) < 1e-5
    assert list(result.x) == list(x0)


# Where torch is installed ----------------------------------------------------------------------------------


class TestWithTorch:
    @pytest.fixture
    def torch(self):
        pytest.importorskip("dmin_torch", reason="dmin-torch is not installed")
        return pytest.importorskip("torch", reason="torch is not installed")

    def test_leaves_of_two_frameworks_are_both_named(self, torch):
        with pytest.raises(InputError, match=r"x0\['a'\] is a numpy.ndarray and x0\['b'\] is a torch.Tensor.*'torch'"):
            minimize(never, {"a": np.zeros(2), "b": torch.zeros(2)})

    def test_leaves_on_two_devices_are_both_named(self, torch):
        with pytest.raises(InputError, match=r"x0\['a'\] is on cpu and x0\['b'\] is on meta. Move them"):
            minimize(never, {"a": torch.zeros(2), "b": torch.zeros(2, device="meta")})

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            (lambda x: x.sum().item(), "which torch cannot differentiate.*jac=True"),
            (lambda x: x.detach().numpy().sum(), "which torch cannot differentiate"),
            (lambda x: None, "returned None"),
            (lambda x: x, r"returned shape \(2,\)"),
            (lambda x: (x.sum(), x), "returned a tuple of 2; .*jac=True"),
            (lambda x: x.sum() + 0j, "complex"),
            (lambda x: x.sum().long(), "torch.int64"),
            (lambda x: x.sum() / 0.0, "is (nan|inf) at the start"),
            (lambda x: x.sum().sqrt(), "gradient of `fun` at the start is inf"),
        ],
        ids=["item", "numpy", "None", "vector", "pair", "complex", "integer", "infinite", "infinite gradient"],
    )
    def test_what_cannot_be_differentiated_is_refused(self, torch, value, says):
        with pytest.raises(ObjectiveError, match=says):
            minimize(value, torch.zeros(2))

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("scheme", ["2-point", "3-point"])
    def test_differences_where_asked_for(self, torch, scheme, dtype):
        def bowl(x):
            return ((x - 1.0) ** 2).sum()

        x = minimize(bowl, torch.zeros(2, dtype=getattr(torch, dtype)), jac=scheme).x
        np.testing.assert_allclose(x, 1.0, atol=10 * np.finfo(dtype).eps ** 0.5)

    def test_a_complex_step_is_refused(self, torch):
        with pytest.raises(InputError, match="jac='cs' makes the leaves complex"):
            minimize(never, torch.zeros(2), jac="cs")

    def test_a_detached_leaf_is_named_in_one_warning(self, torch):
        def cut(p):
            return ((p["a"] - 1.0) ** 2).sum() + (p["b"].detach() ** 2).sum()

        with pytest.warns(RuntimeWarning, match=r"respect to x0\['b'\] is exactly zero.*detached") as caught:
            minimize(cut, {"a": torch.zeros(2), "b": torch.ones(1)})
        assert len(caught) == 1

    def test_a_gradient_of_none_is_named(self, torch):
        def pair(p):
            return (p["a"] ** 2).sum(), {"a": 2.0 * p["a"], "b": None}

        with pytest.raises(ObjectiveError, match=r"is None at x0\['b'\].*zeros of shape \(1,\)"):
            minimize(pair, {"a": torch.ones(2), "b": torch.ones(1)}, jac=True)

    def test_an_example_for_the_migration_of_scipys_callers(self, torch):
        """SciPy's own signature, a list of pairs for bounds, tensors throughout."""
        result = minimize(
            lambda x, a: ((x - a) ** 2).sum(), torch.zeros(2), (2.0,), "SLSQP", bounds=[(0, 1), (None, 5)]
        )
        np.testing.assert_allclose(result.x, [1.0, 2.0], atol=1e-5)
