"""The speech of a dataset as exports read it: in order, by row group, and audio only where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.daemon_threads import DaemonExecutor
from tts_pipeline.dataset.descriptor import NAME, Descriptor, read_descriptor
from tts_pipeline.dataset.finish import done_parts
from tts_pipeline.dataset.formats import check_formats
from tts_pipeline.dataset.generations import SWAP
from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.dataset.tables import own_columns
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.schema import SPEECH, speech_schema

READERS = 16
"""Files that are looked into at a time: on an object store each takes some round trips."""


@dataclass(frozen=True, slots=True)
class Group:
    """A row group of the speech table, while its file is open.

    Args:
        part: Whose it is.
        first: Place of its first row among all speech of the dataset.
        rows: The columns that were asked for.
        audio: Reads the audio of all its rows: their bytes.
    """

    part: int
    first: int
    rows: pa.Table
    audio: Callable[[], pa.Array]


class SpeechTable:
    """The speech table of a dataset's parts that are done.

    Args:
        store: Where the dataset is.

    Raises:
        ConfigurationError: There is no dataset, or one that is being replaced right now.
        StorageError: It cannot be read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.descriptor = _descriptor(store)
        done = sorted(number for number in done_parts(store, self.descriptor) if number < self.descriptor.parts)
        there = set(store.names("speech", "part-"))
        self.parts = [number for number in done if f"{part_name(number)}.parquet" in there]
        self.parts_left = self.descriptor.parts - len(done)
        self.schema: pa.Schema | None = self._schema()

    @property
    def source_rows(self) -> int:
        """Rows of the source in the parts that have speech."""
        return sum(len(self.descriptor.span(number)) for number in self.parts)

    def groups(self, columns: Sequence[str]) -> Iterator[Group]:
        """Read row group by row group. A group can be asked for its audio until the next one is."""
        first = 0
        for part in self.parts:
            for group in self._groups_of(part, first, columns):
                yield group
                first += group.rows.num_rows

    def light(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read columns without audio, one table for each part, many parts at a time, in order."""
        with DaemonExecutor(READERS, "export-read") as readers:
            waves = (self.parts[start : start + READERS] for start in range(0, len(self.parts), READERS))
            for wave in waves:
                yield from readers.map(lambda part: self._columns_of(part, columns), wave)

    def _columns_of(self, part: int, columns: Sequence[str]) -> pa.Table:
        return pa.concat_tables(group.rows for group in self._groups_of(part, 0, columns))

    def _groups_of(self, part: int, first: int, columns: Sequence[str]) -> Iterator[Group]:
        where = self._store.describe(f"speech/{part_name(part)}.parquet")
        with self._opened(part) as parquet:
            for number in range(parquet.num_row_groups):
                rows = parquet.read_row_group(number, columns=list(columns), use_threads=False)
                rows = own_columns(rows, columns, SPEECH, where)
                if "audio_format" in columns:
                    check_formats(rows.column("audio_format").unique().to_pylist(), where)
                yield Group(part, first, rows, partial(_audio, parquet, number, where))
                first += rows.num_rows

    @contextmanager
    def _opened(self, part: int) -> Iterator[pq.ParquetFile]:
        name = f"speech/{part_name(part)}.parquet"
        reading = storage_errors(f"reading {self._store.describe(name)}", Exception)
        with reading, self._store.open(name) as stream, pq.ParquetFile(stream, pre_buffer=False) as parquet:
            yield parquet

    def _schema(self) -> pa.Schema | None:
        if not self.parts:
            return None
        with self._opened(self.parts[0]) as parquet:
            own = {column.name for column in SPEECH}
            return speech_schema(field for field in parquet.schema_arrow if field.name not in own)


def _audio(parquet: pq.ParquetFile, number: int, where: str) -> pa.Array:
    with storage_errors(f"reading {where}", Exception):
        read = parquet.read_row_group(number, columns=["audio.bytes"], use_threads=False)
        audio = read.column("audio").combine_chunks().field("bytes")
    if audio.null_count:
        raise StorageError(f"{where} is damaged: it has rows without audio", hint="restore it")
    return audio


def _descriptor(store: Store) -> Descriptor:
    descriptor = read_descriptor(store)
    if descriptor is None:
        raise ConfigurationError(f"there is no dataset at {store.root}", hint=f"name the folder that holds {NAME}")
    if store.exists(SWAP):
        raise ConfigurationError(
            f"the dataset at {store.root} is being replaced by a new generation", hint="run its job to finish that"
        )
    return descriptor
