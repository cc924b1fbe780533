"""Scan the pages of an Ogg file, to find out whether it is whole and a single file (RFC 3533)."""

from __future__ import annotations

from dataclasses import dataclass, field

_HEADER_BYTES = 27
_FIRST_OF_STREAM = 0x02
_END_OF_STREAM = 0x04


@dataclass(frozen=True, slots=True)
class PageScan:
    """Facts about the pages of a file; ``end`` is the end of the last whole page.

    ``is_cut``: the last page is not whole. ``is_last``: the last page says that it is the last. ``stream_offsets`` are
    the starts of consecutive streams, the first at 0. ``is_multiplexed``: several streams run in parallel, of which
    only one can be the speech.
    """

    is_cut: bool
    is_last: bool
    stream_offsets: tuple[int, ...] = (0,)
    is_multiplexed: bool = False
    end: int = field(default=0, compare=False)


def scan_pages(data: bytes) -> PageScan:
    """Scan all pages of an Ogg file, skipping bytes that are not a page."""
    offset, end, flags, stream_offsets, is_multiplexed = 0, 0, 0, [0], False
    while data.startswith(b"OggS", offset):
        table = offset + _HEADER_BYTES
        table_end = table + data[offset + 26] if table <= len(data) else table
        body = table_end + sum(data[table:table_end])
        if body > len(data) or table > len(data):
            return PageScan(True, False, tuple(stream_offsets), is_multiplexed)
        if data[offset + 5] & _FIRST_OF_STREAM and offset:
            if flags & _FIRST_OF_STREAM:
                is_multiplexed = True
            else:
                stream_offsets.append(offset)
        flags = data[offset + 5]
        next_offset = data.find(b"OggS", body)
        offset = len(data) if next_offset < 0 else next_offset
        end = body
    is_torn = 0 < len(data) - end < 4 and b"OggS".startswith(data[end:])
    return PageScan(is_torn, bool(flags & _END_OF_STREAM), tuple(stream_offsets), is_multiplexed, end)
