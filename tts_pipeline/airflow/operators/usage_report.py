"""The bill of many datasets, by day, voice or team."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from tts_pipeline.airflow.outcome import airflow_errors, check_xcom_size
from tts_pipeline.airflow.paths import resolve_path
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.money import total_cost
from tts_pipeline.storage.location import is_local, local_path

if TYPE_CHECKING:
    import polars as pl
    from airflow.sdk import Context

    from tts_pipeline.airflow.paths import AnyPath


class SpeechUsageReportOperator(BaseOperator):
    """Add up the usage of datasets, and write it as one table.

    Returns where the table is, its number of rows, and the cost by currency, confirmed and at most: null where it is
    not known, which is not 0. Then how many requests have no known cost, and how many parts are open, their process
    running or killed: what they may have spent is in ``cost_upper_bound``.

    Args:
        destination: ``.parquet`` or ``.csv``; replaced when it is there.
        datasets: Folders or URLs of datasets, or one; with none, those of the asset events that triggered the run, and
            where there are none of these either, the task is skipped.
        by: What to tell apart: ``day``, ``hour``, ``model``, ``voice``, ``service``, ``account``, ``dataset``,
            ``outcome``, ``error_code`` or ``tag:KEY``.
        datasets_conn_id: The connection that opens the datasets; None is the ones in their URLs or their asset events,
            or the driver's own.
        destination_conn_id: The same for the table.
        kwargs: Those of every operator.
    """

    template_fields: Sequence[str] = ("destination", "datasets", "by", "datasets_conn_id", "destination_conn_id")
    ui_color = "#e6dcf7"

    def __init__(
        self,
        *,
        destination: AnyPath,
        datasets: AnyPath | Sequence[AnyPath] | None = None,
        by: Sequence[str] = ("day", "voice"),
        datasets_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.datasets = datasets
        self.by = by
        self.datasets_conn_id = datasets_conn_id
        self.destination_conn_id = destination_conn_id
        self._lineage: tuple[list[str], str, int] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Add up and write."""
        from tts_pipeline.report.usage import usage_report

        sources = _explicit_datasets(self.datasets) if self.datasets else _triggering_datasets(context)
        if not sources:
            raise AirflowSkipException("no dataset is given, and no asset event of one triggered this run")
        with airflow_errors():
            datasets = [resolve_path(path, self.datasets_conn_id or conn_id) for path, conn_id in sources]
            report = usage_report(datasets, (self.by,) if isinstance(self.by, str) else tuple(self.by))
            table = self._write(report)
        self._lineage = ([os.fspath(dataset) for dataset in datasets], table, report.height)
        return check_xcom_size(
            {
                "table": table,
                "rows": report.height,
                "cost": _by_currency(report, "cost"),
                "cost_upper_bound": _by_currency(report, "cost_upper_bound"),
                "requests_without_cost": report["requests_without_cost"].sum(),
                "open_parts": report["open_parts"].sum(),
            }
        )

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 (the provider's signature)
        """Return what OpenLineage is told; called by its provider only."""
        from tts_pipeline.airflow.lineage import lineage_of

        return lineage_of(*(self._lineage or ([], str(self.destination), None)))

    def _write(self, report: pl.DataFrame) -> str:
        from tts_pipeline.report.spreadsheet import to_csv
        from tts_pipeline.storage.open_store import open_store

        path = str(self.destination)
        path = str(local_path(path)) if is_local(path) else path
        folder, slash, name = path.rpartition("/")
        data = io.BytesIO()
        if name.endswith(".parquet"):
            report.write_parquet(data)
        elif name.endswith(".csv"):
            data.write(to_csv(report).encode())
        else:
            raise ConfigurationError(
                f"the destination {str(self.destination)!r} is not a table file", hint="name it .parquet or .csv"
            )
        store = open_store(resolve_path(folder or slash or ".", self.destination_conn_id))
        store.write(name, data.getvalue())
        return store.describe(name)


def _explicit_datasets(datasets: AnyPath | Sequence[AnyPath]) -> list[tuple[AnyPath, str | None]]:
    """Return datasets, each without a connection of its own; a text is one, not its letters."""
    if isinstance(datasets, str) or not isinstance(datasets, Sequence):
        return [(datasets, None)]
    return [(dataset, None) for dataset in datasets]


def _triggering_datasets(context: Context) -> list[tuple[AnyPath, str | None]]:
    """Return the datasets of asset events, each once, with the connections that open them."""
    events = context.get("triggering_asset_events") or {}
    connections = {
        event.extra["dataset"]: event.extra.get("conn_id")
        for each in events.values()
        for event in each
        if isinstance(event.extra.get("dataset"), str)
    }
    return sorted(connections.items())


def _by_currency(report: pl.DataFrame, column: str) -> dict[str, str | None]:
    """Add a column of money up for each currency; None where nothing of it is known, which is not 0."""
    costs = defaultdict[str, list[Decimal | None]](list)
    for currency, cost in report.select("currency", column).drop_nulls("currency").iter_rows():
        costs[currency].append(cost)
    totals = {currency: total_cost(costs[currency]) for currency in sorted(costs)}
    return {currency: None if total is None else f"{total:f}" for currency, total in totals.items()}
