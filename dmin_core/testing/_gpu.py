"""The marker ``gpu`` of the plugins' tests: skipped where there is no GPU, or failed if one is required."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import pytest


def gpu_marker(framework: str, six: Callable[[], Any]) -> Callable[[pytest.Item], None]:
    """A ``pytest_runtest_setup`` for a conftest.py.

    What is marked ``gpu`` is skipped where ``six`` fails, and fails there instead if DMIN_REQUIRE_GPU=1.

    Parameters
    ----------
    framework : str
        Its name, for the reason.
    six : callable
        ``six()`` computes 0 + 2 + 4 on a GPU of the framework's: one that is listed need not be usable.

    Returns
    -------
    callable
        ``pytest_runtest_setup(item)``.

    Examples
    --------
    >>> from dmin_core.testing import gpu_marker
    >>> pytest_runtest_setup = gpu_marker("NumPy", lambda: 0 + 2 + 4)
    """

    @functools.cache
    def missing() -> str | None:
        try:
            got = float(six())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is missing
            return str(error.__cause__ or error).partition("\n")[0]
        return None if got == 6 else f"0 + 2 + 4 is {got} there"

    def pytest_runtest_setup(item: pytest.Item) -> None:
        if item.get_closest_marker("gpu") and (why := missing()):
            required = os.environ.get("DMIN_REQUIRE_GPU") == "1"
            (pytest.fail if required else pytest.skip)(f"{framework} has no GPU here: {why}")

    return pytest_runtest_setup
