"""Audio under names that nobody told: found where its bytes say so, and never guessed."""

from __future__ import annotations

from typing import Any

import orjson
import pybase64
import pytest

from tts_pipeline.emulator.tone import tone
from tts_pipeline.wire.audio_search import describe_keys, has_possible_audio, search_audio

WAV = tone("Hello there.")
MP3 = tone("Hello there.", response_format="mp3")


def b64(data: bytes) -> str:
    return pybase64.b64encode(data).decode()


def chunks(data: bytes) -> list[str]:
    return [b64(data[start : start + 4_000]) for start in range(0, len(data), 4_000)]


def nested(text: str, depth: int) -> Any:
    return text if depth == 0 else {"a": nested(text, depth - 1)}


@pytest.mark.parametrize("data", [WAV, MP3], ids=["wav", "mp3"])
def test_audio_is_found_under_any_name(data: bytes) -> None:
    """In objects, lists, chunks in lists, JSON inside a string; beside what the answer repeats of the request."""
    text = b64(data)
    for payload in (
        {"bytes_of_it": text},
        {"result": {"payload": text}},
        {"data": [{"b64_json": text}]},
        {"chunks": chunks(data)},
        {"x": [{"y": chunk, "n": 1} for chunk in chunks(data)]},
        [text],
        chunks(data),
        {"body": orjson.dumps({"inner": text}).decode()},
        {"x": data.hex()},
        {"x": f"data:audio/x;base64,{text}"},
        nested(text, 9),
        {"input": {"voice": b64(WAV[:9_000])}, "reference_audio": b64(MP3), "speech": text},
        {"choices": [{"message": {"sound": text}}, {"message": {"sound": b64(WAV[:9_000])}}]},
        {"audio_file": {"type": "Buffer", "data": list(data)}},
        {"generations": [{"sound": text, "snippets": [[{"sound": b64(WAV[:9_000])}]]}, {"sound": b64(WAV[:8_000])}]},
        {"a": text, "the same": text, "token": "Zm9v" * 100},
    ):
        sound = search_audio(payload)
        assert sound is not None, str(payload)[:80]
        assert sound.data == data


@pytest.mark.parametrize(
    "payload",
    [
        {"a": b64(WAV), "b": b64(MP3)},
        {"a": b64(bytes(range(256)) * 20)},
        {"input": {"audio_sample": b64(WAV)}},
        {"image": b64(b"\x89PNG\r\n\x1a\n" + bytes(2_000))},
        {"a": [b64(WAV[:3_000]), "no base64!"]},
        {"text": "a, b and c " * 50},
        nested(b64(WAV), 40),
        None,
    ],
)
def test_what_is_not_surely_the_answer_is_left(payload: object) -> None:
    """Two different sounds, samples without a header, what was sent, an image, a broken chunk."""
    assert search_audio(payload) is None


def test_samples_are_found_where_the_object_tells_what_they_are() -> None:
    """A media type beside the data is no guess; its parameters come with it."""
    parts = [{"inlineData": {"mimeType": "audio/L16;rate=16000", "data": b64(piece)}} for piece in (b"\1" * 90, b"\2")]
    sound = search_audio({"candidates": [{"content": {"parts": parts}}]})
    assert sound == (b"\1" * 90 + b"\2", None, None, "audio/L16;rate=16000")


@pytest.mark.parametrize(
    ("payload", "url"),
    [
        ({"audio_file_url": "https://h/x"}, "https://h/x"),
        ({"downloadUrl": "https://h/x?sig=1"}, "https://h/x?sig=1"),
        ({"where": "https://h/a.mp3?sig=1", "docs": "https://h/docs", "next": "https://h/2"}, "https://h/a.mp3?sig=1"),
        ({"output": ["https://h/a.wav"], "urls": {"get": "https://h/1"}, "input": {"ref": "https://h/r.wav"}},
         "https://h/a.wav"),
        ({"file_url": "https://h/a.wav", "preview_url": "https://h/b.wav"}, "https://h/a.wav"),
        ({"audio_file": {"url": "https://h/1", "size": 7}, "logs_url": "https://h/2"}, "https://h/1"),
        ({"audioFile": "https://h/1", "encodedAudio": ""}, "https://h/1"),
        ({"callback_url": "https://h/a.wav"}, None),
        ({"a": "https://h/a.wav", "b": "https://h/b.wav"}, None),
        ({"file_url": "file:///etc/passwd"}, None),
        ({"file_url": "see https://h/a.wav"}, None),
        ({"docs": "https://h/docs"}, None),
    ],
)  # fmt: skip
def test_links_under_any_name(payload: object, url: str | None) -> None:
    """Only http(s), and only what a name or a file's ending promises to be audio; of two, none."""
    sound = search_audio(payload)
    assert (sound.url if sound else None) == url


def test_an_answer_is_told_by_its_keys() -> None:
    """Never by its values; few, short and printable."""
    assert describe_keys({"code": 0, "data": {"id": "x", "n": [1, 2]}}) == "JSON with the keys code, data.id, data.n"
    assert describe_keys({"a": {}, "b\n": 1}) == "JSON with the keys ?"
    assert len(describe_keys({"k" * 500 + str(n): n for n in range(50)})) <= 300
    others: list[Any] = [None, "text", 3, [], {}]
    assert [describe_keys(value) for value in others] == [
        *("a JSON null", "a JSON string", "a JSON number", "JSON without keys", "JSON without keys")
    ]
    assert has_possible_audio({"x": ["Zm9v" * 20]})
    assert not has_possible_audio({"x": "https://h/" + "a" * 90, "y": "words and words " * 9, "z": "大家好" * 40})
