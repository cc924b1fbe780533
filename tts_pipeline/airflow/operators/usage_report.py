"""Provide ``SpeechUsageReportOperator``, which writes the bill of many datasets, by day, voice or team."""

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

    The task returns the table's path or URL, its number of rows, the cost by currency, confirmed and at most (null if
    it is not known, which is not 0), the number of requests without a known cost, and the number of open parts, whose
    processes run or were killed: ``cost_upper_bound`` includes their possible spending.

    Args:
        destination: A file ``.parquet`` or ``.csv``; an existing file is replaced.
        datasets: A folder or URL of a dataset, or several; None or none is the datasets of the asset events that
            triggered the run. Without any dataset the task is skipped.
        by: The keys to group by: ``day``, ``hour``, ``model``, ``voice``, ``service``, ``account``, ``dataset``,
            ``outcome``, ``error_code`` or ``tag:KEY``.
        datasets_conn_id: The connection that opens the datasets; None is those in their URLs or their asset events, or
            the driver's own.
        destination_conn_id: The same for the table.
        kwargs: Arguments of every operator.
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
        """Write the table; the returned figures go to XCom."""
        from tts_pipeline.report.usage import usage_report

        sources = _explicit_datasets(self.datasets) if self.datasets else _triggering_datasets(context)
        if not sources:
            raise AirflowSkipException("no dataset is given, and no asset event of a dataset triggered this run")
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
        """Return the task's lineage; only the OpenLineage provider calls this."""
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
    """Return the given datasets without connections; a text is one dataset, not a sequence of letters."""
    if isinstance(datasets, str) or not isinstance(datasets, Sequence):
        return [(datasets, None)]
    return [(dataset, None) for dataset in datasets]


def _triggering_datasets(context: Context) -> list[tuple[AnyPath, str | None]]:
    """Return the datasets of asset events, each once, with the connections that open them."""
    events = context.get("triggering_asset_events") or {}
    connections = {
        event.extra["dataset"]: event.extra.get("conn_id")
        for asset_events in events.values()
        for event in asset_events
        if isinstance(event.extra.get("dataset"), str)
    }
    return sorted(connections.items())


def _by_currency(report: pl.DataFrame, column: str) -> dict[str, str | None]:
    """Add up a column of money for each currency; None if no cost is known, which is not 0."""
    costs = defaultdict[str, list[Decimal | None]](list)
    for currency, cost in report.select("currency", column).drop_nulls("currency").iter_rows():
        costs[currency].append(cost)
    totals = {currency: total_cost(costs[currency]) for currency in sorted(costs)}
    return {currency: None if total is None else f"{total:f}" for currency, total in totals.items()}
