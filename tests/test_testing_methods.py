"""The conformance kit finds what is wrong with a method, and says what it must do instead."""

import contextlib
import re
import sys
import threading
import types

import numpy as np
import pytest
from scipy.optimize import OptimizeResult
from scipy.optimize import minimize as scipy_minimize

from dmin_core import InputError, Method, _plugins, hookimpl
from dmin_core.testing import MethodTests, _methods

pytestmark = pytest.mark.numpy
pytest_plugins = ["pytester"]


class Checks(MethodTests):
    """Of what the fixture `plant` plants; not named Test…, for pytest is not to run it as it is."""

    method = "planted"
    backends = ("numpy",)
    dtypes = ("float64",)


ABILITIES = {"gradient": True, "bounds": True, "private_x": True, "together": True, "options": ("gtol", "maxiter")}


def sound(problem, tol, callback, options):
    """A method without fault: SciPy's L-BFGS-B, or SLSQP where there are constraints."""
    if not isinstance(options.get("gtol", 0.0), float):
        raise InputError(f"options['gtol'] must be a number, not {options['gtol']!r}.")
    if not isinstance(options.get("maxiter", 1), int):
        raise InputError(f"options['maxiter'] must be a whole number, not {options['maxiter']!r}.")
    constraints = ()
    if problem.constraints:
        equal = problem.lb == problem.ub
        constraints = [
            {"type": kind, "fun": lambda x, rows=rows: (problem.constraint_values(x) - problem.lb)[rows]}
            for kind, rows in (("eq", equal), ("ineq", ~equal))
            if rows.any()
        ]
    report = scipy_minimize(
        problem.value,
        problem.x0,
        jac=problem.gradient,
        method="SLSQP" if constraints else "L-BFGS-B",
        bounds=None if problem.bounds is None else np.transpose(problem.bounds),
        constraints=constraints,
        callback=callback,
        options={
            name: options[name] for name in (("maxiter",) if constraints else ("gtol", "maxiter")) if name in options
        },
    )
    names = {"x": np.asarray, "fun": float, "success": bool, "status": int, "message": str, "nit": int}
    return {name: kind(report.get(name, 0)) for name, kind in names.items()}  # without a status where all is fixed


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Have a distribution whose method, `planted`, is solved by a function of problem, tol, callback and options."""
    info = tmp_path / "dmin_planted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dmin-planted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dmin.solvers]\nplanted = planted\n")

    def plant(solver, **abilities):
        @hookimpl
        def describe(name):
            return Method(name, **{**ABILITIES, **abilities})

        @hookimpl
        def solve(problem, tol, callback, options):
            return solver(problem, tol, callback, options)

        module = types.ModuleType("planted")
        module.describe, module.solve = describe, solve
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(sys.modules, "planted", module)
        _plugins.refresh()

    yield plant
    monkeypatch.undo()
    _plugins.refresh()


def altered(problem, **calls):
    """The problem as a fault sees it: some of its functions and vectors others."""
    names = ("n", "x0", "bounds", "constraints", "value", "gradient", "product")
    return types.SimpleNamespace(**{**{name: getattr(problem, name) for name in names}, **calls})


# Faults: functions of problem, tol, callback and options, as `sound` is --------------------------------------


def returning(**changed):
    """What it returns is another thing; what is callable is applied to it."""

    def solve(*given):
        report = sound(*given)
        return {**report, **{name: new(report[name]) if callable(new) else new for name, new in changed.items()}}

    return solve


def over(alter):
    """The problem is another."""

    def solve(problem, tol, callback, options):
        return sound(altered(problem, **alter(problem)), tol, callback, options)

    return solve


def calling_back(alter):
    """The callback is called in another way: ``alter(callback)`` takes the state of the sound one."""

    def solve(problem, tol, callback, options):
        called = alter(callback)

        def watched(intermediate_result):
            called(intermediate_result)

        return sound(problem, tol, watched, options)

    return solve


def first(what):
    """``what(problem)`` comes first."""

    def solve(problem, *given):
        what(problem)
        return sound(problem, *given)

    return solve


def swallows(*given):
    try:
        return sound(*given)
    except BaseException as error:  # noqa: BLE001 - the fault
        return {"x": given[0].x0, "success": True, "status": 0, "message": f"Ended ({error})."}


def renames(*given):
    try:
        return sound(*given)
    except Exception as error:
        raise RuntimeError("failed in compiled code") from error


def swallows_of_the_callback(callback):
    def quiet(state):
        try:
            callback(state)
        except BaseException:  # noqa: BLE001 - the fault
            return

    return quiet


def never_ends(problem, tol, callback, options):
    while True:
        for step in (0.0, 0.1):
            problem.value(problem.x0 + step)


def checks_too_late(problem, tol, callback, options):
    problem.value(problem.x0)
    return sound(problem, tol, callback, options)


def checks_nothing(problem, tol, callback, options):
    return sound(problem, tol, callback, {name: 1e-5 if name == "gtol" else 50 for name in options})


def lost_where_undefined(problem, tol, callback, options):
    class Lost(Exception):
        pass

    def value(x):
        f = problem.value(x)
        if problem.failures.count:
            raise Lost
        return f

    try:
        return sound(altered(problem, value=value), tol, callback, options)
    except Lost:
        return {"x": problem.x0, "success": False, "status": 3, "message": "Lost."}


def goes_on(*given):
    """After an exception, which it does let through."""
    try:
        return sound(*given)
    except BaseException:
        with contextlib.suppress(BaseException):
            given[0].value(given[0].x0 + 0.5)
        raise


def spoils_its_points(*given):
    """When it ends."""
    points = []

    def value(x):
        points.append(x)
        return given[0].value(x)

    try:
        return sound(altered(given[0], value=value), *given[1:])
    finally:
        for x in points:
            x.fill(0.0)


def in_one_buffer(problem):
    buffer = np.empty(problem.n)

    def copied(call):
        def of_buffer(x):
            buffer[:] = x
            return call(buffer)

        return of_buffer

    return {"value": copied(problem.value), "gradient": copied(problem.gradient)}


def writes_into_gradients(problem):
    def gradient(x):
        g = problem.gradient(x)
        g *= 1.0 + 1e-9
        return g

    return {"gradient": gradient}


def widened(problem):
    return {"bounds": problem.bounds and (problem.bounds[0] - 0.1, problem.bounds[1] + 0.1)}


def in_one_place(place):
    """The problem kept where a run inside `fun`, or in another thread, puts its own."""

    def solve(problem, tol, callback, options):
        place[0] = problem
        shared = {"value": lambda x: place[0].value(x), "gradient": lambda x: place[0].gradient(x)}
        return sound(altered(problem, **shared), tol, callback, options)

    return solve


turnstile = threading.Semaphore(1)


def one_at_a_time(*given):
    with turnstile:
        return sound(*given)


def calls_at_the_start_only(callback):
    seen = []
    return lambda state: seen or seen.append(callback(state))


def calls_five_times(callback):
    return lambda state: [callback(state) for _ in range(5)]


chance = np.random.default_rng()
kept = []

FAULTS = {
    "gradients not declared": (
        (sound, {"gradient": False, "together": False, "private_x": False}),
        lambda kit, fixtures: kit.test_derivatives_are_used_as_declared(),
        "planted must declare `gradient` if it asks for gradients, and only then: it asked for so many, ",
    ),
    "Hessian declared and not used": (
        (sound, {"hess": True}),
        lambda kit, fixtures: kit.test_derivatives_are_used_as_declared(),
        "planted must ask for second derivatives if it declares them: the user's `hess` must be called",
    ),
    "products declared and not used": (
        (sound, {"hessp": True}),
        lambda kit, fixtures: kit.test_derivatives_are_used_as_declared(),
        "planted must ask for second derivatives if it declares them: the user's `hess` must be called",
    ),
    "products not declared": (
        (first(lambda problem: problem.product(problem.x0, problem.x0)), {}),
        lambda kit, fixtures: kit.test_derivatives_are_used_as_declared(),
        "planted must declare `hess` or `hessp` if it asks for second derivatives",
    ),
    "every option taken": (
        (sound, {"options": ("no_such_option",)}),
        lambda kit, fixtures: kit.test_unknown_options_are_refused(),
        "planted must refuse an option that it does not have\n  got:      'nothing was raised'",
    ),
    "values of options not checked": (
        (checks_nothing, {}),
        lambda kit, fixtures: kit.test_values_of_options_are_checked("gtol"),
        "planted must refuse options['gtol'] = object()\n  got:      'nothing was raised'",
    ),
    "values of options checked too late": (
        (checks_too_late, {}),
        lambda kit, fixtures: kit.test_values_of_options_are_checked("maxiter"),
        "planted must check options['maxiter'] before the first evaluation",
    ),
    "too early an end": (
        (lambda *given: {**sound(*given[:3], {"maxiter": 3}), "success": True}, {}),
        lambda kit, fixtures: kit.test_known_answers_are_found("numpy", "quadratic", "float64"),
        "planted must come near the least value of `quadratic`, and must not claim success where it is not; it says",
    ),
    "no end": (
        (never_ends, {}),
        lambda kit, fixtures: kit.test_known_answers_are_found("numpy", "smooth", "float64"),
        "planted must end by itself on `smooth`, in 2000 evaluations; it says: 'The limit of 2000 evaluations",
    ),
    "constraints ignored": (
        (over(lambda problem: {"constraints": ()}), {"constraints": True}),
        lambda kit, fixtures: kit.test_constrained_answers_are_found(7),
        "planted must keep to the constraints of problem 7 (",
    ),
    "too rough an answer within constraints": (
        (lambda *given: {**sound(*given[:3], {"maxiter": 2}), "success": True}, {"constraints": True}),
        lambda kit, fixtures: kit.test_constrained_answers_are_found(43),
        "planted must come near the least value of problem 43, and must not claim success where it is not; it says: '",
    ),
    "one variable taken for none": (
        (over(lambda problem: {"bounds": (problem.x0, problem.x0)} if problem.n == 1 else {}), {}),
        lambda kit, fixtures: kit.test_one_variable_is_enough(),
        "planted must come near the least value of a function of one variable",
    ),
    "no success where it starts": (
        (lambda *given: {**(report := sound(*given)), "success": report["nit"] > 0}, {}),
        lambda kit, fixtures: kit.test_a_start_at_the_answer_is_an_answer(),
        "planted must claim success where it starts at the answer (CONVERGENCE",
    ),
    "lost where fun is undefined": (
        (lost_where_undefined, {}),
        lambda kit, fixtures: kit.test_what_is_undefined_does_no_harm("nan"),
        "planted must go on where `fun` is not finite at 1 points (Lost.): it must come to a tenth of",
    ),
    "chance": (
        (over(lambda problem: {"x0": problem.x0 + 1e-3 * chance.random(problem.n)}), {}),
        lambda kit, fixtures: kit.test_runs_are_deterministic(),
        "planted must go the same way in the same call; if it draws numbers by chance, set `deterministic` to False",
    ),
    "bounds ignored": (
        (over(lambda problem: {"bounds": None}), {}),
        lambda kit, fixtures: kit.test_every_point_lies_within_the_bounds(),
        "planted must evaluate no point outside the bounds, or not declare `strict_bounds`: one is out by 0.",
    ),
    "bounds ignored at the end": (
        (over(lambda problem: {"bounds": None}), {"strict_bounds": False}),
        lambda kit, fixtures: kit.test_every_point_lies_within_the_bounds(),
        "planted must end within the bounds, and not 0.5 outside",
    ),
    "equal bounds widened": (
        (over(widened), {}),
        lambda kit, fixtures: kit.test_a_variable_between_equal_bounds_stays(),
        "planted must leave a variable where it is whose bounds are equal, at 2.0",
    ),
    "all equal bounds widened": (
        (over(widened), {}),
        lambda kit, fixtures: kit.test_where_all_bounds_are_equal_the_start_is_the_answer(),
        "planted must return the start where all bounds are equal",
    ),
    "nothing evaluated where all is fixed": (
        (
            lambda problem, *given: (
                {"x": problem.x0, "success": True, "status": 0, "message": "Fixed."}
                if problem.bounds and (problem.bounds[0] == problem.bounds[1]).all()
                else sound(problem, *given)
            ),
            {},
        ),
        lambda kit, fixtures: kit.test_where_all_bounds_are_equal_the_start_is_the_answer(),
        "planted must evaluate it (to the last bit)\n  got:      nan",
    ),
    "an outcome made of maxfun": (
        (swallows, {}),
        lambda kit, fixtures: kit.test_maxfun_stops_at_that_evaluation(7),
        "planted must let dmin's own exceptions through, and not make an outcome of them: (maxfun)",
    ),
    "evaluations beside maxfun": (
        (first(lambda problem: [problem.fun(problem.tree.restore(problem.x0)) for _ in range(9)]), {}),
        lambda kit, fixtures: kit.test_maxfun_stops_at_that_evaluation(7),
        "planted must end at evaluation 7 by the exception that dmin raises",
    ),
    "an outcome made of maxtime": (
        (swallows, {}),
        lambda kit, fixtures: kit.test_maxtime_stops(fixtures["monkeypatch"]),
        "planted must let dmin's own exceptions through, and not make an outcome of them: (maxtime)",
    ),
    "success by maxiter": (
        (returning(success=True), {}),
        lambda kit, fixtures: kit.test_maxiter_is_no_success(),
        "planted must not claim success where maxiter ended it (STOP",
    ),
    "maxiter ignored": (
        (lambda *given: sound(*given[:3], {}), {}),
        lambda kit, fixtures: kit.test_maxiter_is_no_success(),
        "planted must end after maxiter iterations, 2, and not ",
    ),
    "StopIteration swallowed": (
        (calling_back(swallows_of_the_callback), {}),
        lambda kit, fixtures: kit.test_stop_iteration_in_the_callback_stops(),
        "planted must end, and evaluate nothing more, where the callback raises StopIteration at its second call",
    ),
    "exceptions renamed": (
        (renames, {}),
        lambda kit, fixtures: kit.test_exceptions_come_through("fun"),
        "planted must let through, as it is, what `fun` raises at call 1 (carry it around compiled code)",
    ),
    "evaluations after an exception": (
        (goes_on, {}),
        lambda kit, fixtures: kit.test_exceptions_come_through("fun"),
        "planted must not call `fun` again after it raised",
    ),
    "exceptions swallowed": (
        (calling_back(swallows_of_the_callback), {}),
        lambda kit, fixtures: kit.test_exceptions_come_through("callback"),
        "planted must let through, as it is, what `callback` raises at call 1 (carry it around compiled code)",
    ),
    "Ctrl-C swallowed": (
        (swallows, {}),
        lambda kit, fixtures: kit.test_the_keyboard_interrupts("fun"),
        "planted must let dmin's own exceptions through, and not make an outcome of them: Ctrl-C",
    ),
    "Ctrl-C swallowed in the callback": (
        (calling_back(swallows_of_the_callback), {}),
        lambda kit, fixtures: kit.test_the_keyboard_interrupts("callback"),
        "planted must end at once when Ctrl-C comes in `callback`",
    ),
    "success never claimed": (
        (returning(success=False), {}),
        lambda kit, fixtures: kit.test_what_solve_returns_is_whole_and_true(fixtures["monkeypatch"]),
        "planted must claim success where it has converged (CONVERGENCE",
    ),
    "x not evaluated": (
        (returning(x=lambda x: x * (1 + 1e-9)), {}),
        lambda kit, fixtures: kit.test_what_solve_returns_is_whole_and_true(fixtures["monkeypatch"]),
        "solve of planted must return an x that it evaluated, to the last bit: dmin takes the best evaluated point",
    ),
    "value of another point": (
        (returning(fun=lambda f: f + 1e-6), {}),
        lambda kit, fixtures: kit.test_what_solve_returns_is_whole_and_true(fixtures["monkeypatch"]),
        "solve of planted must return fun at its x (off by 1e-06, ",
    ),
    "evaluations that are not counted": (
        (first(lambda problem: problem.fun(problem.tree.restore(problem.x0))), {}),
        lambda kit, fixtures: kit.test_result_is_the_best_point(),
        "planted must evaluate by `problem.value` and `problem.gradient` alone, so that dmin sees all: `fun` was",
    ),
    "evaluations that are not seen": (
        (first(lambda problem: problem.bare_value(np.array([1.0, -1.0, 0.5]))), {}),
        lambda kit, fixtures: kit.test_result_is_the_best_point(),
        "planted must evaluate by `problem.value` and `problem.gradient` alone, so that dmin sees all: the least",
    ),
    "points spoilt at the end": (
        (spoils_its_points, {}),
        lambda kit, fixtures: kit.test_result_is_the_best_point(),
        "planted must leave its points as they were (`private_x`): the best one has another value",
    ),
    "points spoilt when it is stopped": (
        (spoils_its_points, {}),
        lambda kit, fixtures: kit.test_stop_iteration_in_the_callback_stops(),
        "planted must leave its points as they were when it is stopped (`private_x`): the best one has another value",
    ),
    "no callback": (
        (calling_back(lambda callback: lambda state: None), {}),
        lambda kit, fixtures: kit.test_callback_gets_points_and_their_values(),
        "planted must call the callback, once an iteration",
    ),
    "callback with another's value": (
        (
            calling_back(lambda callback: lambda state: callback(OptimizeResult(x=state.x, fun=state.fun + 1.0))),
            {},
        ),
        lambda kit, fixtures: kit.test_callback_gets_points_and_their_values(),
        "planted must call back with the x evaluated last, or with an OptimizeResult of x and fun: call 1 (off by ",
    ),
    "callback with a point that is yet to come": (
        (calling_back(lambda callback: lambda state: callback(state.x + 0.1)), {}),
        lambda kit, fixtures: kit.test_callback_gets_points_and_their_values(),
        "planted must call back with the x evaluated last, or with an OptimizeResult of x and fun: call 1 (off by ",
    ),
    "callback at the start only": (
        (calling_back(calls_at_the_start_only), {}),
        lambda kit, fixtures: kit.test_callback_gets_points_and_their_values(),
        "planted must get lower from the first call of the callback to the last",
    ),
    "callback too often": (
        (calling_back(calls_five_times), {}),
        lambda kit, fixtures: kit.test_callback_gets_points_and_their_values(),
        "planted must call the callback once for each of its iterations",
    ),
    "x0 written into": (
        (lambda problem, *given: (sound(problem, *given), problem.x0.fill(0.0))[0], {}),
        lambda kit, fixtures: kit.test_vectors_of_the_problem_are_not_written_into(fixtures["monkeypatch"]),
        "planted must copy what it gets from the problem before it writes into it\n  got:      ['x0']",
    ),
    "bounds written into": (
        (lambda problem, *given: (sound(problem, *given), problem.bounds[0].fill(0.0))[0], {}),
        lambda kit, fixtures: kit.test_vectors_of_the_problem_are_not_written_into(fixtures["monkeypatch"]),
        "planted must copy what it gets from the problem before it writes into it\n  got:      ['bounds']",
    ),
    "gradients written into": (
        (over(writes_into_gradients), {}),
        lambda kit, fixtures: kit.test_vectors_of_the_problem_are_not_written_into(fixtures["monkeypatch"]),
        "planted must copy what it gets from the problem before it writes into it\n  got:      ['gradients']",
    ),
    "one buffer for all points": (
        (over(in_one_buffer), {}),
        lambda kit, fixtures: kit.test_private_points_are_private(fixtures["monkeypatch"]),
        "planted must hand over a new x at each evaluation, or not declare `private_x`: so many were changed after it",
    ),
    "a value alone": (
        (first(lambda problem: problem.value(problem.x0 + 0.25)), {}),
        lambda kit, fixtures: kit.test_values_and_gradients_come_together(fixtures["monkeypatch"]),
        "planted must ask for the gradient wherever it asks for the value, or not declare `together`: values alone",
    ),
    "a problem kept": (
        (first(kept.append), {}),
        lambda kit, fixtures: kit.test_nothing_is_kept("by maxfun"),
        "planted must let go of the problem when it ends by maxfun: a cycle through compiled code is never collected",
    ),
    "seeds set": (
        (first(lambda problem: np.random.seed(0)), {}),  # noqa: NPY002 - the fault
        lambda kit, fixtures: kit.test_settings_are_left_alone("by an exception"),
        "planted must leave the process as it was when it ends by an exception; it changed\n"
        '  got:      ["NumPy\'s global random state"]',
    ),
    "floating-point errors ignored": (
        (first(lambda problem: np.seterr(all="ignore")), {}),
        lambda kit, fixtures: kit.test_settings_are_left_alone("by itself"),
        "planted must leave the process as it was when it ends by itself; it changed\n"
        '  got:      ["NumPy\'s handling of floating-point errors"]',
    ),
    "talk": (
        (first(lambda problem: print("Thank you for using this solver!")), {}),
        lambda kit, fixtures: kit.test_nothing_is_printed(fixtures["capfd"]),
        "planted must print nothing by itself\n  got:      Thank you for using this solver!",
    ),
    "one place for all runs, nested": (
        (in_one_place([None]), {}),
        lambda kit, fixtures: kit.test_runs_inside_fun_disturb_nothing(),
        "planted must not be disturbed by a run inside `fun`",
    ),
    "a lock": (
        (one_at_a_time, {}),
        lambda kit, fixtures: kit.test_runs_inside_fun_disturb_nothing(),
        "planted must not wait for itself in a run inside `fun`, as by a lock; if it cannot but, set `nests` to False",
    ),
    "one place for all runs, in threads": (
        (in_one_place([None]), {}),
        lambda kit, fixtures: kit.test_runs_in_two_threads_disturb_nothing(),
        "planted must not be disturbed by a run in another thread",
    ),
}


@pytest.mark.parametrize(("planted", "check", "message"), FAULTS.values(), ids=FAULTS)
def test_fault_is_found_and_named(planted, check, message, plant, monkeypatch, capfd):
    fault, abilities = planted
    fixtures = {"monkeypatch": pytest.MonkeyPatch(), "capfd": capfd}
    monkeypatch.setattr(_methods, "MOST", 2000)
    monkeypatch.setattr(_methods, "LONG", 3.0)
    plant(sound, **({"constraints": True} if "constraints" in abilities else {}))
    check(Checks(), fixtures)  # without it the check passes
    fixtures["monkeypatch"].undo()

    plant(fault, **abilities)
    threads = set(threading.enumerate())
    try:
        with np.errstate(), pytest.raises(AssertionError, match=f"^{re.escape(message)}"):
            check(Checks(), fixtures)
    finally:
        fixtures["monkeypatch"].undo()
        kept.clear()
        if fault is one_at_a_time:  # the run that hangs is let go
            turnstile.release()
            wait_for_threads(threads)


def wait_for_threads(known):
    """Until there are no others."""
    for thread in set(threading.enumerate()) - known:
        thread.join(30.0)
        assert not thread.is_alive()


# What cannot be planted ------------------------------------------------------------------------------------


def test_method_that_is_not_installed_is_found():
    class Absent(Checks):
        method = "absent"

    with pytest.raises(AssertionError, match=r"has an entry point 'absent' in 'dmin\.solvers'"):
        Absent().test_method_loads()


def test_method_that_does_not_load_is_found(plant):
    plant(sound, options="gtol")
    with pytest.raises(AssertionError, match=r"^planted does not load$") as caught:
        Checks().test_method_loads()
    assert "has options='gtol'" in str(caught.value.__cause__)


@pytest.mark.parametrize("ability", ["constraints", "private_x", "together"])
def test_skip_names_the_ability(ability, plant, monkeypatch):
    plant(sound, **{ability: False})
    checks = {
        "constraints": lambda kit: kit.test_constrained_answers_are_found(7),
        "private_x": lambda kit: kit.test_private_points_are_private(monkeypatch),
        "together": lambda kit: kit.test_values_and_gradients_come_together(monkeypatch),
    }
    with pytest.raises(pytest.skip.Exception, match=f"planted does not declare `{ability}`"):
        checks[ability](Checks())


@pytest.mark.parametrize("declared", ["nests", "threads", "deterministic"])
def test_skip_names_what_was_declared(declared, plant):
    class Declares(Checks):
        pass

    plant(sound)
    setattr(Declares, declared, False)
    checks = {
        "nests": Declares.test_runs_inside_fun_disturb_nothing,
        "threads": Declares.test_runs_in_two_threads_disturb_nothing,
        "deterministic": Declares.test_runs_are_deterministic,
    }
    with pytest.raises(pytest.skip.Exception, match=rf"^Declares declares that runs .* \(`{declared}`\)"):
        checks[declared](Declares())


def test_method_that_asks_for_gradients_alone_has_evaluated_its_answer(plant, monkeypatch):
    def descent(problem, tol, callback, options):
        x = problem.x0
        while np.abs(g := problem.gradient(x)).max() > 1e-5:
            x = x - g / 10
        return {"x": x, "success": True, "status": 0, "message": "Done."}

    plant(descent, together=False)
    Checks().test_what_solve_returns_is_whole_and_true(monkeypatch)


def test_answers_need_be_no_nearer_than_was_declared(plant):
    class Rough(Checks):
        gap = 2.0

    plant(lambda *given: {**sound(*given[:3], {"maxiter": 3}), "success": True})
    Rough().test_known_answers_are_found("numpy", "quadratic", "float64")


def test_method_that_draws_by_chance_is_held_to_its_answers(plant):
    class Chance(Checks):
        deterministic = False

    plant(over(lambda problem: {"x0": problem.x0 + 1e-3 * chance.random(problem.n)}))
    Chance().test_runs_inside_fun_disturb_nothing()
    Chance().test_runs_in_two_threads_disturb_nothing()


def test_what_is_excused_is_skipped_and_all_else_is_run(pytester, plant):
    plant(sound)
    pytester.makepyfile(
        """
        from dmin_core.testing import MethodTests


        class TestPlanted(MethodTests):
            method = "planted"
            backends = ("numpy",)
            excused = {
                "rosenbrock": "its valley",
                "test_nothing_is_printed": "it is talkative",
                "test_maxfun_stops_at_that_evaluation[7]": "it is slow",
            }
        """
    )
    chosen = "known or printed or maxfun"
    outcome = pytester.runpytest_inprocess("-q", "-rs", "-p", "no:cacheprovider", "-k", chosen)
    skipped = "\n".join(outcome.outlines)
    assert "planted is excused from rosenbrock: its valley" in skipped
    assert "planted is excused from test_nothing_is_printed: it is talkative" in skipped
    assert "planted is excused from test_maxfun_stops_at_that_evaluation[7]: it is slow" in skipped
    outcome.assert_outcomes(passed=10, skipped=4, deselected=outcome.parseoutcomes()["deselected"])
