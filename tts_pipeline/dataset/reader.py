"""Read a dataset: its finished parts, the files of its tables, and columns by file or by row group."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.audio.identify import check_audio_formats
from tts_pipeline.dataset.claims import Claim
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, Descriptor, read_descriptor
from tts_pipeline.dataset.finalize import committed_parts, dataset_totals
from tts_pipeline.dataset.generations import GENERATIONS_FOLDER, SWAP_FILE, generation_at, unfinished_generations
from tts_pipeline.dataset.names import file_names, is_valid_name, parse_part_number
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import committed_journals, open_claims
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.schema import TABLES
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.parquet import conform_columns, open_parquet
from tts_pipeline.storage.store import Store, storage_errors

DatasetLike = str | os.PathLike[str] | Store
"""A folder, a URL, or an open store."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of the speech table, valid while its file is open; ``audio`` reads the bytes of all its rows.

    ``first_row`` counts rows from the beginning of the first file read.
    """

    part: int
    first_row: int
    rows: pa.Table
    audio: Callable[[], pa.Array]


class DatasetReader:
    """Reads the files of a dataset. Thread-safe; reads only when needed. Every method blocks.

    A column that a file lacks is null where its table allows nulls: an earlier version wrote the file. Any other
    missing column is damage.

    A descriptor of None is read when it is needed. A null that the table does not allow is damage, too, unless the
    caller of a reader that ``keeps_nulls`` skips its row.
    """

    def __init__(self, store: Store, descriptor: Descriptor | None = None, *, keeps_nulls: bool = True) -> None:
        self.store = store
        self._keeps_nulls = keeps_nulls
        if descriptor is not None:
            self.descriptor = descriptor

    @classmethod
    def open(cls, dataset: DatasetLike, *, keeps_nulls: bool = True) -> Self:
        """Open a dataset; raise a ConfigurationError where there is none."""
        store = dataset if isinstance(dataset, Store) else open_store(dataset)
        if not store.exists(DESCRIPTOR_FILE):
            raise _no_dataset(store)
        return cls(store, keeps_nulls=keeps_nulls)

    @cached_property
    def descriptor(self) -> Descriptor:
        """The dataset's descriptor."""
        descriptor = read_descriptor(self.store)
        if descriptor is None:
            raise _no_dataset(self.store)
        return descriptor

    @cached_property
    def parts(self) -> list[int]:
        """The numbers of the finished parts, in ascending order.

        Raises:
            ConfigurationError: A new generation is replacing the dataset.
            StorageError: The dataset cannot be read.
        """
        if self.store.exists(SWAP_FILE):
            raise ConfigurationError(
                f"the dataset at {self.store.root} is being replaced by a new generation",
                hint="run its job to finish the replacement",
            )
        numbers = committed_parts(self.store, self.descriptor)
        return sorted(number for number in numbers if number < self.descriptor.parts)

    def totals(self) -> Totals:
        """Add up the finished parts, and the published usage of the other parts."""
        return dataset_totals(self.store, self.descriptor)

    def files(self, table: str) -> list[str]:
        """Return the files of a table, part by part, including those of unfinished parts."""
        names = [name for name in self.store.names(table, "part-") if is_valid_name(table, name)]
        return [f"{table}/{name}" for name in sorted(names, key=lambda name: (parse_part_number(name), name))]

    def committed_files(self, table: str) -> list[str]:
        """Return the files of a table in finished parts, part by part."""
        parts = set(self.parts)
        return [name for name in self.files(table) if parse_part_number(name) in parts]

    def bill_files(self) -> list[str]:
        """Return the usage files of all generations: in place, earlier, unfinished and given up."""
        folders = ["usage", *(f"{GENERATIONS_FOLDER}/{number}/usage" for number in unfinished_generations(self.store))]
        return sorted(f"{folder}/{name}" for folder in folders for name in file_names(self.store, folder))

    def open_claims(self) -> list[tuple[int, Claim]]:
        """Return the claims, with their parts' numbers, of processes that are running or were killed."""
        unfinished = (generation_at(self.store, number) for number in unfinished_generations(self.store))
        return [
            claim
            for generation in (self.store, *unfinished)
            for claim in open_claims(generation, committed_journals(generation))
        ]

    def schema(self, name: str) -> pa.Schema:
        """Return the Arrow schema of a file."""
        with open_parquet(self.store, name) as parquet:
            return parquet.schema_arrow

    def read(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Read columns of a whole file."""
        with open_parquet(self.store, name) as parquet:
            return self._check(name, parquet.read(columns=list(columns), use_threads=False), columns)

    def read_files(self, names: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield columns without audio, one table per file, in order; reads several files in parallel."""
        with DaemonExecutor(FILE_READERS, "dataset") as readers:
            for start in range(0, len(names), FILE_READERS):
                yield from readers.map(lambda name: self.read(name, columns), names[start : start + FILE_READERS])

    def row_groups(self, names: Sequence[str], columns: Sequence[str]) -> Iterator[RowGroup]:
        """Yield the row groups of files; the audio of a group can be read until the next group is requested."""
        first_row = 0
        for name in names:
            with open_parquet(self.store, name) as parquet:
                for number in range(parquet.num_row_groups):
                    rows = self._read_group(parquet, name, number, columns)
                    audio = partial(self._read_audio, parquet, name, number)
                    yield RowGroup(parse_part_number(name), first_row, rows, audio)
                    first_row += rows.num_rows

    def row_group(self, name: str, number: int, columns: Sequence[str]) -> pa.Table | None:
        """Read columns of one row group; return None when the file has fewer row groups."""
        with open_parquet(self.store, name) as parquet:
            return self._read_group(parquet, name, number, columns) if number < parquet.num_row_groups else None

    def row(self, name: str, number: int, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Read one row, counted from 0 in its file; return None when it does not exist. Reads only its row group.

        ``columns`` None means all columns but the audio.
        """
        if not self.store.exists(name):
            return None
        with open_parquet(self.store, name) as parquet:
            if columns is None:
                columns = [column for column in parquet.schema_arrow.names if column != "audio"]
            for group in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(group).num_rows
                if number < rows:
                    return self._read_group(parquet, name, group, columns).slice(number, 1)
                number -= rows
        return None

    def _read_group(self, parquet: pq.ParquetFile, name: str, number: int, columns: Sequence[str]) -> pa.Table:
        return self._check(name, parquet.read_row_group(number, columns=list(columns), use_threads=False), columns)

    def _read_audio(self, parquet: pq.ParquetFile, name: str, number: int) -> pa.Array:
        with storage_errors(f"reading {self.store.describe(name)}", Exception):
            table = parquet.read_row_group(number, columns=["audio.bytes"], use_threads=False)
            audio = table.column("audio").combine_chunks().field("bytes")
        if audio.null_count:
            raise self._damage(name, "it has rows without audio")
        return audio

    def _check(self, name: str, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Return a file's table with only these columns, in order; check audio formats, which may become file names."""
        kind = name.rsplit("/", 2)[-2]
        location = self.store.describe(name)
        table = conform_columns(table, columns, TABLES[kind], location, keeps_nulls=self._keeps_nulls)
        if "audio_format" in columns:
            check_audio_formats(table.column("audio_format").unique().to_pylist(), location)
        return table

    def _damage(self, name: str, reason: str) -> StorageError:
        return StorageError(f"{self.store.describe(name)} is damaged: {reason}", hint="restore it")


def _no_dataset(store: Store) -> ConfigurationError:
    return ConfigurationError(
        f"there is no dataset at {store.root}", hint=f"name the destination of a run: it holds {DESCRIPTOR_FILE}"
    )
