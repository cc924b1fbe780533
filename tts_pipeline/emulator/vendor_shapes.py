"""What right answers, and some without audio, look like at makers other than Alibaba Cloud and OpenAI. Pure.

MiniMax's hex (also streamed, where the last event repeats all of it), Gemini's parts and its billed failures, lines of
JSON, and names that no table of ours has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pybase64

from tts_pipeline.emulator.delivery import Delivery, json_delivery

_CHUNK_BYTES = 6_000
_BOUNDARY = "0f8e1c"


def hex_in_json(audio: bytes, characters: int) -> Delivery:
    """MiniMax T2A: hex, and the usage beside it."""
    return json_delivery(_hex_event(audio.hex(), 2) | _extra(characters))


def hex_stream(audio: bytes, characters: int) -> Delivery:
    """MiniMax T2A, streamed: hex of chunks, then once more of all, then the sentinel."""
    events = [_hex_event(chunk.hex(), 1) for chunk in _chunks(audio)]
    events.append(_hex_event(audio.hex(), 2) | _extra(characters))
    body = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)
    return Delivery(200, body + b"data: [DONE]\n\n", "text/event-stream", framing="chunks")


def unknown_name(audio: bytes) -> Delivery:
    """Base64 under a name that nobody told."""
    return json_delivery({"ok": True, "answer": {"id": "a" * 80, "sound": _base64(audio)}})


def unknown_url(url: str) -> Delivery:
    """A link under a name that nobody told, beside other links."""
    return json_delivery(
        {"docs": "https://a.example/docs", "answer": {"file_link": url, "callback_url": "https://b.example/"}}
    )


def url_safe_base64(audio: bytes) -> Delivery:
    """The alphabet of URLs, without padding."""
    return json_delivery({"audioContent": pybase64.urlsafe_b64encode(audio).decode().rstrip("=")})


def list_of_chunks(audio: bytes) -> Delivery:
    """Chunks in objects of a list, each base64 of its own."""
    return json_delivery({"segments": [{"part": _base64(chunk), "n": n} for n, chunk in enumerate(_chunks(audio))]})


def lines_of_json(audio: bytes) -> Delivery:
    """One object a line, with a chunk in each."""
    body = b"".join(orjson.dumps({"result": {"audioContent": _base64(chunk)}}) + b"\n" for chunk in _chunks(audio))
    return Delivery(200, body, "application/x-ndjson")


def inline_data(audio: bytes, content_type: str) -> Delivery:
    """Gemini: parts that tell their media type."""
    parts = [{"inlineData": {"mimeType": content_type, "data": _base64(chunk)}} for chunk in _chunks(audio)]
    return json_delivery({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})


def parts_of_a_form(audio: bytes, content_type: str) -> Delivery:
    """A multipart body: the facts as JSON, then the bytes."""
    head = f'--{_BOUNDARY}\r\nContent-Type: application/json\r\n\r\n{{"ok":true}}\r\n--{_BOUNDARY}\r\n'
    file = f'Content-Disposition: form-data; name="audio"\r\nContent-Type: {content_type}\r\n\r\n'
    body = (head + file).encode() + audio + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return Delivery(200, body, f"multipart/mixed; boundary={_BOUNDARY}")


def billed_failure(characters: int) -> Delivery:
    """Gemini: no content, a reason that says nothing, and tokens that are billed."""
    tokens = {"promptTokenCount": characters, "candidatesTokenCount": 50, "totalTokenCount": characters + 50}
    return json_delivery({"candidates": [{"content": {}, "finishReason": "OTHER"}], "usageMetadata": tokens})


def unreadable(characters: int) -> Delivery:
    """Something that is no audio, where all else is well."""
    return json_delivery({"ok": True, "answer": _base64(b"no audio at all, whatever it is" * 9)} | _extra(characters))


def _hex_event(text: str, status: int) -> dict[str, Any]:
    return {
        "data": {"audio": text, "status": status, "ced": ""},
        "trace_id": "t-1",
        "base_resp": {"status_code": 0, "status_msg": "success"},
    }


def _extra(characters: int) -> dict[str, Any]:
    return {"extra_info": {"usage_characters": characters, "word_count": 1, "audio_channel": 1}}


def _chunks(audio: bytes) -> Sequence[bytes]:
    return [audio[start : start + _CHUNK_BYTES] for start in range(0, len(audio), _CHUNK_BYTES)]


def _base64(data: bytes) -> str:
    return pybase64.b64encode(data).decode()
