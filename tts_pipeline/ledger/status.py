"""Say what is in a ledger, month by month, and what it still lacks of datasets that exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import polars as pl

from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import TtsPipelineError
from tts_pipeline.ledger.contents import LedgerContents
from tts_pipeline.ledger.dataset_sync import missing_usage
from tts_pipeline.ledger.datasets import KnownDataset
from tts_pipeline.ledger.records import Records
from tts_pipeline.ledger.runs import RunStart, read_open_runs
from tts_pipeline.ledger.scan import scan_raw
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.location import is_local

_PROTOCOLS = ("s3", "gs", "gcs", "abfs", "az", "oss", "memory")
"""URLs of datasets that are looked at: a record of a dataset may be forged, and must not lead anywhere else."""


@dataclass(frozen=True, slots=True)
class MonthStatus:
    """What a ledger has of a month.

    Args:
        month: Such as ``2026-11``.
        timezone: Of a frozen month; raw rows are counted by months of UTC.
        is_frozen: Whether the month is compacted.
        rows: Rows that count, without corrections.
        files: The tables of a frozen month, or the journals with raw rows.
        corrections: Rows that came after the month was frozen.
    """

    month: str
    timezone: str
    is_frozen: bool
    rows: int
    files: int
    corrections: int = 0


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """What a ledger lacks of a dataset.

    Args:
        dataset_id: The dataset's id.
        dataset: Where it is, and since when the ledger knows it.
        missing_files: Usage files that a sync would copy; None if the dataset cannot be read here, or is gone.
        open_claims: Journals that are not published yet: their processes run, or were killed.
    """

    dataset_id: str
    dataset: KnownDataset
    missing_files: int | None
    open_claims: int = 0


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """What is in a ledger, what is open, and what is missing."""

    months: Sequence[MonthStatus]
    datasets: Sequence[DatasetStatus]
    open_runs: Sequence[RunStart]
    settlements: int


def read_status(records: Records, contents: LedgerContents) -> LedgerStatus:
    """Return the status of a ledger with these contents; see ``Ledger.status``. Blocking."""
    datasets = records.datasets.read_all()
    with DaemonExecutor(FILE_READERS, "ledger status") as readers:
        statuses = readers.map(lambda item: _dataset_status(records, *item), datasets.items())
        return LedgerStatus(
            months=_months(contents),
            datasets=sorted(statuses, key=lambda status: status.dataset.destination),
            open_runs=read_open_runs(records.store),
            settlements=len(contents.settlements),
        )


def _months(contents: LedgerContents) -> list[MonthStatus]:
    """Return the months with rows, in order."""
    interval = pl.lit(None, pl.Int64)
    started_us = pl.col("started_at").dt.timestamp("us")
    for number, month in enumerate(contents.months):
        is_in = (started_us >= month.manifest.start_us) & (started_us < month.manifest.end_us)
        interval = pl.when(is_in).then(number).otherwise(interval)
    keys = [interval.alias("frozen"), pl.col("started_at").dt.strftime("%Y-%m").alias("month")]
    raw = scan_raw(contents).group_by(keys).agg(pl.len(), pl.col("journal_id").n_unique()).collect()
    is_correction = pl.col("frozen").is_not_null()
    corrections = raw.filter(is_correction).group_by("frozen").agg(pl.col("len").sum()).rows()
    corrected = dict(corrections)
    frozen = [
        MonthStatus(
            month.manifest.month,
            month.manifest.timezone,
            is_frozen=True,
            rows=month.manifest.rows,
            files=len(month.manifest.tables),
            corrections=corrected.get(number, 0),
        )
        for number, month in enumerate(contents.months)
    ]
    unfrozen = (
        MonthStatus(month, "UTC", is_frozen=False, rows=rows, files=files)
        for _, month, rows, files in raw.filter(~is_correction).iter_rows()
    )
    return sorted(chain(frozen, unfrozen), key=lambda status: (status.month, status.is_frozen))


def _dataset_status(records: Records, dataset_id: str, dataset: KnownDataset) -> DatasetStatus:
    protocol, separator, _ = dataset.destination.partition("://")
    if not is_local(dataset.destination) and not (separator and protocol in _PROTOCOLS):
        return DatasetStatus(dataset_id, dataset, None)
    try:
        reader = DatasetReader.open(dataset.destination)
        claims = len(reader.open_claims())
        return DatasetStatus(dataset_id, dataset, len(missing_usage(records, reader, dataset_id)), claims)
    except TtsPipelineError:
        return DatasetStatus(dataset_id, dataset, None)
