"""``progress=True`` shows a bar or lines, whatever it writes to, and leaves nothing behind."""

import contextlib
import io
import sys
import threading
import time

import numpy as np
import pytest

from dmin_core import InputError, Interrupted, minimize
from dmin_core.solvers import SCIPY_METHODS

tqdm = pytest.importorskip("tqdm", reason="tqdm is not installed, which progress=True needs")

from dmin_core import _progress  # noqa: E402 - only where there is tqdm

pytestmark = pytest.mark.numpy


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal():
    return Terminal()


@pytest.fixture
def log():
    return io.StringIO()


def fun(x):
    return np.sum((x - 1.0) ** 4), 4 * (x - 1.0) ** 3


def run(stream, fun=fun, x0=(0.0, 0.0, 0.0), **given):
    """A run that is shown on a stream. (pytest puts its own in place between a fixture and its test.)"""
    with contextlib.redirect_stderr(stream):
        return minimize(fun, np.array(x0), **{"jac": True, "progress": True, **given})


# Terminals -----------------------------------------------------------------------------------------------


def test_a_terminal_gets_a_bar_with_evaluations_value_and_slope(terminal):
    result = run(terminal)
    last = terminal.getvalue().rstrip("\n").split("\r")[-1]
    assert last.startswith("L-BFGS-B: ")
    assert f"{result.nfev}" in last
    assert f"fun {result.fun:.6g}, |grad| " in last
    assert terminal.getvalue().endswith("\n")


def test_a_limit_is_the_length_of_the_bar(terminal):
    run(terminal, options={"maxfun": 5})
    assert "/5 [" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_a_run_that_ends_before_its_limit_ends_full(terminal):
    result = run(terminal, options={"maxfun": 5000})
    last = terminal.getvalue().rstrip("\n").split("\r")[-1]
    assert f"{result.nfev}/{result.nfev} [" in last
    assert "100%" in last


def test_a_limit_on_iterations_counts_iterations(terminal):
    result = run(terminal, options={"maxiter": 7})
    last = terminal.getvalue().rstrip("\n").split("\r")[-1]
    assert f"{result.nit}/{result.nit} [" in last
    assert "iterations" in last


def test_a_method_on_the_device_counts_evaluations(log):
    result = run(log, method="device-lbfgs", options={"maxiter": 50})
    assert f"ended after {result.nfev} evaluations" in log.getvalue()


def test_a_method_without_gradients_shows_none(terminal):
    run(terminal, lambda x: fun(x)[0], jac=None, method="Nelder-Mead")
    assert "fun " in terminal.getvalue()
    assert "grad" not in terminal.getvalue()


def test_a_bar_is_redrawn_ten_times_a_second_at_most(terminal):
    start = time.perf_counter()
    result = run(terminal, lambda x: (time.sleep(0.002), fun(x))[1], method="CG")
    took = time.perf_counter() - start
    assert result.nfev > 10
    assert terminal.getvalue().count("\r") <= 10 * took + 6


def test_a_notebook_gets_a_bar_though_nothing_is_a_terminal(log, monkeypatch):
    drawn = []

    class Notebook(tqdm.std.tqdm):
        def display(self, *_, **__):
            drawn.append((self.n, self.postfix))

    monkeypatch.setattr(tqdm.auto, "tqdm", Notebook)
    result = run(log)
    assert drawn[-1][0] == result.nfev
    assert log.getvalue().strip() == ""


# Logs ----------------------------------------------------------------------------------------------------


def test_a_log_gets_a_line_at_the_end_and_no_carriage_return(log):
    result = run(log)
    (line,) = log.getvalue().splitlines()
    assert "\r" not in log.getvalue()
    assert line.startswith(f"L-BFGS-B: ended after {result.nfev} evaluations, ")
    assert f"fun {result.fun:.6g}, |grad| " in line


def test_a_long_run_gets_lines_on_the_way(log, monkeypatch):
    monkeypatch.setattr(_progress, "FIRST_LINE", 0.02)
    run(log, lambda x: (time.sleep(0.005), fun(x))[1])
    lines = log.getvalue().splitlines()
    assert len(lines) > 2
    assert not any("ended" in line for line in lines[:-1])


def test_lines_become_rarer(log):
    history = []
    problem = type("P", (), {"nfev": 1, "nit": 0, "history": history})
    shown = _progress.Progress(problem, "CG", {})
    shown.__enter__()
    waits = [shown._write((1, 1.0, 1.0, seconds)) - seconds for seconds in (10.0, 50.0, 1000.0, 1e5)]
    assert waits == [10.0, 10.0, 100.0, 600.0]


# However it ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["terminal", "log"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_it_is_closed_however_the_run_ends(stream, error, request):
    out = request.getfixturevalue(stream)

    def failing(x):
        calls.append(None)
        if len(calls) == 4:
            raise error("stop")
        return fun(x)

    calls = []
    with pytest.raises(Interrupted if error is KeyboardInterrupt else error):
        run(out, failing)
    assert out.getvalue().endswith("\n")
    if stream == "log":
        assert "broken off after 4 evaluations" in out.getvalue()
    if stream == "terminal":
        assert not any(bar for bar in getattr(tqdm.auto.tqdm, "_instances", []))


def test_no_thread_and_no_lock_between_processes_is_left(terminal):
    before = threading.enumerate()
    for _ in range(3):
        run(terminal)
    assert threading.enumerate() == before
    assert tqdm.std.tqdm.monitor is None


@pytest.mark.parametrize("tty", [True, False])
@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_stream_that_breaks_ends_the_showing_and_not_the_run(tty, error):
    class Broken(io.StringIO):
        def isatty(self):
            return tty

        def write(self, text):
            raise error("broken")

    assert run(Broken()).success


def test_without_a_stream_there_is_nothing_to_show():
    assert run(None).success


@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_the_run_is_the_same(method, log):
    def go(progress):
        return run(
            log,
            lambda x: fun(x)[0],
            jac=(lambda x: fun(x)[1]) if SCIPY_METHODS[method].get("gradient") else None,
            hess=(lambda x: np.diag(12 * (x - 1.0) ** 2)) if SCIPY_METHODS[method].get("hess") else None,
            method=method,
            options={"maxfun" if method == "TNC" else "maxiter": 15},
            progress=progress,
        )

    plain, shown = go(False), go(True)
    np.testing.assert_array_equal(plain.x, shown.x)
    np.testing.assert_array_equal(plain.history.fun, shown.history.fun)
    assert (plain.nfev, plain.njev, plain.nit) == (shown.nfev, shown.njev, shown.nit)


# At the door ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["yes", 2, None])
def test_it_is_true_or_false(given):
    with pytest.raises(InputError, match="progress must be True or False"):
        minimize(fun, np.zeros(3), jac=True, progress=given)


def test_without_tqdm_the_line_for_pip_is_said_before_any_evaluation(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    calls = []
    with pytest.raises(InputError, match=r"pip install 'dmin-core\[progress\]'"):
        run(io.StringIO(), lambda x: calls.append(None) or fun(x))
    assert not calls


def test_nothing_is_shown_unless_it_is_asked_for(terminal):
    run(terminal, progress=False)
    assert terminal.getvalue() == ""
