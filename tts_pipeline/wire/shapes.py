"""Parse a successful answer, in the shape that its status, content type and first bytes show.

The vendor's name never decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from tts_pipeline.audio.identify import identify
from tts_pipeline.audio.pcm import CONTROL_BYTES
from tts_pipeline.errors import PermanentError, ServiceError
from tts_pipeline.models import Usage
from tts_pipeline.wire.audio_content import AudioContent, audio_at_url, audio_from_text, find_audio
from tts_pipeline.wire.audio_search import describe_keys, has_possible_audio, search_audio, with_media_type
from tts_pipeline.wire.event_stream import is_event_stream, parse_events
from tts_pipeline.wire.failure import (
    UNEXPECTED_TEXT,
    classify,
    classify_payload,
    malformed_error,
    missing_audio_error,
)
from tts_pipeline.wire.failure_body import is_failure
from tts_pipeline.wire.inline_audio import MIN_INLINE_BYTES, split_inline_audio
from tts_pipeline.wire.json_documents import (
    UNCHECKED_BYTES,
    ExcessiveTextError,
    check_text,
    parse_json,
    split_documents,
    unwrap_json,
)
from tts_pipeline.wire.multipart import audio_part, is_multipart
from tts_pipeline.wire.redirect import REDIRECTS
from tts_pipeline.wire.response import ParsedResponse, Response, request_id_in
from tts_pipeline.wire.stream_parser import parse_documents, parse_stream
from tts_pipeline.wire.text_decoder import MIN_TEXT_CHARACTERS
from tts_pipeline.wire.timestamps import TIMESTAMPS_DROPPED, MalformedTimestampsError, find_words
from tts_pipeline.wire.usage import NO_USAGE, merge_usage, usage_in_headers, usage_of

__all__ = ["ParsedResponse", "Response", "parse_response", "reported_usage"]

_HEAD_BYTES = 256
_SUCCESSES = frozenset({"0", "200", "ok", "success", "succeeded"})
_LONG_CONTENT = re.compile(r">([A-Za-z0-9+/=_\s-]{64,})<")
"""Possible base64 between two tags of XML."""

_MIN_AUDIO_BYTES = 48
"""The header of a WAV and two samples."""


def parse_response(response: Response) -> ParsedResponse:
    """Return the content of an answer: its audio, or the URL of its audio.

    Raises:
        ServiceError: The answer is a failure, by its status or inside a 200; the leaf class says whether it is retried.
        TransientError: ``EmptyBody``, ``MalformedBody``, ``CutStream``: a success that is not whole. ``NoAudio``: a
            whole answer in which nothing could be audio. Retried; may have been billed.
        PermanentError: ``UnreadableAudio``: the answer holds audio that we cannot read, now or later.
            ``AnswerTooLarge``: a text larger than any speech. Never retried; may have been billed.
    """
    if response.status >= 400:
        raise classify(response.status, response.headers, response.body)
    result = _parse_object(response) if _is_object(response) else _parse_shape(response)
    if result.usage.characters_reported is None and (usage := usage_in_headers(response.headers)) is not NO_USAGE:
        return replace(result, usage=merge_usage(result.usage, usage))
    return result


def _parse_shape(response: Response) -> ParsedResponse:
    """Parse an answer other than an object by the first shape that fits; a new shape is one more branch here."""
    _check_size(response)
    if response.status in REDIRECTS and response.headers.get("location"):
        return ParsedResponse(*audio_at_url(response.headers["location"]), request_id=response.request_id)
    if not 200 <= response.status < 300:
        raise classify(response.status, response.headers, response.body)
    if not response.body:
        raise malformed_error("EmptyBody", "the answer is empty", response)
    has_parts = is_multipart(response)
    if has_parts and (part := audio_part(response)) is not None:
        return parse_response(part)
    if has_parts or not _is_text(response):
        return _parse_bytes(response)
    is_stream = is_event_stream(response.body, response.content_type)
    return parse_stream(response) if is_stream else _parse_text(response)


def reported_usage(response: Response) -> Usage:
    """Return the usage that an answer of any form reports, also a failing one. Never raises."""
    usage = NO_USAGE
    for value in _json_values(response):
        if isinstance(value, dict):
            usage = merge_usage(usage_of(value), usage)
    return merge_usage(usage, usage_in_headers(response.headers))


def _json_values(response: Response) -> Iterator[object]:
    """Yield the JSON values in a text, up to the first that does not parse."""
    if not (_is_text(response) or _is_object(response)):
        return
    try:
        check_text(response.body)
        if is_event_stream(response.body):
            for event in parse_events(response.body):
                yield from () if event.is_done else event.payloads()
            return
        for value in _parse_values(unwrap_json(response.body)):
            yield from value if isinstance(value, list) else (value,)
    except ValueError:
        return


def _check_size(response: Response) -> None:
    if len(response.body) <= UNCHECKED_BYTES or not (_is_text(response) or _is_object(response)):
        return
    try:
        check_text(response.body)
    except ExcessiveTextError as error:
        raise PermanentError(str(error), code="AnswerTooLarge", http_status=response.status) from None


def _parse_values(text: bytes) -> Sequence[object]:
    try:
        return (parse_json(text),)
    except ValueError:
        return split_documents(text)


def _is_object(response: Response) -> bool:
    return response.status < 300 and response.body[:1] == b"{"


def _is_text(response: Response) -> bool:
    """Return whether the first bytes are text. Audio has control bytes early: headers, sizes, quiet samples."""
    head = response.body[:_HEAD_BYTES]
    return len(head.translate(None, CONTROL_BYTES)) == len(head)


def _parse_object(response: Response) -> ParsedResponse:
    if len(response.body) > MIN_INLINE_BYTES and (result := _parse_inline_audio(response)) is not None:
        return result
    _check_size(response)
    try:
        payload = parse_json(response.body)
    except ValueError:
        return _parse_bytes(response) if not _is_text(response) else _parse_documents(response.body, response)
    return _parse_payload(payload, response)


def _parse_documents(text: bytes, response: Response) -> ParsedResponse:
    try:
        values = split_documents(text)
    except ValueError:
        values = []
    if len(values) < 2:
        raise malformed_error("MalformedBody", "the answer is not whole JSON: it was cut or damaged", response)
    return parse_documents(values, response, is_whole=response.complete)


def _parse_payload(payload: Mapping[str, Any], response: Response) -> ParsedResponse:
    if is_failure(payload):
        raise classify_payload(payload, response.status, response.headers)
    return _parse_facts(payload, with_media_type(_audio_of(payload, response), payload), response)


def _parse_inline_audio(response: Response) -> ParsedResponse | None:
    """Parse an object whose base64 is decoded without a string; None unless this is the audio, in a known format."""
    inline_audio = split_inline_audio(response.body)
    if inline_audio is None or is_failure(inline_audio.payload):
        return None
    audio = find_audio(inline_audio.payload, inline_audio.decode)
    if audio is None or audio.data is not inline_audio.data or identify(audio.data) is None:
        return None
    return _parse_facts(inline_audio.payload, audio, response)


def _parse_facts(payload: Mapping[str, Any], audio: AudioContent, response: Response) -> ParsedResponse:
    words, quality = None, tuple[str, ...]()
    try:
        words = find_words(payload)
    except MalformedTimestampsError:
        quality = (TIMESTAMPS_DROPPED,)
    request_id = request_id_in(payload) or response.request_id
    return ParsedResponse(*audio, usage_of(payload), request_id, words, quality)


def _audio_of(payload: Mapping[str, Any], response: Response) -> AudioContent:
    is_broken = False
    try:
        audio = find_audio(payload)
    except ValueError:
        audio, is_broken = None, True
    if audio is not None and (audio.url or _could_be_audio(audio.data or b"")):
        return audio
    if (candidate := search_audio(payload)) is not None:
        return candidate
    if payload.get("code") and not _is_success(payload):
        raise classify_payload(payload, response.status, response.headers)
    raise _missing_audio_error(payload, response, is_broken=is_broken or bool(audio and audio.data))


def _could_be_audio(data: bytes) -> bool:
    return len(data) >= _MIN_AUDIO_BYTES or identify(data) is not None


def _is_success(payload: Mapping[str, Any]) -> bool:
    return any(str(payload.get(name)).strip().lower() in _SUCCESSES for name in ("code", "message", "msg"))


def _missing_audio_error(payload: object, response: Response, *, is_broken: bool = False) -> ServiceError:
    request_id = request_id_in(payload) if isinstance(payload, dict) else None
    is_unreadable = is_broken or has_possible_audio(payload)
    message = f"the answer has no audio{' that can be read' if is_unreadable else ''}: {describe_keys(payload)}"
    return missing_audio_error(message, response, is_unreadable=is_unreadable, request_id=request_id)


def _parse_text(response: Response) -> ParsedResponse:
    """Parse JSON other than an object, or a bare string: a URL, a data URI, base64; any other text is a message."""
    text = unwrap_json(response.body)
    complete = True
    try:
        value = parse_json(text)
        if isinstance(value, str) and value[:1] in ("{", "["):  # JSON that was encoded as JSON twice
            return parse_response(replace(response, body=value.encode("utf-8", "replace")))
    except ValueError:
        if text.startswith((b"{", b"[", b'"')):
            return _parse_documents(text, response)
        # Unquoted base64 that was cut is still base64.
        value, complete = text.decode("utf-8", "replace"), response.complete
    if isinstance(value, dict):
        return _parse_payload(value, response)
    if isinstance(value, list) and value:
        return parse_documents(value, response, is_whole=True)
    audio = _audio_from_string(value) if isinstance(value, str) else None
    if audio is not None:
        return ParsedResponse(*audio, request_id=response.request_id, complete=complete)
    raise _text_error(value, response, is_json=not isinstance(value, str) or text.startswith(b'"'))


def _text_error(value: object, response: Response, *, is_json: bool) -> ServiceError:
    """Return the error that a text means: a failure that it describes, an answer without audio, or a web page."""
    error = classify(response.status, response.headers, response.body)
    if error.code != "MalformedBody":
        return error
    if is_json:
        return _missing_audio_error(value, response)
    error.code = UNEXPECTED_TEXT
    return error


def _audio_from_string(value: str) -> AudioContent | None:
    text = value.strip()
    if text.startswith("<"):
        return search_audio({str(n): content for n, content in enumerate(_LONG_CONTENT.findall(text))})
    try:
        audio = audio_from_text(text)
    except ValueError:
        return None
    if audio.data is not None and not text.startswith("data:") and len(text) < MIN_TEXT_CHARACTERS:
        return None
    return audio if audio.data or audio.url else None


def _parse_bytes(response: Response) -> ParsedResponse:
    """Take the body as audio, whatever its content type: its bytes are identified later."""
    return ParsedResponse(
        response.body,
        content_type=response.content_type,
        request_id=response.request_id,
        complete=response.complete,
    )
