"""Open a ledger: put usage, runs and settlements into it, compact its months, and read it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec
import pyarrow as pa

from tts_pipeline.account.identity import dataset_id
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.ledger.contents import LedgerContents, has_lost_files, read_contents
from tts_pipeline.ledger.dataset_sync import copy_files, copy_usage, missing_files
from tts_pipeline.ledger.datasets import recorded_name
from tts_pipeline.ledger.layout import LEDGER_FILE, settlement_path
from tts_pipeline.ledger.location import LedgerLocation
from tts_pipeline.ledger.manifest import FORMAT, newer_format
from tts_pipeline.ledger.records import Records
from tts_pipeline.ledger.runs import Run, RunEnd, RunStart, read_ended_runs, read_open_runs, write_end, write_start
from tts_pipeline.ledger.settlements import settlement_bytes
from tts_pipeline.storage.json_files import json_bytes, read_fields
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.store import Store, storage_errors

if TYPE_CHECKING:
    from tts_pipeline.ledger.compaction import CompactResult
    from tts_pipeline.ledger.status import LedgerStatus

Result = TypeVar("Result")
_QUERIES = 5
"""A compaction removes files only at its end, so that a second reading mostly succeeds."""


class Ledger:
    """A ledger in a store. Thread-safe; every method blocks, and raises StorageError when the store fails."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._records = Records.of(store)
        self._is_made = False

    @classmethod
    def open(cls, location: LedgerLocation) -> Self:
        """Open a ledger, which the first write makes.

        Raises:
            ConfigurationError: The driver of the URL is missing, or the place holds no ledger.
        """
        ledger = cls(open_store(location.place))
        ledger.is_made()
        return ledger

    def is_made(self) -> bool:
        """Return whether anything was written to the ledger.

        Raises:
            ConfigurationError: A later program made the ledger, or its place holds other files.
            StorageError: Its first file is damaged.
        """
        if not self._is_made:
            data = self.store.read(LEDGER_FILE)
            if data is None and not self.store.is_empty():
                data = self.store.read(LEDGER_FILE)  # its first writer may have come in between
                if data is None:
                    raise _no_ledger(self.store)
            if data is None:
                return False
            fields = read_fields(data, self.store.describe(LEDGER_FILE))
            if fields.count("format", minimum=1) > FORMAT:
                raise newer_format(fields.path)
            self._is_made = True
        return self._is_made

    def make(self) -> None:
        """Make the ledger, unless it is made."""
        if not self.is_made():
            self.store.create(LEDGER_FILE, json_bytes({"format": FORMAT, "ledger_id": secrets.token_hex(8)}))
            self._is_made = True

    def sync_dataset(self, dataset: DatasetReader | Store, destination: str, names: Sequence[str] | None = None) -> int:
        """Copy usage files of a dataset that the ledger lacks, or has with another size; return how many.

        Args:
            dataset: The dataset, or the store of one.
            destination: Its path or URL, by which the ledger knows it.
            names: The files to copy, such as ``usage/part-00007-...``, without a look at what the ledger has; None is
                all usage of all generations that it lacks.

        Raises:
            StorageError: The dataset or the ledger failed, or a file is damaged; all other files are copied.
        """
        self.make()
        reader = dataset if isinstance(dataset, DatasetReader) else DatasetReader(dataset)
        return copy_usage(self._records, reader, destination, names)

    def sync_files(self, store: Store, sizes: Mapping[str, int], destination: str) -> int:
        """Copy those of some usage files that the ledger lacks, or has with another size; return how many.

        Args:
            store: Where the files are.
            sizes: Their sizes in bytes, by their paths there.
            destination: The name of the dataset in the ledger.

        Raises:
            StorageError: As for ``sync_dataset``.
        """
        self.make()
        missing = missing_files(self._records, store, sizes, dataset_id(destination))
        return copy_files(self._records, store, destination, missing)

    def begin_run(self, start: RunStart) -> None:
        """Record the start of a run."""
        self.make()
        write_start(self.store, _recordable(start))

    def end_run(self, start: RunStart, end: RunEnd, *, replaces: bool = True) -> None:
        """Record the end of a run, and its start with it; ``replaces`` False keeps an end that is there."""
        self.make()
        write_end(self.store, _recordable(start), end, replaces=replaces)

    def open_runs(self, dataset_id: str | None = None) -> list[RunStart]:
        """Return the runs that have begun and have not ended, oldest first: they run, or were killed.

        ``dataset_id`` limits it to the runs of one dataset.
        """
        return read_open_runs(self.store, dataset_id)

    def ended_runs(self, since_us: int | None = None, until_us: int | None = None) -> list[Run]:
        """Return the runs that have ended and began within a period (us since 1970), oldest first."""
        return read_ended_runs(self.store, since_us, until_us)

    def append_settlement(self, name: str, rows: pa.Table) -> bool:
        """Add rows to the bill, for good; return False, and add nothing, if there are settlements of this name.

        Args:
            name: A name of letters, digits, ``.``, ``_`` and ``-``, such as that of an invoice.
            rows: The columns of ``schemas/usage.json``, and optionally ``dataset_id``; see ``docs/ledger.md``.

        Raises:
            ValueError: The name is invalid, or a column is missing or has nulls.
        """
        path = settlement_path(name)
        data = settlement_bytes(rows)
        self.make()
        return self.store.create(path, data)

    def contents(self, since_us: int | None = None, until_us: int | None = None) -> LedgerContents:
        """Choose what to read for a period (us since 1970; ``until_us`` is not in it); None is without a limit.

        Raises:
            ConfigurationError: A later program has written to the ledger.
            StorageError: The ledger is damaged.
        """
        self.is_made()
        return read_contents(self._records, since_us, until_us)

    def query(
        self, read: Callable[[LedgerContents], Result], since_us: int | None = None, until_us: int | None = None
    ) -> Result:
        """Return what a function reads of a period's contents, such as frames of ``scan_ledger`` that it collects.

        The function is called again if a compaction has removed files that were chosen before.

        Raises:
            ConfigurationError: A later program has written to the ledger.
            StorageError: The ledger cannot be read, or is damaged: the message names the file.
        """
        from tts_pipeline.ledger.scan import check_contents  # with Polars: a run does without

        for _ in range(_QUERIES):
            contents = self.contents(since_us, until_us)
            try:
                return read(contents)
            except ConfigurationError:
                raise
            except Exception as error:  # Polars raises many kinds of errors
                if not has_lost_files(contents):
                    check_contents(contents)
                    with storage_errors(f"reading the ledger {self.store.root}", Exception):
                        raise error from None
        raise StorageError(
            f"files of the ledger {self.store.root} vanish while it is read", hint="run the same command again"
        )

    def status(self) -> LedgerStatus:
        """Return what is in the ledger, what is open, and what a later sync would add.

        Raises:
            ConfigurationError: A later program has written to the ledger.
            StorageError: The ledger is damaged.
        """
        from tts_pipeline.ledger.status import read_status  # with Polars

        return self.query(partial(read_status, self._records))

    def compact(self, month: str, timezone: str, now_us: int | None = None) -> CompactResult:
        """Freeze a month: write its rows to a few sorted tables in place of its many files.

        Whoever repeats it finishes what a killed process began. ``now_us`` None is the time of the clock.

        Raises:
            ConfigurationError: The month has not ended, overlaps a frozen one, or the time zone is not known.
            StorageError: The ledger cannot be read or written; it is as it was.
        """
        from tts_pipeline.ledger.compaction import Month, compact_month  # with Polars

        self.make()
        now_us = time.time_ns() // 1_000 if now_us is None else now_us
        return compact_month(self._records, Month.of(month, timezone), now_us)


def _recordable(start: RunStart) -> RunStart:
    return msgspec.structs.replace(start, destination=recorded_name(start.destination))


def _no_ledger(store: Store) -> ConfigurationError:
    if store.exists(DESCRIPTOR_FILE):
        return ConfigurationError(
            f"{store.root} is a dataset, not a ledger", hint="name a folder of its own for the ledger"
        )
    return ConfigurationError(
        f"{store.root} is not a ledger: it has other files and no {LEDGER_FILE}",
        hint="name an empty folder, or the folder of a ledger",
    )
