"""Problems whose answers are known, written once for every framework.

Each is stated twice, and independently: as a user would write it, over a namespace of array functions (`objective`),
and with its derivatives and its answer worked out by hand in NumPy. So a problem serves both to check a backend's
derivatives and to check what a method finds.

The objectives use nothing of a framework but operators, indices and three functions, ``xp.sum``, ``xp.exp`` and
``xp.log``. That is why vectors which are multiplied by a matrix stand as columns: ``@`` between a matrix and a vector
is an error in TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from ..solvers import Method

Nest = Any

__all__ = ["KnownProblem", "bounded", "flat", "logistic_regression", "quadratic", "rosenbrock", "smooth"]


@dataclass(frozen=True)
class KnownProblem:
    """A function to minimise, its derivatives, and its minimum.

    Attributes
    ----------
    objective : callable
        ``objective(xp)`` is ``fun(x, *data)`` in the framework whose functions ``xp`` holds.
    gradient : callable
        ``gradient(x, *data)`` for NumPy arrays: a nest like ``x``.
    hessian : callable
        ``hessian(x, *data)`` for NumPy arrays: an (n, n) array over the leaves laid end to end.
    start, answer : nest of float64 NumPy arrays
        Where to start, and where the minimum is.
    value : float
        ``fun`` there.
    data : tuple of NumPy arrays
        Further arguments of ``fun``.
    bounds : nest or None
        In the form that `minimize` takes.

    Examples
    --------
    >>> import numpy as np
    >>> from dmin_core.testing.problems import quadratic
    >>> problem = quadratic()
    >>> fun, x0, data = problem.pose(np, np.float32)
    >>> x0.dtype, fun(x0, *data).shape
    (dtype('float32'), ())
    """

    objective: Callable[[Any], Callable[..., Any]]
    gradient: Callable[..., Nest]
    hessian: Callable[..., np.ndarray]
    start: Nest
    answer: Nest
    value: float
    data: tuple[np.ndarray, ...] = ()
    bounds: Any = None

    def pose(self, xp: Any, array: Callable[[np.ndarray], Any]) -> tuple[Callable[..., Any], Nest, tuple[Any, ...]]:
        """``fun``, ``x0`` and ``args`` in one framework.

        Parameters
        ----------
        xp : namespace
            With ``sum``, ``exp`` and ``log``.
        array : callable
            Makes the framework's array, of the dtype that is wanted, from a NumPy one.
        """
        return self.objective(xp), optree.tree_map(array, self.start), tuple(map(array, self.data))

    def derivatives(self, x: Nest, data: tuple[np.ndarray, ...]) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient (n,) and Hessian (n, n) at a nest of NumPy arrays."""
        value = float(self.objective(np)(x, *data))
        return value, flat(self.gradient(x, *data)), self.hessian(x, *data)

    def tolerances(self, eps: float, method: Method, *, exact_gradient: bool) -> tuple[float, float]:
        """How far a method may end from the minimum that works as it should.

        Parameters
        ----------
        eps : float
            Precision of the leaves.
        method : Method
            At its own tolerances.
        exact_gradient : bool
            Whether gradients are exact, or forward differences.

        Returns
        -------
        gap : float
            Of the value above the minimum's.
        distance : float
            ‖x - x*‖, which follows from the gap; infinite where the method comes too little near for that.
        """
        differs = method.gradient and not exact_gradient
        if method.name == "COBYLA" or (method.name == "TNC" and (differs or eps > 1e-10)):
            # COBYLA's models are linear, so its steps along the floor of a narrow valley are tiny. TNC differences the
            # gradient by itself; where that is a difference already, or in float32, little is left of the curvature.
            return 0.1 * (self.derivatives(self.start, self.data)[0] - self.value), np.inf
        curvatures = np.linalg.eigvalsh(self._hessian)
        size = 1.0 + abs(self.value)
        # What the methods' tests of convergence leave, or the last digits of the value: when these do not change any
        # more, a method that converges linearly is above the minimum by the root of the condition number as much.
        gap = max(1e-6, 30 * eps * (curvatures[-1] / curvatures[0]) ** 0.5) * size
        if differs:
            x = flat(self.answer)
            step = eps**0.5 * np.maximum(1.0, np.abs(x))
            error = step * np.diag(self._hessian) / 2 + 2 * eps * size / step
            gap += float(error @ error) / curvatures[0]
        return gap, float((2 * gap / curvatures[0]) ** 0.5)

    @property
    def _hessian(self) -> np.ndarray:
        return self.hessian(self.answer, *self.data)


def flat(nest: Nest) -> np.ndarray:
    """The leaves of a nest of NumPy arrays laid end to end, in float64."""
    return np.concatenate([np.ravel(leaf) for leaf in optree.tree_leaves(nest)], dtype=float)


# Without bounds ------------------------------------------------------------------------------------------


def smooth() -> KnownProblem:
    """A well-conditioned function of two leaves, of exponentials and a logarithm: easy for every method."""
    answer = {"slope": np.array([[0.5, -1.0]]), "level": np.array([2.0])}

    def objective(xp: Any) -> Callable[..., Any]:
        def fun(x: Nest, slope: Any, level: Any) -> Any:
            d, e = x["slope"] - slope, x["level"] - level
            bowl = xp.sum(xp.exp(d) - d) + 2.0 * xp.sum(xp.exp(e) - e)
            return bowl + xp.log(1.0 + 0.1 * (xp.sum(d) + xp.sum(e)) ** 2)

        return fun

    def apart(x: Nest, slope: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        d = np.concatenate([x["level"] - level, np.ravel(x["slope"] - slope)])
        return d, np.array([2.0, 1.0, 1.0]), float(np.sum(d))

    def gradient(x: Nest, slope: np.ndarray, level: np.ndarray) -> Nest:
        d, weights, total = apart(x, slope, level)
        g = weights * np.expm1(d) + 0.2 * total / (1 + 0.1 * total**2)
        return {"level": g[:1], "slope": g[1:].reshape(1, 2)}

    def hessian(x: Nest, slope: np.ndarray, level: np.ndarray) -> np.ndarray:
        d, weights, total = apart(x, slope, level)
        return np.diag(weights * np.exp(d)) + 0.2 * (1 - 0.1 * total**2) / (1 + 0.1 * total**2) ** 2

    return KnownProblem(
        objective=objective,
        gradient=gradient,
        hessian=hessian,
        start={"slope": np.array([[0.25, -0.5]]), "level": np.array([1.5])},
        answer=answer,
        value=4.0,
        data=(answer["slope"], answer["level"]),
    )


def quadratic() -> KnownProblem:
    """A convex quadratic with condition number 10⁴ whose axes are not the coordinates'; one (4, 1) array."""
    normal = np.array([[1.0], [2.0], [3.0], [4.0]])
    axes = np.eye(4) - 2 * normal @ normal.T / np.sum(normal**2)
    matrix = axes @ np.diag([0.01, 0.3, 7.0, 100.0]) @ axes.T
    # Farther along the flatter axes: each of them matters to the value.
    answer = axes @ np.array([[5.0], [2.0], [0.5], [0.1]])
    slope = matrix @ answer

    def objective(xp: Any) -> Callable[..., Any]:
        return lambda x, a, b: xp.sum(x * (0.5 * (a @ x) - b))

    return KnownProblem(
        objective=objective,
        gradient=lambda x, a, b: a @ x - b,
        hessian=lambda x, a, b: a,
        start=np.ones((4, 1)),
        answer=answer,
        value=float(-0.5 * np.sum(slope * answer)),
        data=(matrix, slope),
    )


def rosenbrock() -> KnownProblem:
    """Rosenbrock's function of four variables, chained through a nest of a 0-d, a 1-d and a 2-d leaf.

    The start is in the region around the answer where the Hessian is positive definite: dogleg needs that, and the
    function's second minimum is far from it.
    """

    def link(u: Any, v: Any) -> Any:
        return 100.0 * (v - u**2) ** 2 + (1.0 - u) ** 2

    def objective(xp: Any) -> Callable[..., Any]:
        return lambda x: (
            link(x["a"], x["rest"][0][0])
            + link(x["rest"][0][0], x["rest"][0][1])
            + link(x["rest"][0][1], x["rest"][1]["c"][0, 0])
        )

    def gradient(x: Nest) -> Nest:
        u = flat(x)
        g = np.zeros(4)
        g[:-1] = -400.0 * u[:-1] * (u[1:] - u[:-1] ** 2) - 2.0 * (1.0 - u[:-1])
        g[1:] += 200.0 * (u[1:] - u[:-1] ** 2)
        return nest(g)

    def hessian(x: Nest) -> np.ndarray:
        u = flat(x)
        diagonal = np.zeros(4)
        diagonal[:-1] = 1200.0 * u[:-1] ** 2 - 400.0 * u[1:] + 2.0
        diagonal[1:] += 200.0
        beside = np.diag(-400.0 * u[:-1], 1)
        return np.diag(diagonal) + beside + beside.T

    def nest(u: Any) -> Nest:
        u = np.asarray(u, dtype=float)
        return {"a": u[0].reshape(()), "rest": [u[1:3], {"c": u[3:].reshape(1, 1)}]}

    return KnownProblem(
        objective=objective,
        gradient=gradient,
        hessian=hessian,
        # No two alike: methods that compare values would break the tie by the last bit, each framework its own way.
        start=nest([1.2, 1.19, 1.21, 1.22]),
        answer=nest([1.0, 1.0, 1.0, 1.0]),
        value=0.0,
    )


def logistic_regression(inputs: np.ndarray, labels: np.ndarray) -> KnownProblem:
    """Logistic regression with a ridge penalty and an intercept, of labels (m,), 0 or 1, on inputs (m, d).

    The answer is found by Newton's method in NumPy, to the last bits of the gradient.
    """
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    labels = labels.astype(float).reshape(-1, 1)
    ridge, d = 0.01, inputs.shape[1]

    def objective(xp: Any) -> Callable[..., Any]:
        def fun(x: Nest, inputs: Any, labels: Any) -> Any:
            z = inputs @ x["w"] + x["b"]
            # log(1 + exp(z)) - labels z, in a form that holds for z twice as large
            loss = xp.log(xp.exp(z / 2) + xp.exp(-z / 2)) + (0.5 - labels) * z
            return xp.sum(loss) / inputs.shape[0] + 0.5 * ridge * xp.sum(x["w"] ** 2)

        return fun

    def gradient(x: Nest, inputs: np.ndarray, labels: np.ndarray) -> Nest:
        residual = (1 / (1 + np.exp(-inputs @ x["w"] - x["b"])) - labels) / len(inputs)
        return {"b": np.sum(residual), "w": inputs.T @ residual + ridge * x["w"]}

    def hessian(x: Nest, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-inputs @ x["w"] - x["b"]))
        columns = np.hstack([np.ones_like(p), inputs])
        return columns.T @ (p * (1 - p) * columns) / len(inputs) + np.diag([0.0] + [ridge] * d)

    answer = {"b": np.zeros(()), "w": np.zeros((d, 1))}
    for _ in range(20):
        slope = flat(gradient(answer, inputs, labels))
        step = np.linalg.solve(hessian(answer, inputs, labels), slope)
        answer = {"b": answer["b"] - step[0], "w": answer["w"] - step[1:].reshape(d, 1)}
    return KnownProblem(
        objective=objective,
        gradient=gradient,
        hessian=hessian,
        # Not zeros: there Nelder-Mead's first simplex, by SciPy's rule, is of the size of float32's last digits.
        start={"b": np.array(-0.5), "w": np.full((d, 1), 0.5)},
        answer=answer,
        value=float(objective(np)(answer, inputs, labels)),
        data=(inputs, labels),
    )


# With bounds ---------------------------------------------------------------------------------------------


def bounded() -> KnownProblem:
    """A convex quadratic over two leaves whose minimum within the bounds lies on one lower and one upper bound.

    Made from its answer: a quadratic with its minimum there, tilted by the two bounds' multipliers, 1 and 2. From some
    other starts SciPy's Nelder-Mead and Powell end elsewhere: at a bound they lose directions to search in.
    """
    answer = {"rates": np.array([0.0, 1.5, 0.25]), "shift": np.array(0.5)}

    def objective(xp: Any) -> Callable[..., Any]:
        def fun(x: Nest, weights: Any, rates: Any) -> Any:
            d, e = x["rates"] - rates, x["shift"] - 0.5
            return 0.5 * xp.sum(weights * d**2) + 0.5 * (xp.sum(d) + e) ** 2 + x["rates"][0] - 2.0 * x["shift"]

        return fun

    def gradient(x: Nest, weights: np.ndarray, rates: np.ndarray) -> Nest:
        d, e = x["rates"] - rates, x["shift"] - 0.5
        both = np.sum(d) + e
        return {"rates": weights * d + both + np.array([1.0, 0.0, 0.0]), "shift": both - 2.0}

    return KnownProblem(
        objective=objective,
        gradient=gradient,
        hessian=lambda x, weights, rates: np.diag([*weights, 0.0]) + 1.0,
        start={"rates": np.array([1.0, 0.5, 1.0]), "shift": np.array(0.25)},
        answer=answer,
        value=-1.0,
        data=(np.array([1.0, 4.0, 10.0]), answer["rates"]),
        bounds={"rates": (0.0, None), "shift": (None, 0.5)},
    )
