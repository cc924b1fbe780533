"""Columns of a dataset's Parquet files as Polars frames, from a disk or from any store."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.parquet import open_parquet
from tts_pipeline.storage.store import Store, storage_errors

_FILE = "__file__"


class FileSpan(NamedTuple):
    """Rows of one file that follow each other in a frame.

    Args:
        name: The file, relative to the dataset.
        first_row: Its first row's place in the frame.
    """

    name: str
    first_row: int


def read_frames(
    store: Store, names: Sequence[str], columns: Sequence[str], expressions: Sequence[pl.Expr]
) -> tuple[pl.DataFrame, list[FileSpan]]:
    """Read columns of files of one table, one file after the other. Blocking.

    Args:
        store: The dataset.
        names: The files; at least one.
        columns: What the expressions are of.
        expressions: What is taken.

    Raises:
        StorageError: A file cannot be read.
    """
    with storage_errors(f"reading {len(names)} files of {store.root}", Exception):
        if isinstance(store, LocalStore):
            return _scan_local(store, names, expressions)
        with DaemonExecutor(FILE_READERS, "browse") as readers:
            frames = list(readers.map(lambda name: read_file(store, name, columns).select(expressions), names))
    first_rows = itertools.accumulate((frame.height for frame in frames), initial=0)
    return pl.concat(frames), [FileSpan(name, first) for name, first in zip(names, first_rows, strict=False)]


def read_file(store: Store, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read columns of one file; None is all. Blocking.

    Raises:
        StorageError: It cannot be read.
    """
    with open_parquet(store, name) as parquet:
        return pl.DataFrame(parquet.read(columns=None if columns is None else list(columns), use_threads=False))


def _scan_local(
    store: LocalStore, names: Sequence[str], expressions: Sequence[pl.Expr]
) -> tuple[pl.DataFrame, list[FileSpan]]:
    by_path = {str(store.path(name)): name for name in names}
    scan = pl.scan_parquet(list(by_path), glob=False, include_file_paths=_FILE)
    frame = scan.select(*expressions, _FILE).collect()
    files = frame.select(pl.col(_FILE).rle()).unnest(_FILE)
    first_rows = itertools.accumulate(files["len"], initial=0)
    spans = [FileSpan(by_path[path], first) for path, first in zip(files["value"], first_rows, strict=False)]
    return frame.drop(_FILE), spans
