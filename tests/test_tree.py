"""Nests of arrays: what is a leaf, what it is called, and that a nest comes back as what it was."""

import math
import threading
import time
from collections import OrderedDict, defaultdict, deque, namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dmin_core import (
    InputError,
    ObjectiveError,
    UnknownBackendError,
    array_namespace,
    backend_of,
    get_backend,
    minimize,
)
from dmin_core._tree import Tree, flatten

Pair = namedtuple("Pair", ["w", "b"])


@dataclass
class Plain:
    w: Any
    b: Any = 0.5


@dataclass(frozen=True)
class Frozen:
    w: Any
    b: Any = 0.5


@dataclass(slots=True)
class Slotted:
    w: Any
    b: Any = 0.5


@dataclass(frozen=True, slots=True)
class FrozenSlotted:
    w: Any
    b: Any = 0.5


@dataclass
class Inherited(Plain):
    c: Any = None


@dataclass
class Checking:
    """Refuses what is no array, and computes what is no field."""

    w: Any
    scale: InitVar[float] = 1.0
    label: str = field(default="unset", init=False)

    def __post_init__(self, scale):
        if not isinstance(self.w, np.ndarray):
            raise TypeError("w must be an array")
        self.w = self.w * scale
        self.beside = "kept"


@dataclass
class Computing:
    w: Any

    @cached_property
    def total(self):
        return float(np.sum(self.w))


class Registered:
    """A user's own container, registered with optree for all namespaces."""

    def __init__(self, left, right):
        self.left, self.right = left, right


optree.register_pytree_node(
    Registered,
    lambda r: ((r.left, r.right), None, ("left", "right")),
    lambda _, children: Registered(*children),
    path_entry_type=optree.GetAttrEntry,
    namespace="dmin",
)


def tree_of(x0, backend="numpy"):
    return Tree(x0, get_backend(backend))


def round_trip(x0):
    """A nest through the flat vector, as `fun` gets it and as the result has it."""
    tree = tree_of(x0)
    x = tree.pack_x0()
    return tree.unpack(tree.point(x)), tree.restore(x)


def assert_same(actual, expected):
    """Same classes, structure, dtypes, shapes and numbers."""
    leaves, spec = flatten(actual)
    expected_leaves, expected_spec = flatten(expected)
    assert spec == expected_spec
    for leaf, other in zip(leaves, expected_leaves, strict=True):
        if isinstance(other, np.ndarray):
            assert type(leaf) is type(other)
            assert leaf.dtype == other.dtype
            np.testing.assert_array_equal(leaf, other)
        else:
            assert leaf == other


ONE = np.array([[1.0, 2.0], [3.0, 4.0]])
TWO = np.array([5.0, 6.0], dtype=np.float32)

NESTS = {
    "array": ONE,
    "0-d array": np.array(3.0),
    "dict": {"b": ONE, "a": TWO},
    "dict with integer keys": {10: ONE, 9: TWO},
    "OrderedDict": OrderedDict(b=ONE, a=TWO),
    "defaultdict": defaultdict(list, {"b": ONE, "a": TWO}),
    "list": [ONE, TWO],
    "tuple": (ONE, TWO),
    "deque": deque([ONE, TWO]),
    "namedtuple": Pair(ONE, TWO),
    "dataclass": Plain(ONE, TWO),
    "frozen dataclass": Frozen(ONE, TWO),
    "slotted dataclass": Slotted(ONE, TWO),
    "frozen slotted dataclass": FrozenSlotted(ONE, TWO),
    "inherited dataclass": Inherited(ONE, TWO, {"d": ONE}),
    "nest of all": {"a": [Pair(ONE, (TWO,)), Frozen(ONE, None)], "b": OrderedDict(z=Slotted(TWO, [ONE]), y=ONE)},
    "empty leaf beside a full one": {"a": np.zeros((0, 3)), "b": ONE, "c": np.zeros(0, np.float32)},
    "float16, float32, float64 and longdouble": [ONE.astype(t) for t in (np.float16, np.float32, float, np.longdouble)],
    "big-endian": {"a": ONE.astype(">f8"), "b": ONE.astype(">f4")},
    "Fortran order": {"a": np.asfortranarray(ONE), "b": ONE.T, "c": np.arange(10.0)[::-2]},
    "static leaves": {"act": "relu", "w": ONE, "flag": True, "none": None, "fun": math.sin, "class": np.ndarray},
}


@pytest.mark.parametrize("name", NESTS)
def test_result_has_the_types_of_x0(name):
    assert_same(round_trip(NESTS[name])[1], NESTS[name])


@pytest.mark.parametrize("name", NESTS)
def test_fun_sees_the_types_of_x0(name):
    assert_same(round_trip(NESTS[name])[0], NESTS[name])


def test_dictionaries_keep_the_order_of_their_keys():
    for x0 in ({"b": ONE, "a": TWO}, OrderedDict(b=ONE, a=TWO)):
        assert all(list(x) == ["b", "a"] for x in round_trip(x0))


def test_a_registered_class_is_taken_apart():
    x = round_trip(Registered(ONE, {"a": TWO}))[1]
    assert type(x) is Registered
    np.testing.assert_array_equal(x.left, ONE)
    np.testing.assert_array_equal(x.right["a"], TWO)


def test_post_init_is_not_called_again():
    x0 = Checking(np.ones(2), scale=3.0)
    inside, outside = round_trip(x0)
    for x in (inside, outside):
        np.testing.assert_array_equal(x.w, [3.0, 3.0])
        assert (x.label, x.beside) == ("unset", "kept")


def test_what_a_dataclass_had_computed_from_x0_is_computed_anew():
    x0 = Computing(np.array([1.0, 2.0]))
    assert x0.total == 3.0
    tree = tree_of(x0)
    x = tree.pack_x0() * 10.0
    assert tree.unpack(tree.point(x)).total == 30.0
    assert tree.restore(x).total == 30.0


def test_a_dataclass_is_left_as_it_was():
    x0 = Plain(np.ones(2))
    inside, _ = round_trip(x0)
    inside.w = None
    np.testing.assert_array_equal(x0.w, [1.0, 1.0])


def test_threads_may_meet_a_dataclass_at_once(monkeypatch):
    @dataclass
    class Fresh:
        w: Any

    register, both = optree.register_pytree_node, threading.Barrier(2)

    def slowly(*given, **named):
        time.sleep(0.05)  # for the other to come here too, if it may
        register(*given, **named)

    monkeypatch.setattr(optree, "register_pytree_node", slowly)

    def take_apart(_):
        both.wait()
        return flatten(Fresh(1.0))[0]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(take_apart, range(2))) == [[1.0], [1.0]]


def test_a_python_float_is_a_0_d_array_to_fun_and_a_number_in_the_result():
    inside, outside = round_trip({"a": 2.5})
    assert np.shape(inside["a"]) == ()
    assert isinstance(outside["a"], float)
    assert outside["a"] == 2.5


def test_a_numpy_scalar_comes_back_as_one():
    _, outside = round_trip([np.float32(2.5), np.float64(1.5)])
    assert [type(leaf) for leaf in outside] == [np.float32, np.float64]


def test_static_leaves_are_the_same_objects():
    token, table = object(), {"flat", "set"}
    for x in round_trip({"t": token, "s": table, "w": ONE}):
        assert x["t"] is token
        assert x["s"] is table


def test_leaves_lie_in_the_order_of_sorted_keys():
    tree = tree_of({"b": np.array([2.0]), "a": np.array([0.0, 1.0]), "c": (np.array([3.0]), 4.0)})
    np.testing.assert_array_equal(tree.pack_x0(), [0.0, 1.0, 2.0, 3.0, 4.0])


def test_leaves_of_an_ordered_dict_lie_as_they_stand():
    tree = tree_of(OrderedDict(b=np.array([2.0]), a=np.array([0.0, 1.0])))
    np.testing.assert_array_equal(tree.pack_x0(), [2.0, 0.0, 1.0])


def test_ten_thousand_leaves_come_back_in_their_places():
    x0 = {f"layer{i}": {"w": np.array([float(i)]), "b": float(-i)} for i in range(5_000)}
    x = round_trip(x0)[1]
    assert all(x[f"layer{i}"]["w"] == i and x[f"layer{i}"]["b"] == -i for i in range(5_000))


def test_what_fun_gets_and_what_is_returned_share_no_memory_with_x0():
    x0 = {"w": np.zeros(3)}
    for x in round_trip(x0):
        x["w"][:] = 7.0
    np.testing.assert_array_equal(x0["w"], 0.0)


def test_points_of_one_vector_share_no_memory():
    tree = tree_of({"w": np.zeros(3)})
    x = tree.pack_x0()
    first, second = tree.unpack(tree.point(x)), tree.unpack(tree.point(x))
    first["w"][:] = 7.0
    np.testing.assert_array_equal(second["w"], 0.0)
    np.testing.assert_array_equal(x, 0.0)


def test_read_only_leaves_are_taken():
    w = np.ones(3)
    w.flags.writeable = False
    inside, outside = round_trip(w)
    inside[:] = 2.0
    outside[:] = 2.0


# Names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x0", "place", "name"),
    [
        (np.zeros((2, 3)), 5, "x0[1, 2]"),
        (np.array(0.0), 0, "x0"),
        ({"layers": [{"w": np.zeros((2, 2)), "b": 0.0}]}, 0, "x0['layers'][0]['b']"),
        ({"layers": [{"w": np.zeros((2, 2)), "b": 0.0}]}, 3, "x0['layers'][0]['w'][1, 0]"),
        (Pair(np.zeros(2), np.zeros(0)), 1, "x0.w[1]"),
        ((0.0, Frozen(np.zeros(0), np.zeros(1))), 1, "x0[1].b[0]"),
        ({7: [1.0]}, 0, "x0[7][0]"),
    ],
)
def test_a_number_is_named_as_it_would_be_indexed(x0, place, name):
    assert tree_of(x0).locate(place) == name


# What is refused at the door ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x0", "says"),
    [
        ({"a": np.arange(3), "b": ONE}, r"x0\['a'\] has dtype int64.*Convert it"),
        ({"a": np.array([True]), "b": ONE}, r"x0\['a'\] has dtype bool"),
        ({"a": np.int64(3), "b": ONE}, r"x0\['a'\] has dtype int64"),
        ({"a": 3, "b": ONE}, r"x0\['a'\] is the integer 3.*3\.0"),
        ({"a": np.zeros(2, complex), "b": ONE}, r"x0\['a'\] has dtype complex128.*two leaves"),
        ({"a": 1j, "b": ONE}, r"x0\['a'\] is the complex number 1j.*two leaves"),
        ({"a": MappingProxyType({"w": ONE}), "b": ONE}, r"x0\['a'\] is a builtins.mappingproxy.*register_pytree_node"),
        ({"a": np.array(["s"]), "b": ONE}, r"x0\['a'\] has dtype <U1"),
        ({"a": np.array([None]), "b": ONE}, r"x0\['a'\] has dtype object"),
    ],
)
def test_a_leaf_that_is_not_floating_is_named(x0, says):
    with pytest.raises(InputError, match=says):
        tree_of(x0)


@pytest.mark.parametrize(
    ("x0", "says"),
    [
        ([1, 2], r"x0\[0\] is the integer 1.*1\.0"),
        ([1j], r"x0\[0\] is the complex number 1j.*two leaves"),
        ({"a": MappingProxyType({"w": ONE})}, r"x0\['a'\] is a builtins.mappingproxy.*register_pytree_node"),
    ],
)
def test_the_advice_is_the_same_where_no_other_leaf_is_floating(x0, says):
    with pytest.raises(InputError, match=says):
        minimize(never, x0)


def never(x):
    raise AssertionError("evaluated")


@pytest.mark.parametrize("x0", [None, {}, [], (), "text", {"a": None, "b": "text"}, object()])
def test_a_nest_without_leaves_says_what_a_leaf_is(x0):
    with pytest.raises(InputError, match=r"x0 holds no leaf to optimise.*floating arrays or Python floats"):
        minimize(never, x0)


def test_only_empty_leaves_are_named():
    with pytest.raises(InputError, match=r"no numbers to optimise: x0\['a'\], x0\['b'\]\[0\] are empty"):
        tree_of({"a": np.zeros((2, 0)), "b": [np.zeros(0)]})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_located(bad):
    w = np.zeros((2, 3))
    w[1, 2] = bad
    with pytest.raises(InputError, match=rf"x0\['w'\]\[1, 2\] is {bad}; start from finite"):
        tree_of({"b": 1.0, "w": w}).pack_x0()


def test_further_numbers_that_are_not_finite_are_counted():
    with pytest.raises(InputError, match=r"x0\[0\] is nan \(and 2 more\)"):
        tree_of(np.full(3, math.nan)).pack_x0()


@pytest.mark.parametrize("array", [np.ma.array([1.0, 2.0], mask=[True, False]), np.ma.masked_array(1.0)])
def test_subclasses_that_mean_more_than_their_numbers_are_refused(array):
    with pytest.raises(InputError, match=r"x0\['m'\].*MaskedArray"):
        tree_of({"m": array}).pack_x0()


# Gradients, matched with x0 -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [dict, OrderedDict, lambda **k: defaultdict(float, k)])
def test_a_gradient_may_be_any_kind_of_dictionary_in_any_order(kind):
    tree = tree_of(OrderedDict(b=np.zeros(1), a=np.zeros(2)))
    packed = tree.pack_like(kind(a=np.array([1.0, 2.0]), b=np.array([3.0])), "The gradient")
    np.testing.assert_array_equal(packed, [3.0, 1.0, 2.0])


def test_a_gradient_may_be_a_tuple_where_x0_is_a_list():
    """torch.autograd.grad returns one."""
    packed = tree_of([np.zeros(1), {"w": np.zeros(2)}]).pack_like((np.ones(1), {"w": np.full(2, 2.0)}), "The gradient")
    np.testing.assert_array_equal(packed, [1.0, 2.0, 2.0])


def test_a_gradient_need_not_hold_static_leaves():
    tree = tree_of({"act": "relu", "w": np.zeros(2), "opts": {"flag": True}})
    np.testing.assert_array_equal(tree.pack_like({"w": np.ones(2)}, "The gradient"), [1.0, 1.0])


@pytest.mark.parametrize(
    ("nest", "says"),
    [
        ({"w": np.zeros(2)}, r"The gradient is not nested as x0 is: x0\['b'\] has no counterpart"),
        ({"w": np.zeros(2), "b": 0.0, "c": 0.0}, r"there is no x0\['c'\]"),
        ([np.zeros(2), 0.0], "x0 is a dict, its counterpart a list"),
        (np.zeros(3), "x0 is a dict, its counterpart a numpy.ndarray"),
        ({"w": None, "b": 0.0}, r"The gradient is None at x0\['w'\].*zeros of shape \(2,\)"),
        ({"w": np.zeros(3), "b": 0.0}, r"shape \(3,\) at x0\['w'\]; expected \(2,\)"),
        ({"w": np.zeros((2, 1)), "b": 0.0}, r"shape \(2, 1\) at x0\['w'\]"),
        ({"w": np.zeros(2), "b": np.zeros(1)}, r"shape \(1,\) at x0\['b'\]; expected \(\)"),
        ({"w": ["one", "two"], "b": 0.0}, r"x0\['w'\]"),
        ({"w": np.zeros(2) * 1j, "b": 0.0}, r"complex.*x0\['w'\]|x0\['w'\].*complex"),
    ],
    ids=["missing", "extra", "list", "flat", "None", "shape", "column", "vector for 0-d", "text", "complex"],
)
def test_a_gradient_that_does_not_fit_is_named(nest, says):
    with pytest.raises(ObjectiveError, match=says):
        tree_of({"w": np.zeros(2), "b": 0.0}).pack_like(nest, "The gradient")


# What a backend makes of it -------------------------------------------------------------------------------


def test_the_flat_vector_has_the_widest_dtype():
    assert tree_of([TWO, ONE]).point(np.zeros(6))[0].dtype == np.float64


def test_the_flat_vector_is_never_narrower_than_float32():
    (vector,) = tree_of(np.zeros(3, np.float16)).point(np.full(3, 0.1))
    assert vector.dtype == np.float32


def test_precision_is_that_of_each_leaf():
    eps = tree_of([np.zeros(2, np.float32), np.zeros(1), np.zeros(1, np.float16)]).eps()
    kinds = (np.float32, np.float32, np.float64, np.float16)
    np.testing.assert_array_equal(eps, [np.finfo(kind).eps for kind in kinds])


def test_rounding_is_that_of_each_leaf():
    tree = tree_of([np.zeros(1, np.float32), np.zeros(1)])
    np.testing.assert_array_equal(tree.round(np.array([0.1, 0.1])), [np.float32(0.1), 0.1])


def test_backend_of_names_the_framework_of_the_leaves():
    assert backend_of({"w": ONE, "act": "relu"}) == "numpy"
    assert backend_of(1.0) == "numpy"
    assert backend_of(np.float32(1.0)) == "numpy"


def test_an_array_of_an_unknown_framework_is_named():
    class Alien:
        shape, dtype = (2,), "float32"

    with pytest.raises(UnknownBackendError, match=r"x\['a'\], a .*Alien"):
        backend_of({"a": Alien()})


def test_namespace_of_a_nest_computes_with_its_leaves():
    xp = array_namespace({"w": ONE})
    assert float(xp.sum(ONE)) == 10.0
    assert float(array_namespace(2.0).exp(np.zeros(()))) == 1.0


# Properties -----------------------------------------------------------------------------------------------

DTYPES = st.sampled_from([np.float16, np.float32, np.float64])
ARRAYS = hnp.arrays(
    DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=st.integers(-2048, 2048)
)
STATIC = st.sampled_from([None, "static", True])
KEYS = st.text("abcxyz'[0]. ", min_size=0, max_size=4)


def containers(children):
    few = st.lists(children, max_size=3)
    named = st.dictionaries(KEYS, children, max_size=3)
    return st.one_of(
        few,
        few.map(tuple),
        few.map(deque),
        named,
        named.map(OrderedDict),
        st.dictionaries(st.integers(-5, 5), children, max_size=3),
        st.builds(Pair, children, children),
        st.builds(Plain, children, children),
        st.builds(FrozenSlotted, children, children),
    )


LEAVES = ARRAYS | STATIC
RANDOM_NESTS = st.tuples(ARRAYS.filter(np.size), st.recursive(LEAVES, containers, max_leaves=12))


@settings(deadline=None, derandomize=True)
@given(RANDOM_NESTS)
def test_packing_and_unpacking_any_nest_gives_it_back(x0):
    inside, outside = round_trip(x0)
    assert_same(inside, x0)
    assert_same(outside, x0)


@settings(deadline=None, derandomize=True)
@given(RANDOM_NESTS)
def test_every_number_of_the_flat_vector_is_found_under_its_name(x0):
    tree = tree_of(x0)
    for j, number in enumerate(tree.pack_x0()):
        assert eval(tree.locate(j), {"x0": x0}) == number


@settings(deadline=None, derandomize=True)
@given(RANDOM_NESTS)
def test_a_gradient_nested_as_x0_packs_to_the_vector_of_x0(x0):
    tree = tree_of(x0)
    np.testing.assert_array_equal(tree.pack_like(x0, "The gradient"), tree.pack_x0())


# Where torch is installed ----------------------------------------------------------------------------------


class TestWithTorch:
    @pytest.fixture
    def torch(self):
        pytest.importorskip("dmin_torch", reason="dmin-torch is not installed")
        return pytest.importorskip("torch", reason="torch is not installed")

    def test_leaves_of_two_frameworks_are_both_named(self, torch):
        with pytest.raises(InputError, match=r"x\['t'\] is a torch.Tensor and x\['w'\] is a numpy.ndarray"):
            backend_of({"w": ONE, "t": torch.zeros(2)})

    def test_leaves_on_two_devices_are_both_named(self, torch):
        with pytest.raises(InputError, match=r"x0\['a'\] is on cpu and x0\['b'\] is on meta"):
            tree_of({"a": torch.zeros(2), "b": torch.zeros(2, device="meta")}, "torch")

    def test_the_backend_named_converts_numpy_leaves_and_floats(self, torch):
        x = tree_of({"w": TWO, "b": 0.5, "t": torch.zeros(1)}, "torch").unpack((torch.arange(4.0),))
        assert all(isinstance(leaf, torch.Tensor) for leaf in x.values())
        assert x["w"].dtype == torch.float32

    def test_the_numpy_backend_does_not_take_tensors(self, torch):
        with pytest.raises(InputError, match=r"x0\['t'\] is a torch.Tensor, which backend='numpy' cannot take"):
            tree_of({"t": torch.zeros(2)})

    def test_subclasses_come_back_as_what_they_were(self, torch):
        class Mine(torch.Tensor):
            pass

        x0 = {"p": torch.nn.Parameter(torch.ones(2)), "m": torch.ones(3).as_subclass(Mine), "t": torch.ones(1)}
        tree = tree_of(x0, "torch")
        x = tree.restore(tree.pack_x0() + 1.0)
        assert [type(x[k]) for k in x0] == [torch.nn.Parameter, Mine, torch.Tensor]
        assert [x[k].requires_grad for k in x0] == [True, False, False]
        assert all((x[k] == 2.0).all() for k in x0)

    def test_bfloat16_leaves_lie_in_a_float32_vector(self, torch):
        tree = tree_of([torch.ones(2, dtype=torch.bfloat16), torch.ones(1, dtype=torch.float16)], "torch")
        (vector,) = tree.point(tree.pack_x0())
        assert vector.dtype == torch.float32
        assert [leaf.dtype for leaf in tree.unpack((vector,))] == [torch.bfloat16, torch.float16]
        np.testing.assert_array_equal(tree.eps(), [2.0**-7, 2.0**-7, 2.0**-10])

    def test_user_defined_subclass_of_a_known_framework_is_recognised(self, torch):
        class Mine(torch.Tensor):
            pass

        assert backend_of(torch.zeros(2).as_subclass(Mine)) == "torch"
