"""Every name of CuPy's that the plugin, its README and its tests on a GPU use is there. CuPy answers that without one.

What is looked up: ``cupy.…`` and ``cp.…`` in CuPy, ``xp.…`` in array-api-compat's namespace for it, and the attributes
of whatever is called as an array is.
"""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import dmin_cupy

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
FILES = [
    *sorted(Path(dmin_cupy.__file__).parent.glob("*.py")),
    README,
    HERE / "conftest.py",
    HERE / "test_conformance.py",
]

ARRAYS = ("array", "like", "vector", "leaf")
ATTRIBUTES_OF_ARRAYS = {"device", "dtype"}


@pytest.fixture(scope="module")
def roots():
    """What the names at the start of a dotted name stand for."""
    cupy = pytest.importorskip("cupy", reason="CuPy, whose names are looked up, is not installed")
    import array_api_compat.cupy

    return {"cupy": cupy, "cp": cupy, "xp": array_api_compat.cupy, **dict.fromkeys(ARRAYS, cupy.ndarray)}


def dotted(source, starts):
    """Every dotted name in the source that starts with one of `starts`."""
    for node in ast.walk(ast.parse(source)):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id in starts:
            yield (node.id, *reversed(parts))


def lookup(name, roots):
    """The object of that dotted name; an error that names it where there is none."""
    found = roots[name[0]]
    for part in name[1:]:
        assert hasattr(found, part), f"there is no {'.'.join(name)}"
        # An attribute of a class is a descriptor: what instances have there is known.
        inside = isinstance(found, type) and part in ATTRIBUTES_OF_ARRAYS
        found = {"device": roots["cupy"].cuda.Device, "dtype": np.dtype}[part] if inside else getattr(found, part)
    return found


def code(path):
    text = path.read_text("utf-8")
    if path == README:
        return "\n".join(re.findall(r"^```python[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    return text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_names_exist(path, roots):
    for name in dotted(code(path), roots):
        lookup(name, roots)


def test_the_names_that_matter_are_looked_up(roots):
    """The walk sees what the plugin uses, or the test above would pass for a walk that sees nothing."""
    found = {".".join(name) for path in FILES for name in dotted(code(path), roots)}
    assert found >= {
        "cupy.cuda.runtime.getDeviceCount",
        "xp.asarray",
        "array.device.id",
        "like.dtype",
        "cp.sum",
        "leaf.get",
    }


@pytest.mark.parametrize("name", ["cupy.vecdot", "cupy.linalg.vector_norm", "array.device.index", "vector.to_device"])
def test_names_that_cupy_lacks_are_refused(name, roots):
    """Others have them: array-api-compat the first two, torch the third and array-api-strict the last."""
    with pytest.raises(AssertionError, match=name):
        lookup(tuple(name.split(".")), roots)


def test_functions_take_the_arguments_that_are_passed(roots):
    """Bound, not called: that would need a GPU."""
    import inspect

    xp, cupy = roots["xp"], roots["cupy"]
    inspect.signature(xp.asarray).bind([], dtype=np.float32, device=None, copy=True)
    inspect.signature(xp.astype).bind(None, np.float32, copy=False)
    assert {"__enter__", "__exit__", "id"} <= set(dir(cupy.cuda.Device))  # `with array.device:`
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError)
    assert cupy.ndarray.__module__.partition(".")[0] == "cupy"  # by which minimize knows whose arrays they are
