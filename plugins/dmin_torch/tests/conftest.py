"""What is marked ``gpu`` is skipped where torch cannot use one, and fails there instead if DMIN_REQUIRE_GPU=1."""

import torch

from dmin_core.testing import gpu_marker

pytest_runtest_setup = gpu_marker("torch", lambda: (torch.arange(3.0, device="cuda") * 2).sum())
