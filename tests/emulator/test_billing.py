from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.emulator.billing import Bill, charged_characters


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("", 0),
        ("Hello world.", 12),
        ("你好", 4),
        ("你好, world。", 12),
        ("漢字とかな", 7),
        ("大韓民國 만세", 11),
        ("\u3400\u4dbf\uf900\U00020000\U000323af", 10),
        ("\u33ff\u4dc0\ua000\U000323b0", 4),
        ("😀", 1),
    ],
)
def test_a_han_character_counts_two(text: str, characters: int) -> None:
    """A Han character counts 2, everything else 1, spaces and signs too."""
    assert charged_characters(text) == characters


@given(st.text())
def test_the_counter_agrees_with_the_names_of_characters(text: str) -> None:
    """What counts 2 are the characters that Unicode calls CJK ideographs (where this Python knows them)."""
    han = sum(unicodedata.name(each, "").startswith("CJK ") and "IDEOGRAPH" in unicodedata.name(each) for each in text)
    unnamed = sum(not unicodedata.name(each, "") for each in text)
    assert len(text) + han <= charged_characters(text) <= len(text) + han + unnamed


def test_the_bill_counts_what_was_charged(tmp_path: Path) -> None:
    """Received are all, requests those not turned away, charged those on the bill, which are also in the file."""
    bill = Bill(tmp_path / "bill.jsonl")
    for status, charged in ((200, True), (429, False), (500, False), (503, True)):
        with bill.receive() as entry:
            entry.read_fields({"input": "Hello", "model": "m", "voice": "Cherry", "speed": 1.2})
            entry.characters, entry.status = 5, status
            if charged:
                bill.charge(entry)
    bill.close()

    summary = bill.summary(entries=True)
    assert {name: summary[name] for name in ("received", "requests", "charged", "characters", "max_in_flight")} == {
        "received": 4,
        "requests": 3,
        "charged": 2,
        "characters": 10,
        "max_in_flight": 1,
    }
    assert summary["entries"][0]["parameters"] == {"speed": 1.2}
    written = [json.loads(line) for line in (tmp_path / "bill.jsonl").read_text().splitlines()]
    assert written == [entry for entry in summary["entries"] if entry["charged"]]


def test_a_reset_forgets_also_what_is_in_flight() -> None:
    """A request that began before a reset is on no bill after it, but still in flight."""
    bill = Bill()
    with bill.receive() as entry:
        bill.reset()
        bill.charge(entry)
        assert bill.summary() == {
            "received": 0,
            "requests": 0,
            "charged": 0,
            "characters": 0,
            "input_tokens": 0,
            "output_tokens": 0,
            "in_flight": 1,
            "max_in_flight": 1,
        }
    assert bill.in_flight == 0


def test_unreadable_fields_do_not_hurt() -> None:
    """An entry takes only texts as text, model and voice."""
    with Bill().receive() as entry:
        entry.read_fields({"input": 3, "model": None, "voice": ["x"]})
        assert (entry.text, entry.model, entry.voice) == ("", "", "")
