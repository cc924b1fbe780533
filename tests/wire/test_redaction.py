"""A secret is taken out by its value, however it is written, and nothing else is."""

from __future__ import annotations

import base64
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.emulator.echo import ECHO_ENCODINGS, encode_echo
from tts_pipeline.errors import PermanentError
from tts_pipeline.models import Word
from tts_pipeline.wire.redaction import Redactor, _literals
from tts_pipeline.wire.response import Response

KEY = "Zq7/pL+w_x9.K2m-Tt4vB8nR5sYcD1eF"


@pytest.mark.parametrize("writing", ECHO_ENCODINGS)
def test_every_writing_is_redacted(writing: str) -> None:
    """In a sentence, alone, twice, and with a prefix of the header's; of a key that begins like no other."""
    echo, redactor = encode_echo(f"Bearer {KEY}", writing), Redactor([KEY])
    for text in (f"key {echo} is unknown", echo, f"{echo},{echo}", f"Bearer {echo}."):
        clean = redactor.redact(text)
        assert "[redacted]" in clean
        assert echo not in clean
        assert redactor.redact(clean) == clean


@given(
    st.text("abcXYZ0189-_/+.=~%&<'\"\\", min_size=8, max_size=80), st.integers(0, 60), st.sampled_from(ECHO_ENCODINGS)
)
def test_any_key_is_redacted(key: str, before: int, writing: str) -> None:
    """Of any characters that a header can carry, wherever it stands."""
    if writing == "cut" and len(key) < 20:
        return
    echo = encode_echo(f"Bearer {key}", writing)
    assert key not in Redactor([key]).redact(f"{'.' * before}{echo}")
    assert "[redacted]" in Redactor([key]).redact(f"{'.' * before} {echo}")


def test_what_is_no_key_stays() -> None:
    """Ids, codes, sentences and audio in base64; without a key nothing is looked at."""
    redactor = Redactor([KEY])
    for text in (
        *(str(uuid.UUID(int=7**45)), "Throttling.RateQuota", "Requests rate limit exceeded, try again.", "", "é 你好"),
        base64.b64encode(bytes(range(256)) * 40).decode(),
    ):
        assert redactor.redact(text) == text
        assert Redactor([None, ""]).redact(text) == text
    assert redactor.redact(None) is None


def test_a_short_key_is_a_word_of_its_own() -> None:
    """Below 6 characters: not in other words, nor in the names of fields, and one of two letters is none."""
    redactor = Redactor(["test", "no"])
    assert redactor.redact("the key test is no key; testing, latest") == "the key [redacted] is no key; testing, latest"
    reply = Response(400, {}, b'{"test": "test"}')
    assert redactor.redact_response(reply) is reply
    assert Redactor(["q7W3zK"]).redact("cTdXM3pL q%37W3zK 713757337a4b") == "[redacted] [redacted] [redacted]"


def test_an_answer_is_redacted_before_messages_are_cut() -> None:
    """Headers and body; one without the key is the very same object, also bytes that are no text."""
    redactor = Redactor([KEY])
    clean = redactor.redact_response(
        Response(401, {"x-request-id": KEY}, f'{{"message": "{KEY}"}}'.encode() + b"\xff\x00")
    )
    assert (clean.headers, clean.body) == (
        {"x-request-id": "[redacted]"},
        b'{"message": "[redacted]"}\xff\x00',
    )
    assert redactor.redact_response(clean) is clean


def test_an_error_has_it_in_no_field() -> None:
    """Also not in its arguments, which pickling and logging show."""
    error = PermanentError(f"m {KEY}", code=KEY, request_id=KEY, hint=f"h {KEY}")
    Redactor([KEY]).redact_error(error)
    assert KEY not in f"{error!r} {error} {error.args} {vars(error)}"


def test_words_that_spell_a_key_are_found() -> None:
    """In one word or in several; words that the text holds are its own."""
    redactor = Redactor([KEY])
    pieces = [Word(KEY[start : start + 4], 0, 1, None, None) for start in range(0, len(KEY), 4)]
    assert redactor.is_secret_in(pieces, "Hello there.")
    assert not redactor.is_secret_in(pieces, f"My key is {KEY}.")
    assert not redactor.is_secret_in([Word("Hello", 0, 1, 0, 5)], "Hello there.")


@pytest.mark.parametrize("characters", [3, 5, 6, 11, 12, 13, 40, 200])
def test_the_shortest_trace_of_a_key_is_redacted(characters: int) -> None:
    """No text is taken for too short that is a fragment of a key, or a key in another writing."""
    key = ("aK3-9x_Lq7" * 20)[:characters]
    for trace in _literals(key):
        assert Redactor([key, "another-longer-key-0123456789"]).redact(trace) != trace
