"""Use a published dataset as a cache: find audio by request key, and read it by row group."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from functools import lru_cache, partial
from threading import Lock
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from tts_pipeline.cache.file_cache import CacheRecord, is_request_key, request_hash
from tts_pipeline.config import AudioSettings
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.log import logger
from tts_pipeline.models import CachedAudio
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.hash_index import HashIndex
from tts_pipeline.wal.records import MalformedRecordError, refuse_malformed

CACHED_GROUPS = 4
"""Row groups in memory, of ``ROW_GROUP_BYTES`` each: requests mostly come in the order of the dataset's rows."""

_USAGE = ("characters_reported", "input_tokens", "output_tokens", "total_tokens")
_INDEX_COLUMNS = ("request_key", "take", "segments")
_COLUMNS = (
    *("utterance_id", "take", "audio", "audio_format", "sample_rate_hz", "channels", "duration_ms", "audio_sha256"),
    *("timestamps", "segments", "request_id", "request_key", "quality", *_USAGE),
)


class _RowGroup(NamedTuple):
    """A row group, with the rows that may be reused and the request hashes of these rows."""

    file: str
    number: int
    rows: int
    reusable_rows: npt.NDArray[np.uint32]
    hashes: npt.NDArray[np.uint64]


class DatasetCache:
    """The published speech of a dataset, by request key. For many threads.

    This includes the speech of a part without a marker, which was reopened for its rejects: its file is whole.

    The cache takes 12 bytes of memory per row, and the row groups last read.

    Audio that was converted to another format, or joined with other pauses, is left out. ``label`` begins each origin;
    it is empty for the job's own dataset.
    """

    def __init__(self, dataset: DatasetReader, settings: AudioSettings, label: str) -> None:
        self.label = label
        self._dataset = dataset
        self._lock = Lock()
        self._has_warned = False
        groups = self._index(compatible_segment_kinds(dataset.descriptor, settings))
        ends = np.cumsum([0, *(group.rows for group in groups)])
        self._first_rows: npt.NDArray[np.int64] = ends[:-1]
        self._groups = names = [(group.file, group.number) for group in groups]
        # Without ``self``: a reference cycle would keep the tables until the garbage collector runs.
        self._table = lru_cache(CACHED_GROUPS)(lambda number: dataset.row_group(*names[number], _COLUMNS))
        hashes = np.concatenate([np.empty(0, np.uint64), *(group.hashes for group in groups)])
        row_numbers = [group.reusable_rows + np.uint32(first) for group, first in zip(groups, ends[:-1], strict=True)]
        self._hashes = HashIndex(hashes, np.concatenate([np.empty(0, np.uint32), *row_numbers]))

    def __len__(self) -> int:
        return len(self._hashes)

    def may_have(self, request_key: str, take: int) -> bool:
        """Return whether a look is worthwhile; see ``CacheTier``."""
        return bool(self._rows_of(request_key, take))

    def get(self, request_key: str, take: int) -> CachedAudio | None:
        """Return the audio of a request; None when the dataset no longer has it. See ``CacheTier``."""
        for row_number in self._rows_of(request_key, take):
            row = self._read_row(row_number)
            if (row["request_key"], row["take"]) != (request_key, take):
                continue
            try:
                return _checked_audio(row, self.label)
            except (TypeError, ValueError):
                self._warn(row_number)
        return None

    def _warn(self, row_number: int) -> None:
        if not self._has_warned:
            self._has_warned = True
            name, _ = self._groups[self._group_of(row_number)]
            logger.warning(
                "%s has rows that do not match their audio: this audio is not reused, but bought again",
                self._dataset.store.describe(name),
            )

    def _group_of(self, row_number: int) -> int:
        return int(np.searchsorted(self._first_rows, row_number, "right")) - 1

    def _rows_of(self, request_key: str, take: int) -> list[int]:
        return self._hashes.rows(request_hash(request_key, take))

    def _index(self, kinds: Collection[str]) -> list[_RowGroup]:
        """Index the audio of these kinds in the speech files, many files at a time."""
        if not kinds:
            return []
        names = self._dataset.files("speech")
        with DaemonExecutor(FILE_READERS, "reuse-index") as readers:
            groups_by_file = readers.map(partial(self._index_file, kinds), names)
            return [group for groups in groups_by_file for group in groups]

    def _index_file(self, kinds: Collection[str], name: str) -> list[_RowGroup]:
        groups = []
        for number, group in enumerate(self._dataset.row_groups([name], _INDEX_COLUMNS)):
            keys, takes, segments = (group.rows.column(column).to_pylist() for column in _INDEX_COLUMNS)
            reusable_rows = [
                index
                for index, (key, take, count) in enumerate(zip(keys, takes, segments, strict=True))
                if take is not None and is_request_key(key) and segment_kind(count) in kinds
            ]
            hashes = np.fromiter(
                (request_hash(keys[index], takes[index]) for index in reusable_rows), np.uint64, len(reusable_rows)
            )
            groups.append(_RowGroup(name, number, group.rows.num_rows, np.array(reusable_rows, np.uint32), hashes))
        return groups

    def _read_row(self, row_number: int) -> dict[str, Any]:
        number = self._group_of(row_number)
        with self._lock:  # threads that want the same row group wait for the first one to read it
            table = self._table(number)
        index = row_number - int(self._first_rows[number])
        if table is None or index >= table.num_rows:  # the part was made anew since it was indexed
            return dict.fromkeys(_COLUMNS)
        return {name: table.column(name)[index].as_py() for name in _COLUMNS}


def cached_audio_of(row: Mapping[str, Any], label: str) -> CachedAudio:
    """Return a row of a speech table as cached audio; its origin begins with the label."""
    answer = {
        "segment": 0,
        "words": row["timestamps"],
        "usage": {name: row[name] for name in _USAGE},
        "format": row["audio_format"],
        **{name: row[name] for name in ("request_id", "quality", "sample_rate_hz", "channels", "duration_ms")},
    }
    values = {**{name: row[name] for name in ("request_key", "take", "segments")}, "origin": row["utterance_id"]}
    with refuse_malformed():
        record = msgspec.convert({**values, "answer": answer}, CacheRecord)
    return record.to_cached(row["audio"]["bytes"], label)


def segment_kind(segments: int) -> str:
    """Return ``one`` for audio of one segment, ``joined`` for audio of several."""
    return "one" if segments == 1 else "joined"


def compatible_segment_kinds(descriptor: Descriptor, settings: AudioSettings) -> Collection[str]:
    """Return the kinds (``segment_kind``) of a dataset's audio that may be reused."""
    job = descriptor.job
    dataset_settings = AudioSettings(job["audio_format"], job["sample_rate_hz"], job["pause_ms"])
    received = AudioSettings()
    compatible = [(option.format, option.sample_rate_hz) for option in (received, settings)]
    if (dataset_settings.format, dataset_settings.sample_rate_hz) not in compatible:
        return ()
    return ("one", "joined") if dataset_settings.pause_ms == settings.pause_ms else ("one",)


def _checked_audio(row: Mapping[str, Any], label: str) -> CachedAudio:
    audio = cached_audio_of(row, label)
    if hashlib.sha256(audio.answer.audio.data).hexdigest() != row["audio_sha256"]:
        raise MalformedRecordError("audio_sha256")
    return audio
