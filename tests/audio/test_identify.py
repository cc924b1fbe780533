"""Formats by their first bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sounds import FORMATS, adts_file, kind_of, pcm, sample
from tts_pipeline.audio.identify import identify


@pytest.mark.parametrize("name", FORMATS)
def test_real_files(name: str) -> None:
    """What libsndfile wrote is what it is called."""
    assert identify(sample(name)) == kind_of(name)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"RIFX\0\0\0\0WAVEfmt ", "wav"),
        (b"\0\0\0\x20ftypM4A ", "m4a"),
        (b"\x1a\x45\xdf\xa3webm", "webm"),
        (b"#!AMR\n", "amr"),
        (b"FORM\0\0\0\0AIFC", "aiff"),
        (b"RIFF\0\0\0\0AVI LIST", None),
        (b"<html>", None),
        (b'{"a":1}', None),
        (b"\xff\xfb", None),
        (b"", None),
    ],
)
def test_magic_numbers(data: bytes, expected: str | None) -> None:
    """The others by their magic; a RIFF that is no WAVE, text and stubs are nothing."""
    assert identify(data) == expected


def test_tags_before_the_frames() -> None:
    """An ID3 tag is stepped over; what follows it decides."""
    tag = b"ID3\x04\0\0\0\0\0\x0a" + b"\0" * 10
    assert identify(tag + sample("mp3")) == "mp3"
    assert identify(tag + sample("flac")) == "flac"
    assert identify(tag + adts_file(3)) == "aac"


def test_pcm_is_nothing_known() -> None:
    """Headerless samples have no format, also where they look like a frame's header by chance."""
    assert identify(pcm()) is None
    noise = np.random.default_rng(1).integers(0, 256, 4_096, dtype=np.uint8).tobytes()
    assert identify(b"\xff\xfb\x90\x64" + noise) is None
    assert identify(b"\xff\xf1\x50\x80\x10\x1f" + noise) is None


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Identifying never fails."""
    identify(data)
