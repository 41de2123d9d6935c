r"""An append-only file of numbers that survives being killed: a header, then records, each with its checksums.

Layout, little-endian throughout, every part a multiple of eight bytes::

    "\x93DMINLOG"  u32 version  u32 length of the header  u32 its CRC-32  u32 that of the twenty bytes before
    header        JSON in UTF-8, padded with spaces
    record        head of 72 bytes (`HEAD`, which ends in its own CRC-32), then an array of float64
    record …

Nothing written is ever changed, but for a file that is replaced as a whole (`LogFile.replace`). A process killed by
SIGKILL leaves at most one record that is cut short, at the end; whoever opens the file next cuts it off. Where records
are long, room is made for many at once, which takes a fifth off writing one; the file then ends in zeros until it is
closed, and they are cut off likewise. Plain numbers and JSON: reading a file that somebody else wrote can run no code,
as unpickling one could.

Long arrays are checked by the CRC of the sum of their rows (`checksum`). One of all their bytes takes 120 µs for 10⁵
numbers, more than a third of what a checkpoint may cost beside an evaluation of 10 ms.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import struct
import sys
import threading
import zlib
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from ._errors import CheckpointError

MAGIC = b"\x93DMINLOG"
VERSION = 2
PREFIX = struct.Struct("<8sIIII")
HEAD = struct.Struct("<BBHHHQQQddddII")
SMALL = 1 << 15
FLAT = 0xFFFFFFFF
"""`Record.rows` of what is no matrix."""

ROWS = 63
"""How many rows `digest` adds up, at most. Odd, so that the sum of equal numbers keeps all their bits."""
WIDTH = 512
"""How many words a row has, at least: a page of memory, so that one that was lost is in each column once at most."""
LONG = 1 << 13
"""Words from which on checksums add rows up; to that length a CRC of all bytes is as quick."""
AHEAD = 1 << 26
"""Bytes for which room is made at once."""
SAMPLE = 512
"""How many numbers of a long vector `fingerprint` looks at."""


class Record(NamedTuple):
    """One entry of the file.

    Attributes
    ----------
    kind, form : int
        What was asked, and what the words are; the writer's to number.
    nfev, njev : int
        By how much it raised the counts.
    digest : int
        Of the question.
    number : float
    array : (k,) float64
        The answer.
    seconds : tuple of float
        So far: elapsed, in the user's functions, in copies.
    rows : int
        Of a matrix, or `FLAT`.
    """

    kind: int
    form: int
    nfev: int
    njev: int
    digest: int
    number: float
    array: np.ndarray
    seconds: Seconds
    rows: int


Seconds = tuple[float, float, float]
# Hashing -------------------------------------------------------------------------------------------------


def digest(array: np.ndarray, start: int = 0) -> int:
    """A 64-bit hash of an array's bytes, the same in every process and on every machine: BLAKE2b.

    Of a longer array (4 KiB) the sum of its rows is hashed, which takes a twentieth of the time. Any one number that
    changed is found then too, and any page that was lost; of several changes it misses those that cancel in every
    column.
    """
    data = np.ascontiguousarray(array).reshape(-1)
    if data.nbytes > 8 * WIDTH and not data.nbytes % 8:
        data = np.concatenate(_folded(data.view(np.uint64)))
    head = struct.pack("<QQ", start, array.nbytes)
    return int.from_bytes(
        blake2b(data.data.cast("B") if data.size else b"", digest_size=8, key=head).digest(), "little"
    )


def _folded(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the rows, and what is left over."""
    height = min(ROWS, words.size // WIDTH // 2 * 2 - 1)
    if height <= 1:
        return words, words[:0]
    width = words.size // height
    rows = words[: height * width].reshape(height, width)
    return np.add.reduce(rows, axis=0), words[height * width :]


def checksum(array: np.ndarray) -> int:
    """A CRC-32 of contiguous float64 numbers, which finds in them what `digest` does, in half the time."""
    if array.size <= LONG:
        return zlib.crc32(array.data)
    sums, rest = _folded(array.view(np.uint64))
    return zlib.crc32(rest.data, zlib.crc32(sums.data))


def fingerprint(vector: np.ndarray, start: int = 0) -> int:
    """A 32-bit hash by which a question is known again.

    Of a long vector (64 KiB) some five hundred numbers count, evenly spread. To read all of 10⁵ would be a fifth of
    what a checkpoint costs. Nothing is stored of a question, so that nothing of it can be damaged; and a method that
    takes another step takes it in all variables that are free to move.
    """
    if vector.size > LONG:
        vector = vector.reshape(-1)[:: vector.size // SAMPLE | 1]  # odd, lest it keep time with the shape of a leaf
    return zlib.crc32(np.ascontiguousarray(vector).data, start)


# The file ------------------------------------------------------------------------------------------------


class LogFile:
    """The file, opened and locked for one run.

    Attributes
    ----------
    path : str
    header : dict or None
        None where the file is new, and nothing was written yet.
    end : int
        Bytes up to the end of the last record that was read or written whole.
    limit : float
        Bytes beyond which no room is made.

    Raises
    ------
    CheckpointError
        It cannot be opened, another run has it open, it is no such file, or of a later version. It is left as it was.
    """

    def __init__(self, path: str, fsync: bool = False) -> None:
        self.path = path
        self.fsync = fsync
        self.limit = float("inf")
        self._room = 0
        self._open()
        try:
            self.header, self.end = self._read_header()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        while True:
            try:
                # Not "a+b": on Linux that would write at the end even after a seek. Unbuffered: what is written is the
                # system's at once, and outlives the process.
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
                self._file = os.fdopen(descriptor, "r+b", buffering=0)
            except OSError as cause:
                raise CheckpointError(f"The checkpoint {self.path!r} cannot be opened for writing: {cause}") from cause
            self._lock = Lock(self._file.fileno(), self.path)
            try:
                self._lock.take()
            except BaseException:
                self.close()
                raise
            if self._is_there(descriptor):
                return
            self.close()  # another run replaced it between the opening and the lock

    def _is_there(self, descriptor: int) -> bool:
        """Whether the open file is the one of that name."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Give the file back; may be called twice."""
        try:
            if self._room:
                with contextlib.suppress(OSError):
                    self._cut()
        finally:
            self._lock.release()
            self._file.close()

    # -- reading -------------------------------------------------------------------------------------------

    def read(self) -> Record | None:
        """The next record; None at the end, where what is cut short has then been cut off.

        Raises
        ------
        CheckpointError
            The file is damaged before its last record.
        """
        size = os.fstat(self._file.fileno()).st_size
        left = size - self.end
        head = self._read(min(left, HEAD.size))
        if left < HEAD.size:
            return self._cut()
        kind, form, nfev, njev, _, asked, k, sum_, number, *seconds, rows, crc = HEAD.unpack(head)
        if crc != zlib.crc32(head[:-4]):
            # Nothing but zeros after it: cut short where there was room, or what a power cut left.
            if (left > HEAD.size or not any(head)) and self._only_zeros_follow():
                return self._cut()
            raise self._damaged(size)
        if left < HEAD.size + 8 * k:
            return self._cut()
        array = np.empty(k)
        self._read_into(array)
        if checksum(array) != sum_:
            if self._only_zeros_follow():
                return self._cut()
            raise self._damaged(size)
        self.end += HEAD.size + 8 * k
        elapsed, in_objective, in_copies = seconds
        return Record(kind, form, nfev, njev, asked, number, array, (elapsed, in_objective, in_copies), rows)

    def _read_header(self) -> tuple[dict[str, Any] | None, int]:
        raw = self._read(PREFIX.size)
        _, version, length, crc, own = PREFIX.unpack(raw.ljust(PREFIX.size, b"\0"))
        if not MAGIC.startswith(raw[: len(MAGIC)]):
            raise CheckpointError(
                f"{self.path!r} is not a checkpoint of dmin; it is left as it is. Name another file for the checkpoint."
            )
        if len(raw) < PREFIX.size:  # new, or killed before its first evaluation
            return None, 0
        if own != zlib.crc32(raw[:-4]):
            raise self._damaged_header()
        if version != VERSION:
            raise CheckpointError(
                f"The checkpoint {self.path!r} has version {version} of the format, and this dmin writes {VERSION}. "
                f"Go on with the dmin that wrote it, or name another file."
            )
        text = self._read(length)
        if len(text) < length:
            return None, 0
        if crc != zlib.crc32(text):
            raise self._damaged_header()
        return json.loads(text), PREFIX.size + length

    def _damaged_header(self) -> CheckpointError:
        return CheckpointError(f"The header of the checkpoint {self.path!r} is damaged. Start anew with another file.")

    def _read(self, count: int) -> bytes:
        """``count`` bytes, or what there is up to the end of the file."""
        parts = []
        while count and (part := self._file.read(count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _read_into(self, array: np.ndarray) -> None:
        view = array.view(np.uint8).data
        while len(view) and (count := self._file.readinto(view)):
            view = view[count:]

    def _only_zeros_follow(self) -> bool:
        return not any(any(part) for part in iter(lambda: self._file.read(1 << 20), b""))

    def _cut(self) -> Record | None:
        self._file.seek(self.end)
        self._file.truncate()
        self._room = 0
        return None

    def _damaged(self, size: int) -> CheckpointError:
        return CheckpointError(
            f"The checkpoint {self.path!r} is damaged at byte {self.end} of {size}. The evaluations before that are "
            f"whole: os.truncate({self.path!r}, {self.end}) has the run go on from there. Or start anew with another "
            f"file."
        )

    # -- writing -------------------------------------------------------------------------------------------

    def write_header(self, header: Mapping[str, Any]) -> None:
        """Begin the file."""
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self._file.seek(0)
        self._file.truncate()
        prefix = PREFIX.pack(MAGIC, VERSION, len(text), zlib.crc32(text), 0)[:-4]
        self._write(prefix + struct.pack("<I", zlib.crc32(prefix)) + text)
        if self.fsync:
            os.fsync(self._file.fileno())
        self.end = PREFIX.size + len(text)

    def append(self, record: Record) -> None:
        """Write a record after the last.

        Raises
        ------
        OSError
            It could not be written, and the file is as it was before.
        """
        array = np.ascontiguousarray(record.array, dtype=float)
        head = HEAD.pack(
            *(record.kind, record.form, record.nfev, record.njev, 0, record.digest, array.size, checksum(array)),
            *(record.number, *record.seconds, record.rows, 0),
        )[:-4]
        head += zlib.crc32(head).to_bytes(4, "little")
        try:
            self._write_both(head, array)
            if self.fsync:
                os.fsync(self._file.fileno())
        except BaseException:  # a full disk, or Ctrl-C in the middle
            with contextlib.suppress(OSError):
                self._cut()
            raise
        self.end += HEAD.size + array.nbytes

    def replace(self, header: Mapping[str, Any], records: Iterable[Record]) -> None:
        """Have the file hold these records and no other, from one moment to the next.

        They are written to a file beside it, whose name has ``.new`` at its end and which then takes its name. So a
        process that is killed leaves the old one or the new one, whole.

        Raises
        ------
        OSError, CheckpointError
            They could not be written, and the file is as it was before.
        """
        target = os.path.realpath(self.path)  # a link to the file stays one
        _make_way(target + ".new")
        new = LogFile(target + ".new")
        new.limit = 0  # no room for more
        try:
            new.write_header(header)
            for record in records:
                new.append(record)
            if self.fsync:
                os.fsync(new._file.fileno())
            self._take_place(new, target)
        except BaseException:
            new.close()
            with contextlib.suppress(OSError):
                os.unlink(new.path)
            raise
        self.header, self.end, self._room = dict(header), new.end, 0

    def _take_place(self, new: LogFile, target: str) -> None:
        if sys.platform == "win32":  # no file can be renamed there that is open, nor be the target
            new.close()
            self.close()
            try:
                os.replace(new.path, target)
            finally:
                self._open()
            return
        os.chmod(new.path, stat.S_IMODE(os.fstat(self._file.fileno()).st_mode))
        os.replace(new.path, target)
        self.close()
        # Its lock was taken before it had this name, so that nobody came between.
        self._file, self._lock = new._file, new._lock
        if self.fsync:
            folder = os.open(os.path.dirname(target), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _write_both(self, head: bytes, array: np.ndarray) -> None:
        """By one call of the system's where it has it: to put the two together would take as long as to write them."""
        if array.nbytes <= SMALL:
            self._write(head + array.tobytes())
            return
        data = array.view(np.uint8).data
        if self.end + len(head) + array.nbytes > self._room:
            self._make_room(len(head) + array.nbytes)
        done = os.writev(self._file.fileno(), (head, data)) if hasattr(os, "writev") else 0
        if done < len(head):
            self._write(head[done:])
        self._write(data[max(done - len(head), 0) :])

    def _make_room(self, least: int) -> None:
        """Have the system find room for this record and more, if it can."""
        size = int(min(max(AHEAD, least), self.limit - self.end))
        self._room = self.end + max(size, least)
        if size > least and hasattr(os, "posix_fallocate"):
            with contextlib.suppress(OSError):  # no such thing on this disk, or not so much room
                os.posix_fallocate(self._file.fileno(), self.end, size)

    def _write(self, whole: bytes | memoryview) -> None:
        view = memoryview(whole)
        while len(view):
            view = view[self._file.write(view) or 0 :]


def _make_way(path: str) -> None:
    """Remove what a killed run left half written; anything else of that name is somebody's, and stays.

    Raises
    ------
    CheckpointError
    """
    with contextlib.suppress(FileNotFoundError):
        with open(path, "rb") as file:
            ours = MAGIC.startswith(file.read(len(MAGIC)))
        if not ours:
            raise CheckpointError(f"{path!r} is in the way, and is not a checkpoint of dmin; move it elsewhere.")
        os.unlink(path)


# Locking -------------------------------------------------------------------------------------------------

_open_here: set[tuple[int, int]] = set()
_guard = threading.Lock()


class Lock:
    """Keeps a second run from writing to the same file.

    Between processes by ``fcntl.lockf``, which the system takes back however the process ends. Not by ``flock``,
    which a forked worker that outlives a killed run would hold on. Between the threads of a process, for which
    ``lockf`` is no obstacle, by a set.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor, self._path = descriptor, path
        status = os.fstat(descriptor)
        self._file = (status.st_dev, status.st_ino)
        self._held = False

    def take(self) -> None:
        with _guard:
            taken = self._file in _open_here
            if not taken:
                try:
                    self._lock()
                except OSError as refusal:  # any other: a file system that has no locks
                    taken = refusal.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
            if taken:
                raise CheckpointError(
                    f"Another run is writing to the checkpoint {self._path!r}. Wait for it, or name another file."
                )
            _open_here.add(self._file)
            self._held = True

    def release(self) -> None:
        """The lock itself goes with the descriptor."""
        if self._held:
            with _guard:
                _open_here.discard(self._file)
            self._held = False

    def _lock(self) -> None:
        if sys.platform == "win32":
            import msvcrt

            # Locked bytes cannot be read there: one far behind the end will do.
            os.lseek(self._descriptor, 1 << 40, os.SEEK_SET)
            try:
                msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(self._descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
