"""Search, sort and page the rows of a dataset, whose small columns are in memory."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import polars as pl

from tts_pipeline.browse.row_query import SORT_KEYS, RowQuery
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.report.dataset import scan_table
from tts_pipeline.storage.store import storage_errors

_SPEECH_COLUMNS = ("utterance_id", "take", "text", "voice", "language", "duration_ms", "characters_billed", "attempts")
_MORE_SPEECH_COLUMNS = ("cost", "currency", "quality")
_REJECT_COLUMNS = ("utterance_id", "take", "attempts", "cost", "currency", "error_code", "message")
_TEXT_COLUMNS = ("utterance_id", "text", "voice", "language", "currency", "error_code", "message")
_SCHEMA = pl.Schema(
    {
        **{name: pl.String() for name in _TEXT_COLUMNS},
        "take": pl.Int32(),
        "duration_ms": pl.Int64(),
        "characters_billed": pl.Int64(),
        "attempts": pl.Int16(),
        "cost": pl.Decimal(18, 9),
        "quality": pl.List(pl.String),
    }
)
_PREVIEW_CHARACTERS = 240
_CACHED_ORDERS = 8
_MAX_VALUES = 200
_FILE = "__file__"


class FileSpan(NamedTuple):
    """A file of the dataset, and the number of its first row in the frame of all rows."""

    name: str
    first_row: int


class RowTable:
    """The rows of a dataset: all speech, part by part, then all rejects. Safe for many threads.

    A million rows of a hundred characters take about 150 MB.
    """

    def __init__(self, frame: pl.DataFrame, spans: Sequence[FileSpan]) -> None:
        self.frame = frame
        self._spans = spans
        self._first_rows = [span.first_row for span in spans]
        self._select = lru_cache(_CACHED_ORDERS)(partial(_select_rows, frame))

    def page(self, query: RowQuery) -> tuple[int, list[dict[str, Any]]]:
        """Return the number of selected rows, and the rows of the page, with ``table``, ``part`` and ``number``."""
        if query.is_unfiltered:
            total, page = self.frame.height, self.frame.slice(query.offset, query.limit)
            row_numbers = list(range(query.offset, query.offset + page.height))
        else:
            order = self._select(replace(query, offset=0, limit=0))
            total, page_rows = len(order), order.slice(query.offset, query.limit)
            row_numbers, page = page_rows.to_list(), self.frame[page_rows]
        preview = page.with_columns(pl.col("text").str.head(_PREVIEW_CHARACTERS))
        return total, [
            {**self._address(row_number), **row}
            for row_number, row in zip(row_numbers, preview.iter_rows(named=True), strict=True)
        ]

    def values(self) -> dict[str, list[tuple[str | None, int]]]:
        """Return the values to filter by, with the number of rows of each, the most frequent first."""
        counted = {name: self.frame[name] for name in ("voice", "language", "error_code")}
        counted["flag"] = self.frame["quality"].explode(empty_as_null=False)
        return {name: _counts(series, nulls=name in {"voice", "language"}) for name, series in counted.items()}

    def _address(self, row_number: int) -> dict[str, Any]:
        span = self._spans[bisect.bisect_right(self._first_rows, row_number) - 1]
        table, _, file = span.name.partition("/")
        return {"table": table, "part": file.removesuffix(".parquet"), "number": row_number - span.first_row}


def _select_rows(frame: pl.DataFrame, query: RowQuery) -> pl.Series:
    """Return the numbers of the rows that a query selects, in its order."""
    selection = frame.lazy().with_row_index("row_number").filter(query.condition())
    if query.sort is not None:
        by = SORT_KEYS[query.sort]
        selection = selection.sort(by, descending=query.descending, nulls_last=True, maintain_order=True)
    return selection.select("row_number").collect().to_series()


def read_rows(dataset: DatasetReader, files: Mapping[str, Sequence[str]]) -> RowTable:
    """Read the rows of files of ``speech`` and of ``rejects``. Blocking.

    The dataset's job names the columns of text and voice in the input row of a reject.
    """
    frame, spans = pl.DataFrame(schema=_SCHEMA), list[FileSpan]()
    tables = (("speech", _speech_expressions()), ("rejects", _reject_expressions(dataset.descriptor.job)))
    for table, expressions in tables:
        if files[table]:
            with storage_errors(f"reading the {table} of {dataset.store.root}", Exception):
                more, file_spans = _read_table(dataset, table, files[table], expressions)
                spans += [FileSpan(span.name, frame.height + span.first_row) for span in file_spans]
                frame = pl.concat([frame, more])
    return RowTable(frame, spans)


def _read_table(
    dataset: DatasetReader, table: str, names: Sequence[str], expressions: Sequence[pl.Expr]
) -> tuple[pl.DataFrame, list[FileSpan]]:
    """Read files of a table one after the other; return their rows and the span of each file."""
    frame = scan_table(dataset, table, names, _FILE).select(*expressions, _FILE).collect()
    files = frame.select(pl.col(_FILE).rle()).unnest(_FILE)
    first_rows = itertools.accumulate(files["len"], initial=0)
    spans = [FileSpan(name, first) for name, first in zip(files["value"], first_rows, strict=False)]
    return frame.drop(_FILE), spans


def _speech_expressions() -> list[pl.Expr]:
    return _cast_all({name: pl.col(name) for name in (*_SPEECH_COLUMNS, *_MORE_SPEECH_COLUMNS)})


def _reject_expressions(job: Mapping[str, Any]) -> list[pl.Expr]:
    column = job["columns"].get("voice")
    voice = pl.lit(job["parameters"].get("voice")) if column is None else _input_column(column)
    expressions = {name: pl.col(name) for name in _REJECT_COLUMNS}
    return _cast_all({**expressions, "text": _input_column(job["text_column"]), "voice": voice, "quality": pl.lit([])})


def _input_column(column: str) -> pl.Expr:
    return pl.col("input").struct.field(column)


def _cast_all(expressions: Mapping[str, pl.Expr]) -> list[pl.Expr]:
    """Return all columns of the schema, in order and with their types; missing expressions become null."""
    return [expressions.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in _SCHEMA.items()]


def _counts(series: pl.Series, *, nulls: bool) -> list[tuple[str | None, int]]:
    counted = (series if nulls else series.drop_nulls()).rename("value").value_counts(sort=True).head(_MAX_VALUES)
    return list(counted.iter_rows())
