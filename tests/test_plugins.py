"""Plugins, found in the metadata of real distributions: what is listed, what is loaded, and the four errors."""

import dataclasses
import importlib
import re
import sys
import textwrap
from typing import Any

import numpy as np
import pytest

from dmin_core import (
    BrokenPluginError,
    InputError,
    MethodError,
    MissingBackendError,
    PluginClashError,
    UnknownBackendError,
    _plugins,
    array_namespace,
    backend_of,
    backends,
    get_backend,
    methods,
    minimize,
)

BACKEND = '''
    """A framework of its own, `{module}.Array`, and its backend."""
    import numpy as np
    from dmin_core import hookimpl

    class Array:
        def __init__(self, data): self.data = np.asarray(data)
        shape = property(lambda self: self.data.shape)
        dtype = property(lambda self: self.data.dtype)
        def reshape(self, shape): return Array(self.data.reshape(shape))
        def __getitem__(self, key): return Array(self.data[key])

    @hookimpl
    def to_numpy(array): return array.data if isinstance(array, Array) else np.asarray(array)

    @hookimpl
    def from_numpy(like, array): return Array(np.array(array, dtype=None if like is None else like.dtype))

    @hookimpl
    def device(): return "abacus:0"
'''

SOLVER = '''
    """Steepest descent with a fixed step, as a third party's method."""
    from dmin_core import Method, hookimpl

    @hookimpl
    def describe(name):
        return Method(name, gradient=True, options=("steps", "rate"), distribution="{distribution}")

    @hookimpl
    def solve(problem, options, callback, name):
        x = problem.x0
        for _ in range(options.get("steps", 100)):
            x = x - options.get("rate", 0.1) * problem.gradient(x)
            callback(x)
        problem.value(x)
        return dict(x=x, success=True, status=0, message=name + " took its steps")
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution on the path: its metadata, and a module if there is source."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)

    def install(distribution, entries, group="dmin.backends", notice=True, **sources):
        info = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        for module, source in sources.items():
            text = source.replace("{module}", module).replace("{distribution}", distribution)
            (tmp_path / f"{module}.py").write_text(textwrap.dedent(text))
        if notice:
            _plugins.refresh()

    yield install
    for module in set(sys.modules) - modules:
        if getattr(sys.modules[module], "__file__", None) and str(tmp_path) in sys.modules[module].__file__:
            del sys.modules[module]
    monkeypatch.undo()
    _plugins.refresh()


# Listing --------------------------------------------------------------------------------------------------


def test_listing_imports_nothing(install):
    install("dmin-abacus", {"abacus": "abacus"}, abacus="raise AssertionError('imported')")
    assert "abacus" in _plugins.listed("dmin.backends")
    assert backend_of(np.zeros(2)) == "numpy"
    minimize(lambda x: np.sum((x - 1.0) ** 2), np.zeros(2))


def test_backends_holds_what_is_installed(install):
    install("dmin-abacus", {"abacus": "abacus", "abacuslib": "abacus"}, abacus=BACKEND)
    table = backends()
    assert next(iter(table)) == "numpy"
    info = table["abacus"]
    assert (info.distribution, info.version, info.aliases) == ("dmin-abacus", "1.0", ("abacuslib",))
    assert (info.framework, info.devices, info.gradient, info.error) == ("abacus", ("cpu",), "differences", None)


def test_the_embedded_backend_is_there_without_any_plugin():
    info = backends()["numpy"]
    assert (info.distribution, info.framework) == ("dmin-core", f"numpy {np.__version__}")


def test_a_distribution_found_twice_is_no_clash(install, tmp_path, monkeypatch):
    """An editable install beside its source lists the same entry twice."""
    install("dmin-abacus", {"abacus": "abacus"}, abacus=BACKEND)
    twin = tmp_path / "twin"
    (twin / "dmin_abacus-1.0.dist-info").mkdir(parents=True)
    for name in ("METADATA", "entry_points.txt"):
        text = (tmp_path / "dmin_abacus-1.0.dist-info" / name).read_text()
        (twin / "dmin_abacus-1.0.dist-info" / name).write_text(text)
    monkeypatch.syspath_prepend(twin)
    assert get_backend("abacus").name == "abacus"


# A plugin that works --------------------------------------------------------------------------------------


def test_arrays_are_recognised_by_the_root_module_of_their_class(install):
    install("dmin-abacus", {"abacus": "abacus"}, abacus=BACKEND)
    import abacus

    class Derived(abacus.Array):
        pass

    assert backend_of({"a": abacus.Array([1.0])}) == "abacus"
    assert backend_of(Derived([1.0])) == "abacus"


def test_an_alias_leads_to_the_shortest_name(install):
    install("dmin-abacus", {"abacuslib": "abacus", "abacus": "abacus"}, abacus=BACKEND)
    assert get_backend("abacuslib") is get_backend("abacus")
    assert get_backend("abacuslib").name == "abacus"


def test_hooks_may_take_fewer_parameters_in_any_order(install):
    install("dmin-abacus", {"abacus": "abacus"}, abacus=BACKEND)
    backend = get_backend("abacus")
    array = backend.from_numpy(np.array([1.5, 2.5]), None)
    assert backend.from_numpy(np.array([3.0]), array).dtype == float
    np.testing.assert_array_equal(backend.to_numpy(array), [1.5, 2.5])
    assert backend.device(array) == "abacus:0"


def test_three_hooks_are_enough_to_minimise(install):
    install("dmin-abacus", {"abacus": "abacus"}, abacus=BACKEND)
    import abacus

    x0 = {"a": abacus.Array([0.0, 0.0]), "b": 0.5}
    result = minimize(lambda p: np.sum((p["a"].data - 1.0) ** 2) + (p["b"].data + 2.0) ** 2, x0)
    assert result.backend == "abacus"
    assert type(result.x["a"]) is type(result.x["b"]) is abacus.Array
    np.testing.assert_allclose(result.x["a"].data, 1.0, atol=1e-5)
    np.testing.assert_allclose(result.x["b"].data, -2.0, atol=1e-5)


def test_what_is_installed_meanwhile_is_found_by_its_arrays(install, tmp_path):
    """A notebook that runs pip: the path does not change, its contents do."""
    (tmp_path / "abacus.py").write_text(textwrap.dedent(BACKEND))
    import abacus

    with pytest.raises(UnknownBackendError):
        backend_of(abacus.Array([1.0]))
    install("dmin-abacus", {"abacus": "abacus"}, notice=False)
    assert backend_of(abacus.Array([1.0])) == "abacus"


def test_what_is_installed_meanwhile_is_found_by_its_name(install):
    with pytest.raises(UnknownBackendError):
        get_backend("abacus")
    install("dmin-abacus", {"abacus": "abacus"}, notice=False, abacus=BACKEND)
    assert get_backend("abacus").name == "abacus"


# The four errors ------------------------------------------------------------------------------------------


def test_unknown_backend_lists_what_is_installed():
    with pytest.raises(UnknownBackendError, match=r"Unknown backend 'abacus'; installed backends are .*numpy"):
        get_backend("abacus")


@pytest.mark.parametrize("name", ["numpy ", "", "NUMPY!"])
def test_a_name_that_is_none_is_unknown(name):
    with pytest.raises(UnknownBackendError, match="installed backends are"):
        get_backend(name)


def test_a_name_that_is_no_string_is_refused():
    with pytest.raises(InputError, match="backend must be a name"):
        get_backend(np)


def without(monkeypatch, *names):
    """As where these backends are not installed."""
    listed = _plugins.listed

    def fewer(group):
        return {name: entries for name, entries in listed(group).items() if name not in names}

    monkeypatch.setattr(_plugins, "listed", fewer)
    _plugins._owner_of.cache_clear()


def test_missing_backend_says_how_to_install_it(monkeypatch):
    without(monkeypatch, "torch")
    with pytest.raises(MissingBackendError, match=r"'torch' is not installed .*pip install 'dmin-core\[torch\]'"):
        get_backend("torch")


def test_missing_backend_of_an_array_says_how_to_install_it(monkeypatch):
    without(monkeypatch, "torch")
    tensor = type("Tensor", (), {"__module__": "torch", "shape": (2,), "dtype": "float32"})()
    with pytest.raises(MissingBackendError, match=r"x\['w'\], a torch.Tensor.*pip install 'dmin-core\[torch\]'"):
        backend_of({"w": tensor})
    with pytest.raises(MissingBackendError, match=r"x, a torch.Tensor.*pip install 'dmin-core\[torch\]'"):
        array_namespace(tensor)


def test_broken_backend_chains_its_cause(install):
    install("dmin-abacus", {"abacus": "abacus"}, abacus="import a_library_that_is_not_there")
    with pytest.raises(BrokenPluginError, match=r"'abacus' \(dmin-abacus 1.0\) failed to load 'abacus'") as caught:
        get_backend("abacus")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert "a_library_that_is_not_there" in str(caught.value)


@pytest.mark.parametrize("error", ["SyntaxError('x')", "RuntimeError('no driver')", "OSError('libabacus.so')"])
def test_any_error_at_import_is_a_broken_plugin(install, error):
    install("dmin-abacus", {"abacus": "abacus"}, abacus=f"raise {error}")
    with pytest.raises(BrokenPluginError, match="failed to load"):
        get_backend("abacus")


def test_a_module_that_is_not_there_is_a_broken_plugin(install):
    install("dmin-abacus", {"abacus": "abacus_is_elsewhere"})
    with pytest.raises(BrokenPluginError, match="No module named 'abacus_is_elsewhere'"):
        get_backend("abacus")


def test_broken_backend_hurts_only_who_asks_for_it(install):
    install("dmin-abacus", {"abacus": "abacus"}, abacus="1 / 0")
    table = backends()
    assert isinstance(table["abacus"].error, BrokenPluginError)
    assert isinstance(table["abacus"].error.__cause__, ZeroDivisionError)
    assert table["numpy"].error is None
    assert minimize(lambda x: (x - 1.0) ** 2, 0.0).success


def test_broken_backend_of_an_imported_framework_does_not_hurt_others(install):
    """Whatever is no array may be a container that an imported framework knows: each of those is asked."""

    @dataclasses.dataclass
    class Weights:
        w: Any
        note: Any

    install("my-broken", {"my_framework": "my_backend"}, my_backend="1 / 0", my_framework="")
    importlib.import_module("my_framework")
    result = minimize(lambda p: fun({"w": p.w}), Weights(np.zeros(2), object()))
    assert result.success
    assert result.x.note is not None


def test_two_distributions_with_one_name_are_both_named(install):
    install("dmin-abacus", {"abacus": "abacus"}, abacus=BACKEND)
    install("my-abacus", {"abacus": "my_abacus"}, my_abacus=BACKEND)
    with pytest.raises(PluginClashError, match=r"'abacus' is provided by (dmin|my)-abacus \(.*\) and (dmin|my)-abacus"):
        get_backend("abacus")
    assert isinstance(backends()["abacus"].error, PluginClashError)
    import abacus

    with pytest.raises(PluginClashError, match="Uninstall all but one"):
        minimize(lambda x: 0.0, abacus.Array([1.0]))


def test_the_embedded_backend_cannot_be_replaced_silently(install):
    install("my-numpy", {"numpy": "my_numpy"}, my_numpy=BACKEND)
    with pytest.raises(PluginClashError, match=r"dmin-core .* and my-numpy"):
        get_backend("numpy")


@pytest.mark.parametrize("hook", ["to_numpy", "from_numpy", "device"])
def test_a_required_hook_that_is_missing_is_named(install, hook):
    source = BACKEND.replace(f"@hookimpl\n    def {hook}(", f"def {hook}(")
    install("dmin-abacus", {"abacus": "abacus"}, abacus=source)
    with pytest.raises(BrokenPluginError, match=f"does not implement {hook};"):
        get_backend("abacus")


def test_a_module_without_any_hook_names_all_three(install):
    install("dmin-abacus", {"abacus": "abacus"}, abacus="x = 1")
    with pytest.raises(BrokenPluginError, match=r"\(dmin-abacus\) does not implement to_numpy, from_numpy, device"):
        get_backend("abacus")


def test_a_misspelt_hook_is_named(install):
    install("dmin-abacus", {"abacus": "abacus"}, abacus=BACKEND + "\n    @hookimpl\n    def hpv(fun): return fun\n")
    with pytest.raises(BrokenPluginError, match="unknown hook 'hpv'"):
        get_backend("abacus")


def test_a_hook_with_an_unknown_parameter_is_named(install):
    install("dmin-abacus", {"abacus": "abacus"}, abacus=BACKEND.replace("to_numpy(array)", "to_numpy(array, copy)"))
    with pytest.raises(BrokenPluginError, match="copy"):
        get_backend("abacus")


# Methods of third parties ---------------------------------------------------------------------------------


def fun(p):
    return np.sum((p["w"] - 1.0) ** 2)


def test_a_third_partys_method_runs(install):
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=SOLVER)
    seen = []
    result = minimize(fun, {"w": np.zeros(2)}, method="DESCENT", callback=seen.append, options={"steps": 60})
    np.testing.assert_allclose(result.x["w"], 1.0, atol=1e-4)
    assert (result.method, result.message, result.nit) == ("descent", "descent took its steps", 60)
    assert len(seen) == 60


def test_a_third_partys_method_is_in_the_table(install):
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=SOLVER)
    method = methods()["descent"]
    assert (method.gradient, method.bounds, method.distribution) == (True, False, "my-descent")


def test_the_table_names_the_distribution_even_if_the_method_does_not(install):
    source = SOLVER.replace(', distribution="{distribution}"', "")
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=source)
    assert methods()["descent"].distribution == "my-descent"


def test_limits_stop_a_third_partys_method(install):
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=SOLVER)
    result = minimize(fun, {"w": np.zeros(2)}, method="descent", options={"maxfun": 7})
    assert (result.nfev, result.success) == (7, False)
    assert "maxfun" in result.message


def test_what_a_third_partys_method_cannot_do_is_refused(install):
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=SOLVER)
    with pytest.raises(MethodError, match="descent cannot keep to bounds"):
        minimize(fun, {"w": np.zeros(2)}, method="descent", bounds=(0, 1))
    with pytest.raises(MethodError, match=r"descent has no option 'gtol'. Its options are steps, rate"):
        minimize(fun, {"w": np.zeros(2)}, method="descent", options={"gtol": 1.0})


def test_a_method_that_lacks_a_hook_is_broken(install):
    source = SOLVER.replace("@hookimpl\n    def solve(", "def solve(")
    install("my-half", {"half": "half"}, group="dmin.solvers", half=source)
    with pytest.raises(BrokenPluginError, match=r"'half' \(my-half\) does not implement solve"):
        minimize(fun, {"w": np.zeros(2)}, method="half")


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("1 / 0", "does not describe itself: ZeroDivisionError: division by zero"),
        ("{'name': name}", "describes itself by {'name': 'descent'}, where a dmin_core.Method is expected."),
    ],
)
def test_a_method_that_does_not_describe_itself_is_broken(install, returned, says):
    start = SOLVER.index("return Method")
    source = SOLVER.replace(SOLVER[start : SOLVER.index("\n", start)], f"return {returned}")
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=source)
    says = f"Method 'descent' (my-descent 1.0) {says}"
    assert str(methods()["descent"].error) == says
    with pytest.raises(BrokenPluginError, match=f"^{re.escape(says)}$"):
        minimize(fun, {"w": np.zeros(2)}, method="descent")


def test_a_method_goes_by_the_name_that_it_is_listed_by(install):
    install(
        "my-descent", {"falls": "descent"}, group="dmin.solvers", descent=SOLVER.replace("Method(name", "Method('x'")
    )
    assert minimize(fun, {"w": np.zeros(2)}, method="falls").method == "falls"
    assert methods()["falls"].name == "falls"


def test_a_method_without_options_takes_none(install):
    source = SOLVER.replace('("steps", "rate")', "()")
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=source)
    with pytest.raises(
        MethodError, match=r"^descent has no option 'steps'\. It has none of its own; every method also"
    ):
        minimize(fun, {"w": np.zeros(2)}, method="descent", options={"steps": 3})


def test_a_method_by_products_alone_makes_use_of_hess_and_of_hessp(install):
    """And nobody is warned that it does not."""
    source = SOLVER.replace("gradient=True", "gradient=True, hessp=True").replace(
        "problem.gradient(x)", "(problem.gradient(x) + 0.0 * problem.product(x, x))"
    )
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=source)
    for given in ({"hess": lambda p: 2.0 * np.eye(2)}, {"hessp": lambda p, v: {"w": 2.0 * v["w"]}}):
        assert minimize(fun, {"w": np.zeros(2)}, method="descent", **given).nhev == 100


def test_a_third_partys_method_is_suggested(install):
    source = SOLVER.replace("gradient=True", "gradient=True, bounds=True")
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=source)
    install("my-other", {"other": "other"}, group="dmin.solvers", other="1 / 0")
    with pytest.raises(
        MethodError, match=r"CG cannot keep to bounds\. Methods that can: .*device-newton-cg, descent\."
    ):
        minimize(fun, {"w": np.zeros(2)}, method="CG", bounds=(0, 1))


def test_a_method_that_returns_no_mapping_is_named(install):
    source = SOLVER.replace("return dict(", "dict(")
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=source)
    with pytest.raises(MethodError, match=r"^descent returned None\. A method returns a mapping with x, success"):
        minimize(fun, {"w": np.zeros(2)}, method="descent")


GOOD = {"x": "x", "success": "True", "status": "0", "message": "'done'"}
MALFORMED = {
    "a pair": ("(x, 1.0)", r"\(array.*, 1\.0\)\. A method returns a mapping with x, success, status and message\."),
    "nothing in it": ({"x": None, "success": None, "status": None, "message": None}, "'x', 'success', 'status' and 'm"),
    "no x": ({"x": None}, r"a mapping without 'x'\. A method returns at least x, success, status and message\."),
    "no success": ({"success": None}, r"a mapping without 'success'\."),
    "no status": ({"status": None}, r"a mapping without 'status'\."),
    "no message": ({"message": None}, r"a mapping without 'message'\."),
    "x too short": ({"x": "x[:1]"}, r"x of shape \(1,\), where a vector of real numbers, shape \(2,\), is expected\."),
    "x a column": ({"x": "x[:, None]"}, r"x of shape \(2, 1\), where"),
    "x a number": ({"x": "1.0"}, "x = 1.0, where a vector"),
    "x of None": ({"x": "None"}, "x = None, where a vector"),
    "x ragged": ({"x": "[[1.0], [1.0, 2.0]]"}, r"x = \[\[1\.0\], \[1\.0, 2\.0\]\], where a vector"),
    "x complex": ({"x": "x + 0j"}, r"x = array\(.*\), where a vector of real"),
    "x not finite": ({"x": "x * float('nan')"}, "success = True and an x that is not finite"),
    "success a text": ({"success": "'no'"}, "success = 'no', where True or False is expected"),
    "success a code": ({"success": "-1"}, "success = -1, where True or False"),
    "success of None": ({"success": "None"}, "success = None, where True or False"),
    "success of two": ({"success": "x > 0"}, r"success = array\(.*\), where True or False"),
    "status of None": ({"status": "None"}, "status = None, where a whole number is expected"),
    "status a text": ({"status": "'ok'"}, "status = 'ok', where a whole number"),
    "status a fraction": ({"status": "1.5"}, "status = 1.5, where a whole number"),
    "message of None": ({"message": "None"}, "message = None, where a text is expected"),
    "nit of None": ({"nit": "None"}, "nit = None, where a whole number, not negative, is expected"),
    "nit negative": ({"nit": "-3"}, "nit = -3, where a whole number, not negative"),
    "fun of None": ({"fun": "None"}, "fun = None, where a number is expected"),
    "fun a vector": ({"fun": "x"}, r"fun of shape \(2,\), where a number"),
    "allvecs a number": ({"allvecs": "3"}, r"allvecs = 3, where a list of x \(2,\) is expected"),
    "too many multipliers": ({"bound_multipliers": "[0.0] * 5"}, r"bound_multipliers of shape \(5,\), where a vector"),
}


@pytest.mark.parametrize(("returned", "message"), MALFORMED.values(), ids=MALFORMED)
def test_what_a_method_may_not_return_is_named_and_nothing_found_is_lost(install, returned, message):
    if isinstance(returned, dict):
        parts = {name: value for name, value in {**GOOD, **returned}.items() if value is not None}
        returned = "{" + ", ".join(f"{name!r}: {value}" for name, value in parts.items()) + "}"
    source = re.sub(r"return dict\(x=x.*\)\n", f"return {returned}\n", SOLVER)
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=source)
    with pytest.raises(MethodError, match=rf"^descent returned (a mapping without )?{message}") as caught:
        minimize(fun, {"w": np.zeros(2)}, method="descent", options={"steps": 20})
    found = caught.value.result
    assert (found.success, found.status, found.message) == (False, 97, str(caught.value))
    assert found.fun == fun(found.x) == found.history.fun.min() < fun({"w": np.zeros(2)})


def test_a_method_of_scipys_protocol_is_held_to_the_same():
    def method(fun, x0, args=(), **options):
        return {"x": x0, "fun": fun(x0), "success": "no"}

    with pytest.raises(MethodError, match=r"^method returned success = 'no', where True or False is expected"):
        minimize(fun, {"w": np.zeros(2)}, method=method)


@pytest.mark.parametrize(
    ("returned", "success"),
    [("x=list(x), success=(x == x).all()", True), ("x=x * float('nan'), success=False", False)],
    ids=["a list, and NumPy's True", "nan where nothing was found"],
)
def test_what_else_a_method_may_return_is_taken(install, returned, success):
    source = SOLVER.replace("dict(x=x, success=True", f"dict({returned}")
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=source)
    result = minimize(fun, {"w": np.zeros(2)}, method="descent")
    assert result.success is success
    assert result.fun == result.history.fun.min()


def test_options_of_a_method_are_a_tuple_of_names(install):
    source = SOLVER.replace('("steps", "rate")', '"steps"')
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=source)
    assert isinstance(methods()["descent"].error, BrokenPluginError)
    with pytest.raises(
        BrokenPluginError, match=r"^Method 'descent' \(my-descent 1.0\) has options='steps', where a tup"
    ):
        minimize(fun, {"w": np.zeros(2)}, method="descent")


def test_a_method_that_evaluated_nothing_has_no_success(install):
    source = SOLVER.replace("problem.value(x)", "pass")
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent=source)
    result = minimize(fun, {"w": np.zeros(2)}, method="descent", options={"steps": 0})
    assert (result.nfev, result.success) == (0, False)
    assert np.isnan(result.fun)


def test_a_broken_method_hurts_only_who_asks_for_it(install):
    install("my-descent", {"descent": "descent"}, group="dmin.solvers", descent="1 / 0")
    table = methods()
    assert isinstance(table["descent"].error, BrokenPluginError)
    assert table["descent"].distribution == "my-descent"
    assert minimize(fun, {"w": np.zeros(2)}, method="bfgs").success


@pytest.mark.parametrize("name", ["BFGS", "bfgs"])
def test_a_method_of_scipys_cannot_be_replaced_silently(install, name):
    """Methods are named in any case, so a clash is one in any case."""
    install("my-descent", {name: "descent"}, group="dmin.solvers", descent=SOLVER)
    with pytest.raises(PluginClashError, match=r"dmin-core .* and my-descent"):
        minimize(fun, {"w": np.zeros(2)}, method="BFGS")
