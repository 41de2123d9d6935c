"""What is torch's alone: half precision, parameters and subclasses, gradient modes, double backward.

What every backend must do is in test_conformance.py.
"""

import contextlib
import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch

import dmin_torch
from dmin_core import InputError, ObjectiveError, get_backend, minimize

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
METHODS = ["L-BFGS-B", "trust-ncg", "trust-exact", "Nelder-Mead"]
"""One for each of what the backend is asked for: gradients, products, dense Hessians, values alone."""


class Tagged(torch.Tensor):
    """A subclass that adds nothing: torch's own operations keep the class."""


def bowl(x):
    return ((x - 1.0) ** 2).sum()


def nested_bowl(x):
    return sum(bowl(leaf) for leaf in x.values())


# dtypes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_leaf_keeps_its_dtype_inside_fun_and_in_the_result(dtype):
    seen = set()

    def fun(x):
        seen.add(x.dtype)
        return bowl(x)

    res = minimize(fun, torch.zeros(3, dtype=dtype), method="L-BFGS-B")

    assert seen == {dtype}
    assert res.x.dtype is dtype
    assert res.jac.dtype is dtype
    assert (res.x - 1.0).abs().max() <= torch.finfo(dtype).eps


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "trust-exact"])
def test_leaves_of_all_dtypes_are_minimised_together(method):
    x0 = {str(dtype): torch.zeros(2, dtype=dtype) for dtype in DTYPES}

    def fun(x):
        assert [leaf.dtype for leaf in x.values()] == DTYPES
        return sum(bowl(leaf.double()) for leaf in x.values())

    res = minimize(fun, x0, method=method)

    assert [leaf.dtype for leaf in res.x.values()] == DTYPES
    for leaf in res.x.values():
        assert (leaf.double() - 1.0).abs().max() <= max(1e-4, torch.finfo(leaf.dtype).eps)


def test_flat_vector_is_as_wide_as_the_widest_leaf():
    step = 2.0**-40
    x0 = {"half": torch.zeros(1, dtype=torch.float16), "double": torch.full((1,), 1.0 + step, dtype=torch.float64)}
    res = minimize(lambda x: (x["double"] - 1.0).sum() / step + bowl(x["half"]), x0, options={"maxiter": 1})
    assert res.history.fun[0] == 1.0 + 1.0  # exactly: the double was not rounded on its way


# What stood in x0 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_requires_grad_comes_back(method):
    x0 = {"yes": torch.zeros(2, requires_grad=True), "no": torch.zeros(2)}
    res = minimize(nested_bowl, x0, method=method)
    assert (res.x["yes"].requires_grad, res.x["no"].requires_grad) == (True, False)
    assert res.x["yes"].is_leaf


@pytest.mark.parametrize("requires_grad", [True, False])
def test_parameter_comes_back_as_a_parameter(requires_grad):
    x0 = torch.nn.Parameter(torch.zeros(2), requires_grad=requires_grad)
    res = minimize(bowl, x0)
    assert type(res.x) is torch.nn.Parameter
    assert res.x.requires_grad is requires_grad
    assert type(res.jac) is torch.Tensor


@pytest.mark.parametrize("method", METHODS)
def test_subclass_is_what_fun_gets_and_what_comes_back(method):
    seen = set()

    def fun(x):
        seen.add(type(x["tagged"]))
        return nested_bowl(x)

    x0 = {"tagged": torch.zeros(2).as_subclass(Tagged), "plain": torch.zeros(2)}
    res = minimize(fun, x0, method=method)

    assert seen == {Tagged}
    assert (type(res.x["tagged"]), type(res.x["plain"])) == (Tagged, torch.Tensor)
    torch.testing.assert_close(res.x["tagged"].as_subclass(torch.Tensor), torch.ones(2), atol=1e-3, rtol=0)


def test_subclass_of_parameter_comes_back_as_what_it_was():
    class Weight(torch.nn.Parameter):
        pass

    res = minimize(bowl, Weight(torch.zeros(2)))
    assert type(res.x) is Weight
    assert isinstance(res.x, torch.nn.Parameter)


def test_parameters_of_a_module_are_minimised():
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 1).double()
    inputs, wanted = torch.randn(20, 3).double(), torch.tensor([[1.0], [-2.0], [0.5]]).double()

    def fun(parameters):
        return ((torch.func.functional_call(module, parameters, inputs) - inputs @ wanted - 3.0) ** 2).mean()

    res = minimize(fun, dict(module.named_parameters()), method="trust-exact", options={"gtol": 1e-10})

    torch.testing.assert_close(res.x["weight"].detach(), wanted.mT, atol=1e-9, rtol=0)
    assert res.x["bias"].item() == pytest.approx(3.0, abs=1e-9)
    module.load_state_dict(res.x)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grad", [None, 7.0])
def test_x0_and_its_grad_are_never_touched(method, grad):
    x0 = {"p": torch.nn.Parameter(torch.full((2,), 3.0)), "t": torch.full((2,), 4.0, requires_grad=True)}
    for leaf in x0.values():
        leaf.grad = None if grad is None else torch.full((2,), grad)
    grads, versions = [leaf.grad for leaf in x0.values()], [leaf._version for leaf in x0.values()]

    minimize(nested_bowl, x0, method=method)

    assert [leaf.tolist() for leaf in x0.values()] == [[3.0, 3.0], [4.0, 4.0]]
    assert [leaf._version for leaf in x0.values()] == versions
    assert all(leaf.grad is before for leaf, before in zip(x0.values(), grads, strict=True))
    assert all(before is None or before.tolist() == [grad, grad] for before in grads)


def test_tensors_in_args_get_no_grad():
    target = torch.full((2,), 2.0, requires_grad=True)
    res = minimize(lambda x, target: bowl(x - target), torch.zeros(2), args=(target,))
    assert target.grad is None
    torch.testing.assert_close(res.x, torch.full((2,), 3.0))


def test_result_shares_no_memory_with_x0_and_no_graph():
    x0 = torch.zeros(2, requires_grad=True)
    res = minimize(bowl, x0, options={"maxfun": 1})  # the answer is the start
    assert res.x.tolist() == [0.0, 0.0]
    assert res.x.data_ptr() != x0.data_ptr()
    assert res.x.grad_fn is None
    assert not res.jac.requires_grad


@pytest.mark.parametrize(
    "x0",
    [
        torch.arange(6.0).reshape(2, 3).T,
        torch.arange(12.0).reshape(3, 4)[:, ::2],
        torch.zeros(1).expand(3, 2),
        torch.ones(1, 2, 3, 2).to(memory_format=torch.channels_last)[0, 1],
        torch.complex(torch.zeros(3, 2), torch.ones(3, 2)).conj().imag,  # negated lazily
    ],
    ids=["transposed", "strided", "expanded", "channels-last", "negated"],
)
def test_leaf_of_any_memory_layout(x0):
    target = torch.arange(6.0).reshape(3, 2)
    res = minimize(lambda x: ((x - target) ** 2).sum() + (x[0, 1] - target[0, 1]) ** 2, x0)
    # A gradient below √ε counts as zero.
    torch.testing.assert_close(res.x, target, atol=torch.finfo(x0.dtype).eps ** 0.5, rtol=0)
    # The start is x0 as it is indexed, not as it lies in memory.
    start = ((x0 - target) ** 2).sum() + (x0[0, 1] - target[0, 1]) ** 2
    assert res.history.fun[0] == pytest.approx(start.item(), rel=1e-6)


def test_ten_thousand_leaves():
    x0 = {f"leaf {k}": torch.zeros((), dtype=torch.float64) for k in range(10_000)}
    target = dict(zip(x0, torch.linspace(-1, 1, 10_000).double(), strict=True))

    def fun(x):
        return ((torch.stack(list(x.values())) - torch.stack([target[name] for name in x])) ** 2).sum()

    res = minimize(fun, x0)

    assert res.success
    assert list(res.x) == list(x0)
    assert max(abs(res.x[name] - target[name]) for name in x0) < 1e-6


# Gradient modes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, "device-lbfgs", "device-bfgs", "device-newton-cg"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_answer_is_the_same_in_every_gradient_mode(mode, method):
    expected = minimize(nested_bowl, {"a": torch.zeros(2), "b": torch.nn.Parameter(torch.zeros(1))}, method=method)
    with mode():
        x0 = {"a": torch.zeros(2), "b": torch.nn.Parameter(torch.zeros(1))}
        res = minimize(nested_bowl, x0, method=method)
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    assert modes == (mode is torch.enable_grad, mode is torch.inference_mode)
    assert (res.history.fun == expected.history.fun).all()
    # And the result can be differentiated with respect to.
    (bowl(res.x["b"]) + bowl(res.x["a"].requires_grad_())).backward()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradient_mode_is_restored_when_fun_raises(mode, method):
    def fun(x):
        raise ZeroDivisionError

    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        with pytest.raises(ZeroDivisionError):
            minimize(fun, torch.zeros(2), method=method)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == (True, False)


@pytest.mark.parametrize("method", METHODS)
def test_fun_may_differentiate_inside(method):
    """A physics-informed loss: u(t) = a exp(b t) is to satisfy u' = -u and u(0) = 2."""
    t = torch.linspace(0, 1, 5, dtype=torch.float64)

    def fun(x):
        time = t.clone().requires_grad_()
        u = x["a"] * torch.exp(x["b"] * time)
        (slope,) = torch.autograd.grad(u.sum(), time, create_graph=True)
        return ((slope + u) ** 2).sum() + (x["a"] - 2.0) ** 2

    x0 = {"a": torch.tensor(1.5, dtype=torch.float64), "b": torch.tensor(-0.5, dtype=torch.float64)}
    with torch.no_grad():
        res = minimize(fun, x0, method=method)

    assert res.success
    assert (res.x["a"].item(), res.x["b"].item()) == pytest.approx((2.0, -1.0), abs=1e-3)


# What fun returns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "trust-exact"])
def test_python_float_cannot_be_differentiated(method):
    with pytest.raises(ObjectiveError, match=r"float .*torch cannot differentiate.*\.item\(\)"):
        minimize(lambda x: bowl(x).item(), torch.zeros(2), method=method)


def test_python_float_is_enough_for_a_method_without_gradients():
    res = minimize(lambda x: bowl(x).item(), torch.zeros(2), method="Nelder-Mead")
    torch.testing.assert_close(res.x, torch.ones(2), atol=1e-3, rtol=0)


def test_detached_value_is_warned_about():
    with pytest.warns(RuntimeWarning, match="respect to x0 is exactly zero.*detached"):
        res = minimize(lambda x: bowl(x).detach(), torch.zeros(2))
    assert (res.jac == 0).all()


def test_leaf_cut_off_by_detach_is_named():
    x0 = {"kept": torch.zeros(2), "cut": torch.zeros(2)}
    with pytest.warns(RuntimeWarning, match=r"respect to x0\['cut'\] is exactly zero"):
        minimize(lambda x: bowl(x["kept"]) + bowl(x["cut"].detach()), x0)


# Auxiliary output ----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Fit:
    residual: torch.Tensor
    name: str


@pytest.mark.parametrize("method", METHODS)
def test_aux_is_detached(method):
    def fun(x):
        residual = x["w"] * 2 - 1.0
        return residual.square().sum(), {"fit": Fit(residual, "a"), "w": x["w"], "leaf": torch.nn.Parameter(residual)}

    res = minimize(fun, {"w": torch.zeros(3)}, method=method, has_aux=True)
    for tensor in (res.aux["fit"].residual, res.aux["w"], res.aux["leaf"]):
        assert not tensor.requires_grad
    assert torch.equal(res.aux["fit"].residual, res.x["w"] * 2 - 1.0)
    assert torch.equal(res.aux["w"], res.x["w"])


def test_aux_keeps_no_graph_alive():
    seen = []

    def fun(x):
        residual = x * 2 - 1.0
        seen.append(weakref.ref(residual))
        return residual.square().sum(), residual

    res = minimize(fun, torch.zeros(3), method="L-BFGS-B", has_aux=True)

    gc.collect()
    assert torch.equal(res.aux, res.x * 2 - 1.0)
    assert all(tensor() is None for tensor in seen)  # and with them the graphs that they are part of


def test_aux_of_a_user_given_gradient_is_detached():
    def fun(x):
        x = x.detach().requires_grad_()
        residual = x - 1.0
        value = residual.square().sum()
        return (value, residual), torch.autograd.grad(value, x)[0]

    res = minimize(fun, torch.zeros(3), jac=True, has_aux=True)

    assert not res.aux.requires_grad
    assert torch.equal(res.aux, res.x - 1.0)


# Second derivatives --------------------------------------------------------------------------------------


def point(*values):
    return (torch.tensor(values, dtype=torch.float64),)


def counting(fun):
    def counted(x, *args):
        counted.calls += 1
        return fun(x, *args)

    counted.calls = 0
    return counted


def quartic(x):
    return (x[0] ** 4).sum() + x[0].prod()


def quartic_hessian(x):
    n = len(x)
    outside = np.array([[np.prod(np.delete(x, [i, j])) if i != j else 0.0 for j in range(n)] for i in range(n)])
    return 12 * np.diag(np.square(x)) + outside


def test_product_is_exact_and_its_graph_is_built_once_a_point():
    fun = counting(quartic)
    product = get_backend("torch").hvp(fun)
    for x in ((1.0, 2.0, 3.0), (0.5, -1.0, 2.0)):
        at, before = point(*x), fun.calls
        for row in quartic_hessian(x):
            unit = np.zeros(3)
            unit[np.argmax(np.abs(row))] = 1.0
            (got,) = product(at, point(*unit))
            assert not got.requires_grad
            np.testing.assert_allclose(got, quartic_hessian(x) @ unit, rtol=1e-14)
        assert fun.calls == before + 1


@pytest.mark.parametrize("method", ["trust-ncg", "trust-krylov", "Newton-CG"])
def test_run_evaluates_fun_once_a_point_and_once_for_its_products(method):
    fun = counting(lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)
    res = minimize(fun, torch.tensor([-1.2, 1.0], dtype=torch.float64), method=method)
    assert res.success
    assert res.nhev > res.nit  # several products an iteration
    assert fun.calls <= res.nfev + res.nit + 1


@pytest.fixture
def backward_passes(monkeypatch):
    """The keywords of each call of torch.autograd.grad."""
    passes, grad = [], torch.autograd.grad

    def counted(*args, **kwargs):
        passes.append(kwargs)
        return grad(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    return passes


def test_hessian_is_one_pass_whatever_the_number_of_variables(backward_passes):
    x = np.linspace(0.5, 1.5, 12)
    got = get_backend("torch").hessian(quartic)(point(*x))
    np.testing.assert_allclose(got, quartic_hessian(x), rtol=1e-12)
    assert len(backward_passes) == 2  # the gradient, and all its rows at once


def test_hessian_of_many_variables_is_complete():
    n = 600  # more rows than are differentiated in one pass
    fun = lambda x: (x[0] ** 4).sum() + (x[0][1:] * x[0][:-1]).sum()  # noqa: E731
    x = np.linspace(-1, 1, n)
    got = get_backend("torch").hessian(fun)(point(*x))
    beside = np.diag(np.ones(n - 1), 1)
    np.testing.assert_allclose(got, 12 * np.diag(x**2) + beside + beside.T, atol=1e-13)


class Unbatched(torch.autograd.Function):
    """x**2, with a backward pass that looks at a number, which vmap refuses."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * x if grad.sum().item() != 0.0 else torch.zeros_like(x)


def test_hessian_without_batching_rule_is_made_row_by_row(backward_passes):
    def fun(x):
        return (Unbatched.apply(x[0]) ** 2).sum() + x[0].prod()

    x = (1.0, 2.0, -0.5)
    got = get_backend("torch").hessian(fun)(point(*x))
    np.testing.assert_allclose(got, quartic_hessian(x), rtol=1e-14)
    assert len(backward_passes) == 2 + 3  # the gradient, the refusal, the rows

    res = minimize(lambda x: fun((x,)) - x.sum(), torch.ones(3, dtype=torch.float64), method="trust-exact")
    assert res.success


def test_error_inside_a_backward_pass_is_not_swallowed():
    class Broken(Unbatched):
        @staticmethod
        def backward(ctx, grad):
            if grad.requires_grad or torch.is_grad_enabled():
                return Unbatched.backward(ctx, grad)
            raise RuntimeError("from the user's backward")

    with pytest.raises(RuntimeError, match="from the user's backward"):
        get_backend("torch").hessian(lambda x: (Broken.apply(x[0]) ** 2).sum())(point(1.0, 2.0))


def test_second_derivatives_of_a_function_linear_in_one_array():
    def fun(point):
        return (point[1] ** 2).sum() + point[0].sum()

    backend, at = get_backend("torch"), (torch.zeros(2), torch.ones(1))
    product = backend.hvp(fun)(at, (torch.ones(2), torch.ones(1)))
    assert [piece.tolist() for piece in product] == [[0.0, 0.0], [2.0]]
    assert backend.hessian(fun)(at).tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]


# Devices -------------------------------------------------------------------------------------------------


def test_leaves_on_two_devices_are_refused():
    """The meta device stands for a second one: devices are compared before anything is copied."""
    x0 = {"here": torch.zeros(2), "there": torch.zeros(2, device="meta")}
    with pytest.raises(InputError, match=r"x0\['here'\] is on cpu and x0\['there'\] is on meta"):
        minimize(nested_bowl, x0)


def test_meta_leaf_is_refused_by_path():
    with pytest.raises(InputError, match=r"x0\['w'\] could not be copied to the host"):
        minimize(nested_bowl, {"w": torch.zeros(2, device="meta")})


@pytest.mark.parametrize("method", METHODS)
def test_default_device_and_dtype_do_not_matter(method):
    """Neither where nor what new tensors would be has anything to do with the leaves."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            res = minimize(bowl, torch.zeros(3, dtype=torch.float32, device="cpu"), method=method)
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(before)
    assert (res.x.device.type, res.x.dtype) == ("cpu", torch.float32)
    torch.testing.assert_close(res.x, torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_leaves_on_a_gpu_stay_there(dtype, method):
    def fun(x):
        assert x["w"].device == torch.device("cuda", 0)
        return nested_bowl(x).double()

    x0 = {"w": torch.zeros(2, dtype=dtype, device="cuda"), "b": torch.zeros((), device="cuda")}
    res = minimize(fun, x0, method=method)

    assert [(leaf.device, leaf.dtype) for leaf in res.x.values()] == [(leaf.device, leaf.dtype) for leaf in x0.values()]
    assert max((leaf - 1.0).abs().max().item() for leaf in res.x.values()) <= max(1e-3, torch.finfo(dtype).eps)


# The plugin's own minimize -------------------------------------------------------------------------------


def test_plugin_exports_minimize_with_its_backend():
    res = dmin_torch.minimize(nested_bowl, {"numpy": np.zeros(2), "float": 0.0, "torch": torch.zeros(1)})
    assert res.backend == "torch"
    assert all(type(leaf) is torch.Tensor for leaf in res.x.values())
    # NumPy's keep their dtype, a Python float has that of the tensors.
    assert [leaf.dtype for leaf in res.x.values()] == [torch.float64, torch.float32, torch.float32]
    assert max((leaf - 1.0).abs().max().item() for leaf in res.x.values()) < 1e-4


def test_errors_of_fun_pass_through():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        minimize(lambda x: (x @ torch.ones(3, 3)).sum(), torch.zeros(2, 2))


@contextlib.contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_number_of_threads_is_left_alone_and_is_the_users_inside_fun():
    seen = set()

    def fun(x):
        seen.add(torch.get_num_threads())
        return bowl(x)

    with threads(2):
        minimize(fun, torch.zeros(2))
        assert torch.get_num_threads() == 2
    assert seen == {2}


# Failures ------------------------------------------------------------------------------------------------


def log_likelihood(x):
    """Of a covariance matrix that is positive definite for some x only."""
    one = torch.ones((), dtype=x.dtype)
    factor = torch.linalg.cholesky(torch.stack([torch.stack([x[0], x[1]]), torch.stack([x[1], one])]))
    return x[0] - 2.0 * torch.log(torch.diagonal(factor)).sum() + 0.3 * x[1]


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "trust-exact", "Nelder-Mead", "TNC"])
def test_a_cholesky_factorisation_that_fails_shortens_the_step(method):
    res = minimize(log_likelihood, torch.tensor([6.0, -2.2], dtype=torch.float64), method=method)
    assert res.success
    assert res.nfail > 0
    assert 1 <= np.isinf(res.history.fun).sum() <= res.nfail  # Hessians there fail as well
    # Where the derivatives of x_0 - log(x_0 - x_1²) + 0.3 x_1 are zero.
    np.testing.assert_allclose(res.x.numpy(), [1.0 + 0.15**2, -0.15], atol=1e-3)


def test_errors_of_linear_algebra_are_failures_and_others_are_not():
    is_failure = get_backend("torch").is_failure
    with pytest.raises(RuntimeError) as singular:
        torch.linalg.inv(torch.zeros(2, 2))
    with pytest.raises(RuntimeError) as mismatch:
        torch.ones(2) @ torch.ones(3)
    assert is_failure(singular.value)
    assert not is_failure(mismatch.value)


def test_gradients_by_the_user_are_joined_where_they_are_not_on_the_host():
    """PyTorch's meta device stands for a GPU: it has shapes and dtypes, and no numbers."""
    join = get_backend("torch").join
    far = join([torch.zeros(2, 3, device="meta", dtype=torch.float32), torch.zeros((), device="meta").double()])
    assert (far.device.type, far.shape, far.dtype) == ("meta", (7,), torch.float64)
    assert join([torch.zeros(2), torch.zeros(3)]) is None
