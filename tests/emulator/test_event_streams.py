from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tts_pipeline.emulator.audio import TimedWord
from tts_pipeline.emulator.billing import Charge
from tts_pipeline.emulator.event_streams import ali_stream, cut_stream, openai_stream
from tts_pipeline.emulator.tone import tone

USAGE = Charge(10).usage()
AUDIO = tone("Hello", tone_bytes=30_000)
WORDS = tuple(TimedWord("a", 100 * number, 100 * number + 90, 2 * number, 2 * number + 1) for number in range(8))


def events(stream: bytes) -> list[dict[str, list[str]]]:
    """Read server-sent events as the standard says; a comment has no name."""
    read = []
    for block in stream.decode().split("\n\n")[:-1]:
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        read.append(fields)
    return read


def data_of(event: dict[str, list[str]]) -> Any:
    return json.loads("\n".join(event["data"]))


def test_ali_frames_carry_chunks_then_the_end() -> None:
    """Every chunk is base64 of its own; the last frame has the URL, the reason and the usage."""
    frames = events(ali_stream("r-1", AUDIO, "http://u", USAGE, None))
    payloads = [data_of(frame) for frame in frames]
    chunks = [base64.b64decode(each["output"]["audio"]["data"], validate=True) for each in payloads]
    assert b"".join(chunks) == AUDIO
    assert len(chunks) > 3
    assert chunks[-1] == b""
    assert [each["output"]["finish_reason"] for each in payloads] == ["null"] * (len(payloads) - 1) + ["stop"]
    assert payloads[-1]["output"]["audio"]["url"] == "http://u"
    assert payloads[-1]["usage"]["characters"] == 10
    assert [frame["id"] for frame in frames] == [[str(number)] for number in range(1, len(frames) + 1)]
    assert all(frame["event"] == ["result"] and frame[""] == ["HTTP_STATUS/200"] for frame in frames)


def test_one_event_spans_two_lines() -> None:
    """A reader that takes each ``data:`` line for an event fails."""
    assert [len(frame["data"]) for frame in events(ali_stream("r-1", AUDIO, "", USAGE, None))][:3] == [1, 2, 1]


def test_words_are_repeated_and_grow() -> None:
    """Every frame tells all the words so far, the last one all."""
    frames = events(ali_stream("r-1", AUDIO, "", USAGE, WORDS))
    counts = [len(data_of(frame)["output"]["sentence"]["words"]) for frame in frames]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == len(WORDS)


def test_openai_events_carry_chunks_then_the_end() -> None:
    """Deltas, then done with the usage."""
    payloads = [data_of(event) for event in events(openai_stream(AUDIO, Charge(7).usage()))]
    assert b"".join(base64.b64decode(each["audio"]) for each in payloads[:-1]) == AUDIO
    assert {each["type"] for each in payloads[:-1]} == {"speech.audio.delta"}
    assert payloads[-1] == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 7, "output_tokens": 0, "total_tokens": 7},
    }


@pytest.mark.parametrize("size", [100, 8_192, 30_000])
def test_a_cut_stream_has_whole_events_and_no_end(size: int) -> None:
    """What comes is right, but the last frame never does."""
    whole = ali_stream("r-1", AUDIO[:size], "", USAGE, None)
    cut = cut_stream(whole)
    assert whole.startswith(cut)
    assert 0 < len(events(cut)) < len(events(whole))
    assert all(data_of(event)["output"]["finish_reason"] == "null" for event in events(cut))
