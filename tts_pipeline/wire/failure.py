"""Judge a failing answer: which of our errors it is, and whether it may have cost money.

What it says is read in ``complaint``, what codes and statuses mean is data in ``failure_codes``. Codes are read out of
messages here, at the boundary, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

from tts_pipeline.errors import (
    FatalError,
    ServiceError,
    ThrottledError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.wire.complaint import (
    Complaint,
    complaint_in,
    complaint_of,
    input_limit_in,
    tells_of_billing,
    tells_of_free_quota,
    with_type,
)
from tts_pipeline.wire.failure_codes import (
    FREE_QUOTA,
    GENERIC_CODES,
    QUOTA_CODES,
    RULES,
    SURELY_NOT_BILLED,
    TELLING_STATUSES,
    TOO_LONG,
    Rule,
    is_known,
    meaning_of_sentence,
    normal,
    rule_for,
)
from tts_pipeline.wire.messages import readable
from tts_pipeline.wire.payload import sound_in
from tts_pipeline.wire.reading import Reply, request_id_of
from tts_pipeline.wire.waits import reset_s, retry_after_s

NO_AUDIO = "NoAudio"
NO_HTTP = "InvalidHttpAnswer"
"""The code of a whole answer in which nothing could be audio."""

UNEXPECTED_TEXT = "UnexpectedText"
"""The code of a page or another text in place of an answer, under a status that says all is well."""

NOT_OURS = "if every row meets this, the service answers in another form: check --service and its address"


def classify(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime | None = None) -> ServiceError:
    """Return the error that a failing answer means. Never raises.

    Args:
        status: The HTTP status; also 200, for an error inside it.
        headers: By lower-case name.
        body: Of any form, also empty or cut.
        now: With a time zone, to read a ``Retry-After`` that is a date and has no ``Date`` header beside it; None
            leaves it out.
    """
    return _judged(with_type(complaint_in(body), headers), status, headers, now=now)


def classify_payload(
    payload: Mapping[str, Any],
    status: int,
    headers: Mapping[str, str],
    *,
    event_status: int | None = None,
    audio_came: bool = False,
) -> ServiceError:
    """Return the error that a parsed object means, inside an HTTP 200 or a server-sent event. Never raises.

    Args:
        payload: The object.
        status: The HTTP status it came under: what may have been billed follows this one.
        headers: By lower-case name.
        event_status: The status that the event itself told; None without.
        audio_came: Whether audio came before it, in the same stream: that may be billed, whatever it says.
    """
    said = with_type(complaint_of(payload, event_status), headers)
    said = replace(said, has_audio=audio_came or _has_sound(payload))
    return _judged(said, status, headers, unnamed="UnnamedError")


def _has_sound(payload: Mapping[str, Any]) -> bool:
    try:
        return sound_in(payload) is not None
    except ValueError:
        return True


def malformed(code: str, message: str, reply: Reply, *, request_id: str | None = None) -> TransientError:
    """Return the error for an answer that is not whole: retried, and taken as billed.

    Args:
        code: Ours: ``EmptyBody``, ``MalformedBody``, ``CutStream``.
        message: What is wrong with it.
        reply: The answer.
        request_id: The one its body tells; None takes the headers'.
    """
    return TransientError(
        message,
        code=code,
        http_status=reply.status,
        request_id=request_id or reply.request_id,
        may_be_billed=True,
    )


def unreadable(message: str, reply: Reply, *, request_id: str | None = None) -> UnreadableError:
    """Return the error for a whole answer with something in it that we cannot read: not bought again, taken as billed.

    Args:
        message: What it is instead of audio.
        reply: The answer.
        request_id: The one its body tells; None takes the headers'.
    """
    return UnreadableError(
        message,
        code="UnreadableAudio",
        http_status=reply.status,
        request_id=request_id or reply.request_id,
        may_be_billed=True,
        hint=NOT_OURS,
    )


def no_audio(message: str, reply: Reply, *, request_id: str | None = None) -> TransientError:
    """Return the error for a whole answer in which nothing could be audio: bought once more, taken as billed.

    Models do fail so once in a while (a Gemini model's 200 with ``finishReason: OTHER``, seen 2026-11), which passes.

    Args:
        message: What it is instead of audio.
        reply: The answer.
        request_id: The one its body tells; None takes the headers'.
    """
    return TransientError(
        message,
        code=NO_AUDIO,
        http_status=reply.status,
        request_id=request_id or reply.request_id,
        may_be_billed=True,
        hint=NOT_OURS,
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
    wait_s = retry_after_s(headers, now)
    wait_s = said.wait_s if wait_s is None else wait_s
    rule, limit = _rule_and_limit(replace(said, wait_s=wait_s), code, effective, status)
    if wait_s is None and rule.error is ThrottledError:
        wait_s = reset_s(headers, now)
    return rule.error(
        readable(said.message) or _status_phrase(effective),
        code=code or (f"HTTP{effective}" if effective >= 300 else unnamed),
        http_status=status,
        request_id=said.request_id or request_id_of(headers),
        may_be_billed=not _is_surely_free(said, rule, status),
        retry_after_s=wait_s,
        characters_reported=said.characters,
        input_limit=limit,
        hint=rule.hint,
    )


def _is_surely_free(said: Complaint, rule: Rule, status: int) -> bool:
    """Whether surely nothing was charged: by the status, or inside a success because nothing was done for us.

    A bad key, an empty account, a refused model and a rate are found before any speech is made. A refused text may be
    found in what was made of it, and what reports characters has counted them.
    """
    if status in SURELY_NOT_BILLED:
        return True
    was_refused = issubclass(rule.error, FatalError | ThrottledError)
    return status < 400 and was_refused and not said.has_audio and not said.characters


def _telling(codes: tuple[str, ...]) -> str | None:
    """Return the code that says most: a known specific one, a known one, any."""
    known = [code for code in codes if is_known(code)]
    specific = [code for code in known if normal(code) not in GENERIC_CODES]
    return next(iter((*specific, *known, *codes)), None)


def _effective_status(said: Complaint, status: int) -> int:
    """Gateways flatten: 200, 400 and 500 give way to the status told inside; the others speak for themselves."""
    return said.status if said.status is not None and (status < 400 or status in {400, 500}) else status


def _rule_and_limit(said: Complaint, code: str | None, status: int, http_status: int) -> tuple[Rule, int | None]:
    rule = _rule(said, code, status, http_status)
    # Token limits of a minute are told in the same words, under a code that throttles.
    may_tell_limit = not issubclass(rule.error, FatalError | ThrottledError)
    limit = input_limit_in(said.message) if may_tell_limit else None
    return (rule, None) if limit is None else (TOO_LONG, limit)


def _rule(said: Complaint, code: str | None, status: int, http_status: int) -> Rule:
    is_generic = code is not None and normal(code) in GENERIC_CODES
    is_telling = code is not None and is_known(code) and not is_generic
    is_quota = code is not None and normal(code) in QUOTA_CODES
    if (is_quota or not is_telling) and tells_of_free_quota(said.message):
        return FREE_QUOTA
    if is_quota and _is_out_of_quota(said, code or "", status):
        return RULES["no_balance"]
    in_words = None if is_telling else meaning_of_sentence(said.message)
    if in_words is not None and said.meaning in (None, "bad_parameter"):
        return RULES[in_words]
    if said.meaning is not None:
        return RULES[said.meaning]
    # A gateway's own word for what came from behind it gives way to the status told inside, and so does a word for any
    # failure (Mistral's ``invalid_request_error`` under a 429) to a status that says more.
    by_status = is_generic and (status != http_status or status in TELLING_STATUSES)
    return rule_for(None if by_status else code, status)


def _is_out_of_quota(said: Complaint, code: str, status: int) -> bool:
    """Whether a code that may mean tokens of a minute means an empty account: where no time is told to come back.

    OpenAI's ``insufficient_quota`` is nested and speaks of plan and billing; so is Alibaba's alias for the tokens of a
    minute, but that has its own request id in the body, or a link to Alibaba's documentation.
    """
    if said.wait_s is not None or status not in (200, 400, 429):
        return False
    if normal(code) == "quotaexceeded":
        return True
    return said.is_nested and said.request_id is None and tells_of_billing(said.message)


def _status_phrase(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
