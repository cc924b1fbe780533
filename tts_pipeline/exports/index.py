"""Write and read the index of exported files, which maps utterances to files; the next export starts from it."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.dataset.names import part_name
from tts_pipeline.errors import StorageError
from tts_pipeline.exports.file_names import canonical_name, is_file_name
from tts_pipeline.storage.hash_index import HashIndex
from tts_pipeline.storage.parquet import open_parquet, parquet_writer
from tts_pipeline.storage.store import Store, storage_errors

INDEX_FILE = "index.parquet"
CHECKPOINT_FOLDER = ".index"
"""Folder of an export's progress, part by part, so that an export that was killed continues.

Until an export finishes, each run uses new file names here, so that no run overwrites the progress of another.
"""

INDEX_SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("take", pa.int32()),
        ("split", pa.string()),
        ("name", pa.string()),
        ("uri", pa.string()),
        ("renamed", pa.bool_()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("audio_format", pa.string()),
        ("sample_rate_hz", pa.int32()),
        ("channels", pa.int32()),
        ("duration_ms", pa.int64()),
        ("frames", pa.int64()),
        ("text", pa.string()),
        ("voice", pa.string()),
        ("language", pa.string()),
        ("source_sha256", pa.string()),
    ]
)
"""``name`` is the path below the destination, ``uri`` the full one; ``renamed`` is true if the name differs from its
template; ``frames`` are samples in each channel, null if the format cannot be decoded here; ``source_sha256`` is the
hash of the audio in the dataset."""

IndexEntry = dict[str, Any]

_INTENT_SUFFIX = ".begun"
_CHECKPOINT_NAME = re.compile(r"[0-9]{6,12}-[0-9a-z-]+(\.begun|\.parquet)")
_GROUP_ROWS = 10_000
_CACHED_GROUPS = 4


class ExportIndex:
    """The files that earlier exports wrote to a destination, by utterance; 12 bytes of memory for each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open_file: tuple[str, ExitStack, pq.ParquetFile] | None = None
        self._checkpoints = [name for name in store.names(CHECKPOINT_FOLDER) if _CHECKPOINT_NAME.fullmatch(name)]
        self._intent_names = self._read_intents()
        self._table = lru_cache(_CACHED_GROUPS)(partial(self._read_group, columns=None))
        self._groups: list[tuple[str, int]] = []
        try:
            hashes = [group_hashes for name in self._index_files() for group_hashes in self._hash_keys(name)]
        except BaseException:
            self.close()
            raise
        self._first_rows: npt.NDArray[np.int64] = np.cumsum([0, *map(len, hashes)])[:-1]
        unsorted = np.concatenate([np.empty(0, np.uint64), *hashes])
        self._hashes = HashIndex(unsorted, np.arange(len(unsorted)))

    def get(self, utterance_id: str, take: int) -> IndexEntry | None:
        """Return an utterance's entry; None if it was not exported."""
        positions = self._hashes.rows(_hash_of_key(utterance_id, take))
        if not positions:
            return None
        entry = self._entry(positions[-1])  # the last one written
        return entry if (entry["utterance_id"], entry["take"]) == (utterance_id, take) else None

    @property
    def next_run(self) -> int:
        """The number of the next run, after the runs that were killed."""
        return 1 + max((int(name.partition("-")[0]) for name in self._checkpoints), default=0)

    def is_suspect(self, name: str) -> bool:
        """Return whether a killed export may have written a file whose entry does not describe it."""
        return hash_of_name(name) in self._intent_names

    def names_not_in(self, name_hashes: HashIndex) -> Iterator[str]:
        """Yield the names of all files whose ``hash_of_name`` is not among the hashes."""
        return (name for name in self._file_names() if hash_of_name(name) not in name_hashes)

    def _file_names(self) -> Iterator[str]:
        yield from self._intent_names.values()
        for number in range(len(self._groups)):
            file, _ = self._groups[number]
            names = self._read_group(number, ["name"]).column("name").to_pylist()
            yield from self._checked_names(names, file)

    def _read_intents(self) -> dict[int, str]:
        names_by_hash: dict[int, str] = {}
        for path in (f"{CHECKPOINT_FOLDER}/{name}" for name in self._checkpoints if name.endswith(_INTENT_SUFFIX)):
            names = (self._store.read(path) or b"").decode(errors="replace").splitlines()
            names_by_hash |= {hash_of_name(name): name for name in self._checked_names(names, path)}
        return names_by_hash

    def _checked_names(self, names: Iterable[str | None], file: str) -> Iterator[str]:
        """Yield the names from a file of the export; refuse a name that leads out of the destination."""
        for name in names:
            if name is None or not is_file_name(name):
                raise _damaged(self._store.describe(file), f"it names a file {name!r}")
            yield name

    def _index_files(self) -> list[str]:
        checkpoints = [f"{CHECKPOINT_FOLDER}/{name}" for name in self._checkpoints if not name.endswith(_INTENT_SUFFIX)]
        return [INDEX_FILE, *checkpoints] if self._store.exists(INDEX_FILE) else checkpoints

    def _hash_keys(self, name: str) -> Iterator[npt.NDArray[np.uint64]]:
        for group in range(self._open(name).num_row_groups):
            self._groups.append((name, group))
            table = self._read_group(len(self._groups) - 1, ["utterance_id", "take"])
            keys = zip(table.column("utterance_id").to_pylist(), table.column("take").to_pylist(), strict=True)
            yield np.fromiter((_hash_of_key(*key) for key in keys), np.uint64, table.num_rows)

    def _entry(self, position: int) -> IndexEntry:
        number = int(np.searchsorted(self._first_rows, position, "right")) - 1
        entry: IndexEntry = self._table(number).slice(position - int(self._first_rows[number]), 1).to_pylist()[0]
        # An implausible entry becomes empty, so that its file is written again.
        return entry if _is_plausible(entry) else dict.fromkeys(INDEX_SCHEMA.names)

    def _read_group(self, number: int, columns: list[str] | None) -> pa.Table:
        name, group = self._groups[number]
        with storage_errors(f"reading {self._store.describe(name)}", Exception):
            table = self._open(name).read_row_group(group, columns=columns, use_threads=False)
        expected = INDEX_SCHEMA if columns is None else pa.schema([INDEX_SCHEMA.field(column) for column in columns])
        if table.schema.remove_metadata() != expected:
            raise _damaged(self._store.describe(name), "its columns are not those of an index")
        return table

    def _open(self, name: str) -> pq.ParquetFile:
        """Open a file, and close the previous one: a checkpoint for each part may be too many open files."""
        if self._open_file is None or self._open_file[0] != name:
            self._close_file()
            with ExitStack() as stack:
                parquet = stack.enter_context(open_parquet(self._store, name))
                self._open_file = name, stack.pop_all(), parquet
        return self._open_file[2]

    def close(self) -> None:
        """Close the open file and clear the cached row groups."""
        self._table.cache_clear()
        self._close_file()

    def _close_file(self) -> None:
        if self._open_file is not None:
            self._open_file[1].close()
            self._open_file = None


@contextmanager
def write_index(store: Store, run: int) -> Iterator[IndexWriter]:
    """Write the index of an export; it is visible after the block. ``run`` is ``ExportIndex.next_run``."""
    with store.stage(INDEX_FILE) as path, parquet_writer(path, INDEX_SCHEMA) as parquet:
        writer = IndexWriter(store, run, parquet)
        yield writer
        writer.flush()


class IndexWriter:
    """Writes the index of an export; made by ``write_index``."""

    def __init__(self, store: Store, run: int, parquet: pq.ParquetWriter) -> None:
        self._store = store
        self._checkpoint_prefix = f"{CHECKPOINT_FOLDER}/{run:06}-"
        self._parquet = parquet
        self._entries: list[IndexEntry] = []
        self._name_hashes: list[npt.NDArray[np.uint64]] = []
        self._intents: list[str] = []

    @property
    def name_hashes(self) -> HashIndex:
        """Hashes of all names so far."""
        return HashIndex(np.concatenate([np.empty(0, np.uint64), *self._name_hashes]))

    def add(self, entries: Sequence[IndexEntry]) -> None:
        """Add entries, and write a row group when enough are collected."""
        self._name_hashes.append(
            np.fromiter((hash_of_name(entry["name"]) for entry in entries), np.uint64, len(entries))
        )
        self._entries += entries
        if len(self._entries) >= _GROUP_ROWS:
            self.flush()

    def write_intent(self, names: Sequence[str]) -> None:
        """Record the names of files before they are written: until ``checkpoint``, a kill makes these files suspect."""
        if names:
            self._intents.append(f"{self._checkpoint_prefix}{len(self._intents):05}{_INTENT_SUFFIX}")
            self._store.write(self._intents[-1], "\n".join(names).encode(), durable=False)

    def checkpoint(self, part: int, entries: Sequence[IndexEntry]) -> None:
        """Store a part's entries, so that the next run continues after a kill."""
        with io.BytesIO() as file:
            with parquet_writer(file, INDEX_SCHEMA) as writer:
                writer.write_table(pa.Table.from_pylist(list(entries), schema=INDEX_SCHEMA))
            self._store.write(f"{self._checkpoint_prefix}{part_name(part)}.parquet", file.getvalue(), durable=False)
        while self._intents:
            self._store.remove(self._intents.pop())

    def flush(self) -> None:
        """Write the collected entries as a row group."""
        if self._entries:
            self._parquet.write_table(pa.Table.from_pylist(self._entries, schema=INDEX_SCHEMA))
            self._entries.clear()


def _damaged(path: str, reason: str) -> StorageError:
    return StorageError(
        f"{path} is damaged: {reason}", hint="remove the export's folder with all its files, and export again"
    )


_NUMERIC_FIELDS = ("bytes", "sample_rate_hz", "channels", "duration_ms")


def _is_plausible(entry: IndexEntry) -> bool:
    numbers = [entry[name] for name in _NUMERIC_FIELDS] + [0 if entry["frames"] is None else entry["frames"]]
    return entry["sha256"] is not None and all(number is not None and number >= 0 for number in numbers)


def _hash_of_key(utterance_id: str, take: int) -> int:
    return _hash(f"{take}:{utterance_id}")


def hash_of_name(name: str) -> int:
    """Return 64 bits of the hash of a file's name; names that are the same file on some disk have the same hash."""
    return _hash(canonical_name(name))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
