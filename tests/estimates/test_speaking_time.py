"""How long texts take to say."""

from __future__ import annotations

import re

import polars as pl
import pytest

from tts_pipeline.estimates.speaking_time import script_language, speaking_time_s
from tts_pipeline.frames import han_characters


def test_the_documented_table_is_what_is_reckoned_with() -> None:
    """Each figure of the docstring."""
    rows = re.findall(r"(\w{2}|others) +(0\.\d{3}) +(0\.\d{3})", speaking_time_s.__doc__ or "")
    assert len(rows) == 12
    for language, letter_s, han_s in rows:
        tag = None if language == "others" else language
        assert f"{speaking_time_s(1, 0, tag):.3f}" == letter_s, language
        assert f"{speaking_time_s(0, 1, tag):.3f}" == han_s, language


def test_a_reader_for_listeners_is_met() -> None:
    """LJ Speech: 1,096,063 letters of English in 86,117 s."""
    assert speaking_time_s(1_308_678 - 212_615, 0, "en-US") == pytest.approx(86_117, rel=0.02)


def test_recorded_chinese_and_japanese_are_met() -> None:
    """CSMSC: 163,099 Han characters in 12 hours. JSUT: 329 kanji and 759 others in 175.4 s."""
    assert speaking_time_s(0, 163_099, "zh") == pytest.approx(43_200, rel=0.02)
    assert speaking_time_s(759, 329, "ja") == pytest.approx(175.4, rel=0.02)


def test_a_digit_is_longer_than_a_letter() -> None:
    """In every language it is a word, or most of one."""
    for language in (None, "en", "zh", "ja", "ko"):
        assert speaking_time_s(10, 2, language, digits=4) == pytest.approx(speaking_time_s(6, 2, language) + 4 * 0.4)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello.", None),
        ("Schön.", None),
        ("今天天气很好。", "zh"),
        ("今日は", "ja"),
        ("カタカナ", "ja"),
        ("안녕하세요", "ko"),
        ("大韓民國 만세", "ko"),
        ("Привет", "ru"),
        ("مرحبا", "ar"),
        ("שלום", "he"),
        ("Πάμε", None),
        ("", None),
        (None, None),
    ],
)
def test_a_script_tells_whose_pace_it_is(text: str | None, language: str | None) -> None:
    """Where no language is given; kana make Han characters Japanese."""
    column = pl.col("text")
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
    languages = frame.select(language=script_language(column, han_characters(column).fill_null(0)))
    assert languages["language"].to_list() == [language]
