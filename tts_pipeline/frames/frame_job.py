"""Run one call of ``synthesize`` as a job in a folder on this machine, and return the result of each row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog import AnyCatalog
from tts_pipeline.config import AudioSettings, InputColumns
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.frames.call_store import CallDirectory, CallStore
from tts_pipeline.frames.rows import ID, TEXT, empty_outcomes, outcomes_of
from tts_pipeline.job import CancelToken, Job, Progress, RunOptions
from tts_pipeline.job.api import run_unfinalized
from tts_pipeline.job.job import list_locations
from tts_pipeline.models import Parameters
from tts_pipeline.schema import TABLES, arrow_fields
from tts_pipeline.storage.local_store import LocalStore


@dataclass(frozen=True, slots=True)
class FrameJob:
    """The settings of a call: the service, the model, its parameters, and how the job runs.

    Each column parameter is read from the column of its name. Without a ``cache`` the call cannot be continued.
    Unchecked parameters are sent without a check against the model's card.
    """

    service: Endpoint
    model: str
    fixed_parameters: Parameters
    column_parameters: Sequence[str]
    audio: AudioSettings
    catalog: AnyCatalog | None
    options: RunOptions
    cache: Path | None
    unchecked: tuple[str, ...] = ()

    def run(self, rows: pl.DataFrame, store: CallStore, progress: Progress, stop: CancelToken) -> pl.DataFrame:
        """Speak all rows of ``rows.utterance_rows``, and return the outcome of each by its id. Blocking.

        Raises:
            ConfigurationError: A setting or a parameter is wrong; nothing was sent.
            FatalError: No row can succeed; the bought audio is kept.
            StoppedError: The call stopped before its end; the bought audio is kept.
            StorageError: The disk failed; the bought audio is kept.
        """
        if rows.is_empty():
            return empty_outcomes()
        identity = None if self.cache is None else self._identity()
        with store.open_call(rows, identity) as directory:
            report = run_unfinalized(self._job(directory), progress, stop)
            if report.stopped is not None:
                raise report.stopped
            outcomes = outcomes_of(*(_read_table(directory.dataset, name) for name in ("speech", "rejects")))
            store.close_call(directory)
        return outcomes

    def _job(self, directory: CallDirectory) -> Job:
        columns = InputColumns(TEXT, ID, parameters={name: name for name in self.column_parameters})
        locations = [*list_locations(self.options.reuse), *([] if self.cache is None else [self.cache])]
        return Job(
            source=directory.source,
            destination=directory.dataset,
            service=self.service,
            model=self.model,
            parameters=self.fixed_parameters,
            columns=columns,
            audio=self.audio,
            catalog=self.catalog,
            unchecked=self.unchecked,
            options=replace(self.options, reuse=locations, work_dir=None),
        )

    def _identity(self) -> str:
        """Return all that determines the result besides the rows; with a changed price it is another call, no error."""
        job = self._job(CallDirectory(Path()))
        terms = {"url": self.service.base_url, "prices": repr(job.card().prices)}
        return json.dumps({**job.identity(self.fixed_parameters), **terms}, sort_keys=True)


def _read_table(folder: Path, table: str) -> pa.Table:
    schema, dataset = pa.schema(arrow_fields(TABLES[table])), DatasetReader(LocalStore(folder))
    pieces = [dataset.read(name, schema.names).cast(schema) for name in dataset.files(table)]
    return pa.concat_tables([schema.empty_table(), *pieces])
