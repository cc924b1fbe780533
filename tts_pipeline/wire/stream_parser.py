"""Merge a sequence of JSON objects (server-sent events, JSON lines, an array) into one response."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from tts_pipeline.audio.identify import identify
from tts_pipeline.errors import ServiceError
from tts_pipeline.models import Usage
from tts_pipeline.wire.audio_content import AudioContent, find_audio
from tts_pipeline.wire.audio_search import describe_keys, has_possible_audio, search_audio, with_media_type
from tts_pipeline.wire.event_stream import ServerSentEvent, parse_events
from tts_pipeline.wire.failure import classify_payload, malformed_error, missing_audio_error
from tts_pipeline.wire.failure_body import is_failure
from tts_pipeline.wire.response import ParsedResponse, Response, request_id_in
from tts_pipeline.wire.text_decoder import TextDecoder
from tts_pipeline.wire.timestamps import (
    TIMESTAMPS_DROPPED,
    MalformedTimestampsError,
    TimedText,
    find_words,
    merge_words,
)
from tts_pipeline.wire.usage import NO_USAGE, merge_usage, usage_of

_LAST_TYPES = frozenset(
    {
        *("speech.audio.done", "response.audio.done", "audio.done", "response.done", "response.completed"),
        *("done", "end", "finish", "finished", "complete", "completed"),
    }
)
"""``type`` of the last object, or name of the last event: OpenAI's, Cartesia's ``done``, and the like."""
_LAST_MARKS = ("done", "is_final", "isFinal", "is_last", "is_last_chunk", "is_end", "finished")
_REASONS = ("finish_reason", "finishReason")
_HOLDERS = ("output", "data", "result")
_LISTS = ("choices", "candidates")
_UNFINISHED_REASONS = ("", "null", None)
"""``finish_reason`` while Alibaba is still generating; the string ``null`` is not our mistake."""

_BARE_TEXT = re.compile(rb"[A-Za-z0-9+/=_-]{16,}")
"""A chunk of base64 or hex without JSON around it."""

_REPEATING_STATUS = 2
"""MiniMax's ``data.status`` of the last object, which repeats all audio unless the request forbids it (2026-11)."""
_REPEATED_SHARE = 0.9
"""The repeated audio is encoded anew, so it may be a little shorter than all chunks; a mere chunk is much shorter."""


@dataclass(slots=True)
class _StreamState:
    chunks: list[bytes] = field(default_factory=list)
    full_audio: bytes | None = None
    content_type: str | None = None
    outer_payloads: list[object] = field(default_factory=list)
    link: AudioContent | None = None
    has_undecodable: bool = False
    is_finished: bool = False
    usage: Usage = NO_USAGE
    request_id: str | None = None
    words: list[TimedText] = field(default_factory=list)
    has_malformed_words: bool = False
    other_payloads: list[object] = field(default_factory=list)
    decode: TextDecoder = field(default_factory=TextDecoder)


def parse_stream(response: Response) -> ParsedResponse:
    """Return the content of a whole event stream: decode each chunk, then join them.

    Raises:
        ServiceError: An event was an error, classified by its code and status.
        TransientError: ``CutStream`` without the last frame, ``MalformedBody`` with a frame that is not JSON,
            ``NoAudio``. Retried; may have been billed.
        PermanentError: ``UnreadableAudio``: the audio is neither base64 nor hex. Never retried; may have been billed.
    """
    state = _StreamState()
    for event in parse_events(response.body):
        if event.is_done:
            state.is_finished = True
            continue
        for value in _event_payloads(event, response):
            _add_value(value, response, state, event.name, event.status)
    return _parsed_response(response, state)


def parse_documents(values: Sequence[object], response: Response, *, is_whole: bool) -> ParsedResponse:
    """Return the content of consecutive JSON values that belong together; raises as ``parse_stream`` does.

    ``is_whole``: their form shows that none is missing. Otherwise the last value, or else the audio, must show it.
    """
    state = _StreamState()
    for value in values:
        _add_value(value, response, state)
    complete, state.is_finished = is_whole or state.is_finished, True
    return replace(_parsed_response(response, state), complete=complete)


def _event_payloads(event: ServerSentEvent, response: Response) -> list[object]:
    try:
        return event.payloads()
    except ValueError:
        text = b"".join(event.data).strip()
        if _BARE_TEXT.fullmatch(text):
            return [text.decode()]
        raise malformed_error(
            "MalformedBody", "a frame of the stream is not JSON: it was cut or damaged", response
        ) from None


def _add_value(
    value: object,
    response: Response,
    state: _StreamState,
    event_name: str | None = None,
    event_status: int | None = None,
) -> None:
    """Add one value; raise if the value itself, or the event around it, is a failure."""
    if not isinstance(value, dict):
        state.other_payloads.append(value)
        return
    if event_name == "error" or (event_status or 0) >= 400 or is_failure(value):
        has_audio = bool(state.chunks or state.link)
        raise classify_payload(value, response.status, response.headers, event_status=event_status, has_audio=has_audio)
    state.is_finished |= _is_last(value, event_name)
    _add_payload(value, state)


def _is_last(payload: Mapping[str, Any], event_name: str | None) -> bool:
    kind = payload.get("type")
    if event_name in _LAST_TYPES or (isinstance(kind, str) and kind in _LAST_TYPES):
        return True
    holders = [payload, *(payload.get(name) for name in _HOLDERS)]
    holders += [items[0] for items in map(payload.get, _LISTS) if isinstance(items, list) and items]
    return any(_marks_end(holder) for holder in holders if isinstance(holder, dict))


def _marks_end(holder: Mapping[str, Any]) -> bool:
    if any(holder.get(name) not in _UNFINISHED_REASONS for name in _REASONS):
        return True
    return any(holder.get(name) is True for name in _LAST_MARKS) or _is_repeating(holder)


def _is_repeating(holder: object) -> bool:
    return isinstance(holder, dict) and type(holder.get("status")) is int and holder["status"] == _REPEATING_STATUS


def _add_payload(payload: Mapping[str, Any], state: _StreamState) -> None:
    try:
        audio = find_audio(payload, state.decode)
    except ValueError:
        state.has_undecodable = True
        audio = None
    if audio is None:
        state.other_payloads.append(payload)
    else:
        state.outer_payloads = [*state.outer_payloads[:1], payload]
        _add_audio(audio, payload, state)
    state.usage = merge_usage(usage_of(payload), state.usage)
    state.request_id = state.request_id or request_id_in(payload)
    try:
        state.words.extend(find_words(payload) or ())
    except MalformedTimestampsError:
        state.has_malformed_words = True


def _add_audio(audio: AudioContent, payload: Mapping[str, Any], state: _StreamState) -> None:
    if audio.data is None:
        state.link = audio
    elif (
        _is_repeating(payload.get("data"))
        and state.chunks
        and len(audio.data) >= _REPEATED_SHARE * sum(map(len, state.chunks))
    ):
        state.full_audio = audio.data
    else:
        state.chunks.append(audio.data)
        state.content_type = state.content_type or audio.content_type


def _parsed_response(response: Response, state: _StreamState) -> ParsedResponse:
    audio = _audio_of(response, state)
    words = None if state.has_malformed_words else merge_words(state.words) or None
    quality = (TIMESTAMPS_DROPPED,) if state.has_malformed_words else ()
    return ParsedResponse(*audio, state.usage, state.request_id or response.request_id, words, quality)


def _audio_of(response: Response, state: _StreamState) -> AudioContent:
    """Return the audio of a stream that has its end; a link to the whole audio replaces a damaged chunk."""
    if not state.is_finished:
        raise malformed_error(
            "CutStream", "the stream ended before its last frame", response, request_id=state.request_id
        )
    if state.chunks and not state.has_undecodable:
        audio = AudioContent(data=_join_chunks(state), content_type=state.content_type)
        return with_media_type(audio, [*state.outer_payloads, *state.other_payloads])
    fallback = state.link or search_audio(state.other_payloads)
    if fallback is None or (state.chunks and state.link is None):
        raise _unusable_error(response, state)
    return fallback


def _join_chunks(state: _StreamState) -> bytes:
    """Join the chunks; take them only once when the last object repeated all of them."""
    data = b"".join(state.chunks)
    if state.full_audio is not None:
        return (
            state.full_audio if _is_repetition(state.full_audio, data, len(state.chunks)) else data + state.full_audio
        )
    *earlier, last = state.chunks
    return b"".join(earlier) if len(earlier) > 1 and last == b"".join(earlier) else data


def _is_repetition(full_audio: bytes, data: bytes, chunk_count: int) -> bool:
    # A chunk may be as long as one chunk before it. It is a repetition if it is as long as several, equal, or a file.
    return chunk_count > 1 or full_audio.startswith(data) or identify(full_audio) is not None


def _unusable_error(response: Response, state: _StreamState) -> ServiceError:
    is_unreadable = state.has_undecodable or has_possible_audio(state.other_payloads)
    problem = "the audio in the stream is neither base64 nor hex" if is_unreadable else "the stream has no audio"
    message = f"{problem}: {describe_keys(state.other_payloads)}"
    return missing_audio_error(message, response, is_unreadable=is_unreadable, request_id=state.request_id)
