"""Parse JSON within limits, and extract it from several documents in one body, guards and callbacks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from tts_pipeline.config import MAX_CLIP_S, MAX_JSON_VALUES, TEXT_BYTES_PER_S

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GUARD = re.compile(rb"\)\]\}',?\s*|while ?\(1\);|for ?\(;;\);")
"""A prefix that prevents browsers from running JSON as a script."""
_JSONP_CALL = re.compile(rb"(?:/\*\*/\s*)?[A-Za-z_$][\w$.]{0,63}\((.*)\)\s*;?", re.DOTALL)
_BOUNDARY = re.compile(rb"[}\]][\s\x1e]*[{\[]")
_SEPARATOR = re.compile(r"[\s,\x1e]*")

MAX_TEXT_BYTES = round(MAX_CLIP_S * TEXT_BYTES_PER_S)

_VALUE_MARKS = (b",", b"[", b"{", b"\n", b"\r")
"""Marks before each JSON value and after each line; base64 has none of them."""

_FEW_MARKS = 64

_WIDE_CHARACTER = re.compile(rb"\xf0|\\u[dD][89abAB]")
"""A single character beyond 16 bits makes a whole string four times as wide in memory."""

UNCHECKED_BYTES = 262_144
"""A shorter text is parsed without counting: even a text of nothing but lists takes less than 20 MB."""


class ExcessiveTextError(ValueError):
    """A text is too large, or holds too many values; the message says which. Never leaves ``wire``."""


def check_text(body: bytes) -> None:
    """Refuse a text that would take more memory than any speech. Checks nothing below 256 KB; 0.15 ms per 100 KB above.

    Raises:
        ExcessiveTextError: The text has more than ``MAX_TEXT_BYTES`` or ``MAX_JSON_VALUES``.
    """
    if len(body) <= UNCHECKED_BYTES:
        return
    if len(body) > MAX_TEXT_BYTES or (len(body) > MAX_TEXT_BYTES // 2 and _WIDE_CHARACTER.search(body)):
        raise ExcessiveTextError(f"the answer is text of {len(body)} bytes: speech takes {MAX_TEXT_BYTES} at most")
    if sum(_count(body, mark) for mark in _VALUE_MARKS) > MAX_JSON_VALUES:
        raise ExcessiveTextError(f"the answer is text of more than {MAX_JSON_VALUES} values")


def _count(body: bytes, mark: bytes) -> int:
    """Count a byte: by searching while it is rare, as in base64, which is 20 times as fast as looking at every byte."""
    count, offset = 0, body.find(mark)
    while offset >= 0 and count < _FEW_MARKS:
        count, offset = count + 1, body.find(mark, offset + 1)
    return count if offset < 0 else count + body.count(mark, offset)


def parse_json(text: bytes | str) -> Any:
    """Return the value of an untrusted JSON text. orjson refuses depths beyond 1,024, NaN and infinities.

    Raises:
        ExcessiveTextError: As in ``check_text``.
        ValueError: The text is not JSON.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    check_text(data)
    return orjson.loads(data)


def unwrap_json(body: bytes) -> bytes:
    """Return a text without its byte order mark, surrounding white space, guard or JSONP call."""
    text = body.removeprefix(BYTE_ORDER_MARK).strip()
    guard = _GUARD.match(text)
    if guard:
        return text[guard.end() :]
    call = _JSONP_CALL.fullmatch(text)
    return call[1].strip() if call else text


def split_documents(text: bytes) -> list[Any]:
    """Return the values of consecutive JSON documents, one on each line or directly adjacent.

    Raises:
        ValueError: One of them is not whole JSON.
    """
    if not _BOUNDARY.search(text):
        raise ValueError("a single broken document")
    try:
        return [parse_json(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return list(_split_adjacent(text.decode("utf-8", "strict")))


def _split_adjacent(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    offset = 0
    while offset < len(text):
        try:
            _, end = decoder.raw_decode(text, offset)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        yield parse_json(text[offset:end])  # with the same limits as a separate document
        separator = _SEPARATOR.match(text, end)
        offset = separator.end() if separator else end
