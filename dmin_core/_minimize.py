"""The one entry: validate at the door, put the pieces together, run, and give back the best point.

Everything that can be known to be wrong is said here, before the first evaluation, in the user's own names; the
modules behind it may then trust what they get.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from . import _differences as differences
from ._callbacks import watch
from ._choice import default_method
from ._errors import (
    DminError,
    InputError,
    Interrupted,
    MethodError,
    NotSupportedYet,
    outside,
)
from ._leaves import flatten, infer_backend
from ._models import adopt, minimize_model, refuse_nested
from ._options import check_tol, check_values
from ._plugins import Backend, get_backend
from ._problem import Problem, Stop
from ._relay import Relay
from ._signature import Minimize
from ._tree import Tree
from .solvers import COMMON_OPTIONS, DEVICE_METHODS, EMBEDDED, SCIPY_METHODS, Method, able, describe, solver

if TYPE_CHECKING:
    from ._result import Result

T = TypeVar("T")

MALFORMED = 97
"""The status of a run whose method returned what is not a method's to return."""


def minimize(
    fun: Callable[..., Any],
    x0: T,
    args: Any = (),
    method: str | Callable[..., Any] | None = None,
    jac: Any = None,
    hess: Any = None,
    hessp: Callable[..., Any] | None = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    backend: str | None = None,
    compile: bool | None = None,
    frozen: Any = None,
    has_aux: bool = False,
    check_derivatives: bool = False,
    progress: bool = False,
    checkpoint: Any = None,
) -> Result[T]:
    """Minimise a scalar function of arrays, in whichever framework it is written.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> scalar``, where ``x`` has the nest, shapes, dtypes and devices of ``x0``.
    x0 : array or nest of arrays
        Where to start: one array, or any nest of dicts, OrderedDicts, lists, tuples, namedtuples, dataclasses and
        what optree has registered. Leaves are real floating arrays of one framework, on one device; Python floats
        count as 0-d arrays; None and other leaves that are no arrays are handed to ``fun`` untouched, and so is what
        ``frozen`` names. Never modified. Or a model that holds its parameters (a ``torch.nn.Module``, a Keras model,
        a ``flax.nnx.Module``): the functions are given the model, and in the end the answer is written into it.
    args : tuple, optional
        Further arguments of ``fun``, ``jac``, ``hess`` and ``hessp``.
    method : str or callable, optional
        One of `methods`, in any case. Default: ``'L-BFGS-B'`` (SciPy's own default without bounds, BFGS, keeps a
        dense n × n matrix), or ``'device-lbfgs'`` where x0 is on an accelerator or large: ``Result.chosen`` then says
        so (docs/device-methods.md has the rule). With constraints ``'SLSQP'`` up to 200 variables, and beyond
        ``'trust-constr'``. A callable is SciPy's protocol for custom methods, over the flat vector.
    jac : None, True, callable or {'2-point', '3-point', 'cs'}, optional
        None: the framework's own derivative, or finite differences where it has none (NumPy): forward ones, and central
        ones from where a method gets no further by those. True: ``fun`` returns ``(value, gradient)``, the gradient
        nested as ``x0`` is. A callable: ``jac(x, *args)`` returns it. A string: finite differences of that kind.
    hess, hessp : callable, optional
        ``hess(x, *args)``: the Hessian, an (n, n) array over the leaves laid end to end, or a nest of nests of
        blocks. ``hessp(x, p, *args)``: its product with the nest ``p``, nested likewise. Default: the framework's,
        for the methods that use one. For trust-constr also SciPy's strategies (``'2-point'``, ``BFGS()``, …).
    bounds : optional
        ``(lb, ub)`` or ``Bounds(lb, ub)``, each side None, a number, an array, or a nest that reaches as deep into
        x0's as it likes; or a dict from key, path or glob over paths (``"encoder/*"``, ``"**/log_var"``) to
        ``(lb, ub)``; or SciPy's list of pairs for a single vector. docs/bounds.md has every form.
    constraints : optional
        One or a sequence of ``NonlinearConstraint(fun, lb, ub)``, whose ``fun(x)`` takes the nest and returns an array
        or a nest of them, and whose limits are None, numbers, arrays or nests that reach as deep into what it returns
        as they like; `LinearConstraint`, whose matrix may be nested as ``x0`` is; and SciPy's dicts. For SLSQP,
        trust-constr, COBYLA and COBYQA alike. Derivatives come from where the objective's come from. ``args`` are not
        passed on to them.
    tol : float, optional
        Tolerance, in the sense of the method. Default: the method's own, or what the coarsest leaf can show if that is
        more: its relative precision for values and steps, the root of that for gradients.
    callback : callable, optional
        ``callback(intermediate_result)``, by that name, or ``callback(x)``, once an iteration. ``StopIteration``
        stops any method.
    options : dict, optional
        The method's own, by SciPy's names; and for every method ``maxfun`` (evaluations), ``maxtime`` (seconds),
        both checked before every evaluation, and ``disp`` (print a summary at the end).
    backend : str, optional
        One of `backends`; default: whose arrays x0 holds. Where it is given, NumPy leaves are converted.
    compile : bool, optional
        None: what the framework does best. False: plain eager Python. True, in PyTorch: ``fun`` and its gradient by
        ``torch.compile``, which takes seconds to minutes at first.
    has_aux : bool, optional
        True: ``fun`` returns ``(value, aux)``, with jac=True ``((value, aux), gradient)``, as ``jax.value_and_grad``
        does. ``aux`` is any nest of arrays and other objects; that of the answer is ``Result.aux``. It costs no
        evaluation. Where ``fun`` is compiled, what of ``aux`` is no array is as it was when ``fun`` was traced.
    check_derivatives : bool, optional
        Compare gradient, Jacobians of constraints and, for methods that use them or where you give them, Hessian
        products (of constraints where you give them) with differences at x0 before the run. About two evaluations a
        leaf, which are counted nowhere and never leave the bounds.
    frozen : str, collection of str, dict or nest of bools, optional
        Leaves that are no variables: ``fun`` and the result get the objects of ``x0``, which may be of any dtype or
        framework. Named as in ``bounds``, or marked by a nest of bools that reaches as deep into x0's as it likes.
    progress : bool, optional
        Show evaluations, the best value and the norm of the gradient while it runs: tqdm's bar in a terminal or a
        notebook, a line now and then in a log. Needs tqdm, ``pip install 'dmin-core[progress]'``.
    checkpoint : str, PathLike or Checkpoint, optional
        A file in which every answer of ``fun`` and its derivatives is kept. The same call made again reads them there
        and goes on where the run was killed, to the same result (`Checkpoint` says how large the file may get).

    Returns
    -------
    Result
        An ``OptimizeResult`` whose ``x`` and ``jac`` are nested as ``x0`` is: the best finite feasible point
        evaluated, whichever way the run ended. ``jac`` is None at frozen leaves. With constraints also ``maxcv``,
        ``constr``, ``active`` and, where the method has them, ``multipliers``.

    Raises
    ------
    InputError
        An argument is wrong; before any evaluation.
    CheckpointError
        The checkpoint is damaged, another run's, or in use; or the method asks for what it does not have.
    ObjectiveError
        ``fun``, ``jac``, ``hess`` or ``hessp`` returned what cannot be optimised, or is not finite at the start.
    DerivativeError
        ``check_derivatives`` found one that disagrees with differences; the message names the worst leaf.
    PluginError
        The backend or the method cannot be loaded.
    NotSupportedYet
        ``compile=True`` for a backend that compiles nothing.
    Interrupted
        Ctrl-C, in a compiled function after the evaluation; ``result`` holds what had been found.
    Exception
        What ``fun`` raises passes through, with a note of the evaluation and the best value. Errors by which NumPy or
        the framework says that a matrix cannot be factorised do so at the start only.

    Notes
    -----
    The methods are SciPy's, described with their sources in the documentation of ``scipy.optimize.minimize``, and
    dmin's own, called ``device-…``. SciPy's work in float64 on the host, dmin's where the arrays are; leaves keep
    their dtype inside ``fun``. Differences from SciPy: ``fun`` sees the nest, what a method cannot do is an error and
    not a warning, and the answer is the best point seen. After the start a value or derivative that is not finite
    counts as +inf, shortens the step, and is counted in ``nfail``; a method that gives up because of it begins again
    from the best point, three times at most. A run that ends because no step lowers ``fun`` by more than the leaves'
    precision can show has ``success`` True.

    Examples
    --------
    >>> import numpy as np
    >>> from dmin_core import minimize
    >>> def fun(p, shift):
    ...     return (p["a"] - shift) ** 2 + np.sum((p["b"] - p["a"]) ** 2)
    >>> res = minimize(fun, {"a": 0.0, "b": np.ones(2)}, args=(2.0,), bounds={"b": (None, 1.5)})
    >>> round(float(res.x["a"]), 4), res.x["b"].round(4)
    (1.6667, array([1.5, 1.5]))
    >>> round(float(minimize(fun, {"a": 0.0, "b": np.ones(2)}, args=(4.0,), frozen="b").x["a"]), 4)
    2.0
    """
    if (model := adopt(x0, backend)) is not None:
        return minimize_model(minimize, model, {name: value for name, value in locals().items() if name != "model"})
    if progress not in (False, True):
        raise InputError(f"progress must be True or False, not {progress!r}.")
    if progress:
        from ._progress import find_tqdm

        find_tqdm()
    _check_callable(fun=fun, callback=fun if callback is None else callback, hessp=fun if hessp is None else hessp)
    check_tol(tol)
    args = args if isinstance(args, tuple) else (args,)
    tree, x = _take_apart(x0, backend, frozen)
    _check_compile(compile, tree.backend)
    # What belongs to one argument is imported where it is given: importing dmin must stay as cheap as importing NumPy.
    kept: Any = None
    if checkpoint is not None:
        from ._checkpoint import check_checkpoint

        kept = check_checkpoint(checkpoint)
    pair: Any = None
    keep_feasible: Any = False
    if bounds is not None:
        from ._bounds import clip_start, flatten_bounds

        pair, keep_feasible = flatten_bounds(bounds, x0, tree)
        x = x if pair is None else clip_start(tree.pack_x0() if x is None else x, pair, tree)
    constrained: Any = ()
    if constraints is not None and constraints != ():
        from ._constrained import ConstrainedProblem, begun, feasibility_tolerance
        from ._constraints import read_constraints

        constrained = read_constraints(constraints, x0, tree)
    chosen: str | None = None
    name = method
    if method is None:
        name, chosen = default_method(tree, bool(constrained), jac, options)
    ability = _choose(name)
    options = _check_options(options, ability, anything=callable(method))
    _check_steps(options, tree.n)
    if pair is not None and not ability.bounds:
        raise MethodError(f"{ability.name} cannot keep to bounds. Methods that can: {', '.join(able('bounds'))}.")
    if constrained and not ability.constraints:
        raise MethodError(
            f"{ability.name} cannot keep to constraints. Methods that can: {', '.join(able('constraints'))}."
        )
    _check_derivatives_given(ability, jac, hess, hessp, tree.backend)
    given: dict[str, Any] = {
        "args": args,
        "jac": jac or None,
        "hess": hess,
        "hessp": hessp,
        "bounds": pair,
        "compile": compile,
        "has_aux": has_aux,
    }
    kind: Callable[..., Problem] = Problem
    if constrained:
        tolerance = feasibility_tolerance(ability.name, tol, options)
        kind = functools.partial(ConstrainedProblem, constraints=constrained, tolerance=tolerance)
    if check_derivatives:
        _check_derivatives(ability, kind(tree, fun, x, uses_gradient=False, **given))
    problem = kind(
        tree,
        fun,
        x,
        **given,
        keep_feasible=keep_feasible,
        uses_gradient=ability.gradient,
        strict=ability.strict_bounds,
        private=ability.private_x,
        together=ability.together,
        maxfun=options.get("maxfun", math.inf),
        maxtime=options.get("maxtime", math.inf),
        relative_step=options.get("finite_diff_rel_step"),
        absolute_step=options.get("eps"),
    )
    problem.chosen = chosen
    # These report their iterations themselves; being called at each costs as much as the rest of a small evaluation.
    problem.unwatched = callback is None and ability.private_x and not {"maxfun", "maxtime"}.intersection(options)
    run = _runner(method, ability)
    if constrained:
        run = begun(run)
    if kept is not None:
        run = _checkpointed(run, kept, ability, problem)
    with _shown(progress, problem, ability.name, options):
        watched = watch(callback, problem, ability.name)
        result: Result[T] = _run(run, problem, ability.name, tol, watched, options, _owed(method, ability))
    if options.get("disp"):
        print(result.summary())
    return result


def with_backend(name: str) -> Minimize:
    """`minimize` with its backend given: what each plugin exports.

    Parameters
    ----------
    name : str
        The backend.

    Returns
    -------
    callable
        With `minimize`'s parameters, ``backend`` apart.

    Examples
    --------
    >>> from dmin_core import with_backend
    >>> minimize = with_backend("numpy")
    >>> round(float(minimize(lambda x: (x - 1.0) ** 2, 0.0).x), 5)
    1.0
    """
    signature = inspect.signature(minimize)

    @functools.wraps(minimize)
    def bound(*positional: Any, **named: Any) -> Any:
        return minimize(*positional, backend=name, **named)

    kept = [parameter for parameter in signature.parameters.values() if parameter.name != "backend"]
    bound.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]  # what inspect reads
    return cast(Minimize, bound)


# At the door ---------------------------------------------------------------------------------------------


def _check_callable(**given: Any) -> None:
    for name, what in given.items():
        if not callable(what):
            first = " It is the function itself, and comes first: minimize(fun, x0)." if name == "fun" else ""
            raise InputError(f"`{name}` must be callable, not {what!r}.{first}")


def _check_compile(compile: bool | None, backend: Backend) -> None:
    if compile not in (None, False, True):
        raise InputError(f"compile must be None, True or False, not {compile!r}.")
    if compile and not (backend.compiles or backend.compiles_on_request):
        raise NotSupportedYet(f"Backend {backend.name!r} does not compile in this version; leave `compile` out.")


def _take_apart(x0: Any, backend: str | None, frozen: Any) -> tuple[Tree, np.ndarray | None]:
    leaves, spec = flatten(x0)
    held: frozenset[int] = frozenset()
    if frozen is not None:
        from ._frozen import find_frozen

        held = find_frozen(frozen, x0, spec)
    refuse_nested(leaves, spec, held)
    name = infer_backend(leaves, spec, frozen=held) if backend is None else backend
    tree = Tree(x0, get_backend(name), leaves, spec, held)
    if tree.sharded:
        # Perhaps nobody wants it on the host.
        tree.check_finite()
        return tree, None
    return tree, tree.pack_x0()


def _choose(method: Any) -> Method:
    if isinstance(method, type) and hasattr(method, "step"):
        raise MethodError(
            f"method={method.__name__} is an optimiser that is stepped by hand, not a method of minimize. Name one: "
            f"method='L-BFGS-B', say, or 'device-lbfgs'; methods() lists them."
        )
    if callable(method):
        name = getattr(method, "__name__", type(method).__name__)
        return Method(name, True, True, True, True, True, strict_bounds=False)
    if not isinstance(method, str):
        raise MethodError(f"method must be a name or a callable, not {method!r}.")
    return describe(method)


def _check_options(options: Mapping[str, Any] | None, ability: Method, anything: bool) -> dict[str, Any]:
    """The options as a dict of their own; ``anything``: they are those of a callable, and its own affair."""
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise InputError(f"options must be a dict, not {options!r}.")
    known = {*ability.options, *COMMON_OPTIONS}
    unknown = [name for name in options if name not in known]
    if unknown and not (anything or _documented(ability.name, unknown)):
        its = f"Its options are {', '.join(ability.options)}" if ability.options else "It has none of its own"
        raise MethodError(
            f"{ability.name} has no option {unknown[0]!r}. {its}; every method also takes {', '.join(COMMON_OPTIONS)}."
        )
    for name, least in (("maxfun", 1), ("maxtime", 0)):
        limit = options.get(name)
        if limit is not None and not (isinstance(limit, int | float | np.number) and limit >= least):
            raise InputError(f"options[{name!r}] must be a number of at least {least}, not {limit!r}.")
        if name == "maxfun" and limit is not None and math.isfinite(limit) and limit != int(limit):
            raise InputError(f"options['maxfun'] must be a whole number or infinite, not {limit!r}.")
    kept = {name: value for name, value in options.items() if value is not None or name not in COMMON_OPTIONS}
    return check_values(kept, ability.name) if ability.name in EMBEDDED else kept


def _documented(name: str, unknown: list[str]) -> bool:
    """Whether the SciPy that is installed has options that this version of dmin does not know yet."""
    if name not in SCIPY_METHODS:
        return False
    import re

    from scipy.optimize import show_options

    text = show_options("minimize", name, disp=False) or ""
    section = re.split(r"\n *Options\n *-+\n", text)[-1]
    section = re.split(r"\n *\w+\n *-+\n", section)[0]
    parameters = inspect.signature(minimize).parameters
    return all(
        str(option) not in parameters and re.search(rf"^\s*(\w+, )*{re.escape(str(option))}(, \w+)* : ", section, re.M)
        for option in unknown
    )


def _check_steps(options: Mapping[str, Any], n: int) -> None:
    for name in {"eps", "finite_diff_rel_step"}.intersection(options):
        try:
            np.broadcast_to(np.asarray(options[name], dtype=float), (n,))
        except (TypeError, ValueError) as cause:
            raise InputError(
                f"options[{name!r}] must be a number or one for each of the {n} variables: {cause}"
            ) from cause


def _check_derivatives_given(ability: Method, jac: Any, hess: Any, hessp: Any, backend: Backend) -> None:
    schemes = ", ".join(map(repr, differences.SCHEMES))
    known = isinstance(jac, str) and jac in differences.SCHEMES
    if not (jac is None or isinstance(jac, bool) or callable(jac) or known):
        raise InputError(f"jac must be None, True, a callable or one of {schemes}; not {jac!r}.")
    if known and jac == "cs" and backend.name != "numpy":
        raise InputError(f"jac='cs' makes the leaves complex, which only NumPy's can be; {backend.name} has jac=None.")
    if not (hess is None or callable(hess)):
        _check_strategy(ability, hess)
    unused = []
    if not ability.gradient and callable(jac):
        unused.append("jac")
    if not (ability.hess or ability.hessp):  # either is made of the other
        unused += [name for name, given in (("hess", hess), ("hessp", hessp)) if given is not None]
    if unused:
        warnings.warn(f"{ability.name} makes no use of {' and '.join(unused)}.", RuntimeWarning, stacklevel=outside())


def _check_strategy(ability: Method, hess: Any) -> None:
    """``hess`` as SciPy's own way to approximate it."""
    from scipy.optimize import HessianUpdateStrategy

    allowed = "a callable, None, '2-point', '3-point' or a HessianUpdateStrategy such as scipy.optimize.BFGS()"
    if not ((isinstance(hess, str) and hess in ("2-point", "3-point")) or isinstance(hess, HessianUpdateStrategy)):
        raise InputError(f"hess must be {allowed}; not {hess!r}.")
    if ability.hess and not ability.hessp:
        raise MethodError(f"{ability.name} needs the Hessian itself: pass hess as a callable, or leave it out.")


def _check_derivatives(ability: Method, problem: Problem) -> None:
    from ._check_derivatives import check
    from ._constrained import ConstrainedProblem

    given = callable(problem.hess) or callable(problem.hessp)
    if isinstance(problem, ConstrainedProblem):
        problem.begin()
    check(
        problem,
        first=ability.gradient or problem.jac is True or callable(problem.jac),
        second=given or (problem.hess is None and (ability.hessp or ability.hess)),
        dense=ability.hess and not ability.hessp,
        constrained=isinstance(problem, ConstrainedProblem),
    )


# The run -------------------------------------------------------------------------------------------------


def _shown(progress: bool, problem: Problem, method: str, options: Mapping[str, Any]) -> Any:
    """The context that shows how the run is getting on."""
    if not progress:
        return contextlib.nullcontext()
    from ._progress import Progress

    return Progress(problem, method, options)


def _checkpointed(run: Callable[..., Any], checkpoint: Any, ability: Method, problem: Problem) -> Callable[..., Any]:
    if ability.name in DEVICE_METHODS and problem.scheme is None:
        from ._snapshots import kept

        return kept(run, checkpoint, ability.name)
    # Differences are taken on the host for device methods too, one value at a time: no answer of these is lost.
    from ._checkpoint import recorded

    return recorded(run, checkpoint, ability.name)


def _runner(method: Any, ability: Method) -> Callable[..., Any]:
    if callable(method):
        from .solvers.scipy import solve_custom

        return functools.partial(solve_custom, method)
    return functools.partial(solver(ability.name), ability.name)


def _owed(method: Any, ability: Method) -> tuple[str, ...]:
    """The keys that what the method returns must have; none where the method is dmin's own."""
    if not callable(method) and ability.name in EMBEDDED:
        return ()
    from .solvers._reports import OWED, OWED_BY_CALLABLES

    return OWED_BY_CALLABLES if callable(method) else OWED


def _run(
    run: Callable[..., Any],
    problem: Problem,
    method: str,
    tol: float | None,
    watched: Callable[[Any], Any],
    options: dict[str, Any],
    owed: tuple[str, ...] = (),
) -> Any:
    from . import _result  # noqa: F401 - imports SciPy before the clock starts
    from ._interrupts import Deferral

    relay = Relay(method)
    problem.start()
    try:
        try:
            with problem.blas, relay, Deferral(problem):
                raw = run(problem, tol, watched, options)
            if owed:
                _check_report(raw, owed, problem, method)
        except Stop as stop:
            raw = {"success": False, "status": stop.status, "message": stop.message}
        result = _conclude(raw, problem, method)
    except KeyboardInterrupt as interrupt:
        raw = {"success": False, "status": 130, "message": "Interrupted from the keyboard (Ctrl-C)."}
        raise Interrupted(_conclude(raw, problem, method)) from interrupt
    except DminError:
        raise
    except Exception as error:
        _add_note(error, problem, method)
        raise
    problem.influence.conclude()
    relay.pass_on(outside())
    return result


def _check_report(raw: Any, owed: tuple[str, ...], problem: Problem, method: str) -> None:
    from .solvers._reports import fault_of

    fault = fault_of(raw, owed, problem.n, getattr(problem, "m", 0))
    if fault is not None:
        message = f"{method} {fault}"
        found = {"success": False, "status": MALFORMED, "message": message}
        raise MethodError(message, _conclude(found, problem, method))


def _add_note(error: Exception, problem: Problem, method: str) -> None:
    best = "" if problem.best is None else f"; the best value so far is {problem.best.f:.10g}"
    if sys.version_info >= (3, 11):
        from ._hints import culprit, hint

        name, call = culprit(error, problem)
        found = hint(error, problem, call)
        by = "" if name == "fun" else f" by {name},"
        todo = "" if found is None else f" {found}"
        error.add_note(f"dmin: raised in {method}{by} at evaluation {problem.nfev} of `fun`{best}.{todo}")


def _conclude(raw: Mapping[str, Any], problem: Problem, method: str) -> Any:
    from ._curvature import Curvature
    from ._result import as_history, merge

    tree = problem.tree
    fields: dict[str, Any] = {
        "nit": int(raw.get("nit", problem.nit or (-1 if problem.unwatched else 0))),
        "nfev": problem.nfev,
        "njev": problem.njev,
        "nhev": problem.nhev,
        "nfail": problem.failures.count,
        "method": method,
        "backend": tree.backend.name,
        "message": str(raw.get("message", "")),
        "success": bool(raw.get("success")) and math.isfinite(raw.get("fun", 0.0)),
        "status": int(raw.get("status", 0)),
        "history": as_history(problem.history),
        "time": problem.seconds(),
    }
    if problem.chosen is not None:
        fields["chosen"] = problem.chosen
    if problem.replayed is not None:
        fields["replayed"] = problem.replayed
    answer = problem.settle(raw.get("x"), bool(raw.get("success")))
    if answer is None:
        fields.update(x=tree.restore(problem.x0), fun=math.nan, success=False)
    else:
        x, g = answer.on_device or (answer.x, answer.g)
        fields.update(x=tree.restore(x), fun=answer.f)
        if g is not None:
            fields["jac"] = tree.restore(g, classes=False)
    if problem.aside is not None:
        fields["aux"] = None if answer is None else problem.aux_of(answer)
    fields.update(problem.extras(answer, raw))
    if "allvecs" in raw:
        fields["allvecs"] = [tree.restore(np.asarray(x, dtype=float)) for x in raw["allvecs"]]
    return merge(raw, fields).keep(Curvature(problem, answer))
