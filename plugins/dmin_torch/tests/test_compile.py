"""`compile=True`: the same answers from a function that torch compiled, once; and what is said where it cannot."""

import shutil
import sys

import numpy as np
import pytest
import torch

from dmin_core import ObjectiveError, get_backend, minimize
from dmin_torch._compiled import VARIABLE

compiled: list[torch.fx.GraphModule] = []


def _fails(graph, inputs):
    raise OSError("no space for a compiler")


def _counts(graph, inputs):
    compiled.append(graph)
    return graph.forward


@pytest.fixture(scope="module", autouse=True)
def compilers():
    """Two of our own beside torch's."""
    torch._dynamo.register_backend(_counts, "dmin_counts")
    torch._dynamo.register_backend(_fails, "dmin_fails")
    yield
    torch._dynamo.reset()


@pytest.fixture(params=["aot_eager"])
def compiler(request, monkeypatch):
    """Traces forwards and backwards as torch's own does, and leaves out C++."""
    monkeypatch.setenv(VARIABLE, request.param)


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setenv(VARIABLE, "dmin_counts")
    compiled.clear()


def start(dtype=torch.float64):
    return {"a": torch.zeros(3, dtype=dtype), "b": torch.ones(2, 2, dtype=dtype)}


def valley(p, c=2.0):
    return ((p["a"] - 1) ** 4).sum() + ((p["b"] ** 2 - c) ** 2).sum()


def check(result):
    for dtype, atol in ((torch.float64, 3e-2), (torch.float32, 6e-2)):
        if result.x["a"].dtype is dtype:
            torch.testing.assert_close(result.x["a"], torch.ones(3, dtype=dtype), atol=atol, rtol=0)
            torch.testing.assert_close(result.x["b"], torch.full((2, 2), 2.0, dtype=dtype) ** 0.5, atol=atol, rtol=0)
            return
    raise AssertionError(result.x["a"].dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", ["L-BFGS-B", "device-lbfgs", "Nelder-Mead", "trust-ncg", "trust-exact"])
def test_the_answer_is_that_of_the_plain_function(method, dtype, compiler):
    x0 = start(dtype)
    given = {"method": method, "options": {"maxfun": 400}}
    plain, result = minimize(valley, x0, **given), minimize(valley, x0, compile=True, **given)
    if method != "Nelder-Mead":  # which is at its limit
        assert result.success
        check(result)
    assert (result.nfev, result.nhev) == (plain.nfev, plain.nhev)
    np.testing.assert_allclose(result.history.fun[:5], plain.history.fun[:5], rtol=1e-5)
    for name in x0:
        torch.testing.assert_close(result.x[name], plain.x[name], atol=1e-3, rtol=0)
        assert result.x[name].grad_fn is None


def test_a_function_is_compiled_once_for_a_structure(counting):
    def fun(p, c):
        return valley(p, c)

    data = torch.tensor(2.0, dtype=torch.float64)
    first = minimize(fun, start(), (data,), compile=True)
    assert len(compiled) == 1
    minimize(fun, start(), (data + 1.0,), compile=True, method="device-lbfgs")
    minimize(fun, {"b": start()["b"] * 1.5, "a": start()["a"]}, (data,), compile=True)
    assert len(compiled) == 1
    assert first.time["compile"] > 0
    minimize(fun, {"a": torch.zeros(4, dtype=torch.float64), "b": start()["b"]}, (data,), compile=True)
    assert len(compiled) == 2
    check(first)


def test_the_hook_gives_the_same_function_for_the_same(compiler):
    backend, like = get_backend("torch"), torch.zeros(1)
    assert backend.compiles_on_request
    run = backend.compile_fun(valley, like)
    assert backend.compile_fun(valley, like) is run
    x = {name: leaf.clone().requires_grad_() for name, leaf in start().items()}
    torch.testing.assert_close(run(x), valley(x))


def test_nothing_is_compiled_unless_it_is_asked_for(counting):
    for choice in (None, False):
        minimize(valley, start(), compile=choice)
    assert compiled == []


def test_aux_and_frozen_leaves_come_through(compiler):
    result = minimize(lambda p: (valley(p), {"twice": 2 * p["a"]}), start(), has_aux=True, compile=True, frozen="b")
    torch.testing.assert_close(result.aux["twice"], 2 * result.x["a"])
    torch.testing.assert_close(result.x["b"], start()["b"])


def test_a_module_is_compiled_with_its_parameters(compiler):
    torch.manual_seed(0)
    inputs, outputs = torch.randn(20, 3), torch.randn(20, 2)

    def loss(module):
        return ((module(inputs) - outputs) ** 2).mean()

    module, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    other.load_state_dict(module.state_dict())
    result = minimize(loss, module, compile=True)
    plain = minimize(loss, other)
    assert result.fun == pytest.approx(plain.fun, rel=1e-4)
    torch.testing.assert_close(module.weight, other.weight, atol=1e-2, rtol=0)


def test_errors_in_fun_pass_through(compiler):
    def broken(p):
        raise KeyError("the user's own")

    with pytest.raises(KeyError, match="the user's own"):
        minimize(broken, start(), compile=True)


@pytest.mark.parametrize("method", ["L-BFGS-B", "device-lbfgs", "Nelder-Mead"])
def test_a_compiler_that_fails_is_an_error_that_says_what_to_do(method, monkeypatch):
    monkeypatch.setenv(VARIABLE, "dmin_fails")

    def fun(p):
        return valley(p, 2.5)

    with pytest.raises(ObjectiveError, match=r"torch could not compile `fun` .*Leave compile=True out") as caught:
        minimize(fun, start(), method=method, compile=True)
    assert "no space for a compiler" in str(caught.value.__cause__)


def test_a_compiler_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv(VARIABLE, "no_such_compiler")
    with pytest.raises(ObjectiveError, match="no_such_compiler"):
        minimize(valley, start(), compile=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler imports parts of torch that are to go
@pytest.mark.skipif(
    sys.platform == "win32" or not any(map(shutil.which, ("g++", "clang++"))), reason="there is no C++ compiler here"
)
def test_torchs_own_compiler_gives_the_same_answer(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    result = minimize(valley, start(), compile=True)
    check(result)
    assert result.nfev == minimize(valley, start()).nfev
    assert result.time["compile"] > 0
