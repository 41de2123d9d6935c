"""What JAX keeps of compiled programs on the disk, a later process finds: dmin's programs are the same in each."""

import os
import subprocess
import sys

import pytest

RUN = """
import sys
import jax, jax.numpy as jnp
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
from dmin_core import minimize

def fun(p, scale):
    return jnp.sum((p["b"][1:] - p["b"][:-1] ** 2) ** 2) * scale + jnp.sum((p["a"] - 1) ** 2)

x0 = {"b": jnp.zeros(5), "a": jnp.zeros((2, 2))}
for method in sys.argv[2:]:
    print(minimize(fun, x0, args=(2.0,), method=method, bounds={"a": (-1.0, 0.5)}).x["b"])
"""


@pytest.mark.parametrize("methods", [["device-lbfgs", "L-BFGS-B"], ["device-newton-cg"]], ids="-".join)
def test_a_second_process_compiles_nothing_anew(methods, tmp_path):
    answers, kept = [], []
    for seed in "12":  # of hashes, so that nothing hangs on the order of a set
        command = [sys.executable, "-c", RUN, str(tmp_path), *methods]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout)
        kept.append({file.name for file in tmp_path.iterdir() if file.name.endswith("-cache")})
    assert any(name.startswith("jit_dmin_loop-") for name in kept[0])
    assert kept[0] == kept[1]
    assert answers[0] == answers[1]
