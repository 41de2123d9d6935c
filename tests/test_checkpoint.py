"""Runs that are written down: cut off anywhere, they go on to the same result; what is not theirs is refused."""

import errno
import json
import os
import subprocess
import sys
import warnings
import zlib

import numpy as np
import optree
import pytest

from dmin_core import (
    Checkpoint,
    CheckpointError,
    InputError,
    Interrupted,
    NonlinearConstraint,
    ObjectiveError,
    backends,
    get_backend,
    minimize,
)
from dmin_core._checkpoint import CLOCK, KINDS
from dmin_core._logfile import HEAD, LONG, PREFIX, LogFile, Record, checksum, digest, fingerprint
from dmin_core.solvers import SCIPY_METHODS
from dmin_core.testing.problems import flat, rosenbrock

pytestmark = pytest.mark.numpy

X0 = {"a": np.array([0.3, -0.4]), "b": np.array(0.5)}
USABLE = [name for name, info in backends().items() if info.error is None and info.devices]


class Counted:
    """Rosenbrock's valley with a bowl beside it; counts its calls, and can be told to do something else at one."""

    __qualname__ = "valley"

    def __init__(self):
        self.calls = 0
        self.at = {}

    def __call__(self, p, scale=1.0):
        self.calls += 1
        if self.calls in self.at:
            return self.at[self.calls]()
        a, b = p["a"], p["b"]
        return scale * (10.0 * (a[1] - a[0] ** 2) ** 2 + (1.0 - a[0]) ** 2 + np.sum(np.cosh(b - 1.0)))


class Twice(Counted):
    """The same, called by another name."""

    __qualname__ = "other_valley"


def gradient(p, scale=1.0):
    a, b = p["a"], p["b"]
    slope = -40.0 * (a[1] - a[0] ** 2) * a[0] - 2.0 * (1.0 - a[0])
    return {"a": scale * np.array([slope, 20.0 * (a[1] - a[0] ** 2)]), "b": scale * np.sinh(b - 1.0)}


def hessian(p, scale=1.0):
    a, b = p["a"], p["b"]
    first = 2.0 - 40.0 * (a[1] - 3.0 * a[0] ** 2)
    return scale * np.array([[first, -40.0 * a[0], 0.0], [-40.0 * a[0], 20.0, 0.0], [0.0, 0.0, np.cosh(b - 1.0)]])


def product(p, v, scale=1.0):
    whole = hessian(p, scale) @ np.array([*v["a"], v["b"]])
    return {"a": whole[:2], "b": whole[2]}


def both(p):
    return Counted()(p), gradient(p)


def bits(result):
    """What two runs must have in common, to the last bit."""
    jac = result.jac if "jac" in result else X0
    return {
        "x": [float(v).hex() for v in (*result.x["a"], result.x["b"])],
        "jac": [float(v).hex() for v in (*jac["a"], jac["b"])],
        "fun": float(result.fun).hex(),
        "counts": [result.nfev, result.njev, result.nhev, result.nit],
        "message": [result.message, result.status, result.success],
        "history": [[int(r.evaluation), float(r.fun).hex(), float(r.grad_norm).hex()] for r in result.history],
    }


def starts(path):
    """Where the records begin in a file, and where the last ends."""
    data = path.read_bytes()
    length = PREFIX.unpack(data[: PREFIX.size])[2]
    found = [PREFIX.size + length]
    while found[-1] < len(data):
        words = HEAD.unpack(data[found[-1] : found[-1] + HEAD.size])[6]
        found.append(found[-1] + HEAD.size + 8 * words)
    assert found[-1] == len(data)
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.dmin"


def write(path, **settings):
    """A finished run, its result and its file."""
    return minimize(Counted(), X0, checkpoint=path, **settings)


# The same result ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_a_run_cut_anywhere_goes_on_to_the_same_result_and_repeats_nothing(method, path):
    options = {"maxiter": 200} if method == "COBYLA" else {}
    expected = bits(minimize(Counted(), X0, method=method, options=options))
    fun = Counted()
    whole = minimize(fun, X0, method=method, checkpoint=path, options=options)
    assert bits(whole) == expected
    assert (fun.calls, whole.replayed) == (whole.nfev, 0)

    data, ends = path.read_bytes(), starts(path)
    cuts = {ends[0], ends[1], ends[len(ends) // 3], ends[len(ends) // 2] + 17, ends[-2], ends[-1]}
    for cut in cuts:
        path.write_bytes(data[:cut])
        fun = Counted()
        resumed = minimize(fun, X0, method=method, checkpoint=path, options=options)
        assert bits(resumed) == expected
        assert fun.calls == resumed.nfev - resumed.replayed
        assert resumed.replayed == sum(end <= cut for end in ends[1:-1])


def test_a_finished_run_is_read_again_without_an_evaluation(path):
    first = write(path)
    before = path.read_bytes()

    def never(p):
        raise AssertionError("evaluated")

    never.__qualname__ = "valley"
    again = minimize(never, X0, checkpoint=path)
    assert bits(again) == bits(first)
    assert again.replayed == again.nfev
    assert path.read_bytes() == before


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "trust-exact"])
def test_every_backend_goes_on_to_the_same_result(backend, method, path):
    host, problem = get_backend(backend), rosenbrock()
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    fun, x0, data = problem.pose(xp, lambda array: host.from_numpy(np.array(array, dtype="float32"), None))

    def run():
        result = minimize(fun, x0, args=data, method=method, checkpoint=path, options={"maxiter": 15})
        leaves = optree.tree_leaves(result.x)
        assert [(type(leaf), leaf.dtype) for leaf in leaves] == [(type(v), v.dtype) for v in optree.tree_leaves(x0)]
        return flat(optree.tree_map(host.to_numpy, result.x)), result

    x, first = run()
    ends = starts(path)
    os.truncate(path, ends[len(ends) // 2])
    resumed_x, resumed = run()
    assert (resumed_x == x).all()
    assert (resumed.fun, resumed.nfev, resumed.nhev) == (first.fun, first.nfev, first.nhev)
    assert 0 < resumed.replayed < resumed.nfev


@pytest.mark.parametrize(
    ("method", "derivatives"),
    [
        ("L-BFGS-B", {"jac": gradient}),
        ("L-BFGS-B", {"jac": "3-point"}),
        ("L-BFGS-B", {"jac": "cs"}),
        ("trust-ncg", {"jac": gradient}),
        ("trust-ncg", {"jac": gradient, "hess": hessian}),
        ("trust-ncg", {"jac": gradient, "hessp": product}),
        ("trust-exact", {"jac": gradient, "hess": hessian}),
        ("trust-exact", {"jac": gradient, "hessp": product}),
        ("trust-constr", {"jac": gradient, "hess": hessian}),
    ],
)
def test_every_kind_of_answer_is_kept(method, derivatives, path):
    expected = minimize(Counted(), X0, method=method, **derivatives)
    first = write(path, method=method, **derivatives)
    data, ends = path.read_bytes(), starts(path)
    for cut in ends[:: max(1, len(ends) // 5)]:
        path.write_bytes(data[:cut])
        assert bits(write(path, method=method, **derivatives)) == bits(first) == bits(expected)


def test_value_and_gradient_in_one_are_kept(path):
    first = minimize(both, X0, jac=True, checkpoint=path)
    os.truncate(path, starts(path)[3])
    again = minimize(both, X0, jac=True, checkpoint=path)
    assert bits(again) == bits(first)
    assert again.replayed == 3


def test_aux_of_an_answer_that_was_read_costs_one_evaluation(path):
    fun = Counted()

    def with_aux(p):
        return fun(p), {"b": float(p["b"])}

    first = minimize(with_aux, X0, has_aux=True, checkpoint=path)
    assert fun.calls == first.nfev
    again = minimize(with_aux, X0, has_aux=True, checkpoint=path)
    assert fun.calls == first.nfev + 1
    assert again.aux == first.aux == {"b": float(again.x["b"])}
    assert bits(again) == bits(first)


def test_values_that_are_not_finite_are_kept(path):
    fun = Counted()
    fun.at = {9: lambda: np.inf, 10: lambda: np.nan}
    first = minimize(fun, X0, method="Nelder-Mead", checkpoint=path)
    again = minimize(Counted(), X0, method="Nelder-Mead", checkpoint=path)
    assert bits(again) == bits(first)
    assert not np.isfinite(again.history.fun[8:10]).any()


def test_a_start_that_is_not_finite_is_refused_again_without_an_evaluation(path):
    fun = Counted()
    fun.at = {1: lambda: np.nan}
    for _ in range(2):
        with pytest.raises(ObjectiveError, match="nan at the start"):
            minimize(fun, X0, checkpoint=path)
    assert fun.calls == 1


def test_a_custom_method_is_kept_too(path):
    def descend(fun, x0, args, jac=None, **rest):
        for _ in range(5):
            x0 = x0 - 0.01 * jac(x0)
        return {"x": x0, "fun": fun(x0), "success": True, "message": "", "nit": 5}

    def method(*given, **rest):
        from scipy.optimize import OptimizeResult

        return OptimizeResult(descend(*given, **rest))

    first = write(path, method=method)
    os.truncate(path, starts(path)[5])
    again = write(path, method=method)
    assert bits(again) == bits(first)
    assert again.replayed == 5


# Ended otherwise ------------------------------------------------------------------------------------------


def test_a_run_that_ctrl_c_ended_goes_on(path):
    expected = bits(minimize(Counted(), X0))
    fun = Counted()

    def interrupt():
        raise KeyboardInterrupt

    fun.at = {11: interrupt}
    with pytest.raises(Interrupted) as caught:
        minimize(fun, X0, checkpoint=path)
    assert caught.value.result.nfev == 11
    resumed = minimize(fun, X0, checkpoint=path)
    assert bits(resumed) == expected
    assert fun.calls == resumed.nfev + 1


def test_a_run_that_an_exception_ended_goes_on_once_it_is_mended(path):
    expected = bits(minimize(Counted(), X0))
    fun = Counted()
    fun.at = {14: lambda: 1 / 0}
    with pytest.raises(ZeroDivisionError):
        minimize(fun, X0, checkpoint=path)
    assert bits(minimize(fun, X0, checkpoint=path)) == expected
    assert fun.calls == expected["counts"][0] + 1


@pytest.mark.parametrize("limit", [{"maxiter": 3}, {"maxfun": 20}], ids=lambda limit: next(iter(limit)))
def test_a_run_that_reached_a_limit_goes_on_under_a_higher_one(limit, path):
    fun = Counted()
    short = minimize(fun, X0, checkpoint=path, options=limit)
    assert not short.success
    longer = minimize(fun, X0, checkpoint=path, options={})
    assert bits(longer) == bits(minimize(Counted(), X0))
    assert longer.replayed == short.nfev
    assert fun.calls == longer.nfev


def test_a_lower_limit_ends_the_run_sooner_and_keeps_the_file(path):
    write(path)
    before = path.read_bytes()
    short = write(path, options={"maxiter": 2})
    assert (short.nit, short.replayed) == (2, short.nfev)
    assert path.read_bytes() == before


def test_the_time_of_the_runs_before_counts_towards_maxtime(path):
    ticks = iter(range(10**6))
    fun = Counted()

    def slow(p):
        if next(ticks) > 7:
            while slow.clock() < 0.06:
                pass
        return fun(p)

    from time import perf_counter

    begun = perf_counter()
    slow.clock = lambda: perf_counter() - begun
    first = minimize(slow, X0, checkpoint=path, options={"maxtime": 0.05})
    assert "maxtime" in first.message
    again = minimize(slow, X0, checkpoint=path, options={"maxtime": 0.05})
    assert (again.message, again.nfev, again.replayed) == (first.message, first.nfev, first.nfev)
    assert again.time["total"] >= 0.05
    np.testing.assert_allclose(again.history.seconds, first.history.seconds, atol=0.02)
    assert minimize(slow, X0, checkpoint=path, options={"maxtime": 60}).success


# Callbacks ------------------------------------------------------------------------------------------------


def test_the_callback_is_called_again_and_told_what_is_read(path):
    seen = []

    def note(intermediate_result):
        seen.append((float(intermediate_result.x["b"]), intermediate_result.replaying))

    write(path, callback=note)
    first, seen[:] = list(seen), []
    ends = starts(path)
    os.truncate(path, ends[len(ends) // 2])
    write(path, callback=note)
    assert [x for x, _ in seen] == [x for x, _ in first]
    assert not any(replaying for _, replaying in first)
    flags = [replaying for _, replaying in seen]
    assert flags == sorted(flags, reverse=True)
    assert set(flags) == {True, False}


def test_a_callback_that_stopped_the_run_stops_it_again(path):
    def stop_at_the_third():
        seen = []

        def callback(x):
            seen.append(x)
            if len(seen) == 3:
                raise StopIteration

        return callback

    first = write(path, callback=stop_at_the_third())
    again = write(path, callback=stop_at_the_third())
    assert (first.status, first.nit) == (99, 3)
    assert bits(again) == bits(first)
    # Without it, or with one that stops later, the run goes on.
    assert bits(write(path)) == bits(minimize(Counted(), X0))


@pytest.mark.parametrize("size", [1, 511, 513, 5000, 40_000])
@pytest.mark.parametrize("hashed", [digest, checksum])
def test_a_hash_sees_any_number_that_changed_and_any_page_that_was_lost(hashed, size):
    for numbers in (np.full(size, -2.0), np.random.default_rng(0).standard_normal(size), np.arange(size) / 8):
        before = hashed(numbers)
        assert hashed(numbers.copy()) == before
        for i in {0, 1, size // 2, size - 1} & set(range(size)):
            for change in (-numbers[i], np.nextafter(numbers[i], 9.0), numbers[i] + 1.0, np.nan):
                changed = numbers.copy()
                changed[i] = change
                assert (hashed(changed) == before) is (changed.tobytes() == numbers.tobytes())
        for first in range(0, size, 512):
            lost = numbers.copy()
            lost[first : first + 512] = 0.0
            assert hashed(lost) != before or lost.tobytes() == numbers.tobytes()


def test_a_digest_tells_lengths_dtypes_and_starts_apart():
    assert digest(np.zeros(3)) != digest(np.zeros(3), 1)
    assert digest(np.zeros(3)) != digest(np.zeros(4))
    assert digest(np.float32([1, 2, 3])) != digest(np.float32([1, 2, 4]))
    assert digest(np.empty(0)) == digest(np.empty(0))


@pytest.mark.parametrize("size", [1, 511, LONG, LONG + 1, 100_000, 1_000_003])
def test_a_fingerprint_tells_questions_apart(size):
    x = np.random.default_rng(0).standard_normal(size)
    known = fingerprint(x, 2)
    assert known == fingerprint(x.copy(), 2) != fingerprint(x, 3)
    # A step in all variables, by the last bit of its length; and one in some.
    assert known != fingerprint(x * (1 + 2.0**-52), 2)
    step = np.zeros(size)
    step[:: 1 + size // 1000] = 1e-9
    assert known != fingerprint(x + step, 2)
    assert known != fingerprint(np.roll(x, 1) if size > 1 else -x, 2)
    assert fingerprint(x + 0j, 2) != fingerprint(x + 1e-200j, 2)
    if size <= LONG:
        for i in {0, size // 2, size - 1}:
            changed = x.copy()
            changed[i] = np.nextafter(x[i], 9.0)
            assert known != fingerprint(changed, 2)


# Torn and damaged files -----------------------------------------------------------------------------------


@pytest.fixture
def short(path):
    """A run of a few evaluations, and its file: data, where records begin (the last is a clock's), bits."""
    result = write(path, jac=gradient, options={"maxiter": 2})
    return path.read_bytes(), starts(path), bits(result)


def run_short(path):
    fun = Counted()
    result = minimize(fun, X0, jac=gradient, options={"maxiter": 2}, checkpoint=path)
    return fun.calls, bits(result)


def test_a_last_record_cut_at_any_byte_is_cut_off(short, path):
    data, ends, expected = short
    last = next(i for i in reversed(range(len(ends) - 1)) if HEAD.unpack(data[ends[i] : ends[i] + HEAD.size])[0] == 1)
    for cut in range(ends[last], ends[last + 1]):
        path.write_bytes(data[:cut])
        assert run_short(path) == (1, expected)
        assert len(starts(path)) == len(ends)


def test_a_last_record_damaged_at_any_byte_never_gives_another_result(short, path):
    data, ends, expected = short
    for i in range(ends[-3], ends[-2]):
        path.write_bytes(data[:i] + bytes([data[i] ^ 0x10]) + data[i + 1 : ends[-2]])
        if i - ends[-3] < HEAD.size:
            with pytest.raises(CheckpointError, match=f"damaged at byte {ends[-3]}"):
                run_short(path)
        else:
            assert run_short(path)[1] == expected


def test_zeros_that_a_file_system_left_at_the_end_are_cut_off(short, path):
    data, ends, expected = short
    for blank in (HEAD.size, 200, 4096):
        path.write_bytes(data[: ends[-3]] + bytes(blank))
        assert run_short(path)[1] == expected


def test_a_kill_at_any_byte_of_a_long_record_leaves_what_was_whole(tmp_path):
    """Room is made for many records at once: what a kill leaves then ends in zeros, not at the last byte written."""
    path, left = tmp_path / "run", tmp_path / "left"
    file = LogFile(str(path))
    file.write_header({})
    arrays = [np.random.default_rng(k).standard_normal(5000) for k in range(3)]
    ends = [file.end]
    for k, array in enumerate(arrays):
        file.append(Record(1, 1, 1, 1, k, 0.5, array, (0.0, 0.0, 0.0), 0))
        ends.append(file.end)
    data = path.read_bytes()
    file.close()
    assert path.stat().st_size == ends[-1] <= len(data)
    inside = [*range(1, HEAD.size + 16), 4096, 20_000, ends[-1] - ends[-2] - 1]
    for cut in [ends[-1], *(ends[-2] + i for i in inside)]:
        whole = 3 if cut == ends[-1] else 2
        for zeros in (0, 10_000, 200_000):
            left.write_bytes(data[:cut] + bytes(zeros))
            file = LogFile(str(left))
            for array in arrays[:whole]:
                np.testing.assert_array_equal(file.read().array, array)
            assert file.read() is None
            file.close()
            assert left.stat().st_size == ends[whole]
    # Damage that is no kill's.
    left.write_bytes(data[: ends[1] + 100] + b"x" + data[ends[1] + 101 :])
    file = LogFile(str(left))
    file.read()
    with pytest.raises(CheckpointError, match=f"damaged at byte {ends[1]}"):
        file.read()
    file.close()


def test_room_is_made_within_the_limit_only(tmp_path):
    sizes = []

    def fun(x):
        sizes.append(path.stat().st_size)
        return np.sum((x - 1.0) ** 2 * np.arange(1, x.size + 1)), 2 * (x - 1.0) * np.arange(1, x.size + 1)

    path = tmp_path / "run"
    limit = 1_000_000
    with pytest.warns(RuntimeWarning, match="as large as it may be"):
        minimize(fun, np.zeros(10_000), method="L-BFGS-B", jac=True, checkpoint=Checkpoint(path, limit=limit))
    assert max(sizes) <= limit
    assert path.stat().st_size <= limit


def test_damage_in_the_middle_is_refused_and_the_remedy_works(short, path):
    data, ends, expected = short
    first, after = ends[1], ends[2]
    for i in range(first, after):
        damaged = data[:i] + bytes([data[i] ^ 0x01]) + data[i + 1 :]
        path.write_bytes(damaged)
        fun = Counted()
        with pytest.raises(CheckpointError, match=f"damaged at byte {first} of {len(data)}.*os.truncate"):
            minimize(fun, X0, jac=gradient, options={"maxiter": 2}, checkpoint=path)
        assert fun.calls == 0
        assert path.read_bytes() == damaged
    os.truncate(path, first)
    assert run_short(path)[1] == expected


def test_a_header_cut_at_any_byte_is_begun_anew(short, path):
    data, ends, expected = short
    for cut in range(ends[0] + 1):
        path.write_bytes(data[:cut])
        assert run_short(path)[1] == expected
        assert path.read_bytes()[: ends[0]] == data[: ends[0]]


def test_a_header_damaged_at_any_byte_is_refused_and_left(short, path):
    data, ends, _ = short
    for i in range(ends[0]):
        damaged = data[:i] + bytes([data[i] ^ 0x04]) + data[i + 1 :]
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged|not a checkpoint"):
            run_short(path)
        assert path.read_bytes() == damaged


# Refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"x0": {**X0, "a": np.array([0.3, 0.4])}}, "x0['a'] starts at other numbers"),
        ({"x0": {**X0, "b": np.array([0.5])}}, "x0['b'] had shape [] and has [1]"),
        ({"x0": {**X0, "b": np.float32(0.5)}}, "x0['b'] had dtype float64 and has float32"),
        ({"x0": {**X0, "c": np.array(0.5)}}, "x0['c'] was no variable"),
        ({"x0": {"a": X0["a"]}}, "x0['b'] was a variable and is none"),
        ({"x0": {**X0, "note": "a"}}, "x0['note'] was not given and is a"),
        ({"method": "BFGS"}, "method was L-BFGS-B and is BFGS"),
        ({"options": {"gtol": 1e-3}}, "options['gtol'] was not given and is 0.001"),
        ({"options": {"maxcor": np.int64(5)}}, "options['maxcor'] was not given and is 5"),
        ({"tol": 1e-3}, "tol was None and is 0.001"),
        ({"bounds": {"a": (-1, 1)}}, "one has bounds, the other none"),
        ({"jac": gradient}, "jac was None and is gradient"),
        ({"args": (2.0,)}, "there were 0 args and are 1"),
        ({"fun": Twice()}, "fun was valley and is other_valley"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_runs_file_is_refused_with_the_difference(change, difference, path):
    write(path)
    before = path.read_bytes()
    fun = change.pop("fun", Counted())
    with pytest.raises(CheckpointError, match="of another run: ") as caught:
        minimize(fun, change.pop("x0", X0), checkpoint=path, **change)
    assert difference in str(caught.value)
    assert fun.calls == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        (1.0, 2.0, "args[0] was 1.0 and is 2.0"),
        (np.ones(3), np.ones(4), "of shape [3], float64"),
        (np.ones(3), np.array([1.0, 1.0, 2.0]), "args[0] was numpy.ndarray"),
        ({"k": np.ones(2)}, {"k": np.zeros(2)}, "args[0] was"),
    ],
)
def test_other_data_are_another_run(before, after, difference, path):
    def fun(p, data):
        return np.sum((p["a"] - 1.0) ** 2) + p["b"] ** 2

    minimize(fun, X0, args=(before,), checkpoint=path)
    minimize(fun, X0, args=(before,), checkpoint=path)
    with pytest.raises(CheckpointError) as caught:
        minimize(fun, X0, args=(after,), checkpoint=path)
    assert difference in str(caught.value)


def test_bounds_that_moved_are_another_run(path):
    write(path, bounds={"a": (-1, 2)})
    with pytest.raises(CheckpointError, match="the bounds are others"):
        write(path, bounds={"a": (-1, 3)})


def test_a_method_that_asks_otherwise_is_stopped_and_the_file_left(path):
    from scipy.optimize import OptimizeResult

    steps = iter([0.1, 0.1, 0.1, 0.1, 0.2, 0.2])

    def wanders(fun, x0, args, **rest):
        for _ in range(3):
            x0 = x0 + next(steps)
            fun(x0)
        return OptimizeResult(x=x0, fun=fun(x0), success=True, message="")

    write(path, method=wanders)
    before = path.read_bytes()
    fun = Counted()
    with pytest.raises(
        CheckpointError, match=r"parts from the checkpoint .* answer 2: .*the value at another point.*same"
    ):
        minimize(fun, X0, method=wanders, checkpoint=path)
    assert fun.calls == 0
    assert path.read_bytes() == before


def test_the_versions_that_changed_are_named_where_runs_part(path):
    result = write(path)
    data, ends = path.read_bytes(), starts(path)
    header = json.loads(data[PREFIX.size : ends[0]])
    header["versions"]["scipy"] = "0.1"
    path.unlink()
    file = LogFile(str(path))
    file.write_header(header)
    file.close()
    path.write_bytes(path.read_bytes() + data[ends[0] :])
    assert write(path).fun == result.fun  # another version alone is no reason
    data, second = bytearray(path.read_bytes()), starts(path)[1]
    end = second + HEAD.size
    data[second + 8 : second + 16] = bytes(8)  # the digest of another question
    data[end - 4 : end] = zlib.crc32(data[second : end - 4]).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"parts from .*scipy was 0.1 and is "):
        write(path)


@pytest.mark.parametrize("content", [b"x", b"some notes of the user's\n" * 10, b"\x93NUMPY\x01\x00" + bytes(200)])
def test_another_file_is_never_overwritten(content, path):
    path.write_bytes(content)
    fun = Counted()
    with pytest.raises(CheckpointError, match="is not a checkpoint of dmin"):
        minimize(fun, X0, checkpoint=path)
    assert fun.calls == 0
    assert path.read_bytes() == content


def test_a_later_version_of_the_format_is_refused(path, monkeypatch):
    monkeypatch.setattr("dmin_core._logfile.VERSION", 3)
    write(path)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has version 3 of the format, and this dmin writes 2"):
        write(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (True, "must be the path of a file, or a Checkpoint"),
        (b"run.dmin", "must be the path"),
        (3, "must be the path"),
        (".", "is a directory"),
        (os.path.join("no", "such", "folder", "run.dmin"), "does not exist; make it first"),
        (Checkpoint("run.dmin", limit=0), "limit of a Checkpoint must be a positive number"),
        (Checkpoint("run.dmin", limit="1 GB"), "limit of a Checkpoint must be a positive number"),
    ],
)
def test_what_is_no_place_for_a_checkpoint_is_refused_before_any_evaluation(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fun = Counted()
    with pytest.raises(InputError, match=message):
        minimize(fun, X0, checkpoint=given)
    assert fun.calls == 0
    assert not list(tmp_path.iterdir())


def test_a_file_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("dmin_core._logfile.os.open", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be opened for writing: .*Permission denied"):
        write(tmp_path / "run.dmin")


def test_answers_of_one_number_in_the_file_are_of_one_kind():
    """Or the answer to one question would be taken for that to another."""
    names = {}
    for number, name in KINDS.values():
        assert names.setdefault(number, name) == name
    assert CLOCK not in names


# Two runs on one file -------------------------------------------------------------------------------------


def test_a_second_run_in_the_process_is_refused(path):
    fun = Counted()

    def nest():
        with pytest.raises(CheckpointError, match="Another run is writing to the checkpoint"):
            write(path)
        return Counted()(X0)

    fun.at = {3: nest}
    assert minimize(fun, X0, checkpoint=path).success
    write(path)  # free again


def test_a_second_process_is_refused(path):
    file = LogFile(str(path))
    try:
        source = "import sys; from dmin_core._logfile import LogFile; LogFile(sys.argv[1])"
        done = subprocess.run([sys.executable, "-c", source, str(path)], capture_output=True, text=True, check=False)
    finally:
        file.close()
    assert done.returncode != 0
    assert "Another run is writing to the checkpoint" in done.stderr
    subprocess.run([sys.executable, "-W", "ignore", "-c", source, str(path)], check=True)


# Size, disk, forms of the argument ------------------------------------------------------------------------


def test_the_size_is_what_the_documentation_says(path):
    result = minimize(both, X0, jac=True, checkpoint=path)
    ends = starts(path)
    n = 3
    assert ends[-1] - ends[0] == result.nfev * (8 * n + 72) + 72


def test_at_its_limit_the_file_stops_growing_and_the_run_goes_on(path):
    expected = bits(minimize(Counted(), X0))
    with pytest.warns(RuntimeWarning, match=r"is as large as it may be \(3000 bytes") as caught:
        first = write(Checkpoint(path, limit=3000))
    assert len(caught) == 1
    assert bits(first) == expected
    assert path.stat().st_size <= 3000
    kept = len(starts(path)) - 1
    with pytest.warns(RuntimeWarning, match="is as large as it may be"):
        again = write(Checkpoint(path, limit=3000))
    assert (bits(again), again.replayed) == (expected, kept)
    assert write(path).replayed == kept
    assert write(path).replayed == first.nfev


def test_a_full_disk_does_not_end_the_run(path, monkeypatch, fill_disk):
    fill_disk(monkeypatch, 12)
    with pytest.warns(RuntimeWarning, match=r"could not be written to: .*No space left") as caught:
        first = write(path)
    assert len(caught) == 1
    monkeypatch.undo()
    assert len(starts(path)) == 12  # the header, eleven records, and nothing torn
    again = write(path)
    assert (bits(again), again.replayed) == (bits(first), 11)


def test_fsync_is_called_for_every_record_where_it_is_asked_for(path, monkeypatch):
    called = []
    monkeypatch.setattr("dmin_core._logfile.os.fsync", called.append)
    write(path)
    assert not called
    path.unlink()
    write(Checkpoint(path, fsync=True))
    assert len(called) == len(starts(path))


@pytest.mark.parametrize("form", [str, lambda path: path, lambda path: Checkpoint(str(path))])
def test_a_path_may_be_a_string_or_a_path(form, path):
    first = write(form(path))
    assert write(path).replayed == first.nfev


def test_the_working_directory_may_change_during_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    fun = Counted()
    fun.at = {2: lambda: os.chdir("other") or 5.0}
    minimize(fun, X0, checkpoint="run.dmin")
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["run.dmin"]


def test_without_a_checkpoint_there_is_no_trace_of_one(path):
    result = minimize(Counted(), X0)
    assert "replayed" not in result
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        minimize(Counted(), X0, callback=lambda intermediate_result: "replaying" in intermediate_result and 1 / 0)


ASK_AGAIN = """
import collections
import sys
import numpy as np
from dmin_core import NonlinearConstraint, minimize

calls = []
Pair = collections.namedtuple("Pair", "norm first")
FORMS = {
    "array": lambda norm, first: np.array([norm, first]),
    "scalar": lambda norm, first: norm,
    "nest": lambda norm, first: {"of x": [norm, (first,)], "b": np.full((1, 2), norm)},
    "namedtuple": Pair,
}

def norm(x):
    calls.append(x)
    return FORMS[sys.argv[2]](np.sum(x**2), x[0])

disc = NonlinearConstraint(norm, -1, 1)
r = minimize(lambda x: np.sum((x - 1.0) ** 2), np.zeros(2), constraints=disc, checkpoint=sys.argv[1])
print(len(calls), r.ncev, r.nfev, r.x, r.constr, r.active)
"""


@pytest.mark.parametrize(("form", "calls"), [("array", 0), ("scalar", 0), ("nest", 0), ("namedtuple", 1)])
def test_a_process_that_goes_on_does_not_call_constraints_for_what_the_file_has(form, calls, path):
    """But for one that returns a container of the user's own class, once, to see how it nests what it returns."""
    said = []
    for _ in range(2):
        command = [sys.executable, "-c", ASK_AGAIN, str(path), form]
        said.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(maxsplit=1))
    assert said[0][1] == said[1][1]
    assert int(said[0][0]) > 1
    assert int(said[1][0]) == calls


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr", "COBYLA", "COBYQA"])
@pytest.mark.parametrize("backend", USABLE)
def test_a_process_that_goes_on_calls_its_constraint_for_the_rest_only(backend, method, path):
    host = get_backend(backend)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    calls, at = [], {}

    def disc(p):
        calls.append(p)
        if len(calls) == at.get("stop"):
            raise KeyboardInterrupt
        return {"of": (xp.sum(p["x"] ** 2),)}

    def go(stop=None):
        calls.clear()
        at["stop"] = stop
        # Another function each time, as in another process: nothing is known of what it returns.
        constraint = NonlinearConstraint(lambda p: disc(p), -1, 1)
        x0 = {"x": host.from_numpy(np.array([0.1, 0.2]), None)}
        result = minimize(
            lambda p: xp.sum((p["x"] - 1.0) ** 2),
            x0,
            method=method,
            constraints=constraint,
            checkpoint=path,
            compile=False,
        )
        return len(calls), result

    whole, expected = go()
    path.unlink()
    with pytest.raises(Interrupted):
        go(whole // 2 + 1)
    rest, result = go()
    assert rest == whole - whole // 2  # the one in flight is evaluated again, and those after it
    assert result.ncev == expected.ncev
    np.testing.assert_array_equal(result.history.fun, expected.history.fun)
    np.testing.assert_array_equal(host.to_numpy(result.x["x"]), host.to_numpy(expected.x["x"]))
    np.testing.assert_array_equal(host.to_numpy(result.constr[0]["of"][0]), host.to_numpy(expected.constr[0]["of"][0]))
    again, _ = go()
    assert again == 0


# Killed ---------------------------------------------------------------------------------------------------

DRIVER = r"""
import json, os, random, signal, sys, time
import numpy as np
from dmin_core import NonlinearConstraint, minimize
from dmin_core import _result  # imports SciPy's part: the children need not

def norm(p):
    return np.sum(p["a"] ** 2) + p["b"] ** 2

def fun(p):
    os.write(marks, b".")
    time.sleep(pause)
    return float(np.sum((p["a"] - np.array([1.0, 2.0])) ** 2) + np.sum(np.cosh(p["a"])) + p["b"] ** 4 + p["b"] ** 2)

def run(path):
    options = {"COBYLA": {"maxiter": 60}, "Powell": {"maxiter": 2}, "TNC": {"maxfun": 60}}.get(method, {"maxiter": 15})
    x0 = {"a": np.array([0.3, -0.4]), "b": 1.5}
    constrained = method in ("SLSQP", "trust-constr", "COBYLA", "COBYQA")
    constraints = NonlinearConstraint(norm, -np.inf, 2.0) if constrained else ()
    r = minimize(fun, x0, method=method, constraints=constraints, checkpoint=path, options=options)
    jac = r.get("jac", {"a": np.zeros(2), "b": 0.0})
    numbers = [*r.x["a"], r.x["b"], r.fun, *jac["a"], jac["b"], *r.history.fun]
    return [r.nit, r.get("ncev"), r.nfev, r.njev, r.nhev, r.status, r.message, *(float(v).hex() for v in numbers)]

def child(path, answer):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            with open(answer, "w") as out:
                json.dump(run(path), out)
            code = 0
        finally:
            os._exit(code)
    return pid

folder, kills, seed, *names = sys.argv[1:]
killed = 0
for method in names:
    rng = random.Random(f"{seed} {method}")
    file, marked = os.path.join(folder, method), os.path.join(folder, "marks")
    marks, pause = os.open(marked, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 0.0
    expected = json.loads(json.dumps(run(None)))
    evaluations = expected[2]
    pause = 0.0005
    for kill in range(int(kills)):
        path, answer = f"{file}-{kill}", f"{file}-{kill}.json"
        os.truncate(marked, 0)
        before = 0
        # One moment among all evaluations, and for every other run two, so that a resumed run is killed as well.
        for target in sorted(rng.uniform(0, evaluations) for _ in range(1 + kill % 2)):
            pid = child(path, answer)
            while os.path.getsize(marked) < target and os.waitpid(pid, os.WNOHANG) == (0, 0):
                pass
            time.sleep(rng.uniform(0, 0.0012))  # somewhere in an evaluation, the method, or the writing
            try:
                os.kill(pid, signal.SIGKILL)
                killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
            except (ProcessLookupError, ChildProcessError):
                pass  # it had finished
            before += 1
        status = os.waitpid(child(path, answer), 0)[1]
        assert status == 0, (method, kill)
        with open(answer) as stream:
            assert json.load(stream) == expected, (method, kill)
        count = os.path.getsize(marked)
        assert evaluations <= count <= evaluations + before, (method, kill, count, evaluations)
    os.close(marks)
    print(method, evaluations, killed, flush=True)
"""


def kill(tmp_path, kills, seed, methods):
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    command = [sys.executable, "-c", DRIVER, str(tmp_path), str(kills), str(seed), *methods]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == list(methods)
    # Now and then the parent comes too late; that most come in time is what makes this a test.
    assert int(lines[-1][2]) >= kills * len(methods) / 2


@pytest.mark.once
def test_runs_killed_at_random_end_at_the_same_result(tmp_path):
    kill(tmp_path, 3, 1, SCIPY_METHODS)


@pytest.mark.soak
@pytest.mark.parametrize("method", SCIPY_METHODS)
def test_runs_killed_at_twenty_moments_end_at_the_same_result(method, tmp_path):
    kill(tmp_path, 20, 2, [method])
