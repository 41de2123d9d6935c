"""Every hook is documented, and named in a test or in the documents."""

import inspect
from pathlib import Path

import pytest

from dmin_core._plugins import REQUIRED, Backend, hooks, load
from dmin_core._plugins import claim as claimed
from dmin_core.hookspecs import BACKENDS, SOLVERS, BackendSpec, SolverSpec

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve()

BACKEND_HOOKS = [name for name in vars(BackendSpec) if not name.startswith("_")]
SOLVER_HOOKS = [name for name in vars(SolverSpec) if not name.startswith("_")]


def texts(*patterns):
    """Tests and documents, this file apart."""
    paths = [path for pattern in patterns for path in ROOT.glob(pattern) if path.resolve() != HERE]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


@pytest.mark.parametrize("spec", [BackendSpec, SolverSpec])
def test_every_hook_says_what_it_is_for(spec):
    for name in vars(spec):
        if name.startswith("_"):
            continue
        text = inspect.getdoc(getattr(spec, name)) or ""
        assert len(text.split()) >= 8, f"{spec.__name__}.{name} has no docstring to speak of"
        assert text.splitlines()[0].endswith((".", ":")), f"{spec.__name__}.{name}: the first line is no sentence"


@pytest.mark.parametrize("spec", [BackendSpec, SolverSpec])
def test_every_hook_stops_at_the_first_result(spec):
    for name in vars(spec):
        if not name.startswith("_"):
            assert getattr(spec, name).dmin_spec["firstresult"] is True


@pytest.mark.parametrize("hook", BACKEND_HOOKS)
def test_every_hook_of_a_backend_is_exercised(hook):
    assert f".{hook}(" in texts("tests/test_*.py", "dmin_core/testing/*.py", "plugins/*/tests/*.py")


@pytest.mark.parametrize("hook", SOLVER_HOOKS)
def test_every_hook_of_a_method_is_exercised(hook):
    assert f"def {hook}(" in texts("tests/test_*.py")


@pytest.mark.parametrize("hook", BACKEND_HOOKS)
def test_every_hook_is_a_method_of_a_loaded_backend(hook):
    assert hook in Backend.__annotations__
    backend = Backend(claimed(BACKENDS, "numpy"), load(BACKENDS, claimed(BACKENDS, "numpy"), BackendSpec))
    assert callable(getattr(backend, hook))


def test_the_required_hooks_are_those_without_a_default():
    optional = {name for name in BACKEND_HOOKS if "Default" in inspect.getdoc(getattr(BackendSpec, name))} | {
        name for name in BACKEND_HOOKS if "(default" in inspect.getdoc(getattr(BackendSpec, name))
    }
    assert set(REQUIRED) == set(BACKEND_HOOKS) - optional


def test_the_embedded_methods_implement_the_solver_hooks():
    entry = claimed(SOLVERS, "BFGS")
    assert set(hooks(load(SOLVERS, entry, SolverSpec), SolverSpec)) == set(SOLVER_HOOKS)
