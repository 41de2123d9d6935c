"""A problem with constraints, as solvers see it: c(x), its Jacobian, products with the Hessian of v · c(x).

All constraints are the rows of one c(x), (m,), in the user's order, between limits lb and ub. Values are known at
every point where the objective is, because no point can be compared with another without them; they are computed once
a point, together with the Jacobian where the method uses gradients and the framework differentiates.

The calls into the user's code take and return host numbers, as `Problem`'s do, so that a checkpoint can record them;
what is counted is counted before them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from . import _differences as differences
from ._active import ACTIVE, activity
from ._combined import Combined, Weighted
from ._constraints import Linear, Nonlinear, Outputs, check_limits, dense_jacobian
from ._errors import InputError, ObjectiveError
from ._objective import Given, dense_hessian
from ._problem import FEASIBLE, Problem, Stop, Visit
from ._tree import Tree

TOLERANCES: dict[str, tuple[tuple[str, ...], float]] = {
    "SLSQP": (("ftol", "tol"), 1e-6),
    "trust-constr": (("gtol", "tol"), 1e-8),
    "COBYLA": (("catol",), 1e-6),
    "COBYQA": (("feasibility_tol",), 1e-8),
}
"""How far a constraint may be violated by the answer: the option of the method's that says so, and its default.

SciPy's own, but for COBYLA, which is given this one: SciPy's is 2e-4 before 1.16, and since then 1.5e-8, which many of
its runs do not reach.
"""

BOUGHT = 1e-6
"""Of 1 + |f|: a difference in value that does not make up for a larger violation, be it within the tolerance."""

OTHERS = (("catol", "feasibility_tol"), 1e-8)
"""The same for other distributions' methods."""


def feasibility_tolerance(method: str, tol: float | None, options: Mapping[str, Any]) -> float:
    """What the method itself means by feasible."""
    names, default = TOLERANCES.get(method, OTHERS)
    given = {"tol": tol, **{name: options.get(name) for name in names if name != "tol"}}
    chosen = next((given[name] for name in names if given[name] is not None), None)
    return default if chosen is None else float(chosen)


def begun(run: Callable[..., Any]) -> Callable[..., Any]:
    """`SolverSpec.solve` after `ConstrainedProblem.begin`."""

    def run_from_the_start(problem: ConstrainedProblem, *rest: Any) -> Any:
        problem.begin()
        return run(problem, *rest)

    return run_from_the_start


class Block:
    """The rows of one constraint.

    Attributes
    ----------
    constraint : Nonlinear or Linear
    rows : slice
    outputs : Outputs or None
        None for a linear one.
    """

    def __init__(self, constraint: Nonlinear | Linear, start: int, m: int, outputs: Outputs | None) -> None:
        self.constraint, self.rows, self.outputs = constraint, slice(start, start + m), outputs


class Group:
    """Constraints that are differenced together.

    Attributes
    ----------
    members : list of Nonlinear
    scheme : str
    evaluate : callable
        Their values over a point.
    relative_step : float or array or None
    """

    def __init__(self, members: Sequence[Nonlinear], scheme: str, evaluate: Any) -> None:
        self.members, self.scheme, self.evaluate = members, scheme, evaluate
        self.relative_step = members[0].relative_step


class Values:
    """What is known of the constraints at a point."""

    __slots__ = ("c", "jacobian", "x")

    def __init__(self, x: np.ndarray, c: np.ndarray, jacobian: np.ndarray | None) -> None:
        self.x, self.c, self.jacobian = x, c, jacobian


class ConstrainedProblem(Problem):
    """A `Problem` with constraints ``lb <= c(x) <= ub``.

    Attributes
    ----------
    m : int
        Number of rows of c; 0 before `begin`.
    lb, ub : (m,) float64
    is_linear : (m,) bool
    keep_feasible_rows : (m,) bool
    blocks : list of Block
        The user's constraints in order.
    ncev, ncjev, nchev : int
        Evaluations of the nonlinear constraints (all together count once, those for differences too), of their
        Jacobian, and products with their Hessians.

    Parameters
    ----------
    constraints : sequence of Nonlinear and Linear
    tolerance : float
        How far a row may be violated at a feasible point; at least as far as a bound may, `FEASIBLE` relative to
        1 + |limit|, and as the leaves' precision asks for.
    other
        As `Problem`'s.
    """

    def __init__(
        self,
        tree: Tree,
        fun: Any,
        x0: np.ndarray,
        *,
        constraints: Sequence[Nonlinear | Linear],
        tolerance: float,
        uses_gradient: bool,
        compile: bool | None,
        **named: Any,
    ) -> None:
        named["strict"] = False  # every point's feasibility is to be looked at
        super().__init__(tree, fun, x0, uses_gradient=uses_gradient, compile=compile, **named)
        self.influence.undecided = False  # what `fun` does not depend on, a constraint may
        self.constraints, self.tolerance = list(constraints), tolerance
        self.m = self.ncev = self.ncjev = self.nchev = 0
        self.blocks: list[Block] = []
        self._last_rows: np.ndarray | None = None
        self._most = 0.0
        self._seen: OrderedDict[bytes, Values] = OrderedDict()
        # COBYQA asks again for values at the points of its model, of which it has 2n + 1.
        self._kept = 3 if uses_gradient else 4 * tree.n + 16
        backend = self.backend
        nonlinear = [each for each in constraints if isinstance(each, Nonlinear)]
        self._nonlinear = nonlinear
        self._frozen = tree.inputs_of(compile)
        exact = [each for each in nonlinear if self._is_exact(each)]
        self._all = Combined(nonlinear, tree, compile) if nonlinear else None
        self._exact = self._all if len(exact) == len(nonlinear) else Combined(exact, tree, compile) if exact else None
        self._exact_constraints = exact
        self._value_of_all = backend.value(self._all) if self._all else None
        self._at_once = uses_gradient and self._exact is not None and self._exact is self._all
        self._pair_of_exact = backend.value_and_jacobian(self._exact) if self._exact else None
        self._product_of_exact = backend.hvp(Weighted(self._exact)) if self._exact and backend.exact_hvp else None
        self._watch_first_calls("_value_of_all", "_pair_of_exact", "_product_of_exact")
        self._differenced = self._group_differences()
        self._given: dict[int, Any] = {}
        self._weighted: tuple[np.ndarray, np.ndarray, Any, Any] | None = None

    def _is_exact(self, constraint: Nonlinear) -> bool:
        return constraint.jac is None and self.backend.exact_gradient

    def _group_differences(self) -> list[Group]:
        """Constraints that are differenced alike, together."""
        groups: dict[Any, list[Nonlinear]] = {}
        for each in self._nonlinear:
            if not callable(each.jac) and not self._is_exact(each):
                step = each.relative_step
                key = (each.jac or "2-point", None if step is None else np.asarray(step, float).tobytes())
                groups.setdefault(key, []).append(each)
        return [
            Group(members, scheme, self.backend.value(Combined(members, self.tree, self.objective.compile)))
            for (scheme, _), members in groups.items()
        ]

    def refine_differences(self) -> bool:
        """As `Problem`'s, of the constraints too."""
        if not super().refine_differences():
            return False
        for group in self._differenced:
            if group.members[0].jac is None and group.relative_step is None:
                group.scheme = "3-point"
        self._seen.clear()
        if self.best is not None:
            self.best.constraints.jacobian = None
        return True

    def forget(self) -> None:
        """Let go of what only a run needs."""
        super().forget()
        self._seen.clear()
        self._weighted = self._last_rows = None

    # -- the layout, known after the first call ---------------------------------------------------------------

    def begin(self) -> None:
        """Evaluate the constraints at the start, lay out their rows, and check limits against what they return."""
        values = self._nonlinear_values(self.x0)
        outputs = iter(self._outputs_of_all(0 if values is None else values[0].size))
        start, lower, upper, keep = 0, [], [], []
        for each in self.constraints:
            if isinstance(each, Linear):
                block = Block(each, start, each.matrix.shape[0], None)
                lower.append(each.lb)
                upper.append(each.ub)
                kept: Any = each.keep_feasible
            else:
                found = next(outputs)
                block = Block(each, start, found.m, found)
                lower.append(found.limits(each.lb, -np.inf, "lower", self.tree))
                upper.append(found.limits(each.ub, np.inf, "upper", self.tree))
                check_limits(lower[-1], upper[-1], found.locate)
                kept = self._kept_feasible(each, found.m)
            keep.append(np.broadcast_to(kept, (block.rows.stop - start,)))
            self.blocks.append(block)
            start = block.rows.stop
        self.m, self.lb, self.ub = start, np.concatenate(lower), np.concatenate(upper)
        self.keep_feasible_rows = np.concatenate(keep)
        self.is_linear = np.zeros(self.m, bool)
        for block in self.blocks:
            self.is_linear[block.rows] = block.outputs is None
        # As bounds have it; and a value is computed to the precision of the leaves only.
        size = 1.0 + np.maximum(*(np.where(np.isfinite(side), np.abs(side), 0.0) for side in (self.lb, self.ub)))
        self._slack = np.maximum(self.tolerance, max(FEASIBLE, 8 * self.tree.coarsest_eps) * size)
        self._check_start(self._remember(self._assembled(self.x0.copy(), values)))

    def _outputs_of_all(self, m: int) -> tuple[Outputs, ...]:
        """How the nonlinear constraints nest what they return, which are ``m`` numbers."""
        if self._all is None:
            return ()
        if self.replayed is None:
            return self._seen_outputs(m)
        from ._layouts import read_layout

        words = self._constraint_layout(np.array([float(m)]))
        return read_layout(words, self._all.wheres, self.tree) or self._seen_outputs(m)

    def _seen_outputs(self, m: int) -> tuple[Outputs, ...]:
        assert self._all is not None
        known = self._all.outputs
        if known is None or sum(each.m for each in known) != m:
            # The values came from a checkpoint that cannot say how they are nested, whose run counts as if there were
            # none; or from a function compiled long ago or for other args.
            self.ncev += self.replayed is None
            self._call(self.backend.value(self._all.plain()), self._fresh(self.x0), *self._args(self._nonlinear))
        found = self._all.outputs
        assert found is not None
        return found

    def _kept_feasible(self, constraint: Nonlinear, m: int) -> np.ndarray:
        keep = np.asarray(constraint.keep_feasible, dtype=bool)
        if keep.size not in (1, m):
            raise InputError(f"keep_feasible of {constraint.where} has {keep.size} entries for {m} values.")
        return keep.ravel()

    def _check_start(self, values: Values) -> None:
        bad = np.flatnonzero(~np.isfinite(values.c))
        if bad.size:
            raise ObjectiveError(
                f"{self.locate_row(int(bad[0]))} is {values.c[bad[0]]} at the start; a constraint needs finite values "
                f"there. Start elsewhere, or keep the variables in the function's domain by bounds."
            )

    def locate_row(self, i: int) -> str:
        """The constraint that row ``i`` belongs to, and where in it: ``constraints[1]['a'][0, 3]``."""
        block = next(block for block in self.blocks if i < block.rows.stop)
        inner = i - block.rows.start
        return f"{block.constraint.where}, row {inner}," if block.outputs is None else block.outputs.locate(inner)

    # -- what solvers call ------------------------------------------------------------------------------------

    def constraint_values(self, x: np.ndarray) -> np.ndarray:
        """c(x), (m,); not to be written into.

        A row that is not finite is told as one that violates its limits by ten times as much as any has before: what
        a method computes with it stays finite, and it goes back.
        """
        c = self._values(x).c
        return c if np.isfinite(c).all() else np.where(np.isfinite(c), c, self._worse())

    def constraint_jacobian(self, x: np.ndarray) -> np.ndarray:
        """Its derivative, (m, n); not to be written into. Rows that are not finite are told as they last were."""
        values = self._values(x)
        if values.jacobian is None:
            values.jacobian = self._jacobian(values.x, values.c)
        rows, told = values.jacobian, self._last_rows
        if np.isfinite(rows).all():
            self._last_rows = rows
            return rows
        self.failures.count += 1
        finite = np.isfinite(rows).all(axis=1, keepdims=True)
        return np.where(finite, rows, 0.0 if told is None else told)

    def _worse(self) -> np.ndarray:
        far = 10.0 * (1.0 + self._most)
        below = np.where(np.isfinite(self.lb), self.lb - far, 0.0)
        return np.where(np.isfinite(self.ub), self.ub + far, below)

    def constraint_product(self, x: np.ndarray, v: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Hessian of v · c at ``x`` times ``p``, (n,), of those rows in which `has_product` is true; v is (m,)."""
        self._check_time()
        self.nchev += 1
        return self._constraint_curvature(x, v, p)

    @property
    def has_product(self) -> np.ndarray:
        """Rows, (m,) bool, whose Hessian is known: the framework's, the user's, or zero."""
        found = self.is_linear.copy()
        for block in self.blocks:
            each = block.constraint
            if isinstance(each, Nonlinear) and (callable(each.hess) or self._has_exact_product(each)):
                found[block.rows] = True
        return found

    def has_exact_jacobian(self, constraint: Nonlinear) -> bool:
        """Whether its Jacobian is the framework's or the user's, and no difference."""
        return callable(constraint.jac) or self._is_exact(constraint)

    def bare_constraint_values(self, x: np.ndarray) -> np.ndarray:
        """c(x), (m,), as they are: nothing stands in for what is not finite, and nothing is remembered."""
        return self._assembled(x, self._nonlinear_values(np.array(x))).c

    def bare_constraint_jacobian(self, block: Block, x: np.ndarray) -> np.ndarray:
        """Rows of one constraint's Jacobian, (m, n), which is no difference; nan where it fails."""
        i, parts = self.blocks.index(block), dict[int, np.ndarray]()
        try:
            if callable(getattr(block.constraint, "jac", None)):
                return self._constraint_given(x, np.array([float(i)]))
            self._hand_out(self._constraint_pair(x)[:, 1:], self._exact_constraints, parts)
        except Exception as error:
            if not self.failures.include(error):
                raise
            return np.full((block.rows.stop - block.rows.start, self.n), math.nan)
        return parts[i]

    def bare_constraint_hessian(self, block: Block, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Hessian of v · c by the user's ``hess`` of one constraint, (n, n); v is as long as its rows."""
        assert isinstance(block.constraint, Nonlinear)
        return self._user_hessian_of(block, block.constraint, x, v)

    def _has_exact_product(self, constraint: Nonlinear) -> bool:
        return constraint.hess is None and self._is_exact(constraint) and self.backend.exact_hvp

    # -- one evaluation a point -------------------------------------------------------------------------------

    def _values(self, x: np.ndarray) -> Values:
        known = self._seen.get(x.tobytes())
        if known is not None:
            return known
        if self.best is not None and np.array_equal(self.best.x, x):
            return self.best.constraints
        kept = np.array(x, dtype=float)
        return self._remember(self._assembled(kept, self._nonlinear_values(kept)))

    def _remember(self, values: Values) -> Values:
        self._seen[values.x.tobytes()] = values
        outside = self.violations(values.c)
        if np.isfinite(outside).all():
            self._most = max(self._most, float(np.max(outside, initial=0.0)))
        else:
            self.failures.count += 1
        while len(self._seen) > self._kept:
            self._seen.popitem(last=False)
        return values

    def _check_time(self) -> None:
        """As `_check_limits`, but for the number of evaluations, of which constraints are none."""
        if self.maxtime < math.inf and perf_counter() - self.started >= self.maxtime:
            raise Stop(f"The limit of {self.maxtime:g} seconds (maxtime) was reached.", status=1)

    def _assembled(self, x: np.ndarray, nonlinear: Any) -> Values:
        """c(x) of all rows, and the Jacobian if it came with them."""
        c = np.empty(self.m)
        jacobian = None
        if nonlinear is None:
            values, rows = np.empty(0), None
        else:
            values, rows = nonlinear
        c[~self.is_linear] = values
        for block in self.blocks:
            if isinstance(block.constraint, Linear):
                c[block.rows] = block.constraint.matrix @ x + block.constraint.offset
        if rows is not None:
            jacobian = self._with_linear_rows(rows)
        return Values(x, c, jacobian)

    def _with_linear_rows(self, nonlinear: np.ndarray) -> np.ndarray:
        if not self.is_linear.any():
            return nonlinear
        whole = np.empty((self.m, self.n))
        whole[~self.is_linear] = nonlinear
        for block in self.blocks:
            if isinstance(block.constraint, Linear):
                whole[block.rows] = dense(block.constraint.matrix)
        return whole

    def _nonlinear_values(self, x: np.ndarray) -> Any:
        """Values of the nonlinear rows, and their Jacobian or None; None where there is no such row."""
        if self._all is None:
            return None
        self._check_time()
        self.ncev += 1
        try:
            if self._at_once:
                self.ncjev += 1
                both = self._constraint_pair(x)
                return both[:, 0], both[:, 1:]
            return self._constraint_values(x), None
        except Exception as error:
            if not (self.m and self.failures.include(error)):
                raise
            return np.full(int((~self.is_linear).sum()), math.nan), None

    def _jacobian(self, x: np.ndarray, c: np.ndarray) -> np.ndarray:
        """The whole Jacobian, where it does not come with the values."""
        self._check_time()
        self.ncjev += bool(self._nonlinear)
        parts: dict[int, np.ndarray] = {}
        if self._exact is not None:
            self.ncev += 1
            self._hand_out(self._constraint_pair(x)[:, 1:], self._exact_constraints, parts)
        for k, group in enumerate(self._differenced):
            self._hand_out(self._difference_group(k, group, x, c), group.members, parts)
        for i, block in enumerate(self.blocks):
            if isinstance(block.constraint, Nonlinear) and callable(block.constraint.jac):
                parts[i] = self._constraint_given(x, np.array([float(i)]))
        ordered = [parts[i] for i, block in enumerate(self.blocks) if block.outputs is not None]
        return self._with_linear_rows(np.vstack(ordered) if ordered else np.empty((0, self.n)))

    def _hand_out(self, rows: np.ndarray, members: Sequence[Nonlinear], parts: dict[int, np.ndarray]) -> None:
        """Put each constraint's rows where its number is."""
        start = 0
        for i in self._blocks_of(members):
            m = self.blocks[i].rows.stop - self.blocks[i].rows.start
            parts[i] = rows[start : start + m]
            start += m

    def _blocks_of(self, members: Sequence[Nonlinear]) -> list[int]:
        return [i for i, block in enumerate(self.blocks) if any(block.constraint is each for each in members)]

    def _difference_group(self, k: int, group: Group, x: np.ndarray, c: np.ndarray) -> np.ndarray:
        which = np.array([float(k)])

        def nearby(y: np.ndarray) -> Any:
            self._check_time()
            self.ncev += 1
            found = self._constraint_near(y, which)
            return found[0] + 1j * found[1] if np.iscomplexobj(y) else found

        relative = group.relative_step
        return differences.gradient(
            nearby,
            x,
            np.concatenate([c[self.blocks[i].rows] for i in self._blocks_of(group.members)]),
            scheme=group.scheme,
            step=None if relative is None else differences.default_step(x, group.scheme, 0.0, np.asarray(relative)),
            eps=self.tree.eps(),
            bounds=self.bounds,
            round_to=self.tree.round,
        ).T

    # -- calls into the user's code: host vectors in, host numbers out, so that they can be recorded --------------

    def _constraint_values(self, x: np.ndarray) -> np.ndarray:
        """Of all nonlinear constraints, (m,)."""
        return self._to_host(self._call(self._value_of_all, self._fresh(x), *self._args(self._nonlinear)))

    def _constraint_pair(self, x: np.ndarray) -> np.ndarray:
        """Values, in the first column, and Jacobian, in the others, of those that the framework differentiates."""
        args = self._args(self._exact_constraints)
        value, rows = self._call(self._pair_of_exact, self._fresh(x), *args)
        return np.column_stack([self._to_host(value), self._to_host(rows)])

    def _constraint_layout(self, m: np.ndarray) -> np.ndarray:
        """How all of them nest what they return, which are m numbers, as words."""
        from ._layouts import write_layout

        return write_layout(self._seen_outputs(int(m[0])))

    def _constraint_near(self, x: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Values of one group, at a point that is the difference's; for a complex one its parts in two rows."""
        group = self._differenced[int(which[0])]
        value = self._call(group.evaluate, self.tree.point(np.array(x)), *self._args(group.members))
        if np.iscomplexobj(x):
            host = np.asarray(self.backend.to_numpy(value))
            return np.stack([host.real, host.imag])
        return self._to_host(value)

    def _constraint_given(self, x: np.ndarray, which: np.ndarray) -> np.ndarray:
        """A Jacobian that the user gives."""
        block = self.blocks[int(which[0])]
        each = block.constraint
        assert isinstance(each, Nonlinear)
        assert block.outputs is not None
        returned = self._call(self._wrapped(each.jac), self._fresh(x), *each.args)
        return dense_jacobian(returned, block.outputs, self.tree)

    def _constraint_curvature(self, x: np.ndarray, v: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Hessian of v · c times p."""
        result = np.zeros(self.n)
        exact = [each for each in self._exact_constraints if self._has_exact_product(each)]
        if exact:
            point, weights = self._weighted_point(x, v, exact)
            if weights is not None:
                args = self._args(self._exact_constraints)
                (h,) = self._call(self._product_of_exact, point, self._fresh(p), weights, *args)
                result += self._to_host(h)
        for block in self.blocks:
            each = block.constraint
            if isinstance(each, Nonlinear) and callable(each.hess):
                result += self._user_hessian_of(block, each, x, v[block.rows]) @ p
        return result

    def _weighted_point(self, x: np.ndarray, v: np.ndarray, exact: Sequence[Nonlinear]) -> tuple[Any, Any]:
        """The same point and weights for every product at one x and v: backends keep what they computed for a point."""
        known = self._weighted
        if known is None or not (np.array_equal(known[0], x) and np.array_equal(known[1], v)):
            counted = set(self._blocks_of(exact))
            parts = [v[self.blocks[i].rows] * (i in counted) for i in self._blocks_of(self._exact_constraints)]
            weights = np.concatenate(parts)
            given = self.backend.from_numpy(weights, self.tree.prototype) if weights.any() else None
            known = self._weighted = (np.array(x, dtype=float), np.array(v), self._fresh(x), given)
        return known[2], known[3]

    def _user_hessian_of(self, block: Block, constraint: Nonlinear, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        weights = self.nest_of(block, v)
        returned = self._call(self._wrapped(constraint.hess), self._fresh(x), weights, *constraint.args)
        try:
            return dense_hessian(returned, self.tree)
        except ObjectiveError as cause:
            raise ObjectiveError(str(cause).replace("`hess`", f"`hess` of {constraint.where}")) from cause

    def _wrapped(self, function: Any) -> Any:
        if id(function) not in self._given:
            self._given[id(function)] = self.backend.value(Given(function, self.tree))
        return self._given[id(function)]

    def _call(self, function: Any, *arguments: Any) -> Any:
        try:
            return self._timed(function, *arguments)
        except ObjectiveError as error:
            # A backend knows only that it was given a function.
            if not str(error).startswith("`fun` ") or self._all is None:
                raise
            running = (self._exact if self._exact and function is self._pair_of_exact else self._all).wheres
            raise ObjectiveError(str(error).replace("`fun`", f"`fun` of {' or '.join(running)}", 1)) from (
                error.__cause__ or error
            )

    def _args(self, members: Sequence[Nonlinear]) -> tuple[Any, ...]:
        """What `Combined` takes beside the point."""
        return (*self._frozen, tuple(each.args for each in members)) if any(m.args for m in members) else self._frozen

    def nest_of(self, block: Block, rows: np.ndarray) -> Any:
        """Numbers of a constraint's rows, nested as it returns its values; for a linear one an array of the rows."""
        shapes: Any = ((rows.size,),) if block.outputs is None else block.outputs.shapes
        dtypes: Any = (self.tree.prototype.dtype,) if block.outputs is None else block.outputs.dtypes
        vector = self.backend.from_numpy(np.array(rows, dtype=float), self.tree.prototype)
        pieces = list(self.backend.split(vector, shapes, dtypes))
        return pieces[0] if block.outputs is None else block.outputs.nest(pieces)

    # -- the result -------------------------------------------------------------------------------------------

    def extras(self, answer: Visit | None, raw: Mapping[str, Any]) -> dict[str, Any]:
        """What the result says of bounds and constraints at the answer: `Result` documents it."""
        found = super().extras(answer, raw)
        found.update(ncev=self.ncev, ncjev=self.ncjev, nchev=self.nchev)
        if answer is None:
            return found
        c = answer.constraints.c
        found["maxcv"] = answer.violation
        found["constr"] = [self.nest_of(block, c[block.rows]) for block in self.blocks]
        found["active"] = {"bounds": {}, **found.get("active", {}), "constraints": self._active(c)}
        if "multipliers" in raw:
            found["multipliers"] = [self.nest_of(block, raw["multipliers"][block.rows]) for block in self.blocks]
        return found

    def is_active(self, c: np.ndarray) -> np.ndarray:
        """Rows, (m,) bool, that lie on one of their limits."""
        return activity(c, self.lb, self.ub, np.maximum(self._slack, ACTIVE)) != 0

    def _active(self, c: np.ndarray) -> dict[str, np.ndarray]:
        states = activity(c, self.lb, self.ub, np.maximum(self._slack, ACTIVE))
        found = {}
        for block in self.blocks:
            each = states[block.rows]
            parts = [each] if block.outputs is None else block.outputs.split(each)
            names = [block.constraint.where] if block.outputs is None else block.outputs.paths
            found.update({name: part for name, part in zip(names, parts, strict=True) if part.any()})
        return found

    @property
    def least_tolerance(self) -> float:
        """The strictest tolerance of any row, the leaves' precision included."""
        return float(np.min(self._slack, initial=np.inf))

    # -- the best point ---------------------------------------------------------------------------------------

    def violations(self, c: np.ndarray) -> np.ndarray:
        """By how much each row lies outside its limits, (m,); infinite where it is not finite."""
        with np.errstate(invalid="ignore"):  # between infinities
            outside = np.maximum(np.maximum(self.lb - c, c - self.ub), 0.0)
        return np.where(np.isfinite(c), outside, np.inf)

    def _is_feasible(self, x: np.ndarray) -> bool:
        values = self._values(x)
        return super()._is_feasible(x) and bool((self.violations(values.c) <= self._slack).all())

    def violation(self, x: np.ndarray, c: np.ndarray) -> float:
        """The largest amount by which a constraint or a bound is violated."""
        most = float(np.max(self.violations(c), initial=0.0))
        if self.bounds is not None:
            most = max(most, float(np.max(np.maximum(self.bounds[0] - x, x - self.bounds[1]), initial=0.0)))
        return most

    def _compare(self, visit: Visit) -> None:
        """Keep a point that is better: feasible before infeasible; then the lower value, or the lesser violation."""
        visit.constraints = values = self._values(visit.x)
        visit.violation = self.violation(visit.x, values.c)
        best = self.best
        if not math.isfinite(visit.f):
            return
        if best is None or self._is_better(visit, best):
            self.best, self._least = visit, visit.f

    @staticmethod
    def _is_better(visit: Visit, than: Visit) -> bool:
        if visit.feasible is not than.feasible:
            return visit.feasible
        if visit.feasible or visit.violation == than.violation:
            return visit.f < than.f
        return visit.violation < than.violation

    def settle(self, x: Any, success: bool) -> Visit | None:
        """The answer: the best point seen, or the method's own where that is none worse.

        Within the tolerance a lower value is bought by a larger violation, along the whole way to the answer. So a
        point that violates more than the method's own is no better where the method converged, nor where its value is
        lower by next to nothing.
        """
        best = self.best
        own = next((v for v in (self.last, best) if v is not None and x is not None and np.array_equal(v.x, x)), None)
        if own is None or best is None or own is best or not own.sound:
            return best
        bought = own.feasible and best.feasible and best.violation > own.violation
        if bought and (success or own.f - best.f <= BOUGHT * (1.0 + abs(own.f))):
            return own
        return best if self._is_better(best, own) else own


def dense(matrix: Any) -> np.ndarray:
    """A matrix that may be sparse as an array."""
    return matrix.toarray() if hasattr(matrix, "toarray") else matrix
