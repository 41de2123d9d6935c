"""benchmarks/gpu.py, which is for a GPU, works: a small run of it on the CPU, and its table."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dmin_core import backends, minimize

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu.py"


def run(framework, *arguments):
    # The variables under which the tests run would keep Python from the modules beside the script.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, str(SCRIPT), "--framework", framework, "--device", "cpu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_the_table_is_made_on_a_cpu(framework):
    if not (framework in backends() and backends()[framework].devices):
        pytest.skip(f"{framework} is not installed")
    done = run(framework, "--sizes", "3e4", "--rounds", "1", "--iterations", "12")

    assert done.returncode == 0, done.stderr
    header, ours = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in done.stdout.splitlines()
        if line.startswith(("| | first", "| device-lbfgs"))
    )
    row = dict(zip(header, ours, strict=True))
    evaluations, n = int(row["evaluations"]), 30_000
    assert 13 <= evaluations <= 40
    gigabytes = 4 * n * (evaluations * 5 + 12 * 55) / 1e9
    assert row["bytes it must move"] == f"{gigabytes:.3g} GB"
    # On a CPU torch reads once an evaluation and once a search, and at the end; JAX once a stretch of many.
    least, most = (evaluations + 13, evaluations + 21) if framework == "torch" else (2, evaluations)
    assert least <= int(row["reads"]) <= most


def test_what_was_not_run_is_said():
    done = run("cupy")
    assert (done.returncode, done.stdout) == (
        3,
        "NOT RUN: cupy on a cpu: CuPy computes on a GPU only: nothing of it was run.\n",
    )


def test_the_gradient_for_cupy_is_right(monkeypatch):
    """The objective that is run on a GPU alone, in NumPy, which it is written for as well."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    gpu = importlib.import_module("gpu")
    fun = gpu.CuPyObjectives.rosenbrock
    result = minimize(fun, {"x": gpu.points(6).astype(float)}, jac=True, check_derivatives=True, options={"ftol": 0})
    np.testing.assert_allclose(result.x["x"], 1.0, atol=1e-4)
