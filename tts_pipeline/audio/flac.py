"""Measure a FLAC file by its frames, because its header may omit the length, or lie (RFC 9639).

A stream that is written during synthesis has a length of 0 in its header. libsndfile decodes only as much of a file as
the header says, and nothing of such a stream.
"""

from __future__ import annotations

import re

from tts_pipeline.audio.mpeg import id3_length

_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_MAX_MARKS = 2_000
_TOTAL_OFFSET = 18
"""Offset after the mark, the block's header and 10 bytes of STREAMINFO: 64 bits, whose last 36 are the length."""

_TOTAL_MASK = (1 << 36) - 1
_HEADER_BYTES = 16
_SEARCH_BYTES = 1 << 20
"""How far before the end the last frame is searched: more than the largest frame of 16 bits in two channels."""


def with_true_length(data: bytes) -> bytes:
    """Return the file with the true number of samples in its header; the same object if that is already true."""
    start = id3_length(data)
    offset = start + _TOTAL_OFFSET
    if len(data) < offset + 8:
        return data
    packed = int.from_bytes(data[offset : offset + 8])
    frames = _last_frame_end(data, start)
    if frames is None or frames <= packed & _TOTAL_MASK:
        return data
    return data[:offset] + (packed & ~_TOTAL_MASK | frames).to_bytes(8) + data[offset + 8 :]


def _last_frame_end(data: bytes, file_start: int) -> int | None:
    """Return the end of the last frame, in samples; None without a frame."""
    block = int.from_bytes(data[file_start + 8 : file_start + 10])
    start = max(file_start + 42, len(data) - _SEARCH_BYTES)
    for offset in reversed([mark.start() for mark in _SYNC.finditer(data, start)][-_MAX_MARKS:]):
        end = _frame_end(data[offset : offset + _HEADER_BYTES], block)
        if end is not None:
            return end
    return None


def _frame_end(head: bytes, block: int) -> int | None:
    """Return the end of a frame, in samples; None if this is not a frame's header."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] & 1:
        return None
    number, offset = _coded_number(head)
    size, offset = _block_size(head, offset)
    offset += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if offset >= len(head) or _crc8(head[:offset]) != head[offset]:
        return None
    return (number if head[1] & 1 else number * block) + size


def _coded_number(head: bytes) -> tuple[int, int]:
    """Return a number in extended UTF-8, and its end; the end of the header if it is malformed."""
    first = head[4]
    ones = 8 - (first ^ 0xFF).bit_length()
    if ones == 0:
        return first, 5
    continuation = head[5 : 4 + ones]
    if ones in (1, 8) or any(byte >> 6 != 2 for byte in continuation):
        return 0, _HEADER_BYTES
    number = first & (0x7F >> ones)
    for byte in continuation:
        number = number << 6 | byte & 0x3F
    return number, 4 + ones


def _block_size(head: bytes, offset: int) -> tuple[int, int]:
    """Return the number of samples in a frame, and the offset of the next field of the header."""
    code = head[2] >> 4
    if code in (6, 7):
        width = code - 5
        return int.from_bytes(head[offset : offset + width]) + 1, offset + width
    return (192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8), offset


def _crc8(data: bytes) -> int:
    """Return the checksum of a frame's header (polynomial 0x07)."""
    checksum = 0
    for byte in data:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum << 1 ^ (0x107 if checksum & 0x80 else 0)
    return checksum
