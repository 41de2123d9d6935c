"""Names find the parts of a nest: keys, paths, globs; and say what is near where they find nothing."""

from collections import namedtuple
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmin_core import InputError
from dmin_core._globs import Glob, Names
from dmin_core._leaves import flatten, paths

pytestmark = pytest.mark.numpy

Pair = namedtuple("Pair", ["w", "b"])


@dataclass
class Layer:
    kernel: Any
    bias: Any = 0.0


NEST = {
    "encoder": {"layers": [Layer(1.0), Layer(1.0)], "log_var": 0.0},
    "decoder": Pair(1.0, {"log_var": 0.0}),
    "log_var": 0.0,
    7: 1.0,
}
FLAT = {"dense/kernel": 1.0, "dense/bias": 1.0, "out": 1.0, "a*": 1.0, "ab": 1.0}


def named(key, x0, **options):
    """The paths of the leaves that a name means."""
    _, spec = flatten(x0)
    names = paths(spec)
    return [names[i] for i in Names(x0, spec, "bounds").find(key, **options).leaves]


@pytest.mark.parametrize(
    ("pattern", "matches", "matches_not"),
    [
        ("w", ["w", "w/0", "w/b/c"], ["v", "ww", "a/w", ""]),
        ("w/", ["w", "w/0"], ["v"]),
        ("/w", ["w", "w/0"], ["a/w"]),
        ("*", ["w", "w/0"], [""]),
        ("**", ["", "w", "w/0"], []),
        ("encoder/*", ["encoder/w", "encoder/a/b"], ["encoder", "decoder/w", "a/encoder/w"]),
        ("encoder/**", ["encoder", "encoder/w", "encoder/a/b"], ["decoder", "a/encoder"]),
        ("*/log_var", ["encoder/log_var", "a/log_var/b"], ["log_var", "a/b/log_var", "a/log_vars"]),
        ("**/log_var", ["log_var", "a/log_var", "a/b/log_var"], ["log_vars", "a/b"]),
        ("a/**/w", ["a/w", "a/b/w", "a/b/c/w", "a/b/w/d"], ["w", "a/b", "b/w"]),
        ("a/*/*/w", ["a/b/c/w"], ["a/b/w", "a/b/c/d/w"]),
        ("**/a/**/w", ["a/w", "c/a/b/w"], ["c/w"]),
        ("w?", ["w0", "w1/b"], ["w", "w10"]),
        ("w[01]", ["w0", "w1"], ["w2", "w"]),
        ("w[!01]", ["w2"], ["w0", "w", "w22"]),
        ("[*]", ["*"], ["a"]),
        ("[", ["["], ["a"]),
        ("W", ["W"], ["w"]),
        ("a.b", ["a.b"], ["axb"]),
        ("w*x", ["wx", "w*x", "w\nx"], ["w/x"]),
    ],
)
def test_what_a_glob_covers(pattern, matches, matches_not):
    glob = Glob(pattern)
    steps = {text: tuple(text.split("/")) if text else () for text in [*matches, *matches_not]}
    assert [text for text, each in steps.items() if glob.covers(each)] == matches


@pytest.mark.parametrize(
    ("key", "leaves"),
    [
        ("log_var", ["x0['log_var']"]),
        ("encoder/log_var", ["x0['encoder']['log_var']"]),
        ("*/log_var", ["x0['encoder']['log_var']"]),
        ("**/log_var", ["x0['encoder']['log_var']", "x0['decoder'].b['log_var']", "x0['log_var']"]),
        ("encoder/layers/*/bias", ["x0['encoder']['layers'][0].bias", "x0['encoder']['layers'][1].bias"]),
        ("encoder/layers/[!0]", ["x0['encoder']['layers'][1].kernel", "x0['encoder']['layers'][1].bias"]),
        ("x0['encoder']['layers'][1]", ["x0['encoder']['layers'][1].kernel", "x0['encoder']['layers'][1].bias"]),
        ("x0['encoder']['layers'][1].bias", ["x0['encoder']['layers'][1].bias"]),
        ("decoder/w", ["x0['decoder'].w"]),
        ("decoder", ["x0['decoder'].w", "x0['decoder'].b['log_var']"]),
        (7, ["x0[7]"]),
        ("7", ["x0[7]"]),
    ],
    ids=str,
)
def test_names_of_a_nest(key, leaves):
    assert sorted(named(key, NEST)) == sorted(leaves)


@pytest.mark.parametrize(
    ("key", "leaves"),
    [
        ("dense/kernel", ["x0['dense/kernel']"]),
        ("dense/*", ["x0['dense/bias']", "x0['dense/kernel']"]),
        ("dense", ["x0['dense/bias']", "x0['dense/kernel']"]),
        ("**/kernel", ["x0['dense/kernel']"]),
        ("a*", ["x0['a*']"]),
        ("a?", ["x0['a*']", "x0['ab']"]),
        ("a[*]", ["x0['a*']"]),
    ],
)
def test_keys_with_slashes_are_steps_and_keys_go_before_globs(key, leaves):
    assert named(key, FLAT) == leaves


def test_a_nested_name_starts_where_its_dictionary_stands():
    _, spec = flatten(NEST)
    names = Names(NEST, spec, "bounds")
    entries = names.entries({"encoder": {"layers": {0: 1, "*/bias": 2}}, "decoder": {"b": {"log_var": 3}}})
    found = {entry.value: [paths(spec)[i] for i in entry.leaves] for entry in entries}
    assert found == {
        1: ["x0['encoder']['layers'][0].kernel", "x0['encoder']['layers'][0].bias"],
        2: ["x0['encoder']['layers'][0].bias", "x0['encoder']['layers'][1].bias"],
        3: ["x0['decoder'].b['log_var']"],
    }


def test_globs_come_before_names_so_that_names_may_overwrite_them():
    _, spec = flatten(NEST)
    said = {"log_var": 1, "**": 2, "encoder": {"*": 3, "log_var": 4}, "dec*": 5}
    assert [entry.value for entry in Names(NEST, spec, "bounds").entries(said)] == [2, 3, 5, 1, 4]


def test_an_array_alone_is_x0():
    x0 = np.zeros(3)
    assert named("x0", x0) == named("**", x0) == ["x0"]


@pytest.mark.parametrize(
    ("key", "x0", "says"),
    [
        ("log", NEST, "bounds names 'log', which x0 does not have; it has 'encoder', 'decoder', 'log_var', 7"),
        ("bias", NEST, r"it has .*\. It is further down: '\*\*/bias' names it"),
        ("*/kernel", NEST, r"it has .*'encoder/layers/0/kernel'.*further down: '\*\*/\*/kernel'"),
        ("encoder/log_vra", NEST, "it has 'encoder/log_var'"),
        ("x0['nowhere']", NEST, "it has .*encoder"),
        ("x0.encoder", NEST, "which x0 does not have"),
        (8, NEST, "names 8, which x0 does not have; it has 'encoder'"),
        ("w", [1.0, 2.0], "it has '0', '1'"),
        (2, [1.0, 2.0], "names 2, which x0 does not have"),
        (True, [1.0, 2.0], "names True, which x0 does not have"),
        ("w", np.zeros(2), "it has no parts, and is named 'x0'"),
        ("*", np.zeros(2), "it has no parts"),
        ("q*", {f"p{i}": 0.0 for i in range(20)}, "it has 'p0', 'p1', 'p10', .*'p15', …"),
    ],
    ids=str,
)
def test_a_name_of_nothing_is_an_error_that_lists_what_is_near(key, x0, says):
    with pytest.raises(InputError, match=f"(?s){says}"):
        named(key, x0)


# Properties -----------------------------------------------------------------------------------------------

STEP = st.text("ab*?[!]", min_size=1, max_size=3)
PATTERN = st.lists(STEP | st.just("**"), min_size=1, max_size=5)
STEPS = st.lists(st.text("ab*", min_size=1, max_size=3), max_size=5)


def covers(parts, steps):
    """The definition, word for word."""
    if not parts:
        return True
    if parts[0] == "**":
        return any(covers(parts[1:], steps[i:]) for i in range(len(steps) + 1))
    return bool(steps) and fnmatchcase(steps[0], parts[0]) and covers(parts[1:], steps[1:])


@settings(max_examples=300, deadline=None)
@given(PATTERN, STEPS)
def test_globs_match_by_their_definition(parts, steps):
    assert Glob("/".join(parts)).covers(tuple(steps)) == covers(parts, steps)


@settings(max_examples=100, deadline=None)
@given(STEPS.filter(bool), STEPS)
def test_a_path_names_itself_and_what_is_below(steps, below):
    pattern = "/".join(step.replace("*", "[*]") for step in steps)
    assert Glob(pattern).covers((*steps, *below))
    assert Glob(f"**/{pattern}").covers((*below, *steps))


KEYS = st.text("ab/*[", max_size=3)
NESTS = st.recursive(
    st.just(1.0), lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3) | st.lists(inner, max_size=3)
)


@settings(max_examples=200, deadline=None)
@given(NESTS)
def test_every_leaf_is_found_by_its_path(x0):
    _, spec = flatten(x0)
    names = Names(x0, spec, "bounds")
    assert [list(names.find(path).leaves) for path in paths(spec)] == [[i] for i in range(spec.num_leaves)]
