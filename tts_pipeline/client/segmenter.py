"""Segment a text for a service, and learn the service's limit on the way."""

from __future__ import annotations

from tts_pipeline.card import Card
from tts_pipeline.errors import PermanentError
from tts_pipeline.models import History, Segment
from tts_pipeline.text import input_length, segment_text, speakable_segments

_TOO_LARGE = 413


class Segmenter:
    """Cuts texts for one model, by the card's limit or a smaller one that the service named."""

    def __init__(self, card: Card, *, keeps_unspeakable: bool = False) -> None:
        self._card = card
        self._keeps_unspeakable = keeps_unspeakable
        self._learned_limit: int | None = None

    def cut(self, text: str, history: History, language: str | None) -> tuple[Segment, ...]:
        """Cut a text, but as it was cut before where some of it may be paid for already.

        Raises:
            PermanentError: There is nothing to say, or it cannot be sent. Never sent, never retried.
        """
        if history.boundaries is not None:
            return _segments_of(text, history.boundaries)
        segments = segment_text(text, self._card, self._learned_limit, language=language)
        return segments if len(segments) == 1 else self._drop_unspeakable(segments)

    def _drop_unspeakable(self, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        return segments if self._keeps_unspeakable else speakable_segments(segments)

    def cut_finer(
        self, text: str, segments: tuple[Segment, ...], index: int, error: PermanentError
    ) -> tuple[Segment, ...] | None:
        """Cut a segment finer that the service found too long; a limit that it names is learnt for the run.

        Segments before ``index`` stay as they were; those behind it are not bought yet. None when the refusal was not
        about the length, or there is nothing left to cut.
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
            return self._learned_limit
        if error.input_limit is None and error.http_status != _TOO_LARGE:
            return 0
        return length // 2  # the service counts otherwise than we do: what it counts cannot be told from its number


def _segments_of(text: str, spans: tuple[tuple[int, int], ...]) -> tuple[Segment, ...]:
    return tuple(Segment(index, text[start:end], start, end) for index, (start, end) in enumerate(spans))
