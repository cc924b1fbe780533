"""Walk the pages of an Ogg file to see whether it is whole (RFC 3533)."""

from __future__ import annotations

from dataclasses import dataclass

_HEADER_BYTES = 27
_END_OF_STREAM = 0x04


@dataclass(frozen=True, slots=True)
class LastPage:
    """Where walking the pages ended.

    Args:
        is_cut: The last page is not whole.
        is_last: The last page says that it is the last.
    """

    is_cut: bool
    is_last: bool


def last_page(data: bytes) -> LastPage:
    """Return what the last page of an Ogg file says; bytes after the last page that are none are left alone."""
    at, flags = 0, 0
    while data.startswith(b"OggS", at):
        table = at + _HEADER_BYTES
        if table > len(data):
            return LastPage(is_cut=True, is_last=False)
        after = table + data[at + 26]
        body = after + sum(data[table:after])
        if body > len(data):
            return LastPage(is_cut=True, is_last=False)
        at, flags = body, data[at + 5]
    is_torn = 0 < len(data) - at < 4 and b"OggS".startswith(data[at:])
    return LastPage(is_cut=is_torn, is_last=bool(flags & _END_OF_STREAM))
