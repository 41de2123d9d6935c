"""A torch.nn.Module as x0: what `fun` sees of it, where the answer goes, and what is left alone."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from dmin_core import InputError, Interrupted, NonlinearConstraint, methods, minimize

METHODS = [name for name, method in methods().items() if method.error is None]


class Net(nn.Module):
    """Two layers in a list, a bare parameter, a frozen one, buffers that training mode writes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 1)])
        self.norm = nn.BatchNorm1d(3)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.shift = nn.Parameter(torch.ones(1), requires_grad=False)
        self.double()

    def forward(self, x):
        hidden = torch.tanh(self.norm(self.layers[0](x)))
        return self.layers[1](hidden) * self.log_scale.exp() + self.shift


torch.manual_seed(1)
X = torch.randn(20, 2, dtype=torch.float64)
Y = X[:, :1] * X[:, 1:] + 0.5
NAMES = [
    *("log_scale", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "norm.weight", "norm.bias"),
]


def loss(module):
    decay = sum((p**2).sum() for p in module.parameters() if p is not module.shift)
    return ((module(X) - Y) ** 2).mean() + 1e-3 * decay


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_equal(state, other):
    assert state.keys() == other.keys()
    for name, tensor in state.items():
        assert torch.equal(tensor, other[name]), name


# The answer ----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:delta_grad == 0.0:UserWarning")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_its_best_point_in_the_module(method):
    module = Net()
    before = loss(copy.deepcopy(module)).item()

    res = minimize(loss, module, method=method, options={"maxfun": 40})

    assert res.x is module
    assert sorted(res.jac if "jac" in res else NAMES) == sorted(NAMES)
    assert loss(copy.deepcopy(module)).item() == pytest.approx(res.fun, rel=1e-14)
    if method != "dogleg":  # which needs a positive definite Hessian, and there is none here
        assert res.fun < before


def test_it_is_the_run_over_a_dictionary_of_parameters():
    module = Net()
    x0 = {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}
    buffers = dict(module.named_buffers())

    def functional(p):
        call = copy.deepcopy(module)
        out = torch.func.functional_call(call, {**p, **{name: b.clone() for name, b in buffers.items()}}, X)
        return ((out - Y) ** 2).mean() + 1e-3 * sum((part**2).sum() for part in p.values())

    expected = minimize(functional, x0, method="L-BFGS-B", options={"maxiter": 5})
    res = minimize(loss, module, method="L-BFGS-B", options={"maxiter": 5})

    assert res.nfev == expected.nfev
    assert res.fun == pytest.approx(expected.fun, rel=1e-10)
    for name, value in expected.x.items():
        torch.testing.assert_close(module.get_parameter(name).detach(), value, rtol=1e-6, atol=1e-8)


def test_parameters_stay_the_same_objects_and_their_gradients_untouched():
    module = Net()
    before = dict(module.named_parameters())
    module.log_scale.grad = torch.tensor(7.0).double()

    minimize(loss, module, method="L-BFGS-B", options={"maxiter": 3})

    assert all(p is before[name] for name, p in module.named_parameters())
    assert all(type(p) is nn.Parameter for p in module.parameters())
    assert module.log_scale.grad == 7.0
    assert all(p.grad is None for name, p in module.named_parameters() if name != "log_scale")
    assert all(p.is_leaf for p in module.parameters())


def test_only_what_requires_gradients_is_optimised():
    module = Net()
    module.layers[0].requires_grad_(False)
    before = state(module)

    res = minimize(loss, module, method="L-BFGS-B", options={"maxiter": 3})

    assert "layers.0.weight" not in res.jac
    for name in ("shift", "layers.0.weight", "layers.0.bias"):
        assert torch.equal(module.state_dict()[name], before[name])
    assert not torch.equal(module.state_dict()["layers.1.weight"], before["layers.1.weight"])


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "Nelder-Mead"])
def test_buffers_do_not_drift(method):
    module = Net().train()
    before = {name: b.clone() for name, b in module.named_buffers()}
    objects = dict(module.named_buffers())

    minimize(loss, module, method=method, options={"maxfun": 20})

    assert all(b is objects[name] for name, b in module.named_buffers())
    assert_equal(dict(module.named_buffers()), before)
    assert module.training


def test_the_same_point_has_the_same_value_whatever_training_mode_writes():
    class Counting(nn.Module):
        """Adds how often it was called to what it returns."""

        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))
            self.register_buffer("calls", torch.zeros(()))

        def forward(self):
            self.calls += 1
            return (self.w**2).sum() + self.calls

    seen = []
    module = Counting()
    minimize(lambda m: m(), module, method="Nelder-Mead", callback=lambda m: seen.append(float(m.calls)))

    assert set(seen) == {0.0}
    assert module.calls == 0
    assert float(module().detach()) == pytest.approx(1.0, abs=1e-6)


def test_tied_parameters_are_one_variable():
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Tanh(), nn.Linear(2, 2, bias=False)).double()
    module[2].weight = module[0].weight
    inputs = torch.eye(2).double()

    def tied(m):
        assert m[2].weight is m[0].weight
        return ((m(inputs) - 0.25) ** 2).sum()

    res = minimize(tied, module, method="L-BFGS-B")

    assert list(res.jac) == ["0.weight"]
    assert module[2].weight is module[0].weight
    gradient = torch.autograd.grad(tied(module), module[0].weight)[0]
    torch.testing.assert_close(res.jac["0.weight"], gradient)
    assert gradient.abs().max() < 1e-4


def test_parametrised_weights_are_optimised_where_they_are_free():
    module = nn.utils.parametrizations.weight_norm(nn.Linear(2, 1)).double()

    res = minimize(lambda m: ((m(X) - Y) ** 2).mean(), module, method="L-BFGS-B")

    assert set(res.jac) == {"bias", "parametrizations.weight.original0", "parametrizations.weight.original1"}
    solution = torch.linalg.lstsq(torch.cat([X, torch.ones(20, 1)], 1), Y).solution
    found = torch.cat([module.weight.detach().T, module.bias.detach()[None]])
    torch.testing.assert_close(found, solution, atol=1e-3, rtol=0)


def test_modules_of_several_dtypes_keep_them():
    module = nn.ParameterDict({"a": torch.zeros(2).double(), "b": torch.zeros(2).half()})

    res = minimize(lambda m: sum(((p.double() - 1) ** 2).sum() for p in m.values()), module, method="L-BFGS-B")

    assert [p.dtype for p in module.values()] == [torch.float64, torch.float16]
    assert res.fun < 1e-6


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_constraints_are_differentiated_through_the_module(method):
    module = nn.Linear(2, 1).double()

    def norm(m):
        return (m.weight**2).sum()

    res = minimize(
        lambda m: ((m(X) - Y - 3 * X[:, :1]) ** 2).mean(),
        module,
        method=method,
        constraints=NonlinearConstraint(norm, -float("inf"), 1.0),
    )

    assert res.x is module
    assert norm(module).item() == pytest.approx(1.0, abs=1e-4)
    assert res.nfev < 100


# Errors leave it as it was -------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("evaluation", [1, 2, 7])
def test_a_run_that_raises_leaves_the_module_as_it_was(evaluation, error):
    module, calls = Net().train(), [0]
    before, objects = state(module), dict(module.named_parameters())

    def fails(m):
        calls[0] += 1
        value = loss(m)
        if calls[0] == evaluation:
            raise error
        return value

    with pytest.raises(error) as caught:
        minimize(fails, module, method="L-BFGS-B")

    assert_equal(state(module), before)
    assert all(p is objects[name] for name, p in module.named_parameters())
    if isinstance(caught.value, Interrupted) and evaluation > 1:
        best = caught.value.result
        module.load_state_dict(best.x, strict=False)
        assert loss(module).item() == pytest.approx(best.fun, rel=1e-14)
    assert minimize(loss, module, method="L-BFGS-B", options={"maxfun": 5}).fun < loss(Net()).item()


def test_a_callback_sees_the_iterate_and_an_error_in_it_changes_nothing():
    module = Net()
    before, seen = state(module), []

    def callback(intermediate_result):
        assert intermediate_result.x is module
        assert not any(p.grad_fn for p in module.parameters())
        seen.append((loss(copy.deepcopy(module)).item(), intermediate_result.fun))
        if len(seen) == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        minimize(loss, module, method="L-BFGS-B", callback=callback)

    for got, expected in seen:
        assert got == pytest.approx(expected, rel=1e-12)
    assert_equal(state(module), before)


# Names ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:x0 lies outside its bounds:RuntimeWarning")
@pytest.mark.parametrize("name", ["layers.0.weight", "x0.layers[0].weight", "layers/0/weight", "layers/[!1]/weight"])
def test_bounds_by_name_path_and_glob(name):
    module = Net()

    minimize(loss, module, method="L-BFGS-B", bounds={name: (-0.1, 0.1)}, options={"maxiter": 20})

    assert module.layers[0].weight.abs().max() <= 0.1
    assert module.layers[1].weight.abs().max() > 0.1


def test_frozen_by_glob():
    module = Net()
    before = state(module)

    minimize(loss, module, method="L-BFGS-B", frozen="layers/*/weight", options={"maxiter": 5})

    after = state(module)
    unchanged = {name for name in NAMES if torch.equal(before[name], after[name])}
    assert unchanged == {"layers.0.weight", "layers.1.weight"}


def test_messages_name_a_parameter_as_python_reaches_it():
    module = Net()
    with torch.no_grad():
        module.layers[1].weight[0, 2] = torch.nan
    with pytest.raises(InputError, match=r"x0\.layers\[1\]\.weight\[0, 2\] is nan"):
        minimize(loss, module)


# What cannot be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: Net().requires_grad_(False),
            r"Net without a parameter that requires.*requires_grad_\(True\)",
        ),
        (nn.Tanh, "Tanh without a parameter"),
        (lambda: nn.Sequential(nn.LazyLinear(1)), r"x0\[0\]\.weight is not initialised yet"),
        (lambda: nn.DataParallel(nn.Linear(2, 1)), "DataParallel.*Pass the module inside it"),
    ],
    ids=["frozen", "without", "lazy", "parallel"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_what_cannot_be_optimised_says_why(make, says):
    with pytest.raises(InputError, match=says):
        minimize(loss, make())


def test_a_module_in_a_nest_is_refused_unless_it_is_frozen():
    module, w = Net(), torch.zeros(1).double()

    def fun(p):
        return ((p["net"](X) * p["w"] - Y) ** 2).mean()

    for nest in ({"net": module, "w": w}, {"net": module}):
        with pytest.raises(InputError, match=r"x0\['net'\] is a .*Net inside a nest"):
            minimize(fun, nest)
    assert minimize(fun, {"net": module.eval(), "w": w}, frozen="net").success


def test_other_backends_do_not_take_it():
    with pytest.raises(InputError, match="holds no leaf to optimise"):
        minimize(loss, nn.Linear(2, 1), backend="numpy")


def test_nothing_keeps_a_module_alive():
    module = Net()
    res = minimize(loss, module, method="trust-ncg", options={"maxfun": 5})
    gone = weakref.ref(module)
    del module, res
    gc.collect()
    assert gone() is None
