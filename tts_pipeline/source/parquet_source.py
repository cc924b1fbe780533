"""Read the Parquet files of a source as one sequence of rows, and decode each row group at most once per pass."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import os
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from tts_pipeline.config import InputColumns
from tts_pipeline.errors import ConfigurationError, cause_of
from tts_pipeline.source.dropped_columns import refuse_unknown_drop, without_columns
from tts_pipeline.source.hive import hive_columns, holds_only, partition_keys
from tts_pipeline.source.int96 import Int96, Int96Unit, choose_unit, find_int96
from tts_pipeline.source.listing import list_source
from tts_pipeline.source.row_reader import select_columns
from tts_pipeline.source.schema_unification import unify_schemas
from tts_pipeline.source.view_types import without_view_types
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.storage.parquet import parquet_file
from tts_pipeline.storage.parquet_reader import ParquetReader, Projection, measure_footer
from tts_pipeline.storage.store import storage_errors

FOOTER_READERS = 16
FILES_AHEAD = 16
SMALL_FILE_BYTES = 4 * 1024 * 1024
"""A remote file of at most this size is fetched whole and ahead: ``FILES_AHEAD`` times as much memory, at most."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A Parquet file of the source, with the rows of each row group and the columns from its folders' names.

    ``path`` is relative to the source's root, and part of the fingerprint. ``footer_sha256`` is the hash of the Parquet
    footer, which holds the counts and sizes of every column chunk.
    """

    path: str
    location: str
    size_bytes: int
    footer_sha256: str
    row_group_rows: tuple[int, ...]
    hive: Mapping[str, pa.Scalar] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(self.row_group_rows)


@dataclass(frozen=True)
class ReadOptions:
    """Options to read the files of a source; ``filesystem`` None is the local disk.

    Columns in ``drop`` are not part of the schema. INT96 timestamps are read in ``int96_unit``.
    """

    filesystem: Any | None = None
    drop: Collection[str] = ()
    int96_unit: Int96Unit = "ns"


class Source:
    """Rows of one or many Parquet files, in the order of the files' relative paths.

    ``left_out`` counts the Parquet files that are not read, by the reason.
    """

    def __init__(
        self,
        files: Sequence[SourceFile],
        schema: pa.Schema,
        left_out: Mapping[str, int] | None = None,
        options: ReadOptions = ReadOptions(),
    ) -> None:
        self.files = tuple(files)
        self.schema = schema
        self.left_out = left_out or {}
        self._options = options
        self._filesystem = options.filesystem
        self._checked_groups = defaultdict[str, set[int]](set)
        groups = [(file, group) for file in self.files for group in range(len(file.row_group_rows))]
        self._groups = groups
        self._group_ends = list(itertools.accumulate(file.row_group_rows[group] for file, group in groups))
        self._file_starts = [0, *itertools.accumulate(file.rows for file in self.files)]

    @property
    def rows(self) -> int:
        """Rows of the whole source."""
        return self._file_starts[-1]

    def with_files(self, paths: Sequence[str]) -> Source:
        """Return a source of the files with these relative paths, in this order."""
        by_path = {file.path: file for file in self.files}
        return Source([by_path[path] for path in paths], self.schema, self.left_out, self._options)

    def fingerprint(self) -> list[dict[str, Any]]:
        """Return the identity of the source: each file's relative path, size, rows and footer hash; no times, no root.

        A file without rows does not count: when it gets rows, the source has grown.
        """
        return [
            {"path": f.path, "bytes": f.size_bytes, "rows": f.rows, "footer_sha256": f.footer_sha256}
            for f in self.files
            if f.rows
        ]

    def identity(self) -> dict[str, Any]:
        """Return what else determines the columns: Hive columns and the INT96 unit, unless they are the defaults."""
        hive = {"hive": self.hive} if self.hive else {}
        unit = self._options.int96_unit
        return hive if unit == ReadOptions.int96_unit else {**hive, "int96_unit": unit}

    @property
    def hive(self) -> dict[str, str]:
        """The columns from the names of folders, with their types."""
        return {name: str(value.type) for name, value in self.files[0].hive.items()} if self.files else {}

    @property
    def _stored_columns(self) -> list[str] | None:
        """The columns to read from files; None is all."""
        return [name for name in self.schema.names if name not in self.hive] if self._options.drop else None

    def locate(self, row: int) -> tuple[str, int]:
        """Return the name of the file that holds a row of the source, and the row's position in that file.

        The name is the relative path. If two names differ only in ``.parquet``, the later one gets a number, so that
        generated ids are unique.
        """
        index = bisect.bisect_right(self._file_starts, row) - 1
        return self._file_names[index], row - self._file_starts[index]

    @cached_property
    def _file_names(self) -> list[str]:
        stems, names = set[str](), []
        for file in self.files:
            numbered = (f"{file.path}~{number}" for number in itertools.count(2))
            name = next(
                candidate for candidate in itertools.chain([file.path], numbered) if stem_of(candidate) not in stems
            )
            stems.add(stem_of(name))
            names.append(name)
        return names

    def batches(self, start: int = 0, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Stream record batches from the row group that holds row ``start``, each with its first row's position.

        The first position may be less than ``start``. ``columns`` None is all.

        Raises:
            StorageError: A file can no longer be read, or is damaged.
            ConfigurationError: The decoded columns of a file are disproportionately large.
        """
        first_group = bisect.bisect_right(self._group_ends, start)
        row_index = self._group_ends[first_group - 1] if first_group else 0
        schema = select_columns(self.schema, columns)
        hive = self.hive
        stored_columns = self._stored_columns if columns is None else [name for name in columns if name not in hive]
        for file, groups, download in self._prefetch(first_group):
            with self._open(file, download) as parquet:
                end = row_index + sum(file.row_group_rows[number] for number in groups)
                for batch in parquet.slices(groups, stored_columns):
                    projection = _with_hive(batch, file.hive).select(schema.names)
                    yield row_index, projection if projection.schema.equals(schema) else projection.cast(schema)
                    row_index += batch.num_rows
                if row_index != end:
                    raise pa.ArrowInvalid(f"{end - row_index:,} rows of the footer's count are missing")

    def group_of(self, row: int) -> int:
        """Return the number of the row group, counted over all files, that holds a row."""
        return bisect.bisect_right(self._group_ends, row)

    def _prefetch(self, first_group: int) -> Iterator[tuple[SourceFile, list[int], Future[bytes] | None]]:
        """Yield files with their row groups, from one group on, and fetch small remote files ahead.

        Each file is at least one round trip: ten thousand files, one after another, would stall reading for minutes.
        """
        groups = itertools.groupby(itertools.islice(self._groups, first_group, None), key=lambda pair: pair[0])
        files = ((file, [number for _, number in numbered]) for file, numbered in groups)
        if self._filesystem is None:
            yield from ((file, numbers, None) for file, numbers in files)
            return
        readers = DaemonExecutor(FILES_AHEAD, "source-files")
        pending: deque[tuple[SourceFile, list[int], Future[bytes] | None]] = deque()
        try:
            while True:
                for file, numbers in itertools.islice(files, FILES_AHEAD - len(pending)):
                    is_small = file.size_bytes <= SMALL_FILE_BYTES
                    download = readers.submit(self._filesystem.cat_file, file.location) if is_small else None
                    pending.append((file, numbers, download))
                if not pending:
                    return
                yield pending.popleft()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _open(self, file: SourceFile, download: Future[bytes] | None) -> Iterator[ParquetReader]:
        is_remote = self._filesystem is not None and download is None
        hint = "if the file was changed, restore it and run again: what was received is kept"
        with storage_errors(f"reading the source file {file.location!r}", (OSError, pa.ArrowException), hint=hint):
            stream = (
                _open_stream(self._filesystem, file.location, is_sliced=True)
                if download is None
                else pa.BufferReader(download.result())
            )
            projection = Projection(self._stored_columns, self._options.int96_unit)
            checked_groups = self._checked_groups[file.location]
            with stream:
                yield ParquetReader(
                    stream, file.location, is_local=not is_remote, projection=projection, checked_groups=checked_groups
                )


def _with_hive(batch: pa.RecordBatch, hive: Mapping[str, pa.Scalar]) -> pa.RecordBatch:
    for name, value in hive.items():
        batch = batch.append_column(name, pa.repeat(value, batch.num_rows))
    return batch


def stem_of(path: str) -> str:
    """Return the name of a file as generated ids contain it."""
    return path.removesuffix(".parquet")


def open_source(
    location: str | os.PathLike[str],
    *,
    hive: bool = InputColumns().hive,
    work_dir: Path | None = None,
    drop: Sequence[str] = (),
) -> Source:
    """Open a Parquet file, a folder, a glob, or an fsspec URL of one of these; reads footers and INT96 columns.

    ``hive`` makes columns from folders such as ``speaker=Cherry``. Files in ``work_dir`` and columns in ``drop`` are
    not read.

    Raises:
        MissingSourceError: The file does not exist, or no Parquet file is in the folder or matches the glob.
        ConfigurationError: A file is not Parquet or cannot be read; columns or folders of the files differ; a folder
            names a column that its file has with other values; or the source lacks a column in ``drop``.
    """
    listing = list_source(location, work_dir)
    filesystem, listed_files = listing.filesystem, listing.files
    with DaemonExecutor(min(FOOTER_READERS, len(listed_files)), "footers") as readers:
        footers = list(readers.map(lambda pair: _read_footer(filesystem, *pair, drop=drop), listed_files))
    if drop:
        folders = (name for file, *_ in footers if hive for name in partition_keys(file.path))
        refuse_unknown_drop(drop, itertools.chain(*(schema.names for _, schema, _ in footers), folders))
    int96_unit = choose_unit((file.path, int96) for file, _, int96 in footers if int96 is not None)
    schemas = [
        (file.path, without_columns(int96.schema if int96 is not None and int96_unit == "us" else schema, drop))
        for file, schema, int96 in footers
    ]
    schema = without_view_types(unify_schemas(schemas).remove_metadata())
    files = [file for file, *_ in footers]
    if hive:
        files, schema = _with_hive_columns(files, schema, filesystem, drop)
    return Source(files, schema, listing.left_out, ReadOptions(filesystem, drop, int96_unit))


def _with_hive_columns(
    files: Sequence[SourceFile], schema: pa.Schema, filesystem: Any | None, drop: Collection[str]
) -> tuple[list[SourceFile], pa.Schema]:
    """Add the columns from the folders' names; a column that the files have with the same values stays the files'."""
    folder_columns = hive_columns([file.path for file in files])
    columns = {name: values for name, values in folder_columns.items() if name not in drop}
    for name in columns.keys() & set(schema.names):
        for file, value in zip(files, columns[name], strict=True):
            with _open_stream(filesystem, file.location) as stream:
                is_same = holds_only(parquet_file(stream).metadata, name, value, partition_keys(file.path)[name])
            if not is_same:
                hint = "keep one of the two, or use `hive=False` to read the file's column"
                message = f"{file.path!r} has its own column {name!r}, which may differ from its folder's value"
                raise ConfigurationError(message, hint=hint)
    new_columns = {name: values for name, values in columns.items() if name not in schema.names}
    hive_files = [
        replace(f, hive={name: values[n] for name, values in new_columns.items()}) for n, f in enumerate(files)
    ]
    return hive_files, pa.schema([*schema, *(pa.field(name, values.type) for name, values in new_columns.items())])


def _open_stream(filesystem: Any | None, location: str, *, is_sliced: bool = False) -> Any:
    if filesystem is None:
        return pa.OSFile(os.fsencode(location), "rb")
    # Slices of many columns are read in turn: fsspec's read-ahead of one column never serves another.
    return filesystem.open(location, "rb", **({"cache_type": "none"} if is_sliced else {}))


def _read_footer(
    filesystem: Any | None, path: str, location: str, *, drop: Collection[str]
) -> tuple[SourceFile, pa.Schema, Int96 | None]:
    try:
        with _open_stream(filesystem, location) as stream:
            size_bytes, footer_bytes = measure_footer(stream, location)
            metadata = parquet_file(stream).metadata
            stream.seek(size_bytes - 8 - footer_bytes)
            footer_sha256 = hashlib.sha256(stream.read(footer_bytes)).hexdigest()
            groups = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
            schema = metadata.schema.to_arrow_schema()
            file = SourceFile(path, location, size_bytes, footer_sha256, groups)
            return file, schema, find_int96(stream, location, metadata, drop)
    except pa.ArrowInvalid as error:
        raise ConfigurationError(
            f"{location!r} is not a Parquet file: {error}", hint="give Parquet files as the source"
        ) from cause_of(error)
    except OSError as error:
        raise ConfigurationError(f"cannot read {location!r}: {error}", hint="check the source") from cause_of(error)
