"""How each peer of README.md's table is asked to solve a problem: in its own words, as its documentation has it.

An adapter takes a `Problem` and returns the answer as the peer gives it. It does what the peer leaves to its user
(gradients for dict_minimize and TensorFlow Probability), and raises `NotOffered` for what the peer's interface has no
words for. Where a peer has several interfaces, the one that can do it is taken. Imports are inside the functions, so
that a peer that is not installed can be left out.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import frameworks

TOLERANCE = 1e-8


class NotOffered(Exception):
    """A peer's interface has no way to ask for it."""


@dataclass(frozen=True)
class Problem:
    """To minimise `fun` from `x0`; `bounds` hold for every number, and every value of `constraint` must be >= 0."""

    fun: Callable[[Any], Any]
    x0: Any
    method: str | None = None
    bounds: tuple[float, float] | None = None
    constraint: Callable[[Any], Any] | None = None

    def refuse(self, *names: str) -> None:
        """Raise where one of these is asked for."""
        for name in names:
            if getattr(self, name) is not None:
                raise NotOffered(name)


def dmin(problem: Problem) -> Any:
    from dmin_core import minimize

    constraints = () if problem.constraint is None else {"type": "ineq", "fun": problem.constraint}
    given = {"method": problem.method, "bounds": problem.bounds, "constraints": constraints}
    return minimize(problem.fun, problem.x0, tol=TOLERANCE, **given).x


def scipy(problem: Problem) -> Any:
    from scipy.optimize import Bounds, minimize

    problem.refuse("constraint")  # whose Jacobian would be its user's, or differences
    bounds = None if problem.bounds is None else Bounds(*problem.bounds)
    return minimize(problem.fun, problem.x0, method=problem.method, bounds=bounds, tol=TOLERANCE).x


def dict_minimize(problem: Problem) -> Any:
    problem.refuse("constraint")
    framework = frameworks.of(problem.x0)

    def fun(leaves):
        return framework.value_and_gradient(problem.fun, leaves)

    return _dict_minimize(problem, framework, fun)


def dict_minimize_without_gradients(problem: Problem) -> Any:
    return _dict_minimize(problem, frameworks.of(problem.x0), problem.fun)


def _dict_minimize(problem: Problem, framework: frameworks.Framework, fun: Callable) -> Any:
    from importlib import import_module

    minimize = import_module(f"dict_minimize.{framework.long_name}_api").minimize
    alone = not isinstance(problem.x0, dict | list | tuple)
    if alone:
        x0 = OrderedDict(x=problem.x0)
        inner = fun

        def fun(leaves):
            found = inner(leaves["x"])
            return (found[0], OrderedDict(x=found[1])) if isinstance(found, tuple) else found

    else:
        x0 = OrderedDict(problem.x0)
    lower, upper = (
        [None, None]
        if problem.bounds is None
        else [OrderedDict((name, 0 * leaf + bound) for name, leaf in x0.items()) for bound in problem.bounds]
    )
    method = problem.method or "L-BFGS-B"
    found = minimize(fun, x0, lb_dict=lower, ub_dict=upper, method=method, tol=TOLERANCE)
    return found["x"] if alone else found


def pytorch_minimize(problem: Problem) -> Any:
    import torch
    import torchmin

    own = {"bfgs", "cg", "newton-cg", "dogleg", "trust-ncg", "trust-krylov", "trust-exact"}
    method = (problem.method or "l-bfgs").lower()
    if problem.bounds is not None:
        found = torchmin.minimize_constr(problem.fun, problem.x0, bounds=problem.bounds)
        if not found.success:  # its own solver for bounds; the other one is SciPy's
            found = torchmin.minimize_constr(problem.fun, problem.x0, bounds=problem.bounds, method="trust-constr")
        return found.x
    if isinstance(problem.x0, torch.Tensor) and problem.constraint is None and method in own | {"l-bfgs"}:
        return torchmin.minimize(problem.fun, problem.x0, method, max_iter=500).x
    leaves = in_place(problem.x0)
    flat = [leaves] if isinstance(leaves, torch.Tensor) else leaves
    if problem.method is None and problem.constraint is None and len({leaf.dtype for leaf in flat}) == 1:
        torchmin.Minimizer(flat, method="l-bfgs").step(lambda: problem.fun(leaves))
        return leaves
    more = {}
    if problem.constraint is not None:
        method, more = "trust-constr", {"constraints": {"fun": lambda: problem.constraint(leaves), "lb": 0.0}}
    method = "l-bfgs-b" if method == "l-bfgs" else method
    optimiser = torchmin.ScipyMinimizer(flat, method=method, tol=TOLERANCE, **more)
    optimiser.step(torch_closure(problem.fun, leaves, optimiser))
    return leaves


def in_place(x0: Any) -> Any:
    """A copy of a tensor, or of a flat list or dict of them, for peers that change what they are given."""
    if isinstance(x0, dict):
        return {name: in_place(leaf) for name, leaf in x0.items()}
    if isinstance(x0, list):
        return [in_place(leaf) for leaf in x0]
    return x0.detach().clone().requires_grad_()


def torch_closure(fun: Callable, leaves: Any, optimiser: Any) -> Callable:
    """What optimisers of torch's kind call: clears gradients, leaves new ones and returns the value."""

    def closure():
        optimiser.zero_grad()
        value = fun(leaves)
        value.backward()
        return value

    return closure


def torch_optim(problem: Problem) -> Any:
    import torch

    problem.refuse("method", "bounds", "constraint")
    leaves = in_place(problem.x0)
    flat = [leaves] if isinstance(leaves, torch.Tensor) else leaves
    optimiser = torch.optim.LBFGS(flat, max_iter=500, tolerance_grad=TOLERANCE, line_search_fn="strong_wolfe")
    optimiser.step(torch_closure(problem.fun, leaves, optimiser))
    return leaves


def torch_optim_steps(fun: Callable, x0: Any, count: int, saved: Any) -> tuple[Any, Any]:
    """`count` iterations from the start or from what was saved: the point, and what is to be saved."""
    import torch

    x, state = (x0, None) if saved is None else saved
    x = in_place(x)
    optimiser = torch.optim.LBFGS([x], max_iter=1, line_search_fn="strong_wolfe")
    if state is not None:
        optimiser.load_state_dict(state)
    for _ in range(count):
        optimiser.step(torch_closure(fun, x, optimiser))
    return x, (x.detach(), optimiser.state_dict())


def jaxopt(problem: Problem) -> Any:
    import jax
    from jaxopt import LBFGS, LBFGSB, ScipyMinimize

    problem.refuse("constraint")
    if problem.method is not None:
        return ScipyMinimize(fun=problem.fun, method=problem.method, tol=TOLERANCE).run(problem.x0).params
    if problem.bounds is None:
        return LBFGS(problem.fun, tol=TOLERANCE).run(problem.x0).params
    bounds = tuple(jax.tree.map(lambda leaf, bound=bound: 0 * leaf + bound, problem.x0) for bound in problem.bounds)
    return LBFGSB(problem.fun, tol=TOLERANCE).run(problem.x0, bounds=bounds).params


def jaxopt_steps(fun: Callable, x0: Any, count: int, saved: Any) -> tuple[Any, Any]:
    from jaxopt import LBFGS

    solver = LBFGS(fun)
    x, state = (x0, solver.init_state(x0)) if saved is None else saved
    for _ in range(count):
        x, state = solver.update(x, state)
    return x, (x, state)


def optax(problem: Problem) -> Any:
    import jax
    import optax

    problem.refuse("method", "bounds", "constraint")
    solver = optax.lbfgs()
    step = optax_step(problem.fun, solver)

    def goes_on(carried):
        count, gradient = (optax.tree_utils.tree_get(carried[1], name) for name in ("count", "grad"))
        return (count == 0) | ((count < 500) & (optax.tree_utils.tree_norm(gradient) > TOLERANCE))

    return jax.lax.while_loop(goes_on, step, (problem.x0, solver.init(problem.x0)))[0]


def optax_step(fun: Callable, solver: Any) -> Callable:
    import optax

    value_and_gradient = optax.value_and_grad_from_state(fun)

    def step(carried):
        x, state = carried
        value, gradient = value_and_gradient(x, state=state)
        updates, state = solver.update(gradient, state, x, value=value, grad=gradient, value_fn=fun)
        return optax.apply_updates(x, updates), state

    return step


def optax_steps(fun: Callable, x0: Any, count: int, saved: Any) -> tuple[Any, Any]:
    import optax

    solver = optax.lbfgs()
    step = optax_step(fun, solver)
    carried = (x0, solver.init(x0)) if saved is None else saved
    for _ in range(count):
        carried = step(carried)
    return carried[0], carried


def optimistix(problem: Problem) -> Any:
    import optimistix

    problem.refuse("method", "bounds", "constraint")
    solver = optimistix.LBFGS(rtol=TOLERANCE, atol=TOLERANCE)
    return optimistix.minimise(lambda x, _: problem.fun(x), solver, problem.x0, max_steps=500, throw=False).value


def optimistix_steps(fun: Callable, x0: Any, count: int, saved: Any) -> tuple[Any, Any]:
    """Its interactive interface. A state holds functions too, so its arrays are what is saved."""
    import jax
    import optimistix

    solver = optimistix.LBFGS(rtol=TOLERANCE, atol=TOLERANCE)
    tags: frozenset = frozenset()

    def objective(x, _):
        return fun(x), None

    x, arrays = (x0, None) if saved is None else saved
    state = solver.init(objective, x, None, {}, jax.eval_shape(fun, x0), None, tags)
    if arrays is not None:
        leaves, structure = jax.tree.flatten(state)
        state = structure.unflatten(arrays.get(i, leaf) for i, leaf in enumerate(leaves))
    for _ in range(count):
        x, state, _ = solver.step(objective, x, None, {}, state, tags)
    arrays = {i: leaf for i, leaf in enumerate(jax.tree.leaves(state)) if isinstance(leaf, jax.Array)}
    return x, (x, arrays)


def tfp_optimizer(x0: Any) -> Any:
    """TensorFlow Probability's module for the framework of `x0`: its own, or a substrate's."""
    from importlib import import_module

    name = frameworks.of(x0).name
    path = "tensorflow_probability" if name == "tf" else f"tensorflow_probability.substrates.{name}"
    return import_module(path).optimizer


def tfp(problem: Problem) -> Any:
    problem.refuse("method", "bounds", "constraint")
    framework = frameworks.of(problem.x0)

    def value_and_gradient(x):
        return framework.value_and_gradient(problem.fun, x)

    optimizer = tfp_optimizer(problem.x0)
    given = {"initial_position": problem.x0, "tolerance": TOLERANCE, "max_iterations": 500}
    return optimizer.lbfgs_minimize(value_and_gradient, **given).position


def tfp_without_gradients(problem: Problem) -> Any:
    problem.refuse("method")
    return tfp_optimizer(problem.x0).lbfgs_minimize(problem.fun, initial_position=problem.x0).position


def tfp_steps(fun: Callable, x0: Any, count: int, saved: Any) -> tuple[Any, Any]:
    framework = frameworks.of(x0)
    # max_iterations counts from the very start.
    done = 0 if saved is None else int(saved.num_iterations)
    given = {"initial_position": x0 if saved is None else None, "previous_optimizer_results": saved}
    found = tfp_optimizer(x0).lbfgs_minimize(
        lambda x: framework.value_and_gradient(fun, x), max_iterations=done + count, **given
    )
    return found.position, found


def botorch(problem: Problem) -> Any:
    import torch
    from botorch.optim.closures.core import ForwardBackwardClosure
    from botorch.optim.core import scipy_minimize

    if problem.constraint is not None:
        return botorch_candidates(problem)
    leaves = in_place(problem.x0)
    named = {"x": leaves} if isinstance(leaves, torch.Tensor) else leaves
    scipy_minimize(
        ForwardBackwardClosure(lambda: problem.fun(leaves), named),
        named,
        method=problem.method or "L-BFGS-B",
        bounds=None if problem.bounds is None else dict.fromkeys(named, problem.bounds),
        options={"ftol": 0.0, "gtol": TOLERANCE} if problem.method is None else {},
    )
    return leaves


def botorch_candidates(problem: Problem) -> Any:
    """BoTorch's other interface, for candidates of an acquisition function, takes constraints of one value each."""
    from botorch.generation.gen import gen_candidates_scipy

    scalars = [(lambda x, i=i: problem.constraint(x)[i], True) for i in range(len(problem.x0))]
    found, _ = gen_candidates_scipy(
        problem.x0.reshape(1, 1, -1),
        lambda x: -problem.fun(x.reshape(-1)).reshape(1),
        nonlinear_inequality_constraints=scalars,
    )
    return found.reshape(-1)


@dataclass(frozen=True)
class Peer:
    """A library under the name that the table gives it, and how it is asked.

    `without_gradients`: how it is given a function that returns its value alone, where `solve` helps it. `steps`: how
    a run of it is broken off and gone on with by its user.
    """

    name: str
    distribution: str
    framework: str
    solve: Callable[[Problem], Any]
    without_gradients: Callable[[Problem], Any] | None = None
    steps: Callable | None = None


PEERS = (
    Peer("dmin", "dmin-core", "torch", dmin),
    Peer("SciPy", "scipy", "numpy", scipy),
    Peer("dict-minimize", "dict-minimize", "torch", dict_minimize, dict_minimize_without_gradients),
    Peer("pytorch-minimize", "pytorch-minimize", "torch", pytorch_minimize),
    Peer("torch LBFGS", "torch", "torch", torch_optim, steps=torch_optim_steps),
    Peer("BoTorch", "botorch", "torch", botorch),
    Peer("jaxopt", "jaxopt", "jax", jaxopt, steps=jaxopt_steps),
    Peer("optax", "optax", "jax", optax, steps=optax_steps),
    Peer("optimistix", "optimistix", "jax", optimistix, steps=optimistix_steps),
    Peer("TFP", "tensorflow-probability", "tf", tfp, tfp_without_gradients, tfp_steps),
)
