"""Classify a failing answer as one of our errors, and decide whether it may have cost money.

``failure_body`` parses the body; ``failure_codes`` holds the meanings of codes and statuses. Codes inside messages are
read only here, at the boundary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from tts_pipeline.errors import (
    FatalError,
    ServiceError,
    ThrottledError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.wire.audio_content import find_audio
from tts_pipeline.wire.failure_body import (
    FailureBody,
    find_input_limit,
    mentions_billing,
    mentions_free_quota,
    parse_failure,
    parse_failure_payload,
    with_header_code,
)
from tts_pipeline.wire.failure_codes import (
    GENERIC_CODES,
    QUOTA_CODES,
    RULES,
    SPECIFIC_STATUSES,
    UNBILLED_STATUSES,
    FailureRule,
    is_known,
    meaning_of_message,
    normalize_code,
    rule_for,
)
from tts_pipeline.wire.messages import clean_message
from tts_pipeline.wire.response import Response, request_id_of
from tts_pipeline.wire.retry_after import rate_limit_reset_s, retry_after_s

NO_AUDIO = "NoAudio"
"""The code of a whole answer in which nothing could be audio."""

INVALID_HTTP = "InvalidHttpAnswer"
"""The code of an answer that is not valid HTTP."""

UNEXPECTED_TEXT = "UnexpectedText"
"""The code of a page or another text in place of an answer, under a successful status."""

WRONG_SERVICE_HINT = "if every row meets this, the service answers in another form: check `service` and its address"


def classify(status: int, headers: Mapping[str, str], body: bytes) -> ServiceError:
    """Return the error that a failing answer means. Never raises.

    The status may be 200, with an error in the body; the body may have any form, and may be empty or cut.
    """
    return _error_of(with_header_code(parse_failure(body), headers), status, headers)


def classify_payload(
    payload: Mapping[str, Any],
    status: int,
    headers: Mapping[str, str],
    *,
    event_status: int | None = None,
    has_audio: bool = False,
) -> ServiceError:
    """Return the error that a parsed object means, inside an HTTP 200 or a server-sent event. Never raises.

    ``may_be_billed`` follows the HTTP ``status``, not the ``event_status`` that the event states. Audio that came
    earlier in the same stream may be billed, whatever the object says.
    """
    failure = with_header_code(parse_failure_payload(payload, event_status), headers)
    failure = replace(failure, has_audio=has_audio or _has_audio(payload))
    return _error_of(failure, status, headers, default_code="UnnamedError")


def _has_audio(payload: Mapping[str, Any]) -> bool:
    try:
        return find_audio(payload) is not None
    except ValueError:
        return True


def malformed_error(code: str, message: str, response: Response, *, request_id: str | None = None) -> TransientError:
    """Return the error for an incomplete answer: retried; may have been billed.

    The code is ``EmptyBody``, ``MalformedBody`` or ``CutStream``. A request id of None takes that of the headers.
    """
    request_id = request_id or response.request_id
    return TransientError(message, code=code, http_status=response.status, request_id=request_id)


def missing_audio_error(
    message: str, response: Response, *, is_unreadable: bool, request_id: str | None = None
) -> ServiceError:
    """Return the error for a whole answer without audio, which may have been billed. The message describes the answer.

    ``is_unreadable``: the answer may hold audio in a form that we cannot read; it is never bought again. Otherwise it
    is bought once more: models sometimes fail like this (a Gemini model's 200 with ``finishReason: OTHER``, seen
    2026-11). A request id of None takes that of the headers.
    """
    return (UnreadableError if is_unreadable else TransientError)(
        message,
        code="UnreadableAudio" if is_unreadable else NO_AUDIO,
        http_status=response.status,
        request_id=request_id or response.request_id,
        hint=WRONG_SERVICE_HINT,
    )


def _error_of(
    failure: FailureBody,
    status: int,
    headers: Mapping[str, str],
    *,
    default_code: str = "MalformedBody",
) -> ServiceError:
    code = _most_specific_code(failure.codes)
    # Gateways flatten statuses: a status inside the body overrides 200, 400 and 500, but no other status.
    is_flattened = failure.status is not None and (status < 400 or status in {400, 500})
    effective_status = failure.status if is_flattened and failure.status is not None else status
    wait_s = retry_after_s(headers)
    wait_s = failure.wait_s if wait_s is None else wait_s
    rule, limit = _rule_and_limit(replace(failure, wait_s=wait_s), code, effective_status, status)
    if wait_s is None and rule.error is ThrottledError:
        wait_s = rate_limit_reset_s(headers)
    return rule.error(
        clean_message(failure.message) or _status_phrase(effective_status),
        code=code or (f"HTTP{effective_status}" if effective_status >= 300 else default_code),
        http_status=status,
        request_id=failure.request_id or request_id_of(headers),
        may_be_billed=not _is_surely_unbilled(failure, rule, status),
        retry_after_s=wait_s,
        characters_reported=failure.characters,
        input_limit=limit,
        hint=rule.hint,
    )


def _is_surely_unbilled(failure: FailureBody, rule: FailureRule, status: int) -> bool:
    """Return whether surely nothing was charged: by the status, or because the service refused before its work.

    Services refuse a bad key, an empty account, a model and a rate before they make speech. They may refuse a text
    after making speech of it, and an answer that reports characters has counted them.
    """
    if status in UNBILLED_STATUSES:
        return True
    was_refused = issubclass(rule.error, FatalError | ThrottledError)
    return status < 400 and was_refused and not failure.has_audio and not failure.characters


def _most_specific_code(codes: tuple[str, ...]) -> str | None:
    """Return the most specific code: a known code that is not generic, else a known code, else any code."""
    known_codes = [code for code in codes if is_known(code)]
    specific_codes = [code for code in known_codes if normalize_code(code) not in GENERIC_CODES]
    return next(iter((*specific_codes, *known_codes, *codes)), None)


def _rule_and_limit(
    failure: FailureBody, code: str | None, status: int, http_status: int
) -> tuple[FailureRule, int | None]:
    rule = _find_rule(failure, code, status, http_status)
    # Token limits per minute are described in the same words, under a code for throttling.
    may_name_limit = not issubclass(rule.error, FatalError | ThrottledError)
    limit = find_input_limit(failure.message) if may_name_limit else None
    return (rule, None) if limit is None else (RULES["too_long"], limit)


def _find_rule(failure: FailureBody, code: str | None, status: int, http_status: int) -> FailureRule:
    is_generic = code is not None and normalize_code(code) in GENERIC_CODES
    is_specific = code is not None and is_known(code) and not is_generic
    is_quota = code is not None and normalize_code(code) in QUOTA_CODES
    if (is_quota or not is_specific) and mentions_free_quota(failure.message):
        return RULES["free_quota"]
    if is_quota and _is_out_of_quota(failure, code or "", status):
        return RULES["no_balance"]
    message_meaning = None if is_specific else meaning_of_message(failure.message)
    if message_meaning is not None and failure.meaning in (None, "bad_parameter"):
        return RULES[message_meaning]
    if failure.meaning is not None:
        return RULES[failure.meaning]
    # The status inside the body overrides a gateway's generic code, and a more specific status overrides a code for any
    # failure (Mistral's ``invalid_request_error`` under a 429).
    use_status = is_generic and (status != http_status or status in SPECIFIC_STATUSES)
    return rule_for(None if use_status else code, status)


def _is_out_of_quota(failure: FailureBody, code: str, status: int) -> bool:
    """Return whether a quota code means an empty account rather than tokens per minute: never if it states a wait.

    OpenAI's ``insufficient_quota`` is nested and mentions plan and billing. Alibaba's alias for tokens per minute does
    so as well, but its body has a request id, or a link to Alibaba's documentation.
    """
    if failure.wait_s is not None or status not in (200, 400, 429):
        return False
    if normalize_code(code) == "quotaexceeded":
        return True
    return failure.is_nested and failure.request_id is None and mentions_billing(failure.message)


def _status_phrase(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
