"""What dmin says where CuPy, a driver or a GPU is missing: its own error, when an array is first wanted."""

import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import dmin_cupy
from dmin_core import PluginError, backends, get_backend, minimize
from dmin_cupy import BackendUnavailableError, _gpu

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """Look for the GPU anew, without what this machine says of which are visible, before and after each test."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    look = _gpu.namespace
    look.cache_clear()
    yield
    look.cache_clear()


def refusal():
    with pytest.raises(BackendUnavailableError) as caught:
        minimize(lambda x: (x**2).sum(), np.ones(2), backend="cupy")
    return caught.value


# With the CuPy that is installed -------------------------------------------------------------------------


@pytest.fixture
def gpuless():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.is_available():
        pytest.skip("here is a GPU")
    return cupy


def test_the_error_says_what_was_found(gpuless):
    error = refusal()
    assert isinstance(error, PluginError)
    assert isinstance(error.__cause__, gpuless.cuda.runtime.CUDARuntimeError)
    assert str(error.__cause__) in str(error)
    assert re.search(rf"cupy-cuda1\dx {re.escape(gpuless.__version__)} for CUDA 1\d\.\d", str(error)), error


def test_nothing_else_is_in_the_way(gpuless):
    info = backends()["cupy"]
    assert info.error is None
    assert (info.framework, info.devices) == (f"cupy {gpuless.__version__} (no usable GPU)", ())
    assert info.gradient == "differences"
    # In a program that has imported cupy, other backends work.
    assert minimize(lambda x: (x**2).sum(), np.ones(2)).backend == "numpy"


def test_every_array_operation_raises_it(gpuless):
    backend = get_backend("cupy")
    for like in (None, np.zeros(1)):
        with pytest.raises(BackendUnavailableError):
            backend.from_numpy(np.zeros(2), like)
    with pytest.raises(BackendUnavailableError):
        backend.split(np.zeros(2), ((2,),), (np.float64,))


# With one that says what others would --------------------------------------------------------------------


def pretend(monkeypatch, devices=0, driver=0, built=12090, wheels=("cupy-cuda12x",)):
    """Put a CuPy in the place of the installed one that finds this."""

    def count():
        if isinstance(devices, int):
            return devices
        raise RuntimeError(devices)

    runtime = types.SimpleNamespace(
        getDeviceCount=count, driverGetVersion=lambda: driver, runtimeGetVersion=lambda: built
    )
    module = types.SimpleNamespace(__version__="14.2.0", cuda=types.SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: {"cupy": list(wheels)})


INSUFFICIENT = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
NO_DEVICE = "cudaErrorNoDevice: no CUDA-capable device is detected"


def test_without_a_driver(monkeypatch):
    pretend(monkeypatch, INSUFFICIENT)
    assert str(refusal()) == (
        f"CuPy finds no GPU that it can use. Found: cupy-cuda12x 14.2.0 for CUDA 12.9, no driver. "
        f"CUDA says: {INSUFFICIENT}. Install the GPU's driver (in a container, start it with access to the GPU), "
        f"or pass NumPy arrays to dmin's own NumPy backend."
    )


def test_with_a_driver_that_is_too_old(monkeypatch):
    pretend(monkeypatch, INSUFFICIENT, driver=12040, built=13000, wheels=["cupy-cuda13x"])
    said = str(refusal())
    assert "cupy-cuda13x 14.2.0 for CUDA 13.0, a driver for CUDA 12.4" in said
    assert said.endswith("Update the driver, or install a CuPy for CUDA 12.4 instead of this one.")


@pytest.mark.parametrize("devices", [0, NO_DEVICE])
def test_with_a_driver_and_no_gpu(devices, monkeypatch):
    pretend(monkeypatch, devices, driver=12090)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    said = str(refusal())
    assert "a driver for CUDA 12.9, CUDA_VISIBLE_DEVICES='-1'" in said
    assert said.endswith("See which GPUs nvidia-smi lists, and that CUDA_VISIBLE_DEVICES hides none of them.")


def test_two_cupys_in_one_environment_are_both_named(monkeypatch):
    pretend(monkeypatch, NO_DEVICE, wheels=["cupy-cuda13x", "cupy-cuda12x", "cupy-cuda12x"])
    assert "Found: cupy-cuda12x and cupy-cuda13x 14.2.0" in str(refusal())


def test_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert str(refusal()) == (
        "CuPy is not installed. Install the one for your driver, whose CUDA version nvidia-smi prints: "
        "pip install 'dmin-cupy[cuda12]' or 'dmin-cupy[cuda13]'."
    )
    assert isinstance(refusal().__cause__, ModuleNotFoundError)
    assert get_backend("cupy").devices() == ()
    assert isinstance(backends()["cupy"].error, BackendUnavailableError)


def test_with_a_cupy_that_cannot_be_imported(monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: {"cupy": ["cupy-cuda12x"]})
    assert str(refusal()) == (
        "cupy-cuda12x is installed but cannot be imported: libcudart.so.12: cannot open shared object file"
    )


def test_the_devices_that_there_are_are_listed(monkeypatch):
    pretend(monkeypatch, 2, driver=12090)
    backend = get_backend("cupy")
    assert backend.devices() == ("cuda:0", "cuda:1")
    assert backend.framework() == "cupy 14.2.0"


def test_an_error_of_a_gpu_that_is_there_passes_through(monkeypatch):
    """Out of memory, say: that is CuPy's to tell."""

    class Full(types.SimpleNamespace):
        def asarray(self, array, **how):
            raise RuntimeError("out of memory")

    monkeypatch.setattr(_gpu, "namespace", Full)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        get_backend("cupy").from_numpy(np.zeros(2), None)


def test_importing_the_plugin_imports_no_cupy():
    program = "import sys, dmin_cupy; print('cupy' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_plugin_exports_minimize_with_its_backend(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendUnavailableError):
        dmin_cupy.minimize(lambda x: x**2, 0.0)


# The README's example ------------------------------------------------------------------------------------


def test_the_readme_comes_to_the_same_end_with_numpy():
    (example,) = re.findall(r"^```python no-run\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = example.splitlines()
    assert lines[:2] == ["import cupy as cp", "from dmin_cupy import minimize"]
    exec("\n".join(["import numpy as cp", "from dmin_core import minimize", *lines[2:]]), {"__name__": "__readme__"})
