"""The torch backend keeps every promise that dmin asks of a backend."""

import pytest
import torch

from dmin_core.testing import BackendTests


class TestTorch(BackendTests):
    backend = "torch"
    xp = torch
    exact_gradient = True
    exact_hvp = True
    dtypes = ("bfloat16", "float16", "float32", "float64")

    def array(self, values, dtype):
        return torch.tensor(values, dtype=getattr(torch, dtype))

    def attached(self, array):
        return array.requires_grad

    def state(self):
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.get_rng_state().tolist(),
        )


@pytest.mark.gpu
class TestTorchOnGpu(TestTorch):
    """The same promises for tensors on a GPU."""

    def array(self, values, dtype):
        return torch.tensor(values, dtype=getattr(torch, dtype), device="cuda")
