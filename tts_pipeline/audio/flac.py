"""Find the length of a FLAC file in its frames, since its header may not know it, or lie (RFC 9639).

A stream that is written while it is made has a length of 0 in its header. libsndfile decodes nothing of such a file,
and no more of any file than its header says.
"""

from __future__ import annotations

import re

from tts_pipeline.audio.mpeg import id3_length

_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_MOST_MARKS = 2_000
_TOTAL_AT = 18
"""Behind the mark, the block's header and 10 bytes of STREAMINFO: 64 bits, of which the last 36 are the length."""

_TOTAL_MASK = (1 << 36) - 1
_HEADER_BYTES = 16
_SEARCH_BYTES = 1 << 20
"""How far from the end the last frame is looked for: more than the largest frame of 16 bits in two channels."""


def with_true_length(data: bytes) -> bytes:
    """Return a file whose header says as many samples as its frames hold; the very bytes given where it does."""
    at = id3_length(data)
    place = at + _TOTAL_AT
    if len(data) < place + 8:
        return data
    packed = int.from_bytes(data[place : place + 8])
    found = _frames(data, at)
    if found is None or found <= packed & _TOTAL_MASK:
        return data
    return data[:place] + (packed & ~_TOTAL_MASK | found).to_bytes(8) + data[place + 8 :]


def _frames(data: bytes, at: int) -> int | None:
    """Return where the last frame ends, in samples; None where none is found."""
    block = int.from_bytes(data[at + 8 : at + 10])
    start = max(at + 42, len(data) - _SEARCH_BYTES)
    for found in reversed([mark.start() for mark in _SYNC.finditer(data, start)][-_MOST_MARKS:]):
        end = _frame_end(data[found : found + _HEADER_BYTES], block)
        if end is not None:
            return end
    return None


def _frame_end(head: bytes, block: int) -> int | None:
    """Return after how many samples a frame ends; None where this is no frame's header."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] & 1:
        return None
    number, after = _coded_number(head)
    size, after = _block_size(head, after)
    after += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if after >= len(head) or _crc8(head[:after]) != head[after]:
        return None
    return (number if head[1] & 1 else number * block) + size


def _coded_number(head: bytes) -> tuple[int, int]:
    """Return a number in the longer form of UTF-8, and where it ends; beyond the header where it is none."""
    first = head[4]
    ones = 8 - (first ^ 0xFF).bit_length()
    if ones == 0:
        return first, 5
    rest = head[5 : 4 + ones]
    if ones in (1, 8) or any(byte >> 6 != 2 for byte in rest):
        return 0, _HEADER_BYTES
    number = first & (0x7F >> ones)
    for byte in rest:
        number = number << 6 | byte & 0x3F
    return number, 4 + ones


def _block_size(head: bytes, at: int) -> tuple[int, int]:
    """Return the samples of a frame, and where the header goes on."""
    code = head[2] >> 4
    if code in (6, 7):
        width = code - 5
        return int.from_bytes(head[at : at + width]) + 1, at + width
    return (192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8), at


def _crc8(data: bytes) -> int:
    """Return the checksum of a frame's header (polynomial 0x07)."""
    checksum = 0
    for byte in data:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum << 1 ^ (0x107 if checksum & 0x80 else 0)
    return checksum
