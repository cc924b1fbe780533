"""Count requests, duplicates and expected audio in one pass over all rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tts_pipeline.card import Card
from tts_pipeline.config import MAX_TEXT_CHARACTERS
from tts_pipeline.estimates.audio_locator import AudioOrigin
from tts_pipeline.estimates.input_rows import InputRows
from tts_pipeline.estimates.measurements import SpeakingPaces
from tts_pipeline.estimates.purchase_counter import PurchaseCounter, tag_from_label
from tts_pipeline.estimates.result import VoiceTotals
from tts_pipeline.estimates.row_parameters import RowParameters, from_json
from tts_pipeline.estimates.speaking_time import count_digits, script_language, speaking_time_s
from tts_pipeline.frames import billed_characters, han_characters
from tts_pipeline.storage.hash_partitions import HashPartitions
from tts_pipeline.text import FILLERS, is_speakable

_BLANK = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
"""The white space of ``str.isspace``, which has none beyond U+3000; Polars strips other characters by default."""

_LETTER = rf"[[\p{{L}}\p{{N}}]--[{FILLERS}]]"
"""A text with one of these characters and without markup is speakable; ``is_speakable`` decides on other texts."""

REQUEST_DTYPE = np.dtype([("key", "<u8"), ("characters", "<u4"), ("segments", "<u4")])
"""A request: 64 bits of its hash, its billed characters and its segments."""

MANY_ROWS = 10_000
DIGIT_SAMPLE_ONE_IN = 8
"""Digits are counted in one of so many rows of a large batch: counting them in all would add a third to the time."""

_GROUP = ("voice", "language", "speed", "script")
_SPEED = "speed"


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of all rows: the fields of ``Estimate`` with these names, and more.

    ``cut_texts`` are the texts over the limit that were really cut. ``longest`` is the requests and characters of the
    row with the most characters, whose requests are sent one after another.
    """

    rows: int
    rows_without_text: int
    rows_too_long: int
    repeated_rows: int
    segments: int
    characters_billed: int
    spoken: tuple[VoiceTotals, ...]
    long_texts: int
    cut_texts: int
    rows_there: int = 0
    rows_rejected_before: int = 0
    reused_rows: int = 0
    japanese_rows: int = 0
    rows_unspeakable: int = 0
    longest: tuple[int, int] = (0, 0)


def tally(
    input_rows: InputRows,
    text: str,
    counter: PurchaseCounter,
    requests: HashPartitions,
    paces: SpeakingPaces | None = None,
) -> Counts:
    """Count all rows in one pass, and add their requests to ``requests`` to find the repeated ones.

    Measured paces take precedence over published ones.
    """
    total, longest = Counter[str](), (0, 0)
    parameters = counter.parameters
    audio = _AudioSums(parameters.card, paces or SpeakingPaces())
    for rows in input_rows.batches(list(dict.fromkeys([text, *parameters.columns.values()]))):
        measured = _measure(rows, pl.col(text).cast(pl.String), parameters)
        if not counter.keeps_unspeakable:
            measured, unspeakable = _without_unspeakable(measured)
            total["unspeakable"] += unspeakable
        batch = counter.count(measured, rows, text, input_rows.started_rows)
        spoken = batch.filter(pl.col("segments") > 0)
        bought = spoken.filter(pl.col("origin") == AudioOrigin.NOWHERE)
        total.update(rows=batch.height, sendable=_count_sendable(measured), spoken=spoken.height, bought=bought.height)
        total.update({AudioOrigin(origin).name: count for origin, count in spoken["origin"].value_counts().iter_rows()})
        longest = max(longest, _longest(bought), key=lambda pair: pair[1])
        requests.add(_request_array(bought))
        audio.add(spoken)
    distinct, characters, segments = distinct_totals(requests)
    present, rejected = input_rows.skipped["speech"], input_rows.skipped["rejects"]
    return Counts(
        rows=present + rejected + total["rows"],
        rows_without_text=total["rows"] - total["sendable"] - total["unspeakable"],
        rows_unspeakable=total["unspeakable"],
        rows_too_long=total["sendable"] - total["spoken"],
        repeated_rows=total["bought"] - distinct + total[AudioOrigin.THIS_JOB.name],
        segments=segments,
        characters_billed=characters,
        spoken=audio.voice_totals(),
        long_texts=counter.long_texts,
        cut_texts=counter.cut_texts,
        rows_there=present + total[AudioOrigin.JOURNAL.name],
        rows_rejected_before=rejected,
        reused_rows=total[AudioOrigin.OTHER_JOB.name],
        japanese_rows=audio.rows_in("ja"),
        longest=longest,
    )


def distinct_totals(requests: HashPartitions) -> tuple[int, int, int]:
    """Return the number of distinct requests, and their characters and segments.

    Requests are equal if their 64-bit keys are. Two different requests share a key with a chance of n * n / 2**65: 3 in
    a million for 10,000,000 rows, 3 in 10,000 for 100,000,000; the estimate is then one row short.
    """
    rows = characters = segments = 0
    for records in requests.partitions():
        _, first = np.unique(records["key"], return_index=True)
        rows += len(first)
        characters += int(records["characters"][first].sum(dtype=np.int64))
        segments += int(records["segments"][first].sum(dtype=np.int64))
    return rows, characters, segments


def _longest(bought: pl.DataFrame) -> tuple[int, int]:
    index = bought["characters"].arg_max()
    return (0, 0) if index is None else (bought["bought"][index], bought["characters"][index])


def _measure(rows: pl.DataFrame, text: pl.Expr, parameters: RowParameters) -> pl.DataFrame:
    """Return the measures of each row: its key, characters, labels, and the figures of its text.

    The query has two steps, because Polars would count the Han characters again for each figure that needs them.
    """
    card = parameters.card
    first = [
        text.alias("text"),
        pl.struct(text.alias("text"), *parameters.identity_columns()).hash().alias("key"),
        billed_characters(text, card.billing).alias("characters"),
        text.str.len_chars().alias("length"),
        parameters.label("voice").alias("voice"),
        parameters.label(card.language_parameter).alias("language"),
        parameters.label(_SPEED).alias("speed"),
    ]
    measured = pl.col("key", "characters", "voice", "language", "speed")
    one_in = DIGIT_SAMPLE_ONE_IN if rows.height >= MANY_ROWS else 1
    derived = rows.lazy().select(first).select(measured, *_derived_columns(pl.col("text"), card, one_in))
    return derived.collect(engine="streaming")  # the in-memory engine does not use all cores for one batch


def _derived_columns(text: pl.Expr, card: Card, one_in: int) -> list[pl.Expr]:
    length = pl.col("length")
    han = pl.col("characters") - length if card.billing == "han_double" else han_characters(text).fill_null(0)
    letters = length - han - text.str.count_matches(" ", literal=True)
    has_text = (text.str.strip_chars(_BLANK).str.len_bytes() > 0).fill_null(value=False)
    units = _units(text, card.input_unit)
    limit = MAX_TEXT_CHARACTERS if card.input_limit is None else card.input_limit
    is_long = has_text & ((units > limit) | (length > MAX_TEXT_CHARACTERS))
    is_doubtful = has_text & (~text.str.contains(_LETTER) | text.str.contains("<", literal=True))
    return [
        has_text.cast(pl.UInt32).alias("segments"),
        pl.when(is_long).then(text).alias("long"),
        pl.when(is_doubtful).then(text).alias("doubtful"),
        pl.when(is_long).then(units).alias("units"),
        letters.alias("letters"),
        count_digits(text, one_in).alias("digits"),
        han.alias("han"),
        script_language(_beyond_ascii(text), han).alias("script"),
    ]


def _without_unspeakable(batch: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return a batch in which texts without anything to say have no segments, and the number of these texts."""
    indices = batch["doubtful"].is_not_null().arg_true()
    unspeakable = (
        indices.filter([not is_speakable(text) for text in batch["doubtful"][indices]]) if len(indices) else indices
    )
    return batch.with_columns(batch["segments"].scatter(unspeakable, 0)) if len(unspeakable) else batch, len(
        unspeakable
    )


def _units(text: pl.Expr, unit: str) -> pl.Expr:
    if unit == "characters":
        return pl.col("length")
    if unit == "bytes":
        return text.str.len_bytes()
    return pl.max_horizontal(text.str.len_bytes(), _beyond_ascii(text).str.normalize("NFC").str.len_bytes())


def _beyond_ascii(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.len_bytes() > pl.col("length")).then(text)


def _count_sendable(batch: pl.DataFrame) -> int:
    return int((batch["segments"] > 0).sum())


def _request_array(bought: pl.DataFrame) -> Any:
    requests = np.empty(bought.height, dtype=REQUEST_DTYPE)
    for name, column in (("key", "key"), ("characters", "characters"), ("segments", "bought")):
        requests[name] = bought[column].to_numpy()
    return requests


class _AudioSums:
    """Sums up the audio of rows by voice, language, speed and script, which decide its length."""

    def __init__(self, card: Card, paces: SpeakingPaces) -> None:
        self._card = card
        self._paces = paces
        self._sums: defaultdict[tuple[str | None, ...], Counter[str]] = defaultdict(Counter)

    def add(self, spoken: pl.DataFrame) -> None:
        """Add rows; a repeated row has audio too, although it is bought once."""
        sums = (pl.len().alias("rows"), *(pl.col(name).cast(pl.Int64).sum() for name in ("letters", "han", "digits")))
        for *group, rows, letters, han, digits in spoken.group_by(*_GROUP).agg(*sums).iter_rows():
            self._sums[tuple(group)].update(rows=rows, letters=letters, han=han, digits=min(digits, letters))

    def voice_totals(self) -> tuple[VoiceTotals, ...]:
        """Return rows and hours by language and voice, the most hours first."""
        shares: defaultdict[tuple[str | None, str | None], list[_AudioShare]] = defaultdict(list)
        for (voice, label, speed, script), sums in self._sums.items():
            language = tag_from_label(self._card, label)
            voice_name = None if voice is None else str(from_json(voice))
            ratio = self._paces.ratio_of(language or script, voice_name)
            spoken_s = speaking_time_s(sums["letters"], sums["han"], language or script, sums["digits"])
            published_s = spoken_s / _speed_factor(speed)
            hours = published_s * (1.0 if ratio is None else ratio) / 3_600
            shares[language, voice_name].append(_AudioShare(sums["rows"], hours, ratio is not None))
        groups = [_total_of(language, voice, voice_shares) for (language, voice), voice_shares in shares.items()]
        return tuple(sorted(groups, key=lambda group: (-group.audio_hours, group.language or "", group.voice or "")))

    def rows_in(self, language: str) -> int:
        """Return the number of rows in a language, by the language that they send, else by their script."""
        tags = (
            (tag_from_label(self._card, label) or script or "", sums)
            for (_, label, _, script), sums in self._sums.items()
        )
        return sum(sums["rows"] for tag, sums in tags if tag.partition("-")[0] == language)


class _AudioShare(NamedTuple):
    """Rows of one voice and language at one pace."""

    rows: int
    hours: float
    is_measured: bool


def _total_of(language: str | None, voice: str | None, shares: Sequence[_AudioShare]) -> VoiceTotals:
    return VoiceTotals(
        language=language,
        voice=voice,
        rows=sum(share.rows for share in shares),
        audio_hours=math.fsum(share.hours for share in shares),
        is_measured=all(share.is_measured for share in shares),
    )


def _speed_factor(speed: str | None) -> float:
    """Return the speed of a voice as a multiple of the usual one; 1 for a speed that is not a positive number."""
    value = from_json(speed)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 1.0
