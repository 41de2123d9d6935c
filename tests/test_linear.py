"""dmin's LinearConstraint is SciPy's, and keeps what SciPy's would refuse."""

import numpy as np
import pytest
import scipy.optimize
from scipy.sparse import csr_array

from dmin_core import LinearConstraint

pytestmark = pytest.mark.numpy


@pytest.mark.parametrize("matrix", [np.eye(2), np.ones(2), csr_array(np.eye(2))], ids=["dense", "row", "sparse"])
def test_over_a_matrix_it_is_scipys(matrix):
    ours, theirs = LinearConstraint(matrix, 0, 1), scipy.optimize.LinearConstraint(matrix, 0, 1)
    assert isinstance(ours, scipy.optimize.LinearConstraint)
    assert (ours.A != theirs.A).sum() == 0
    np.testing.assert_array_equal(ours.lb, theirs.lb)


def test_a_nest_is_kept_as_it_is():
    rows = {"w": np.ones((1, 2))}
    assert LinearConstraint(rows, None, 1.0).A is rows


def test_scipy_takes_it():
    over = LinearConstraint(np.ones((1, 2)), 1, 1)
    result = scipy.optimize.minimize(lambda x: x @ x, np.zeros(2), constraints=over, method="SLSQP")
    np.testing.assert_allclose(result.x, 0.5, atol=1e-6)
