"""Read the usage tables of datasets as one lazy frame, and add them up to a bill."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from tts_pipeline.dataset.claims import Claim
from tts_pipeline.dataset.reader import DatasetLike, DatasetReader
from tts_pipeline.dataset.usage_check import verify_usage
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.report.dataset import scan_usage, usage_frame
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store, storage_errors

TAG_PREFIX = "tag:"
"""The prefix of a tag's name among the columns of a report."""

_KEY_COLUMNS = (
    "model",
    "voice",
    "service",
    "account",
    "dataset",
    "outcome",
    "error_code",
    "price_basis",
    "invocation_id",
)
_KEY_EXPRESSIONS = {
    "day": pl.col("started_at").dt.date(),
    "hour": pl.col("started_at").dt.truncate("1h"),
    **{name: pl.col(name) for name in _KEY_COLUMNS},
}


# Tags are a list of entries in Polars 1, and a map in Polars 2, which casts to the same list.
_ENTRIES = pl.col("tags").cast(pl.List(pl.Struct({"key": pl.String, "value": pl.String})))


def usage(datasets: Sequence[DatasetLike]) -> pl.LazyFrame:
    """Return the usage tables of datasets, one row per request that was sent.

    For example, failures by their code::

        import polars as pl
        from tts_pipeline.report import usage

        usage(["dataset"]).filter(pl.col("outcome") == "failed").group_by("error_code").len().collect()

    The rows include the usage of rebuilds, also of an unfinished one. Requests of parts whose process runs or was
    killed are not published yet, see ``open_parts``. Files of a local dataset are read when the frame is collected,
    files at a URL are fetched now.

    Args:
        datasets: Folders or fsspec URLs; a dataset that is given twice, even by another path, counts once.

    Returns:
        The columns of ``schemas/usage.json``, then ``dataset``: its absolute path, or its URL. Rows by file name.

    Raises:
        ConfigurationError: No dataset is given, or a path holds no dataset. Never retried.
        StorageError: A dataset cannot be read. Never retried.
    """
    return pl.concat(
        [scan_usage(dataset).with_columns(dataset=pl.lit(dataset.store.root)) for dataset in _open_datasets(datasets)]
    )


@dataclass(frozen=True, slots=True)
class OpenPart:
    """A part that was open when a report was made: its process runs, or was killed and its job not run again.

    The claim names the most that may have been spent on the part, the process, and the place of its journal.
    """

    dataset: str
    part: int
    claim: Claim


def open_parts(datasets: Sequence[DatasetLike]) -> list[OpenPart]:
    """Return the open parts of datasets, whose spending is in no usage table yet. Blocking.

    Raises:
        ConfigurationError: As for ``usage``.
        StorageError: As for ``usage``, or a claim is damaged.
    """
    return [
        OpenPart(dataset.store.root, number, claim)
        for dataset in _open_datasets(datasets)
        for number, claim in dataset.open_claims()
    ]


def usage_with_open_parts(datasets: Sequence[DatasetLike], parts: Sequence[OpenPart]) -> pl.LazyFrame:
    """Return the rows of ``usage``, and for each open part one ``unknown`` row with all that it may have spent.

    The column ``is_open`` marks these rows. Call ``open_parts`` before: usage that is published meanwhile then counts
    twice, not never.
    """
    frames = []
    for dataset in _open_datasets(datasets):
        verify_usage(dataset.store)
        root = dataset.store.root
        claims = [part.claim for part in parts if part.dataset == root]
        frames.append(usage_frame(dataset, claims).with_columns(dataset=pl.lit(root)))
    return pl.concat(frames)


def usage_report(datasets: Sequence[DatasetLike], by: Sequence[str] = ()) -> pl.DataFrame:
    """Add up the usage of datasets.

    Args:
        datasets: As for ``usage``.
        by: The columns to group by: ``day`` and ``hour`` (of sending, UTC), ``model``, ``voice``, ``service``,
            ``account``, ``dataset``, ``outcome``, ``error_code``, ``price_basis``, ``invocation_id``, or ``tag:KEY``.

    Returns:
        A row per group and currency, sorted by both. Columns: those of ``by``, then ``requests``, and of these
        ``succeeded``, ``discarded``, ``failed`` and ``unknown``; ``retries`` (requests that were not the first of their
        segment); ``characters_billed`` (confirmed), ``characters_upper_bound``; ``cost`` (confirmed) and
        ``cost_upper_bound``, null if no request of the row has a known cost; ``requests_without_cost``; ``open_parts``,
        whose process runs or was killed: their requests are not published yet, and the upper bounds include all that
        they may have spent; ``implausible``: requests whose reported usage cannot be true, and ``cost_in_question``,
        their part of ``cost_upper_bound``, null without such requests; ``currency``, null without a price.

    Raises:
        ConfigurationError: As for ``usage``, or a name in ``by`` is unknown. Never retried.
        StorageError: As for ``usage``.
    """
    report = sum_usage(usage_with_open_parts(datasets, open_parts(datasets)), key_expressions(by))
    return collect_usage([report])[0]


def collect_usage(frames: Sequence[pl.LazyFrame]) -> list[pl.DataFrame]:
    """Collect frames over usage tables in one pass.

    Raises:
        StorageError: As for ``usage``.
    """
    with storage_errors("reading usage tables", Exception):  # Polars raises many kinds of errors
        return pl.collect_all(frames)


def key_expressions(by: Sequence[str]) -> dict[str, pl.Expr]:
    """Return the expression of each name in ``by`` of ``usage_report``."""
    return {name: _key_expression(name) for name in by}


def sum_usage(rows: pl.LazyFrame, by: Mapping[str, pl.Expr]) -> pl.LazyFrame:
    """Add up rows of ``usage_with_open_parts`` by expressions; the columns are those of ``usage_report``."""
    return (
        rows.group_by(*(expression.alias(name) for name, expression in by.items()), pl.col("currency"))
        .agg(
            _count(~_IS_OPEN).alias("requests"),
            *(_count((pl.col("outcome") == outcome) & ~_IS_OPEN).alias(outcome) for outcome in _OUTCOMES),
            _count(pl.col("attempt") > 1).alias("retries"),
            pl.col("characters_billed", "characters_upper_bound").sum(),
            _money("cost"),
            _money("cost_upper_bound"),
            _count(pl.col("cost_upper_bound").is_null() & ~_IS_OPEN).alias("requests_without_cost"),
            _count(_IS_OPEN).alias("open_parts"),
            _count(pl.col("implausible")).alias("implausible"),
            _money("cost_upper_bound", pl.col("implausible")).alias("cost_in_question"),
        )
        .select(*by, pl.exclude(*by, "currency"), "currency")
        .sort(*by, "currency", nulls_last=True)
    )


_IS_OPEN = pl.col("is_open")
_OUTCOMES = ("succeeded", "discarded", "failed", "unknown")


def _count(condition: pl.Expr) -> pl.Expr:
    return condition.sum().cast(pl.Int64)


def _money(name: str, among: pl.Expr | None = None) -> pl.Expr:
    amounts = pl.col(name) if among is None else pl.col(name).filter(among)
    # Polars sums nulls to 0, but an unknown cost is not 0.
    return pl.when(amounts.is_not_null().any()).then(amounts.sum()).alias(name)


def _key_expression(name: str) -> pl.Expr:
    if name.startswith(TAG_PREFIX) and name != TAG_PREFIX:
        return tag(name.removeprefix(TAG_PREFIX))
    if name not in _KEY_EXPRESSIONS:
        hint = f"{did_you_mean(name, _KEY_EXPRESSIONS)}Known: {', '.join(_KEY_EXPRESSIONS)}, {TAG_PREFIX}KEY"
        raise ConfigurationError(f"usage cannot be grouped by {name!r}", hint=hint)
    return _KEY_EXPRESSIONS[name]


def tag(key: str) -> pl.Expr:
    """Return the value of a tag for each row; null if a row lacks the tag."""
    return _ENTRIES.list.filter(pl.element().struct.field("key") == key).list.first().struct.field("value")


def tag_keys() -> pl.Expr:
    """Return the tag keys of all rows as one column, with one entry per tag of a row."""
    return _ENTRIES.explode(empty_as_null=False, keep_nulls=False).struct.field("key")


def _open_datasets(datasets: Sequence[DatasetLike]) -> list[DatasetReader]:
    """Open each dataset once."""
    readers: dict[str, DatasetReader] = {}
    for dataset in map(DatasetReader.open, datasets):
        readers.setdefault(_canonical_path(dataset.store), dataset)
    if not readers:
        raise ConfigurationError("no dataset is given", hint="name one or more: folders or URLs")
    return list(readers.values())


def _canonical_path(store: Store) -> str:
    """Return the same path for all names of one dataset."""
    return os.path.realpath(store.folder) if isinstance(store, LocalStore) else store.root
