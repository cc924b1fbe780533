"""Hold a dataset at one moment: its files, and the tables that were read from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from threading import Lock
from typing import Any

from tts_pipeline.browse.bill import audio_figures
from tts_pipeline.browse.bill_groups import GroupMemory
from tts_pipeline.browse.dataset_bill import dataset_bill
from tts_pipeline.browse.months import ALL, Selection
from tts_pipeline.browse.row_query import RowQuery
from tts_pipeline.browse.row_table import RowTable, read_rows
from tts_pipeline.dataset.descriptor import MANIFEST_FILE
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.report.bill import open_parts
from tts_pipeline.report.keys import UTC_NAME
from tts_pipeline.report.usage_files import UsageFiles, files_of_datasets
from tts_pipeline.storage.store import Store

WHOLE_TIME = Selection(ALL, UTC_NAME)

_FIRST_FILES = 1
"""Files that are read for the first page, while all files are being read."""


class Snapshot:
    """The state of a dataset at one moment. Safe for many threads; each table is read once, at its first use.

    ``memory`` holds the groups of usage files that earlier snapshots have read.
    """

    def __init__(self, store: Store, memory: GroupMemory | None = None) -> None:
        self.dataset = DatasetReader.open(store)
        self._open_parts = open_parts([store])
        self.files = _list_files(self.dataset)
        self._rows_lock = Lock()
        self._bill_lock = Lock()
        self._bills: dict[Selection, dict[str, Any]] = {}
        self._memory = memory or GroupMemory()

    def is_current(self) -> bool:
        """Return whether nothing was published since the snapshot. Blocking."""
        dataset = DatasetReader.open(self.dataset.store)
        now = (_list_files(dataset), dataset.descriptor, open_parts([dataset.store]))
        return now == (self.files, self.dataset.descriptor, self._open_parts)

    def rows(self) -> RowTable:
        """Return all rows. Blocking."""
        with self._rows_lock:
            return self._rows

    def page(self, query: RowQuery) -> tuple[int | None, list[dict[str, Any]]]:
        """Return the number of selected rows (None if it is not known yet), and a page of them. Blocking.

        The first page of a large dataset does not wait until all rows are read.
        """
        if query.is_unfiltered and query.offset == 0 and "_rows" not in self.__dict__:
            rows = self._first_rows()
            if rows.frame.height >= query.limit:
                return None, rows.page(query)[1]
        return self.rows().page(query)

    def summary(self) -> dict[str, Any]:
        """Return the figures of the dataset as a whole, and the values to filter by. Blocking."""
        frame, job = self.rows().frame, self.dataset.descriptor.job
        return {
            "root": self.dataset.store.root,
            "service": job["service"],
            "model": job["model"],
            "rows": self.dataset.descriptor.rows,
            "speech": frame["error_code"].null_count(),
            "rejects": frame["error_code"].count(),
            "duration_ms": frame["duration_ms"].sum(),
            "finished": MANIFEST_FILE in self.files[""],
            "values": self.rows().values(),
        }

    def bill(self, selection: Selection = WHOLE_TIME) -> dict[str, Any]:
        """Return the figures of ``dataset_bill``; for the whole time, those of ``audio_figures``, too. Blocking."""
        audio = audio_figures(self.rows().frame) if selection.month == ALL else {}
        with self._bill_lock:
            if selection not in self._bills:
                now = datetime.now(UTC)
                bill = dataset_bill(self._usage, self._open_parts, selection, now, self._memory)
                self._bills[selection] = {**bill, **audio}
            return self._bills[selection]

    @cached_property
    def _usage(self) -> UsageFiles:
        """The usage files, once they were checked."""
        return files_of_datasets([self.dataset.store])

    @cached_property
    def _rows(self) -> RowTable:
        return read_rows(self.dataset, self.files)

    def _first_rows(self) -> RowTable:
        first: Mapping[str, Sequence[str]] = {"speech": self.files["speech"][:_FIRST_FILES], "rejects": ()}
        return read_rows(self.dataset, first)


def _list_files(dataset: DatasetReader) -> dict[str, list[str]]:
    """Return the files by table, and under "" the files in the dataset's folder itself."""
    tables = {table: dataset.files(table) for table in ("speech", "rejects")}
    return {"": dataset.store.names(""), "usage": dataset.bill_files(), **tables}
