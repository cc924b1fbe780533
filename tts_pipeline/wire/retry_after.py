"""Parse the wait that a failing answer requests: ``Retry-After``, rate-limit resets, fields, messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_SECONDS = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*")
_UNITS_S = {"ms": 0.001, "millisecond": 0.001, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60}
_UNITS_S |= {"h": 3_600, "hr": 3_600, "hour": 3_600, "d": 86_400, "day": 86_400}
_UNIT = "(" + "|".join(sorted(_UNITS_S, key=len, reverse=True)) + ")s?"
_PIECE = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,9}})?)\s*{_UNIT}(?![a-z])", re.IGNORECASE)
_PIECES = rf"(?:\d{{1,9}}(?:\.\d{{1,9}})?\s*{_UNIT}(?![a-z])[ ,]{{0,2}}){{1,4}}"
_DURATION = re.compile(rf"\s*{_PIECES}\s*", re.IGNORECASE)
# OpenAI: Please try again in 6m0s. Azure: Try again in 7 seconds. Gemini: Please retry in 38.9s.
_IN_WORDS = re.compile(rf"\b(?:try|retry)(?:ing)?(?: again)?(?: your request)? (?:in|after) ({_PIECES})", re.IGNORECASE)

_FIELDS_S = {"retry_after": 1.0, "retryAfter": 1.0, "retry_after_seconds": 1.0, "retry_after_s": 1.0}
_FIELDS_S |= {"retryDelay": 1.0, "retry_after_ms": 0.001, "retryAfterMs": 0.001}
_RESETS = ("requests", "tokens", "characters")
_MAX_WAIT_S = 10 * 366 * 86_400
"""A number beyond ten years is a time since 1970, not a wait: in seconds, or in milliseconds if 1,000 times larger."""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the service asks us to wait; None without a readable wait.

    A date is compared with the answer's own ``Date``, so that clocks need not agree.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        match = _SECONDS.fullmatch(headers.get(name, ""))
        if match:
            return float(match[1]) * unit_s
    until, since = _http_date(headers.get("retry-after")), _http_date(headers.get("date"))
    return None if until is None or since is None else max(0.0, (until - since).total_seconds())


def rate_limit_reset_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until a used-up rate limit resets, by the headers; None without such a header.

    OpenAI sends a duration for each of its limits (``x-ratelimit-reset-tokens: 6m0s``, with
    ``x-ratelimit-remaining-tokens``). Others send one number of seconds, or a time in seconds or milliseconds since
    1970 (https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/, read on 2026-11-29).
    """
    used_up = [limit for limit in _RESETS if headers.get(f"x-ratelimit-remaining-{limit}", "").strip() == "0"]
    waits = [parse_duration_s(headers.get(f"x-ratelimit-reset-{limit}", "")) for limit in used_up]
    for name in ("x-ratelimit-reset-after", "ratelimit-reset", "x-ratelimit-reset"):
        match = _SECONDS.fullmatch(headers.get(name, "")) or re.fullmatch(r"\s*(\d{10,16})\s*", headers.get(name, ""))
        waits.append(_until_s(float(match[1]), headers) if match else None)
    return max((wait for wait in waits if wait is not None), default=None)


def _until_s(number: float, headers: Mapping[str, str]) -> float | None:
    if number < _MAX_WAIT_S:
        return number
    since = _http_date(headers.get("date"))
    at_s = number / 1_000 if number > 1_000 * _MAX_WAIT_S else number
    return None if since is None else max(0.0, at_s - since.timestamp())


def requested_wait_s(holders: Sequence[Mapping[str, Any]], message: str) -> float | None:
    """Return the seconds that a body asks us to wait, in a field or in its message; None without a wait."""
    for holder in (*holders, *_detail_objects(holders)):
        for name, unit_s in _FIELDS_S.items():
            wait_s = _wait_of(holder.get(name), unit_s)
            if wait_s is not None:
                return wait_s
    match = _IN_WORDS.search(message)
    return parse_duration_s(match[1]) if match else None


def _detail_objects(holders: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the objects in which Google (``details``) and gateways (``metadata``) state the wait."""
    objects: list[Any] = []
    for holder in holders:
        details = holder.get("details")
        objects += [holder.get("metadata"), *(details[:20] if isinstance(details, list) else ())]
    return [item for item in objects if isinstance(item, dict)]


def _wait_of(value: object, unit_s: float) -> float | None:
    if isinstance(value, str):
        match = _SECONDS.fullmatch(value)
        return float(match[1]) * unit_s if match else parse_duration_s(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value * unit_s if 0 <= value < 1e9 else None


def parse_duration_s(text: str) -> float | None:
    """Parse a duration such as ``38.9s``, ``6m0s``, ``120ms`` or ``7 seconds``; None for any other text."""
    if not _DURATION.fullmatch(text[:100]):
        return None
    return sum(float(number) * _UNITS_S[unit.lower()] for number, unit in _PIECE.findall(text[:100]))


def _http_date(value: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
