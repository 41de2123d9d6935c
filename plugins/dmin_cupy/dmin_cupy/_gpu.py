"""CuPy and a GPU that it can use, or an error that says what was found instead.

CuPy imports without a GPU or a driver, and then every array operation raises CUDA's bare error. A dmin that is merely
installed must not be in the way of other backends, so nothing is looked for before it is needed.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from dmin_core import BackendUnavailableError


def load_cupy() -> Any:
    """The module ``cupy``.

    Raises
    ------
    BackendUnavailableError
        It is not installed, or cannot be imported.
    """
    try:
        import cupy
    except ImportError as cause:
        if isinstance(cause, ModuleNotFoundError) and cause.name == "cupy":
            raise BackendUnavailableError(
                "CuPy is not installed. Install the one for your driver, whose CUDA version nvidia-smi prints: "
                "pip install 'dmin-cupy[cuda12]' or 'dmin-cupy[cuda13]'."
            ) from cause
        raise BackendUnavailableError(f"{_distributions()} is installed but cannot be imported: {cause}") from cause
    return cupy


@functools.cache
def namespace() -> Any:
    """array-api-compat's namespace for CuPy.

    Raises
    ------
    BackendUnavailableError
        There is no CuPy, or no GPU that it can use.
    """
    cupy = load_cupy()
    try:
        found = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as cause:  # CUDARuntimeError is one
        raise BackendUnavailableError(_no_gpu(cupy, str(cause))) from cause
    if not found:
        raise BackendUnavailableError(_no_gpu(cupy, "there are 0 devices"))
    import array_api_compat.cupy

    return array_api_compat.cupy


def count() -> int:
    """How many GPUs CuPy can use; none where there is no CuPy."""
    try:
        return int(load_cupy().cuda.runtime.getDeviceCount())
    except (BackendUnavailableError, RuntimeError):
        return 0


def device_name(index: int) -> str:
    """``"cuda:0"``, as the other frameworks spell it; CuPy itself has no spelling but ``<CUDA Device 0>``."""
    return f"cuda:{index}"


# What was found ------------------------------------------------------------------------------------------


def _no_gpu(cupy: Any, said: str) -> str:
    driver, built = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    found = [
        f"{_distributions()} {cupy.__version__} for CUDA {_version(built)}",
        f"a driver for CUDA {_version(driver)}" if driver else "no driver",
    ]
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        found.append(f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r}")
    return f"CuPy finds no GPU that it can use. Found: {', '.join(found)}. CUDA says: {said}. {_remedy(driver, built)}"


def _remedy(driver: int, built: int) -> str:
    if not driver:
        return (
            "Install the GPU's driver (in a container, start it with access to the GPU), "
            "or pass NumPy arrays to dmin's own NumPy backend."
        )
    if driver // 1000 < built // 1000:
        return f"Update the driver, or install a CuPy for CUDA {_version(driver)} instead of this one."
    return "See which GPUs nvidia-smi lists, and that CUDA_VISIBLE_DEVICES hides none of them."


def _version(number: int) -> str:
    """``"12.9"`` for CUDA's 12090."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _distributions() -> str:
    """Which distributions brought ``cupy``: one a CUDA version, each under a name of its own, and never two."""
    import importlib.metadata

    return " and ".join(sorted(set(importlib.metadata.packages_distributions().get("cupy", ["cupy"]))))
