"""A result reads well as text and in a notebook, however large it is."""

import html.parser

import numpy as np
import pytest

from dmin_core import Result, backends, get_backend, minimize
from dmin_core._display import LEAVES, describe, nest_as_text, seconds

BACKENDS = [name for name, info in backends().items() if info.error is None and info.devices]


def small(**given):
    return minimize(lambda p: np.sum((p["w"] - 3.0) ** 2), {"w": np.zeros(2), "kind": "a<b"}, **given)


def large(leaves=3, size=1000):
    def fun(p):
        return sum(np.sum((w - 1) ** 2) for w in p["w"]), {"w": [2 * (w - 1) for w in p["w"]]}

    return minimize(fun, {"w": [np.zeros((size, 2), np.float32) for _ in range(leaves)]}, jac=True)


def test_a_small_nest_is_shown_as_it_is():
    result = small()
    assert "        x: {'w': array([3., 3.]), 'kind': 'a<b'}" in repr(result)
    assert str(result) == repr(result)


def test_a_large_nest_is_shown_leaf_by_leaf():
    text = repr(large())
    assert "x: 3 leaves, 6,000 numbers" in text
    assert "x['w'][0]  float32  (1000, 2)  1 … 1" in text
    assert "jac['w'][2]  float32  (1000, 2)" in text
    assert len(text) < 1500


def test_many_leaves_are_counted_and_not_all_listed():
    text = repr(large(leaves=40, size=50))
    assert f"… and {40 - LEAVES} more leaves" in text
    assert len(text.splitlines()) < 2 * LEAVES + 30


@pytest.mark.parametrize("backend", BACKENDS)
def test_leaves_of_every_framework_are_described(backend):
    host = get_backend(backend)
    nest = {"a": host.from_numpy(np.arange(10.0, dtype=np.float32), None), "b": [host.from_numpy(np.array(0.5), None)]}
    rows = describe(nest, "x", backend)
    assert rows[0] == ("x['a']", "float32", "(10,)", "0 … 9")
    assert rows[1][0] == "x['b'][0]"
    assert rows[1][2:] == ("()", "0.5")


def test_what_is_not_finite_and_what_is_no_array_is_said():
    nest = {"a": np.array([1.0, np.nan, 3.0, np.inf, 2.0]), "b": None, "c": "x" * 100, "d": np.zeros(0)}
    rows = {row[0]: row[3] for row in describe(nest, "x", "numpy")}
    assert rows["x['a']"] == "1 … inf, 2 not finite"
    assert rows["x['b']"] == "None"
    assert len(rows["x['c']"]) == 40
    assert rows["x['d']"] == "empty"


def test_a_leaf_that_cannot_be_read_is_named_by_its_class():
    assert describe({"m": np.ma.zeros(9)}, "x", "numpy")[0][3] == "numpy.MaskedArray"


def test_the_time_says_where_it_went():
    assert seconds({"objective": 1.5, "copies": 0.0, "solver": 0.5, "total": 2.0}) == "2 s (objective 75%, solver 25%)"
    assert seconds({"total": 0.0}) == "0 s"
    assert "     time: " in repr(small())


def test_an_unusual_result_is_shown_too():
    assert "also: hess_inv" in repr(Result({"x": 1.0, "hess_inv": np.eye(2)}))
    assert "not converged" in Result({})._repr_html_()


def test_text_is_short_for_a_million_numbers():
    assert len(nest_as_text([np.zeros(10**6)], "x", "numpy")) < 200


# In a notebook -------------------------------------------------------------------------------------------


class Checker(html.parser.HTMLParser):
    """That every element is closed in its turn, and what text there is."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(result):
    checker = Checker()
    checker.feed(result._repr_html_())
    checker.close()
    assert not checker.open
    return checker


@pytest.mark.parametrize("make", [small, large])
def test_the_table_is_well_formed_and_says_what_matters(make):
    result = make()
    checker = parsed(result)
    said = "\n".join(checker.text)
    assert f"✓ converged: {result.message}" in said
    assert f"{result.fun:.10g}" in said
    assert "x['w']" in said
    assert result.method in said
    assert set(checker.tags) <= {"div", "table", "tr", "td", "th"}


def test_what_the_user_or_a_method_wrote_is_escaped():
    result = small()
    result["message"] = "<script>alert(1)</script> & so on"
    result["<b>extra</b>"] = 1
    text = result._repr_html_()
    assert "<script" not in text
    assert "<b>" not in text
    assert "a&lt;b" in text
    said = "".join(parsed(result).text)
    assert "<script>alert(1)</script> & so on" in said


def test_the_table_sets_no_colour_of_its_own():
    # It must be read on a light page and on a dark one.
    text = large()._repr_html_()
    for declaration in ("background:", "color:"):
        values = {part.partition(";")[0].partition('"')[0].partition("'")[0] for part in text.split(declaration)[1:]}
        assert values <= {"transparent", "inherit"}


def test_a_failed_run_says_so():
    assert "✗ not converged" in small(options={"maxfun": 1})._repr_html_()
