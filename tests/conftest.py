"""Options that choose a part of the matrix, test_matrix.py, and note down how it went; noxfile.py gives every pair a
session, and makes the README's table of what works from the notes.
"""

import atexit
import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# The tests pose their problems in float64 too, and JAX's flag for that is its user's to set: here they are the user.
os.environ.setdefault("JAX_ENABLE_X64", "1")

# Much is compiled by many tests: JAX may keep it. In a folder for each process and its children, since JAX does not
# write so that another could read at the same time; and a new one, where nothing is out of date.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="dmin-programs-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

_notes: list[dict[str, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("dmin")
    group.addoption(
        "--backend",
        action="append",
        metavar="NAME",
        help="of the matrix: this backend; repeatable; default: all installed",
    )
    group.addoption(
        "--method", action="append", metavar="NAME", help="of the matrix: this method; repeatable; default: all"
    )
    group.addoption("--matrix-report", metavar="FILE", help="write there, as JSON, how each case of the matrix went")
    group.addoption(
        "--beyond-numpy",
        action="store_true",
        help="leave out what is over NumPy alone: cases of its backend, and of no backend in what is marked numpy",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--beyond-numpy"):
        beyond: list[pytest.Item] = []
        alone: list[pytest.Item] = []
        for item in items:
            (alone if over_numpy_alone(item) else beyond).append(item)
        config.hook.pytest_deselected(items=alone)
        items[:] = beyond


def over_numpy_alone(item: pytest.Item) -> bool:
    case = getattr(item, "callspec", None)
    backend = None if case is None else case.params.get("backend")
    return item.get_closest_marker("numpy") is not None if backend is None else backend == "numpy"


@pytest.fixture(scope="session")
def fill_disk():
    """``fill_disk(monkeypatch, writes)``: after so many writes to a checkpoint there is room for twenty bytes."""

    def fill_disk(monkeypatch, writes):
        from dmin_core._logfile import LogFile

        real, left = LogFile._write, [writes]

        def full(self, whole):
            left[0] -= 1
            if left[0] < 0:
                real(self, bytes(whole)[:20])
                raise OSError(errno.ENOSPC, "No space left on device")
            real(self, whole)

        monkeypatch.setattr(LogFile, "_write", full)

    return fill_disk


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    case = dict(report.user_properties)
    if "problem" in case and (report.when == "call" or report.skipped):
        _notes.append({**case, "outcome": report.outcome, "why": report.longrepr[2] if report.skipped else ""})


def pytest_sessionfinish(session: pytest.Session) -> None:
    file = session.config.getoption("--matrix-report")
    if file is not None and not hasattr(session.config, "workerinput"):  # of several processes, the one told of all
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(json.dumps(_notes, indent=1) + "\n", encoding="utf-8")
