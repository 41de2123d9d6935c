"""The user's callback, told apart as SciPy does, and called alike by every method.

SciPy calls back in three forms, depending on the method, and lets ``StopIteration`` stop some methods only. Here
the methods all call one function with whatever they have; it counts the iteration, and builds the nest only for a
callback that looks at it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ._problem import Problem, Stop

if TYPE_CHECKING:
    from ._result import Intermediate


def watch(callback: Callable[..., Any] | None, problem: Problem, method: str) -> Callable[[Any], Any]:
    """What a solver is given as its callback.

    Parameters
    ----------
    callback : callable or None
        ``callback(intermediate_result)``, by that name, or ``callback(x)``; for trust-constr also
        ``callback(x, state)``.
    problem : Problem
        Whose iterations are counted.
    method : str

    Returns
    -------
    callable
        Takes an ``OptimizeResult`` or an x.
    """
    call = None if callback is None else _adapt(callback, problem, method)

    # By this very name SciPy knows that it may pass an OptimizeResult, whose x it need not copy.
    def watched(intermediate_result: Any) -> Any:
        problem.nit += 1
        if call is None:
            return None
        problem.blas.release()
        try:
            return call(intermediate_result)
        except StopIteration:
            raise Stop("`callback` raised `StopIteration`.", status=99) from None
        finally:
            problem.blas.retake()

    watched.watches = call is not None  # type: ignore[attr-defined]  # what a device method need not wait for
    watched.__signature__ = _SIGNATURE  # type: ignore[attr-defined]  # found at once, where inspect would work it out
    return watched


_SIGNATURE = inspect.Signature([inspect.Parameter("intermediate_result", inspect.Parameter.POSITIONAL_OR_KEYWORD)])


def _adapt(callback: Callable[..., Any], problem: Problem, method: str) -> Callable[[Any], Any]:
    names = _parameters(callback)
    if names == ["intermediate_result"]:
        return lambda state: callback(intermediate_result=_intermediate(state, problem))
    if method == "trust-constr" and len(names) > 1:
        return lambda state: callback(problem.tree.restore(_x(state)), _intermediate(state, problem))
    return lambda state: callback(_nest(state, problem))


def _nest(state: Any, problem: Problem) -> Any:
    """The point as the user knows it; what a device method has of sharded leaves does not go through the host."""
    return state.nest() if hasattr(state, "nest") else problem.tree.restore(_x(state))


def _parameters(callback: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(callback).parameters)
    except (TypeError, ValueError):  # a built-in, such as list.append
        return ["x"]


def _x(state: Any) -> np.ndarray:
    return np.array(state.x if hasattr(state, "x") else state, dtype=float)


def _intermediate(state: Any, problem: Problem) -> Intermediate:
    from ._result import Intermediate  # imports SciPy, which is there by now

    if hasattr(state, "download"):  # a device method's
        fields = {"fun": state.fun, "nit": problem.nit, "nfev": problem.nfev, "njev": problem.njev}
        if problem.replayed is not None:
            fields["replaying"] = False  # what the file has is not gone through again
        return Intermediate(lambda: _nest(state, problem), **fields)
    x = _x(state)
    fields = {name: value for name, value in state.items() if _is_single(value)} if isinstance(state, dict) else {}
    fields["fun"] = float(state.fun) if "fun" in fields else _known_value(x, problem)
    fields.update(nit=problem.nit, nfev=problem.nfev, njev=problem.njev)
    if problem.aside is not None:
        fields["aux"] = problem.aux_at(x)
    if problem.replayed is not None:
        fields["replaying"] = problem.replaying
    return Intermediate(lambda: problem.tree.restore(x), **fields)


def _is_single(value: Any) -> bool:
    """Whether it is a number or the like. trust-constr's lists hold arrays of several lengths, which make no array."""
    return not isinstance(value, list | tuple) and np.ndim(value) == 0


def _known_value(x: np.ndarray, problem: Problem) -> float:
    """The value at ``x`` where the solver does not say: TNC, and COBYLA before SciPy 1.16.

    That of the last evaluation, or else of the best, from which these methods go on.
    """
    last, best = problem.last, problem.best
    if last is not None and last.sound and (last.x == x).all():
        return last.f
    return best.f if best is not None else float("nan")
