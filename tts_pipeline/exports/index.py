"""The index of exported files: which utterance is in which file. It is also what the next export goes by."""

from __future__ import annotations

import hashlib
import io
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.errors import StorageError
from tts_pipeline.exports.names import is_file_name, same_file

NAME = "index.parquet"
PIECES = ".index"
"""Folder of what an export has written so far, part by part: one that was killed is not begun from nothing.

Its files have names of their own in each run until one comes to its end, so that none forgets what another has left.
"""

SCHEMA = pa.schema(
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
"""``name`` is below the destination, ``uri`` the whole of it; ``renamed`` says that the name is not what the template
says; ``frames`` are samples in each channel, null where the format cannot be decoded here; ``source_sha256`` is that of
the audio in the dataset."""

Row = dict[str, Any]
Hashes = npt.NDArray[np.uint64]

_BEGUN = ".begun"
_PIECE = re.compile(r"[0-9]{6,12}-[0-9a-z-]+(\.begun|\.parquet)")
_GROUP_ROWS = 10_000
_KEPT_GROUPS = 4


class Earlier:
    """What earlier exports wrote to a destination, by utterance; 16 bytes of memory for each. Used by ``with``.

    Args:
        store: The destination.

    Raises:
        StorageError: It cannot be read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._opened: tuple[str, ExitStack, pq.ParquetFile] | None = None
        self._pieces = [name for name in store.names(PIECES) if _PIECE.fullmatch(name)]
        self._begun = self._begun_names()
        self._held: OrderedDict[int, pa.Table] = OrderedDict()
        self._groups: list[tuple[str, int]] = []
        try:
            hashes = [found for name in self._names() for found in self._look(name)]
        except BaseException:
            self._close()
            raise
        self._firsts: npt.NDArray[np.int64] = np.cumsum([0, *map(len, hashes)])[:-1]
        unsorted = np.concatenate([np.empty(0, np.uint64), *hashes])
        # Stable, so that the last of several is what was written last.
        self._places: npt.NDArray[np.int64] = np.argsort(unsorted, kind="stable")
        self._hashes: npt.NDArray[np.uint64] = unsorted[self._places]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def get(self, utterance_id: str, take: int) -> Row | None:
        """Return an utterance's row; None when it was not exported."""
        wanted = np.uint64(_hash_of(utterance_id, take))
        last = int(np.searchsorted(self._hashes, wanted, "right")) - 1
        if last < 0 or self._hashes[last] != wanted:
            return None
        row = self._row(int(self._places[last]))
        return row if (row["utterance_id"], row["take"]) == (utterance_id, take) else None

    @property
    def next_run(self) -> int:
        """The number of an export that goes on after those that were killed."""
        return 1 + max((int(name.partition("-")[0]) for name in self._pieces), default=0)

    def is_unsure(self, name: str) -> bool:
        """Say whether an export that was killed may have put something else into a file than is told of it."""
        return hash_of_name(name) in self._begun

    def others(self, names: Hashes) -> Iterator[str]:
        """Yield the names of files that are none of these.

        Args:
            names: Hashes of names, as ``hash_of_name`` makes them, in ascending order.
        """
        for name in self._all_names():
            wanted = np.uint64(hash_of_name(name))
            place = int(np.searchsorted(names, wanted))
            if place == len(names) or names[place] != wanted:
                yield name

    def _all_names(self) -> Iterator[str]:
        yield from self._begun.values()
        for number in range(len(self._groups)):
            file, _ = self._groups[number]
            names = self._read(number, ["name"]).column("name").to_pylist()
            yield from self._below(names, file)

    def _begun_names(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for piece in (f"{PIECES}/{name}" for name in self._pieces if name.endswith(_BEGUN)):
            names = (self._store.read(piece) or b"").decode(errors="replace").splitlines()
            found |= {hash_of_name(name): name for name in self._below(names, piece)}
        return found

    def _below(self, names: Iterable[str | None], file: str) -> Iterator[str]:
        """Yield names as they stand in a file of the export; none of them may lead anywhere else.

        Raises:
            StorageError: One does.
        """
        for name in names:
            if name is None or not is_file_name(name):
                raise _damaged(self._store.describe(file), f"it names a file {name!r}")
            yield name

    def _names(self) -> list[str]:
        pieces = [f"{PIECES}/{name}" for name in self._pieces if not name.endswith(_BEGUN)]
        return [NAME, *pieces] if self._store.exists(NAME) else pieces

    def _look(self, name: str) -> Iterator[Hashes]:
        with storage_errors(f"reading {self._store.describe(name)}", Exception):
            groups = self._file(name).num_row_groups
        for group in range(groups):
            self._groups.append((name, group))
            table = self._read(len(self._groups) - 1, ["utterance_id", "take"])
            keys = zip(table.column("utterance_id").to_pylist(), table.column("take").to_pylist(), strict=True)
            yield np.fromiter((_hash_of(*key) for key in keys), np.uint64, table.num_rows)

    def _row(self, place: int) -> Row:
        number = int(np.searchsorted(self._firsts, place, "right")) - 1
        table = self._held.pop(number, None)
        self._held[number] = table = self._read(number, None) if table is None else table
        while len(self._held) > _KEPT_GROUPS:
            self._held.popitem(last=False)
        row: Row = table.slice(place - int(self._firsts[number]), 1).to_pylist()[0]
        return row if _is_sound(row) else dict.fromkeys(SCHEMA.names)  # none that can be gone by: it is written anew

    def _read(self, number: int, columns: list[str] | None) -> pa.Table:
        name, group = self._groups[number]
        with storage_errors(f"reading {self._store.describe(name)}", Exception):
            table = self._file(name).read_row_group(group, columns=columns, use_threads=False)
        wanted = SCHEMA if columns is None else pa.schema([SCHEMA.field(column) for column in columns])
        if table.schema.remove_metadata() != wanted:
            raise _damaged(self._store.describe(name), "its columns are not those of an index")
        return table

    def _file(self, name: str) -> pq.ParquetFile:
        """Return a file, opened; only one is open at a time, because there may be a piece for each part."""
        if self._opened is None or self._opened[0] != name:
            self._close()
            with ExitStack() as opening:
                stream = opening.enter_context(self._store.open(name))
                parquet = opening.enter_context(pq.ParquetFile(stream, pre_buffer=False))
                self._opened = name, opening.pop_all(), parquet
        return self._opened[2]

    def _close(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None


class IndexWriter:
    """Writes the index of an export, and a piece of it after each part. Used by ``with``; whole only at its end.

    Args:
        store: The destination.
        run: ``Earlier.next_run``.
    """

    def __init__(self, store: Store, run: int) -> None:
        self._store = store
        self._pieces = f"{PIECES}/{run:06}-"
        self._open = ExitStack()
        self._rows: list[Row] = []
        self._names: list[Hashes] = []
        self._begun: list[str] = []

    def __enter__(self) -> Self:
        with ExitStack() as held:
            path = held.enter_context(self._store.stage(NAME))
            self._writer = held.enter_context(pq.ParquetWriter(path, SCHEMA, compression="zstd"))
            self._open = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._open.__exit__(kind, error, trace)

    @property
    def names(self) -> Hashes:
        """Hashes of all names so far, in ascending order: 8 bytes of memory for each."""
        return np.sort(np.concatenate([np.empty(0, np.uint64), *self._names]))

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        self._names.append(np.fromiter((hash_of_name(row["name"]) for row in rows), np.uint64, len(rows)))
        self._rows += rows
        if len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def begin(self, names: Sequence[str]) -> None:
        """Say which files are about to be written: they are accounted for by ``keep``, or unsure after a kill."""
        if names:
            self._begun.append(f"{self._pieces}{len(self._begun):05}{_BEGUN}")
            self._store.write(self._begun[-1], "\n".join(names).encode(), durable=False)

    def keep(self, part: int, rows: Sequence[Row]) -> None:
        """Keep a part's rows for the case that this export does not come to its end."""
        with io.BytesIO() as file:
            pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), file)
            self._store.write(f"{self._pieces}{part_name(part)}.parquet", file.getvalue(), durable=False)
        while self._begun:
            self._store.remove(self._begun.pop())

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows.clear()


def _damaged(place: str, why: str) -> StorageError:
    return StorageError(
        f"{place} is damaged: {why}", hint="remove the export's folder, and what is in it, and export again"
    )


_FACTS = ("bytes", "sample_rate_hz", "channels", "duration_ms")


def _is_sound(row: Row) -> bool:
    """Return whether a row can be true of a file."""
    numbers = [row[name] for name in _FACTS] + [0 if row["frames"] is None else row["frames"]]
    return row["sha256"] is not None and all(number is not None and number >= 0 for number in numbers)


def _hash_of(utterance_id: str, take: int) -> int:
    return _hash(f"{take}:{utterance_id}")


def hash_of_name(name: str) -> int:
    """Return 64 bits of the hash of a file's name; names that are one file on some disk have one hash."""
    return _hash(same_file(name))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
