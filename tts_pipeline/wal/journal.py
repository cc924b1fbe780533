"""Write journals, the append-only records of parts that are not published yet, in one thread.

A journal is a file of frames. A frame is a header of 16 bytes (length of the record, length of the payload, CRC-32 of
the payload, CRC-32 of these three and the record; little endian), then the record as JSON, then the payload (audio, or
nothing). ``records`` defines the kinds of records. An intent is on the disk (fdatasync) before its request is sent.

A kill can only tear the tail: everything before the last fdatasync is whole, and nobody acted on the bytes after it. A
file beside the journal, whose name ends in ``.synced``, holds the journal's length at that fdatasync: a shorter
journal was cut later.
"""

from __future__ import annotations

import errno
import itertools
import os
import queue
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec import Struct

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
    """The disk has no room for all of the frames; the first ``frames_written`` are in the journal."""

    def __init__(self, message: str, *, frames_written: int) -> None:
        super().__init__(message, hint=DISK_HINT)
        self.frames_written = frames_written


class Journal:
    """An open journal file; only the writer's thread writes to it.

    ``size_bytes`` is the length of the whole frames, which never change again; any thread may read it. ``synced_fd``
    is the file that receives the synced length; None writes no such file.
    """

    def __init__(self, path: Path, fd: int, size_bytes: int, synced_fd: int | None = None) -> None:
        self.path = path
        self._fd = fd
        self._synced_fd = synced_fd
        self.size_bytes = size_bytes
        self._failure: StorageError | None = None
        self._close_lock = threading.RLock()
        self._is_closed = False

    @classmethod
    def create(cls, path: Path, header: JournalHeader) -> Journal:
        """Create a journal that only its owner can read; on return its header and its name are on the disk."""
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
        """Write frames; with ``durable``, also wait until they are on the disk.

        Raises:
            StorageError: The write failed. The file is cut back to its last whole frame and refuses all later frames:
                an attempt whose intent is perhaps not on the disk is never sent. After a ``DiskFullError``, which
                states how many frames were written, the journal accepts frames: the disk may have room again.
        """
        if self._failure is not None:
            raise self._failure
        with self._close_lock:
            if self._is_closed:
                raise StorageError(f"writing the journal {self.path}: it is closed", hint=DISK_HINT)
            try:
                _write_all(self._fd, [piece for frame_pieces in frames for piece in frame_pieces])
            except OSError as error:
                raise self._truncate(frames, error) from error
            self.size_bytes += sum(map(_frame_bytes, frames))
        if durable:
            self.fsync()

    def fsync(self) -> None:
        """Wait until all frames are on the disk.

        Raises:
            StorageError: The frames are perhaps not on the disk; the journal refuses all later frames.
        """
        try:
            self.fdatasync()
        except OSError as error:
            self._failure = self._write_error(error)
            raise self._failure from error

    def fdatasync(self) -> None:
        """Wait until all frames are on the disk, and record the synced length. Raises OSError."""
        with self._close_lock:
            if self._is_closed:  # its descriptors may be those of other files by now
                raise OSError(errno.EBADF, "it is closed")
            size_bytes = self.size_bytes
            _fdatasync(self._fd)
            if self._synced_fd is not None:
                with suppress(OSError):  # an earlier length is still true
                    os.pwrite(self._synced_fd, b"%020d" % size_bytes, 0)

    def _write_error(self, error: OSError) -> StorageError:
        return StorageError(f"writing the journal {self.path}: {error.strerror}", hint=DISK_HINT)

    def _truncate(self, frames: Sequence[tuple[bytes, ...]], error: OSError) -> StorageError:
        """Cut the file back to its whole frames, which may hold paid audio; return the error to raise."""
        self._failure = self._write_error(error)
        try:
            file_bytes = os.fstat(self._fd).st_size
            ends = list(itertools.accumulate(map(_frame_bytes, frames), initial=self.size_bytes))
            frames_written = max(0, sum(end <= file_bytes for end in ends) - 1)
            os.ftruncate(self._fd, min(ends[frames_written], file_bytes))
        except OSError:  # no harm: replay ignores a torn frame
            return self._failure
        if error.errno in DISK_FULL_ERRNOS:
            self.size_bytes, self._failure = ends[frames_written], None
            return DiskFullError(f"writing the journal {self.path}: {error.strerror}", frames_written=frames_written)
        return self._failure

    def close(self) -> None:
        """Close the file, once the writer's thread is not about to sync it."""
        with self._close_lock:
            self._is_closed = True
            os.close(self._fd)
            if self._synced_fd is not None:
                os.close(self._synced_fd)


def read_synced_bytes(path: Path) -> int:
    """Return the number of bytes of a journal that were on the disk, at least; 0 when it is not known."""
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
    """Remove a journal, if it exists."""
    with suppress(OSError):
        path.with_suffix(_SYNCED_SUFFIX).unlink()
    path.unlink(missing_ok=True)


def encode_frame(record: bytes, payload: bytes = b"") -> tuple[bytes, ...]:
    """Return the pieces of one frame; the payload is not copied."""
    lengths = _LENGTHS.pack(len(record), len(payload), crc32(payload) if payload else 0)
    header = lengths + record_crc(lengths, record).to_bytes(4, "little") + record
    return (header, payload) if payload else (header,)


_GIL_HELD_BYTES = 5_120
"""zlib releases the GIL for larger inputs. Under load a thread waits up to 5 ms to get the GIL back, hundreds of times
longer than the checksum takes (measured: 0.3 ms a row against 0.02)."""


def crc32(payload: bytes) -> int:
    """Return the CRC-32 of audio, computed in pieces too small for zlib to release the GIL."""
    crc = 0
    with memoryview(payload) as view:
        for start in range(0, len(view), _GIL_HELD_BYTES):
            crc = zlib.crc32(view[start : start + _GIL_HELD_BYTES], crc)
    return crc


def record_crc(header: bytes, record: bytes) -> int:
    """Return the CRC-32 of a frame's record and of the header's fields before this checksum."""
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
        if written_bytes < batch_bytes:  # a full disk, a file size limit or a very large batch: the next write shows
            rest = memoryview(b"".join(batch))[written_bytes:]
            while rest:
                rest = rest[os.write(fd, rest) :]


OnWritten = Callable[[StorageError | None], None]
"""A callback that takes the error of a write, or None."""

WriteOutcome = tuple[OnWritten | None, StorageError | None]
"""The callback of a record, and its error; None without a callback or without an error."""


class JournalEntry(Struct, eq=False):
    """One record for a journal, already encoded by its maker, so that a mistake in it never stops the writer.

    ``durable`` waits for the disk, not only for the operating system. The writer calls ``on_written`` through its
    ``deliver``, with the error or None; ``on_written`` is None when nobody waits. While a record is pending (see
    ``JournalWriter.is_pending``), its maker may still change it.
    """

    journal: Journal
    record: bytes
    payload: bytes = b""
    durable: bool = False
    on_written: OnWritten | None = None
    batch: int = 0


class JournalWriter:
    """One thread that writes to all open journals, one batch at a time: records put meanwhile form the next batch.

    It uses no timers: a lone record is written immediately, and under load many records share one write and one
    fdatasync. The callbacks of a batch run together: each wake-up of the event loop costs switches of threads. The
    callback of an intent runs when all earlier records of all journals are on the disk: a power cut, too, costs no more
    answers than the run has requests in flight.

    Once the disk is full, the writer refuses intents, so that nothing new is sent, and writes all other records into
    the space that the disk reserve released.

    Args:
        deliver: Runs a function in the thread that calls ``put``, such as an event loop's ``call_soon_threadsafe``;
            must not raise. Called once per batch.
        reserve: Disk space for the records of requests in flight; None reserves nothing.
        call_soon: Runs a function after the current callers of ``put``, as an event loop's ``call_soon`` does; all
            records put until then are one batch. The default runs it immediately.
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
        self._pending: list[JournalEntry] = []
        self._batch = 1
        self._is_busy = False
        self._unsynced: dict[int, Journal] = {}
        self._hand_over_lock = threading.Lock()
        self._queue: queue.SimpleQueue[list[JournalEntry] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    def put(self, entry: JournalEntry) -> None:
        """Queue a record; the records of one journal are written in the order of the calls."""
        entry.batch = self._batch
        self._pending.append(entry)
        if len(self._pending) == 1 and not self._is_busy:
            self._call_soon(self._hand_over)

    def is_pending(self, entry: JournalEntry) -> bool:
        """Return whether a record that was put is not on its way yet; only for the thread that calls ``put``."""
        return entry.batch == self._batch

    def _hand_over(self) -> None:
        with self._hand_over_lock:  # `close` may run in another thread than `put`
            if self._pending:
                self._is_busy = True
                self._batch += 1
                self._queue.put(self._pending)
                self._pending = []

    def _finish_batch(self, outcomes: Sequence[WriteOutcome]) -> None:
        self._is_busy = False
        self._hand_over()
        _notify(outcomes)

    def close(self) -> None:
        """Write all queued records, then end the thread; ``put`` must not be called afterwards."""
        self._hand_over()
        self._queue.put(None)
        self._thread.join()
        if self._reserve is not None:
            self._reserve.release()

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            self._write_batch(batch)

    def _write_batch(self, entries: list[JournalEntry]) -> None:
        by_journal: dict[int, list[JournalEntry]] = {}
        for entry in entries:
            by_journal.setdefault(id(entry.journal), []).append(entry)
        outcomes: list[WriteOutcome] = []
        intents: list[JournalEntry] = []
        for group in by_journal.values():
            for entry, error in zip(group, self._write_group(group), strict=True):
                if entry.durable and error is None:
                    intents.append(entry)
                elif entry.on_written is not None:
                    outcomes.append((entry.on_written, error))
                if error is None:
                    self._unsynced[id(entry.journal)] = entry.journal
        if intents:
            errors = self._fsync_all()
            outcomes += [(entry.on_written, errors.get(id(entry.journal))) for entry in intents]
        self._deliver(partial(self._finish_batch, outcomes))

    def _fsync_all(self) -> dict[int, StorageError]:
        """Sync all journals; return the errors of those whose frames are perhaps not on the disk."""
        errors: dict[int, StorageError] = {}
        for key, journal in self._unsynced.items():
            try:
                journal.fsync()
            except StorageError as error:  # nobody waits for a journal that was synced and closed meanwhile
                errors[key] = error
        self._unsynced.clear()
        return errors

    def _write_group(self, entries: list[JournalEntry]) -> list[StorageError | None]:
        """Write records of one journal, without a sync; return the error of each, or None."""
        if self._disk_full is not None:
            return self._write_on_full_disk(entries, self._disk_full)
        try:
            entries[0].journal.append(_encode_frames(entries), durable=False)
        except DiskFullError as error:
            self._disk_full = error
            if self._reserve is not None:
                self._reserve.release()
            return self._write_on_full_disk(entries, error, entries[: error.frames_written])
        except StorageError as error:
            return [error] * len(entries)
        return [None] * len(entries)

    @staticmethod
    def _write_on_full_disk(
        entries: list[JournalEntry], disk_full: DiskFullError, written: Sequence[JournalEntry] = ()
    ) -> list[StorageError | None]:
        """Refuse intents and write all other records into the space that is left; skip those already ``written``."""
        written_ids = set(map(id, written))
        rest = [entry for entry in entries if not entry.durable and id(entry) not in written_ids]
        failure: StorageError | None = None
        try:
            entries[0].journal.append(_encode_frames(rest), durable=False)
        except StorageError as error:
            failure = error
        # A written intent is accepted: refused, it would count as an attempt with an unknown outcome.
        return [None if id(entry) in written_ids else disk_full if entry.durable else failure for entry in entries]


def _notify(outcomes: Sequence[WriteOutcome]) -> None:
    for on_written, error in outcomes:
        if on_written is not None:
            on_written(error)


def _encode_frames(entries: list[JournalEntry]) -> list[tuple[bytes, ...]]:
    return [encode_frame(entry.record, entry.payload) for entry in entries]
