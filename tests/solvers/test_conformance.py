"""dmin's own methods keep what dmin asks of another distribution's.

Over NumPy alone: tests/test_matrix.py has every method find every answer in every backend and precision.
"""

import pytest
import scipy

from dmin_core.solvers import EMBEDDED
from dmin_core.testing import MethodTests

pytestmark = pytest.mark.numpy

DECLARED = {
    "COBYLA": {"excused": {"test_maxiter_is_no_success": "SciPy's maxiter is of evaluations, and n + 2 at least"}},
    "COBYQA": {
        "nests": False,
        "excused": {"test_callback_gets_points_and_their_values": "SciPy calls back at the first 2 n + 1 points, too"},
    },
    "Powell": {"options": {"xtol": 1e-8, "ftol": 1e-12}},
}

if tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 16):
    DECLARED["COBYLA"]["excused"] |= {
        "test_callback_gets_points_and_their_values": "this SciPy calls back before it evaluates x",
        "test_nothing_is_printed": "this SciPy's Fortran says so when an exception goes through it",
    }

for name in EMBEDDED:
    declared = {"method": name, "backends": ("numpy",), "dtypes": ("float64",), **DECLARED.get(name, {})}
    title = "Test" + name.title().replace("-", "")
    globals()[title] = type(title, (MethodTests,), declared)
