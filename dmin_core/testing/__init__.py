"""The conformance kit: what a backend must keep so that every method works with it.

A backend's author subclasses `BackendTests`, says how the framework makes an array, hands over three of its functions
and declares what it can do. The checks are the same for everyone, dmin's own backends too::

    import torch
    from dmin_core.testing import BackendTests


    class TestTorch(BackendTests):
        backend = "torch"
        xp = torch
        exact_gradient = True
        exact_hvp = True

        def array(self, values, dtype):
            return torch.tensor(values, dtype=getattr(torch, dtype))

`gpu_marker` makes a conftest.py's rule for tests that need a GPU.

``pip install 'dmin-core[testing]'`` brings pytest, which this package needs; ``dmin_core.testing.problems`` has
problems with known answers, for tests of methods.
"""

from __future__ import annotations

import pytest

# Before the import: only then do plain asserts in these modules explain themselves.
pytest.register_assert_rewrite("dmin_core.testing._promises", "dmin_core.testing._suite")

from ._gpu import gpu_marker as gpu_marker  # noqa: E402
from ._suite import BackendTests as BackendTests  # noqa: E402

__all__ = ["BackendTests", "gpu_marker"]
