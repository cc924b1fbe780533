"""Count the purchases of rows: segment their texts as in a run, and subtract the audio that is cached or paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from tts_pipeline.card import Card
from tts_pipeline.catalog.checks import language_tag
from tts_pipeline.client.segmenter import Segmenter
from tts_pipeline.config import MAX_TEXT_CHARACTERS
from tts_pipeline.errors import PermanentError
from tts_pipeline.estimates.audio_locator import AudioLocator, AudioOrigin
from tts_pipeline.estimates.input_rows import NOT_STARTED, STARTED, StartedRow
from tts_pipeline.estimates.row_parameters import RowParameters, from_json
from tts_pipeline.models import History, Parameters
from tts_pipeline.text import billed_characters, check_speakable

MAX_CUT_TEXTS = 20_000
"""The most texts over the limit that are really cut, at about 1 ms per 1,000 characters; the segments of the others are
extrapolated."""


class SegmentCounts(NamedTuple):
    """The segments of a text (0: it cannot be sent), the segments to buy, and their billed characters.

    ``origin`` is the place of the audio if no segment is bought.
    """

    segments: int
    bought: int
    characters: int
    origin: int = AudioOrigin.NOWHERE


class PurchaseCounter:
    """Counts the purchases of each row of a batch.

    Only the first ``max_cut_texts`` texts over the limit are really cut; the segments of later ones are extrapolated.
    With ``keeps_unspeakable``, texts and segments without anything to say are sent.
    """

    def __init__(
        self,
        parameters: RowParameters,
        locator: AudioLocator,
        max_cut_texts: int = MAX_CUT_TEXTS,
        *,
        keeps_unspeakable: bool = True,
    ) -> None:
        self.parameters = parameters
        self.keeps_unspeakable = keeps_unspeakable
        self._card = parameters.card
        self._segmenter = Segmenter(parameters.card, keeps_unspeakable=keeps_unspeakable)
        self._locator = locator
        self._max_cut_texts = max_cut_texts
        self._cut_units = 0
        self._cut_segments = 0
        self.long_texts = 0
        self.cut_texts = 0

    def count(
        self, batch: pl.DataFrame, rows: pl.DataFrame, text: str, started_rows: Sequence[StartedRow] = ()
    ) -> pl.DataFrame:
        """Return a batch with ``segments``, ``bought``, ``characters`` and ``origin``, as ``SegmentCounts`` has them.

        ``batch`` holds the measures of ``rows``, in which each text that can be sent is one segment. The column
        ``STARTED`` of ``rows`` is the index in ``started_rows``.
        """
        numbers = (
            rows[STARTED] if STARTED in rows.columns else pl.repeat(None, batch.height, dtype=pl.Int32, eager=True)
        )
        parameters = self.parameters.by_row(rows) if self._locator else [({}, 0)] * batch.height
        texts = rows[text].cast(pl.String)
        batch = batch.with_columns(
            pl.col("segments").alias("bought"), self._locate_rows(batch, texts, parameters, numbers).alias("origin")
        )
        is_open = (batch["origin"] == AudioOrigin.NOWHERE) & (batch["segments"] > 0)
        indices = (is_open & (batch["long"].is_not_null() | numbers.is_not_null())).arg_true()
        counts = [
            self._count_segments(
                texts[index],
                batch.row(index, named=True),
                _started_row(started_rows, numbers[index]),
                parameters[index],
            )
            for index in indices
        ]
        return _scatter_counts(batch, indices, counts) if counts else batch

    def _locate_rows(
        self, batch: pl.DataFrame, texts: pl.Series, parameters: Sequence[tuple[Parameters, int]], numbers: pl.Series
    ) -> pl.Series:
        """Locate the audio of whole texts; like a run, skip rows of which a segment is paid for."""
        if not self._locator:
            return pl.repeat(AudioOrigin.NOWHERE, batch.height, dtype=pl.UInt8, eager=True)
        requests = zip(batch["segments"], texts, parameters, numbers, strict=True)
        return pl.Series(
            [
                self._locator.locate(text, *parameters_and_take) if segments and number is None else AudioOrigin.NOWHERE
                for segments, text, parameters_and_take, number in requests
            ],
            dtype=pl.UInt8,
        )

    def _count_segments(
        self, text: str, measures: Mapping[str, Any], started: StartedRow, parameters: tuple[Parameters, int]
    ) -> SegmentCounts:
        """Cut one text and count its segments; after ``max_cut_texts`` texts, extrapolate from these."""
        units, characters = measures["units"], measures["characters"]
        self.long_texts += units is not None
        if started is NOT_STARTED and self.cut_texts >= self._max_cut_texts and len(text) <= MAX_TEXT_CHARACTERS:
            guess = max(1, round(units * self._cut_segments / max(1, self._cut_units)))
            return SegmentCounts(guess, guess, characters)
        history = History(boundaries=started.boundaries)
        try:
            if started is NOT_STARTED:
                check_speakable(text, allow_unspeakable=True)
            segments = self._segmenter.cut(text, history, tag_from_label(self._card, measures["language"]))
        except PermanentError:
            segments = ()
        if units is not None:
            self.cut_texts += 1
            self._cut_units += units if segments else 0
            self._cut_segments += len(segments)
        unpaid = [segment.text for segment in segments if segment.index not in started.paid]
        unowned = [
            segment_text
            for segment_text in unpaid
            if segment_text == text or self._locator.locate(segment_text, *parameters) is AudioOrigin.NOWHERE
        ]
        origin = AudioOrigin.NOWHERE if unowned else AudioOrigin.OTHER_JOB if unpaid else AudioOrigin.JOURNAL
        return SegmentCounts(
            len(segments), len(unowned), sum(self._count_characters(segment_text) for segment_text in unowned), origin
        )

    def _count_characters(self, text: str) -> int:
        return billed_characters(text, self._card.billing)


def tag_from_label(card: Card, label: str | None) -> str | None:
    """Return the BCP-47 tag of a language's label from ``RowParameters.label``."""
    if label is None or card.language_parameter is None:
        return None
    return language_tag(card, {card.language_parameter: from_json(label)})


def _started_row(started_rows: Sequence[StartedRow], number: int | None) -> StartedRow:
    return NOT_STARTED if number is None else started_rows[number]


def _scatter_counts(batch: pl.DataFrame, indices: pl.Series, counts: Sequence[SegmentCounts]) -> pl.DataFrame:
    return batch.with_columns(
        batch[name].scatter(indices, pl.Series([count[index] for count in counts], dtype=batch[name].dtype))
        for index, name in enumerate(SegmentCounts._fields)
    )
