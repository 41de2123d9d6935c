"""Frozen leaves: named in every form, out of the vector, the same objects in `fun` and in the result."""

import gc
import weakref
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dmin_core import Bounds, InputError, ObjectiveError, backends, get_backend, methods, minimize
from dmin_core._bounds import flatten_bounds
from dmin_core._frozen import find_frozen
from dmin_core._leaves import flatten, is_number, paths
from dmin_core._objective import Objective
from dmin_core._tree import Tree
from dmin_core.solvers import EMBEDDED

Pair = namedtuple("Pair", ["w", "b"])
USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
COMPILING = [name for name in USABLE if get_backend(name).compiles]


@dataclass
class Layer:
    kernel: Any
    bias: Any = 0.0


NEST = {"encoder": [Layer(np.zeros(2), 0.5), Layer(np.ones(2), 1.5)], "head": Pair(np.zeros(3), 2.0), "kind": "vae"}
LEAVES = {
    "k0": "x0['encoder'][0].kernel",
    "b0": "x0['encoder'][0].bias",
    "k1": "x0['encoder'][1].kernel",
    "b1": "x0['encoder'][1].bias",
    "w": "x0['head'].w",
    "b": "x0['head'].b",
    "kind": "x0['kind']",
}


def frozen_paths(frozen, x0=NEST):
    _, spec = flatten(x0)
    names = paths(spec)
    return [names[i] for i in sorted(find_frozen(frozen, x0, spec))]


def tree_of(x0, frozen, backend="numpy"):
    leaves, spec = flatten(x0)
    return Tree(x0, get_backend(backend), leaves, spec, find_frozen(frozen, x0, spec))


def arrays(backend, *values):
    host = get_backend(backend)
    return [host.from_numpy(np.array(each, dtype=np.float32), None) for each in values]


def squares(backend, calls=None):
    """Sum of squared distances to a frozen leaf, in a framework; ``calls`` notes what `fun` was given."""
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1, np.float32), None))

    def fun(p):
        if calls is not None:
            calls.append(p)
        return xp.sum((p["w"] - p["c"]) ** 2) * p["s"]

    return fun


def close(backend, array, expected):
    # Methods stop where float32's values no longer tell points apart; its differences have fewer digits still.
    tolerance = np.finfo(np.float32).eps ** (1 / 2 if get_backend(backend).exact_gradient else 1 / 3) * 2
    np.testing.assert_allclose(get_backend(backend).to_numpy(array), expected, rtol=tolerance, atol=tolerance)


# What is frozen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frozen", "leaves"),
    [
        (None, ""),
        (False, ""),
        ({}, ""),
        ([], None),
        (set(), ""),
        ("head/b", "b"),
        ("x0['head'].b", "b"),
        ("x0['encoder'][1]", "k1 b1"),
        ("encoder", "k0 b0 k1 b1"),
        ("encoder/*", "k0 b0 k1 b1"),
        ("encoder/*/bias", "b0 b1"),
        ("**/b*", "b0 b1 b"),
        (["encoder/0", "head/w"], "k0 b0 w"),
        (("encoder/0", "head/w"), "k0 b0 w"),
        ({"encoder/0", "**/bias"}, "k0 b0 b1"),
        (frozenset({"head"}), "w b"),
        ({"encoder": True}, "k0 b0 k1 b1"),
        ({"encoder": True, "head": False}, "k0 b0 k1 b1"),
        ({"encoder": None, "head": np.True_}, "w b"),
        ({"encoder": [True, False]}, "k0 b0"),
        ({"encoder": (Layer(True, False), False)}, "k0"),
        ({"encoder": [{"bias": True}, False]}, "b0"),
        ({"encoder": {"*/bias": True, 0: {"kernel": True}}}, "k0 b0 b1"),
        ({"encoder": False, "head": Pair(False, True), "kind": False}, "b"),
        ({"head": Pair(None, True)}, "b"),
        ({"**": True, "head": False}, "k0 b0 k1 b1 kind"),
        ({"head": False, "**": True}, "k0 b0 k1 b1 kind"),
        ({"**/bias": True, "encoder/0/*": False}, "b1"),
        ({"encoder/0/*": False, "**/bias": True}, "b0 b1"),
        (True, "k0 b0 k1 b1 w b kind"),
    ],
    ids=lambda given: str(sorted(given) if isinstance(given, set) else given),  # a set's order differs by process
)
def test_forms(frozen, leaves):
    if leaves is None:  # an empty list is a nest, as ever
        with pytest.raises(InputError, match=r"x0 is a dict of 3, its counterpart a list of 0"):
            frozen_paths(frozen)
        return
    assert frozen_paths(frozen) == [LEAVES[name] for name in leaves.split()]


@pytest.mark.parametrize(
    ("frozen", "x0", "says"),
    [
        ("enc", NEST, "frozen names 'enc', which x0 does not have; it has 'encoder', 'head', 'kind'"),
        (["head", "*/bias"], NEST, r"frozen names '\*/bias'.*'encoder/0/bias'.*further down: '\*\*/\*/bias'"),
        ({"encoder": {"2/*": True}}, NEST, r"names '2/\*', which x0\['encoder'\] does not have"),
        ({"head": "w"}, NEST, r"frozen has 'w' at x0\['head'\]; expected True or False"),
        ({"head": 1}, NEST, r"frozen has 1 at x0\['head'\]; expected True or False"),
        (
            {"head/w": np.array([True, False, True])},
            NEST,
            r"numpy.ndarray at x0\['head'\].w: a leaf is frozen as a whole",
        ),
        ({"**": [True]}, NEST, r"frozen has \[True\] at '\*\*'; expected"),
        ({"head": {"w": {"a": True}}}, NEST, r"frozen has \{'a': True\} at x0\['head'\].w"),
        ({"encoder": [True]}, NEST, r"x0\['encoder'\] is a list of 2, its counterpart a list of 1"),
        ({"head": Layer(True, True)}, NEST, r"x0\['head'\] is a Pair of 2, its counterpart a Layer of 2"),
        ([True, False, True], NEST, "x0 is a dict of 3, its counterpart a list of 3"),
        (3, NEST, "frozen has 3 at x0; expected"),
        ([True, "b"], [1.0, 2.0], r"frozen has 'b' at x0\[1\]"),
        (np.array([True, False]), [1.0, 2.0], "frozen has a numpy.ndarray at x0"),
    ],
    ids=str,
)
def test_wrong_forms_name_the_part(frozen, x0, says):
    with pytest.raises(InputError, match=f"(?s){says}"):
        minimize(never, x0, frozen=frozen)


def never(*args):
    raise AssertionError("evaluated")


@pytest.mark.parametrize(
    ("frozen", "x0", "says"),
    [
        (True, NEST, r"frozen leaves nothing to optimise: it holds for x0\['encoder'\]\[0\].kernel, .*, …"),
        ("x0", np.zeros(3), "frozen leaves nothing to optimise: it holds for x0. Leave a floating leaf free"),
        ("w", {"w": np.zeros(3), "name": "text"}, r"frozen leaves nothing to optimise: it holds for x0\['w'\]"),
    ],
    ids=["a nest", "an array", "the only array"],
)
@pytest.mark.parametrize("backend", [None, "numpy"])
def test_something_must_be_left(frozen, x0, says, backend):
    with pytest.raises(InputError, match=says):
        minimize(never, x0, frozen=frozen, backend=backend)


def test_what_is_left_must_still_be_numbers():
    with pytest.raises(InputError, match=r"x0\['n'\] has dtype int64.*or name it in frozen="):
        minimize(never, {"w": np.zeros(2), "n": np.arange(3, dtype=np.int64)}, frozen="w")


# In a run -------------------------------------------------------------------------------------------------


def distance(p):
    return np.sum((p["w"] - p["target"]) ** 2) * p["scale"]


def posed(**more):
    return {"w": np.zeros(3), "target": np.array([1, 2, 3]), "scale": 2.0, **more}


def test_frozen_leaves_are_the_same_objects_everywhere():
    x0, seen = posed(), []

    def fun(p):
        seen.append(p)
        return distance(p)

    result = minimize(fun, x0, frozen=["target", "scale"], callback=seen.append)
    assert result.success
    np.testing.assert_allclose(result.x["w"], [1, 2, 3], rtol=1e-6)
    for nest in [*seen, result.x]:
        assert nest["target"] is x0["target"]
        assert nest["scale"] is x0["scale"]
    assert len(seen) > result.nfev


def test_the_gradient_of_the_result_is_none_where_none_was_computed():
    result = minimize(distance, posed(kind="text"), frozen=["target", "scale"])
    assert result.jac["target"] is result.jac["scale"] is None
    assert result.jac["w"].shape == (3,)
    assert result.jac["kind"] == "text"


def test_the_vector_holds_what_is_left():
    seen = []

    def method(fun, x0, args, **options):
        from scipy.optimize import OptimizeResult

        seen.append(x0)
        return OptimizeResult(x=x0, fun=fun(x0), success=True)

    minimize(distance, posed(), frozen=["target", "scale"], method=method)
    np.testing.assert_array_equal(seen, [[0, 0, 0]])


@pytest.mark.parametrize("leaf", [3, 1j, True, np.arange(2), np.array([1j]), np.array(["a"]), {1.5}, range(2), None])
def test_anything_may_be_frozen(leaf):
    x0 = {"w": np.zeros(2), "leaf": leaf}
    result = minimize(lambda p: np.sum((p["w"] - 1) ** 2) + 0 * (p["leaf"] is leaf), x0, frozen="leaf")
    assert result.x["leaf"] is leaf
    np.testing.assert_allclose(result.x["w"], 1, rtol=1e-6)


@pytest.mark.parametrize(
    "gradient",
    [
        lambda g: {"w": g, "fixed": {"a": None, "b": None}},
        lambda g: {"w": g, "fixed": None},
        lambda g: {"w": g, "fixed": "whatever"},
        lambda g: {"w": g, "fixed": {"a": np.zeros(5), "b": 1.0}},
        lambda g: {"w": g, "fixed": {"a": 1}},
        lambda g: {"w": g},
    ],
    ids=["None", "None for all", "anything", "arrays", "a part", "nothing"],
)
@pytest.mark.parametrize("how", ["jac", "pair"])
def test_a_gradient_may_say_anything_of_frozen_leaves(gradient, how):
    x0 = {"w": np.zeros(2), "fixed": {"a": np.ones(2), "b": 1.0}}

    def fun(p):
        return np.sum((p["w"] - p["fixed"]["a"]) ** 2)

    def jac(p):
        return gradient(2 * (p["w"] - p["fixed"]["a"]))

    given = {"jac": jac} if how == "jac" else {"jac": True}
    objective = fun if how == "jac" else lambda p: (fun(p), jac(p))
    result = minimize(objective, x0, frozen="fixed", **given)
    np.testing.assert_allclose(result.x["w"], 1, rtol=1e-6)
    assert result.njev < 10


def test_a_gradient_must_still_be_nested_as_the_rest_of_x0_is():
    with pytest.raises(ObjectiveError, match=r"x0\['w'\] has no counterpart"):
        minimize(distance, posed(), jac=lambda p: {"target": 0.0}, frozen=["target", "scale"])


def test_the_direction_of_a_product_does_not_move_frozen_leaves():
    x0 = {"w": np.zeros(2), "c": np.ones(2), "n": np.arange(2), "s": 2.0}
    seen = []

    def hessp(x, p):
        seen.append(p)
        assert x["c"] is x0["c"]
        # The product of the whole Hessian of fun over w and c, of which the part at w counts.
        return {"w": 2 * (p["w"] - p["c"]), "c": 2 * (p["c"] - p["w"])}

    result = minimize(
        lambda p: np.sum((p["w"] - p["c"]) ** 2),
        x0,
        jac=lambda p: {"w": 2 * (p["w"] - p["c"])},
        hessp=hessp,
        method="trust-ncg",
        frozen=["c", "n", "s"],
    )
    np.testing.assert_allclose(result.x["w"], 1, rtol=1e-6)
    assert seen
    for p in seen:
        np.testing.assert_array_equal(p["c"], [0, 0])
        assert p["s"] == 0.0
        assert p["n"] is x0["n"]


def test_a_hessian_may_say_anything_of_frozen_leaves():
    blocks = {"w": {"w": 2 * np.eye(2), "c": None}, "c": None}
    result = minimize(
        lambda p: np.sum((p["w"] - p["c"]) ** 2),
        {"w": np.zeros(2), "c": np.ones(2)},
        jac=lambda p: {"w": 2 * (p["w"] - p["c"])},
        hess=lambda p: blocks,
        method="trust-exact",
        frozen="c",
    )
    np.testing.assert_allclose(result.x["w"], 1, rtol=1e-6)


@pytest.mark.parametrize("method", EMBEDDED)
def test_a_frozen_problem_is_the_smaller_problem(method):
    def fun(p):
        return np.sum((p["w"] - p["c"]) ** 2) + p["c"][0] * np.sum(p["w"] ** 2) ** 2

    def whole(p):
        return {"w": 2 * (p["w"] - p["c"]) + 4 * p["c"][0] * p["w"] * np.sum(p["w"] ** 2)}

    c, w = np.array([1.0, 2.0]), np.array([0.5, -0.5])
    derivatives = {"jac": whole} if methods()[method].gradient else {}
    frozen = minimize(fun, {"w": w, "c": c}, method=method, frozen="c", **derivatives)
    smaller = minimize(
        lambda p: fun({**p, "c": c}), {"w": w}, method=method, **derivatives and {"jac": lambda p: whole({**p, "c": c})}
    )
    assert (frozen.fun, frozen.nfev, frozen.nit) == (smaller.fun, smaller.nfev, smaller.nit)
    np.testing.assert_array_equal(frozen.x["w"], smaller.x["w"])


@pytest.mark.parametrize("compile", [None, False])
@pytest.mark.parametrize("backend", USABLE)
def test_auxiliary_output_stands_beside_frozen_leaves(backend, compile):
    w, c = arrays(backend, [0.0, 0.0], [1.0, -2.0])
    fun = squares(backend)
    result = minimize(
        lambda p: (fun(p), {"c": p["c"], "s": 2 * p["s"]}),
        {"w": w, "c": c, "s": 0.5},
        has_aux=True,
        frozen=["c", "s"],
        compile=compile,
        backend=backend,
    )
    close(backend, result.x["w"], [1.0, -2.0])
    close(backend, result.aux["c"], [1.0, -2.0])
    assert float(result.aux["s"]) == 1.0


def test_second_derivatives_at_the_answer_are_of_what_is_left():
    x0 = {"w": np.zeros(2), "c": np.array([2.0, 4.0])}
    result = minimize(
        lambda p: np.sum(p["c"] * (p["w"] - 1) ** 2),
        x0,
        jac=lambda p: {"w": 2 * p["c"] * (p["w"] - 1)},
        frozen="c",
    )
    hessian = result.hessian()
    np.testing.assert_allclose(hessian["w"]["w"], np.diag([4.0, 8.0]), atol=1e-5)
    assert hessian["w"]["c"] is hessian["c"] is None
    np.testing.assert_allclose(result.covariance()["w"]["w"], np.diag([1 / 4, 1 / 8]), atol=1e-5)


# With bounds ----------------------------------------------------------------------------------------------


def flat(bounds, x0, frozen):
    pair, keep = flatten_bounds(bounds, x0, tree_of(x0, frozen))
    return pair, keep


@pytest.mark.parametrize(
    "bounds",
    [
        (0, 5),
        Bounds(0, 5),
        ({"a": 0, "b": 0, "c": 0}, 5),
        ({"a": 0, "c": 0}, 5),
        ({"a": 0, "b": "not a number", "c": 0}, 5),
        ({"a": 0, "b": np.zeros(9), "c": 0}, 5),
        {"**": (0, 5)},
        {"a": (0, 5), "b": (7, 6), "c": (0, 5)},
        {"[ac]": (0, 5), "x0['b']": (0, 1)},
    ],
    ids=str,
)
def test_bounds_may_cover_frozen_leaves(bounds):
    x0 = {"a": np.zeros(2), "b": np.array([9, 9, 9]), "c": 1.0}
    (lb, ub), _ = flat(bounds, x0, "b")
    np.testing.assert_array_equal(lb, [0, 0, 0])
    np.testing.assert_array_equal(ub, [5, 5, 5])


@pytest.mark.parametrize(
    "bounds",
    [
        [(0, 1), (2, 3), (None, 5)],
        np.array([[0, 1], [2, 3], [-np.inf, 5]]),
        Bounds([0, 2, -np.inf], [1, 3, 5], keep_feasible=[True, True, False]),
        ([0, 2, None], [1, 3, 5]),
    ],
    ids=["pairs", "array", "Bounds", "lists"],
)
def test_scipys_forms_count_frozen_numbers_too(bounds):
    (lb, ub), keep = flat(bounds, [0.0, 0.5, 1.0], [False, True, False])
    np.testing.assert_array_equal(lb, [0, -np.inf])
    np.testing.assert_array_equal(ub, [1, 5])
    assert keep is False or keep.tolist() == [True, False]


def test_a_name_may_bound_nothing_but_frozen_leaves():
    assert flat({"b": (0, 1), "b*": (0, 1)}, {"a": 1.0, "b": 5.0}, "b")[0] is None


def test_bounds_and_frozen_leaves_in_a_run():
    x0 = posed(log_var=np.zeros(2))
    result = minimize(
        lambda p: distance(p) - np.sum(p["log_var"]),
        x0,
        frozen={"target", "s*"},
        bounds={"**": (None, 2.5), "log_var": (-6, 6)},
        jac="3-point",  # forward differences of a parabola end within 3e-6, by how the machine rounds
    )
    np.testing.assert_allclose(result.x["w"], [1, 2, 2.5], rtol=1e-6)
    np.testing.assert_array_equal(result.x["log_var"], [6, 6])


# In every backend -----------------------------------------------------------------------------------------

GRADIENTS = ["L-BFGS-B", "BFGS", "TNC", "trust-ncg", "trust-exact", "trust-constr", "device-lbfgs", "device-bfgs"]


@pytest.mark.parametrize("compile", [None, False])
@pytest.mark.parametrize("method", GRADIENTS)
@pytest.mark.parametrize("backend", USABLE)
def test_every_backend_hands_frozen_leaves_on(backend, method, compile):
    if not get_backend(backend).exact_gradient and method.startswith("trust"):
        pytest.skip(f"{backend} has no exact gradient, whose differences are too coarse for {method} in float32")
    w, c = arrays(backend, [0.0, 0.0], [1.0, -2.0])
    x0, calls = {"w": w, "c": c, "n": np.arange(3), "s": 0.5}, []
    result = minimize(
        squares(backend, calls), x0, method=method, compile=compile, backend=backend, frozen=["c", "n", "s"]
    )
    close(backend, result.x["w"], [1.0, -2.0])
    for name in ("c", "n", "s"):
        assert result.x[name] is x0[name]
        assert result.jac[name] is None
        if compile is False or not get_backend(backend).compiles:
            assert all(p[name] is x0[name] for p in calls)


@pytest.mark.parametrize("method", ["L-BFGS-B", "Nelder-Mead", "trust-ncg", "trust-exact", "device-lbfgs"])
@pytest.mark.parametrize("backend", COMPILING)
def test_other_frozen_values_compile_nothing_and_none_are_kept(backend, method):
    calls, kept = [], []
    fun = squares(backend, calls)
    traces = []
    for value in (1.0, 2.0, 3.0):
        w, c = arrays(backend, [0.0, 0.0], [value, -value])
        result = minimize(fun, {"w": w, "c": c, "s": value}, method=method, frozen=["c", "s"], options={"maxiter": 200})
        np.testing.assert_allclose(get_backend(backend).to_numpy(result.x["w"]), [value, -value], rtol=1e-2)
        kept.append(weakref.ref(c))
        traces.append(len(calls))
        calls[:] = [None] * len(calls)
        del w, c, result
    assert traces[0] == traces[1] == traces[2] > 0
    gc.collect()
    assert [ref() for ref in kept] == [None] * 3


@pytest.mark.parametrize("backend", COMPILING)
def test_frozen_and_free_are_compiled_apart(backend):
    fun = squares(backend)
    w, c = arrays(backend, [0.0, 0.0], [1.0, -2.0])
    x0 = {"w": w, "c": c, "s": 0.5}
    for frozen, moved in (("c", "w"), ("w", "c"), (None, None), (["c", "s"], "w")):
        result = minimize(fun, x0, frozen=frozen, bounds={"s": (0.5, 1)})
        if moved is not None:
            other = {"w": "c", "c": "w"}[moved]
            close(backend, result.x[moved], get_backend(backend).to_numpy(x0[other]))
            assert result.x[other] is x0[other]


def test_objectives_are_equal_where_the_same_leaves_are_frozen():
    x0 = {"a": np.zeros(2), "b": np.zeros(2), "c": None}
    objectives = [Objective(never, tree_of(x0, frozen)) for frozen in (None, "a", "b", "a")]
    other = Objective(never, tree_of({**x0, "a": np.ones(2)}, "a"))
    assert objectives[1] == objectives[3] == other
    assert hash(objectives[1]) == hash(other)
    assert objectives[0] != objectives[1] != objectives[2] != objectives[0]
    assert objectives[1] != Objective(never, tree_of({**x0, "a": None}, None))


@pytest.mark.parametrize("backend", [name for name in USABLE if name != "numpy"])
def test_a_frozen_leaf_may_be_of_another_framework(backend):
    """The backend is that of the leaves that are left."""
    (w,) = arrays(backend, [0.0, 0.0])
    data = np.ones(2, dtype=np.float32)
    host = get_backend(backend)
    xp = host.namespace(w)

    result = minimize(lambda p: xp.sum((p["w"] - float(np.sum(data))) ** 2), {"w": w, "data": data}, frozen="data")
    close(backend, result.x["w"], [2.0, 2.0])
    assert result.backend == backend
    assert result.x["data"] is data

    seen = []
    result = minimize(
        lambda p: seen.append(p["t"]) or np.sum((p["w"] - 1) ** 2), {"w": np.zeros(2), "t": w}, frozen="t"
    )
    assert result.backend == "numpy"
    assert all(t is w for t in seen)


class TestTorch:
    @pytest.fixture
    def torch(self):
        pytest.importorskip("dmin_torch", reason="dmin-torch is not installed")
        return pytest.importorskip("torch", reason="torch is not installed")

    @pytest.mark.parametrize("method", GRADIENTS)
    def test_a_frozen_parameter_is_itself_and_gets_no_gradient(self, torch, method):
        parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        x0 = {"w": torch.nn.Parameter(torch.zeros(2)), "c": parameter}

        def fun(p):
            assert p["c"] is parameter
            return torch.sum((p["w"] - p["c"]) ** 2)

        result = minimize(fun, x0, method=method, frozen="c")
        torch.testing.assert_close(result.x["w"].detach(), torch.tensor([1.0, 2.0]), rtol=1e-4, atol=1e-4)
        assert result.x["c"] is parameter
        assert parameter.grad is None
        assert x0["w"].grad is None

    def test_a_linear_function_of_what_is_left_has_a_product_beside_a_parameter(self, torch):
        parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        result = minimize(
            lambda p: torch.sum(p["w"] * p["c"]),
            {"w": torch.zeros(2), "c": parameter},
            method="trust-ncg",
            frozen="c",
            options={"maxiter": 3},
        )
        assert result.nhev > 0
        assert parameter.grad is None


class TestTensorFlow:
    @pytest.fixture
    def tf(self):
        pytest.importorskip("dmin_tf", reason="dmin-tf is not installed")
        return pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

    def test_other_frozen_variables_compile_nothing_and_none_are_kept(self, tf):
        calls, kept = [], []

        def fun(p):
            calls.append(None)
            return tf.reduce_sum((p["w"] - p["c"]) ** 2)

        for value in (1.0, 2.0):
            variable = tf.Variable([value, -value])
            result = minimize(fun, {"w": tf.zeros(2), "c": variable}, frozen="c")
            np.testing.assert_allclose(result.x["w"], [value, -value], rtol=1e-4)
            assert result.x["c"] is variable
            kept.append(weakref.ref(variable))
            del variable, result
        assert len(calls) == 1
        gc.collect()
        assert [ref() for ref in kept] == [None, None]

    def test_keras_variables_may_be_frozen(self, tf):
        keras = pytest.importorskip("keras", reason="Keras is not installed")
        if keras.backend.backend() != "tensorflow":
            pytest.skip("Keras runs on another framework here")
        variable = keras.Variable([1.0, 2.0], dtype="float32")
        result = minimize(
            lambda p: tf.reduce_sum((p["w"] - p["c"]) ** 2), {"w": tf.zeros(2), "c": variable}, frozen="c"
        )
        np.testing.assert_allclose(result.x["w"], [1.0, 2.0], rtol=1e-4)
        assert result.x["c"] is variable

    def test_a_frozen_variable_is_itself_where_nothing_is_compiled(self, tf):
        variable, seen = tf.Variable([1.0, 2.0]), []

        def fun(p):
            seen.append(p["c"])
            return tf.reduce_sum((p["w"] - p["c"]) ** 2)

        minimize(fun, {"w": tf.zeros(2), "c": variable}, frozen="c", compile=False)
        assert all(c is variable for c in seen)


class TestJax:
    def test_what_cannot_be_an_input_is_a_constant(self, tmp_path):
        pytest.importorskip("dmin_jax", reason="dmin-jax is not installed")
        jax = pytest.importorskip("jax", reason="JAX is not installed")
        x0 = {"w": jax.numpy.zeros(2), "name": np.array(["a"]), "n": 3, "key": jax.random.key(0)}

        def fun(p):
            assert p["name"] is x0["name"]
            assert p["n"] == 3
            return jax.numpy.sum((p["w"] - jax.random.normal(p["key"], (2,))) ** 2)

        result = minimize(fun, x0, frozen=["name", "n", "key"], checkpoint=tmp_path / "run")
        np.testing.assert_allclose(result.x["w"], jax.random.normal(x0["key"], (2,)), rtol=1e-4)
        assert all(result.x[name] is x0[name] for name in ("name", "n", "key"))


# Properties -----------------------------------------------------------------------------------------------

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=2, max_side=3),
    elements=st.integers(-9, 9),
)
KEYS = st.text("abcxyz'[0]. /*", max_size=4)


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
        st.builds(Layer, children, children),
    )


NESTS = st.tuples(ARRAYS, st.recursive(ARRAYS | st.sampled_from([None, "text", 1.5]), containers, max_leaves=12))
"""The first leaf is never frozen."""


@st.composite
def nests_with_choices(draw):
    x0 = draw(NESTS)
    leaves, _ = flatten(x0)
    return x0, [False, *draw(st.lists(st.booleans(), min_size=len(leaves) - 1, max_size=len(leaves) - 1))]


@settings(max_examples=200, deadline=None)
@given(nests_with_choices(), st.sampled_from(["paths", "nest", "dict"]))
def test_any_choice_of_leaves_can_be_frozen_in_any_form(case, form):
    x0, choice = case
    _, spec = flatten(x0)
    names = [name for name, chosen in zip(paths(spec), choice, strict=True) if chosen]
    frozen = {
        "paths": set(names),
        "nest": spec.unflatten(choice),
        "dict": dict.fromkeys(names, True),
    }[form]
    assert sorted(find_frozen(frozen, x0, spec)) == [i for i, chosen in enumerate(choice) if chosen]


@settings(max_examples=200, deadline=None)
@given(nests_with_choices())
def test_a_nest_with_frozen_leaves_makes_the_round_trip(case):
    x0, choice = case
    originals, spec = flatten(x0)
    frozen = [i for i, chosen in enumerate(choice) if chosen]
    tree = Tree(x0, get_backend("numpy"), list(originals), spec, frozen)
    x = tree.pack_x0()
    assert x.size == sum(np.size(leaf) for i, leaf in enumerate(originals) if is_number(leaf) and i not in frozen)

    for nest in (tree.unpack(tree.point(x)), tree.restore(x)):
        back, structure = flatten(nest)
        assert structure == spec
        for i, leaf in enumerate(back):
            if i in frozen:
                assert leaf is originals[i]
            elif is_number(leaf):
                np.testing.assert_array_equal(leaf, originals[i])
                assert np.asarray(leaf).dtype == np.asarray(originals[i]).dtype

    slopes = flatten(tree.restore(x, classes=False))[0]
    assert [i for i, slope in enumerate(slopes) if slope is None and originals[i] is not None] == list(tree.frozen)
    np.testing.assert_array_equal(tree.pack_like(tree.restore(x, classes=False), "It"), x)


@settings(max_examples=200, deadline=None)
@given(nests_with_choices(), st.data())
def test_bounds_by_path_reach_their_leaves_and_pass_over_frozen_ones(case, data):
    x0, choice = case
    leaves, spec = flatten(x0)
    frozen = [i for i, chosen in enumerate(choice) if chosen]
    tree = Tree(x0, get_backend("numpy"), leaves, spec, frozen)
    lows = {
        i: data.draw(st.integers(-5, 5))
        for i, leaf in enumerate(leaves)
        if is_number(leaf) and data.draw(st.booleans())
    }
    bounds = {"**": (-7, 7), **{tree.path(i): (low, None) for i, low in lows.items()}}

    (lb, ub), _ = flatten_bounds(bounds, x0, tree)

    expected = [
        (lows.get(i, -7), np.inf if i in lows else 7) for i in tree.variables for _ in range(np.size(leaves[i]))
    ]
    np.testing.assert_array_equal(np.transpose([lb, ub]), expected)


# A leaf of ones starts at its minimum, of which dmin warns.
@pytest.mark.filterwarnings("ignore:The gradient of `fun` with respect to:RuntimeWarning")
@settings(max_examples=25, deadline=None)
@given(nests_with_choices())
def test_what_is_frozen_does_not_move_in_a_run_over_any_nest(case):
    x0, choice = case
    originals, spec = flatten(x0)
    numbers = [i for i, leaf in enumerate(originals) if is_number(leaf)]

    def fun(nest):
        leaves = flatten(nest)[0]
        return sum(np.sum((np.asarray(leaves[i], dtype=float) - 1) ** 2) for i in numbers)

    result = minimize(fun, x0, frozen=spec.unflatten(choice), bounds=(None, 20))
    for i, (leaf, original) in enumerate(zip(flatten(result.x)[0], originals, strict=True)):
        if choice[i] or i not in numbers:
            assert leaf is original
        else:
            np.testing.assert_allclose(leaf, 1, atol=1e-2)


def test_optree_and_dmin_agree_on_the_order_of_leaves():
    """`Names` counts leaves down the nest; the flat vector has them as optree gives them."""
    _, spec = flatten(NEST)
    assert list(LEAVES.values()) == paths(spec)
    assert optree.tree_structure(NEST, none_is_leaf=True, namespace="dmin") == spec
