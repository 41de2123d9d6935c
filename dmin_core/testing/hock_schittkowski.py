"""Problems of the Hock-Schittkowski collection, over nests, written once for every framework.

W. Hock and K. Schittkowski (1981), "Test Examples for Nonlinear Programming Codes", Lecture Notes in Economics and
Mathematical Systems 187: the numbers, starts, bounds, constraints and values below are theirs, and no code is. What is
dmin's is the form: the variables of each problem lie in a nest of 0-d, 1-d and 2-d leaves, its constraints come as
`NonlinearConstraint` over arrays and nests, as `LinearConstraint` over nests, and as SciPy's dicts.

Left out are problems whose objective is constant (8), whose solution has no multipliers (13), whose start is a
stationary point for gradient methods (33, 55), and those where local methods from the given start end, by design, at
another minimum than the published one (2, and 25).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optree

Nest = Any

__all__ = ["PROBLEMS", "HockSchittkowski"]


@dataclass(frozen=True)
class HockSchittkowski:
    """One problem of the collection.

    Attributes
    ----------
    number : int
        In the collection.
    start : tuple of float
        Given in the collection; `pose` moves it onto the bounds where it lies outside.
    objective : callable
        ``objective(xp, *variables)``, a scalar.
    value : float
        The published value at the solution.
    lower, upper : tuple
        Bounds of each variable, None where there is none; or one for all.
    equal, least : tuple of callables
        Constraints ``c(xp, *variables) = 0`` and ``>= 0``.
    linear_equal, linear_least : sequence of (coefficients, constant)
        ``coefficients · x + constant`` ``= 0`` and ``>= 0``.

    Examples
    --------
    >>> import numpy as np
    >>> from dmin_core import minimize
    >>> from dmin_core.testing.hock_schittkowski import PROBLEMS
    >>> posed = PROBLEMS[71].pose(np, np.asarray)
    >>> res = minimize(posed.fun, posed.x0, bounds=posed.bounds, constraints=posed.constraints)
    >>> abs(res.fun - PROBLEMS[71].value) < 1e-5
    True
    """

    number: int
    start: tuple[float, ...]
    objective: Callable[..., Any]
    value: float
    lower: Any = None
    upper: Any = None
    equal: Sequence[Callable[..., Any]] = ()
    least: Sequence[Callable[..., Any]] = ()
    linear_equal: Sequence[tuple[Sequence[float], float]] = ()
    linear_least: Sequence[tuple[Sequence[float], float]] = ()

    @property
    def n(self) -> int:
        """Number of variables."""
        return len(self.start)

    def pose(self, xp: Any, array: Callable[[np.ndarray], Any]) -> Posed:
        """The problem in one framework.

        Parameters
        ----------
        xp : namespace
            With ``exp``, ``log``, ``sin``, ``cos`` and ``sqrt``.
        array : callable
            Makes the framework's array, of the dtype that is wanted, from a NumPy one.
        """

        def over(function: Callable[..., Any]) -> Callable[[Nest], Any]:
            return lambda x: function(xp, *variables(x))

        lb, ub = self._sides()
        x0 = nest(np.clip(np.array(self.start, dtype=float), lb, ub))
        bounds = None
        if np.isfinite(lb).any() or np.isfinite(ub).any():
            bounds = (nest(lb), nest(ub))
        return Posed(over(self.objective), optree.tree_map(array, x0), bounds, self._constraints(over))

    def _sides(self) -> tuple[np.ndarray, np.ndarray]:
        def side(given: Any, infinity: float) -> np.ndarray:
            each = given if isinstance(given, tuple) else (given,) * self.n
            return np.array([infinity if limit is None else limit for limit in each], dtype=float)

        return side(self.lower, -np.inf), side(self.upper, np.inf)

    def _constraints(self, over: Callable[..., Any]) -> list[Any]:
        from scipy.optimize import NonlinearConstraint

        from .. import LinearConstraint

        found: list[Any] = []
        if len(self.equal) == 1:
            found.append({"type": "eq", "fun": over(self.equal[0])})
        elif self.equal:
            functions = [over(function) for function in self.equal]
            found.append(NonlinearConstraint(lambda x: [function(x) for function in functions], 0.0, 0.0))
        if len(self.least) == 1:
            found.append({"type": "ineq", "fun": over(self.least[0])})
        elif self.least:
            named = {f"c{i + 1}": over(function) for i, function in enumerate(self.least)}
            lower = dict.fromkeys(named, 0.0)
            found.append(NonlinearConstraint(lambda x: {name: c(x) for name, c in named.items()}, lower, np.inf))
        for rows, upper in ((self.linear_equal, True), (self.linear_least, False)):
            if rows:
                limits = -np.array([constant for _, constant in rows], dtype=float)
                matrix = _rows_over_nest([row for row, _ in rows])
                found.append(LinearConstraint(matrix, limits, limits if upper else None))
        return found


@dataclass(frozen=True)
class Posed:
    """A problem in one framework: arguments of `minimize`."""

    fun: Callable[[Nest], Any]
    x0: Nest
    bounds: Any
    constraints: list[Any] = field(default_factory=list)


# The nest ------------------------------------------------------------------------------------------------


def nest(u: np.ndarray) -> Nest:
    """The variables in order, (n,), as ``{"head": (), "rest": [(2, 1) or (1,), {"tail": (k,)}]}``."""
    rest: list[Any] = [u[1:3].reshape(-1, 1) if len(u) > 2 else u[1:2]]
    if len(u) > 3:
        rest.append({"tail": u[3:]})
    return {"head": u[0].reshape(()), "rest": rest}


def variables(x: Nest) -> list[Any]:
    """The variables of a nest as scalars, in order."""
    first = x["rest"][0]
    found = [x["head"], *([first[0, 0], first[1, 0]] if len(first.shape) == 2 else [first[0]])]
    if len(x["rest"]) > 1:
        tail = x["rest"][1]["tail"]
        found += [tail[i] for i in range(tail.shape[0])]
    return found


def _rows_over_nest(rows: Sequence[Sequence[float]]) -> Nest:
    """Rows of coefficients (m, n) as a nest of (m, *leaf.shape)."""
    matrix = np.array(rows, dtype=float)
    m, n = matrix.shape
    rest: list[Any] = [matrix[:, 1:3].reshape(m, 2, 1) if n > 2 else matrix[:, 1:2]]
    if n > 3:
        rest.append({"tail": matrix[:, 3:]})
    return {"head": matrix[:, 0], "rest": rest}


# The problems --------------------------------------------------------------------------------------------


def _rosenbrock(xp: Any, x1: Any, x2: Any) -> Any:
    return 100.0 * (x2 - x1**2) ** 2 + (1.0 - x1) ** 2


def _product_of_three(xp: Any, x1: Any, x2: Any, x3: Any) -> Any:
    return -x1 * x2 * x3


_78: tuple[Callable[..., Any], ...] = (
    lambda xp, x1, x2, x3, x4, x5: x1**2 + x2**2 + x3**2 + x4**2 + x5**2 - 10.0,
    lambda xp, x1, x2, x3, x4, x5: x2 * x3 - 5.0 * x4 * x5,
    lambda xp, x1, x2, x3, x4, x5: x1**3 + x2**3 + 1.0,
)
_78_BOUNDS: dict[str, Any] = {"lower": (-2.3, -2.3, -3.2, -3.2, -3.2), "upper": (2.3, 2.3, 3.2, 3.2, 3.2)}


def _objective_93(xp: Any, x1: Any, x2: Any, x3: Any, x4: Any, x5: Any, x6: Any) -> Any:
    one, two = x1 + x2 + x3, x1 + 1.57 * x2 + x4
    return (
        0.0204 * x1 * x4 * one
        + 0.0187 * x2 * x3 * two
        + 0.0607 * x1 * x4 * x5**2 * one
        + 0.0437 * x2 * x3 * x6**2 * two
    )


def _loss_93(xp: Any, x1: Any, x2: Any, x3: Any, x4: Any, x5: Any, x6: Any) -> Any:
    one, two = x1 + x2 + x3, x1 + 1.57 * x2 + x4
    return 1.0 - 0.00062 * x1 * x4 * x5**2 * one - 0.00058 * x2 * x3 * x6**2 * two


def _objective_100(xp: Any, x1: Any, x2: Any, x3: Any, x4: Any, x5: Any, x6: Any, x7: Any) -> Any:
    squares = (x1 - 10.0) ** 2 + 5.0 * (x2 - 12.0) ** 2 + 3.0 * (x4 - 11.0) ** 2 + 7.0 * x6**2
    return squares + x3**4 + 10.0 * x5**6 + x7**4 - 4.0 * x6 * x7 - 10.0 * x6 - 8.0 * x7


def _objective_113(
    xp: Any, x1: Any, x2: Any, x3: Any, x4: Any, x5: Any, x6: Any, x7: Any, x8: Any, x9: Any, x10: Any
) -> Any:
    quadratic = x1**2 + x2**2 + x1 * x2 - 14.0 * x1 - 16.0 * x2
    apart = (x3 - 10.0) ** 2 + 4.0 * (x4 - 5.0) ** 2 + (x5 - 3.0) ** 2 + 2.0 * (x6 - 1.0) ** 2 + 5.0 * x7**2
    return quadratic + apart + 7.0 * (x8 - 11.0) ** 2 + 2.0 * (x9 - 10.0) ** 2 + (x10 - 7.0) ** 2 + 45.0


_ALL = [
    HockSchittkowski(1, (-2.0, 1.0), _rosenbrock, 0.0, lower=(None, -1.5)),
    HockSchittkowski(3, (10.0, 1.0), lambda xp, x1, x2: x2 + 1e-5 * (x2 - x1) ** 2, 0.0, lower=(None, 0.0)),
    HockSchittkowski(4, (1.125, 0.125), lambda xp, x1, x2: (x1 + 1.0) ** 3 / 3.0 + x2, 8.0 / 3.0, lower=(1.0, 0.0)),
    HockSchittkowski(
        5,
        (0.0, 0.0),
        lambda xp, x1, x2: xp.sin(x1 + x2) + (x1 - x2) ** 2 - 1.5 * x1 + 2.5 * x2 + 1.0,
        -(3.0**0.5) / 2.0 - np.pi / 3.0,
        lower=(-1.5, -3.0),
        upper=(4.0, 3.0),
    ),
    HockSchittkowski(
        6,
        (-1.2, 1.0),
        lambda xp, x1, x2: (1.0 - x1) ** 2,
        0.0,
        equal=(lambda xp, x1, x2: 10.0 * (x2 - x1**2),),
    ),
    HockSchittkowski(
        7,
        (2.0, 2.0),
        lambda xp, x1, x2: xp.log(1.0 + x1**2) - x2,
        -(3.0**0.5),
        equal=(lambda xp, x1, x2: (1.0 + x1**2) ** 2 + x2**2 - 4.0,),
    ),
    HockSchittkowski(
        9,
        (0.0, 0.0),
        lambda xp, x1, x2: xp.sin(np.pi * x1 / 12.0) * xp.cos(np.pi * x2 / 16.0),
        -0.5,
        linear_equal=[((4.0, -3.0), 0.0)],
    ),
    HockSchittkowski(
        10,
        (-10.0, 10.0),
        lambda xp, x1, x2: x1 - x2,
        -1.0,
        least=(lambda xp, x1, x2: -3.0 * x1**2 + 2.0 * x1 * x2 - x2**2 + 1.0,),
    ),
    HockSchittkowski(
        11,
        (4.9, 0.1),
        lambda xp, x1, x2: (x1 - 5.0) ** 2 + x2**2 - 25.0,
        -8.498464223,
        least=(lambda xp, x1, x2: -(x1**2) + x2,),
    ),
    HockSchittkowski(
        12,
        (0.0, 0.0),
        lambda xp, x1, x2: 0.5 * x1**2 + x2**2 - x1 * x2 - 7.0 * x1 - 7.0 * x2,
        -30.0,
        least=(lambda xp, x1, x2: 25.0 - 4.0 * x1**2 - x2**2,),
    ),
    HockSchittkowski(
        14,
        (2.0, 2.0),
        lambda xp, x1, x2: (x1 - 2.0) ** 2 + (x2 - 1.0) ** 2,
        9.0 - 2.875 * 7.0**0.5,
        least=(lambda xp, x1, x2: -0.25 * x1**2 - x2**2 + 1.0,),
        linear_equal=[((1.0, -2.0), 1.0)],
    ),
    HockSchittkowski(
        15,
        (-2.0, 1.0),
        _rosenbrock,
        306.5,
        upper=(0.5, None),
        least=(lambda xp, x1, x2: x1 * x2 - 1.0, lambda xp, x1, x2: x1 + x2**2),
    ),
    HockSchittkowski(
        16,
        (-2.0, 1.0),
        _rosenbrock,
        0.25,
        lower=(-2.0, None),
        upper=(0.5, 1.0),
        least=(lambda xp, x1, x2: x1 + x2**2, lambda xp, x1, x2: x1**2 + x2),
    ),
    HockSchittkowski(
        17,
        (-2.0, 1.0),
        _rosenbrock,
        1.0,
        lower=(-2.0, None),
        upper=(0.5, 1.0),
        least=(lambda xp, x1, x2: x2**2 - x1, lambda xp, x1, x2: x1**2 - x2),
    ),
    HockSchittkowski(
        18,
        (2.0, 2.0),
        lambda xp, x1, x2: 0.01 * x1**2 + x2**2,
        5.0,
        lower=(2.0, 0.0),
        upper=50.0,
        least=(lambda xp, x1, x2: x1 * x2 - 25.0, lambda xp, x1, x2: x1**2 + x2**2 - 25.0),
    ),
    HockSchittkowski(
        19,
        (20.1, 5.84),
        lambda xp, x1, x2: (x1 - 10.0) ** 3 + (x2 - 20.0) ** 3,
        -6961.81381,
        lower=(13.0, 0.0),
        upper=100.0,
        least=(
            lambda xp, x1, x2: (x1 - 5.0) ** 2 + (x2 - 5.0) ** 2 - 100.0,
            lambda xp, x1, x2: -((x2 - 5.0) ** 2) - (x1 - 6.0) ** 2 + 82.81,
        ),
    ),
    HockSchittkowski(
        20,
        (-2.0, 1.0),
        _rosenbrock,
        81.5 - 25.0 * 3.0**0.5,
        lower=(-0.5, None),
        upper=(0.5, None),
        least=(
            lambda xp, x1, x2: x1 + x2**2,
            lambda xp, x1, x2: x1**2 + x2,
            lambda xp, x1, x2: x1**2 + x2**2 - 1.0,
        ),
    ),
    HockSchittkowski(
        21,
        (-1.0, -1.0),
        lambda xp, x1, x2: 0.01 * x1**2 + x2**2 - 100.0,
        -99.96,
        lower=(2.0, -50.0),
        upper=50.0,
        linear_least=[((10.0, -1.0), -10.0)],
    ),
    HockSchittkowski(
        22,
        (2.0, 2.0),
        lambda xp, x1, x2: (x1 - 2.0) ** 2 + (x2 - 1.0) ** 2,
        1.0,
        least=(lambda xp, x1, x2: -(x1**2) + x2,),
        linear_least=[((-1.0, -1.0), 2.0)],
    ),
    HockSchittkowski(
        23,
        (3.0, 1.0),
        lambda xp, x1, x2: x1**2 + x2**2,
        2.0,
        lower=-50.0,
        upper=50.0,
        least=(
            lambda xp, x1, x2: x1**2 + x2**2 - 1.0,
            lambda xp, x1, x2: 9.0 * x1**2 + x2**2 - 9.0,
            lambda xp, x1, x2: x1**2 - x2,
            lambda xp, x1, x2: x2**2 - x1,
        ),
        linear_least=[((1.0, 1.0), -1.0)],
    ),
    HockSchittkowski(
        24,
        (1.0, 0.5),
        lambda xp, x1, x2: ((x1 - 3.0) ** 2 - 9.0) * x2**3 / (27.0 * 3.0**0.5),
        -1.0,
        lower=0.0,
        linear_least=[((3.0**-0.5, -1.0), 0.0), ((1.0, 3.0**0.5), 0.0), ((-1.0, -(3.0**0.5)), 6.0)],
    ),
    HockSchittkowski(
        26,
        (-2.6, 2.0, 2.0),
        lambda xp, x1, x2, x3: (x1 - x2) ** 2 + (x2 - x3) ** 4,
        0.0,
        equal=(lambda xp, x1, x2, x3: (1.0 + x2**2) * x1 + x3**4 - 3.0,),
    ),
    HockSchittkowski(
        27,
        (2.0, 2.0, 2.0),
        lambda xp, x1, x2, x3: 0.01 * (x1 - 1.0) ** 2 + (x2 - x1**2) ** 2,
        0.04,
        equal=(lambda xp, x1, x2, x3: x1 + x3**2 + 1.0,),
    ),
    HockSchittkowski(
        28,
        (-4.0, 1.0, 1.0),
        lambda xp, x1, x2, x3: (x1 + x2) ** 2 + (x2 + x3) ** 2,
        0.0,
        linear_equal=[((1.0, 2.0, 3.0), -1.0)],
    ),
    HockSchittkowski(
        29,
        (1.0, 1.0, 1.0),
        _product_of_three,
        -16.0 * 2.0**0.5,
        least=(lambda xp, x1, x2, x3: -(x1**2) - 2.0 * x2**2 - 4.0 * x3**2 + 48.0,),
    ),
    HockSchittkowski(
        30,
        (1.0, 1.0, 1.0),
        lambda xp, x1, x2, x3: x1**2 + x2**2 + x3**2,
        1.0,
        lower=(1.0, -10.0, -10.0),
        upper=10.0,
        least=(lambda xp, x1, x2, x3: x1**2 + x2**2 - 1.0,),
    ),
    HockSchittkowski(
        31,
        (1.0, 1.0, 1.0),
        lambda xp, x1, x2, x3: 9.0 * x1**2 + x2**2 + 9.0 * x3**2,
        6.0,
        lower=(-10.0, 1.0, -10.0),
        upper=(10.0, 10.0, 1.0),
        least=(lambda xp, x1, x2, x3: x1 * x2 - 1.0,),
    ),
    HockSchittkowski(
        32,
        (0.1, 0.7, 0.2),
        lambda xp, x1, x2, x3: (x1 + 3.0 * x2 + x3) ** 2 + 4.0 * (x1 - x2) ** 2,
        1.0,
        lower=0.0,
        least=(lambda xp, x1, x2, x3: 6.0 * x2 + 4.0 * x3 - x1**3 - 3.0,),
        linear_equal=[((-1.0, -1.0, -1.0), 1.0)],
    ),
    HockSchittkowski(
        34,
        (0.0, 1.05, 2.9),
        lambda xp, x1, x2, x3: -x1,
        -float(np.log(np.log(10.0))),
        lower=0.0,
        upper=(100.0, 100.0, 10.0),
        least=(lambda xp, x1, x2, x3: x2 - xp.exp(x1), lambda xp, x1, x2, x3: x3 - xp.exp(x2)),
    ),
    HockSchittkowski(
        35,
        (0.5, 0.5, 0.5),
        lambda xp, x1, x2, x3: (
            (9.0 - 8.0 * x1 - 6.0 * x2 - 4.0 * x3) + (2.0 * x1**2 + 2.0 * x2**2 + x3**2 + 2.0 * x1 * x2 + 2.0 * x1 * x3)
        ),
        1.0 / 9.0,
        lower=0.0,
        linear_least=[((-1.0, -1.0, -2.0), 3.0)],
    ),
    HockSchittkowski(
        36,
        (10.0, 10.0, 10.0),
        _product_of_three,
        -3300.0,
        lower=0.0,
        upper=(20.0, 11.0, 42.0),
        linear_least=[((-1.0, -2.0, -2.0), 72.0)],
    ),
    HockSchittkowski(
        37,
        (10.0, 10.0, 10.0),
        _product_of_three,
        -3456.0,
        lower=0.0,
        upper=42.0,
        linear_least=[((-1.0, -2.0, -2.0), 72.0), ((1.0, 2.0, 2.0), 0.0)],
    ),
    HockSchittkowski(
        38,
        (-3.0, -1.0, -3.0, -1.0),
        lambda xp, x1, x2, x3, x4: (
            (100.0 * (x2 - x1**2) ** 2 + (1.0 - x1) ** 2 + 90.0 * (x4 - x3**2) ** 2 + (1.0 - x3) ** 2)
            + (10.1 * ((x2 - 1.0) ** 2 + (x4 - 1.0) ** 2) + 19.8 * (x2 - 1.0) * (x4 - 1.0))
        ),
        0.0,
        lower=-10.0,
        upper=10.0,
    ),
    HockSchittkowski(
        39,
        (2.0, 2.0, 2.0, 2.0),
        lambda xp, x1, x2, x3, x4: -x1,
        -1.0,
        equal=(
            lambda xp, x1, x2, x3, x4: x2 - x1**3 - x3**2,
            lambda xp, x1, x2, x3, x4: x1**2 - x2 - x4**2,
        ),
    ),
    HockSchittkowski(
        40,
        (0.8, 0.8, 0.8, 0.8),
        lambda xp, x1, x2, x3, x4: -x1 * x2 * x3 * x4,
        -0.25,
        equal=(
            lambda xp, x1, x2, x3, x4: x1**3 + x2**2 - 1.0,
            lambda xp, x1, x2, x3, x4: x1**2 * x4 - x3,
            lambda xp, x1, x2, x3, x4: x4**2 - x2,
        ),
    ),
    HockSchittkowski(
        41,
        (2.0, 2.0, 2.0, 2.0),
        lambda xp, x1, x2, x3, x4: 2.0 - x1 * x2 * x3,
        52.0 / 27.0,
        lower=0.0,
        upper=(1.0, 1.0, 1.0, 2.0),
        linear_equal=[((1.0, 2.0, 2.0, -1.0), 0.0)],
    ),
    HockSchittkowski(
        42,
        (1.0, 1.0, 1.0, 1.0),
        lambda xp, x1, x2, x3, x4: (x1 - 1.0) ** 2 + (x2 - 2.0) ** 2 + (x3 - 3.0) ** 2 + (x4 - 4.0) ** 2,
        28.0 - 10.0 * 2.0**0.5,
        equal=(lambda xp, x1, x2, x3, x4: x3**2 + x4**2 - 2.0,),
        linear_equal=[((1.0, 0.0, 0.0, 0.0), -2.0)],
    ),
    HockSchittkowski(
        43,
        (0.0, 0.0, 0.0, 0.0),
        lambda xp, x1, x2, x3, x4: x1**2 + x2**2 + 2.0 * x3**2 + x4**2 - 5.0 * x1 - 5.0 * x2 - 21.0 * x3 + 7.0 * x4,
        -44.0,
        least=(
            lambda xp, x1, x2, x3, x4: 8.0 - x1**2 - x2**2 - x3**2 - x4**2 - x1 + x2 - x3 + x4,
            lambda xp, x1, x2, x3, x4: 10.0 - x1**2 - 2.0 * x2**2 - x3**2 - 2.0 * x4**2 + x1 + x4,
            lambda xp, x1, x2, x3, x4: 5.0 - 2.0 * x1**2 - x2**2 - x3**2 - 2.0 * x1 + x2 + x4,
        ),
    ),
    HockSchittkowski(
        44,
        (0.0, 0.0, 0.0, 0.0),
        lambda xp, x1, x2, x3, x4: x1 - x2 - x3 - x1 * x3 + x1 * x4 + x2 * x3 - x2 * x4,
        -15.0,
        lower=0.0,
        linear_least=[
            ((-1.0, -2.0, 0.0, 0.0), 8.0),
            ((-4.0, -1.0, 0.0, 0.0), 12.0),
            ((-3.0, -4.0, 0.0, 0.0), 12.0),
            ((0.0, 0.0, -2.0, -1.0), 8.0),
            ((0.0, 0.0, -1.0, -2.0), 8.0),
            ((0.0, 0.0, -1.0, -1.0), 5.0),
        ],
    ),
    HockSchittkowski(
        45,
        (2.0, 2.0, 2.0, 2.0, 2.0),
        lambda xp, x1, x2, x3, x4, x5: 2.0 - x1 * x2 * x3 * x4 * x5 / 120.0,
        1.0,
        lower=0.0,
        upper=(1.0, 2.0, 3.0, 4.0, 5.0),
    ),
    HockSchittkowski(
        46,
        (0.5 * 2.0**0.5, 1.75, 0.5, 2.0, 2.0),
        lambda xp, x1, x2, x3, x4, x5: (x1 - x2) ** 2 + (x3 - 1.0) ** 2 + (x4 - 1.0) ** 4 + (x5 - 1.0) ** 6,
        0.0,
        equal=(
            lambda xp, x1, x2, x3, x4, x5: x1**2 * x4 + xp.sin(x4 - x5) - 1.0,
            lambda xp, x1, x2, x3, x4, x5: x2 + x3**4 * x4**2 - 2.0,
        ),
    ),
    HockSchittkowski(
        48,
        (3.0, 5.0, -3.0, 2.0, -2.0),
        lambda xp, x1, x2, x3, x4, x5: (x1 - 1.0) ** 2 + (x2 - x3) ** 2 + (x4 - x5) ** 2,
        0.0,
        linear_equal=[((1.0, 1.0, 1.0, 1.0, 1.0), -5.0), ((0.0, 0.0, 1.0, -2.0, -2.0), 3.0)],
    ),
    HockSchittkowski(
        49,
        (10.0, 7.0, 2.0, -3.0, 0.8),
        lambda xp, x1, x2, x3, x4, x5: (x1 - x2) ** 2 + (x3 - 1.0) ** 2 + (x4 - 1.0) ** 4 + (x5 - 1.0) ** 6,
        0.0,
        linear_equal=[((1.0, 1.0, 1.0, 4.0, 0.0), -7.0), ((0.0, 0.0, 1.0, 0.0, 5.0), -6.0)],
    ),
    HockSchittkowski(
        50,
        (35.0, -31.0, 11.0, 5.0, -5.0),
        lambda xp, x1, x2, x3, x4, x5: (x1 - x2) ** 2 + (x2 - x3) ** 2 + (x3 - x4) ** 4 + (x4 - x5) ** 2,
        0.0,
        linear_equal=[
            ((1.0, 2.0, 3.0, 0.0, 0.0), -6.0),
            ((0.0, 1.0, 2.0, 3.0, 0.0), -6.0),
            ((0.0, 0.0, 1.0, 2.0, 3.0), -6.0),
        ],
    ),
    HockSchittkowski(
        51,
        (2.5, 0.5, 2.0, -1.0, 0.5),
        lambda xp, x1, x2, x3, x4, x5: (x1 - x2) ** 2 + (x2 + x3 - 2.0) ** 2 + (x4 - 1.0) ** 2 + (x5 - 1.0) ** 2,
        0.0,
        linear_equal=[
            ((1.0, 3.0, 0.0, 0.0, 0.0), -4.0),
            ((0.0, 0.0, 1.0, 1.0, -2.0), 0.0),
            ((0.0, 1.0, 0.0, 0.0, -1.0), 0.0),
        ],
    ),
    HockSchittkowski(
        52,
        (2.0, 2.0, 2.0, 2.0, 2.0),
        lambda xp, x1, x2, x3, x4, x5: (4.0 * x1 - x2) ** 2 + (x2 + x3 - 2.0) ** 2 + (x4 - 1.0) ** 2 + (x5 - 1.0) ** 2,
        1859.0 / 349.0,
        linear_equal=[
            ((1.0, 3.0, 0.0, 0.0, 0.0), 0.0),
            ((0.0, 0.0, 1.0, 1.0, -2.0), 0.0),
            ((0.0, 1.0, 0.0, 0.0, -1.0), 0.0),
        ],
    ),
    HockSchittkowski(
        53,
        (2.0, 2.0, 2.0, 2.0, 2.0),
        lambda xp, x1, x2, x3, x4, x5: (x1 - x2) ** 2 + (x2 + x3 - 2.0) ** 2 + (x4 - 1.0) ** 2 + (x5 - 1.0) ** 2,
        176.0 / 43.0,
        lower=-10.0,
        upper=10.0,
        linear_equal=[
            ((1.0, 3.0, 0.0, 0.0, 0.0), 0.0),
            ((0.0, 0.0, 1.0, 1.0, -2.0), 0.0),
            ((0.0, 1.0, 0.0, 0.0, -1.0), 0.0),
        ],
    ),
    HockSchittkowski(
        60,
        (2.0, 2.0, 2.0),
        lambda xp, x1, x2, x3: (x1 - 1.0) ** 2 + (x1 - x2) ** 2 + (x2 - x3) ** 4,
        0.03256820025,
        lower=-10.0,
        upper=10.0,
        equal=(lambda xp, x1, x2, x3: x1 * (1.0 + x2**2) + x3**4 - 4.0 - 3.0 * 2.0**0.5,),
    ),
    HockSchittkowski(
        61,
        (0.0, 0.0, 0.0),
        lambda xp, x1, x2, x3: 4.0 * x1**2 + 2.0 * x2**2 + 2.0 * x3**2 - 33.0 * x1 + 16.0 * x2 - 24.0 * x3,
        -143.6461422,
        equal=(
            lambda xp, x1, x2, x3: 3.0 * x1 - 2.0 * x2**2 - 7.0,
            lambda xp, x1, x2, x3: 4.0 * x1 - x3**2 - 11.0,
        ),
    ),
    HockSchittkowski(
        63,
        (2.0, 2.0, 2.0),
        lambda xp, x1, x2, x3: 1000.0 - x1**2 - 2.0 * x2**2 - x3**2 - x1 * x2 - x1 * x3,
        961.7151721,
        lower=0.0,
        equal=(lambda xp, x1, x2, x3: x1**2 + x2**2 + x3**2 - 25.0,),
        linear_equal=[((8.0, 14.0, 7.0), -56.0)],
    ),
    HockSchittkowski(
        64,
        (1.0, 1.0, 1.0),
        lambda xp, x1, x2, x3: 5.0 * x1 + 50000.0 / x1 + 20.0 * x2 + 72000.0 / x2 + 10.0 * x3 + 144000.0 / x3,
        6299.842428,
        lower=1e-5,
        least=(lambda xp, x1, x2, x3: 1.0 - 4.0 / x1 - 32.0 / x2 - 120.0 / x3,),
    ),
    HockSchittkowski(
        65,
        (-5.0, 5.0, 0.0),
        lambda xp, x1, x2, x3: (x1 - x2) ** 2 + (x1 + x2 - 10.0) ** 2 / 9.0 + (x3 - 5.0) ** 2,
        0.9535288567,
        lower=(-4.5, -4.5, -5.0),
        upper=(4.5, 4.5, 5.0),
        least=(lambda xp, x1, x2, x3: 48.0 - x1**2 - x2**2 - x3**2,),
    ),
    HockSchittkowski(
        66,
        (0.0, 1.05, 2.9),
        lambda xp, x1, x2, x3: 0.2 * x3 - 0.8 * x1,
        0.5181632741,
        lower=0.0,
        upper=(100.0, 100.0, 10.0),
        least=(lambda xp, x1, x2, x3: x2 - xp.exp(x1), lambda xp, x1, x2, x3: x3 - xp.exp(x2)),
    ),
    HockSchittkowski(
        71,
        (1.0, 5.0, 5.0, 1.0),
        lambda xp, x1, x2, x3, x4: x1 * x4 * (x1 + x2 + x3) + x3,
        17.0140173,
        lower=1.0,
        upper=5.0,
        equal=(lambda xp, x1, x2, x3, x4: x1**2 + x2**2 + x3**2 + x4**2 - 40.0,),
        least=(lambda xp, x1, x2, x3, x4: x1 * x2 * x3 * x4 - 25.0,),
    ),
    HockSchittkowski(
        73,
        (1.0, 1.0, 1.0, 1.0),
        lambda xp, x1, x2, x3, x4: 24.55 * x1 + 26.75 * x2 + 39.0 * x3 + 40.50 * x4,
        29.894378,
        lower=0.0,
        least=(
            lambda xp, x1, x2, x3, x4: (
                (12.0 * x1 + 11.9 * x2 + 41.8 * x3 + 52.1 * x4 - 21.0)
                - 1.645 * xp.sqrt(0.28 * x1**2 + 0.19 * x2**2 + 20.5 * x3**2 + 0.62 * x4**2)
            ),
        ),
        linear_equal=[((1.0, 1.0, 1.0, 1.0), -1.0)],
        linear_least=[((2.3, 5.6, 11.1, 1.3), -5.0)],
    ),
    HockSchittkowski(
        76,
        (0.5, 0.5, 0.5, 0.5),
        lambda xp, x1, x2, x3, x4: (
            (x1**2 + 0.5 * x2**2 + x3**2 + 0.5 * x4**2 - x1 * x3 + x3 * x4) - x1 - 3.0 * x2 + x3 - x4
        ),
        -4.681818181,
        lower=0.0,
        linear_least=[
            ((-1.0, -2.0, -1.0, -1.0), 5.0),
            ((-3.0, -1.0, -2.0, 1.0), 4.0),
            ((0.0, 1.0, 4.0, 0.0), -1.5),
        ],
    ),
    HockSchittkowski(
        77,
        (2.0, 2.0, 2.0, 2.0, 2.0),
        lambda xp, x1, x2, x3, x4, x5: (
            (x1 - 1.0) ** 2 + (x1 - x2) ** 2 + (x3 - 1.0) ** 2 + (x4 - 1.0) ** 4 + (x5 - 1.0) ** 6
        ),
        0.24150513,
        equal=(
            lambda xp, x1, x2, x3, x4, x5: x1**2 * x4 + xp.sin(x4 - x5) - 2.0 * 2.0**0.5,
            lambda xp, x1, x2, x3, x4, x5: x2 + x3**4 * x4**2 - 8.0 - 2.0**0.5,
        ),
    ),
    HockSchittkowski(
        78,
        (-2.0, 1.5, 2.0, -1.0, -1.0),
        lambda xp, x1, x2, x3, x4, x5: x1 * x2 * x3 * x4 * x5,
        -2.91970041,
        equal=_78,
    ),
    HockSchittkowski(
        79,
        (2.0, 2.0, 2.0, 2.0, 2.0),
        lambda xp, x1, x2, x3, x4, x5: (
            (x1 - 1.0) ** 2 + (x1 - x2) ** 2 + (x2 - x3) ** 2 + (x3 - x4) ** 4 + (x4 - x5) ** 4
        ),
        0.0787768209,
        equal=(
            lambda xp, x1, x2, x3, x4, x5: x1 + x2**2 + x3**3 - 2.0 - 3.0 * 2.0**0.5,
            lambda xp, x1, x2, x3, x4, x5: x2 - x3**2 + x4 + 2.0 - 2.0 * 2.0**0.5,
            lambda xp, x1, x2, x3, x4, x5: x1 * x5 - 2.0,
        ),
    ),
    HockSchittkowski(
        80,
        (-2.0, 2.0, 2.0, -1.0, -1.0),
        lambda xp, x1, x2, x3, x4, x5: xp.exp(x1 * x2 * x3 * x4 * x5),
        0.0539498478,
        equal=_78,
        **_78_BOUNDS,
    ),
    HockSchittkowski(
        81,
        (-2.0, 2.0, 2.0, -1.0, -1.0),
        lambda xp, x1, x2, x3, x4, x5: xp.exp(x1 * x2 * x3 * x4 * x5) - 0.5 * (x1**3 + x2**3 + 1.0) ** 2,
        0.0539498478,
        equal=_78,
        **_78_BOUNDS,
    ),
    HockSchittkowski(
        93,
        (5.54, 4.4, 12.02, 11.82, 0.702, 0.852),
        _objective_93,
        135.075961,
        lower=0.0,
        least=(lambda xp, x1, x2, x3, x4, x5, x6: 0.001 * x1 * x2 * x3 * x4 * x5 * x6 - 2.07, _loss_93),
    ),
    HockSchittkowski(
        100,
        (1.0, 2.0, 0.0, 4.0, 0.0, 1.0, 1.0),
        _objective_100,
        680.6300573,
        least=(
            lambda xp, x1, x2, x3, x4, x5, x6, x7: 127.0 - 2.0 * x1**2 - 3.0 * x2**4 - x3 - 4.0 * x4**2 - 5.0 * x5,
            lambda xp, x1, x2, x3, x4, x5, x6, x7: 282.0 - 7.0 * x1 - 3.0 * x2 - 10.0 * x3**2 - x4 + x5,
            lambda xp, x1, x2, x3, x4, x5, x6, x7: 196.0 - 23.0 * x1 - x2**2 - 6.0 * x6**2 + 8.0 * x7,
            lambda xp, x1, x2, x3, x4, x5, x6, x7: (
                -4.0 * x1**2 - x2**2 + 3.0 * x1 * x2 - 2.0 * x3**2 - 5.0 * x6 + 11.0 * x7
            ),
        ),
    ),
    HockSchittkowski(
        113,
        (2.0, 3.0, 5.0, 5.0, 1.0, 2.0, 7.0, 3.0, 6.0, 10.0),
        _objective_113,
        24.3062091,
        least=(
            lambda xp, x1, x2, x3, x4, *rest: (
                -3.0 * (x1 - 2.0) ** 2 - 4.0 * (x2 - 3.0) ** 2 - 2.0 * x3**2 + 7.0 * x4 + 120.0
            ),
            lambda xp, x1, x2, x3, x4, *rest: -5.0 * x1**2 - 8.0 * x2 - (x3 - 6.0) ** 2 + 2.0 * x4 + 40.0,
            lambda xp, x1, x2, x3, x4, x5, x6, *rest: (
                -0.5 * (x1 - 8.0) ** 2 - 2.0 * (x2 - 4.0) ** 2 - 3.0 * x5**2 + x6 + 30.0
            ),
            lambda xp, x1, x2, x3, x4, x5, x6, *rest: (
                -(x1**2) - 2.0 * (x2 - 2.0) ** 2 + 2.0 * x1 * x2 - 14.0 * x5 + 6.0 * x6
            ),
            lambda xp, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10: (
                3.0 * x1 - 6.0 * x2 - 12.0 * (x9 - 8.0) ** 2 + 7.0 * x10
            ),
        ),
        linear_least=[
            ((-4.0, -5.0, 0.0, 0.0, 0.0, 0.0, 3.0, -9.0, 0.0, 0.0), 105.0),
            ((-10.0, 8.0, 0.0, 0.0, 0.0, 0.0, 17.0, -2.0, 0.0, 0.0), 0.0),
            ((8.0, -2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -5.0, 2.0), 12.0),
        ],
    ),
]

PROBLEMS: Mapping[int, HockSchittkowski] = {problem.number: problem for problem in _ALL}
"""By number."""
