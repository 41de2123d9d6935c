"""Methods whose vectors stay where the arrays are.

One source each, for every framework, over points, scalars and two products: see `lbfgs`. `loops` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..._problem import Problem
from ...hookspecs import hookimpl
from .. import DEVICE_METHODS, Method


@hookimpl
def describe(name: str) -> Method:
    return Method(name, **DEVICE_METHODS[name])


@hookimpl
def solve(
    name: str, problem: Problem, tol: float | None, callback: Callable[[Any], Any], options: Mapping[str, Any]
) -> Mapping[str, Any]:
    from . import runs

    return runs.RUNS[name](problem, tol, callback, options)
