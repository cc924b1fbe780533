"""Map words, in the order they are spoken, to places in the text they were spoken from."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator

_REACH = 48
"""How many characters ahead a word is looked for: further away, an equal word is likely another one."""
_REACH_PER_MISS = 24
"""Each word not found (a number read out, an abbreviation) lets the next be this much further away."""
_GAP_PER_CHARACTER = 4

Place = tuple[int | None, int | None]


class Placer:
    """Places one word after another; places are ordered and never overlap.

    A word is found where the service says it is, if the text agrees there, else as the next equal piece of text, else
    as the next piece that is equal without case, width and accents' encoding. A single word that is nowhere takes what
    stands between its neighbours (``twelve`` for ``12``); several in a row have no place.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._folded: tuple[str, list[int]] | None = None
        self._places: list[Place] = []
        self._words: list[str] = []
        self._cursor = 0
        self._misses = 0

    def place(self, word: str, index_start: int | None, index_end: int | None) -> None:
        """Place the next word, with the service's own idea of where it is; None where it has none."""
        found = self._told(word, index_start, index_end) or self._ahead(word) or self._ahead_folded(word)
        self._words.append(word)
        self._places.append(found or (None, None))
        if found:
            self._cursor, self._misses = found[1], 0
        else:
            self._misses += 1

    def places(self) -> Iterator[Place]:
        """Yield the place of each word, in the order they were given; (None, None) where there is none."""
        bounds = [(0, 0), *self._places, (len(self._text), len(self._text))]
        for number, place in enumerate(self._places, start=1):
            before, after = bounds[number - 1][1], bounds[number + 1][0]
            if place[0] is None and before is not None and after is not None:
                yield self._gap(self._words[number - 1], before, after)
            else:
                yield place

    def _told(self, word: str, start: int | None, end: int | None) -> tuple[int, int] | None:
        if start is None or end is None or not self._cursor <= start < end <= len(self._text):
            return None
        return (start, end) if fold(self._text[start:end]) == fold(word) else None

    @property
    def _reach(self) -> int:
        return _REACH + self._misses * _REACH_PER_MISS

    def _ahead(self, word: str) -> tuple[int, int] | None:
        at = _next_whole(self._text, word, self._cursor, self._reach)
        return None if at is None else (at, at + len(word))

    def _ahead_folded(self, word: str) -> tuple[int, int] | None:
        folded, origins = self._folded_text()
        wanted = fold(word)
        if not wanted:
            return None
        at = _next_whole(folded, wanted, bisect_left(origins, self._cursor), self._reach)
        return None if at is None else (origins[at], origins[at + len(wanted) - 1] + 1)

    def _folded_text(self) -> tuple[str, list[int]]:
        """Return the folded text, and for each of its characters the place it came from."""
        if self._folded is None:
            pieces = [(fold(character), place) for place, character in enumerate(self._text)]
            folded = "".join(piece for piece, _ in pieces)
            self._folded = folded, [place for piece, place in pieces for _ in piece]
        return self._folded

    def _gap(self, word: str, start: int, end: int) -> Place:
        while start < end and not self._text[start].isalnum():
            start += 1
        while end > start and not self._text[end - 1].isalnum():
            end -= 1
        fits = 0 < end - start <= _GAP_PER_CHARACTER * len(word)
        return (start, end) if fits else (None, None)


def _next_whole(text: str, word: str, cursor: int, reach: int) -> int | None:
    """Return where the word comes next, preferring a whole word to a part of another one (``a`` in ``cat``)."""
    last = cursor + reach + len(word)
    first = at = text.find(word, cursor, last)
    while at >= 0:
        # Right at the cursor a part is meant: services cut words into pieces.
        if at == cursor or not (_is_joined(text, at) or _is_joined(text, at + len(word))):
            return at
        at = text.find(word, at + 1, last)
    return None if first < 0 else first


def _is_joined(text: str, at: int) -> bool:
    """Whether the characters on both sides of a place belong to one word."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    return before.isalnum() and after.isalnum() and not (stands_alone(before) or stands_alone(after))


# Scripts that are written without spaces: Thai to Myanmar, Khmer, kana and bopomofo, then Han with its extensions.
_UNSPACED = ((0x0E00, 0x109F), (0x1780, 0x17FF), (0x3040, 0x312F), (0x31F0, 0x31FF))
_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))


def stands_alone(character: str) -> bool:
    """Whether a character is of a script without spaces, where every character counts as a word."""
    return any(low <= ord(character[0]) <= high for low, high in (*_UNSPACED, *_HAN))


def fold(text: str) -> str:
    """Return a text without case, width and the encoding of accents: ``Ｃａｆé`` and ``cafe\u0301`` are equal."""
    return unicodedata.normalize("NFKD", text).casefold()
