"""The conformance kit finds what is wrong with a backend, and says which hook broke which promise."""

import re
from types import SimpleNamespace

import numpy as np
import optree
import pytest

from dmin_core import get_backend
from dmin_core.testing import BackendTests
from dmin_core.testing._suite import CALLED
from dmin_core.testing.problems import bounded, flat, quadratic, rosenbrock, smooth


class Checks(BackendTests):
    """NumPy's; not named Test…, for pytest is not to run it as it is."""

    backend = "numpy"
    xp = np
    dtypes = ("float16", "float32", "float64")

    def array(self, values, dtype):
        return np.array(values, dtype=dtype)


def off(result):
    """The same gradient or product, one number of it wrong by a tenth."""
    array = result
    while isinstance(array, tuple):
        array = array[-1]
    array.flat[-1] += 0.1 * np.abs(array).max()
    return result


def with_fault(function, fault):
    return lambda *given: lambda *arguments: fault(function(*given)(*arguments))


def sharing_one_buffer(from_numpy, buffer):
    def shared(array, like):
        if like is None or array.shape != (3,):
            return from_numpy(array, like)
        buffer[:] = array
        return buffer

    return shared


def zeroed_afterwards(function):
    """The hook made to write into the point that it is given."""

    def hook(fun):
        def evaluate(point, *rest):
            result = function(fun)(point, *rest)
            point[0][...] = 0.0
            return result

        return evaluate

    return hook


def with_one_point_for_all(value):
    """`value` made to remember the point in one place, whichever run calls it, and for as long as `fun` runs."""
    current = [None]

    def hook(fun):
        def evaluate(point, *args):
            current[0] = point
            result = value(fun)(point, *args)
            return result if current[0] is point else result + 1.0

        return evaluate

    return hook


def swallowing(value):
    """`value` made to take errors for values that are not finite."""

    def hook(fun):
        def evaluate(point, *args):
            try:
                return value(fun)(point, *args)
            except ArithmeticError:
                return np.nan

        return evaluate

    return hook


def kept_by_id(hvp):
    """`hvp` made to keep what it knows of a point by the number of the object, which another may have later."""

    def hook(fun):
        points = {}

        def product(point, vector, *args):
            return hvp(fun)(points.setdefault(id(point), (point[0].copy(),)), vector, *args)

        return product

    return hook


FAULTS = {
    "point known by its id": (
        ("hvp", kept_by_id),
        lambda kit, patch: kit.test_product_is_that_of_its_point(),
        "hvp must return the product at the new point (off by 18, ",
    ),
    "array cut off on its way to fun": (
        ("restore", lambda true: lambda array, like, inside: np.zeros(3)),
        lambda kit, patch: kit.test_restore_can_be_differentiated("float64"),
        "restore must let gradients through (off by 4, ",
    ),
    "errors swallowed": (
        ("value", swallowing),
        lambda kit, patch: kit.test_what_fun_raises_passes_through(),
        "value must let through what fun raises\n  got:      None\n  expected: <class 'ZeroDivisionError'>",
    ),
    "point written into": (
        ("value_and_grad", zeroed_afterwards),
        lambda kit, patch: kit.test_points_are_not_written_into("float64"),
        "value_and_grad must not write into its point (to the last bit)\n  got:      [0. 0. 0. 0.]",
    ),
    "evaluation that a run inside fun disturbs": (
        ("value", with_one_point_for_all),
        lambda kit, patch: kit.test_runs_inside_fun_disturb_nothing(),
        "value must not be disturbed by a run inside fun (L-BFGS-B)",
    ),
    "evaluation that another thread disturbs": (
        ("value", with_one_point_for_all),
        lambda kit, patch: kit.test_runs_in_two_threads_disturb_nothing(),
        "value must not be disturbed by a run in another thread",
    ),
    "float16 handed out as it is": (
        ("to_numpy", lambda true: np.asarray),
        lambda kit, patch: kit.test_to_numpy_keeps_shape_and_values("float16", (3,)),
        "to_numpy must return the right dtype for float16\n  got:      float16\n  expected: float32",
    ),
    "0-d arrays made 1-d": (
        ("to_numpy", lambda true: lambda array: np.atleast_1d(true(array))),
        lambda kit, patch: kit.test_to_numpy_keeps_shape_and_values("float64", ()),
        "to_numpy must keep the shape and values of a float64 array\n  got:      shape (1,)\n  expected: shape ()",
    ),
    "dtype of like ignored": (
        ("from_numpy", lambda true: lambda array, like: np.array(array)),
        lambda kit, patch: kit.test_from_numpy_makes_arrays_like_another("float32", (3,)),
        "from_numpy must take the dtype from `like`\n  got:      float64\n  expected: float32",
    ),
    "shape of like taken": (
        ("from_numpy", lambda true: lambda array, like: np.resize(true(array, like), like.shape)),
        lambda kit, patch: kit.test_from_numpy_makes_arrays_like_another("float32", (3,)),
        "from_numpy must take the shape from the host's array\n  got:      (2,)\n  expected: (3,)",
    ),
    "one buffer for all points": (
        ("feed", lambda true: sharing_one_buffer(true, np.zeros(3))),
        lambda kit, patch: kit.test_points_outlive_the_evaluation("L-BFGS-B", patch),
        "feed must not view memory that L-BFGS-B writes (to the last bit)",
    ),
    "gradient wrong in one number": (
        ("value_and_grad", lambda true: with_fault(true, off)),
        lambda kit, patch: kit.test_gradient_is_right("quadratic", "float64"),
        "value_and_grad must return the gradient (off by ",
    ),
    "product wrong in one number": (
        ("hvp", lambda true: with_fault(true, off)),
        lambda kit, patch: kit.test_product_is_right("rosenbrock", "float64"),
        "hvp must return the product (off by ",
    ),
    "Hessian not symmetric": (
        ("hessian", lambda true: with_fault(true, lambda h: h + np.triu(np.full_like(h, 1e-9)))),
        lambda kit, patch: kit.test_hessian_is_right("smooth", "float64"),
        "hessian must be symmetric (to the last bit)",
    ),
    "Jacobian transposed": (
        ("jacobian", lambda true: with_fault(true, np.transpose)),
        lambda kit, patch: kit.test_jacobian_is_right("float64"),
        "jacobian must return the derivative of every output\n  got:      shape (3, 5)\n  expected: shape (5, 3)",
    ),
    "pieces out of order": (
        ("split", lambda true: lambda vector, shapes, dtypes: true(vector[::-1], shapes, dtypes)),
        lambda kit, patch: kit.test_split_cuts_in_order("float64"),
        "split must cut the vector in order (to the last bit)\n  got:      [9. 8.]\n  expected: [0 1]",
    ),
    "a device that is no text": (
        ("device", lambda true: lambda array: 0),
        lambda kit, patch: kit.test_framework_and_devices_are_named(),
        "device must return a text\n  got:      <class 'int'>\n  expected: <class 'str'>",
    ),
    "loop that runs once": (
        ("while_loop", lambda true: lambda cond, body, state: body(state)),
        lambda kit, patch: kit.test_control_flow_computes(),
        "while_loop must run the body while the condition holds (to the last bit)\n  got:      2.0\n  expected: 32.0",
    ),
}


@pytest.mark.parametrize(("planted", "check", "message"), FAULTS.values(), ids=FAULTS)
def test_fault_is_found_and_named(planted, check, message, monkeypatch):
    hook, fault = planted
    check(Checks(), monkeypatch)  # without it the check passes
    monkeypatch.undo()

    backend = get_backend("numpy")
    monkeypatch.setattr(backend, hook, fault(getattr(backend, hook)))

    with pytest.raises(AssertionError, match=f"^{re.escape(message)}"):
        check(Checks(), monkeypatch)


def test_capability_that_is_declared_and_missing_is_found():
    class Boasts(Checks):
        exact_hvp = True

    with pytest.raises(AssertionError, match=r"^hvp must be implemented if Boasts\.exact_hvp is True, and only then"):
        Boasts().test_capabilities_are_as_declared()


class Wrapped:
    """An array of a framework of its own, with the attributes that its constructor is given."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("functions", "attributes", "message"),
    [
        (
            set(CALLED) - {"stack", "where"},
            {"device", "dtype", "ndim", "shape"},
            r"^namespace .*\n.*'stack', 'where'\]",
        ),
        (CALLED, {"dtype", "ndim", "shape"}, r"^from_numpy must make arrays that lack .*\n.*\['device'\]"),
    ],
)
def test_what_methods_on_the_device_lack_is_named(functions, attributes, message, monkeypatch):
    backend = get_backend("numpy")
    monkeypatch.setattr(backend, "namespace", lambda array: SimpleNamespace(**dict.fromkeys(functions)))
    monkeypatch.setattr(backend, "from_numpy", lambda array, like: Wrapped(**dict.fromkeys(attributes)))
    with pytest.raises(AssertionError, match=message):
        Checks().test_namespace_has_what_methods_on_the_device_call()


def test_array_that_is_attached_is_found():
    class Holds(Checks):
        def attached(self, array):
            return np.ndim(array) == 1

    message = "value_and_grad must return arrays that are detached from any graph\n  got:      [False, True]"
    with pytest.raises(AssertionError, match=f"^{re.escape(message)}"):
        Holds().test_what_comes_out_is_detached()


def test_backend_that_is_not_installed_is_found():
    class Absent(Checks):
        backend = "absent"

    with pytest.raises(AssertionError, match=r"has an entry point 'absent' in 'dmin\.backends'"):
        Absent().test_backend_loads()


def test_skip_names_the_capability():
    with pytest.raises(pytest.skip.Exception, match="Checks does not declare `compiles`"):
        Checks().test_compiles_once()


# The problems --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [smooth, quadratic, rosenbrock, bounded])
def test_derivatives_of_known_problem_are_those_of_its_objective(make):
    """By central differences."""
    problem = make()
    fun, start, data = problem.pose(np, np.array)
    value, gradient, hessian = problem.derivatives(start, data)
    assert value == pytest.approx(float(fun(start, *data)), rel=1e-15)

    h = 1e-5
    for i in range(gradient.size):
        ahead, behind = (problem.derivatives(moved(start, i, step), data) for step in (h, -h))
        assert gradient[i] == pytest.approx((ahead[0] - behind[0]) / (2 * h), rel=1e-6, abs=1e-6)
        np.testing.assert_allclose(hessian[i], (ahead[1] - behind[1]) / (2 * h), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [smooth, quadratic, rosenbrock, bounded])
def test_answer_of_known_problem_is_a_minimum(make):
    problem = make()
    value, gradient, hessian = problem.derivatives(problem.answer, problem.data)
    assert value == pytest.approx(problem.value, abs=1e-12)
    assert np.linalg.eigvalsh(hessian).min() > 0
    multipliers = np.array([1.0, 0.0, 0.0, -2.0]) if problem.bounds else 0.0
    np.testing.assert_allclose(gradient, multipliers + np.zeros_like(gradient), atol=1e-12)
    assert (flat(problem.start) != flat(problem.answer)).any()


def moved(nest, i, step):
    """The nest with number `i` of its leaves, laid end to end, moved by `step`."""
    leaves, structure = optree.tree_flatten(nest)
    leaves = [np.array(leaf) for leaf in leaves]
    for leaf in leaves:
        if i < leaf.size:
            leaf.flat[i] += step
            break
        i -= leaf.size
    return structure.unflatten(leaves)
