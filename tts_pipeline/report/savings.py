"""What reuse saved: rows whose audio was not bought again, and what it would have cost, by who paid first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import orjson
import polars as pl

from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.dataset.usage_table import SPEECH_KIND
from tts_pipeline.errors import StorageError
from tts_pipeline.ledger.runs import Run
from tts_pipeline.models import Price
from tts_pipeline.periods import instant
from tts_pipeline.report.dataset import scan_table
from tts_pipeline.report.facts import KEYS, MARKS, TAG_TYPE
from tts_pipeline.report.pricing import all_prices, by_price, cost_expression
from tts_pipeline.schema import usage_schema

ORIGIN = "origin"
"""The place of who paid first: a dataset or a store as it was given to ``reuse``; empty for the same job."""

_PRICES = msgspec.json.Decoder(list[Price])
_MONEY = pl.Decimal(38, 9)
_SCHEMA = pl.Schema(
    {
        "started_at": pl.Datetime("us", "UTC"),
        **dict.fromkeys(("dataset", "service", "model", "voice", "invocation_id", "currency", ORIGIN), pl.String()),
        "utterance_id": pl.String(),
        "take": pl.Int32(),
        "saved_rows": pl.Int64(),
        "saved_characters": pl.Int64(),
        "saved": _MONEY,
    }
)
_RUN_KEYS = ("service", "model", "account", "key_id", "door", "invocation_id")
_USAGE_TAGS = pl.DataFrame(usage_schema().empty_table()).schema["tags"]


def distinct_savings(savings: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """Return the savings of datasets as one frame; a row that copies of a dataset have is there once."""
    rows = pl.concat([_no_savings(), *savings], how="diagonal_relaxed")
    return rows if len(savings) < 2 else rows.unique(["invocation_id", "utterance_id", "take"])


def _no_savings() -> pl.LazyFrame:
    return pl.LazyFrame(schema=_SCHEMA)


def dataset_savings(dataset: DatasetReader) -> pl.LazyFrame:
    """Return the savings of a dataset's finished parts, a row for each utterance that reused audio. Blocking.

    The characters are our count; the cost is that of the price of the dataset that applied when the row was finished,
    null without one.

    Raises:
        StorageError: The dataset cannot be read, or its prices are damaged.
    """
    files = dataset.files("speech")
    if not files or not dataset.totals().reused:
        return _no_savings()
    prices = {(dataset.descriptor.job["service"], dataset.descriptor.job["model"]): _read_prices(dataset)}
    speech = scan_table(dataset, "speech", files).filter(pl.col("deduplicated_from").is_not_null())
    rows = speech.with_columns(started_at="created_at")
    tokens = {name: pl.col(name) for name in ("input_tokens", "output_tokens")}
    quantities = {"characters": pl.col("characters_counted"), **tokens}
    costs = {price: cost_expression(price, quantities) for price in all_prices(prices)}
    currencies = {price: pl.lit(price.currency) for price in costs}
    return rows.select(
        *("started_at", "service", "model", "voice", "invocation_id", "utterance_id", "take"),
        dataset=pl.lit(dataset.store.root),
        # "PLACE#ID", or "ID" for an equal row of the same job.
        origin=pl.col("deduplicated_from").str.extract("^([^#]*)#").fill_null(""),
        saved_rows=pl.lit(1, pl.Int64),
        saved_characters="characters_counted",
        currency=by_price(prices, currencies, pl.lit(None, pl.String)),
        saved=by_price(prices, costs, pl.lit(None, _MONEY)),
    )


def run_savings(runs: Iterable[Run]) -> pl.LazyFrame:
    """Return the savings of runs, a row for each place whose audio a run reused."""
    rows = [
        {
            "started_at": instant(run.start.started_at_us),
            "dataset": run.start.destination,
            **{name: getattr(run.start, name) for name in _RUN_KEYS},
            "tags": [{"key": key, "value": value} for key, value in run.start.tags.items()],
            "currency": None if saving.cost is None else run.end.currency,
            ORIGIN: saving.origin,
            "saved_rows": saving.rows,
            "saved_characters": saving.characters,
            "saved": saving.cost,
        }
        for run in runs
        if run.end is not None
        for saving in run.end.saved
    ]
    runs_schema = {**_SCHEMA, **dict.fromkeys(_RUN_KEYS, pl.String()), "tags": TAG_TYPE}
    return pl.LazyFrame(rows, schema=runs_schema, orient="row").with_columns(pl.col("tags").cast(_USAGE_TAGS))


def as_facts(savings: pl.LazyFrame) -> pl.LazyFrame:
    """Return savings with all keys of facts, so that they are grouped as requests are."""
    known = savings.collect_schema()
    types = {**dict.fromkeys(KEYS, pl.String()), "tags": _USAGE_TAGS}
    absent = [pl.lit(None, types[name]).alias(name) for name in KEYS if name not in (*known, *MARKS, "kind")]
    return savings.with_columns(
        *absent, pl.lit(SPEECH_KIND).alias("kind"), *(pl.lit(value=False).alias(name) for name in MARKS)
    )


def _read_prices(dataset: DatasetReader) -> Sequence[Price]:
    rows = [{name: text for name, text in row.items() if text is not None} for row in dataset.descriptor.prices]
    try:
        return _PRICES.decode(orjson.dumps(rows))
    except msgspec.ValidationError as error:
        raise StorageError(
            f"the prices of the dataset at {dataset.store.root} are damaged: {error}", hint="restore dataset.json"
        ) from error
