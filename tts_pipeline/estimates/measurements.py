"""Read the measurements of earlier runs: latencies of the service, and speaking paces of its voices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from tts_pipeline.cache.cache_location import CacheLocation
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.estimates.speaking_time import count_digits, script_language, speaking_time_s
from tts_pipeline.frames import han_characters
from tts_pipeline.job import Job

MAX_FILES = 16
"""The most files of each table that are read, spread over the dataset: a sample of a large dataset is enough."""

MIN_REQUESTS = 10
"""With fewer requests the latency is not known."""

MIN_AUDIO_S = 20.0
"""With less audio of a voice in a language its pace is not known."""

_LanguageAndVoice = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Latency:
    """Mean time from a request to its answer: seconds for each request, plus seconds for each billed character.

    A ``source`` of None is a figure that the user gave.
    """

    request_s: float
    character_s: float = 0.0
    source: str | None = None

    def seconds(self, requests: int, characters: int) -> float:
        """Return the time of requests that are sent one after another."""
        return requests * self.request_s + characters * self.character_s


@dataclass(frozen=True, slots=True)
class SpeakingPaces:
    """Measured paces of voices, by language and voice and by language alone.

    A pace is the measured time divided by ``speaking_time_s``, at the usual speed.
    """

    ratios: Mapping[_LanguageAndVoice, float] = field(default_factory=dict)

    def ratio_of(self, language: str | None, voice: str | None) -> float | None:
        """Return the pace of a voice in a language, else that of the language; None if neither was measured."""
        ratio = self.ratios.get((language, voice))
        return self.ratios.get((language, None)) if ratio is None else ratio


def read_measurements(locations: Iterable[CacheLocation], job: Job) -> tuple[Latency | None, SpeakingPaces]:
    """Read the measurements of datasets with the job's service and model, from a sample without audio. Blocking.

    Reuse stores have no measurements and are skipped.
    """
    service_and_model = (job.service.name, job.model)
    datasets = [
        (DatasetReader(location.store, location.descriptor), location.label)
        for location in locations
        if location.descriptor is not None
        and (location.descriptor.job["service"], location.descriptor.job["model"]) == service_and_model
    ]
    latencies = (_measure_latency(*dataset) for dataset in datasets)
    latency = next((latency for latency in latencies if latency is not None), None)
    return latency, _measure_paces([dataset for dataset, _ in datasets])


def _measure_latency(dataset: DatasetReader, label: str) -> Latency | None:
    frames = list(_read_sample(dataset, "usage", ("outcome", "latency_ms", "characters_counted")))
    if not frames:
        return None
    answered = pl.concat(frames).filter(pl.col("outcome").is_in(["succeeded", "discarded"]), pl.col("latency_ms") > 0)
    if answered.height < MIN_REQUESTS:
        return None
    latency_s, characters = answered["latency_ms"].cast(pl.Float64) / 1_000, answered["characters_counted"]
    request_s, character_s = _fit_line(characters.cast(pl.Float64), latency_s)
    return Latency(request_s, character_s, f"{answered.height:,} requests of {label}")


def _fit_line(amounts: pl.Series, times_s: pl.Series) -> tuple[float, float]:
    """Return the value at 0 and the slope of the least-squares line through measurements; neither is negative."""
    mean, mean_s = _mean(amounts), _mean(times_s)
    spread = _mean((amounts - mean) ** 2)
    slope = max(0.0, _mean((amounts - mean) * (times_s - mean_s)) / spread) if spread else 0.0
    at_zero = mean_s - slope * mean
    return (at_zero, slope) if at_zero >= 0 else (0.0, mean_s / mean)


def _mean(values: pl.Series) -> float:
    return float(values.sum()) / len(values)


def _measure_paces(datasets: Sequence[DatasetReader]) -> SpeakingPaces:
    frames = [
        frame.with_columns(duration_s=pl.col("duration_ms") * _speed(dataset.descriptor) / 1_000)
        for dataset in datasets
        if "speed" not in dataset.descriptor.job["columns"]
        for frame in _read_sample(dataset, "speech", ("text", "voice", "language", "duration_ms"))
    ]
    if not frames:
        return SpeakingPaces()
    speech = _count_characters(pl.concat(frames))
    return SpeakingPaces(
        dict(_pace_ratios(speech.with_columns(voice=pl.lit(None, pl.String)))) | dict(_pace_ratios(speech))
    )


def _speed(descriptor: Descriptor) -> float:
    speed = descriptor.job["parameters"].get("speed", 1)
    return float(speed) if isinstance(speed, int | float) and speed > 0 else 1.0


def _count_characters(speech: pl.DataFrame) -> pl.DataFrame:
    text = pl.col("text")
    han = han_characters(text).fill_null(0)
    counts = speech.with_columns(han.alias("han"), script_language(text, han).alias("script"))
    return counts.with_columns(
        pl.coalesce("language", "script").alias("language"),
        count_digits(text).alias("digits"),
        (text.str.len_chars() - pl.col("han") - text.str.count_matches(" ", literal=True)).alias("letters"),
    )


def _pace_ratios(speech: pl.DataFrame) -> Iterator[tuple[_LanguageAndVoice, float]]:
    """Yield each language and voice with enough audio, with its measured time divided by the published time."""
    groups = speech.group_by("language", "voice").agg(pl.col("letters", "han", "digits", "duration_s").sum())
    for language, voice, letters, han, digits, duration_s in groups.iter_rows():
        published_s = speaking_time_s(letters, han, language, digits)
        if duration_s >= MIN_AUDIO_S and published_s > 0:
            yield (language, voice), duration_s / published_s


def _read_sample(dataset: DatasetReader, table: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    names = dataset.files(table)
    for name in names[:: max(1, -(-len(names) // MAX_FILES))]:
        yield pl.DataFrame(dataset.read(name, columns))
