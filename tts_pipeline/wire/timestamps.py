"""Parse word timestamps in every form that services send, and align them with the utterance's text.

Two steps: ``find_words`` finds a timed list in an answer and normalises it to milliseconds (pure, without the text);
``align_words`` orders it, clamps it to the audio and maps each word to its range in the text. Implausible timestamps
are dropped with a flag, never stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tts_pipeline.models import Word
from tts_pipeline.wire.word_aligner import WordAligner, is_unspaced

TIMESTAMPS_DROPPED = "timestamps_dropped"
"""The flag of audio whose timestamps were malformed or implausible, and so are null."""

_MAX_MS = 86_400_000
_OVERSHOOT_MS = 500
"""The last word may end this long (or 5 %) after the audio: services round, and count trailing silence differently."""
_OVERLAP_MS = 250
"""Neighbouring words may overlap this long, by coarticulation and rounding; more is a broken alignment."""


@dataclass(frozen=True, slots=True)
class TimedText:
    """One timed word as the service sent it, which may differ from the text (``twelve`` for ``12``).

    Times are from the start of the segment's audio. The service's own indices into the text are used only where the
    text agrees.
    """

    text: str
    start_ms: int
    end_ms: int
    index_start: int | None = None
    index_end: int | None = None


class MalformedTimestampsError(ValueError):
    """A broken timed list: arrays of different lengths, missing texts, times that are not numbers.

    Never leaves ``wire``: the parser turns it into the flag ``timestamps_dropped``.
    """


# (start, end, milliseconds per unit), tried in order. Names with a unit come first; begin_time/end_time and
# BeginTime/EndTime are milliseconds (Alibaba CosyVoice and ISI, Tencent), start/end and the like are seconds
# (Cartesia, LMNT, Inworld, OpenAI-style word lists).
_TIMES: Sequence[tuple[str, str, int]] = (
    ("start_ms", "end_ms", 1),
    ("startMs", "endMs", 1),
    ("start_time_ms", "end_time_ms", 1),
    ("startTimeMs", "endTimeMs", 1),
    ("begin_time", "end_time", 1),
    ("BeginTime", "EndTime", 1),
    ("start", "end", 1000),
    ("start_time", "end_time", 1000),
    ("startTime", "endTime", 1000),
    ("start_s", "end_s", 1000),
)
_TEXTS = ("text", "word", "Text", "token", "value")
_INDEXES = (("begin_index", "end_index"), ("BeginIndex", "EndIndex"), ("text_start", "text_end"))
_LISTS = ("words", "timestamps", "word_timestamps", "subtitles", "Subtitles", "alignment", "normalized_alignment")
_LIST_NAMES = frozenset(_LISTS)
_CHARACTER_ARRAYS = ("characters", "character_start_times_seconds", "character_end_times_seconds")
_WORD_ARRAYS = ("words", "start", "end")


def find_words(payload: Mapping[str, Any]) -> tuple[TimedText, ...] | None:
    """Return the timed words of one JSON object; None without any.

    Raises:
        MalformedTimestampsError: The object has a timed list, which is broken.
    """
    for holder in _holders(payload):
        if _LIST_NAMES.isdisjoint(holder):  # true for nearly every answer
            continue
        for name in _LISTS:
            value = holder.get(name)
            words = _parse_list(value, holder) if value else ()
            if words:
                return tuple(words)
    return None


def _holders(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the objects that may have a timed list, the most specific first."""
    holders: list[Mapping[str, Any]] = []
    for outer in (payload.get("output"), payload):
        if not isinstance(outer, dict):
            continue
        if sentences := outer.get("sentence") or outer.get("sentences"):
            holders.append({"words": _words_of_sentences(sentences)})
        holders.append(outer)
        if isinstance(audio := outer.get("audio"), dict):
            holders.append(audio)
    return holders


def _words_of_sentences(sentences: object) -> list[Any]:
    entries: list[Any] = []
    for sentence in sentences if isinstance(sentences, list) else [sentences]:
        words = sentence.get("words") if isinstance(sentence, dict) else None
        entries.extend(words if isinstance(words, list) else ())
    return entries


def _parse_list(value: object, holder: Mapping[str, Any]) -> list[TimedText]:
    """Parse a list in any of the three forms; an unknown form (a plain string) has no timestamps."""
    if isinstance(value, dict):
        if _CHARACTER_ARRAYS[0] in value:
            return _from_characters(value)
        inner = value.get(_WORD_ARRAYS[0])
        return _parse_list(inner, value) if isinstance(inner, list) and inner else []
    if isinstance(value, list):
        if isinstance(value[0], str) and _WORD_ARRAYS[1] in holder:
            return [TimedText(*column) for column in _columns(holder, _WORD_ARRAYS)]
        if isinstance(value[0], dict):
            # Alibaba ISI lists whole sentences among the words and marks them with this flag.
            is_sentence = [isinstance(item, dict) and item.get("sentence") is True for item in value]
            return [_from_object(item) for item, skip in zip(value, is_sentence, strict=True) if not skip]
    return []


def _from_object(item: object) -> TimedText:
    if not isinstance(item, dict):
        raise MalformedTimestampsError("an entry is not an object")
    text = next((item[name] for name in _TEXTS if isinstance(item.get(name), str)), None)
    if text is None:
        raise MalformedTimestampsError("an entry has no text")
    for start, end, unit_ms in _TIMES:
        if start in item and end in item:
            return TimedText(text, _to_ms(item[start], unit_ms), _to_ms(item[end], unit_ms), *_index_of(item))
    if "start" in item and "duration" in item:
        start_ms = _to_ms(item["start"], 1000)
        return TimedText(text, start_ms, start_ms + _to_ms(item["duration"], 1000), *_index_of(item))
    raise MalformedTimestampsError("an entry has no times")


def _index_of(item: Mapping[str, Any]) -> tuple[int | None, int | None]:
    for start, end in _INDEXES:
        if type(item.get(start)) is int and type(item.get(end)) is int:
            return item[start], item[end]
    return None, None


def _to_ms(value: object, unit_ms: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedTimestampsError("a time is not a number")
    if not 0 <= value * unit_ms <= _MAX_MS:  # also false for NaN
        raise MalformedTimestampsError("a time is negative or beyond a day")
    return round(value * unit_ms)


def _columns(arrays: Mapping[str, Any], names: Sequence[str]) -> Iterable[tuple[str, int, int]]:
    texts, starts, ends = (arrays.get(name) for name in names)
    if not (isinstance(texts, list) and isinstance(starts, list) and isinstance(ends, list)):
        raise MalformedTimestampsError("an array is missing")
    if not len(texts) == len(starts) == len(ends):
        raise MalformedTimestampsError("the arrays differ in length")
    if not all(isinstance(text, str) for text in texts):
        raise MalformedTimestampsError("a text is not a string")
    return [
        (text, _to_ms(start, 1000), _to_ms(end, 1000)) for text, start, end in zip(texts, starts, ends, strict=True)
    ]


def _from_characters(arrays: Mapping[str, Any]) -> list[TimedText]:
    """Join characters into words at white space; each letter of a script without spaces is a word."""
    words: list[TimedText] = []
    index, in_word = 0, False
    for character, start, end in _columns(arrays, _CHARACTER_ARRAYS):
        next_index = index + len(character)
        is_word = bool(character) and is_unspaced(character)
        if character.isspace() or not character:
            in_word = False
        elif in_word and not is_word:
            last = words[-1]
            words[-1] = TimedText(last.text + character, last.start_ms, end, last.index_start, next_index)
        else:
            words.append(TimedText(character, start, end, index, next_index))
            in_word = not is_word
        index = next_index
    return words


def merge_words(words: Iterable[TimedText]) -> tuple[TimedText, ...]:
    """Return each word of a whole stream once: services repeat and extend the list in every frame.

    Words with equal text, start and index are the same; the last mention wins, because services correct ends later.
    """
    unique = {(word.text, word.start_ms, word.index_start): word for word in words}
    return tuple(unique.values())


def align_words(
    words: Sequence[TimedText] | None, text: str, duration_ms: int
) -> tuple[tuple[Word, ...] | None, tuple[str, ...]]:
    """Order words, clamp them to the audio and map them to ranges in the text as it was sent; return them and flags.

    Each word has ``0 <= start_ms <= end_ms <= duration_ms``, and begins at or after the end of the word before it.
    Ranges never overlap; they are None where the text does not hold the word (``twelve`` for ``12`` among other unknown
    words). Implausible words become None with the flag ``timestamps_dropped``; no words become None without a flag.
    """
    timed_words = sorted((word for word in words or () if word.text.strip()), key=lambda word: word.start_ms)
    if not timed_words:
        return None, ()
    if _is_implausible(timed_words, duration_ms):
        return None, (TIMESTAMPS_DROPPED,)
    aligner = WordAligner(text)
    for word in timed_words:
        aligner.add_word(word.text.strip(), word.index_start, word.index_end)
    times = _clamp_times(timed_words, duration_ms)
    return tuple(
        Word(word.text.strip(), start, end, *span)
        for word, (start, end), span in zip(timed_words, times, aligner.spans(), strict=True)
    ), ()


def _clamp_times(words: Sequence[TimedText], duration_ms: int) -> list[tuple[int, int]]:
    """Clamp small overshoots to the end of the audio and to the start of the next word."""
    limits = [*(word.start_ms for word in words[1:]), duration_ms]
    return [
        (min(word.start_ms, duration_ms), min(word.end_ms, limit, duration_ms))
        for word, limit in zip(words, limits, strict=True)
    ]


def _is_implausible(words: Sequence[TimedText], duration_ms: int) -> bool:
    """Return whether words run backwards, overlap, exceed the audio, or cover less than a tenth of long audio."""
    last_ms = max(word.end_ms for word in words)
    if last_ms == 0 or last_ms > duration_ms + max(_OVERSHOOT_MS, duration_ms // 20):
        return True
    if any(word.end_ms < word.start_ms for word in words):
        return True
    if any(first.end_ms - second.start_ms > _OVERLAP_MS for first, second in pairwise(words)):
        return True
    return len(words) >= 3 and duration_ms > 2_000 and last_ms * 10 < duration_ms  # another unit, or no alignment
