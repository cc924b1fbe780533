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

READ_BYTES = 256 * 1024
RECORD_READ_BYTES = 16 * 1024
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
        if not check_payloads:
            for whole_frame in _read_records(path, file, start, size_bytes):
                yield whole_frame
                start = whole_frame.end
            file.seek(start)
        frame = _read_frame(path, file, start, size_bytes, check_payloads=check_payloads)
        if frame is None:
            next_start = _find_frame(file, start + 1, size_bytes)
            if next_start is not None or not _is_torn(file, start):
                yield Gap(start, size_bytes if next_start is None else next_start)
            if next_start is None:
                return
            start = next_start
            file.seek(start)
        else:
            yield frame
            start = frame.end


def _read_records(path: Path, file: BinaryIO, start: int, size_bytes: int) -> Iterator[Frame]:
    """Yield whole frames from ``start`` on, many in one read, up to the first that is not whole, or has a long record.

    It takes half of the time of reading frame by frame, as ``_read_frame`` does.
    """
    fd, piece, piece_start, read_bytes = file.fileno(), b"", start, READ_BYTES
    unpack, header_bytes = FRAME_HEADER.unpack_from, FRAME_HEADER.size
    while start < size_bytes:
        at = start - piece_start
        record_start = end = at + header_bytes
        if record_start <= len(piece):
            record_bytes, payload_bytes, _, checksum = unpack(piece, at)
            end += record_bytes
        if end > len(piece) or record_start > len(piece):
            if piece and not at:
                return
            piece, piece_start = os.pread(fd, read_bytes, start), start
            if not piece:
                return
            continue
        record, offset = piece[record_start:end], piece_start + end
        next_start = offset + payload_bytes
        if not record_bytes or next_start > size_bytes or record_crc(piece[at:record_start], record) != checksum:
            return
        yield Frame(start, next_start, record, Blob(path, offset, payload_bytes), True)
        start = next_start
        read_bytes = READ_BYTES if payload_bytes <= _SHORT_PAYLOAD_BYTES else RECORD_READ_BYTES


def _read_frame(path: Path, file: BinaryIO, start: int, size_bytes: int, *, check_payloads: bool) -> Frame | None:
    """Read the frame at the file's position, which is ``start``; return None when the frame is not whole."""
    parsed = _read_record(file, start, size_bytes)
    if parsed is None:
        return None
    record, payload_length, payload_crc, offset = parsed
    is_payload_intact = True
    if check_payloads:
        is_payload_intact = _read_crc(file, payload_length) == payload_crc
    elif payload_length:
        file.seek(payload_length, os.SEEK_CUR)
    end = offset + payload_length
    return Frame(start, end, record, Blob(path, offset, payload_length), is_payload_intact)


def _read_record(file: BinaryIO, start: int, size_bytes: int) -> tuple[bytes, int, int, int] | None:
    header = file.read(FRAME_HEADER.size)
    if len(header) < FRAME_HEADER.size:
        return None
    record_length, payload_length, payload_crc, checksum = FRAME_HEADER.unpack(header)
    offset = start + FRAME_HEADER.size + record_length
    if record_length == 0 or offset + payload_length > size_bytes:
        return None
    record = file.read(record_length)
    if record_crc(header, record) != checksum:
        return None
    return record, payload_length, payload_crc, offset


def _read_crc(file: BinaryIO, length: int) -> int:
    crc = 0
    while length and (piece := file.read(min(length, READ_BYTES))):
        crc = zlib.crc32(piece, crc)
        length -= len(piece)
    return crc


def _find_frame(file: BinaryIO, search_start: int, size_bytes: int) -> int | None:
    """Return the offset of the first frame with a whole record, from ``search_start`` on; None without one."""
    for record_start in _find_all(file, _RECORD_START, search_start + FRAME_HEADER.size):
        start = record_start - FRAME_HEADER.size
        file.seek(start)
        if _read_record(file, start, size_bytes) is not None:
            return start
    return None


def _find_all(file: BinaryIO, pattern: bytes, offset: int) -> Iterator[int]:
    """Yield each offset of a pattern in a file; the caller may seek between two results."""
    while True:
        file.seek(offset)
        piece = file.read(READ_BYTES)
        index = piece.find(pattern)
        while index >= 0:
            yield offset + index
            index = piece.find(pattern, index + 1)
        if len(piece) < READ_BYTES:
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
