"""What reuse saved, for the page: by who paid first."""

from __future__ import annotations

from typing import Any

import polars as pl

from tts_pipeline.browse.months import Selection
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.ledger import Ledger
from tts_pipeline.report.bill import Bill
from tts_pipeline.report.savings import dataset_savings, run_savings
from tts_pipeline.report.usage import savings_by_origin

MAX_ORIGINS = 40
"""The most rows, those that saved most: a reuse store may hold the audio of many datasets."""


def ledger_saved(ledger: Ledger, selection: Selection) -> dict[str, Any]:
    """Return what the runs saved that began in a period and have ended: ``rows`` and ``totals``. Blocking.

    ``rows`` are those of ``savings_by_origin``, at most ``MAX_ORIGINS``, and ``more`` is the number of the others;
    ``totals`` are the same sums of all rows, by currency.

    Raises:
        StorageError: The ledger cannot be read, or is damaged.
    """
    period = selection.period
    return _saved(run_savings(ledger.ended_runs(period.since_us, period.until_us)))


def dataset_saved(dataset: DatasetReader, selection: Selection) -> dict[str, Any]:
    """Return what a dataset saved in a period, in the form of ``ledger_saved``. Blocking.

    Raises:
        StorageError: The dataset cannot be read, or is damaged.
    """
    return _saved(selection.period.select(dataset_savings(dataset)))


def _saved(savings: pl.LazyFrame) -> dict[str, Any]:
    origins = savings_by_origin(Bill(pl.LazyFrame(), savings)).sort("cost", descending=True, nulls_last=True)
    amount = pl.when(pl.col("cost").count() > 0).then(pl.col("cost").sum()).alias("cost")
    totals = origins.group_by("currency", maintain_order=True).agg(pl.col("rows", "characters").sum(), amount)
    rows = origins.head(MAX_ORIGINS).to_dicts()
    return {"rows": rows, "more": origins.height - len(rows), "totals": totals.to_dicts()}
