from __future__ import annotations

from tts_pipeline.emulator.audio import TimedWord
from tts_pipeline.emulator.timings import timing_fields

TEXT = "«Hi, you»"
WORDS = (TimedWord("Hi", 100, 300, 1, 3), TimedWord("you", 400, 700, 5, 8))


def test_characters_are_three_arrays_that_never_go_back() -> None:
    """Every character has its time; those of a word share the word's, the others lie in the gaps."""
    _, beside = timing_fields(WORDS, TEXT, "characters")
    alignment = beside["alignment"]
    starts, ends = alignment["character_start_times_seconds"], alignment["character_end_times_seconds"]
    assert "".join(alignment["characters"]) == TEXT
    assert starts == [0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.5, 0.6, 0.7]
    assert ends == [0.1, 0.2, 0.3, 0.4, 0.4, 0.5, 0.6, 0.7, 0.7]


def test_arrays_and_objects_are_in_seconds() -> None:
    """The same words, in two more forms."""
    _, arrays = timing_fields(WORDS, TEXT, "arrays")
    assert arrays == {"word_timestamps": {"words": ["Hi", "you"], "start": [0.1, 0.4], "end": [0.3, 0.7]}}
    _, objects = timing_fields(WORDS, TEXT, "objects")
    assert objects["words"][1] == {"word": "you", "start": 0.4, "end": 0.7}


def test_wrong_ones_are_wrong() -> None:
    """Arrays of unequal length; times and places that cannot be."""
    _, ragged = timing_fields(WORDS, TEXT, "ragged")
    assert len(ragged["word_timestamps"]["end"]) == 1
    absurd, _ = timing_fields(WORDS, TEXT, "absurd")
    assert absurd["words"][0]["begin_time"] > absurd["words"][0]["end_time"]
    assert absurd["words"][0]["end_index"] > len(TEXT)


def test_no_words_are_no_trouble() -> None:
    """A text without words has arrays all the same."""
    for form in ("ali", "characters", "arrays", "objects", "ragged", "absurd"):
        inside, beside = timing_fields((), "...", form)
        assert len(inside) + len(beside) == 1
