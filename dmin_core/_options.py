"""What options may be: said at the door, where SciPy breaks off in the middle of a run, or never says.

``gtol="1e-5"`` is a TypeError from a comparison deep in a line search, after an evaluation that may have taken minutes;
``maxcor=0`` goes on to compiled code. Only options that SciPy's documentation gives a plain meaning are in the table;
and those of dmin's own methods. What is not here is SciPy's to judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._errors import InputError

LARGEST = 2**31 - 1
"""In the place of an infinite count: what fits into a C integer."""


def _count(least: float) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not _is_number(value) or not value >= least:
            return None
        if math.isinf(value):
            return LARGEST if value > 0 else None
        return int(value) if value == int(value) else None

    return check


def _number(least: float, above: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not _is_number(value) or not value >= least or (above and value == least):
            return None
        return value

    return check


def _truth(value: Any) -> Any:
    return value if isinstance(value, bool | np.bool_ | int | np.integer) else None


def _numbers(value: Any) -> Any:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return array.astype(float) if array.dtype.kind in "fiu" else None  # TNC takes no lists


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


WHOLE = (_count(0), "a whole number, not negative")
NATURAL = (_count(1), "a whole number of at least 1")
TOLERANCE = (_number(0.0), "a number, not negative")
POSITIVE = (_number(0.0, above=True), "a positive number")
REAL = (_number(-math.inf), "a number")
INTEGER = (_count(-math.inf), "a whole number")
TRUTH = (_truth, "True or False")
NUMBERS = (_numbers, "an array of numbers")
MATRIX = (_numbers, "a matrix of numbers")
TEXT = (_text, "a text")

KINDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    **dict.fromkeys(("maxiter", "maxfev", "minfev", "verbose"), WHOLE),
    **dict.fromkeys(("maxCGit", "mesg_num", "iprint"), INTEGER),
    **dict.fromkeys(("maxcor", "maxls", "subproblem_maxiter"), NATURAL),
    **dict.fromkeys(("gtol", "ftol", "xtol", "xatol", "fatol", "catol", "xrtol", "barrier_tol"), TOLERANCE),
    **dict.fromkeys(("feasibility_tol", "tol", "c1", "c2"), TOLERANCE),
    **dict.fromkeys(("initial_trust_radius", "max_trust_radius", "rhobeg", "initial_tr_radius"), POSITIVE),
    **dict.fromkeys(("final_tr_radius", "initial_constr_penalty", "initial_barrier_parameter"), POSITIVE),
    **dict.fromkeys(("initial_barrier_tolerance", "norm"), POSITIVE),
    **dict.fromkeys(("eta", "stepmx", "accuracy", "rescale", "f_target"), REAL),
    **dict.fromkeys(("return_all", "adaptive", "sparse_jacobian", "inexact", "disp"), TRUTH),
    **dict.fromkeys(("initial_simplex", "direc", "hess_inv0"), MATRIX),
    **dict.fromkeys(("scale", "offset"), NUMBERS),
    "factorization_method": TEXT,
}

BY_METHOD: dict[str, dict[str, tuple[Callable[[Any], Any], str]]] = {
    # Minus one stands for TNC's own choice.
    "TNC": dict.fromkeys(("ftol", "xtol", "gtol"), REAL),
    # Sums of powers below the first are no norms.
    "device-bfgs": {"norm": (_number(1.0), "a number of at least 1")},
    "device-newton-cg": {"eta": TOLERANCE, "maxCGit": NATURAL},
    "COBYQA": {"scale": TRUTH},
}


def check_values(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The options, infinite counts made finite, whole floats made integers, and lists of numbers arrays.

    Raises
    ------
    InputError
        A value is none that the option may have.
    """
    checked = {}
    for name, value in options.items():
        kind = BY_METHOD.get(method, {}).get(name) or KINDS.get(name)
        checked[name] = value
        if kind is None or value is None:
            continue
        check, expected = kind
        # An array of one number, and the like.
        single = value.item() if isinstance(value, np.ndarray) and value.size == 1 and check is not _numbers else value
        checked[name] = check(single)
        if checked[name] is None:
            raise InputError(f"options[{name!r}] must be {expected}, not {value!r}.")
    return checked


def check_tol(tol: Any) -> None:
    """The argument ``tol``.

    Raises
    ------
    InputError
    """
    if not (tol is None or (_is_number(tol) and tol >= 0)):
        raise InputError(f"tol must be a number, not negative; not {tol!r}.")
