"""Parse Parquet page headers, so that a page's size is known before it is decompressed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_HEADER_BYTES = 256
_MAX_HEADER_BYTES = 1024 * 1024
"""A header holds a page's minimum and maximum, which some writers do not shorten."""

_DICTIONARY_PAGE = 2
_BINARY, _STRUCT = 8, 12
_FIXED_BYTES = {1: 0, 2: 0, 3: 1, 7: 8}
_INTEGERS = (4, 5, 6)


class PageHeader(NamedTuple):
    """A page's decompressed size, its number of values (nulls included), and whether it is a dictionary page."""

    unpacked_bytes: int
    values: int
    is_dictionary: bool


def read_page_headers(read_at: Callable[[int, int], bytes], start: int, end: int) -> Iterator[PageHeader]:
    """Yield the page headers of a column chunk between two offsets, up to the end or the first invalid header.

    ``read_at(offset, size_bytes)`` returns bytes of the file; at the file's end they may be fewer.
    """
    while start < end:
        parsed = _read_header(read_at, start)
        if parsed is None or not parsed[0]:
            return
        fields, header_bytes = parsed
        data = fields.get(5) or fields.get(8) or fields.get(7) or {}
        yield PageHeader(fields.get(2, 0), data.get(1, 0), fields.get(1) == _DICTIONARY_PAGE)
        start += header_bytes + max(0, fields.get(3, 0))


def _read_header(read_at: Callable[[int, int], bytes], offset: int) -> tuple[dict[int, Any], int] | None:
    size_bytes = _HEADER_BYTES
    while size_bytes <= _MAX_HEADER_BYTES:
        try:
            return _read_struct(read_at(offset, size_bytes), 0)
        except IndexError:  # the header is longer
            size_bytes *= 64
        except (ValueError, RecursionError):
            return None
    return None


def _read_struct(data: bytes, offset: int) -> tuple[dict[int, Any], int]:
    """Read a struct of Thrift's compact protocol; return its fields by number, and the offset after it."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data[offset]:
        kind, step = head & 15, head >> 4
        offset += 1
        if step:
            number += step
        else:
            number, offset = _read_integer(data, offset)
        fields[number], offset = _read_value(kind, data, offset)
    return fields, offset + 1


def _read_value(kind: int, data: bytes, offset: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _read_integer(data, offset)
    if kind == _STRUCT:
        return _read_struct(data, offset)
    if kind == _BINARY:
        length, offset = _read_varint(data, offset)
        return None, offset + length
    if kind not in _FIXED_BYTES:
        raise ValueError("page headers have no field of this type")
    return None, offset + _FIXED_BYTES[kind]


def _read_integer(data: bytes, offset: int) -> tuple[int, int]:
    value, offset = _read_varint(data, offset)
    return (value >> 1) ^ -(value & 1), offset


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := data[offset]) & 128:
        value |= (byte & 127) << shift
        shift += 7
        offset += 1
        if shift > 63:
            raise ValueError("the integer has more than 64 bits")
    return value | byte << shift, offset + 1
