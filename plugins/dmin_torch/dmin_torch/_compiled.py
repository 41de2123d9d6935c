"""`torch.compile` for ``compile=True``: the user's function, forwards and backwards, and nothing of dmin's.

What cuts the flat tensor up stays outside: nests are made by optree, into which torch's tracer cannot see. Compiling is
off unless asked for, since it costs seconds to minutes and pays for some functions only (benchmarks/RESULTS.md).

What was compiled is kept by torch beside the function's code, for each structure, shapes and dtypes it met; shapes are
taken as constants, for in one run they never change. Second derivatives are taken of the plain function, since what
torch compiles cannot be differentiated twice.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

import optree
import torch
from torch import Tensor

from dmin_core import ObjectiveError

KEPT = 128
VARIABLE = "DMIN_TORCH_COMPILER"
"""In the environment: which of `torch.compiler.list_backends` compiles; ``inductor``, torch's own, by default."""


def compile_fun(fun: Callable[..., Any], on_cuda: bool) -> Callable[..., Any]:
    """``fun`` compiled, the same for the same ``fun``."""
    compiler = os.environ.get(VARIABLE, "inductor")
    try:
        return explained(_compiled)(fun, on_cuda, compiler)
    except TypeError:  # it has no hash: compiled for this run alone
        return _compiled.__wrapped__(fun, on_cuda, compiler)


@functools.lru_cache(maxsize=KEPT)
def _compiled(fun: Callable[..., Any], on_cuda: bool, compiler: str) -> Callable[..., Any]:
    # CUDA graphs, which spare the launch of each kernel; they are inductor's.
    mode = "reduce-overhead" if on_cuda and compiler == "inductor" else None
    compiled: Callable[..., Any] = torch.compile(fun, dynamic=False, backend=compiler, mode=mode)
    return compiled if mode is None else _by_graphs(compiled)


def _by_graphs(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """A graph writes what it returns to the same memory each time: it is copied, and torch is told that it may."""

    def run(*arguments: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return optree.tree_map(lambda a: a.clone() if isinstance(a, Tensor) else a, compiled(*arguments))

    return run


def _first(evaluate: Callable[..., Any], *arguments: Any) -> Any:
    """The call that compiles, where torch looks at ``.grad`` of the leaves, which are parts of the flat tensor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor that is not a leaf", UserWarning)
        return evaluate(*arguments)


def explained(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """What compiles, or may at its first call, with an error that says what to do where torch cannot."""
    from torch._dynamo.exc import TorchDynamoException  # its root of them; torch has no public name for it

    call: Callable[..., Any] = functools.partial(_first, evaluate)

    def run(*arguments: Any) -> Any:
        nonlocal call
        try:
            returned, call = call(*arguments), evaluate
            return returned
        except TorchDynamoException as cause:
            said = str(cause).strip().partition("\n")[0]
            raise ObjectiveError(
                f"torch could not compile `fun` ({type(cause).__name__}: {said}). Leave compile=True out, which runs "
                f"it as it is; or see to it that torch.compile works here: it needs a C++ compiler on the CPU, and "
                f"Triton on a GPU. The environment variable {VARIABLE} names another of torch's compilers."
            ) from cause

    return run
