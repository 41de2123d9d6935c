"""What to do about an exception that `fun` raised, where the framework's own words do not say it to dmin's users.

Such an exception passes through as it is; the hint is a line of its note. Frameworks are told by their words, since
the core imports none, and only by words that the mistake in question, and nothing else, leads to.
"""

from __future__ import annotations

import re
from typing import Any

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
        "and print by jax.debug.print.",
    ),
    (r"required positional argument|positional arguments? but", "{call}"),
)

NUMPY = "NumPy's functions were called in it with arrays of {backend}: use {backend}'s own."


def hint(error: Exception, backend: str, args: tuple[Any, ...]) -> str | None:
    """What to do about ``error``, raised by `fun`; None where that is for `error` to say.

    Parameters
    ----------
    error : Exception
    backend : str
        The run's.
    args : tuple
        What `fun` is given after x.
    """
    call = f"minimize calls fun(x, *args), with x nested as x0 is and {len(args)} further argument(s) from args=."
    for pattern, text in BY_MESSAGE:
        if re.search(pattern, str(error)):
            return text.format(call=call)
    if isinstance(error, TypeError) and len(args) == 1 and isinstance(args[0], list):
        return "args=[…] hands the list over as one argument: write args=(a, b) for fun(x, a, b)."
    if backend != "numpy" and _raised_in(error) == "numpy":
        return NUMPY.format(backend=backend)
    return None


def _raised_in(error: Exception) -> str:
    """The package whose Python code raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
