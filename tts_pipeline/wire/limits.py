"""Bound the text of an answer before it is parsed, so that parsing costs bounded memory."""

from __future__ import annotations

import re
from typing import Any

import orjson

from tts_pipeline.config import MAX_CLIP_S, MAX_JSON_VALUES, TEXT_BYTES_PER_S

MAX_TEXT_BYTES = round(MAX_CLIP_S * TEXT_BYTES_PER_S)

_VALUE_MARKS = (b",", b"[", b"{", b"\n", b"\r")
"""Before each JSON value, and behind each line; base64 has none of them."""

_WIDE_CHARACTER = re.compile(rb"\xf0|\\u[dD][89abAB]")
"""One character beyond 16 bits makes a string four times as wide in memory."""

UNCHECKED_BYTES = 262_144
"""A shorter text is parsed without counting: even one of lists alone stays below 20 MB."""


class ExcessiveTextError(ValueError):
    """A text is too large, or holds too many values; its message says which. Never leaves the wire."""


def check_text(body: bytes) -> None:
    """Refuse a text that would cost more memory than any speech does; 0.15 ms for 100 KB, and nothing below 256 KB.

    Raises:
        ExcessiveTextError: It has more than ``MAX_TEXT_BYTES``, or more than ``MAX_JSON_VALUES``.
    """
    if len(body) <= UNCHECKED_BYTES:
        return
    if len(body) > MAX_TEXT_BYTES or (len(body) > MAX_TEXT_BYTES // 2 and _WIDE_CHARACTER.search(body)):
        raise ExcessiveTextError(f"the answer is text of {len(body)} bytes: speech takes {MAX_TEXT_BYTES} at most")
    if sum(map(body.count, _VALUE_MARKS)) > MAX_JSON_VALUES:
        raise ExcessiveTextError(f"the answer is text of more than {MAX_JSON_VALUES} values")


def parse_json(text: bytes | str) -> Any:
    """Return the value of a JSON text of any origin. orjson refuses depths beyond 1,024, NaN and infinities.

    Raises:
        ExcessiveTextError: As in ``check_text``.
        ValueError: It is no JSON.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    check_text(data)
    return orjson.loads(data)
