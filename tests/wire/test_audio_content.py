"""Strings and objects that stand for audio."""

from __future__ import annotations

import pytest

from tts_pipeline.wire.audio_content import AudioContent, audio_at_url, audio_from_text, find_audio


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data:audio/wav;base64,AAAA", AudioContent(b"\0\0\0", content_type="audio/wav")),
        ("DATA:audio/mpeg;codecs=opus;base64,AAAA", AudioContent(b"\0\0\0", content_type="audio/mpeg;codecs=opus")),
        ("data:audio/L16;rate=16000;base64,%2BA%3D%3D", AudioContent(b"\xf8", content_type="audio/L16;rate=16000")),
        ("data:;charset=x;BASE64,AAAA", AudioContent(b"\0\0\0")),
        ("data:audio/x,%00a", AudioContent(b"\0a", content_type="audio/x")),
        ("https://h/a", AudioContent(url="https://h/a")),
        ("gopher://h/a", AudioContent(url="gopher://h/a")),
        ("AAAA", AudioContent(b"\0\0\0")),
    ],
)
def test_what_a_string_stands_for(text: str, expected: AudioContent) -> None:
    """A data URI, an address of any scheme, or base64."""
    assert audio_from_text(text) == expected


def test_a_data_uri_without_data_is_nothing() -> None:
    """It ends before its comma."""
    with pytest.raises(ValueError, match="data URI"):
        audio_from_text("data:audio/wav;base64")


@pytest.mark.parametrize(
    ("url", "expires_at"),
    [
        ("/a", None),
        ("http://h/a?Expires=1766113409", 1766113409),
        ("http://h/a?Expires=soon", None),
        ("http://[", None),
    ],
)
def test_expiry_from_the_signature(url: str, expires_at: int | None) -> None:
    """Signed links tell when they end."""
    assert audio_at_url(url).expires_at == expires_at


def test_the_fields_word_goes_before_the_signatures() -> None:
    """``expires_at`` beside the URL is what the service says; nonsense there is passed over."""
    url = "http://h/a?Expires=1766113409"
    assert audio_at_url(url, {"expires_at": 5}).expires_at == 5
    assert audio_at_url(url, {"expires_at": "5"}).expires_at == 1766113409


def test_no_audio_is_none_and_broken_audio_is_an_error() -> None:
    """The two are told apart: one may be another shape, the other is damage."""
    assert find_audio({"output": {"audio": None}, "audio": "", "url": None}) is None
    with pytest.raises(ValueError, match=r"."):
        find_audio({"audio": {"data": "%"}})
