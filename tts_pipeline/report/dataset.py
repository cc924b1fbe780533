"""Read a dataset's tables as lazy Polars frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from tts_pipeline.dataset.claims import Claim
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.dataset.reader import DatasetLike, DatasetReader
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_table import claim_usage
from tts_pipeline.schema import TABLES, arrow_fields, to_table, usage_schema
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import storage_errors


class Dataset:
    """The tables of a dataset; ``open_dataset`` returns it."""

    def __init__(self, reader: DatasetReader) -> None:
        self._reader = reader

    @property
    def descriptor(self) -> Descriptor:
        """The description of the dataset: its job, its source, its number of rows and parts, its prices."""
        return self._reader.descriptor

    @property
    def parts(self) -> list[int]:
        """The numbers of the finished parts, in ascending order; ``descriptor.parts`` is the number of all parts."""
        return self._reader.parts

    @property
    def totals(self) -> Totals:
        """The content and the cost of the dataset, as a run prints them; read anew each time."""
        return self._reader.totals()

    def speech(self) -> pl.LazyFrame:
        """Return the speech of the finished parts.

        Returns:
            One row per utterance that has audio, in the order of the source. The columns of ``schemas/speech.json``
            (``duration_ms`` in milliseconds, ``cost`` in ``currency``), then the other columns of the source. The audio
            is read only where the column ``audio`` is selected.

        Raises:
            ConfigurationError: A new generation is replacing the dataset right now. Never retried.
            StorageError: The dataset cannot be read. Never retried.
        """
        return scan_table(self._reader, "speech", self._reader.committed_files("speech"))

    def rejects(self) -> pl.LazyFrame:
        """Return the rejects of the finished parts.

        Returns:
            One row per utterance that failed for good, in the order of the source. The columns of
            ``schemas/rejects.json``; the last column, ``input``, is the whole input row, and missing without rejects.

        Raises:
            ConfigurationError: As for ``speech``.
            StorageError: As for ``speech``.
        """
        return scan_table(self._reader, "rejects", self._reader.committed_files("rejects"))

    def usage(self) -> pl.LazyFrame:
        """Return the usage of every request, including unfinished parts and earlier generations.

        Returns:
            One row per request that was sent, by file name. The columns of ``schemas/usage.json``, then ``is_open``:
            whether the row is not a request but a part whose process runs or was killed. Such a row has the outcome
            ``unknown``, and its upper bounds cover all that the part may have spent.

        Raises:
            StorageError: The dataset cannot be read, or a claim is damaged. Never retried.
        """
        claims = [claim for _, claim in self._reader.open_claims()]  # first: newly published usage counts twice then
        return usage_frame(self._reader, claims)


def open_dataset(path: DatasetLike) -> Dataset:
    """Open a dataset to read its tables as lazy Polars frames. Blocking.

    For example, the hours of speech of each voice::

        import polars as pl
        import tts_pipeline as tts

        speech = tts.open_dataset("dataset").speech()
        print(speech.group_by("voice").agg(pl.col("duration_ms").sum() / 3_600_000).collect())

    A frame covers the files that exist when it is made; Polars reads them when it collects the frame, and then raises
    its own errors. Usage at a URL is fetched when the frame is made.

    Args:
        path: A folder or an fsspec URL that a job made; an ``FsspecPath`` carries credentials.

    Raises:
        ConfigurationError: The path holds no dataset. Never retried.
        StorageError: The dataset cannot be read. Never retried.
    """
    return Dataset(DatasetReader.open(path))


def scan_table(
    dataset: DatasetReader, table: str, names: Sequence[str], file_column: str | None = None
) -> pl.LazyFrame:
    """Return files of the table ``speech`` or ``rejects`` as one lazy frame, in this order. Blocking.

    ``file_column`` adds a column of this name that holds each row's file.
    """
    own_schema = _polars_schema(pa.schema(arrow_fields(TABLES[table])))
    if not names:
        return pl.LazyFrame(schema=own_schema)
    if not isinstance(dataset.store, LocalStore):
        schema = pl.Schema({**own_schema, **_polars_schema(dataset.schema(names[-1]))})
        return _scan_remote(dataset, names, schema, file_column)
    paths = [dataset.store.path(name) for name in names]
    with storage_errors(f"reading {paths[-1]}", Exception):
        schema = pl.Schema({**own_schema, **pl.scan_parquet(paths[-1], glob=False).collect_schema()})
    frame = _scan_files(paths, schema, file_column)
    # Polars gives whole paths.
    return (
        frame
        if file_column is None
        else frame.with_columns(pl.col(file_column).str.slice(len(f"{dataset.store.root}/")))
    )


def _scan_remote(
    dataset: DatasetReader, names: Sequence[str], schema: pl.Schema, file_column: str | None
) -> pl.LazyFrame:
    """Return a frame over files that Polars cannot open itself; it reads only the selected columns."""
    full_schema = pl.Schema(schema if file_column is None else {**schema, file_column: pl.String()})

    def read(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        selection = list(full_schema) if with_columns is None else with_columns
        columns = [name for name in selection if name in schema] or ["utterance_id"]
        for file, table in _read_tables(dataset, names, columns):
            frame = pl.DataFrame(table).cast({name: schema[name] for name in columns})
            if file_column is not None:
                frame = frame.with_columns(pl.lit(file).alias(file_column))
            if n_rows is not None:
                frame = frame.head(n_rows)
                n_rows -= frame.height
            yield frame.select(selection) if predicate is None else frame.select(selection).filter(predicate)
            if n_rows == 0:
                return

    return register_io_source(read, schema=full_schema)


def _read_tables(
    dataset: DatasetReader, names: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the files' tables: whole files, many at a time, or row groups one by one if they may be large."""
    if names[0].startswith("rejects/") or _SMALL_SPEECH_COLUMNS.issuperset(columns):
        yield from zip(names, dataset.read_files(names, columns), strict=True)
        return
    for name in names:
        for group in dataset.row_groups([name], columns):
            yield name, group.rows


def usage_frame(dataset: DatasetReader, claims: Sequence[Claim], files: Sequence[str] | None = None) -> pl.LazyFrame:
    """Return the rows of ``scan_usage``, and a row for each claim, for which ``is_open`` is true. Blocking."""
    published, claimed = scan_usage(dataset, files).with_columns(is_open=False), claims_frame(claims).lazy()
    return pl.concat([published, claimed.with_columns(is_open=True)], how="diagonal_relaxed")


def claims_frame(claims: Sequence[Claim]) -> pl.DataFrame:
    """Return a usage row for each claim, whose upper bounds are all that the claim may have spent."""
    return pl.DataFrame(to_table([claim_usage(claim) for claim in claims], usage_schema()))


def scan_usage(dataset: DatasetReader, files: Sequence[str] | None = None) -> pl.LazyFrame:
    """Return the published bill of a dataset, one row per request. Blocking unless it is on a local disk.

    ``files`` are some of ``bill_files``; None is all of them.
    """
    names, store = dataset.bill_files() if files is None else files, dataset.store
    if not names:
        return claims_frame([]).lazy()
    if isinstance(store, LocalStore):
        return scan_usage_files([store.path(name) for name in names])
    with DaemonExecutor(FILE_READERS, "usage") as readers:
        contents = [data for data in readers.map(store.read, names) if data is not None]
    with storage_errors(f"reading {store.describe('usage')}", Exception):
        return scan_usage_files(contents)


def scan_usage_files(files: list[Path] | list[bytes], file_column: str | None = None) -> pl.LazyFrame:
    """Return usage files as one frame; files of earlier versions lack columns, which are null."""
    return _scan_files(files, _polars_schema(usage_schema()), file_column)


def _scan_files(files: list[Path] | list[bytes], schema: pl.Schema, file_column: str | None) -> pl.LazyFrame:
    """Return files as one frame; a column that a file lacks is null."""
    return pl.scan_parquet(
        files,
        glob=False,  # a folder may be named "a[1]"
        schema=schema,
        missing_columns="insert",
        extra_columns="ignore",
        include_file_paths=file_column,
    )


def _polars_schema(schema: pa.Schema) -> pl.Schema:
    return pl.DataFrame(schema.empty_table()).schema


_SMALL_SPEECH_COLUMNS = frozenset(column.name for column in TABLES["speech"]) - {"audio"}
