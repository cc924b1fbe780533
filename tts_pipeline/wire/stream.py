"""Read a sequence of JSON objects into one reading: server-sent events, lines of JSON, a list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tts_pipeline.audio.identify import identify
from tts_pipeline.errors import ServiceError
from tts_pipeline.models import Usage
from tts_pipeline.wire.complaint import is_failure
from tts_pipeline.wire.description import described
from tts_pipeline.wire.encoding import Decoder
from tts_pipeline.wire.failure import classify_payload, malformed, no_audio, unreadable
from tts_pipeline.wire.payload import Sound, sound_in
from tts_pipeline.wire.reading import Reading, Reply, request_id_in
from tts_pipeline.wire.search import has_unread, keys_of, sound_anywhere
from tts_pipeline.wire.sse import Event, parse_events
from tts_pipeline.wire.timestamps import TIMESTAMPS_DROPPED, RaggedTimestampsError, TimedText, find_words, merged
from tts_pipeline.wire.usage import NO_USAGE, usage_of
from tts_pipeline.wire.usage import merged as merged_usage

_LAST_TYPES = frozenset(
    {
        *("speech.audio.done", "response.audio.done", "audio.done", "response.done", "response.completed"),
        *("done", "end", "finish", "finished", "complete", "completed"),
    }
)
"""``type`` of an object, or name of an event: OpenAI's, Cartesia's ``done``, and their like."""
_LAST_MARKS = ("done", "is_final", "isFinal", "is_last", "is_last_chunk", "is_end", "finished")
_REASONS = ("finish_reason", "finishReason")
_HOLDERS = ("output", "data", "result")
_LISTS = ("choices", "candidates")
_UNFINISHED = ("", "null", None)
"""``finish_reason`` while Alibaba is still generating; the string is not a slip of ours."""

_BARE = re.compile(rb"[A-Za-z0-9+/=_-]{16,}")
"""A chunk of base64 or hex without JSON around it."""

_WHOLE_STATUS = 2
"""MiniMax's ``data.status`` of the last object, which repeats all of the audio unless it was asked not to (2026-11)."""
_REPEATED_SHARE = 0.9
"""It is encoded anew, so it may be a little shorter than the chunks together; a chunk of its own is much shorter."""


@dataclass(slots=True)
class _Gathered:
    chunks: list[bytes] = field(default_factory=list)
    whole: bytes | None = None
    content_type: str | None = None
    ends: list[object] = field(default_factory=list)
    linked: Sound | None = None
    broken: bool = False
    finished: bool = False
    usage: Usage = NO_USAGE
    request_id: str | None = None
    words: list[TimedText] = field(default_factory=list)
    ragged: bool = False
    unread: list[object] = field(default_factory=list)
    decode: Decoder = field(default_factory=Decoder)


def read_stream(reply: Reply) -> Reading:
    """Return the reading of a whole event stream: chunks are decoded one by one, then joined.

    Raises:
        ServiceError: An event was an error; by its code and status.
        TransientError: ``CutStream`` without its last frame, ``MalformedBody`` with a frame that is no JSON,
            ``NoAudio``. May have been billed.
        PermanentError: ``UnreadableAudio``: there is something in it that is neither base64 nor hex. May have been
            billed.
    """
    gathered = _Gathered()
    for payload in _payloads(reply, gathered):
        _gather(payload, gathered)
    return _reading(reply, gathered)


def read_documents(values: Sequence[object], reply: Reply, *, is_whole: bool) -> Reading:
    """Return the reading of JSON values that belong together.

    Args:
        values: In order.
        reply: The answer that they are in.
        is_whole: Whether its form tells that none is missing; else the audio itself must, unless the last one says it.

    Raises:
        ServiceError: As ``read_stream``.
    """
    gathered = _Gathered()
    for value in values:
        if not isinstance(value, dict):
            gathered.unread.append(value)
            continue
        if is_failure(value):
            audio_came = bool(gathered.chunks or gathered.linked)
            raise classify_payload(value, reply.status, reply.headers, audio_came=audio_came)
        gathered.finished |= _is_last(value, None)
        _gather(value, gathered)
    complete, gathered.finished = is_whole or gathered.finished, True
    return _reading(reply, gathered)._replace(complete=complete)


def _payloads(reply: Reply, gathered: _Gathered) -> Iterator[Mapping[str, Any]]:
    for event in parse_events(reply.body):
        if event.is_done:
            gathered.finished = True
            continue
        for payload in _parsed(event, reply):
            if isinstance(payload, dict):
                _refuse_failure(payload, event, reply, audio_came=bool(gathered.chunks or gathered.linked))
                gathered.finished |= _is_last(payload, event.name)
                yield payload
            else:
                gathered.unread.append(payload)


def _parsed(event: Event, reply: Reply) -> list[object]:
    try:
        return event.payloads()
    except ValueError:
        bare = b"".join(event.data).strip()
        if _BARE.fullmatch(bare):
            return [bare.decode()]
        raise malformed("MalformedBody", "a frame of the stream is no JSON: it was cut or damaged", reply) from None


def _refuse_failure(payload: Mapping[str, Any], event: Event, reply: Reply, *, audio_came: bool) -> None:
    if event.name == "error" or (event.status or 0) >= 400 or is_failure(payload):
        raise classify_payload(payload, reply.status, reply.headers, event_status=event.status, audio_came=audio_came)


def _is_last(payload: Mapping[str, Any], event_name: str | None) -> bool:
    kind = payload.get("type")
    if event_name in _LAST_TYPES or (isinstance(kind, str) and kind in _LAST_TYPES):
        return True
    holders = [payload, *(payload.get(name) for name in _HOLDERS)]
    holders += [items[0] for items in map(payload.get, _LISTS) if isinstance(items, list) and items]
    return any(_tells_end(holder) for holder in holders if isinstance(holder, dict))


def _tells_end(holder: Mapping[str, Any]) -> bool:
    if any(holder.get(name) not in _UNFINISHED for name in _REASONS):
        return True
    return any(holder.get(name) is True for name in _LAST_MARKS) or _is_repeating(holder)


def _is_repeating(holder: object) -> bool:
    return isinstance(holder, dict) and type(holder.get("status")) is int and holder["status"] == _WHOLE_STATUS


def _gather(payload: Mapping[str, Any], gathered: _Gathered) -> None:
    try:
        sound = sound_in(payload, gathered.decode)
    except ValueError:
        gathered.broken = True
        sound = None
    if sound is None:
        gathered.unread.append(payload)
    else:
        gathered.ends = [*gathered.ends[:1], payload]
        _take(sound, payload, gathered)
    gathered.usage = merged_usage(usage_of(payload), gathered.usage)
    gathered.request_id = gathered.request_id or request_id_in(payload)
    try:
        gathered.words.extend(find_words(payload) or ())
    except RaggedTimestampsError:
        gathered.ragged = True


def _take(sound: Sound, payload: Mapping[str, Any], gathered: _Gathered) -> None:
    if sound.data is None:
        gathered.linked = sound
    elif _is_repeating(payload.get("data")) and _is_as_long(sound.data, gathered.chunks):
        gathered.whole = sound.data
    else:
        gathered.chunks.append(sound.data)
        gathered.content_type = gathered.content_type or sound.content_type


def _is_as_long(data: bytes, chunks: Sequence[bytes]) -> bool:
    return bool(chunks) and len(data) >= _REPEATED_SHARE * sum(map(len, chunks))


def _reading(reply: Reply, gathered: _Gathered) -> Reading:
    sound = _whole(reply, gathered)
    words = None if gathered.ragged else merged(gathered.words) or None
    return Reading(
        data=sound.data,
        url=sound.url,
        url_expires_at=sound.expires_at,
        content_type=sound.content_type,
        usage=gathered.usage,
        request_id=gathered.request_id or reply.request_id,
        words=words,
        quality=(TIMESTAMPS_DROPPED,) if gathered.ragged else (),
    )


def _whole(reply: Reply, gathered: _Gathered) -> Sound:
    """Return the audio, if the stream came to its end; a link to all of it makes up for a damaged chunk."""
    if not gathered.finished:
        raise malformed("CutStream", "the stream ended before its last frame", reply, request_id=gathered.request_id)
    if gathered.chunks and not gathered.broken:
        sound = Sound(data=_joined(gathered), content_type=gathered.content_type)
        return described(sound, [*gathered.ends, *gathered.unread])
    found = gathered.linked or sound_anywhere(gathered.unread)
    if found is None or (gathered.chunks and gathered.linked is None):
        raise _unusable(reply, gathered)
    return found


def _joined(gathered: _Gathered) -> bytes:
    """Join the chunks; where the last object repeated all of them, they are not taken twice."""
    data = b"".join(gathered.chunks)
    if gathered.whole is not None:
        return gathered.whole if _repeats(gathered.whole, data, len(gathered.chunks)) else data + gathered.whole
    *before, last = gathered.chunks
    return b"".join(before) if len(before) > 1 and last == b"".join(before) else data


def _repeats(whole: bytes, data: bytes, chunks: int) -> bool:
    # One chunk may be as long as the one before it; as long as several, or equal, or a file of its own, it is no chunk.
    return chunks > 1 or whole.startswith(data) or identify(whole) is not None


def _unusable(reply: Reply, gathered: _Gathered) -> ServiceError:
    if gathered.broken or has_unread(gathered.unread):
        message = f"the audio in the stream is neither base64 nor hex: {keys_of(gathered.unread)}"
        return unreadable(message, reply, request_id=gathered.request_id)
    message = f"the stream has no audio: {keys_of(gathered.unread)}"
    return no_audio(message, reply, request_id=gathered.request_id)
