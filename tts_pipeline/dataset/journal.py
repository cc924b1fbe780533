"""The journal: the append-only record of a part that is not published yet, and the thread that writes it.

A journal is a file of frames. A frame is a header of 16 bytes (length of its record, length of its payload, CRC-32 of
the payload, CRC-32 of these three and the record; little endian), then the record as JSON, then the payload (audio, or
nothing). The first record names the journal and its format. Records, by ``kind``:

``intent``   an attempt, on the disk (fdatasync) before its request is sent; with the segments' boundaries, once
``settled``  how an attempt ended; with the answer's audio as payload when there is one
``discarded``  an answer is not kept after all, because a later one of the same segment is better
``speech``   an utterance is done; its audio is the payload, or that of the answer with the same segment when empty
``reject``   an utterance failed for good
``lost``     the end of a copy that another machine made: what the journal may have spent that is not in it

A kill can only tear the tail: everything before the last fdatasync is whole, and nothing after it was acted upon. How
long the journal was then is written to a file beside it, whose name ends in ``.synced``: a journal that is shorter was
cut later.
"""

from __future__ import annotations

import itertools
import os
import queue
import struct
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tts_pipeline.dataset.ballast import DISK_IS_FULL, Ballast
from tts_pipeline.dataset.safe_folder import OLD_FILE, create_file, make_folder, sync_path
from tts_pipeline.dataset.store import DISK_HINT, storage_errors
from tts_pipeline.errors import StorageError

FORMAT_VERSION = 1
FRAME = struct.Struct("<IIII")
_LENGTHS = struct.Struct("<III")
SUFFIX = ".journal"
_SYNCED_SUFFIX = ".synced"
_MOST_BYTES = 2**40


def _plain(value: object) -> object:
    """Give orjson what it does not know: money as text, a named tuple as an object."""
    if isinstance(value, Decimal):
        return str(value)
    as_object: Callable[[], object] | None = getattr(value, "_asdict", None)
    if as_object is not None:
        return as_object()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not for a journal: {type(value).__name__}")


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON; dataclasses and named tuples become objects, money becomes text."""
    return orjson.dumps(record, default=_plain)


class DiskFullError(StorageError):
    """There is no room for all of some frames.

    Args:
        message: As for any error.
        kept: How many of the frames were written.
    """

    def __init__(self, message: str, *, kept: int) -> None:
        super().__init__(message, hint=DISK_HINT)
        self.kept = kept


class Journal:
    """An open journal file; only the writer's thread writes to it.

    Args:
        path: The file.
        descriptor: Opened for appending.
        size_bytes: Length of what is known to be whole.
        synced: Descriptor of the file that tells how much of it is on the disk; None is without.
    """

    def __init__(self, path: Path, descriptor: int, size_bytes: int, synced: int | None = None) -> None:
        self.path = path
        self._descriptor = descriptor
        self._synced = synced
        self._size_bytes = size_bytes
        self._failed: StorageError | None = None

    @property
    def size_bytes(self) -> int:
        """Length of what is whole, and will never change; to be read from any thread."""
        return self._size_bytes

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any]) -> Journal:
        """Make a new journal, readable by its owner only, whose header and name are on the disk on return.

        Raises:
            StorageError: The disk is full or cannot be written.
        """
        with storage_errors(f"creating the journal {path}"):
            make_folder(path.parent)
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
            journal = cls(path, descriptor, 0, create_file(path.with_suffix(_SYNCED_SUFFIX)))
            opening = encode_record({"kind": "open", "format": FORMAT_VERSION, **header})
            try:
                journal.append([frame(opening)], durable=True)
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
        if self._failed is not None:
            raise self._failed
        try:
            _write_all(self._descriptor, [piece for one in frames for piece in one])
        except OSError as error:
            raise self._cut_back(frames, error) from error
        self._size_bytes += sum(map(_length, frames))
        if durable:
            self.harden()

    def harden(self) -> None:
        """Wait until what was written is on the disk.

        Raises:
            StorageError: It is not known to be there; the journal refuses what comes after.
        """
        try:
            self.sync()
        except OSError as error:
            self._failed = self._told(error)
            raise self._failed from error

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        size_bytes = self._size_bytes
        _fdatasync(self._descriptor)
        if self._synced is not None:
            with suppress(OSError):  # a length that is too small only tells less
                os.pwrite(self._synced, b"%020d" % size_bytes, 0)

    def _told(self, error: OSError) -> StorageError:
        return StorageError(f"writing the journal {self.path}: {error.strerror}", hint=DISK_HINT)

    def _cut_back(self, frames: Sequence[tuple[bytes, ...]], error: OSError) -> StorageError:
        """Keep the frames that were written whole: they may hold audio that is paid for."""
        self._failed = self._told(error)
        try:
            written = os.fstat(self._descriptor).st_size
            ends = list(itertools.accumulate(map(_length, frames), initial=self._size_bytes))
            kept = max(0, sum(end <= written for end in ends) - 1)
            os.ftruncate(self._descriptor, min(ends[kept], written))
        except OSError:  # reading stops at a torn frame all the same
            return self._failed
        if error.errno in DISK_IS_FULL:
            self._size_bytes, self._failed = ends[kept], None
            return DiskFullError(f"writing the journal {self.path}: {error.strerror}", kept=kept)
        return self._failed

    def close(self) -> None:
        """Close the file; what was written stays."""
        os.close(self._descriptor)
        if self._synced is not None:
            os.close(self._synced)


def synced_bytes(path: Path) -> int:
    """Return how many bytes of a journal were on the disk, at least; 0 where nothing tells."""
    try:
        descriptor = os.open(path.with_suffix(_SYNCED_SUFFIX), OLD_FILE)
        try:
            text = os.read(descriptor, 32)
        finally:
            os.close(descriptor)
    except OSError:
        return 0
    size_bytes = int(text) if text.isdigit() else 0
    return size_bytes if size_bytes <= _MOST_BYTES else 0


def remove_journal(path: Path) -> None:
    """Remove a journal, if it is there."""
    with suppress(OSError):
        path.with_suffix(_SYNCED_SUFFIX).unlink()
    path.unlink(missing_ok=True)


def frame(record: bytes, payload: bytes = b"") -> tuple[bytes, ...]:
    """Return the pieces of one frame; the payload is not copied."""
    lengths = _LENGTHS.pack(len(record), len(payload), crc_of(payload) if payload else 0)
    head = lengths + record_crc(lengths, record).to_bytes(4, "little") + record
    return (head, payload) if payload else (head,)


_HELD_BYTES = 5_120
"""zlib lets the interpreter's lock go for more than this at a time. Under load a thread waits up to 5 ms to get it
back, hundreds of times longer than the sum takes (measured: 0.3 ms a row against 0.02)."""


def crc_of(payload: bytes) -> int:
    """Return the CRC-32 of audio, in pieces too small to let the interpreter's lock go."""
    crc = 0
    with memoryview(payload) as view:
        for start in range(0, len(view), _HELD_BYTES):
            crc = zlib.crc32(view[start : start + _HELD_BYTES], crc)
    return crc


def record_crc(head: bytes, record: bytes) -> int:
    """Return the CRC of a frame's record and of its header, as far as that goes before this sum."""
    return zlib.crc32(record, zlib.crc32(head[: _LENGTHS.size]))


_MOST_PIECES = 512  # Linux and macOS take 1,024 in one call
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has none


def _length(one: tuple[bytes, ...]) -> int:
    return sum(map(len, one))


def _write_all(descriptor: int, pieces: list[bytes]) -> None:
    for first in range(0, len(pieces), _MOST_PIECES):
        some = pieces[first : first + _MOST_PIECES]
        length = sum(map(len, some))
        done = os.writev(descriptor, some)
        if done < length:  # a full disk, a file size limit or a very large batch: go on to learn which
            rest = memoryview(b"".join(some))[done:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]


Done = Callable[[StorageError | None], None]
"""Takes the error, or None."""

Told = tuple[Done | None, StorageError | None]
"""Who is told, and what became of the record."""


@dataclass(slots=True)
class Write:
    """One record on its way to a journal.

    Args:
        journal: Where to.
        record: What, encoded where it was made, so that a mistake shows there and never stops the writer.
        payload: Audio, or nothing.
        durable: Whether it must be on the disk, not only with the operating system.
        done: Called by way of ``deliver``, with the error or None; None when nobody waits.
    """

    journal: Journal
    record: bytes
    payload: bytes = b""
    durable: bool = False
    done: Done | None = None


class JournalWriter:
    """One thread that writes for all open journals, and has one batch at a time: what is put meanwhile is the next.

    No timers: a lone record is written at once, and under load many share one write and one fdatasync. Whoever waits
    for a write only is told before the disk is waited for. An intent is told when all that was written before is on the
    disk, in whichever journal: a power cut, too, costs no more answers than there are places.

    When the disk is full it refuses intents from then on, so that nothing new is sent, and writes what else comes into
    the room that the ballast has kept.

    Args:
        deliver: Runs a function where ``put`` is called, such as an event loop's ``call_soon_threadsafe``; never
            raises. Called once for each batch, and before that for what need not wait for the disk.
        ballast: Space for what is in flight; None is none.
        soon: Runs a function when those that put have had their turn, such as an event loop's ``call_soon``; what they
            put until then is one batch. By default that is at once.
    """

    def __init__(
        self,
        deliver: Callable[[Callable[[], None]], object],
        ballast: Ballast | None = None,
        soon: Callable[[Callable[[], None]], object] = lambda hand_over: hand_over(),
    ) -> None:
        self._deliver = deliver
        self._ballast = ballast
        self._soon = soon
        self._full: DiskFullError | None = None
        self._gathered: list[Write] = []
        self._is_busy = False
        self._unsynced: dict[int, Journal] = {}
        self._handing = threading.Lock()
        self._queue: queue.SimpleQueue[list[Write] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal-writer", daemon=True)
        self._thread.start()

    def put(self, write: Write) -> None:
        """Queue a record; records of one journal are written in the order in which they were put."""
        self._gathered.append(write)
        if len(self._gathered) == 1 and not self._is_busy:
            self._soon(self._hand_over)

    def _hand_over(self) -> None:
        with self._handing:  # the thread that closes is not always the one that puts
            if self._gathered:
                self._is_busy = True
                self._queue.put(self._gathered)
                self._gathered = []

    def _finish(self, told: Sequence[Told]) -> None:
        self._is_busy = False
        self._hand_over()
        _tell(told)

    def close(self) -> None:
        """Write what was put, then end the thread. Nothing is put any more."""
        self._hand_over()
        self._queue.put(None)
        self._thread.join()
        if self._ballast is not None:
            self._ballast.release()

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            self._write(batch)

    def _write(self, writes: list[Write]) -> None:
        by_journal: dict[int, list[Write]] = {}
        for write in writes:
            by_journal.setdefault(id(write.journal), []).append(write)
        told: list[Told] = []
        intents: list[Write] = []
        for some in by_journal.values():
            for write, error in zip(some, self._write_some(some), strict=True):
                if write.durable and error is None:
                    intents.append(write)
                else:
                    told.append((write.done, error))
                if error is None:
                    self._unsynced[id(write.journal)] = write.journal
        if intents:
            if any(done for done, _ in told):
                self._deliver(partial(_tell, told))
            unsafe = self._harden()
            told = [(write.done, unsafe.get(id(write.journal))) for write in intents]
        self._deliver(partial(self._finish, told))

    def _harden(self) -> dict[int, StorageError]:
        """Put all that was written on the disk; returns the errors of journals of which that is not known."""
        unsafe: dict[int, StorageError] = {}
        for place, journal in self._unsynced.items():
            try:
                journal.harden()
            except StorageError as error:  # of one that was synced and closed meanwhile, it concerns nobody
                unsafe[place] = error
        self._unsynced.clear()
        return unsafe

    def _write_some(self, writes: list[Write]) -> list[StorageError | None]:
        """Write records of one journal, and return what became of each; none is on the disk for sure."""
        if self._full is not None:
            return self._write_what_is_paid_for(writes, self._full)
        try:
            writes[0].journal.append(_frames(writes), durable=False)
        except DiskFullError as error:
            self._full = error
            if self._ballast is not None:
                self._ballast.release()
            return self._write_what_is_paid_for(writes, error, writes[: error.kept])
        except StorageError as error:
            return [error] * len(writes)
        return [None] * len(writes)

    @staticmethod
    def _write_what_is_paid_for(
        writes: list[Write], full: DiskFullError, written: Sequence[Write] = ()
    ) -> list[StorageError | None]:
        """Refuse intents, and write the others into what room there is; some of them may be written already."""
        there = set(map(id, written))
        rest = [write for write in writes if not write.durable and id(write) not in there]
        failed: StorageError | None = None
        try:
            writes[0].journal.append(_frames(rest), durable=False)
        except StorageError as error:
            failed = error
        # An intent that is there would be unknown if it were refused: it is as good as any before it.
        return [None if id(write) in there else full if write.durable else failed for write in writes]


def _tell(told: Sequence[Told]) -> None:
    for done, error in told:
        if done is not None:
            done(error)


def _frames(writes: list[Write]) -> list[tuple[bytes, ...]]:
    return [frame(write.record, write.payload) for write in writes]
