"""Timed words: every form services send, normalised, believed only where they can be."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.models import Word
from tts_pipeline.wire.timestamps import (
    TIMESTAMPS_DROPPED,
    MalformedTimestampsError,
    TimedText,
    align_words,
    find_words,
    merge_words,
)

HI_YOU = (TimedText("Hi", 0, 250), TimedText("you", 300, 500))
ALI = [
    {"text": "Hi", "begin_time": 0, "end_time": 250, "begin_index": 0, "end_index": 2, "phonemes": []},
    {"text": "you", "begin_time": 300, "end_time": 500, "begin_index": 3, "end_index": 6},
]
SECONDS = [{"word": "Hi", "start": 0, "end": 0.25}, {"word": "you", "start": 0.3, "end": 0.5}]
ARRAYS = {"words": ["Hi", "you"], "start": [0, 0.3], "end": [0.25, 0.5]}
CHARACTERS = {
    "characters": list("Hi you"),
    "character_start_times_seconds": [0, 0.1, 0.25, 0.3, 0.35, 0.4],
    "character_end_times_seconds": [0.1, 0.25, 0.3, 0.35, 0.4, 0.5],
}


@pytest.mark.parametrize(
    "payload",
    [
        {"output": {"sentence": {"words": ALI}}},
        {"output": {"sentence": [{"words": ALI[:1]}, {"words": ALI[1:]}]}},
        {"output": {"sentences": [{"words": ALI}]}},
        {"output": {"words": ALI}},
        {"output": {"audio": {"timestamps": ALI}}},
        {"words": SECONDS},
        {"timestamps": SECONDS},
        {"timestamps": {"words": SECONDS}},
        {"timestamps": [{"text": "Hi", "start": 0, "duration": 0.25}, {"text": "you", "start": 0.3, "duration": 0.2}]},
        {"timestamps": [{"word": "Hi", "start_ms": 0, "end_ms": 250}, {"word": "you", "start_ms": 300, "end_ms": 500}]},
        {"subtitles": [{"text": "Hi you", "begin_time": 0, "end_time": 9, "sentence": True}, *ALI]},
        {
            "Subtitles": [
                {"Text": "Hi", "BeginTime": 0, "EndTime": 250},
                {"Text": "you", "BeginTime": 300, "EndTime": 500},
            ]
        },
        {"word_timestamps": ARRAYS},
        ARRAYS,
        {"alignment": CHARACTERS},
        {"audio": {"alignment": CHARACTERS}},
        {"alignment": None, "normalized_alignment": CHARACTERS},
    ],
)
def test_every_form_means_the_same(payload: dict[str, Any]) -> None:
    """Milliseconds and seconds, objects and arrays, words and characters, wherever they are."""
    words = find_words(orjson.loads(orjson.dumps(payload)))
    assert tuple(TimedText(word.text, word.start_ms, word.end_ms) for word in words or ()) == HI_YOU


def test_places_are_kept_where_they_are_told() -> None:
    """The service's own places help to find the words; characters tell theirs by counting."""
    assert (find_words({"words": ALI}) or ())[1].index_start == 3
    assert (find_words({"alignment": CHARACTERS}) or ())[1] == TimedText("you", 300, 500, 3, 6)


def test_characters_of_scripts_without_spaces_are_words() -> None:
    """Without spaces there is no other end of a word."""
    times = [0.0, 0.1, 0.2, 0.3, 0.4]
    words = find_words(
        {
            "alignment": {
                "characters": list("你好ab안"),
                "character_start_times_seconds": times,
                "character_end_times_seconds": [time + 0.1 for time in times],
            }
        }
    )
    assert [word.text for word in words or ()] == ["你", "好", "ab안"]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"words": []},
        {"words": "Hi"},
        {"words": ["Hi"]},
        {"output": {"sentence": {}}},
        {"alignment": {"model": "x"}},
    ],
)
def test_no_timestamps_is_none(payload: dict[str, Any]) -> None:
    """What is no timed list at all is no error."""
    assert find_words(payload) is None


@pytest.mark.parametrize(
    "payload",
    [
        {"words": [{"text": "Hi", "begin_time": 0}]},
        {"words": [{"begin_time": 0, "end_time": 1}]},
        {"words": [*ALI, "you"]},
        {"words": [{"text": "Hi", "begin_time": -1, "end_time": 1}]},
        {"words": [{"text": "Hi", "begin_time": 0, "end_time": 1e300}]},
        {"words": [{"text": "Hi", "begin_time": "0", "end_time": "1"}]},
        {"words": [{"text": "Hi", "begin_time": False, "end_time": True}]},
        {**ARRAYS, "end": [1]},
        {**ARRAYS, "start": None},
        {"words": ["Hi", 3], "start": [0, 1], "end": [1, 2]},
        {"alignment": {**CHARACTERS, "characters": list("Hi")}},
    ],
)
def test_a_ragged_list_is_an_error(payload: dict[str, Any]) -> None:
    """Missing texts or times, arrays of different lengths, times that are no times: nothing of it is believed."""
    with pytest.raises(MalformedTimestampsError):
        find_words(payload)


def test_repeated_words_of_a_stream_are_kept_once() -> None:
    """Equal words at other times stay; a corrected end wins; the order is that of first mention."""
    words = [TimedText("a", 0, 5, 0), TimedText("a", 9, 12, 2), TimedText("a", 0, 8, 0)]
    assert merge_words(words) == (TimedText("a", 0, 8, 0), TimedText("a", 9, 12, 2))


def test_words_are_placed_in_the_text() -> None:
    """Times are as told, places are those of the utterance's own text."""
    placed, flags = align_words(find_words({"words": ALI}), "Hi you!", 600)
    assert (placed, flags) == ((Word("Hi", 0, 250, 0, 2), Word("you", 300, 500, 3, 6)), ())


def test_nothing_is_nothing() -> None:
    """No words, and words of white space only, are no timestamps and no flag."""
    assert align_words(None, "Hi", 100) == (None, ())
    assert align_words((), "Hi", 100) == (None, ())
    assert align_words([TimedText(" ", 0, 1)], "Hi", 100) == (None, ())


def test_small_overshoots_are_clamped() -> None:
    """A little beyond the audio, or into the next word, is rounding."""
    placed, flags = align_words([TimedText("Hi", 0, 320), TimedText("you", 300, 700)], "Hi you", 600)
    assert placed == (Word("Hi", 0, 300, 0, 2), Word("you", 300, 600, 3, 6))
    assert flags == ()


def test_words_are_sorted_by_time() -> None:
    """An answer in disorder is put in order."""
    placed, _ = align_words([HI_YOU[1], HI_YOU[0]], "Hi you", 600)
    assert [word.text for word in placed or ()] == ["Hi", "you"]


@pytest.mark.parametrize(
    ("words", "duration_ms"),
    [
        ([TimedText("Hi", 50, 20)], 600),
        ([TimedText("Hi", 0, 50), TimedText("you", 300, 5_000)], 600),
        ([TimedText("Hi", 0, 900), TimedText("you", 100, 950)], 1_000),
        ([TimedText("Hi", 0, 0), TimedText("you", 0, 0)], 600),
        ([TimedText("a", 0, 1), TimedText("b", 2, 3), TimedText("c", 3, 4)], 5_000),
    ],
)
def test_an_absurd_alignment_is_dropped_with_a_flag(words: list[TimedText], duration_ms: int) -> None:
    """Backwards, far beyond the audio, on top of each other, in no time, or in another unit."""
    assert align_words(words, "Hi you", duration_ms) == (None, (TIMESTAMPS_DROPPED,))


timed = st.builds(
    lambda text, start, length, index: TimedText(text, start, start + length, index, index and index + len(text)),
    st.text("abc ß1你.", max_size=4),
    st.integers(0, 3_000),
    st.integers(-5, 400),
    st.none() | st.integers(-2, 30),
)


@given(st.lists(timed, max_size=12), st.text("abc ß1你.", max_size=40), st.integers(0, 3_000))
def test_what_is_stored_is_ordered_within_the_audio_and_within_the_text(
    words: list[TimedText], text: str, duration_ms: int
) -> None:
    """Whatever a service says: monotonic times inside the audio and disjoint, ordered places inside the text."""
    placed, flags = align_words(words, text, duration_ms)
    if placed is None:
        assert flags in ((), (TIMESTAMPS_DROPPED,))
        return
    assert flags == ()
    assert all(0 <= word.start_ms <= word.end_ms <= duration_ms for word in placed)
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(placed))
    places = [(word.text_start, word.text_end) for word in placed if word.text_start is not None]
    assert all(end is not None and 0 <= start < end <= len(text) for start, end in places)
    assert all(before[1] <= after[0] for before, after in pairwise(places))  # type: ignore[operator]  # not None, above


@given(st.lists(st.text("abcdeßäé你好", min_size=1, max_size=6), min_size=1, max_size=20))
def test_the_words_of_a_text_are_found_in_it(words: list[str]) -> None:
    """Spoken word by word, without places from the service, every word is where it stands."""
    text = " ".join(words)
    timed_words = [TimedText(word, at * 100, at * 100 + 90) for at, word in enumerate(words)]
    placed, _ = align_words(timed_words, text, len(words) * 100)
    assert [text[word.text_start : word.text_end] for word in placed or ()] == words
    assert [word.text_start for word in placed or ()] == [
        len(" ".join(words[:at])) + (at > 0) for at in range(len(words))
    ]
