"""What a method that is not dmin's own returned, held against what a method owes.

`minimize` would read most of it without a word: ``success="no"`` is true, the best point stands in for an ``x`` of any
shape, and a status of None breaks off far from who wrote it. So whatever is not as `SolverSpec.solve` says is an error
that names the method and what it returned. What dmin's own methods return is not looked at.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

OWED = ("x", "success", "status", "message")
"""What a method of a distribution returns at least."""

OWED_BY_CALLABLES = ("x",)
"""The same of a callable given as ``method``: the example in SciPy's documentation has no status and no message."""


def fault_of(report: Any, owed: Sequence[str], n: int, m: int = 0) -> str | None:
    """What is wrong with what a method returned, in words that follow its name; None where nothing is.

    Parameters
    ----------
    report : object
        What it returned.
    owed : sequence of str
        The keys that must be there.
    n, m : int
        Number of variables, and of rows of constraints.
    """
    if not isinstance(report, Mapping):
        return f"returned {report!r}. A method returns a mapping with {_listed(OWED)}."
    missing = [repr(name) for name in owed if name not in report]
    if missing:
        return f"returned a mapping without {_listed(missing)}. A method returns at least {_listed(owed)}."
    for name, (is_right, expected) in _rules(n, m).items():
        if name in report and not is_right(report[name]):
            return f"returned {_described(name, report[name])}, where {expected} is expected."
    if "x" in report and report.get("success", False) and not np.isfinite(report["x"]).all():
        return "returned success = True and an x that is not finite. Say success = False where nothing was found."
    return None


Rule = tuple[Callable[[Any], bool], str]


def _rules(n: int, m: int) -> dict[str, Rule]:
    return {
        "x": (lambda x: _is_vector(x, n), f"a vector of real numbers, shape ({n},),"),
        "success": (_is_truth, "True or False"),
        "status": (_is_whole, "a whole number"),
        "message": (lambda text: isinstance(text, str), "a text"),
        "nit": (lambda nit: _is_whole(nit) and nit >= 0, "a whole number, not negative,"),
        "fun": (_is_number, "a number"),
        "multipliers": (lambda v: _is_vector(v, m), f"a vector of real numbers, shape ({m},),"),
        "bound_multipliers": (lambda v: _is_vector(v, n), f"a vector of real numbers, shape ({n},),"),
        "allvecs": (lambda v: isinstance(v, list | tuple) and all(_is_vector(x, n) for x in v), f"a list of x ({n},)"),
    }


def _is_vector(value: Any, size: int) -> bool:
    array = _array(value)
    return array is not None and array.dtype.kind in "fiu" and array.shape == (size,)


def _array(value: Any) -> np.ndarray | None:
    """None where it makes no array, as of rows of different lengths."""
    try:
        return np.asarray(value)
    except Exception:  # noqa: BLE001 - whatever an object raises that is asked to be an array
        return None


def _is_truth(value: Any) -> bool:
    array = _array(value)
    return array is not None and array.dtype == bool and array.ndim == 0


def _is_whole(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    array = _array(value)
    return array is not None and array.dtype.kind in "fiu" and array.ndim == 0


def _described(name: str, value: Any) -> str:
    array = _array(value)
    if array is None or array.ndim == 0 or array.dtype.kind not in "fiu":
        return f"{name} = {value!r}"
    return f"{name} of shape {array.shape}"


def _listed(names: Sequence[str]) -> str:
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last
