"""Options that choose a part of the matrix, test_matrix.py; noxfile.py gives every pair a session."""

import pytest


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
