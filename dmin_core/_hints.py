"""What to do about an exception that `fun` raised, where the framework's own words do not say it to dmin's users.

Such an exception passes through as it is; the hint is a line of its note. Frameworks are told by their words, since
the core imports none, and only by words that the mistake in question, and nothing else, leads to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._problem import Problem

BY_MESSAGE = (
    (
        r"Can't call numpy\(\) on Tensor that requires grad",
        "NumPy cannot be differentiated: write `fun` with torch's functions (torch.exp, not np.exp), and without "
        ".numpy(); or return (value, gradient) and pass jac=True.",
    ),
    (
        r"is being modified inplace|modified by an inplace operation|used in an in-place operation",
        "`fun` changes its x in place. Make a new tensor (x = x - 1, torch.where, torch.cat), or begin with "
        "x = x.clone().",
    ),
    (
        r"backward through the graph a second time",
        "`fun` calls backward(), or uses what was computed before it was called. minimize differentiates what `fun` "
        "returns: leave out backward(), and compute in `fun` all that depends on x.",
    ),
    (r"Tracer'? (object )?has no attribute", "`fun` is traced by JAX here: use jax.numpy's functions in it."),
    (
        r"Abstract tracer value|called on traced array",
        "What JAX differentiates has no value that Python could read: leave float(), .item() and NumPy out of `fun`, "
        "and print by jax.debug.print. minimize itself cannot run inside jax.jit, jax.grad or jax.vmap.",
    ),
    (
        r"compiler_options. can only be passed to top-level",
        "minimize itself cannot run inside jax.jit, jax.grad or jax.vmap: call it outside.",
    ),
    (
        r"must be Tensor, not (numpy\.)?(ndarray|float)",
        "x has the arrays of x0, which are NumPy's: for torch's functions make x0 of torch's (torch.tensor).",
    ),
    (r"required positional argument|positional arguments? but", "minimize calls {call}."),
)

INDEXED = r"0-dim|scalar variable|slice scalar input"
"""What frameworks say of an index into an array without dimensions."""

NUMPY = "NumPy's functions were called in it with arrays of {backend}: use {backend}'s own."


CALLS = {
    "fun": "fun(x, *args)",
    "jac": "jac(x, *args)",
    "hess": "hess(x, *args)",
    "hessp": "hessp(x, p, *args)",
    "callback": "callback(intermediate_result), if its parameter has that name, or else callback(x)",
}

DERIVATIVE = "`jac` or `hess` of a constraint"


def culprit(error: Exception, problem: Problem) -> tuple[str, str]:
    """Which of the user's functions raised ``error``, and how it is called.

    Parameters
    ----------
    error : Exception
        Raised in a run of ``problem``.
    problem : Problem

    Returns
    -------
    str
        ``fun`` where nothing else is known.
    str
        Its call, as a user would write it down.
    """
    name = _name_of_culprit(error, problem)
    if name == DERIVATIVE:
        return name, "jac(x, *args) and hess(x, v, *args), the args being those of the constraint's dict"
    if name not in CALLS:
        return name, "it with x alone, nested as x0 is; what else it takes goes into 'args' of the constraint's dict"
    call = CALLS[name]
    named = name if name == "fun" else f"`{name}`"
    if "*args" not in call:
        return named, call
    return named, f"{call}, with x nested as x0 is and {len(problem.args)} further argument(s) from args="


def _name_of_culprit(error: Exception, problem: Problem) -> str:
    """Told by the functions of dmin's that the exception came through, for these know whom they call."""
    from ._combined import Combined
    from ._objective import Given

    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_globals.get("__name__") == f"{__package__}._callbacks":
            return "callback"
        if frame.f_code is Combined.__call__.__code__:
            return str(frame.f_locals["self"].wheres[frame.f_locals["i"]])
        if frame.f_code is Given.__call__.__code__:
            return _name_of(frame.f_locals["self"].function, problem)
        trace = trace.tb_next
    return "fun"


def _name_of(function: Any, problem: Problem) -> str:
    for name in ("jac", "hess", "hessp"):
        if function is getattr(problem, name):
            return name
    return "fun" if problem.jac is True and function is problem.objective.fun else DERIVATIVE


def hint(error: Exception, problem: Problem, call: str) -> str | None:
    """What to do about ``error``, raised by one of the user's functions; None where that is for `error` to say.

    Parameters
    ----------
    error : Exception
    problem : Problem
        The run's.
    call : str
        How the function is called, by `culprit`.
    """
    backend, args = problem.tree.backend.name, problem.args
    for pattern, text in BY_MESSAGE:
        if re.search(pattern, str(error)):
            return text.format(call=call)
    if isinstance(error, TypeError) and len(args) == 1 and isinstance(args[0], list):
        return "args=[…] hands the list over as one argument: write args=(a, b) for fun(x, a, b)."
    if problem.tree.spec.is_leaf() and problem.tree.shapes == ((),) and re.search(INDEXED, str(error)):
        return "x is a 0-d array, as x0 is a number: leave out the index, or make x0 an array of one number."
    if isinstance(error, TypeError | AttributeError) and (about_x := _about_container(str(error), problem)):
        return about_x
    if backend != "numpy" and _raised_in(error) == "numpy":
        return NUMPY.format(backend=backend)
    return None


def _about_container(message: str, problem: Problem) -> str | None:
    """What x is, where the message is about a container such as x0: SciPy makes a vector of a list, dmin does not."""
    kind = getattr(problem.tree.spec.type, "__name__", "")
    if kind not in ("list", "tuple", "dict", "OrderedDict") or not re.search(rf"\b{kind}\b", message):
        return None
    first = "x" + problem.tree.variable_path(0).removeprefix("x0")
    vector = "" if "dict" in kind.lower() else " If one vector was meant, make x0 an array: np.array(x0), or its like."
    return f"x is a {kind}, as x0 is: compute with its leaves, such as {first}.{vector}"


def _raised_in(error: Exception) -> str:
    """The package whose Python code raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
