"""How long a text takes to say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.audio.speaking_rate import FASTEST_FACTOR, SLOWEST_FACTOR, speaking_range_s, usual_pace_s


@pytest.mark.parametrize(
    ("text", "language", "usual_s"),
    [
        ("a" * 987, "en", 60),
        ("a" * 987, "en-GB", 60),
        ("a" * 987, "EN", 60),
        ("ü" * 920, "de", 60),
        ("д" * 986, "ru", 60),
        ("d" * 1000, None, 68),
        ("d" * 1000, "vi", 68),
        ("人" * 255, "zh-CN", 60),
        ("人" * 255, None, 60),
        ("人" * 255, "en", 60),
        ("人" * 100, "ja", 25),
        ("か" * 100, "ja", 12.5),
        ("カー" * 50, None, 12.5),
        ("한" * 370, "ko", 60),
        ("ｶﾅ" * 50, None, 12.5),
    ],
)
def test_letters_take_what_people_take_to_read_them(text: str, language: str | None, usual_s: float) -> None:
    """By language, or by script where the language is not known or the letter is not one of its own."""
    least_s, most_s = speaking_range_s(text, language)
    assert least_s == pytest.approx(FASTEST_FACTOR * usual_s)
    assert most_s == pytest.approx(SLOWEST_FACTOR * usual_s)


def test_kana_make_han_japanese() -> None:
    """Without a language, Han characters are Japanese where kana are among them."""
    assert speaking_range_s("人の", None) == speaking_range_s("人の", "ja")
    assert speaking_range_s("人", None) == speaking_range_s("人", "zh")


@pytest.mark.parametrize(
    ("text", "language", "usual_s"),
    [
        ("1948", "en", 1.1),  # nineteen forty-eight
        ("1.000.000", "de", 0.7),  # eine Million
        ("77", "de", 1.1),  # siebenundsiebzig
        ("2024年", "zh", 1.2),
        ("50 %", "en", 0.8),
        ("BBC", "en", 0.7),
        ("UNESCO", "en", 0.6),
        ("U.S.A.", "en", 0.8),
        ("a@b.de", "de", 1.2),
        ("😂", "en", 0.0),
        ("😂", "en", 1.3),
        ("½", "en", 0.6),
    ],
)
def test_what_is_spoken_counts(text: str, language: str, usual_s: float) -> None:
    """Digits, symbols and abbreviations take longer to say than to write, or shorter: their range holds both."""
    least_s, most_s = speaking_range_s(text, language)
    assert least_s <= usual_s <= most_s


@pytest.mark.parametrize("text", ["", " \t", "«»", "'", "\u0301", "\u200b"])
def test_what_is_not_spoken_takes_no_time(text: str) -> None:
    """Spaces, quotes and marks that belong to another letter."""
    assert speaking_range_s(text, "en") == (0, 0)


def test_letters_in_two_pieces_count_once() -> None:
    """A decomposed text takes as long as the composed one, in every script."""
    assert speaking_range_s("e\u0301te\u0301", "fr") == speaking_range_s("été", "fr")
    assert speaking_range_s("한", "ko") == speaking_range_s("한", "ko")


def test_punctuation_may_be_a_pause() -> None:
    """It makes nothing longer at the least."""
    least_s, most_s = speaking_range_s("Yes. No.", "en")
    plain_s = speaking_range_s("YesNo".lower(), "en")
    assert least_s == pytest.approx(plain_s[0])
    assert most_s == pytest.approx(plain_s[1] + 0.6)


@given(st.text(max_size=80), st.text(max_size=80), st.sampled_from([None, "en", "ja", "th", "x-klingon", ""]))
def test_more_text_never_takes_less(text: str, more: str, language: str | None) -> None:
    """Any text, even nonsense, has a range, and what is added to it only adds."""
    tongue = language or "en"
    least_s, most_s = speaking_range_s(f"{text} {more}", tongue)
    alone = speaking_range_s(text, tongue)
    assert 0 <= alone[0] <= least_s + 1e-9
    assert alone[1] <= most_s + 1e-9
    assert speaking_range_s(text, language)[0] <= speaking_range_s(text, language)[1]


@pytest.mark.parametrize("language", ["en", "de-AT", "ru", "ja", "ko", "zh", None, "vi"])
def test_the_usual_time_is_within_what_is_possible(language: str | None) -> None:
    """One table serves both."""
    letter = {"ja": "か", "ko": "한", "ru": "д"}.get(language or "", "d")
    for character, seconds in zip((letter, "人"), usual_pace_s(language), strict=True):
        least_s, most_s = speaking_range_s(character, language)
        assert least_s == pytest.approx(FASTEST_FACTOR * seconds)
        assert most_s == pytest.approx(SLOWEST_FACTOR * seconds)
