"""Read the rows that a run still has to do: those that are neither published nor finished in open journals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa

from tts_pipeline.dataset.active_part import PartRows
from tts_pipeline.dataset.adoption import adopt_journals
from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.existing_speech import read_existing_speech
from tts_pipeline.dataset.finalize import committed_parts, read_markers
from tts_pipeline.dataset.names import parse_journal_id, parse_part_number
from tts_pipeline.dataset.part_journals import check_fingerprint, journal_paths
from tts_pipeline.errors import StorageError
from tts_pipeline.estimates.input_rows import STARTED, InputRows, StartedRow, rebatch
from tts_pipeline.frames.conversion import to_polars
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.models import UtteranceKey
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.storage.scratch import scratch_folder
from tts_pipeline.wal.journal import SUFFIX
from tts_pipeline.wal.replay import Replay, replay_journal
from tts_pipeline.wal.shipping import FOLDER as SHIPPED


class RemainingRows(InputRows):
    """Rows of a prepared job that are neither spoken nor rejected; the destination is only read."""

    def __init__(self, prepared: PreparedJob) -> None:
        super().__init__()
        self._prepared = prepared
        self.left_out = prepared.source.left_out
        self._done_parts = committed_parts(prepared.store, prepared.descriptor)
        markers = {marker["part"]: marker["totals"] for marker in read_markers(prepared.store, self._done_parts)}
        if missing := sorted(self._done_parts - markers.keys()):
            name = prepared.store.describe(marker_name(missing[0]))
            raise StorageError(
                f"{name} is missing, and parts.json says that the dataset is finished",
                hint="restore it, or remove parts.json",
            )
        self._retries_rejects = prepared.job.options.retry_rejects
        self._reopened_parts = {
            number for number, totals in markers.items() if self._retries_rejects and totals["rejects"]
        }
        self._done_parts -= self._reopened_parts
        self._published_rows = {
            name: sum(markers[number][name] for number in self._done_parts) for name in ("speech", "rejects")
        }
        self._shipped_parts = {parse_part_number(name) for name in prepared.store.names(SHIPPED, "part-")}
        parts_with_journal = {parse_part_number(path.name) for path in prepared.journals_dir.glob(f"part-*{SUFFIX}")}
        parts_with_speech = {parse_part_number(name) for name in prepared.store.names("speech", "part-")}
        self._started_parts = (parts_with_journal | parts_with_speech | self._shipped_parts) - self._done_parts

    def schema(self) -> pa.Schema:  # noqa: D102 (documented on the abstract base)
        return self._prepared.source.schema

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:  # noqa: D102
        self.skipped, self.started_rows = Counter(self._published_rows), []
        for table in rebatch(self._tables(columns)):
            yield to_polars(table)

    def _tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        roles = self._prepared.mapper.roles
        read_columns = list(dict.fromkeys([*columns, *roles.id_and_parameter_columns(), roles.columns.text]))
        reader = RowReader(self._prepared.source, read_columns)
        for number in range(self._prepared.descriptor.parts):
            if number in self._done_parts:
                continue
            if number in self._started_parts:
                table, started = self._unfinished_rows(self._prepared.read_part(reader, number))
                yield table.select(columns).append_column(STARTED, started)
                continue
            span = self._prepared.descriptor.row_range(number)
            for batch in reader.batches(self._prepared.row_indices[span.start : span.stop]):
                table = pa.Table.from_batches([batch]).select(columns)
                yield table.append_column(STARTED, pa.nulls(table.num_rows, pa.int32()))

    def _unfinished_rows(self, rows: PartRows) -> tuple[pa.Table, pa.Array]:
        """Return the remaining rows of a part, with their indexes in ``started_rows``; count the finished rows."""
        replays = list(self._replays(rows.number))
        existing = read_existing_speech(self._prepared.store, rows).row_indices.keys()
        speech = {key for journal in replays for key in journal.finished_keys(include_rejects=False)} | existing
        rejected = (
            set[UtteranceKey]()
            if self._retries_rejects
            else {key for journal in replays for key in journal.finished_keys()} - speech
        )
        self.skipped.update(speech=len(speech), rejects=len(rejected))
        row_indices = [index for index, key in enumerate(rows.keys) if key not in speech and key not in rejected]
        started = [self._start_of(rows.keys[index], replays) for index in row_indices]
        return RowReader(rows.inputs).read(row_indices), pa.array(started, pa.int32())

    def _start_of(self, key: UtteranceKey, replays: Sequence[Replay]) -> int | None:
        records = [journal.utterances[key] for journal in replays if key in journal.utterances]
        boundaries = next((record.boundaries for record in reversed(records) if record.boundaries), None)
        paid = frozenset(segment for record in records for segment in record.answers)
        if not paid and boundaries is None:
            return None
        self.started_rows.append(StartedRow(boundaries, paid))
        return len(self.started_rows) - 1

    def _replays(self, number: int) -> Iterator[Replay]:
        """Read the journals of a part, local and shipped; those of a reopened part are accounted for already."""
        if number in self._reopened_parts:
            return
        local_journals = journal_paths(self._prepared.journals_dir, number)
        with scratch_folder(prefix="estimate-") as folder:
            if number in self._shipped_parts:
                adopt_journals(
                    self._prepared.store,
                    folder,
                    number,
                    exclude={parse_journal_id(path.name) for path in local_journals},
                )
            for path in sorted([*local_journals, *journal_paths(folder, number)], key=lambda path: path.name):
                journal = replay_journal(path, check_payloads=False)
                if journal is not None:
                    check_fingerprint(path, journal, self._prepared.descriptor.fingerprint_of(number))
                    yield journal
