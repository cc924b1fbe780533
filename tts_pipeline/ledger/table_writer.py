"""Write the tables of a frozen month, and their sums."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl
import pyarrow as pa

from tts_pipeline.ledger.manifest import CurrencyTotals, FrozenTable
from tts_pipeline.ledger.sums import COUNTS, KEYS, MONEY, add_up, as_sums
from tts_pipeline.money import add_costs
from tts_pipeline.schema import USAGE, arrow_fields
from tts_pipeline.storage.parquet import parquet_writer, write_tables
from tts_pipeline.storage.store import Store

TABLE_ROWS = 2**22
"""The rows of a table, about: some hundred megabytes, which several threads read in parallel."""

_GROUP_ROWS = 2**17
_SUMS_SHARE = 4
"""Sums are kept if they have at most a quarter of the rows; else the rows are read about as fast."""


class TableWriter:
    """Writes frames of sorted rows to tables of about ``TABLE_ROWS`` rows. Used with ``with``. Blocking.

    After the block, ``tables`` and ``totals`` are for the manifest. After an exception, the tables are removed.
    """

    def __init__(self, store: Store, folder: str, compaction: str) -> None:
        self.tables: list[FrozenTable] = []
        self.totals: dict[str, CurrencyTotals] = {}
        self._store = store
        self._folder = folder
        self._compaction = compaction
        self._table: _OpenTable | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
            return
        if self._table is not None:
            self._table.abandon(kind, error, traceback)
        for table in self.tables:
            for name in filter(None, (table.name, table.sums_name)):
                self._store.remove(f"{self._folder}/{name}")

    def write(self, rows: pl.DataFrame) -> None:
        """Add rows, sorted by their time."""
        if self._table is None:
            name = f"{len(self.tables):05}-{self._compaction}.parquet"
            self._table = _OpenTable(self._store, f"{self._folder}/{name}")
        self._add_totals(self._table.write(rows))
        if self._table.rows >= TABLE_ROWS:
            self._finish()

    def _finish(self) -> None:
        table = self._table
        if table is None:
            return
        self._table = None
        size_bytes = table.finish()
        name, sums, sums_name = table.name.rpartition("/")[2], table.sums, None
        if sums is not None:
            sums_name = f"sums-{name}"
            arrow = to_arrow(sums.sort("started_at"), _SUMS_SCHEMA)
            write_tables(self._store, f"{self._folder}/{sums_name}", arrow.schema, [arrow], is_new=True)
        self.tables.append(
            FrozenTable(
                name=name,
                rows=table.rows,
                size_bytes=size_bytes,
                sums_name=sums_name,
                sums_rows=0 if sums is None else sums.height,
            )
        )

    def _add_totals(self, sums: pl.DataFrame) -> None:
        columns = ("requests", "characters_billed", "characters_upper_bound", "cost", "cost_upper_bound")
        amounts = [pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name) for name in columns]
        for row in sums.group_by(pl.col("currency").fill_null("")).agg(amounts).iter_rows(named=True):
            earlier = self.totals.get(row["currency"], _NOTHING)
            self.totals[row["currency"]] = CurrencyTotals(
                **{name: getattr(earlier, name) + row[name] for name in columns[:3]},
                cost=add_costs(earlier.cost, row["cost"]),
                cost_upper_bound=add_costs(earlier.cost_upper_bound, row["cost_upper_bound"]),
            )


_ROW_SCHEMA = pa.schema([*arrow_fields(USAGE), pa.field("dataset_id", pa.string())])
_REPEATED = [
    *(set(_ROW_SCHEMA.names) - {"attempt_id", "utterance_id", "request_id", "started_at", "finished_at", "tags"}),
    *("tags.key_value.key", "tags.key_value.value"),
]
"""The Parquet paths of columns that get a dictionary. To try one where values hardly repeat doubles the time."""
_SUMS_SCHEMA = pa.schema(
    [
        *(pa.field(name, _ROW_SCHEMA.field(name).type) for name in KEYS),
        *(pa.field(name, pa.int64()) for name in COUNTS),
        *(pa.field(name, pa.decimal128(38, 9)) for name in MONEY),
    ]
)

_NOTHING = CurrencyTotals(requests=0, characters_billed=0, characters_upper_bound=0, cost=None, cost_upper_bound=None)


class _OpenTable:
    """A table that is being written."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self.rows = 0
        self.sums: pl.DataFrame | None = pl.DataFrame(schema=pl.Schema(_SUMS_SCHEMA))
        self._staging = ExitStack()
        self._path: Path = self._staging.enter_context(store.stage(name, is_new=True))
        self._writer = parquet_writer(self._path, _ROW_SCHEMA, dictionaries=_REPEATED)

    def write(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add rows; return their sums."""
        table = to_arrow(rows, _ROW_SCHEMA)
        for start in range(0, table.num_rows, _GROUP_ROWS):
            self._writer.write_table(table.slice(start, _GROUP_ROWS))
        self.rows += rows.height
        sums = add_up(as_sums(rows.lazy())).collect()
        if self.sums is not None:
            self.sums = add_up(pl.concat([self.sums, sums]).lazy()).collect()
            if self.sums.height * _SUMS_SHARE > self.rows:
                self.sums = None
        return sums

    def finish(self) -> int:
        """Make the table visible; return its size in bytes."""
        self._writer.close()
        size_bytes = self._path.stat().st_size
        self._staging.close()
        return size_bytes

    def abandon(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
        self._staging.__exit__(kind, error, traceback)


def to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return a frame as an Arrow table of a schema."""
    table = frame.select(schema.names).to_arrow()
    return pa.table([_cast(table.column(field.name), field.type) for field in schema], schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_map(kind) and not pa.types.is_map(column.type):  # Polars 1 has lists of entries in place of maps
        lists = column.combine_chunks().cast(pa.list_(column.type.value_type))
        keys, values = lists.values.field(0), lists.values.field(1)
        entries = keys.cast(kind.key_type), values.cast(kind.item_type)
        return pa.chunked_array([pa.MapArray.from_arrays(lists.offsets, *entries)])
    return column.cast(kind)
