from __future__ import annotations

import unicodedata
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import pytest
import regex
from hypothesis import assume, given
from hypothesis import strategies as st

from tts_pipeline.card import Card
from tts_pipeline.config import MAX_TEXT_CHARACTERS
from tts_pipeline.errors import PermanentError
from tts_pipeline.models import Segment
from tts_pipeline.text import (
    billed_characters,
    check_speakable,
    input_length,
    is_speakable,
    segment_text,
    speakable_segments,
)

HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
EDGES = [chr(point) for low, high in HAN for point in (low - 1, low, high, high + 1)]
ANY_CHARACTER = st.characters(codec=None) | st.sampled_from(EDGES) | st.characters(categories=["Cs"])
ANY_TEXT = st.text(ANY_CHARACTER)
CARD = Card("anywhere", "any-model", input_limit=600)


def naive_count(text: str) -> int:
    return sum(2 if any(low <= ord(character) <= high for low, high in HAN) else 1 for character in text)


@pytest.mark.parametrize(
    ("text", "billed"),
    [
        ("", 0),
        ("Hello, world.", 13),
        ("你好", 4),
        ("你好,世界!", 10),
        ("漢字とかな", 7),
        ("한국어 漢字", 8),
        ("\U00020000", 2),
        ("🙂", 1),
        ("e\u0301", 2),
        (" \n\t", 3),
        ("\u3007\u3005", 2),
    ],
)
def test_han_counts_double(text: str, billed: int) -> None:
    """A Han character counts 2, also kanji, hanja and beyond the basic plane; every other code point counts 1."""
    assert billed_characters(text, "han_double") == billed


@given(ANY_TEXT)
def test_han_count_agrees_with_a_naive_counter(text: str) -> None:
    """Over all of Unicode, lone surrogates included, the fast counter is the plain one."""
    assert billed_characters(text, "han_double") == naive_count(text)


@pytest.mark.parametrize("character", EDGES, ids=lambda character: f"U+{ord(character):04X}")
def test_the_ranges_of_han_are_exact(character: str) -> None:
    """The first and last of each range count double, their neighbours outside once."""
    assert billed_characters(character, "han_double") == naive_count(character)


@given(ANY_TEXT, ANY_TEXT)
def test_billed_characters_add_up(first: str, other: str) -> None:
    """A text costs the same in one piece or in two."""
    counts = [billed_characters(text, "han_double") for text in (first, other, first + other)]
    assert counts[0] + counts[1] == counts[2]


@pytest.mark.parametrize("billing", ["characters", "tokens"])
def test_other_counters_count_code_points(billing: str) -> None:
    """Without the Han rule a character is a code point."""
    assert billed_characters("你好 🙂", billing) == 4


@pytest.mark.parametrize(
    ("text", "unit", "length"),
    [
        ("你好🙂", "characters", 3),
        ("你好🙂", "bytes", 10),
        ("plain", "bytes", 5),
        ("plain", "tokens", 5),
        ("你好", "tokens", 6),
        ("\ud800", "bytes", 3),
        ("\u0958", "tokens", 6),
    ],
)
def test_length_in_the_cards_unit(text: str, unit: str, length: int) -> None:
    """Code points, UTF-8 bytes, or for tokens the bytes of the text or of its NFC form, whichever are more."""
    assert input_length(text, unit) == length


@given(st.text())
def test_token_bound_covers_the_bytes_a_tokenizer_sees(text: str) -> None:
    """The bound for tokens is never below the bytes of the text as given, nor as normalised."""
    bound = input_length(text, "tokens")
    assert bound >= len(text.encode())
    assert bound >= len(unicodedata.normalize("NFC", text).encode())


def test_a_text_within_the_limit_is_one_segment() -> None:
    """What fits is sent as it is, to the last character."""
    text = " " + "字" * 599
    assert segment_text(text, CARD) == (Segment(0, text, 0, 600),)


def test_no_limit_known_is_no_limit() -> None:
    """Without a limit in the card any text is one segment."""
    assert len(segment_text("word " * 10_000, Card("anywhere", "any-model"))) == 1


@pytest.mark.parametrize(
    ("text", "code"), [("", "EmptyText"), (" \n\u3000", "EmptyText"), ("half \ud83d", "UnencodableText")]
)
def test_what_cannot_be_sent_is_refused(text: str, code: str) -> None:
    """Empty text and lone surrogates are rejects that cost nothing."""
    with pytest.raises(PermanentError) as exc_info:
        segment_text(text, CARD)
    assert (exc_info.value.code, exc_info.value.may_be_billed) == (code, False)


def pieces(text: str, limit: int, language: str | None = None) -> list[str]:
    return [segment.text for segment in segment_text(text, CARD, limit, language=language)]


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("One two. Three four. Five six.", 20, ["One two. Three four.", "Five six."]),
        ("One two, three four, five. Six.", 20, ["One two, three four,", "five. Six."]),
        ("One two three four five", 13, ["One two three", "four five"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("It cost 1,000 at 12:30, then 2,000.", 24, ["It cost 1,000 at 12:30,", "then 2,000."]),
        ("今天天气很好。我们去公园吧。好的。", 14, ["今天天气很好。我们去公园吧。", "好的。"]),
        ("因为今天天气很好,所以我们去公园。", 10, ["因为今天天气很好,", "所以我们去公园。"]),
        ("今日は天気がいいですね。公園へ行きましょう。", 12, ["今日は天気がいいですね。", "公園へ行きましょう。"]),
        ("안녕하세요. 저는 학생입니다.", 10, ["안녕하세요.", "저는 학생입니다."]),
        ("Привет, мир. Как дела?", 12, ["Привет, мир.", "Как дела?"]),
        ("Line one\nline two", 10, ["Line one", "line two"]),
        ("  padded text   here  ", 11, ["padded text", "here"]),
        ("漢字ABC漢字", 5, ["漢字ABC", "漢字"]),
    ],
)
def test_long_texts_are_cut_where_a_reader_pauses(text: str, limit: int, expected: list[str]) -> None:
    """After sentences, else after clauses, else after words, else anywhere; as much as fits in each segment."""
    assert pieces(text, limit) == expected


def test_the_language_decides_what_an_abbreviation_is() -> None:
    """A German abbreviation does not end a sentence in German."""
    text = "Er kam z. B. gestern spät an. Gut."
    assert pieces(text, 30, "de-AT") == ["Er kam z. B. gestern spät an.", "Gut."]


def test_the_limit_of_the_service_wins() -> None:
    """A limit that was learnt overrides the card's, in either direction."""
    text = "word " * 200
    assert len(segment_text(text, CARD)) == 2
    assert len(segment_text(text, CARD, 1_000)) == 1
    assert len(segment_text(text, replace(CARD, input_limit=None), 100)) == 10


def test_white_space_beyond_the_limit_may_go() -> None:
    """A text that fits without it is one segment."""
    assert segment_text("字" * 600 + "\n", CARD) == (Segment(0, "字" * 600, 0, 600),)


def test_a_grapheme_is_never_cut() -> None:
    """A family of emoji is one grapheme of five code points: under that limit there is no way."""
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert pieces(family * 3, 5) == [family] * 3
    with pytest.raises(PermanentError) as exc_info:
        segment_text(family * 3, CARD, 4)
    assert (exc_info.value.code, exc_info.value.may_be_billed) == ("TextTooLong", False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("abcd \u0301efg hij", ["abcd", " \u0301efg", "hij"]), ("abc\u0600 defg", ["abc\u0600 ", "defg"])],
)
def test_white_space_that_belongs_to_a_grapheme_stays(text: str, expected: list[str]) -> None:
    """A space that carries an accent, or that a prefix takes along, is no white space at an edge."""
    assert pieces(text, 5) == expected


LONG_TEXT = st.text(
    st.sampled_from(list('abc .,!?;:\n"()123你好。,「」は한국어й\u0301\u200d🙂👩\u0600\r \u3000'))
    | st.characters(codec="utf-8"),
    min_size=1,
    max_size=120,
)


Unit = Literal["characters", "bytes", "tokens"]


def segmented(text: str, limit: int, unit: Unit = "characters") -> tuple[Segment, ...]:
    """The segments of a text that can be sent at all; other texts are left to the other tests."""
    assume(text.strip())
    assume(all(input_length(grapheme, unit) <= limit for grapheme in regex.findall(r"\X", text)))
    return segment_text(text, replace(CARD, input_unit=unit), limit)


@given(LONG_TEXT, st.integers(8, 40), st.sampled_from(["characters", "bytes", "tokens"]))
def test_segments_cover_the_text(text: str, limit: int, unit: Unit) -> None:
    """Each is text[start:end] within the limit, at grapheme boundaries, in order; only white space is left out."""
    segments = segmented(text, limit, unit)
    boundaries = {0, *(match.end() for match in regex.finditer(r"\X", text))}
    places = [0, *(place for segment in segments for place in (segment.start, segment.end)), len(text)]
    assert places == sorted(places)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    for segment in segments:
        assert segment.text == text[segment.start : segment.end]
        assert segment.text.strip()
        assert {segment.start, segment.end} <= boundaries
        assert input_length(segment.text, unit) <= limit
    for end, start in list(pairwise(places))[::2]:
        assert not text[end:start].strip()


@given(LONG_TEXT, st.integers(8, 40))
def test_segments_are_few(text: str, limit: int) -> None:
    """No two neighbours would fit in one request."""
    for segment, other in pairwise(segmented(text, limit)):
        assert len(text[segment.start : other.end]) > limit


@pytest.mark.parametrize(
    "text",
    [
        *("123", "C", "%", "我", "か", "ー", "한", "é", "€", "+", "=", "½", "①", "Ⅷ", "...a", "٣", "अ", "&", "@", "№"),
        *("1\ufe0f\u20e3", "™", "<3", "a<b>", "<b>hi</b>", "\U00031350", "\U0002ebf0", "\U000323b0", "x²", "𝟙"),
        *("Ⓐ", "㎏", "㈱", '<sub alias="World"/>', '<phoneme alphabet="ipa" ph="hi"></phoneme>'),
    ],
)
def test_what_is_read_aloud(text: str) -> None:
    """Letters and digits of any script, also of one that Python does not know yet, money, mathematics, a few signs."""
    assert is_speakable(text)
    check_speakable(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "...",
            "…",
            "!?",
            "😀",
            "👍🏽",
            "🇨🇳",
            "🧑\u200d🚀",
            "♪",
            "→",
            "★★★",
            "—",
            "-----",
            "* * *",
            "|||",
            "~",
            "～",
            "___",
            "。",
        ),
        *("\u200b\u200d\ufeff", "\u0301\u0302", "\x00\x07", "\u3164", "\u115f", "\u2800", "\ue000", "\ufffe"),
        *('<break time="1s"/>', "<speak> </speak>", "<speak>...</speak>"),
    ],
)
def test_what_has_nothing_to_say(text: str) -> None:
    """Punctuation, emoji, marks, control characters, what is invisible, and markup alone are refused before money."""
    with pytest.raises(PermanentError) as exc_info:
        check_speakable(text)
    assert (exc_info.value.code, exc_info.value.may_be_billed) == ("UnspeakableText", False)
    check_speakable(text, allow_unspeakable=True)


def test_a_text_that_is_too_long_is_refused_before_it_is_looked_at() -> None:
    """Whatever is in it, and whether or not the model has a limit."""
    with pytest.raises(PermanentError) as exc_info:
        check_speakable(" " * (MAX_TEXT_CHARACTERS + 1), allow_unspeakable=True)
    assert exc_info.value.code == "TextTooLong"
    check_speakable("a" * MAX_TEXT_CHARACTERS)


def test_segments_without_anything_to_say_are_left_out() -> None:
    """The dots behind a sentence that fills a request are none of their own; the others keep their places."""
    text = "First of all. " + "." * 12 + " Then more."
    segments = speakable_segments(segment_text(text, replace(CARD, input_limit=14)))
    assert [(segment.index, segment.text) for segment in segments] == [(0, "First of all."), (1, "Then more.")]
    assert all(text[segment.start : segment.end] == segment.text for segment in segments)
