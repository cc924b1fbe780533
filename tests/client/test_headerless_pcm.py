"""The format of headerless samples, and the bytes that are never samples."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sounds import pcm
from tts_pipeline.audio.measure import make_pcm_playable
from tts_pipeline.audio.pcm import PcmFormat
from tts_pipeline.client.headerless_pcm import ASSUMED_RATE, OTHER_RATE, check_duration, find_pcm_format
from tts_pipeline.errors import ServiceError, TransientError, UnreadableError
from tts_pipeline.models import Audio
from tts_pipeline.wire.response import ParsedResponse, Response
from tts_pipeline.wire.usage import NO_USAGE


def read(content_type: str | None, headers: dict[str, str] | None = None, **parameters: Any) -> Any:
    headers = dict(headers or {}) | ({"content-type": content_type} if content_type else {})
    reading = ParsedResponse(b"", None, None, content_type, NO_USAGE, None, None, ())
    return find_pcm_format(Response(200, headers, b""), reading, parameters)


@pytest.mark.parametrize(
    ("content_type", "headers", "parameters", "rate_hz", "flags"),
    [
        ("audio/pcm;rate=16000", {}, {}, 16_000, ()),
        ("audio/pcm", {"x-sample-rate": "16000"}, {"sample_rate": 16_000}, 16_000, ()),
        ("audio/pcm", {"x-sample-rate": "16000"}, {"sample_rate": 24_000}, 16_000, (OTHER_RATE,)),
        ("audio/pcm;rate=8000", {"x-sample-rate": "16000"}, {}, 8_000, ()),
        ("audio/mpeg", {}, {"response_format": "pcm", "sample_rate": "16000"}, 16_000, ()),
        ("application/octet-stream", {}, {"output_format": "pcm_22050"}, 22_050, ()),
        (None, {}, {"audio_setting": {"format": "pcm", "sample_rate": 32_000}}, 32_000, ()),
        (None, {}, {"response_format": "pcm"}, 24_000, (ASSUMED_RATE,)),
        ("audio/pcm;rate=1", {"x-sample-rate": "4000000000"}, {}, 24_000, (ASSUMED_RATE,)),
        ("text/event-stream", {}, {}, 24_000, (ASSUMED_RATE,)),
    ],
)
def test_the_answer_goes_before_the_request_and_that_before_what_is_usual(
    content_type: str | None, headers: dict[str, str], parameters: dict[str, Any], rate_hz: int, flags: tuple[str, ...]
) -> None:
    """An unknown rate, and a rate that differs from the request, are flagged."""
    pcm = read(content_type, headers, **parameters)
    assert (pcm.format, pcm.flags) == (PcmFormat(rate_hz), flags)


@pytest.mark.parametrize("content_type", [None, "audio/wav", "application/octet-stream", "application/json", "audio/x"])
def test_bytes_that_nobody_calls_samples_are_none(content_type: str | None) -> None:
    """Not even with a sample rate, or in a stream for which another format was requested."""
    assert read(content_type, {"x-sample-rate": "16000"}, sample_rate=16_000, response_format="wav") is None
    assert read("text/event-stream", {}, response_format="mp3") is None


TEXT = "Twelve words, and each of them has its own place."


def check_seconds(seconds: float, text: str = TEXT, *, complete: bool = True) -> None:
    check_duration(Audio(b"", "wav", 24_000, 1, round(seconds * 1_000)), text, "en", 1.0, complete=complete)


@pytest.mark.parametrize("seconds", [0.5, 3.0, 9.0, 60.0])
def test_samples_that_may_be_a_bad_reading_are_kept(seconds: float) -> None:
    """Flags mark samples that are too short or too long; only impossible durations are refused."""
    check_seconds(seconds)
    check_seconds(0.0, "...")


@pytest.mark.parametrize("seconds", [0.0, 0.1, 200.0])
def test_samples_that_cannot_be_their_text_are_refused(seconds: float) -> None:
    """Once, unless they may have been cut."""
    with pytest.raises(UnreadableError):
        check_seconds(seconds)
    with pytest.raises(ServiceError) as exc_info:
        check_seconds(seconds, complete=False)
    assert isinstance(exc_info.value, TransientError) == (seconds < 1)


@pytest.mark.parametrize(
    "text", ['{"error": "no such voice"} ', "<html><body>busy</body></html>", "UklGRiQA" * 900, "错误" * 9]
)
def test_text_is_never_taken_for_samples(text: str) -> None:
    """JSON, pages, base64, hex: whatever was requested."""
    with pytest.raises(UnreadableError) as exc_info:
        make_pcm_playable(text.encode(), PcmFormat(24_000), complete=True)
    assert exc_info.value.code == "UnreadableAudio"


def test_samples_are_no_text() -> None:
    """Speech, silence and noise alike."""
    for data in (pcm(0.5), bytes(9_000), b"\xff\xff\1\0" * 999):
        assert make_pcm_playable(data, PcmFormat(24_000), complete=True)[0].data[44:] == data
