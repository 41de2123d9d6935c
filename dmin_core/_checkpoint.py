"""Checkpoints: every answer of the user's code is written down, and given again to the same run started anew.

A solver's state is not saved: SciPy's cannot be reached, and a format for each method's would be wrong for the next
version. (A device method's can be, and is: `_snapshots`.) But a solver is a deterministic function of the answers that
it gets. So a run that was killed is started again from its beginning, and while the file has answers it gets those, at
the price of the solver's own arithmetic. It then stands where it was, to the last bit, and goes on. The same few lines
serve every method, a third party's too.

Each answer is kept with a hash of its question (what was asked, at which x, along which v). A solver that asks
something else than the file has, because another version of SciPy or another BLAS takes another step, is stopped: its
numbers would be another run's.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from ._errors import CheckpointError, InputError, outside
from ._logfile import FLAT, HEAD, LogFile, Record, fingerprint
from ._problem import Problem

GIB = 2**30

CLOCK = 0
"""The kind of a record that says only how late it was when a run ended."""

KINDS = {
    "_value": (1, "the value"),
    "_pair_by_backend": (2, "value and gradient"),
    "_user_pair": (2, "value and gradient"),
    "_user_gradient": (3, "the gradient"),
    "_complex_value": (4, "the value at a complex step"),
    "_user_product": (5, "a Hessian product"),
    "_product_by_backend": (5, "a Hessian product"),
    "_user_hessian": (6, "the Hessian"),
    "_hessian_by_backend": (6, "the Hessian"),
    "_constraint_values": (7, "the constraints"),
    "_constraint_pair": (8, "the constraints and their Jacobian"),
    "_constraint_near": (9, "the constraints at a difference's step"),
    "_constraint_given": (10, "the Jacobian of a constraint"),
    "_constraint_curvature": (11, "a product with the constraints' Hessian"),
    "_constraint_layout": (12, "how the constraints nest what they return"),
}
"""`Problem`'s calls into the user's code: the number in the file, and the name in messages."""

CHECKS = ("_check_limits", "_check_time")
"""What may stop a run, by the clock."""

SCALAR, PAIR, ARRAY, COMPLEX, FAILED = range(5)


@dataclass(frozen=True)
class Checkpoint:
    """A file in which a run of `minimize` keeps what it computed, so that it can be started again.

    Parameters
    ----------
    path : str or os.PathLike
        The file; its directory must exist.
    limit : int, optional
        Bytes that the file may hold. An evaluation takes 8 n + 72 for value and gradient of n variables, 72 for a
        value alone. At the limit the run warns, once, and goes on without writing.
    fsync : bool, optional
        Whether each record is to be on the disk before the run goes on, so that it outlives not only the process but
        a power cut.
    every : float, optional
        For methods on the device, whose state is written, and not their answers: how many seconds to leave at least
        between two times; 0 writes after each iteration, or each stretch of a compiled loop. Default: as often as takes
        a twentieth of the time, and not more than once a second.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> from dmin_core import Checkpoint, minimize
    >>> def fun(x):
    ...     return np.sum((x - 3.0) ** 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.dmin")
    ...     first = minimize(fun, np.zeros(2), checkpoint=Checkpoint(path, limit=10**6))
    ...     again = minimize(fun, np.zeros(2), checkpoint=path)
    >>> bool((first.x == again.x).all()), again.replayed == first.nfev
    (True, True)
    """

    path: str | os.PathLike[str]
    limit: float = 8 * GIB
    fsync: bool = False
    every: float | None = None


def check_checkpoint(checkpoint: Any) -> Checkpoint:
    """The argument of `minimize`, refused where nothing could be written there.

    Raises
    ------
    InputError
    """
    given = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    path: Any = given.path
    limit: Any = given.limit
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise InputError(f"checkpoint must be the path of a file, or a Checkpoint, not {checkpoint!r}.")
    path = os.path.abspath(path)  # the run may change the working directory
    if os.path.isdir(path):
        raise InputError(f"checkpoint={os.fspath(given.path)!r} is a directory; name a file in it.")
    if not os.path.isdir(os.path.dirname(path)):
        raise InputError(f"The directory {os.path.dirname(path)!r} of the checkpoint does not exist; make it first.")
    if isinstance(limit, bool) or not isinstance(limit, int | float | np.number) or not limit > 0:
        raise InputError(f"The limit of a Checkpoint must be a positive number of bytes, not {limit!r}.")
    every: Any = given.every
    if every is not None and (isinstance(every, bool) or not isinstance(every, int | float | np.number) or every < 0):
        raise InputError(f"every of a Checkpoint must be a number of seconds, not {every!r}.")
    return Checkpoint(path, float(limit), bool(given.fsync), None if every is None else float(every))


def recorded(run: Callable[..., Any], checkpoint: Checkpoint, method: str) -> Callable[..., Any]:
    """`SolverSpec.solve` with everything that it asks of the problem read from, or written to, a checkpoint."""

    def run_with_log(problem: Problem, tol: float | None, callback: Any, options: Mapping[str, Any]) -> Any:
        with _opened(checkpoint, problem, method, tol, options):
            return run(problem, tol, callback, options)

    return run_with_log


@contextmanager
def _opened(
    checkpoint: Checkpoint, problem: Problem, method: str, tol: float | None, options: Mapping[str, Any]
) -> Iterator[None]:
    from ._identity import identify

    identity = identify(problem, method, tol, options)
    file = open_file(checkpoint, identity)
    try:
        log = Log(file, problem, checkpoint.limit, identity["versions"])
        calls = [name for name in (*KINDS, *CHECKS) if hasattr(problem, name)]
        problem.intercept(log.around, calls)
        try:
            yield
        finally:
            problem.release(calls)
            log.conclude()
    finally:
        file.close()


def open_file(checkpoint: Checkpoint, identity: dict[str, Any]) -> LogFile:
    """The file of the run that is so identified, new or gone on with.

    Raises
    ------
    CheckpointError
        It is another run's, or no such file, or in use.
    """
    from ._identity import differences

    file = LogFile(os.fspath(checkpoint.path), checkpoint.fsync)
    try:
        if file.header is None:
            file.write_header(identity)
            file.header = identity
        elif found := list(differences(file.header, identity)):
            more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
            raise CheckpointError(
                f"The checkpoint {file.path!r} is of another run: {'; '.join(found[:3])}{more}. "
                f"Start with what it was, or name another file."
            )
    except BaseException:
        file.close()
        raise
    return file


class Log:
    """Gives answers while the file has some, and then writes them down.

    `Problem.replayed` counts the evaluations that were given.
    """

    def __init__(self, file: LogFile, problem: Problem, limit: float, versions: dict[str, str]) -> None:
        self.file, self.problem, self.limit, self.versions = file, problem, limit, versions
        self.file.limit = limit
        self.writing = True
        self.wrote = False
        self.read = 0
        problem.replayed = 0
        self._take_next()

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, answered from the file or written into it."""
        if name in CHECKS:
            return self._in_time(call)
        kind = KINDS[name][0]
        problem = self.problem

        def answer(*vectors: np.ndarray) -> Any:
            asked = kind
            for vector in vectors:
                asked = fingerprint(vector, asked)
            if self.next is not None and (record := self._find(kind, asked)) is not None:
                return _put_together(record)
            nfev, njev = problem.nfev, problem.njev
            try:
                outcome = call(*vectors)
            except Exception as error:
                # One that counts as a value of inf belongs to the run, and is raised again.
                if problem.last is not None and problem.failures.include(error) and self.writing:
                    self._write(kind, asked, None, problem.nfev - nfev, problem.njev - njev)
                raise
            if self.writing:
                self._write(kind, asked, outcome, problem.nfev - nfev, problem.njev - njev)
            return outcome

        return answer

    # -- given again ---------------------------------------------------------------------------------------

    def _take_next(self) -> None:
        self.next = self.file.read()
        self.problem.replaying = self.next is not None

    def _find(self, kind: int, asked: int) -> Record | None:
        """The next answer, if it is to this question; None at the end of the file."""
        self._pass_clocks()
        record, problem = self.next, self.problem
        if record is None:
            return None
        if (record.kind, record.digest) != (kind, asked):
            raise self._parted(record, kind)
        self.read += 1
        problem.nfev += record.nfev
        problem.njev += record.njev
        problem.replayed = (problem.replayed or 0) + record.nfev
        elapsed, problem.in_objective, problem.in_copies = record.seconds
        problem.started = perf_counter() - elapsed
        self._take_next()
        return record

    def _pass_clocks(self) -> None:
        while self.next is not None and self.next.kind == CLOCK:
            self.problem.started = perf_counter() - self.next.seconds[0]
            self._take_next()

    def _in_time(self, check_limits: Callable[[], None]) -> Callable[[], None]:
        """A run that ``maxtime`` ended must end there again: its clock is set before it is looked at."""

        def check() -> None:
            self._pass_clocks()
            check_limits()

        return check

    def _parted(self, record: Record, kind: int) -> CheckpointError:
        names = {CLOCK: "nothing", **dict(KINDS.values())}
        asked, has = names[kind], names.get(record.kind, f"something unknown ({record.kind})")
        what = f"for {asked} at another point" if asked == has else f"for {asked} where the file has {has}"
        return CheckpointError(
            f"This run parts from the checkpoint {self.file.path!r} at its answer {self.read + 1}: the method asks "
            f"{what}. {self._why_parted()}. The file is left as it is: go on with what wrote it, or start anew with "
            f"another file."
        )

    def _why_parted(self) -> str:
        then = (self.file.header or {}).get("versions", {})
        changed = {name: now for name, now in self.versions.items() if then.get(name) != now}
        if changed:
            return "; ".join(f"{name} was {then.get(name)} and is {now}" for name, now in changed.items())
        return (
            "The libraries are the same, so the method, or a callback that stops it, is not deterministic, or the "
            "processor is another"
        )

    # -- written down --------------------------------------------------------------------------------------

    def _write(self, kind: int, asked: int, outcome: Any, nfev: int, njev: int) -> None:
        form, rows, number, array = _take_apart(outcome)
        if self.file.end + HEAD.size + array.nbytes > self.limit:
            self._stop(f"is as large as it may be ({self.limit:g} bytes; Checkpoint(path, limit=…) allows more)")
            return
        problem = self.problem
        seconds = (perf_counter() - problem.started, problem.in_objective, problem.in_copies)
        try:
            self.file.append(Record(kind, form, nfev, njev, asked, number, array, seconds, rows))
            self.wrote = True
        except OSError as cause:
            self._stop(f"could not be written to: {cause}")

    def _stop(self, why: str) -> None:
        self.writing = False
        warnings.warn(
            f"The checkpoint {self.file.path!r} {why}. The run goes on without it; started again, it would go on from "
            f"evaluation {self.problem.nfev}.",
            RuntimeWarning,
            stacklevel=outside(),
        )

    def conclude(self) -> None:
        """Note how late it is."""
        problem = self.problem
        if self.next is not None and self.next.kind == CLOCK:
            self._pass_clocks()
        elif self.writing and self.wrote:
            self._write(CLOCK, 0, 0.0, 0, 0)
        problem.replaying = False


_NONE = np.empty(0)


def _take_apart(outcome: Any) -> tuple[int, int, float, np.ndarray]:
    """Form, rows, number and array that stand for what a call returned."""
    if outcome is None:
        return FAILED, FLAT, 0.0, _NONE
    if isinstance(outcome, float):
        return SCALAR, FLAT, outcome, _NONE
    if isinstance(outcome, tuple):
        return PAIR, FLAT, *outcome
    if isinstance(outcome, np.ndarray) and outcome.ndim:
        return ARRAY, outcome.shape[0] if outcome.ndim == 2 else FLAT, 0.0, outcome.reshape(-1)
    number = complex(outcome)
    return COMPLEX, FLAT, number.real, np.array([number.imag])


def _put_together(record: Record) -> Any:
    array = record.array
    if record.form == FAILED:
        raise np.linalg.LinAlgError("fun failed here when the checkpoint was written, and counted as inf")
    if record.form == SCALAR:
        return record.number
    if record.form == PAIR:
        return record.number, array
    if record.form == COMPLEX:
        return complex(record.number, array[0])
    return array if record.rows == FLAT else array.reshape(record.rows, -1)
