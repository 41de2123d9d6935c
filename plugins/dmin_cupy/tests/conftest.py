"""What is marked ``gpu`` is skipped where CuPy cannot use one, and fails there instead if DMIN_REQUIRE_GPU=1."""

from dmin_core.testing import gpu_marker
from dmin_cupy import _gpu


def six():
    xp = _gpu.namespace()
    return xp.sum(xp.arange(3.0) * 2)  # compiles kernels


pytest_runtest_setup = gpu_marker("CuPy", six)
