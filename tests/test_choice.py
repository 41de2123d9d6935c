"""Without ``method=``: what runs on an accelerator, for many numbers, and otherwise; and that the result says why."""

import math

import numpy as np
import pytest

from dmin_core import Interrupted, NonlinearConstraint, backends, get_backend, methods, minimize
from dmin_core._choice import OVERTAKES, UNMEASURED, default_method, is_accelerator
from dmin_core._tree import Tree

USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
DIFFERENTIATING = [name for name in USABLE if get_backend(name).exact_gradient]
MANY = OVERTAKES["numpy"]


def bowl(x):
    """A quadratic, and its gradient."""
    return np.sum((x - 1.0) ** 2), 2 * (x - 1.0)


@pytest.fixture
def accelerator(monkeypatch):
    """NumPy's arrays say that they are on a GPU."""
    monkeypatch.setattr(get_backend("numpy"), "device", lambda array: "cuda:0")


@pytest.mark.parametrize(
    "device",
    [
        *("cuda:0", "cuda:11", "gpu:0", "GPU:0", "mps:0", "xpu:0", "hpu:0", "TPU_0(process=0,(0,0,0,0))"),
        *("/job:worker/replica:0/task:1/device:GPU:0", "XLA_GPU:0", "2 devices (cuda:0, …)"),
    ],
)
def test_a_device_is_an_accelerator_if_a_word_of_its_name_says_so(device):
    assert is_accelerator(device)


@pytest.mark.parametrize(
    "device", ["cpu", "CPU:0", "TFRT_CPU_0", "/job:localhost/device:CPU:0", "meta", "device1", "input:0", "gpuless"]
)
def test_other_names_are_not(device):
    assert not is_accelerator(device)


def test_on_an_accelerator_the_method_stays_there(accelerator):
    result = minimize(bowl, np.zeros(3), jac=True)
    assert (result.method, result.chosen) == ("device-lbfgs", "x0 is on cuda:0")
    assert result.success
    np.testing.assert_allclose(result.x, 1.0, atol=1e-6)


def test_bounds_and_the_options_of_lbfgsb_change_nothing(accelerator):
    options = {"maxcor": 5, "ftol": 1e-12, "gtol": 1e-8, "maxiter": 50, "maxls": 10, "maxfun": 60, "maxtime": 60}
    result = minimize(bowl, np.zeros(3), jac=True, bounds=(None, 0.5), options=options)
    assert result.method == "device-lbfgs"
    np.testing.assert_array_equal(result.x, 0.5)


def test_an_option_that_lbfgsb_alone_has_keeps_it(accelerator):
    assert "iprint" in methods()["L-BFGS-B"].options
    tree = Tree(np.zeros(3), get_backend("numpy"))
    assert default_method(tree, False, True, {"iprint": -1}) == ("L-BFGS-B", None)


def test_differences_keep_it(accelerator):
    """They are taken on the host in any case."""
    for given in ({}, {"jac": "2-point"}):
        result = minimize(lambda x: np.sum((x - 1.0) ** 2), np.zeros(3), **given)
        assert result.method == "L-BFGS-B"
        assert "chosen" not in result


def test_constraints_keep_their_methods(accelerator):
    result = minimize(bowl, np.zeros(3), jac=True, constraints=NonlinearConstraint(lambda x: x[0], 0.0, 0.5))
    assert result.method == "SLSQP"
    assert "chosen" not in result


def test_a_method_that_is_named_is_not_explained(accelerator):
    assert "chosen" not in minimize(bowl, np.zeros(3), jac=True, method="device-lbfgs")


@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_from_a_measured_number_on_it_is_the_method_of_a_cpu_too(backend):
    host = get_backend(backend)
    like = host.from_numpy(np.zeros(1), None)
    if is_accelerator(host.device(like)):
        pytest.skip("the default device here is an accelerator")
    xp, least = host.namespace(like), OVERTAKES[backend]

    def run(n):
        x0 = {"a": host.from_numpy(np.zeros(n - 5), None), "b": host.from_numpy(np.zeros(5), None)}
        return minimize(lambda x: xp.sum((x["a"] - 1.0) ** 2) + xp.sum((x["b"] - 1.0) ** 2), x0)

    if least == math.inf:
        assert run(200_000).method == "L-BFGS-B"
        return
    few, many = run(least - 1), run(least)
    assert few.method == "L-BFGS-B"
    assert "chosen" not in few
    assert many.method == "device-lbfgs"
    assert many.chosen == f"x0 has {least:,} numbers, and in {backend} {least:,} are many"
    assert many.success
    np.testing.assert_allclose(host.to_numpy(many.x["a"]), 1.0, atol=1e-6)


def test_numpy_with_a_gradient_has_a_number_too():
    for n, method in ((MANY - 1, "L-BFGS-B"), (MANY, "device-lbfgs")):
        assert minimize(bowl, np.zeros(n), jac=True).method == method
        assert minimize(lambda x: bowl(x)[0], np.zeros(n), jac=lambda x: bowl(x)[1]).method == method


def test_a_backend_that_nobody_measured_has_the_largest(monkeypatch):
    tree = Tree(np.zeros(UNMEASURED), get_backend("numpy"))
    monkeypatch.setattr(tree.backend, "name", "somebody's")
    assert default_method(tree, False, True, None)[0] == "device-lbfgs"
    assert max(least for least in OVERTAKES.values() if least < math.inf) <= UNMEASURED
    tree.n -= 1
    assert default_method(tree, False, True, None) == ("L-BFGS-B", None)


def test_what_ctrl_c_hands_over_says_why_too(accelerator):
    calls = [0]

    def interrupted(x):
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return np.sum((x - 1.0) ** 4), 4 * (x - 1.0) ** 3

    with pytest.raises(Interrupted) as caught:
        minimize(interrupted, np.zeros(3), jac=True)
    assert caught.value.result.chosen == "x0 is on cuda:0"


def test_a_checkpoint_goes_on(accelerator, tmp_path):
    path = tmp_path / "run"
    first = minimize(bowl, np.zeros(3), jac=True, checkpoint=path)
    again = minimize(bowl, np.zeros(3), jac=True, checkpoint=path)
    assert first.chosen == again.chosen == "x0 is on cuda:0"
    np.testing.assert_array_equal(first.x, again.x)
