"""Provide ``SpeechUsageReportOperator``, which writes the bill of many datasets, by day, voice or team."""

from __future__ import annotations

import io
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import jinja2
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from jinja2.meta import find_undeclared_variables

from tts_pipeline.airflow.operators.base import context_tags
from tts_pipeline.airflow.outcome import airflow_errors, check_xcom_size
from tts_pipeline.airflow.paths import resolve_path
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.money import total_cost
from tts_pipeline.storage.location import is_local, local_path

if TYPE_CHECKING:
    import polars as pl
    from airflow.sdk import Context

    from tts_pipeline.airflow.paths import AnyPath
    from tts_pipeline.dataset.reader import DatasetLike
    from tts_pipeline.ledger import LedgerLocation
    from tts_pipeline.report.increments import Increment
    from tts_pipeline.report.usage_files import UsageFiles
    from tts_pipeline.storage.store import Store

_SAME_IN_EVERY_RUN = {"var", "conn", "dag", "task"}
"""The names in a template that mean the same in every run of a DAG."""


class SpeechUsageReportOperator(BaseOperator):
    """Add up the usage of datasets, or of a ledger, and write it as one table.

    By default the table is the increment: the usage that no earlier run of the task has counted, whenever it was sent.
    All tables together are the whole bill, each request once. A run that is tried again or cleared writes the table
    that it wrote before.

    The task returns the table's path or URL, its number of rows, the cost by currency, confirmed and at most (null if
    it is not known, which is not 0), the number of requests without a known cost, the number of open parts (of a
    ledger: open runs), whose processes run or were killed, and the number of the increment (null for a total). A total
    of datasets includes the possible spending of open parts in ``cost_upper_bound``; an increment counts it when it is
    published.

    Args:
        destination: A file ``.parquet`` or ``.csv``; an existing file is replaced. The name of an increment's table
            must differ from run to run.
        datasets: A folder or URL of a dataset, or several; None or none is the datasets of the asset events that
            triggered the run. Without any dataset the task is skipped.
        by: The keys to group by, those of ``tts_pipeline.report.usage_report``: ``day``, ``voice``, ``tag:KEY``, ... A
            tag that no request has is a column of nulls, and a warning: a night may have untagged requests only.
        timezone: The time zone of months, days and hours, by its IANA name.
        mode: ``increment``, or ``total``: each table is the whole bill so far.
        state: The folder that holds what earlier runs have counted; None is ``<dag_id>.<task_id>.state`` beside the
            tables, whose folder must then be the same in every run.
        ledger: The folder or URL of a ledger to add up in place of datasets.
        datasets_conn_id: The connection that opens the datasets or the ledger; None is those in their URLs or their
            asset events, or the driver's own.
        destination_conn_id: The same for the table and the state.
        kwargs: Arguments of every operator.
    """

    template_fields: Sequence[str] = (
        "destination",
        "datasets",
        "by",
        "timezone",
        "state",
        "ledger",
        "datasets_conn_id",
        "destination_conn_id",
    )
    ui_color = "#e6dcf7"

    def __init__(  # noqa: PLR0913 (an operator's fields, by name)
        self,
        *,
        destination: AnyPath,
        datasets: AnyPath | Sequence[AnyPath] | None = None,
        by: Sequence[str] = ("day", "voice"),
        timezone: str = "UTC",
        mode: Literal["increment", "total"] = "increment",
        state: AnyPath | None = None,
        ledger: AnyPath | None = None,
        datasets_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.datasets = datasets
        self.by = by
        self.timezone = timezone
        self.mode = mode
        self.state = state
        self.ledger = ledger
        self.datasets_conn_id = datasets_conn_id
        self.destination_conn_id = destination_conn_id
        self._folder_template = str(destination).rpartition("/")[0]  # Airflow fills in the other fields
        self._sources: list[str] = []
        self._lineage: tuple[list[str], str, int] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the table; the returned figures go to XCom."""
        with airflow_errors():
            increment = self._increment(context) if self._is_increment() else None
            report, open_parts = self._total(context) if increment is None else (increment.report, increment.open_parts)
            table = self._write(report)
            self._warn_of_tags(report)
        self._lineage = (self._sources, table, report.height)
        return check_xcom_size(
            {
                "table": table,
                "rows": report.height,
                "cost": _by_currency(report, "cost"),
                "cost_upper_bound": _by_currency(report, "cost_upper_bound"),
                "requests_without_cost": report["requests_without_cost"].sum(),
                "open_parts": open_parts,
                "increment": None if increment is None else increment.number,
            }
        )

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 (the provider's signature)
        """Return the task's lineage; only the OpenLineage provider calls this."""
        from tts_pipeline.airflow.lineage import lineage_of

        return lineage_of(*(self._lineage or ([], str(self.destination), None)))

    def _is_increment(self) -> bool:
        if self.mode not in {"increment", "total"}:
            raise ConfigurationError(f"mode={self.mode!r} is not known", hint="use 'increment' or 'total'")
        return self.mode == "increment"

    def _keys(self) -> list[str]:
        return [self.by] if isinstance(self.by, str) else list(self.by)

    def _increment(self, context: Context) -> Increment:
        """Return the increment of this run: the one that it has made before, or a new one."""
        from tts_pipeline.ledger import Ledger
        from tts_pipeline.report.increments import Increments
        from tts_pipeline.report.usage_files import files_of_datasets, files_of_ledger

        run = json.dumps(context_tags(context))
        store, name = self._place()
        increments = Increments(self._state(context, store))
        existing = increments.of_run(run)  # first: its datasets may be gone by now
        if existing is not None:
            return existing

        def make(files: UsageFiles) -> Increment:
            return increments.make(run, store.describe(name), files, self._keys(), self.timezone)

        if not self.ledger:
            return make(files_of_datasets(self._datasets(context)))
        ledger = Ledger.open(self._ledger())
        return ledger.query(lambda contents: make(files_of_ledger(ledger, contents)))

    def _total(self, context: Context) -> tuple[pl.DataFrame, int]:
        """Return the report of all usage, and the number of open parts, or of open runs of a ledger."""
        from tts_pipeline.report.bill import Bill, query_bill
        from tts_pipeline.report.period import read_period
        from tts_pipeline.report.usage import sum_bill

        def read(bill: Bill) -> tuple[pl.DataFrame, int]:
            report = sum_bill(bill, self._keys(), self.timezone, checks_tags=False)
            return report, len(bill.open_runs) if self.ledger else len(bill.open_parts)

        period = read_period(timezone=self.timezone)
        if self.ledger:
            return query_bill(None, self._ledger().place, period, read)
        return query_bill(self._datasets(context), None, period, read)

    def _warn_of_tags(self, report: pl.DataFrame) -> None:
        from tts_pipeline.report.keys import tag_name

        for name in self._keys():
            if tag_name(name) is not None and report.height and report[name].null_count() == report.height:
                self.log.warning("no request has the %s: it may be misspelt in `by`", name)

    def _ledger(self) -> LedgerLocation:
        from tts_pipeline.ledger import LedgerLocation

        if self.datasets:
            raise ConfigurationError("both `ledger` and `datasets` are given", hint="give one: the ledger has them all")
        location = LedgerLocation(resolve_path(self.ledger or "", self.datasets_conn_id), is_named=True)
        self._sources = [str(location)]
        return location

    def _datasets(self, context: Context) -> list[DatasetLike]:
        sources = _explicit_datasets(self.datasets) if self.datasets else _triggering_datasets(context)
        if not sources:
            raise AirflowSkipException("no dataset is given, and no asset event of a dataset triggered this run")
        datasets = [resolve_path(path, self.datasets_conn_id or conn_id) for path, conn_id in sources]
        self._sources = [os.fspath(dataset) for dataset in datasets]
        return [*datasets]

    def _state(self, context: Context, beside: Store) -> Store:
        """Return the folder of what earlier runs have counted, which every run must find."""
        from tts_pipeline.storage.open_store import open_store

        if self.state:
            return open_store(resolve_path(self.state, self.destination_conn_id))
        names = find_undeclared_variables(jinja2.Environment(autoescape=True).parse(self._folder_template))
        changing = sorted(names - _SAME_IN_EVERY_RUN)
        if changing:
            raise ConfigurationError(
                f"the folder of the tables is {self._folder_template}, which may differ from run to run by "
                f"{', '.join(changing)}: what earlier runs have counted is not found there",
                hint="give a folder with `state`, which is the same in every run, or set mode='total'",
            )
        tags = context_tags(context)
        return beside.subfolder(f"{tags['dag_id']}.{tags['task_id']}.state")

    def _place(self) -> tuple[Store, str]:
        """Return the folder of the table as a store, and the table's name."""
        from tts_pipeline.storage.open_store import open_store

        path = str(self.destination)
        path = str(local_path(path)) if is_local(path) else path
        folder, slash, name = path.rpartition("/")
        if not name.endswith((".parquet", ".csv")):
            raise ConfigurationError(f"the destination {path!r} is not a table file", hint="name it .parquet or .csv")
        return open_store(resolve_path(folder or slash or ".", self.destination_conn_id)), name

    def _write(self, report: pl.DataFrame) -> str:
        from tts_pipeline.report.spreadsheet import to_csv

        store, name = self._place()
        data = io.BytesIO()
        if name.endswith(".parquet"):
            report.write_parquet(data)
        else:
            data.write(to_csv(report).encode())
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
