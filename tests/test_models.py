"""The shared value types."""

from __future__ import annotations

import pytest

from tts_pipeline.models import Answer, Audio, Usage
from tts_pipeline.wal.records import encode_record

AUDIO = Audio(b"RIFF" * 5_000, "wav", 24_000, 1, 416)


def test_nothing_shows_audio() -> None:
    """What lands in a log or a traceback is the size of the audio, and never its bytes."""
    assert repr(AUDIO) == "Audio(20000 bytes, format='wav', sample_rate_hz=24000, channels=1, duration_ms=416)"
    assert len(repr(Answer(0, AUDIO))) < 250


def test_what_is_made_for_every_request_is_frozen() -> None:
    """A value that two layers hold is never changed by one of them."""
    with pytest.raises(AttributeError):
        AUDIO.format = "mp3"  # type: ignore[misc]  # which is what is shown


def test_a_value_is_an_object_in_a_journal() -> None:
    """Fields by their names, wherever it stands: a place in a list would mean nothing to a later version."""
    assert encode_record({"usage": Usage(7)}) == (
        b'{"usage":{"characters_reported":7,"input_tokens":null,"output_tokens":null,"total_tokens":null}}'
    )
