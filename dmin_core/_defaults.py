"""The core's own implementations of the hooks that a backend may leave out, registered ``trylast``.

Derivatives by differences, for frameworks that have none (NumPy, CuPy, a third party's); slices, Python's
control flow and array-api-compat's namespaces for the rest. They are written over the backend's own
``to_numpy`` and ``from_numpy``, so that they serve any framework.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _differences as differences
from ._errors import InputError
from .hookspecs import hookimpl

if TYPE_CHECKING:
    from ._plugins import Backend


class Defaults:
    """`BackendSpec`'s optional hooks for one backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @hookimpl(trylast=True)
    def value_and_grad(self, fun: Any) -> Any:
        host = HostPoint(self.backend)

        def evaluate(point: Any, *args: Any) -> Any:
            value = fun(point, *args)
            x = host.pack(point)
            slope = differences.gradient(
                lambda y: float(self.backend.to_numpy(fun(host.unpack(y, point), *args))),
                x,
                float(self.backend.to_numpy(value)),
                eps=host.eps(point),
                round_to=host.rounding(point),
            )
            return value, host.unpack(slope, point)

        return evaluate

    @hookimpl(trylast=True)
    def hvp(self, fun: Any) -> Any:
        host = HostPoint(self.backend)
        evaluate = self.backend.value_and_grad(fun)

        def product(point: Any, vector: Any, *args: Any) -> Any:
            slope = differences.product(
                lambda y: host.pack(evaluate(host.unpack(y, point), *args)[1]),
                host.pack(point),
                host.pack(vector),
                exact=self.backend.exact_gradient,
                eps=float(np.max(host.eps(point), initial=0.0)),
            )
            return host.unpack(slope, point)

        return product

    @hookimpl(trylast=True)
    def value(self, fun: Any) -> Any:
        return fun

    @hookimpl(trylast=True)
    def value_with_aux(self, fun: Any) -> Any:
        evaluate, aside = self._beside(self.backend.value, fun)

        def with_aux(point: Any, *args: Any) -> Any:
            aside.clear()
            value = evaluate(point, *args)
            return value, self._detached(aside)

        return with_aux

    @hookimpl(trylast=True)
    def value_and_grad_with_aux(self, fun: Any) -> Any:
        evaluate, aside = self._beside(self.backend.value_and_grad, fun)

        def with_aux(point: Any, *args: Any) -> Any:
            aside.clear()
            value, gradient = evaluate(point, *args)
            return (value, self._detached(aside)), gradient

        return with_aux

    def _beside(self, transform: Any, fun: Any) -> tuple[Any, list[Any]]:
        """``transform`` of the value alone, and the list where `fun`'s aux will lie."""
        if self.backend.compiles and getattr(fun, "compile", None) is not False:
            raise InputError(
                f"Backend {self.backend.name!r} compiles `fun`, and cannot hand auxiliary output out of what it "
                f"compiled. Pass compile=False beside has_aux=True."
            )
        scalar = ValueAlone(fun)
        return transform(scalar), scalar.aside

    def _detached(self, aside: list[Any]) -> Any:
        arrays, rest = aside.pop()
        return [self.backend.detach(array) for array in arrays], rest

    @hookimpl(trylast=True)
    def detach(self, array: Any) -> Any:
        return array

    @hookimpl(trylast=True)
    def hessian(self, fun: Any) -> Any:
        host = HostPoint(self.backend)
        product = self.backend.hvp(fun)

        def evaluate(point: Any, *args: Any) -> Any:
            n = host.pack(point).size
            rows = [host.pack(product(point, host.unpack(unit, point), *args)) for unit in np.eye(n)]
            matrix = np.array(rows).reshape(n, n)
            return self.backend.from_numpy((matrix + matrix.T) / 2, point[0])

        return evaluate

    @hookimpl(trylast=True)
    def jacobian(self, fun: Any) -> Any:
        return self._rowwise(fun) if self.backend.exact_gradient else self._columnwise(fun)

    @hookimpl(trylast=True)
    def value_and_jacobian(self, fun: Any) -> Any:
        value, jacobian = self.backend.value(fun), self.backend.jacobian(fun)
        return lambda point, *args: (value(point, *args), jacobian(point, *args))

    def _rowwise(self, fun: Any) -> Any:
        host = HostPoint(self.backend)

        def evaluate(point: Any, *args: Any) -> Any:
            m = math.prod(fun(point, *args).shape)
            rows = np.empty((m, host.pack(point).size))
            for i in range(m):
                component = self.backend.value_and_grad(lambda p, *a, i=i: fun(p, *a)[i])
                rows[i] = host.pack(component(point, *args)[1])
            return self.backend.from_numpy(rows, point[0])

        return evaluate

    def _columnwise(self, fun: Any) -> Any:
        host = HostPoint(self.backend)

        def evaluate(point: Any, *args: Any) -> Any:
            x, rounded = host.pack(point), host.rounding(point)
            base, h = rounded(x), differences.default_step(x, "2-point", host.eps(point))
            value = np.asarray(self.backend.to_numpy(fun(point, *args)), dtype=float)
            columns = np.empty((value.size, x.size))
            for i in range(x.size):
                y = base.copy()
                y[i] += h[i]
                y = rounded(y)
                ahead = np.asarray(self.backend.to_numpy(fun(host.unpack(y, point), *args)), dtype=float)
                columns[:, i] = (ahead - value).ravel() / (y[i] - base[i])
            return self.backend.from_numpy(columns, point[0])

        return evaluate

    @hookimpl(trylast=True)
    def is_failure(self, error: Exception) -> bool:
        return False

    @hookimpl(trylast=True)
    def split(self, vector: Any, shapes: Any, dtypes: Any) -> Any:
        pieces, start = [], 0
        for shape, dtype in zip(shapes, dtypes, strict=True):
            stop = start + math.prod(shape)
            piece = self._by_name("reshape", vector[start:stop], shape)
            pieces.append(piece if piece.dtype == dtype else self._by_name("astype", piece, dtype))
            start = stop
        return pieces

    def _by_name(self, name: str, array: Any, argument: Any) -> Any:
        """A method of NumPy's arrays, which the array API has as a function of its namespace only."""
        method = getattr(array, name, None)
        if method is not None:
            return method(argument)
        return getattr(self.backend.namespace(array), name)(array, argument)

    @hookimpl(trylast=True)
    def feed(self, array: Any, like: Any) -> Any:
        return self.backend.from_numpy(array, like)

    @hookimpl(trylast=True)
    def on_host(self, fun: Any, like: Any) -> Any:
        return None

    @hookimpl(trylast=True)
    def own_array(self, size: Any, like: Any) -> Any:
        return False

    @hookimpl(trylast=True)
    def is_sharded(self, array: Any) -> Any:
        return False

    @hookimpl(trylast=True)
    def join(self, arrays: Any) -> Any:
        return None

    @hookimpl(trylast=True)
    def container(self, node: Any) -> Any:
        return None

    @hookimpl(trylast=True)
    def rebuild(self, structure: Any, children: Any) -> Any:
        raise NotImplementedError("a backend that takes containers apart must put them together")

    @hookimpl(trylast=True)
    def adopt(self, x0: Any) -> Any:
        return None

    @hookimpl(trylast=True)
    def restore(self, array: Any, like: Any, inside: bool) -> Any:
        return array

    @hookimpl(trylast=True)
    def namespace(self, array: Any) -> Any:
        from array_api_compat import array_namespace

        return array_namespace(array)

    @hookimpl(trylast=True)
    def compile(self, fun: Any) -> Any:
        return fun

    @hookimpl(trylast=True)
    def compile_fun(self, fun: Any, like: Any) -> Any:
        raise NotImplementedError("`minimize` refuses compile=True where a backend has no such hook")

    @hookimpl(trylast=True)
    def while_loop(self, cond: Any, body: Any, state: Any) -> Any:
        while cond(state):
            state = body(state)
        return state

    @hookimpl(trylast=True)
    def cond(self, predicate: Any, true: Any, false: Any, operands: Any) -> Any:
        return true(*operands) if predicate else false(*operands)

    @hookimpl(trylast=True)
    def put_row(self, array: Any, index: Any, row: Any) -> Any:
        array[index, ...] = row
        return array

    @hookimpl(trylast=True)
    def framework(self) -> Any:
        return self.backend.name

    @hookimpl(trylast=True)
    def devices(self) -> Any:
        return ("cpu",)


class ValueAlone:
    """A function that returns ``(value, aux)`` as a function that returns the value, with aux put aside.

    An evaluator that calls it more than once (for differences) does so at the point itself first.
    """

    def __init__(self, fun: Any) -> None:
        self.fun = fun
        self.compile = getattr(fun, "compile", None)
        self.aside: list[Any] = []

    def __call__(self, point: Any, *args: Any) -> Any:
        value, aux = self.fun(point, *args)
        if not self.aside:
            self.aside.append(aux)
        return value


class HostPoint:
    """Points as one float64 vector on the host, and back."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def pack(self, point: Any) -> np.ndarray:
        """The point's numbers in one (n,) float64 vector, never a view."""
        return np.concatenate([np.ravel(self.backend.to_numpy(a)).astype(float) for a in point])

    def unpack(self, x: np.ndarray, like: Any) -> Any:
        """A point like ``like`` with the numbers of ``x``."""
        arrays, start = [], 0
        for array in like:
            stop = start + math.prod(array.shape)
            arrays.append(self.backend.from_numpy(x[start:stop].reshape(array.shape), array))
            start = stop
        return tuple(arrays)

    def rounding(self, like: Any) -> Any:
        """What a round trip through the point's dtypes does to a host vector."""
        return lambda y: self.pack(self.unpack(y, like))

    def eps(self, like: Any) -> np.ndarray:
        """Relative precision of each number of the point, (n,)."""
        return np.concatenate([np.full(math.prod(a.shape), self._eps(a)) for a in like])

    def _eps(self, array: Any) -> float:
        return float(np.finfo(self.backend.to_numpy(array).dtype).eps)
