"""Failures that read well to someone who has never seen dmin's source: who promised what, what came instead."""

from __future__ import annotations

from typing import Any

import numpy as np


def must(hook: str, promise: str, got: Any, expected: Any) -> None:
    """Fail unless ``got == expected``, naming the hook and its promise."""
    __tracebackhide__ = True
    if got != expected:
        raise AssertionError(_report(hook, promise, got, expected))


def must_hold(who: str, promise: str, holds: bool) -> None:
    """Fail unless it holds, where the promise itself says what came."""
    __tracebackhide__ = True
    if not holds:
        raise AssertionError(f"{who} {promise}")


def must_match(hook: str, promise: str, got: Any, expected: Any, tolerance: float = 0.0) -> None:
    """Fail unless two arrays have the same shape and differ nowhere by more than ``tolerance``."""
    __tracebackhide__ = True
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape:
        raise AssertionError(_report(hook, promise, f"shape {got.shape}", f"shape {expected.shape}"))
    error = np.abs(got.astype(float) - expected.astype(float))
    if not (error <= tolerance).all():  # nan is not within any tolerance
        off = f"off by {np.max(error):.3g}, tolerance {tolerance:.3g}" if tolerance else "to the last bit"
        raise AssertionError(_report(hook, f"{promise} ({off})", got, expected))


def _report(hook: str, promise: str, got: Any, expected: Any) -> str:
    return f"{hook} {promise}\n  got:      {_indented(got)}\n  expected: {_indented(expected)}"


def _indented(value: Any) -> str:
    return (str(value) if isinstance(value, str | np.ndarray) else repr(value)).replace("\n", "\n" + " " * 12)
