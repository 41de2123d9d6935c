"""One evaluation a point, the counts, the best point, limits."""

import math

import numpy as np
import pytest

from dmin_core import ObjectiveError, get_backend
from dmin_core._problem import Problem, Stop
from dmin_core._tree import Tree

pytestmark = pytest.mark.numpy

EPS = np.finfo(float).eps


class Counting:
    """A quadratic over a nest that remembers where it was asked."""

    def __init__(self):
        self.values, self.gradients = [], []

    def fun(self, p):
        self.values.append(p["w"].copy())
        return np.sum((p["w"] - 1.0) ** 2)

    def jac(self, p):
        self.gradients.append(p["w"].copy())
        return {"w": 2.0 * (p["w"] - 1.0)}

    def both(self, p):
        return self.fun(p), self.jac(p)


def problem_of(fun, x0=None, **options):
    tree = Tree({"w": np.zeros(2)} if x0 is None else x0, get_backend("numpy"))
    return Problem(tree, fun, tree.pack_x0(), **options)


def test_value_and_gradient_apart_are_one_evaluation():
    counting = Counting()
    problem = problem_of(counting.both, jac=True)
    x = np.array([3.0, 0.0])
    assert problem.value(x) == 5.0
    np.testing.assert_array_equal(problem.gradient(x), [4.0, -2.0])
    assert problem.value_and_gradient(x)[0] == 5.0
    assert (len(counting.values), problem.nfev, problem.njev) == (1, 1, 1)


def test_a_gradient_apart_is_computed_when_asked_for():
    counting = Counting()
    problem = problem_of(counting.fun, jac=counting.jac)
    problem.value(np.zeros(2))
    assert (problem.nfev, problem.njev) == (1, 0)
    problem.gradient(np.zeros(2))
    problem.gradient(np.zeros(2))
    assert (problem.nfev, problem.njev) == (1, 1)


def test_differences_count_every_call_of_fun():
    counting = Counting()
    problem = problem_of(counting.fun)
    np.testing.assert_allclose(problem.gradient(np.zeros(2)), [-2.0, -2.0], atol=20 * EPS**0.5)
    assert problem.nfev == len(counting.values) == 3
    assert problem.njev == 1


@pytest.mark.parametrize(
    "options",
    [
        {"hess": lambda p: 2.0 * np.eye(2)},
        {"hess": lambda p: {"w": {"w": 2.0 * np.eye(2)}}},
        {"hessp": lambda p, v: {"w": 2.0 * v["w"]}},
        {},
    ],
    ids=["hess", "hess in blocks", "hessp", "differences"],
)
def test_products_and_dense_hessians_agree(options):
    counting = Counting()
    problem = problem_of(counting.fun, jac=counting.jac, **options)
    np.testing.assert_allclose(problem.product(np.zeros(2), np.array([1.0, -3.0])), [2.0, -6.0], rtol=10 * EPS**0.5)
    np.testing.assert_allclose(problem.hessian(np.zeros(2)), 2.0 * np.eye(2), atol=10 * EPS**0.5)
    assert problem.nhev >= 2


def test_what_is_exact_is_said():
    assert not problem_of(Counting().fun).exact_gradient
    assert problem_of(Counting().both, jac=True).exact_gradient
    assert not problem_of(Counting().both, jac=True).exact_product
    assert problem_of(Counting().fun, hess=lambda p: np.eye(2)).exact_product


def test_a_gradient_is_not_written_again():
    buffer = {"w": np.zeros(2)}

    def fun(p):
        np.multiply(p["w"], 2.0, out=buffer["w"])
        return np.sum(p["w"] ** 2), buffer

    problem = problem_of(fun, {"w": np.ones(2)}, jac=True)
    first = problem.gradient(np.array([1.0, 2.0]))
    problem.gradient(np.array([5.0, 6.0]))
    np.testing.assert_array_equal(first, [2.0, 4.0])


@pytest.mark.parametrize("private", [True, False])
def test_fun_may_keep_and_overwrite_what_it_is_given(private):
    kept = []

    def fun(p):
        value = np.sum(p["w"] ** 2)
        kept.append(p["w"])
        p["w"][:] = 77.0
        return value

    problem = problem_of(fun, {"w": np.ones(2)}, private=private)
    x = np.array([1.0, 2.0])
    assert problem.value(x) == 5.0
    np.testing.assert_array_equal(x, [1.0, 2.0])
    np.testing.assert_allclose(problem.gradient(x), [2.0, 4.0], atol=20 * EPS**0.5)
    np.testing.assert_array_equal(problem.best.x, [1.0, 2.0])
    assert len({id(array) for array in kept}) == len(kept)


def test_jac_does_not_see_what_fun_wrote_into_its_argument():
    def fun(p):
        p["w"] -= 1.0
        return np.sum(p["w"] ** 2)

    problem = problem_of(fun, jac=lambda p: {"w": 2.0 * (p["w"] - 1.0)})
    problem.value(np.zeros(2))
    np.testing.assert_array_equal(problem.gradient(np.zeros(2)), [-2.0, -2.0])


def test_hessp_does_not_see_what_it_wrote_into_its_arguments():
    def hessp(p, v):
        product = {"w": 2.0 * p["w"] * v["w"]}
        p["w"][:] = v["w"][:] = 0.0
        return product

    problem = problem_of(Counting().fun, jac=Counting().jac, hessp=hessp)
    x, v = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    np.testing.assert_array_equal(problem.product(x, v), [2.0, 4.0])
    np.testing.assert_array_equal(problem.product(x, v), [2.0, 4.0])


# The best point -------------------------------------------------------------------------------------------


def settle(values, problem_options=None, x=None, success=True):
    """The answer after evaluations at x = 1, 2, 3, … with these values."""
    answers = iter(values)
    problem = problem_of(lambda p: next(answers), {"w": np.ones(1)}, **(problem_options or {}))
    for i in range(len(values)):
        problem.value(np.array([i + 1.0]))
    return problem.settle(None if x is None else np.array([float(x)]), success)


def test_the_answer_is_the_best_value_seen():
    assert settle([3.0, 1.0, 2.0], x=3).x == 2.0


def test_the_answer_is_finite():
    assert settle([3.0, math.nan, -math.inf, math.inf], x=4).x == 1.0


def test_of_equal_values_the_answer_is_the_methods_own():
    assert settle([1.0, 1.0], x=2).x == 2.0


def test_the_answer_is_feasible():
    bounds = (np.zeros(1), np.array([2.0]))
    assert settle([3.0, 2.0, 1.0], {"bounds": bounds, "strict": False}, x=3, success=False).x == 2.0


def test_without_evaluation_there_is_no_answer():
    assert problem_of(Counting().fun).settle(None, False) is None


def test_history_has_a_record_for_each_point():
    problem = problem_of(Counting().both, {"w": np.zeros(2)}, jac=True)
    for x in ([3.0, 0.0], [1.0, 1.0]):
        problem.value_and_gradient(np.array(x))
    evaluations, values, norms, seconds = zip(*problem.history, strict=True)
    assert (evaluations, values, norms) == ((1, 2), (5.0, 0.0), (pytest.approx(20**0.5), 0.0))
    assert 0 <= seconds[0] <= seconds[1]


def test_a_gradient_that_comes_later_is_in_the_record_of_its_point():
    counting = Counting()
    problem = problem_of(counting.fun, jac=counting.jac)
    problem.value(np.array([3.0, 0.0]))
    assert math.isnan(problem.history[0][2])
    problem.gradient(np.array([3.0, 0.0]))
    assert [record[2] for record in problem.history] == [pytest.approx(20**0.5)]


# Limits ---------------------------------------------------------------------------------------------------


def test_maxfun_stops_before_the_next_evaluation():
    counting = Counting()
    problem = problem_of(counting.fun, maxfun=3)
    for i in range(3):
        problem.value(np.full(2, float(i)))
    with pytest.raises(Stop, match=r"limit of 3 evaluations \(maxfun\)"):
        problem.value(np.full(2, 7.0))
    assert len(counting.values) == 3


def test_maxfun_stops_within_a_difference():
    counting = Counting()
    with pytest.raises(Stop, match="maxfun"):
        problem_of(counting.fun, maxfun=2).gradient(np.zeros(2))
    assert len(counting.values) == 2


def test_maxtime_stops_before_the_next_evaluation(monkeypatch):
    problem = problem_of(Counting().fun, maxtime=5.0)
    problem.start()
    problem.value(np.zeros(2))
    problem.started -= 5.0
    with pytest.raises(Stop, match=r"limit of 5 seconds \(maxtime\)"):
        problem.value(np.ones(2))


def test_a_point_already_evaluated_is_within_the_limits():
    problem = problem_of(Counting().fun, maxfun=1)
    assert problem.value(np.zeros(2)) == problem.value(np.zeros(2)) == 2.0


# The first evaluation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_start_without_a_finite_value_is_refused(bad):
    with pytest.raises(ObjectiveError, match=f"`fun` is {bad} at the start; .*Start elsewhere"):
        problem_of(lambda p: bad).value(np.zeros(2))


def test_later_values_need_not_be_finite():
    problem = problem_of(lambda p: np.log(p["w"][0]) if p["w"][0] > 0 else math.nan, {"w": np.ones(1)})
    problem.value(np.ones(1))
    assert 0.0 < problem.value(-np.ones(1)) < math.inf  # what it is told is worse, and finite
    assert [record[1] for record in problem.history] == [0.0, math.inf]
    assert problem.failures.count == 1


def test_a_start_without_a_finite_gradient_is_located():
    problem = problem_of(lambda p: (1.0, {"w": np.array([1.0, math.nan])}), jac=True)
    with pytest.raises(ObjectiveError, match=r"gradient of `fun` at the start is nan at x0\['w'\]\[1\].*square root"):
        problem.value(np.zeros(2))


def test_a_leaf_without_influence_is_named_in_one_warning():
    x0 = {"used": np.ones(2), "unused": np.ones(3), "empty": np.ones(0)}
    problem = problem_of(lambda p: np.sum(p["used"]), x0)
    problem.gradient(problem.x0)
    with pytest.warns(RuntimeWarning, match=r"respect to x0\['unused'\] is exactly zero") as caught:
        problem.gradient(2.0 * problem.x0)
    problem.gradient(3.0 * problem.x0)  # warnings are errors: it does not come again
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_leaf_that_its_bounds_fix_is_not_said_to_lack_influence():
    x0 = {"fixed": np.ones(1), "free": np.ones(1)}
    bounds = (np.array([1.0, 0.0]), np.array([1.0, 9.0]))
    problem = problem_of(lambda p: np.sum(p["fixed"] * p["free"]), x0, bounds=bounds)
    np.testing.assert_allclose(problem.gradient(problem.x0)[1], 1.0, atol=20 * EPS**0.5)
