"""Run one call of ``synthesize`` as a job in a folder on this machine, and return the result of each row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog import AnyCatalog
from tts_pipeline.config import CALL_PART_ROWS, AudioSettings, InputColumns
from tts_pipeline.frames.call_store import CallDirectory, CallStore
from tts_pipeline.frames.rows import ID, TEXT, empty_outcomes, outcomes_of
from tts_pipeline.job import CancelToken, Job, Progress, RunOptions
from tts_pipeline.job.api import run_in_memory
from tts_pipeline.job.job import list_locations
from tts_pipeline.models import Parameters
from tts_pipeline.source.frame_stream import FILE_NAME
from tts_pipeline.source.table_source import TableSource


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
        content_sha256 = _content_hash(rows)
        identity = None if self.cache is None else self._identity(content_sha256)
        with store.open_call(identity) as directory:
            source = TableSource(rows.to_arrow(compat_level=pl.CompatLevel.oldest()), content_sha256)
            outcomes = outcomes_of(*run_in_memory(self._job(directory), source, progress, stop, str(store.root)))
            store.finish_call(directory)
        return outcomes

    def _job(self, directory: CallDirectory) -> Job:
        columns = InputColumns(TEXT, ID, parameters={name: name for name in self.column_parameters})
        locations = [*list_locations(self.options.reuse), *([] if self.cache is None else [self.cache])]
        return Job(
            source=FILE_NAME,
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

    def _identity(self, content_sha256: str) -> str:
        """Return a hash of all that determines the result; with a changed price it is another call, no error."""
        job = self._job(CallDirectory(Path()))
        terms = {"url": self.service.base_url, "prices": repr(job.card().prices), "rows": content_sha256}
        terms["part_rows"] = str(CALL_PART_ROWS)  # journals are those of parts of this size
        identity = json.dumps({**job.identity(self.fixed_parameters), **terms}, sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()


_HASHED_ROWS = 10_000


def _content_hash(rows: pl.DataFrame) -> str:
    """Return a hash of the values, names and types of a frame, whatever its chunks."""
    digest = hashlib.sha256(repr(rows.schema).encode("utf-8", "surrogatepass"))
    for piece in rows.iter_slices(_HASHED_ROWS):
        digest.update(repr(piece.rows()).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
