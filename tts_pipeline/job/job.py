"""A job as a value: source, destination, service, and options."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tts_pipeline.card import Card, Endpoint
from tts_pipeline.catalog import Catalog, load_catalog
from tts_pipeline.config import (
    LEASE_S,
    UNSPEAKABLE,
    AudioSettings,
    BudgetCap,
    InputColumns,
    Limits,
    QualityPolicy,
    Selection,
    UnspeakableAction,
)
from tts_pipeline.deprecation import renamed_arguments, renamed_attributes
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import Parameters


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a job is run; none of it determines the dataset.

    Args:
        limits: How hard the service is used.
        part_rows: Rows in a part of a new dataset; None is 500, or more for a large source.
        work_dir: A folder on a local disk for journals; None is inside a local destination, else in the user's state.
        max_open_parts: Parts that are worked on at one time; bounds the memory. None is 8, or more where that is less
            than 32 rows for each request in flight: then answers 30 times slower than the others hold nothing back.
        max_rejects: More rejects than this stop a run; below 1 it is a share of the rows it is for; None is any number.
        quality: What is done about audio that a quality flag was raised for.
        budget: The most that may be spent, over all invocations of the job.
        reuse: A dataset or a reuse store (a folder or an fsspec URL), or several, whose audio is taken in place of
            buying it again, in this order; what is bought is kept in those that are reuse stores.
        append: Whether new files of the source are taken in wherever they stand among the old ones; their rows come
            behind the old ones. Files that stand behind the old ones are taken in as it is.
        rebuild: Whether a dataset of another source or job is made anew in its place, in which it stays until the new
            one is published.
        retry_rejects: Whether rejected rows are tried anew, also those of parts that are done.
        missing_is_empty: Whether a source that is not there counts as one without rows: its dataset is empty, and
            grows when the source comes.
        ship_journals: Whether what is bought in parts that are not published yet is sent to the destination, with its
            text and audio, so that another machine can go on with it when this one is lost with its disk; None is where
            the destination is an object store.
        ship_every_s: None sends what was answered before anything more is bought, so that a lost disk costs no more
            than what was in flight. A number of seconds sends it that often, and buying does not wait for it: what was
            bought since the last time is what a lost disk costs.
        lease_s: How long the parts that a run works on stay its own after its last sign of life, where other machines
            may meet it: at an object store. Whoever goes on there with the work of a machine that died waits one and a
            half times as long, at most 3,600 s; too short a time is lost when the store does not answer for so long.
        unspeakable: What is done about a text without anything to say (``...``, an emoji): ``reject`` refuses it before
            money, ``keep`` sends it.
        tags: For the bill, the same for all rows.
        tag_columns: Tag -> source column that carries it row by row.
    """

    limits: Limits = Limits()
    part_rows: int | None = None
    work_dir: Path | None = None
    max_open_parts: int | None = None
    max_rejects: float | None = None
    quality: QualityPolicy = field(default_factory=QualityPolicy)
    budget: BudgetCap = field(default_factory=BudgetCap)
    reuse: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = field(default=(), repr=False)
    append: bool = False
    rebuild: bool = False
    retry_rejects: bool = False
    missing_is_empty: bool = False
    ship_journals: bool | None = None
    ship_every_s: float | None = None
    lease_s: float = LEASE_S
    unspeakable: UnspeakableAction = UNSPEAKABLE
    tags: Mapping[str, str] = field(default_factory=dict)
    tag_columns: Mapping[str, str] = field(default_factory=dict)


@renamed_attributes(running="options")
@renamed_arguments(running="options")
@dataclass(frozen=True, slots=True)
class Job:
    """Source + destination + service + parameters.

    Args:
        source: A Parquet file, a folder of them, a glob or an fsspec URL of these.
        destination: A folder or an fsspec URL; becomes the dataset.
        service: With its key.
        model: As sent.
        parameters: Voice parameters that are the same for all rows.
        columns: Where in the source an utterance is found.
        selection: Which rows are taken.
        audio: What the dataset's audio is.
        unchecked: Parameters whose values are not held against the card's lists.
        catalog: Services and cards; None is the built-in ones.
        options: How it is run.
    """

    source: str | os.PathLike[str] = field(repr=False)  # a URL may have a password
    destination: str | os.PathLike[str] = field(repr=False)
    service: Endpoint
    model: str
    parameters: Parameters = field(default_factory=dict)
    columns: InputColumns = InputColumns()
    selection: Selection = Selection()
    audio: AudioSettings = AudioSettings()
    unchecked: tuple[str, ...] = ()
    catalog: Catalog | None = None
    options: RunOptions = RunOptions()

    def card(self) -> Card:
        """Return the card of the job's model on its service.

        Raises:
            ConfigurationError: The service has no such model.
        """
        return (self.catalog or load_catalog()).card(self.service, self.model)

    def identity(self, parameters: Parameters) -> dict[str, Any]:
        """Return what determines the dataset, by name: the descriptor holds it, and a difference is told by name.

        The parameters are those that are the same for all rows, as they are sent.
        """
        columns, extras = self.columns, {"query": self.service.query, "headers": self.service.headers}
        return {
            "service": self.service.name,
            "model": self.model,
            "parameters": dict(sorted(parameters.items())),
            "columns": dict(sorted(columns.parameters.items())),
            "text_column": columns.text,
            "id_column": None if columns.generate_ids else columns.utterance_id,
            "rename": dict(sorted(columns.rename.items())),
            "limit": self.selection.limit,
            "sample": self.selection.sample,
            "seed": None if self.selection.sample is None else self.selection.seed,
            "audio_format": self.audio.format,
            "sample_rate_hz": self.audio.sample_rate_hz,
            "pause_ms": self.audio.pause_ms,
            **({"drop": sorted(columns.drop)} if columns.drop else {}),
            # Named only where the service has some: older datasets do not name them.
            **{name: dict(sorted(values.items())) for name, values in extras.items() if values},
        }


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of parts given to one worker.

    Args:
        index: From 0.
        first_part: Its first part.
        parts: How many.
        shards: How many shards the job was divided into: its cap and its rates are divided as well.
        all_parts: Parts of all these shards together.
    """

    index: int
    first_part: int
    parts: int
    shards: int = 1
    all_parts: int = 0

    def numbers(self) -> range:
        """Return the parts' numbers."""
        return range(self.first_part, self.first_part + self.parts)


def divide_into_shards(parts: int, max_shards: int) -> list[Shard]:
    """Divide parts into at most ``max_shards`` even runs; at least one shard, also of nothing."""
    if max_shards < 1:
        raise ConfigurationError(f"max_shards is {max_shards}", hint="give at least 1")
    count = max(1, min(parts, max_shards))
    ends = [parts * (index + 1) // count for index in range(count)]
    starts = [0, *ends[:-1]]
    return [
        Shard(index, start, end - start, count, parts)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
