"""Render word timestamps in the forms that services send. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tts_pipeline.emulator.audio import TimedWord


def ali_words(words: Sequence[TimedWord]) -> list[dict[str, str | int]]:
    """Return words in Alibaba Cloud's form: milliseconds, and indices into the input."""
    return [
        {
            "text": word.text,
            "begin_time": word.begin_ms,
            "end_time": word.end_ms,
            "begin_index": word.begin_index,
            "end_index": word.end_index,
        }
        for word in words
    ]


def timing_fields(words: Sequence[TimedWord], text: str, form: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of ``output.sentence``, and those at the top of the JSON.

    The form is ``ali``; ``characters`` (three parallel arrays, seconds); ``arrays`` (``words`` / ``start`` / ``end``,
    seconds); ``objects`` (a list with ``word``, ``start``, ``end``, seconds); or a wrong form: ``ragged`` (arrays of
    unequal length), ``absurd`` (far beyond the audio, and backwards).
    """
    if form == "ali":
        return {"words": ali_words(words)}, {}
    if form == "absurd":
        late_words = [TimedWord(word.text, word.end_ms * 1_000, word.begin_ms, -1, len(text) + 9) for word in words]
        return {"words": ali_words(late_words)}, {}
    if form == "characters":
        return {}, {"alignment": _characters(words, text)}
    if form == "objects":
        return {}, {"words": [{"word": w.text, "start": w.begin_ms / 1_000, "end": w.end_ms / 1_000} for w in words]}
    arrays: dict[str, list[Any]] = {
        "words": [word.text for word in words],
        "start": [word.begin_ms / 1_000 for word in words],
        "end": [word.end_ms / 1_000 for word in words],
    }
    if form == "ragged":
        arrays["end"] = arrays["end"][:-1]
    return {}, {"word_timestamps": arrays}


def _characters(words: Sequence[TimedWord], text: str) -> dict[str, list[Any]]:
    """Return every character of the text: within a word at its share of the word's time, else in the gap."""
    starts, ends = [0.0] * len(text), [0.0] * len(text)
    at_ms, position = 0.0, 0
    for word in words:
        for gap in range(position, word.begin_index):
            starts[gap], ends[gap] = at_ms / 1_000, word.begin_ms / 1_000
            at_ms = word.begin_ms
        each_ms = (word.end_ms - word.begin_ms) / (word.end_index - word.begin_index)
        for index in range(word.begin_index, word.end_index):
            offset = index - word.begin_index
            starts[index] = (word.begin_ms + offset * each_ms) / 1_000
            ends[index] = (word.begin_ms + (offset + 1) * each_ms) / 1_000
        at_ms, position = word.end_ms, word.end_index
    for index in range(position, len(text)):
        starts[index] = ends[index] = at_ms / 1_000
    return {
        "characters": list(text),
        "character_start_times_seconds": starts,
        "character_end_times_seconds": ends,
    }
