"""Align espeak-ng's word events with the text. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import regex

from tts_pipeline.emulator.audio import TimedWord


class EventKind(IntEnum):
    """The kinds of event that alignment uses, by espeak-ng's numbers (``espeak_EVENT_TYPE`` in speak_lib.h, 1.52)."""

    WORD = 1
    CLAUSE_END = 5
    PHONEME = 7


@dataclass(frozen=True, slots=True)
class Event:
    """An event of espeak-ng, at an offset in the text (characters) and in the audio (samples).

    A pause is a phoneme of silence.
    """

    kind: EventKind
    text_offset: int
    sample: int
    is_pause: bool = False


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    sample: int


def align(
    text: str, events: Iterable[Event], *, language: str, samples: int, sample_rate_hz: int
) -> tuple[TimedWord, ...]:
    """Return the words of a text with their times in the audio; the events must be in order of time.

    A word begins at espeak-ng's own event for it and ends at the next word, or at a pause. Words that the voice runs
    together (``of the``, two characters of one Chinese word) become one word, without invented times between them.
    Chinese is timed by the character, Japanese by the phrase.
    """
    events = list(events)
    spans = list(_spans(text, events, language))
    phonemes = [event for event in events if event.kind is EventKind.PHONEME]
    starts = [phoneme.sample for phoneme in phonemes]
    words = []
    for index, span in enumerate(spans):
        next_start = spans[index + 1].sample if index + 1 < len(spans) else samples
        inside = phonemes[bisect_left(starts, span.sample) : bisect_left(starts, next_start)]
        end = _before_pause(inside, next_start)
        words.append(
            TimedWord(
                text=text[span.start : span.end],
                begin_ms=span.sample * 1_000 // sample_rate_hz,
                end_ms=end * 1_000 // sample_rate_hz,
                begin_index=span.start,
                end_index=span.end,
            )
        )
    return tuple(words)


def _spans(text: str, events: Sequence[Event], language: str) -> Iterator[_Span]:
    """Yield the words that have their own time, each with the words that the voice ran together with it."""
    sample_at = {event.text_offset: event.sample for event in reversed(events) if event.kind is EventKind.WORD}
    word_offsets = sorted(sample_at)
    clauses = [(0, 0)] + [(event.text_offset, event.sample) for event in events if event.kind is EventKind.CLAUSE_END]
    clause_starts = [offset for offset, _ in clauses]
    current: _Span | None = None
    clause_of_current = -1
    for match in _word_pattern(language).finditer(text):
        start, end = match.span()
        nearest = bisect_left(word_offsets, start)
        has_event = nearest < len(word_offsets) and word_offsets[nearest] < end
        clause = bisect_right(clause_starts, start) - 1
        if not has_event and match.lastgroup == "sign":
            continue
        if has_event or clause != clause_of_current:
            # espeak-ng 1.52 sends no event for the first word of some Korean clauses: it begins with the clause.
            sample = sample_at[word_offsets[nearest]] if has_event else clauses[clause][1]
            if current:
                yield current
            current, clause_of_current = _Span(start, end, sample), clause
        elif current:
            current = _Span(current.start, end, current.sample)
    if current:
        yield current


def _before_pause(phonemes: Sequence[Event], end: int) -> int:
    """Return the beginning of the silence at the end of a word; ``end`` without silence."""
    for phoneme in reversed(phonemes):
        if not phoneme.is_pause:
            break
        end = phoneme.sample
    return end


_JOINT = r"(?:['’.\-‐‑·]|(?<=\d),(?=\d))"
_LETTERS = r"[\w\p{M}\u200d]"
_SIGN = r"(?P<sign>[\p{S}&%@#§*/])"
_BY_WORD = regex.compile(rf"(?P<word>{_LETTERS}+(?:{_JOINT}{_LETTERS}+)*)|{_SIGN}")
_BY_CHARACTER = regex.compile(
    rf"(?P<word>\p{{Han}}|(?:(?!\p{{Han}}){_LETTERS})+(?:{_JOINT}(?:(?!\p{{Han}}){_LETTERS})+)*)|{_SIGN}"
)


def _word_pattern(language: str) -> regex.Pattern[str]:
    """Return the pattern of a word; in Chinese each Han character is a word."""
    return _BY_CHARACTER if language == "Chinese" else _BY_WORD
