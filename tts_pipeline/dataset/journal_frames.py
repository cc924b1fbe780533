"""The frames of a journal file, read back: also those that stand behind damage."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from tts_pipeline.dataset.journal import FRAME, record_crc
from tts_pipeline.dataset.store import storage_errors

READ_BYTES = 256 * 1024
RECORDS_BYTES = 64 * 1024
"""Read at a time where payloads are passed over: the records of a few short answers, and little of a long one."""

_RECORD_START = b'{"kind":"'
"""What every record begins with, in every version: a frame begins ``FRAME.size`` bytes before it."""


class Blob(NamedTuple):
    """Bytes that lie in a journal: read when they are needed, so that memory stays flat."""

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Return the bytes."""
        with storage_errors(f"reading the journal {self.path}"), self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


class Frame(NamedTuple):
    """A record that is whole.

    Args:
        start: Offset in the file.
        record: What it says.
        blob: Its payload.
        is_whole: Whether the payload is what was written; True where it was not looked at.
    """

    start: int
    record: dict[str, Any]
    blob: Blob
    is_whole: bool

    @property
    def end(self) -> int:
        """Offset of what stands behind it."""
        return self.blob.offset + self.blob.length


class Gap(NamedTuple):
    """Bytes that are no whole record, and no torn tail: the file was damaged after it was written."""

    start: int
    end: int


def read_frames(path: Path, file: BinaryIO, *, check_payloads: bool) -> Iterator[Frame | Gap]:
    """Yield the frames of a journal in order, and the gaps between them; a torn tail is neither.

    Args:
        path: The journal.
        file: The same, opened.
        check_payloads: False where this process wrote it: then only the records are read.
    """
    size_bytes, at = path.stat().st_size, 0
    while at < size_bytes:
        frame = _frame_at(path, file, at, size_bytes, check_payloads=check_payloads)
        if frame is None:
            behind = _next_start(file, at + 1, size_bytes)
            if behind is not None or not _is_torn(file, at):
                yield Gap(at, size_bytes if behind is None else behind)
            if behind is None:
                return
            at = behind
            file.seek(at)
        else:
            yield frame
            at = frame.end


def _frame_at(path: Path, file: BinaryIO, at: int, size_bytes: int, *, check_payloads: bool) -> Frame | None:
    """Read the frame at a file's position, which is ``at``; None when it is not whole."""
    read = _record_at(file, at, size_bytes)
    if read is None:
        return None
    record, payload_length, payload_crc, offset = read
    is_whole = True
    if check_payloads:
        is_whole = _crc_of(file, payload_length) == payload_crc
    elif payload_length:
        file.seek(payload_length, os.SEEK_CUR)
    return Frame(at, record, Blob(path, offset, payload_length), is_whole)


def _record_at(file: BinaryIO, at: int, size_bytes: int) -> tuple[dict[str, Any], int, int, int] | None:
    head = file.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    record_length, payload_length, payload_crc, checksum = FRAME.unpack(head)
    offset = at + FRAME.size + record_length
    if record_length == 0 or offset + payload_length > size_bytes:
        return None
    record = file.read(record_length)
    if record_crc(head, record) != checksum:
        return None
    try:
        values = orjson.loads(record)
    except orjson.JSONDecodeError:
        return None
    return (values, payload_length, payload_crc, offset) if isinstance(values, dict) else None


def _crc_of(file: BinaryIO, length: int) -> int:
    crc = 0
    while length and (piece := file.read(min(length, READ_BYTES))):
        crc = zlib.crc32(piece, crc)
        length -= len(piece)
    return crc


def _next_start(file: BinaryIO, at: int, size_bytes: int) -> int | None:
    """Return where the first frame from ``at`` on begins whose record is whole; None when there is none."""
    for found in _places_of(file, _RECORD_START, at + FRAME.size):
        start = found - FRAME.size
        file.seek(start)
        if _record_at(file, start, size_bytes) is not None:
            return start
    return None


def _places_of(file: BinaryIO, wanted: bytes, at: int) -> Iterator[int]:
    """Yield where some bytes stand in a file; whoever takes them may move in it."""
    while True:
        file.seek(at)
        piece = file.read(READ_BYTES)
        place = piece.find(wanted)
        while place >= 0:
            yield at + place
            place = piece.find(wanted, place + 1)
        if len(piece) < READ_BYTES:
            return
        at += len(piece) - len(wanted) + 1


def _is_torn(file: BinaryIO, at: int) -> bool:
    """Return whether what stands from ``at`` on is the beginning of a frame: a kill tears no other way.

    After a power cut zeros may stand behind it, where a disk had made room.
    """
    file.seek(at)
    rest = file.read().rstrip(b"\0")
    if len(rest) <= FRAME.size:
        return True
    record_length, payload_length, _, checksum = FRAME.unpack(rest[: FRAME.size])
    body = rest[FRAME.size :]
    if len(body) >= record_length:
        is_record: bool = record_crc(rest[: FRAME.size], body[:record_length]) == checksum
        return is_record and len(body) - record_length < payload_length
    return _is_cut_json(body)


def _is_cut_json(text: bytes) -> bool:
    """Return whether a record's end is missing; one that is whole has a head that lies."""
    try:
        json.JSONDecoder().raw_decode(text.decode(errors="replace"))
    except ValueError:
        return _RECORD_START.startswith(text[: len(_RECORD_START)])
    return False
