"""Programs written for dict_minimize 0.0.4 with PyTorch run after changing their import line and nothing else."""

from collections import OrderedDict

import numpy as np
import pytest

pytest.importorskip("dmin_torch", reason="dmin-torch is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")

from dmin_core.dict_minimize.torch_api import minimize  # noqa: E402 - after the skip

POST = '''
import torch
from dmin_core.dict_minimize.torch_api import minimize

def rosen_obj(params, shift):
    """Based on augmented Rosenbrock from botorch."""
    X, Y = params["x_half_a"], params["x_half_b"]
    X = X - shift
    Y = Y - shift
    obj = 100 * (X[1] - X[0] ** 2) ** 2 + 100 * (Y[1] - Y[0] ** 2) ** 2
    return obj

def d_rosen_obj(params, shift):
    obj = rosen_obj(params, shift=shift)
    da, db = torch.autograd.grad(obj, [params["x_half_a"], params["x_half_b"]])
    d_obj = OrderedDict([("x_half_a", da), ("x_half_b", db)])
    return obj, d_obj

torch.manual_seed(123)

n_a = 2
n_b = 2
shift = -1.0

params = OrderedDict([("x_half_a", torch.randn((n_a,))), ("x_half_b", torch.randn((n_b,)))])

params = minimize(d_rosen_obj, params, args=(shift,), method="L-BFGS-B", options={"disp": True})
'''
"""The program of the post that introduced the package, and of its README, but for the import line.

It forgets ``from collections import OrderedDict``, which the test supplies.
"""


def fun(params, shift=0.0):
    value = ((params["b"] - 1.0 - shift) ** 4).sum() + ((params["a"] - 2.0) ** 2).sum()
    gradients = torch.autograd.grad(value, [params["b"], params["a"]])
    return value, OrderedDict(zip(["b", "a"], gradients, strict=True))


def start():
    return OrderedDict([("b", torch.zeros(2, dtype=torch.float64)), ("a", torch.zeros((1, 3)))])


def test_the_program_of_the_post(capsys):
    scope = {"OrderedDict": OrderedDict}
    with torch.random.fork_rng():
        exec(POST, scope)
    params = scope["params"]
    assert type(params) is OrderedDict
    assert list(params) == ["x_half_a", "x_half_b"]
    # Without Rosenbrock's second term the minimum is a valley, of value zero.
    for x in params.values():
        x = x.detach().numpy() + 1.0
        assert x.dtype == np.float32
        assert abs(x[1] - x[0] ** 2) < 1e-3
    assert "CONVERGENCE" in capsys.readouterr().out


def test_the_answer_has_the_shapes_and_dtypes_of_x0():
    x = minimize(fun, start(), method="BFGS")
    assert [(v.shape, v.dtype) for v in x.values()] == [((2,), torch.float64), ((1, 3), torch.float32)]
    np.testing.assert_allclose(x["b"].detach(), 1.0, atol=0.05)
    np.testing.assert_allclose(x["a"].detach(), 2.0, atol=1e-3)


def test_tensors_require_gradients_everywhere_as_the_old_ones_did():
    seen = []

    def watched(params):
        seen.extend(params.values())
        return fun(params)

    x = minimize(watched, start(), callback=lambda p: seen.extend(p.values()))
    assert all(tensor.requires_grad and tensor.is_leaf for tensor in [*seen, *x.values()])


def test_gradients_by_backward():
    def by_backward(params):
        value = ((params["b"] - 1.0) ** 2).sum() + ((params["a"] - 2.0) ** 2).sum()
        value.backward()
        return value, OrderedDict((name, tensor.grad) for name, tensor in params.items())

    x = minimize(by_backward, start())
    np.testing.assert_allclose(x["b"].detach(), 1.0, atol=1e-5)
    np.testing.assert_allclose(x["a"].detach(), 2.0, atol=1e-3)


def test_bounds_are_tensors():
    lb = OrderedDict([("b", torch.full((2,), -1.0)), ("a", torch.full((1, 3), -1.0))])
    ub = OrderedDict([("b", torch.full((2,), 0.25)), ("a", torch.full((1, 3), 0.5))])
    x = minimize(fun, start(), lb_dict=lb, ub_dict=ub, method="L-BFGS-B")
    np.testing.assert_array_equal(x["b"].detach(), 0.25)
    np.testing.assert_array_equal(x["a"].detach(), 0.5)


def test_args_are_handed_on():
    x = minimize(fun, start(), args=(2.0,), method="BFGS")
    np.testing.assert_allclose(x["b"].detach(), 3.0, atol=0.05)


def test_x0_is_not_modified_and_has_no_gradient():
    x0 = start()
    for tensor in x0.values():
        tensor.requires_grad_()
    minimize(fun, x0)
    assert all((tensor == 0).all() and tensor.grad is None for tensor in x0.values())


def test_it_works_where_gradients_are_switched_off():
    with torch.no_grad():
        x = minimize(fun, start())
        assert not torch.is_grad_enabled()
    np.testing.assert_allclose(x["a"].detach(), 2.0, atol=1e-3)
