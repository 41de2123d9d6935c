"""``python -m dmin_core``: a readable table of what is there and what is broken."""

import os
import subprocess
import sys

import numpy as np

import dmin_core
from dmin_core.__main__ import table
from dmin_core.solvers import EMBEDDED


def run(path=None):
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), environment.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-m", "dmin_core"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "dmin" not in done.stderr  # TensorFlow's C++ has much to say there
    return done.stdout


def line_of(output, name):
    return next(line.split() for line in output.splitlines() if line.split()[:1] == [name])


def write_plugin(folder, distribution, group, name, source):
    module = distribution.replace("-", "_")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
    (folder / f"{module}.py").write_text(source)


def test_backends_and_methods_are_listed():
    output = run()
    assert output.startswith(f"dmin-core {dmin_core.__version__}\n")
    numpy = line_of(output, "numpy")
    assert numpy[1:5] == ["dmin-core", dmin_core.__version__, "numpy", np.__version__]
    assert numpy[-1] == "differences"
    for name in EMBEDDED:
        assert line_of(output, name)[1] == "dmin-core"


def test_what_each_method_can_do_is_shown():
    output = run()
    assert line_of(output, "Nelder-Mead")[2:] == ["yes"]
    assert line_of(output, "trust-exact")[2:] == ["yes", "needs"]
    assert line_of(output, "SLSQP")[2:] == ["yes", "yes", "yes"]  # gradient, bounds, constraints
    assert line_of(output, "method")[-1] == "constraints"
    assert line_of(output, "L-BFGS-B")[2:] == ["yes", "yes"]


def test_what_is_broken_is_listed_with_its_cause(tmp_path):
    write_plugin(tmp_path, "dmin-abacus", "dmin.backends", "abacus", "import a_library_that_is_not_there")
    write_plugin(tmp_path, "my-descent", "dmin.solvers", "descent", "raise RuntimeError('no licence')")
    output = run(tmp_path)
    assert "broken" in " ".join(line_of(output, "abacus"))
    assert "broken" in " ".join(line_of(output, "descent"))
    assert "caused by ModuleNotFoundError: No module named 'a_library_that_is_not_there'" in output
    assert "caused by RuntimeError: no licence" in output
    assert line_of(output, "numpy")[-1] == "differences"


def test_columns_are_as_wide_as_their_widest_cell():
    assert table(["a", "long head"], [["wide cell", "1"], ["x", ""]]).splitlines() == [
        "a          long head",
        "---------  ---------",
        "wide cell  1",
        "x",
    ]
