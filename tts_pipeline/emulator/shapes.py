"""Render successful answers in every shape seen in the wild. Pure.

Apart from the shapes of Alibaba Cloud and OpenAI: MiniMax's hex (also streamed, with all audio repeated in the last
event), Gemini's parts and its billed failures, lines of JSON, and names that none of our tables has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pybase64

from tts_pipeline.emulator.audio import TimedWord
from tts_pipeline.emulator.billing import Charge
from tts_pipeline.emulator.delivery import Delivery, json_delivery
from tts_pipeline.emulator.event_streams import ali_stream, cut_stream, openai_stream
from tts_pipeline.emulator.rules import NO_FAULT, Rule
from tts_pipeline.emulator.timings import timing_fields

_CHUNK_BYTES = 6_000
_BOUNDARY = "0f8e1c"


@dataclass(frozen=True, slots=True)
class AnswerContent:
    """The content of an answer.

    A URL of None puts the audio inside the answer; ``expires_at`` is in seconds since 1970 UTC. Words are None if they
    were not requested; a usage of None reports the characters, and no tokens. ``timestamps`` is one of ``TIMESTAMPS``.
    """

    request_id: str
    text: str
    audio: bytes
    content_type: str
    url: str | None
    expires_at: int
    characters: int
    words: tuple[TimedWord, ...] | None
    usage: Mapping[str, Any] | None = None
    timestamps: str = "ali"

    @property
    def reported_usage(self) -> Mapping[str, Any]:
        """The usage object of the answer."""
        return Charge(self.characters).usage() if self.usage is None else self.usage

    @property
    def reported_characters(self) -> dict[str, Any]:
        """The usage object of an answer that reports only characters."""
        return {name: count for name, count in self.reported_usage.items() if name == "characters"}


NEEDS_URL = frozenset({"ali_url", "json_string_url", "audio_url_object", "redirect", "ali_sse", "unknown_url"})
"""Shapes with the URL of the audio."""


def render_answer(answer: AnswerContent, shape: str = "ali_data", rule: Rule = NO_FAULT) -> Delivery:
    """Return a right answer in one of the ``SHAPES``, with the rule's faults."""
    delivery = _RENDERERS[shape](replace(answer, timestamps=rule.timestamps))
    if rule.ends == "connection":
        delivery = replace(delivery, framing="connection")
    if rule.wire is not None:
        delivery = replace(delivery, wire=rule.wire)
    return replace(delivery, cut=True, cut_after=rule.after_bytes) if rule.what == "cut" else delivery


def with_wav_length(audio: bytes, length: int | None) -> bytes:
    """Return a WAV whose header claims another length of samples; unchanged for a length of None or other audio."""
    if length is None or audio[:4] != b"RIFF":
        return audio
    claimed = length.to_bytes(4, "little")
    whole = min(length + 36, 0xFFFFFFFF).to_bytes(4, "little")
    return audio[:4] + whole + audio[8:40] + claimed + audio[44:]


def _timing_fields(answer: AnswerContent) -> tuple[dict[str, Any], dict[str, Any]]:
    return ({}, {}) if answer.words is None else timing_fields(answer.words, answer.text, answer.timestamps)


def _ali(answer: AnswerContent) -> Delivery:
    data = b"" if answer.url else pybase64.b64encode(answer.audio)
    # Built from bytes, because encoding a megabyte of base64 as a JSON string would search it for quotes.
    head = b'{"status_code":200,"request_id":"%b","code":"","message":"",' % answer.request_id.encode()
    audio = b'"output":{"text":null,"finish_reason":"stop","choices":null,"audio":{"data":"%b","url":%b,'
    tail = b'"id":"audio_%b","expires_at":%d}' % (answer.request_id.encode(), answer.expires_at)
    sentence_fields, top_fields = _timing_fields(answer)
    sentence_json = b',"sentence":' + orjson.dumps(sentence_fields) if sentence_fields else b""
    top_json = b"," + orjson.dumps(top_fields)[1:-1] if top_fields else b""
    usage = b'},"usage":' + orjson.dumps(answer.reported_usage)
    parts = (head, audio % (data, orjson.dumps(answer.url or "")), tail, sentence_json, usage, top_json, b"}")
    return Delivery(200, b"".join(parts))


def _bare(answer: AnswerContent) -> Delivery:
    sentence_fields, top_fields = _timing_fields(answer)
    sentence = {"sentence": sentence_fields} if sentence_fields else {}
    return json_delivery({"output": {"audio": {"data": _base64(answer.audio)}} | sentence} | top_fields)


def _audio_url_object(answer: AnswerContent) -> Delivery:
    sentence_fields, top_fields = _timing_fields(answer)
    fields = {"audio": {"url": answer.url}, "usage": answer.reported_characters}
    return json_delivery(fields | top_fields | sentence_fields)


def _no_audio(answer: AnswerContent) -> Delivery:
    output = {"text": None, "finish_reason": "stop", "audio": None}
    return json_delivery({"request_id": answer.request_id, "output": output, "usage": answer.reported_characters})


def _bad_base64(answer: AnswerContent) -> Delivery:
    good = _bare(answer)
    return replace(good, body=good.body.replace(b'"data":"', b'"data":"@*!', 1))


def _ali_sse(answer: AnswerContent) -> Delivery:
    return _stream(ali_stream(answer.request_id, answer.audio, answer.url or "", answer.reported_usage, answer.words))


def _sse_cut(answer: AnswerContent) -> Delivery:
    whole = _ali_sse(answer)
    return replace(whole, body=cut_stream(whole.body))


def _stream(body: bytes) -> Delivery:
    return Delivery(200, body, "text/event-stream", framing="chunks")


def _hex_in_json(answer: AnswerContent) -> Delivery:
    """MiniMax T2A: hex, and the usage beside the audio."""
    return json_delivery(_hex_event(answer.audio, 2) | _extra(answer))


def _hex_stream(answer: AnswerContent) -> Delivery:
    """MiniMax T2A, streamed: hex of each chunk, then of all audio again, then the sentinel."""
    events = [_hex_event(chunk, 1) for chunk in _chunks(answer)]
    events.append(_hex_event(answer.audio, 2) | _extra(answer))
    return _stream(b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n")


def _unknown_url(answer: AnswerContent) -> Delivery:
    """A link under a name that none of our tables has, beside other links."""
    links = {"file_link": answer.url or "", "callback_url": "https://b.example/"}
    return json_delivery({"docs": "https://a.example/docs", "answer": links})


def _list_of_chunks(answer: AnswerContent) -> Delivery:
    """Chunks in the objects of a list, each encoded in base64 separately."""
    return json_delivery({"segments": [{"part": _base64(chunk), "n": n} for n, chunk in enumerate(_chunks(answer))]})


def _lines_of_json(answer: AnswerContent) -> Delivery:
    """One object in each line, with one chunk."""
    lines = [orjson.dumps({"result": {"audioContent": _base64(chunk)}}) + b"\n" for chunk in _chunks(answer)]
    return Delivery(200, b"".join(lines), "application/x-ndjson")


def _inline_data(answer: AnswerContent) -> Delivery:
    """Gemini: parts with their media types."""
    parts = [{"inlineData": {"mimeType": answer.content_type, "data": _base64(chunk)}} for chunk in _chunks(answer)]
    return json_delivery({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})


def _parts_of_a_form(answer: AnswerContent) -> Delivery:
    """A multipart body: the facts as JSON, then the bytes."""
    head = f'--{_BOUNDARY}\r\nContent-Type: application/json\r\n\r\n{{"ok":true}}\r\n--{_BOUNDARY}\r\n'
    file = f'Content-Disposition: form-data; name="audio"\r\nContent-Type: {answer.content_type}\r\n\r\n'
    body = (head + file).encode() + answer.audio + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return Delivery(200, body, f"multipart/mixed; boundary={_BOUNDARY}")


def _billed_failure(answer: AnswerContent) -> Delivery:
    """Gemini: no content, a meaningless reason, and tokens that are billed."""
    characters = _characters_of(answer)
    tokens = {"promptTokenCount": characters, "candidatesTokenCount": 50, "totalTokenCount": characters + 50}
    return json_delivery({"candidates": [{"content": {}, "finishReason": "OTHER"}], "usageMetadata": tokens})


def _unreadable(answer: AnswerContent) -> Delivery:
    """Text in place of the audio, in an otherwise right answer."""
    return json_delivery({"ok": True, "answer": _base64(b"no audio at all, whatever it is" * 9)} | _extra(answer))


def _hex_event(audio: bytes, status: int) -> dict[str, Any]:
    return {
        "data": {"audio": audio.hex(), "status": status, "ced": ""},
        "trace_id": "t-1",
        "base_resp": {"status_code": 0, "status_msg": "success"},
    }


def _extra(answer: AnswerContent) -> dict[str, Any]:
    return {"extra_info": {"usage_characters": _characters_of(answer), "word_count": 1, "audio_channel": 1}}


def _characters_of(answer: AnswerContent) -> int:
    return int(answer.reported_usage.get("characters", answer.characters))


def _chunks(answer: AnswerContent) -> Sequence[bytes]:
    return [answer.audio[start : start + _CHUNK_BYTES] for start in range(0, len(answer.audio), _CHUNK_BYTES)]


def _base64(data: bytes) -> str:
    return pybase64.b64encode(data).decode()


_RENDERERS: Mapping[str, Callable[[AnswerContent], Delivery]] = {
    "ali_data": _ali,
    "ali_url": _ali,
    "bare_fields": _bare,
    "json_string_url": lambda answer: json_delivery(answer.url),
    "json_string_data_uri": lambda answer: json_delivery(f"data:{answer.content_type};base64,{_base64(answer.audio)}"),
    "json_string_base64": lambda answer: json_delivery(_base64(answer.audio)),
    "audio_url_object": _audio_url_object,
    "redirect": lambda answer: Delivery(302, b"", None, {"Location": answer.url or ""}),
    "raw": lambda answer: Delivery(200, answer.audio, answer.content_type),
    "raw_mislabelled": lambda answer: Delivery(200, answer.audio, "audio/mpeg"),
    "raw_unlabelled": lambda answer: Delivery(200, answer.audio, None),
    "ali_sse": _ali_sse,
    "openai_sse": lambda answer: _stream(openai_stream(answer.audio, answer.reported_usage)),
    "sse_cut": _sse_cut,
    "no_audio": _no_audio,
    "bad_base64": _bad_base64,
    "empty": lambda _: Delivery(200, b""),
    "hex": _hex_in_json,
    "hex_sse": _hex_stream,
    "unknown_name": lambda answer: json_delivery(
        {"ok": True, "answer": {"id": "a" * 80, "sound": _base64(answer.audio)}}
    ),
    "unknown_url": _unknown_url,
    "url_safe_base64": lambda answer: json_delivery(
        {"audioContent": pybase64.urlsafe_b64encode(answer.audio).decode().rstrip("=")}
    ),
    "list_of_chunks": _list_of_chunks,
    "lines_of_json": _lines_of_json,
    "inline_data": _inline_data,
    "parts_of_a_form": _parts_of_a_form,
    "billed_failure": _billed_failure,
    "unreadable": _unreadable,
}
"""Each shape by its name in a rule."""
