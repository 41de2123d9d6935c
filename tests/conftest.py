"""Options that choose a part of the matrix, test_matrix.py, and note down how it went; noxfile.py gives every pair a
session, and makes the README's table of what works from the notes.
"""

import errno
import json
import os
from pathlib import Path

import pytest

# The tests pose their problems in float64 too, and JAX's flag for that is its user's to set: here they are the user.
os.environ.setdefault("JAX_ENABLE_X64", "1")

NOTES = pytest.StashKey[list]()


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


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOTES] = []


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    case = dict(item.user_properties)
    if "problem" in case and (report.when == "call" or report.skipped):
        why = report.longrepr[2] if report.skipped else ""
        item.config.stash[NOTES].append({**case, "outcome": report.outcome, "why": why})
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    file = session.config.getoption("--matrix-report")
    if file is not None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(json.dumps(session.config.stash[NOTES], indent=1) + "\n", encoding="utf-8")
