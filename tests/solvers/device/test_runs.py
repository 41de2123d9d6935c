"""What every method on the device promises, in every installed backend: what it keeps, where it stops."""

import itertools
import math

import numpy as np
import optree
import pytest

from dmin_core import Interrupted, ObjectiveError, backends, get_backend, minimize
from dmin_core.testing.problems import flat

METHODS = ["device-lbfgs", "device-bfgs"]
EVERY = [*METHODS, "device-newton-cg"]
NEVER = {"device-lbfgs": {"ftol": 0.0, "gtol": 0.0}, "device-bfgs": {"gtol": 0.0}}
"""Options with which no test of convergence holds."""
USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
DIFFERENTIATING = [name for name in USABLE if get_backend(name).exact_gradient]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", USABLE)
def test_the_answer_is_the_lowest_value_of_the_history(backend, method, posed):
    fun, x0, given = posed(backend)
    for limit in (1, 2, 3, 5, 8, 13):
        result = minimize(fun, x0, method=method, options={"maxfun": limit}, **given)
        assert result.nfev == len(result.history) == limit
        assert result.fun == result.history.fun.min()
        assert not result.success
        assert "maxfun" in result.message
        again = float(get_backend(backend).to_numpy(fun(result.x)))
        assert again == pytest.approx(result.fun, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", USABLE)
def test_limits_on_iterations_are_exact(backend, method, posed):
    fun, x0, given = posed(backend)
    for limit in (1, 2, 7):
        result = minimize(fun, x0, method=method, options={"maxiter": limit}, **given)
        assert (result.nit, result.success, result.status) == (limit, False, 1)
        assert "maxiter" in result.message


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", USABLE)
def test_a_callback_sees_each_iterate_and_can_stop(backend, method, posed):
    fun, x0, given = posed(backend)
    plain = minimize(fun, x0, method=method, **given)
    seen = []

    def watch(intermediate_result):
        seen.append((intermediate_result.fun, intermediate_result.nit))
        if len(seen) == 5:
            raise StopIteration

    result = minimize(fun, x0, method=method, callback=watch, **given)
    assert (result.nit, result.status, result.success) == (5, 99, False)
    assert [nit for _, nit in seen] == [1, 2, 3, 4, 5]
    assert [f for f, _ in seen] == sorted((f for f, _ in seen), reverse=True)
    assert result.fun == min(f for f, _ in seen)
    # Being watched changes nothing but the length of the stretches.
    np.testing.assert_array_equal(result.history.fun, plain.history.fun[: result.nfev])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", USABLE)
def test_time_runs_out_before_an_evaluation(backend, method, posed):
    fun, x0, given = posed(backend)
    result = minimize(fun, x0, method=method, options={"maxtime": 0.0}, **given)
    assert (result.nfev, result.success) == (0, False)
    assert "maxtime" in result.message


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("backend", USABLE)
def test_iterations_are_counted_when_time_runs_out(backend, method, posed, monkeypatch):
    fun, x0, given = posed(backend)
    clock = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr("dmin_core._problem.perf_counter", lambda: float(next(clock)))
        result = minimize(fun, x0, method=method, options={"maxtime": 9.5}, **given)
    assert "maxtime" in result.message
    assert result.nit > 0
    assert result.nit == minimize(fun, x0, method=method, options={"maxfun": result.nfev}, **given).nit


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", USABLE)
def test_float32_ends_in_success(backend, method, posed):
    """Values near the minimum are equal, or noise: a clean stop, not a failed search."""
    fun, x0, given = posed(backend, "float32")
    result = minimize(fun, x0, method=method, options=NEVER[method], **given)
    assert (result.success, result.status) == (True, 0)
    assert result.nfev < 200
    x = flat(optree.tree_map(get_backend(backend).to_numpy, result.x))
    np.testing.assert_allclose(x, 1.0, atol=2e-2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", USABLE)
def test_a_value_that_is_not_finite_at_the_start_is_an_error(backend, method, posed):
    fun, x0, given = posed(backend)
    bad = optree.tree_map(lambda leaf: leaf * 1e200, x0)
    with pytest.raises(ObjectiveError, match="at the start"):
        minimize(fun, bad, method=method, **given)


@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_a_gradient_whose_square_is_not_finite_is_an_error(backend, method):
    """It is not said to be infinite itself, for it is not."""
    host = get_backend(backend)
    x0 = host.from_numpy(np.full(3, 2.0, np.float32), None)
    xp = host.namespace(x0)
    with pytest.raises(ObjectiveError, match="is finite, but so large that the sum of its squares is not, in float32"):
        minimize(lambda x: 1e20 * xp.sum(x**2), x0, method=method)


@pytest.mark.parametrize("option", ["gtol", "maxiter", "maxfun"])
@pytest.mark.parametrize("method", EVERY)
@pytest.mark.parametrize("backend", USABLE)
def test_an_option_that_is_none_is_the_default(backend, method, option, posed):
    fun, x0, given = posed(backend)
    plain = minimize(fun, x0, method=method, **given)
    result = minimize(fun, x0, method=method, options={option: None}, **given)
    assert (result.nfev, result.nit, result.message) == (plain.nfev, plain.nit, plain.message)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_the_objective_may_leave_its_domain(backend, method):
    """Long first steps from here meet infinities and nan, and the search comes back."""
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))

    def fun(x):
        return xp.sum(1e4 * x - xp.log(x)) + xp.sum(xp.sqrt(2.0 - x))

    with np.errstate(all="ignore"):
        result = minimize(fun, host.from_numpy(np.array([1.0, 1.5]), None), method=method)
    assert result.success
    np.testing.assert_allclose(host.to_numpy(result.x), 1e-4, rtol=1e-3)
    assert not np.isfinite(result.history.fun).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_a_leaf_without_influence_is_named(backend, method):
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    x0 = {name: host.from_numpy(np.ones(3), None) for name in ("used", "unused")}
    with pytest.warns(RuntimeWarning, match=r"x0\['unused'\]"):
        minimize(lambda x: xp.sum((x["used"] - 3.0) ** 2) + 0.0 * xp.sum(x["unused"]), x0, method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_compiled_and_eager_loops_take_the_same_path(backend, method, posed):
    fun, x0, given = posed(backend)
    eager = minimize(fun, x0, method=method, compile=False, **given)
    result = minimize(fun, x0, method=method, **given)
    assert (result.nfev, result.nit) == (eager.nfev, eager.nit)
    np.testing.assert_allclose(result.history.fun[:30], eager.history.fun[:30], rtol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_interruption_hands_over_the_best_point(method, chained):
    fun, x0 = chained(10)
    calls = [0]

    def interrupted(x):
        calls[0] += 1
        if calls[0] == 12:
            raise KeyboardInterrupt
        return fun(x)

    with pytest.raises(Interrupted) as caught:
        minimize(interrupted, x0, jac=True, method=method)
    result = caught.value.result
    assert result.fun == result.history.fun.min()
    assert fun(result.x)[0] == result.fun


@pytest.mark.parametrize("method", METHODS)
def test_the_users_arrays_may_be_written_into(method, chained):
    fun, x0 = chained(10)
    gradient = np.zeros(10)

    def writes(x):
        value, slope = fun(x)
        gradient[:] = slope["0"]
        x["0"][:] = math.nan
        return value, {"0": gradient}

    np.testing.assert_array_equal(
        minimize(writes, x0, jac=True, method=method).history.fun,
        minimize(fun, x0, jac=True, method=method).history.fun,
    )


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_leaves_have_a_solver_in_single(method):
    """The solver's vectors keep what the leaves lose: steps smaller than a leaf's last digit add up."""

    def fun(x):
        d = x.astype(np.float32) - np.float32(1.0)
        return np.float32(d @ d), (2 * d).astype(np.float16)

    result = minimize(fun, np.full(5, 3.0, np.float16), jac=True, method=method)
    assert result.x.dtype == np.float16
    np.testing.assert_allclose(result.x.astype(float), 1.0, atol=2e-3)


@pytest.mark.parametrize("bounds", [None, (-1.5, 0.9)], ids=["free", "bounded"])
@pytest.mark.parametrize("method", EVERY)
def test_large_leaves_that_are_handed_over_by_themselves_change_nothing(method, bounds, monkeypatch, chained):
    """Some backends have it so: the sums that decide are over all of them."""
    fun, far = chained(12, leaves=3)
    x0 = {name: 0.5 * leaf for name, leaf in far.items()}
    if method == "device-bfgs":
        bounds = None

    def run():
        second = {"hessp": products} if method == "device-newton-cg" else {}
        return minimize(fun, x0, jac=True, method=method, bounds=bounds, **second)

    def products(x, p):
        step = 1e-6
        ahead, behind = (fun({name: x[name] + sign * step * p[name] for name in x})[1] for sign in (1, -1))
        return {name: (ahead[name] - behind[name]) / (2 * step) for name in x}

    alone = run()
    monkeypatch.setattr(get_backend("numpy"), "own_array", lambda size, like: size > 3)
    apart = run()
    assert alone.success
    assert apart.success
    assert apart.fun == pytest.approx(alone.fun, rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(apart.history.fun[:12], alone.history.fun[:12], rtol=1e-6)


@pytest.mark.parametrize("method", EVERY)
def test_tol_is_gtol_and_ftol_where_there_is_one(method, posed):
    fun, x0, given = posed("numpy")
    usual = minimize(fun, x0, method=method, **given)
    short = minimize(fun, x0, method=method, tol=1e-2, **given)
    same = minimize(fun, x0, method=method, options=dict.fromkeys(NEVER.get(method, {"gtol": 0.0}), 1e-2), **given)
    np.testing.assert_array_equal(short.history.fun, same.history.fun)
    assert short.success
    assert short.nfev < usual.nfev
    # What is given by name counts, whatever else is.
    named = minimize(fun, x0, method=method, tol=1e9, options=NEVER.get(method, {"gtol": 0.0}), **given)
    assert named.nfev >= usual.nfev


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("method", EVERY)
def test_gtol_is_for_the_number_of_the_gradient_that_is_farthest_from_zero(method, sign):
    """Whatever its sign, and however many are small; and a run that ends by that is a success by its status too."""
    second = {"hessp": lambda x, p: p} if method == "device-newton-cg" else {}
    x0, bounds = sign * np.array([2e-5, *np.full(400, 1e-9)]), [None]
    if method != "device-bfgs":
        bounds.append((-2.0, 2.0))
    for each in bounds:
        result = minimize(lambda x: (0.5 * x @ x, x.copy()), x0, jac=True, method=method, bounds=each, **second)
        assert (result.success, result.status) == (True, 0)
        assert np.abs(result.jac).max() <= 1e-5
        assert result.nit > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_gradient_is_no_success(method, chained):
    fun, x0 = chained(10)

    def wrong(x):
        value, gradient = fun(x)
        return value, {"0": -gradient["0"]}

    result = minimize(wrong, x0, jac=True, method=method)
    assert not result.success
    assert "line search" in result.message


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_thirty_iterations_are_the_same_in_every_backend(backend, method):
    """To 1e-8, with NumPy and a gradient by hand as the reference, on a convex function of forty variables."""
    scale = np.geomspace(1.0, 300.0, 40)

    def posed_in(xp, scale):
        return lambda x: 0.5 * xp.sum(scale * (x - 1.0) ** 2) + 0.1 * xp.sum((x[1:] - x[:-1]) ** 4)

    def gradient(x):
        bend = 0.4 * (x[1:] - x[:-1]) ** 3
        g = scale * (x - 1.0)
        g[1:] += bend
        g[:-1] -= bend
        return g

    def iterates(name, **given):
        host, rows = get_backend(name), []
        xp = host.namespace(host.from_numpy(np.zeros(1), None))

        def note(x):
            rows.append(host.to_numpy(x))
            if len(rows) == 30:
                raise StopIteration

        fun = posed_in(xp, host.from_numpy(scale, None))
        x0 = host.from_numpy(np.tile([3.0, -2.0], 20), None)
        minimize(fun, x0, method=method, callback=note, options=NEVER[method], **given)
        return np.array(rows)

    reference = iterates("numpy", jac=gradient)
    assert len(reference) == 30
    np.testing.assert_allclose(iterates(backend), reference, rtol=1e-8)
