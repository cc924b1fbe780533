"""Cut a text into segments for a service, and learn the service's length limit on the way."""

from __future__ import annotations

import sys

from tts_pipeline.card import Card
from tts_pipeline.errors import PermanentError
from tts_pipeline.models import History, Segment
from tts_pipeline.text import input_length, segment_text, speakable_segments

_TOO_LARGE = 413

_MAX_UNITS_PER_CHARACTER = {"characters": 1, "bytes": 4, "tokens": 12}
"""The most units of a limit that one character takes: UTF-8 has up to 4 bytes for it; normalised to NFC or NFD it has
up to 12 (the most of all characters of Unicode 14). A character of ASCII always takes one."""


class Segmenter:
    """Cuts texts for one model, by the card's limit or a smaller limit that the service named."""

    def __init__(self, card: Card, *, keeps_unspeakable: bool = False) -> None:
        self._card = card
        self._keeps_unspeakable = keeps_unspeakable
        self._learned_limit: int | None = None
        self._set_fitting(card.input_limit)

    def _set_fitting(self, limit: int | None) -> None:
        """Set the characters of a text that fits whatever they are: its length need not be measured in units."""
        self._fitting_ascii = sys.maxsize if limit is None else limit
        self._fitting_characters = self._fitting_ascii // _MAX_UNITS_PER_CHARACTER[self._card.input_unit]

    def cut(self, text: str, history: History, language: str | None) -> tuple[Segment, ...]:
        """Cut a text; repeat an earlier cut, because some of its segments may be paid for.

        The request of the whole text was built before, so it can be encoded.

        Raises:
            PermanentError: The text has nothing to say, or cannot be sent. Never sent, never retried.
        """
        if history.boundaries is not None:
            return _segments_of(text, history.boundaries)
        length = len(text)
        # The usual text, which its request has already shown to be encodable.
        if 0 < length <= (self._fitting_ascii if text.isascii() else self._fitting_characters) and not text.isspace():
            return (Segment(0, text, 0, length),)
        segments = segment_text(text, self._card, self._learned_limit, language=language)
        return segments if len(segments) == 1 else self._drop_unspeakable(segments)

    def _drop_unspeakable(self, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        return segments if self._keeps_unspeakable else speakable_segments(segments)

    def cut_finer(
        self, text: str, segments: tuple[Segment, ...], index: int, error: PermanentError
    ) -> tuple[Segment, ...] | None:
        """Cut a segment finer that the service refused as too long; remember a limit that the service names.

        Segments before ``index`` stay the same; those after it are not bought yet. None if the refusal was not about
        the length, or the segment cannot be cut any more.
        """
        refused_segment = segments[index]
        limit = self._limit_after(refused_segment, error)
        if limit < 1:
            return None
        try:
            pieces = self._drop_unspeakable(segment_text(refused_segment.text, self._card, limit))
        except PermanentError:
            return None
        if pieces[0].text == refused_segment.text:
            return None
        finer_spans = [(refused_segment.start + piece.start, refused_segment.start + piece.end) for piece in pieces]
        spans = [(segment.start, segment.end) for segment in segments]
        return _segments_of(text, (*spans[:index], *finer_spans, *spans[index + 1 :]))

    def _limit_after(self, refused_segment: Segment, error: PermanentError) -> int:
        length = input_length(refused_segment.text, self._card.input_unit)
        if error.input_limit is not None and error.input_limit < length:
            self._learned_limit = min(error.input_limit, self._learned_limit or error.input_limit)
            self._set_fitting(self._learned_limit)
            return self._learned_limit
        if error.input_limit is None and error.http_status != _TOO_LARGE:
            return 0
        return length // 2  # the service counts differently, so the limit that it names means nothing in our count


def _segments_of(text: str, spans: tuple[tuple[int, int], ...]) -> tuple[Segment, ...]:
    return tuple(Segment(index, text[start:end], start, end) for index, (start, end) in enumerate(spans))
