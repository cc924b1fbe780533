"""What each format can carry."""

from __future__ import annotations

import pytest

from tts_pipeline.audio.encodings import OUTPUT_FORMATS, encoding_of
from tts_pipeline.errors import PermanentError


@pytest.mark.parametrize(
    ("name", "given_hz", "written_hz"),
    [
        ("wav", 11_111, 11_111),
        ("flac", 700_000, 655_350),
        ("mp3", 24_000, 24_000),
        ("mp3", 20_000, 22_050),
        ("mp3", 7_000, 8_000),
        ("mp3", 96_000, 48_000),
        ("ogg", 11_111, 11_111),
        ("ogg", 4_000, 8_000),
        ("ogg", 1_000_000, 192_000),
    ],
)
def test_a_rate_that_cannot_be_written_becomes_the_next_higher(name: str, given_hz: int, written_hz: int) -> None:
    """Nothing of the sound is lost, but above the highest rate there is no choice."""
    encoding = encoding_of(name)
    assert encoding.rate_for(given_hz) == written_hz
    assert encoding.can_carry(given_hz) is (given_hz == written_hz)


def test_formats_are_those_that_can_be_written() -> None:
    """What a user may choose is written here, or is left as it came."""
    assert OUTPUT_FORMATS == ("as-received", "wav", "flac", "mp3", "ogg")


@pytest.mark.parametrize("name", ["aac", "m4a", "webm", "as-received"])
def test_what_libsndfile_cannot_read_is_permanent(name: str) -> None:
    """The next attempt would bring the same format: the hint says which to ask for."""
    with pytest.raises(PermanentError) as exc_info:
        encoding_of(name)
    assert (exc_info.value.code, exc_info.value.may_be_billed) == ("UnsupportedAudio", True)
    assert "response_format" in str(exc_info.value)
