"""The CuPy backend keeps every promise that dmin asks of a backend. This needs a GPU; test_proxy.py does not."""

import re
from pathlib import Path

import pytest

from dmin_core import minimize
from dmin_core.testing import BackendTests

try:
    import cupy
except ImportError:
    cupy = None

README = Path(__file__).parents[1] / "README.md"

pytestmark = pytest.mark.gpu


class TestCupy(BackendTests):
    backend = "cupy"
    xp = cupy
    dtypes = ("float16", "float32", "float64")

    def array(self, values, dtype):
        return cupy.array(values, dtype=dtype)

    def state(self):
        return cupy.cuda.runtime.getDevice(), cupy.cuda.get_current_stream().ptr, cupy.get_default_memory_pool()


def bowl(x):
    return cupy.sum((x["w"] - 1.0) ** 2) + (x["b"] - 1.0) ** 2


def slope(x):
    return {"w": 2 * (x["w"] - 1.0), "b": 2 * (x["b"] - 1.0)}


@pytest.mark.parametrize("given", ["nothing", "jac=True", "jac", "jac and hessp"])
def test_leaves_on_a_gpu_stay_there(given):
    last = cupy.cuda.runtime.getDeviceCount() - 1
    arguments = {
        "nothing": {},
        "jac=True": {"jac": True},
        "jac": {"jac": slope},
        "jac and hessp": {"jac": slope, "hessp": lambda x, p: {"w": 2 * p["w"], "b": 2 * p["b"]}},
    }[given]

    def fun(x):
        # What fun makes anew is where its arguments are, whichever the current device is outside.
        assert {leaf.device.id for leaf in x.values()} == {cupy.zeros(1).device.id} == {last}
        return (bowl(x), slope(x)) if given == "jac=True" else bowl(x)

    with cupy.cuda.Device(last):
        x0 = {"w": cupy.zeros(2, dtype="float32"), "b": cupy.zeros(())}
    before = cupy.cuda.runtime.getDevice()
    res = minimize(fun, x0, method="trust-ncg", **arguments)

    assert cupy.cuda.runtime.getDevice() == before
    assert [(leaf.device.id, leaf.dtype) for leaf in res.x.values()] == [(last, "float32"), (last, "float64")]
    assert max(abs(leaf.get() - 1.0).max() for leaf in res.x.values()) <= 1e-3


def test_example_of_the_readme_runs():
    (example,) = re.findall(r"^```python no-run\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    exec(compile(example, str(README), "exec"), {"__name__": "__readme__"})
