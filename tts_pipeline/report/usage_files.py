"""List the usage files of datasets or of a ledger one by one, so that a report can count each of them once.

A file is known by its journal, whatever its dataset is called and wherever its rows are by now, or by its settlement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from tts_pipeline.dataset.names import parse_journal_id
from tts_pipeline.dataset.reader import DatasetLike, DatasetReader
from tts_pipeline.dataset.usage_check import verify_usage
from tts_pipeline.errors import StorageError
from tts_pipeline.ledger.contents import LedgerContents
from tts_pipeline.ledger.layout import usage_file_name
from tts_pipeline.ledger.ledger import Ledger
from tts_pipeline.ledger.scan import scan_ledger
from tts_pipeline.ledger.usage_facts import rank_of
from tts_pipeline.report.dataset import scan_usage
from tts_pipeline.report.facts import MARKS
from tts_pipeline.storage.store import Store

FILE = "file"
"""The column that holds the id of each row's file."""


@dataclass(frozen=True, slots=True)
class UsageFiles:
    """Usage files by their ids.

    Args:
        sizes_bytes: The size of each file. Another size is another content: what a process guessed of a lost journal
            was replaced by the journal's own usage.
        scan: Returns the usage rows of some of the files, with ``dataset``, ``MARKS`` and ``FILE``. Blocking.
        open_parts: The number of open parts, or of a ledger's open runs, whose usage is not yet in the files.
    """

    sizes_bytes: Mapping[str, int]
    scan: Callable[[Collection[str]], pl.LazyFrame]
    open_parts: int


def distinct_files(datasets: Iterable[DatasetReader]) -> dict[str, list[str]]:
    """Return the usage files that count of each dataset, sorted, by its root: copies of a dataset have its bill, too.

    Of files of one name, the one counts that tells most of its journal, as in the ledger; of equal ones, the first.

    Raises:
        StorageError: A dataset or a usage file cannot be read.
    """
    readers = {dataset.store.root: dataset for dataset in datasets}
    places = defaultdict[str, list[tuple[str, str]]](list)
    for root, reader in readers.items():
        for name in reader.bill_files():
            places[usage_file_name(name)].append((root, name))
    files: dict[str, list[str]] = {root: [] for root in readers}
    for copies in places.values():
        root, name = copies[0]
        if len(copies) > 1:
            root, name = max(copies, key=lambda copy: rank_of(readers[copy[0]].store, copy[1]))
        files[root].append(name)
    return {root: sorted(names) for root, names in files.items()}


def files_of_datasets(datasets: Iterable[DatasetLike]) -> UsageFiles:
    """Return the usage files of datasets, each once; see ``distinct_files``.

    Raises:
        ConfigurationError: A path holds no dataset.
        StorageError: A dataset cannot be read, or a usage file is missing or damaged.
    """
    readers = {reader.store.root: reader for reader in map(DatasetReader.open, datasets)}
    sizes: dict[str, int] = {}
    places: dict[str, tuple[str, str]] = {}
    open_journals: set[str] = set()
    for reader in readers.values():
        claims = [claim for _, claim in reader.open_claims()]  # first: what is published meanwhile is open, too
        open_journals.update(claim.journal_id for claim in claims)
        verify_usage(reader.store)
    for root, names in distinct_files(readers.values()).items():
        for name, size_bytes in _sizes_of(readers[root].store, names).items():
            journal_id = parse_journal_id(name)
            places[journal_id], sizes[journal_id] = (root, name), size_bytes

    def scan(chosen: Collection[str]) -> pl.LazyFrame:
        names: dict[str, list[str]] = {root: [] for root in readers}
        for root, name in map(places.__getitem__, chosen):
            names[root].append(name)
        marks = {name: pl.lit(value=False) for name in MARKS}
        frames = (scan_usage(readers[root], files).with_columns(dataset=pl.lit(root)) for root, files in names.items())
        return pl.concat(frames).with_columns(pl.col("journal_id").alias(FILE), **marks)

    return UsageFiles(sizes, scan, len(open_journals))


def _sizes_of(store: Store, names: Sequence[str]) -> dict[str, int]:
    folders = {name.rpartition("/")[0] for name in names}
    sizes = {f"{folder}/{name}": size for folder in folders for name, size in store.sizes(folder).items()}
    for name in names:
        if name not in sizes:
            raise StorageError(
                f"{store.describe(name)} is gone",
                hint="a rebuild renames usage files: try again when it is done",
            )
    return {name: sizes[name] for name in names}


def files_of_ledger(ledger: Ledger, contents: LedgerContents) -> UsageFiles:
    """Return the usage files and settlements of all contents of a ledger, also of months that are frozen.

    Raises:
        StorageError: The ledger cannot be read, or is damaged.
    """
    frozen = sorted((file for month in contents.months for file in month.manifest.files), key=lambda file: file.rank)
    sizes = {parse_journal_id(file.name): file.size_bytes for file in frozen}
    sizes |= {parse_journal_id(file.name): file.size_bytes for file in contents.files}
    sizes |= dict.fromkeys(contents.settlements, 0)  # never replaced
    return UsageFiles(sizes, lambda chosen: _scan_ledger_files(contents, frozenset(chosen)), len(ledger.open_runs()))


def _scan_ledger_files(contents: LedgerContents, chosen: frozenset[str]) -> pl.LazyFrame:
    journals = replace(
        contents,
        files=tuple(file for file in contents.files if parse_journal_id(file.name) in chosen),
        months=tuple(
            month
            for month in contents.months
            if not chosen.isdisjoint(parse_journal_id(file.name) for file in month.manifest.files)
        ),
        settlements=(),
    )
    rows = scan_ledger(journals).filter(pl.col("journal_id").is_in(list(chosen)))
    frames = [rows.with_columns(pl.col("journal_id").alias(FILE))]
    for path in contents.settlements:
        if path in chosen:
            settlement = replace(contents, files=(), months=(), settlements=(path,))
            frames.append(scan_ledger(settlement).with_columns(pl.lit(path).alias(FILE)))
    return pl.concat(frames)
