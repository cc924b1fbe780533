"""Messages fit to be shown: short, one line, no markup, and never a key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.wire.messages import MAX_CHARACTERS, clean_message


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("<html><head><title> 502  Bad\nGateway </title></head>x</html>", "502 Bad Gateway"),
        ("<h1>Not &amp; Found</h1>", "Not & Found"),
        ("<!doctype html><body><script>var a=1</script><p>Sorry</p></body>", "Sorry"),
        ("<429> Throttling: a < b", "<429> Throttling: a < b"),
        ("a\x00b\x1b[31mc\r\n\td", "a b [31mc d"),
        ("请求的 模型", "请求的 模型"),
        ("", ""),
    ],
)
def test_one_readable_line(message: str, expected: str) -> None:
    """HTML is its title, heading or text; control characters are gone; a marker like <429> is no markup."""
    assert clean_message(message) == expected


def test_a_long_message_is_cut() -> None:
    """300 characters, and a sign that there was more."""
    cut = clean_message("word " * 1000)
    assert len(cut) <= MAX_CHARACTERS
    assert cut.endswith("…")


SECRET = "zQ9xK2mT7pL4wR8vB1nC"


@pytest.mark.parametrize(
    "message",
    [
        f"Incorrect API key provided: sk-{SECRET}. Find yours",
        f"Incorrect API key provided: {SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"bad header bearer {SECRET}",
        f'{{"api_key": "{SECRET}"}}',
        f"token={SECRET}&x=1",
        f"https://x/?OSSAccessKeyId=1&Signature={SECRET}%3D",
        f"key sk-proj-{SECRET}-abc is disabled",
        f"unknown credential {SECRET}{SECRET}",
    ],
)
def test_keys_are_redacted(message: str) -> None:
    """Whatever looks like a key or a bearer token is not in the result."""
    cleaned = clean_message(message)
    assert SECRET not in cleaned
    assert "[redacted]" in cleaned


def test_ids_and_words_are_not_keys() -> None:
    """Request ids, long words and token counts stay readable."""
    for message in (
        "request 0cbe6006-faec-9854-bf8b-c906d75c3bd8 failed",
        "Donaudampfschifffahrtsgesellschaftskapitaen",
        "total_tokens: 12 of 600 tokens",
    ):
        assert clean_message(message) == message


@given(st.text(max_size=600) | st.text("<>/abtile sk-:=", max_size=600))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    """Never longer than the limit, never a line end or a control character."""
    cleaned = clean_message(text)
    assert len(cleaned) <= MAX_CHARACTERS
    assert not any(ord(character) < 32 for character in cleaned)
