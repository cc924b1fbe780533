"""Measurements of earlier runs: how long the service takes to answer, and how fast its voices speak."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow.parquet as pq

from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.dataset.reuse import Reusable
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.dataset.tables import own_columns
from tts_pipeline.estimates.spoken import count_digits, script_language, seconds
from tts_pipeline.frames import han_characters
from tts_pipeline.job import Job
from tts_pipeline.schema import TABLES

MAX_FILES = 16
"""Files of each table that are looked at, spread over a dataset: of a large one a sample is enough."""

MIN_REQUESTS = 10
"""With fewer requests nothing is said about their time."""

MIN_AUDIO_S = 20.0
"""With less audio of a voice in a language nothing is said about its pace."""

_Group = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from a request to its answer, as a mean.

    Args:
        request_s: For each request.
        character_s: For each billed character, on top.
        source: Where it was measured; None is the user's figure.
    """

    request_s: float
    character_s: float = 0.0
    source: str | None = None

    def seconds(self, requests: int, characters: int) -> float:
        """Return the time of requests that are sent one after another."""
        return requests * self.request_s + characters * self.character_s


@dataclass(frozen=True, slots=True)
class Paces:
    """Measured paces of voices.

    Args:
        times_published: By language and voice, and by language alone: the measured time as a multiple of
            ``spoken.seconds``, at the usual speed.
    """

    times_published: Mapping[_Group, float] = field(default_factory=dict)

    def of(self, language: str | None, voice: str | None) -> float | None:
        """Return the multiple for a voice in a language, else for the language; None where nothing is measured."""
        found = self.times_published.get((language, voice))
        return self.times_published.get((language, None)) if found is None else found


@dataclass(frozen=True, slots=True)
class Measured:
    """What earlier runs measured; None and empty where they did not."""

    latency: Latency | None = None
    paces: Paces = Paces()


def measured_in(places: Iterable[Reusable], job: Job) -> Measured:
    """Read what datasets of the same service and model measured; reads a sample, and no audio. Blocking.

    Args:
        places: Reuse stores are passed over.
        job: Names the service and the model.

    Raises:
        StorageError: A dataset cannot be read.
    """
    asked = (job.service.name, job.model)
    known = [
        (place.store, place.descriptor, place.label)
        for place in places
        if place.descriptor is not None and (place.descriptor.job["service"], place.descriptor.job["model"]) == asked
    ]
    latencies = (_latency(store, label) for store, _, label in known)
    return Measured(next((one for one in latencies if one is not None), None), _paces(known))


def _latency(store: Store, label: str) -> Latency | None:
    frames = list(_sample(store, "usage", ("outcome", "latency_ms", "characters_counted")))
    if not frames:
        return None
    answered = pl.concat(frames).filter(pl.col("outcome").is_in(["succeeded", "discarded"]), pl.col("latency_ms") > 0)
    if answered.height < MIN_REQUESTS:
        return None
    latency_s, characters = answered["latency_ms"].cast(pl.Float64) / 1_000, answered["characters_counted"]
    request_s, character_s = _line(characters.cast(pl.Float64), latency_s)
    return Latency(request_s, character_s, f"{answered.height:,} requests of {label}")


def _line(amounts: pl.Series, times_s: pl.Series) -> tuple[float, float]:
    """Return the line through measurements, by least squares: at 0, and for each unit; neither is negative."""
    mean, mean_s = _mean(amounts), _mean(times_s)
    spread = _mean((amounts - mean) ** 2)
    slope = max(0.0, _mean((amounts - mean) * (times_s - mean_s)) / spread) if spread else 0.0
    at_zero = mean_s - slope * mean
    return (at_zero, slope) if at_zero >= 0 else (0.0, mean_s / mean)


def _mean(values: pl.Series) -> float:
    return float(values.sum()) / len(values)


def _paces(known: Sequence[tuple[Store, Descriptor, str]]) -> Paces:
    frames = [
        frame.with_columns(duration_s=pl.col("duration_ms") * _speed(descriptor) / 1_000)
        for store, descriptor, _ in known
        if "speed" not in descriptor.job["columns"]
        for frame in _sample(store, "speech", ("text", "voice", "language", "duration_ms"))
    ]
    if not frames:
        return Paces()
    spoken = _counted(pl.concat(frames))
    return Paces(dict(_times(spoken.with_columns(voice=pl.lit(None, pl.String)))) | dict(_times(spoken)))


def _speed(descriptor: Descriptor) -> float:
    given = descriptor.job["parameters"].get("speed", 1)
    return float(given) if isinstance(given, int | float) and given > 0 else 1.0


def _counted(speech: pl.DataFrame) -> pl.DataFrame:
    text = pl.col("text")
    han = han_characters(text).fill_null(0)
    counted = speech.with_columns(han.alias("han"), script_language(text, han).alias("script"))
    return counted.with_columns(
        pl.coalesce("language", "script").alias("language"),
        count_digits(text).alias("digits"),
        (text.str.len_chars() - pl.col("han") - text.str.count_matches(" ", literal=True)).alias("letters"),
    )


def _times(spoken: pl.DataFrame) -> Iterator[tuple[_Group, float]]:
    """Yield each language and voice with enough audio, with the measured time as a multiple of the published one."""
    groups = spoken.group_by("language", "voice").agg(_sums("letters", "han", "digits", "duration_s"))
    for language, voice, letters, han, digits, duration_s in groups.iter_rows():
        published_s = seconds(letters, han, language, digits)
        if duration_s >= MIN_AUDIO_S and published_s > 0:
            yield (language, voice), duration_s / published_s


def _sums(*names: str) -> list[pl.Expr]:
    return [pl.col(name).sum() for name in names]


def _sample(store: Store, table: str, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    files = [name for name in sorted(store.names(table, "part-")) if name.endswith(".parquet")]
    for short in files[:: max(1, -(-len(files) // MAX_FILES))]:
        location = store.describe(f"{table}/{short}")
        reading = storage_errors(f"reading {location}", Exception)
        with reading, store.open(f"{table}/{short}") as stream, pq.ParquetFile(stream) as parquet:
            read = parquet.read(columns=list(names), use_threads=False)
        yield pl.DataFrame(own_columns(read, names, TABLES[table], location))
