"""The backend's functions kept to its promises without a GPU: over array-api-strict, on a device that is not the host.

This is a proxy, and a pass here is none of CuPy's: it proves dmin-cupy's own logic, and that the core brings no array
to the host but by `to_numpy`. What CuPy does with it, test_conformance.py proves, on a GPU.
"""

import contextlib
import inspect
import sys
import types

import numpy as np
import pytest

from dmin_core import InputError, _plugins, get_backend, hookimpl, methods, minimize
from dmin_core.testing import BackendTests
from dmin_cupy import _array_api

strict = pytest.importorskip("array_api_strict", reason="array-api-strict, on which the proxy runs, is not installed")

HOST, DEVICE = strict.Device("CPU_DEVICE"), strict.Device("device1")

current = [HOST]
"""The device on which `fun` is run: array-api-strict has no current device, so the proxy keeps one."""


@contextlib.contextmanager
def on(array):
    current.append(array.device)
    try:
        yield
    finally:
        current.pop()


def proxy(layer):
    """A backend made of the functions of `layer`, as dmin_cupy makes one of them for CuPy."""

    @hookimpl
    def to_numpy(array):
        return layer.to_numpy(array, HOST)

    @hookimpl
    def from_numpy(array, like):
        return layer.from_numpy(array, like, strict, DEVICE)

    @hookimpl
    def device(array):
        return str(array.device)

    @hookimpl
    def split(vector, shapes, dtypes):
        return layer.split(vector, shapes, dtypes, strict, on)

    @hookimpl
    def join(arrays):
        return layer.join(arrays, strict, on)

    @hookimpl
    def value(fun):
        return layer.value(fun, on)

    @hookimpl
    def devices():
        return (str(DEVICE),)

    module = types.ModuleType("dmin_cupy_proxy")
    vars(module).update((hook.__name__, hook) for hook in (to_numpy, from_numpy, device, split, join, value, devices))
    return module


@contextlib.contextmanager
def installed(backend, folder):
    """Have `backend` listed as a distribution's, under the name of array-api-strict's arrays."""
    info = folder / "dmin_cupy_proxy-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dmin-cupy-proxy\nVersion: 0\n")
    (info / "entry_points.txt").write_text(f"[dmin.backends]\narray_api_strict = {backend.__name__}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, backend.__name__, backend)
        patch.syspath_prepend(folder)
        _plugins.refresh()
        yield
    _plugins.refresh()


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    with installed(proxy(_array_api), tmp_path_factory.mktemp("proxy")):
        yield


def asarray(values, dtype="float64"):
    return strict.asarray(np.array(values), dtype=getattr(strict, dtype), device=DEVICE, copy=True)


@pytest.mark.usefixtures("listed")
class TestProxy(BackendTests):
    backend = "array_api_strict"
    # As the standard has it, sum takes its axis by name alone.
    xp = types.SimpleNamespace(sum=lambda x, axis=None: strict.sum(x, axis=axis), exp=strict.exp, log=strict.log)

    def array(self, values, dtype):
        return asarray(values, dtype)

    def state(self):
        return tuple(current)


# What the kit does not ask -------------------------------------------------------------------------------


def bowl(x):
    return strict.sum((x["w"] - 1.0) ** 2) + (x["b"] - 1.0) ** 2


def slope(x):
    return {"w": 2 * (x["w"] - 1.0), "b": 2 * (x["b"] - 1.0)}


GIVEN = {
    "nothing": {},
    "jac=True": {"jac": True},
    "jac": {"jac": slope},
    "jac and hessp": {"jac": slope, "hessp": lambda x, p: {"w": 2 * p["w"], "b": 2 * p["b"]}},
    "jac and hess": {"jac": slope, "hess": lambda x: asarray(2 * np.eye(3))},
}


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize(
    "method", ["L-BFGS-B", "trust-ncg", "trust-exact", "device-lbfgs", "device-bfgs", "device-newton-cg"]
)
def test_leaves_and_what_the_user_computes_stay_on_the_device(given, method):
    seen = set()

    def watched(function):
        def call(x, *direction):
            seen.update(leaf.device for nest in (x, *direction) for leaf in nest.values())
            seen.add(current[-1])
            return function(x, *direction)

        return call

    fun = (lambda x: (bowl(x), slope(x))) if given == "jac=True" else bowl
    functions = {name: what if what is True else watched(what) for name, what in GIVEN[given].items()}
    if not methods()[method].hess:  # which would warn that it makes no use of them
        functions = {name: what for name, what in functions.items() if name == "jac"}
    x0 = {"w": asarray([0.0, 3.0], "float32"), "b": asarray(0.0)}
    res = minimize(watched(fun), x0, method=method, **functions)

    assert seen == {DEVICE}
    found = [(leaf.device, leaf.dtype) for leaf in res.x.values()]
    assert found == [(DEVICE, strict.float32), (DEVICE, strict.float64)]
    assert [leaf.device for leaf in res.jac.values()] == [DEVICE, DEVICE]
    assert max(float(strict.max(strict.abs(leaf - 1.0))) for leaf in res.x.values()) <= 1e-3


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("method", methods())
def test_no_number_is_read_but_by_to_numpy(method, monkeypatch):
    """Each such read would wait for the GPU; array-api-strict alone would let it pass."""
    if methods()[method].distribution != "dmin-core":
        pytest.skip(f"{method} is not dmin's own")

    def refuse(array):
        raise AssertionError("a number was read off the device without to_numpy")

    x0 = {"w": asarray([0.0, 3.0]), "b": asarray(0.0)}
    for read in ("__float__", "__int__", "__bool__", "__index__", "__complex__"):
        monkeypatch.setattr(type(x0["b"]), read, refuse)
    minimize(bowl, x0, method=method, options={"maxfun": 60})


@pytest.mark.usefixtures("listed")
def test_without_a_method_arrays_on_a_gpu_have_one_that_stays_there(monkeypatch):
    """Told by the name of the device, which is CuPy's here; differences are taken on the host in any case."""
    x0 = {"w": asarray([0.0, 3.0]), "b": asarray(0.0)}
    assert minimize(bowl, x0, jac=slope).method == "L-BFGS-B"  # "device1" is not known for a GPU
    monkeypatch.setattr(get_backend("array_api_strict"), "device", lambda array: "cuda:1")
    res = minimize(bowl, x0, jac=slope)
    assert (res.method, res.chosen) == ("device-lbfgs", "x0 is on cuda:1")
    assert {leaf.device for leaf in res.x.values()} == {DEVICE}
    assert max(float(strict.max(strict.abs(leaf - 1.0))) for leaf in res.x.values()) <= 1e-6
    assert minimize(bowl, x0).method == "L-BFGS-B"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_half_precision_comes_to_the_host_as_single(dtype):
    """NumPy's own arrays stand for the GPU's: array-api-strict has no half precision."""
    host = _array_api.to_numpy(np.array([0.5, -2.0], dtype), HOST)
    assert host.dtype == ("float32" if dtype == "float16" else dtype)
    assert host.tolist() == [0.5, -2.0]


@pytest.mark.usefixtures("listed")
def test_numpy_leaves_are_taken_to_the_default_device_where_the_backend_is_named():
    res = minimize(bowl, {"w": np.zeros(2), "b": 0.0}, backend="array_api_strict")
    assert {leaf.device for leaf in res.x.values()} == {DEVICE}


@pytest.mark.usefixtures("listed")
def test_gradients_may_come_from_the_host():
    """A user who computes a gradient in NumPy need not take it up for dmin to bring it down."""

    def on_host(x):
        return {name: 2 * (_array_api.to_numpy(leaf, HOST) - 1.0) for name, leaf in x.items()}

    res = minimize(bowl, {"w": asarray([0.0, 3.0]), "b": asarray(0.0)}, jac=on_host)
    assert float(strict.max(strict.abs(res.x["w"] - 1.0))) <= 1e-6
    assert res.jac["w"].device == DEVICE


# That it catches what it is for --------------------------------------------------------------------------

SEEDS = {
    "np.asarray of an array": ("array if near else to_device(array, host)", "array", "could not be copied to the host"),
    "device= forgotten": (", device=like.device", "", "from two different devices"),
    "default device forgotten": ("device=default, ", "", "CPU_DEVICE"),
    "fun run on the current device": ("with on(point[0]):", "if True:", "CPU_DEVICE"),
}
"""Faults that NumPy would not notice: what stands in the source, what is put in its place, and what is said of it."""


def seeded(fault):
    right, wrong, _ = SEEDS[fault]
    source = inspect.getsource(_array_api)
    assert source.count(right) == 1
    module = types.ModuleType("seeded")
    exec(source.replace(right, wrong), vars(module))
    return module


@pytest.mark.parametrize("fault", SEEDS)
def test_the_proxy_catches(fault, tmp_path):
    def checks():
        TestProxy().test_every_method_finds_the_minimum("L-BFGS-B")
        test_leaves_and_what_the_user_computes_stay_on_the_device("jac", "L-BFGS-B")
        test_numpy_leaves_are_taken_to_the_default_device_where_the_backend_is_named()

    said = SEEDS[fault][2]
    with installed(proxy(seeded(fault)), tmp_path), pytest.raises((AssertionError, InputError, ValueError), match=said):
        checks()


@pytest.mark.parametrize("fault", SEEDS)
def test_numpy_does_not_notice(fault):
    """Why array-api-strict: with NumPy's namespace the same faults change nothing."""
    from array_api_compat import numpy as xp

    layer, like, values = seeded(fault), np.zeros(1, "float32"), np.arange(3.0)
    made = layer.from_numpy(values, like, xp)
    assert (made.dtype, layer.from_numpy(values, None, xp).dtype) == ("float32", "float64")
    assert (layer.to_numpy(made, "cpu") == values).all()
    assert layer.value(lambda point: point[0].sum(), lambda array: contextlib.nullcontext())((made,)) == 3.0
