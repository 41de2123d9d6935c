"""The conformance kits: what a backend must keep so that every method works with it, and a method likewise.

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

A method's author subclasses `MethodTests` and names the method; what to try, `methods` knows::

    class TestLBFGS(MethodTests):
        method = "nlopt-LBFGS"

`gpu_marker` makes a conftest.py's rule for tests that need a GPU.

``pip install 'dmin-core[testing]'`` brings pytest, which this package needs; ``dmin_core.testing.problems`` has
problems with known answers, for more tests of methods.
"""

from __future__ import annotations

import pytest

# Before the import: only then do plain asserts in these modules explain themselves.
pytest.register_assert_rewrite(*(f"dmin_core.testing.{name}" for name in ("_promises", "_suite", "_methods")))

from ._gpu import gpu_marker as gpu_marker  # noqa: E402
from ._methods import MethodTests as MethodTests  # noqa: E402
from ._suite import BackendTests as BackendTests  # noqa: E402

__all__ = ["BackendTests", "MethodTests", "gpu_marker"]
