"""Which words of a text were heard when: espeak-ng's events laid over the text. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import regex

from tts_pipeline.emulator.sound import TimedWord


class EventKind(IntEnum):
    """The kinds of event that matter here, by espeak-ng's own numbers (``espeak_EVENT_TYPE`` in speak_lib.h, 1.52)."""

    WORD = 1
    CLAUSE_END = 5
    PHONEME = 7


@dataclass(frozen=True, slots=True)
class Event:
    """What espeak-ng reports while it speaks.

    Args:
        kind: See ``EventKind``.
        place: Characters of the text before it.
        sample: Samples of the audio before it.
        pause: Whether it is a phoneme of silence.
    """

    kind: EventKind
    place: int
    sample: int
    pause: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    sample: int


def align(
    text: str, events: Iterable[Event], *, language: str, samples: int, sample_rate_hz: int
) -> tuple[TimedWord, ...]:
    """Return the words of a text with the times at which they are heard.

    A word begins at espeak-ng's own event for it and ends where the next begins, or where a pause does. Words that the
    voice runs together (``of the``, two characters of one Chinese word) are one word here: no time is invented between.

    Args:
        text: What was spoken.
        events: In order of time.
        language: A language type; Chinese is timed by the character, Japanese by the phrase.
        samples: Length of the audio.
        sample_rate_hz: Of the audio that the events speak of.
    """
    events = list(events)
    pieces = list(_pieces(text, events, language))
    sounds = [event for event in events if event.kind is EventKind.PHONEME]
    starts = [sound.sample for sound in sounds]
    words = []
    for index, piece in enumerate(pieces):
        until = pieces[index + 1].sample if index + 1 < len(pieces) else samples
        inside = sounds[bisect_left(starts, piece.sample) : bisect_left(starts, until)]
        end = _before_pause(inside, until)
        words.append(
            TimedWord(
                text=text[piece.start : piece.end],
                begin_ms=piece.sample * 1_000 // sample_rate_hz,
                end_ms=end * 1_000 // sample_rate_hz,
                begin_index=piece.start,
                end_index=piece.end,
            )
        )
    return tuple(words)


def _pieces(text: str, events: Sequence[Event], language: str) -> Iterator[_Piece]:
    """Yield the words that have a time of their own, each with those that the voice ran together with it."""
    heard = {event.place: event.sample for event in reversed(events) if event.kind is EventKind.WORD}
    places = sorted(heard)
    clauses = [(0, 0)] + [(event.place, event.sample) for event in events if event.kind is EventKind.CLAUSE_END]
    begins = [place for place, _ in clauses]
    current: _Piece | None = None
    clause_of_current = -1
    for found in _words_of(language).finditer(text):
        start, end = found.span()
        nearest = bisect_left(places, start)
        own = nearest < len(places) and places[nearest] < end
        clause = bisect_right(begins, start) - 1
        if not own and found.lastgroup == "sign":
            continue
        if own or clause != clause_of_current:
            # espeak-ng 1.52 sends no event for the first word of some Korean clauses: it begins where the clause does.
            sample = heard[places[nearest]] if own else clauses[clause][1]
            if current:
                yield current
            current, clause_of_current = _Piece(start, end, sample), clause
        elif current:
            current = _Piece(current.start, end, current.sample)
    if current:
        yield current


def _before_pause(sounds: Sequence[Event], until: int) -> int:
    """Return where the silence at the end of a word begins."""
    for sound in reversed(sounds):
        if not sound.pause:
            break
        until = sound.sample
    return until


_JOINT = r"(?:['’.\-‐‑·]|(?<=\d),(?=\d))"
_LETTERS = r"[\w\p{M}\u200d]"
_SIGN = r"(?P<sign>[\p{S}&%@#§*/])"
_BY_WORD = regex.compile(rf"(?P<word>{_LETTERS}+(?:{_JOINT}{_LETTERS}+)*)|{_SIGN}")
_BY_CHARACTER = regex.compile(
    rf"(?P<word>\p{{Han}}|(?:(?!\p{{Han}}){_LETTERS})+(?:{_JOINT}(?:(?!\p{{Han}}){_LETTERS})+)*)|{_SIGN}"
)


def _words_of(language: str) -> regex.Pattern[str]:
    """Return what a word is: for Chinese each Han character is one."""
    return _BY_CHARACTER if language == "Chinese" else _BY_WORD
