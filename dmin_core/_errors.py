"""Every error that dmin raises of its own accord.

One family, so that ``except DminError`` catches them all; each is also the built-in that a Python user
would expect (``ValueError``, ``ImportError``, ``NotImplementedError``), so that code which knows nothing of
dmin can still handle it. Errors raised inside the user's own functions are never wrapped: they pass through.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._result import Result


class DminError(Exception):
    """Root of the errors that dmin raises."""


class InputError(DminError, ValueError):
    """An argument of `minimize` is not what it can work with; the message says which and what to do."""


class MethodError(InputError):
    """The method is unknown, has no such option, cannot do what was asked of it, or returned what is no outcome.

    Attributes
    ----------
    result : Result or None
        Where the method returned what is no outcome: what had been found, as `minimize` would have returned it, with
        ``success`` False.
    """

    def __init__(self, message: str, result: Result[Any] | None = None) -> None:
        super().__init__(message)
        self.result = result


class CheckpointError(InputError):
    """The file given as ``checkpoint`` cannot be used, is another problem's, or parts from what this run computes."""


class ObjectiveError(DminError, ValueError):
    """`fun`, `jac`, `hess` or `hessp` returned something that cannot be optimised."""


class DerivativeError(DminError, ValueError):
    """``check_derivatives=True`` found a derivative that disagrees with differences.

    Attributes
    ----------
    path : str or None
        The leaf that is furthest off.
    """

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class CurvatureError(DminError, ValueError):
    """Second derivatives at the answer cannot be had, or have no inverse that is a covariance.

    Attributes
    ----------
    smallest : float or None
        The Hessian's smallest eigenvalue, where it is not positive definite.
    path : str or None
        The leaf in which that eigenvalue's direction mostly lies.
    """

    def __init__(self, message: str, smallest: float | None = None, path: str | None = None) -> None:
        super().__init__(message)
        self.smallest, self.path = smallest, path


class NotSupportedYet(DminError, NotImplementedError):
    """A part of the interface that this version names but does not do."""


class PluginError(DminError, ImportError):
    """Root of what can go wrong in finding and loading a backend or a method."""


class UnknownBackendError(PluginError):
    """No installed distribution provides that backend, and dmin has none of that name to suggest."""


class MissingBackendError(PluginError):
    """The backend exists but is not installed; the message holds the line for pip."""


class BrokenPluginError(PluginError):
    """A distribution provides the backend or method, but it could not be loaded; the cause is chained."""


class BackendUnavailableError(PluginError):
    """What an installed backend needs of the machine is not there; the message says what was found."""


class PluginClashError(PluginError):
    """Two distributions provide the same name."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, raised out of `minimize` with what had been found so far.

    Attributes
    ----------
    result : Result
        As `minimize` would have returned it, for the best point evaluated; ``success`` is False.
    """

    def __init__(self, result: Result[Any]) -> None:
        super().__init__(result.message)
        self.result = result


def outside() -> int:
    """How many frames up the first one is that belongs to neither dmin nor SciPy: where a warning should point."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None:
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        if module not in ("dmin_core", "scipy"):
            break
        frame, level = frame.f_back, level + 1
    return level
