"""Read what a failing answer says of itself, whatever its form, without judging it.

Forms: a flat Alibaba body (``code``, ``message``), a nested ``{"error": {...}}``, ``{"error": "text"}``, FastAPI's
``detail``, the objects of other makers (``base_resp``, ``Response.Error``, ``detail.status``, numbers, Google's
``details``), any of these inside HTTP 200 or inside a server-sent event (also under an HTTP 400 that is labelled JSON),
an HTML page, plain text, and a flattened message that carries another answer's code and status.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeGuard

import orjson

from tts_pipeline.wire import makers
from tts_pipeline.wire.failure_codes import code_in, is_known
from tts_pipeline.wire.reading import clean_id
from tts_pipeline.wire.sse import is_event_stream, parse_events
from tts_pipeline.wire.usage import usage_of
from tts_pipeline.wire.waits import wait_in

_READ_BYTES = 1_048_576
"""More of a failing body than this is not looked at."""

_READ_EVENTS = 1_000
"""More events than this are not looked at: an error is the last of a few, or the only one."""

_READ_CHARACTERS = 4_000
"""More of a message than this is not searched for codes."""

_STATUS_NAMES = ("status_code", "statusCode", "status", "code")
_MESSAGE_NAMES = (
    *("message", "msg", "detail", "error_description", "error_message", "error"),
    *("status_msg", "err_msg", "error_msg", "errorMessage", "Message", "desc"),
)
_CODE_NAMES = ("code", "error_code", "err_code", "errorCode", "Code", "__type", "type", "category")
_HOLDERS = (("error",), ("detail",), ("Response", "Error"), ("base_resp",), ("header",), (), ("output",))
"""Where in an answer the object stands that tells of a failure, the most telling place first."""
_OWN_STATUS = (("error",), ("detail",))
"""Where ``status`` is a word that names the failure: ``RESOURCE_EXHAUSTED``, ``quota_exceeded``."""
_TYPE_HEADERS = ("x-amzn-errortype", "x-ms-error-code")
_FORM_NAMES = frozenset(form.path[0] for form in makers.FORMS)
_CODE_ALONE = frozenset({"code"})
_CODES_ALONE = frozenset(_CODE_NAMES) - {"type", "category"}
"""What names a failure without an ``error`` around it; a type may be that of a success."""
_NO_ERRORS = frozenset({"0", "200", "ok", "success", "none", "null", "false", "no", "no error", "n/a", "-"})
"""What stands in the place of an error where there is none."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a failing answer says, whatever its form.

    Args:
        codes: Candidates for the code, the most telling place first.
        message: As it was sent; not yet fit to be shown.
        status: A status told inside the body; None without.
        request_id: None without.
        characters: What it says it billed; None without.
        meaning: What a maker's number means, a name in ``failure_codes.RULES``; None without a known one.
        wait_s: Seconds that the body asks to wait; None without.
        is_nested: Whether it was an ``{"error": {...}}``.
        has_audio: Whether audio came with it, or before it in a stream: that may be billed, whatever it says.
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
    """Whether an object that came with a 200 is a failure.

    It is by an ``error``, a bad ``status_code``, a maker's number that is not its success, or a known code. An unknown
    non-empty ``code`` is not enough: there are ``"Success"``, ``"ok"`` and the like.
    """
    if _is_error(payload.get("error")) or _at(payload, ("Response", "Error")):
        return True
    form, number = _number_in(payload)
    if form is not None:
        return form.strict or _meaning_of(form, number) is not None
    if _inner_status(payload) is not None:
        return True
    codes = [payload[name] for name in _CODES_ALONE & payload.keys()]
    return any(isinstance(code, str) and code != "" and is_known(code) for code in codes)


def _is_error(error: object) -> bool:
    if isinstance(error, dict):
        return any(error.values()) and str(error.get("code", "")).lower() not in _NO_ERRORS
    return bool(error) and str(error).lower() not in _NO_ERRORS


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
    if isinstance(payload, list) and payload and isinstance(payload[0], dict):
        payload = payload[0]  # Google's answers to streamed requests
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
    holders = _holders_of(payload)
    statuses = [event_status, *map(_inner_status, holders)]
    form, number = _number_in(payload)
    message = next(_messages_of(holders), "")
    return _flattened(
        Complaint(
            codes=(*_reasons_of(payload), *_codes_of(payload, holders), *(() if form is None else (str(number),))),
            message=message,
            status=next((told for told in statuses if told is not None and told >= 400), None),
            request_id=clean_id(payload.get("request_id")),
            characters=usage_of(payload).characters_reported,
            meaning=_quota_of_a_day(payload) or (None if form is None else _meaning_of(form, number)),
            wait_s=wait_in(holders, message[:_READ_CHARACTERS]),
            is_nested=isinstance(payload.get("error"), dict),
        )
    )


def with_type(said: Complaint, headers: Mapping[str, str]) -> Complaint:
    """Add the type that a header tells, as Amazon's do (``ThrottlingException:http://...``), as the first code."""
    kinds = (_type_name(headers[name]) for name in _TYPE_HEADERS if name in headers)
    told = tuple(kind for kind in kinds if _is_code(kind))
    return replace(said, codes=(*told, *said.codes)) if told else said


def _type_name(value: str) -> str:
    """Return the name in ``com.amazon.coral.service#ThrottlingException:http://...``."""
    return value.partition(":http")[0].rpartition("#")[2].strip()


def _at(payload: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = payload
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _holders_of(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [holder for holder in (_at(payload, path) for path in _HOLDERS) if isinstance(holder, dict)]


def _number_in(payload: Mapping[str, Any]) -> tuple[makers.Numbers | None, int]:
    """Return the maker's form of an object that tells a number other than success in it, and the number."""
    names = _FORM_NAMES & payload.keys()
    if not names or (names == _CODE_ALONE and not payload["code"]):  # nearly every answer: this is done for each
        return None, 0
    for form in makers.FORMS:
        if form.path[0] not in names or (form.beside is not None and form.beside not in payload):
            continue
        number = _whole(_at(payload, form.path))
        if number is not None and number not in form.success and (form.strict or _meaning_of(form, number)):
            return form, number
    return None, 0


def _whole(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return int(value)
    return value if type(value) is int else None


def _meaning_of(form: makers.Numbers, number: int) -> str | None:
    return next((meaning for meaning, numbers in form.meanings.items() if number in numbers), None)


def _details_of(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return Google's details (https://cloud.google.com/apis/design/errors)."""
    details = _at(payload, ("error", "details"))
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _reasons_of(payload: Mapping[str, Any]) -> Iterator[str]:
    for detail in _details_of(payload):
        reason = detail.get("reason")
        if _is_code(reason):
            yield reason


def _quota_of_a_day(payload: Mapping[str, Any]) -> str | None:
    for detail in _details_of(payload):
        named = orjson.dumps([detail.get("violations"), detail.get("metadata")]).decode()
        if makers.DAILY_QUOTA.search(named):
            return "quota_of_a_day"
    return None


def _codes_of(payload: Mapping[str, Any], holders: list[dict[str, Any]]) -> Iterator[str]:
    for holder in holders:
        for name in _CODE_NAMES:
            code = holder.get(name)
            if _is_code(code):
                yield _type_name(code).strip()
    for path in _OWN_STATUS:
        status = _at(payload, (*path, "status"))
        if _is_code(status):
            yield status.strip()


def _is_code(code: object) -> TypeGuard[str]:
    if not isinstance(code, str) or not 0 < len(code) <= 100:
        return False
    # A status in the place of a code ("code": "400") is no name.
    return code.isprintable() and not code.isspace() and not re.fullmatch(r"\d{3}", code)


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
    codes = (*said.codes, carried) if carried else said.codes
    told = _FLATTENED_STATUS.search(message)
    status = said.status or (int(told[1] or told[2]) if told else None)
    return replace(said, codes=codes, status=status)


_FREE_QUOTA = re.compile(r"free (?:allocated |trial )?quota|free[ -]tier[^.]{0,60}exhausted|免费额度", re.IGNORECASE)


def tells_of_free_quota(message: str) -> bool:
    """Whether a message speaks of the free quota, which no waiting gives back."""
    return _FREE_QUOTA.search(message[:_READ_CHARACTERS]) is not None


_BILLING = re.compile(r"check your plan and billing details(?!.*(?:aliyun|alibabacloud)\.)", re.IGNORECASE | re.DOTALL)


def tells_of_billing(message: str) -> bool:
    """Whether a message sends its reader to plan and billing, as OpenAI's; Alibaba's has a link of its own."""
    return _BILLING.search(message[:_READ_CHARACTERS]) is not None


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
