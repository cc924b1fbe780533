"""Successful answers on the wire, in every shape seen in the wild. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pybase64

from tts_pipeline.emulator import vendor_shapes
from tts_pipeline.emulator.audio import TimedWord
from tts_pipeline.emulator.billing import Charge
from tts_pipeline.emulator.delivery import Delivery, json_delivery
from tts_pipeline.emulator.event_streams import ali_stream, cut_stream, openai_stream
from tts_pipeline.emulator.rules import NO_FAULT, Rule
from tts_pipeline.emulator.timings import timing_fields


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be answered.

    Args:
        request_id: Of the request.
        text: What was said.
        audio: The bytes, in the format asked for.
        content_type: Of the audio.
        url: Where the audio is served; None where it is to be inside the answer.
        expires_at: When the URL is good no more, in seconds since 1970 UTC.
        characters: Charged.
        words: None where they were not asked for.
        usage: As it is reported; None is the characters, and no tokens.
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

    @property
    def reported_usage(self) -> Mapping[str, Any]:
        """The usage object of the answer."""
        return Charge(self.characters).usage() if self.usage is None else self.usage

    @property
    def reported_characters(self) -> dict[str, Any]:
        """The usage object of an answer that tells characters only."""
        return {name: count for name, count in self.reported_usage.items() if name == "characters"}


NEEDS_URL = frozenset({"ali_url", "json_string_url", "audio_url_object", "redirect", "ali_sse", "unknown_url"})
"""Shapes that say where the audio is served."""


def render_answer(answer: Answer, shape: str = "ali_data", rule: Rule = NO_FAULT) -> Delivery:
    """Return a right answer in one of the ``SHAPES``, spoilt as the rule says."""
    delivery = _RENDERERS[shape](answer, rule)
    if rule.ends == "connection":
        delivery = replace(delivery, framing="connection")
    if rule.wire is not None:
        delivery = replace(delivery, wire=rule.wire)
    return replace(delivery, cut=True, cut_after=rule.after_bytes) if rule.what == "cut" else delivery


def with_wav_length(audio: bytes, length: int | None) -> bytes:
    """Return a WAV whose header claims another length of its samples; None, and what is no WAV, stays as it is."""
    if length is None or audio[:4] != b"RIFF":
        return audio
    claimed = length.to_bytes(4, "little")
    whole = min(length + 36, 0xFFFFFFFF).to_bytes(4, "little")
    return audio[:4] + whole + audio[8:40] + claimed + audio[44:]


def _ali(answer: Answer, rule: Rule) -> Delivery:
    data = b"" if answer.url else pybase64.b64encode(answer.audio)
    # Put together from bytes: encoding a megabyte of base64 as a JSON string would search it for quotes.
    head = b'{"status_code":200,"request_id":"%b","code":"","message":"",' % answer.request_id.encode()
    audio = b'"output":{"text":null,"finish_reason":"stop","choices":null,"audio":{"data":"%b","url":%b,'
    rest = b'"id":"audio_%b","expires_at":%d}' % (answer.request_id.encode(), answer.expires_at)
    sentence_json, top_json = b"", b""
    if answer.words is not None:
        sentence_fields, top_fields = timing_fields(answer.words, answer.text, rule.timestamps)
        sentence_json = b',"sentence":' + orjson.dumps(sentence_fields) if sentence_fields else b""
        top_json = b"," + orjson.dumps(top_fields)[1:-1] if top_fields else b""
    usage = b'},"usage":' + orjson.dumps(answer.reported_usage)
    return Delivery(
        200,
        b"".join((head, audio % (data, orjson.dumps(answer.url or "")), rest, sentence_json, usage, top_json, b"}")),
    )


def _bare(answer: Answer, rule: Rule) -> Delivery:
    audio = {"data": pybase64.b64encode(answer.audio).decode()}
    sentence_fields, top_fields = (
        timing_fields(answer.words, answer.text, rule.timestamps) if answer.words is not None else ({}, {})
    )
    sentence = {"sentence": sentence_fields} if sentence_fields else {}
    return json_delivery({"output": {"audio": audio} | sentence} | top_fields)


def _audio_url_object(answer: Answer, rule: Rule) -> Delivery:
    sentence_fields, top_fields = (
        timing_fields(answer.words, answer.text, rule.timestamps) if answer.words is not None else ({}, {})
    )
    return json_delivery(
        {"audio": {"url": answer.url}, "usage": answer.reported_characters} | top_fields | sentence_fields
    )


def _json_string_url(answer: Answer, _rule: Rule) -> Delivery:
    return json_delivery(answer.url)


def _json_string_data_uri(answer: Answer, _rule: Rule) -> Delivery:
    return json_delivery(f"data:{answer.content_type};base64,{pybase64.b64encode(answer.audio).decode()}")


def _json_string_base64(answer: Answer, _rule: Rule) -> Delivery:
    return json_delivery(pybase64.b64encode(answer.audio).decode())


def _redirect(answer: Answer, _rule: Rule) -> Delivery:
    return Delivery(302, b"", None, {"Location": answer.url or ""})


def _raw(answer: Answer, _rule: Rule) -> Delivery:
    return Delivery(200, answer.audio, answer.content_type)


def _raw_mislabelled(answer: Answer, _rule: Rule) -> Delivery:
    return Delivery(200, answer.audio, "audio/mpeg")


def _raw_unlabelled(answer: Answer, _rule: Rule) -> Delivery:
    return Delivery(200, answer.audio, None)


def _no_audio(answer: Answer, _rule: Rule) -> Delivery:
    output = {"text": None, "finish_reason": "stop", "audio": None}
    return json_delivery({"request_id": answer.request_id, "output": output, "usage": answer.reported_characters})


def _bad_base64(answer: Answer, rule: Rule) -> Delivery:
    good = _bare(answer, rule)
    return replace(good, body=good.body.replace(b'"data":"', b'"data":"@*!', 1))


def _empty(_answer: Answer, _rule: Rule) -> Delivery:
    return Delivery(200, b"")


def _ali_sse(answer: Answer, _rule: Rule) -> Delivery:
    return _stream(ali_stream(answer.request_id, answer.audio, answer.url or "", answer.reported_usage, answer.words))


def _sse_cut(answer: Answer, rule: Rule) -> Delivery:
    whole = _ali_sse(answer, rule)
    return replace(whole, body=cut_stream(whole.body))


def _openai_sse(answer: Answer, _rule: Rule) -> Delivery:
    return _stream(openai_stream(answer.audio, answer.reported_usage))


def _stream(body: bytes) -> Delivery:
    return Delivery(200, body, "text/event-stream", framing="chunks")


def _characters_of(answer: Answer) -> int:
    return int(answer.reported_usage.get("characters", answer.characters))


_RENDERERS: Mapping[str, Callable[[Answer, Rule], Delivery]] = {
    "ali_data": _ali,
    "ali_url": _ali,
    "bare_fields": _bare,
    "json_string_url": _json_string_url,
    "json_string_data_uri": _json_string_data_uri,
    "json_string_base64": _json_string_base64,
    "audio_url_object": _audio_url_object,
    "redirect": _redirect,
    "raw": _raw,
    "raw_mislabelled": _raw_mislabelled,
    "raw_unlabelled": _raw_unlabelled,
    "ali_sse": _ali_sse,
    "openai_sse": _openai_sse,
    "sse_cut": _sse_cut,
    "no_audio": _no_audio,
    "bad_base64": _bad_base64,
    "empty": _empty,
    "hex": lambda answer, _: vendor_shapes.hex_in_json(answer.audio, _characters_of(answer)),
    "hex_sse": lambda answer, _: vendor_shapes.hex_stream(answer.audio, _characters_of(answer)),
    "unknown_name": lambda answer, _: vendor_shapes.unknown_name(answer.audio),
    "unknown_url": lambda answer, _: vendor_shapes.unknown_url(answer.url or ""),
    "url_safe_base64": lambda answer, _: vendor_shapes.url_safe_base64(answer.audio),
    "list_of_chunks": lambda answer, _: vendor_shapes.list_of_chunks(answer.audio),
    "lines_of_json": lambda answer, _: vendor_shapes.lines_of_json(answer.audio),
    "inline_data": lambda answer, _: vendor_shapes.inline_data(answer.audio, answer.content_type),
    "parts_of_a_form": lambda answer, _: vendor_shapes.parts_of_a_form(answer.audio, answer.content_type),
    "billed_failure": lambda answer, _: vendor_shapes.billed_failure(_characters_of(answer)),
    "unreadable": lambda answer, _: vendor_shapes.unreadable(_characters_of(answer)),
}
"""Each shape by its name in a rule."""
