"""Matching another nest against x0's, and saying where they part."""

from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from dmin_core._match import Mismatch, match

pytestmark = pytest.mark.numpy

Pair = namedtuple("Pair", ["w", "b"])


@dataclass
class Layer:
    w: Any
    b: Any = 0.0


def is_number(node):
    return isinstance(node, int | float) or node is None


@pytest.mark.parametrize(
    ("nest", "other", "expected"),
    [
        (1.0, "whatever", ["whatever"]),
        ({"b": 1.0, "a": 2.0}, {"a": "A", "b": "B"}, ["A", "B"]),
        (OrderedDict(b=1.0, a=2.0), {"a": "A", "b": "B"}, ["B", "A"]),
        ({"b": 1.0, "a": 2.0}, OrderedDict(b="B", a="A"), ["A", "B"]),
        ([1.0, 2.0], ("A", "B"), ["A", "B"]),
        (Pair(1.0, [2.0]), Pair("A", ["B"]), ["A", "B"]),
        (Layer(1.0, {"c": 2.0}), Layer("A", {"c": "B"}), ["A", "B"]),
        ({"w": 1.0, "act": "relu"}, {"w": "A"}, [None, "A"]),
        ({10: 1.0, 9: 2.0}, {9: "nine", 10: "ten"}, ["nine", "ten"]),
    ],
    ids=str,
)
def test_leaves_are_matched(nest, other, expected):
    assert match(nest, other) == expected


def test_a_mapping_of_a_class_met_for_the_first_time_is_one():
    """As frameworks have of their own, which say how they are taken apart."""

    @dataclass
    class Known(Mapping):
        a: Any
        b: Any

        def __getitem__(self, key):
            return getattr(self, key)

        def __iter__(self):
            return iter("ab")

        def __len__(self):
            return 2

    assert match({"b": 1.0, "a": 2.0}, Known("A", "B")) == ["A", "B"]


def test_what_spreads_stands_for_everything_below():
    nest = {"a": {"u": 1.0, "v": [2.0, "static"]}, "b": 3.0}
    assert match(nest, {"a": 7, "b": None}, spreads=is_number) == [7, 7, 7, None]


@pytest.mark.parametrize(
    ("nest", "other", "says"),
    [
        ({"a": 1.0, "b": [1.0]}, {"a": 1.0}, r"^x0\['b'\] has no counterpart$"),
        ({"a": [1.0]}, {"a": [1.0, 2.0]}, r"^there is no x0\['a'\]\[1\]$"),
        ({"a": [1.0]}, {"a": {"b": 1.0}}, r"^x0\['a'\] is a list, its counterpart a dict$"),
        (Pair(1.0, [2.0]), (1.0, [2.0]), r"^x0 is a Pair, its counterpart a tuple$"),
        (Layer([1.0, 2.0]), Layer([1.0]), r"^x0\.w\[1\] has no counterpart$"),
        ([[1.0]], [None], r"^x0\[0\] is a list, its counterpart a NoneType$"),
    ],
    ids=str,
)
def test_where_nests_part_is_named(nest, other, says):
    with pytest.raises(Mismatch, match=says):
        match(nest, other)
