"""`LinearConstraint`, SciPy's, with a matrix that may be a nest.

SciPy's own class turns what it is given into a float64 matrix at once, which a nest cannot be, nor an array of a
framework that keeps it on a device. This one keeps them as they are, and is SciPy's in all other cases. It is in a
module of its own because it needs ``scipy.optimize``, which is imported late.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
from scipy.sparse import issparse


class LinearConstraint(scipy.optimize.LinearConstraint):  # type: ignore[misc, unused-ignore]
    """``lb <= A x <= ub``, where ``A`` is nested as ``x0`` is.

    Parameters
    ----------
    A : nest or matrix
        A nest like ``x0`` of arrays of shape ``(m, *leaf.shape)``, NumPy's or the framework's; None where a leaf does
        not matter. Or, as in SciPy, one (m, n) matrix over the leaves laid end to end, dense or sparse.
    lb, ub : None, float or (m,) array
        None, or an infinity: no limit. Equal: an equation.
    keep_feasible : bool or (m,) array of bool
        As SciPy's; only trust-constr heeds it.

    Examples
    --------
    >>> import numpy as np
    >>> from dmin_core import LinearConstraint, minimize
    >>> x0 = {"a": np.array(1.0), "b": np.zeros(2)}
    >>> total = LinearConstraint({"a": np.ones(1), "b": np.ones((1, 2))}, 3.0, 3.0)
    >>> res = minimize(lambda p: p["a"] ** 2 + np.sum(p["b"] ** 2), x0, constraints=total)
    >>> round(float(res.x["a"]), 6), res.x["b"].round(6)
    (1.0, array([1., 1.]))
    """

    def __init__(self, A: Any, lb: Any = -np.inf, ub: Any = np.inf, keep_feasible: Any = False) -> None:
        if issparse(A) or (isinstance(A, np.ndarray) and A.ndim <= 2 and not (lb is None or ub is None)):
            super().__init__(A, lb, ub, keep_feasible)
        else:
            self.A, self.lb, self.ub, self.keep_feasible = A, lb, ub, keep_feasible

    def __repr__(self) -> str:
        return f"LinearConstraint(A={self.A!r}, lb={self.lb!r}, ub={self.ub!r})"
