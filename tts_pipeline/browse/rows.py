"""The small columns of all rows of a dataset, speech and rejects, held in memory: searched, sorted and paged."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import polars as pl

from tts_pipeline.browse.asked import SORTED, Asked
from tts_pipeline.browse.tables import Run, read_frames
from tts_pipeline.dataset.store import Store, storage_errors

_SPEECH = ("utterance_id", "take", "text", "voice", "language", "duration_ms", "characters_billed", "attempts")
_SPEECH_MORE = ("cost", "currency", "quality")
_REJECT = ("utterance_id", "take", "attempts", "cost", "currency", "error_code", "message")
_TEXT = ("utterance_id", "text", "voice", "language", "currency", "error_code", "message")
_SCHEMA = pl.Schema(
    {
        **{name: pl.String() for name in _TEXT},
        "take": pl.Int32(),
        "duration_ms": pl.Int64(),
        "characters_billed": pl.Int64(),
        "attempts": pl.Int16(),
        "cost": pl.Decimal(18, 9),
        "quality": pl.List(pl.String),
    }
)
_SHOWN_CHARACTERS = 240
_KEPT_ORDERS = 8
_MAX_VALUES = 200


class Rows:
    """Rows of a dataset: all speech, part by part, then all rejects. For many threads.

    A million rows of a hundred characters take about 150 MB.

    Args:
        frame: Their small columns.
        files: Where they are.
    """

    def __init__(self, frame: pl.DataFrame, files: Sequence[Run]) -> None:
        self.frame = frame
        self._files = files
        self._firsts = [run.first for run in files]
        self._orders: OrderedDict[tuple[object, ...], pl.Series] = OrderedDict()
        self._lock = Lock()

    def page(self, asked: Asked) -> tuple[int, list[dict[str, Any]]]:
        """Return how many rows were asked for, and those of the page, with ``table``, ``part`` and ``number``."""
        if asked.is_plain:
            total, page = self.frame.height, self.frame.slice(asked.offset, asked.limit)
            places = list(range(asked.offset, asked.offset + page.height))
        else:
            order = self._order(asked)
            total, chosen = len(order), order.slice(asked.offset, asked.limit)
            places, page = chosen.to_list(), self.frame[chosen]
        shown = page.with_columns(pl.col("text").str.head(_SHOWN_CHARACTERS))
        return total, [
            {**self._located(at), **row} for at, row in zip(places, shown.iter_rows(named=True), strict=True)
        ]

    def values(self) -> dict[str, list[tuple[str | None, int]]]:
        """Return what can be filtered by, with the number of rows of each, the most frequent first."""
        counted = {name: self.frame[name] for name in ("voice", "language", "error_code")}
        counted["flag"] = self.frame["quality"].explode(empty_as_null=False)
        return {name: _counts(series, nulls=name in {"voice", "language"}) for name, series in counted.items()}

    def _order(self, asked: Asked) -> pl.Series:
        with self._lock:
            if (known := self._orders.get(asked.order)) is not None:
                self._orders.move_to_end(asked.order)
                return known
        order = self._found(asked)
        with self._lock:
            self._orders[asked.order] = order
            while len(self._orders) > _KEPT_ORDERS:
                self._orders.popitem(last=False)
        return order

    def _found(self, asked: Asked) -> pl.Series:
        found = self.frame.lazy().with_row_index("place").filter(asked.condition())
        if asked.sort is not None:
            by = SORTED[asked.sort]
            found = found.sort(by, descending=asked.descending, nulls_last=True, maintain_order=True)
        return found.select("place").collect().to_series()

    def _located(self, place: int) -> dict[str, Any]:
        run = self._files[bisect.bisect_right(self._firsts, place) - 1]
        table, _, file = run.name.partition("/")
        return {"table": table, "part": file.removesuffix(".parquet"), "number": place - run.first}


def read_rows(store: Store, names: Mapping[str, Sequence[str]], job: Mapping[str, Any]) -> Rows:
    """Read the rows of a dataset. Blocking.

    Args:
        store: The dataset.
        names: The files of ``speech`` and of ``rejects`` that are read.
        job: The descriptor's: it tells where in a reject's input row text and voice are.

    Raises:
        StorageError: A file cannot be read.
    """
    frame, files = pl.DataFrame(schema=_SCHEMA), list[Run]()
    reading = (("speech", (*_SPEECH, *_SPEECH_MORE), _chosen()), ("rejects", (*_REJECT, "input"), _rejected(job)))
    for table, columns, chosen in reading:
        if names[table]:
            more, runs = read_frames(store, [f"{table}/{name}" for name in names[table]], columns, chosen)
            files += [Run(run.name, frame.height + run.first) for run in runs]
            with storage_errors(f"reading the {table} of {store.root}", Exception):  # of other types
                frame = pl.concat([frame, more])
    return Rows(frame, files)


def _chosen() -> list[pl.Expr]:
    return _typed({name: pl.col(name) for name in (*_SPEECH, *_SPEECH_MORE)})


def _rejected(job: Mapping[str, Any]) -> list[pl.Expr]:
    column = job["columns"].get("voice")
    voice = pl.lit(job["parameters"].get("voice")) if column is None else _of_input(column)
    chosen = {name: pl.col(name) for name in _REJECT}
    return _typed({**chosen, "text": _of_input(job["text_column"]), "voice": voice, "quality": pl.lit([])})


def _of_input(column: str) -> pl.Expr:
    return pl.col("input").struct.field(column)


def _typed(chosen: Mapping[str, pl.Expr]) -> list[pl.Expr]:
    """Return all columns, in order and of their types; what is not chosen is null."""
    return [chosen.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in _SCHEMA.items()]


def _counts(series: pl.Series, *, nulls: bool) -> list[tuple[str | None, int]]:
    counted = (series if nulls else series.drop_nulls()).rename("value").value_counts(sort=True).head(_MAX_VALUES)
    return list(counted.iter_rows())
