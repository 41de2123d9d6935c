"""`has_aux=True`: whose aux is handed out, in what form, at what cost, and what `fun` may return.

What every backend must do of it is in the conformance kit; here is what is the core's.
"""

import dataclasses
import weakref

import numpy as np
import pytest

from dmin_core import InputError, Interrupted, ObjectiveError, get_backend, methods, minimize
from dmin_core._defaults import Defaults
from dmin_core._problem import Problem
from dmin_core._tree import Tree

pytestmark = pytest.mark.numpy

X0 = {"a": np.array([-1.2, 1.0]), "b": np.array(0.5)}
METHODS = [name for name, method in methods().items() if method.error is None]


def value(p):
    return 100 * (p["a"][1] - p["a"][0] ** 2) ** 2 + (1 - p["a"][0]) ** 2 + (p["b"] + 2.0) ** 2


def gradient(p):
    x, y = p["a"]
    return {
        "a": np.array([-400 * x * (y - x**2) - 2 * (1 - x), 200 * (y - x**2)]),
        "b": 2 * (p["b"] + 2.0),
    }


def fun(p):
    return value(p), {"a": p["a"].copy(), "b": p["b"].copy()}


def name_of(jac):
    return getattr(jac, "__name__", str(jac))


def assert_belongs(aux, x):
    np.testing.assert_array_equal(aux["a"], x["a"])
    assert aux["b"] == x["b"]


# Whose aux it is -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:delta_grad == 0.0:UserWarning")
@pytest.mark.parametrize("limit", [3, 20, 10_000])
@pytest.mark.parametrize("method", METHODS)
def test_aux_is_of_the_evaluation_that_gave_the_answer(method, limit):
    res = minimize(fun, X0, method=method, has_aux=True, options={"maxfun": limit})

    assert_belongs(res.aux, res.x)
    assert value(res.aux) == res.fun


@pytest.mark.parametrize("jac", [None, gradient, "2-point", "3-point", "cs", True], ids=name_of)
def test_aux_goes_with_every_kind_of_gradient(jac):
    def both(p):
        return fun(p), gradient(p)

    def plain_both(p):
        return value(p), gradient(p)

    res = minimize(both if jac is True else fun, X0, jac=jac, has_aux=True)
    plain = minimize(plain_both if jac is True else value, X0, jac=jac)

    assert_belongs(res.aux, res.x)
    assert (res.nfev, res.njev, res.fun) == (plain.nfev, plain.njev, plain.fun)


def test_user_given_hessians_see_no_aux():
    def hessp(p, v):
        assert set(p) == set(v) == {"a", "b"}
        return {"a": 2 * v["a"], "b": 2 * v["b"]}

    def quadratic(p):
        return np.sum(p["a"] ** 2) + p["b"] ** 2, p["b"].copy()

    res = minimize(quadratic, X0, method="trust-ncg", hessp=hessp, has_aux=True)

    assert res.success
    assert res.aux == res.x["b"]


def test_interrupted_runs_hand_out_aux_too():
    calls = [0]

    def interrupted(p):
        calls[0] += 1
        if calls[0] == 9:
            raise KeyboardInterrupt
        return fun(p)

    with pytest.raises(Interrupted) as caught:
        minimize(interrupted, X0, method="Nelder-Mead", has_aux=True)

    assert_belongs(caught.value.result.aux, caught.value.result.x)


@pytest.mark.parametrize("method", ["L-BFGS-B", "Nelder-Mead", "TNC", "SLSQP", "trust-constr"])
def test_a_callback_sees_the_aux_of_its_point(method):
    seen = []

    def callback(intermediate_result):
        seen.append((intermediate_result.aux, intermediate_result.x))

    minimize(fun, X0, method=method, has_aux=True, callback=callback, options={"maxfun": 300})

    found = [(aux, x) for aux, x in seen if aux is not None]
    assert len(found) > len(seen) / 2
    for aux, x in found:
        assert_belongs(aux, x)


def test_runs_without_aux_have_none():
    seen = []

    def callback(intermediate_result):
        seen.append("aux" in intermediate_result)

    res = minimize(value, X0, callback=callback)

    assert "aux" not in res
    assert not any(seen)


def test_a_value_that_was_on_record_is_evaluated_once_more_for_its_aux():
    tree = Tree(X0, get_backend("numpy"))
    problem = Problem(tree, fun, tree.pack_x0(), has_aux=True)
    visit = problem._make_visit(problem.x0, float(value(X0)), None, True)  # as if it had not called `fun`
    assert problem.nfev == 0

    assert_belongs(problem.aux_of(visit), X0)
    assert_belongs(problem.aux_of(visit), X0)
    assert problem.nfev == 1


# What aux may be -----------------------------------------------------------------------------------------


@dataclasses.dataclass(eq=False)
class Report:
    residual: np.ndarray
    name: str

    def __eq__(self, other):  # the one that dataclasses make compares arrays by their truth value, from Python 3.13 on
        return np.array_equal(self.residual, other.residual) and self.name == other.name

    __hash__ = None


class Opaque:
    pass


@pytest.mark.parametrize(
    "aux",
    [
        None,
        3,
        np.arange(3),
        np.array("text"),
        (),
        {"none": None, "list": [1, "two", np.ones(2)], "tuple": ({},)},
        Report(np.ones(2), "name"),
        Opaque(),
        np.sum,
    ],
    ids=lambda aux: type(aux).__name__,
)
def test_aux_may_be_any_nest(aux):
    res = minimize(lambda p: (value(p), aux), X0, has_aux=True)

    assert type(res.aux) is type(aux)
    np.testing.assert_equal(res.aux, aux)
    if isinstance(aux, Opaque | np.ndarray):
        assert res.aux is aux


def test_only_the_best_aux_and_the_last_are_kept():
    kept = []

    def counted(p):
        aux = np.zeros(3)
        kept.append(weakref.ref(aux))
        alive.append(sum(ref() is not None for ref in kept))
        return value(p), aux

    alive = []
    minimize(counted, X0, method="Nelder-Mead", has_aux=True)

    assert len(alive) > 100
    assert max(alive) <= 4  # the best, the last, the one now, the one that the solver has in its hands


# What `fun` must return ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (1.0, r"With has_aux=True `fun` must return \(value, aux\); it returned a float"),
        (None, "it returned a NoneType"),
        ((1.0, 2.0, 3.0), "it returned a tuple of 3"),
        (np.zeros(2), r"it returned shape \(2,\)"),
        ((np.zeros(2), None), r"`fun` returned shape \(2,\); minimize needs a scalar"),
        (("aux", 1.0), "`fun` returned a str; minimize needs a scalar"),
    ],
    ids=["value", "None", "three", "array", "vector", "other way round"],
)
def test_what_is_no_pair_is_refused(returned, says):
    with pytest.raises(ObjectiveError, match=says):
        minimize(lambda p: returned, X0, has_aux=True)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (1.0, r"With jac=True and has_aux=True `fun` must return \(\(value, aux\), gradient\).*a float"),
        ((1.0, gradient(X0)), r"must return \(\(value, aux\), gradient\).*the first of the two is a float"),
        ((1.0, "aux", gradient(X0)), "it returned a tuple of 3"),
    ],
    ids=["value", "no aux", "three"],
)
def test_what_is_no_pair_of_pairs_is_refused_with_a_gradient(returned, says):
    with pytest.raises(ObjectiveError, match=says):
        minimize(lambda p: returned, X0, jac=True, has_aux=True)


def test_a_pair_without_has_aux_says_what_to_pass():
    with pytest.raises(ObjectiveError, match=r"a tuple of 2.*jac=True.*has_aux=True"):
        minimize(fun, X0)


# Backends that know nothing of it ------------------------------------------------------------------------


class Compiling:
    """As much of a backend as the defaults look at: one that compiles, and has no hook for aux."""

    name, compiles = "abacus", True

    def value(self, fun):
        return fun

    def value_and_grad(self, fun):
        return lambda point, *args: (fun(point, *args), (2 * point[0],))

    def detach(self, array):
        return array


class Plain:
    compile = False

    def __call__(self, point):
        return np.sum(point[0] ** 2), ([point[0] * 3], "rest")


@pytest.mark.parametrize("hook", ["value_with_aux", "value_and_grad_with_aux"])
def test_a_backend_that_compiles_without_a_hook_for_aux_says_to_switch_it_off(hook):
    with pytest.raises(InputError, match=r"'abacus' compiles `fun`.*Pass compile=False beside has_aux=True"):
        getattr(Defaults(Compiling()), hook)(lambda point: None)


def test_the_same_backend_hands_out_aux_where_it_does_not_compile():
    defaults, point = Defaults(Compiling()), (np.arange(3.0),)

    value, (arrays, rest) = defaults.value_with_aux(Plain())(point)
    (again, aux), (slope,) = defaults.value_and_grad_with_aux(Plain())(point)

    assert value == again == 5.0
    assert rest == aux[1] == "rest"
    np.testing.assert_array_equal([arrays[0], aux[0][0], slope * 1.5], [point[0] * 3] * 3)
