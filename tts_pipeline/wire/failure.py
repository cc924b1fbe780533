"""Judge a failing answer: which of our errors it is, and whether it may have cost money.

What it says is read in ``complaint``, what codes and statuses mean is data in ``failure_codes``. Codes are read out of
messages here, at the boundary, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from tts_pipeline.errors import FatalError, ServiceError, ThrottledError, TransientError
from tts_pipeline.wire.complaint import (
    Complaint,
    complaint_in,
    complaint_of,
    input_limit_in,
    tells_of_free_quota,
)
from tts_pipeline.wire.failure_codes import (
    FREE_QUOTA,
    GENERIC_CODES,
    QUOTA_CODES,
    SURELY_NOT_BILLED,
    TOO_LONG,
    Rule,
    is_known,
    normal,
    rule_for,
)
from tts_pipeline.wire.messages import readable
from tts_pipeline.wire.reading import Reply, request_id_of


def classify(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime | None = None) -> ServiceError:
    """Return the error that a failing answer means. Never raises.

    Args:
        status: The HTTP status; also 200, for an error inside it.
        headers: By lower-case name.
        body: Of any form, also empty or cut.
        now: With a time zone, to read a ``Retry-After`` that is a date and has no ``Date`` header beside it; None
            leaves it out.
    """
    return _judged(complaint_in(body), status, headers, now=now)


def classify_payload(
    payload: Mapping[str, Any], status: int, headers: Mapping[str, str], *, event_status: int | None = None
) -> ServiceError:
    """Return the error that a parsed object means, inside an HTTP 200 or a server-sent event. Never raises.

    Args:
        payload: The object.
        status: The HTTP status it came under: what may have been billed follows this one.
        headers: By lower-case name.
        event_status: The status that the event itself told; None without.
    """
    return _judged(complaint_of(payload, event_status), status, headers, unnamed="UnnamedError")


def malformed(
    code: str, message: str, reply: Reply, *, request_id: str | None = None, characters: int | None = None
) -> TransientError:
    """Return the error for an answer that cannot be used: retried, and taken as billed.

    Args:
        code: Ours: ``EmptyBody``, ``MalformedBody``, ``NoAudio``, ``CutStream``.
        message: What is wrong with it.
        reply: The answer.
        request_id: The one its body tells; None takes the headers'.
        characters: What it says it billed; None without.
    """
    return TransientError(
        message,
        code=code,
        http_status=reply.status,
        request_id=request_id or reply.request_id,
        may_be_billed=True,
        characters_reported=characters,
    )


def _judged(
    said: Complaint,
    status: int,
    headers: Mapping[str, str],
    *,
    now: datetime | None = None,
    unnamed: str = "MalformedBody",
) -> ServiceError:
    code = _telling(said.codes)
    effective = _effective_status(said, status)
    rule, limit = _rule_and_limit(said, code, effective, status)
    return rule.error(
        readable(said.message) or _status_phrase(effective),
        code=code or (f"HTTP{effective}" if effective >= 400 else unnamed),
        http_status=status,
        request_id=said.request_id or request_id_of(headers),
        may_be_billed=status not in SURELY_NOT_BILLED,
        retry_after_s=retry_after_s(headers, now),
        characters_reported=said.characters,
        input_limit=limit,
        hint=rule.hint,
    )


def _telling(codes: tuple[str, ...]) -> str | None:
    """Return the code that says most: a known specific one, a known one, any."""
    known = [code for code in codes if is_known(code)]
    specific = [code for code in known if normal(code) not in GENERIC_CODES]
    return next(iter((*specific, *known, *codes)), None)


def _effective_status(said: Complaint, status: int) -> int:
    """Gateways flatten: 200, 400 and 500 give way to the status told inside; the others speak for themselves."""
    return said.status if said.status is not None and (status < 400 or status in {400, 500}) else status


def _rule_and_limit(said: Complaint, code: str | None, status: int, http_status: int) -> tuple[Rule, int | None]:
    # A gateway's own word for what came from behind it gives way to the status told inside.
    by_status = code is not None and normal(code) in GENERIC_CODES and status != http_status
    rule = rule_for(None if by_status else code, status)
    speaks_of_quota = code is None or not is_known(code) or normal(code) in QUOTA_CODES | GENERIC_CODES
    if speaks_of_quota and tells_of_free_quota(said.message):
        return FREE_QUOTA, None
    # Token limits of a minute are told in the same words, under a code that throttles.
    may_tell_limit = not issubclass(rule.error, FatalError | ThrottledError)
    limit = input_limit_in(said.message) if may_tell_limit else None
    return (rule, None) if limit is None else (TOO_LONG, limit)


_SECONDS = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*")


def retry_after_s(headers: Mapping[str, str], now: datetime | None) -> float | None:
    """Return the seconds the service asked us to wait; None when it did not say, or nothing readable.

    A date is measured against the answer's own ``Date``, so that clocks need not agree; against ``now`` without one.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        found = _SECONDS.fullmatch(headers.get(name, ""))
        if found:
            return float(found[1]) * unit_s
    until = _http_date(headers.get("retry-after"))
    since = _http_date(headers.get("date")) or now
    return None if until is None or since is None else max(0.0, (until - since).total_seconds())


def _http_date(value: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _status_phrase(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
