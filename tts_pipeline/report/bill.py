"""Read what a report adds up, from datasets or from the ledger: usage, open parts and runs, and savings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from tts_pipeline.catalog.keys import environment
from tts_pipeline.dataset.claims import Claim
from tts_pipeline.dataset.names import parse_journal_id
from tts_pipeline.dataset.reader import DatasetLike, DatasetReader
from tts_pipeline.dataset.usage_check import verify_usage
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.ledger import VARIABLE, Ledger, RunStart, find_ledger
from tts_pipeline.ledger.contents import LedgerContents
from tts_pipeline.ledger.scan import scan_ledger, scan_sums
from tts_pipeline.report.dataset import scan_usage, usage_frame
from tts_pipeline.report.facts import KEYS, MARKS
from tts_pipeline.report.period import ReportPeriod
from tts_pipeline.report.savings import dataset_savings, distinct_savings, run_savings
from tts_pipeline.report.usage_files import distinct_files
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.location import FsspecPath
from tts_pipeline.storage.store import Store, storage_errors

Result = TypeVar("Result")
_NO_MARKS = {name: pl.lit(value=False) for name in MARKS if name != "is_open"}
"""A dataset has no corrections and no settlements."""

LedgerLike = str | os.PathLike[str]
"""A folder or a URL of a ledger."""


@dataclass(frozen=True, slots=True)
class OpenPart:
    """A part that was open when a report was made: its process runs, or was killed and its job not run again.

    The claim names the most that may have been spent on the part, the process, and the place of its journal.
    """

    dataset: str
    part: int
    claim: Claim


def open_parts(datasets: Sequence[DatasetLike]) -> list[OpenPart]:
    """Return the open parts of datasets, whose spending is in no usage table yet. Blocking.

    Raises:
        ConfigurationError: As for ``usage``.
        StorageError: As for ``usage``, or a claim is damaged.
    """
    parts = (
        OpenPart(dataset.store.root, number, claim)
        for dataset in _open_datasets(datasets)
        for number, claim in dataset.open_claims()
    )
    journals = dict[str, OpenPart]()
    for part in parts:
        journals.setdefault(part.claim.journal_id, part)  # a copy of a dataset has its claims, too
    return list(journals.values())


@dataclass(frozen=True, slots=True)
class Bill:
    """What a report adds up.

    Args:
        rows: Usage rows of the period, with ``dataset`` and the marks of ``facts.MARKS``.
        savings: What reuse saved in the period, see ``savings``.
        sums: Returns the rows added up by quarter hour, if the period allows it; None where there are no sums.
        open_parts: The open parts that began before the period's end; ``rows`` has a row for each that began in it.
        open_runs: The runs that began before the period's end and have not ended, of a ledger.
    """

    rows: pl.LazyFrame
    savings: pl.LazyFrame
    sums: Callable[[], pl.LazyFrame | None] | None = None
    open_parts: Sequence[OpenPart] = ()
    open_runs: Sequence[RunStart] = ()


def query_bill(
    datasets: Sequence[DatasetLike] | None,
    ledger: LedgerLike | None,
    period: ReportPeriod,
    read: Callable[[Bill], Result],
) -> Result:
    """Return what a function reads of the bill of datasets, or without datasets of the ledger, for a period. Blocking.

    The function collects its frames itself. It is called again if a month of the ledger is frozen meanwhile.

    Raises:
        ConfigurationError: As for ``usage``.
        StorageError: As for ``usage``.
    """
    opened = _choose_ledger(datasets, ledger)
    return read(bill_of_datasets(datasets or (), period)) if opened is None else query_ledger(opened, period, read)


def scan_rows(datasets: Sequence[DatasetLike] | None, ledger: LedgerLike | None, period: ReportPeriod) -> pl.LazyFrame:
    """Return the usage rows of datasets, or without datasets those of the ledger, for a period. Blocking.

    Raises:
        ConfigurationError: As for ``usage``.
        StorageError: As for ``usage``.
    """
    opened = _choose_ledger(datasets, ledger)
    if opened is not None:
        return scan_ledger(opened.contents(period.since_us, period.until_us))
    return period.select(_scan_datasets(_open_datasets(datasets or ())))


def query_ledger(ledger: Ledger, period: ReportPeriod, read: Callable[[Bill], Result]) -> Result:
    """Return what a function reads of the bill of a ledger, as ``query_bill`` does. Blocking.

    Raises:
        ConfigurationError: A later program has written to the ledger.
        StorageError: The ledger is damaged, or cannot be read.
    """
    open_runs = ledger.open_runs()  # first: a run that ends in between is both open and in the sums, never neither
    savings = run_savings(ledger.ended_runs(period.since_us, period.until_us))
    before_end = [run for run in open_runs if period.until_us is None or run.started_at_us < period.until_us]

    def read_contents(contents: LedgerContents) -> Result:
        rows = scan_ledger(contents)
        return read(Bill(rows, savings, lambda: scan_sums(contents, KEYS), open_runs=before_end))

    return ledger.query(read_contents, period.since_us, period.until_us)


def bill_of_datasets(datasets: Sequence[DatasetLike], period: ReportPeriod) -> Bill:
    """Return the bill of datasets for a period. Blocking.

    Raises:
        ConfigurationError: As for ``usage``.
        StorageError: As for ``usage``.
    """
    parts = open_parts(datasets)  # first: usage that is published in between counts twice, never not at all
    readers = _open_datasets(datasets)
    for dataset in readers:
        verify_usage(dataset.store)
    files = distinct_files(readers)
    published = {journal_id: root for root, names in files.items() for journal_id in map(parse_journal_id, names)}
    # The claim in a copy that was made while the part was open is settled where its usage is.
    parts = [part for part in parts if published.get(part.claim.journal_id, part.dataset) == part.dataset]
    frames = []
    for dataset in readers:
        root = dataset.store.root
        claims = [part.claim for part in parts if part.dataset == root]
        rows = usage_frame(dataset, claims, files[root])
        frames.append(rows.with_columns(dataset=pl.lit(root), **_NO_MARKS))
    savings = distinct_savings([dataset_savings(dataset) for dataset in readers])
    before_end = [part for part in parts if period.until_us is None or part.claim.opened_at_us < period.until_us]
    return Bill(period.select(pl.concat(frames)), period.select(savings), open_parts=before_end)


def collect_usage(frames: Sequence[pl.LazyFrame]) -> list[pl.DataFrame]:
    """Collect frames over usage tables in one pass, in flat memory.

    Raises:
        StorageError: As for ``usage``.
    """
    with storage_errors("reading usage tables", Exception):  # Polars raises many kinds of errors
        return pl.collect_all(frames, engine="streaming")


def _choose_ledger(datasets: Sequence[DatasetLike] | None, ledger: LedgerLike | None) -> Ledger | None:
    """Return the ledger to read: the named one, the environment's, or the default one; None to read datasets."""
    if datasets is not None:
        if ledger is not None:
            raise ConfigurationError("a report is of datasets or of a ledger", hint="give one of the two")
        return None
    setting = os.fspath(ledger) if isinstance(ledger, os.PathLike) and not isinstance(ledger, FsspecPath) else ledger
    location = find_ledger(setting or environment().get(VARIABLE))
    if location is None:
        raise ConfigurationError("there is no ledger: it is set to none", hint=f"name datasets, or unset {VARIABLE}")
    opened = Ledger.open(location)
    if not opened.is_made():
        hint = "name datasets; the next run makes the ledger, or tts-pipeline ledger add DATASET"
        raise ConfigurationError(f"there is no ledger yet at {location}", hint=hint)
    return opened


def _scan_datasets(datasets: Sequence[DatasetReader]) -> pl.LazyFrame:
    files, roots = distinct_files(datasets), {dataset.store.root: dataset for dataset in datasets}
    return pl.concat(
        scan_usage(roots[root], names).with_columns(dataset=pl.lit(root), is_open=False, **_NO_MARKS)
        for root, names in files.items()
    )


def _open_datasets(datasets: Sequence[DatasetLike]) -> list[DatasetReader]:
    """Open each dataset once."""
    readers: dict[str, DatasetReader] = {}
    for dataset in map(DatasetReader.open, datasets):
        readers.setdefault(_canonical_path(dataset.store), dataset)
    if not readers:
        raise ConfigurationError("no dataset is given", hint="name one or more: folders or URLs")
    return list(readers.values())


def _canonical_path(store: Store) -> str:
    """Return the same path for all names of one dataset."""
    return os.path.realpath(store.folder) if isinstance(store, LocalStore) else store.root
