"""What new users do wrong, and that each is told what to do about it.

Frameworks are posed by what they have in common; what is one framework's own mistake is asked of that one alone.
"""

import importlib
import re
import sys
import warnings

import numpy as np
import pytest

from dmin_core import InputError, MethodError, ObjectiveError, UnknownBackendError, backends, minimize

INSTALLED = [
    name for name, info in backends().items() if info.error is None and name in ("numpy", "torch", "jax", "tf")
]
needs_notes = pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have notes from Python 3.11 on")


class Framework:
    """A framework's arrays, and the few functions that the objectives here use."""

    def __init__(self, name):
        self.name = name
        self.module = importlib.import_module({"tf": "tensorflow", "jax": "jax.numpy"}.get(name, name))
        self.sum = getattr(self.module, "reduce_sum" if name == "tf" else "sum")

    def array(self, values, dtype="float32"):
        make = {"torch": "tensor", "tf": "constant"}.get(self.name, "array")
        return getattr(self.module, make)(values, dtype=getattr(self.module, dtype))

    def cut(self, array):
        if self.name == "torch":
            return array.detach()
        if self.name == "tf":
            return self.module.stop_gradient(array)
        return importlib.import_module("jax").lax.stop_gradient(array)


@pytest.fixture(params=INSTALLED)
def framework(request):
    return Framework(request.param)


@pytest.fixture
def x0(framework):
    return {"w": framework.array([1.0, 2.0])}


@pytest.fixture
def square(framework):
    return lambda p: framework.sum((p["w"] - 3) ** 2)


def among(*names):
    """Of these frameworks; those that are not installed are skipped by name."""
    missing = {name: pytest.mark.skipif(name not in INSTALLED, reason=f"needs {name}") for name in names}
    return only("framework", [pytest.param(name, marks=mark) for name, mark in missing.items()], indirect=True)


only = pytest.mark.parametrize
autodiff = among("torch", "jax", "tf")
compiled = among("jax", "tf")
torch_only = among("torch")


def note_of(caught):
    return "\n".join(getattr(caught.value, "__notes__", ()))


# What comes back from fun --------------------------------------------------------------------------------


def test_a_gradient_before_its_value(x0, square):
    with pytest.raises(ObjectiveError, match=r"the value comes first: \(value, gradient\)"):
        minimize(lambda p: ({"w": 2 * (p["w"] - 3)}, square(p)), x0, jac=True)


def test_a_gradient_of_one_array_before_its_value(framework, x0):
    def fun(x):
        return 2 * (x - 3), framework.sum((x - 3) ** 2)

    with pytest.raises(ObjectiveError, match=r"the value comes first: \(value, gradient\)"):
        minimize(fun, x0["w"], jac=True)


def test_aux_before_the_value(x0, square):
    with pytest.raises(ObjectiveError, match=r"the value comes first: .*\(value, aux\)"):
        minimize(lambda p: ({"residual": p["w"]}, square(p)), x0, has_aux=True)


def test_a_pair_that_was_not_announced(x0, square):
    with pytest.raises(ObjectiveError, match=r"pass jac=True; if it is \(value, aux\), pass has_aux=True"):
        minimize(lambda p: (square(p), p), x0)


def test_a_value_alone_where_a_pair_was_announced(x0, square):
    with pytest.raises(ObjectiveError, match=r"With jac=True `fun` must return \(value, gradient\)"):
        minimize(square, x0, jac=True)
    with pytest.raises(ObjectiveError, match=r"With has_aux=True `fun` must return \(value, aux\)"):
        minimize(square, x0, has_aux=True)


def test_a_forgotten_sum(x0):
    with pytest.raises(ObjectiveError, match=r"`fun` returned shape \(2,\).*Sum or average it first"):
        minimize(lambda p: (p["w"] - 3) ** 2, x0)


def test_a_forgotten_return(x0):
    with pytest.raises(ObjectiveError, match=r"`fun` returned None.*Is there a `return` missing\?"):
        minimize(lambda p: None, x0)


# What cuts the derivative off ----------------------------------------------------------------------------


@autodiff
def test_a_detached_array(framework, x0, square):
    with pytest.warns(
        RuntimeWarning, match=r"x0\['w'\] is exactly zero.*detached.*leave out of `fun` what stops gradients"
    ):
        minimize(lambda p: framework.cut(square(p)), x0)


@torch_only
def test_an_objective_under_no_grad(framework, x0, square):
    def fun(p):
        with framework.module.no_grad():
            return square(p)

    with pytest.warns(RuntimeWarning, match=r"leave out of `fun` what stops gradients \(detach, .item\(\), no_grad"):
        minimize(fun, x0)


@torch_only
@only("end", [float, lambda value: value.item()], ids=["float", "item"])
def test_a_number_instead_of_a_tensor(framework, x0, square, end):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's own, of float()
        with pytest.raises(ObjectiveError, match=r"Return a tensor: leave out \.item\(\), float\(\)"):
            minimize(lambda p: end(square(p)), x0)


@torch_only
@needs_notes
@only(
    "fun",
    [
        lambda p: np.sum((np.asarray(p["w"]) - 3) ** 2),
        lambda p: np.sum(p["w"].numpy() ** 2),
        lambda p: np.exp(p["w"]).sum(),
    ],
    ids=["asarray", "numpy()", "ufunc"],
)
def test_numpy_inside_a_torch_objective(framework, x0, fun):
    with pytest.raises(RuntimeError) as caught:
        minimize(fun, x0)
    assert "write `fun` with torch's functions (torch.exp, not np.exp)" in note_of(caught)


@torch_only
@needs_notes
def test_a_sum_of_numpy_s_over_a_tensor(framework, x0):
    with pytest.raises(TypeError) as caught:
        minimize(lambda p: np.sum((p["w"] - 3) ** 2), x0)
    assert "use torch's own" in note_of(caught)


@torch_only
@needs_notes
def test_an_update_of_a_leaf_in_place(framework, x0):
    def fun(p):
        p["w"] -= 3
        return (p["w"] ** 2).sum()

    with pytest.raises(RuntimeError) as caught:
        minimize(fun, x0)
    assert "Make a new tensor" in note_of(caught)
    assert x0["w"].tolist() == [1, 2]


@torch_only
@needs_notes
def test_an_assignment_to_part_of_a_leaf(framework, x0):
    def fun(p):
        p["w"][0] = 3.0
        return (p["w"] ** 2).sum()

    with pytest.raises(RuntimeError) as caught:
        minimize(fun, x0)
    assert "x = x.clone()" in note_of(caught)


@torch_only
@needs_notes
def test_backward_in_the_objective(framework, x0, square):
    def fun(p):
        loss = square(p)
        loss.backward()
        return loss

    with pytest.raises(RuntimeError) as caught:
        minimize(fun, x0)
    assert "leave out backward()" in note_of(caught)


# What does not compile -----------------------------------------------------------------------------------


def shown(p, square):
    print(f"{float(p['w'][0]):.3f}")
    return square(p)


@compiled
@only(
    "fun",
    [
        lambda p, square: square(p) if p["w"][0] > 0 else 2 * square(p),
        lambda p, square: np.sum((np.asarray(p["w"]) - 3) ** 2),
        lambda p, square: float(square(p)),
        shown,
    ],
    ids=["if", "numpy", "float", "print"],
)
def test_python_in_what_is_compiled(framework, x0, square, fun):
    with pytest.raises(ObjectiveError, match="or pass compile=False to run it as plain Python"):
        minimize(lambda p: fun(p, square), x0)


@among("tf", "torch", "numpy")
def test_a_print_runs_as_plain_python(framework, x0, square, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's own, of float()
        assert minimize(lambda p: shown(p, square), x0, compile=False).success
    assert "1.000" in capsys.readouterr().out


@among("jax")
@needs_notes
def test_a_print_while_jax_differentiates(framework, x0, square):
    with pytest.raises(TypeError) as caught:
        minimize(lambda p: shown(p, square), x0, compile=False)
    assert "print by jax.debug.print" in note_of(caught)


# The call ------------------------------------------------------------------------------------------------


@needs_notes
def test_args_that_are_missing(framework, x0):
    with pytest.raises(TypeError) as caught:
        minimize(lambda p, shift: framework.sum((p["w"] - shift) ** 2), x0)
    assert "minimize calls fun(x, *args)" in note_of(caught)
    assert "0 further argument(s)" in note_of(caught)


def test_args_that_are_no_tuple_are_one_argument(framework, x0):
    result = minimize(lambda p, shift: framework.sum((p["w"] - shift) ** 2), x0, args=framework.array(3.0))
    np.testing.assert_allclose(np.asarray(result.x["w"]), 3, rtol=1e-3)


@needs_notes
def test_args_in_a_list(framework, x0):
    with pytest.raises(TypeError) as caught:
        minimize(lambda p, a: framework.sum((p["w"] - 3) ** 2) + a["scale"], x0, args=[3.0])
    assert "write args=(a, b)" in note_of(caught)


@needs_notes
@only(
    "given, says",
    [
        ({"jac": lambda p, shift: p}, "by `jac`, at evaluation 1 of `fun`.*minimize calls jac(x, *args)"),
        ({"hessp": lambda p: p, "method": "trust-ncg"}, "by `hessp`,.*minimize calls hessp(x, p, *args)"),
        ({"callback": lambda: None}, "by `callback`,.*minimize calls callback(intermediate_result), if"),
        ({"constraints": [{"type": "eq", "fun": lambda p, a: 0.0}]}, "by constraints[0],.*with x alone.*'args' of the"),
        (
            {"constraints": {"type": "eq", "fun": lambda p: p["w"][0], "jac": lambda: 0.0}},
            "by `jac` or `hess` of a constraint,.*minimize calls jac(x, *args) and hess(x, v, *args)",
        ),
    ],
    ids=["jac", "hessp", "callback", "constraint", "its jac"],
)
def test_the_wrong_parameters_of_another_function_than_fun(x0, square, given, says):
    with pytest.raises(TypeError) as caught:
        minimize(square, x0, **given)
    assert re.search(".*".join(re.escape(part) for part in says.split(".*")), note_of(caught))


@needs_notes
@only(
    "fun",
    [lambda x: ((x - 1) ** 2).sum(), lambda x: x.sum(), lambda x: x[:, 0]],
    ids=["arithmetic", "method", "index"],
)
def test_a_list_for_a_vector(framework, fun):
    with pytest.raises((TypeError, AttributeError)) as caught:
        minimize(fun, [framework.array(1.0), framework.array(2.0)])
    assert "x is a list, as x0 is: compute with its leaves, such as x[0]. If one vector was meant" in note_of(caught)


@needs_notes
def test_a_dict_for_an_array(x0):
    with pytest.raises(TypeError) as caught:
        minimize(lambda p: (p - 1) ** 2, x0)
    assert "x is a dict, as x0 is: compute with its leaves, such as x['w']." in note_of(caught)


@needs_notes
def test_an_index_into_a_number(framework):
    with pytest.raises((IndexError, ValueError)) as caught:
        minimize(lambda x: (x[0] - 1) ** 2, framework.array(0.0))
    assert "x is a 0-d array, as x0 is a number: leave out the index" in note_of(caught)


@only("x0", [{"w": 1.0}, np.ones(2)], ids=["nest", "array"])
def test_a_gradient_without_a_return(x0):
    with pytest.raises(ObjectiveError, match=r"The gradient from `jac` is None\. Is a `return` missing\?"):
        minimize(lambda x: 0.0, x0, jac=lambda x: None)


@among("jax")
@only("transform", ["jit", "grad", "vmap"])
def test_a_run_inside_a_function_that_jax_transforms(framework, transform):
    import jax

    def least(x0):
        return minimize(lambda x: framework.sum((x - 1) ** 2), x0).x

    with pytest.raises(InputError, match=r"x0 is traced by JAX: minimize is called inside jax\.jit.*Call it outside"):
        getattr(jax, transform)(least)(framework.array([1.0, 2.0] if transform != "grad" else 1.0))


@among("jax")
@needs_notes
@only("method", ["L-BFGS-B", "device-lbfgs"])
def test_a_derivative_through_the_answer(framework, method):
    import jax

    def least(shift):
        return minimize(lambda x: framework.sum((x - shift) ** 2), framework.module.zeros(2), method=method).fun

    with pytest.raises((TypeError, ValueError)) as caught:
        jax.grad(least)(1.0)
    assert "minimize itself cannot run inside jax.jit, jax.grad or jax.vmap" in note_of(caught)


@among("tf")
def test_a_run_inside_a_graph(framework):
    least = framework.module.function(lambda x0: minimize(framework.sum, x0).x, autograph=False)
    with pytest.raises(InputError, match=r"it has none inside what a framework transforms \(tf.function"):
        least(framework.array([1.0]))


@torch_only
@needs_notes
def test_arrays_of_numpy_for_a_function_of_torch(framework):
    with pytest.raises(TypeError) as caught:
        minimize(lambda x: framework.sum(framework.module.exp(x)), np.zeros(2))
    assert "x has the arrays of x0, which are NumPy's: for torch's functions make x0 of torch's" in note_of(caught)


def test_a_number_where_differences_see_nothing():
    """As with NumPy's x0 and a function of JAX's, which computes in float32."""
    with pytest.warns(RuntimeWarning, match=r"exactly zero.* If `fun` is written in another framework, make x0 of its"):
        minimize(lambda x: float(np.float32(1 + np.sum(x))), np.zeros(2))


def test_the_name_of_a_framework_for_its_backend(square):
    near = "Did you mean 'torch'" if "torch" in INSTALLED else "installed backends are"
    with pytest.raises(UnknownBackendError, match=near):
        minimize(square, {"w": np.zeros(2)}, backend="pytorch")


def test_a_generator(framework, square):
    with pytest.raises(InputError, match=r"x0 is the generator.*make a list of it"):
        minimize(square, (value for value in [framework.array([1.0])]))


def test_the_values_of_a_dict(x0, square):
    with pytest.raises(InputError, match=r"make a list of it.*hand over the model or dict itself"):
        minimize(square, x0.values())


def test_integers(framework, square):
    with pytest.raises(InputError, match=r"x0\['w'\] has dtype .*int.*Convert it"):
        minimize(square, {"w": framework.array([1, 2], "int32")})
    with pytest.raises(InputError, match=r"x0\[0\] is the integer 1.*Write 1\.0"):
        minimize(lambda x: x[0] ** 2, [1, 2])


def test_a_value_for_the_function(x0, square):
    with pytest.raises(InputError, match=r"It is the function itself, and comes first: minimize\(fun, x0\)"):
        minimize(square(x0), x0)


def test_arguments_the_other_way_round(x0, square):
    with pytest.raises(InputError, match=r"comes first: minimize\(fun, x0\)"):
        minimize(x0, square)


def test_the_name_of_an_optimiser(x0, square):
    with pytest.raises(MethodError, match=r"Unknown method 'adam'. Methods are .*L-BFGS-B"):
        minimize(square, x0, method="adam")


@torch_only
def test_the_class_of_an_optimiser(framework, x0, square):
    with pytest.raises(MethodError, match=r"method=LBFGS is an optimiser that is stepped by hand.*'L-BFGS-B'"):
        minimize(square, x0, method=framework.module.optim.LBFGS)


def test_a_learning_rate(x0, square):
    with pytest.raises(MethodError, match=r"L-BFGS-B has no option 'lr'. Its options are maxcor"):
        minimize(square, x0, options={"lr": 0.1})
