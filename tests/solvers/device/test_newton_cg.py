"""`device-newton-cg` in every installed backend: what its steps cost, what is kept, where it stops."""

import math

import numpy as np
import optree
import pytest

from dmin_core import InputError, Interrupted, MethodError, ObjectiveError, backends, get_backend, minimize
from dmin_core.solvers.device.arithmetic import Host
from dmin_core.solvers.device.newton_cg import Trial, _promise
from dmin_core.testing.problems import flat, rosenbrock

METHOD = "device-newton-cg"
USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
DIFFERENTIATING = [name for name in USABLE if get_backend(name).exact_gradient]


def posed(backend, dtype="float64"):
    """Rosenbrock's function in a backend, with its derivatives where the backend has none."""
    problem, host = rosenbrock(), get_backend(backend)
    xp = namespace(backend)
    fun, x0, _ = problem.pose(xp, lambda values: host.from_numpy(np.array(values, dtype=dtype), None))
    return fun, x0, {} if host.exact_gradient else {"jac": problem.gradient, "hess": problem.hessian}


def namespace(backend):
    host = get_backend(backend)
    return host.namespace(host.from_numpy(np.zeros(1), None))


def array(backend, values, dtype="float64"):
    return get_backend(backend).from_numpy(np.array(values, dtype=dtype), None)


def chained(n):
    """Rosenbrock's function of a chain of numbers: value and gradient, Hessian product, and the start."""

    def fun(x):
        d, e = x[1:] - x[:-1] ** 2, 1 - x[:-1]
        gradient = np.zeros_like(x)
        gradient[1:] += 200 * d
        gradient[:-1] -= 400 * d * x[:-1] + 2 * e
        return np.sum(100 * d**2) + np.sum(e**2), gradient

    def hessp(x, p):
        product = np.zeros_like(x)
        product[1:] += 200 * p[1:] - 400 * x[:-1] * p[:-1]
        product[:-1] += (1200 * x[:-1] ** 2 - 400 * x[1:] + 2) * p[:-1] - 400 * x[:-1] * p[1:]
        return product

    return fun, hessp, np.tile([0.3, 1.2], n // 2)


@pytest.mark.parametrize("backend", USABLE)
def test_the_answer_is_the_lowest_value_of_the_history(backend):
    fun, x0, given = posed(backend)
    for limit in (1, 2, 3, 5):
        result = minimize(fun, x0, method=METHOD, options={"maxfun": limit}, **given)
        assert result.nfev == len(result.history) == limit
        assert result.fun == result.history.fun.min()
        assert not result.success
        assert "maxfun" in result.message
        again = float(get_backend(backend).to_numpy(fun(result.x)))
        assert again == pytest.approx(result.fun, rel=1e-12)


@pytest.mark.parametrize("backend", USABLE)
def test_limits_on_iterations_are_exact(backend):
    fun, x0, given = posed(backend)
    for limit in (1, 2, 7):
        result = minimize(fun, x0, method=METHOD, options={"maxiter": limit}, **given)
        assert (result.nit, result.nfev, result.success, result.status) == (limit, limit + 1, False, 1)
        assert "maxiter" in result.message


@pytest.mark.parametrize("backend", USABLE)
def test_gtol_means_what_it_says(backend):
    fun, x0, given = posed(backend)
    result = minimize(fun, x0, method=METHOD, options={"gtol": 1e-6}, **given)
    gradient = flat(optree.tree_map(get_backend(backend).to_numpy, result.jac))
    assert result.success
    assert "gtol" in result.message
    assert np.abs(gradient).max() <= 1e-6
    assert result.history.grad_norm[-1] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
    assert result.nhev > 0
    loose = minimize(fun, x0, method=METHOD, tol=1.0, **given)
    assert loose.success
    assert loose.nfev < result.nfev


@pytest.mark.parametrize("backend", USABLE)
def test_a_callback_sees_each_iterate_and_can_stop(backend):
    fun, x0, given = posed(backend)
    plain = minimize(fun, x0, method=METHOD, **given)
    seen = []

    def watch(intermediate_result):
        seen.append((intermediate_result.fun, intermediate_result.nit))
        if len(seen) == 5:
            raise StopIteration

    result = minimize(fun, x0, method=METHOD, callback=watch, **given)
    assert (result.nit, result.status, result.success) == (5, 99, False)
    assert [nit for _, nit in seen] == [1, 2, 3, 4, 5]
    assert [f for f, _ in seen] == sorted((f for f, _ in seen), reverse=True)
    assert result.fun == min(f for f, _ in seen)
    # Being watched changes nothing but the length of the stretches.
    np.testing.assert_array_equal(result.history.fun, plain.history.fun[: result.nfev])
    assert result.nhev > 0


@pytest.mark.parametrize("backend", USABLE)
def test_time_runs_out_before_an_evaluation(backend):
    fun, x0, given = posed(backend)
    result = minimize(fun, x0, method=METHOD, options={"maxtime": 0.0}, **given)
    assert (result.nfev, result.nhev, result.success) == (0, 0, False)
    assert "maxtime" in result.message


def test_time_runs_out_before_a_product_too():
    """As it must where one path takes a thousand of them."""
    clock = [0.0]

    def string(x):
        return 2.0 * x - np.concatenate([x[1:], [0.0]]) - np.concatenate([[0.0], x[:-1]])

    def hessp(x, p):
        clock[0] += 1
        return string(p)

    def fun(x):
        return 0.5 * x @ string(x), string(x)

    import dmin_core._problem as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "perf_counter", lambda: clock[0])
        result = minimize(
            fun, np.ones(300), jac=True, hessp=hessp, method=METHOD, options={"maxtime": 30.0, "gtol": 1e-9}
        )
    assert "maxtime" in result.message
    assert result.nhev == clock[0] == 30


@pytest.mark.parametrize("backend", USABLE)
def test_float32_ends_in_success(backend):
    """Values near the minimum are equal, or noise: a clean stop, not a region that shrinks for ever."""
    fun, x0, given = posed(backend, "float32")
    result = minimize(fun, x0, method=METHOD, options={"gtol": 0.0}, **given)
    assert result.success, result.message
    assert result.nfev < 200
    x = flat(optree.tree_map(get_backend(backend).to_numpy, result.x))
    np.testing.assert_allclose(x, 1.0, atol=2e-2)


@pytest.mark.parametrize("backend", USABLE)
def test_a_value_that_is_not_finite_at_the_start_is_an_error(backend):
    fun, x0, given = posed(backend)
    bad = optree.tree_map(lambda leaf: leaf * 1e200, x0)
    with pytest.raises(ObjectiveError, match="at the start"):
        minimize(fun, bad, method=METHOD, **given)


@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_the_objective_may_leave_its_domain(backend):
    """Long steps from here meet infinities and nan, and the region is made smaller."""
    xp = namespace(backend)

    def fun(x):
        return xp.sum(50.0 * x - xp.log(x)) + xp.sum(xp.sqrt(2.0 - x))

    with np.errstate(all="ignore"):
        result = minimize(fun, array(backend, [1.0, 1.5]), method=METHOD, options={"initial_trust_radius": 10.0})
    assert result.success, result.message
    x = get_backend(backend).to_numpy(result.x)
    np.testing.assert_allclose(50.0 - 1 / x - 0.5 / np.sqrt(2.0 - x), 0.0, atol=1e-5)
    assert not np.isfinite(result.history.fun).all()
    assert result.nfail > 0


@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_a_saddle_is_left_along_negative_curvature(backend):
    """Newton's own step would go to it."""
    xp = namespace(backend)

    def fun(x):
        return xp.sum(0.25 * x**4 - 0.5 * x**2)

    result = minimize(fun, array(backend, [1e-3, -2e-3, 0.1]), method=METHOD)
    assert result.success
    np.testing.assert_allclose(get_backend(backend).to_numpy(result.x), [1.0, -1.0, 1.0], atol=1e-5)


@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_a_leaf_without_influence_is_named(backend):
    xp = namespace(backend)
    x0 = {name: array(backend, np.ones(3)) for name in ("used", "unused")}
    with pytest.warns(RuntimeWarning, match=r"x0\['unused'\]"):
        minimize(lambda x: xp.sum((x["used"] - 3.0) ** 2) + 0.0 * xp.sum(x["unused"]), x0, method=METHOD)


@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_a_leaf_that_starts_where_it_is_stationary_is_not(backend):
    """A stretch that ends within a path has the first gradient still: it is no second one."""
    xp = namespace(backend)
    x0 = {"a": array(backend, np.arange(40.0)), "b": array(backend, 0.0)}

    def fun(x):
        return xp.sum(x["a"] ** 2 + x["a"] ** 4) + (x["b"] - xp.sum(x["a"]) + 780.0) ** 2

    assert minimize(fun, x0, method=METHOD).success  # and warns of nothing


@pytest.mark.parametrize("bounds", [None, (-0.9, 0.7)], ids=["free", "bounded"])
@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_compiled_and_eager_loops_take_the_same_path(backend, bounds):
    fun, x0, given = posed(backend)
    x0 = optree.tree_map(lambda leaf: 0.5 * leaf, x0)
    eager = minimize(fun, x0, method=METHOD, bounds=bounds, compile=False, **given)
    result = minimize(fun, x0, method=METHOD, bounds=bounds, **given)
    assert (result.nfev, result.nit, result.nhev) == (eager.nfev, eager.nit, eager.nhev)
    np.testing.assert_allclose(result.history.fun[:30], eager.history.fun[:30], rtol=1e-7)


@pytest.mark.parametrize("bounds", [None, (-0.9, 0.7)], ids=["free", "bounded"])
@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_iterates_are_numpys(backend, bounds):
    """To 10⁻⁸ to the end, a dozen iterations, where NumPy has the derivatives by hand. For thirty, see below."""

    def path(name):
        fun, x0, given = posed(name)
        x0, seen = optree.tree_map(lambda leaf: 0.5 * leaf, x0), []

        def watch(intermediate_result):
            x = optree.tree_map(get_backend(name).to_numpy, intermediate_result.x)
            seen.append(flat(x).copy())

        minimize(fun, x0, method=METHOD, bounds=bounds, callback=watch, options={"maxiter": 30}, **given)
        return np.array(seen)

    theirs, ours = path(backend), path("numpy")
    assert len(theirs) == len(ours) >= 5
    np.testing.assert_allclose(theirs, ours, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_thirty_iterations_are_the_same_in_every_backend(backend):
    """To 10⁻⁸ relative, with NumPy and derivatives by hand as the reference, on a convex function of forty variables.

    Newton's method is through with most functions sooner. At the minimum of a fourth power the Hessian is singular, and
    each step goes a third of the way, so that there is always another. It also makes the path a contraction: a
    difference in last bits, which frameworks' sums and fused products bring in, shrinks with every step. On a path that
    multiplies such differences, as a curved valley's may, no two implementations agree for long, nor does one with
    itself where a gradient is changed by its last bit (tests/test_agreement.py has such cases).
    """
    scale = np.geomspace(1.0, 30.0, 40)

    def posed_in(xp, scale):
        return lambda x: xp.sum(scale * (x - 1.0) ** 4) + 0.1 * xp.sum((x[1:] - x[:-1]) ** 4)

    def gradient(x):
        g, bend = 4.0 * scale * (x - 1.0) ** 3, 0.4 * (x[1:] - x[:-1]) ** 3
        g[1:] += bend
        g[:-1] -= bend
        return g

    def hessp(x, p):
        h, bend = 12.0 * scale * (x - 1.0) ** 2 * p, 1.2 * (x[1:] - x[:-1]) ** 2 * (p[1:] - p[:-1])
        h[1:] += bend
        h[:-1] -= bend
        return h

    def iterates(name, **given):
        rows, host = [], get_backend(name)
        fun = posed_in(namespace(name), array(name, scale))
        options = {"gtol": 0.0, "maxiter": 30}

        def note(x):
            rows.append(np.array(host.to_numpy(x)))

        minimize(fun, array(name, np.tile([3.0, -2.0], 20)), method=METHOD, callback=note, options=options, **given)
        return np.array(rows)

    reference = iterates("numpy", jac=gradient, hessp=hessp)
    assert len(reference) == 30
    np.testing.assert_allclose(iterates(backend), reference, rtol=1e-8, atol=0)


@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_arguments_are_inputs_and_nothing_is_compiled_twice(backend):
    host, xp, calls = get_backend(backend), namespace(backend), [0]

    def fun(x, shift):
        calls[0] += 1
        return xp.sum((x - shift) ** 4)

    def run(shift, **options):
        return minimize(fun, array(backend, np.zeros(2)), (array(backend, shift),), METHOD, options=options)

    run([1.0, 2.0])
    traced = calls[0]
    result = run([3.0, 4.0], maxfun=90, gtol=1e-12, maxiter=80, maxCGit=7, eta=0.1, initial_trust_radius=0.5)
    np.testing.assert_allclose(host.to_numpy(result.x), [3.0, 4.0], atol=1e-3)
    assert host.compiles == (calls[0] == traced)


@pytest.mark.parametrize("backend", [name for name in DIFFERENTIATING if get_backend(name).compiles])
def test_a_program_has_the_objective_once_for_values_and_once_for_products(backend):
    """However large the program around: not one trace for each place."""
    xp, calls = namespace(backend), [0]

    def fun(x):
        calls[0] += 1
        return xp.sum((x - 1.0) ** 4)

    minimize(fun, array(backend, np.zeros(3)), method=METHOD)
    free = calls[0]
    minimize(fun, array(backend, np.zeros(3)), method=METHOD, bounds=(-2.0, 0.5))
    # Frameworks trace a loop's body more than once, to find the types of what it carries.
    assert free <= 8
    assert calls[0] - free <= 16


# -- what it costs ----------------------------------------------------------------------------------------


def test_products_and_evaluations_are_read_once(monkeypatch):
    backend = get_backend("numpy")
    reads, original = [], backend.to_numpy
    monkeypatch.setattr(backend, "to_numpy", lambda array: reads.append(array.shape) or original(array))
    fun, hessp, x0 = chained(40)
    # NumPy's float64 scalars are Python's, which nobody needs to read.
    result = minimize(fun, x0.astype(np.float32), jac=True, hessp=hessp, method=METHOD)
    assert reads.count((6,)) == result.nhev
    assert reads.count((6,)) + reads.count((7,)) == result.nhev + result.nfev
    # x0 at the door; the first two gradients, which are looked at; the answer and its gradient.
    assert len(reads) - result.nhev - result.nfev <= 6


@pytest.mark.parametrize("bounds", [None, (-5.0, 5.0)], ids=["free", "bounded"])
def test_operations_do_not_grow_with_leaves(bounds):
    """As the documentation says: some thirty a product and forty a trial, beside those of `fun` and its copies."""
    torch = pytest.importorskip("torch", reason="counts the operations that PyTorch dispatches")
    from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            Count.calls += 1
            return function(*args, **(kwargs or {}))

    def operations(leaves, limit):
        x0 = [torch.full((5,), 3.0, dtype=torch.float64) for _ in range(leaves)]

        def fun(x):
            with _disable_current_modes():
                return sum(((leaf - 1.0) ** 4).sum() for leaf in x), [4 * (leaf - 1.0) ** 3 for leaf in x]

        def hessp(x, p):
            with _disable_current_modes():
                return [12 * (leaf - 1.0) ** 2 * part for leaf, part in zip(x, p, strict=True)]

        Count.calls = 0
        with Count():
            options = {"maxiter": limit, "gtol": 0.0}
            result = minimize(fun, x0, jac=True, hessp=hessp, method=METHOD, bounds=bounds, options=options)
        assert result.nit == limit
        return Count.calls, result.nhev

    def each(leaves):
        """Of an iteration with one product."""
        (more, products), (fewer, before) = operations(leaves, 12), operations(leaves, 2)
        assert products - before == 10
        return (more - fewer) / 10

    one = each(1)
    # Each leaf is split off and laid back: four times, for what `fun` and `hessp` are given and return.
    assert each(30) - one <= 29 * 12
    assert one <= (110 if bounds else 75)


# -- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [True, False], ids=["hessp", "differences"])
def test_bounds_are_kept_at_every_evaluation(exact):
    fun, hessp, x0 = chained(200)
    low, high, seen = -0.9, np.where(np.arange(200) % 3 == 0, 0.6, 2.0), []

    def watched(x):
        seen.append(x.copy())
        return fun(x)

    start = np.clip(x0, low, high)
    given = {"hessp": hessp} if exact else {}
    result = minimize(watched, start, jac=True, method=METHOD, bounds=(low, high), **given)
    assert result.success
    assert len(seen) == result.nfev >= len(result.history)
    assert (len(seen) == len(result.history)) is exact
    assert all((x >= low).all() and (x <= high).all() for x in seen)
    x, g = result.x, result.jac
    assert np.abs(np.clip(x - g, low, high) - x).max() <= 1e-5
    assert (x == high).any()


def test_the_active_set_of_many_bounds_is_that_of_lbfgsb():
    n = 100_000
    rng = np.random.default_rng(0)
    scale, slope = np.exp(0.3 * rng.normal(size=n)), rng.normal(size=n)

    def product(x):
        y = scale * x
        a_y = 2.2 * y
        a_y[1:] -= y[:-1]
        a_y[:-1] -= y[1:]
        return scale * a_y

    def fun(x):
        g = product(x)
        return 0.5 * x @ g - slope @ x, g - slope

    bounds = (-0.3, 0.4)
    theirs = minimize(fun, np.zeros(n), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 0.0, "gtol": 1e-7})
    hessp = lambda x, p: product(p)  # noqa: E731 - the Hessian does not depend on x
    ours = minimize(fun, np.zeros(n), jac=True, hessp=hessp, method=METHOD, bounds=bounds, options={"gtol": 1e-7})
    for x in (theirs.x, ours.x):
        assert 0.1 * n < np.sum(x == -0.3) + np.sum(x == 0.4) < 0.9 * n
    np.testing.assert_array_equal(ours.x == -0.3, theirs.x == -0.3)
    np.testing.assert_array_equal(ours.x == 0.4, theirs.x == 0.4)
    assert ours.fun == pytest.approx(theirs.fun, rel=1e-12)
    assert ours.nfev <= 0.5 * theirs.nfev


def test_a_start_where_bounds_hold_everything_converges_at_once():
    result = minimize(lambda x: (np.sum(x), np.ones(3)), np.zeros(3), jac=True, method=METHOD, bounds=(0, 1))
    assert (result.nfev, result.nhev, result.success) == (1, 0, True)


def test_quadratics_end_at_lbfgsbs_active_set():
    """Whose variables are coupled so strongly that some meet a bound on the way and leave it again."""
    left = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        q, _ = np.linalg.qr(rng.normal(size=(30, 30)))
        matrix, b = (q * np.geomspace(1.0, 1e3, 30)) @ q.T, 30 * rng.normal(size=30)
        ours, theirs, met = solve_both(matrix, b)
        np.testing.assert_array_equal(np.abs(ours.x) == 1.0, np.abs(theirs.x) == 1.0)
        np.testing.assert_allclose(ours.x, theirs.x, atol=1e-6)
        assert ours.success
        assert ours.nfev < theirs.nfev
        # The model is the function: of a step that bounds cut short it knows itself whether to go there.
        assert np.diff(ours.history.fun).max() <= 1e-12 * abs(ours.fun)
        left += np.sum(met & (np.abs(ours.x) < 1.0))
    assert left >= 5


def solve_both(matrix, b):
    """``½ xᵀMx - bᵀx`` over [-1, 1]: results of this method and of L-BFGS-B, and which bounds the former met."""
    met = np.zeros(b.size, dtype=bool)

    def fun(x):
        met[np.abs(x) == 1.0] = True
        return 0.5 * x @ matrix @ x - b @ x, matrix @ x - b

    given = {"jac": True, "bounds": (-1.0, 1.0)}
    theirs = minimize(fun, 0 * b, method="L-BFGS-B", options={"ftol": 0.0, "gtol": 1e-7}, **given)
    met[:] = False
    ours = minimize(fun, 0 * b, method=METHOD, hessp=lambda x, p: matrix @ p, options={"gtol": 1e-7}, **given)
    return ours, theirs, met


# -- products -----------------------------------------------------------------------------------------------


def test_the_users_product_and_hessian_are_used():
    fun, hessp, x0 = chained(10)
    products, matrices = [], []

    def counted(x, p):
        products.append(p)
        return hessp(x, p)

    def hess(x):
        matrices.append(x)
        return np.array([hessp(x, unit) for unit in np.eye(10)])

    by_product = minimize(fun, x0, jac=True, hessp=counted, method=METHOD)
    by_matrix = minimize(fun, x0, jac=True, hess=hess, method=METHOD)
    by_differences = minimize(fun, x0, jac=True, method=METHOD)
    assert by_product.nhev == len(products)
    assert by_matrix.nhev == len(matrices) <= by_matrix.nfev  # one a point at most, whatever the products
    for result in (by_product, by_matrix, by_differences):
        assert result.success
        np.testing.assert_allclose(result.x, 1.0, atol=1e-5)
    assert by_matrix.nfev == by_product.nfev
    assert by_differences.nfev == len(by_differences.history) + by_differences.nhev


def test_without_any_derivative_both_are_differences():
    fun, _, x0 = chained(4)
    result = minimize(lambda x: fun(x)[0], x0, method=METHOD, options={"gtol": 1e-3})
    np.testing.assert_allclose(result.x, 1.0, atol=1e-2)


def test_products_by_differences_count_as_evaluations():
    fun, _, x0 = chained(10)
    result = minimize(fun, x0, jac=True, method=METHOD, options={"maxfun": 20})
    assert result.nfev == 20 > len(result.history)
    assert "maxfun" in result.message


def test_a_product_that_is_not_finite_costs_a_step_not_the_run():
    fun, hessp, x0 = chained(10)
    calls = [0]

    def sometimes(x, p):
        calls[0] += 1
        return hessp(x, p) * (math.nan if calls[0] % 7 == 3 else 1.0)

    with np.errstate(invalid="ignore"):
        result = minimize(fun, x0, jac=True, hessp=sometimes, method=METHOD)
    assert result.success
    np.testing.assert_allclose(result.x, 1.0, atol=1e-4)
    assert result.nfail == (calls[0] + 4) // 7 > 0


def test_where_no_trial_is_lower_it_ends_and_says_so():
    """At a value of zero there is no noise that a change could be lost in."""
    result = minimize(
        lambda x: (np.sum(x), -np.ones(3)), np.zeros(3), jac=True, hessp=lambda x, p: 0 * p, method=METHOD
    )
    assert (result.success, result.status, result.fun) == (False, 2, 0.0)
    assert "No lower value was found, however small" in result.message
    assert result.nfev < 80


def test_whether_a_lower_value_is_taken_is_decided_by_the_value():
    """A quadratic with waves that are steep and not high: by its slopes alone the first step would lead upwards."""

    def fun(x):
        phase = 1.5 * math.pi * (x - 2.0)
        return np.sum(0.5 * (x - 2.0) ** 2 + 2.0 * np.sin(phase)), x - 2.0 + 3.0 * math.pi * np.cos(phase)

    iterates = []
    x0, given = np.ones(1), {"jac": True, "hessp": lambda x, p: p, "options": {"maxiter": 1}}
    result = minimize(fun, x0, method=METHOD, callback=lambda x: iterates.append(x.copy()), **given)
    assert result.history.fun == pytest.approx([2.5, 0.0])
    np.testing.assert_allclose(iterates, [[2.0]], rtol=1e-12)


def test_scipys_own_approximations_are_refused():
    from scipy.optimize import BFGS

    fun, _, x0 = chained(4)
    with pytest.raises(MethodError, match="hess as a callable or None"):
        minimize(fun, x0, jac=True, hess=BFGS(), method=METHOD)


# -- what is the same for every method ------------------------------------------------------------------------


def test_interruption_hands_over_the_best_point():
    fun, hessp, x0 = chained(10)
    calls = [0]

    def interrupted(x, p):
        calls[0] += 1
        if calls[0] == 12:
            raise KeyboardInterrupt
        return hessp(x, p)

    with pytest.raises(Interrupted) as caught:
        minimize(fun, x0, jac=True, hessp=interrupted, method=METHOD)
    result = caught.value.result
    assert result.fun == result.history.fun.min()
    assert fun(result.x)[0] == result.fun


def test_the_users_arrays_may_be_written_into():
    fun, hessp, x0 = chained(10)
    gradient, product = np.zeros(10), np.zeros(10)

    def writes(x):
        value, slope = fun(x)
        gradient[:] = slope
        x[:] = math.nan
        return value, gradient

    def writes_too(x, p):
        product[:] = hessp(x, p)
        x[:], p[:] = math.nan, math.nan
        return product

    np.testing.assert_array_equal(
        minimize(writes, x0, jac=True, hessp=writes_too, method=METHOD).history.fun,
        minimize(fun, x0, jac=True, hessp=hessp, method=METHOD).history.fun,
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [("maxCGit", 0), ("gtol", -1.0), ("maxiter", "many"), ("eta", 0.3), ("initial_trust_radius", 0.0)],
)
def test_a_senseless_option_is_refused(option, value):
    fun, _, x0 = chained(4)
    with pytest.raises(InputError, match=f"options\\['{option}'\\] must be"):
        minimize(fun, x0, jac=True, method=METHOD, options={option: value})


def test_no_path_is_longer_than_asked_for():
    fun, hessp, x0 = chained(40)
    result = minimize(fun, x0, jac=True, hessp=hessp, method=METHOD, options={"maxCGit": 2, "maxiter": 30})
    assert result.nhev <= 60


def test_no_step_is_longer_than_asked_for():
    fun, hessp, x0 = chained(10)
    seen = [x0]
    options = {"initial_trust_radius": 0.01, "max_trust_radius": 0.02, "maxiter": 40}
    minimize(fun, x0, jac=True, hessp=hessp, method=METHOD, options=options, callback=lambda x: seen.append(x.copy()))
    steps = np.linalg.norm(np.diff(seen, axis=0), axis=1)
    assert steps.max() <= 0.02 * (1 + 1e-6)
    assert steps[0] <= 0.01 * (1 + 1e-6)


def test_half_precision_leaves_have_a_solver_in_single():
    """The solver's vectors keep what the leaves lose: steps smaller than a leaf's last digit add up."""

    def fun(x):
        d = x.astype(np.float32) - np.float32(1.0)
        return np.float32(d @ d), (2 * d).astype(np.float16)

    result = minimize(fun, np.full(5, 3.0, np.float16), jac=True, hessp=lambda x, p: 2 * p, method=METHOD)
    assert result.x.dtype == np.float16
    np.testing.assert_allclose(result.x.astype(float), 1.0, atol=2e-3)


def test_a_wrong_gradient_is_no_success():
    fun, hessp, x0 = chained(10)

    def wrong(x):
        value, gradient = fun(x)
        return value, -gradient

    result = minimize(wrong, x0, jac=True, hessp=hessp, method=METHOD)
    assert not result.success
    assert "trust region" in result.message


def test_a_region_too_small_to_move_in_is_no_success():
    """The least step here is still far too long, and its value not finite."""

    def fun(x):
        return np.sum((1e150 * x - 1.0) ** 2), 2e150 * (1e150 * x - 1.0)

    with np.errstate(over="ignore"):
        result = minimize(fun, np.array([3e-150, -2.7e-150]), jac=True, method=METHOD)
    assert not result.success
    assert "trust region" in result.message


@pytest.mark.parametrize("t", [0.01, 0.7, 2.0, 30.0])
def test_a_trial_promises_what_a_quadratic_has_or_half_its_slopes_where_it_is_none(t):
    """By 3 (t - 0.7)², whose slope at 0 is -4.2 and whose minimum is 1.47 lower; as in a line search."""
    host, nothing = Host(2.0**-52), ((), (), (), 0.0, 0.0, 0.0)
    slope = -4.2 * t
    trial = Trial(*nothing, slope, 6.0 * (t - 0.7) * t, t)
    fall = 1.47 - 3.0 * (t - 0.7) ** 2
    assert _promise(host, trial, True, fall, 0.0) == pytest.approx(min(1.47, 2.1 * t))
    assert _promise(host, trial, True, fall - 30.0 * t, 0.0) == pytest.approx(2.1 * t)
    assert _promise(host, trial, False, fall, 0.0) == -1.0
