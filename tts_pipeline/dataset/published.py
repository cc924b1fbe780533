"""A published dataset as a place where audio was bought before: found by request key, read by row group."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.config import AudioSettings
from tts_pipeline.daemon_threads import DaemonExecutor
from tts_pipeline.dataset.answers import is_request_key, origin_of, request_hash
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.dataset.formats import check_formats
from tts_pipeline.dataset.record_values import MalformedRecordError, check_found
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.dataset.tables import own_columns
from tts_pipeline.models import Answer, Audio, Found, Usage, Word
from tts_pipeline.schema import SPEECH

logger = logging.getLogger("tts_pipeline")

READERS = 16
"""Files that are looked into at a time: on an object store each takes some round trips."""

KEPT_GROUPS = 4
"""Row groups that are held, of ``ROW_GROUP_BYTES`` each: rows of one order are mostly asked for in that order."""

_USAGE = ("characters_reported", "input_tokens", "output_tokens", "total_tokens")
_COLUMNS = (
    *("utterance_id", "take", "audio", "audio_format", "sample_rate_hz", "channels", "duration_ms", "audio_sha256"),
    *("timestamps", "segments", "request_id", "request_key", "quality", *_USAGE),
)


class _Group(NamedTuple):
    """A row group: which of its rows may be taken, and what was asked for in each of these."""

    file: str
    number: int
    rows: int
    chosen: npt.NDArray[np.uint32]
    hashes: npt.NDArray[np.uint64]


class PublishedSpeech:
    """The speech that a dataset has published, by what was asked for. For many threads.

    That is also the speech of a part without a marker, which was reopened for its rejects: its file is whole.

    It takes 12 bytes of memory a row, and the row groups last read.

    Args:
        store: Where the dataset is.
        descriptor: The dataset's.
        wanted: What the audio is to be. Audio that was converted to something else is left out, and so is audio that
            was joined with other pauses.
        label: What an origin begins with, to tell which dataset it is; empty where it is this very dataset.

    Raises:
        StorageError: The dataset cannot be read. Blocking.
    """

    def __init__(self, store: Store, descriptor: Descriptor, wanted: AudioSettings, label: str) -> None:
        self.label = label
        self._store = store
        self._held: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = Lock()
        self._has_warned = False
        groups = self._look(segments_that_fit(descriptor, wanted))
        ends = np.cumsum([0, *(group.rows for group in groups)])
        self._first_rows: npt.NDArray[np.int64] = ends[:-1]
        self._groups = [(group.file, group.number) for group in groups]
        hashes = np.concatenate([np.empty(0, np.uint64), *(group.hashes for group in groups)])
        places = [group.chosen + np.uint32(first) for group, first in zip(groups, ends[:-1], strict=True)]
        order = np.argsort(hashes, kind="stable")
        self._hashes: npt.NDArray[np.uint64] = hashes[order]
        self._places: npt.NDArray[np.uint32] = np.concatenate([np.empty(0, np.uint32), *places])[order]

    def __len__(self) -> int:
        return len(self._hashes)

    def may_have(self, request_key: str, take: int) -> bool:
        """Say whether it is worth a look; never blocks."""
        return bool(self._places_of(request_key, take))

    def get(self, request_key: str, take: int) -> Found | None:
        """Return what was bought for a request; None when it is not there, or no longer. Blocking.

        Raises:
            StorageError: The dataset cannot be read.
        """
        for place in self._places_of(request_key, take):
            row = self._row(place)
            if (row["request_key"], row["take"]) != (request_key, take):
                continue
            try:
                return _whole(row, self.label)
            except (TypeError, ValueError):
                self._warn(place)
        return None

    def _warn(self, place: int) -> None:
        if not self._has_warned:
            self._has_warned = True
            name, _ = self._groups[self._group_of(place)]
            logger.warning(
                "%s has rows whose audio is not what they say of it: it is not taken, and bought anew",
                self._store.describe(name),
            )

    def _group_of(self, place: int) -> int:
        return int(np.searchsorted(self._first_rows, place, "right")) - 1

    def _places_of(self, request_key: str, take: int) -> list[int]:
        wanted = np.uint64(request_hash(request_key, take))
        first, last = (int(np.searchsorted(self._hashes, wanted, side)) for side in ("left", "right"))
        places: list[int] = self._places[first:last].tolist()
        return places

    def _look(self, kinds: Collection[str]) -> list[_Group]:
        """Look into the speech files for audio of these kinds, many at a time."""
        if not kinds:
            return []
        names = sorted(f"speech/{name}" for name in self._store.names("speech", "part-") if name.endswith(".parquet"))
        with DaemonExecutor(READERS, "reuse-index") as readers:
            found = readers.map(partial(self._look_into, kinds), names)
            return [group for groups in found for group in groups]

    def _look_into(self, kinds: Collection[str], name: str) -> list[_Group]:
        groups = []
        columns = ["request_key", "take", "segments"]
        with self._reading(name), self._store.open(name) as stream, pq.ParquetFile(stream) as parquet:
            for number in range(parquet.num_row_groups):
                table = parquet.read_row_group(number, columns=columns, use_threads=False)
                table = own_columns(table, columns, SPEECH, self._store.describe(name), keeps_nulls=True)
                keys, takes, segments = (table.column(column).to_pylist() for column in columns)
                chosen = [
                    place
                    for place, (key, take, count) in enumerate(zip(keys, takes, segments, strict=True))
                    if take is not None and is_request_key(key) and kind_of(count) in kinds
                ]
                hashes = np.fromiter((request_hash(keys[it], takes[it]) for it in chosen), np.uint64, len(chosen))
                groups.append(_Group(name, number, table.num_rows, np.array(chosen, np.uint32), hashes))
        return groups

    def _row(self, place: int) -> dict[str, Any]:
        number = self._group_of(place)
        with self._lock:  # threads that want the same row group wait for the first one to read it
            table = self._held.pop(number, None)
            if table is None:
                table = self._read(*self._groups[number])
            self._held[number] = table
            while len(self._held) > KEPT_GROUPS:
                self._held.popitem(last=False)
        within = place - int(self._first_rows[number])
        if within >= table.num_rows:  # the part was made anew since it was looked at
            return dict.fromkeys(_COLUMNS)
        return {name: table.column(name)[within].as_py() for name in _COLUMNS}

    def _read(self, name: str, group: int) -> pa.Table:
        with self._reading(name), self._store.open(name) as stream, pq.ParquetFile(stream) as parquet:
            if group >= parquet.num_row_groups:
                return parquet.schema_arrow.empty_table()
            table = parquet.read_row_group(group, columns=list(_COLUMNS), use_threads=False)
        table = own_columns(table, _COLUMNS, SPEECH, self._store.describe(name), keeps_nulls=True)
        check_formats(table.column("audio_format").unique().to_pylist(), self._store.describe(name))
        return table

    def _reading(self, name: str) -> AbstractContextManager[None]:
        return storage_errors(f"reading {self._store.describe(name)}", Exception)


def found_of(row: Mapping[str, Any], label: str) -> Found:
    """Return a row of a speech table as audio that was bought before; its origin begins with the label."""
    audio = Audio(
        data=row["audio"]["bytes"],
        format=row["audio_format"],
        sample_rate_hz=row["sample_rate_hz"],
        channels=row["channels"],
        duration_ms=row["duration_ms"],
    )
    answer = Answer(
        segment=0,
        audio=audio,
        words=None if row["timestamps"] is None else tuple(Word(**word) for word in row["timestamps"]),
        usage=Usage(**{name: row[name] for name in _USAGE}),
        request_id=row["request_id"],
        quality=tuple(row["quality"]),
    )
    return Found(answer, origin_of(str(row["utterance_id"]), label), row["segments"])


def kind_of(segments: int) -> str:
    """Return whether audio is that of one segment, or joined from several."""
    return "one" if segments == 1 else "joined"


def segments_that_fit(descriptor: Descriptor, wanted: AudioSettings) -> Collection[str]:
    """Return which of a dataset's audio may be taken: that of one segment, and that joined from several."""
    job = descriptor.job
    made = AudioSettings(job["audio_format"], job["sample_rate_hz"], job["pause_ms"])
    received = AudioSettings()
    fitting = [(one.format, one.sample_rate_hz) for one in (received, wanted)]
    if (made.format, made.sample_rate_hz) not in fitting:
        return ()
    return ("one", "joined") if made.pause_ms == wanted.pause_ms else ("one",)


def _whole(row: Mapping[str, Any], label: str) -> Found:
    """Return a row as audio that was bought before.

    Raises:
        ValueError: It is damaged, or says what cannot be; as a TypeError does.
    """
    found = found_of(row, label)
    check_found(found)
    if hashlib.sha256(found.answer.audio.data).hexdigest() != row["audio_sha256"]:
        raise MalformedRecordError("audio_sha256")
    return found
