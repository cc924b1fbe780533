"""Byte ranges of a request (RFC 9110, section 14): a single range; any other request gets the whole file."""

from __future__ import annotations

import re

_SINGLE_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def parse_range(header: str | None, size: int) -> range | None:
    """Return the places that a ``Range`` header asks for; empty when there are none of these; None is all of them."""
    match = _SINGLE_RANGE.fullmatch(header or "")
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)
