"""What `import dmin_core` costs and what it offers, in a fresh process."""

import json
import subprocess
import sys

import pytest

import dmin_core

FRAMEWORKS = ("torch", "tensorflow", "jax", "jaxlib", "cupy")


def fresh(code):
    """What ``code`` prints as JSON in a process of its own."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def loaded_by(code):
    return set(fresh(f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"))


def test_import_brings_no_framework_and_no_scipy_optimize():
    modules = loaded_by("import dmin_core")
    assert not modules & {*FRAMEWORKS, "scipy.optimize", "scipy.linalg", "array_api_compat", "pytest", "hypothesis"}


def test_listing_methods_brings_no_scipy():
    assert "scipy" not in loaded_by("import dmin_core; dmin_core.methods()")


def test_the_numpy_backend_brings_no_framework():
    modules = loaded_by(
        "import numpy as np; from dmin_core import minimize; minimize(lambda x: np.sum((x - 1) ** 2), np.zeros(2))"
    )
    assert not modules & set(FRAMEWORKS)


def test_scipys_classes_are_fetched_when_asked_for():
    assert fresh("""if True:
        import json, sys
        import dmin_core
        before = "scipy.optimize" in sys.modules
        from dmin_core import Bounds, LinearConstraint, NonlinearConstraint, Result
        import scipy.optimize
        print(json.dumps([before, Bounds is scipy.optimize.Bounds, issubclass(Result, scipy.optimize.OptimizeResult)]))
    """) == [False, True, True]


@pytest.mark.parametrize("first", ["numpy", None])
def test_the_names_stay_functions_whatever_was_loaded(first):
    """A subpackage of the same name would take their place when first imported."""
    code = "import json, dmin_core\n"
    code += f"dmin_core.get_backend({first!r})\n" if first else ""
    code += "print(json.dumps([callable(getattr(dmin_core, n)) for n in ('backends', 'methods', 'minimize')]))"
    assert fresh(code) == [True, True, True]


def test_every_public_name_is_there():
    for name in dir(dmin_core):
        assert getattr(dmin_core, name) is not None
    promised = (
        "minimize Result Bounds LinearConstraint NonlinearConstraint hookimpl backends methods get_backend backend_of "
        "array_namespace DminError InputError Interrupted"
    )
    assert set(promised.split()) <= set(dir(dmin_core))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'dmin_core' has no attribute 'minimise'"):
        dmin_core.minimise  # noqa: B018


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        ("InputError", ValueError),
        ("MethodError", ValueError),
        ("ObjectiveError", ValueError),
        ("NotSupportedYet", NotImplementedError),
        ("PluginError", ImportError),
        ("UnknownBackendError", ImportError),
        ("MissingBackendError", ImportError),
        ("BrokenPluginError", ImportError),
        ("PluginClashError", ImportError),
        ("Interrupted", KeyboardInterrupt),
    ],
)
def test_each_error_is_the_builtin_one_expects(error, builtin):
    assert issubclass(getattr(dmin_core, error), builtin)
    assert builtin is KeyboardInterrupt or issubclass(getattr(dmin_core, error), dmin_core.DminError)
