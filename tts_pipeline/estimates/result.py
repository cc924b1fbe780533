"""Hold the estimate of a job as a value, and render it as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any

from tts_pipeline.errors import printable
from tts_pipeline.source.listing import describe_left_out

WAV_BYTES_PER_SECOND = 48_000
"""24,000 samples a second of 16 bits, the audio of the services' models."""

_MAX_GROUPS = 12
_UNKNOWN_TIME = "unknown: give `requests_per_minute` or `latency_s`, or a pilot with `reuse`"


@dataclass(frozen=True, slots=True)
class VoiceTotals:
    """The rows and hours of one voice in one language.

    Args:
        language: The BCP-47 tag; None if the service chooses the language.
        voice: The voice, as sent; None if the service chooses it, or if the rows have more than 100,000 voices.
        rows: Rows with a text that can be sent, repeated rows included.
        audio_hours: The audio of these rows, about.
        is_measured: Whether the pace of this voice, or of this language, was measured in earlier runs; else it is a
            published one.
    """

    language: str | None
    voice: str | None
    rows: int
    audio_hours: float
    is_measured: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """The requests, cost, audio and time of a job in which no request fails: ``str`` for people, ``to_json`` for JSON.

    Args:
        rows: The selected rows.
        rows_there: Rows whose speech is at the destination, or paid for in a journal: not bought again.
        rows_rejected_before: Rows that were rejected before and are not tried again.
        rows_without_text: Rows with an empty, white-space or null text: rejects that cost nothing.
        rows_too_long: Rows that cannot be cut so that they fit a request: rejects that cost nothing.
        reused_rows: Rows whose audio another job bought: they cost nothing.
        repeated_rows: Rows that send exactly the same request as another row of the job: bought once.
        segments: Requests, one for each segment that is bought.
        characters_billed: The characters of these requests, by the model's counter.
        cost: In ``currency``, at today's price; None without a price. By character it is exact; by token it follows
            from the estimated length of the audio.
        segments_at_most: Requests if every segment is bought again for every retake that the job allows. Failed
            requests that are sent again are not included; most failures are not billed.
        characters_at_most: The characters of ``segments_at_most``.
        cost_at_most: The cost of ``segments_at_most``; None without a price.
        currency: ISO 4217; None without a price.
        price_id: The id of today's price; None without a price.
        price_basis: ``list`` (the maker's published price) or ``user``; None without a price.
        audio_hours: The audio that the run adds to the dataset, reused and repeated rows included, about: see
            ``speaking_time_s``.
        audio_bytes: The size of this audio as WAV with 24,000 samples a second of 16 bits, about.
        spoken: The hours by language and voice, the most first.
        requests_per_minute: The assumed rate: as given, else the service's own; None is no limit.
        characters_per_minute: The assumed rate; None is no limit.
        latency_s: Mean time from a request to its answer: as given, else as earlier runs measured it; None is not
            known.
        latency_source: The dataset that measured the latency; None if it was given or is not known.
        elapsed_s: The time of the job: the longest of the times at these rates, the time of all answers with
            ``max_concurrency`` requests in flight, and the time of the longest text, whose segments are sent one after
            another; None if no rate and no latency is known.
        limited_by: The source of ``elapsed_s``: ``requests_per_minute``, ``characters_per_minute``, ``latency`` or
            ``longest_text``; None if the time is not known.
        answer_within_s: The longest mean latency at which the rates are reached with ``max_concurrency`` requests in
            flight; None without rates.
        notes: The assumptions behind the price, and its end.
        rows_unspeakable: Rows without anything to say, such as ``...``: rejects that cost nothing.
        left_out: The number of Parquet files of the source that are not read, by reason.
    """

    rows: int
    rows_there: int
    rows_rejected_before: int
    rows_without_text: int
    rows_too_long: int
    reused_rows: int
    repeated_rows: int
    segments: int
    characters_billed: int
    cost: Decimal | None
    segments_at_most: int
    characters_at_most: int
    cost_at_most: Decimal | None
    currency: str | None
    price_id: str | None
    price_basis: str | None
    audio_hours: float
    audio_bytes: int
    spoken: tuple[VoiceTotals, ...]
    requests_per_minute: float | None
    characters_per_minute: float | None
    latency_s: float | None
    latency_source: str | None
    elapsed_s: float | None
    limited_by: str | None
    answer_within_s: float | None
    notes: tuple[str, ...]
    rows_unspeakable: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as plain values for JSON: money as text, unknown values as None."""
        plain = asdict(replace(self, left_out=dict(self.left_out)))
        return {
            **plain,
            "cost": _decimal_text(self.cost),
            "cost_at_most": _decimal_text(self.cost_at_most),
            "spoken": list(plain["spoken"]),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = list(self._lines())
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:{width}}  {printable(text)}" for name, text in lines)

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "rows", f"{self.rows:,}"
        if self.left_out:
            yield "left out", describe_left_out(self.left_out)
        yield from self._rows_left_out()
        yield "requests", f"{self.segments:,}"
        yield "characters", f"{self.characters_billed:,} billed"
        yield "cost", self._cost()
        if self.segments_at_most > self.segments:
            yield "at most", self._at_most()
        yield "audio", f"about {self.audio_hours:,.2f} hours, {self.audio_bytes / 1e9:,.2f} GB as 24 kHz 16-bit WAV"
        for voice in self.spoken[:_MAX_GROUPS]:
            language_and_voice = f"{voice.language or 'language not given'}, {voice.voice or 'voice not given'}"
            pace = ", as measured" if voice.is_measured else ""
            yield "", f"{language_and_voice}: {voice.rows:,} rows, about {voice.audio_hours:,.2f} hours{pace}"
        if len(self.spoken) > _MAX_GROUPS:
            yield "", f"and {len(self.spoken) - _MAX_GROUPS:,} more"
        yield "time", self._time()
        for note in self.notes:
            yield "note", note

    def _rows_left_out(self) -> Iterator[tuple[str, str]]:
        refused = self.rows_without_text + self.rows_too_long
        reasons = ((self.rows_without_text, "without text"), (self.rows_too_long, "too long to cut"))
        why = " and ".join(f"{rows:,} {reason}" for rows, reason in reasons if rows)
        for name, rows, meaning in (
            ("there", self.rows_there, "rows that the destination has, not bought again"),
            ("rejected", self.rows_rejected_before, "rows rejected before, not tried again without `retry_rejects`"),
            ("refused", refused, f"rows that cost nothing and become rejects: {why}"),
            ("unspeakable", self.rows_unspeakable, "rows have nothing to say: not sent (see `unspeakable`)"),
            ("reused", self.reused_rows, "rows whose audio was bought before, not bought again"),
            ("repeated", self.repeated_rows, "duplicate rows, bought once"),
        ):
            if rows:
                yield name, f"{rows:,} {meaning}"

    def _at_most(self) -> str:
        cost = "" if self.cost_at_most is None else f", {self.cost_at_most:,.4f} {self.currency}"
        times = self.segments_at_most // self.segments
        counts = f"{self.segments_at_most:,} requests, {self.characters_at_most:,} characters{cost}"
        return f"{counts}, if all audio is bad and bought {times} times (see `quality`)"

    def _cost(self) -> str:
        if self.cost is None:
            return "null: no price" if self.price_id is None else "null: not known"
        basis = {"list": "the maker's list price", "user": "your own price"}[self.price_basis or "list"]
        return f"{self.cost:,.4f} {self.currency} ({basis}, {self.price_id})"

    def _time(self) -> str:
        if not self.segments:
            return "none: nothing is left to buy"
        if self.elapsed_s is None:
            return _UNKNOWN_TIME
        rates = {"requests_per_minute": self.requests_per_minute, "characters_per_minute": self.characters_per_minute}
        rate, took = rates.get(self.limited_by or ""), duration(self.elapsed_s)
        if rate is not None:
            unit = "requests" if self.limited_by == "requests_per_minute" else "characters"
            unsure = self.latency_s is None and self.answer_within_s is not None
            slow = f", if answers take {self.answer_within_s:,.3g} s at most" if unsure else ""
            return f"{took} at {rate:,g} {unit} a minute{slow}"
        source = "given" if self.latency_source is None else f"measured in {self.latency_source}"
        answers = f"{self.latency_s:,.3g} s an answer ({source})"
        if self.limited_by == "longest_text":
            return f"{took}: the longest text takes that long, its segments one after another, at {answers}"
        return f"{took} at {answers}: a higher `max_concurrency` makes it shorter"


def _decimal_text(money: Decimal | None) -> str | None:
    return None if money is None else f"{money:f}"


def duration(seconds: float) -> str:
    """Format a time in its two largest units: ``3 days 4 h``, ``2 h 5 min``, ``12 min 3 s``, ``8.5 s``."""
    if seconds < 60:
        return f"{seconds:,.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    hours, rest_min = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest_min} min"
    return f"{hours // 24:,} days {hours % 24} h"
