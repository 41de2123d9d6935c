"""Checkpoints of device methods: the state between two iterations, in a file that holds the last one and no other.

Host methods are given their answers again (`_checkpoint`), for their state cannot be reached. A device method's state
is dmin's own, a nest of arrays and numbers, and its answers are as long as the vector and lie on the device. So every
so often the state is brought to the host and written as it is, with what `Problem` counted: its history, its best
point, its clock. A run that was killed goes on from the last one, and does again what it did since, to the same bits.

Nothing here knows a method. What a state must keep to: it is a nest, and its arrays are written into by `put_row` and
``add_to`` only, after the evaluations of the iteration, so that the state before an evaluation that did not come to its
end is whole.

The file is `_logfile`'s: a header that says of which run, then one record that describes the state, one for each array,
and one for the history. It is written beside the old one and put in its place by renaming, so that there is a whole
one at every moment.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import optree

from ._aux import NOTHING
from ._checkpoint import Checkpoint
from ._errors import CheckpointError, outside
from ._leaves import dtype_name, is_array
from ._logfile import FLAT, HEAD, LogFile, Record
from ._problem import Problem

DESCRIPTION, ARRAY = 32, 33
"""Kinds of records; `_checkpoint` has those below."""

SHARE = 20
"""Where the user does not say how often, a state is written when the run took so many times as long as writing one."""
SELDOM = 1.0
"""And not before so many seconds."""


class Boundary(NamedTuple):
    """The run as it stood between two iterations.

    Attributes
    ----------
    state : nest
        The solver's.
    best : tuple or None
        ``(point, value, gradient)``.
    counts : dict
        `Problem`'s, and the length of its history.
    seconds : tuple of float
        Elapsed, in the user's functions, in copies, compiling.
    reported : bool
        Whether the callback has seen it.
    """

    state: Any
    best: Any
    counts: dict[str, Any]
    seconds: tuple[float, ...]
    reported: bool

    @property
    def work(self) -> tuple[int, int]:
        """Evaluations and products so far: what a later state has more of."""
        return self.counts["nfev"], self.counts["nhev"]


def kept(run: Callable[..., Any], checkpoint: Checkpoint, method: str) -> Callable[..., Any]:
    """`SolverSpec.solve` of a device method, with its state read from a checkpoint and written to it."""

    def run_with_state(problem: Problem, tol: float | None, callback: Any, options: Mapping[str, Any]) -> Any:
        with _opened(checkpoint, problem, method, tol, options):
            return run(problem, tol, callback, options)

    return run_with_state


@contextmanager
def _opened(
    checkpoint: Checkpoint, problem: Problem, method: str, tol: float | None, options: Mapping[str, Any]
) -> Iterator[None]:
    from ._checkpoint import open_file
    from ._identity import identify

    identity = identify(problem, method, tol, options)
    # The same method keeps other arrays, and rounds otherwise, where its loop is compiled.
    identity["loop"] = "compiled" if problem.compiled else "run by Python"
    file = open_file(checkpoint, identity)
    try:
        problem.keeper = Keeper(file, problem, checkpoint, identity)
        try:
            yield
        finally:
            problem.keeper.conclude()
            problem.keeper = None
    finally:
        file.close()


class Keeper:
    """Gives a loop the state to start from, and keeps those that it hands over.

    A loop calls `resume` once, `note` between iterations, and `void` when the state it noted is no longer whole.
    """

    def __init__(self, file: LogFile, problem: Problem, checkpoint: Checkpoint, identity: Mapping[str, Any]) -> None:
        self.file, self.problem, self.identity = file, problem, identity
        self.limit, self.every = checkpoint.limit, checkpoint.every
        self.writing = True
        self.device: Any = None
        self.boundary: Boundary | None = None
        self._written = (0, 0)
        self._wrote_at = perf_counter()
        self._took = 0.0
        problem.replayed = 0

    # -- what a loop calls ---------------------------------------------------------------------------------

    def resume(self, device: Any, state: Any) -> tuple[Any, bool]:
        """The state in the file, and whether it is to be reported yet; ``state`` itself if there is none.

        Parameters
        ----------
        device : DeviceProblem
        state : nest
            The solver's, before its first evaluation. Its arrays say what those in the file become.
        """
        self.device = device
        found = self._read(state)
        if found is None:
            return state, False
        self._written = found.work
        self.boundary = found
        self._put_back(found)
        return found.state, not found.reported

    def note(self, state: Any, reported: bool = True) -> None:
        """Remember the state between two iterations, and write it if it is time to."""
        problem, failures = self.problem, self.problem.failures
        best = self.device.best
        self.boundary = Boundary(
            state,
            None if best is None else best[:3],
            {
                "nfev": problem.nfev,
                "njev": problem.njev,
                "nhev": problem.nhev,
                "nit": problem.nit,
                "failures": failures.count,
                "streak": failures.streak,
                "influence": problem.influence.seen,
                "history": len(problem.history),
            },
            (
                perf_counter() - problem.started,
                problem.in_objective,
                problem.in_copies,
                problem.in_compile,
            ),
            reported,
        )
        if reported and self._is_time():
            self.write()

    def void(self) -> None:
        """What was noted is being written over."""
        self.boundary = None

    def guard(self, write: Callable[..., Any]) -> Callable[..., Any]:
        """`put_row` or ``add_to`` for a loop that Python runs, after which the state that was noted is not whole."""

        def write_over(array: Any, *what: Any) -> Any:
            self.boundary = None
            return write(array, *what)

        return write_over

    def conclude(self) -> None:
        """Write the last state, however the run ended, if it is whole."""
        self.write()

    # -- writing -------------------------------------------------------------------------------------------

    def _is_time(self) -> bool:
        since = perf_counter() - self._wrote_at
        return since >= (max(SELDOM, SHARE * self._took) if self.every is None else self.every)

    def write(self) -> None:
        """Write what was noted, unless the file has it."""
        boundary = self.boundary
        if not self.writing or boundary is None or boundary.work <= self._written:
            return
        start = perf_counter()
        records = self._records(boundary)
        size = sum(HEAD.size + record.array.nbytes for record in records)
        if size > self.limit:
            self._stop(
                f"would hold {size} bytes, and may hold {self.limit:g} (Checkpoint(path, limit=…) allows more; so does "
                f"a smaller history)"
            )
            return
        try:
            self.file.replace(self.identity, records)
        except (OSError, CheckpointError) as cause:
            self._stop(f"could not be written: {cause}")
            return
        self._written = boundary.work
        self._wrote_at = perf_counter()
        self._took = self._wrote_at - start

    def _records(self, boundary: Boundary) -> list[Record]:
        """The description first, the history last."""
        gathered = _Gathered(self.device.backend.to_numpy)
        leaves, state = optree.tree_flatten(boundary.state)
        described = [gathered.describe(leaf) for leaf in leaves]
        best = None
        if boundary.best is not None:
            point, f, gradient = boundary.best
            best = [float(f), *([gathered.describe(array) for array in each] for each in (point, gradient))]
        description = {
            "structure": str(state),
            "state": described,
            "best": best,
            "counts": boundary.counts,
            "seconds": boundary.seconds,
            "reported": boundary.reported,
        }
        text = json.dumps(description).encode()
        words = np.frombuffer(text + b" " * (-len(text) % 8), dtype=float)
        history = np.array(self.problem.history[: boundary.counts["history"]], dtype=float).reshape(-1)
        self.problem.in_copies += gathered.seconds
        return [
            _record(DESCRIPTION, words, len(gathered.arrays)),
            *(_record(ARRAY, _as_words(array)) for array in gathered.arrays),
            _record(ARRAY, history),
        ]

    def _stop(self, why: str) -> None:
        self.writing = False
        warnings.warn(
            f"The checkpoint {self.file.path!r} {why}. The run goes on without it; started again, it would go on from "
            f"evaluation {self._written[0]}.",
            RuntimeWarning,
            stacklevel=outside(),
        )

    # -- reading -------------------------------------------------------------------------------------------

    def _read(self, state: Any) -> Boundary | None:
        first = self.file.read()
        if first is None:  # killed before the first state was written
            return None
        count, said = first.nfev, None
        if first.kind == DESCRIPTION:
            said = json.loads(first.array.tobytes())
        records = [self.file.read() for _ in range(count + 1)]
        if said is None or any(record is None or record.kind != ARRAY for record in records):
            raise CheckpointError(
                f"The checkpoint {self.file.path!r} is cut short: the state in it is not whole, as a power cut may "
                f"leave it (Checkpoint(path, fsync=True) waits for the disk). Start anew with another file."
            )
        arrays = [record.array for record in records if record is not None]
        history = arrays.pop().reshape(-1, 4)
        self.problem.history = [(int(k), f, norm, seconds) for k, f, norm, seconds in history.tolist()]
        return self._put_together(said, _Unpacked(self.device.backend.from_numpy, arrays), state)

    def _put_together(self, said: Mapping[str, Any], unpacked: _Unpacked, state: Any) -> Boundary:
        likes, spec = optree.tree_flatten(state)
        try:
            if said["structure"] != str(spec):
                raise _Other("another structure")
            leaves: Any = [unpacked.make(each, like) for each, like in zip(said["state"], likes, strict=True)]
            best = None
            if said["best"] is not None:
                f, *points = said["best"]
                point, gradient = (
                    tuple(unpacked.make(each, like) for each, like in zip(described, self.device.start, strict=True))
                    for described in points
                )
                best = (point, f, gradient)
        except _Other as cause:
            raise CheckpointError(
                f"The state in the checkpoint {self.file.path!r} is not one of this version of the method: {cause}. Go "
                f"on with the dmin that wrote it, or start anew with another file."
            ) from cause
        return Boundary(
            optree.tree_unflatten(spec, leaves), best, said["counts"], tuple(said["seconds"]), said["reported"]
        )

    def _put_back(self, boundary: Boundary) -> None:
        problem, counts = self.problem, boundary.counts
        problem.nfev, problem.njev, problem.nhev, problem.nit = (
            counts[name] for name in ("nfev", "njev", "nhev", "nit")
        )
        problem.failures.count, problem.failures.streak = counts["failures"], counts["streak"]
        problem.influence.seen = counts["influence"]
        problem.replayed = problem.nfev
        elapsed, problem.in_objective, problem.in_copies, problem.in_compile = boundary.seconds
        problem.started = perf_counter() - elapsed
        if boundary.best is not None:
            # What `fun` returned beside its value is not kept: as everywhere, it costs one more evaluation.
            self.device.hold((*boundary.best, NOTHING))


class _Gathered:
    """Arrays on the host, each once however often the state has it."""

    def __init__(self, to_numpy: Callable[[Any], np.ndarray]) -> None:
        self.to_numpy, self.arrays, self.seconds = to_numpy, list[np.ndarray](), 0.0
        self._places: dict[int, int] = {}

    def describe(self, leaf: Any) -> Any:
        """A Python number as it is; of an array where it is, its dtype and shape."""
        if not is_array(leaf):
            return leaf
        if id(leaf) not in self._places:
            start = perf_counter()
            host = np.asarray(leaf if isinstance(leaf, np.ndarray | np.generic) else self.to_numpy(leaf))
            self.seconds += perf_counter() - start
            self._places[id(leaf)] = len(self.arrays)
            self.arrays.append(host)
        host = self.arrays[place := self._places[id(leaf)]]
        return [place, str(host.dtype), list(host.shape), dtype_name(leaf.dtype), isinstance(leaf, np.generic)]


class _Unpacked:
    """The inverse: arrays like those of the state before the first evaluation."""

    def __init__(self, from_numpy: Callable[..., Any], records: list[np.ndarray]) -> None:
        self.from_numpy, self.records = from_numpy, records
        self._made: dict[tuple[int, bool], Any] = {}

    def make(self, described: Any, like: Any) -> Any:
        if not isinstance(described, list):
            if is_array(like) and not (isinstance(like, np.ndarray | np.generic) and like.ndim == 0):
                raise _Other("a number where it has an array")
            return described
        place, host_dtype, shape, dtype, scalar = described
        if scalar:
            return self._host(place, host_dtype, shape)[()]
        if not is_array(like):
            raise _Other("an array where it has a number")
        if shape != [int(d) for d in like.shape] or dtype != dtype_name(like.dtype):
            raise _Other(f"{dtype} of shape {shape} where it has {dtype_name(like.dtype)} of {list(like.shape)}")
        here = isinstance(like, np.ndarray | np.generic)
        if (place, here) not in self._made:
            host = self._host(place, host_dtype, shape)
            self._made[place, here] = host if here else self.from_numpy(host, like)
        return self._made[place, here]

    def _host(self, place: int, dtype: str, shape: list[int]) -> np.ndarray:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        return self.records[place].view(np.uint8)[:size].view(dtype).reshape(shape)


class _Other(Exception):
    """The state is not like that of this run."""


def _as_words(array: np.ndarray) -> np.ndarray:
    """Its bytes, as so many float64."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if short := -data.size % 8:
        data = np.concatenate([data, np.zeros(short, np.uint8)])
    return data.view(float)


def _record(kind: int, words: np.ndarray, count: int = 0) -> Record:
    return Record(kind, 0, count, 0, 0, 0.0, words, (0.0, 0.0, 0.0), FLAT)
