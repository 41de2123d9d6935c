"""The table of methods: what each can do, what it needs, which options it has.

Asked for what a method cannot do, `minimize` says so at the door and lists the methods that can; SciPy only warns.
The core's methods are in this table as literals, so that listing them imports nothing; a third party's come from
distributions with an entry point in the group ``dmin.solvers`` and describe themselves.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .._errors import BrokenPluginError, MethodError, PluginClashError
from .._plugins import Entry, claim, listed, load_solver, refresh, spellings
from ..hookspecs import SOLVERS

COMMON_OPTIONS = ("disp", "maxfun", "maxtime")
"""What dmin does for every method: print a summary at the end; stop after so many evaluations, or seconds."""


@dataclass(frozen=True)
class Method:
    """What a method can do.

    Attributes
    ----------
    name : str
        As it is written in ``minimize(method=name)``; case does not matter.
    gradient, hessp, hess : bool
        Whether it uses the gradient, Hessian products, a dense Hessian.
    bounds, constraints : bool
        Whether it can keep to them.
    options : tuple of str
        Names it takes in ``options``, beside ``disp``, ``maxfun`` and ``maxtime``, which all do.
    strict_bounds : bool
        Whether every point it evaluates lies within the bounds.
    private_x : bool
        Whether it hands over a new array at each evaluation, and writes into none that it handed over.
    together : bool
        Whether it asks for the gradient wherever it asks for the value.
    needs_hessian : bool
        Whether it cannot run without second derivatives; the others make do with their own approximation.
    on_device : bool
        Whether its vectors stay where the arrays are.
    distribution : str
        Where it comes from.
    error : Exception or None
        Why it cannot be used.

    Examples
    --------
    >>> from dmin_core import methods
    >>> methods()["SLSQP"].bounds
    True
    """

    name: str
    gradient: bool = False
    hessp: bool = False
    hess: bool = False
    bounds: bool = False
    constraints: bool = False
    options: tuple[str, ...] = ()
    strict_bounds: bool = True
    private_x: bool = False
    together: bool = False
    needs_hessian: bool = False
    on_device: bool = False
    distribution: str = "dmin-core"
    error: Exception | None = None


_DIFFERENCES = ("eps", "finite_diff_rel_step")
_TRUST = ("initial_trust_radius", "max_trust_radius", "eta", "gtol", "maxiter", "return_all")

SCIPY_METHODS: dict[str, dict[str, Any]] = {
    "Nelder-Mead": {
        "bounds": True,
        "options": ("maxiter", "maxfev", "return_all", "initial_simplex", "xatol", "fatol", "adaptive"),
    },
    "Powell": {
        "bounds": True,
        "options": ("xtol", "ftol", "maxiter", "maxfev", "direc", "return_all"),
    },
    "CG": {
        "gradient": True,
        "private_x": True,
        "options": ("maxiter", "gtol", "norm", "return_all", "c1", "c2", *_DIFFERENCES),
    },
    "BFGS": {
        "gradient": True,
        "private_x": True,
        "options": ("maxiter", "gtol", "norm", "return_all", "xrtol", "c1", "c2", "hess_inv0", *_DIFFERENCES),
    },
    "Newton-CG": {
        "gradient": True,
        "private_x": True,
        "hessp": True,
        "hess": True,
        "needs_hessian": True,
        "options": ("xtol", "maxiter", "return_all", "c1", "c2", *_DIFFERENCES),
    },
    "L-BFGS-B": {
        "gradient": True,
        "private_x": True,
        "together": True,
        "bounds": True,
        "options": ("maxcor", "ftol", "gtol", "maxiter", "maxls", "iprint", *_DIFFERENCES),
    },
    "TNC": {
        "gradient": True,
        "private_x": True,
        "together": True,
        "bounds": True,
        "options": (
            *(
                "scale",
                "offset",
                "maxCGit",
                "eta",
                "stepmx",
                "accuracy",
                "minfev",
                "ftol",
                "xtol",
                "gtol",
                "rescale",
            ),
            *("mesg_num", *_DIFFERENCES),
        ),
    },
    "COBYLA": {
        "bounds": True,
        "constraints": True,
        "strict_bounds": False,
        "options": ("rhobeg", "tol", "maxiter", "catol", "f_target"),
    },
    "COBYQA": {
        "bounds": True,
        "constraints": True,
        "options": (
            *(
                "maxfev",
                "maxiter",
                "f_target",
                "feasibility_tol",
                "initial_tr_radius",
                "final_tr_radius",
                "scale",
            ),
        ),
    },
    "SLSQP": {
        "gradient": True,
        "private_x": True,
        "bounds": True,
        "constraints": True,
        "options": ("ftol", "maxiter", "iprint", *_DIFFERENCES),
    },
    "trust-constr": {
        "gradient": True,
        "private_x": True,
        "hessp": True,
        "hess": True,
        "bounds": True,
        "constraints": True,
        "strict_bounds": False,
        "options": (
            *(
                "gtol",
                "xtol",
                "barrier_tol",
                "sparse_jacobian",
                "initial_tr_radius",
                "initial_constr_penalty",
            ),
            *(
                "initial_barrier_parameter",
                "initial_barrier_tolerance",
                "factorization_method",
                "maxiter",
                "verbose",
            ),
            *_DIFFERENCES,
        ),
    },
    "dogleg": {"gradient": True, "private_x": True, "hess": True, "needs_hessian": True, "options": _TRUST},
    "trust-ncg": {
        "gradient": True,
        "private_x": True,
        "hessp": True,
        "hess": True,
        "needs_hessian": True,
        "options": _TRUST,
    },
    "trust-krylov": {
        "gradient": True,
        "private_x": True,
        "hessp": True,
        "hess": True,
        "needs_hessian": True,
        "options": (*_TRUST, "inexact"),
    },
    "trust-exact": {
        "gradient": True,
        "private_x": True,
        "hess": True,
        "needs_hessian": True,
        "options": (*_TRUST, "subproblem_maxiter"),
    },
}
"""SciPy's methods by SciPy's names. ``workers`` is left out everywhere: the differences are dmin's own."""


DEVICE_METHODS: dict[str, dict[str, Any]] = {
    "device-lbfgs": {
        "on_device": True,
        "gradient": True,
        "private_x": True,
        "bounds": True,
        "options": ("maxcor", "ftol", "gtol", "maxiter", "maxls", *_DIFFERENCES),
    },
    "device-bfgs": {
        "on_device": True,
        "gradient": True,
        "private_x": True,
        "options": ("maxiter", "gtol", "norm", "c1", "c2", "maxls", "hess_inv0", *_DIFFERENCES),
    },
    "device-newton-cg": {
        "on_device": True,
        "gradient": True,
        "private_x": True,
        "bounds": True,
        "hessp": True,
        "hess": True,
        "needs_hessian": True,
        "options": (
            *("gtol", "maxiter", "initial_trust_radius", "max_trust_radius", "eta", "maxCGit"),
            *_DIFFERENCES,
        ),
    },
}
"""dmin's own, whose vectors stay where the arrays are."""

EMBEDDED = {**SCIPY_METHODS, **DEVICE_METHODS}
"""What comes with the core."""


def methods() -> dict[str, Method]:
    """Every method that can be named in `minimize`, with what it can do.

    Returns
    -------
    dict of str to Method
        SciPy's first. A third party's that does not load is there too, with its ``error``.

    Examples
    --------
    >>> from dmin_core import methods
    >>> [name for name, method in methods().items() if method.constraints]
    ['COBYLA', 'COBYQA', 'SLSQP', 'trust-constr']
    """
    refresh()
    table = {}
    for name in listed(SOLVERS):
        try:
            table[name] = describe(name)
        except (BrokenPluginError, PluginClashError) as error:
            table[name] = Method(name, distribution=listed(SOLVERS)[name][-1].distribution, error=error)
    return table


def describe(name: str) -> Method:
    """The method of that name, in any case.

    Raises
    ------
    MethodError
        There is none; the nearest names are listed.
    BrokenPluginError, PluginClashError
        A third party's method cannot be loaded, or does not describe itself.
    """
    entry = claim(SOLVERS, _spelled(name))
    if entry.embedded:
        return _embedded(entry.name)
    return _described(entry)


def _described(entry: Entry) -> Method:
    """What a third party's method says of itself, under the name that it is listed by."""
    describe = load_solver(entry)["describe"]
    who = f"Method {entry.name!r} ({entry.distribution} {entry.version})"
    try:
        described = describe(entry.name)
    except Exception as cause:
        raise BrokenPluginError(f"{who} does not describe itself: {type(cause).__name__}: {cause}") from cause
    if not isinstance(described, Method):
        raise BrokenPluginError(f"{who} describes itself by {described!r}, where a dmin_core.Method is expected.")
    options: Any = described.options
    if not isinstance(options, tuple | list) or not all(isinstance(name, str) for name in options):
        raise BrokenPluginError(f"{who} has options={options!r}, where a tuple of names is expected.")
    return replace(described, name=entry.name, distribution=entry.distribution)


@functools.lru_cache(maxsize=64)
def _embedded(name: str) -> Method:
    return Method(name, **EMBEDDED[name])


def solver(name: str) -> Callable[..., Any]:
    """The function that runs the method: `SolverSpec.solve`."""
    return load_solver(claim(SOLVERS, _spelled(name)))["solve"]


def _spelled(name: str) -> str:
    """The listed name that is ``name`` but for its case."""
    names = spellings(SOLVERS)
    if name.lower() not in names:
        refresh()
        names = spellings(SOLVERS)
    if name.lower() not in names:
        known = {lower: spelled[0] for lower, spelled in names.items()}
        near = [known[match] for match in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)]
        hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise MethodError(f"Unknown method {name!r}. {hint}Methods are {', '.join(known.values())}.")
    spelled = names[name.lower()]
    if len(spelled) > 1:
        who = " and ".join(f"{entry.distribution} ({n})" for n in spelled for entry in listed(SOLVERS)[n])
        raise PluginClashError(f"Method {name!r} is provided, in any case, by {who}. Uninstall all but one of them.")
    return spelled[0]


def able(*abilities: str) -> list[str]:
    """Names of the methods that work and have every one of these abilities, for an error that suggests them."""
    found = methods()
    return [
        name
        for name, method in found.items()
        if method.error is None and all(getattr(method, ability) for ability in abilities)
    ]
