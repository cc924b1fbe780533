"""Provide the base of all speech operators: the job's fields, an orderly stop, and a report at the end."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from airflow.sdk import BaseOperator

from tts_pipeline.airflow.account_store import mask_passwords
from tts_pipeline.airflow.hook import SpeechHook
from tts_pipeline.airflow.links import SpeechReportLink, report_link
from tts_pipeline.airflow.outcome import airflow_errors, asset_event
from tts_pipeline.airflow.paths import connection_of, resolve_path
from tts_pipeline.config import AudioSettings, InputColumns, Selection
from tts_pipeline.deprecation import renamed_arguments, renamed_attributes
from tts_pipeline.errors import StoppedError
from tts_pipeline.storage.location import local_path

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tts_pipeline.airflow.paths import AnyPath
    from tts_pipeline.catalog import AnyCatalog, Catalog
    from tts_pipeline.job import Job, Progress, Report, RunOptions
    from tts_pipeline.job.stop import CancelToken
    from tts_pipeline.models import ParameterValue

DOOR = "airflow"
"""Where the bill says that a job was started."""

RunJob = Callable[["Progress", "CancelToken"], "Report"]
"""A function that runs a job, or a shard of it, with a progress to update and a token that stops it."""


@renamed_attributes(running="options", named_columns="input_columns")
class SpeechJobOperator(BaseOperator):
    """A task for one speech job. Its fields are those of ``tts_pipeline.Job``; its texts are templates.

    All tasks of one dataset get the same job. Task, run and try are not part of the job's identity: a task that is
    retried, cleared or killed continues its dataset, and buys nothing again.

    Args:
        source: A Parquet file, a folder of Parquet files, a glob or a URL of these; also an ``ObjectStoragePath``.
        destination: The folder or URL of the dataset.
        model: The model's name, as the service knows it.
        parameters: Voice parameters with the same value for all rows: ``{"voice": "Cherry"}``.
        text: The source column of the text; None is that of ``columns``, which is ``text`` by default.
        utterance_id: The source column of the id; None is that of ``columns``, which is ``id`` by default.
        columns: Voice parameter -> source column that carries it row by row, or an ``InputColumns``.
        hive: Whether folders of the source such as ``speaker=Cherry`` are columns.
        drop: Columns of the source that are not read.
        tags: Labels for the bill, besides those of the DAG, the task and the run.
        speech_conn_id: The connection to the service.
        source_conn_id: The connection that opens the source; None is the one in its URL, or the driver's own.
        destination_conn_id: The same for the destination.
        catalog: Services, cards and prices, or the TOML file of your own; None is the built-in catalog.
        prices: The TOML file of your own prices; None is the catalog's prices.
        selection: The rows of the source to take; None is all rows.
        audio: The format and sample rate of the dataset's audio; None is audio as received.
        unchecked: Names of parameters that are sent without a check against the model's card.
        options: How the job is run: limits (those of the connection are their ceiling), budget, parts, quality, reuse;
            its account store goes before that of the connection.
        defer_after: If the service requests a longer pause than this, the task is deferred and holds no worker's slot;
            with None it is never deferred: it waits, up to ``Limits.max_pause_s``.
        kwargs: Arguments of every operator.
    """

    template_fields: Sequence[str] = (
        "source",
        "destination",
        "model",
        "text",
        "utterance_id",
        "parameters",
        "tags",
        "speech_conn_id",
        "source_conn_id",
        "destination_conn_id",
        "catalog",
        "prices",
    )
    template_fields_renderers = {"parameters": "json", "tags": "json"}  # noqa: RUF012 (as Airflow has it)
    operator_extra_links = (SpeechReportLink(),)
    ui_color = "#e6dcf7"

    @renamed_arguments(running="options")
    def __init__(  # noqa: PLR0913 (an operator's fields, by name)
        self,
        *,
        source: AnyPath,
        destination: AnyPath,
        model: str,
        parameters: Mapping[str, ParameterValue] | None = None,
        text: str | None = None,
        utterance_id: str | None = None,
        columns: Mapping[str, str] | InputColumns | None = None,
        hive: bool = InputColumns().hive,
        drop: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        speech_conn_id: str = SpeechHook.default_conn_name,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        catalog: AnyCatalog | None = None,
        prices: str | os.PathLike[str] | None = None,
        selection: Selection | None = None,
        audio: AudioSettings | None = None,
        unchecked: Sequence[str] = (),
        options: RunOptions | None = None,
        defer_after: timedelta | None = timedelta(minutes=5),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.destination = destination
        self.model = model
        self.parameters = parameters
        self.text = text
        self.utterance_id = utterance_id
        self.columns = columns
        self.hive = hive
        self.drop = drop
        self.tags = tags
        self.speech_conn_id = speech_conn_id
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id
        self.catalog = catalog
        self.prices = prices
        self.selection = selection
        self.audio = audio
        self.unchecked = unchecked
        self.options = options
        self.defer_after = defer_after
        self.report_link = ""
        self._lineage: tuple[str, str, int | None] | None = None

    def execute(self, context: Context) -> Any:
        """Run the task; the returned value goes to XCom."""
        with airflow_errors():
            return self._work(context)

    def resume(self, context: Context, event: Any = None) -> Any:  # noqa: ARG002 (the trigger's event)
        """Continue after the pause of a deferred task."""
        with airflow_errors():  # not by ``execute``: Airflow refuses to call it within a task
            return self._work(context)

    def on_kill(self) -> None:
        """Stop in good order: requests in flight get their grace period, and the bill is written."""
        self._stop().set("Airflow")

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 (the provider's signature)
        """Return the task's lineage; only the OpenLineage provider calls this."""
        from tts_pipeline.airflow.lineage import lineage_of

        source, destination, rows = self._lineage or (str(self.source), str(self.destination), None)
        return lineage_of([source] if source else [], destination, rows)

    @property
    def input_columns(self) -> InputColumns:
        """The columns of the source, from ``columns``, ``text``, ``utterance_id``, ``hive`` and ``drop``."""
        return InputColumns.from_arguments(
            self.columns, text=self.text, utterance_id=self.utterance_id, hive=self.hive, drop=self.drop
        )

    @abstractmethod
    def _work(self, context: Context) -> Any: ...

    def _build_job(self, context: Context) -> Job:
        """Build the job; all reads from Airflow happen here, before anything runs."""
        from tts_pipeline.catalog import load_catalog
        from tts_pipeline.job import Job

        catalog = load_catalog(_local(self.catalog), _local(self.prices))
        hook = SpeechHook(self.speech_conn_id, catalog)
        destination = resolve_path(self.destination, self.destination_conn_id)
        self.report_link = report_link(os.fspath(destination), hook.report_url())
        return Job(
            source=resolve_path(self.source, self.source_conn_id),
            destination=destination,
            service=hook.get_conn(),
            model=self.model,
            parameters=self.parameters or {},
            columns=self.input_columns,
            selection=self.selection or Selection(),
            audio=self.audio or AudioSettings(),
            unchecked=tuple(self.unchecked),
            catalog=catalog,
            options=self._run_options(context, hook),
        )

    def _run_options(self, context: Context, hook: SpeechHook) -> RunOptions:
        from tts_pipeline.account.location import VARIABLE
        from tts_pipeline.catalog.keys import environment
        from tts_pipeline.job import RunOptions

        options = self.options or RunOptions()
        limits = hook.limits(options.limits)
        if self.defer_after is not None:
            limits = replace(limits, max_pause_s=min(limits.max_pause_s, self.defer_after.total_seconds()))
        account_store = options.account_store or hook.account_store()
        mask_passwords(account_store or environment().get(VARIABLE, ""))
        own_tags = {name: str(value) for name, value in (self.tags or {}).items()}  # a template may render as a number
        tags = {**context_tags(context), **options.tags, **own_tags}
        # ``empty_source.py`` handles an empty source before the job.
        return replace(
            options,
            limits=limits,
            tags=tags,
            account_store=account_store,
            ledger=options.ledger or hook.ledger(),
            missing_is_empty=True,
        )

    def _run_to_end(self, run: RunJob) -> Report:
        """Run the job with regular progress lines in the log; raise or defer if it stopped before its end."""
        from tts_pipeline.airflow.metrics import send_metrics
        from tts_pipeline.job import Progress
        from tts_pipeline.job.progress_view import ProgressView, report_lines

        progress = Progress()
        with report_lines(ProgressView(progress), self.log.info):
            report = run(progress, self._stop())
        send_metrics(report, progress, {"dag_id": self.dag_id, "task_id": self.task_id, "model": self.model})
        if report.stopped is not None:
            self._defer_on_long_pause(report.stopped)
            raise report.stopped
        return report

    def _defer_on_long_pause(self, stopped: BaseException) -> None:
        until = stopped.until if isinstance(stopped, StoppedError) else None
        if until is not None and self.defer_after is not None:
            from airflow.providers.standard.triggers.temporal import DateTimeTrigger

            self.log.info("%s The task continues then, and holds no slot until then.", stopped)
            self.defer(trigger=DateTimeTrigger(moment=until), method_name=self.resume.__name__)

    def _record_output(self, context: Context, job: Job, report: Report, rows: int) -> None:
        """Record the lineage of the output, and add its facts to the event of each outlet."""
        self._lineage = (os.fspath(job.source), report.destination, rows)
        event = asset_event(report, connection_of(self.destination, self.destination_conn_id))
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra.update(event)

    def _stop(self) -> CancelToken:
        # Created at first use, because operators are copied; and atomically, because a signal handler may be first.
        from tts_pipeline.job.stop import CancelToken

        stop: CancelToken = self.__dict__.setdefault("_stopping", CancelToken())
        return stop


@overload
def _local(place: str | os.PathLike[str] | None) -> Path | None: ...
@overload
def _local(place: AnyCatalog | None) -> Path | Catalog | None: ...
def _local(place: AnyCatalog | None) -> Path | Catalog | None:
    return local_path(place) if isinstance(place, str | os.PathLike) else place


def context_tags(context: Context) -> dict[str, str]:
    """Return ``dag_id``, ``task_id``, ``run_id`` and ``map_index`` (-1 for a task that is not mapped) as tags."""
    task = context["ti"]
    ids = {"dag_id": task.dag_id, "task_id": task.task_id, "run_id": task.run_id, "map_index": task.map_index}
    return {name: str(-1 if value is None else value) for name, value in ids.items()}
