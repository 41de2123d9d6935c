"""`MethodTests`: one check for each promise that a method makes to `minimize` and to its users.

What is tried follows from what `methods` says that the method can do. Most checks are runs of `minimize` over NumPy,
for a method sees vectors and no framework; known answers are found in every backend that is asked for. Where `minimize`
would set right what a method does wrong, `Between` looks at what passes between the two.
"""

from __future__ import annotations

import functools
import gc
import itertools
import types
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import optree
import pytest

from .. import Backend, InputError, Interrupted, Method, PluginError, _problem, backends, get_backend, methods, minimize
from ..solvers import EMBEDDED, describe
from ..solvers._reports import OWED, fault_of
from ._between import Between
from ._bowl import AT, LEAST, START, bowl, curvature, derivatives, nest_of, product, slope
from ._meeting import Meet, around, at_once, within
from ._promises import must, must_hold, must_match
from ._settings import settings
from .hock_schittkowski import PROBLEMS as CONSTRAINED
from .problems import KnownProblem, Nest, bounded, flat, quadratic, rosenbrock, smooth

PROBLEMS: dict[str, Callable[[], KnownProblem]] = {
    "smooth": smooth,
    "quadratic": quadratic,
    "rosenbrock": rosenbrock,
    "bounded": bounded,
}
CHOSEN = (7, 43, 35)
"""Of the collection of Hock and Schittkowski: an equation, inequalities, a linear one with bounds."""
ENDS = ("by itself", "by maxfun", "by an exception")
MOST = 100_000
"""Evaluations within which a method must end by itself on these small problems."""
LONG = 60.0
"""Seconds after which a run hangs."""


class MethodTests:
    """Checks that a method keeps every promise of `dmin_core.hookspecs.SolverSpec`, and what it says of itself.

    Attributes
    ----------
    method : str
        Its name, as `minimize` takes it.
    tol : float or None
        What it is run with.
    options : mapping
        The same; limits too, where its own are too low for these problems.
    backends : tuple of str or None
        Where known answers are to be found; None: in every installed backend that can compute here.
    dtypes : tuple of str
        In which precisions.
    gap : float or None
        How far above the least value an answer may be, relative to 1 + |value|. None: as near as `KnownProblem` says
        that a method comes at its own tolerances, and to 1e-3 on the simplest ones.
    deterministic : bool
        Whether the same call goes the same way, to the last bit.
    nests : bool
        Whether `fun` may call `minimize` with this method itself.
    threads : bool
        Whether two runs may go on at once, in two threads.
    excused : mapping of str to str
        Problems that it does not solve (``"rosenbrock"``, ``"constrained 43"``) and checks that it does not pass
        (``"test_nothing_is_printed"``, ``"test_values_of_options_are_checked[disp]"``), and why: they are skipped with
        that reason.

    Examples
    --------
    >>> from dmin_core.testing import MethodTests
    >>> class TestPowell(MethodTests):
    ...     method = "Powell"
    ...     options = {"xtol": 1e-8, "ftol": 1e-12}
    """

    method: str
    tol: float | None = None
    options: Mapping[str, Any] = types.MappingProxyType({})
    backends: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] = ("float32", "float64")
    gap: float | None = None
    deterministic: bool = True
    nests: bool = True
    threads: bool = True
    excused: Mapping[str, str] = types.MappingProxyType({})

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Cross the checks with what the method can do; called by pytest."""
        able = self._described or Method(self.method)
        chosen = [k for k in CHOSEN if able.bounds or CONSTRAINED[k].lower is None]
        second = able.hess or able.hessp
        functions = {"fun": True, "jac": able.gradient, "hess": second, "hessp": second, "callback": True}
        wanted: dict[str, Callable[[], Any]] = {
            "backend": lambda: self.backends or _backends_here(),
            "dtype": lambda: self.dtypes,
            "problem": lambda: [name for name, make in PROBLEMS.items() if able.bounds or make().bounds is None],
            "constrained": lambda: chosen if able.constraints else CHOSEN[:1],
            "where": lambda: [name for name, used in functions.items() if used],
            "option": lambda: able.options,
            "ends": lambda: ENDS,
        }
        for name, values in wanted.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, list(values()), ids=str)

    @pytest.fixture(autouse=True)
    def _skip_what_is_excused(self, request: pytest.FixtureRequest) -> None:
        arguments = getattr(request.node, "callspec", None)
        params = arguments.params if arguments else {}
        name = request.node.name
        names = {name, name.partition("[")[0], str(params.get("problem")), f"constrained {params.get('constrained')}"}
        for excuse in sorted(names & set(self.excused)):
            pytest.skip(f"{self.method} is excused from {excuse}: {self.excused[excuse]}")

    @property
    def _described(self) -> Method | None:
        """What the method says of itself; None where it cannot be had."""
        try:
            return describe(self.method)
        except (InputError, PluginError):
            return None

    @functools.cached_property
    def able(self) -> Method:
        """The same of one that can."""
        described = self._described
        if described is None:
            raise AssertionError(f"{self.method} does not load: see test_method_loads")
        return described

    def _require(self, ability: str) -> None:
        if not getattr(self.able, ability):
            pytest.skip(f"{self.method} does not declare `{ability}`")

    # What it says of itself ------------------------------------------------------------------------------

    def test_method_loads(self) -> None:
        """`methods()` lists it without an error: its module can be imported, and has both hooks."""
        described = next((each for name, each in methods().items() if name.lower() == self.method.lower()), None)
        if described is None:
            raise AssertionError(f"No installed distribution has an entry point {self.method!r} in 'dmin.solvers'")
        if described.error is not None:
            raise AssertionError(f"{self.method} does not load") from described.error

    def test_derivatives_are_used_as_declared(self) -> None:
        """Each that is declared, and none other: by what is declared dmin and users decide what they give."""
        first: dict[str, Any] = {"jac": slope} if self.able.gradient else {}
        result = self._minimize(bowl, START, **first)
        promise = "must declare `gradient` if it asks for gradients, and only then: it asked for so many"
        must_hold(self.method, f"{promise}, {result.njev}", (result.njev > 0) is self.able.gradient)
        if not (self.able.hess or self.able.hessp):
            promise = "must declare `hess` or `hessp` if it asks for second derivatives"
            must(self.method, promise, result.nhev, 0)
            return
        for given, function in (("hess", curvature), ("hessp", product)):
            calls = _Calls(function)
            second: dict[str, Any] = {given: calls}
            self._minimize(bowl, START, **first, **second)
            promise = f"must ask for second derivatives if it declares them: the user's `{given}` must be called"
            must_hold(self.method, promise, calls.count > 0)

    def test_unknown_options_are_refused(self) -> None:
        """Before the first evaluation: `options` of its `Method` are those that it takes, and no others."""
        calls = _Calls(bowl)
        with self._refuses("an option that it does not have", "no_such_option"):
            self._minimize(calls, START, options={"no_such_option": 1.0})
        must(self.method, "must refuse an unknown option before the first evaluation", calls.count, 0)

    def test_values_of_options_are_checked(self, option: str) -> None:
        """Before the first evaluation, by an `InputError` that names the option: here by an object that is nothing."""
        calls = _Calls(bowl)
        with self._refuses(f"options[{option!r}] = object()", option):
            self._minimize(calls, START, options={option: object()}, **derivatives(self.able))
        must(self.method, f"must check options[{option!r}] before the first evaluation", calls.count, 0)

    # What it finds ---------------------------------------------------------------------------------------

    def test_known_answers_are_found(self, backend: str, problem: str, dtype: str) -> None:
        """In every backend, as near as precision, curvature and the source of the gradients allow."""
        host, known = _usable(backend), PROBLEMS[problem]()
        xp = host.namespace(host.from_numpy(np.zeros(1), None))
        fun, x0, data = known.pose(xp, functools.partial(_in, host, dtype))
        result = self._minimize(fun, x0, args=data, bounds=known.bounds, backend=backend)
        gap, distance = known.tolerances(float(np.finfo(dtype).eps), self.able, exact_gradient=host.exact_gradient)
        if self.gap is not None:
            curvatures = np.linalg.eigvalsh(known.hessian(known.answer, *known.data))
            gap = self.gap * (1.0 + abs(known.value))
            distance = (2 * gap / curvatures[0]) ** 0.5
        x = flat(optree.tree_map(lambda leaf: np.array(host.to_numpy(leaf), dtype=float), result.x))
        off = abs(result.fun - known.value), float(np.linalg.norm(x - flat(known.answer)))
        self._must_be_near(f"`{problem}`", result, off[0] <= gap and off[1] <= distance, known.value)

    def test_constrained_answers_are_found(self, constrained: int) -> None:
        """Of the collection of Hock and Schittkowski, by number (`CHOSEN`)."""
        self._require("constraints")
        known = CONSTRAINED[constrained]
        given = known.pose(np, np.array)
        result = self._minimize(given.fun, given.x0, bounds=given.bounds, constraints=given.constraints)
        gap = (self.gap or 1e-4) * (1.0 + abs(known.value))
        promise = f"must keep to the constraints of problem {constrained} ({result.message}): the largest violation"
        must_hold(self.method, f"{promise}, {result.maxcv:.2g}, must be at most {gap:.2g}", result.maxcv <= gap)
        self._must_be_near(f"problem {constrained}", result, abs(result.fun - known.value) <= gap, known.value)

    def test_one_variable_is_enough(self) -> None:
        """A vector of length one, which libraries take for a number."""
        result = self._minimize(lambda x: np.exp(x[0] - 1.0) - x[0], np.array([2.5]))
        self._must_be_near("a function of one variable", result, result.fun <= self._slack, 0.0)

    def test_a_start_at_the_answer_is_an_answer(self) -> None:
        """Where the gradient is zero, which no step may be divided by; and the method says that it is done."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The gradient of `fun` with respect to", RuntimeWarning)  # dmin's own
            result = self._minimize(bowl, AT, **derivatives(self.able))
        self._must_be_near("a start at the answer", result, result.fun - LEAST <= self._slack, LEAST)
        must_hold(self.method, f"must claim success where it starts at the answer ({result.message})", result.success)

    @pytest.mark.parametrize("undefined", ["nan", "inf", "error"])
    def test_what_is_undefined_does_no_harm(self, undefined: str) -> None:
        """Next to the answer `fun` is nan, infinite, or fails as a factorisation does: steps are to become shorter."""

        def fun(p: Nest) -> Any:
            steep = p["a"][0] - AT["a"][0]
            if steep > 0.1:
                if undefined == "error":
                    raise np.linalg.LinAlgError("not positive definite")
                return float(undefined)
            return bowl(p) + 49.0 * (np.exp(steep) - steep - 1.0)

        start = {"a": AT["a"] + np.array([-0.5, 1.5]), "b": AT["b"] - 1.5}
        result = self._minimize(fun, start)
        promise = f"must go on where `fun` is not finite at {result.nfail} points ({result.message}): it must come to a"
        near = bool(result.fun - LEAST <= 0.1 * (fun(start) - LEAST))
        must_hold(self.method, f"{promise} tenth of the start's height", near)

    def test_runs_are_deterministic(self) -> None:
        """The same call evaluates the same points."""
        if not self.deterministic:
            pytest.skip(f"{type(self).__name__} declares that runs differ (`deterministic`)")
        first, second = (self._minimize(bowl, START) for _ in range(2))
        promise = "must go the same way in the same call; if it draws numbers by chance, set `deterministic` to False"
        self._must_be_the_same(promise, second, first)

    # Bounds ----------------------------------------------------------------------------------------------

    def test_every_point_lies_within_the_bounds(self) -> None:
        """Each evaluated one; if not `strict_bounds`, the answer alone."""
        self._require("bounds")
        calls = _Calls(bowl)
        lower, upper = np.array([-3.0, -0.5, 0.75]), np.array([0.5, np.inf, np.inf])
        bounds = {"a": (lower[:2], upper[:2]), "b": (lower[2], None)}
        result = self._minimize(calls, START, bounds=bounds, **derivatives(self.able))
        strict = self.able.strict_bounds
        if strict:
            out = max(_outside(x, lower, upper) for x in calls.given)
            promise = (
                f"must evaluate no point outside the bounds, or not declare `strict_bounds`: one is out by {out:.3g}"
            )
            must_hold(self.method, promise, out <= 0.0)
        out = _outside(result.x, lower, upper)
        must_hold(self.method, f"must end within the bounds, and not {out:.3g} outside", out <= (0 if strict else 1e-7))
        least = bowl({"a": np.array([0.5, -0.5]), "b": np.array(0.75)})
        self._must_be_near("a minimum on bounds", result, abs(result.fun - least) <= self._slack, least)

    def test_a_variable_between_equal_bounds_stays(self) -> None:
        """And the others go to where they are least."""
        self._require("bounds")
        calls = _Calls(bowl)
        result = self._minimize(calls, START, bounds={"b": (2.0, 2.0)}, **derivatives(self.able))
        seen = sorted({float(p["b"]) for p in calls.given}) if self.able.strict_bounds else [2.0]
        must(self.method, "must leave a variable where it is whose bounds are equal, at 2.0", seen, [2.0])
        must_match(self.method, "must return it so", result.x["b"], 2.0, 0.0 if self.able.strict_bounds else 1e-7)
        least = bowl({**AT, "b": np.array(2.0)})
        self._must_be_near("the others", result, abs(result.fun - least) <= self._slack, least)

    def test_where_all_bounds_are_equal_the_start_is_the_answer(self) -> None:
        """There is nothing to do, and it is no error."""
        self._require("bounds")
        bounds = {name: (value, value) for name, value in START.items()}
        result = self._minimize(bowl, START, bounds=bounds, **derivatives(self.able))
        must_match(self.method, "must return the start where all bounds are equal", flat(result.x), flat(START))
        must_match(self.method, "must evaluate it", result.fun, bowl(START))

    # Where it ends ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("limit", [1, 7])
    def test_maxfun_stops_at_that_evaluation(self, limit: int) -> None:
        """Whatever it is doing; the best point stands, and nobody claims success."""
        calls = _Calls(bowl)
        result = self._minimize(calls, START, options={"maxfun": limit})
        must(self.method, f"must end at evaluation {limit} by the exception that dmin raises", calls.count, limit)
        self._must_be_stopped(result, 1, "(maxfun)")

    def test_maxtime_stops(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By a clock on which each call of `fun` takes a second."""
        now = [0.0]
        monkeypatch.setattr(_problem, "perf_counter", lambda: now[0])

        def slow(p: Nest) -> Any:
            now[0] += 1.0
            return bowl(p)

        result = self._minimize(slow, START, options={"maxtime": 2.5})
        must(self.method, "must end when maxtime is over by the exception that dmin raises", now[0], 3.0)
        self._must_be_stopped(result, 1, "(maxtime)")

    def test_maxiter_is_no_success(self) -> None:
        """Of methods that have the option: two iterations, after which nothing has converged."""
        if "maxiter" not in self.able.options:
            pytest.skip(f"{self.method} does not declare the option `maxiter`")
        known = rosenbrock()
        fun, x0, _ = known.pose(np, np.array)
        result = self._minimize(fun, x0, options={"maxiter": 2})
        must_hold(self.method, f"must end after maxiter iterations, 2, and not {result.nit}", result.nit <= 2)
        must_hold(self.method, f"must not claim success where maxiter ended it ({result.message})", not result.success)

    def test_stop_iteration_in_the_callback_stops(self) -> None:
        """At once: it comes through the method as another exception of dmin's."""
        calls = _Calls(bowl)

        def stop(intermediate_result: Any) -> None:
            if intermediate_result.nit == 2:
                stopped.append(calls.count)
                raise StopIteration

        stopped: list[int] = []
        result = self._minimize(calls, START, callback=stop)
        promise = "must end, and evaluate nothing more, where the callback raises StopIteration at its second call"
        must(self.method, promise, stopped, [calls.count])
        self._must_be_stopped(result, 99, "StopIteration")

    def test_exceptions_come_through(self, where: str) -> None:
        """The very object that `fun`, `jac`, `hess`, `hessp` or the callback raised, at once, whatever its class."""
        for error in (ZeroDivisionError("the user's own"), _NoException("the user's own")):
            for at in (1, 2):
                given = self._given(where)
                calls = _Calls(given[where], error, at)
                raised: Any = "nothing was raised"
                try:
                    self._minimize(**{**given, where: _as(where, calls)}, x0=START)
                except BaseException as caught:  # noqa: BLE001 - whatever the method makes of it
                    raised = caught
                promise = (
                    f"must let through, as it is, what `{where}` raises at call {at} (carry it around compiled code)"
                )
                must(self.method, promise, raised, error)
                must(self.method, f"must not call `{where}` again after it raised", calls.count, at)

    @pytest.mark.parametrize("interrupted", ["fun", "callback"])
    def test_the_keyboard_interrupts(self, interrupted: str) -> None:
        """Ctrl-C comes through too, and dmin makes of it an error with the best point so far."""
        given = self._given(interrupted)
        calls = _Calls(given[interrupted], KeyboardInterrupt(), 2)
        result = None
        try:
            result = self._minimize(**{**given, interrupted: _as(interrupted, calls)}, x0=START)
        except Interrupted as caught:
            result = caught.result
        must(self.method, f"must end at once when Ctrl-C comes in `{interrupted}`", calls.count, 2)
        self._must_be_stopped(result, 130, "Ctrl-C")

    # What it tells ---------------------------------------------------------------------------------------

    def test_what_solve_returns_is_whole_and_true(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its keys and their kinds; an `x` that was evaluated, with that value; success, of a function easy enough."""
        between = Between(monkeypatch)
        result = self._minimize(bowl, START, **derivatives(self.able))
        report = between.report
        fault = fault_of(report, () if self.able.name in EMBEDDED else OWED, between.n, between.m)
        must(f"solve of {self.method}", "must return what SolverSpec says", fault, None)
        must_hold(self.method, f"must claim success where it has converged ({result.message})", result.success)
        if "x" in report:
            x = np.asarray(report["x"], dtype=float)
            evaluated = between.asked_for("value") | between.asked_for("gradient")
            promise = "must return an x that it evaluated, to the last bit: dmin takes the best evaluated point instead"
            must_hold(f"solve of {self.method}", promise, x.tobytes() in evaluated)
            told = float(report.get("fun", bowl(nest_of(x))))
            must_match(f"solve of {self.method}", "must return fun at its x", told, bowl(nest_of(x)), 1e-12)

    def test_result_is_the_best_point(self) -> None:
        """Of all that `fun` was called with: evaluations go through the problem's `value` and `gradient`."""
        calls = _Calls(bowl)
        result = self._minimize(calls, START, **derivatives(self.able))
        promise = "must evaluate by `problem.value` and `problem.gradient` alone, so that dmin sees all:"
        must(self.method, f"{promise} `fun` was called as often as nfev says", calls.count, result.nfev)
        must_match(self.method, f"{promise} the least value is the result's", result.fun, min(calls.returned))
        promise = "must leave its points as they were (`private_x`): the best one has another value"
        must_match(self.method, promise, bowl(result.x), result.fun)

    def test_callback_gets_points_and_their_values(self) -> None:
        """Once an iteration, with an x that is where the method is, and its value."""
        seen: list[tuple[float, float]] = []

        def callback(intermediate_result: Any) -> None:
            seen.append((intermediate_result.fun, float(bowl(intermediate_result.x))))

        result = self._minimize(bowl, START, callback=callback, **derivatives(self.able))
        must_hold(self.method, "must call the callback, once an iteration", len(seen) > 0)
        for call, (told, true) in enumerate(seen, 1):
            promise = f"must call back with the x evaluated last, or with an OptimizeResult of x and fun: call {call}"
            must_match(self.method, promise, told, true, 1e-12)
        must_hold(self.method, "must get lower from the first call of the callback to the last", seen[-1] < seen[0])
        promise = f"must call the callback once for each of its iterations, {result.nit} by its `nit`, give or take 2:"
        must_hold(self.method, f"{promise} it did {len(seen)} times", abs(len(seen) - result.nit) <= 2)

    # What it leaves alone --------------------------------------------------------------------------------

    def test_vectors_of_the_problem_are_not_written_into(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``problem.x0``, ``problem.bounds``, gradients, which dmin remembers; nor what the caller gave."""
        between = Between(monkeypatch)
        x0, bounds = (
            {name: value.copy() for name, value in START.items()},
            {"a": (np.array([-3.0, -0.5]), np.array([0.5, 9.0]))},
        )
        self._minimize(bowl, x0, bounds=bounds if self.able.bounds else None, **derivatives(self.able))
        must(self.method, "must copy what it gets from the problem before it writes into it", between.written(), [])
        must_match(self.method, "must leave the caller's x0 as it was", flat(x0), flat(START))
        must_match(self.method, "must leave the caller's bounds as they were", flat(bounds), [-3.0, -0.5, 0.5, 9.0])

    def test_private_points_are_private(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`private_x` says that an x which was handed over is never written into, so that dmin need not copy it."""
        self._require("private_x")
        between = Between(monkeypatch)
        self._minimize(bowl, START, **derivatives(self.able))
        changed = sum(not np.array_equal(now, then) for _, now, then in between.asked)
        promise = "must hand over a new x at each evaluation, or not declare `private_x`: so many were changed after it"
        must(self.method, promise, changed, 0)

    def test_values_and_gradients_come_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`together` says that the gradient is asked for wherever the value is."""
        self._require("together")
        between = Between(monkeypatch)
        self._minimize(bowl, START, **derivatives(self.able))
        alone = len(between.asked_for("value") - between.asked_for("gradient"))
        promise = "must ask for the gradient wherever it asks for the value, or not declare `together`: values alone"
        must(self.method, promise, alone, 0)

    def test_nothing_is_kept(self, ends: str) -> None:
        """When a run has ended, however, what `fun` held can go: no cycle leads through what Python cannot see."""
        held = self._run_and_forget(ends)
        gc.collect()
        promise = f"must let go of the problem when it ends {ends}: a cycle through compiled code is never collected"
        must_hold(self.method, promise, held() is None)

    def test_settings_are_left_alone(self, ends: str) -> None:
        """Of the process: random states, NumPy's errors and printing, threads, the directory, Ctrl-C."""
        before = settings()
        self._end(ends, bowl)
        after = settings()
        changed = [name for name, value in before.items() if after[name] != value]
        must(self.method, f"must leave the process as it was when it ends {ends}; it changed", changed, [])

    def test_nothing_is_printed(self, capfd: pytest.CaptureFixture[str]) -> None:
        """A summary is dmin's to print, on ``disp``."""
        self._minimize(bowl, START, **derivatives(self.able))
        self._minimize(bowl, START, options={"maxfun": 7})
        must(self.method, "must print nothing by itself", "".join(capfd.readouterr()), "")

    # Beside other runs -----------------------------------------------------------------------------------

    def test_runs_inside_fun_disturb_nothing(self) -> None:
        """`fun` may minimise something itself, by the same method: its state belongs to a run."""
        if not self.nests:
            pytest.skip(f"{type(self).__name__} declares that runs inside `fun` do not work (`nests`)")
        found: list[Any] = []
        calls = _Calls(bowl)

        def nests(p: Nest) -> Any:
            if calls.count == 3:
                found.append(self._minimize(bowl, _HALF))
            return calls(p)

        alone, inner = (self._minimize(bowl, start) for start in (START, _HALF))
        ended = within(LONG, lambda: self._minimize(nests, START))
        promise = "must not wait for itself in a run inside `fun`, as by a lock; if it cannot but, set `nests` to False"
        must_hold(self.method, f"{promise} ({LONG:g} seconds)", ended is not None)
        assert ended is not None
        self._must_go_alike("must not be disturbed by a run inside `fun`", ended[0], alone)
        self._must_go_alike("must work in a run inside `fun`", found[0], inner)

    def test_runs_in_two_threads_disturb_nothing(self) -> None:
        """Two at once, which meet before and after every call of `fun`, go as each goes alone.

        Or one after the other, where the method lets one wait: they meet no more when one has waited for two seconds.
        """
        if not self.threads:
            pytest.skip(f"{type(self).__name__} declares that runs in two threads do not work (`threads`)")
        starts = (START, _HALF)
        alone = [self._minimize(bowl, start) for start in starts]

        def run(start: Nest) -> Callable[[Meet], Any]:
            return lambda meet: self._minimize(around(bowl, meet), start)

        for result, expected in zip(at_once([*map(run, starts)], 2.0), alone, strict=True):
            self._must_go_alike("must not be disturbed by a run in another thread", result, expected)

    # What the checks are made of -------------------------------------------------------------------------

    @property
    def _slack(self) -> float:
        """How far above the least value a simple function may be left."""
        return 1e-3 if self.gap is None else 4 * self.gap

    def _minimize(
        self, fun: Callable[..., Any], x0: Nest, options: Mapping[str, Any] | None = None, **named: Any
    ) -> Any:
        limits = {"maxfun": MOST, **self.options, **(options or {})}
        return minimize(fun, x0, method=self.method, tol=self.tol, options=limits, **named)

    def _given(self, where: str) -> dict[str, Any]:
        """Functions for a run in which ``where`` is called more than once."""
        given: dict[str, Any] = {"fun": bowl, "callback": lambda x: None, **derivatives(self.able)}
        if where == "hessp":
            given.pop("hess", None)
            given["hessp"] = product
        return given

    def _end(self, how: str, fun: Callable[..., Any]) -> None:
        """A run that ends in one of `ENDS`."""
        if how == "by an exception":
            with pytest.raises(ZeroDivisionError):
                self._minimize(_failing(fun, 9), START)
        else:
            self._minimize(fun, START, options={"maxfun": 7} if how == "by maxfun" else {})

    def _run_and_forget(self, how: str) -> weakref.ref[Any]:
        class Held:
            """Something whose end can be seen."""

        held = Held()

        def fun(p: Nest, held: Any = held) -> Any:
            return bowl(p)

        self._end(how, fun)
        return weakref.ref(held)

    @contextmanager
    def _refuses(self, what: str, named: str) -> Iterator[None]:
        error: BaseException | None = None
        try:
            yield
        except BaseException as caught:  # noqa: BLE001 - whatever comes instead of an InputError is shown
            error = caught
        right = isinstance(error, InputError) and named in str(error)
        if not right:
            expected = f"an InputError, before the first evaluation, whose message has {named!r} in it"
            got = "nothing was raised" if error is None else error
            raise AssertionError(
                f"{self.method} must refuse {what}\n  got:      {got!r}\n  expected: {expected}"
            ) from error

    def _must_be_near(self, what: str, result: Any, near: bool, value: float) -> None:
        said = f"it says: {result.message!r}"
        promise = f"must end by itself on {what}, in {MOST} evaluations; {said}"
        must_hold(self.method, promise, not ("(maxfun)" in result.message and result.nfev >= MOST))
        if not near:
            lie = "and must not claim success where it is not; " if result.success else ""
            promise = f"must come near the least value of {what}, {lie}{said}"
            must(self.method, promise, f"{result.fun:.10g} at {result.x}", f"{value:.10g}")

    def _must_be_stopped(self, result: Any, status: int, why: str) -> None:
        """As dmin stops runs, with the best point that there was."""
        promise = f"must let dmin's own exceptions through, and not make an outcome of them: {why}"
        must(self.method, promise, (result.success, result.status), (False, status))
        must_hold(self.method, promise, why in result.message)
        promise = "must leave its points as they were when it is stopped (`private_x`): the best one has another value"
        must_match(self.method, promise, bowl(result.x), result.fun)

    def _must_be_the_same(self, promise: str, result: Any, expected: Any) -> None:
        """All values of two runs; the first that differ are shown."""
        for k, pair in enumerate(itertools.zip_longest(result.history.fun, expected.history.fun), 1):
            must(self.method, f"{promise} (point {k})", *map(_number, pair))

    def _must_go_alike(self, promise: str, result: Any, alone: Any) -> None:
        if self.deterministic:
            self._must_be_the_same(promise, result, alone)
        self._must_be_near(promise.removeprefix("must "), result, result.fun - LEAST <= self._slack, LEAST)


def _number(value: float | None) -> str:
    """To its last bit; None: where a run has ended."""
    return "none" if value is None else repr(float(value))


def _outside(p: Nest, lower: np.ndarray, upper: np.ndarray) -> float:
    """By how much the farthest variable lies outside its bounds; not positive where none does."""
    x = flat(p)
    return float(np.max(np.maximum(lower - x, x - upper)))


class _NoException(BaseException):
    """Not even an Exception."""


_HALF: Nest = {name: value * 0.5 for name, value in START.items()}


class _Calls:
    """A function whose calls are counted and kept, and which may raise at one of them."""

    def __init__(self, function: Callable[..., Any], error: BaseException | None = None, at: int = 0) -> None:
        self.function, self.error, self.at, self.count = function, error, at, 0
        self.given: list[Any] = []
        self.returned: list[Any] = []

    def __call__(self, x: Any, *more: Any) -> Any:
        self.count += 1
        if self.error is not None and self.count == self.at:
            raise self.error
        self.given.append(optree.tree_map(np.copy, x))
        self.returned.append(self.function(x, *more))
        return self.returned[-1]


def _failing(fun: Callable[..., Any], at: int) -> Callable[..., Any]:
    """``fun``, but for one call; it holds no error, which by its traceback would hold the run."""
    count = 0

    def fails(x: Any) -> Any:
        nonlocal count
        count += 1
        if count == at:
            raise ZeroDivisionError
        return fun(x)

    return fails


def _as(where: str, calls: _Calls) -> Callable[..., Any]:
    """A callback has one parameter, by whose name dmin knows what to give it."""
    return (lambda x: calls(x)) if where == "callback" else calls


def _backends_here() -> list[str]:
    """Those that are installed and can compute."""
    return [name for name, info in backends().items() if info.error is None and info.devices]


def _usable(backend: str) -> Backend:
    """The backend; the check is skipped where it cannot be had, or cannot compute."""
    try:
        host = get_backend(backend)
    except PluginError as error:
        pytest.skip(f"needs the backend {backend!r}: {error}")
    if not host.devices():
        pytest.skip(f"needs a device for the backend {backend!r}")
    return host


def _in(host: Any, dtype: str, values: np.ndarray) -> Any:
    """An array of the framework; skipped where it has no such dtype, as JAX without its flag for 64 bits."""
    array = host.from_numpy(np.array(values, dtype=dtype), None)
    if host.to_numpy(array).dtype != dtype:
        pytest.skip(f"arrays of {host.name} are not {dtype} here")
    return array
