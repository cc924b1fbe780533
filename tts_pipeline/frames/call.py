"""One call: a job of the rows in a folder of the machine's own, and what came of each row."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa

from tts_pipeline.catalog import Catalog
from tts_pipeline.config import AudioSettings, InputColumns
from tts_pipeline.dataset.tables import read_columns
from tts_pipeline.frames.rows import ID, TEXT, no_outcomes, outcomes_of
from tts_pipeline.frames.state import CallFolder, State
from tts_pipeline.job import Job, Progress, Running, Stop, run_job
from tts_pipeline.models import Parameters, Service
from tts_pipeline.schema import REJECTS, SPEECH, fields

Places = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of a service for the rows of a frame, and how it is done.

    Args:
        service: With its key.
        model: As sent.
        fixed: Parameters that are the same for all rows.
        varying: Names of those that stand in columns of their own name.
        audio: What the audio is to be.
        catalog: Services, cards and prices; None is the built-in ones.
        running: How it is run.
        reuse: Where audio is that was bought before; None is nowhere, and then nothing is left to go on with either.
        unchecked: Parameters that are not held against the card's lists.
    """

    service: Service
    model: str
    fixed: Parameters
    varying: Sequence[str]
    audio: AudioSettings
    catalog: Catalog | None
    running: Running
    reuse: Places | None
    unchecked: tuple[str, ...] = ()

    def say(self, rows: pl.DataFrame, state: State, progress: Progress, stop: Stop) -> pl.DataFrame:
        """Say all rows, and return what came of each by its id. Blocking.

        Args:
            rows: As ``rows.to_say`` returns them.
            state: Where the call is made.
            progress: Filled while it runs.
            stop: Stops it from outside.

        Raises:
            ConfigurationError: A setting or a parameter is wrong; nothing was sent.
            FatalError: No row can succeed; what was bought is kept.
            StoppedError: It stopped before its end; what was bought is kept.
            StorageError: The disk failed; what was bought is kept.
        """
        if rows.is_empty():
            return no_outcomes()
        identity = None if self.reuse is None else self._identity()
        with state.call(rows, identity) as folder:
            report = run_job(self._job(folder), progress, stop=stop)
            if report.stopped is not None:
                raise report.stopped
            outcomes = outcomes_of(*(_table(folder.dataset, name) for name in ("speech", "rejects")))
            state.end(folder)
        return outcomes

    def _job(self, folder: CallFolder) -> Job:
        columns = InputColumns(TEXT, ID, parameters={name: name for name in self.varying})
        given = self.running.reuse
        places = [given] if isinstance(given, str | os.PathLike) else list(given)
        if self.reuse is not None:
            places += [self.reuse] if isinstance(self.reuse, str | os.PathLike) else list(self.reuse)
        return Job(
            source=folder.source,
            destination=folder.dataset,
            service=self.service,
            model=self.model,
            parameters=self.fixed,
            columns=columns,
            audio=self.audio,
            catalog=self.catalog,
            unchecked=self.unchecked,
            running=replace(self.running, reuse=places, work_dir=None),
        )

    def _identity(self) -> str:
        """Return what determines the result beside the rows; a changed price is another call, and no error."""
        job = self._job(CallFolder(Path()))
        terms = {"url": self.service.base_url, "prices": repr(job.card().prices)}
        return json.dumps({**job.identity(self.fixed), **terms}, sort_keys=True)


_SCHEMAS = {"speech": pa.schema(fields(SPEECH)), "rejects": pa.schema(fields(REJECTS))}


def _table(dataset: Path, name: str) -> pa.Table:
    schema = _SCHEMAS[name]
    files = sorted((dataset / name).glob("*.parquet"))
    pieces = [read_columns(file, schema.names).cast(schema) for file in files]
    return pa.concat_tables([schema.empty_table(), *pieces])
