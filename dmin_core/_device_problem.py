"""The objective as solvers on the device see it: functions of a point, whose arrays stay where they are.

What `Problem` is to host solvers. The counts, the history, the limits and the best point are `Problem`'s own, so that a
result means the same whoever ran; here is what differs: a point goes in, arrays come out, and nothing as long as the
vector is brought to the host before the end. The exceptions are objectives without a derivative of their own, whose
finite differences are taken on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from ._aux import NOTHING
from ._choice import is_accelerator
from ._errors import ObjectiveError
from ._leaves import dtype_name
from ._objective import value_and_nest
from ._plugins import get_backend
from ._problem import Problem, Visit
from ._tree import eps_of

Point = tuple[Any, ...]

FEW = 20_000
"""Up to so many variables NumPy does the solver's arithmetic where it shares its memory with the framework (`on_host`):
vectors that are short enough to stay in the processor's cache cost the calls, of which NumPy's take a third."""

SHORT = 100_000
"""So many numbers come to the host as quickly as an operation over them is called."""


class DeviceProblem:
    """The objective over points.

    Attributes
    ----------
    problem : Problem
        Which counts and remembers.
    start : point
        x0.
    bounds : pair of points, or None
    xp : namespace
        Of the arrays.
    eps, coarsest_eps : float
        Precision of the solver's vectors, and of the coarsest leaf.
    traced : bool
        Whether the solver's loop may be compiled with the objective in it.
    early : bool
        Whether all that an iteration may be decided on is to be read at once, with the trial.

    Parameters
    ----------
    problem : Problem
    sharing : bool, optional
        Whether NumPy may do the arithmetic of short vectors where it shares the framework's memory: not for solvers
        that ask for products, which are the framework's.
    """

    def __init__(self, problem: Problem, sharing: bool = True) -> None:
        self.problem, self.tree, self.backend = problem, problem.tree, problem.backend
        self.args = problem.objective_args
        self.sharded = problem.tree.sharded
        self.prototype = problem.tree.prototype
        self.shared = sharing and problem._on_host is not None and problem.n <= FEW
        if self.shared:
            self.backend, self.prototype = get_backend("numpy"), np.zeros(1)
        self.start: Point = problem.tree.layout.start if problem.starts_at_leaves else self._upload(problem.x0)
        self.like = self.start[0]
        self.xp = _namespace(self.backend, self.like)
        self.on_host = isinstance(self.like, np.ndarray) and self.like.dtype == float
        self.bounds = None if problem.bounds is None else tuple(map(self._upload, problem.bounds))
        self.eps, self.coarsest_eps = eps_of(self.like.dtype), problem.tree.coarsest_eps
        self.by_backend = problem.jac is None and problem.scheme is None
        self.traced = self.backend.compiles and self.by_backend and problem.objective.compile is not False
        # An accelerator is waited for; and few numbers cost less than a second read.
        waited_for = problem.n <= FEW or is_accelerator(self.tree.device)
        self.early = waited_for and not (self.traced or self.on_host)
        self.best: tuple[Point, float, Point, Any] | None = None
        self._least = math.inf
        # The solver's own arithmetic may meet infinities; what NumPy says of `fun`'s is the user's to hear.
        self.users_errors = np.geterr()
        self.counts = problem.scheme is None
        self._evaluate = self._how_to_evaluate()

    # -- points ---------------------------------------------------------------------------------------------

    def _upload(self, x: np.ndarray) -> Point:
        # Not `Tree.point`: what is fed may be NumPy's array itself, where only compiled functions take it.
        point: Point = self.tree.layout.made_by(self.backend.from_numpy, x, self.prototype)
        return point

    def download(self, point: Point) -> np.ndarray:
        """A point as a float64 host vector."""
        start = perf_counter()
        x = np.concatenate([np.ravel(self.backend.to_numpy(array)) for array in point], dtype=float, casting="unsafe")
        self.problem.in_copies += perf_counter() - start
        return x

    @property
    def host_dtype(self) -> np.dtype:
        """NumPy's name for the dtype of the solver's vectors."""
        return np.dtype(dtype_name(self.like.dtype))

    def zeros(self, *lead: int) -> Point:
        """Zeros beside the point's arrays, with further dimensions before theirs."""
        if self.sharded:
            # Computed from the array, so that the framework shards them as it is.
            ones = [self.xp.zeros((*lead, *(1,) * array.ndim), dtype=array.dtype) for array in self.start]
            return tuple(zeros * array for zeros, array in zip(ones, self.start, strict=True))
        return tuple(self._zeros((*lead, *(int(d) for d in array.shape)), array) for array in self.start)

    def square(self) -> Any:
        """An (n, n) array of zeros."""
        return self._zeros((self.problem.n, self.problem.n), self.like)

    def _zeros(self, shape: tuple[int, ...], array: Any) -> Any:
        if self.traced and not _is_placed(array):
            # What is asked for by device is tied to it in JAX, and what is not would be compiled for apart.
            return (
                np.zeros(shape, self.host_dtype)
                if math.prod(shape) <= SHORT
                else self.xp.zeros(shape, dtype=array.dtype)
            )
        return self.xp.zeros(shape, dtype=array.dtype, device=array_device(array))

    def vector(self, values: np.ndarray) -> Any:
        """A short host vector beside the point's arrays, in their dtype."""
        if self.sharded:
            return self.xp.asarray(values, dtype=self.like.dtype)  # on no device in particular
        return self.backend.from_numpy(values, self.like)

    # -- one evaluation, where Python runs the loop ---------------------------------------------------------

    def _how_to_evaluate(self) -> Callable[[Point], tuple[Any, Point]]:
        problem = self.problem
        if problem.scheme is not None:
            return self._by_differences
        if self.shared:
            return self._in_shared_memory
        if self.by_backend:
            return self._by_backend
        return self._by_user if problem.jac is True else self._by_two_functions

    def evaluate(self, point: Point) -> tuple[Any, Point]:
        """Value, a 0-d array or a Python float, and gradient; counted, and not before the limits allow."""
        if self.counts:
            problem = self.problem
            if problem._limited:
                problem._check_limits()
            problem.nfev += 1
            problem.njev += 1
        try:
            return self._evaluate(point)
        except Exception as error:
            if not (self.counts and problem.history and problem.failures.include(error)):
                raise
            # A factorisation failed at the point, say: it counts as one without a value.
            return math.inf, tuple(0.0 * array for array in point)

    def _timed(self, function: Any, point: Point, args: tuple[Any, ...]) -> Any:
        problem = self.problem
        blas = problem.blas
        start = perf_counter()
        if blas.needed:
            blas.release()
        try:
            with np.errstate(**self.users_errors):
                return function(point, *args)
        finally:
            if blas.needed:
                blas.retake()
            problem.in_objective += perf_counter() - start

    def _by_backend(self, point: Point) -> tuple[Any, Point]:
        pair: tuple[Any, Point] = self._timed(self.problem._evaluate_pair, point, self.args)
        return pair

    def _in_shared_memory(self, point: Point) -> tuple[float, Point]:
        f, g = self.problem._pair_on_host(point[0].copy())
        return f, (g,)

    def _by_user(self, point: Point) -> tuple[Any, Point]:
        value, nest = value_and_nest(self._timed(self.problem._call_fun, self._copy(point), self.problem.args))
        return self.problem.objective.scalar(value), self._flatten(nest, "The gradient from `fun`")

    def _by_two_functions(self, point: Point) -> tuple[Any, Point]:
        f = self._timed(self.problem._evaluate_value, self._copy(point), self.args)
        nest = self._timed(self.problem._call_jac, self._copy(point), self.problem.args)
        return f, self._flatten(nest, "The gradient from `jac`")

    def _copy(self, point: Point) -> Point:
        """What the user's own functions get: nothing keeps them from writing into it."""
        return tuple(self.xp.asarray(array, copy=True) for array in point)

    def _flatten(self, nest: Any, what: str) -> Point:
        """The user's gradient laid end to end, where it is; on the host if there is something to say about it."""
        leaves = self.tree.match(nest, what)
        kind = type(self.like)
        if all(type(a) is kind and tuple(a.shape) == s for a, s in zip(leaves, self.tree.shapes, strict=True)):
            if self.sharded:
                return tuple(self.xp.asarray(self.xp.astype(a, self.like.dtype), copy=True) for a in leaves)
            return tuple(self._joined(leaves[group]) for group in self.tree.layout.groups)
        return self._upload(self.tree.pack_like(nest, what))

    def _joined(self, leaves: Sequence[Any]) -> Any:
        xp, dtype = self.xp, self.like.dtype
        parts = [xp.reshape(a if a.dtype == dtype else xp.astype(a, dtype), (-1,)) for a in leaves]
        # Of one leaf a copy too: the user may write into an array that it returned once.
        return xp.concat(parts) if len(parts) > 1 else xp.asarray(parts[0], copy=True)

    def _by_differences(self, point: Point) -> tuple[Any, Point]:
        """Counted, compared and noted down by `Problem`, which also takes the differences."""
        f, g = self.problem.value_and_gradient(self.download(point))
        return f, self._upload(g)

    # -- what was found -------------------------------------------------------------------------------------

    def note(self, point: Point, f: float, norm: float, gradient: Point) -> None:
        """Put an evaluation into the history, and keep it if it is the best; where Python runs the loop."""
        if not self.counts:
            return
        problem = self.problem
        if not math.isfinite(f + norm) and problem.history:
            problem.failures.note()
        value = f if math.isfinite(f) else math.inf
        problem.history.append((problem.nfev, value, norm, perf_counter() - problem.started))
        aux = NOTHING if problem.aside is None else problem.aside.take()
        if f < self._least and math.isfinite(f + norm):
            self.best, self._least = (point, f, gradient, aux), f
        if len(problem.history) <= 2 and problem.influence.undecided:
            self.look(f, norm, gradient)

    def hold(self, best: tuple[Point, float, Point, Any]) -> None:
        """Take over the best evaluation of an earlier run."""
        self.best, self._least = best, best[1]

    def note_all(self, values: np.ndarray, norms: np.ndarray, since: float) -> None:
        """Put the evaluations of a compiled stretch into the history; their times are spread evenly over it."""
        problem, now = self.problem, perf_counter() - self.problem.started
        each = (now - since) / max(len(values), 1)
        for k, (f, norm) in enumerate(zip(values.tolist(), norms.tolist(), strict=True)):
            problem.nfev += 1
            problem.njev += 1
            if not math.isfinite(f + norm):
                problem.failures.note()
            problem.history.append((problem.nfev, f if math.isfinite(f) else math.inf, norm, since + (k + 1) * each))

    def look(self, f: float, norm: float, gradient: Point) -> None:
        """Check one of the first two evaluations, as `Problem` does.

        Raises
        ------
        ObjectiveError
            At the start, where value or gradient are not finite.
        """
        problem, first = self.problem, len(self.problem.history) <= 1
        if first and not (math.isfinite(f) and math.isfinite(norm)):
            problem._first_value(Visit(problem.x0, f, self.download(gradient), True))
            raise ObjectiveError(
                f"The gradient of `fun` at the start is finite, but so large that the sum of its squares is not, in "
                f"{self.host_dtype}. Divide `fun` by a large number, or take a method on the host."
            )
        if self.sharded:
            problem.influence.look_leafwise(lambda k: self._is_any_nonzero(gradient[k]))
        elif first and self.problem.n > SHORT and self._is_all_nonzero(gradient):
            problem.influence.undecided = False
        else:
            problem.influence.look(self.download(gradient))

    def _is_all_nonzero(self, point: Point) -> bool:
        return all(bool(self.backend.to_numpy(self.xp.all(array != 0))) for array in point)

    def _is_any_nonzero(self, array: Any) -> bool:
        return bool(self.backend.to_numpy(self.xp.any(array != 0)))

    def noise(self) -> float:
        """What two values near the best point may differ by though `fun` does not: `Precision.noise`."""
        best = self.problem.best
        if best is not None and best.on_device is not None and self.bounds is None:
            terms = (self.xp.sum(self.xp.abs(x * g)) for x, g in zip(*best.on_device, strict=True))
            total = sum(float(self.backend.to_numpy(each)) for each in terms)
            return self.problem.precision.rounding(self.tree.n, best.f, total)
        return math.inf if best is None or best.g is None else self.problem.precision.noise(best)

    def conclude(self) -> None:
        """Hand the best point to `Problem`: the one time that anything of the vector's length comes to the host."""
        if self.best is not None:
            point, f, gradient, aux = self.best
            visit = (
                Afar(self, point, f, gradient)
                if self.sharded
                else Visit(self.download(point), f, self.download(gradient), True)
            )
            visit.aux = aux
            self.problem.best = visit


class Afar(Visit):
    """The best evaluation of a run over sharded leaves, which is brought to the host if somebody asks for it there."""

    __slots__ = ("_device", "on_device")

    def __init__(self, device: DeviceProblem, point: Point, f: float, gradient: Point) -> None:
        self._device, self.on_device = device, (point, gradient)
        self.f, self.feasible, self.sound = f, True, True

    @property
    def x(self) -> np.ndarray:  # type: ignore[override]  # a visit's is there from the first
        """The point as a host vector."""
        return self._device.download(self.on_device[0])

    @property
    def g(self) -> np.ndarray:  # type: ignore[override]  # likewise
        """The gradient as a host vector."""
        return self._device.download(self.on_device[1])


def array_device(array: Any) -> Any:
    """The device as the array API has it."""
    from array_api_compat import device

    return device(array)


def _is_placed(array: Any) -> bool:
    """Whether somebody chose the device of an array of JAX's or TensorFlow's."""
    return bool(getattr(array, "committed", False))


def numpy_namespace() -> Any:
    """NumPy as the array API has it."""
    from array_api_compat import numpy

    return numpy


def _namespace(backend: Any, array: Any) -> Any:
    """NumPy's arrays have one, whatever a backend that wraps NumPy shows its users."""
    return numpy_namespace() if isinstance(array, np.ndarray) else backend.namespace(array)
