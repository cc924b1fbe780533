"""Extract JSON from its wrappings: several documents in one body, prefixes, callbacks, multipart bodies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tts_pipeline.wire.limits import parse_json

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GUARD = re.compile(rb"\)\]\}',?\s*|while ?\(1\);|for ?\(;;\);")
"""What keeps a browser from running JSON as a script."""
_JSONP_CALL = re.compile(rb"(?:/\*\*/\s*)?[A-Za-z_$][\w$.]{0,63}\((.*)\)\s*;?", re.DOTALL)
_BOUNDARY = re.compile(rb"[}\]][\s\x1e]*[{\[]")
_SEPARATOR = re.compile(r"[\s,\x1e]*")


def unwrap_json(body: bytes) -> bytes:
    """Return a text without byte order mark, space around it, a guard before it, or a JSONP call around it."""
    text = body.removeprefix(BYTE_ORDER_MARK).strip()
    guard = _GUARD.match(text)
    if guard:
        return text[guard.end() :]
    call = _JSONP_CALL.fullmatch(text)
    return call[1].strip() if call else text


def split_documents(text: bytes) -> list[Any]:
    """Return the values of JSON documents that follow one another: on lines of their own, or without anything between.

    Raises:
        ValueError: One of them is no whole JSON.
    """
    if not _BOUNDARY.search(text):
        raise ValueError("one document, and broken")
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
        yield parse_json(text[offset:end])  # held to the same rules as a document on its own
        separator = _SEPARATOR.match(text, end)
        offset = separator.end() if separator else end
