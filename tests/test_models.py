"""Models as x0, by a model of NumPy arrays: names, functions that see it, where the answer goes, what is left alone.

The frameworks' own models are tested with their backends.
"""

import dataclasses

import numpy as np
import optree
import pytest

from dmin_core import InputError, Interrupted, NonlinearConstraint, get_backend, minimize
from dmin_core._models import Applied, Name, Parameters
from dmin_core.solvers import SCIPY_METHODS

START = {"layers.0.weight": np.array([[1.0, 2.0]]), "layers.0.bias": np.array(0.5), "scale": np.array([3.0])}
ANSWER = {"layers.0.weight": 1.0, "layers.0.bias": -2.0, "scale": 0.25}
PATHS = dict(zip(START, (".layers[0].weight", ".layers[0].bias", ".scale"), strict=True))


class Net:
    """Holds its parameters, is called, and is no nest."""

    def __init__(self):
        self.held = {name: array.copy() for name, array in START.items()}

    def __call__(self):
        return sum(np.sum((array - ANSWER[name]) ** 2) for name, array in self.held.items())

    def gradient(self):
        return {name: 2 * (array - ANSWER[name]) for name, array in self.held.items()}


class Adopted:
    inputs = ()

    def __init__(self, net):
        self.net, self.names, self.paths, self.key = net, list(PATHS), list(PATHS.values()), id(net)

    def read(self):
        return [array.copy() for array in self.net.held.values()]

    def write(self, arrays):
        for name, array in zip(self.names, arrays, strict=True):
            self.net.held[name][...] = array

    def call(self, function, arrays, *args):
        before, self.net.held = self.net.held, dict(zip(self.names, arrays, strict=True))
        try:
            return function(self.net, *args)
        finally:
            self.net.held = before


@pytest.fixture(autouse=True)
def numpy_adopts_nets(monkeypatch):
    def adopt(x0):
        if not isinstance(x0, Net):
            return None
        if not x0.held:
            raise InputError("x0 is a Net without parameters")
        return Adopted(x0)

    monkeypatch.setattr(get_backend("numpy"), "adopt", adopt)


def solve(fun, net, **named):
    return minimize(fun, net, backend="numpy", **named)


def fun(net):
    return net()


def jac(net):
    return net.gradient()


def assert_at(net, values, atol=1e-4):
    for name, value in values.items():
        np.testing.assert_allclose(net.held[name], value, atol=atol)


def assert_unchanged(net):
    assert_at(net, START, atol=0)


# The answer ----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:delta_grad == 0.0:UserWarning")
@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_every_method_leaves_the_answer_in_the_model(method):
    net = Net()

    res = solve(fun, net, method=method, jac=jac if SCIPY_METHODS[method].get("gradient") else None)

    assert res.x is net
    assert_at(net, ANSWER, atol=1e-2)
    assert net() == pytest.approx(res.fun, abs=1e-12)


def test_the_arrays_of_the_model_stay_the_same_objects():
    net = Net()
    before = dict(net.held)

    solve(fun, net)

    assert all(net.held[name] is array for name, array in before.items())


def test_the_gradient_is_named_as_the_parameters_are():
    res = solve(fun, Net(), jac=jac)

    assert list(res.jac) == list(START)
    assert {name: array.shape for name, array in res.jac.items()} == {name: a.shape for name, a in START.items()}
    np.testing.assert_allclose(res.jac["layers.0.weight"], 0.0, atol=1e-4)


def test_a_run_that_is_stopped_leaves_the_best_point_in_the_model():
    net = Net()

    res = solve(fun, net, jac=jac, options={"maxfun": 2})

    assert not res.success
    assert 0 < net() == res.fun < Net()()


# The user's functions see the model ----------------------------------------------------------------------


def test_every_function_of_the_users_is_given_the_model():
    net, seen = Net(), set()

    def noted(name, returned):
        def function(given, *rest):
            seen.add((name, given is net))
            return returned(given, *rest)

        return function

    solve(
        noted("fun", lambda net, shift: net() + shift),
        net,
        args=(2.0,),
        method="trust-ncg",
        jac=noted("jac", lambda net, shift: net.gradient()),
        hessp=noted("hessp", lambda net, p, shift: {name: 2 * part for name, part in p.items()}),
        callback=noted("callback", lambda net: None),
    )

    assert seen == {("fun", True), ("jac", True), ("hessp", True), ("callback", True)}
    assert_at(net, ANSWER)


def test_value_gradient_and_aux_come_together():
    net = Net()

    res = solve(lambda net: ((net(), net.held["scale"].copy()), net.gradient()), net, jac=True, has_aux=True)

    np.testing.assert_array_equal(res.aux, net.held["scale"])


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr", "COBYLA", "COBYQA"])
@pytest.mark.parametrize("form", ["object", "dict", "list"])
def test_constraints_are_given_the_model(form, method):
    net = Net()

    def scale(given):
        assert given is net
        return given.held["scale"]

    at_least_one = {"type": "ineq", "fun": lambda given: scale(given) - 1.0}
    forms = {"object": NonlinearConstraint(scale, 1.0, np.inf), "dict": at_least_one, "list": [at_least_one]}
    res = solve(fun, net, method=method, constraints=forms[form])

    assert res.x is net
    assert_at(net, {**ANSWER, "scale": 1.0}, atol=1e-2)
    assert callable(forms["object"].fun)
    assert forms["object"].fun is scale


@pytest.mark.parametrize("form", ["x", "intermediate_result"])
def test_a_callback_sees_the_model_at_the_iterate(form):
    net, values = Net(), []

    def by_x(x):
        assert x is net
        values.append(net())

    def by_result(intermediate_result):
        assert intermediate_result.x is net
        values.append(net())
        assert intermediate_result.fun == pytest.approx(net(), abs=1e-12)

    res = solve(fun, net, jac=jac, callback=by_x if form == "x" else by_result)

    assert len(values) == res.nit > 0
    assert values[-1] == pytest.approx(res.fun, abs=1e-12)
    assert all(b <= a for a, b in zip([Net()(), *values], values, strict=False))


def test_a_callback_may_stop_the_run():
    def callback(net):
        raise StopIteration

    net = Net()
    res = solve(fun, net, jac=jac, callback=callback)

    assert res.status == 99
    assert net() == res.fun


def test_a_callback_of_c_is_called_with_the_model():
    seen = []
    net = Net()

    solve(fun, net, jac=jac, callback=seen.append)

    assert seen
    assert all(each is net for each in seen)


# What raises leaves the model as it was ------------------------------------------------------------------


@pytest.mark.parametrize("where", ["fun", "callback"])
def test_an_exception_leaves_the_model_as_it_was(where):
    net, calls = Net(), [0]

    def fails(net):
        calls[0] += 1
        if calls[0] > 2:
            raise ZeroDivisionError
        return net()

    with pytest.raises(ZeroDivisionError):
        solve(fails if where == "fun" else fun, net, method="Nelder-Mead", callback=fails)

    assert_unchanged(net)


def test_ctrl_c_leaves_the_model_as_it_was_and_hands_out_the_best_parameters():
    net, calls = Net(), [0]

    def interrupted(net):
        calls[0] += 1
        if calls[0] == 20:
            raise KeyboardInterrupt
        return net()

    with pytest.raises(Interrupted) as caught:
        solve(interrupted, net, method="Nelder-Mead")

    assert_unchanged(net)
    best = caught.value.result
    assert list(best.x) == list(START)
    for name, array in best.x.items():
        net.held[name][...] = array
    assert net() == pytest.approx(best.fun, rel=1e-14)


def test_wrong_arguments_leave_the_model_as_it_was():
    net = Net()
    with pytest.raises(InputError, match="method"):
        solve(fun, net, method=3)
    assert_unchanged(net)


# Names ---------------------------------------------------------------------------------------------------

NAMES = ["layers.0.weight", "x0.layers[0].weight", "layers/0/weight", "layers/*/weight", "**/weight"]


@pytest.mark.filterwarnings("ignore:x0 lies outside its bounds:RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
def test_bounds_are_given_by_name_path_or_glob(name):
    net = Net()

    solve(fun, net, jac=jac, bounds={name: (1.5, None)})

    assert_at(net, {**ANSWER, "layers.0.weight": 1.5})


@pytest.mark.filterwarnings("ignore:x0 lies outside its bounds:RuntimeWarning")
def test_bounds_are_a_nest_of_names_too():
    net = Net()

    solve(fun, net, jac=jac, bounds=({"layers.0.weight": 1.5, "layers.0.bias": None, "scale": 0.5}, None))

    assert_at(net, {"layers.0.weight": 1.5, "layers.0.bias": -2.0, "scale": 0.5})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["a name", "a dict"])
def test_parameters_are_frozen_by_name_path_or_glob(form, name):
    net = Net()

    res = solve(fun, net, jac=jac, frozen=name if form == "a name" else {name: True})

    assert_at(net, {**ANSWER, "layers.0.weight": START["layers.0.weight"]})
    np.testing.assert_array_equal(net.held["layers.0.weight"], START["layers.0.weight"])
    assert list(res.jac) == list(START)


def test_messages_say_how_python_reaches_a_parameter():
    net = Net()
    net.held["layers.0.weight"][0, 1] = np.nan

    with pytest.raises(InputError, match=r"x0\.layers\[0\]\.weight\[0, 1\] is nan"):
        solve(fun, net)
    with pytest.raises(InputError, match=r"bounds names 'layers\.0\.wight'.*'layers\.0\.weight'"):
        solve(fun, Net(), bounds={"layers.0.wight": (0, 1)})


def test_a_gradient_that_lacks_a_parameter_is_named():
    with pytest.raises(ValueError, match=r"x0\.scale has no counterpart"):
        solve(fun, Net(), jac=lambda net: {name: g for name, g in net.gradient().items() if name != "scale"})


# What is a model -----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Holder:
    net: object
    w: np.ndarray


@pytest.mark.parametrize("nest", [lambda net: {"net": net, "w": np.zeros(1)}, lambda net: Holder(net, np.zeros(1))])
def test_a_model_inside_a_nest_is_refused(nest, monkeypatch):
    monkeypatch.setattr("dmin_core._models._who_may_know", lambda x0: ["numpy"])

    with pytest.raises(InputError, match=r"x0(\['net'\]|\.net) is a .*Net inside a nest.*Pass it as x0 itself"):
        minimize(lambda p: np.sum(p["w"] ** 2), nest(Net()))


def test_a_frozen_model_in_a_nest_rides_along(monkeypatch):
    monkeypatch.setattr("dmin_core._models._who_may_know", lambda x0: ["numpy"])
    net = Net()

    res = minimize(lambda p: (p["w"] - p["net"]()) ** 2, {"net": net, "w": 0.0}, frozen="net")

    assert res.x["net"] is net
    assert_unchanged(net)
    assert float(res.x["w"]) == pytest.approx(net(), abs=1e-4)


def test_other_callables_in_a_nest_ride_along():
    res = minimize(lambda p: p["square"](p["w"] - 1.0), {"square": np.square, "w": 0.0})

    assert float(res.x["w"]) == pytest.approx(1.0, abs=1e-4)
    assert res.x["square"] is np.square


def test_a_model_without_parameters_says_so_before_anything_else():
    net = Net()
    net.held.clear()
    with pytest.raises(InputError, match="without parameters"):
        solve(fun, net)


def test_equal_functions_of_one_model_are_equal():
    net, other = Net(), Net()

    assert Applied(fun, Adopted(net)) == Applied(fun, Adopted(net))
    assert hash(Applied(fun, Adopted(net))) == hash(Applied(fun, Adopted(net)))
    assert Applied(fun, Adopted(net)) != Applied(jac, Adopted(net))
    assert Applied(fun, Adopted(net)) != Applied(fun, Adopted(other))


def test_parameters_keep_their_order_and_names():
    names = [Name.of(*each) for each in PATHS.items()]
    parameters = Parameters(zip(names, START.values(), strict=True))
    leaves, spec = optree.tree_flatten(parameters, namespace="dmin")

    assert [array.shape for array in leaves] == [(1, 2), (), (1,)]
    assert [accessor.codify("x0") for accessor in spec.accessors()] == ["x0" + path for path in PATHS.values()]
    assert list(spec.unflatten(leaves)) == list(PATHS)
