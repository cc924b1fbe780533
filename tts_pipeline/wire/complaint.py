"""Read what a failing answer says of itself, whatever its form, without judging it.

Forms: a flat Alibaba body (``code``, ``message``), a nested ``{"error": {...}}``, ``{"error": "text"}``, FastAPI's
``detail``, any of these inside HTTP 200 or inside a server-sent event (also under an HTTP 400 that is labelled JSON),
an HTML page, plain text, and a flattened message that carries another answer's code and status.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import orjson

from tts_pipeline.wire.failure_codes import code_in, is_known
from tts_pipeline.wire.reading import clean_id
from tts_pipeline.wire.sse import is_event_stream, parse_events
from tts_pipeline.wire.usage import usage_of

_READ_BYTES = 1_048_576
"""More of a failing body than this is not looked at."""

_READ_EVENTS = 1_000
"""More events than this are not looked at: an error is the last of a few, or the only one."""

_READ_CHARACTERS = 4_000
"""More of a message than this is not searched for codes."""

_STATUS_NAMES = ("status_code", "statusCode", "status", "code")
_MESSAGE_NAMES = ("message", "msg", "detail", "error_description", "error_message", "error")
_CODE_NAMES = ("code", "error_code", "type")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a failing answer says, whatever its form.

    Args:
        codes: Candidates for the code, the most telling place first.
        message: As it was sent; not yet fit to be shown.
        status: A status told inside the body; None without.
        request_id: None without.
        characters: What it says it billed; None without.
    """

    codes: tuple[str, ...] = ()
    message: str = ""
    status: int | None = None
    request_id: str | None = None
    characters: int | None = None


def is_failure(payload: Mapping[str, Any]) -> bool:
    """Whether an object that came with a 200 is a failure: an ``error``, a bad ``status_code``, or a known code.

    An unknown non-empty ``code`` is not enough: there are ``"Success"``, ``"ok"`` and the like.
    """
    if payload.get("error"):
        return True
    if _inner_status(payload) is not None:
        return True
    code = payload.get("code")
    return isinstance(code, str) and code != "" and is_known(code)


def complaint_in(body: bytes) -> Complaint:
    """Return what a body of any form says; also an empty, cut or binary one."""
    body = body[:_READ_BYTES]
    streamed = _complaint_in_stream(body) if is_event_stream(body) else None
    if streamed is not None:
        return streamed
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = None
    if isinstance(payload, dict):
        return complaint_of(payload, None)
    return _flattened(Complaint(message=payload if isinstance(payload, str) else body.decode("utf-8", "replace")))


def _complaint_in_stream(body: bytes) -> Complaint | None:
    for event in islice(parse_events(body), _READ_EVENTS):
        try:
            payloads = event.payloads()
        except ValueError:
            continue
        for payload in payloads:
            if isinstance(payload, dict) and (event.name == "error" or is_failure(payload) or "code" in payload):
                return complaint_of(payload, event.status)
    return None


def complaint_of(payload: Mapping[str, Any], event_status: int | None) -> Complaint:
    """Return what a parsed object says; ``event_status`` is the status told by the event it came in, None without."""
    error = payload.get("error")
    holders = [holder for holder in (error, payload, payload.get("output")) if isinstance(holder, dict)]
    statuses = [event_status, *map(_inner_status, holders)]
    return _flattened(
        Complaint(
            codes=tuple(_codes_of(holders)),
            message=next(_messages_of(holders), ""),
            status=next((told for told in statuses if told is not None and told >= 400), None),
            request_id=clean_id(payload.get("request_id")),
            characters=usage_of(payload).characters_reported,
        )
    )


def _codes_of(holders: list[dict[str, Any]]) -> Iterator[str]:
    for holder in holders:
        for name in _CODE_NAMES:
            code = holder.get(name)
            if isinstance(code, str) and 0 < len(code) <= 100 and code.isprintable() and not code.isspace():
                yield code.strip()


def _messages_of(holders: list[dict[str, Any]]) -> Iterator[str]:
    for holder in holders:
        for name in _MESSAGE_NAMES:
            said = holder.get(name)
            if isinstance(said, str) and said.strip():
                yield said
            elif name == "detail" and said:
                yield _dumped(said)


def _dumped(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # it reads deeper nesting than it writes
        return ""


def _inner_status(holder: Mapping[str, Any]) -> int | None:
    """Return the failing status that an object tells of itself, also as a numeric code; None without."""
    for name in _STATUS_NAMES:
        told = holder.get(name)
        if isinstance(told, str) and re.fullmatch(r"[45]\d\d", told):
            told = int(told)
        if type(told) is int and 400 <= told <= 599:
            return told
    return None


_FLATTENED_STATUS = re.compile(r"<([45]\d\d)>|\bstatus[ _]?code['\"]?\s*[:=]?\s*([45]\d\d)\b", re.IGNORECASE)


def _flattened(said: Complaint) -> Complaint:
    """Add what a message carries from the answer behind a gateway, as the last candidates."""
    message = said.message[:_READ_CHARACTERS]
    carried = code_in(message)
    # A status in the place of a code ("code": "400") is no name.
    codes = tuple(code for code in (*said.codes, carried) if code and not re.fullmatch(r"\d{3}", code))
    told = _FLATTENED_STATUS.search(message)
    status = said.status or (int(told[1] or told[2]) if told else None)
    return replace(said, codes=codes, status=status)


_FREE_QUOTA = re.compile(r"free (?:allocated |trial )?quota|free[ -]tier[^.]{0,60}exhausted|免费额度", re.IGNORECASE)


def tells_of_free_quota(message: str) -> bool:
    """Whether a message speaks of the free quota, which no waiting gives back."""
    return _FREE_QUOTA.search(message[:_READ_CHARACTERS]) is not None


_INPUT_LIMITS = (
    # Alibaba, about the text itself; "Range of max_tokens should be" is another matter.
    re.compile(r"range of (?:input|text)(?: text)? length should be \[\s*\d+\s*,\s*(\d+)\s*\]", re.IGNORECASE),
    # OpenAI (pydantic): String should have at most 4096 characters
    re.compile(r"string should have at most (\d+) characters", re.IGNORECASE),
    re.compile(
        r"(?:input|text)\b[^.\d]{0,60}(?:at most|exceeds?|limit(?: of| is)?|maximum(?: length)?(?: of| is)?"
        r"|less than|no more than)[^.\d]{0,40}?(\d+) (?:characters|tokens|bytes)",
        re.IGNORECASE,
    ),
)


def input_limit_in(message: str) -> int | None:
    """Return the limit that a service told when it refused a text as too long; None when it told none."""
    for pattern in _INPUT_LIMITS:
        found = pattern.search(message[:_READ_CHARACTERS])
        if found and int(found[1][:9]) > 0:
            return int(found[1][:9])
    return None
