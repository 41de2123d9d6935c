"""`device-lbfgs` in every installed backend: what an evaluation costs, what is kept, where it stops."""

import math

import numpy as np
import optree
import pytest
from scipy.optimize import lsq_linear

from dmin_core import InputError, _device_problem, backends, get_backend, minimize
from dmin_core.testing.problems import flat

METHOD = "device-lbfgs"
USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
DIFFERENTIATING = [name for name in USABLE if get_backend(name).exact_gradient]


@pytest.mark.parametrize("backend", USABLE)
def test_tolerances_mean_what_they_say(backend, posed):
    fun, x0, given = posed(backend)
    tight = {"ftol": 0.0, "gtol": 1e-6}
    result = minimize(fun, x0, method=METHOD, options=tight, **given)
    gradient = flat(optree.tree_map(get_backend(backend).to_numpy, result.jac))
    assert result.success
    assert "gtol" in result.message
    assert np.abs(gradient).max() <= 1e-6
    assert result.history.grad_norm[-1] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
    loose = minimize(fun, x0, method=METHOD, options={"ftol": 1e-2, "gtol": 0.0}, **given)
    assert loose.success
    assert "ftol" in loose.message
    assert loose.nfev < result.nfev


@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_arguments_are_inputs_and_nothing_is_compiled_twice(backend):
    host = get_backend(backend)
    xp, calls = host.namespace(host.from_numpy(np.zeros(1), None)), [0]

    def fun(x, shift):
        calls[0] += 1
        return xp.sum((x - shift) ** 2)

    def run(shift, maxcor=5, **options):
        shift = host.from_numpy(np.array(shift), None)
        x0 = host.from_numpy(np.zeros(2), None)
        return minimize(fun, x0, (shift,), METHOD, options={"maxcor": maxcor, **options})

    run([1.0, 2.0])
    traced = calls[0]
    result = run([3.0, 4.0], maxfun=50, gtol=1e-9, ftol=0.0, maxiter=40, maxls=7)
    np.testing.assert_allclose(host.to_numpy(result.x), [3.0, 4.0], atol=1e-6)
    assert calls[0] == (traced if host.compiles else traced + result.nfev)


def test_evaluations_are_read_once_whatever_the_history(monkeypatch, chained):
    backend = get_backend("numpy")
    reads, original = [], backend.to_numpy
    monkeypatch.setattr(backend, "to_numpy", lambda array: reads.append(array.shape) or original(array))
    fun, x0 = chained(40)
    x0 = {"0": x0["0"].astype(np.float32)}  # NumPy's own float64 would be on the host as it is

    def as_float(x):
        value, gradient = fun(x)
        return float(value), gradient  # whatever dtype this version of NumPy gives it

    for maxcor in (2, 30):
        reads.clear()
        result = minimize(as_float, x0, jac=True, method=METHOD, options={"maxcor": maxcor})
        assert reads.count((2 * maxcor + 8 - 1,)) == result.nfev  # the value is a Python float here
        # x0 at the door; the first two gradients, which are looked at; the answer and its gradient.
        assert len(reads) - result.nfev <= 6


@pytest.mark.parametrize("bounded", [False, True])
def test_many_variables_have_the_history_multiplied_once_a_search(monkeypatch, chained, bounded):
    """Where no accelerator is waited for; the run is the same as by one read an evaluation."""
    fun, _ = chained(2)
    backend, m = get_backend("numpy"), 4
    x0 = {"0": np.tile(np.array([-1.25, 0.75], np.float32), _device_problem.FEW // 2 + 1)}
    options = {"maxcor": m, "maxiter": 16, "ftol": 0.0, "gtol": 0.0}
    bounds = (-1.5, 0.75) if bounded else None
    reads, original = [], backend.to_numpy
    monkeypatch.setattr(backend, "to_numpy", lambda array: reads.append(array.shape) or original(array))

    def as_float(x):
        value, gradient = fun(x)
        return float(value), gradient

    def run():
        reads.clear()
        return minimize(as_float, x0, jac=True, method=METHOD, bounds=bounds, options=options)

    late = run()
    assert late.nfev > late.nit + 2  # searches had more than one trial
    products = (2 * m + 1) * (m + 1) + 2 if bounded else 2 * m + 3
    # Slope and square of a trial's gradient; with bounds its extremes, where the search has ended.
    assert reads.count((2,)) == late.nfev + (late.nit + 1 if bounded else 0)
    # With bounds, where the same variables are free as before, by products with the gradient alone.
    more = reads.count((2 * m + 5,))
    assert (more > 0) == bounded
    assert reads.count((products,)) == late.nit + 1 - more > 0
    monkeypatch.setattr(_device_problem, "is_accelerator", lambda device: True)
    early = run()
    assert reads.count((products + 4,)) == early.nfev
    assert (products,) not in reads
    np.testing.assert_allclose(early.history.fun[:8], late.history.fun[:8], rtol=1e-3)


def test_the_largest_number_of_a_gradient_is_looked_for_once_it_may_be_small(monkeypatch, chained):
    """Where no accelerator is waited for: ‖g‖² / n, which is known, is no more than its square."""
    fun, _ = chained(2)
    backend, n = get_backend("numpy"), _device_problem.FEW + 2
    reads, original = [], backend.to_numpy
    monkeypatch.setattr(backend, "to_numpy", lambda array: reads.append(array.shape) or original(array))

    def as_float(x):
        value, gradient = fun(x)
        return float(value), gradient

    x0 = {"0": np.full(n, 0.9, np.float32)}
    result = minimize(as_float, x0, jac=True, method=METHOD, options={"ftol": 0.0, "gtol": 1e-2})
    assert np.abs(result.jac["0"]).max() <= 1e-2
    assert 1 <= reads.count((2,)) - result.nfev < result.nit


def test_few_variables_in_shared_memory_are_numpys():
    """The same run as by the framework's operations."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    backend = get_backend("torch")

    def fun(x):
        return sum((100.0 * (a[1:] - a[:-1] ** 2) ** 2 + (1.0 - a[:-1]) ** 2).sum() for a in x.values())

    x0 = {"a": torch.full((7,), -1.2, dtype=torch.float64), "b": torch.zeros((), dtype=torch.float64).expand(5)}
    bounds = {"a": (None, 0.9)}
    quick, kinds = minimize(fun, x0, method=METHOD, bounds=bounds), []
    original = backend.value_and_grad

    def counted(fun):
        kinds.append("by the framework")
        return original(fun)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "on_host", lambda fun, like: None)
        patch.setattr(backend, "value_and_grad", counted)
        slow = minimize(fun, x0, method=METHOD, bounds=bounds)
    assert kinds
    assert quick.success
    assert slow.success
    np.testing.assert_allclose(quick.history.fun[:30], slow.history.fun[:30], rtol=1e-8)
    assert type(quick.x["a"]) is torch.Tensor
    np.testing.assert_allclose(quick.x["a"], slow.x["a"], rtol=1e-3)


def test_bounds_are_kept_at_every_evaluation(chained):
    fun, x0 = chained(200)
    low, high, seen = -0.9, np.where(np.arange(200) % 3 == 0, 0.6, 2.0), []

    def watched(x):
        seen.append(x["0"].copy())
        return fun(x)

    start = {"0": np.clip(x0["0"], low, high)}
    result = minimize(watched, start, jac=True, method=METHOD, bounds=(low, {"0": high}))
    assert result.success
    assert all((x >= low).all() and (x <= high).all() for x in seen)
    # No neighbour within the bounds is lower.
    x, g = result.x["0"], result.jac["0"]
    assert np.abs(np.clip(x - g, low, high) - x).max() < 0.1
    assert (x == high).any()


def test_the_active_set_of_many_bounds_is_that_of_lbfgsb():
    n = 100_000
    rng = np.random.default_rng(0)
    scale, slope = np.exp(0.3 * rng.normal(size=n)), rng.normal(size=n)

    def fun(x):
        y = scale * x
        a_y = 2.2 * y
        a_y[1:] -= y[:-1]
        a_y[:-1] -= y[1:]
        return 0.5 * y @ a_y - slope @ x, scale * a_y - slope

    options = {"ftol": 0.0, "gtol": 1e-7}
    theirs, ours = (
        minimize(fun, np.zeros(n), jac=True, method=method, bounds=(-0.3, 0.4), options=options)
        for method in ("L-BFGS-B", METHOD)
    )
    for x in (theirs.x, ours.x):
        assert 0.1 * n < np.sum(x == -0.3) + np.sum(x == 0.4) < 0.9 * n
    np.testing.assert_array_equal(ours.x == -0.3, theirs.x == -0.3)
    np.testing.assert_array_equal(ours.x == 0.4, theirs.x == 0.4)
    assert ours.fun == pytest.approx(theirs.fun, rel=1e-12)
    assert ours.nfev <= 1.2 * theirs.nfev


def test_a_variable_next_to_its_bound_does_not_cut_every_step_short():
    """The first variable comes near to 0.8266, which the gradient leads to, and all steps from there would be tiny."""
    matrix = np.array([[475.84, -294.89, 1097.54], [-294.89, 187.67, -653.93], [1097.54, -653.93, 2755.15]])
    linear = np.array([-1.098, 3.7087, 1.7271])
    bounds = np.array([-np.inf, -np.inf, -1.245]), np.array([0.8266, 1.284, 0.204])

    def fun(x):
        return x @ matrix @ x / 2 - linear @ x, matrix @ x - linear

    result = minimize(fun, np.array([-0.85, 1.284, 0.204]), jac=True, method=METHOD, bounds=bounds)
    free = np.linalg.solve(matrix[1:, 1:], linear[1:] - matrix[1:, 0] * 0.8266)
    assert result.x[0] == 0.8266
    np.testing.assert_allclose(result.x[1:], free, rtol=1e-5)
    assert result.nfev < 60


@pytest.mark.parametrize("seed", range(40))
def test_bounded_quadratics_end_at_the_minimum(seed):
    """Of any shape, with bounds on either side: that of SciPy's method of active sets for least squares."""
    random = np.random.default_rng(seed)
    n = random.integers(2, 31)
    rotation = np.linalg.qr(random.normal(size=(n, n)))[0]
    matrix = rotation * np.geomspace(1.0, 10 ** random.uniform(1, 4), n) @ rotation.T
    linear, low = 3 * random.normal(size=n), random.normal(size=n) - 1.0
    high = low + random.uniform(0.1, 3.0, size=n)
    low[random.random(n) < 0.3], high[random.random(n) < 0.3] = -np.inf, np.inf

    def fun(x):
        return x @ matrix @ x / 2 - linear @ x, matrix @ x - linear

    start = np.clip(random.normal(size=n), low, high)
    result = minimize(fun, start, jac=True, method=METHOD, bounds=(low, high))
    assert result.success
    factor = np.linalg.cholesky(matrix).T
    best = lsq_linear(factor, np.linalg.solve(factor.T, linear), (low, high), method="bvls", tol=1e-12).x
    assert result.fun - fun(best)[0] <= 1e-6 * max(abs(result.fun), 1.0)


def test_a_start_where_bounds_hold_everything_converges_at_once():
    result = minimize(lambda x: (np.sum(x), np.ones(3)), np.zeros(3), jac=True, method=METHOD, bounds=(0, 1))
    assert (result.nfev, result.success) == (1, True)


@pytest.mark.parametrize(
    ("option", "value"),
    [("maxcor", 0), ("maxcor", 2.5), ("maxls", 0), ("maxls", 1.5), ("gtol", -1.0), ("maxiter", "many")],
)
def test_a_senseless_option_is_refused(option, value, chained):
    fun, x0 = chained(4)
    with pytest.raises(InputError, match=f"options\\['{option}'\\] must be a (number|whole number)"):
        minimize(fun, x0, jac=True, method=METHOD, options={option: value})


def test_no_end_of_pairs_is_refused(chained):
    fun, x0 = chained(4)
    with pytest.raises(InputError, match=r"options\['maxcor'\] must be finite"):
        minimize(fun, x0, jac=True, method=METHOD, options={"maxcor": math.inf})


@pytest.mark.parametrize("bounds", [None, (-2.0, 4.0)], ids=["free", "bounded"])
@pytest.mark.parametrize("compile", [None, False], ids=["as it is", "eager"])
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_bfloat16_leaves_have_vectors_in_float32_and_an_answer_to_their_own_precision(
    backend, compile, bounds, monkeypatch
):
    framework = pytest.importorskip(backend, reason="a backend with bfloat16")
    host = get_backend(backend)
    xp = framework.numpy if backend == "jax" else framework
    x0 = {name: xp.asarray([3.0, -1.5, 0.5], dtype=xp.bfloat16) for name in ("a", "b")}
    target = {"a": np.array([1.1, 0.3, -0.7]), "b": np.array([2.3, -1.9, 0.01])}
    scale = np.array([1.0, 4.0, 16.0])
    near, weights = {k: xp.asarray(v, dtype=xp.float32) for k, v in target.items()}, xp.asarray(scale, dtype=xp.float32)
    seen, rows, put_row = set(), set(), host.put_row

    def fun(x):
        value = 0.0
        for name, leaf in x.items():
            seen.add(str(leaf.dtype))
            # In the precision of the solver, as a loss in mixed precision is summed up.
            d = (leaf.to(xp.float32) if backend == "torch" else leaf.astype(xp.float32)) - near[name]
            value = value + (weights * d**2).sum()
        return value

    monkeypatch.setattr(host, "put_row", lambda array, k, row: rows.add(str(row.dtype)) or put_row(array, k, row))
    result = minimize(fun, x0, method=METHOD, compile=compile, bounds=bounds)
    assert result.success
    assert {name.rpartition(".")[2] for name in seen} == {"bfloat16"}
    assert {name.rpartition(".")[2] for name in rows} == {"float32"}
    assert result.nfev < 100
    for name, leaf in result.x.items():
        assert (type(leaf), leaf.dtype) == (type(x0[name]), x0[name].dtype)
        assert result.jac[name].dtype == x0[name].dtype
        # Eight bits of significand, to the last.
        x = np.asarray(host.to_numpy(leaf), float)
        assert (np.abs(x - target[name]) <= 2.0**-7 * np.maximum(np.abs(target[name]), 2.0**-6)).all()
    # As good as rounding the minimiser itself, by `fun`, whose own rounding is 3e-5 of so small a value.
    rounded = float(fun({name: xp.asarray(t, dtype=xp.bfloat16) for name, t in target.items()}))
    assert rounded * (1 - 1e-5) <= result.fun <= 2.0 * rounded


@pytest.mark.parametrize("bounds", [None, (-5.0, 5.0)], ids=["free", "bounded"])
def test_operations_an_iteration_do_not_grow_with_pairs_or_leaves(bounds):
    """As the documentation says: some twenty of the framework's, forty with bounds, beside those of `fun`."""
    torch = pytest.importorskip("torch", reason="counts the operations that PyTorch dispatches")
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            Count.calls += 1
            return function(*args, **(kwargs or {}))

    def operations(maxcor, leaves, limit):
        x0 = [torch.full((5,), 3.0, dtype=torch.float32) for _ in range(leaves)]

        def fun(x):
            with torch.utils._python_dispatch._disable_current_modes():
                return sum(((leaf - 1.0) ** 4).sum() for leaf in x)

        Count.calls = 0
        with Count():
            options = {"maxcor": maxcor, "maxfun": limit, "ftol": 0.0, "gtol": 0.0}
            result = minimize(fun, x0, method=METHOD, bounds=bounds, options=options)
        assert result.nfev == limit
        return Count.calls

    def each(maxcor, leaves):
        return (operations(maxcor, leaves, 22) - operations(maxcor, leaves, 12)) / 10

    operations(3, 1, 12)  # what is asked once a process
    assert each(3, 1) == each(30, 1)
    assert each(3, 1) <= (80 if bounds else 40)
