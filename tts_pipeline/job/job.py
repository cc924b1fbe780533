"""The job as a value: its source, destination, service and options, and its shards."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tts_pipeline.card import Card, Endpoint
from tts_pipeline.catalog import AnyCatalog, Catalog, load_catalog
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

Location = str | os.PathLike[str]


def list_locations(reuse: Location | Sequence[Location]) -> list[Location]:
    """Return the datasets and reuse stores of ``RunOptions.reuse``, which is one of them or several."""
    return [reuse] if isinstance(reuse, str | os.PathLike) else list(reuse)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a job is run; no option is part of the dataset's identity.

    Args:
        limits: Concurrency, rates and patience towards the service.
        part_rows: Rows in a part of a new dataset; None is 500, or more for a large source.
        work_dir: A folder on a local disk for journals; None is inside a local destination, else in the user's state.
        max_open_parts: Parts that are open at one time; bounds the memory. None is 8, or more if those hold fewer than
            32 rows for each request in flight: so answers that are 30 times slower than the others delay nothing.
        max_rejects: More rejects than this stop a run; a value below 1 is a share of the run's rows; None is no limit.
        quality: The action for each quality flag of audio.
        budget: The most that may be spent, over all invocations of the job.
        reuse: One or several datasets or reuse stores (folders or fsspec URLs), in order of preference. Their audio is
            reused in place of a purchase; reuse stores also keep the audio that is bought.
        append: Whether new files of the source are accepted anywhere among the old files; their rows follow the old
            rows. New files behind the old files are always accepted.
        rebuild: Whether a dataset of another source or job is replaced; it stays in place until the new dataset is
            published.
        retry_rejects: Whether rejected rows are tried again, also those of finished parts.
        missing_is_empty: Whether a missing source counts as empty: its dataset is empty, and grows when the source
            comes.
        ship_journals: Whether the journals of unpublished parts, with text and audio, are sent to the destination, so
            that another machine can continue if this machine is lost with its disk; None is True for an object store.
        ship_every_s: None sends all answers before anything more is bought, so that a lost disk costs only the answers
            in flight. A number sends them every so many seconds while buying goes on: a lost disk then costs the
            answers since the last shipment.
        lease_s: Seconds, at most 3,600, for which a run keeps its parts at an object store after its last sign of life.
            To take over the parts of a dead machine, another machine waits one and a half times as long. A run loses
            its leases if the store does not respond for this long.
        unspeakable: What happens to a text with nothing to say (``...``, an emoji): ``reject`` refuses it before any
            purchase, ``keep`` sends it.
        account_store: Where the processes that spend on one account share its rates, pauses and budgets: a PostgreSQL
            URL, a file for the processes of this machine only, or ``none``; None is ``TTS_ACCOUNT_STORE``, else a file
            of this machine and user.
        ledger: Where the usage of all runs is kept, also when a dataset is deleted: a folder, an fsspec URL or
            ``none``; an ``FsspecPath`` carries credentials. None is ``TTS_LEDGER``, else a folder of this user.
        tags: Tags for the bill, the same for all rows.
        tag_columns: Tag -> source column with its value for each row.
    """

    limits: Limits = Limits()
    part_rows: int | None = None
    work_dir: Path | None = None
    max_open_parts: int | None = None
    max_rejects: float | None = None
    quality: QualityPolicy = field(default_factory=QualityPolicy)
    budget: BudgetCap = field(default_factory=BudgetCap)
    reuse: Location | Sequence[Location] = field(default=(), repr=False)
    append: bool = False
    rebuild: bool = False
    retry_rejects: bool = False
    missing_is_empty: bool = False
    ship_journals: bool | None = None
    ship_every_s: float | None = None
    lease_s: float = LEASE_S
    unspeakable: UnspeakableAction = UNSPEAKABLE
    account_store: str | None = field(default=None, repr=False)
    ledger: Location | None = field(default=None, repr=False)
    tags: Mapping[str, str] = field(default_factory=dict)
    tag_columns: Mapping[str, str] = field(default_factory=dict)


@renamed_attributes(running="options")
@renamed_arguments(running="options")
@dataclass(frozen=True, slots=True)
class Job:
    """A source, a destination, a service, a model and their settings.

    Args:
        source: A Parquet file, a folder of Parquet files, or a glob or an fsspec URL of these.
        destination: A folder or an fsspec URL; becomes the dataset.
        service: The service, with its key.
        model: The model's name, as it is sent.
        parameters: Voice parameters with the same value for all rows.
        columns: The source columns of an utterance.
        selection: The rows to take.
        audio: The format and sample rate of the dataset's audio.
        unchecked: Names of parameters whose names and values need not be on the model's card.
        catalog: Services, cards and prices, or a TOML file with a user's own, which is read immediately; None is the
            built-in catalog.
        options: How the job is run.
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
    catalog: AnyCatalog | None = None
    options: RunOptions = RunOptions()

    def __post_init__(self) -> None:
        if not isinstance(self.catalog, Catalog | None):
            object.__setattr__(self, "catalog", load_catalog(self.catalog))

    def card(self) -> Card:
        """Return the card of the job's model on its service.

        Raises:
            ConfigurationError: The service has no such model.
        """
        return load_catalog(self.catalog).card(self.service, self.model)

    def identity(self, parameters: Parameters) -> dict[str, Any]:
        """Return the settings that determine the dataset, by name; the descriptor holds them.

        ``parameters`` are those with the same value for all rows, as they are sent.
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
            # Only if the service has any: older datasets lack these keys.
            **{name: dict(sorted(values.items())) for name, values in extras.items() if values},
        }


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive parts for one worker.

    Args:
        index: The shard's index, from 0.
        first_part: The number of its first part.
        parts: The number of its parts.
        shards: The number of the job's shards, which share the account's rates.
        all_parts: The number of parts of all shards together.
    """

    index: int
    first_part: int
    parts: int
    shards: int = 1
    all_parts: int = 0

    def numbers(self) -> range:
        """Return the numbers of the shard's parts."""
        return range(self.first_part, self.first_part + self.parts)


def divide_into_shards(parts: int, max_shards: int) -> list[Shard]:
    """Divide parts into at most ``max_shards`` shards of even size; return at least one shard, even without parts."""
    if max_shards < 1:
        raise ConfigurationError(f"max_shards is {max_shards}", hint="give at least 1")
    count = max(1, min(parts, max_shards))
    ends = [parts * (index + 1) // count for index in range(count)]
    starts = [0, *ends[:-1]]
    return [
        Shard(index, start, end - start, count, parts)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
