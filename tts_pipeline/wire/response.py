"""Read a successful answer by its status, content type and first bytes, never by the vendor's name.

``_SHAPES`` is the list of shapes that answers have on this one route, in the order they are tried; each is a test
and a pure reader. A new shape is one more line there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from tts_pipeline.errors import PermanentError, TransientError
from tts_pipeline.models import Usage
from tts_pipeline.wire.complaint import is_failure
from tts_pipeline.wire.failure import classify, classify_payload, malformed
from tts_pipeline.wire.limits import FREELY_PARSED_BYTES, ExcessiveTextError, check_text
from tts_pipeline.wire.payload import SHORTEST_BASE64, Sound, sound_at, sound_from, sound_in
from tts_pipeline.wire.reading import Reading, Reply, clean_id
from tts_pipeline.wire.sse import is_event_stream
from tts_pipeline.wire.stream import read_stream
from tts_pipeline.wire.timestamps import TIMESTAMPS_DROPPED, RaggedTimestampsError, TimedText, find_words
from tts_pipeline.wire.usage import NO_USAGE, usage_of

__all__ = ["Reading", "Reply", "read_reply"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEAD_BYTES = 256
_CONTROL_BYTES = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\n\r")
_BOM = b"\xef\xbb\xbf"


def read_reply(reply: Reply, *, now: datetime | None = None) -> Reading:
    """Return what an answer says: audio, or where to fetch it.

    Args:
        reply: The whole answer.
        now: To read a ``Retry-After`` that is a date; None takes the answer's own ``Date``.

    Raises:
        ServiceError: The answer is a failure, by status or inside a 200; the leaf says whether it is retried.
        TransientError: It should have been a success and is unusable: ``EmptyBody``, ``MalformedBody``, ``NoAudio``,
            ``CutStream``. Retried; may have been billed.
        PermanentError: ``AnswerTooLarge``: text that no speech needs. Never retried; may have been billed.
    """
    if reply.status >= 400:
        raise classify(reply.status, reply.headers, reply.body, now=now)
    if len(reply.body) > FREELY_PARSED_BYTES:
        _refuse_excess(reply)
    for is_of_shape, read in _SHAPES:
        if is_of_shape(reply):
            return read(reply)
    return _read_bytes(reply)


def _refuse_excess(reply: Reply) -> None:
    if not (_is_text(reply) or _is_object(reply)):
        return
    try:
        check_text(reply.body)
    except ExcessiveTextError as error:
        raise PermanentError(str(error), code="AnswerTooLarge", http_status=reply.status) from None


def _is_object(reply: Reply) -> bool:
    return reply.status < 300 and reply.body[:1] == b"{"


def _is_redirect(reply: Reply) -> bool:
    return reply.status in _REDIRECTS and bool(reply.headers.get("location"))


def _is_no_success(reply: Reply) -> bool:
    return not 200 <= reply.status < 300


def _is_empty(reply: Reply) -> bool:
    return not reply.body


def _is_stream(reply: Reply) -> bool:
    named = (reply.content_type or "").lower().startswith("text/event-stream")
    return _is_text(reply) and (named or is_event_stream(reply.body))


def _is_text(reply: Reply) -> bool:
    """Whether the first bytes are text. Audio has control bytes early: headers, sizes, quiet samples."""
    head = reply.body[:_HEAD_BYTES]
    return len(head.translate(None, _CONTROL_BYTES)) == len(head)


def _read_object(reply: Reply) -> Reading:
    try:
        payload = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return _read_bytes(reply) if not _is_text(reply) else _refuse_json(reply)
    return _from_object(payload, reply)


def _refuse_json(reply: Reply) -> Reading:
    raise malformed("MalformedBody", "the answer is no whole JSON: it was cut or damaged", reply)


def _from_object(payload: Mapping[str, Any], reply: Reply) -> Reading:
    if is_failure(payload):
        raise classify_payload(payload, reply.status, reply.headers)
    request_id = clean_id(payload.get("request_id")) or reply.request_id
    sound = _sound_of(payload, reply)
    words, quality = _words_of(payload)
    return _reading(sound, request_id, usage_of(payload), words, quality)


def _sound_of(payload: Mapping[str, Any], reply: Reply) -> Sound:
    try:
        sound = sound_in(payload)
    except ValueError:
        raise _unusable("MalformedBody", "the audio is no base64", payload, reply) from None
    if sound is not None and (sound.data or sound.url):
        return sound
    if payload.get("code"):
        raise classify_payload(payload, reply.status, reply.headers)
    raise _unusable("NoAudio", "the answer has no audio", payload, reply)


def _unusable(code: str, message: str, payload: Mapping[str, Any], reply: Reply) -> TransientError:
    characters = usage_of(payload).characters_reported
    return malformed(code, message, reply, request_id=clean_id(payload.get("request_id")), characters=characters)


def _words_of(payload: Mapping[str, Any]) -> tuple[tuple[TimedText, ...] | None, tuple[str, ...]]:
    try:
        return find_words(payload), ()
    except RaggedTimestampsError:
        return None, (TIMESTAMPS_DROPPED,)


def _reading(
    sound: Sound,
    request_id: str | None,
    usage: Usage = NO_USAGE,
    words: tuple[TimedText, ...] | None = None,
    quality: tuple[str, ...] = (),
) -> Reading:
    return Reading(
        data=sound.data,
        url=sound.url,
        url_expires_at=sound.expires_at,
        content_type=sound.content_type,
        usage=usage,
        request_id=request_id,
        words=words,
        quality=quality,
    )


def _read_redirect(reply: Reply) -> Reading:
    return _reading(sound_at(reply.headers["location"]), reply.request_id)


def _read_text(reply: Reply) -> Reading:
    """Read JSON that is no object, or a bare string: a URL, a data URI, base64; anything else is somebody's message."""
    body = reply.body.removeprefix(_BOM).strip()
    complete = True
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        if body.startswith((b"{", b"[", b'"')):
            return _refuse_json(reply)
        # Without quotes around it, base64 that was cut is still base64.
        value, complete = body.decode("utf-8", "replace"), reply.complete
    if isinstance(value, dict):
        return _from_object(value, reply)
    if isinstance(value, str) and (sound := _sound_from_string(value)) is not None:
        return _reading(sound, reply.request_id)._replace(complete=complete)
    raise classify(reply.status, reply.headers, reply.body)


def _sound_from_string(value: str) -> Sound | None:
    text = value.strip()
    try:
        sound = sound_from(text)
    except ValueError:
        return None
    if sound.data is not None and not text.startswith("data:") and len(text) < SHORTEST_BASE64:
        return None
    return sound if sound.data or sound.url else None


def _read_empty(reply: Reply) -> Reading:
    raise malformed("EmptyBody", "the answer is empty", reply)


def _read_failure(reply: Reply) -> Reading:
    raise classify(reply.status, reply.headers, reply.body)


def _read_bytes(reply: Reply) -> Reading:
    """Take the body as audio, whatever it is labelled: its bytes are identified later."""
    return Reading(
        data=reply.body,
        url=None,
        url_expires_at=None,
        content_type=reply.content_type,
        usage=NO_USAGE,
        request_id=reply.request_id,
        words=None,
        quality=(),
        complete=reply.complete,
    )


_SHAPES: Sequence[tuple[Callable[[Reply], bool], Callable[[Reply], Reading]]] = (
    (_is_object, _read_object),  # first: this is nearly every answer
    (_is_redirect, _read_redirect),
    (_is_no_success, _read_failure),
    (_is_empty, _read_empty),
    (_is_stream, read_stream),
    (_is_text, _read_text),
)
