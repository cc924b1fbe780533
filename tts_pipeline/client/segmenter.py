"""Cut a text into segments for a service, and learn the service's length limit on the way."""

from __future__ import annotations

from tts_pipeline.card import Card
from tts_pipeline.errors import PermanentError
from tts_pipeline.models import History, Segment
from tts_pipeline.text import input_length, segment_text, speakable_segments

_TOO_LARGE = 413


class Segmenter:
    """Cuts texts for one model, by the card's limit or a smaller limit that the service named."""

    def __init__(self, card: Card, *, keeps_unspeakable: bool = False) -> None:
        self._card = card
        self._keeps_unspeakable = keeps_unspeakable
        self._learned_limit: int | None = None

    def cut(self, text: str, history: History, language: str | None) -> tuple[Segment, ...]:
        """Cut a text; repeat an earlier cut, because some of its segments may be paid for.

        Raises:
            PermanentError: The text has nothing to say, or cannot be sent. Never sent, never retried.
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
            return self._learned_limit
        if error.input_limit is None and error.http_status != _TOO_LARGE:
            return 0
        return length // 2  # the service counts differently, so the limit that it names means nothing in our count


def _segments_of(text: str, spans: tuple[tuple[int, int], ...]) -> tuple[Segment, ...]:
    return tuple(Segment(index, text[start:end], start, end) for index, (start, end) in enumerate(spans))
