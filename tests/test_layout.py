"""How variables lie in a point: which share a vector, and that nothing is lost on the way there and back."""

import numpy as np
import pytest

from dmin_core import minimize
from dmin_core._layout import Layout
from dmin_core._plugins import Backend, claim, load
from dmin_core._tree import Tree
from dmin_core.hookspecs import BACKENDS, BackendSpec

LARGE = 4


@pytest.fixture
def backend():
    """NumPy's, of its own for each test, which would have leaves of four numbers and more by themselves."""
    own = Backend(claim(BACKENDS, "numpy"), load(BACKENDS, claim(BACKENDS, "numpy"), BackendSpec))
    own.own_array = lambda size, like: size >= LARGE
    return own


def nest():
    return {
        "a": np.arange(2.0),
        "b": np.ones((2, 3), np.float32),
        "c": np.array(7.0),
        "d": np.zeros(0),
        "e": [np.ones(5)],
    }


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ((1,), [(0, 1)]),
        ((9,), [(0, 1)]),
        ((1, 2, 3), [(0, 3)]),
        ((9, 9), [(0, 1), (1, 2)]),
        ((1, 2, 9, 3, 1), [(0, 2), (2, 3), (3, 5)]),
        ((9, 1, 0, 9), [(0, 1), (1, 3), (3, 4)]),
    ],
)
def test_large_leaves_lie_alone_and_those_between_together(backend, sizes, groups):
    layout = Layout(backend, np.zeros(1), sizes)
    assert [(group.start, group.stop) for group in layout.groups] == groups
    ends = np.cumsum([0, *sizes])
    assert [(part.start, part.stop) for part in layout.ranges] == [(ends[first], ends[last]) for first, last in groups]


def test_numbers_come_back_in_order(backend):
    layout = Layout(backend, np.zeros(1), (1, 2, 9, 3))
    x = np.arange(15.0)
    point = layout.point(x)
    assert [array.shape for array in point] == [(3,), (9,), (3,)]
    assert layout.join(point).tolist() == x.tolist()
    assert layout.join(tuple(array.astype(np.float32) for array in point)).dtype == float


def test_where_no_leaf_is_large_there_is_one_vector_and_no_copy_back(backend):
    layout = Layout(backend, np.zeros(1), (1, 2, 3))
    (vector,) = layout.point(np.arange(6.0))
    assert vector.tolist() == list(range(6))
    assert np.shares_memory(layout.join((vector,)), vector)


def test_fun_sees_the_same_nest_from_either(backend):
    tree = Tree(nest(), backend)
    x = np.arange(float(tree.n))
    alone, together = tree.unpack(tree.layout.point(x)), tree.unpack(tree.point(x))
    assert len(tree.layout.point(x)) == 4
    for name in "abcd":
        assert alone[name].dtype == together[name].dtype
        np.testing.assert_array_equal(alone[name], together[name])
    np.testing.assert_array_equal(alone["e"][0], together["e"][0])


def test_without_the_hook_every_leaf_shares_one_vector():
    seen = []

    def fun(x):
        seen.append(x["a"].base is not None and x["a"].base is x["b"].base)
        return np.sum(x["a"] ** 2) + np.sum(x["b"] ** 2)

    minimize(fun, {"a": np.ones(20_000), "b": np.ones(3)}, jac=lambda x: {name: 2 * leaf for name, leaf in x.items()})
    assert all(seen)
