"""Words and their places: what the service says, what the text says, and what stands between."""

from __future__ import annotations

import pytest

from tts_pipeline.wire.word_aligner import WordAligner, fold, is_unspaced


def aligned_texts(text: str, *words: str | tuple[str, int, int]) -> list[str | None]:
    """Return the piece of text at each word's place; None where it has none."""
    aligner = WordAligner(text)
    for word in words:
        aligner.add_word(*(word if isinstance(word, tuple) else (word, None, None)))
    return [None if start is None else text[start:end] for start, end in aligner.spans()]


def aligned_starts(text: str, *words: str | tuple[str, int, int]) -> list[int | None]:
    """Return where each word begins."""
    aligner = WordAligner(text)
    for word in words:
        aligner.add_word(*(word if isinstance(word, tuple) else (word, None, None)))
    return [start for start, _ in aligner.spans()]


def test_the_next_equal_word_is_meant() -> None:
    """Repeated words are taken in order."""
    assert aligned_starts("the cat the dog", "the", "cat", "the", "dog") == [0, 4, 8, 12]


def test_a_told_place_is_believed_where_the_text_agrees() -> None:
    """A right place tells repeated words apart; a wrong one (bytes, another text) is passed over."""
    assert aligned_starts("no no no", ("no", 6, 8)) == [6]
    assert aligned_starts("é no no", ("no", 3, 5)) == [2]
    assert aligned_starts("no", ("no", -1, 1)) == [0]
    assert aligned_starts("no no", ("no", 0, 2), ("no", 0, 2)) == [0, 3]
    assert aligned_starts("no", ("no", 1, 99)) == [0]


def test_a_whole_word_goes_before_a_part() -> None:
    """``a`` is not the one in ``cat``, unless the service cuts words into pieces there."""
    assert aligned_starts("xx cat a", "12", "a")[-1] == 7
    assert aligned_starts("beautiful", "beau", "ti", "ful") == [0, 4, 6]


def test_scripts_without_spaces_have_no_whole_words() -> None:
    """There the next equal character is meant."""
    assert aligned_starts("我爱我。我", "我", "爱", "我", "我") == [0, 1, 2, 4]


@pytest.mark.parametrize(("text", "word"), [("CAFE\u0301!", "café"), ("Ｃａｆé", "cafe\u0301"), ("STRASSE", "straße")])
def test_case_width_and_accents_do_not_matter(text: str, word: str) -> None:
    """The service may write a word in another way; its place is that of the utterance's own characters."""
    assert aligned_texts(text, word) == [text.rstrip("!")]


def test_one_word_that_is_nowhere_takes_the_gap() -> None:
    """``twelve`` stands for ``12``; several in a row cannot be told apart; nothing takes a gap that is too large."""
    assert aligned_texts("I have 12 cats", "I", "have", "twelve", "cats") == ["I", "have", "12", "cats"]
    assert aligned_texts("In 1984, we", "In", "nineteen", "eighty-four", "we") == ["In", None, None, "we"]
    assert aligned_texts("a" * 200, "b") == [None]
    assert aligned_texts("12 cats", "twelve", "cats") == ["12", "cats"]
    assert aligned_texts("cats, 12.", "cats", "twelve") == ["cats", "12"]
    assert aligned_texts("cats ...", "cats", "um") == ["cats", None]


def test_a_far_word_is_another_one() -> None:
    """A missed word must not carry all others away to a later equal one."""
    text = "one " + "x" * 300 + " two"
    assert aligned_texts(text, "one", "two") == ["one", None]


def test_a_miss_lets_the_next_word_be_further_away() -> None:
    """After words that were read out differently, the next may stand a little further on."""
    text = "start " + "1234567890 " * 6 + "goal"
    assert aligned_texts(text, "start", "many", "many", "goal")[-1] == "goal"


def test_folding_and_scripts() -> None:
    """The two small questions that placing asks of characters."""
    assert fold("Ｃａｆé") == fold("cafe\u0301")
    assert [is_unspaced(character) for character in "a안ß你ひไ"] == [False, False, False, True, True, True]
