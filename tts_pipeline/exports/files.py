"""Audio files beside an index, in step with the dataset: what is there as it is to be is not written again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from tts_pipeline.daemon_threads import DaemonExecutor
from tts_pipeline.dataset.store import LocalStore, Store
from tts_pipeline.errors import ServiceError, StorageError
from tts_pipeline.exports.index import PIECES, Earlier, IndexWriter, Row, hash_of_name
from tts_pipeline.exports.manifest import Manifests
from tts_pipeline.exports.names import Template, Wanted
from tts_pipeline.exports.plan import EXT, KEY, SPLIT, Chosen, Plan, bytes_at
from tts_pipeline.exports.report import Export
from tts_pipeline.exports.sound import COLUMNS, exported, format_of
from tts_pipeline.exports.table import Group

WRITERS = 16
"""Files that are written at a time: on an object store each takes a round trip."""

_TOLD = ("text", "voice", "language")
_INDEXED = (*KEY, *COLUMNS, "audio_sha256", *_TOLD)


class FileExport:
    """An export to files.

    Args:
        plan: What is exported.
        store: The destination.
        template: Of the files' names.
        manifests: What stands beside the files.
        export: Filled.

    Raises:
        ConfigurationError: A name cannot be made; nothing was written.
        StorageError: The dataset cannot be read.
    """

    def __init__(self, plan: Plan, store: Store, template: Template, manifests: Manifests, export: Export) -> None:
        self._plan = plan
        self._store = store
        self._template = template
        self._manifests = manifests
        self._export = export
        self._fields = tuple(field for field in template.fields if field not in {EXT, SPLIT})
        self._taken = self._taken_names()
        self._is_sure = False

    @property
    def manifests(self) -> Sequence[str]:
        """Names of the manifests that it writes."""
        return self._manifests.names()

    def run(self, *, is_sure: bool) -> None:
        """Write what is not there as it is to be, the manifests and the index, and remove what is no part of it.

        Args:
            is_sure: Whether the last export there came to its end, so that its index holds; else files are looked for.

        Raises:
            StorageError: The dataset or the destination failed: the next export goes on with it.
        """
        self._is_sure = is_sure
        columns = (*_INDEXED, *self._fields, *self._manifests.columns)
        with (
            DaemonExecutor(WRITERS, "export-write") as writers,
            Earlier(self._store) as earlier,
            IndexWriter(self._store, earlier.next_run) as index,
            self._manifests,
        ):
            for part, groups in groupby(self._plan.groups(columns), lambda found: found[0].part):
                rows, written = list[Row](), self._export.written
                for group, chosen in groups:
                    files = [self._file(group, one, earlier) for one in chosen]
                    index.begin([file.name for file in _to_write(files)])
                    entries = self._entries(group, files, writers)
                    for file, entry in entries:
                        self._manifests.add(file.chosen.split, entry, file.chosen.values)
                        self._export.add(entry["split"], entry["duration_ms"])
                        rows.append(entry)
                index.add(rows)
                if self._export.written > written:
                    index.keep(part, rows)
            self._remove(earlier.others(index.names), writers)
        self._store.remove_all(PIECES)

    def _taken_names(self) -> npt.NDArray[np.bool_]:
        """Return for each row of the dataset, exported or not, whether one before it has its name."""
        columns = tuple(dict.fromkeys((*KEY, *COLUMNS, *self._fields)))
        names = [
            np.fromiter((hash_of_name(self._wanted(row).name(is_taken=False)) for row in rows), np.uint64, len(rows))
            for rows in (table.to_pylist() for table in self._plan.table.light(columns))
        ]
        hashes = np.concatenate([np.empty(0, np.uint64), *names])
        taken = np.ones(len(hashes), np.bool_)
        taken[np.unique(hashes, return_index=True)[1]] = False
        return taken

    def _wanted(self, row: Row) -> Wanted:
        split = self._plan.splits.of(row["utterance_id"])
        return self._template.wanted({**row, EXT: format_of(row, self._plan.audio)[0], SPLIT: split})

    def _file(self, group: Group, chosen: Chosen, earlier: Earlier) -> _File:
        wanted = self._wanted(dict(chosen.values))
        is_taken = bool(self._taken[group.first + chosen.place])
        name = wanted.name(is_taken=is_taken)
        there = earlier.get(chosen.values["utterance_id"], chosen.values["take"])
        is_there = there is not None and self._is_as_wanted(there, name, chosen) and not earlier.is_unsure(name)
        return _File(chosen, name, wanted.is_marked or is_taken, there if is_there else None)

    def _is_as_wanted(self, there: Row, name: str, chosen: Chosen) -> bool:
        wanted = (name, chosen.values["audio_sha256"], *format_of(chosen.values, self._plan.audio))
        found = (there["name"], there["source_sha256"], there["audio_format"], there["sample_rate_hz"])
        return found == wanted and self._is_at(there)

    def _is_at(self, there: Row) -> bool:
        if isinstance(self._store, LocalStore):
            try:
                return self._store.path(str(there["name"])).stat().st_size == int(there["bytes"])
            except (StorageError, OSError):
                return False
        return self._is_sure or self._store.exists(there["name"])

    def _entries(self, group: Group, files: Sequence[_File], writers: DaemonExecutor) -> Iterator[tuple[_File, Row]]:
        """Write the files of a row group that have to be, and yield what the index says of all of them."""
        audio = group.audio() if any(file.there is None for file in files) else None
        made = writers.map(lambda file: self._written(file, bytes_at(audio, file.chosen.place)), _to_write(files))
        for file in files:
            facts = file.there or next(made)
            if isinstance(facts, ServiceError):
                self._export.fail(file.chosen.values["utterance_id"], facts.message)
                continue
            self._export.unchanged += file.there is not None
            self._export.written += file.there is None
            self._export.renamed += file.is_renamed
            yield file, self._entry(file, facts)

    def _written(self, file: _File, data: bytes) -> Row | ServiceError:
        try:
            audio, frames = exported(file.chosen.values, data, self._plan.audio)
        except ServiceError as error:  # of this row alone: what a service sent, kept although it does not decode
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

    def _entry(self, file: _File, facts: Row) -> Row:
        values = file.chosen.values
        return {
            **facts,
            **{name: values[name] for name in (*KEY, *_TOLD)},
            "split": file.chosen.split if self._plan.has_splits else None,
            "name": file.name,
            "uri": self._store.describe(file.name),
            "renamed": file.is_renamed,
            "source_sha256": values["audio_sha256"],
        }

    def _remove(self, names: Iterator[str], writers: DaemonExecutor) -> None:
        while some := [name for name, _ in zip(names, range(1_000), strict=False)]:
            list(writers.map(self._store.remove, some))
            self._export.removed += len(some)


@dataclass(frozen=True, slots=True)
class _File:
    """A file that is to be: of which row, under which name, and what the index says where it is there already."""

    chosen: Chosen
    name: str
    is_renamed: bool
    there: Row | None


def _to_write(files: Sequence[_File]) -> list[_File]:
    """Return those that are not there."""
    return [file for file in files if file.there is None]
