"""What a right answer looks like on the wire, in every shape met in the wild. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pybase64

from tts_pipeline.emulator import other_shapes
from tts_pipeline.emulator.billing import Charge
from tts_pipeline.emulator.delivery import Delivery
from tts_pipeline.emulator.rules import ALL_WELL, Rule
from tts_pipeline.emulator.sound import TimedWord
from tts_pipeline.emulator.streams import ali_stream, cut_stream, openai_stream
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
    def reported(self) -> Mapping[str, Any]:
        """The usage object of the answer."""
        return Charge(self.characters).usage() if self.usage is None else self.usage

    @property
    def reported_characters(self) -> dict[str, Any]:
        """The usage object of an answer that tells characters only."""
        return {name: count for name, count in self.reported.items() if name == "characters"}


NEEDS_URL = frozenset({"ali_url", "json_string_url", "audio_url_object", "redirect", "ali_sse", "unknown_url"})
"""Shapes that say where the audio is served."""


def answer(said: Answer, shape: str = "ali_data", rule: Rule = ALL_WELL) -> Delivery:
    """Return a right answer in one of the ``SHAPES``, spoilt as the rule says."""
    delivery = _RENDERED[shape](said, rule)
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


def _ali(said: Answer, rule: Rule) -> Delivery:
    data = b"" if said.url else pybase64.b64encode(said.audio)
    # Put together from bytes: encoding a megabyte of base64 as a JSON string would search it for quotes.
    head = b'{"status_code":200,"request_id":"%b","code":"","message":"",' % said.request_id.encode()
    audio = b'"output":{"text":null,"finish_reason":"stop","choices":null,"audio":{"data":"%b","url":%b,'
    rest = b'"id":"audio_%b","expires_at":%d}' % (said.request_id.encode(), said.expires_at)
    sentence, beside = b"", b""
    if said.words is not None:
        inside, outside = timing_fields(said.words, said.text, rule.timestamps)
        sentence = b',"sentence":' + orjson.dumps(inside) if inside else b""
        beside = b"," + orjson.dumps(outside)[1:-1] if outside else b""
    usage = b'},"usage":' + orjson.dumps(said.reported)
    return Delivery(
        200, b"".join((head, audio % (data, orjson.dumps(said.url or "")), rest, sentence, usage, beside, b"}"))
    )


def _bare(said: Answer, rule: Rule) -> Delivery:
    audio = {"data": pybase64.b64encode(said.audio).decode()}
    inside, outside = timing_fields(said.words, said.text, rule.timestamps) if said.words is not None else ({}, {})
    sentence = {"sentence": inside} if inside else {}
    return _json({"output": {"audio": audio} | sentence} | outside)


def _audio_url_object(said: Answer, rule: Rule) -> Delivery:
    inside, outside = timing_fields(said.words, said.text, rule.timestamps) if said.words is not None else ({}, {})
    return _json({"audio": {"url": said.url}, "usage": said.reported_characters} | outside | inside)


def _json_string_url(said: Answer, _rule: Rule) -> Delivery:
    return _json(said.url)


def _json_string_data_uri(said: Answer, _rule: Rule) -> Delivery:
    return _json(f"data:{said.content_type};base64,{pybase64.b64encode(said.audio).decode()}")


def _json_string_base64(said: Answer, _rule: Rule) -> Delivery:
    return _json(pybase64.b64encode(said.audio).decode())


def _redirect(said: Answer, _rule: Rule) -> Delivery:
    return Delivery(302, b"", None, {"Location": said.url or ""})


def _raw(said: Answer, _rule: Rule) -> Delivery:
    return Delivery(200, said.audio, said.content_type)


def _raw_mislabelled(said: Answer, _rule: Rule) -> Delivery:
    return Delivery(200, said.audio, "audio/mpeg")


def _raw_unlabelled(said: Answer, _rule: Rule) -> Delivery:
    return Delivery(200, said.audio, None)


def _no_audio(said: Answer, _rule: Rule) -> Delivery:
    output = {"text": None, "finish_reason": "stop", "audio": None}
    return _json({"request_id": said.request_id, "output": output, "usage": said.reported_characters})


def _bad_base64(said: Answer, rule: Rule) -> Delivery:
    good = _bare(said, rule)
    return replace(good, body=good.body.replace(b'"data":"', b'"data":"@*!', 1))


def _empty(_said: Answer, _rule: Rule) -> Delivery:
    return Delivery(200, b"")


def _ali_sse(said: Answer, _rule: Rule) -> Delivery:
    return _stream(ali_stream(said.request_id, said.audio, said.url or "", said.reported, said.words))


def _sse_cut(said: Answer, rule: Rule) -> Delivery:
    whole = _ali_sse(said, rule)
    return replace(whole, body=cut_stream(whole.body))


def _openai_sse(said: Answer, _rule: Rule) -> Delivery:
    return _stream(openai_stream(said.audio, said.reported))


def _stream(body: bytes) -> Delivery:
    return Delivery(200, body, "text/event-stream", framing="chunks")


def _json(value: object) -> Delivery:
    return Delivery(200, orjson.dumps(value))


def _told(said: Answer) -> int:
    return int(said.reported.get("characters", said.characters))


_RENDERED: Mapping[str, Callable[[Answer, Rule], Delivery]] = {
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
    "hex": lambda said, _: other_shapes.hex_in_json(said.audio, _told(said)),
    "hex_sse": lambda said, _: other_shapes.hex_stream(said.audio, _told(said)),
    "unknown_name": lambda said, _: other_shapes.unknown_name(said.audio),
    "unknown_url": lambda said, _: other_shapes.unknown_url(said.url or ""),
    "url_safe_base64": lambda said, _: other_shapes.url_safe_base64(said.audio),
    "list_of_chunks": lambda said, _: other_shapes.list_of_chunks(said.audio),
    "lines_of_json": lambda said, _: other_shapes.lines_of_json(said.audio),
    "inline_data": lambda said, _: other_shapes.inline_data(said.audio, said.content_type),
    "parts_of_a_form": lambda said, _: other_shapes.parts_of_a_form(said.audio, said.content_type),
    "billed_failure": lambda said, _: other_shapes.billed_failure(_told(said)),
    "unreadable": lambda said, _: other_shapes.unreadable(_told(said)),
}
"""Each shape by its name in a rule."""
