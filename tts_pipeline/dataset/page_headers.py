"""Headers of Parquet pages: how large a page becomes is read before it is unpacked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_HEADER_BYTES = 256
_MAX_HEADER_BYTES = 1024 * 1024
"""A header holds a page's least and greatest value, which some writers do not shorten."""

_DICTIONARY_PAGE = 2
_BINARY, _STRUCT = 8, 12
_FIXED_BYTES = {1: 0, 2: 0, 3: 1, 7: 8}
_INTEGERS = (4, 5, 6)


class Page(NamedTuple):
    """What a page's header tells.

    Args:
        unpacked_bytes: Of the page, decompressed.
        values: In it, nulls included.
        is_dictionary: Whether they are the column's distinct values.
    """

    unpacked_bytes: int
    values: int
    is_dictionary: bool


def pages_of(read: Callable[[int, int], bytes], start: int, end: int) -> Iterator[Page]:
    """Yield the pages of a column chunk, until its end or something that is no header.

    Args:
        read: Returns so many bytes, or fewer at the file's end, from an offset.
        start: Offset of the first header.
        end: Offset behind the last page.
    """
    while start < end:
        parsed = _header_at(read, start)
        if parsed is None or not parsed[0]:
            return
        fields, header_bytes = parsed
        data = fields.get(5) or fields.get(8) or fields.get(7) or {}
        yield Page(fields.get(2, 0), data.get(1, 0), fields.get(1) == _DICTIONARY_PAGE)
        start += header_bytes + max(0, fields.get(3, 0))


def _header_at(read: Callable[[int, int], bytes], offset: int) -> tuple[dict[int, Any], int] | None:
    size_bytes = _HEADER_BYTES
    while size_bytes <= _MAX_HEADER_BYTES:
        try:
            return _struct(read(offset, size_bytes), 0)
        except IndexError:  # it is longer
            size_bytes *= 64
        except (ValueError, RecursionError):
            return None
    return None


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """Read a struct of Thrift's compact protocol; return its fields by number, and the place behind it."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        kind, step = head & 15, head >> 4
        at += 1
        if step:
            number += step
        else:
            number, at = _integer(data, at)
        fields[number], at = _value(kind, data, at)
    return fields, at + 1


def _value(kind: int, data: bytes, at: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _integer(data, at)
    if kind == _STRUCT:
        return _struct(data, at)
    if kind == _BINARY:
        length, at = _varint(data, at)
        return None, at + length
    if kind not in _FIXED_BYTES:
        raise ValueError("nothing that stands in a page's header")
    return None, at + _FIXED_BYTES[kind]


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := data[at]) & 128:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
        if shift > 63:
            raise ValueError("no integer")
    return value | byte << shift, at + 1
