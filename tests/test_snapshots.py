"""Checkpoints of device methods: killed anywhere they go on to the same bits, and what is not theirs is refused."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import optree
import pytest

from dmin_core import Checkpoint, CheckpointError, InputError, Interrupted, backends, get_backend, minimize
from dmin_core._logfile import HEAD, PREFIX, LogFile
from dmin_core._snapshots import Keeper
from dmin_core.solvers import DEVICE_METHODS
from dmin_core.testing.problems import rosenbrock

pytestmark = pytest.mark.numpy

USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
DIFFERENTIATING = [name for name in USABLE if get_backend(name).exact_gradient]


def posed(backend, method, dtype="float32"):
    """A run of Rosenbrock's function in a backend, as a function of further arguments."""
    problem, host = rosenbrock(), get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    fun, x0, _ = problem.pose(xp, lambda values: host.from_numpy(np.array(values, dtype=dtype), None))
    given = {} if host.exact_gradient else {"jac": problem.gradient}

    def run(path=None, every=0.0, **settings):
        kept = None if path is None else Checkpoint(path, every=every)
        return minimize(fun, x0, method=method, checkpoint=kept, **given, **settings)

    return run, lambda result: bits(result, host)


def bits(result, host):
    """What two runs must have in common, to the last bit."""
    leaves = [np.asarray(host.to_numpy(leaf)) for nest in (result.x, result.jac) for leaf in optree.tree_leaves(nest)]
    return {
        "arrays": [(str(leaf.dtype), leaf.tobytes()) for leaf in leaves],
        "fun": result.fun,
        "counts": [result.nfev, result.njev, result.nhev, result.nit, result.nfail],
        "message": [result.message, result.status, result.success],
        "history": [repr(getattr(result.history, name).tolist()) for name in ("evaluation", "fun", "grad_norm")],
    }


class Valley:
    """A chained valley in NumPy with its gradient; counts its calls, and can be told to do something else at one."""

    __qualname__ = "valley"

    def __init__(self):
        self.calls = 0
        self.at = {}

    def __call__(self, x):
        self.calls += 1
        if self.calls in self.at:
            return self.at[self.calls]()
        d, e = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
        gradient = np.zeros_like(x)
        gradient[1:] += 200.0 * d
        gradient[:-1] -= 400.0 * d * x[:-1] + 2.0 * e
        return np.sum(100.0 * d**2) + np.sum(e**2), gradient


X0 = np.tile([-1.2, 1.0], 10)


def write(path=None, fun=None, every=0.0, x0=X0, method="device-lbfgs", limit=1e9, **settings):
    """A run on the valley."""
    kept = None if path is None else Checkpoint(path, every=every, limit=limit)
    return minimize(fun or Valley(), x0, jac=True, method=method, checkpoint=kept, **settings)


def plain_bits(result):
    return bits(result, get_backend("numpy"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.dmin"


# The same result ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [None, (-2.0, 1.5)], ids=["free", "bounded"])
@pytest.mark.parametrize("method", DEVICE_METHODS)
@pytest.mark.parametrize("backend", USABLE)
def test_a_run_that_stopped_goes_on_to_the_same_bits(backend, method, bounds, path):
    if bounds is not None and not DEVICE_METHODS[method].get("bounds"):
        bounds = None  # it has none; and the free run is worth another look
    run, bits_of = posed(backend, method)
    expected = run(bounds=bounds)
    for limit in {1, 2, 3, expected.nit // 2, expected.nit - 1} - {0}:
        path.unlink(missing_ok=True)
        short = run(path, bounds=bounds, options={"maxiter": limit})
        assert (short.nit, short.replayed) == (limit, 0)
        resumed = run(path, bounds=bounds)
        assert bits_of(resumed) == bits_of(expected)
        assert resumed.replayed == short.nfev
        again = run(path, bounds=bounds)
        assert bits_of(again) == bits_of(expected)
        assert again.replayed == again.nfev


@pytest.mark.parametrize("method", DEVICE_METHODS)
@pytest.mark.parametrize("backend", USABLE)
def test_a_search_that_maxfun_broke_off_is_made_again(backend, method, path):
    run, bits_of = posed(backend, method)
    expected = run()
    for limit in range(1, expected.nfev, 3):
        path.unlink(missing_ok=True)
        short = run(path, options={"maxfun": limit})
        assert short.nfev == limit
        resumed = run(path)
        assert bits_of(resumed) == bits_of(expected)
        assert resumed.replayed <= limit


@pytest.mark.parametrize("method", DEVICE_METHODS)
@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_half_precision_leaves_go_on_to_the_same_bits(backend, method, path):
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    x0 = host.from_numpy(np.array([3.0, -2.0, 0.5], np.float16), None)
    assert "float16" in str(x0.dtype)

    def fun(x):
        wide = xp.astype(x, xp.float32)
        return xp.sum((wide - 1.0) ** 4) + xp.sum(wide**2)

    def run(path=None, **options):
        kept = None if path is None else Checkpoint(path, every=0)
        return minimize(fun, x0, method=method, checkpoint=kept, options=options)

    expected = run()
    run(path, maxiter=2)
    assert bits(run(path), host) == bits(expected, host)


@pytest.mark.parametrize("method", DEVICE_METHODS)
@pytest.mark.parametrize("backend", DIFFERENTIATING)
def test_a_loop_run_by_python_is_kept_in_every_backend(backend, method, path):
    run, bits_of = posed(backend, method)
    expected = run(compile=False)
    run(path, compile=False, options={"maxiter": 4})
    resumed = run(path, compile=False)
    assert bits_of(resumed) == bits_of(expected)
    assert resumed.replayed > 0
    if get_backend(backend).compiles:
        with pytest.raises(CheckpointError, match="loop was run by Python and is compiled"):
            run(path)


@pytest.mark.parametrize("method", DEVICE_METHODS)
def test_finite_differences_are_kept_value_by_value(method, path):
    """Their answers are the host's, so they are logged and given again as for every host method."""
    fun = Valley()
    fun_alone = lambda x: fun(x)[0]  # noqa: E731 - the name belongs to the file, and must be the same twice
    expected = minimize(fun_alone, X0[:4], method=method)
    calls = fun.calls
    minimize(fun_alone, X0[:4], method=method, checkpoint=path, options={"maxiter": 3})
    again = minimize(fun_alone, X0[:4], method=method, checkpoint=path)
    assert plain_bits(again) == plain_bits(expected)
    assert again.replayed > 0
    assert fun.calls == 2 * calls


def test_a_finished_run_is_read_again_without_an_evaluation(path):
    first = write(path)
    before = path.read_bytes()
    never = Valley()
    again = write(path, never)
    assert plain_bits(again) == plain_bits(first)
    assert (again.replayed, never.calls) == (first.nfev, 0)
    assert path.read_bytes() == before


def test_failed_evaluations_are_counted_as_before(path):
    def failing():
        fun = Valley()
        fun.at = {6: lambda: (np.nan, np.full(20, np.nan)), 9: lambda: (np.inf, np.zeros(20))}
        return fun

    expected = write(fun=failing())
    assert expected.nfail == 2
    fun = failing()
    write(path, fun, options={"maxiter": 5})
    assert plain_bits(write(path, fun)) == plain_bits(expected)


def test_aux_of_the_answer_is_computed_again(path):
    def with_aux(x):
        value, gradient = Valley()(x)
        return (value, {"first": float(x[0])}), gradient

    first = write(path, with_aux, has_aux=True)
    again = write(path, with_aux, has_aux=True)
    assert again.aux == first.aux == {"first": float(again.x[0])}
    assert plain_bits(again) == plain_bits(first)


def test_a_leaf_without_influence_is_named_once(path):
    fun = Valley()

    def half(x):
        value, gradient = fun(x["a"])
        return value, {"a": gradient, "b": np.zeros(2)}

    x0 = {"a": X0, "b": np.ones(2)}
    with pytest.warns(RuntimeWarning, match=r"x0\['b'\]"):
        write(path, half, x0=x0, options={"maxiter": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write(path, half, x0=x0).success


# Ended otherwise ------------------------------------------------------------------------------------------


def test_what_ctrl_c_ended_goes_on_from_the_last_iteration(path):
    expected = write()
    fun = Valley()

    def interrupt():
        raise KeyboardInterrupt

    fun.at = {11: interrupt}
    with pytest.raises(Interrupted) as caught:
        write(path, fun, every=1e9)
    assert caught.value.result.nfev == 11
    resumed = write(path, fun)
    assert plain_bits(resumed) == plain_bits(expected)
    assert 5 < resumed.replayed <= 10
    assert fun.calls == 11 + resumed.nfev - resumed.replayed


def test_a_run_that_an_exception_ended_goes_on_once_it_is_mended(path):
    expected = write()
    fun = Valley()
    fun.at = {14: lambda: 1 / 0}
    with pytest.raises(ZeroDivisionError):
        write(path, fun, every=1e9)
    assert plain_bits(write(path, fun)) == plain_bits(expected)


def test_an_end_in_the_middle_of_writing_the_history_keeps_the_state_before(path, monkeypatch):
    """The arrays of the state are written into; half of that is no state, and the file has the one before."""
    expected = write()
    backend = get_backend("numpy")
    real, left = backend.put_row, [30]

    def breaks(array, index, row):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(array, index, row)

    monkeypatch.setattr(backend, "put_row", breaks)
    with pytest.raises(Interrupted):
        write(path)
    monkeypatch.undo()
    resumed = write(path)
    assert plain_bits(resumed) == plain_bits(expected)
    assert resumed.replayed > 0


def test_the_time_of_the_runs_before_counts(path):
    first = write(path, options={"maxiter": 5})
    again = write(path)
    assert again.time["total"] >= first.time["total"]
    assert (np.diff(again.history.seconds) >= 0).all()
    np.testing.assert_array_equal(again.history.seconds[: first.nfev], first.history.seconds)
    stopped = write(path, options={"maxtime": 0.0})
    assert (stopped.nfev, stopped.replayed) == (again.nfev, again.nfev)


@pytest.mark.parametrize("backend", USABLE)
def test_a_callback_is_not_called_again_for_what_it_has_seen(backend, path):
    run, bits_of = posed(backend, "device-lbfgs")
    expected, seen = run(), []

    def watch(intermediate_result):
        seen.append((intermediate_result.nit, intermediate_result.replaying))
        if len(seen) == 4:
            raise StopIteration

    assert run(path, callback=watch).status == 99
    resumed = run(path, callback=watch)
    assert bits_of(resumed) == bits_of(expected)
    # The one at which it stopped it sees again, so that one which stops by what it sees does so again.
    assert seen == [(nit, False) for nit in (1, 2, 3, 4, 4, *range(5, expected.nit + 1))]


def test_a_callback_that_stops_by_what_it_sees_stops_there_again(path):
    def enough(intermediate_result):
        if intermediate_result.fun < 20.0:
            raise StopIteration

    first, again = (write(path, callback=enough) for _ in range(2))
    assert first.status == again.status == 99
    assert plain_bits(first) == plain_bits(again)


# What is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"x0": X0 + 1.0}, "x0 starts at other numbers"),
        ({"x0": X0[:10]}, "x0 had shape [20] and has [10]"),
        ({"method": "L-BFGS-B"}, "method was device-lbfgs and is L-BFGS-B"),
        ({"options": {"maxcor": 5}}, "options['maxcor'] was not given and is 5"),
        ({"bounds": (-2, 2)}, "one has bounds, the other none"),
        ({"tol": 1e-3}, "tol was None and is 0.001"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_runs_file_is_refused_with_the_difference(change, difference, path):
    write(path)
    before, fun = path.read_bytes(), Valley()
    with pytest.raises(CheckpointError, match="of another run: ") as caught:
        write(path, fun, **{"x0": X0, **change})
    assert difference in str(caught.value)
    assert fun.calls == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"x", b"some notes of the user's\n" * 10])
def test_another_file_is_never_overwritten(content, path):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a checkpoint of dmin"):
        write(path)
    assert path.read_bytes() == content


def test_a_file_in_the_way_is_not_overwritten(path):
    beside = path.with_name("run.dmin.new")
    beside.write_text("the user's own")
    with pytest.warns(RuntimeWarning, match=r"could not be written: .*run.dmin.new' is in the way"):
        result = write(path)
    assert result.success
    assert beside.read_text() == "the user's own"


def test_a_file_that_is_cut_short_is_refused_or_started_anew_and_never_half_used(path):
    expected = write(path)
    data = path.read_bytes()
    start = PREFIX.size + PREFIX.unpack(data[: PREFIX.size])[2]
    refused = 0
    for cut in (0, 5, start - 3, start, start + 40, start + HEAD.size + 16, *range(start + 500, len(data), 997)):
        path.write_bytes(data[:cut])
        try:
            result = write(path)
        except CheckpointError as error:
            refused += "cut short" in str(error)
        else:
            assert plain_bits(result) == plain_bits(expected)
            assert result.replayed == 0
    assert refused > 3


def test_a_file_that_is_damaged_is_refused(path):
    write(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is damaged at byte|is cut short"):
        write(path)


def an_array(said):
    return next(k for k, each in enumerate(said["state"]) if isinstance(each, list) and each[2])


def a_number(said):
    return next(k for k, each in enumerate(said["state"]) if not isinstance(each, list))


def with_state(said, k, described):
    return {**said, "state": [*said["state"][:k], described, *said["state"][k + 1 :]]}


def with_array(said, **changes):
    k = an_array(said)
    names = ("place", "host_dtype", "shape", "dtype", "scalar")
    return with_state(said, k, list({**dict(zip(names, said["state"][k], strict=True)), **changes}.values()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: {**said, "structure": "something else"}, "another structure"),
        (lambda said: with_state(said, an_array(said), 1.0), "a number where it has an array"),
        (
            lambda said: with_state(said, a_number(said), said["state"][an_array(said)]),
            "an array where it has a number",
        ),
        (lambda said: with_array(said, shape=[3]), r"float64 of shape \[3\] where it has float64 of \["),
        (lambda said: with_array(said, dtype="float32"), r"float32 of shape \[.*\] where it has float64 of \["),
    ],
    ids=["structure", "number", "array", "shape", "dtype"],
)
def test_the_state_of_another_version_is_refused(change, message, path, monkeypatch):
    write(path)
    real = Keeper._put_together
    monkeypatch.setattr(Keeper, "_put_together", lambda self, said, *rest: real(self, change(said), *rest))
    with pytest.raises(CheckpointError, match=f"not one of this version of the method: {message}"):
        write(path)


def test_a_second_run_on_the_file_is_refused_also_after_it_was_replaced(path):
    fun = Valley()

    def nest():
        with pytest.raises(CheckpointError, match="Another run is writing to the checkpoint"):
            write(path)
        return Valley()(X0)

    fun.at = {7: nest}
    assert write(path, fun).nfev > 7
    write(path)  # free again


@pytest.mark.parametrize("every", [-1.0, "1 s", True])
def test_a_senseless_interval_is_refused(every, path):
    with pytest.raises(InputError, match="every of a Checkpoint must be a number of seconds"):
        write(path, every=every)


# Size, disk, how often -------------------------------------------------------------------------------------


def test_the_size_is_what_the_documentation_says(path):
    n, m = 20_000, 4

    def fun(x):
        d = x - np.arange(n) / n
        return np.float32(np.sum(d**4)), 4 * d**3

    x0 = np.zeros(n, np.float32)
    minimize(fun, x0, jac=True, method="device-lbfgs", checkpoint=path, options={"maxcor": m, "maxiter": 7})
    vectors = 2 * m + 4
    assert 4 * n * vectors < path.stat().st_size < 4 * n * vectors + 10_000


def test_the_file_holds_one_state_however_long_the_run(path):
    short = write(path, options={"maxiter": 12})
    first = path.stat().st_size
    longer = write(path)
    assert longer.nfev > 2 * short.nfev
    assert path.stat().st_size - first <= 32 * (longer.nfev - short.nfev) + 1000
    assert [entry.name for entry in path.parent.iterdir()] == ["run.dmin"]


def test_states_are_written_as_often_as_is_said(path, monkeypatch):
    calls, real = [], LogFile.replace
    monkeypatch.setattr(LogFile, "replace", lambda self, *given: calls.append(1) or real(self, *given))
    counts = {}
    for every in (0.0, 1e9, None):
        calls.clear()
        path.unlink(missing_ok=True)
        result = write(path, every=every)
        counts[every] = len(calls)
    assert counts[0.0] >= result.nit
    assert counts[1e9] == counts[None] == 1  # at the end; and the run is shorter than a second


def test_at_its_limit_the_run_goes_on_without(path):
    expected = plain_bits(write())
    with pytest.warns(RuntimeWarning, match=r"would hold \d+ bytes, and may hold 3000") as caught:
        first = write(path, limit=3000)
    assert len(caught) == 1
    assert plain_bits(first) == expected
    assert path.stat().st_size <= 3000


def test_a_full_disk_does_not_end_the_run_and_the_state_before_stays(path, monkeypatch, fill_disk):
    expected = plain_bits(write())
    fill_disk(monkeypatch, 60)
    with pytest.warns(RuntimeWarning, match=r"could not be written: .*No space left") as caught:
        assert plain_bits(write(path)) == expected
    assert len(caught) == 1
    monkeypatch.undo()
    assert [entry.name for entry in path.parent.iterdir()] == ["run.dmin"]
    resumed = write(path)
    assert plain_bits(resumed) == expected
    assert resumed.replayed > 0


@pytest.mark.skipif(not hasattr(os, "symlink") or sys.platform == "win32", reason="this system has no links for all")
def test_a_link_stays_one_and_permissions_are_kept(path):
    real = path.with_name("elsewhere.dmin")
    write(real, options={"maxiter": 2})
    real.chmod(0o600)
    path.symlink_to(real)
    assert write(path).success
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert write(real).replayed > 0


def test_fsync_waits_for_the_disk_once_a_state(path, monkeypatch):
    called = []
    monkeypatch.setattr("dmin_core._logfile.os.fsync", called.append)
    write(path)
    assert not called
    path.unlink()
    result = write(Checkpoint(path).path)
    minimize(Valley(), X0, jac=True, method="device-lbfgs", checkpoint=Checkpoint(path, fsync=True, every=0))
    assert not called  # finished: nothing was written
    path.unlink()
    minimize(Valley(), X0, jac=True, method="device-lbfgs", checkpoint=Checkpoint(path, fsync=True, every=0))
    assert len(called) <= 2 * result.nfev + 3
    assert len(called) >= result.nit


# Killed ---------------------------------------------------------------------------------------------------

DRIVER = r"""
import json, os, signal, sys, threading, time
import numpy as np, optree
from dmin_core import Checkpoint, get_backend, methods, minimize
from dmin_core._logfile import LogFile
from dmin_core.testing.problems import flat, rosenbrock

backend, method, path, kill_at, seconds = sys.argv[1:]
problem, host = rosenbrock(), get_backend(backend)
xp = host.namespace(host.from_numpy(np.zeros(1), None))
fun, x0, _ = problem.pose(xp, lambda values: host.from_numpy(np.array(values, dtype="float32"), None))
given = {} if host.exact_gradient else {"jac": problem.gradient}
options = {name: 0.0 for name in ("ftol", "gtol") if name in methods()[method].options}
if method == "device-newton-cg":  # which is through in ten iterations otherwise
    options |= {"initial_trust_radius": 0.03, "max_trust_radius": 0.03}

def run(kept):
    # Watched, so that a compiled stretch is one iteration, and is killed somewhere.
    def watch(intermediate_result):
        if kept is not None and float(seconds):
            time.sleep(0.02)
    r = minimize(fun, x0, method=method, checkpoint=kept, callback=watch, options=options, **given)
    x = flat(optree.tree_map(host.to_numpy, r.x))
    numbers = [*x, r.fun, *r.history.fun, *r.history.grad_norm]
    return [r.nit, r.nfev, r.njev, r.nhev, r.status, r.message, *(float(v).hex() for v in numbers)], r.get("replayed")

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

expected = None
if int(kill_at) or float(seconds):
    writes, real = [0], LogFile._write
    def write(self, whole):
        writes[0] += 1
        if writes[0] == int(kill_at):  # somewhere in a record
            real(self, bytes(whole)[: len(bytes(whole)) // 2])
            kill()
        real(self, whole)
    LogFile._write = write
    if float(seconds):
        def later():
            while writes[0] < 3:
                time.sleep(0.001)
            time.sleep(float(seconds))
            kill()
        threading.Thread(target=later, daemon=True).start()
else:
    expected = run(None)[0]
got, replayed = run(Checkpoint(path, every=0))
print(json.dumps([got, expected, replayed]))
"""


@pytest.mark.parametrize("method", DEVICE_METHODS)
@pytest.mark.parametrize("backend", [pytest.param("numpy", marks=pytest.mark.once), *filter("numpy".__ne__, USABLE)])
def test_runs_killed_while_they_write_and_while_they_compute_end_at_the_same_bits(backend, method, path):
    if not hasattr(os, "kill") or sys.platform == "win32":
        pytest.skip("this system has no SIGKILL")

    def run(kill_at, seconds):
        command = [sys.executable, "-c", DRIVER, backend, method, str(path), str(kill_at), str(seconds)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for kill_at, seconds in ((40, 0), (0, 0.05), (60, 0)):
        done = run(kill_at, seconds)
        assert done.returncode == -9, done.stderr[-2000:]  # it was killed, and not at its end before
    done = run(0, 0)
    assert done.returncode == 0, done.stderr[-2000:]
    got, expected, replayed = json.loads(done.stdout.splitlines()[-1])
    assert got == expected
    assert 0 < replayed < got[1]
