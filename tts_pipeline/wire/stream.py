"""Read a stream of server-sent events into one reading: Alibaba's frames, and OpenAI's ``speech.audio.*``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tts_pipeline.errors import TransientError
from tts_pipeline.models import Usage
from tts_pipeline.wire.complaint import is_failure
from tts_pipeline.wire.failure import classify_payload, malformed
from tts_pipeline.wire.payload import Sound, sound_in
from tts_pipeline.wire.reading import Reading, Reply, clean_id
from tts_pipeline.wire.sse import Event, parse_events
from tts_pipeline.wire.timestamps import TIMESTAMPS_DROPPED, RaggedTimestampsError, TimedText, find_words, merged
from tts_pipeline.wire.usage import usage_of

_LAST_TYPE = "speech.audio.done"
_UNFINISHED = ("", "null", None)
"""``finish_reason`` while Alibaba is still generating; the string is not a slip of ours."""


@dataclass(slots=True)
class _Gathered:
    chunks: list[bytes] = field(default_factory=list)
    linked: Sound | None = None
    broken: bool = False
    finished: bool = False
    usage: Usage = field(default_factory=Usage)
    request_id: str | None = None
    words: list[TimedText] = field(default_factory=list)
    ragged: bool = False


def read_stream(reply: Reply) -> Reading:
    """Return the reading of a whole stream: chunks are decoded one by one, then joined.

    Raises:
        ServiceError: An event was an error; by its code and status.
        TransientError: ``CutStream`` without its last frame, ``MalformedBody`` with a frame that is no JSON or no
            base64, ``NoAudio``. May have been billed.
    """
    gathered = _Gathered()
    for payload in _payloads(reply, gathered):
        _gather(payload, gathered)
    sound = _whole(reply, gathered)
    words = None if gathered.ragged else merged(gathered.words) or None
    return Reading(
        data=sound.data,
        url=sound.url,
        url_expires_at=sound.expires_at,
        content_type=None,
        usage=gathered.usage,
        request_id=gathered.request_id or reply.request_id,
        words=words,
        quality=(TIMESTAMPS_DROPPED,) if gathered.ragged else (),
    )


def _payloads(reply: Reply, gathered: _Gathered) -> Iterator[Mapping[str, Any]]:
    for event in parse_events(reply.body):
        if event.is_done:
            gathered.finished = True
            continue
        for payload in _parsed(event, reply):
            if isinstance(payload, dict):
                _refuse_failure(payload, event, reply, audio_came=bool(gathered.chunks or gathered.linked))
                gathered.finished |= _is_last(payload, event)
                yield payload


def _parsed(event: Event, reply: Reply) -> list[object]:
    try:
        return event.payloads()
    except ValueError:
        raise malformed("MalformedBody", "a frame of the stream is no JSON: it was cut or damaged", reply) from None


def _refuse_failure(payload: Mapping[str, Any], event: Event, reply: Reply, *, audio_came: bool) -> None:
    if event.name == "error" or (event.status or 0) >= 400 or is_failure(payload):
        raise classify_payload(payload, reply.status, reply.headers, event_status=event.status, audio_came=audio_came)


def _is_last(payload: Mapping[str, Any], event: Event) -> bool:
    if _LAST_TYPE in (payload.get("type"), event.name):
        return True
    output = payload.get("output")
    return isinstance(output, dict) and output.get("finish_reason") not in _UNFINISHED


def _gather(payload: Mapping[str, Any], gathered: _Gathered) -> None:
    try:
        sound = sound_in(payload)
    except ValueError:
        gathered.broken = True
        sound = None
    if sound is not None and sound.data is not None:
        gathered.chunks.append(sound.data)
    elif sound is not None:
        gathered.linked = sound
    usage = usage_of(payload)
    gathered.usage = usage if usage != Usage() else gathered.usage
    gathered.request_id = gathered.request_id or clean_id(payload.get("request_id"))
    try:
        gathered.words.extend(find_words(payload) or ())
    except RaggedTimestampsError:
        gathered.ragged = True


def _whole(reply: Reply, gathered: _Gathered) -> Sound:
    """Return the audio, if the stream came to its end; a link to all of it makes up for a damaged chunk."""
    if not gathered.finished:
        raise _unusable("CutStream", "the stream ended before its last frame", reply, gathered)
    if gathered.chunks and not gathered.broken:
        return Sound(data=b"".join(gathered.chunks))
    if gathered.linked is not None:
        return gathered.linked
    if gathered.broken:
        raise _unusable("MalformedBody", "a chunk of audio is no base64", reply, gathered)
    raise _unusable("NoAudio", "the stream has no audio", reply, gathered)


def _unusable(code: str, message: str, reply: Reply, gathered: _Gathered) -> TransientError:
    characters = gathered.usage.characters_reported
    return malformed(code, message, reply, request_id=gathered.request_id, characters=characters)
