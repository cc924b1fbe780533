"""The journal: the append-only record of a part that is not published yet, and the thread that writes it.

A journal is a file of frames. A frame is a header of 16 bytes (length of its record, length of its payload, CRC-32 of
the payload, CRC-32 of these three and the record; little endian), then the record as JSON, then the payload (audio, or
nothing). ``records`` has the kinds of records. An intent is on the disk (fdatasync) before its request is sent.

A kill can only tear the tail: everything before the last fdatasync is whole, and nothing after it was acted upon. A
file beside the journal, whose name ends in ``.synced``, holds the length that the journal had then: a shorter journal
was cut later.
"""

from __future__ import annotations

import itertools
import os
import queue
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.disk_reserve import DISK_FULL_ERRNOS, DiskReserve
from tts_pipeline.storage.safe_folder import OPEN_EXISTING, create_file, make_folder, sync_path
from tts_pipeline.storage.store import DISK_HINT, storage_errors
from tts_pipeline.wal.records import JournalHeader, encode_record

FRAME_HEADER = struct.Struct("<IIII")
_LENGTHS = struct.Struct("<III")
SUFFIX = ".journal"
_SYNCED_SUFFIX = ".synced"
_MAX_JOURNAL_BYTES = 2**40


class DiskFullError(StorageError):
    """There is no room for all of some frames; ``frames_written`` of them are written."""

    def __init__(self, message: str, *, frames_written: int) -> None:
        super().__init__(message, hint=DISK_HINT)
        self.frames_written = frames_written


class Journal:
    """An open journal file; only the writer's thread writes to it.

    ``size_bytes`` is the length of the whole frames, which never change again; any thread may read it. ``synced_fd``
    is the file for the length that is on the disk; None writes none.
    """

    def __init__(self, path: Path, fd: int, size_bytes: int, synced_fd: int | None = None) -> None:
        self.path = path
        self._fd = fd
        self._synced_fd = synced_fd
        self.size_bytes = size_bytes
        self._failure: StorageError | None = None

    @classmethod
    def create(cls, path: Path, header: JournalHeader) -> Journal:
        """Make a new journal, readable by its owner only, whose header and name are on the disk on return."""
        with storage_errors(f"creating the journal {path}"):
            make_folder(path.parent)
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
            journal = cls(path, fd, 0, create_file(path.with_suffix(_SYNCED_SUFFIX)))
            try:
                journal.append([encode_frame(encode_record(header))], durable=True)
                sync_path(path.parent)
            except BaseException:
                journal.close()
                raise
        return journal

    def append(self, frames: Sequence[tuple[bytes, ...]], *, durable: bool) -> None:
        """Write frames, and wait until they are on the disk when ``durable``.

        Raises:
            StorageError: The write failed. The file is cut back to its last whole frame, and refuses what comes
                after: an attempt whose intent is not known to be on the disk is never sent. A ``DiskFullError`` says
                how many of the frames are written; it refuses nothing, for there may be room again.
        """
        if self._failure is not None:
            raise self._failure
        try:
            _write_all(self._fd, [piece for frame_pieces in frames for piece in frame_pieces])
        except OSError as error:
            raise self._truncate(frames, error) from error
        self.size_bytes += sum(map(_frame_bytes, frames))
        if durable:
            self.fsync()

    def fsync(self) -> None:
        """Wait until what was written is on the disk.

        Raises:
            StorageError: It is not known to be there; the journal refuses what comes after.
        """
        try:
            self.fdatasync()
        except OSError as error:
            self._failure = self._write_error(error)
            raise self._failure from error

    def fdatasync(self) -> None:
        """Wait until what was written is on the disk."""
        size_bytes = self.size_bytes
        _fdatasync(self._fd)
        if self._synced_fd is not None:
            with suppress(OSError):  # an earlier length is true as well
                os.pwrite(self._synced_fd, b"%020d" % size_bytes, 0)

    def _write_error(self, error: OSError) -> StorageError:
        return StorageError(f"writing the journal {self.path}: {error.strerror}", hint=DISK_HINT)

    def _truncate(self, frames: Sequence[tuple[bytes, ...]], error: OSError) -> StorageError:
        """Keep the frames that were written whole: they may hold audio that is paid for."""
        self._failure = self._write_error(error)
        try:
            file_bytes = os.fstat(self._fd).st_size
            ends = list(itertools.accumulate(map(_frame_bytes, frames), initial=self.size_bytes))
            frames_written = max(0, sum(end <= file_bytes for end in ends) - 1)
            os.ftruncate(self._fd, min(ends[frames_written], file_bytes))
        except OSError:  # reading stops at a torn frame all the same
            return self._failure
        if error.errno in DISK_FULL_ERRNOS:
            self.size_bytes, self._failure = ends[frames_written], None
            return DiskFullError(f"writing the journal {self.path}: {error.strerror}", frames_written=frames_written)
        return self._failure

    def close(self) -> None:
        """Close the file; what was written stays."""
        os.close(self._fd)
        if self._synced_fd is not None:
            os.close(self._synced_fd)


def read_synced_bytes(path: Path) -> int:
    """Return how many bytes of a journal were on the disk, at least; 0 where nothing tells it."""
    try:
        fd = os.open(path.with_suffix(_SYNCED_SUFFIX), OPEN_EXISTING)
        try:
            text = os.read(fd, 32)
        finally:
            os.close(fd)
    except OSError:
        return 0
    size_bytes = int(text) if text.isdigit() else 0
    return size_bytes if size_bytes <= _MAX_JOURNAL_BYTES else 0


def remove_journal(path: Path) -> None:
    """Remove a journal, if it is there."""
    with suppress(OSError):
        path.with_suffix(_SYNCED_SUFFIX).unlink()
    path.unlink(missing_ok=True)


def encode_frame(record: bytes, payload: bytes = b"") -> tuple[bytes, ...]:
    """Return the pieces of one frame; the payload is not copied."""
    lengths = _LENGTHS.pack(len(record), len(payload), crc32(payload) if payload else 0)
    header = lengths + record_crc(lengths, record).to_bytes(4, "little") + record
    return (header, payload) if payload else (header,)


_GIL_HELD_BYTES = 5_120
"""zlib lets the interpreter's lock go for more than this at a time. Under load a thread waits up to 5 ms to get it
back, hundreds of times longer than the sum takes (measured: 0.3 ms a row against 0.02)."""


def crc32(payload: bytes) -> int:
    """Return the CRC-32 of audio, in pieces too small to let the interpreter's lock go."""
    crc = 0
    with memoryview(payload) as view:
        for start in range(0, len(view), _GIL_HELD_BYTES):
            crc = zlib.crc32(view[start : start + _GIL_HELD_BYTES], crc)
    return crc


def record_crc(header: bytes, record: bytes) -> int:
    """Return the CRC of a frame's record and of its header, as far as that goes before this sum."""
    return zlib.crc32(record, zlib.crc32(header[: _LENGTHS.size]))


_MAX_PIECES = 512  # Linux and macOS take 1,024 in one call
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has none


def _frame_bytes(pieces: tuple[bytes, ...]) -> int:
    return sum(map(len, pieces))


def _write_all(fd: int, pieces: list[bytes]) -> None:
    for first in range(0, len(pieces), _MAX_PIECES):
        batch = pieces[first : first + _MAX_PIECES]
        batch_bytes = sum(map(len, batch))
        written_bytes = os.writev(fd, batch)
        if written_bytes < batch_bytes:  # a full disk, a file size limit or a very large batch: go on to learn which
            rest = memoryview(b"".join(batch))[written_bytes:]
            while rest:
                rest = rest[os.write(fd, rest) :]


OnWritten = Callable[[StorageError | None], None]
"""Takes the error, or None."""

WriteOutcome = tuple[OnWritten | None, StorageError | None]
"""Who is told, and what became of the record."""


@dataclass(slots=True)
class Append:
    """One record on its way to a journal, encoded where it was made, so that a mistake never stops the writer.

    ``durable`` waits for the disk, not only for the operating system. ``on_written`` is called by way of ``deliver``,
    with the error or None; None when nobody waits.
    """

    journal: Journal
    record: bytes
    payload: bytes = b""
    durable: bool = False
    on_written: OnWritten | None = None


class JournalWriter:
    """One thread that writes for all open journals, and has one batch at a time: what is put meanwhile is the next.

    No timers: a lone record is written at once, and under load many share one write and one fdatasync. Whoever waits
    for a write only is told before the disk is waited for. An intent is told when all that was written before is on the
    disk, in whichever journal: a power cut, too, costs no more answers than there are places.

    When the disk is full it refuses intents from then on, so that nothing new is sent, and writes what else comes into
    the room that the disk reserve gave back.

    Args:
        deliver: Runs a function where ``put`` is called, such as an event loop's ``call_soon_threadsafe``; never
            raises. Called once for each batch, and before that for what need not wait for the disk.
        reserve: Space for what is in flight; None is none.
        call_soon: Runs a function when those that put have had their turn, as an event loop's ``call_soon`` does; what
            they put until then is one batch. By default that is at once.
    """

    def __init__(
        self,
        deliver: Callable[[Callable[[], None]], object],
        reserve: DiskReserve | None = None,
        call_soon: Callable[[Callable[[], None]], object] = lambda hand_over: hand_over(),
    ) -> None:
        self._deliver = deliver
        self._reserve = reserve
        self._call_soon = call_soon
        self._disk_full: DiskFullError | None = None
        self._pending: list[Append] = []
        self._is_busy = False
        self._unsynced: dict[int, Journal] = {}
        self._hand_over_lock = threading.Lock()
        self._queue: queue.SimpleQueue[list[Append] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    def put(self, append: Append) -> None:
        """Queue a record; records of one journal are written in the order in which they were put."""
        self._pending.append(append)
        if len(self._pending) == 1 and not self._is_busy:
            self._call_soon(self._hand_over)

    def _hand_over(self) -> None:
        with self._hand_over_lock:  # the thread that closes is not always the one that puts
            if self._pending:
                self._is_busy = True
                self._queue.put(self._pending)
                self._pending = []

    def _finish_batch(self, outcomes: Sequence[WriteOutcome]) -> None:
        self._is_busy = False
        self._hand_over()
        _notify(outcomes)

    def close(self) -> None:
        """Write what was put, then end the thread. Nothing is put any more."""
        self._hand_over()
        self._queue.put(None)
        self._thread.join()
        if self._reserve is not None:
            self._reserve.release()

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            self._write_batch(batch)

    def _write_batch(self, appends: list[Append]) -> None:
        by_journal: dict[int, list[Append]] = {}
        for append in appends:
            by_journal.setdefault(id(append.journal), []).append(append)
        outcomes: list[WriteOutcome] = []
        intents: list[Append] = []
        for group in by_journal.values():
            for append, error in zip(group, self._write_group(group), strict=True):
                if append.durable and error is None:
                    intents.append(append)
                else:
                    outcomes.append((append.on_written, error))
                if error is None:
                    self._unsynced[id(append.journal)] = append.journal
        if intents:
            if any(on_written for on_written, _ in outcomes):
                self._deliver(partial(_notify, outcomes))
            errors = self._fsync_all()
            outcomes = [(append.on_written, errors.get(id(append.journal))) for append in intents]
        self._deliver(partial(self._finish_batch, outcomes))

    def _fsync_all(self) -> dict[int, StorageError]:
        """Put all that was written on the disk; returns the errors of journals of which that is not known."""
        errors: dict[int, StorageError] = {}
        for key, journal in self._unsynced.items():
            try:
                journal.fsync()
            except StorageError as error:  # of one that was synced and closed meanwhile, it concerns nobody
                errors[key] = error
        self._unsynced.clear()
        return errors

    def _write_group(self, appends: list[Append]) -> list[StorageError | None]:
        """Write records of one journal, and return what became of each; none is on the disk for sure."""
        if self._disk_full is not None:
            return self._write_on_full_disk(appends, self._disk_full)
        try:
            appends[0].journal.append(_encode_frames(appends), durable=False)
        except DiskFullError as error:
            self._disk_full = error
            if self._reserve is not None:
                self._reserve.release()
            return self._write_on_full_disk(appends, error, appends[: error.frames_written])
        except StorageError as error:
            return [error] * len(appends)
        return [None] * len(appends)

    @staticmethod
    def _write_on_full_disk(
        appends: list[Append], disk_full: DiskFullError, written: Sequence[Append] = ()
    ) -> list[StorageError | None]:
        """Refuse intents, and write the others into what room there is; some of them may be written already."""
        written_ids = set(map(id, written))
        rest = [append for append in appends if not append.durable and id(append) not in written_ids]
        failure: StorageError | None = None
        try:
            appends[0].journal.append(_encode_frames(rest), durable=False)
        except StorageError as error:
            failure = error
        # An intent that is there would be unknown if it were refused: it is as good as any before it.
        return [None if id(append) in written_ids else disk_full if append.durable else failure for append in appends]


def _notify(outcomes: Sequence[WriteOutcome]) -> None:
    for on_written, error in outcomes:
        if on_written is not None:
            on_written(error)


def _encode_frames(appends: list[Append]) -> list[tuple[bytes, ...]]:
    return [encode_frame(append.record, append.payload) for append in appends]
