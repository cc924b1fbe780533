"""Map spoken words, in order, to their ranges in the text."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator

_SEARCH_CHARACTERS = 48
"""How many characters ahead a word is searched: further away, an equal word is probably another one."""
_SEARCH_CHARACTERS_PER_MISS = 24
"""Each missing word (a number read out, an abbreviation) lets the next word be this much further away."""
_GAP_CHARACTERS_PER_CHARACTER = 4

WordSpan = tuple[int | None, int | None]


class WordAligner:
    """Maps one word after another to ranges that are ordered and never overlap.

    A word's range is the service's own, if the text agrees there; else the next equal piece of text; else the next
    piece that is equal apart from case, width and the encoding of accents. A single missing word takes the text between
    its neighbours (``twelve`` for ``12``); several missing words in a row have no range.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._folded: tuple[str, list[int]] | None = None
        self._spans: list[WordSpan] = []
        self._words: list[str] = []
        self._cursor = 0
        self._misses = 0

    def add_word(self, word: str, index_start: int | None, index_end: int | None) -> None:
        """Map the next word; the indices are the service's own, None without them."""
        span = (
            self._service_span(word, index_start, index_end) or self._find_ahead(word) or self._find_ahead_folded(word)
        )
        self._words.append(word)
        self._spans.append(span or (None, None))
        if span:
            self._cursor, self._misses = span[1], 0
        else:
            self._misses += 1

    def spans(self) -> Iterator[WordSpan]:
        """Yield the range of each word, in the order of the words; (None, None) without a range."""
        bounds = [(0, 0), *self._spans, (len(self._text), len(self._text))]
        for number, span in enumerate(self._spans, start=1):
            gap_start, gap_end = bounds[number - 1][1], bounds[number + 1][0]
            if span[0] is None and gap_start is not None and gap_end is not None:
                yield self._gap_span(self._words[number - 1], gap_start, gap_end)
            else:
                yield span

    def _service_span(self, word: str, start: int | None, end: int | None) -> tuple[int, int] | None:
        if start is None or end is None or not self._cursor <= start < end <= len(self._text):
            return None
        return (start, end) if fold(self._text[start:end]) == fold(word) else None

    @property
    def _search_characters(self) -> int:
        return _SEARCH_CHARACTERS + self._misses * _SEARCH_CHARACTERS_PER_MISS

    def _find_ahead(self, word: str) -> tuple[int, int] | None:
        start = _find_whole_word(self._text, word, self._cursor, self._search_characters)
        return None if start is None else (start, start + len(word))

    def _find_ahead_folded(self, word: str) -> tuple[int, int] | None:
        folded, offsets = self._folded_text()
        folded_word = fold(word)
        if not folded_word:
            return None
        index = _find_whole_word(folded, folded_word, bisect_left(offsets, self._cursor), self._search_characters)
        return None if index is None else (offsets[index], offsets[index + len(folded_word) - 1] + 1)

    def _folded_text(self) -> tuple[str, list[int]]:
        """Return the folded text, and for each of its characters the index of its origin."""
        if self._folded is None:
            pieces = [(fold(character), index) for index, character in enumerate(self._text)]
            folded = "".join(piece for piece, _ in pieces)
            self._folded = folded, [index for piece, index in pieces for _ in piece]
        return self._folded

    def _gap_span(self, word: str, start: int, end: int) -> WordSpan:
        while start < end and not self._text[start].isalnum():
            start += 1
        while end > start and not self._text[end - 1].isalnum():
            end -= 1
        fits = 0 < end - start <= _GAP_CHARACTERS_PER_CHARACTER * len(word)
        return (start, end) if fits else (None, None)


def _find_whole_word(text: str, word: str, cursor: int, reach: int) -> int | None:
    """Return the next index of a word, preferring a whole word to a part of another one (``a`` in ``cat``)."""
    last = cursor + reach + len(word)
    first = offset = text.find(word, cursor, last)
    while offset >= 0:
        # Directly at the cursor a part of a word counts: services cut words into pieces.
        if offset == cursor or not (_is_within_word(text, offset) or _is_within_word(text, offset + len(word))):
            return offset
        offset = text.find(word, offset + 1, last)
    return None if first < 0 else first


def _is_within_word(text: str, offset: int) -> bool:
    """Return whether the characters on both sides of an offset belong to one word."""
    if not 0 < offset < len(text):
        return False
    before, after = text[offset - 1], text[offset]
    return before.isalnum() and after.isalnum() and not (is_unspaced(before) or is_unspaced(after))


# Scripts that are written without spaces: Thai to Myanmar, Khmer, kana and bopomofo, then Han with its extensions.
_UNSPACED = ((0x0E00, 0x109F), (0x1780, 0x17FF), (0x3040, 0x312F), (0x31F0, 0x31FF))
_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))


def is_unspaced(character: str) -> bool:
    """Return whether a character is of a script without spaces, where every character counts as a word."""
    return any(low <= ord(character[0]) <= high for low, high in (*_UNSPACED, *_HAN))


def fold(text: str) -> str:
    """Return a text without case, width and the encoding of accents: ``Ｃａｆé`` and ``cafe\u0301`` are equal."""
    return unicodedata.normalize("NFKD", text).casefold()
