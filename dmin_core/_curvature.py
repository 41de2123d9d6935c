"""Second derivatives at the answer: the Hessian there, and its inverse.

The inverse of the Hessian of a negative log density at its minimum is the covariance of the normal distribution that
osculates it, the Laplace approximation (MacKay 2003, "Information Theory, Inference, and Learning Algorithms", chapter
27). It is computed when asked for and not before, for it costs n products and n² numbers; so a `Result` keeps what it
takes, `fun` and its arguments included, as long as it lives.

Whether a matrix is positive definite is judged after each variable is scaled to unit curvature (van der Sluis 1969,
"Condition numbers and equilibration of matrices", Numerische Mathematik 14): a variable in metres beside one in
nanometres is no reason to refuse.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._active import ACTIVE
from ._constrained import ConstrainedProblem
from ._errors import CurvatureError
from ._problem import Problem, Visit
from ._tree import Tree


class Curvature:
    """What a `Result` keeps to differentiate `fun` once more at its answer.

    Parameters
    ----------
    problem : Problem
        Of the run, which has ended.
    answer : Visit or None
        None: there is none, and x0 stands for it.
    """

    def __init__(self, problem: Problem, answer: Visit | None) -> None:
        self.problem, self.tree = problem, problem.tree
        self._answer = answer
        self._matrix: np.ndarray | None = None
        problem.forget()

    @property
    def x(self) -> np.ndarray:
        """Where, (n,) float64."""
        return self.problem.x0 if self._answer is None else self._answer.x

    def hessian(self) -> np.ndarray:
        """Hessian of `fun` at the answer, (n, n) float64, computed once."""
        if self._matrix is None:
            self._matrix = self.problem.hessian_at_the_end(self.x)
        return self._matrix

    def covariance(self, ignore_bounds: bool) -> np.ndarray:
        """Its inverse, (n, n) float64; zero for variables that lie on a bound."""
        self._refuse_active_constraints()
        matrix = np.zeros((self.tree.n, self.tree.n))
        free = np.arange(self.tree.n) if ignore_bounds else np.flatnonzero(~self._on_a_bound())
        if free.size:
            inside = np.ix_(free, free)
            matrix[inside] = self._inverse(self.hessian()[inside], free)
        return matrix

    def _refuse_active_constraints(self) -> None:
        """Along an active constraint's normal nothing varies, and its curvature is part of the Lagrangian's."""
        if not isinstance(self.problem, ConstrainedProblem):
            return
        c = self.problem.bare_constraint_values(self.x)
        active = self.problem.is_active(c)
        if active.any():
            which = self.problem.locate_row(int(np.flatnonzero(active)[0])).rstrip(",")
            raise CurvatureError(
                f"{which} is active at the answer, where the inverse of the Hessian of `fun` is no covariance. Take "
                f"result.hessian(), and restrict it to what the active constraints (result.active) leave free."
            )

    def _on_a_bound(self) -> np.ndarray:
        bounds = self.problem.bounds
        if bounds is None:
            return np.zeros(self.tree.n, dtype=bool)
        slack = np.maximum(ACTIVE, 2 * self.tree.eps())
        lower, upper = (np.where(np.isfinite(side), slack * (1 + np.abs(side)), 0.0) for side in bounds)
        return (self.x <= bounds[0] + lower) | (self.x >= bounds[1] - upper)

    def _inverse(self, hessian: np.ndarray, free: np.ndarray) -> np.ndarray:
        if not np.isfinite(hessian).all():
            i, j = (int(free[k]) for k in np.argwhere(~np.isfinite(hessian))[0])
            raise CurvatureError(
                f"The Hessian at the answer is not finite at {self.tree.locate(i)}, {self.tree.locate(j)}."
            )
        diagonal = np.diag(hessian)
        if (diagonal <= 0).any():
            raise self._indefinite(*_lowest(hessian), free)
        scale = np.sqrt(diagonal)
        values, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
        if values[0] <= self._precision() * free.size:
            value, direction = _lowest(hessian)
            raise self._indefinite(value, direction if value <= 0 else vectors[:, 0] / scale, free, values[0])
        return (vectors / values) @ vectors.T / np.outer(scale, scale)

    def _precision(self) -> float:
        """To how much of their largest number the entries of the Hessian are known."""
        eps = self.tree.coarsest_eps
        return eps if self.problem.exact_product else 10 * eps ** (2 / 3 if self.problem.exact_gradient else 1 / 2)

    def _indefinite(
        self, value: float, direction: np.ndarray, free: np.ndarray, scaled: float | None = None
    ) -> CurvatureError:
        whole = np.zeros(self.tree.n)
        whole[free] = direction / np.linalg.norm(direction)
        parts = np.split(whole**2, self.tree.ends[:-1])
        shares = [float(np.sum(part)) for part in parts]
        most = int(np.argmax(shares))
        path, where = self.tree.variable_path(most), self.tree.locate(int(np.argmax(np.abs(whole))))
        what = f"its smallest eigenvalue is {value:.6g}"
        if value > 0 and scaled is not None:
            what = (
                f"it is singular to the precision that it is known to (smallest eigenvalue {value:.3g}, or "
                f"{scaled:.3g} with every variable scaled to unit curvature)"
            )
        return CurvatureError(
            f"The Hessian at the answer is not positive definite, so there is no covariance: {what}. Its direction "
            f"lies mostly ({shares[most]:.0%}) in {path}, above all along {where}. Either the answer is no minimum "
            f"(look at result.success and result.jac), or `fun` does not determine that direction: add a prior or a "
            f"penalty, or hold a variable fixed. result.hessian() gives the matrix.",
            smallest=float(value),
            path=path,
        )


def _lowest(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    values, vectors = np.linalg.eigh(matrix)
    return float(values[0]), vectors[:, 0]


def _starts(tree: Tree) -> list[int]:
    return [int(end) - size for end, size in zip(tree.ends, tree.sizes, strict=True)]


def blocks(matrix: np.ndarray, tree: Tree) -> Any:
    """An (n, n) matrix as a nest of nests: block at leaves i and j of shape ``shape_i + shape_j``.

    As `jax.hessian` and ``torch.func.hessian`` return and ``hess=`` takes. Blocks are arrays of the framework in the
    widest dtype among the leaves; where x0 has what is no variable, there is None.
    """
    edges = [(start, start + size) for start, size in zip(_starts(tree), tree.sizes, strict=True)]

    def block(i: int, j: int) -> Any:
        part = matrix[slice(*edges[i]), slice(*edges[j])].reshape(tree.shapes[i] + tree.shapes[j])
        return tree.backend.from_numpy(np.array(part), tree.prototype)

    def nest(pieces: list[Any]) -> Any:
        leaves = [None] * len(tree.leaves)
        for i, piece in zip(tree.variables, pieces, strict=True):
            leaves[i] = piece
        return tree.spec.unflatten(leaves)

    count = range(len(tree.sizes))
    return nest([nest([block(i, j) for j in count]) for i in count])
