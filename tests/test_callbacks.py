"""Callbacks: told apart as SciPy does, the same in every method."""

import copy
import pickle

import numpy as np
import pytest
import scipy

from dmin_core import NonlinearConstraint, minimize
from dmin_core.solvers import EMBEDDED

pytestmark = pytest.mark.numpy

OLD_SCIPY = tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 16)

X0 = {"a": np.zeros(2), "b": np.array(0.5)}


def fun(p):
    return np.sum((p["a"] - 1.0) ** 2 + (p["a"] - 1.0) ** 4) + (p["b"] + 2.0) ** 2


def jac(p):
    return {"a": 2.0 * (p["a"] - 1.0) + 4.0 * (p["a"] - 1.0) ** 3, "b": 2.0 * (p["b"] + 2.0)}


def run(method, callback, **options):
    gradient = jac if EMBEDDED[method].get("gradient") else None
    return minimize(fun, X0, method=method, jac=gradient, callback=callback, **options)


@pytest.mark.parametrize("method", EMBEDDED)
def test_callback_of_x_gets_the_nest(method):
    seen = []
    result = run(method, lambda x: seen.append(x))
    assert [set(x) for x in seen] == [{"a", "b"}] * len(seen)
    # Nelder-Mead's last iteration calls nobody back, COBYQA's first evaluations do.
    assert 0 < len(seen) <= result.nit + X0["a"].size + 2
    np.testing.assert_allclose(seen[-1]["a"], result.x["a"], atol=1e-4)
    np.testing.assert_allclose(seen[-1]["b"], result.x["b"], atol=1e-4)


@pytest.mark.parametrize("method", EMBEDDED)
def test_callback_of_intermediate_result_gets_value_and_counts(method):
    seen = []

    def callback(intermediate_result):
        seen.append((fun(intermediate_result.x), intermediate_result.fun, dict(intermediate_result)))

    result = run(method, callback)
    assert len(seen) > 0
    for value, said, fields in seen:
        if method == "COBYLA" and OLD_SCIPY:  # which calls back before it evaluates x: the best so far
            assert np.isfinite(said)
        else:
            assert said == pytest.approx(value)
        assert {"x", "fun", "nit", "nfev", "njev"} <= fields.keys()
    assert [fields["nit"] for *_, fields in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][2]["nfev"] <= result.nfev
    assert seen[-1][1] == pytest.approx(result.fun, abs=1e-6)


@pytest.mark.parametrize("named", [True, False], ids=["intermediate_result", "x"])
@pytest.mark.parametrize("method", EMBEDDED)
def test_stop_iteration_stops(method, named):
    calls = []

    def stop():
        calls.append(None)
        if len(calls) == 2:
            raise StopIteration

    def of_result(intermediate_result):
        stop()

    def of_x(x):
        stop()

    result = run(method, of_result if named else of_x)
    assert len(calls) == 2
    assert (result.success, result.status) == (False, 99)
    assert "StopIteration" in result.message
    assert np.isfinite(result.fun)
    assert result.fun == min(result.history.fun)
    assert result.fun == pytest.approx(fun(result.x))


@pytest.mark.parametrize("method", EMBEDDED)
def test_callback_may_overwrite_what_it_is_given(method):
    def spoil(x):
        x["a"][:] = np.nan

    plain, spoilt = run(method, None), run(method, spoil)
    assert plain.nfev == spoilt.nfev
    np.testing.assert_array_equal(plain.x["a"], spoilt.x["a"])


@pytest.mark.parametrize("method", EMBEDDED)
def test_an_exception_in_a_callback_passes_through(method):
    class Mine(Exception):
        pass

    def fail(x):
        raise Mine

    with pytest.raises(Mine):
        run(method, fail)


def test_callback_makes_no_evaluation():
    calls = []

    def counted(p):
        calls.append(None)
        return fun(p), jac(p)

    minimize(counted, X0, jac=True)
    without, calls[:] = len(calls), []
    minimize(counted, X0, jac=True, callback=lambda intermediate_result: intermediate_result.x)
    assert len(calls) == without


def test_what_a_method_returns_is_handed_to_it():
    """trust-constr stops when its callback returns True; the others take no notice."""
    assert run("trust-constr", lambda x, state: True).nit == 1
    assert run("BFGS", lambda x: True).success


def test_trust_constr_callback_may_take_the_state_too():
    seen = []
    result = run("trust-constr", lambda x, state: seen.append((x, state)) or False)
    x, state = seen[-1]
    np.testing.assert_array_equal(x["a"], result.x["a"])
    assert {"tr_radius", "optimality", "nit"} <= state.keys()


class Callable:
    def __init__(self):
        self.seen = []

    def __call__(self, intermediate_result):
        self.seen.append(intermediate_result.fun)

    def of_x(self, x):
        self.seen.append(x)


class Unsigned(list):
    """Nobody can say what it takes, as of some built-ins."""

    @property
    def __signature__(self):
        raise ValueError("no signature found")

    def __call__(self, x):
        self.append(x)


def test_callback_is_called_where_bounds_and_constraints_are_of_different_lengths():
    seen = []

    def note(intermediate_result):
        seen.append((intermediate_result.fun, intermediate_result.x["a"].shape))

    result = run(
        "trust-constr",
        note,
        bounds=(-5.0, 5.0),
        constraints=NonlinearConstraint(lambda p: p["a"][0] + p["b"], -1.0, 1.0),
    )

    assert len(seen) == result.nit
    assert seen[-1] == (pytest.approx(result.fun, rel=1e-3), (2,))


def test_any_callable_will_do():
    objects, methods, built_in, unsigned = Callable(), Callable(), [], Unsigned()
    run("L-BFGS-B", objects)
    run("L-BFGS-B", methods.of_x)
    run("L-BFGS-B", built_in.append)
    run("trust-constr", unsigned)
    assert unsigned[-1].keys() == X0.keys()
    assert len(objects.seen) == len(methods.seen) == len(built_in) > 0
    assert all(isinstance(value, float) for value in objects.seen)


def first_state(method="L-BFGS-B"):
    seen = []
    run(method, lambda intermediate_result: seen.append(intermediate_result))
    return seen[0]


def test_x_is_not_built_unless_looked_at(monkeypatch):
    from dmin_core._tree import Tree

    built = []
    restore = Tree.restore
    monkeypatch.setattr(Tree, "restore", lambda *a, **k: built.append(None) or restore(*a, **k))
    run("L-BFGS-B", None)
    without, built[:] = len(built), []
    run("L-BFGS-B", lambda intermediate_result: intermediate_result.fun)
    assert len(built) == without


@pytest.mark.parametrize(
    "look",
    [
        lambda state: state.x,
        lambda state: state["x"],
        lambda state: state.get("x"),
        lambda state: dict(state)["x"],
        lambda state: dict(state.items())["x"],
        lambda state: copy.copy(state).x,
        lambda state: copy.deepcopy(state).x,
        lambda state: pickle.loads(pickle.dumps(state)).x,
    ],
    ids=["attribute", "item", "get", "dict", "items", "copy", "deepcopy", "pickle"],
)
def test_x_is_there_however_one_looks(look):
    np.testing.assert_array_equal(look(first_state())["a"], first_state().x["a"])


def test_x_is_among_the_keys():
    assert "x" in first_state()
    assert "x" in first_state().keys()  # noqa: SIM118 - the keys are what is tested
    assert "x:" in repr(first_state())


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="hess_inv"):
        first_state().hess_inv  # noqa: B018
