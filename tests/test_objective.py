"""What `fun` and `hess` may return, and when two objectives are the same to a cache."""

import numpy as np
import pytest
from scipy import sparse

from dmin_core import ObjectiveError, get_backend
from dmin_core._objective import Objective, dense_hessian, value_and_nest
from dmin_core._tree import Tree

pytestmark = pytest.mark.numpy

BACKEND = get_backend("numpy")


def tree_of(x0):
    return Tree(x0, BACKEND)


def evaluate(fun, x0=None):
    tree = tree_of({"w": np.ones(2), "b": 3.0} if x0 is None else x0)
    return Objective(fun, tree)(tree.point(tree.pack_x0()))


@pytest.mark.parametrize(
    "value",
    [
        2.5,
        2,
        np.float64(2.5),
        np.float32(2.5),
        np.array(2.5),
        np.array([2.5]),
        np.full((1, 1), 2.5),
        np.longdouble(2.5),
    ],
    ids=repr,
)
def test_whatever_holds_one_real_number_is_a_scalar(value):
    result = evaluate(lambda p: value)
    assert np.shape(result) == ()
    assert float(result) == float(np.ravel(value)[0])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "returned None; .*`return` missing"),
        ((1.0, np.zeros(2)), "returned a tuple of 2; .*pass jac=True"),
        ([1.0], "returned a list of 1"),
        (np.zeros(2), r"returned shape \(2,\); .*Sum or average"),
        (np.zeros((1, 3)), r"returned shape \(1, 3\)"),
        (np.zeros(0), r"returned shape \(0,\)"),
        (1j, "complex number 1j; .*real scalar"),
        (np.complex128(1j), "complex"),
        (np.array(1.0 + 0j), "complex"),
        (np.int64(3), "dtype int64; .*real floating scalar"),
        (np.bool_(True), "dtype bool"),
        ("3.0", "returned a str"),
        ({"loss": 1.0}, "returned a dict"),
    ],
    ids=repr,
)
def test_what_is_no_real_scalar_is_refused(value, says):
    with pytest.raises(ObjectiveError, match=f"`fun` {says}|`fun` .*{says}"):
        evaluate(lambda p: value)


def test_fun_gets_the_nest_and_args():
    tree = tree_of({"w": np.ones(2), "b": 3.0})
    objective = Objective(lambda p, a, b: np.sum(p["w"]) * a + p["b"] * b, tree)
    assert objective(tree.point(tree.pack_x0()), 10.0, 100.0) == 320.0


def fun_one(p):
    return np.sum(p["w"])


def fun_two(p):
    return np.sum(p["w"])


def test_objectives_of_one_fun_over_like_nests_are_equal():
    one = Objective(fun_one, tree_of({"w": np.zeros(2), "act": "relu"}))
    two = Objective(fun_one, tree_of({"w": np.ones(2), "act": "relu"}))
    assert one == two
    assert hash(one) == hash(two)


@pytest.mark.parametrize(
    ("fun", "x0"),
    [
        (fun_two, {"w": np.zeros(2), "act": "relu"}),
        (fun_one, {"w": np.zeros(3), "act": "relu"}),
        (fun_one, {"w": np.zeros((2, 1)), "act": "relu"}),
        (fun_one, {"w": np.zeros(2, np.float32), "act": "relu"}),
        (fun_one, {"w": np.zeros(2), "act": "tanh"}),
        (fun_one, {"v": np.zeros(2), "act": "relu"}),
    ],
    ids=["fun", "size", "shape", "dtype", "static leaf", "name"],
)
def test_objectives_differ_by(fun, x0):
    assert Objective(fun, tree_of(x0)) != Objective(fun_one, tree_of({"w": np.zeros(2), "act": "relu"}))


@pytest.mark.parametrize("returned", [(1.0, "nest"), [1.0, "nest"]])
def test_a_pair_is_taken_apart(returned):
    assert value_and_nest(returned) == (1.0, "nest")


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (1.0, "it returned a float"),
        (None, "it returned a NoneType"),
        (np.zeros(3), r"it returned shape \(3,\)"),
        ((1.0, 2.0, 3.0), "it returned a tuple"),
    ],
    ids=repr,
)
def test_what_is_no_pair_is_refused(returned, says):
    with pytest.raises(ObjectiveError, match=rf"With jac=True `fun` must return \(value, gradient\).*{says}"):
        value_and_nest(returned)


# Dense Hessians -------------------------------------------------------------------------------------------

H = np.arange(9.0).reshape(3, 3)
NEST = {"b": 0.0, "w": np.zeros((2, 1))}
BLOCKS = {
    "b": {"b": H[0, 0], "w": H[0, 1:].reshape(2, 1)},
    "w": {"b": H[1:, 0].reshape(2, 1), "w": H[1:, 1:].reshape(2, 1, 2, 1)},
}


@pytest.mark.parametrize(
    ("returned", "x0"),
    [
        (H, NEST),
        (BLOCKS, NEST),
        (H, np.zeros(3)),
        (H.tolist(), np.zeros(3)),
        (H.reshape(3, 1, 3, 1), np.zeros((3, 1))),
    ],
    ids=["flat", "blocks", "vector", "lists", "a matrix leaf"],
)
def test_forms_of_a_hessian(returned, x0):
    np.testing.assert_array_equal(dense_hessian(returned, tree_of(x0)), H)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.linalg.aslinearoperator])
def test_sparse_hessians_and_operators_are_taken(form):
    np.testing.assert_array_equal(dense_hessian(form(H), tree_of(np.zeros(3))), H)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (np.zeros((2, 2)), r"`hess` returned shape \(2, 2\); expected \(3, 3\), or a nest of blocks"),
        (None, "hess"),
        ({"b": BLOCKS["b"]}, r"The Hessian from `hess` is not nested as x0 is: x0\['w'\] has no counterpart"),
        ({"b": BLOCKS["b"], "w": {"b": 0.0}}, r"The row of the Hessian from `hess` at x0\['w'\]"),
        (
            {"b": BLOCKS["b"], "w": {"b": np.zeros(2), "w": BLOCKS["w"]["w"]}},
            r"block of shape \(2,\) at x0\['w'\], x0\['b'\]; expected \(2, 1\)",
        ),
        (H + 1j, "`hess`.*(complex|real)"),
        ({"b": {"b": 1j, "w": BLOCKS["b"]["w"]}, "w": BLOCKS["w"]}, r"`hess`.*x0\['b'\], x0\['b'\]"),
        ({"b": {"b": [[1.0], []], "w": 0.0}, "w": BLOCKS["w"]}, r"`hess` returned a list at x0\['b'\], x0\['b'\]: "),
    ],
    ids=["shape", "None", "rows", "row", "block", "complex", "complex block", "ragged block"],
)
def test_a_hessian_that_does_not_fit_is_named(returned, says):
    with pytest.raises(ObjectiveError, match=f"(?s){says}"):
        dense_hessian(returned, tree_of(NEST))
