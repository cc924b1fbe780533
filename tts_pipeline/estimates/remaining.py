"""Rows that a run has still to do: what is published, and what open journals hold, is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from tts_pipeline.dataset.finish import done_parts, read_markers
from tts_pipeline.dataset.journal import SUFFIX
from tts_pipeline.dataset.journals import check_fingerprint, journal_paths
from tts_pipeline.dataset.names import parse_journal_id, parse_part_number
from tts_pipeline.dataset.parts import PartRows
from tts_pipeline.dataset.publish import marker_name
from tts_pipeline.dataset.replay import Replay, UtteranceKey, replay_journal
from tts_pipeline.dataset.row_reader import RowReader
from tts_pipeline.dataset.scratch import scratch_folder
from tts_pipeline.dataset.shipping import FOLDER as SHIPPED
from tts_pipeline.dataset.standing import standing_of
from tts_pipeline.dataset.takeover import adopt_journals
from tts_pipeline.errors import StorageError
from tts_pipeline.estimates.rows import Lines, in_batches
from tts_pipeline.frames.tables import to_polars
from tts_pipeline.job.prepared import Prepared

BEGUN = "__begun"
"""Column of the row's place in ``RemainingLines.begun``; null for a row of which no segment is paid for."""


@dataclass(slots=True)
class Finished:
    """Rows that a run passes over.

    Args:
        speech: Their speech is at the destination, or in an open journal.
        rejects: They were rejected before, and are not tried anew.
    """

    speech: int = 0
    rejects: int = 0


@dataclass(frozen=True, slots=True)
class Begun:
    """A row that an earlier run began.

    Args:
        boundaries: Of its segments as they were cut; None is one segment, or none sent yet.
        paid: Places of the segments whose answers are in a journal.
    """

    boundaries: tuple[tuple[int, int], ...] | None
    paid: frozenset[int]


NEW = Begun(None, frozenset())
"""A row that no run began."""


class RemainingLines(Lines):
    """Rows of a prepared job that are neither done nor given up; reads the destination, and changes nothing there.

    Args:
        prepared: The job; its dataset is at the destination.

    Attributes:
        finished: The rows that the last pass left out.
        begun: The rows that the last pass found begun.

    Raises:
        StorageError: The destination or the disk failed.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self.left_out = prepared.source.left_out
        self.finished = Finished()
        self.begun: list[Begun] = []
        self._done = done_parts(prepared.store, prepared.descriptor)
        markers = {marker["part"]: marker["totals"] for marker in read_markers(prepared.store, self._done)}
        if gone := sorted(self._done - markers.keys()):
            name = prepared.store.describe(marker_name(gone[0]))
            raise StorageError(f"{name} is gone, and the dataset is sealed", hint="restore it, or remove parts.json")
        self._retries = prepared.job.running.retry_rejects
        self._reopened = {number for number, totals in markers.items() if self._retries and totals["rejects"]}
        self._done -= self._reopened
        self._published = Finished(
            speech=sum(markers[number]["speech"] for number in self._done),
            rejects=sum(markers[number]["rejects"] for number in self._done),
        )
        self._shipped = {parse_part_number(name) for name in prepared.store.names(SHIPPED, "part-")}
        journalled = {parse_part_number(path.name) for path in prepared.journals.glob(f"part-*{SUFFIX}")}
        spoken = {parse_part_number(name) for name in prepared.store.names("speech", "part-")}
        self._touched = (journalled | spoken | self._shipped) - self._done

    def schema(self) -> pa.Schema:  # noqa: D102 (documented on the abstract base)
        return self._prepared.source.schema

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:  # noqa: D102
        self.finished, self.begun = Finished(self._published.speech, self._published.rejects), []
        for table in in_batches(self._tables(columns)):
            yield to_polars(table)

    def _tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        layout = self._prepared.voicing.layout
        wanted = list(dict.fromkeys([*columns, *layout.naming_columns(), layout.columns.text]))
        reader = RowReader(self._prepared.source, wanted)
        for number in range(self._prepared.descriptor.parts):
            if number in self._done:
                continue
            if number in self._touched:
                table, begun = self._left(self._prepared.read_part(reader, number))
                yield table.select(columns).append_column(BEGUN, begun)
                continue
            span = self._prepared.descriptor.span(number)
            for piece in reader.pieces(self._prepared.places[span.start : span.stop]):
                table = pa.Table.from_batches([piece]).select(columns)
                yield table.append_column(BEGUN, pa.nulls(table.num_rows, pa.int32()))

    def _left(self, rows: PartRows) -> tuple[pa.Table, pa.Array]:
        """Return the rows of a part that are left to do, and which of them are begun; counts the others."""
        replays = list(self._replays(rows.number))
        standing = standing_of(self._prepared.store, rows).places.keys()
        speech = {key for one in replays for key in one.finished_keys(include_rejects=False)} | standing
        rejected = (
            set[UtteranceKey]() if self._retries else {key for one in replays for key in one.finished_keys()} - speech
        )
        self.finished.speech += len(speech)
        self.finished.rejects += len(rejected)
        left = [place for place, key in enumerate(rows.keys) if key not in speech and key not in rejected]
        begun = [self._begun(rows.keys[place], replays) for place in left]
        return RowReader(rows.inputs).read(left), pa.array(begun, pa.int32())

    def _begun(self, key: UtteranceKey, replays: Sequence[Replay]) -> int | None:
        said = [one.utterances[key] for one in replays if key in one.utterances]
        boundaries = next((one.boundaries for one in reversed(said) if one.boundaries), None)
        paid = frozenset(segment for one in said for segment in one.answers)
        if not paid and boundaries is None:
            return None
        self.begun.append(Begun(boundaries, paid))
        return len(self.begun) - 1

    def _replays(self, number: int) -> Iterator[Replay]:
        """Read the journals of a part, here and shipped; those of a finished part are accounted for already."""
        if number in self._reopened:
            return
        here = journal_paths(self._prepared.journals, number)
        with scratch_folder(prefix="estimate-") as folder:
            if number in self._shipped:
                adopt_journals(
                    self._prepared.store, folder, number, exclude={parse_journal_id(path.name) for path in here}
                )
            for path in sorted([*here, *journal_paths(folder, number)], key=lambda path: path.name):
                one = replay_journal(path, check_payloads=False)
                if one is not None:
                    check_fingerprint(path, one, self._prepared.descriptor.fingerprint_of(number))
                    yield one
