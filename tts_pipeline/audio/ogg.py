"""Walk the pages of an Ogg file to see whether it is whole, and whether it is one (RFC 3533)."""

from __future__ import annotations

from dataclasses import dataclass, field

_HEADER_BYTES = 27
_FIRST_OF_STREAM = 0x02
_END_OF_STREAM = 0x04


@dataclass(frozen=True, slots=True)
class LastPage:
    """Where walking the pages ended.

    Args:
        is_cut: The last page is not whole.
        is_last: The last page says that it is the last.
        begins: Where streams begin that follow one another; the first at 0.
        end: Where the last whole page ends.
        is_multiplexed: Several streams run at one time, of which only one can be the speech.
    """

    is_cut: bool
    is_last: bool
    begins: tuple[int, ...] = (0,)
    is_multiplexed: bool = False
    end: int = field(default=0, compare=False)


def last_page(data: bytes) -> LastPage:
    """Return what the pages of an Ogg file say, up to the last; bytes that are no page are stepped over."""
    at, end, flags, begins, is_multiplexed = 0, 0, 0, [0], False
    while data.startswith(b"OggS", at):
        table = at + _HEADER_BYTES
        after = table + data[at + 26] if table <= len(data) else table
        body = after + sum(data[table:after])
        if body > len(data) or table > len(data):
            return LastPage(True, False, tuple(begins), is_multiplexed)
        if data[at + 5] & _FIRST_OF_STREAM and at:
            if flags & _FIRST_OF_STREAM:
                is_multiplexed = True
            else:
                begins.append(at)
        flags = data[at + 5]
        further = data.find(b"OggS", body)
        at = len(data) if further < 0 else further
        end = body
    is_torn = 0 < len(data) - end < 4 and b"OggS".startswith(data[end:])
    return LastPage(is_torn, bool(flags & _END_OF_STREAM), tuple(begins), is_multiplexed, end)
