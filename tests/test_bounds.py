"""Bounds in every form become the same two flat vectors; wrong ones name the leaf."""

import math
import warnings
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

from dmin_core import Bounds, InputError, get_backend, minimize
from dmin_core._bounds import clip_start, flatten_bounds
from dmin_core._tree import Tree

INF = math.inf
Pair = namedtuple("Pair", ["w", "b"])

VECTOR = np.zeros(3)
NEST = {"a": {"u": np.zeros(2), "v": 0.0}, "b": [np.zeros((1, 2)), "static", np.zeros(0)]}
"""Flat: u0 u1 v b00 b01."""


def flat(bounds, x0):
    pair, _ = flatten_bounds(bounds, x0, Tree(x0, get_backend("numpy")))
    return pair


def assert_bounds(bounds, x0, lb, ub):
    lower, upper = flat(bounds, x0)
    np.testing.assert_array_equal(lower, lb)
    np.testing.assert_array_equal(upper, ub)


@pytest.mark.parametrize(
    ("bounds", "lb", "ub"),
    [
        ((0, 1), [0, 0, 0], [1, 1, 1]),
        ((None, 1.5), [-INF] * 3, [1.5] * 3),
        ([np.float64(0), None], [0, 0, 0], [INF] * 3),
        ((np.array([0, -INF, 2.0]), 3), [0, -INF, 2], [3, 3, 3]),
        (([0, 1, 2], [3, 3, 3]), [0, 1, 2], [3, 3, 3]),
        (np.array([[0, 1], [-INF, 2], [-1, INF]]), [0, -INF, -1], [1, 2, INF]),
        (Bounds(0, 1), [0, 0, 0], [1, 1, 1]),
        (Bounds([0, 1, 2], INF), [0, 1, 2], [INF] * 3),
        ([(0, 1), (None, 2), (-1, None)], [0, -INF, -1], [1, 2, INF]),
        (((0, 1), (None, 2), (-1, None)), [0, -INF, -1], [1, 2, INF]),
        ({"x0": (0, None)}, [0, 0, 0], [INF] * 3),
    ],
    ids=str,
)
def test_forms_for_a_single_vector(bounds, lb, ub):
    assert_bounds(bounds, VECTOR, lb, ub)


@pytest.mark.parametrize(
    ("bounds", "lb", "ub"),
    [
        (({"a": 0, "b": None}, None), [0, 0, 0, -INF, -INF], [INF] * 5),
        (({"a": {"u": np.array([1, 2]), "v": None}, "b": -1}, 5), [1, 2, -INF, -1, -1], [5] * 5),
        (({"a": 0, "b": [np.array([[3, 4]]), None, None]}, None), [0, 0, 0, 3, 4], [INF] * 5),
        (Bounds({"a": 0, "b": None}, {"a": None, "b": 9}), [0, 0, 0, -INF, -INF], [INF, INF, INF, 9, 9]),
        ({"a": (0, 1)}, [0, 0, 0, -INF, -INF], [1, 1, 1, INF, INF]),
        ({"a": {"v": (0, 1)}}, [-INF, -INF, 0, -INF, -INF], [INF, INF, 1, INF, INF]),
        ({"a": ({"u": np.array([1, 2]), "v": 3}, None)}, [1, 2, 3, -INF, -INF], [INF] * 5),
        ({"b": None, "a": (None, 1)}, [-INF] * 5, [1, 1, 1, INF, INF]),
        ({"x0['b'][0]": (0, np.array([1, 2]))}, [-INF, -INF, -INF, 0, 0], [INF, INF, INF, 1, 2]),
        ({"x0['a']['u']": (0, None), "b": (None, 1)}, [0, 0, -INF, -INF, -INF], [INF, INF, INF, 1, 1]),
    ],
    ids=str,
)
def test_a_side_is_a_prefix_of_the_nest(bounds, lb, ub):
    assert_bounds(bounds, NEST, lb, ub)


@pytest.mark.parametrize(
    "x0",
    [OrderedDict(b=np.zeros(1), a=np.zeros(2)), {"b": np.zeros(1), "a": np.zeros(2)}],
    ids=["OrderedDict", "dict"],
)
@pytest.mark.parametrize(
    "side",
    [{"a": 1, "b": 2}, OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)],
    ids=["dict", "OrderedDict", "OrderedDict in another order"],
)
def test_dictionaries_are_matched_by_key_whatever_their_kind_and_order(x0, side):
    tree = Tree(x0, get_backend("numpy"))
    (lb, _), _ = flatten_bounds((side, None), x0, tree)
    lowest = tree.restore(lb)
    np.testing.assert_array_equal(lowest["a"], [1, 1])
    np.testing.assert_array_equal(lowest["b"], [2])


def test_sides_of_a_namedtuple_are_namedtuples():
    assert_bounds((Pair(0, None), Pair(None, 1)), Pair(np.zeros(2), 0.0), [0, 0, -INF], [INF, INF, 1])


def test_lists_of_floats_take_scipys_pairs():
    assert_bounds([(0, 1), (None, 2)], [0.0, 0.5], [0, -INF], [1, 2])


def test_lists_of_floats_take_scipys_bounds():
    assert_bounds(Bounds([0, -1], [1, 2]), [0.0, 0.5], [0, -1], [1, 2])


def test_a_leaf_whose_name_begins_another_is_not_confused():
    x0 = {"w": np.zeros(1), "w2": np.zeros(1), "net": Pair(np.zeros(1), np.zeros(1))}
    assert_bounds({"w": (0, 1), "x0['net'].w": (2, 3)}, x0, [2, -INF, 0, -INF], [3, INF, 1, INF])


@pytest.mark.parametrize("bounds", [None, (None, None), (-INF, INF), {}, Bounds(), [(None, None)] * 3])
def test_no_bound_at_all_is_no_bounds(bounds):
    assert flat(bounds, VECTOR) is None


def test_equal_bounds_are_allowed():
    assert_bounds((1, 1), VECTOR, [1] * 3, [1] * 3)


@pytest.mark.parametrize(("keep", "expected"), [(True, True), ([True, False, True], [True, False, True])])
def test_keep_feasible_is_handed_on(keep, expected):
    _, kept = flatten_bounds(Bounds(0, 1, keep_feasible=keep), VECTOR, Tree(VECTOR, get_backend("numpy")))
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize(
    ("bounds", "x0", "says"),
    [
        (3, VECTOR, "bounds is a int.*each side None, a number, an array or a nest"),
        ([(0, 1)] * 4, VECTOR, "bounds is a list of 4"),
        ((2, np.array([3, 3, 1])), VECTOR, r"No number lies within the bounds of x0\[2\]: 2 to 1"),
        (({"a": {"u": np.array([0, 3]), "v": 0}, "b": 0}, 1), NEST, r"bounds of x0\['a'\]\['u'\]\[1\]: 3 to 1"),
        ((1, 0), VECTOR, r"x0\[0\]: 1 to 0 \(and 2 more\)"),
        ((INF, None), VECTOR, r"x0\[0\]: inf to inf"),
        ((None, -INF), VECTOR, r"x0\[0\]: -inf to -inf"),
        ((math.nan, None), VECTOR, r"lower bound of x0\[0\] is nan.*Write None"),
        ((None, np.array([0, math.nan, 0])), VECTOR, r"upper bound of x0\[1\] is nan"),
        ([(0, 1), (None, math.nan), (0, 1)], VECTOR, r"upper bound of x0\[1\] is nan"),
        ({"x0['b'][0]": (0, np.array([1, math.nan]))}, NEST, r"upper bound of x0\['b'\]\[0\]\[0, 1\] is nan"),
        ((np.zeros(2), None), VECTOR, r"lower bound of x0 has shape \(2,\).*broadcast to the leaf's \(3,\)"),
        (({"a": np.zeros(3), "b": 0}, None), NEST, r"lower bound of x0\['a'\]\['u'\] has shape \(3,\)"),
        (({"a": "low", "b": 0}, None), NEST, r"x0\['a'\] is a dict, its counterpart a str"),
        (({"a": {"u": "low", "v": 0}, "b": 0}, None), NEST, r"lower bound of x0\['a'\]\['u'\] is no number or array"),
        ((1j, None), VECTOR, r"lower bound of x0 is no number or array"),
        ((None, np.array([1, 1j, 2])), VECTOR, r"upper bound of x0 is no number or array"),
        ({"a": {"u": ("0", 1)}}, NEST, r"lower bound of x0\['a'\]\['u'\] is no number or array: it is the text '0'"),
        (({"a": 0}, None), NEST, r"x0\['b'\]"),
        (({"a": 0, "b": 0, "c": 0}, None), NEST, r"there is no x0\['c'\]"),
        ((None, {"a": [0, 0], "b": 0}), NEST, r"upper bounds.*x0\['a'\] is a dict, its counterpart a list"),
        ({"c": (0, 1)}, NEST, "bounds names 'c', which x0 does not have; it has 'a', 'b'"),
        ({"a": {"w": (0, 1)}}, NEST, r"bounds names 'w', which x0\['a'\] does not have; it has 'u', 'v'"),
        ({"**/1": (0, 1)}, NEST, "bounds names .*, under which x0 holds no number"),
        (
            {"*": ({"u": 0}, None)},
            NEST,
            r"lower bound of .* is a dict; expected None, a number or an array, for the name",
        ),
        ({"a": 3}, NEST, r"bounds of x0\['a'\] are 3; expected a pair"),
        ({"a": (0, 1, 2)}, NEST, r"bounds of x0\['a'\] are a tuple of 3; expected a pair"),
        ({"b": (2, 1)}, NEST, r"x0\['b'\]\[0\]\[0, 0\]: 2 to 1"),
        (Bounds(0, 1, keep_feasible=[True, False]), VECTOR, "keep_feasible has 2 entries for 3"),
        (Bounds([0, 0], [1, 1]), VECTOR, r"lower bound of x0 has shape \(2,\)"),
        ([(0, 1)] * 4, VECTOR, "bounds is a list of 4 pairs, and x0 holds 3 numbers"),
    ],
    ids=str,
)
def test_wrong_bounds_name_the_leaf(bounds, x0, says):
    with pytest.raises(InputError, match=f"(?s){says}"):
        flat(bounds, x0)


def test_two_lists_for_two_variables_are_ambiguous():
    """Read as SciPy's pairs, ``([0, 0], [1, 1])`` would fix x[0] at 0 and x[1] at 1."""
    with pytest.raises(InputError, match=r"could be \(lb, ub\) or a list of \(min, max\)"):
        flat(([0, 0], [1, 1]), np.zeros(2))


@pytest.mark.parametrize(
    "x0", [(0.0, 0.0), [np.zeros(3), np.zeros(2)], np.zeros((3, 2))], ids=["tuple", "list", "array"]
)
def test_equal_pairs_for_two_leaves_are_no_sides(x0):
    """Read as sides, ``((0, 1), (0, 1))`` would fix what stands first at 0 and what stands second at 1."""
    with pytest.raises(InputError, match=r"read as \(lb, ub\), would fix every.*as in \{'x0(\[0\])?': \(0, 1\)\}"):
        flat(((0, 1), (0, 1)), x0)


def test_a_start_within_its_bounds_is_left_alone():
    x = np.array([0.0, 1.0])
    assert clip_start(x, (np.zeros(2), np.ones(2)), Tree(x, get_backend("numpy"))) is x


def test_a_start_outside_is_moved_with_one_warning_that_names_it():
    x0 = {"a": np.array([0.5, -2.0, 3.0])}
    tree = Tree(x0, get_backend("numpy"))
    with pytest.warns(RuntimeWarning, match=r"moved onto them: x0\['a'\]\[1\] from -2 to 0, and 1 more") as caught:
        x = clip_start(tree.pack_x0(), (np.zeros(3), np.ones(3)), tree)
    np.testing.assert_array_equal(x, [0.5, 0.0, 1.0])
    assert [warning.filename for warning in caught] == [__file__]


def test_bounds_may_be_tensors_where_leaves_are():
    pytest.importorskip("dmin_torch", reason="dmin-torch is not installed")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x0 = {"a": torch.zeros(2)}
    (lb, ub), _ = flatten_bounds(({"a": torch.tensor([-1.0, 0.0])}, 0.5), x0, Tree(x0, get_backend("torch")))
    np.testing.assert_array_equal(lb, [-1.0, 0.0])
    np.testing.assert_array_equal(ub, [0.5, 0.5])


@pytest.mark.parametrize("method", ["L-BFGS-B", "device-lbfgs"])
def test_a_start_on_a_bound_that_its_dtype_rounds_is_not_outside(method):
    """float32 has no 0.7, but the number below it."""

    def fun(x):
        return np.sum(x**2), 2 * x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = minimize(fun, np.full(3, 0.7, "float32"), jac=True, bounds=(0.7, None), method=method)
    np.testing.assert_array_equal(result.x, np.float32(0.7))
    with pytest.warns(RuntimeWarning, match="moved onto them"):
        minimize(fun, np.full(3, 0.69999, "float32"), jac=True, bounds=(0.7, None), method=method)
