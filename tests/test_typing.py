"""The types that users see: that of `with_backend` is `minimize`'s own, and the code that the checkers read runs."""

import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dmin_core import minimize
from dmin_core._signature import Minimize

FILES = sorted(Path(__file__).parent.glob("typing/user_code*.py"))


def parameters(function):
    named = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default, each.annotation) for each in named]


def test_a_bound_minimize_has_the_type_of_minimize_without_backend():
    wanted = [each for each in parameters(minimize) if each[0] != "backend"]
    (self, *rest) = parameters(Minimize.__call__)
    assert self[0] == "self"
    assert rest == wanted
    assert inspect.signature(Minimize.__call__).return_annotation == inspect.signature(minimize).return_annotation


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_code_that_the_type_checkers_read_runs(path):
    backend = path.stem.removeprefix("user_code").lstrip("_")
    if backend and not all(importlib.util.find_spec(name) for name in (backend, f"dmin_{backend}")):
        pytest.skip(f"needs {backend} and dmin-{backend}")
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONSAFEPATH": "1"}
    )
    assert done.returncode == 0, done.stderr
