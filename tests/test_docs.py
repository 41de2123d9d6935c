"""Whatever the documents show runs, prints what they say it prints, and describes the package that is here.

What the fences of the Markdown files mean:

- ``python``: run, the blocks of a page in order in one namespace. A ``text`` block right after is its output.
- ``python no-run``: another package's code; it must only parse.
- ``python PATH`` and ``toml PATH``: a file of the example distribution in docs/write-a-backend.md.
- ``text NAME``: an error message there, provoked by a test here.
"""

import ast
import contextlib
import doctest
import importlib
import importlib.util
import io
import itertools
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import dmin_core
from dmin_core import methods, minimize

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHOOSE = ROOT / "docs" / "choose-a-method.md"
DESIGN = ROOT / "docs" / "design.md"
MIGRATE = ROOT / "docs" / "migrate.md"
BACKEND = ROOT / "docs" / "write-a-backend.md"
PAGES = [README, *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
ALL_PAGES = [*PAGES, *(ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY"))]

FRAMEWORKS = (
    *("autograd", "dmin_autograd", "dmin_cupy", "cupy", "dmin_jax", "jax", "dmin_tf", "tensorflow", "keras"),
    *("dmin_torch", "torch", "flax", "equinox", "matplotlib"),
)
"""What an example may need and an environment may lack."""

FENCE = re.compile(r"^```(?P<language>\w+)[ ]?(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    info: str
    text: str
    printed: str | None = None

    def __str__(self):
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks(page):
    text = page.read_text("utf-8")
    found, end = [], None
    for match in FENCE.finditer(text):
        follows = end is not None and not text[end : match.start()].strip()
        if follows and match["language"] == "text" and not match["info"]:
            found[-1].printed = match["text"]
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match["language"], match["info"], match["text"]))
        end = match.end()
    return found


def python_blocks(page, info=""):
    return [block for block in blocks(page) if block.language == "python" and block.info == info]


def files_on(page):
    """The files that a page gives in full, by path."""
    return {block.info: block.text for block in blocks(page) if "/" in block.info}


SUBJECTS = {"jax.md": "import jax", "tensorflow.md": "import tensorflow", "pytorch.md": "import torch"}
"""What a page about one framework needs throughout, though not every example on it says so."""


def lacking(source):
    """The frameworks that Python source names, by import or otherwise, and that are not installed."""
    named = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named.add(node.module or "")
        elif isinstance(node, ast.Name):
            named.add(node.id)
    roots = {name.partition(".")[0] for name in named} & set(FRAMEWORKS)
    return sorted(root for root in roots if importlib.util.find_spec(root) is None)


def execute(block, namespace):
    """Run a block and hold what it prints against what the page says."""
    # Padded so that a traceback gives the line of the page.
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    if block.printed is not None:
        assert printed.getvalue() == block.printed


_pages = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the examples leave their files."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize(
    "block", [block for page in PAGES if page != BACKEND for block in python_blocks(page)], ids=str
)
def test_an_example_runs_and_prints_what_the_page_says(block, folder, monkeypatch):
    monkeypatch.chdir(folder)
    if missing := lacking(f"{SUBJECTS.get(block.page.name, '')}\n{block.text}"):
        pytest.skip(f"needs {', '.join(missing)}")
    namespace, done = _pages.setdefault(block.page, ({"__name__": "__docs__"}, set()))
    for each in python_blocks(block.page):
        if each.line <= block.line and each.line not in done and not lacking(each.text):
            done.add(each.line)
            execute(each, namespace)


@pytest.mark.parametrize("block", [block for page in PAGES for block in python_blocks(page, "no-run")], ids=str)
def test_the_code_of_other_packages_parses(block):
    ast.parse(block.text)


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_fence_is_one_that_is_tested_or_shown_only(page):
    languages = {"console", "python", "text", "toml"}
    fences = re.findall(r"^```(\w+)", page.read_text("utf-8"), re.MULTILINE)
    assert set(fences) <= languages
    for block in blocks(page):
        if block.language == "python":
            assert block.info in ("", "no-run") or block.info.endswith(".py")
    assert len(fences) == len(blocks(page)), "a fence has no end"


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page):
    prose = FENCE.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {target}"


# README --------------------------------------------------------------------------------------------------


def test_the_first_screen_has_the_two_commands():
    first_screen = README.read_text("utf-8").splitlines()[:25]
    assert "python -m pip install nox && nox -s demo" in first_screen
    assert "python -m pip install nox && nox" in first_screen


def method_rows():
    """The columns that README.md and docs/choose-a-method.md have in common, from `methods`."""
    rows = []
    for method in methods().values():
        if method.distribution != "dmin-core":
            continue
        second = "needs" if method.needs_hessian else "uses"
        cells = [
            "yes" if method.gradient else "",
            second if method.hessp else "",
            second if method.hess else "",
            "yes" if method.bounds else "",
            "yes" if method.constraints else "",
        ]
        rows.append([method.name, *cells])
    return rows


def table_in(page):
    lines = page.read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| Method | Gradient |"))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]


@pytest.mark.parametrize("page", [README, CHOOSE], ids=lambda page: page.name)
def test_the_table_of_methods_is_what_methods_says(page):
    assert [row[:6] for row in table_in(page)] == method_rows()


def test_the_page_of_second_derivatives_names_the_methods_that_use_them():
    rows = (ROOT / "docs" / "second-order.md").read_text("utf-8").partition("|---|---|\n")[2].partition("\n\n")[0]
    named = {name for row in rows.splitlines() for name in re.split(r" *[,|] *", row.strip("| "))}
    for name, method in methods().items():
        assert (name in named) == (method.hessp or method.hess) or method.distribution != "dmin-core"


def test_the_table_beside_the_peers_has_the_rows_that_were_tried():
    script = ROOT / "benchmarks" / "peers.py"
    if not script.exists():
        pytest.skip("an sdist has no benchmarks")
    named = {
        getattr(getattr(node, "target", None), "id", ""): node for node in ast.parse(script.read_text("utf-8")).body
    }
    tried = [(what.value, tests.value) for what, _, tests in (row.elts for row in named["ROWS"].value.elts)]
    table = README.read_text("utf-8").partition("<!-- made by benchmarks/peers.py -->\n")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ")[:2] for line in table.splitlines()[2:]]
    assert [(what, re.sub(r".*\((.+)\)", r"\1", ours)) for what, ours in rows] == tried


# CONTRIBUTING.md -----------------------------------------------------------------------------------------


def test_the_sessions_that_contributors_are_told_of_are_nox_s():
    noxfile = ROOT / "noxfile.py"
    if not noxfile.exists():
        pytest.skip("an sdist has no noxfile.py")
    functions = [node.name for node in ast.parse(noxfile.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    lines = re.findall(r"nox -s ([^`\n]+?)(?: -- [^`]*)?`", text)
    named = [name for line in lines for name in re.findall(r"\"(\w+)[^\"]*\"|(\w+)", line)]
    assert len(named) >= 11
    assert {quoted or bare for quoted, bare in named} <= set(functions)


# docs/design.md ------------------------------------------------------------------------------------------


def test_the_table_of_modules_names_every_module():
    section = DESIGN.read_text("utf-8").partition("\n## Modules\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = {name.partition(".")[0] for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert named == {module.name for module in pkgutil.iter_modules(dmin_core.__path__)} - {"__main__"}


# docs/errors.md, docs/algorithms.md, docs/index.md ------------------------------------------------------


def names_in_first_column(page):
    rows = [line.split("|")[1].strip() for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]
    return {row.strip("`") for row in rows}


def test_the_table_of_errors_names_every_public_error():
    errors = {name for name, value in public().items() if isinstance(value, type) and issubclass(value, BaseException)}
    assert errors - {"DminError"} <= names_in_first_column(ROOT / "docs" / "errors.md")


def test_every_method_has_its_source():
    ours = {name for name, method in methods().items() if method.distribution == "dmin-core"}
    assert ours <= names_in_first_column(ROOT / "docs" / "algorithms.md")


def test_the_reference_has_every_public_name():
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    listed = set(re.findall(r"^   (?:hookspecs\.)?(\w+)$", text, re.MULTILINE))
    assert set(public()) <= listed


def test_every_page_is_in_the_contents_of_the_site():
    text = (ROOT / "docs" / "index.md").read_text("utf-8")
    listed = set(re.findall(r"^([a-z-]+)$", text, re.MULTILINE))
    assert listed == {page.stem for page in ROOT.glob("docs/*.md")} - {"index"}


# docs/choose-a-method.md ---------------------------------------------------------------------------------


def peak(name, n):
    """Bytes that a short run over n variables holds at once, what NumPy allocates for `fun` included."""

    def fun(x):
        return 0.5 * np.sum((x - 1) ** 2), x - 1

    jac = methods()[name].gradient
    tracemalloc.start()
    try:
        minimize(
            fun if jac else lambda x: fun(x)[0],
            np.zeros(n),
            method=name,
            jac=True if jac else None,
            hessp=(lambda x, p: p) if methods()[name].hessp else None,
            hess=(lambda x: np.eye(n)) if methods()[name].hess and not methods()[name].hessp else None,
            options={"maxfun": 20},
        )
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("row", table_in(CHOOSE), ids=lambda row: row[0])
def test_memory_grows_as_the_table_of_methods_says(row):
    name, memory = row[0], row[6]
    peak(name, 10)  # what is imported and cached once
    if memory.endswith("vectors"):
        n = 2_000
        assert peak(name, n) < 60 * 8 * n
    else:
        n = 400
        assert memory == "n × n"
        assert peak(name, n) >= 8 * n**2


# docs/migrate.md -----------------------------------------------------------------------------------------


def test_a_program_for_dict_minimize_changes_its_import_line_and_nothing_else():
    old = next(block for block in python_blocks(MIGRATE, "no-run") if "dict_minimize" in block.text)
    new = next(block for block in python_blocks(MIGRATE) if block.line > old.line)
    pairs = list(zip(old.text.splitlines(), new.text.splitlines(), strict=True))
    changed = [(before, after) for before, after in pairs if before != after]
    assert changed == [
        ("from dict_minimize.torch_api import minimize", "from dmin_core.dict_minimize.torch_api import minimize")
    ]


# docs/write-a-backend.md ---------------------------------------------------------------------------------

needs_autograd = pytest.mark.skipif(
    importlib.util.find_spec("autograd") is None, reason="needs autograd, for which the page writes a backend"
)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The folder of the page's files, and the one in which pip installed the distribution that they make."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for path, text in files_on(BACKEND).items():
        file = source / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if importlib.util.find_spec("hatchling") is not None:
        pip.append("--no-build-isolation")
    subprocess.run([*pip, "--target", target, source / "dmin-autograd"], check=True)
    return source / "dmin-autograd", target


def python(*arguments, path):
    """What a new Python prints that finds installed distributions in `path` too."""
    search = os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_example_backend_is_no_longer_than_the_page_promises():
    module = files_on(BACKEND)["dmin-autograd/dmin_autograd.py"]
    assert len(module.splitlines()) <= 60


@needs_autograd
def test_the_example_backend_does_what_its_page_shows(example, monkeypatch):
    _, target = example
    monkeypatch.syspath_prepend(target)
    namespace = {"__name__": "__docs__"}
    for block in python_blocks(BACKEND):
        if not set(lacking(block.text)) - {"dmin_autograd"}:
            execute(block, namespace)


@pytest.mark.once
@needs_autograd
def test_the_tests_of_the_example_backend_pass(example):
    source, target = example
    test = source / "tests"
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", source, test, path=[target])
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said
    assert "failed" not in said


ASK = """
import dmin_core
try:
    dmin_core.get_backend("autograd")
except dmin_core.PluginError as error:
    print(error)
"""
"""What the page's users would do to see the errors that it quotes."""


def quoted(name):
    return next(block.text for block in blocks(BACKEND) if block.language == "text" and block.info == name)


def test_the_page_quotes_the_error_for_a_backend_that_is_not_installed(tmp_path):
    said = python("-c", ASK, path=[tmp_path])
    # Which backends are installed depends on the environment.
    assert re.sub(r"installed backends are [^;.]+", "installed backends are numpy", said) == quoted("unknown")


def broken_copy(example, tmp_path, edit):
    """The installed example with its module edited."""
    _, target = example
    copy = shutil.copytree(target, tmp_path / "copy")
    module = copy / "dmin_autograd.py"
    module.write_text(edit(module.read_text("utf-8")), encoding="utf-8")
    return copy


def test_the_page_quotes_the_error_for_a_module_that_cannot_be_imported(example, tmp_path):
    # As if autograd were not there, whether it is or not.
    stop = "raise ModuleNotFoundError(\"No module named 'autograd'\")"
    copy = broken_copy(example, tmp_path, lambda text: text.replace("import autograd.numpy\n", f"{stop}\n", 1))
    assert python("-c", ASK, path=[copy]) == quoted("broken")


@needs_autograd
def test_the_page_quotes_the_error_for_a_missing_hook(example, tmp_path):
    copy = broken_copy(example, tmp_path, lambda text: text.replace("@hookimpl\ndef device", "def device"))
    assert python("-c", ASK, path=[copy]) == quoted("incomplete")


def test_the_page_quotes_the_error_for_a_name_that_is_claimed_twice(example, tmp_path):
    info = tmp_path / "another_autograd-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: another-autograd\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[dmin.backends]\nautograd = another_autograd\n")
    _, target = example
    assert python("-c", ASK, path=[target, tmp_path]) == quoted("clash")


# Docstrings ----------------------------------------------------------------------------------------------


def modules():
    """Every module of the core, and of the plugins that are installed here."""
    packages = [dmin_core, *(importlib.import_module(name) for name in ["dmin_torch"] if not lacking(f"import {name}"))]
    for package in packages:
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


DOCTESTS = [test for module in modules() for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("test", DOCTESTS, ids=lambda test: test.name)
def test_the_examples_of_a_docstring_run(test, folder, monkeypatch):
    monkeypatch.chdir(folder)
    if missing := lacking("".join(example.source for example in test.examples)):
        pytest.skip(f"needs {', '.join(missing)}")
    for example in test.examples:
        # What is skipped needs a framework, and that is here.
        example.options.pop(doctest.SKIP, None)
    said = io.StringIO()
    results = doctest.DocTestRunner(verbose=False).run(test, out=said.write, clear_globs=False)
    assert results.attempted
    assert not results.failed, said.getvalue()


def public():
    """The classes and functions that `dmin_core` exports and defines (Bounds and its like are SciPy's)."""
    names = [name for name in dir(dmin_core) if not name.startswith("_")]
    objects = {name: getattr(dmin_core, name) for name in names}
    return {
        name: value
        for name, value in objects.items()
        if callable(value) and getattr(value, "__module__", "").partition(".")[0] == "dmin_core"
    }


def test_public_names_are_found():
    assert {"minimize", "Result", "backends", "methods", "DminError"} <= set(public())
    assert not {"Bounds", "hookimpl"} & set(public())


@pytest.mark.parametrize("name", public())
def test_a_public_docstring_says_what_and_shows_an_example(name):
    value = public()[name]
    assert value.__doc__
    if not (isinstance(value, type) and issubclass(value, BaseException)):
        assert re.search(r"^ *Examples\n *-{8}\n", value.__doc__, re.MULTILINE), f"{name} has no Examples"
        assert doctest.DocTestFinder().find(value, name)[0].examples
