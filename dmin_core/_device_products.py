"""Hessian products over points, for solvers on the device whose loop Python runs.

Exact where the framework or the user says how. Elsewhere they are differences of the gradient along the vector, taken
where the arrays are: ``(∇f(x + hv) - ∇f(x)) / h``, with the step of `_differences.product`, which is a 0-d array and
never read. Compiled loops have the framework's product inside, and ask for none of this.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from ._device_problem import DeviceProblem, Point


class Products:
    """The Hessian of a `DeviceProblem` times a vector.

    Parameters
    ----------
    device : DeviceProblem

    Attributes
    ----------
    inlined : bool
        Whether a loop that is compiled may have the framework's own product inside.
    """

    def __init__(self, device: DeviceProblem) -> None:
        self.device, self.problem = device, device.problem
        given = callable(self.problem.hess) or callable(self.problem.hessp)
        by_differences = isinstance(self.problem.hess, str)
        self.inlined = device.by_backend and device.backend.exact_hvp and not (given or by_differences)
        self._hvp: Any = None
        self._matrix: tuple[Any, Any] = (None, None)
        self._product = self._how_to_multiply()

    def _how_to_multiply(self) -> Callable[[Point, Point, Point], Point]:
        if callable(self.problem.hessp):
            return self._by_user
        if callable(self.problem.hess):
            return self._by_matrix
        if self.problem.scheme is not None:
            return self._on_the_host
        return self._by_backend if self.inlined else self._by_differences

    def __call__(self, x: Point, v: Point, g: Point) -> Point:
        """The product at ``x``, where the gradient is ``g``; counted, and not before the limits allow.

        nan where its computation fails as `BackendSpec.is_failure` says.
        """
        problem = self.problem
        if problem._limited:
            problem._check_limits()
        try:
            return self._product(x, v, g)
        except Exception as error:
            if not problem.failures.include(error):
                raise
            return tuple(math.nan * array for array in v)

    def spoilt(self) -> None:
        """Count a product that turned out not to be finite."""
        self.problem.failures.count += 1

    def _by_backend(self, x: Point, v: Point, g: Point) -> Point:
        problem, device = self.problem, self.device
        problem.nhev += 1
        if self._hvp is None:
            self._hvp = device.backend.hvp(problem.objective)
        product: Point = device._timed(self._hvp, x, (v, *device.args))
        return product

    def _by_user(self, x: Point, v: Point, g: Point) -> Point:
        problem, device = self.problem, self.device
        problem.nhev += 1
        direction = problem.tree.direction(device._copy(v))
        nest = device._timed(problem._call_hessp, device._copy(x), (direction, *problem.args))
        return device._flatten(nest, "The product from `hessp`")

    def _by_matrix(self, x: Point, v: Point, g: Point) -> Point:
        """The user's dense Hessian, which is on the host, and is computed once a point."""
        device = self.device
        if self._matrix[0] is not x:
            self._matrix = (x, self.problem._hessian(device.download(x)))
        return device._upload(self._matrix[1] @ device.download(v))

    def _on_the_host(self, x: Point, v: Point, g: Point) -> Point:
        """Where gradients are differences already: `Problem` takes those of these."""
        device = self.device
        return device._upload(self.problem._product(device.download(x), device.download(v)))

    # -- differences ----------------------------------------------------------------------------------------

    def _by_differences(self, x: Point, v: Point, g: Point) -> Point:
        device, xp = self.device, self.device.xp
        self.problem.nhev += 1
        size, length = (functools.reduce(xp.maximum, [xp.max(xp.abs(a)) for a in u]) for u in (x, v))
        h = (size + 1.0) * math.sqrt(device.eps) / length
        ahead = tuple([a + b * h for a, b in zip(x, v, strict=True)])
        if device.bounds is None:
            return self._quotient(ahead, x, g, h)
        return self._within(ahead, x, v, g, h)

    def _within(self, ahead: Point, x: Point, v: Point, g: Point, h: Any) -> Point:
        """The same in two parts, so that no point lies outside the bounds: forwards where there is room, else back."""
        device, xp = self.device, self.device.xp
        assert device.bounds is not None
        inside = [(a >= low) & (a <= high) for a, low, high in zip(ahead, *device.bounds, strict=True)]
        forwards = tuple([xp.where(i, a, b) for i, a, b in zip(inside, ahead, x, strict=True)])
        product = self._quotient(forwards, x, g, h)
        whole = functools.reduce(xp.logical_and, [xp.all(i) for i in inside])
        if bool(device.backend.to_numpy(whole)):
            return product
        back = tuple([xp.where(i, b, b - w * h) for i, b, w in zip(inside, x, v, strict=True)])
        back = tuple(xp.minimum(xp.maximum(a, low), high) for a, low, high in zip(back, *device.bounds, strict=True))
        behind = self._quotient(back, x, g, -h)
        return tuple([a + b for a, b in zip(product, behind, strict=True)])

    def _quotient(self, there: Point, x: Point, g: Point, h: Any) -> Point:
        problem = self.problem
        if problem._limited:
            problem._check_limits()
        problem.nfev += 1
        problem.njev += 1
        _, slope = self.device._evaluate(there)
        return tuple([(a - b) / h for a, b in zip(slope, g, strict=True)])
