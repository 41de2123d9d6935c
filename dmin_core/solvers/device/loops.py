"""Who runs a device solver's loop: Python, an evaluation at a time, or the framework, in compiled stretches.

Both run the same solver (an object with ``begin`` and ``run``, made by ``make(parts)``). In Python every trial is read
from the device, once: all its numbers lie in one small array. Compiled, the loop's state stays on the device, and the
host sees it between stretches: that is where callbacks, the clock, Ctrl-C and checkpoints have their turn. A stretch
starts with one evaluation, and then gets as many as fit into `SECONDS`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Iterable, Sequence
from time import perf_counter
from typing import Any, cast

import numpy as np
import optree

from ..._aux import NOTHING
from ..._device_problem import DeviceProblem, numpy_namespace
from ..._leaves import is_float_dtype
from ..._tree import eps_of
from .arithmetic import Host, Traced
from .descent import EVALUATIONS, ITERATIONS, RUNNING

SECONDS = 0.25
"""How long a compiled stretch should take: as long as Ctrl-C may have to wait, beside the evaluation it is in."""
LONGEST = 128
"""Evaluations a stretch may have."""
MANY = 1e9
"""More evaluations than there will be, and still exact in float32 and int32."""


class InPython:
    """The loop in Python.

    Parameters
    ----------
    device : DeviceProblem
    make : callable
        ``make(arithmetic, evaluate, observe, record, loop, put_row, beside, bounds)``: the solver.
    product : callable, optional
        The Hessian product of a solver of second order, which has other parts: `second_order`.
    """

    def __init__(self, device: DeviceProblem, make: Callable[..., Any], product: Any = None) -> None:
        self.device, self.xp = device, device.xp
        self.dtype = device.like.dtype
        self.a = Host(device.eps, device.coarsest_eps)
        self.to_numpy = device.backend.to_numpy
        self.keeper, put_row = device.problem.keeper, device.backend.put_row
        parts: dict[str, Any] = {
            "arithmetic": self.a,
            "xp": self.xp,
            "evaluate": device.evaluate,
            "record": self.record,
            "loop": self.loop,
            "bounds": device.bounds,
            "times": _times(self.xp, device.like),
        }
        if product is None:
            guarded = put_row if self.keeper is None else self.keeper.guard(put_row)
            adding = operator.iadd if self.keeper is None else self.keeper.guard(operator.iadd)
            parts.update(
                observe=self.look if device.on_host else self.observe,
                put_row=guarded,
                add_to=adding,
                branch=_choice,
                beside=self.beside,
                early=device.early,
            )
        else:
            parts.update(second_order(product, self.read, _choice))
        self.solver = make(**parts)

    @staticmethod
    def loop(goes_on: Callable[[Any], Any], body: Callable[[Any], Any], state: Any) -> Any:
        """Python's own."""
        while goes_on(state):
            state = body(state)
        return state

    def beside(self, values: np.ndarray) -> Any:
        """Weights for the history, where it is."""
        return self.device.vector(values)

    def observe(self, value: Any, scalars: list[Any], products: Any) -> Any:
        """One read: everything in one array of the vectors' dtype."""
        xp = self.xp
        aside = value is None or isinstance(value, float)
        if not aside:
            scalars = [_in_full(self.a, xp, value, self.dtype), *scalars]
        parts = [xp.stack(scalars)] if scalars else []
        if products is not None:
            parts.append(xp.reshape(products, (-1,)))
        start = perf_counter()
        host = np.asarray(self.to_numpy(xp.concat(parts) if len(parts) > 1 else parts[0]), dtype=float)
        self.device.problem.in_copies += perf_counter() - start
        k = len(scalars)
        numbers = host[:k].tolist()
        f = None if value is None else float(value) if aside else numbers.pop(0)
        return f, numbers, None if products is None else host[k:].reshape(tuple(products.shape))

    def look(self, value: Any, scalars: list[Any], products: Any) -> Any:
        """The same where the arrays are NumPy's, float64: nothing to read."""
        if value is None:
            return None, [float(each) for each in scalars], products
        if not isinstance(value, float):
            self.a.sees(eps_of(value.dtype))
        return float(value), [float(each) for each in scalars], products

    def read(self, values: list[Any]) -> list[Any]:
        """One read of 0-d arrays; Python's floats, and NumPy's which are some, are there already."""
        xp = self.xp
        arrays = [_in_full(self.a, xp, v, self.dtype) for v in values if not isinstance(v, float)]
        start = perf_counter()
        found = iter(np.asarray(self.to_numpy(xp.stack(arrays)), dtype=float).tolist() if arrays else ())
        self.device.problem.in_copies += perf_counter() - start
        return [float(v) if isinstance(v, float) else next(found) for v in values]

    def record(self, log: Any, trial: Any) -> Any:
        """Note down an evaluation."""
        gg = trial.gg
        self.device.note(trial.x, trial.f, math.sqrt(gg) if gg >= 0.0 else gg, trial.g)
        return log

    def run(self, history: tuple[Any, ...], limits: Any, on_iteration: Callable[[Any], None]) -> Any:
        """The last state; limits on evaluations and time raise `Stop` from inside."""
        limits = limits._replace(maxfun=math.inf)
        with np.errstate(all="ignore"):
            return self._run(history, limits, on_iteration)

    def _run(self, history: tuple[Any, ...], limits: Any, on_iteration: Callable[[Any], None]) -> Any:
        state = self.solver.begin(self.device.start, self.device.zeros(), history)
        keeper, iterate = self.keeper, self.solver.iterate
        if keeper is not None:
            state, unseen = keeper.resume(self.device, state)
            state = under(limits, state)
            if unseen:
                on_iteration(state)
        while state.status == RUNNING:
            before = state.nit
            while state.status == RUNNING and state.nit == before:
                state, _ = iterate(state, limits, None)
            new = state.nit > before
            if keeper is not None:
                keeper.note(state, not new)
            if new:
                on_iteration(state)
                if keeper is not None:
                    keeper.note(state)
        return state


def under(limits: Any, state: Any) -> Any:
    """A state from a checkpoint under the limit on iterations that there is now."""
    if int(state.nfev) == 0 or int(state.status) not in (RUNNING, ITERATIONS):
        return state
    status = RUNNING if int(state.nit) < int(limits.maxiter) else ITERATIONS
    return state._replace(status=status if isinstance(state.status, int) else np.asarray(status, state.status.dtype))


def second_order(product: Any, read: Any, branch: Any) -> dict[str, Any]:
    """The parts that a solver by Hessian products has in place of a history's: `newton_cg.NewtonCg`."""
    return {"product": product, "read": read, "branch": branch}


def _in_full(a: Any, xp: Any, value: Any, dtype: Any) -> Any:
    """A 0-d array in the dtype of the vectors, in which the solver computes; its own may say that it is less exact."""
    if value.dtype == dtype:
        return value
    if is_float_dtype(value.dtype):
        a.sees(eps_of(value.dtype))
    return xp.astype(value, dtype)


def _choice(predicate: Any, true: Callable[..., Any], false: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
    return true(*operands) if predicate else false(*operands)


def _times(xp: Any, like: Any) -> Callable[..., Any]:
    """``@`` where the framework's knows vectors: array-api-compat's functions look at their arguments first.

    NumPy's arrays have a method that is called in half the time, which counts where they are short.
    """
    if isinstance(like, np.ndarray):
        return np.ndarray.dot
    try:
        like[:0] @ like[:0]
    except Exception:  # noqa: BLE001 - whichever error a framework has for it
        return xp.matmul
    return operator.matmul


class Packing:
    """How a nest of NumPy's numbers and small arrays, points among them, is handed over: the points, and two vectors.

    A call costs for every array, TensorFlow's some twenty microseconds, and a state has thirty. In one vector are the
    numbers of the points' dtype, in the other the integers and truth values.

    Parameters
    ----------
    nest : nest of arrays
    points : iterable of arrays
        Which of them are handed over as they are.
    """

    def __init__(self, nest: Any, points: Iterable[Any] = ()) -> None:
        leaves: list[Any]
        leaves, self.structure = optree.tree_flatten(nest)
        apart = set(map(id, points))
        self.kinds = tuple("" if id(leaf) in apart else leaf.dtype.kind for leaf in leaves)
        self.shapes = tuple(tuple(leaf.shape) if kind else () for leaf, kind in zip(leaves, self.kinds, strict=True))
        self.key = self.structure, self.kinds, self.shapes
        self.count = self.kinds.count("") + 2

    def pack(self, nest: Any, xp: Any) -> tuple[Any, ...]:
        """The points, the vector of numbers, the vector of integers."""
        points, numbers, integers = self._sort(nest)
        numbers = [xp.reshape(leaf, (-1,)) for leaf in numbers]
        integers = [xp.reshape(xp.astype(leaf, xp.int32), (-1,)) for leaf in integers]
        return (*points, xp.concat(numbers), xp.concat(integers))

    def pack_on_host(self, nest: Any) -> tuple[Any, ...]:
        """The same of NumPy's numbers, by NumPy's own methods: for each call, in less than half the time."""
        points, numbers, integers = self._sort(nest)
        flat = np.concatenate([leaf.reshape(-1) for leaf in numbers])
        return (*points, flat, np.concatenate([leaf.reshape(-1) for leaf in integers], dtype=np.int32))

    def _sort(self, nest: Any) -> tuple[list[Any], list[Any], list[Any]]:
        points: list[Any] = []
        numbers: list[Any] = []
        integers: list[Any] = []
        places = {"": points, "f": numbers}
        for leaf, kind in zip(optree.tree_leaves(nest), self.kinds, strict=True):
            places.get(kind, integers).append(leaf)
        return points, numbers, integers

    def unpack(self, packed: Sequence[Any], xp: Any) -> Any:
        """The nest."""
        *points, numbers, integers = packed
        following, places = iter(points), {True: 0, False: 0}
        leaves: list[Any] = []
        for kind, shape in zip(self.kinds, self.shapes, strict=True):
            if not kind:
                leaves.append(next(following))
                continue
            vector, start = (numbers if kind == "f" else integers), places[kind == "f"]
            places[kind == "f"] = stop = start + math.prod(shape)
            leaf = vector[start] if shape == () else xp.reshape(vector[start:stop], shape)
            leaves.append(leaf != 0 if kind == "b" else leaf)
        return optree.tree_unflatten(self.structure, leaves)

    def unpack_points(self, packed: Sequence[Any]) -> Any:
        """The nest with None for all but the points."""
        following = iter(packed)
        return optree.tree_unflatten(self.structure, [None if kind else next(following) for kind in self.kinds])


class Stretch:
    """A number of iterations as a function that a backend compiles and keeps.

    Equal for equal objectives and solvers, so that a second run compiles nothing. It takes a tuple of arrays, which are
    the state and the settings as `Packing` has them and the bounds, and `args`.
    """

    def __init__(
        self,
        objective: Any,
        backend: Any,
        make: Callable[..., Any],
        key: Hashable,
        state: Packing,
        settings: Packing,
        bounds: Any,
        second: bool,
        spent: int,
    ) -> None:
        self.objective, self.backend, self.make, self.key = objective, backend, make, key
        self.state, self.settings, self.second = state, settings, second
        self.bounds = None if bounds is None else optree.tree_structure(bounds)
        self.compile = objective.compile
        self.structure = objective.structure
        self.spent, self.carried = spent, state.count
        # In the loop the objective is part of what is compiled; compiled by itself it would be a function called there.
        self.plain = objective.inline()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stretch) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> Hashable:
        return self.objective, self.key, self.bounds, self.state.key, self.settings.key

    def __call__(self, point: tuple[Any, ...], *args: Any) -> tuple[Any, ...]:
        """Laid out as it came, the state after the stretch; and last what the host wants to read, in one array."""
        xp = self.backend.namespace(point[0])
        k, m = self.state.count, self.state.count + self.settings.count
        state, (limits, coarsest) = self.state.unpack(point[:k], xp), self.settings.unpack(point[k:m], xp)
        bounds: Any = None if self.bounds is None else optree.tree_unflatten(self.bounds, point[m:])
        like = state.x[0]
        a = Traced(eps_of(like.dtype), coarsest, xp, like)
        evaluate = self.backend.value_and_grad(self.plain)

        def in_full(value: Any) -> Any:
            return _in_full(a, xp, xp.asarray(value), like.dtype)

        parts: dict[str, Any] = {
            "arithmetic": a,
            "xp": xp,
            "evaluate": lambda x: evaluate(x, *args),
            "record": lambda log, trial: _note(self.backend, xp, log, trial),
            "loop": self.backend.while_loop,
            "bounds": bounds,
        }
        if self.second:
            hvp = self.backend.hvp(self.plain)
            parts.update(
                second_order(
                    lambda x, v, g: hvp(x, v, *args),
                    lambda values: [in_full(values[0]), *values[1:]] if len(values) > 1 else values,  # a truth value
                    self.backend.cond,
                )
            )
        else:
            parts.update(
                observe=lambda value, scalars, products: (None if value is None else in_full(value), scalars, products),
                put_row=self.backend.put_row,
                add_to=operator.add,
                branch=self.backend.cond,
                beside=lambda values: values,
            )
        solver = self.make(**parts)
        rows = LONGEST + 64
        log = (a.zeros(rows, 2), a.count(0))
        state, (log, used) = solver.run(state, limits, log)
        told = [used, state.status, state.nit, state.f, state.gg]
        if self.second:
            told += [state.nhev, state.lowest[2]]
        numbers = xp.stack([xp.astype(each, like.dtype) for each in told])
        report = xp.concat([numbers, xp.reshape(log, (-1,))])
        return (*self.state.pack(state, xp), report)


def _note(backend: Any, xp: Any, log: Any, trial: Any) -> Any:
    array, used = log
    return backend.put_row(array, used, xp.stack([trial.f, xp.sqrt(trial.gg)])), used + 1


class Compiled:
    """The loop in compiled stretches.

    Parameters
    ----------
    device : DeviceProblem
    make : callable
        As for `InPython`.
    key : hashable
        What tells the solver that ``make`` makes from others.
    second : bool, optional
        Whether it is one of second order.
    """

    def __init__(self, device: DeviceProblem, make: Callable[..., Any], key: Hashable, second: bool = False) -> None:
        self.device, self.make, self.key, self.second = device, make, key, second

    def run(self, history: tuple[Any, ...], limits: Any, on_iteration: Callable[[Any], None] | None) -> Any:
        """The last state; limits on evaluations and time raise `Stop` between stretches."""
        device, problem, backend = self.device, self.device.problem, self.device.backend
        numbers = _Numbers(device.host_dtype)
        host, zeros = numpy_namespace(), device.zeros()
        state: Any = self._begin(numbers, zeros, history)
        packing = Packing(state, (*device.start, *zeros, *history))
        run: Any = None
        allowed, nit, seen_all, f = 1, 0, False, math.nan
        keeper = problem.keeper
        if keeper is not None:
            state, unseen = keeper.resume(device, state)
            state, nit, f = under(limits, state), int(state.nit), float(state.f)
            if unseen and on_iteration is not None:
                on_iteration(state._replace(f=float(state.f), nit=nit))
            if int(state.status):
                return state
        packed: Sequence[Any] = packing.pack_on_host(state)
        bounds: list[Any] = optree.tree_leaves(cast(Any, device.bounds or ()))
        while True:
            until = min(problem.nfev + min(allowed, LONGEST), MANY)
            stretched = limits._replace(
                maxfun=np.int32(min(problem.maxfun, MANY)),
                until_evaluation=np.int32(until),
                until_iteration=np.int32(nit + 1 if on_iteration is not None and nit >= 0 and problem.nfev else MANY),
            )
            if self.second:
                stretched = stretched._replace(until_product=np.int32(min(problem.nhev + allowed, MANY)))
            if problem._limited:
                problem._check_limits()
            if keeper is not None:
                if until + int(getattr(limits, "maxls", 1)) >= problem.maxfun:  # where a search may be broken off
                    keeper.write()
                keeper.void()
            settings = stretched, numbers.number(device.coarsest_eps)
            if run is None:
                laid = Packing(settings)
                run = backend.compile(self._stretch(packing, laid, len(history)))
            traces = problem._traces.count if problem._traces is not None else 0
            since, before = perf_counter() - problem.started, perf_counter()
            *packed, report = run((*packed, *laid.pack_on_host(settings), *bounds), *device.args)
            told = np.asarray(backend.to_numpy(report), dtype=float)
            took = perf_counter() - before
            compiled = problem._traces is None or problem._traces.count > traces
            if problem._traces is not None and compiled:
                problem.in_compile += took  # and one evaluation, of all that this stretch has
            state = packing.unpack_points(packed)
            used, status, nit_now = (int(each) for each in told[:3])
            if on_iteration is None:  # else it counts them
                problem.nit = nit_now
            log = told[7 if self.second else 5 :].reshape(-1, 2)[:used]
            first, moved, f = problem.nfev == 0, told[3] != f, float(told[3])
            device.note_all(log[:, 0], log[:, 1], since)
            device.best = (state.x, f, state.g, NOTHING)
            work = used
            if self.second:
                work += int(told[5]) - problem.nhev
                problem.nhev = int(told[5])
                device.best = (state.lowest[0], float(told[6]), state.lowest[1], NOTHING)
            if first or (moved and problem.influence.undecided and not seen_all):
                device.look(f, math.sqrt(told[4]) if told[4] >= 0 else math.nan, state.g)
                seen_all = not first
            new = nit_now > nit
            whole = status or (keeper is not None and status != EVALUATIONS)
            if whole:
                state = packing.unpack([*packed[:-2], *map(backend.to_numpy, packed[-2:])], host)
            if keeper is not None and status != EVALUATIONS:
                keeper.note(state, on_iteration is None or not new)
            if new and on_iteration is not None:
                on_iteration(state._replace(f=f, nit=nit_now))
                if keeper is not None and status != EVALUATIONS:
                    keeper.note(state)
            nit = nit_now
            if status:
                return state._replace(status=status, nit=nit)
            allowed = self._allow(took / max(work, 1), first and compiled)

    def _begin(self, numbers: _Numbers, zeros: Any, history: tuple[Any, ...]) -> Any:
        """The state before the first evaluation."""
        others = ("product", "read", "branch") if self.second else ("observe", "put_row", "add_to", "branch", "beside")
        nothing = dict.fromkeys(("evaluate", "record", "loop", *others))
        device = self.device
        solver = self.make(arithmetic=numbers, xp=device.xp, **nothing, bounds=device.bounds)
        return solver.begin(device.start, zeros, history)

    def _stretch(self, state: Packing, settings: Packing, spent: int) -> Stretch:
        device = self.device
        return Stretch(
            device.problem.objective,
            device.backend,
            self.make,
            self.key,
            state,
            settings,
            device.bounds,
            self.second,
            spent,
        )

    def _allow(self, each: float, compiled: bool) -> int:
        """How many evaluations, or products, the next stretch may have, one of which took so long."""
        problem = self.device.problem
        if problem.influence.undecided:
            return 1
        seconds = SECONDS
        if problem.maxtime < math.inf:
            seconds = min(seconds, 0.5 * (problem.maxtime - (perf_counter() - problem.started)))
        # A first call that compiled says nothing about the next ones.
        return 8 if compiled else max(1, int(min(MANY, seconds / each)))


class _Numbers:
    """The scalars with which a compiled loop begins, NumPy's."""

    eager = False

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def number(self, value: Any) -> Any:
        return np.asarray(value, self.dtype)

    def count(self, value: Any) -> Any:
        return np.asarray(value, np.int32)

    def truth(self, value: Any) -> Any:
        return np.asarray(value, np.bool_)

    def zeros(self, *shape: int) -> Any:
        return np.zeros(shape, self.dtype)
