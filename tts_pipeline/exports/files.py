"""Export audio files with an index beside them, and keep unchanged files when the dataset changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from tts_pipeline.dataset.reader import RowGroup
from tts_pipeline.errors import ServiceError, StorageError
from tts_pipeline.exports.audio import AUDIO_COLUMNS, convert_row, format_of
from tts_pipeline.exports.file_names import FileName, NameTemplate
from tts_pipeline.exports.index import CHECKPOINT_FOLDER, ExportIndex, IndexEntry, hash_of_name, write_index
from tts_pipeline.exports.manifests import Manifests
from tts_pipeline.exports.plan import EXT, KEY, SPLIT, ExportPlan, ExportRow, audio_bytes
from tts_pipeline.exports.report import Export
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

WRITERS = 16
"""Files that are written at the same time: on an object store each takes a round trip."""

_LABEL_COLUMNS = ("text", "voice", "language")
_INDEX_COLUMNS = (*KEY, *AUDIO_COLUMNS, "audio_sha256", *_LABEL_COLUMNS)


class FileExporter:
    """Exports to audio files, and fills the report."""

    def __init__(
        self, plan: ExportPlan, store: Store, template: NameTemplate, manifests: Manifests, report: Export
    ) -> None:
        self._plan = plan
        self._store = store
        self._template = template
        self._manifests = manifests
        self._report = report
        self._fields = tuple(field for field in template.fields if field not in {EXT, SPLIT})
        self._collisions = self._find_collisions()
        self._is_index_valid = False

    @property
    def manifests(self) -> Sequence[str]:
        """Names of the manifests that this export writes."""
        return self._manifests.names()

    def run(self, *, is_index_valid: bool) -> None:
        """Write missing and changed files, the manifests and the index, then remove files that are not in the index.

        Without ``is_index_valid`` an earlier export did not finish: then each file of its index is looked up.
        """
        self._is_index_valid = is_index_valid
        columns = (*_INDEX_COLUMNS, *self._fields, *self._manifests.columns)
        with (
            DaemonExecutor(WRITERS, "export-write") as writers,
            closing(ExportIndex(self._store)) as prior_index,
            write_index(self._store, prior_index.next_run) as index_writer,
            self._manifests,
        ):
            self._manifests.open()
            for part, groups in groupby(self._plan.groups(columns), lambda pair: pair[0].part):
                part_entries, written_before = list[IndexEntry](), self._report.written
                for group, rows in groups:
                    files = [self._plan_file(group, row, prior_index) for row in rows]
                    index_writer.write_intent([file.name for file in _missing(files)])
                    group_entries = self._write_files(group, files, writers)
                    for file, entry in group_entries:
                        self._manifests.add(file.row.split, entry, file.row.values)
                        self._report.add(entry["split"], entry["duration_ms"])
                        part_entries.append(entry)
                index_writer.add(part_entries)
                if self._report.written > written_before:
                    index_writer.checkpoint(part, part_entries)
            self._remove_files(prior_index.names_not_in(index_writer.name_hashes), writers)
        self._store.remove_folder(CHECKPOINT_FOLDER)

    def _find_collisions(self) -> npt.NDArray[np.bool_]:
        """Return for each row of the dataset, exported or not, whether an earlier row has its name."""
        columns = tuple(dict.fromkeys((*KEY, *AUDIO_COLUMNS, *self._fields)))
        names = [
            np.fromiter(
                (hash_of_name(self._file_name(row).render(is_taken=False)) for row in rows), np.uint64, len(rows)
            )
            for rows in (table.to_pylist() for table in self._plan.dataset.read_files(self._plan.files, columns))
        ]
        hashes = np.concatenate([np.empty(0, np.uint64), *names])
        collisions = np.ones(len(hashes), np.bool_)
        collisions[np.unique(hashes, return_index=True)[1]] = False
        return collisions

    def _file_name(self, row: Mapping[str, Any]) -> FileName:
        split = self._plan.splits.of(row["utterance_id"])
        return self._template.file_name({**row, EXT: format_of(row, self._plan.audio)[0], SPLIT: split})

    def _plan_file(self, group: RowGroup, row: ExportRow, prior_index: ExportIndex) -> _PlannedFile:
        file_name = self._file_name(dict(row.values))
        is_taken = bool(self._collisions[group.first_row + row.position])
        name = file_name.render(is_taken=is_taken)
        existing = prior_index.get(row.values["utterance_id"], row.values["take"])
        is_current = existing is not None and self._is_current(existing, name, row) and not prior_index.is_suspect(name)
        return _PlannedFile(row, name, file_name.is_marked or is_taken, existing if is_current else None)

    def _is_current(self, existing: IndexEntry, name: str, row: ExportRow) -> bool:
        expected = (name, row.values["audio_sha256"], *format_of(row.values, self._plan.audio))
        actual = (existing["name"], existing["source_sha256"], existing["audio_format"], existing["sample_rate_hz"])
        return actual == expected and self._file_exists(existing)

    def _file_exists(self, existing: IndexEntry) -> bool:
        if isinstance(self._store, LocalStore):
            try:
                return self._store.path(str(existing["name"])).stat().st_size == int(existing["bytes"])
            except (StorageError, OSError):
                return False
        return self._is_index_valid or self._store.exists(existing["name"])

    def _write_files(
        self, group: RowGroup, files: Sequence[_PlannedFile], writers: DaemonExecutor
    ) -> Iterator[tuple[_PlannedFile, IndexEntry]]:
        """Write the missing files of a row group, and yield the index entries of all its files."""
        audio = group.audio() if any(file.existing is None for file in files) else None
        results = writers.map(
            lambda file: self._write_file(file, audio_bytes(audio, file.row.position)), _missing(files)
        )
        for file in files:
            facts = file.existing or next(results)
            if isinstance(facts, ServiceError):
                self._report.fail(file.row.values["utterance_id"], facts.message)
                continue
            self._report.unchanged += file.existing is not None
            self._report.written += file.existing is None
            self._report.renamed += file.is_renamed
            yield file, self._entry(file, facts)

    def _write_file(self, file: _PlannedFile, data: bytes) -> IndexEntry | ServiceError:
        try:
            audio, frames = convert_row(file.row.values, data, self._plan.audio)
        except ServiceError as error:  # of this row alone: audio that is kept as received, although it does not decode
            return error
        self._store.write(file.name, audio.data, durable=False)
        return {
            "sha256": hashlib.sha256(audio.data).hexdigest(),
            "bytes": len(audio.data),
            "audio_format": audio.format,
            "sample_rate_hz": audio.sample_rate_hz,
            "channels": audio.channels,
            "duration_ms": audio.duration_ms,
            "frames": frames,
        }

    def _entry(self, file: _PlannedFile, facts: IndexEntry) -> IndexEntry:
        values = file.row.values
        return {
            **facts,
            **{name: values[name] for name in (*KEY, *_LABEL_COLUMNS)},
            "split": file.row.split if self._plan.has_splits else None,
            "name": file.name,
            "uri": self._store.describe(file.name),
            "renamed": file.is_renamed,
            "source_sha256": values["audio_sha256"],
        }

    def _remove_files(self, names: Iterator[str], writers: DaemonExecutor) -> None:
        while batch := [name for name, _ in zip(names, range(1_000), strict=False)]:
            list(writers.map(self._store.remove, batch))
            self._report.removed += len(batch)


@dataclass(frozen=True, slots=True)
class _PlannedFile:
    """A file of the export: its row, its name, and its index entry if it exists already."""

    row: ExportRow
    name: str
    is_renamed: bool
    existing: IndexEntry | None


def _missing(files: Sequence[_PlannedFile]) -> list[_PlannedFile]:
    return [file for file in files if file.existing is None]
