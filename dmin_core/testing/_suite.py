"""`BackendTests`: one check for each promise that `BackendSpec` makes of a backend.

The first half calls the hooks one by one, so that a fault is found where it is; the second half runs `minimize`, for
what only shows there: how often arrays cross, whether memory is shared with a solver, what comes back. Expected values
are the known problems' own, in NumPy and float64; tolerances follow from the dtype.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest

from .. import Backend, array_namespace, backend_of, backends, get_backend, methods, minimize
from .._objective import Objective
from .._tree import Tree
from ..hookspecs import Array, Point
from ._meeting import Meet, around, at_once
from ._promises import must, must_match
from .problems import KnownProblem, Nest, bounded, flat, quadratic, rosenbrock, smooth

SHAPES = [(), (3,), (2, 3), (2, 1, 2), (0,), (2, 0)]
DTYPES = ("float16", "bfloat16", "float32", "float64")
HALVES = ("float16", "bfloat16")
PROBLEMS: dict[str, Callable[[], KnownProblem]] = {
    "smooth": smooth,
    "quadratic": quadratic,
    "rosenbrock": rosenbrock,
    "bounded": bounded,
}
GRADIENT_ONLY = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP")
"""Methods that evaluate nothing but `fun` and its gradient."""
CALLED = (
    *("abs", "all", "any", "asarray", "astype", "concat", "eye", "float32", "isfinite", "logical_and", "logical_not"),
    *("matmul", "matrix_transpose", "max", "maximum", "min", "minimum", "reshape", "sqrt", "stack", "sum"),
    *("tensordot", "where", "zeros"),
)
"""What the methods on the device, and leaves of half precision, take from a backend's namespace."""


class BackendTests:
    """Checks that a backend keeps every promise of `dmin_core.hookspecs.BackendSpec`.

    Attributes
    ----------
    backend : str
        The backend's name, as `minimize` takes it.
    xp : namespace
        The framework's functions ``sum(array)``, ``sum(array, axis)``, ``exp(array)`` and ``log(array)``: its own
        module where that has them by these names, else a ``types.SimpleNamespace``.
    exact_gradient, exact_hvp : bool
        Whether the backend differentiates, or leaves it to the core's differences.
    compiles : bool
        Whether `fun` is compiled: called once, with tracers, for many evaluations.
    own_arrays : bool
        Whether the framework's arrays are of a class of its own, by which `minimize` knows whose they are. False where
        they are NumPy's: the kit then names the backend in every call, as its users must.
    dtypes : tuple of str
        The floating dtypes that the framework has, by the names that it calls them.

    Examples
    --------
    >>> import numpy as np
    >>> from dmin_core.testing import BackendTests
    >>> class TestNumpy(BackendTests):
    ...     backend = "numpy"
    ...     xp = np
    ...     dtypes = ("float16", "float32", "float64")
    ...
    ...     def array(self, values, dtype):
    ...         return np.array(values, dtype=dtype)
    """

    backend: str
    xp: Any
    exact_gradient: bool = False
    exact_hvp: bool = False
    compiles: bool = False
    own_arrays: bool = True
    dtypes: tuple[str, ...] = ("float32", "float64")

    def array(self, values: np.ndarray, dtype: str) -> Array:
        """Make an array of the framework, in memory of its own, with these values and the dtype of that name."""
        raise NotImplementedError(f"{type(self).__name__}.array(values, dtype) must make an array of the framework")

    def state(self) -> Any:
        """Return what of the framework's global state can be compared: gradient mode, default dtype, seeds, flags.

        Default: nothing, and then the checks that no state is left changed are skipped.
        """
        return None

    def attached(self, array: Array) -> bool | None:
        """Say whether an array belongs to a graph or a trace, and keeps it alive (``requires_grad`` in PyTorch).

        Default: None, and then the check that evaluations return none such is skipped.
        """
        return None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Cross the checks with dtypes, shapes, problems and methods; called by pytest."""
        wanted = {
            "dtype": dict.fromkeys((*DTYPES, *self.dtypes)),
            "precise": ["float32", "float64"],
            "shape": SHAPES,
            "problem": list(PROBLEMS),
            "method": [name for name, method in methods().items() if method.error is None],
            "gradient_method": GRADIENT_ONLY,
        }
        for name, values in wanted.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, list(values), ids=str)

    @pytest.fixture(autouse=True)
    def _skip_undeclared_dtypes(self, request: pytest.FixtureRequest) -> None:
        arguments = getattr(request.node, "callspec", None)
        for name in ("dtype", "precise"):
            dtype = arguments.params.get(name) if arguments else None
            if dtype is not None and dtype not in self.dtypes:
                pytest.skip(f"`dtypes` of {type(self).__name__} does not name {dtype}")

    def _require(self, capability: str) -> None:
        if not getattr(self, capability):
            pytest.skip(f"{type(self).__name__} does not declare `{capability}`")

    @property
    def hooks(self) -> Backend:
        """The backend under test, loaded as `minimize` loads it."""
        return get_backend(self.backend)

    @property
    def widest(self) -> str:
        """The most precise dtype declared that the host knows."""
        return "float64" if "float64" in self.dtypes else "float32"

    # What it is ------------------------------------------------------------------------------------------

    def test_backend_loads(self) -> None:
        """`backends()` lists it without an error, so the required hooks are there and their signatures right."""
        info = backends().get(self.backend)
        if info is None:
            raise AssertionError(f"No installed distribution has an entry point {self.backend!r} in 'dmin.backends'")
        if info.error is not None:
            raise AssertionError(f"Backend {self.backend!r} does not load") from info.error

    def test_capabilities_are_as_declared(self) -> None:
        """A backend has the hooks for what its test class says that it can."""
        for capability, hook in (("exact_gradient", "value_and_grad"), ("exact_hvp", "hvp")):
            declared = getattr(self, capability)
            promise = f"must be implemented if {type(self).__name__}.{capability} is True, and only then"
            must(hook, promise, getattr(self.hooks, capability), declared)

    def test_arrays_are_recognised(self) -> None:
        """The entry point has the name of the arrays' root module, by which `minimize` knows whose they are."""
        self._require("own_arrays")
        must("backend_of", "must name the backend for its arrays", backend_of(self._vector()), self.hooks.name)

    def test_errors_of_the_users_own_are_no_failures(self) -> None:
        """`is_failure` knows the framework's errors of linear algebra from those that a user's code has."""
        for error in (ValueError("mine"), RuntimeError("mine"), TypeError("mine")):
            must("is_failure", f"must say no of {error!r}", bool(self.hooks.is_failure(error)), False)

    def test_what_fun_raises_passes_through(self) -> None:
        """The very class of error that it raised, out of every evaluator."""
        point = (self._vector(),)

        def fails(point: Point) -> Array:
            raise ZeroDivisionError

        for hook, vector in (("value", ()), ("value_and_grad", ()), ("hvp", (point,))):
            raised: type | None = None
            try:
                getattr(self.hooks, hook)(fails)(point, *vector)
            except Exception as error:  # noqa: BLE001 - whatever a backend makes of it
                raised = type(error)
            must(hook, "must let through what fun raises", raised, ZeroDivisionError)

    def test_framework_and_devices_are_named(self) -> None:
        """`python -m dmin_core` has something to print, and the device of an array is among the devices."""
        framework, devices = self.hooks.framework(), list(self.hooks.devices())
        must("framework", "must return a text", type(framework), str)
        where = self.hooks.device(self._vector())
        must("device", "must return a text", type(where), str)
        must("devices", f"must list the device {where!r} of a new array, not only {devices}", where in devices, True)
        must("is_sharded", "must say no of an array on one device", bool(self.hooks.is_sharded(self._vector())), False)

    # To the host and back --------------------------------------------------------------------------------

    def test_to_numpy_keeps_shape_and_values(self, dtype: str, shape: tuple[int, ...]) -> None:
        """float16 and bfloat16 come as float32, which NumPy can compute with; the others as they are."""
        values = _values(shape)
        host = self.hooks.to_numpy(self.array(values, dtype))
        must("to_numpy", "must return a numpy.ndarray", type(host), np.ndarray)
        must_match("to_numpy", f"must keep the shape and values of a {dtype} array", host, values)
        if dtype in DTYPES:
            expected = "float32" if dtype in HALVES else dtype
            must("to_numpy", f"must return the right dtype for {dtype}", host.dtype.name, expected)

    def test_from_numpy_makes_arrays_like_another(self, dtype: str, shape: tuple[int, ...]) -> None:
        """The dtype and device come from `like`, the shape from the host's array."""
        values, like = _values(shape), self.array(np.ones(2), dtype)
        made = self.hooks.from_numpy(values.copy(), like)
        must("from_numpy", "must return an array of `like`'s class", type(made), type(like))
        must("from_numpy", "must take the dtype from `like`", _name(made.dtype), _name(like.dtype))
        must("from_numpy", "must take the device from `like`", self.hooks.device(made), self.hooks.device(like))
        must("from_numpy", "must take the shape from the host's array", tuple(made.shape), shape)
        must_match("from_numpy", "must keep the values", self.hooks.to_numpy(made), values)

    def test_from_numpy_without_like_keeps_the_dtype(self, precise: str) -> None:
        """``like=None``: the host's own dtype, on the default device."""
        made = self.hooks.from_numpy(_values((3,)).astype(precise), None)
        must("from_numpy", "must keep the host's dtype where `like` is None", _name(made.dtype), precise)

    @pytest.mark.parametrize("layout", ["read-only", "reversed", "strided", "transposed"])
    def test_from_numpy_takes_any_memory(self, layout: str) -> None:
        """Whatever NumPy's array is a view of, the values arrive in order."""
        values = {
            "read-only": _values((2, 3)),
            "reversed": _values((2, 3))[::-1],
            "strided": _values((2, 6))[:, ::2],
            "transposed": _values((3, 2)).T,
        }[layout]
        values.flags.writeable = layout != "read-only"
        made = self.hooks.from_numpy(values, self._vector())
        must_match("from_numpy", f"must keep the values of a {layout} array", self.hooks.to_numpy(made), values)

    def test_split_cuts_in_order(self, precise: str) -> None:
        """Into arrays of these shapes and dtypes, 0-d and empty ones too."""
        shapes = ((2,), (), (2, 2), (0,), (1, 3))
        vector = self.array(np.arange(10.0), self.widest)
        dtype = self.array(np.zeros(1), precise).dtype
        pieces = self.hooks.split(vector, shapes, (dtype,) * 5)
        must("split", "must return a piece for each shape", len(pieces), 5)
        start = 0
        for piece, shape in zip(pieces, shapes, strict=True):
            expected = np.arange(start, start + np.prod(shape, dtype=int)).reshape(shape)
            must("split", "must give each piece its dtype", _name(piece.dtype), precise)
            must_match("split", "must cut the vector in order", self.hooks.to_numpy(piece), expected)
            start += expected.size

    # Derivatives -----------------------------------------------------------------------------------------

    def test_gradient_of_several_arrays(self, precise: str) -> None:
        """A point may be more than one array; what `fun` does not depend on has a gradient of zeros."""
        point = tuple(self.array(_values(shape), precise) for shape in [(2,), (3, 1), (2,)])
        weights = self.array(np.array([1.0, 3.0]), precise)

        def fun(point: Point) -> Array:
            return self.xp.sum(weights * point[0]) - 2.0 * self.xp.sum(point[1])

        _, gradient = self.hooks.value_and_grad(fun)(point)
        must("value_and_grad", "must return one array for each of the point", len(gradient), 3)
        tolerance = 20 * float(np.finfo(precise).eps) ** (1.0 if self.exact_gradient else 0.5)
        expected = ([1.0, 3.0], [[-2.0], [-2.0], [-2.0]], [0.0, 0.0])
        for k, (got, array, slope) in enumerate(zip(gradient, point, expected, strict=True)):
            self._must_be_like("value_and_grad", f"gradient of array {k}", got, array)
            must_match("value_and_grad", f"must be right for array {k}", self.hooks.to_numpy(got), slope, tolerance)

    def test_split_can_be_differentiated(self, precise: str) -> None:
        """Through a change of dtype, too."""
        dtype = self.array(np.zeros(1), precise).dtype

        def fun(point: Point) -> Array:
            first, second = self.hooks.split(point[0], ((2,), (2, 2)), (dtype, dtype))
            return self.xp.sum(first) + 3.0 * self.xp.sum(second)

        if precise != self.widest:
            self._require("exact_gradient")  # a difference's steps in the one dtype vanish in the other
        _, (gradient,) = self.hooks.value_and_grad(fun)((self.array(_values((6,)), self.widest),))
        tolerance = 20 * float(np.finfo(precise).eps) ** (1.0 if self.exact_gradient else 0.5)
        expected = [1.0, 1.0, 3.0, 3.0, 3.0, 3.0]
        must_match("split", "must let gradients through", self.hooks.to_numpy(gradient), expected, tolerance)

    def test_restore_can_be_differentiated(self, precise: str) -> None:
        """Inside, where the array is on its way to `fun`, and outside it keeps the numbers."""
        x = np.array([0.5, -1.0, 2.0])
        like = self.array(x, precise)

        def fun(point: Point) -> Array:
            return self.xp.sum(self.hooks.restore(point[0], like, True) ** 2)

        _, (gradient,) = self.hooks.value_and_grad(fun)((self.array(x, precise),))
        tolerance = 20 * float(np.finfo(precise).eps) ** (1.0 if self.exact_gradient else 0.5)
        must_match("restore", "must let gradients through", self.hooks.to_numpy(gradient), 2 * x, tolerance)
        made = self.hooks.restore(self.array(x, precise), like, False)
        self._must_be_like("restore", "leaf of the result", made, like)
        must_match("restore", "must keep the numbers", self.hooks.to_numpy(made), x)

    def test_gradient_is_right(self, problem: str, precise: str) -> None:
        """Against the gradient worked out by hand; the value too, which the hook `value` returns as well."""
        posed = self._pose(PROBLEMS[problem](), precise)
        alone = self.hooks.value(posed.objective)(posed.point, *posed.data)
        value, (gradient,) = self.hooks.value_and_grad(posed.objective)(posed.point, *posed.data)
        rounding = posed.tolerance(precise, 0)
        must_match("value_and_grad", "must return fun's value", self.hooks.to_numpy(value), posed.value, rounding)
        must_match("value", "must return fun's value", self.hooks.to_numpy(alone), posed.value, rounding)
        self._must_be_like("value_and_grad", "gradient", gradient, posed.point[0])
        tolerance = posed.tolerance(precise, 0 if self.exact_gradient else 1)
        got = self.hooks.to_numpy(gradient)
        must_match("value_and_grad", "must return the gradient", got, posed.gradient, tolerance)

    def test_gradients_are_new_arrays(self) -> None:
        """A solver keeps gradients: the next evaluation must not write into the last one's."""
        posed = self._pose(rosenbrock(), self.widest)
        evaluate = self.hooks.value_and_grad(posed.objective)
        value, (gradient,) = evaluate(posed.point)
        before = self._copy(value), self._copy(gradient)
        evaluate((self.hooks.from_numpy(posed.x * 0.5, posed.point[0]),))
        must_match("value_and_grad", "must return a new value at each call", self._copy(value), before[0])
        must_match("value_and_grad", "must return a new gradient at each call", self._copy(gradient), before[1])

    def test_points_are_not_written_into(self, precise: str) -> None:
        """An evaluation, or a product, leaves the arrays that it is given as they were."""
        posed = self._pose(rosenbrock(), precise)
        vector = (self.hooks.from_numpy(np.ones_like(posed.x), posed.point[0]),)
        given = {"point": posed.point, "vector": vector, "args": posed.data}
        for hook, more in (("value", ()), ("value_and_grad", ()), ("hvp", (vector,)), ("hessian", ())):
            before = {name: [*map(self._copy, arrays)] for name, arrays in given.items()}
            getattr(self.hooks, hook)(posed.objective)(posed.point, *more, *posed.data)
            for name, arrays in given.items():
                for array, was in zip(arrays, before[name], strict=True):
                    must_match(hook, f"must not write into its {name}", self._copy(array), was)

    def test_product_is_right(self, problem: str, precise: str) -> None:
        """Against the Hessian worked out by hand: twice at one point, and there again after another."""
        posed = self._pose(PROBLEMS[problem](), precise)
        product = self.hooks.hvp(posed.objective)
        elsewhere = (self.hooks.from_numpy(posed.x * 0.5, posed.point[0]),)
        for point in (posed.point, posed.point, elsewhere, posed.point):
            for direction in (np.ones_like(posed.x), np.cos(np.arange(posed.x.size))):
                (got,) = product(point, (self.hooks.from_numpy(direction.copy(), point[0]),), *posed.data)
                if point is posed.point:
                    self._must_be_like("hvp", "product", got, point[0])
                    expected, tolerance = posed.hessian @ direction, posed.tolerance(precise, self._second_differences)
                    must_match("hvp", "must return the product", self.hooks.to_numpy(got), expected, tolerance)

    def test_product_is_that_of_its_point(self) -> None:
        """Also where a point lies in the memory of one that is gone: what is kept for a point goes by the object."""
        product = self.hooks.hvp(lambda point: self.xp.sum(point[0] ** 3))
        values = np.array([1.0, 2.0, 3.0])
        first, second, ones = (self.array(each, self.widest) for each in (values, 2.0 * values, np.ones(3)))
        vector = (ones,)
        point = (first,)
        product(point, vector)
        del point
        point = (second,)
        (got,) = product(point, vector)
        tolerance = 200 * float(np.finfo(self.widest).eps) ** (1.0, 1 / 2, 1 / 3)[self._second_differences]
        must_match("hvp", "must return the product at the new point", self.hooks.to_numpy(got), 12 * values, tolerance)

    def test_product_with_a_linear_function_is_zero(self) -> None:
        """There is nothing to differentiate twice, which frameworks treat as a case of its own."""
        x = self._vector()
        (got,) = self.hooks.hvp(lambda point: self.xp.sum(point[0]))((x,), (x,))
        tolerance = 20 * float(np.finfo(self.widest).eps) ** (1.0, 1 / 2, 1 / 3)[self._second_differences]
        must_match("hvp", "must be zero for a linear function", self.hooks.to_numpy(got), np.zeros(3), tolerance)

    def test_hessian_is_right(self, problem: str, precise: str) -> None:
        """All of it, and symmetric."""
        posed = self._pose(PROBLEMS[problem](), precise)
        got = self.hooks.to_numpy(self.hooks.hessian(posed.objective)(posed.point, *posed.data))
        tolerance = posed.tolerance(precise, self._second_differences)
        must_match("hessian", "must return the Hessian", got, posed.hessian, tolerance)
        must_match("hessian", "must be symmetric", got, got.T)

    def test_jacobian_is_right(self, precise: str) -> None:
        """A row for each output, here of more than there are variables."""
        matrix, x = _values((5, 3)), np.array([0.5, -1.0, 2.0])
        weights = self.array(matrix, precise)
        evaluate = self.hooks.jacobian(lambda point: self.xp.sum(weights * point[0] ** 2, 1))
        got = self.hooks.to_numpy(evaluate((self.array(x, precise),)))
        error = float(np.finfo(precise).eps) ** (1.0 if self.exact_gradient else 0.5)
        tolerance = 20 * error * float(np.abs(matrix).max())
        must_match("jacobian", "must return the derivative of every output", got, 2 * matrix * x, tolerance)

    def test_value_and_jacobian_agree_with_each_alone(self, precise: str) -> None:
        """From one evaluation, and detached from any graph."""
        matrix, x = _values((2, 3)), np.array([0.5, -1.0, 2.0])
        weights = self.array(matrix, precise)
        evaluate = self.hooks.value_and_jacobian(lambda point: self.xp.sum(weights * point[0] ** 2, 1))
        value, rows = map(self.hooks.to_numpy, evaluate((self.array(x, precise),)))
        eps = float(np.finfo(precise).eps)
        size = 20 * float(np.abs(matrix).max())
        must_match("value_and_jacobian", "must return the value", value, matrix @ x**2, 4 * eps * size)
        tolerance = size * eps ** (1.0 if self.exact_gradient else 0.5)
        must_match("value_and_jacobian", "must return the derivative", rows, 2 * matrix * x, tolerance)

    def test_what_comes_out_is_detached(self) -> None:
        """Values, gradients, products and aux hold on to no graph, which would be as large as the evaluation."""
        point = (self._vector(),)
        if self.attached(point[0]) is None:
            pytest.skip(f"{type(self).__name__} does not declare `attached(array)`")

        def fun(point: Point) -> Array:
            return self.xp.sum(point[0] ** 3)

        def with_aux(point: Point) -> Any:
            return fun(point), ([point[0] * 2.0], None)

        value, gradient = self.hooks.value_and_grad(fun)(point)
        objective = _Function(with_aux, None if self._compiles_aux else False)
        (_, (aux, _)), _ = self.hooks.value_and_grad_with_aux(objective)(point)
        product = self.hooks.hvp(fun)(point, point)
        for hook, arrays in (("value_and_grad", (value, *gradient)), ("hvp", product), ("detach", aux)):
            promise = "must return arrays that are detached from any graph"
            must(hook, promise, [bool(self.attached(array)) for array in arrays], [False] * len(arrays))

    # Auxiliary output ------------------------------------------------------------------------------------

    def test_aux_comes_with_the_value(self, precise: str) -> None:
        """Both hooks return the arrays that `fun` computed at the point, and what is no array as it was."""
        rest, factors = object(), np.array([1.0, 3.0, 0.5])

        def objective(point: Point, weights: Array) -> Any:
            return self.xp.sum(weights * point[0] ** 2), ([weights * point[0], point[0] * 2.0], rest)

        fun = _Function(objective, None if self._compiles_aux else False)
        alone, both = self.hooks.value_with_aux(fun), self.hooks.value_and_grad_with_aux(fun)
        rounding = 20 * float(np.finfo(precise).eps)
        for x in (np.array([1.0, -0.5, 2.0]), np.array([0.5, 3.0, 0.0])):
            point, weights = (self.array(x, precise),), self.array(factors, precise)
            pair, (gradient,) = both(point, weights)
            for hook, (value, (arrays, kept)) in (
                ("value_with_aux", alone(point, weights)),
                ("value_and_grad_with_aux", pair),
            ):
                expected = np.sum(factors * x**2)
                must_match(hook, "must return fun's value", self.hooks.to_numpy(value), expected, expected * rounding)
                must(hook, "must return the rest as it was", kept is rest, True)
                must(hook, "must return all arrays of aux", len(arrays), 2)
                for got, times in zip(arrays, (factors, 2.0), strict=True):
                    self._must_be_like(hook, "array of aux", got, point[0])
                    must_match(hook, "must return aux at the point", self.hooks.to_numpy(got), times * x)
            error = 20 * float(np.finfo(precise).eps) ** (1.0 if self.exact_gradient else 0.5)
            must_match(
                "value_and_grad_with_aux", "must return the gradient", self._copy(gradient), 2 * factors * x, error
            )

    def test_aux_belongs_to_the_answer(self, method: str) -> None:
        """``Result.aux``, whatever else was evaluated before and after; compiled or not, without further calls."""
        problem = smooth()
        plain, x0, data = self._in_framework(problem, self.widest)
        structure, calls = optree.tree_structure(x0), [0]

        def fun(x: Nest, *data: Array) -> Any:
            calls[0] += 1
            return plain(x, *data), {"twice": optree.tree_map(lambda leaf: leaf * 2.0, x), "tag": ("text", None)}

        for compile in (None, False) if self._compiles_aux else (False,):
            calls[0] = 0
            res = self._minimize(fun, x0, args=data, method=method, has_aux=True, compile=compile)
            twice = optree.tree_map(self._copy, res.aux["twice"])
            x = optree.tree_map(self._copy, res.x)
            must_match("value_and_grad_with_aux", f"must belong to {method}'s answer", flat(twice), 2 * flat(x))
            must("minimize", "must nest aux as `fun` did", optree.tree_structure(res.aux["twice"]), structure)
            must("minimize", "must hand on what is no array", res.aux["tag"], ("text", None))
            for got, like in zip(optree.tree_leaves(res.aux["twice"]), optree.tree_leaves(x0), strict=True):
                self._must_be_like("detach", "array of aux", got, like)
        without = self._minimize(plain, x0, args=data, method=method, compile=False)
        must("minimize", "must not evaluate more for aux", res.nfev, without.nfev)
        if not methods()[method].hess:
            must("value_and_grad_with_aux", "must call fun once an evaluation", calls[0], res.nfev)

    @property
    def _compiles_aux(self) -> bool:
        """Whether auxiliary outputs come out of compiled functions too, as far as there are any."""
        own = {hook for hook in ("value_with_aux", "value_and_grad_with_aux") if _is_own(self.hooks, hook)}
        return not self.compiles or len(own) == 2

    @property
    def _second_differences(self) -> int:
        """How many times a second derivative is differenced."""
        return 0 if self.exact_hvp else 1 if self.exact_gradient else 2

    # Laying arrays end to end ----------------------------------------------------------------------------

    def test_join_lays_end_to_end(self, precise: str) -> None:
        """What `split` cut, in arrays of any shape, in the widest of their dtypes and on their device."""
        first, second, third = self.array(_values((2,)), precise), self.array(np.array(7.0), precise), _values((2, 2))
        vector = self.hooks.join((first, second, self.array(third, self.widest)))
        if vector is None:
            pytest.skip(
                f"{type(self).__name__} does not declare `join` for arrays that are here: they are brought over singly"
            )
        self._must_be_like("join", "vector", vector, self.array(np.zeros(7), self.widest))
        expected = [*_values((2,)), 7.0, *third.ravel()]
        must_match("join", "must lay arrays end to end in order", self.hooks.to_numpy(vector), expected)

    # For solvers on the device ---------------------------------------------------------------------------

    def test_namespace_computes(self) -> None:
        """`array_namespace` finds functions of the array API that take the backend's arrays."""
        array = self._vector()
        xp = array_namespace({"x": array}) if self.own_arrays else self.hooks.namespace(array)
        got = self.hooks.to_numpy(xp.sum(xp.exp(xp.astype(array, xp.float32)) * 2))
        expected = np.sum(np.exp(_values((3,))) * 2)
        must_match("namespace", "must have the array API's functions", got, expected, 1e-4)

    def test_namespace_has_what_methods_on_the_device_call(self) -> None:
        """Functions of the array API, over arrays with its attributes; for NumPy's arrays dmin takes NumPy's own."""
        array = self.hooks.from_numpy(_values((3,)), self._vector())
        if isinstance(array, np.ndarray):
            pytest.skip(
                f"{type(self).__name__} does not declare arrays but NumPy's, for which dmin has NumPy's functions"
            )
        xp = self.hooks.namespace(array)
        promise = "must lack none of the functions that methods on the device call"
        must("namespace", promise, [name for name in CALLED if not hasattr(xp, name)], [])
        lacking = [name for name in ("device", "dtype", "ndim", "shape") if not hasattr(array, name)]
        must("from_numpy", "must make arrays that lack none of the array API's attributes", lacking, [])

    def test_control_flow_computes(self) -> None:
        """`while_loop`, `cond` and `compile`, whether they run eagerly or not."""
        start = (self.array(np.array(1.0), self.widest), self.array(np.array(0.0), self.widest))
        doubled, _ = self.hooks.while_loop(lambda s: s[1] < 5, lambda s: (s[0] * 2, s[1] + 1), start)
        must_match("while_loop", "must run the body while the condition holds", self.hooks.to_numpy(doubled), 32.0)
        for predicate, expected in ((start[0] > 0, 3.0), (start[0] < 0, -3.0)):
            chosen = self.hooks.cond(predicate, lambda x: x * 3, lambda x: x * -3, (start[0],))
            must_match("cond", "must take the branch that the predicate says", self.hooks.to_numpy(chosen), expected)
        compiled = self.hooks.compile(lambda point: (point[0] * 2,))
        for _ in range(2):
            must_match("compile", "must not change the function", self.hooks.to_numpy(compiled((start[0],))[0]), 2.0)

    def test_rows_are_put_in_their_place(self) -> None:
        """`put_row`, by which a solver's history is written; where it is compiled the index is an array."""
        values, row = _values((3, 2)), np.array([7.0, -7.0])
        expected = values.copy()
        expected[1] = row
        for index in (1, self.hooks.namespace(self._vector()).asarray(1)) if self.compiles else (1,):
            made = self.hooks.put_row(self.array(values, self.widest), index, self.array(row, self.widest))
            must_match(
                "put_row", "must put the row in its place, and keep the others", self.hooks.to_numpy(made), expected
            )

    def test_arrays_are_no_models(self) -> None:
        """`adopt` takes over models alone: what is nothing of the sort stays with the core."""
        for x0 in ({"w": self._vector()}, [self._vector()], object()):
            must("adopt", f"must return None for a {type(x0).__name__}", self.hooks.adopt(x0), None)

    # What is left as it was ------------------------------------------------------------------------------

    def test_x0_is_not_modified(self) -> None:
        """Neither by solvers nor by an objective that writes into what it is given, where the framework lets it."""
        problem = smooth()
        fun, x0, data = self._in_framework(problem, self.widest)

        def writes(x: Nest, *data: Array) -> Array:
            value = fun(x, *data)
            for leaf in optree.tree_leaves(x):
                _write(leaf)
            return value

        before = optree.tree_map(self._copy, x0)
        for method in ("L-BFGS-B", "Nelder-Mead"):
            clean = self._minimize(fun, x0, args=data, method=method)
            res = self._minimize(writes, x0, args=data, method=method)
            after = optree.tree_map(self._copy, x0)
            must_match("from_numpy", "must not share x0's memory with what fun gets", flat(after), flat(before))
            must_match(
                "from_numpy",
                f"must not share memory of {method} with what fun gets",
                res.history.fun,
                clean.history.fun,
            )

    def test_global_state_is_left_alone(self) -> None:
        """Gradient mode, default dtype, seeds: as they were, after a run and after an error in `fun`."""
        before = self.state()
        if before is None:
            pytest.skip(f"{type(self).__name__} does not define `state()`")

        def fails(x: Nest, *data: Array) -> Array:
            raise ZeroDivisionError

        fun, x0, data = self._in_framework(smooth(), self.widest)
        for method in ("L-BFGS-B", "trust-ncg", "dogleg", "Nelder-Mead"):
            self._minimize(fun, x0, args=data, method=method)
            must("The backend", f"must leave the framework's state alone ({method})", self.state(), before)
            with pytest.raises(ZeroDivisionError):
                self._minimize(fails, x0, args=data, method=method)
            must("The backend", f"must restore the state after an error ({method})", self.state(), before)

    def test_points_outlive_the_evaluation(self, gradient_method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What `feed` made is never written again by a solver: `fun` may have kept it."""
        fun, x0, data = self._in_framework(smooth(), self.widest)
        made = self._record(monkeypatch, "feed")
        self._minimize(fun, x0, args=data, method=gradient_method)
        for before, array in made:
            promise = f"must not view memory that {gradient_method} writes"
            must_match("feed", promise, self.hooks.to_numpy(array), before)

    def test_what_feed_makes_cannot_be_written_through(self) -> None:
        """A backend that implements `feed` promises so: dmin keeps the very memory as the point that was evaluated."""
        if not self.hooks.shields:
            pytest.skip(f"{type(self).__name__} does not declare `feed`: the core's copies")
        fun, x0, data = self._in_framework(smooth(), self.widest)
        kept = Tree(x0, self.hooks).pack_x0()
        before = kept.copy()

        def writes(x: Nest, *data: Array) -> Array:
            value = fun(x, *data)
            for leaf in optree.tree_leaves(x):
                _write(leaf)
            return value

        objective = Objective(writes, Tree(x0, self.hooks), compile=False)
        self.hooks.value(objective)((self.hooks.feed(kept, Tree(x0, self.hooks).prototype),), *data)
        must_match("feed", "must keep what fun writes out of the array it was given", kept, before)

    def test_runs_are_deterministic(self) -> None:
        """The same call gives the same values, to the last bit."""
        fun, x0, data = self._in_framework(rosenbrock(), self.widest)
        first, second = (self._minimize(fun, x0, args=data, method="L-BFGS-B") for _ in range(2))
        must_match("value_and_grad", "must be deterministic", second.history.fun, first.history.fun)

    def test_runs_inside_fun_disturb_nothing(self) -> None:
        """`fun` may minimise something itself: an evaluation keeps nothing where another would write."""
        fun, x0, data = self._in_framework(rosenbrock(), self.widest)
        inner, start, weights = self._in_framework(smooth(), self.widest)
        found: list[Any] = []

        def nests(x: Nest, *data: Array) -> Array:
            if not found:
                found.append(self._minimize(inner, start, args=weights, method="L-BFGS-B"))
            return fun(x, *data)

        expected = self._minimize(inner, start, args=weights, method="L-BFGS-B")
        for method, hook in (("L-BFGS-B", self._evaluator), ("trust-krylov", "hvp")):
            found.clear()
            alone, res = (self._minimize(f, x0, args=data, method=method, compile=False) for f in (fun, nests))
            promise = f"must not be disturbed by a run inside fun ({method})"
            must_match(hook, promise, res.history.fun, alone.history.fun)
            must_match(
                hook, f"must not disturb a run inside fun ({method})", found[0].history.fun, expected.history.fun
            )

    def test_runs_in_two_threads_disturb_nothing(self) -> None:
        """Two at once, which meet before and after every call of `fun`, go as each goes alone."""
        fun, x0, data = self._in_framework(rosenbrock(), self.widest)
        starts = [x0, optree.tree_map(lambda leaf: leaf * 0.5, x0)]
        alone = [self._minimize(fun, start, args=data, method="L-BFGS-B", compile=False) for start in starts]

        def run(start: Nest) -> Callable[[Meet], Any]:
            return lambda meet: self._minimize(around(fun, meet), start, args=data, method="L-BFGS-B", compile=False)

        for res, expected in zip(at_once([run(start) for start in starts]), alone, strict=True):
            promise = "must not be disturbed by a run in another thread"
            must_match(self._evaluator, promise, res.history.fun, expected.history.fun)

    @property
    def _evaluator(self) -> str:
        """The hook that methods evaluate by."""
        return "value_and_grad" if self.exact_gradient else "value"

    # What an evaluation costs ----------------------------------------------------------------------------

    def test_one_evaluation_a_point(self, gradient_method: str) -> None:
        """SciPy asks for value and gradient apart; `fun` is called once for both."""
        fun, x0, data = self._in_framework(rosenbrock(), self.widest)
        calls = [0]

        def counted(x: Nest, *data: Array) -> Array:
            calls[0] += 1
            return fun(x, *data)

        res = self._minimize(counted, x0, args=data, method=gradient_method, options={"maxfun": 400}, compile=False)
        must("value_and_grad", "must call fun once an evaluation", calls[0], res.nfev)
        if self.exact_gradient:
            must("value_and_grad", "must return value and gradient of one evaluation", res.njev, res.nfev)

    def test_what_shares_the_hosts_memory_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`on_host`, where it is there, runs through the points that the hooks it stands for run through."""
        fun, x0, data = self._in_framework(rosenbrock(), self.widest)
        tree = Tree(x0, self.hooks)
        x = tree.pack_x0()
        evaluate = self.hooks.on_host(Objective(fun, tree), tree.prototype)
        if evaluate is None:
            pytest.skip(f"{type(self).__name__} does not declare `on_host`: points are made by `feed`")
        f, g = evaluate(x.copy(), *data)
        must("on_host", "must return a Python float", type(f), float)
        must("on_host", "must return a float64 host vector", (type(g), g.dtype), (np.ndarray, np.dtype(float)))
        value, gradient = self.hooks.value_and_grad(Objective(fun, tree))(tree.layout.point(x.copy()), *data)
        must_match("on_host", "must return the value of value_and_grad", f, float(self.hooks.to_numpy(value)))
        must_match("on_host", "must return its gradient", g, tree.layout.join(gradient))
        res = self._minimize(fun, x0, args=data, method="L-BFGS-B")
        self._go_by_hooks(monkeypatch)
        expected = self._minimize(fun, x0, args=data, method="L-BFGS-B")
        must_match("on_host", "must lead through the same points", res.history.fun, expected.history.fun)
        must("on_host", "must call fun once an evaluation", (res.nfev, res.njev), (expected.nfev, expected.njev))

    def _go_by_hooks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have every evaluation go by `feed`, `value_and_grad` and `to_numpy`, which can be counted."""
        monkeypatch.setattr(self.hooks, "on_host", lambda fun, like: None)

    def test_one_transfer_each_way(self, gradient_method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """An evaluation takes one vector to the device and brings one, and the value, back."""
        fun, x0, data = self._in_framework(rosenbrock(), self.widest)
        n = flat(rosenbrock().start).size
        self._go_by_hooks(monkeypatch)
        up = self._record(monkeypatch, "feed")
        made = self._record(monkeypatch, "from_numpy")
        down = self._record(monkeypatch, "to_numpy")
        res = self._minimize(fun, x0, args=data, method=gradient_method, options={"maxfun": 400})
        points = [before for before, _ in up]
        must("feed", "must be called once an evaluation", len(points), res.nfev)
        again = sum((a == b).all() for a, b in itertools.pairwise(points))
        must("feed", "must not be given a point twice on end", again, 0)
        gradients = sum(before.shape == (n,) for before, _ in down)
        expected = res.njev if self.exact_gradient else 0
        must("to_numpy", "must be called once for each gradient", gradients, expected)
        # The rest: values, and a few for each of the three leaves at the door and for the result.
        must("to_numpy", "must not be called more often", len(down) - gradients <= res.nfev + 12, True)
        # The default of `feed` is from_numpy.
        must("from_numpy", "must not be called more often", len(made) <= res.nfev + 12, True)

    def test_gradients_of_the_user_come_down_in_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many leaves they are nested in, where the backend joins what is not on the host."""
        leaves = [self.array(_values(shape), self.widest) for shape in [(2,), (2, 3), ()]]
        if self.hooks.join(leaves[:2]) is None:
            pytest.skip(
                f"{type(self).__name__} does not declare `join` for arrays that are here: they are brought over singly"
            )

        def fun(x: Nest) -> Array:
            return sum(self.xp.sum((leaf - 2.0) ** 2) for leaf in x)

        def slope(x: Nest) -> Nest:
            return [2.0 * (leaf - 2.0) for leaf in x]

        down = self._record(monkeypatch, "to_numpy")
        res = self._minimize(fun, leaves, jac=slope)
        brought = [before.size for before, _ in down if before.size > 1]
        must_match("join", "must lead to the minimum", res.fun, 0.0, 1e-6)
        # The start is brought leaf by leaf, and two of these leaves are more than a number.
        must("to_numpy", "must be called once for each gradient", len(brought), 2 + res.njev)

    def test_large_leaves_cross_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many arrays a point is of (`own_array`): each number goes up once an evaluation, and down once."""
        sizes = {"a": 3, "b": 50_000, "c": 2, "d": 40_000, "e": 1}
        like = self.array(np.zeros(1), self.widest)
        large = [bool(self.hooks.own_array(size, like)) for size in sizes.values()]
        arrays = 1 + sum(one or other for one, other in itertools.pairwise(large))
        x0 = {name: self.array(np.linspace(-1.0, 1.0, size), self.widest) for name, size in sizes.items()}

        def fun(x: Nest) -> Array:
            return sum(self.xp.sum((leaf - 2.0) ** 2) for leaf in x.values())

        def slope(x: Nest) -> Nest:
            return {name: 2.0 * (leaf - 2.0) for name, leaf in x.items()}

        jac = None if self.exact_gradient else slope  # differences of so many numbers would take all day
        self._go_by_hooks(monkeypatch)
        up, down = self._record(monkeypatch, "feed"), self._record(monkeypatch, "to_numpy")
        res = self._minimize(fun, x0, method="L-BFGS-B", jac=jac, options={"maxiter": 3})
        fed, n = [before.size for before, _ in up], sum(sizes.values())
        brought = [before.size for before, _ in down if before.ndim == 1]
        must_match("value_and_grad", "must lead to the minimum", self._copy(res.x["b"]), np.full(50_000, 2.0), 1e-3)
        evaluations = res.nfev if self.exact_gradient else res.nfev + res.njev
        must("feed", "must be given every number once an evaluation", sum(fed), evaluations * n)
        if self.exact_gradient:
            must("feed", "must be called once for each array of the point", len(fed), evaluations * arrays)
            # The start, which is brought down leaf by leaf, and the gradients.
            must("to_numpy", "must bring every number once a gradient", sum(brought), (1 + res.njev) * n)
            must("to_numpy", "must be called once for each array of a gradient", len(brought), 5 + res.njev * arrays)

    def test_compiles_once(self) -> None:
        """`fun` is traced in the first run; the second run of the same `fun` compiles nothing."""
        self._require("compiles")
        fun, x0, data = self._in_framework(rosenbrock(), self.widest)
        calls = [0]

        def counted(x: Nest, *data: Array) -> Array:
            calls[0] += 1
            return fun(x, *data)

        res = self._minimize(counted, x0, args=data, method="L-BFGS-B")
        must("value_and_grad", "must not call fun at each evaluation", calls[0] < res.nfev, True)
        traced = calls[0]
        self._minimize(counted, x0, args=data, method="L-BFGS-B")
        must("value_and_grad", "must not trace fun again in a second run", calls[0], traced)

    def test_frozen_arrays_are_inputs(self) -> None:
        """Runs that differ in the values of frozen leaves alone share what was compiled."""
        self._require("compiles")
        calls = [0]

        def fun(x: Nest) -> Array:
            calls[0] += 1
            return self.xp.sum((x["w"] - x["to"]) ** 2 * x["scale"])

        traced = []
        for value in (1.0, 2.0):
            x0 = {"w": self.array(np.zeros(2), self.widest), "to": self.array(np.full(2, value), self.widest)}
            res = self._minimize(fun, {**x0, "scale": value}, method="L-BFGS-B", frozen=["to", "scale"])
            must_match(
                "value_and_grad", "must take what comes after the point", self._copy(res.x["w"]), [value] * 2, 1e-3
            )
            traced.append(calls[0])
        must("value_and_grad", "must not trace fun again for other arguments of the same kind", traced[1], traced[0])

    # Whole runs ------------------------------------------------------------------------------------------

    # SciPy's quasi-Newton update for trust-constr says so of two equal differences, as float32 has them.
    @pytest.mark.filterwarnings("ignore:delta_grad == 0.0:UserWarning")
    def test_every_method_finds_the_minimum(self, method: str) -> None:
        """A well-conditioned function of two leaves."""
        self._check_answer(smooth(), method)

    def test_bounds_are_kept(self) -> None:
        """A minimum on bounds."""
        self._check_answer(bounded(), "L-BFGS-B")

    def test_result_is_what_x0_was(self, dtype: str) -> None:
        """Container, class, dtype, shape and device of every leaf; an empty leaf and a static one too."""
        x0: Nest = {
            "w": self.array(_values((2, 2)), dtype),
            "rest": [self.array(np.array(2.0), dtype), self.array(np.zeros((0, 3)), dtype), "static"],
        }

        def fun(x: Nest) -> Array:
            return self.xp.sum((x["w"] - 1.0) ** 2) + (x["rest"][0] - 1.0) ** 2

        res = self._minimize(fun, x0, method="L-BFGS-B", options={"maxiter": 2})
        must("minimize", "must return x0's nest", optree.tree_structure(res.x), optree.tree_structure(x0))
        must("minimize", "must return static leaves as they are", res.x["rest"][2], "static")
        for got, like in zip([res.x["w"], *res.x["rest"][:2]], [x0["w"], *x0["rest"][:2]], strict=True):
            self._must_be_like("restore", "leaf of the result", got, like)

    def test_gradient_of_the_result_is_plain(self) -> None:
        """`Result.jac` is nested as x0 is and holds the framework's arrays."""
        fun, x0, data = self._in_framework(smooth(), self.widest)
        res = self._minimize(fun, x0, args=data, method="L-BFGS-B")
        must(
            "minimize", "must return a gradient in x0's nest", optree.tree_structure(res.jac), optree.tree_structure(x0)
        )
        for got, like in zip(optree.tree_leaves(res.jac), optree.tree_leaves(x0), strict=True):
            self._must_be_like("from_numpy", "leaf of the gradient", got, like)

    def test_frozen_leaves_are_handed_on(self) -> None:
        """`fun`, run as plain Python, and the result have the very leaves that are frozen, of whatever dtype."""
        x0 = {
            "w": self.array(np.zeros(2), self.widest),
            "to": self.array(np.array([1.0, -2.0]), self.widest),
            "which": np.arange(2),
        }
        seen: list[Nest] = []

        def fun(x: Nest) -> Array:
            seen.append(x)
            return self.xp.sum((x["w"] - x["to"]) ** 2)

        for compile in (None, False):
            seen.clear()
            res = self._minimize(fun, x0, method="L-BFGS-B", frozen=["to", "which"], compile=compile)
            must_match("minimize", "must optimise what is left", self._copy(res.x["w"]), [1.0, -2.0], 1e-3)
            for name in ("to", "which"):
                must("minimize", "must return frozen leaves as they are", res.x[name] is x0[name], True)
                must("minimize", "must not make up a gradient for frozen leaves", res.jac[name], None)
                if compile is False or not self.compiles:
                    same = all(x[name] is x0[name] for x in seen)
                    must("value_and_grad", "must hand on arguments after the point as they are", same, True)

    def _check_answer(self, problem: KnownProblem, method: str) -> None:
        fun, x0, data = self._in_framework(problem, self.widest)
        res = self._minimize(fun, x0, args=data, method=method, bounds=problem.bounds)
        who, eps = f"{method} with {self.backend}", float(np.finfo(self.widest).eps)
        gap, distance = problem.tolerances(eps, methods()[method], exact_gradient=self.exact_gradient)
        x = flat(optree.tree_map(self._copy, res.x))
        must_match(who, f"must find the least value ({res.message})", res.fun, problem.value, gap)
        must_match(who, f"must find the minimum ({res.message})", x, flat(problem.answer), distance)

    # What the checks are made of -------------------------------------------------------------------------

    def _minimize(self, fun: Callable[..., Any], x0: Nest, **named: Any) -> Any:
        return minimize(fun, x0, backend=None if self.own_arrays else self.backend, **named)

    def _vector(self) -> Array:
        return self.array(_values((3,)), self.widest)

    def _copy(self, array: Array) -> np.ndarray:
        return np.array(self.hooks.to_numpy(array))

    def _double(self, array: Array) -> np.ndarray:
        return self._copy(array).astype(float)

    def _in_framework(self, problem: KnownProblem, dtype: str) -> tuple[Callable[..., Array], Nest, tuple[Array, ...]]:
        return problem.pose(self.xp, lambda values: self.array(values, dtype))

    def _pose(self, problem: KnownProblem, dtype: str) -> _Posed:
        fun, x0, data = self._in_framework(problem, dtype)
        tree = Tree(x0, self.hooks)
        x = tree.pack_x0()
        # At what the leaves and the data really are, rounded to the dtype.
        host = optree.tree_map(self._double, x0), tuple(map(self._double, data))
        point = (self.hooks.from_numpy(x.copy(), tree.prototype),)
        return _Posed(Objective(fun, tree), point, data, x, *problem.derivatives(*host))

    def _must_be_like(self, hook: str, what: str, got: Array, like: Array) -> None:
        __tracebackhide__ = True
        must(hook, f"must return a {what} of the right class", type(got), type(like))
        must(hook, f"must return a {what} of the right shape", tuple(got.shape), tuple(like.shape))
        must(hook, f"must return a {what} of the right dtype", _name(got.dtype), _name(like.dtype))
        must(hook, f"must return a {what} on the right device", self.hooks.device(got), self.hooks.device(like))

    def _record(self, monkeypatch: pytest.MonkeyPatch, hook: str) -> list[tuple[np.ndarray, Array]]:
        """Every call of a hook that moves arrays from now on: the host's values then, and the array."""
        calls: list[tuple[np.ndarray, Array]] = []
        original = getattr(self.hooks, hook)

        def recorded(array: Any, *like: Any) -> Any:
            result = original(array, *like)
            host, other = (result, array) if hook == "to_numpy" else (array, result)
            calls.append((np.array(host), other))
            return result

        monkeypatch.setattr(self.hooks, hook, recorded)
        return calls


class _Function:
    """A function of a point, with what `Objective` says of compiling."""

    def __init__(self, function: Callable[..., Any], compile: bool | None) -> None:
        self.function, self.compile = function, compile

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


@dataclasses.dataclass(frozen=True)
class _Posed:
    """A known problem at its start, as a backend gets it and as NumPy knows it."""

    objective: Objective
    point: Point
    data: tuple[Array, ...]
    x: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray

    def tolerance(self, dtype: str, differences: int) -> float:
        """What rounding, or so many differences one of another, may do to the numbers of this problem."""
        error = float(np.finfo(dtype).eps) ** (1.0, 1 / 2, 1 / 3)[differences]
        steepest = float(np.abs(self.hessian).sum(axis=1).max()) * (1.0 + float(np.abs(self.x).max()))
        return 4 * error * (abs(self.value) + float(np.abs(self.gradient).max()) + steepest)


def _values(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that every floating dtype holds exactly."""
    return (np.arange(np.prod(shape, dtype=int)) / 4 - 1.0).reshape(shape)


def _name(dtype: Any) -> str:
    """``"float32"`` of ``numpy.float32``, ``torch.float32`` and ``tf.float32``."""
    return (getattr(dtype, "name", None) or str(dtype)).rpartition(".")[2]


def _is_own(backend: Backend, hook: str) -> bool:
    """Whether the backend implements the hook, or the core does."""
    return not getattr(backend, hook).__module__.startswith("dmin_core._defaults")


def _write(array: Array) -> None:
    try:
        array[...] = 0.0
    except Exception:  # noqa: BLE001 - whichever error a framework has for arrays that cannot be written
        return
