"""Wrong derivatives are found and named; right ones pass, in every dtype, at bounds, on noise and at kinks."""

import warnings

import numpy as np
import pytest

from dmin_core import DerivativeError, NonlinearConstraint, ObjectiveError, backends, get_backend, minimize
from dmin_core.testing.problems import bounded, quadratic, rosenbrock, smooth

BACKENDS = [name for name, info in backends().items() if info.error is None and info.devices]
PROBLEMS = {"smooth": smooth, "quadratic": quadratic, "rosenbrock": rosenbrock, "bounded": bounded}
DTYPES = ("float32", "float64")
ONE = {"maxfun": 1}


def check(fun, x0, **given):
    """A run that checks, and stops at once."""
    return minimize(fun, x0, check_derivatives=True, options=given.pop("options", ONE), **given)


def nest(dtype="float64"):
    rng = np.random.default_rng(1)
    return {
        "layers": [{"w": rng.normal(size=(3, 2)).astype(dtype), "b": rng.normal(size=2).astype(dtype)}],
        "scale": np.array(0.75, dtype=dtype),
    }


def fun(p):
    w, b, scale = p["layers"][0]["w"], p["layers"][0]["b"], p["scale"]
    return np.sum(np.sin(w) * b) + np.sum(np.exp(b)) * scale**2 + np.sum(w**2)


def jac(p):
    w, b, scale = p["layers"][0]["w"], p["layers"][0]["b"], p["scale"]
    return {
        "layers": [{"w": np.cos(w) * b + 2 * w, "b": np.sum(np.sin(w), axis=0) + np.exp(b) * scale**2}],
        "scale": 2 * scale * np.sum(np.exp(b)),
    }


# Right ones pass -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "trust-exact"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_framework_is_right(backend, method, problem, dtype):
    host, problem = get_backend(backend), PROBLEMS[problem]()
    if not host.exact_gradient:
        pytest.skip(f"{backend} does not differentiate")
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    posed, x0, data = problem.pose(xp, lambda array: host.from_numpy(np.array(array, dtype=dtype), None))
    bounds = problem.bounds if method == "L-BFGS-B" else None
    check(posed, x0, args=data, method=method, bounds=bounds)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", ["jac", "pair"])
def test_a_right_gradient_passes(given, dtype):
    if given == "jac":
        check(fun, nest(dtype), jac=jac)
    else:
        check(lambda p: (fun(p), jac(p)), nest(dtype), jac=True)


def test_half_precision_is_too_coarse_to_check_and_that_is_said():
    with pytest.warns(RuntimeWarning, match="16 bits.*Convert x0 to float32"):
        check(fun, nest("float16"), jac=jac)


FUNCTIONS = {
    "steep": (lambda x: np.sum(np.exp(20 * x)), lambda x: 20 * np.exp(20 * x)),
    "far from zero": (lambda x: np.sum((x - 1) ** 2) + 1e6, lambda x: 2 * (x - 1)),
    "cancelling": (lambda x: np.sum((1e4 + x) ** 2 - 1e8), lambda x: 2 * (1e4 + x)),
    "wavy": (lambda x: np.sum(np.sin(50 * x)), lambda x: 50 * np.cos(50 * x)),
    "tiny": (lambda x: 1e-20 * np.sum(x**3), lambda x: 3e-20 * x**2),
    "flat": (lambda x: np.sum((x - x) ** 2) + np.sum(x[:1]) * 0 + 3.0, lambda x: np.zeros_like(x)),
    "linear": (lambda x: np.sum(x) * 3, lambda x: np.full_like(x, 3.0)),
    "stationary": (lambda x: np.sum((x - 0.3) ** 2), lambda x: 2 * (x - 0.3)),
    "quartic": (lambda x: np.sum((x - 0.3) ** 4), lambda x: 4 * (x - 0.3) ** 3),
    "steeper one side": (lambda x: np.sum(np.logaddexp(0, 30 * x)), lambda x: 30 / (1 + np.exp(-30 * x))),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_false_alarm(name, dtype):
    value, gradient = FUNCTIONS[name]
    for start in (np.array([0.3]), np.array([0.3, -0.7, 1e-3]), np.zeros(2), np.full(40, 0.1)):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*exactly zero.*", RuntimeWarning)
            check(value, start.astype(dtype), jac=gradient)


@pytest.mark.parametrize("noise", [1e-12, 1e-9, 1e-6])
def test_noise_of_fun_is_allowed_for(noise):
    # The same twice, and a different error at every x.
    def rough(x):
        return np.sum(x**2) + noise * np.sin(1e9 * float(np.sum(x)))

    check(rough, np.array([1.0, -2.0]), jac=lambda x: 2 * x)


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero) encountered:RuntimeWarning")
@pytest.mark.parametrize("scale", [1e-9, 1e-5, 1e5, 1e9])
def test_steps_fit_variables_of_any_size(scale):
    def value(x):
        return np.sum(np.log(x / scale) ** 2 + x / scale)

    check(value, scale * np.array([2.0, 0.5]), jac=lambda x: 2 * np.log(x / scale) / x + 1 / scale)


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero) encountered:RuntimeWarning")
def test_a_function_that_is_not_finite_nearby_can_be_checked_nearer():
    x0 = np.array([1e-6])
    check(lambda x: np.sum(x * np.log(x)), x0, jac=lambda x: np.log(x) + 1)
    with pytest.raises(DerivativeError, match=r"x0\[0\]"):
        check(lambda x: np.sum(x * np.log(x)), x0, jac=np.log)


# Wrong ones do not ---------------------------------------------------------------------------------------

WRONG = {
    "x0['layers'][0]['w']": lambda g: g["layers"][0].update(w=-g["layers"][0]["w"]),
    "x0['layers'][0]['b']": lambda g: g["layers"][0].update(b=g["layers"][0]["b"] * 1.1),
    "x0['scale']": lambda g: g.update(scale=g["scale"] * 2),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("path", WRONG)
def test_the_leaf_that_is_wrong_is_named(path, dtype):
    def wrong(p):
        g = jac(p)
        WRONG[path](g)
        return g

    with pytest.raises(DerivativeError, match="The gradient from `jac` disagrees") as caught:
        check(fun, nest(dtype), jac=wrong)
    assert caught.value.path == path
    assert f"in {path}, above all at {path}" in str(caught.value)
    assert "Also wrong" not in str(caught.value)


def test_the_worst_leaf_is_named_first_and_the_others_after():
    def wrong(p):
        g = jac(p)
        g["layers"][0]["b"] = g["layers"][0]["b"] + 0.01
        g["scale"] = g["scale"] * -3
        return g

    with pytest.raises(DerivativeError, match=r"Also wrong: x0\['layers'\]\[0\]\['b'\]\.") as caught:
        check(fun, nest(), jac=wrong)
    assert caught.value.path == "x0['scale']"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_one_wrong_number_is_found_with_what_it_should_be(size, dtype):
    rng = np.random.default_rng(size)
    x0, j = rng.normal(size=size).astype(dtype), size // 3

    def wrong(x):
        g = 2 * x
        g[j] += 7.0
        return g

    with pytest.raises(DerivativeError) as caught:
        check(lambda x: np.sum(x.astype(np.float64) ** 2), x0, jac=wrong)
    text = str(caught.value)
    got, expected = text.partition("got ")[2].partition(" (step")[0].split(", expected ")
    assert f"x0[{j}]: got" in text
    assert float(got) == pytest.approx(2 * x0[j] + 7, rel=1e-5)
    assert float(expected) == pytest.approx(2 * x0[j], rel=1e-2, abs=1e-2)


@pytest.mark.parametrize(("relative", "found"), [(1e-3, True), (1e-5, True), (1e-9, False)])
def test_how_small_an_error_is_found(relative, found):
    def run():
        check(lambda x: np.sum(np.exp(x)), np.array([0.5, 1.0]), jac=lambda x: np.exp(x) * (1 + relative))

    if found:
        with pytest.raises(DerivativeError):
            run()
    else:
        run()


def test_a_wrong_pair_is_said_to_come_from_fun():
    with pytest.raises(DerivativeError, match="The gradient from `fun` disagrees"):
        check(lambda x: (np.sum(x**2), x), np.ones(3), jac=True)


def test_a_gradient_that_the_framework_is_cut_off_from_is_found():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("dmin_torch", reason="dmin-torch is not installed")
    x0 = {"a": torch.ones(2), "b": torch.ones(3)}
    with pytest.raises(DerivativeError, match=r"torch's gradient of `fun` disagrees.* in x0\['b'\]"):
        check(lambda p: (p["a"] ** 2).sum() + (p["b"] * p["b"].detach()).sum(), x0)


def test_a_wrong_rule_is_found_in_a_compiled_framework():
    jax = pytest.importorskip("jax", reason="jax is not installed")
    pytest.importorskip("dmin_jax", reason="dmin-jax is not installed")

    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (3 * x * g,))
    with pytest.raises(DerivativeError, match=r"jax's gradient of `fun` disagrees.*got 3, expected 2"):
        check(lambda x: jax.numpy.sum(square(x)), jax.numpy.ones(3))


# Products and Hessians -----------------------------------------------------------------------------------


def hessp(p, v):
    w, b = p["layers"][0]["w"], p["layers"][0]["b"]
    vw, vb, scale, vs = v["layers"][0]["w"], v["layers"][0]["b"], p["scale"], v["scale"]
    return {
        "layers": [
            {
                "w": (2 - np.sin(w) * b) * vw + np.cos(w) * vb,
                "b": np.sum(np.cos(w) * vw, axis=0) + np.exp(b) * scale**2 * vb + 2 * scale * np.exp(b) * vs,
            }
        ],
        "scale": 2 * np.sum(np.exp(b)) * vs + 2 * scale * np.sum(np.exp(b) * vb),
    }


def hess(p):
    """Laid end to end: b, w, scale."""
    x0 = nest()
    columns = []
    for unit in np.eye(9):
        v = {"layers": [{"b": unit[:2], "w": unit[2:8].reshape(3, 2)}], "scale": unit[8]}
        h = hessp(p, v)
        columns.append(np.concatenate([np.ravel(h["layers"][0]["b"]), np.ravel(h["layers"][0]["w"]), [h["scale"]]]))
    assert set(x0) == {"layers", "scale"}
    return np.array(columns).T


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gradient", [jac, None], ids=["jac", "differences"])
@pytest.mark.parametrize("given", [{"hess": hess}, {"hessp": hessp}], ids=["hess", "hessp"])
def test_a_right_product_passes(given, gradient, dtype):
    for method in ["trust-ncg", "Newton-CG", "trust-constr"] + ["trust-exact"] * ("hess" in given):
        check(fun, nest(dtype), jac=gradient, method=method, **given)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gradient", [jac, None], ids=["jac", "differences"])
@pytest.mark.parametrize("kind", ["hess", "hessp"])
def test_a_wrong_product_is_named(kind, gradient, dtype):
    def wrong_product(p, v):
        h = hessp(p, v)
        h["layers"][0]["b"] = h["layers"][0]["b"] * 1.5
        return h

    def wrong_hessian(p):
        h = hess(p)
        h[:2] *= 1.5
        return h

    given = {"hess": wrong_hessian} if kind == "hess" else {"hessp": wrong_product}
    what = "The Hessian from `hess`" if kind == "hess" else "The Hessian product from `hessp`"
    with pytest.raises(DerivativeError, match=f"{what} disagrees") as caught:
        check(fun, nest(dtype), jac=gradient, method="trust-ncg", **given)
    assert caught.value.path == "x0['layers'][0]['b']"
    assert "the gradient" in str(caught.value) if gradient else "differences of `fun`" in str(caught.value)


def test_the_gradient_is_looked_at_first():
    with pytest.raises(DerivativeError, match="The gradient from `jac`"):
        check(lambda x: np.sum(x**4), np.ones(2), jac=lambda x: x**3, hessp=lambda x, p: x * p, method="trust-ncg")


# Bounds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_evaluation_leaves_the_bounds(dtype, right):
    lb = np.array([1.0, 0.0, -1.0, 2.0, 0.0], dtype)
    ub = np.array([1.0, 9.0, 1.0, 2.0 + 2.0**-6, 5.0], dtype)
    x0 = np.array([1.0, 0.0, 1.0, 2.0 + 2.0**-7, 2.0], dtype)
    seen = []

    def value(x):
        seen.append(x.copy())
        return np.sum(np.exp(x / 2) + x[:1] * x)

    def gradient(x):
        g = np.exp(x / 2) / 2 + x[0]
        g[0] += np.sum(x)
        if not right:
            g[2] += 1.0  # a variable on its upper bound
        return g

    if right:
        check(value, x0, jac=gradient, bounds=(lb, ub))
    else:
        with pytest.raises(DerivativeError, match=r"x0\[2\]: got"):
            check(value, x0, jac=gradient, bounds=(lb, ub))
    assert len(seen) > 4
    assert (np.array(seen) >= lb).all()
    assert (np.array(seen) <= ub).all()


def test_a_leaf_without_room_cannot_be_checked_and_that_is_said():
    x0 = {"a": np.ones(2), "b": np.ones(2)}
    with pytest.warns(RuntimeWarning, match=r"gradient of `fun` in x0\['b'\] could not be checked"):
        check(
            lambda p: np.sum(p["a"] ** 2) + np.sum(p["b"] ** 2),
            x0,
            jac=lambda p: {"a": 2 * p["a"], "b": 5 * p["b"]},
            bounds={"b": (1, 1)},
        )


# Kinks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("slope", [-1.0, 0.3, 1.0])
def test_a_slope_between_those_of_a_kink_is_no_error_but_told(slope, dtype):
    def gradient(p):
        return {"a": np.where(p["a"] == 0, slope, np.sign(p["a"])).astype(dtype), "b": 2 * p["b"]}

    x0 = {"a": np.zeros(1, dtype), "b": np.ones(2, dtype)}
    with pytest.warns(RuntimeWarning, match=r"kink at x0 in x0\['a'\]: its slope is -?[\d.]+ on one side"):
        check(lambda p: np.sum(np.abs(p["a"])) + np.sum(p["b"] ** 2), x0, jac=gradient)


def test_a_slope_beyond_those_of_a_kink_is_an_error_that_tells_of_it():
    with pytest.raises(DerivativeError, match="`fun` has a kink there"):
        check(lambda x: np.sum(np.abs(x)) + np.sum(x), np.zeros(1), jac=lambda x: np.full_like(x, 9.0))


def test_a_kink_near_x0_is_stepped_over():
    check(lambda x: np.sum(np.abs(x)), np.array([1e-4, -1e-3, 1e-5]), jac=np.sign)


def test_a_smooth_function_has_no_kink():
    with pytest.raises(DerivativeError) as caught:
        check(lambda x: np.sum(np.exp(x)), np.array([0.5]), jac=lambda x: 2 * np.exp(x))
    assert "kink" not in str(caught.value)


# At the door ---------------------------------------------------------------------------------------------


def test_what_is_evaluated_is_counted_nowhere():
    calls = []

    def value(p):
        calls.append(None)
        return fun(p)

    plain = minimize(value, nest(), jac=jac)
    made = len(calls)
    checked = minimize(value, nest(), jac=jac, check_derivatives=True)
    assert (plain.nfev, plain.njev, plain.fun, len(plain.history)) == (
        *(checked.nfev, checked.njev, checked.fun, len(checked.history)),
    )
    # The start twice, and two a leaf.
    assert len(calls) - 2 * made == 2 + 2 * 3


def test_limits_are_for_the_run():
    result = minimize(fun, nest(), jac=jac, check_derivatives=True, options={"maxfun": 2, "maxtime": 100})
    assert result.nfev == 2


def test_a_compiled_function_is_compiled_once_for_both():
    pytest.importorskip("dmin_jax", reason="dmin-jax is not installed")
    jax = pytest.importorskip("jax", reason="jax is not installed")
    calls = []

    def value(x):
        calls.append(None)
        return jax.numpy.sum((x - 1) ** 2)

    minimize(value, jax.numpy.zeros(3), check_derivatives=True)
    traced = len(calls)
    minimize(value, jax.numpy.zeros(3), check_derivatives=True)
    assert len(calls) == traced <= 4


def test_a_function_that_is_not_the_same_twice_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DerivativeError, match="not the same twice"):
        check(lambda x: np.sum(x**2) + rng.normal(), np.ones(2), jac=lambda x: 2 * x)


@pytest.mark.parametrize("given", [{}, {"jac": "2-point"}, {"method": "Nelder-Mead"}])
def test_where_there_is_nothing_to_check_that_is_said(given):
    with pytest.warns(RuntimeWarning, match="finds nothing to check"):
        check(lambda x: np.sum(x**2), np.ones(2), options={"maxfun": 10}, **given)


@pytest.mark.filterwarnings("ignore:Nelder-Mead makes no use of jac:RuntimeWarning")
def test_what_the_user_gave_is_checked_even_where_the_method_makes_no_use_of_it():
    with pytest.raises(DerivativeError):
        check(lambda x: np.sum(x**2), np.ones(2), jac=lambda x: x, method="Nelder-Mead")


def test_a_start_that_is_not_finite_is_an_error_as_ever():
    with pytest.raises(ObjectiveError, match="`fun` is nan at the start"):
        check(lambda x: np.nan, np.ones(2), jac=lambda x: x)


def test_the_callers_arrays_are_as_they_were():
    x0 = nest()
    before = [x0["layers"][0]["w"].copy(), x0["layers"][0]["b"].copy(), x0["scale"].copy()]

    def greedy(p):
        value = fun(p)
        p["layers"][0]["w"][:] = 0
        return value

    check(greedy, x0, jac=jac)
    for array, kept in zip([x0["layers"][0]["w"], x0["layers"][0]["b"], x0["scale"]], before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_auxiliary_output_is_no_part_of_it():
    check(lambda x: (np.sum(x**2), "aux"), np.ones(2), jac=lambda x: 2 * x, has_aux=True)
    with pytest.raises(DerivativeError):
        check(lambda x: (np.sum(x**2), "aux"), np.ones(2), jac=lambda x: x, has_aux=True)


# Constraints ---------------------------------------------------------------------------------------------


def disc(p):
    return {"far": np.sum(p["w"] ** 2) + p["b"] ** 2, "both": np.array([p["w"][0] * p["b"], np.sin(p["w"][1])])}


def disc_jac(p):
    w, b = p["w"], p["b"]
    return {
        "far": {"w": 2 * w, "b": 2 * b},
        "both": {
            "w": np.array([[b, 0.0], [0.0, np.cos(w[1])]]),
            "b": np.array([w[0], 0.0]),
        },
    }


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
@pytest.mark.parametrize("wrong", [False, True])
def test_a_jacobian_that_is_wrong_names_the_constraint_and_the_leaf(wrong, method):
    def given(p):
        rows = disc_jac(p)
        if wrong:
            rows["both"]["b"] = rows["both"]["b"] * 3
        return rows

    x0 = {"w": np.array([0.3, 0.4]), "b": np.array(0.5)}
    constraint = NonlinearConstraint(disc, -10, 10, jac=given)
    options = {"x0": x0, "jac": lambda p: {"w": 2 * p["w"], "b": 2 * p["b"]}, "method": method}

    def run():
        return check(
            lambda p: np.sum(p["w"] ** 2) + p["b"] ** 2, constraints=[constraint], options={"maxiter": 2}, **options
        )

    if not wrong:
        run()
        return
    message = (
        r"The gradient of constraints\[0\]\['both'\]\[0\] from `jac` of constraints\[0\] disagrees with differences"
    )
    with pytest.raises(DerivativeError, match=message) as caught:
        run()
    assert caught.value.path == "x0['b']"
    assert "got 0.9, expected 0.3" in str(caught.value)


def disc_hess(p, v):
    """Blocks of the Hessian of v · disc."""
    b, w = v["both"][0], -v["both"][1] * np.sin(p["w"][1])
    return {
        "w": {"w": np.diag([2 * v["far"], 2 * v["far"] + w]), "b": np.array([b, 0.0])},
        "b": {"w": np.array([b, 0.0]), "b": 2 * v["far"]},
    }


def with_disc(hess, jac=disc_jac, method="trust-constr"):
    constraint = NonlinearConstraint(disc, -10, 10, jac=jac, hess=hess)
    return check(
        lambda p: np.sum(p["w"] ** 2) + p["b"] ** 2,
        {"w": np.array([0.3, 0.4]), "b": np.array(0.5)},
        jac=None if method == "COBYQA" else lambda p: {"w": 2 * p["w"], "b": 2 * p["b"]},
        method=method,
        constraints=[{"type": "ineq", "fun": lambda p: p["b"] + 10}, constraint],
        options={"maxiter": 2},
    )


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr", "COBYQA"])
@pytest.mark.parametrize("jac", [disc_jac, "3-point"])
def test_a_constraints_hessian_that_is_right_passes(jac, method):
    calls = []

    def hess(p, v):
        calls.append(p)
        return disc_hess(p, v)

    with_disc(hess, jac, method)
    assert calls


@pytest.mark.parametrize("jac", [disc_jac, "3-point"])
def test_a_constraints_hessian_that_is_wrong_names_the_number_and_the_leaf(jac):
    def hess(p, v):
        blocks = disc_hess(p, v)
        blocks["w"]["w"][1, 1] += 5 * v["both"][1]
        return blocks

    of = "its Jacobian" if jac is disc_jac else "its values"
    message = (
        r"The Hessian of constraints\[1\]\['both'\]\[1\] from `hess` of constraints\[1\] disagrees with differences "
        rf"of {of} in x0\['w'\], above all at x0\['w'\]\[1\]"
    )
    with pytest.raises(DerivativeError, match=message) as caught:
        with_disc(hess, jac)
    assert caught.value.path == "x0['w']"


def test_a_hessian_wrong_in_two_leaves_names_the_worse():
    def hess(p, v):
        blocks = disc_hess(p, v)
        blocks["w"]["w"][0, 0] += 0.1 * v["far"]
        blocks["b"]["b"] = 50 * v["far"]
        return blocks

    with pytest.raises(DerivativeError, match=r"The Hessian of constraints\[1\]\['far'\] from") as caught:
        with_disc(hess)
    assert caught.value.path == "x0['b']"


def test_a_constraint_of_one_number_is_named_as_it_is():
    constraint = NonlinearConstraint(lambda x: x @ x, -10, 10, jac=lambda x: 2 * x, hess=lambda x, v: 3 * v * np.eye(2))
    message = r"The Hessian of constraints from `hess` of constraints disagrees with differences of its Jacobian in x0"
    with pytest.raises(DerivativeError, match=message):
        check(lambda x: np.sum(x), np.ones(2), method="trust-constr", constraints=constraint)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_hessian_of_the_users_is_checked_beside_the_frameworks_jacobian(backend, factor):
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    x0 = host.from_numpy(np.array([0.3, 0.4]), None)

    def hess(x, v):
        return np.diag(np.exp(host.to_numpy(x)) * host.to_numpy(v)) * factor

    constraint = NonlinearConstraint(lambda x: xp.exp(x), -10, 10, hess=hess)

    def run():
        return check(lambda x: xp.sum(x**2), x0, constraints=constraint, method="trust-constr", options={"maxiter": 2})

    if factor == 1.0:
        run()
        return
    with pytest.raises(DerivativeError, match=r"The Hessian of constraints\[0\] from `hess` of constraints disagrees"):
        run()


@pytest.mark.parametrize("backend", BACKENDS)
def test_constraints_by_the_framework_are_checked_too_and_right(backend):
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    x0 = {name: host.from_numpy(np.array(start), None) for name, start in (("w", [0.3, 0.4]), ("b", [0.5]))}
    constraint = NonlinearConstraint(lambda p: xp.exp(p["w"]) * p["b"], -10, 10)
    given = {} if host.exact_gradient else {"jac": lambda p: {"w": 2 * p["w"], "b": 2 * p["b"]}}
    result = check(
        lambda p: xp.sum(p["w"] ** 2) + xp.sum(p["b"] ** 2),
        x0,
        constraints=constraint,
        method="SLSQP",
        options={"maxiter": 2},
        **given,
    )
    # What was evaluated for the check is no part of the counts.
    assert result.ncev < 10
