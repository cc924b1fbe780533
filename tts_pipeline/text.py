"""Count text as services bill and limit it, and cut it into segments that fit a request."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from msgspec.structs import replace

from tts_pipeline.card import Card
from tts_pipeline.config import MAX_TEXT_CHARACTERS
from tts_pipeline.errors import PermanentError
from tts_pipeline.models import Segment

HAN = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]"
"""A Han character, as a regular expression of any dialect. The maker does not document the code points that it counts
double: these are our assumption."""

KANA = re.compile("[\u3040-\u30ff]")
_HAN = re.compile(f"{HAN}+")

_CLOSING = "[\"'”’»›」』))\\]】》]*"
_CLAUSE_END = re.compile(
    rf"[、,;:،؛—–…]+{_CLOSING}"  # marks that end a clause wherever they stand
    rf"|(?:[,;:]+|[!?。!?]+){_CLOSING}(?=\s|[^\x00-\x7f])"  # not in 1,000 or 12:30, nor in an address
    r"|\n+"
)
_SPACE_END = re.compile(r"\s+")

_SCRIPTS = (("ja", KANA), ("ko", re.compile("[\uac00-\ud7a3]")), ("zh", _HAN))

FILLERS = "\u115f\u1160\u3164\uffa0"
"""Blank letters of Hangul, for a class in a regular expression."""

_SPOKEN = re.compile(f"[^\\W_{FILLERS}]")
"""A letter or a digit of any script."""

_SPOKEN_SIGNS = frozenset("%‰‱&@#§¶°℃℉№℡™©®℗℠℮")
"""Punctuation and symbols that are read aloud. Signs of mathematics and money all are, except lines and arrows."""

_LOOKALIKES = frozenset("\uff5e")
"""The tilde of full width, by which Japanese lengthens a vowel."""

_LINES = re.compile("[|~\u2190-\u21ff\u2300-\u23ff\u25a0-\u25ff\u27c0-\u27ff\u2900-\u297f\u2b00-\u2bff]")
_PICTURES = re.compile("[\U0001f000-\U0001faff]")
_TAG = re.compile(r"<[/!?a-zA-Z](?![^<>]*\s(?:alias|ph)\s*=)[^<>]*>")
"""Markup, except SSML whose attribute is spoken in place of its text."""

Span = tuple[int, int]


def billed_characters(text: str, billing: str) -> int:
    """Count the characters that a service bills for a text; a code point is one character, also a lone surrogate.

    ``han_double`` counts a Han character (also kanji and hanja) twice and any other once, white space and punctuation
    included. ``characters`` and ``tokens`` count each once; with ``tokens`` the count is only information, because the
    bill follows the tokens that the service reports.
    """
    if billing != "han_double" or text.isascii():
        return len(text)
    # Removing runs is 10 times faster on Chinese than counting single matches, and no slower elsewhere.
    return 2 * len(text) - len(_HAN.sub("", text))


def input_length(text: str, unit: str) -> int:
    """Measure a text in the unit of a model's input limit; never raises: a lone surrogate counts as three bytes.

    ``tokens`` is an upper bound that needs no tokenizer. These models use byte-level BPE, which makes each token from
    at least one byte after normalising to NFC. NFC may lengthen a text, so the bound is the longer of both forms.
    """
    if unit == "characters":
        return len(text)
    if unit == "bytes" or text.isascii():
        return _utf8_bytes(text)
    return max(_utf8_bytes(text), _utf8_bytes(unicodedata.normalize("NFC", text)))


def is_speakable(text: str) -> bool:
    """Return whether a text holds anything that is read aloud.

    Letters and digits of any script, signs of money and mathematics, and ``%&@#°`` and the like are read aloud. White
    space, punctuation, emoji, marks, control and invisible characters, and markup are not.
    """
    if "<" in text:
        text = _TAG.sub(" ", text)
    if _SPOKEN.search(text) is not None:
        return True
    plain = unicodedata.normalize("NFKC", text)  # a letter in a circle, units and words in one sign
    return _SPOKEN.search(plain) is not None or any(map(_is_read_aloud, {*text, *plain} - _LOOKALIKES))


def _is_read_aloud(character: str) -> bool:
    # A lone surrogate counts, because it gets another error. A code point unknown to Python may be a newer letter.
    category = unicodedata.category(character)
    if category in ("Sc", "Cs") or character in _SPOKEN_SIGNS:
        return True
    if category == "Sm":
        return _LINES.match(character) is None
    return category == "Cn" and _PICTURES.match(character) is None and ord(character) & 0xFFFE != 0xFFFE


def check_speakable(text: str, *, allow_unspeakable: bool = False) -> None:
    """Refuse a text that is too long or has nothing to say, before it costs money or the work of cutting it.

    Raises:
        PermanentError: Never retried and never billed. ``TextTooLong`` beyond ``MAX_TEXT_CHARACTERS``, ``EmptyText``
            for an empty or white-space text, ``UnspeakableText`` where nothing is read aloud.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise PermanentError(
            f"the text has more than {MAX_TEXT_CHARACTERS:,} characters, the maximum of one utterance",
            code="TextTooLong",
            may_be_billed=False,
            hint="cut it into several rows",
        )
    if not allow_unspeakable and not is_speakable(text):
        if not text or text.isspace():
            raise _empty_text_error()
        raise PermanentError(
            "the text has nothing to say: no letter, digit or sign that is read aloud",
            code="UnspeakableText",
            may_be_billed=False,
            hint="leave the row rejected, or send it all the same with `unspeakable='keep'` and `retry_rejects=True`",
        )


def speakable_segments(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Drop segments with nothing to say, such as the dots after a long sentence; at least one segment remains."""
    if len(segments) == 1:
        return segments
    speakable = [segment for segment in segments if is_speakable(segment.text)] or segments[:1]
    return tuple(replace(segment, index=index) for index, segment in enumerate(speakable))


def segment_text(
    text: str, card: Card, limit: int | None = None, *, language: str | None = None
) -> tuple[Segment, ...]:
    """Cut a text into segments, in order; each is sent as one request.

    A text that fits is one unchanged segment. A longer text is cut after sentences, a sentence that does not fit after
    clauses, a clause after words, and a word between its graphemes. Then as many pieces as fit are packed into each
    segment, to keep segments few. Each segment is ``text[start:end]``; only white space between segments is left out.

    ``limit`` replaces the card's limit when the service has reported another. The language (BCP-47) selects the
    abbreviations; None guesses it from the script.

    Raises:
        PermanentError: Never retried and never billed. ``EmptyText`` for empty or white-space text,
            ``UnencodableText`` for a lone surrogate (UTF-8 has no bytes for it), ``TextTooLong`` where a single
            grapheme is over the limit.
    """
    _check_encodable(text)
    max_length = card.input_limit if limit is None else limit
    if max_length is None or input_length(text, card.input_unit) <= max_length:
        return (Segment(0, text, 0, len(text)),)
    boundaries = _find_boundaries(
        text, language or next((tag for tag, script in _SCRIPTS if script.search(text)), "en")
    )
    cutter = _Segmenter(text, card.input_unit, max_length, graphemes=boundaries[-1])
    spans = cutter.pack(cutter.split((0, len(text)), boundaries))
    return tuple(Segment(index, text[start:end], start, end) for index, (start, end) in enumerate(spans))


@dataclass(frozen=True, slots=True)
class _Segmenter:
    text: str
    unit: str
    limit: int
    graphemes: Sequence[int]

    def split(self, span: Span, boundaries: Sequence[Sequence[int]]) -> Iterator[Span]:
        """Cut a span at the first kind of boundaries, pieces that are still too long at the next kind, and so on."""
        start, end = span
        if self.fits(start, end):
            yield span
        elif not boundaries:
            raise PermanentError(
                f"character {start} of the text alone is over the limit of {self.limit} {self.unit}",
                code="TextTooLong",
                may_be_billed=False,
            )
        else:
            inner = boundaries[0][bisect_right(boundaries[0], start) : bisect_left(boundaries[0], end)]
            for part in pairwise([start, *inner, end]):
                yield from self.split(part, boundaries[1:])

    def pack(self, pieces: Iterable[Span]) -> Iterator[Span]:
        """Join neighbours as long as they fit, and leave out the white space between the results."""
        current: Span | None = None
        for start, end in pieces:
            if current is None or self.fits(current[0], end):
                current = (start if current is None else current[0], end)
            else:
                yield self.trim(*current)
                current = (start, end)
        if current is not None:
            yield self.trim(*current)

    def fits(self, start: int, end: int) -> bool:
        start, end = self.trim(start, end)
        return input_length(self.text[start:end], self.unit) <= self.limit

    def trim(self, start: int, end: int) -> Span:
        """Trim white space at both ends, except where a combining mark makes it part of a grapheme."""
        piece = self.text[start:end]
        first = start + len(piece) - len(piece.lstrip())
        last = max(first, start + len(piece.rstrip()))
        before = self.graphemes[bisect_right(self.graphemes, first) - 1]
        return before, self.graphemes[bisect_left(self.graphemes, last)]


def _find_boundaries(text: str, language: str) -> tuple[Sequence[int], ...]:
    """Return the places where a text may be cut, the best kind first; the last kind is the ends of its graphemes."""
    # Imported here because few runs need them, and regex takes 40 ms.
    import regex
    import sentencex

    sentences = (sentence["end_index"] for sentence in sentencex.get_sentence_boundaries(language, text))
    clauses = (match.end() for match in _CLAUSE_END.finditer(text))
    spaces = (match.end() for match in _SPACE_END.finditer(text))
    words = (match.start() for match in regex.finditer(r"(?w)\b", text))  # Unicode's, for scripts without spaces
    graphemes = [0, *(match.end() for match in regex.finditer(r"\X", text))]
    grapheme_ends = set(graphemes)
    return (*(sorted(grapheme_ends.intersection(kind)) for kind in (sentences, clauses, spaces, words)), graphemes)


def _check_encodable(text: str) -> None:
    if not text or text.isspace():
        raise _empty_text_error()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PermanentError(
            f"character {error.start} of the text is a lone surrogate, which UTF-8 cannot carry",
            code="UnencodableText",
            may_be_billed=False,
            hint="the text was decoded with the wrong encoding: correct it at its source",
        ) from None


def _empty_text_error() -> PermanentError:
    return PermanentError("the text is empty", code="EmptyText", may_be_billed=False)


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
