"""One pass over all rows: what they send, what of it is the same, and what it will sound like."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tts_pipeline.catalog.check import language_tag
from tts_pipeline.errors import PermanentError
from tts_pipeline.estimates.figures import Spoken
from tts_pipeline.estimates.parameters import Sending, read
from tts_pipeline.estimates.repeats import RECORD, Repeats
from tts_pipeline.estimates.rows import Lines
from tts_pipeline.estimates.spoken import script_language, seconds
from tts_pipeline.frames import billed_characters, han_characters
from tts_pipeline.models import Card
from tts_pipeline.text import billed_characters as count_characters
from tts_pipeline.text import segment_text

MAX_CUT_TEXTS = 20_000
"""Texts over the limit that are really cut, which takes about 1 ms per 1,000 characters; the others are taken to be cut
like these."""

_BLANK = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
"""What ``str.isspace`` knows, of which there is none beyond U+3000; Polars' own idea of white space is another."""

_GROUP = ("voice", "language", "speed", "script")
_SPEED = "speed"


@dataclass(frozen=True, slots=True)
class Counts:
    """What rows come to.

    Args:
        rows: All of them.
        rows_without_text: Empty, white space or null.
        rows_too_long: Of which no piece fits a request.
        repeated_rows: Of the others, those that send what another one sends.
        segments: Requests.
        characters_billed: Of the requests.
        spoken: What will be heard, by language and voice, the most hours first.
        long_texts: Texts over the limit.
        cut_texts: Those of them that were really cut.
    """

    rows: int
    rows_without_text: int
    rows_too_long: int
    repeated_rows: int
    segments: int
    characters_billed: int
    spoken: tuple[Spoken, ...]
    long_texts: int
    cut_texts: int


def tally(lines: Lines, text: str, sending: Sending, repeats: Repeats, *, max_cut_texts: int = MAX_CUT_TEXTS) -> Counts:
    """Go through all rows once.

    Args:
        lines: The rows.
        text: The column of the texts.
        sending: What is sent beside them.
        repeats: Empty; finds the repeated ones.
        max_cut_texts: Texts over the limit that are really cut.

    Raises:
        StorageError: The source cannot be read, or the scratch folder not be written.
    """
    rows = without_text = too_long = 0
    scissors, sounds = _Scissors(sending.card, max_cut_texts), _Sounds(sending.card)
    for rows_read in lines.batches(list(dict.fromkeys([text, *sending.columns.values()]))):
        batch = _measured(rows_read.lazy(), pl.col(text).cast(pl.String), sending)
        cut = scissors.cut(batch)
        said = cut.filter(pl.col("segments") > 0)
        has_text = _sendable(batch)
        rows += batch.height
        without_text += batch.height - has_text
        too_long += has_text - said.height
        repeats.add(_records(said))
        sounds.add(said)
    different, characters, segments = repeats.totals()
    return Counts(
        rows=rows,
        rows_without_text=without_text,
        rows_too_long=too_long,
        repeated_rows=rows - without_text - too_long - different,
        segments=segments,
        characters_billed=characters,
        spoken=sounds.spoken(),
        long_texts=scissors.long_texts,
        cut_texts=scissors.cut_texts,
    )


def _measured(lines: pl.LazyFrame, text: pl.Expr, sending: Sending) -> pl.DataFrame:
    """Return what there is to know of each row.

    In two steps, because Polars would count the Han characters of a text once for each figure that needs them.
    """
    card = sending.card
    first = [
        text.alias("text"),
        pl.struct(text.alias("text"), *sending.identity()).hash().alias("key"),
        billed_characters(text, card.billing).alias("characters"),
        text.str.len_chars().alias("length"),
        sending.label("voice").alias("voice"),
        sending.label(card.language_parameter).alias("language"),
        sending.label(_SPEED).alias("speed"),
    ]
    kept = pl.col("key", "characters", "voice", "language", "speed")
    derived = lines.select(first).select(kept, *_derived(pl.col("text"), card))
    return derived.collect(engine="streaming")  # it uses all cores for one batch; the other engine does not


def _derived(text: pl.Expr, card: Card) -> list[pl.Expr]:
    length = pl.col("length")
    han = pl.col("characters") - length if card.billing == "han_double" else han_characters(text).fill_null(0)
    letters = length - han - text.str.count_matches(" ", literal=True)
    has_text = (text.str.strip_chars(_BLANK).str.len_bytes() > 0).fill_null(value=False)
    units = _units(text, card.input_unit)
    is_long = pl.lit(value=False) if card.input_limit is None else has_text & (units > card.input_limit)
    return [
        has_text.cast(pl.UInt32).alias("segments"),
        pl.when(is_long).then(text).alias("long"),
        pl.when(is_long).then(units).alias("units"),
        letters.alias("letters"),
        han.alias("han"),
        script_language(_beyond_ascii(text), han).alias("script"),
    ]


def _units(text: pl.Expr, unit: str) -> pl.Expr:
    """Measure texts as ``text.input_length`` does."""
    if unit == "characters":
        return pl.col("length")
    if unit == "bytes":
        return text.str.len_bytes()
    return pl.max_horizontal(text.str.len_bytes(), _beyond_ascii(text).str.normalize("NFC").str.len_bytes())


def _beyond_ascii(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.len_bytes() > pl.col("length")).then(text)


def _sendable(batch: pl.DataFrame) -> int:
    return int((batch["segments"] > 0).sum())


def _records(said: pl.DataFrame) -> Any:
    records = np.empty(said.height, dtype=RECORD)
    for name in RECORD.names or ():
        records[name] = said[name].to_numpy()
    return records


class _Scissors:
    """Cuts the texts over a model's limit as a run does; after many of them, guesses."""

    def __init__(self, card: Card, max_cut_texts: int) -> None:
        self._card = card
        self._max_cut_texts = max_cut_texts
        self._cut_units = 0
        self._cut_segments = 0
        self.long_texts = 0
        self.cut_texts = 0

    def cut(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return a batch with the segments and the billed characters of its long texts; no segments cannot be sent."""
        places = batch["long"].is_not_null().arg_true()
        if not len(places):
            return batch
        self.long_texts += len(places)
        long = batch.select("long", "language", "units", "characters")[places]
        pieces = [self._pieces(*row) for row in long.iter_rows()]
        return batch.with_columns(
            batch[name].scatter(places, pl.Series([piece[index] for piece in pieces], dtype=pl.UInt32))
            for index, name in enumerate(("segments", "characters"))
        )

    def _pieces(self, text: str, language: str | None, units: int, characters: int) -> tuple[int, int]:
        """Return in how many segments a text is sent, and with how many billed characters."""
        if self.cut_texts >= self._max_cut_texts:
            return max(1, round(units * self._cut_segments / max(1, self._cut_units))), characters
        self.cut_texts += 1
        try:
            segments = segment_text(text, self._card, max_segments=None, language=_tag(self._card, language))
        except PermanentError:
            return 0, 0
        self._cut_units += units
        self._cut_segments += len(segments)
        return len(segments), sum(count_characters(segment.text, self._card.billing) for segment in segments)


class _Sounds:
    """Sums up what will be heard, by what decides how long it takes."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._sums: defaultdict[tuple[str | None, ...], Counter[str]] = defaultdict(Counter)

    def add(self, said: pl.DataFrame) -> None:
        """Take note of rows; those that are bought once for several are heard in each."""
        sums = (pl.len().alias("rows"), *(pl.col(name).cast(pl.Int64).sum() for name in ("letters", "han")))
        for *group, rows, letters, han in said.group_by(*_GROUP).agg(*sums).iter_rows():
            self._sums[tuple(group)].update(rows=rows, letters=letters, han=han)

    def spoken(self) -> tuple[Spoken, ...]:
        """Return rows and hours by language and voice, the most hours first."""
        found: defaultdict[tuple[str | None, str | None], list[tuple[int, float]]] = defaultdict(list)
        for (voice, word, speed, script), sums in self._sums.items():
            language = _tag(self._card, word)
            lasting_s = seconds(sums["letters"], sums["han"], language or script) / _times_usual(speed)
            name = None if voice is None else str(read(voice))
            found[language, name].append((sums["rows"], lasting_s / 3_600))
        groups = [_spoken(language, voice, parts) for (language, voice), parts in found.items()]
        return tuple(sorted(groups, key=lambda one: (-one.audio_hours, one.language or "", one.voice or "")))


def _spoken(language: str | None, voice: str | None, parts: Sequence[tuple[int, float]]) -> Spoken:
    rows = sum(rows for rows, _ in parts)
    return Spoken(language=language, voice=voice, rows=rows, audio_hours=math.fsum(hours for _, hours in parts))


def _tag(card: Card, word: str | None) -> str | None:
    if word is None or card.language_parameter is None:
        return None
    return language_tag(card, {card.language_parameter: read(word)})


def _times_usual(speed: str | None) -> float:
    """Return how many times as fast as usual a voice speaks; a speed that is no such number is left out of account."""
    given = read(speed)
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) and given > 0 else 1.0
