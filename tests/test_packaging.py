"""What the distributions hold and say of themselves.

The first half reads every pyproject.toml of the repository; the second builds them as pip would, the sdist
first and each in an environment of its own, and installs an extra from a folder of what came out.
"""

import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest's own requirement there

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/dmin_*/pyproject.toml"))
FOLDERS = [ROOT, *PLUGINS]


def package_of(folder):
    """The one import package of the distribution whose pyproject.toml is in `folder`."""
    return "dmin_core" if folder == ROOT else folder.name


def framework_of(folder):
    return folder.name.removeprefix("dmin_")


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(folder):
    """Every requirement of a distribution as (extra or None, requirement)."""
    table = project(folder)
    extras = table.get("optional-dependencies", {})
    pairs = [(None, line) for line in table["dependencies"]]
    pairs += [(extra, line) for extra, lines in extras.items() for line in lines]
    return [(extra, Requirement(line)) for extra, line in pairs]


VERSION = project(ROOT)["version"]
every_distribution = pytest.mark.parametrize("folder", FOLDERS, ids=package_of)
every_plugin = pytest.mark.parametrize("folder", PLUGINS, ids=package_of)


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@every_distribution
def test_all_distributions_have_one_version(folder):
    assert project(folder)["version"] == VERSION
    assert f'__version__ = "{VERSION}"' in (folder / package_of(folder) / "__init__.py").read_text("utf-8")


def test_the_newest_changes_and_the_citation_are_of_this_version_and_one_day():
    newest = re.search(r"^## \[(.+?)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    lines = (ROOT / "CITATION.cff").read_text("utf-8").splitlines()
    citation = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert newest.groups() == (VERSION, citation["date-released"])
    assert citation["version"] == VERSION


@every_distribution
def test_the_name_of_a_distribution_is_that_of_its_package(folder):
    assert project(folder)["name"] == package_of(folder).replace("_", "-")
    assert (folder / package_of(folder) / "__init__.py").is_file()


@every_distribution
def test_distributions_pin_one_another_to_their_own_version(folder):
    ours = {project(each)["name"] for each in FOLDERS}
    pins = {str(need.specifier) for _, need in requirements(folder) if need.name in ours and not need.extras}
    assert pins == {f"~={VERSION}"}


@every_distribution
def test_all_distributions_say_the_same_of_python_and_licence(folder):
    for key in ["requires-python", "license", "license-files"]:
        assert project(folder)[key] == project(ROOT)[key]
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_readme_says_the_oldest_versions():
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    oldest = {"Python": project(ROOT)["requires-python"].removeprefix(">=")}
    names = {"numpy": "NumPy", "scipy": "SciPy", "torch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow"}
    for folder in FOLDERS:
        for _, needed in requirements(folder):
            if needed.name in names:
                oldest[names[needed.name]] = str(needed.specifier).removeprefix(">=")
    assert {*names.values(), "Python"} == {*oldest}
    for name, version in oldest.items():
        assert f"{name} {version}" in text


@every_plugin
def test_the_extra_of_a_framework_is_its_plugin(folder):
    extra = [str(need) for name, need in requirements(ROOT) if name == framework_of(folder)]
    assert extra == [f"{project(folder)['name']}~={VERSION}"]


def test_the_core_has_an_extra_for_no_plugin_that_does_not_exist():
    named = {need.name for _, need in requirements(ROOT) if need.name.startswith("dmin-")}
    assert named - {"dmin-core"} == {project(folder)["name"] for folder in PLUGINS}


def test_the_extra_all_is_every_framework_and_what_shows_a_run():
    (need,) = [need for extra, need in requirements(ROOT) if extra == "all"]
    assert need.name == "dmin-core"
    assert need.extras == {"plot", "progress", *(framework_of(folder) for folder in PLUGINS)}


def test_the_core_needs_no_framework():
    needed = {need.name for extra, need in requirements(ROOT) if extra is None}
    assert needed == {"array-api-compat", "numpy", "optree", "pluggy", "scipy", "threadpoolctl"}


@pytest.mark.skipif("DMIN_TEST_WHEELS" not in os.environ, reason="only nox promises that wheels are installed")
def test_what_is_tested_is_the_installed_wheel_and_not_the_tree():
    import dmin_core

    folders = {Path(sysconfig.get_path(kind)) for kind in ["purelib", "platlib"]}
    assert Path(dmin_core.__file__).parents[1] in folders


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """For each package its ``sdist`` and the ``wheel`` that was built from it, all in one folder."""
    pytest.importorskip("build", reason="needs `build`, which makes sdists and wheels")
    out = tmp_path_factory.mktemp("dist")
    with ThreadPoolExecutor(2) as pool:  # each waits for pip most of the time
        list(pool.map(lambda folder: run(sys.executable, "-m", "build", "--outdir", out, folder), FOLDERS))
    return {
        package: {
            "sdist": out / f"{package}-{VERSION}.tar.gz",
            "wheel": out / f"{package}-{VERSION}-py3-none-any.whl",
        }
        for package in map(package_of, FOLDERS)
    }


def files_in_wheel(path):
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def files_in_sdist(path):
    """Paths relative to the one folder that an sdist holds."""
    with tarfile.open(path) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def read_from_wheel(path, name):
    (member,) = [each for each in files_in_wheel(path) if each.endswith(f".dist-info/{name}")]
    with zipfile.ZipFile(path) as archive:
        return archive.read(member)


def metadata(wheel):
    return message_from_bytes(read_from_wheel(wheel, "METADATA"))


def modules_in_tree(folder):
    package = folder / package_of(folder)
    return {path.relative_to(folder).as_posix() for path in package.rglob("*.py")}


@pytest.mark.once
@every_distribution
def test_a_wheel_holds_its_package_and_nothing_else(folder, built):
    package = package_of(folder)
    info = f"{package}-{VERSION}.dist-info"
    files = files_in_wheel(built[package]["wheel"])
    assert {name.partition("/")[0] for name in files} == {package, info}
    assert files >= modules_in_tree(folder) | {f"{package}/py.typed", f"{info}/licenses/LICENSE"}
    assert not [name for name in files if "/tests/" in name or "__pycache__" in name]


@pytest.mark.once
@every_distribution
def test_an_sdist_holds_what_its_tests_need_and_no_other_distribution(folder, built):
    files = files_in_sdist(built[package_of(folder)]["sdist"])
    assert files >= modules_in_tree(folder) | {"pyproject.toml", "PKG-INFO", "README.md", "LICENSE"}
    assert [name for name in files if name.startswith("tests/test_")]
    strangers = {"plugins", "benchmarks", "dist"} | {package_of(other) for other in FOLDERS if other != folder}
    assert not strangers & {name.partition("/")[0] for name in files}


@pytest.mark.once
@every_plugin
def test_pip_reads_that_a_plugin_belongs_to_its_extra_to_all_and_to_nothing_else(folder, built):
    needs = [Requirement(line) for line in metadata(built["dmin_core"]["wheel"]).get_all("Requires-Dist")]
    markers = [need.marker for need in needs if need.name == project(folder)["name"]]
    extras = ["", "testing", "all", framework_of(folder)]
    bring = [extra for extra in extras if any(marker.evaluate({"extra": extra}) for marker in markers)]
    assert bring == ["all", framework_of(folder)]


@pytest.mark.once
@every_distribution
def test_the_page_of_a_distribution_is_its_readme(folder, built):
    page = read_from_wheel(built[package_of(folder)]["wheel"], "METADATA").decode("utf-8").partition("\n\n")[2]
    assert page == (folder / "README.md").read_text("utf-8")


@pytest.mark.once
@every_plugin
def test_a_plugin_is_entered_under_the_name_of_its_folder(folder, built):
    entries = configparser.ConfigParser(delimiters=["="])
    entries.read_string(read_from_wheel(built[folder.name]["wheel"], "entry_points.txt").decode())
    backends = dict(entries["dmin.backends"])
    assert framework_of(folder) in backends
    assert set(backends.values()) == {folder.name}


@pytest.mark.once
def test_the_core_enters_nothing(built):
    """Its NumPy backend and SciPy's methods are embedded: no metadata can lose or shadow them."""
    names = files_in_wheel(built["dmin_core"]["wheel"])
    assert not [name for name in names if name.endswith("entry_points.txt")]


@pytest.fixture(scope="module")
def wheels(request):
    """The folder of nox's wheels, which are under test; without nox, that of our own."""
    given = os.environ.get("DMIN_TEST_WHEELS")
    return Path(given) if given else request.getfixturevalue("built")["dmin_core"]["wheel"].parent


def lend_all_but_dmin(python, lender):
    """Let another environment's `python` import what is installed here, dmin's own distributions apart.

    So an installation there is a real one, which pip resolves from nothing, without another copy of a
    framework.
    """
    lender.mkdir()
    for folder in {sysconfig.get_path(kind) for kind in ["purelib", "platlib"]}:
        for path in Path(folder).iterdir():
            if not path.name.startswith("dmin") and path.suffix != ".pth":
                (lender / path.name).symlink_to(path)
    inside = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(inside, "lender.pth").write_text(str(lender))


def missing_here(folder):
    """The names of what a plugin requires, its framework first of all, that is not installed.

    Where its extras bring the framework, one or another build of it, any one of them will do.
    """
    installed = {canonicalize_name(each.metadata["Name"]) for each in importlib.metadata.distributions()}
    needs = [(extra, need.name) for extra, need in requirements(folder) if not need.name.startswith("dmin-")]
    builds = [name for extra, name in needs if extra is not None]
    missing = [name for extra, name in needs if extra is None and canonicalize_name(name) not in installed]
    return missing or ([] if {canonicalize_name(name) for name in builds} & installed else builds)


@every_plugin
@pytest.mark.skipif(sys.platform == "win32", reason="lends packages by symbolic links, a privilege on Windows")
def test_an_extra_installs_its_plugin_from_a_folder_of_wheels(folder, wheels, tmp_path):
    if missing := missing_here(folder):
        pytest.skip(f"needs {', '.join(missing)} to lend to the new environment")
    framework = framework_of(folder)
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    lend_all_but_dmin(python, tmp_path / "lender")
    before = f"import importlib.util as u; print(u.find_spec('dmin_core'), u.find_spec('{folder.name}'))"
    assert run(python, "-I", "-c", before).split() == ["None", "None"]

    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--find-links", wheels]
    run(*pip, f"dmin-core[{framework}]")

    after = f"import dmin_core as d; d.get_backend('{framework}'); print(d.__file__)"
    assert run(python, "-I", "-c", after).strip().startswith(str(tmp_path / "env"))
