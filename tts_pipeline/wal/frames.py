"""Read the frames of a journal file, and find the next whole frame behind damage."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from msgspec import Struct

from tts_pipeline.storage.store import storage_errors
from tts_pipeline.wal.journal import FRAME_HEADER, record_crc

_READ_BYTES = 256 * 1024
_RECORD_READ_BYTES = 16 * 1024
"""Bytes of a read behind a long payload that was skipped: they hold the next records, and little of their payloads."""

_SHORT_PAYLOAD_BYTES = 64 * 1024
"""Payloads up to this size are read with the records around them, which takes less time than skipping each."""

_RECORD_START = b'{"kind":"'
"""The first bytes of every record, in every version: its frame begins ``FRAME_HEADER.size`` bytes earlier."""


class Blob(Struct, frozen=True, gc=False):
    """A range of bytes in a journal, read only when they are needed, so that memory stays flat."""

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Return the bytes."""
        with storage_errors(f"reading the journal {self.path}"), self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


class Frame(Struct, frozen=True, gc=False):
    """A whole record, as JSON, with its payload and its range in the file; an unchecked payload counts as intact."""

    start: int
    end: int
    record: bytes
    blob: Blob
    is_payload_intact: bool


class Gap(NamedTuple):
    """Bytes that are neither a whole record nor a torn tail: the file was damaged after it was written."""

    start: int
    end: int


def read_frames(path: Path, file: BinaryIO, *, check_payloads: bool) -> Iterator[Frame | Gap]:
    """Yield the frames of a journal and the gaps between them, in order; a torn tail is neither.

    With ``check_payloads=False`` only the records are read; this suits a file that this process wrote.
    """
    size_bytes, start = path.stat().st_size, 0
    while start < size_bytes:
        for whole_frame in _read_whole_frames(path, file, start, size_bytes, check_payloads=check_payloads):
            yield whole_frame
            start = whole_frame.end
        next_start = _find_frame(path, file, start + 1, size_bytes)
        if next_start is not None or not _is_torn(file, start):
            yield Gap(start, size_bytes if next_start is None else next_start)
        if next_start is None:
            return
        start = next_start


def _read_whole_frames(
    path: Path, file: BinaryIO, start: int, size_bytes: int, *, check_payloads: bool
) -> Iterator[Frame]:
    """Yield frames from ``start`` on, up to the first that is not whole.

    Records are read many at a time: a read for each takes twice as long.
    """
    fd, piece, piece_start, read_bytes = file.fileno(), b"", start, _READ_BYTES
    unpack, header_bytes = FRAME_HEADER.unpack_from, FRAME_HEADER.size
    while start < size_bytes:
        at = start - piece_start
        record_start = end = at + header_bytes
        if record_start <= len(piece):
            record_bytes, payload_bytes, payload_crc, checksum = unpack(piece, at)
            end += record_bytes
        if end > len(piece):
            if piece_start + end > size_bytes:
                return
            piece, piece_start = os.pread(fd, max(read_bytes, end - at), start), start
            if len(piece) < end - at:  # the file was cut meanwhile
                return
            continue
        record, offset = piece[record_start:end], piece_start + end
        next_start = offset + payload_bytes
        if not record_bytes or next_start > size_bytes or record_crc(piece[at:record_start], record) != checksum:
            return
        is_payload_intact = not check_payloads or _read_crc(fd, offset, payload_bytes) == payload_crc
        yield Frame(start, next_start, record, Blob(path, offset, payload_bytes), is_payload_intact)
        start = next_start
        read_bytes = _READ_BYTES if payload_bytes <= _SHORT_PAYLOAD_BYTES else _RECORD_READ_BYTES


def _read_crc(fd: int, offset: int, length: int) -> int:
    crc, end = 0, offset + length
    while offset < end and (piece := os.pread(fd, min(end - offset, _READ_BYTES), offset)):
        crc = zlib.crc32(piece, crc)
        offset += len(piece)
    return crc


def _find_frame(path: Path, file: BinaryIO, search_start: int, size_bytes: int) -> int | None:
    """Return the offset of the first frame with a whole record, from ``search_start`` on; None without one."""
    for record_start in _find_all(file, _RECORD_START, search_start + FRAME_HEADER.size):
        start = record_start - FRAME_HEADER.size
        if next(_read_whole_frames(path, file, start, size_bytes, check_payloads=False), None) is not None:
            return start
    return None


def _find_all(file: BinaryIO, pattern: bytes, offset: int) -> Iterator[int]:
    """Yield each offset of a pattern in a file."""
    while True:
        file.seek(offset)
        piece = file.read(_READ_BYTES)
        index = piece.find(pattern)
        while index >= 0:
            yield offset + index
            index = piece.find(pattern, index + 1)
        if len(piece) < _READ_BYTES:
            return
        offset += len(piece) - len(pattern) + 1


def _is_torn(file: BinaryIO, start: int) -> bool:
    """Return whether the bytes from ``start`` on are the beginning of a frame: a kill leaves nothing else.

    After a power cut, zeros may follow it, where the disk had allocated space.
    """
    file.seek(start)
    rest = file.read().rstrip(b"\0")
    if len(rest) <= FRAME_HEADER.size:
        return True
    record_length, payload_length, _, checksum = FRAME_HEADER.unpack(rest[: FRAME_HEADER.size])
    body = rest[FRAME_HEADER.size :]
    if len(body) >= record_length:
        is_record: bool = record_crc(rest[: FRAME_HEADER.size], body[:record_length]) == checksum
        return is_record and len(body) - record_length < payload_length
    return _is_cut_json(body)


def _is_cut_json(text: bytes) -> bool:
    """Return whether the end of a record is missing; if the record is whole, its header is wrong."""
    try:
        json.JSONDecoder().raw_decode(text.decode(errors="replace"))
    except ValueError:
        return _RECORD_START.startswith(text[: len(_RECORD_START)])
    return False
