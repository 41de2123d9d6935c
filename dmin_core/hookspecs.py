"""What a backend, and a method, must provide: every hook, documented.

dmin needs very little of a framework: move an array to the host and back, evaluate a function with its
gradient, multiply a vector by its Hessian, say where an array lives. `BackendSpec` is that list. Backends see
*points*, never nests: a point is a tuple of arrays, normally of one flat vector that holds every leaf. So a
backend is about thirty lines, and everything that has to do with the user's own containers is written once,
in the core.

A backend is a module (or any object) whose functions carry `hookimpl`::

    from dmin_core import hookimpl


    @hookimpl
    def device(array):
        return "cpu"

and whose distribution names it under the entry-point group ``dmin.backends``. ``docs/write-a-backend.md``
builds one from nothing. All hooks are ``firstresult``; the core's own implementations are registered
``trylast``, so that what a backend leaves out comes from there. Hooks that return callables are called once a
run: inside the solver's loop nothing goes through pluggy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pluggy

if TYPE_CHECKING:
    from ._models import Model
    from ._problem import Problem
    from .solvers import Method

Array: TypeAlias = Any
"""An array of the backend's framework."""
Point: TypeAlias = "tuple[Any, ...]"
"""What an objective is a function of: normally one flat vector."""
Aux: TypeAlias = "tuple[Sequence[Any], Any]"
"""Auxiliary output of an objective: its arrays, and the rest, which is the core's."""

BACKENDS = "dmin.backends"
SOLVERS = "dmin.solvers"

hookspec = pluggy.HookspecMarker("dmin")
hookimpl = pluggy.HookimplMarker("dmin")


class BackendSpec:
    """The hooks of a backend.

    ``to_numpy``, ``from_numpy`` and ``device`` have no default. ``value_and_grad`` and ``hvp`` have one, finite
    differences, for frameworks without automatic differentiation: a backend whose framework can differentiate
    implements both. The rest are refinements.
    """

    # What every backend must provide ---------------------------------------------------------------------

    @hookspec(firstresult=True)
    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy ``array`` to the host, or view it there.

        Parameters
        ----------
        array : array of the framework, of any shape

        Returns
        -------
        numpy.ndarray
            Same shape, with no gradient attached. float16 and bfloat16 come as float32, float32 and float64 as
            they are.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def from_numpy(self, array: np.ndarray, like: Array | None) -> Array:
        """Make an array of the framework with ``like``'s dtype, device and sharding.

        Parameters
        ----------
        array : numpy.ndarray
            Floating, of any shape. It belongs to the callee: it will not be written again by dmin, and may be
            viewed instead of copied unless the framework lets `fun` write into it.
        like : array of the framework, or None
            None: ``array``'s own dtype on the framework's default device.

        Returns
        -------
        array of the framework
            A plain one, whatever ``like`` is: `restore` makes subclasses.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def feed(self, array: np.ndarray, like: Array) -> Array:
        """Make what is handed to an evaluator, once an evaluation: `from_numpy` where that is the quickest.

        A framework whose compiled functions take NumPy's arrays themselves may return ``array`` in ``like``'s dtype.
        Whoever implements this hook promises that `fun` cannot write into ``array`` through what was made, because it
        is a copy or an array that is never written: dmin then keeps ``array`` itself as the point that was evaluated,
        and saves a copy an evaluation. A backend whose `from_numpy` always copies may list that under this name too.

        Notes
        -----
        Default: `from_numpy`, of a copy.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def own_array(self, size: int, like: Array) -> bool:
        """Say whether a leaf of ``size`` numbers is better an array of its own in a point than part of a common one.

        Asked for every leaf, once a run. Leaves for which it is False lie end to end in one vector, up to the next for
        which it is True; all arrays are flat, in ``like``'s dtype and on its device. Each is a copy to the device
        and back of its own at every evaluation.

        Notes
        -----
        Default: False, one flat vector for all leaves. True pays where a compiler fuses the concatenation of a large
        gradient with what computes it, number by number (JAX on a CPU).
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def is_sharded(self, array: Array) -> bool:
        """Say whether the numbers of a leaf are spread over several devices, or copied to each of several.

        If any leaf's are, every leaf is an array of its own in a point, of its own shape, and `feed` and `from_numpy`
        are called with a ``like`` of that shape: nothing is laid end to end, which would bring the parts together.
        `restore` is asked, outside `fun`, to put an array where the leaf lay.

        Notes
        -----
        Default: False.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def device(self, array: Array) -> str:
        """Say where ``array`` lives, as the framework spells it: ``"cpu"``, ``"cuda:0"``."""
        raise NotImplementedError

    # Derivatives -----------------------------------------------------------------------------------------

    @hookspec(firstresult=True)
    def value_and_grad(self, fun: Callable[..., Array]) -> Callable[..., tuple[Array, Point]]:
        """Return ``evaluate(point, *args) -> (value, gradient)``, compiled where the framework compiles.

        Parameters
        ----------
        fun : callable
            ``fun(point, *args)``, a scalar of the framework (0-d array, or a Python float). Hashable; equal for
            equal objectives over nests of equal structure, shapes and dtypes, so that it may key a cache. Where it has
            an attribute ``compile`` that is False, it is to be run as plain Python.

        Returns
        -------
        callable
            ``value`` is a 0-d array, which ``float()`` reads, and ``gradient`` a point with the shapes and dtypes
            of ``point``, both detached from any graph; the arrays are new at every call. The state of the framework
            (gradient mode, default dtype, seeds) is as it was before, ``point`` too, and what ``fun`` raises passes
            through. While ``fun`` runs, other evaluators may be called, in it and in other threads.

        Notes
        -----
        Default: forward differences with SciPy's step rule.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def on_host(self, fun: Callable[..., Array], like: Array) -> Callable[..., tuple[float, np.ndarray]] | None:
        """Return ``evaluate(x, *args) -> (f, g)`` over host vectors, where framework and host share their memory.

        What `from_numpy`, `value_and_grad` and `to_numpy` come to, in one function.

        Parameters
        ----------
        fun : callable
            As for `value_and_grad`; called with a point of one vector.
        like : array
            Whose dtype and device that vector would have.

        Returns
        -------
        callable or None
            None where anything would be copied between ``x`` and the vector, to another dtype or device.
            ``x`` (n,) float64 is the call's own and may be viewed; ``f`` is a Python float, ``g`` (n,) float64 new.

        Notes
        -----
        Default: None. It pays for frameworks in which an evaluation may take no more than 100 µs: each call between
        solver and `fun` then counts (4 of 150 µs in torch).
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def hvp(self, fun: Callable[..., Array]) -> Callable[..., Point]:
        """Return ``product(point, vector, *args) -> Hessian of fun at point, times vector``.

        ``vector`` and the product are points with the shapes and dtypes of ``point``. Solvers ask for many
        products at one point, and dmin then passes the same ``point`` object: a backend may keep what does not
        depend on ``vector`` until another comes.

        Notes
        -----
        Default: differences of the gradient along ``vector``. Source of the exact product: Pearlmutter (1994),
        "Fast Exact Multiplication by the Hessian", Neural Computation 6(1), section 3.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def value(self, fun: Callable[..., Array]) -> Callable[..., Array]:
        """Return ``evaluate(point, *args) -> value`` without a gradient, for methods that use none.

        Where the user gives derivatives it wraps those too, and passes on whatever they return.

        Notes
        -----
        Default: calls ``fun`` as it is.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def value_with_aux(self, fun: Callable[..., tuple[Array, Aux]]) -> Callable[..., tuple[Array, Aux]]:
        """Return ``evaluate(point, *args) -> (value, aux)``: `value` where `fun` has auxiliary output.

        Parameters
        ----------
        fun : callable
            ``fun(point, *args) -> (scalar, (arrays, rest))``. ``arrays`` is a list of arrays of the framework, of any
            shapes and dtypes; ``rest`` is the core's own, whatever the framework: where `fun` is compiled, what it
            returned when it was traced comes back with every evaluation. Hashable and with ``compile``, as in
            `value_and_grad`.

        Notes
        -----
        Default: `value`, with aux put aside while `fun` runs, and `detach` for every array of it. A backend that
        compiles needs its own; without one, ``has_aux=True`` wants ``compile=False``.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def value_and_grad_with_aux(
        self, fun: Callable[..., tuple[Array, Aux]]
    ) -> Callable[..., tuple[tuple[Array, Aux], Point]]:
        """Return ``evaluate(point, *args) -> ((value, aux), gradient)``: `value_and_grad` with auxiliary output.

        Notes
        -----
        Default: `value_and_grad`, in the way of `value_with_aux`.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def detach(self, array: Array) -> Array:
        """Cut an array off from the graph or trace in which `fun` computed it.

        Asked of the arrays in auxiliary outputs, after an evaluation that was not compiled.

        Notes
        -----
        Default: returns ``array``, for frameworks that differentiate plain arrays, or not at all.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def hessian(self, fun: Callable[..., Array]) -> Callable[..., Array]:
        """Return ``evaluate(point, *args) -> (n, n) array``, the dense Hessian over all arrays of the point.

        Notes
        -----
        Default: `hvp` for every unit vector, symmetrised.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def jacobian(self, fun: Callable[..., Array]) -> Callable[..., Array]:
        """Return ``evaluate(point, *args) -> (m, n) array``, the derivative of ``fun(point, *args)`` of shape (m,).

        Notes
        -----
        Default: the gradient of each component, or forward differences where gradients are differences.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def is_failure(self, error: Exception) -> bool:
        """Say whether the framework reports by ``error`` that a computation failed at this point.

        A Cholesky factorisation of a matrix that is not positive definite, an inverse of a singular one: what counts as
        a value of +inf in the middle of a run. Errors in the user's own code do not.

        Parameters
        ----------
        error : Exception
            Raised out of what the hooks above returned.

        Notes
        -----
        Default: False. ``numpy.linalg.LinAlgError`` counts in every backend.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def value_and_jacobian(self, fun: Callable[..., Array]) -> Callable[..., tuple[Array, Array]]:
        """Return ``evaluate(point, *args) -> (value (m,), derivative (m, n))``, from one evaluation of ``fun``.

        Notes
        -----
        Default: `value` and `jacobian`, one after the other.
        """
        raise NotImplementedError

    # Shapes and classes ----------------------------------------------------------------------------------

    @hookspec(firstresult=True)
    def split(self, vector: Array, shapes: tuple[tuple[int, ...], ...], dtypes: tuple[Any, ...]) -> Sequence[Array]:
        """Cut a flat vector into arrays of these shapes and dtypes, in order, differentiably.

        Called inside whatever the framework differentiates or compiles. Views where the framework has them.

        Notes
        -----
        Default: slices, by the methods ``reshape`` and ``astype`` of arrays or, where they have none, the functions of
        `namespace`.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def join(self, arrays: Sequence[Array]) -> Array | None:
        """Lay arrays of the framework end to end in a new flat vector on their device: the inverse of `split`.

        So that a gradient which the user computes leaf by leaf comes to the host in one copy. All are floating and on
        one device; where their dtypes differ, the vector has the widest.

        Returns
        -------
        array of the framework, or None
            None where each may be brought to the host by itself, because they are there already. Asked once a run,
            for leaves of ``x0``, and not again if it is None.

        Notes
        -----
        Default: None.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def restore(self, array: Array, like: Array, inside: bool) -> Array:
        """Give ``array`` the class of the user's own leaf ``like`` (a parameter, a variable, a subclass).

        Parameters
        ----------
        array : array of the framework
            With ``like``'s shape and dtype.
        like : array
            The leaf as it stood in ``x0``.
        inside : bool
            True: ``array`` is about to be handed to `fun` and is part of a differentiated computation, which
            must not be cut. False: it is part of a result.

        Notes
        -----
        Default: returns ``array``. Where the framework compiles, a frozen leaf comes in both places, inside: what is
        returned is to be an input of the compiled function, an array and not a variable.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def container(self, node: Any) -> tuple[Sequence[Any], Any, Sequence[str | None]] | None:
        """Take apart a container that is registered with the framework and unknown to optree.

        Returns
        -------
        children, structure, names, or None
            None for whatever is no container. ``structure`` is hashable, and equal for containers alike but for their
            children; ``names`` are the attributes that the children are, or None where they are none.

        Notes
        -----
        Default: None.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def rebuild(self, structure: Any, children: Sequence[Any]) -> Any:
        """Put together what `container` took apart.

        Notes
        -----
        Default: an error, for a backend that takes nothing apart.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def adopt(self, x0: Any) -> Model | None:
        """Take over a model of the framework's: an object that holds its parameters and is called.

        Parameters
        ----------
        x0 : object
            What `minimize` was given: no array, and perhaps a model.

        Returns
        -------
        Model or None
            As `dmin_core._models.Model` describes it; None for whatever is no model.

        Notes
        -----
        Default: None.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def namespace(self, array: Array) -> Any:
        """Return the array-API namespace for ``array``.

        The methods on the device compute with it: the arrays too are then the standard's, with its operators and the
        attributes ``device``, ``dtype``, ``ndim`` and ``shape``. For NumPy's arrays they take NumPy's own.

        Notes
        -----
        Default: array-api-compat's.
        """
        raise NotImplementedError

    # For solvers that run on the device ------------------------------------------------------------------

    @hookspec(firstresult=True)
    def compile(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``fun(point, *args) -> point`` compiled (default: as it is).

        The arrays of these points may be of any dtypes and shapes: a solver's whole state. What has been said of
        ``fun`` and of ``args`` at `value_and_grad` holds here too: equal functions share what was compiled. Where
        ``fun`` has an attribute ``spent``, so many of the point's first arrays are not looked at again after a call:
        their memory may become the result's. Where it has ``carried``, so many of the first arrays that go in are as
        many that come out first, with the same shapes and dtypes, and are to lie where they lay.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def compile_fun(self, fun: Callable[..., Any], like: Array) -> Callable[..., Any]:
        """Return the user's ``fun`` compiled, for ``compile=True`` in a framework that does not compile by itself.

        It is called with the nest, not with a point, from inside what `value_and_grad`, `value` and `on_host` are
        given, whose attribute ``compile`` is then True; never by what differentiates twice. Equal functions are to
        share what was compiled.

        Parameters
        ----------
        fun : callable
            ``fun(x, *args)``, with everything the user's returns.
        like : array
            On the device where it will be called.

        Notes
        -----
        Default: none; ``compile=True`` is an error then.
        """
        raise NotImplementedError

    @hookspec(firstresult=True)
    def while_loop(self, cond: Callable[[Any], Any], body: Callable[[Any], Any], state: Any) -> Any:
        """Apply ``body`` to ``state`` while ``cond(state)``; return the last state (default: Python's loop)."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def cond(
        self, predicate: Any, true: Callable[..., Any], false: Callable[..., Any], operands: tuple[Any, ...]
    ) -> Any:
        """``true(*operands)`` if ``predicate`` else ``false(*operands)`` (default: Python's choice)."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def put_row(self, array: Array, index: Any, row: Array) -> Array:
        """Return ``array`` with ``row`` in the place of ``array[index]``.

        ``array`` is not looked at again, so that it may be written into: this is what keeps a solver's history from
        being copied at each iteration. Called inside what is compiled, too, where ``index`` is an array of integers.

        Notes
        -----
        Default: assigns to ``array[index]``.
        """
        raise NotImplementedError

    # What `python -m dmin_core` prints -------------------------------------------------------------------

    @hookspec(firstresult=True)
    def framework(self) -> str:
        """Name and version of the framework, as ``"torch 2.13.0"`` (default: the backend's name alone)."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def devices(self) -> Sequence[str]:
        """Devices that can be used here, as the framework spells them (default: ``("cpu",)``)."""
        raise NotImplementedError


class SolverSpec:
    """The hooks of a distribution that adds methods, found through the entry-point group ``dmin.solvers``.

    Entry names are the methods' names, as in ``minimize(method=name)``, in any case.
    """

    @hookspec(firstresult=True)
    def describe(self, name: str) -> Method:
        """Say what the method can do and which options it has; `minimize` refuses the rest at the door."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def solve(
        self,
        name: str,
        problem: Problem,
        tol: float | None,
        callback: Callable[[Any], Any],
        options: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Minimise ``problem`` from ``problem.x0``.

        Parameters
        ----------
        name : str
            The method, as `describe` named it.
        problem : Problem
            ``x0`` (n,) float64; ``bounds``, None or a pair of (n,) float64 arrays; ``value(x)``,
            ``gradient(x)``, ``value_and_gradient(x)``, ``product(x, v)`` and ``hessian(x)`` in NumPy float64, always
            finite: where `fun` is not, they are such that a line search or a trust region shortens its step. The
            problem counts, keeps the best point and stops the run (by an exception that must be let through).
            Where `describe` says ``constraints``, its ``constraints`` may be non-empty: then it is a
            `ConstrainedProblem`, ``lb <= constraint_values(x) <= ub`` is to hold at the answer, and
            ``constraint_jacobian(x)`` is their derivative.
        tol : float or None
            The user's ``tol``.
        callback : callable
            To be called once an iteration: with ``x`` (n,) if it is the point that was evaluated last, else with an
            ``OptimizeResult`` of ``x`` and ``fun``.
        options : mapping
            The user's options: those that `describe` named, with the values that the user gave, and what dmin sees to,
            ``maxfun``, ``maxtime`` and ``disp``, where they were given.

        Returns
        -------
        mapping
            At least ``x``, a vector (n,) that was evaluated; ``success``, True or False; ``status``, an int;
            ``message``, a str. Also ``nit``, an int, if it is not the number of calls of ``callback``, and ``fun``, a
            float. Anything else is handed to the user; ``multipliers`` (m,) and ``bound_multipliers`` (n,), with
            trust-constr's signs, are nested first. What is not so is a `MethodError` that names the method. ``x`` need
            not be finite where ``success`` is False.
        """
        raise NotImplementedError
