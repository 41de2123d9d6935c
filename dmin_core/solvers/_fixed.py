"""Variables that their bounds fix, taken out for the methods that cannot do with them.

COBYLA and COBYQA take them out themselves, of the objective and the bounds, and then hand constraints points that are
too short. So they are given problems without fixed variables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

METHODS = ("COBYLA", "COBYQA")


def minimize_free(minimize: Callable[..., Any], fun: Any, x0: np.ndarray, **named: Any) -> Any:
    """``minimize``, which is SciPy's, over the variables that ``bounds`` leaves free; its report is of all."""
    bounds = named["bounds"]
    if named["method"] not in METHODS or bounds is None or not (bounds.lb == bounds.ub).any():
        return minimize(fun, x0, **named)
    free = bounds.lb != bounds.ub

    def whole(y: np.ndarray) -> np.ndarray:
        x = bounds.lb.copy()
        x[free] = y
        return x

    keep = np.broadcast_to(bounds.keep_feasible, free.shape)[free]
    named["bounds"] = type(bounds)(bounds.lb[free], bounds.ub[free], keep_feasible=keep)
    named["constraints"] = [_reduced(each, whole, free) for each in named["constraints"]]
    if (callback := named["callback"]) is not None:
        named["callback"] = lambda state: callback(whole(state.x if hasattr(state, "x") else state))
    report = minimize(lambda y: fun(whole(y)), x0[free], **named)
    report["x"] = whole(report["x"])
    return report


def _reduced(constraint: Any, whole: Callable[[np.ndarray], np.ndarray], free: np.ndarray) -> Any:
    if isinstance(constraint, Mapping):
        function = constraint["fun"]
        return {**constraint, "fun": lambda y: function(whole(y))}
    if hasattr(constraint, "A"):
        offset = constraint.A @ whole(np.zeros(int(free.sum())))
        return type(constraint)(constraint.A[:, free], constraint.lb - offset, constraint.ub - offset)
    of_all = constraint.fun
    return type(constraint)(lambda y: of_all(whole(y)), constraint.lb, constraint.ub)
