"""Provide ``SpeechSynthesizeOperator``, which makes a dataset from a source in one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tts_pipeline.airflow.empty_source import OnEmpty, handle_empty_source
from tts_pipeline.airflow.operators.base import DOOR, SpeechJobOperator
from tts_pipeline.airflow.outcome import xcom_result

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tts_pipeline.job import Report


class SpeechSynthesizeOperator(SpeechJobOperator):
    """Make a speech dataset from a source, or continue one; see ``SpeechJobOperator`` for the job's fields.

    The task returns the dataset's path or URL, and its counts. Rejected rows do not fail the task: they are a table,
    and ``rejects`` counts them. More rejects than ``RunOptions.max_rejects`` fail it.

    Args:
        on_empty: The result of a source that is missing or has no rows: ``publish`` makes an empty dataset, ``skip``
            skips the task, ``fail`` fails it, and the task is retried.
        kwargs: Arguments of ``SpeechJobOperator``.
    """

    def __init__(self, *, on_empty: OnEmpty = "publish", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_empty = on_empty

    def _work(self, context: Context) -> Any:
        return xcom_result(self._synthesize(context))

    def _synthesize(self, context: Context) -> Report:
        from tts_pipeline.job import run_job

        job = self._build_job(context)
        handle_empty_source(job, self.on_empty)
        report = self._run_to_end(lambda progress, stop: run_job(job, progress, stop=stop, door=DOOR))
        self._record_output(context, job, report, report.dataset.speech)
        return report
