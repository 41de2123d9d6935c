"""What `minimize` returns, and what a callback sees on the way.

Both are SciPy's ``OptimizeResult`` with the vectors in the user's own nest, so that code written for SciPy reads
them. This module imports ``scipy.optimize`` and is itself imported by the first call of `minimize` only: importing
dmin must stay as cheap as importing NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from scipy.optimize import OptimizeResult

from ._curvature import Curvature, blocks
from ._display import as_html, as_text
from ._errors import CurvatureError

T = TypeVar("T")

# Of NumPy's records from the outset, which `recarray` would make of it at every call.
HISTORY = np.dtype((np.record, [("evaluation", np.int64), ("fun", float), ("grad_norm", float), ("seconds", float)]))


OURS = frozenset(
    (
        *("x", "fun", "jac", "grad", "njev", "nhev", "nfev"),
        *("method", "execution_time", "history", "time", "replayed"),
    )
)
"""What a method's own report may not say."""


class Result(OptimizeResult, Generic[T]):
    """The outcome of `minimize`: an ``OptimizeResult`` in the user's own nest.

    Attributes
    ----------
    x : nest
        The best finite feasible point evaluated, with x0's types, dtypes and devices.
    fun : float
        Value of the objective there.
    jac : nest
        Gradient there, as plain arrays, and None at frozen leaves; absent where the method computed none.
    success : bool
        Whether the method stopped because its test of convergence held.
    status : int
        The method's code for why it stopped. dmin's own are 1 at ``maxfun`` or ``maxtime``, 97 in the
        ``MethodError`` of a method that returned what is no outcome, 98 where the method took values that are not
        finite next to the best point for convergence, 99 where a callback raised ``StopIteration``, 130 after Ctrl-C.
    message : str
        The same in words.
    nit, nfev, njev, nhev : int
        Iterations (-1 where Ctrl-C ended a run that nothing watched, neither a callback nor a limit); evaluations of
        `fun`, of its gradient, and of its Hessian or products with it. An evaluation of value and gradient together
        counts once in each; those made for finite differences count too.
    nfail : int
        How many values, gradients, products or Hessians were not finite, or failed by an error of linear algebra (a
        matrix that is not positive definite). They count as +inf, and the method shortens its step.
    method, backend : str
    chosen : str
        Without ``method=``, where `minimize` took a method on the device: why.
    aux : object
        With ``has_aux=True``: what `fun` returned beside ``fun``, in the evaluation at ``x`` that gave it.
    history : numpy.recarray
        One record for each point that the method asked for: ``evaluation`` (nfev at that moment), ``fun``,
        ``grad_norm`` (Euclidean; nan where no gradient was computed), ``seconds`` since the start.
    active : dict
        With bounds or constraints. ``active['bounds']`` and ``active['constraints']`` map the path of each leaf, and
        of each part of what a constraint returns, in which a limit is active, to an int8 array of its shape: -1 at
        its lower limit, 1 at its upper one, 2 where both are the same, else 0.
    maxcv : float
        With constraints. The largest amount by which one of them, or a bound, is violated at ``x``.
    constr : list
        Values of each constraint at ``x``, nested as it returned them; for a linear one an array of its rows.
    multipliers : list
        The method's estimates λ, nested likewise, where it has any (trust-constr; SLSQP with SciPy 1.16 or later).
        At a solution the gradient of fun + λ · constraints, with those of the bounds, is zero: λ ≤ 0 at a lower
        limit, λ ≥ 0 at an upper one.
    bound_multipliers : nest
        The bounds' own, with the same signs (trust-constr).
    ncev, ncjev, nchev : int
        With constraints. Evaluations of the nonlinear ones (all of them at one point count once; those for
        differences count too), of their Jacobian, and products with their Hessians.
    replayed : int
        With a checkpoint: how many of ``nfev`` were read from it instead of computed.
    time : dict
        Seconds spent in ``'objective'`` (the user's functions and the framework), ``'copies'`` (between host and
        framework), ``'solver'`` (the rest), ``'compile'`` (by the framework: what the first call of each compiled
        function took longer than the second), and their sum ``'total'``. A framework that computes asynchronously is
        waited for in the copies.

    What a method adds stands beside them in flat form, in the order of the leaves (``hess_inv``,
    ``lagrangian_grad``, …).

    Examples
    --------
    >>> import numpy as np
    >>> from dmin_core import minimize
    >>> res = minimize(lambda x: np.sum((x["w"] - 3.0) ** 2), {"w": np.zeros(2)})
    >>> res.x["w"].round(3)
    array([3., 3.])
    >>> float(res.history.fun[0])
    18.0
    """

    x: T
    fun: float
    success: bool
    status: int
    message: str
    nit: int
    nfev: int
    njev: int
    nhev: int
    nfail: int
    method: str
    backend: str
    history: Any
    time: dict[str, float]

    _curvature: Curvature | None = None

    def keep(self, curvature: Curvature) -> Result[T]:
        """Remember what second derivatives are computed with: an attribute and no key, since it is no outcome."""
        object.__setattr__(self, "_curvature", curvature)
        return self

    def __reduce__(self) -> Any:
        # Without `fun`, which may not be picklable, nor be wanted on the other side.
        return type(self), (dict(self),)

    def __dir__(self) -> list[str]:
        return sorted({*self, *(name for name in vars(Result) if not name.startswith("_") and name != "keep")})

    def hessian(self, *, flat: bool = False) -> Any:
        """Hessian of `fun` at the answer, computed when it is first asked for.

        By the user's ``hess`` or ``hessp``, else by the framework, else by central differences of the gradient or of
        `fun`, which keep within the bounds. No counts or times of this result change.

        Parameters
        ----------
        flat : bool
            Whether to return one matrix.

        Returns
        -------
        nest of nests of arrays, or (n, n) numpy.ndarray
            The block at leaves i and j has shape ``shape_i + shape_j``; blocks are in the widest dtype among the
            leaves, and None where ``x0`` has what is no variable. Flat: float64, in the order of the leaves.

        Raises
        ------
        CurvatureError
            This is a copy, or was unpickled, and has no `fun` any more.

        Examples
        --------
        >>> import numpy as np
        >>> from dmin_core import minimize
        >>> res = minimize(
        ...     lambda p: np.sum(p["w"] ** 2) + p["b"] * p["w"][0] + p["b"] ** 2, {"w": np.ones(2), "b": 1.0}
        ... )
        >>> res.hessian()["w"]["w"].round(4)
        array([[2., 0.],
               [0., 2.]])
        >>> res.hessian(flat=True).round(4)
        array([[2., 1., 0.],
               [1., 2., 0.],
               [0., 0., 2.]])
        """
        curvature = self._kept("hessian")
        matrix = curvature.hessian()
        return matrix.copy() if flat else blocks(matrix, curvature.tree)

    def covariance(self, *, flat: bool = False, ignore_bounds: bool = False) -> Any:
        """Inverse Hessian at the answer: the Laplace approximation's covariance where `fun` is a negative log density.

        For a sum of squared residuals divide `fun` by twice the residuals' variance first. Variables that lie on one of
        their bounds count as fixed: zeros, and the covariance of the others is that with these held where they are.

        Parameters
        ----------
        flat : bool
            Whether to return one matrix.
        ignore_bounds : bool
            Whether to invert the whole Hessian, as if there were no bounds.

        Returns
        -------
        nest of nests of arrays, or (n, n) numpy.ndarray
            As `hessian`.

        Raises
        ------
        CurvatureError
            The Hessian is not positive definite to the precision that it is known to; the message says its smallest
            eigenvalue, and in which leaf its direction lies. Or as `hessian`.

        Examples
        --------
        >>> import numpy as np
        >>> from dmin_core import minimize
        >>> data = np.array([1.0, 2.0, 4.0, 5.0])
        >>> def negative_log_likelihood(p):
        ...     return np.sum((data - p["mean"]) ** 2) / 2
        >>> res = minimize(negative_log_likelihood, {"mean": 0.0})
        >>> float(res.covariance()["mean"]["mean"].round(4))
        0.25
        """
        curvature = self._kept("covariance")
        matrix = curvature.covariance(ignore_bounds)
        return matrix if flat else blocks(matrix, curvature.tree)

    def _kept(self, what: str) -> Curvature:
        if self._curvature is None:
            raise CurvatureError(
                f"This result is a copy or was unpickled, and has no `fun` any more: call {what}() on the one that "
                f"minimize returned, before it is copied."
            )
        return self._curvature

    def plot(self, *others: Result[Any], ax: Any = None, labels: Sequence[str] | None = None) -> Any:
        """Draw value and norm of the gradient, by evaluation and by seconds; needs matplotlib (the extra ``plot``).

        The value is that of the best point so far, the dots are the points evaluated. Where values span many powers of
        ten the scale is logarithmic: of the values, where they are positive, or of their height above the lowest in
        the picture, as the axis says.

        Parameters
        ----------
        *others : Result
            Drawn beside this one.
        ax : Axes or array of Axes, optional
            Where to draw: one for the value by evaluation alone, two for evaluations and seconds, or (2, 2) with the
            gradient in the second row. Default: a new figure.
        labels : sequence of str, optional
            One a result. Default: what tells them apart, method or backend.

        Returns
        -------
        matplotlib.figure.Figure

        Examples
        --------
        >>> import numpy as np
        >>> from dmin_core import minimize
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> runs = [minimize(lambda x: np.sum((x - 1) ** 4), np.zeros(3), method=m) for m in ("CG", "BFGS")]
        >>> figure = runs[0].plot(runs[1])
        >>> [axis.get_ylabel() for axis in figure.axes[::2]]
        ['value', 'norm of the gradient']
        >>> matplotlib.pyplot.close(figure)
        """
        from ._plot import plot

        return plot([self, *others], ax=ax, labels=labels)

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    __str__ = __repr__

    def summary(self) -> str:
        """Four lines for people: what ``options={'disp': True}`` prints."""
        took = self.time["total"]
        return (
            f"{self.message}\n"
            f"  Method: {self.method} ({self.backend})    {'converged' if self.success else 'not converged'}\n"
            f"  Value: {self.fun:.10g}\n"
            f"  Iterations: {self.nit}    Evaluations: {self.nfev} of the function, {self.njev} of the gradient, "
            f"{self.nhev} of the Hessian    Seconds: {took:.3g}"
        )


class Intermediate(OptimizeResult):
    """What ``callback(intermediate_result)`` gets: ``fun``, ``nit``, ``nfev``, …, and ``x``, built when touched."""

    def __init__(self, build: Callable[[], Any], **fields: Any) -> None:
        super().__init__(**fields)
        object.__setattr__(self, "_build", build)

    # A dict in all respects but one: x is not there before somebody looks.

    def __missing__(self, name: str) -> Any:
        if name != "x":
            raise KeyError(name)
        dict.__setitem__(self, "x", object.__getattribute__(self, "_build")())
        return dict.__getitem__(self, "x")

    def _built(self) -> dict[str, Any]:
        self["x"]
        return dict(zip(dict.keys(self), dict.values(self), strict=True))

    def __contains__(self, name: object) -> bool:
        return name == "x" or dict.__contains__(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._built())

    def __len__(self) -> int:
        return len(self._built())

    def keys(self) -> Any:
        return self._built().keys()

    def values(self) -> Any:
        return self._built().values()

    def items(self) -> Any:
        return self._built().items()

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - which would call itself

    def __reduce__(self) -> Any:
        return OptimizeResult, (self._built(),)

    def __repr__(self) -> str:
        return repr(OptimizeResult(self._built()))


def as_history(records: Sequence[tuple[int, float, float, float]]) -> Any:
    """`Result.history` from what the problem noted down."""
    return np.fromiter(records, HISTORY, len(records)).view(np.recarray)


def merge(raw: Mapping[str, Any], fields: Mapping[str, Any]) -> Result[Any]:
    """A method's own report, overlaid with what dmin knows better."""
    kept = {name: value for name, value in raw.items() if name not in OURS}
    return Result({**kept, **fields})
