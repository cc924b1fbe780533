"""One pass over all rows: what they send, what of it is the same, and what it will sound like."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tts_pipeline.config import MAX_TEXT_CHARACTERS
from tts_pipeline.estimates.figures import Spoken
from tts_pipeline.estimates.holdings import Origin
from tts_pipeline.estimates.measured import Paces
from tts_pipeline.estimates.parameters import Sending, read
from tts_pipeline.estimates.purchases import Purchases, tag_of
from tts_pipeline.estimates.remaining import Finished, RemainingLines
from tts_pipeline.estimates.repeats import RECORD, Repeats
from tts_pipeline.estimates.rows import Lines
from tts_pipeline.estimates.spoken import count_digits, script_language, seconds
from tts_pipeline.frames import billed_characters, han_characters
from tts_pipeline.models import Card
from tts_pipeline.text import FILLERS, is_speakable

_BLANK = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
"""What ``str.isspace`` knows, of which there is none beyond U+3000; Polars' own idea of white space is another."""

_LETTER = rf"[[\p{{L}}\p{{N}}]--[{FILLERS}]]"
"""Whatever has one of these, and no markup, has something to say; of other texts Python is asked."""

MANY_ROWS = 10_000
DIGITS_IN_ONE_OF = 8
"""Of many rows, digits are counted in one of so many: in each, they would cost a third of everything else."""

_GROUP = ("voice", "language", "speed", "script")
_SPEED = "speed"


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of all rows.

    Args:
        rows: All of them.
        rows_without_text: Empty, white space or null.
        rows_too_long: No piece of the text fits a request.
        repeated_rows: Rows that send exactly the same as another row of the job.
        segments: Requests.
        characters_billed: Of the requests.
        spoken: Audio that the run adds, by language and voice, the most hours first.
        long_texts: Texts over the limit.
        cut_texts: Those of them that were really cut.
        rows_there: Rows whose speech is at the destination, or paid for in a journal.
        rows_rejected_before: Rows that were rejected before, and are not tried anew.
        reused_rows: Rows whose audio was bought by another job.
        japanese_rows: Rows in Japanese, by what is sent or by their script.
        rows_unspeakable: Nothing in the text is read aloud, and such texts are not sent.
        longest: Requests and characters of the row with the most characters: they are sent one after another.
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
    rows_there: int = 0
    rows_rejected_before: int = 0
    reused_rows: int = 0
    japanese_rows: int = 0
    rows_unspeakable: int = 0
    longest: tuple[int, int] = (0, 0)


def tally(lines: Lines, text: str, purchases: Purchases, repeats: Repeats, paces: Paces | None = None) -> Counts:
    """Go through all rows once.

    Args:
        lines: The rows.
        text: The column of the texts.
        purchases: Finds what is bought of each.
        repeats: Empty; finds the repeated ones.
        paces: Measured ones, which go before published ones; None is none.

    Raises:
        StorageError: The source cannot be read, or the scratch folder not be written.
    """
    total, longest = Counter[str](), (0, 0)
    sending = purchases.sending
    sounds = _Sounds(sending.card, paces or Paces())
    for rows in lines.batches(list(dict.fromkeys([text, *sending.columns.values()]))):
        measured = _measured(rows, pl.col(text).cast(pl.String), sending)
        if not purchases.keeps_unspeakable:
            measured, mute = _without_mute(measured)
            total["mute"] += mute
        batch = purchases.of(measured, rows, text, lines.begun if isinstance(lines, RemainingLines) else ())
        said = batch.filter(pl.col("segments") > 0)
        bought = said.filter(pl.col("origin") == Origin.NOWHERE)
        total.update(rows=batch.height, sendable=_sendable(measured), said=said.height, bought=bought.height)
        total.update({Origin(origin).name: count for origin, count in said["origin"].value_counts().iter_rows()})
        longest = max(longest, _longest(bought), key=lambda one: one[1])
        repeats.add(_records(bought))
        sounds.add(said)
    different, characters, segments = repeats.totals()
    there, rejected = _passed_over(lines)
    return Counts(
        rows=there + rejected + total["rows"],
        rows_without_text=total["rows"] - total["sendable"] - total["mute"],
        rows_unspeakable=total["mute"],
        rows_too_long=total["sendable"] - total["said"],
        repeated_rows=total["bought"] - different + total[Origin.OWN.name],
        segments=segments,
        characters_billed=characters,
        spoken=sounds.spoken(),
        long_texts=purchases.long_texts,
        cut_texts=purchases.cut_texts,
        rows_there=there + total[Origin.PAID.name],
        rows_rejected_before=rejected,
        reused_rows=total[Origin.REUSED.name],
        japanese_rows=sounds.rows_in("ja"),
        longest=longest,
    )


def _passed_over(lines: Lines) -> tuple[int, int]:
    finished = lines.finished if isinstance(lines, RemainingLines) else Finished()
    return finished.speech, finished.rejects


def _longest(bought: pl.DataFrame) -> tuple[int, int]:
    place = bought["characters"].arg_max()
    return (0, 0) if place is None else (bought["bought"][place], bought["characters"][place])


def _measured(rows: pl.DataFrame, text: pl.Expr, sending: Sending) -> pl.DataFrame:
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
    every = DIGITS_IN_ONE_OF if rows.height >= MANY_ROWS else 1
    derived = rows.lazy().select(first).select(kept, *_derived(pl.col("text"), card, every))
    return derived.collect(engine="streaming")  # it uses all cores for one batch; the other engine does not


def _derived(text: pl.Expr, card: Card, every: int) -> list[pl.Expr]:
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
        count_digits(text, every).alias("digits"),
        han.alias("han"),
        script_language(_beyond_ascii(text), han).alias("script"),
    ]


def _without_mute(batch: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Return a batch in which texts without anything to say are not sent, and how many these are."""
    places = batch["doubtful"].is_not_null().arg_true()
    mute = places.filter([not is_speakable(text) for text in batch["doubtful"][places]]) if len(places) else places
    return batch.with_columns(batch["segments"].scatter(mute, 0)) if len(mute) else batch, len(mute)


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


def _records(bought: pl.DataFrame) -> Any:
    records = np.empty(bought.height, dtype=RECORD)
    for name, column in (("key", "key"), ("characters", "characters"), ("segments", "bought")):
        records[name] = bought[column].to_numpy()
    return records


class _Sounds:
    """Sums up the audio of rows, by what decides how long it takes."""

    def __init__(self, card: Card, paces: Paces) -> None:
        self._card = card
        self._paces = paces
        self._sums: defaultdict[tuple[str | None, ...], Counter[str]] = defaultdict(Counter)

    def add(self, said: pl.DataFrame) -> None:
        """Take note of rows; those that are bought once for several are heard in each."""
        sums = (pl.len().alias("rows"), *(pl.col(name).cast(pl.Int64).sum() for name in ("letters", "han", "digits")))
        for *group, rows, letters, han, digits in said.group_by(*_GROUP).agg(*sums).iter_rows():
            self._sums[tuple(group)].update(rows=rows, letters=letters, han=han, digits=min(digits, letters))

    def spoken(self) -> tuple[Spoken, ...]:
        """Return rows and hours by language and voice, the most hours first."""
        found: defaultdict[tuple[str | None, str | None], list[_Part]] = defaultdict(list)
        for (voice, word, speed, script), sums in self._sums.items():
            language = tag_of(self._card, word)
            name = None if voice is None else str(read(voice))
            times = self._paces.of(language or script, name)
            spoken_s = seconds(sums["letters"], sums["han"], language or script, sums["digits"])
            published_s = spoken_s / _times_usual(speed)
            hours = published_s * (1.0 if times is None else times) / 3_600
            found[language, name].append(_Part(sums["rows"], hours, times is not None))
        groups = [_spoken(language, voice, parts) for (language, voice), parts in found.items()]
        return tuple(sorted(groups, key=lambda one: (-one.audio_hours, one.language or "", one.voice or "")))

    def rows_in(self, language: str) -> int:
        """Return the rows in a language, by what is sent, else by their script."""
        tongues = (
            (tag_of(self._card, word) or script or "", sums) for (_, word, _, script), sums in self._sums.items()
        )
        return sum(sums["rows"] for tongue, sums in tongues if tongue.partition("-")[0] == language)


class _Part(NamedTuple):
    """Rows of one voice and language at one pace."""

    rows: int
    hours: float
    is_measured: bool


def _spoken(language: str | None, voice: str | None, parts: Sequence[_Part]) -> Spoken:
    return Spoken(
        language=language,
        voice=voice,
        rows=sum(part.rows for part in parts),
        audio_hours=math.fsum(part.hours for part in parts),
        is_measured=all(part.is_measured for part in parts),
    )


def _times_usual(speed: str | None) -> float:
    """Return how many times as fast as usual a voice speaks; a speed that is no such number is left out of account."""
    given = read(speed)
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) and given > 0 else 1.0
