"""The speech of a dataset as exports read it: in order, by row group, and audio only where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, Descriptor, read_descriptor
from tts_pipeline.dataset.finalize import committed_parts
from tts_pipeline.dataset.generations import SWAP_FILE
from tts_pipeline.dataset.names import part_name
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.storage.audio_formats import check_audio_formats
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.parquet import open_parquet
from tts_pipeline.storage.store import Store, storage_errors


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of the speech table, while its file is open.

    Args:
        part: Whose it is.
        first_row: Number of its first row among all speech of the dataset.
        rows: The columns that were asked for.
        audio: Reads the audio of all its rows: their bytes.
    """

    part: int
    first_row: int
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
        done_numbers = sorted(
            number for number in committed_parts(store, self.descriptor) if number < self.descriptor.parts
        )
        speech_files = set(store.names("speech", "part-"))
        self.parts = [number for number in done_numbers if f"{part_name(number)}.parquet" in speech_files]
        self.parts_left = self.descriptor.parts - len(done_numbers)
        self.schema: pa.Schema | None = self._schema()

    @property
    def source_rows(self) -> int:
        """Rows of the source in the parts that have speech."""
        return sum(len(self.descriptor.row_range(number)) for number in self.parts)

    def groups(self, columns: Sequence[str]) -> Iterator[RowGroup]:
        """Read row group by row group. A group can be asked for its audio until the next one is."""
        first_row = 0
        for part in self.parts:
            for group in self._read_part(part, first_row, columns):
                yield group
                first_row += group.rows.num_rows

    def read_columns(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read columns without audio, one table for each part, many parts at a time, in order."""
        with DaemonExecutor(FILE_READERS, "export-read") as readers:
            waves = (self.parts[start : start + FILE_READERS] for start in range(0, len(self.parts), FILE_READERS))
            for wave in waves:
                yield from readers.map(lambda part: self._read_part_columns(part, columns), wave)

    def _read_part_columns(self, part: int, columns: Sequence[str]) -> pa.Table:
        return pa.concat_tables(group.rows for group in self._read_part(part, 0, columns))

    def _read_part(self, part: int, first_row: int, columns: Sequence[str]) -> Iterator[RowGroup]:
        name = f"speech/{part_name(part)}.parquet"
        path = self._store.describe(name)
        with open_parquet(self._store, name) as parquet:
            for number in range(parquet.num_row_groups):
                rows = parquet.read_row_group(number, columns=list(columns), use_threads=False)
                if "audio_format" in columns:
                    check_audio_formats(rows.column("audio_format").unique().to_pylist(), path)
                yield RowGroup(part, first_row, rows.select(list(columns)), partial(_read_audio, parquet, number, path))
                first_row += rows.num_rows

    def _schema(self) -> pa.Schema | None:
        if not self.parts:
            return None
        with open_parquet(self._store, f"speech/{part_name(self.parts[0])}.parquet") as parquet:
            return parquet.schema_arrow


def _read_audio(parquet: pq.ParquetFile, number: int, path: str) -> pa.Array:
    with storage_errors(f"reading {path}", Exception):
        table = parquet.read_row_group(number, columns=["audio.bytes"], use_threads=False)
        audio = table.column("audio").combine_chunks().field("bytes")
    if audio.null_count:
        raise StorageError(f"{path} is damaged: it has rows without audio", hint="restore it")
    return audio


def _descriptor(store: Store) -> Descriptor:
    descriptor = read_descriptor(store)
    if descriptor is None:
        raise ConfigurationError(
            f"there is no dataset at {store.root}", hint=f"name the folder that holds {DESCRIPTOR_FILE}"
        )
    if store.exists(SWAP_FILE):
        raise ConfigurationError(
            f"the dataset at {store.root} is being replaced by a new generation", hint="run its job to finish that"
        )
    return descriptor
