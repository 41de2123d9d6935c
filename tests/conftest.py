"""Options that choose a part of the matrix, test_matrix.py; noxfile.py gives every pair a session."""

import os

import pytest

# The tests pose their problems in float64 too, and JAX's flag for that is its user's to set: here they are the user.
os.environ.setdefault("JAX_ENABLE_X64", "1")


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
