"""Columns of a dataset's Parquet files as Polars frames, from a disk or from any store."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.daemon_threads import DaemonExecutor
from tts_pipeline.dataset.store import LocalStore, Store, storage_errors

_READERS = 16
_FILE = "__file__"


class Run(NamedTuple):
    """Rows of one file that follow each other in a frame.

    Args:
        name: The file, relative to the dataset.
        first: Its first row's place in the frame.
    """

    name: str
    first: int


def read_frames(
    store: Store, names: Sequence[str], columns: Sequence[str], chosen: Sequence[pl.Expr]
) -> tuple[pl.DataFrame, list[Run]]:
    """Read columns of files of one table, one file after the other. Blocking.

    Args:
        store: The dataset.
        names: The files; at least one.
        columns: What the expressions are of.
        chosen: What is taken.

    Raises:
        StorageError: A file cannot be read.
    """
    with storage_errors(f"reading {len(names)} files of {store.root}", Exception):
        if isinstance(store, LocalStore):
            return _scanned(store, names, chosen)
        with DaemonExecutor(_READERS, "browse") as readers:
            frames = list(readers.map(lambda name: read_file(store, name, columns).select(chosen), names))
    firsts = itertools.accumulate((frame.height for frame in frames), initial=0)
    return pl.concat(frames), [Run(name, first) for name, first in zip(names, firsts, strict=False)]


def read_file(store: Store, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read columns of one file; None is all. Blocking.

    Raises:
        StorageError: It cannot be read.
    """
    reading = storage_errors(f"reading {store.describe(name)}", Exception)
    with reading, store.open(name) as stream, pq.ParquetFile(stream, pre_buffer=False) as parquet:
        table: pa.Table = parquet.read(columns=None if columns is None else list(columns), use_threads=False)
        # Polars 1 panics at metadata that are not UTF-8, and a panic is no Exception: a damaged footer has such.
        return pl.DataFrame(table.cast(pa.schema([field.remove_metadata() for field in table.schema])))


def _scanned(store: LocalStore, names: Sequence[str], chosen: Sequence[pl.Expr]) -> tuple[pl.DataFrame, list[Run]]:
    by_path = {str(store.path(name)): name for name in names}
    scan = pl.scan_parquet(list(by_path), glob=False, include_file_paths=_FILE)
    frame = scan.select(*chosen, _FILE).collect()
    runs = frame.select(pl.col(_FILE).rle()).unnest(_FILE)
    firsts = itertools.accumulate(runs["len"], initial=0)
    found = [Run(by_path[path], first) for path, first in zip(runs["value"], firsts, strict=False)]
    return frame.drop(_FILE), found
