"""Read the usage of a ledger as lazy frames: row by row, or added up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, reduce
from operator import or_

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

from tts_pipeline.dataset.totals import damaged_amounts
from tts_pipeline.errors import StorageError
from tts_pipeline.ledger.contents import FrozenMonth, LedgerContents
from tts_pipeline.ledger.layout import DATASET_ID_LENGTH, FROZEN, SETTLEMENTS, USAGE
from tts_pipeline.ledger.manifest import Interval
from tts_pipeline.ledger.sums import MEASURES, STEP_US, add_up, as_sums, negative, sums_schema
from tts_pipeline.ledger.usage_facts import AMOUNTS, check_amounts, has_possible_amounts
from tts_pipeline.periods import instant, microseconds
from tts_pipeline.schema import usage_schema
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.parquet import open_parquet, parquet_file
from tts_pipeline.storage.store import Store, storage_errors

GONE_HINT = "run the same command again: another process has frozen the month meanwhile"
MARKS = ("dataset", "is_open", "is_correction", "is_settlement")
"""What ``scan_ledger`` tells of each row beside its usage and its ``dataset_id``."""

_PATH = "path"
_STARTED_AT = pl.col("started_at")


def scan_ledger(contents: LedgerContents) -> pl.LazyFrame:
    """Return the usage of a ledger's period, one row for each request and each settlement, in no order.

    Returns:
        The columns of ``schemas/usage.json``, then ``dataset_id``; ``dataset``: its place, else its id; ``is_open``:
        false; ``is_correction``: whether the row came after its month was frozen; ``is_settlement``: whether it settles
        others: it is no request, and its amounts, which may be negative, are added to theirs.

    Raises:
        StorageError: The ledger's files are gone or damaged, as far as they are read now. Polars reads most files when
            it collects the frame, and then raises its own errors.
    """
    parts = [scan_raw(contents), *(_scan_months(contents)), _scan_settlements(contents)]
    return pl.concat(parts)


def scan_sums(contents: LedgerContents, needed: Collection[str]) -> pl.LazyFrame | None:
    """Return the rows of ``scan_ledger`` added up by quarter hour, where frozen months hold such sums.

    Args:
        contents: The ledger's files.
        needed: The columns that the caller uses.

    Returns:
        The columns ``sums.KEYS``, ``sums.MEASURES`` and ``MARKS``; ``started_at`` is the beginning of a quarter hour.
        Rows of equal keys may be there several times: add them up. None if the sums do not answer: a column is none of
        theirs, or the period does not begin and end with a quarter hour.
    """
    known = {*sums_schema(), *MARKS}
    bounds = (contents.since_us or 0, contents.until_us or 0)
    if not known.issuperset(needed) or any(bound % STEP_US for bound in bounds):
        return None
    whole = [month for month in contents.months if month.manifest.tables]
    parts = [as_sums(scan_raw(contents), MARKS), as_sums(_scan_settlements(contents), MARKS)]
    parts += [_scan_month_sums(contents, month) for month in whole]
    return pl.concat(parts)


def scan_raw(contents: LedgerContents) -> pl.LazyFrame:
    """Return the rows of ``scan_ledger`` that are not frozen."""
    groups: dict[tuple[Interval, ...], list[str]] = defaultdict(list)
    for file in contents.files:
        groups[file.frozen].append(file.path)
    frames = [_empty()]
    for frozen, paths in groups.items():
        rows = _scan_usage(contents, paths)
        if frozen:
            rows = rows.filter(~_is_in(frozen))
        is_correction = _is_in([interval for interval in contents.frozen if interval not in frozen])
        frames.append(_mark(rows, contents, is_correction=is_correction))
    return pl.concat(frames)


def _scan_usage(contents: LedgerContents, paths: Sequence[str]) -> pl.LazyFrame:
    """Return usage files as one frame, with the ids of their datasets, which their paths tell.

    A frame for each dataset would read as many files at once, and need that much more memory.
    """
    store = contents.store
    folder = str(store.path(USAGE)) if isinstance(store, LocalStore) else USAGE
    rows = _guard(_scan_paths(contents, paths, pl.Schema(usage_schema()), has_paths=True), store, paths)
    return rows.with_columns(dataset_id=pl.col(_PATH).str.slice(len(folder) + 1, DATASET_ID_LENGTH))


def _scan_months(contents: LedgerContents) -> Iterator[pl.LazyFrame]:
    for month in contents.months:
        names = [table.name for table in month.manifest.tables]
        if names:
            yield _scan_tables(contents, month, names)


def _scan_tables(contents: LedgerContents, month: FrozenMonth, names: Sequence[str]) -> pl.LazyFrame:
    rows = _scan_files(contents, [f"{FROZEN}/{month.manifest.month}/{name}" for name in names])
    if month.replaced:
        rows = rows.filter(~pl.col("journal_id").is_in(month.replaced))
    return _mark(rows, contents)


def _scan_month_sums(contents: LedgerContents, month: FrozenMonth) -> pl.LazyFrame:
    """Return the sums of a month; tables without sums give their rows, and replaced journals are taken away."""
    folder = f"{FROZEN}/{month.manifest.month}"
    summed = [table for table in month.manifest.tables if table.sums_name is not None]
    parts = []
    if summed:
        sums = _scan_paths(contents, [f"{folder}/{table.sums_name}" for table in summed], sums_schema())
        sums = _guard(sums, contents.store, [f"{folder}/{table.sums_name}" for table in summed])
        parts.append(_mark(sums, contents, columns=list(sums_schema())))
    if month.replaced and summed:
        rows = _scan_files(contents, [f"{folder}/{table.name}" for table in summed])
        gone = rows.filter(pl.col("journal_id").is_in(month.replaced))
        parts.append(negative(as_sums(_mark(gone, contents), MARKS)))
        parts = [add_up(pl.concat(parts), MARKS).filter(pl.any_horizontal(pl.col(*MEASURES).fill_null(0) != 0))]
    plain = [table.name for table in month.manifest.tables if table.sums_name is None]
    if plain:
        parts.append(as_sums(_scan_tables(contents, month, plain), MARKS))
    return pl.concat(parts)


def _scan_settlements(contents: LedgerContents) -> pl.LazyFrame:
    if not contents.settlements:
        return _empty()
    rows = _scan_paths(contents, contents.settlements, _row_schema())
    return _mark(rows, contents, is_settlement=True)


def _mark(
    rows: pl.LazyFrame,
    contents: LedgerContents,
    *,
    is_correction: pl.Expr | None = None,
    is_settlement: bool = False,
    columns: Sequence[str] | None = None,
) -> pl.LazyFrame:
    """Return the rows within the period, with ``MARKS``."""
    if contents.since_us is not None:
        rows = rows.filter(pl.lit(instant(contents.since_us)) <= _STARTED_AT)
    if contents.until_us is not None:
        rows = rows.filter(pl.lit(instant(contents.until_us)) > _STARTED_AT)
    return rows.select(
        *(_row_schema() if columns is None else columns),
        dataset=_place(contents.destinations),
        is_open=pl.lit(value=False),
        is_correction=pl.lit(value=False) if is_correction is None else is_correction,
        is_settlement=pl.lit(is_settlement),
    )


def _place(destinations: Mapping[str, str]) -> pl.Expr:
    """Return the place of each row's dataset, else its id.

    A plain ``replace`` is not done by the streaming engine: all rows would be in memory at once.
    """
    places = dict(destinations)
    return pl.col("dataset_id").map_batches(
        lambda ids: ids.replace(places), return_dtype=pl.String, is_elementwise=True
    )


def _is_in(intervals: Sequence[Interval]) -> pl.Expr:
    within = [
        (pl.lit(instant(interval.start_us)) <= _STARTED_AT) & (pl.lit(instant(interval.end_us)) > _STARTED_AT)
        for interval in intervals
    ]
    return reduce(or_, within, pl.lit(value=False))


def _empty() -> pl.LazyFrame:
    marks = {"dataset": pl.String(), **dict.fromkeys(MARKS[1:], pl.Boolean())}
    return pl.LazyFrame(schema={**_row_schema(), **marks})


@cache
def _row_schema() -> pl.Schema:
    return pl.Schema({**pl.Schema(usage_schema()), "dataset_id": pl.String()})


def _scan_files(contents: LedgerContents, paths: Sequence[str]) -> pl.LazyFrame:
    return _guard(_scan_paths(contents, paths, _row_schema()), contents.store, paths)


def _guard(frame: pl.LazyFrame, store: Store, paths: Sequence[str]) -> pl.LazyFrame:
    """Return a frame whose amounts are checked when they are read, as far as they are."""

    def check(rows: pl.DataFrame) -> pl.DataFrame:
        if not has_possible_amounts(rows):
            check_files(store, paths)
            raise damaged_amounts(store.describe(paths[0]))  # not reached unless the file was replaced meanwhile
        return rows

    return frame.map_batches(
        check, predicate_pushdown=True, projection_pushdown=True, slice_pushdown=True, streamable=True
    )


def check_contents(contents: LedgerContents) -> None:
    """Read all files of a period, for a caller whose frame could not be collected. Blocking.

    Raises:
        StorageError: One of the files is gone or damaged; it is named.
    """
    tables = [
        f"{FROZEN}/{month.manifest.month}/{name}" for month in contents.months for name in month.manifest.table_names
    ]
    check_files(contents.store, [*(file.path for file in contents.files), *contents.settlements, *sorted(tables)])


def check_files(store: Store, paths: Sequence[str]) -> None:
    """Read files of usage, settlements or sums; raise a StorageError that names the first damaged one. Blocking."""
    for path in paths:
        with open_parquet(store, path) as parquet:
            for batch in parquet.iter_batches(use_threads=False):
                table = pa.Table.from_batches([batch])
                if not path.startswith(SETTLEMENTS) and set(AMOUNTS).issubset(table.column_names):
                    check_amounts(table, store.describe(path))


def _scan_paths(
    contents: LedgerContents, paths: Sequence[str], schema: pl.Schema, *, has_paths: bool = False
) -> pl.LazyFrame:
    """Return files as one frame, and with ``has_paths`` the path of each row; a column that a file lacks is null."""
    store = contents.store
    if not isinstance(store, LocalStore):
        return _scan_remote(contents, paths, schema, has_paths=has_paths)
    return pl.scan_parquet(
        [store.path(path) for path in paths],
        glob=False,
        schema=schema,
        missing_columns="insert",
        extra_columns="ignore",
        include_file_paths=_PATH if has_paths else None,
    )


def _scan_remote(contents: LedgerContents, paths: Sequence[str], schema: pl.Schema, *, has_paths: bool) -> pl.LazyFrame:
    """Return a frame over files that Polars cannot open itself; it reads only the selected columns of the period."""
    since_us, until_us = contents.since_us, contents.until_us
    period = Interval(-1 if since_us is None else since_us, 2**63 if until_us is None else until_us)
    whole = pl.Schema({**schema, _PATH: pl.String()}) if has_paths else schema

    def read(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        names = list(whole) if with_columns is None else with_columns
        selection = pl.Schema({name: schema[name] for name in names if name != _PATH})
        with DaemonExecutor(FILE_READERS, "ledger") as readers:
            for start in range(0, len(paths), FILE_READERS):
                some = paths[start : start + FILE_READERS]
                tables = readers.map(lambda path: _read_period(contents.store, path, selection, period), some)
                for path, rows in zip(some, tables, strict=True):
                    named = rows.with_columns(pl.lit(path).alias(_PATH)).select(names) if _PATH in names else rows
                    chosen = named if predicate is None else named.filter(predicate)
                    yield chosen if n_rows is None else chosen.head(n_rows)
                    n_rows = None if n_rows is None else n_rows - min(n_rows, chosen.height)
                    if n_rows == 0:
                        return

    return register_io_source(read, schema=whole)


def _read_period(store: Store, path: str, schema: pl.Schema, period: Interval) -> pl.DataFrame:
    """Read columns of the row groups that may have rows in a period; a column that the file lacks is null."""
    with _open_remote(store, path) as parquet:
        groups = [n for n in range(parquet.num_row_groups) if period.overlaps(*group_range(parquet, n))]
        existing = set(parquet.schema_arrow.names)
        stored = [name for name in schema if name in existing]
        table = parquet.read_row_groups(groups, columns=stored or ["started_at"], use_threads=False)
        frame = pl.DataFrame(pa.table({name: table.column(name) for name in table.column_names}))
        return frame.select(
            (pl.col(name) if name in stored else pl.lit(None)).cast(kind).alias(name) for name, kind in schema.items()
        )


@contextmanager
def _open_remote(store: Store, path: str) -> Iterator[pq.ParquetFile]:
    """Open a file; usage is fetched whole, in one request, as most of its files are small."""
    if not path.startswith(USAGE):
        with open_parquet(store, path) as parquet:
            yield parquet
        return
    with storage_errors(f"reading {store.describe(path)}", Exception):
        data = store.read(path)
        if data is None:
            raise StorageError(f"{store.describe(path)} is gone", hint=GONE_HINT)
        yield parquet_file(pa.BufferReader(data), page_checksum_verification=True)


def group_range(parquet: pq.ParquetFile, number: int) -> tuple[int | None, int | None]:
    """Return the first instant of a row group, and one after the last (us since 1970); None where it is not known."""
    group = parquet.metadata.row_group(number)
    columns = [group.column(index) for index in range(group.num_columns)]
    statistics = next((column.statistics for column in columns if column.path_in_schema == "started_at"), None)
    if statistics is None or not statistics.has_min_max:
        return None, None
    return microseconds(statistics.min), microseconds(statistics.max) + 1
