"""Parse the body of a failing answer, in any vendor's form, without classifying it.

Forms: a flat Alibaba body (``code``, ``message``), a nested ``{"error": {...}}``, ``{"error": "text"}``, FastAPI's
``detail``, the objects of other makers (``base_resp``, ``Response.Error``, ``detail.status``, numbers, Google's
``details``), any of these inside HTTP 200 or inside a server-sent event (also under an HTTP 400 with a content type of
JSON), an HTML page, plain text, and a flattened message that carries another answer's code and status.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeGuard

import orjson

from tts_pipeline.wire import vendor_codes
from tts_pipeline.wire.event_stream import is_event_stream, parse_events
from tts_pipeline.wire.failure_codes import find_code, is_known
from tts_pipeline.wire.response import clean_id
from tts_pipeline.wire.retry_after import requested_wait_s
from tts_pipeline.wire.usage import usage_of

_MAX_BYTES = 1_048_576
"""Only this much of a failing body is read."""

_MAX_EVENTS = 1_000
"""Only this many events are read: an error is the last of a few events, or the only one."""

_MAX_MESSAGE_CHARACTERS = 4_000
"""Only this much of a message is searched for codes."""

_STATUS_NAMES = ("status_code", "statusCode", "status", "code")
_MESSAGE_NAMES = (
    *("message", "msg", "detail", "error_description", "error_message", "error"),
    *("status_msg", "err_msg", "error_msg", "errorMessage", "Message", "desc"),
)
_CODE_NAMES = ("code", "error_code", "err_code", "errorCode", "Code", "__type", "type", "category")
_FAILURE_PATHS = (("error",), ("detail",), ("Response", "Error"), ("base_resp",), ("header",), (), ("output",))
"""Paths in an answer to an object that describes a failure, the most specific first."""
_NAMED_STATUS_PATHS = (("error",), ("detail",))
"""Paths to objects whose ``status`` is a word for the failure: ``RESOURCE_EXHAUSTED``, ``quota_exceeded``."""
_TYPE_HEADERS = ("x-amzn-errortype", "x-ms-error-code")
_SCHEME_NAMES = frozenset(form.path[0] for form in vendor_codes.NUMERIC_SCHEMES)
_BARE_CODE_NAMES = frozenset(_CODE_NAMES) - {"type", "category"}
"""Fields that name a failure even without an ``error`` around them; a type may be that of a success."""
_FAILURE_NAMES = frozenset({"error", "Response", *_STATUS_NAMES}) | _SCHEME_NAMES | _BARE_CODE_NAMES
"""All fields of an answer that may show a failure."""
_PLAIN_STATUS_NAMES = frozenset({"status_code", "statusCode"})
"""Fields that hold nothing but an HTTP status."""
_NON_ERRORS = frozenset({"0", "200", "ok", "success", "none", "null", "false", "no", "no error", "n/a", "-"})
"""Values in the place of an error that mean success."""


@dataclass(frozen=True, slots=True)
class FailureBody:
    """The content of a failing answer, whatever its form.

    ``codes`` are candidates for the code, from the most specific place first. The message is not yet cleaned for
    display. ``status`` is the status inside the body; ``characters`` is the reported count of billed characters;
    ``meaning`` is a name in ``failure_codes.RULES``, for a maker's known number. ``is_nested``: the body is an
    ``{"error": {...}}``. ``has_audio``: audio came with it, or before it in a stream, and may be billed in any case.
    """

    codes: tuple[str, ...] = ()
    message: str = ""
    status: int | None = None
    request_id: str | None = None
    characters: int | None = None
    meaning: str | None = None
    wait_s: float | None = None
    is_nested: bool = field(default=False, compare=False)
    has_audio: bool = field(default=False, compare=False)


def is_failure(payload: Mapping[str, Any]) -> bool:
    """Return whether an object that came with a 200 is a failure.

    A failure has an ``error``, a failing ``status_code``, a maker's number other than success, or a known code. An
    unknown non-empty ``code`` is not enough: it may be ``"Success"``, ``"ok"`` and the like.
    """
    for name in payload:
        if name in _FAILURE_NAMES:
            value = payload[name]
            # These mean success in every maker's form, and nearly every answer has nothing else.
            if not (value is None or value == "" or (value == 200 and name in _PLAIN_STATUS_NAMES)):
                return _names_failure(payload)
    return False


def _names_failure(payload: Mapping[str, Any]) -> bool:
    if _is_error(payload.get("error")) or _value_at(payload, ("Response", "Error")):
        return True
    scheme, number = _find_number(payload)
    if scheme is not None:
        return scheme.is_strict or _meaning_of(scheme, number) is not None
    if _inner_status(payload) is not None:
        return True
    codes = [payload[name] for name in _BARE_CODE_NAMES & payload.keys()]
    return any(isinstance(code, str) and code != "" and is_known(code) for code in codes)


def _is_error(error: object) -> bool:
    if isinstance(error, dict):
        return any(error.values()) and str(error.get("code", "")).lower() not in _NON_ERRORS
    return bool(error) and str(error).lower() not in _NON_ERRORS


def parse_failure(body: bytes) -> FailureBody:
    """Return the content of a body in any form, also of an empty, cut or binary one."""
    body = body[:_MAX_BYTES]
    stream_failure = _parse_stream_failure(body) if is_event_stream(body) else None
    if stream_failure is not None:
        return stream_failure
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = None
    if isinstance(payload, list) and payload and isinstance(payload[0], dict):
        payload = payload[0]  # Google's answers to streamed requests
    if isinstance(payload, dict):
        return parse_failure_payload(payload, None)
    return _with_flattened_code(
        FailureBody(message=payload if isinstance(payload, str) else body.decode("utf-8", "replace"))
    )


def _parse_stream_failure(body: bytes) -> FailureBody | None:
    for event in islice(parse_events(body), _MAX_EVENTS):
        try:
            payloads = event.payloads()
        except ValueError:
            continue
        for payload in payloads:
            if isinstance(payload, dict) and (event.name == "error" or is_failure(payload) or "code" in payload):
                return parse_failure_payload(payload, event.status)
    return None


def parse_failure_payload(payload: Mapping[str, Any], event_status: int | None) -> FailureBody:
    """Return the content of a parsed object; ``event_status`` is the status of its event, None without one."""
    holders = [holder for path in _FAILURE_PATHS if isinstance(holder := _value_at(payload, path), dict)]
    statuses = [event_status, *map(_inner_status, holders)]
    scheme, number = _find_number(payload)
    message = next(_messages_of(holders), "")
    return _with_flattened_code(
        FailureBody(
            codes=(*_reasons_of(payload), *_codes_of(payload, holders), *(() if scheme is None else (str(number),))),
            message=message,
            status=next((status for status in statuses if status is not None and status >= 400), None),
            request_id=clean_id(payload.get("request_id")),
            characters=usage_of(payload).characters_reported,
            meaning=_daily_quota(payload) or (None if scheme is None else _meaning_of(scheme, number)),
            wait_s=requested_wait_s(holders, message[:_MAX_MESSAGE_CHARACTERS]),
            is_nested=isinstance(payload.get("error"), dict),
        )
    )


def with_header_code(failure: FailureBody, headers: Mapping[str, str]) -> FailureBody:
    """Add the type in a header, such as Amazon's (``ThrottlingException:http://...``), as the first code."""
    kinds = (_type_name(headers[name]) for name in _TYPE_HEADERS if name in headers)
    codes = tuple(kind for kind in kinds if _is_code(kind))
    return replace(failure, codes=(*codes, *failure.codes)) if codes else failure


def _type_name(value: str) -> str:
    """Return the name in ``com.amazon.coral.service#ThrottlingException:http://...``."""
    return value.partition(":http")[0].rpartition("#")[2].strip()


def _value_at(payload: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = payload
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _find_number(payload: Mapping[str, Any]) -> tuple[vendor_codes.NumericScheme | None, int]:
    """Return the maker's form in which an object states a failure number, and the number; None without one."""
    names = _SCHEME_NAMES & payload.keys()
    for scheme in vendor_codes.NUMERIC_SCHEMES:
        if scheme.path[0] not in names or (scheme.sibling is not None and scheme.sibling not in payload):
            continue
        number = _whole_number(_value_at(payload, scheme.path))
        if number is not None and number not in scheme.success and (scheme.is_strict or _meaning_of(scheme, number)):
            return scheme, number
    return None, 0


def _whole_number(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return int(value)
    return value if type(value) is int else None


def _meaning_of(scheme: vendor_codes.NumericScheme, number: int) -> str | None:
    return next((meaning for meaning, numbers in scheme.meanings.items() if number in numbers), None)


def _details_of(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return Google's details (https://cloud.google.com/apis/design/errors)."""
    details = _value_at(payload, ("error", "details"))
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _reasons_of(payload: Mapping[str, Any]) -> Iterator[str]:
    for detail in _details_of(payload):
        reason = detail.get("reason")
        if _is_code(reason):
            yield reason


def _daily_quota(payload: Mapping[str, Any]) -> str | None:
    for detail in _details_of(payload):
        text = orjson.dumps([detail.get("violations"), detail.get("metadata")]).decode()
        if vendor_codes.DAILY_QUOTA.search(text):
            return "daily_quota"
    return None


def _codes_of(payload: Mapping[str, Any], holders: list[dict[str, Any]]) -> Iterator[str]:
    for holder in holders:
        for name in _CODE_NAMES:
            code = holder.get(name)
            if _is_code(code):
                yield _type_name(code).strip()
    for path in _NAMED_STATUS_PATHS:
        status = _value_at(payload, (*path, "status"))
        if _is_code(status):
            yield status.strip()


def _is_code(code: object) -> TypeGuard[str]:
    if not isinstance(code, str) or not 0 < len(code) <= 100:
        return False
    # A status in the place of a code ("code": "400") is not a code.
    return code.isprintable() and not code.isspace() and not re.fullmatch(r"\d{3}", code)


def _messages_of(holders: list[dict[str, Any]]) -> Iterator[str]:
    for holder in holders:
        for name in _MESSAGE_NAMES:
            message = holder.get(name)
            if isinstance(message, str) and message.strip():
                yield message
            elif name == "detail" and message:
                yield _dump_json(message)


def _dump_json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # orjson parses deeper nesting than it serializes
        return ""


def _inner_status(holder: Mapping[str, Any]) -> int | None:
    """Return the failing status in an object, also as a numeric code; None without one."""
    for name in _STATUS_NAMES:
        status = holder.get(name)
        if isinstance(status, str) and re.fullmatch(r"[45]\d\d", status):
            status = int(status)
        if type(status) is int and 400 <= status <= 599:
            return status
    return None


_FLATTENED_STATUS = re.compile(r"<([45]\d\d)>|\bstatus[ _]?code['\"]?\s*[:=]?\s*([45]\d\d)\b", re.IGNORECASE)


def _with_flattened_code(failure: FailureBody) -> FailureBody:
    """Add the code and the status that a message carries from the answer behind a gateway, as the last candidates."""
    message = failure.message[:_MAX_MESSAGE_CHARACTERS]
    code = find_code(message)
    codes = (*failure.codes, code) if code else failure.codes
    match = _FLATTENED_STATUS.search(message)
    status = failure.status or (int(match[1] or match[2]) if match else None)
    return replace(failure, codes=codes, status=status)


_FREE_QUOTA = re.compile(r"free (?:allocated |trial )?quota|free[ -]tier[^.]{0,60}exhausted|免费额度", re.IGNORECASE)


def mentions_free_quota(message: str) -> bool:
    """Return whether a message mentions the free quota, which waiting does not restore."""
    return _FREE_QUOTA.search(message[:_MAX_MESSAGE_CHARACTERS]) is not None


_BILLING = re.compile(r"check your plan and billing details(?!.*(?:aliyun|alibabacloud)\.)", re.IGNORECASE | re.DOTALL)


def mentions_billing(message: str) -> bool:
    """Return whether a message refers to plan and billing without Alibaba's link, as OpenAI's does."""
    return _BILLING.search(message[:_MAX_MESSAGE_CHARACTERS]) is not None


_INPUT_LIMITS = (
    # Alibaba, about the text itself; "Range of max_tokens should be" is about something else.
    re.compile(r"range of (?:input|text)(?: text)? length should be \[\s*\d+\s*,\s*(\d+)\s*\]", re.IGNORECASE),
    # OpenAI (pydantic): String should have at most 4096 characters
    re.compile(r"string should have at most (\d+) characters", re.IGNORECASE),
    re.compile(
        r"(?:input|text)\b[^.\d]{0,60}(?:at most|exceeds?|limit(?: of| is)?|maximum(?: length)?(?: of| is)?"
        r"|less than|no more than)[^.\d]{0,40}?(\d+) (?:characters|tokens|bytes)",
        re.IGNORECASE,
    ),
)


def find_input_limit(message: str) -> int | None:
    """Return the limit that a service stated when it refused a text as too long; None without one."""
    for pattern in _INPUT_LIMITS:
        match = pattern.search(message[:_MAX_MESSAGE_CHARACTERS])
        if match and int(match[1][:9]) > 0:
            return int(match[1][:9])
    return None
