"""Audio as text: every spelling of base64 and hex, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.wire.text_decoder import (
    MIN_TEXT_CHARACTERS,
    TextDecoder,
    decode_base64,
    decode_head,
    decode_text,
    is_hex,
)

LONG = bytes(range(256)) * 5


def standard(data: bytes) -> str:
    return pybase64.b64encode(data).decode()


def in_lines(data: bytes) -> str:
    text = standard(data)
    return "\r\n".join(text[start : start + 76] for start in range(0, len(text), 76))


SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "standard": standard,
    "unpadded": lambda data: standard(data).rstrip("="),
    "url-safe": lambda data: pybase64.urlsafe_b64encode(data).decode(),
    "url-safe, unpadded": lambda data: pybase64.urlsafe_b64encode(data).decode().rstrip("="),
    "lines": in_lines,
    "percent-encoded": lambda data: quote(standard(data), safe=""),
    "escaped twice": lambda data: in_lines(data).replace("\r\n", "\\n").replace("/", "\\/"),
    "pieces": lambda data: standard(data[:10]) + standard(data[10:]),
}
HEX: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "capitals": lambda data: data.hex().upper(),
    "prefixed": lambda data: "0x" + data.hex(),
    "hex in lines": lambda data: data.hex("\n", 20),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@given(data=st.binary())
def test_base64_in_every_spelling(spell: Callable[[bytes], str], data: bytes) -> None:
    """Decoding gives the very bytes."""
    assert decode_base64(spell(data)) == data


@pytest.mark.parametrize("spell", [*SPELLINGS.values(), *HEX.values()], ids=[*SPELLINGS, *HEX])
def test_a_long_string_tells_what_it_is(spell: Callable[[bytes], str]) -> None:
    """Also by its head alone."""
    assert decode_text(spell(LONG)) == LONG
    head = decode_head(spell(LONG * 20))
    assert 3_000 < len(head) < 6_200
    assert (LONG * 20).startswith(head)


@pytest.mark.parametrize("text", ["ab=c", "äöüß", "a b c", "abcde", "\ud800abc", "a" * 65, "ab+/-_" * 20, "task id 7"])
def test_what_is_neither(text: str) -> None:
    """Wrong characters, two alphabets, wrong lengths and prose are errors, never guesses."""
    with pytest.raises(ValueError, match=r"."):
        decode_text(text)


@pytest.mark.parametrize("data", [bytes(300), bytes(3) * 40 + b"\x01\x00" * 90, b"\xff\xff" * 150, b"\x00\x01" * 150])
def test_silence_is_not_taken_for_hex(data: bytes) -> None:
    """Its base64 is letters of hex alone, now and then; hex of it is hex."""
    assert decode_text(standard(data)) == data
    assert decode_text(data.hex()) == data


def test_chunks_of_one_answer_are_of_one_kind() -> None:
    """A short last chunk cannot tell; the first one did."""
    for spell in (bytes.hex, standard):
        decoder = TextDecoder()
        assert [decoder(spell(chunk)) for chunk in (LONG, b"\x01\x02\x03", bytes(90))] == [LONG, b"\1\2\3", bytes(90)]


@given(st.binary(min_size=MIN_TEXT_CHARACTERS))
def test_sound_is_not_hex_by_chance(data: bytes) -> None:
    """Random bytes in base64 have letters that hex does not have."""
    assert is_hex(data.hex())
    assert len(set(data)) < 4 or not is_hex(standard(data))
