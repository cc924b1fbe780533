"""Read a successful answer by its status, content type and first bytes, never by the vendor's name.

``_SHAPES`` is the list of shapes that answers have on this one route, in the order they are tried; each is a test
and a pure reader. A new shape is one more line there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tts_pipeline.audio.identify import identify
from tts_pipeline.errors import PermanentError, ServiceError
from tts_pipeline.models import Usage
from tts_pipeline.wire.complaint import is_failure
from tts_pipeline.wire.description import described
from tts_pipeline.wire.documents import documents, unwrapped
from tts_pipeline.wire.encoding import SHORTEST_TEXT
from tts_pipeline.wire.failure import UNEXPECTED_TEXT, classify, classify_payload, malformed, no_audio, unreadable
from tts_pipeline.wire.limits import FREELY_PARSED_BYTES, ExcessiveTextError, check_text, parse_json
from tts_pipeline.wire.parts import audio_part, is_multipart
from tts_pipeline.wire.payload import Sound, sound_at, sound_from, sound_in
from tts_pipeline.wire.reading import Reading, Reply, request_id_in
from tts_pipeline.wire.search import has_unread, keys_of, sound_anywhere
from tts_pipeline.wire.sse import is_event_stream, parse_events
from tts_pipeline.wire.stream import read_documents, read_stream
from tts_pipeline.wire.timestamps import TIMESTAMPS_DROPPED, RaggedTimestampsError, TimedText, find_words
from tts_pipeline.wire.usage import NO_USAGE, merged, tells_usage, usage_in_headers, usage_of

__all__ = ["Reading", "Reply", "read_reply", "reported_usage"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEAD_BYTES = 256
_CONTROL_BYTES = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\n\r")
_SUCCESSES = frozenset({"0", "200", "ok", "success", "succeeded"})
_LONG_CONTENT = re.compile(r">([A-Za-z0-9+/=_\s-]{64,})<")
"""What stands between two tags of XML and could be base64."""

_SHORTEST_AUDIO_BYTES = 48
"""The header of a WAV and two samples."""


def read_reply(reply: Reply, *, now: datetime | None = None) -> Reading:
    """Return what an answer says: audio, or where to fetch it.

    Args:
        reply: The whole answer.
        now: To read a ``Retry-After`` that is a date; None takes the answer's own ``Date``.

    Raises:
        ServiceError: The answer is a failure, by status or inside a 200; the leaf says whether it is retried.
        TransientError: It should have been a success and is not whole: ``EmptyBody``, ``MalformedBody``, ``CutStream``.
            Or it is and nothing in it could be audio: ``NoAudio``. Retried; may have been billed.
        PermanentError: ``UnreadableAudio``: there is something in it that we cannot read, and could not the next time.
            ``AnswerTooLarge``: text that no speech needs. Never retried; may have been billed.
    """
    if reply.status >= 400:
        raise classify(reply.status, reply.headers, reply.body, now=now)
    if len(reply.body) > FREELY_PARSED_BYTES:
        _refuse_excess(reply)
    reading = _reader_of(reply)(reply)
    if reading.usage.characters_reported is None and tells_usage(reply.headers):
        return reading._replace(usage=merged(reading.usage, usage_in_headers(reply.headers)))
    return reading


def _reader_of(reply: Reply) -> Callable[[Reply], Reading]:
    for is_of_shape, read in _SHAPES:
        if is_of_shape(reply):
            return read
    return _read_bytes


def reported_usage(reply: Reply) -> Usage:
    """Return what an answer says it consumed, in whatever form; also a failing one. Never raises."""
    usage = NO_USAGE
    for value in _values_in(reply):
        if isinstance(value, dict):
            usage = merged(usage_of(value), usage)
    return merged(usage, usage_in_headers(reply.headers))


def _values_in(reply: Reply) -> Iterator[object]:
    """Yield the JSON values in a text, as far as it can be read."""
    if not (_is_text(reply) or _is_object(reply)):
        return
    try:
        check_text(reply.body)
        if is_event_stream(reply.body):
            for event in parse_events(reply.body):
                yield from () if event.is_done else event.payloads()
            return
        for value in _documents_in(unwrapped(reply.body)):
            yield from value if isinstance(value, list) else (value,)
    except ValueError:
        return


def _refuse_excess(reply: Reply) -> None:
    if not (_is_text(reply) or _is_object(reply)):
        return
    try:
        check_text(reply.body)
    except ExcessiveTextError as error:
        raise PermanentError(str(error), code="AnswerTooLarge", http_status=reply.status) from None


def _documents_in(text: bytes) -> Sequence[object]:
    try:
        return (parse_json(text),)
    except ValueError:
        return documents(text)


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
        payload = parse_json(reply.body)
    except ValueError:
        return _read_bytes(reply) if not _is_text(reply) else _read_documents(reply.body, reply)
    return _from_object(payload, reply)


def _read_documents(text: bytes, reply: Reply) -> Reading:
    try:
        values = documents(text)
    except ValueError:
        values = []
    if len(values) < 2:
        raise malformed("MalformedBody", "the answer is no whole JSON: it was cut or damaged", reply)
    return read_documents(values, reply, is_whole=reply.complete)


def _from_object(payload: Mapping[str, Any], reply: Reply) -> Reading:
    if is_failure(payload):
        raise classify_payload(payload, reply.status, reply.headers)
    sound = described(_sound_of(payload, reply), payload)
    words, quality = _words_of(payload)
    return _reading(sound, request_id_in(payload) or reply.request_id, usage_of(payload), words, quality)


def _sound_of(payload: Mapping[str, Any], reply: Reply) -> Sound:
    is_broken = False
    try:
        sound = sound_in(payload)
    except ValueError:
        sound, is_broken = None, True
    if sound is not None and (sound.url or _could_be_audio(sound.data or b"")):
        return sound
    if (found := sound_anywhere(payload)) is not None:
        return found
    if payload.get("code") and not _is_success(payload):
        raise classify_payload(payload, reply.status, reply.headers)
    raise _without_audio(payload, reply, is_broken=is_broken or bool(sound and sound.data))


def _could_be_audio(data: bytes) -> bool:
    return len(data) >= _SHORTEST_AUDIO_BYTES or identify(data) is not None


def _is_success(payload: Mapping[str, Any]) -> bool:
    return any(str(payload.get(name)).strip().lower() in _SUCCESSES for name in ("code", "message", "msg"))


def _without_audio(payload: object, reply: Reply, *, is_broken: bool = False) -> ServiceError:
    request_id = request_id_in(payload) if isinstance(payload, dict) else None
    if is_broken or has_unread(payload):
        message = f"the answer has no audio that can be read: {keys_of(payload)}"
        return unreadable(message, reply, request_id=request_id)
    return no_audio(f"the answer has no audio: {keys_of(payload)}", reply, request_id=request_id)


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
    text = unwrapped(reply.body)
    complete = True
    try:
        value = parse_json(text)
        if isinstance(value, str) and value[:1] in ("{", "["):  # JSON that was made JSON once more
            return read_reply(reply._replace(body=value.encode("utf-8", "replace")))
    except ValueError:
        if text.startswith((b"{", b"[", b'"')):
            return _read_documents(text, reply)
        # Without quotes around it, base64 that was cut is still base64.
        value, complete = text.decode("utf-8", "replace"), reply.complete
    if isinstance(value, dict):
        return _from_object(value, reply)
    if isinstance(value, list) and value:
        return read_documents(value, reply, is_whole=True)
    sound = _sound_from_string(value) if isinstance(value, str) else None
    if sound is not None:
        return _reading(sound, reply.request_id)._replace(complete=complete)
    raise _message(value, reply, is_json=not isinstance(value, str) or text.startswith(b'"'))


def _message(value: object, reply: Reply, *, is_json: bool) -> ServiceError:
    """Return the error that a text means: a failure it tells of, an answer without audio, or somebody's page."""
    error = classify(reply.status, reply.headers, reply.body)
    if error.code != "MalformedBody":
        return error
    if is_json:
        return _without_audio(value, reply)
    error.code = UNEXPECTED_TEXT
    return error


def _sound_from_string(value: str) -> Sound | None:
    text = value.strip()
    if text.startswith("<"):
        return sound_anywhere({str(n): content for n, content in enumerate(_LONG_CONTENT.findall(text))})
    try:
        sound = sound_from(text)
    except ValueError:
        return None
    if sound.data is not None and not text.startswith("data:") and len(text) < SHORTEST_TEXT:
        return None
    return sound if sound.data or sound.url else None


def _read_empty(reply: Reply) -> Reading:
    raise malformed("EmptyBody", "the answer is empty", reply)


def _read_failure(reply: Reply) -> Reading:
    raise classify(reply.status, reply.headers, reply.body)


def _read_parts(reply: Reply) -> Reading:
    part = audio_part(reply)
    return read_reply(part) if part is not None else _read_bytes(reply)


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
    (is_multipart, _read_parts),
    (_is_stream, read_stream),
    (_is_text, _read_text),
)
