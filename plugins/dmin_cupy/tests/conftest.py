"""What is marked ``gpu`` is skipped where CuPy cannot use one, and fails there instead if DMIN_REQUIRE_GPU=1."""

import functools
import os

import pytest

from dmin_cupy import _gpu


@functools.cache
def missing():
    """What CuPy lacks to compute here, or None: an installed CuPy and a listed GPU do not make a usable one."""
    try:
        xp = _gpu.namespace()
        six = float(xp.sum(xp.arange(3.0) * 2))  # compiles kernels
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is missing
        return str(error.__cause__ or error)
    return None if six == 6 else f"0 + 2 + 4 is {six} there"


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and (why := missing()):
        required = os.environ.get("DMIN_REQUIRE_GPU") == "1"
        (pytest.fail if required else pytest.skip)(f"CuPy has no GPU here: {why}")
