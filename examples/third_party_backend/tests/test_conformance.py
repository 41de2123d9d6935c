"""The autograd backend keeps every promise that dmin asks of a backend."""

import autograd.numpy
import numpy as np

from dmin_core.testing import BackendTests


class TestAutograd(BackendTests):
    backend = "autograd"
    xp = autograd.numpy
    exact_gradient = True
    exact_hvp = True
    own_arrays = False  # they are NumPy's
    dtypes = ("float16", "float32", "float64")

    def array(self, values, dtype):
        return np.array(values, dtype=dtype)

    def state(self):
        return np.geterr()
