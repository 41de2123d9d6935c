"""The objective as solvers see it: functions of one float64 host vector.

Between `Problem` and a solver go one vector in, one value and one vector out. Here is everything that every
method needs alike and no solver should have to do: one evaluation a point even where SciPy asks for value and
gradient apart, counts, the best point so far, the history, the clock, limits, BLAS threads.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from . import _differences as differences
from ._active import active_bounds
from ._aux import NOTHING, Aside, ValueOf, WithAux
from ._compile_time import FirstCalls, Traces, Untold
from ._errors import ObjectiveError
from ._failures import Failures
from ._influence import Influence
from ._objective import Given, Objective, dense_hessian, value_and_nest
from ._precision import Precision
from ._threads import SingleThreadedBlas
from ._tree import Tree

Pair = tuple[np.ndarray, np.ndarray]

FEASIBLE = 1e-8
"""How far a point may lie outside its bounds, relative to 1 + |bound|, and still be the answer."""


SHORT = 256
"""Up to so many numbers are compared by their bytes."""


class Stop(BaseException):
    """Ends a run from inside an evaluation or a callback, through whatever solver is running.

    A BaseException, so that no solver's own ``except Exception`` takes it for a failed evaluation.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Visit:
    """A point that was evaluated; ``sound`` unless something of it is not finite, or stands in for what is not."""

    __slots__ = ("aux", "constraints", "f", "feasible", "g", "sound", "violation", "x")
    aux: Any
    on_device: Any = None
    """x and gradient as points of sharded arrays: `Afar`."""
    # Set where there are constraints.
    constraints: Any
    violation: float

    def __init__(self, x: np.ndarray, f: float, g: np.ndarray | None, feasible: bool, sound: bool = True) -> None:
        self.x, self.f, self.g, self.feasible, self.sound = x, f, g, feasible, sound


class Problem:
    """The objective over the flat vector, for host solvers.

    Attributes
    ----------
    n : int
        Number of variables.
    bounds : pair of (n,) float64 arrays, or None
        With infinities where one side is free; None where all are.
    keep_feasible : (n,) bool or bool
        As SciPy's ``Bounds`` has it.
    nfev, njev, nhev, nit : int
        Counts so far.
    replayed : int or None
        How many of `nfev` a checkpoint gave; None where there is none.
    replaying : bool
        Whether the checkpoint has more to give.
    failures : Failures
        What stands in for values that are not finite, and how many there were.

    Parameters
    ----------
    tree : Tree
    fun, args, jac, hess, hessp
        As `minimize` got them.
    x0 : (n,) float64 or None
        None: what the leaves hold, for leaves that are sharded.
    bounds : pair of (n,) arrays or None
    keep_feasible : bool or (n,) bool
    uses_gradient : bool
        Whether the method asks for gradients, so that value and gradient are best computed together.
    strict : bool
        Whether the method never leaves the bounds.
    private : bool
        Whether the method hands over a new x at each evaluation, which `fun` may then view.
    together : bool
        Whether the method asks for the gradient wherever it asks for the value.
    compile : bool or None
        As `minimize` got it.
    maxfun, maxtime : float
        Limits on evaluations and seconds.
    relative_step, absolute_step : float or (n,) array, optional
        For finite differences.
    has_aux : bool
        As `minimize` got it.
    """

    constraints: Sequence[Any] = ()
    """None here: `ConstrainedProblem` has some."""
    chosen: str | None = None
    """Why the method is another than the usual one, where the user named none."""
    keeper: Any = None
    """The `Keeper` of a device method's state, where a checkpoint is asked for."""

    def __init__(
        self,
        tree: Tree,
        fun: Callable[..., Any],
        x0: np.ndarray | None,
        *,
        args: tuple[Any, ...] = (),
        jac: Any = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Pair | None = None,
        keep_feasible: Any = False,
        uses_gradient: bool = True,
        strict: bool = True,
        private: bool = False,
        together: bool = False,
        compile: bool | None = None,
        maxfun: float = math.inf,
        maxtime: float = math.inf,
        relative_step: Any = None,
        absolute_step: Any = None,
        has_aux: bool = False,
    ) -> None:
        self.tree, self.backend, self.n = tree, tree.backend, tree.n
        self._x0 = x0
        self._short = tree.n <= SHORT
        self.fun, self.args, self.jac, self.hess, self.hessp = fun, args, jac, hess, hessp
        self.objective_args = (*tree.inputs_of(compile), *args)
        self.bounds, self.keep_feasible, self.strict, self.private = bounds, keep_feasible, strict, private
        if bounds is not None and not strict:
            self._lowest = bounds[0] - FEASIBLE * (1.0 + np.abs(bounds[0]))
            self._highest = bounds[1] + FEASIBLE * (1.0 + np.abs(bounds[1]))
        self.maxfun, self.maxtime = maxfun, maxtime
        self._limited = maxfun < math.inf or maxtime < math.inf
        self.unwatched = False
        self.relative_step, self.absolute_step = relative_step, absolute_step
        self.nfev = self.njev = self.nhev = self.nit = 0
        self.history: list[tuple[int, float, float, float]] = []
        self.best: Visit | None = None
        self._least = math.inf
        self.last: Visit | None = None
        self.in_objective = self.in_copies = self.in_compile = 0.0
        self.blas = SingleThreadedBlas()
        self.blas.needed = False
        from scipy.linalg.blas import ddot  # here, for importing dmin must stay cheap

        # Quicker than NumPy's, which moreover looks for overflow, and warns.
        self._dot = ddot
        self.scheme = self._scheme()
        # What the backend differentiates is a function of the layout's arrays; all else of one flat vector.
        self._point, self._join = tree.layout.point, tree.layout.join
        self._shared = private and tree.backend.shields
        kind = ValueOf if has_aux else Objective
        # Where both come from one call there is nothing to put together.
        self._together = together and not (jac is True or self._by_backend)
        self.objective = kind(fun, tree, complex_step=self.scheme == "cs", compile=compile)
        self._uses_gradient = uses_gradient
        self._compute = self._how_to_compute()
        # On request what is evaluated is compiled; what is differentiated twice is `fun` as it is.
        self._compiles_fun = bool(compile) and not self.backend.compiles and jac is not True
        evaluated = self._as_evaluated(self.objective)
        self._evaluate_value = tree.backend.value(evaluated) if jac is not True else None
        # The backend calls these too, in whatever mode of the framework derivatives are computed.
        self._call_fun = tree.backend.value(Given(fun, tree)) if jac is True else None
        self._call_jac, self._call_hess, self._call_hessp = (
            tree.backend.value(Given(function, tree)) if callable(function) else None for function in (jac, hess, hessp)
        )
        self._evaluate_pair: Any = tree.backend.value_and_grad(evaluated) if self._by_backend else None
        plain = self._by_backend and not has_aux and len(tree.layout.groups) == 1
        self._on_host: Any = tree.backend.on_host(evaluated, tree.prototype) if plain else None
        self._make_visit: Callable[..., Visit] = Visit
        self.aside = self._put_aux_aside(tree, compile) if has_aux else None
        self._evaluate_product: Any = None
        self._evaluate_hessian: Any = None
        self._traces = Traces(tree.structure) if self.backend.compiles and compile is not False else None
        self._watch_first_calls("_evaluate_value", "_evaluate_pair", "_on_host")
        self._gradient_seen = False
        self.failures = Failures(tree.backend.is_failure, tree.coarsest_eps)
        self.precision = Precision(tree.coarsest_eps, self.exact_gradient, bounds)
        self.influence = Influence(tree, bounds)
        self._second: tuple[np.ndarray, Any] | None = None
        self.started = perf_counter()
        self.replayed: int | None = None
        self.replaying = False

    @property
    def x0(self) -> np.ndarray:
        """Where to start, (n,) float64; of sharded leaves brought to the host when it is asked for."""
        if self._x0 is None:
            self._x0 = self.tree.pack_x0()
        return self._x0

    @property
    def starts_at_leaves(self) -> bool:
        """Whether x0 is what the leaves hold, and nobody has brought it to the host yet."""
        return self._x0 is None

    def start(self) -> None:
        """Start the clock."""
        self.started = perf_counter()

    def begin_again(self) -> np.ndarray:
        """The best point, from which a method is started anew, (n,); it is not evaluated again."""
        best = self.best
        assert best is not None
        x = best.x.copy() if self.bounds is None else np.clip(best.x, *self.bounds)
        if best.sound and (best.g is not None or not self._uses_gradient):
            self.last = best
        self.failures.begin_again(best)
        return x

    def refine_differences(self) -> bool:
        """Take central differences from here on, if forward ones were dmin's choice; whether anything changes by it."""
        chosen = self.jac is None and self.absolute_step is None and self.relative_step is None
        best = self.best
        if not chosen or self.scheme != "2-point" or best is None or not best.sound:
            return False
        self.scheme = "3-point"
        if best.g is not None:
            self.njev += 1
            g = self._difference(best.x, best.f)
            best.g = g if np.isfinite(g).all() else best.g
        self.precision = Precision(self.tree.coarsest_eps, False, self.bounds)
        return True

    def forget(self) -> None:
        """Let go of what only a run needs: its history, graphs that were kept for products."""
        self.history, self._second, self._evaluate_product = [], None, None

    def extras(self, answer: Visit | None, raw: Mapping[str, Any]) -> dict[str, Any]:
        """What the result says of bounds and constraints at the answer."""
        found: dict[str, Any] = {}
        if self.bounds is not None and answer is not None:
            found["active"] = {"bounds": active_bounds(answer.x, self.bounds, self.tree)}
            if "bound_multipliers" in raw:
                found["bound_multipliers"] = self.tree.restore(np.array(raw["bound_multipliers"]), classes=False)
        return found

    def _as_evaluated(self, objective: Objective) -> Objective:
        return objective.compiled_by(self.backend, self.tree.prototype) if self._compiles_fun else objective

    # -- which derivatives --------------------------------------------------------------------------------

    def _scheme(self) -> str | None:
        if isinstance(self.jac, str):
            return self.jac
        if self.jac is None and not self.backend.exact_gradient:
            return "2-point"
        return None

    @property
    def _by_backend(self) -> bool:
        return self.jac is None and self.scheme is None

    @property
    def exact_gradient(self) -> bool:
        """Whether gradients are exact: the framework's or the user's."""
        return self.scheme is None

    @property
    def exact_product(self) -> bool:
        """Whether Hessian products are exact: the framework's or the user's."""
        return callable(self.hess) or callable(self.hessp) or (self._by_backend and self.backend.exact_hvp)

    # -- what solvers call --------------------------------------------------------------------------------

    def value(self, x: np.ndarray) -> float:
        """``fun`` at ``x`` (n,)."""
        last = self.last
        # `_same`, written out for few numbers, whose functions are quick.
        if last is not None and (last.x.tobytes() == x.tobytes() if self._short else _same(last.x, x)):
            return last.f
        return self._visit(x).f

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Its gradient there, (n,); a new array that is not written again."""
        last = self.last
        if last is None or (last.x.tobytes() != x.tobytes() if self._short else not _same(last.x, x)):
            last = self._visit(x)
        g = last.g if last.g is not None else self._add_gradient(last).g
        assert g is not None
        return g

    def value_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Both at once."""
        return self.value(x), self.gradient(x)

    def product(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Hessian at ``x`` times ``v``, (n,)."""
        self._check_limits()
        try:
            h = self._product(x, v)
            if math.isfinite(square := self._dot(h, h)) or np.isfinite(h).all():
                self.failures.known_curvature = square, self._dot(v, v)
                return h
        except Exception as error:
            if not self.failures.include(error):
                raise
        self.failures.count += 1
        return self.failures.curvature(self._known_gradient(x)) * v

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Dense Hessian at ``x``, (n, n)."""
        self._check_limits()
        try:
            matrix = self._hessian(x)
            if np.isfinite(matrix).all():
                self.failures.known_curvature = float(np.vdot(matrix, matrix)), self.n
                return matrix
        except Exception as error:
            if not self.failures.include(error):
                raise
        self.failures.count += 1
        return self.failures.curvature(self._known_gradient(x)) * np.eye(self.n)

    # As they are: counted, but no candidate, in no history, and nothing stands in for what is not finite.

    def bare_value(self, x: np.ndarray) -> float:
        """``fun`` at ``x``; nan where it fails."""
        try:
            return self._compute(np.array(x, dtype=float))[0]
        except Exception as error:
            if not self.failures.include(error):
                raise
            return math.nan

    def bare_gradient(self, x: np.ndarray) -> np.ndarray:
        """Its gradient there; nan where it fails."""
        try:
            return self._gradient_nearby(x)
        except Exception as error:
            if not self.failures.include(error):
                raise
            return np.full(self.n, math.nan)

    def bare_product(self, x: np.ndarray, v: np.ndarray, *, dense: bool) -> np.ndarray:
        """The Hessian there times ``v``, by the dense one or by a product."""
        return self._hessian(x) @ v if dense else self._product(x, v)

    # -- one evaluation a point ---------------------------------------------------------------------------

    def _visit(self, x: np.ndarray) -> Visit:
        if self._limited:
            self._check_limits()
        kept = x if self._shared else x.copy() if self.private else np.array(x, dtype=float)
        try:
            f, g = self._compute(x if self.private else self._shielded(kept))
        except Exception as error:
            if self.last is None or not self.failures.include(error):
                raise
            f, g = math.inf, None
        strict = self.strict
        visit = told = self._make_visit(kept, f, g, strict or self._is_feasible(kept))
        if self.last is None:
            self._first_value(visit)
        norm = math.nan if g is None else math.sqrt(self._dot(g, g))
        sound = math.isfinite(f if g is None else f + norm)
        if not sound:
            told = self._stand_in(visit)
            f = visit.f
        elif g is not None:
            # `_go_on`, but for the usual case without a call of it: this is the hot path.
            if self.failures.streak or self.influence.undecided:
                self._go_on(visit)
            else:
                self.failures.base = visit
        self.last = told
        self.history.append((self.nfev, f, norm, perf_counter() - self.started))
        if sound and strict and f < self._least:
            self.best, self._least = visit, f  # what `_compare` would find
        elif f < self._least or not strict:
            self._compare(visit)
        elif told is visit and self.best is not None and self.best.sound:
            self.precision.note(self.best, visit)
        return self._complete(told) if self._together and told is visit else told

    def _complete(self, visit: Visit) -> Visit:
        """The gradient as well, for methods that always want it: a value counts as failed where its gradient does."""
        told = self._add_gradient(visit)
        if told is not visit:
            told.f = self.failures.stand_in(visit.x, self.history)[0]
        return told

    def _go_on(self, visit: Visit) -> None:
        """A point with a value and a gradient."""
        failures = self.failures
        if failures.streak and not (failures.base is not None and _same(failures.base.x, visit.x)):
            failures.streak = 0
        failures.base = visit
        if self.influence.undecided and visit.g is not None:
            self.influence.look(visit.g)

    def _stand_in(self, visit: Visit) -> Visit:
        """What the solver is told instead of a value or gradient that is not finite."""
        good = visit.g is not None and bool(np.isfinite(visit.g).all())
        if math.isfinite(visit.f) and (good or not self._uses_gradient):
            if good:
                self._go_on(visit)
            return visit  # it is the norm that overflowed, or a gradient that nobody needs
        self.failures.note()
        visit.sound = False
        if not math.isfinite(visit.f):
            visit.f = math.inf
        return self._tell(visit, *self.failures.stand_in(visit.x, self.history))

    def _tell(self, visit: Visit, f: float, g: np.ndarray | None) -> Visit:
        """What the solver sees instead of the visit."""
        told = Visit(visit.x, f, g, visit.feasible, sound=False)
        if self.aside is not None:
            told.aux = visit.aux
        return told

    def _add_gradient(self, visit: Visit) -> Visit:
        """The gradient that is asked for after its value."""
        try:
            g = self._gradient_alone(visit)
        except Exception as error:
            if not (self._gradient_seen and self.failures.include(error)):
                raise
            g = np.full(self.n, math.nan)
        if not visit.sound:  # one that no point with a gradient came before
            visit.g = g if np.isfinite(g).all() else np.zeros(self.n)
            return visit
        visit.g = g
        self._first_gradient(visit)
        self._note_norm(visit)
        if not np.isfinite(g).all():
            self.failures.note()
            visit.sound = False
            self.last = told = self._tell(visit, visit.f, self.failures.slope(visit.x))
            return told
        self._go_on(visit)
        return visit

    def _product(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        self.nhev += 1
        if callable(self.hessp):
            return self._user_product(x, v)
        if callable(self.hess):
            return self._user_hessian(x) @ v
        if not self._by_backend:
            return differences.product(
                self._gradient_nearby,
                x,
                v,
                self._known_gradient(x),
                exact=self.exact_gradient,
                eps=self.tree.coarsest_eps,
            )
        return self._product_by_backend(x, v)

    def _hessian(self, x: np.ndarray) -> np.ndarray:
        if callable(self.hess):
            self.nhev += 1
            return self._user_hessian(x)
        if not self._by_backend or callable(self.hessp):
            rows = np.empty((self.n, self.n))
            for i, unit in enumerate(np.eye(self.n)):
                self._check_limits()
                rows[i] = self._product(x, unit)
            return (rows + rows.T) / 2
        self.nhev += 1
        return self._hessian_by_backend(x)

    def hessian_at_the_end(self, x: np.ndarray) -> np.ndarray:
        """Dense Hessian at ``x`` after the run: no limit holds any more, and differences keep within the bounds."""
        self.maxfun = self.maxtime = math.inf
        with self.blas:
            if self.exact_product:
                return self._hessian(x)  # as it is: nothing stands in for it here
            from_values = not self.exact_gradient and self.scheme != "cs"
            return differences.hessian(
                self._value_nearby if from_values else self._gradient_nearby,
                x,
                from_values=from_values,
                eps=self.tree.eps(),
                bounds=self.bounds,
                round_to=self.tree.round,
            )

    def _compare(self, visit: Visit) -> None:
        """Keep a point that is better than the best: feasible before infeasible, then the lower value."""
        best, f = self.best, visit.f
        if math.isfinite(f) and (best is None or (f < best.f if best.feasible is visit.feasible else visit.feasible)):
            self.best, self._least = visit, f

    def _how_to_compute(self) -> Callable[[np.ndarray], tuple[float, np.ndarray | None]]:
        """Value and gradient together where that is the cheaper, the value alone where the gradient is apart."""
        if self.jac is True:
            return self._user_pair
        if self._uses_gradient and self._by_backend:
            return self._pair_by_backend
        return lambda x: (self._value(x), None)

    def _gradient_alone(self, visit: Visit) -> np.ndarray:
        if callable(self.jac):
            self.njev += 1
            return self._user_gradient(visit.x.copy())
        if self.scheme is not None:
            self.njev += 1
            return self._difference(visit.x, visit.f)
        return self._pair_by_backend(self._shielded(visit.x))[1]

    def _difference(self, x: np.ndarray, f: float | None) -> np.ndarray:
        assert self.scheme is not None
        step = self.absolute_step
        if self.relative_step is not None:
            step = differences.default_step(x, self.scheme, 0.0, self.relative_step)
        return differences.gradient(
            self._value_nearby,
            x,
            f,
            scheme=self.scheme,
            step=step,
            eps=self.tree.eps(),
            bounds=self.bounds,
            round_to=self.tree.round,
        )

    def _value_nearby(self, x: np.ndarray) -> Any:
        """``fun`` at a point that is the difference's, not the solver's: counted, but no candidate."""
        self._check_limits()
        if np.iscomplexobj(x):
            return self._complex_value(x)
        try:
            f = self._value(x)
        except Exception as error:
            if not self.failures.include(error):
                raise
            f = math.nan
        if not math.isfinite(f):
            self.failures.count += 1
        return f

    def _gradient_nearby(self, x: np.ndarray) -> np.ndarray:
        self._check_limits()
        if self._by_backend:
            return self._pair_by_backend(x.copy())[1]
        if self.jac is True:
            return self._user_pair(x.copy())[1]
        if self.scheme is not None:
            return self._difference(x, None)
        self.njev += 1
        return self._user_gradient(x.copy())

    def _known_gradient(self, x: np.ndarray) -> np.ndarray | None:
        known = self._known(x)
        return known.g if known is not None and known.sound else None

    def _known(self, x: np.ndarray) -> Visit | None:
        return next((v for v in (self.last, self.best) if v is not None and _same(v.x, x)), None)

    # -- auxiliary output -----------------------------------------------------------------------------------

    def _put_aux_aside(self, tree: Tree, compile: bool | None) -> Aside:
        """Exchange the evaluators for those that put aux aside, where the next visit finds it."""
        aside = Aside(tree.backend)
        objective = self._as_evaluated(
            WithAux(self.fun, tree, complex_step=self.scheme == "cs", compile=compile, owner=tree.backend.name)
        )
        if self._call_fun is not None:
            self._call_fun = aside.from_user_pair(self._call_fun)
        else:
            self._evaluate_value = aside.from_value(tree.backend.value_with_aux(objective))
        if self._evaluate_pair is not None:
            self._evaluate_pair = aside.from_pair(tree.backend.value_and_grad_with_aux(objective))
        self._make_visit = self._visit_with_aux
        return aside

    def _visit_with_aux(self, x: np.ndarray, f: float, g: np.ndarray | None, feasible: bool) -> Visit:
        assert self.aside is not None
        visit = Visit(x, f, g, feasible)
        visit.aux = self.aside.take()
        return visit

    def aux_of(self, visit: Visit) -> Any:
        """Aux of a visit; where `fun` was not called for it, in one more evaluation."""
        assert self.aside is not None
        if visit.aux is NOTHING:
            self._compute(visit.x.copy())
            visit.aux = self.aside.take()
        return visit.aux

    def aux_at(self, x: np.ndarray) -> Any:
        """Aux at a point that was evaluated and is remembered; None at others."""
        known = self._known(x)
        return None if known is None or known.aux is NOTHING else known.aux

    def intercept(self, around: Callable[[str, Callable[..., Any]], Callable[..., Any]], names: Iterable[str]) -> None:
        """Have ``around(name, call)`` stand for each of these calls, until `release`."""
        for name in names:
            setattr(self, name, around(name, getattr(self, name)))
        self._compute = self._how_to_compute()

    @property
    def compiled(self) -> bool:
        """Whether evaluations run in compiled functions."""
        return self.backend.compiles and self.jac is None and self.objective.compile is not False

    def defer(self, around: Callable[[Any], Any] | None) -> None:
        """Have ``around(visit)`` stand for evaluations; None: no longer."""
        if around is None:
            vars(self).pop("_visit", None)
        else:
            self._visit = around(self._visit)  # type: ignore[method-assign]  # found before the class's own

    def release(self, names: Iterable[str]) -> None:
        """Have them called as they are again."""
        for name in names:
            delattr(self, name)
        self._compute = self._how_to_compute()

    # -- calls into the user's code: host vectors in, whose memory is the call's own, and host numbers out ----------

    def _pair_by_backend(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The hot path, so `_timed` and the conversions are written out: 4 µs an evaluation less."""
        self.nfev += 1
        self.njev += 1
        if self._on_host is not None:
            return self._pair_on_host(x)
        point = self._point(x)
        blas = self.blas
        start = perf_counter()
        if blas.needed:
            blas.release()
        try:
            value, gradient = self._evaluate_pair(point, *self.objective_args)
        finally:
            if blas.needed:
                blas.retake()
            done = perf_counter()
            self.in_objective += done - start
        # `float` is the quicker of the two for torch by 1 µs, and for JAX's arrays the slower by 4.
        f = float(self.backend.to_numpy(value)) if self.backend.compiles else float(value)
        g = self._join(gradient)
        self.in_copies += perf_counter() - done
        return f, g

    def _pair_on_host(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The same where nothing is copied between host and framework: `BackendSpec.on_host`."""
        blas = self.blas
        start = perf_counter()
        if blas.needed:
            blas.release()
        try:
            return self._on_host(x, *self.objective_args)
        finally:
            if blas.needed:
                blas.retake()
            self.in_objective += perf_counter() - start

    def _value(self, x: np.ndarray) -> float:
        self.nfev += 1
        value = self._timed(self._evaluate_value, self.tree.point(x), *self.objective_args)
        if self.scheme == "cs" and np.iscomplexobj(value):
            raise ObjectiveError(
                f"`fun` returned the complex number {value} at a real point; minimize needs a real one."
            )
        return self._to_float(value)

    def _complex_value(self, x: np.ndarray) -> complex:
        self.nfev += 1
        return self._timed(self._evaluate_value, self.tree.point(x), *self.objective_args)

    def _user_pair(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        self.nfev += 1
        self.njev += 1
        returned = self._timed(self._call_fun, self.tree.point(x), *self.args)
        value, nest = value_and_nest(returned)
        return self._to_float(self.objective.scalar(value)), self._pack(nest, "The gradient from `fun`")

    def _user_gradient(self, x: np.ndarray) -> np.ndarray:
        return self._pack(self._timed(self._call_jac, self.tree.point(x), *self.args), "The gradient from `jac`")

    def _user_product(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        direction = self.tree.direction(self._fresh(v))
        product = self._timed(self._call_hessp, self._fresh(x), direction, *self.args)
        return self._pack(product, "The product from `hessp`")

    def _user_hessian(self, x: np.ndarray) -> np.ndarray:
        returned = self._timed(self._call_hess, self._fresh(x), *self.args)
        return dense_hessian(returned, self.tree)

    def _product_by_backend(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        if self._evaluate_product is None:
            self._evaluate_product = self.backend.hvp(self.objective)
            self._watch_first_calls("_evaluate_product")
        point, direction = self._second_order_point(x), self._point(np.array(v, dtype=float))
        h = self._timed(self._evaluate_product, point, direction, *self.objective_args)
        start = perf_counter()
        host = self._join(h)
        self.in_copies += perf_counter() - start
        return host

    def _hessian_by_backend(self, x: np.ndarray) -> np.ndarray:
        if self._evaluate_hessian is None:
            self._evaluate_hessian = self.backend.hessian(self.objective)
            self._watch_first_calls("_evaluate_hessian")
        return self._to_host(self._timed(self._evaluate_hessian, self._second_order_point(x), *self.objective_args))

    def _second_order_point(self, x: np.ndarray) -> Any:
        """The same point object for every product at one ``x``: backends keep what they computed for it."""
        if self._second is None or not _same(self._second[0], x):
            known = self._known(x)
            kept = np.array(x, dtype=float) if known is None else known.x
            self._second = (kept, self._point(self._shielded(kept)))
        return self._second[1]

    def _shielded(self, x: np.ndarray) -> np.ndarray:
        """What `feed` may get of a vector that is kept: a copy, unless nothing can be written through what it makes."""
        return x if self.backend.shields else x.copy()

    def _fresh(self, x: np.ndarray) -> Any:
        """The point for ``x``, in memory of its own: the user's functions may write into what they are given."""
        return self.tree.point(np.array(x, dtype=float))

    def _timed(self, function: Any, *arguments: Any) -> Any:
        start = perf_counter()
        self.blas.release()
        try:
            return function(*arguments)
        finally:
            self.blas.retake()
            self.in_objective += perf_counter() - start

    def _to_float(self, value: Any) -> float:
        start = perf_counter()
        f = float(value) if isinstance(value, float) else float(self.backend.to_numpy(value))
        self.in_copies += perf_counter() - start
        return f

    def _to_host(self, array: Any) -> np.ndarray:
        start = perf_counter()
        host = np.asarray(self.backend.to_numpy(array), dtype=float)
        self.in_copies += perf_counter() - start
        return host

    def _pack(self, nest: Any, what: str) -> np.ndarray:
        start = perf_counter()
        host = self.tree.pack_like(nest, what)
        self.in_copies += perf_counter() - start
        return host

    def _check_limits(self) -> None:
        if self.nfev >= self.maxfun:
            raise Stop(f"The limit of {self.maxfun} evaluations (maxfun) was reached.", status=1)
        if self.maxtime < math.inf and perf_counter() - self.started >= self.maxtime:
            raise Stop(f"The limit of {self.maxtime:g} seconds (maxtime) was reached.", status=1)

    def _watch_first_calls(self, *names: str) -> None:
        """Have what these evaluators take to compile counted apart, where the framework compiles."""
        if self._traces is None and not self._compiles_fun:
            return
        for name in names:
            if (evaluate := getattr(self, name)) is not None:
                traces = Untold() if self._traces is None else self._traces
                step_aside = functools.partial(setattr, self, name)
                setattr(self, name, FirstCalls(evaluate, traces, self._charge_compile, step_aside))

    def _charge_compile(self, seconds: float) -> None:
        self.in_compile += seconds
        self.in_objective -= seconds

    # -- the first evaluation ---------------------------------------------------------------------------------

    def _first_value(self, visit: Visit) -> None:
        if not math.isfinite(visit.f):
            raise ObjectiveError(
                f"`fun` is {visit.f} at the start; minimize needs a finite value there. "
                f"Start elsewhere, or keep the variables in the function's domain by bounds."
            )
        if visit.g is not None:
            self._first_gradient(visit)

    def _first_gradient(self, visit: Visit) -> None:
        assert visit.g is not None
        if self._gradient_seen:
            return
        self._gradient_seen = True
        bad = np.flatnonzero(~np.isfinite(visit.g))
        if bad.size:
            raise ObjectiveError(
                f"The gradient of `fun` at the start is {visit.g[bad[0]]} at {self.tree.locate(int(bad[0]))}, though "
                f"the value is {visit.f:g}: a square root or norm at zero, perhaps. Start elsewhere, or smooth it."
            )

    # -- the record -------------------------------------------------------------------------------------------

    def _note_norm(self, visit: Visit) -> None:
        """A gradient that came after its value."""
        assert visit.g is not None
        _, f, _, seconds = self.history[-1]
        self.history[-1] = (self.nfev, f, _norm(visit.g), seconds)

    def _is_feasible(self, x: np.ndarray) -> bool:
        if self.bounds is None:
            return True
        return bool((x >= self._lowest).all() and (x <= self._highest).all())

    def settle(self, x: Any, success: bool) -> Visit | None:
        """The answer: the best point seen, or the solver's own ``x`` where that is none worse.

        Returns
        -------
        Visit or None
            None where nothing finite was evaluated.
        """
        last = self.last
        if x is None or last is None or not last.sound or not np.array_equal(last.x, x):
            return self.best
        best = self.best
        if best is None or (last.f <= best.f if last.feasible is best.feasible else last.feasible):
            return last
        # A method that says it converged is believed, even where its point drifted out of bounds.
        return last if success and not last.feasible else best

    def seconds(self) -> dict[str, float]:
        """`Result.time`."""
        total = perf_counter() - self.started
        return {
            "objective": self.in_objective,
            "copies": self.in_copies,
            "solver": max(0.0, total - self.in_objective - self.in_copies - self.in_compile),
            "compile": self.in_compile,
            "total": total,
        }


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two vectors are equal; for short ones by their bytes, a tenth of the time of an array comparison.

    Of long ones the first numbers tell most that differ.
    """
    if x.size <= SHORT:
        return x.tobytes() == y.tobytes()
    return x[:SHORT].tobytes() == y[:SHORT].tobytes() and bool((x == y).all())


def _norm(g: np.ndarray) -> float:
    """‖g‖₂ by one BLAS call, without a temporary; nan and inf come through."""
    return math.sqrt(g.dot(g))
