"""A convex function over a nest, with all its derivatives: what most checks of a method minimise.

Of each variable exp(d) - d, where d is its distance from the answer: steep on one side and flat on the other, so that
no method is done in a step or two, and separable, so that the answer within any bounds is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import Method

Nest = dict[str, np.ndarray]

START: Nest = {"a": np.array([-1.2, 1.0]), "b": np.array(2.0)}
AT: Nest = {"a": np.array([1.0, -1.0]), "b": np.array(0.5)}
LEAST = 3.0


def bowl(p: Nest) -> Any:
    """Least, 3, at `AT`."""
    return sum(np.sum(np.exp(p[name] - AT[name]) - (p[name] - AT[name])) for name in AT)


def slope(p: Nest) -> Nest:
    """The gradient."""
    return {name: np.expm1(p[name] - AT[name]) for name in AT}


def product(p: Nest, v: Nest) -> Nest:
    """The Hessian times ``v``."""
    return {name: np.exp(p[name] - AT[name]) * v[name] for name in AT}


def curvature(p: Nest) -> np.ndarray:
    """The Hessian, (3, 3)."""
    return np.diag([*np.exp(p["a"] - AT["a"]), float(np.exp(p["b"] - AT["b"]))])


def derivatives(method: Method) -> dict[str, Any]:
    """What the method can use of them, under the names that `minimize` has for it; a dense Hessian, no products.

    The gradient is given so that every call of the function is one for the method, and none for a difference.
    """
    given: dict[str, Any] = {"jac": slope} if method.gradient else {}
    return {**given, "hess": curvature} if method.hess or method.hessp else given


def nest_of(x: np.ndarray) -> Nest:
    """The nest that a vector (3,) stands for."""
    return {"a": x[:2], "b": x[2]}
