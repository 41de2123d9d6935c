"""SECURITY.md's promises about the code: no pickle, no process, no connection, nothing run from text."""

import ast
import importlib.util
from pathlib import Path

import pytest

import dmin_core

PACKAGES = ["dmin_core", "dmin_torch", "dmin_jax", "dmin_tf", "dmin_cupy"]
FORBIDDEN = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}  # what loads code from bytes
FORBIDDEN |= {"subprocess", "multiprocessing", "socket", "ssl", "urllib", "http", "requests", "ctypes"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.fork", "np.load", "numpy.load"}
CALLS |= {"torch.load", "torch.save", "np.save"}


def sources():
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None:
            yield from sorted(Path(spec.origin).parent.rglob("*.py"))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def called(tree):
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_the_sources_are_found():
    assert Path(dmin_core.__file__) in set(sources())
    assert len(list(sources())) > 40


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_module_unpickles_starts_a_process_or_opens_a_connection(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert not FORBIDDEN & set(imported(tree))
    assert not CALLS & called(tree)


def test_a_forbidden_module_would_be_seen():
    tree = ast.parse("import pickle\nfrom urllib.request import urlopen\neval('1')\nnp.load('x')")
    assert FORBIDDEN & set(imported(tree)) == {"pickle", "urllib"}
    assert CALLS & called(tree) == {"eval", "np.load"}
