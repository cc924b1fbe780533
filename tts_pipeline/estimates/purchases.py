"""The purchases of rows: texts cut as a run cuts them, less the audio that is held or paid for already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from tts_pipeline.catalog.check import language_tag
from tts_pipeline.client.segments import Segmenter
from tts_pipeline.config import MAX_TEXT_CHARACTERS
from tts_pipeline.errors import PermanentError
from tts_pipeline.estimates.holdings import Holdings, Origin
from tts_pipeline.estimates.parameters import Sending, read
from tts_pipeline.estimates.remaining import BEGUN, NEW, Begun
from tts_pipeline.models import Card, History, Parameters
from tts_pipeline.text import billed_characters, check_worth_sending

MAX_CUT_TEXTS = 20_000
"""Texts over the limit that are really cut, which takes about 1 ms per 1,000 characters; the others are taken to be cut
like these."""


class Pieces(NamedTuple):
    """A text as it is sent.

    Args:
        segments: Requests for the whole text; 0 is a text that cannot be sent.
        bought: Requests that are sent.
        characters: Billed characters of these.
        origin: Where the audio is when no request is sent.
    """

    segments: int
    bought: int
    characters: int
    origin: int = Origin.NOWHERE


class Purchases:
    """Finds the purchases of each row of a batch; after many long texts, guesses.

    Args:
        sending: The parameters of the rows.
        holdings: Audio that need not be bought.
        max_cut_texts: Texts over the limit that are really cut.
        keeps_unspeakable: Whether texts, and pieces of them, without anything to say are sent.

    Attributes:
        sending: The parameters of the rows.
        keeps_unspeakable: As given.
        long_texts: Texts over the limit so far.
        cut_texts: Those of them that were really cut.
    """

    def __init__(
        self,
        sending: Sending,
        holdings: Holdings,
        max_cut_texts: int = MAX_CUT_TEXTS,
        *,
        keeps_unspeakable: bool = True,
    ) -> None:
        self.sending = sending
        self.keeps_unspeakable = keeps_unspeakable
        self._card = sending.card
        self._segmenter = Segmenter(sending.card, keeps_unspeakable=keeps_unspeakable)
        self._holdings = holdings
        self._max_cut_texts = max_cut_texts
        self._cut_units = 0
        self._cut_segments = 0
        self.long_texts = 0
        self.cut_texts = 0

    def of(self, batch: pl.DataFrame, rows: pl.DataFrame, text: str, begun: Sequence[Begun] = ()) -> pl.DataFrame:
        """Return a batch with ``segments``, ``bought``, ``characters`` and ``origin``, as ``Pieces`` has them.

        Args:
            batch: Measures of the rows; a text that can be sent is one segment so far.
            rows: The same rows as they were read.
            text: Their column of texts.
            begun: The rows that an earlier run began, by their number in the column ``BEGUN``.
        """
        numbers = rows[BEGUN] if BEGUN in rows.columns else pl.repeat(None, batch.height, dtype=pl.Int32, eager=True)
        sent = self.sending.rows(rows) if self._holdings else [({}, 0)] * batch.height
        texts = rows[text].cast(pl.String)
        batch = batch.with_columns(
            pl.col("segments").alias("bought"), self._origins(batch, texts, sent, numbers).alias("origin")
        )
        is_open = (batch["origin"] == Origin.NOWHERE) & (batch["segments"] > 0)
        places = (is_open & (batch["long"].is_not_null() | numbers.is_not_null())).arg_true()
        pieces = [
            self._pieces(texts[place], batch.row(place, named=True), _at(begun, numbers[place]), sent[place])
            for place in places
        ]
        return _scattered(batch, places, pieces) if pieces else batch

    def _origins(
        self, batch: pl.DataFrame, texts: pl.Series, sent: Sequence[tuple[Parameters, int]], numbers: pl.Series
    ) -> pl.Series:
        """Find the texts whose audio is held whole; a run does not look for that of a row with a paid segment."""
        if not self._holdings:
            return pl.repeat(Origin.NOWHERE, batch.height, dtype=pl.UInt8, eager=True)
        asked = zip(batch["segments"], texts, sent, numbers, strict=True)
        return pl.Series(
            [
                self._holdings.origin(text, *asking) if segments and number is None else Origin.NOWHERE
                for segments, text, asking, number in asked
            ],
            dtype=pl.UInt8,
        )

    def _pieces(self, text: str, facts: Mapping[str, Any], begun: Begun, sent: tuple[Parameters, int]) -> Pieces:
        """Cut one text; beyond ``max_cut_texts``, guess."""
        units, characters = facts["units"], facts["characters"]
        self.long_texts += units is not None
        if begun is NEW and self.cut_texts >= self._max_cut_texts and len(text) <= MAX_TEXT_CHARACTERS:
            guess = max(1, round(units * self._cut_segments / max(1, self._cut_units)))
            return Pieces(guess, guess, characters)
        history = History(boundaries=begun.boundaries)
        try:
            if begun is NEW:
                check_worth_sending(text, keeps_unspeakable=True)
            segments = self._segmenter.cut(text, history, tag_of(self._card, facts["language"]))
        except PermanentError:
            segments = ()
        if units is not None:
            self.cut_texts += 1
            self._cut_units += units if segments else 0
            self._cut_segments += len(segments)
        unpaid = [segment.text for segment in segments if segment.index not in begun.paid]
        bought = [one for one in unpaid if one == text or self._holdings.origin(one, *sent) is Origin.NOWHERE]
        origin = Origin.NOWHERE if bought else Origin.REUSED if unpaid else Origin.PAID
        return Pieces(len(segments), len(bought), sum(self._count(one) for one in bought), origin)

    def _count(self, text: str) -> int:
        return billed_characters(text, self._card.billing)


def tag_of(card: Card, word: str | None) -> str | None:
    """Return the BCP-47 tag of a language's label, as ``Sending.label`` gives it."""
    if word is None or card.language_parameter is None:
        return None
    return language_tag(card, {card.language_parameter: read(word)})


def _at(begun: Sequence[Begun], number: int | None) -> Begun:
    return NEW if number is None else begun[number]


def _scattered(batch: pl.DataFrame, places: pl.Series, pieces: Sequence[Pieces]) -> pl.DataFrame:
    return batch.with_columns(
        batch[name].scatter(places, pl.Series([piece[index] for piece in pieces], dtype=batch[name].dtype))
        for index, name in enumerate(Pieces._fields)
    )
