"""Provide ``@task.speech``: a function returns the texts, and the task makes the dataset."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, determine_kwargs, task_decorator_factory

from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.deprecation import renamed_arguments

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator


class SpeechDecoratedOperator(DecoratedOperator, SpeechSynthesizeOperator):
    """Calls a function and makes a dataset from the rows that it returns; see ``speech_task``."""

    custom_operator_name = "@task.speech"
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in SpeechSynthesizeOperator.template_fields if name != "source"),
    )

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any],
        op_kwargs: Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, source="", **kwargs)

    def execute(self, context: Context) -> Any:
        """Run the task; return the dataset's path or URL."""
        return SpeechSynthesizeOperator.execute(self, context)  # ``super()`` would be ``DecoratedOperator``

    def _work(self, context: Context) -> str:
        from tts_pipeline.source.frame_stream import temporary_parquet

        kwargs = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        frame = self.python_callable(*self.op_args, **kwargs)
        with temporary_parquet(
            frame, self.options.work_dir if self.options else None, self.input_columns.drop
        ) as source:
            self.source = str(source)
            report = self._synthesize(context)
        self._lineage = ("", report.destination, report.dataset.speech)  # the file of the rows was temporary
        return report.destination


@renamed_arguments(running="options")
def speech_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a dataset from the rows that a function returns.

    ::

        @task.speech(destination="s3://bucket/spoken/{{ ds }}", model="qwen3-tts-flash", parameters={"voice": "Cherry"})
        def spoken(headlines: list[str]):
            return pl.DataFrame({"text": headlines}).with_row_index("id")

    The rows are a Polars frame, eager or lazy, or any object that Arrow reads. The task returns the dataset's path or
    URL. A retried task calls the function again: with the same rows in the same order it continues the dataset, and
    buys nothing again.

    Args:
        python_callable: The function.
        **kwargs: The arguments of ``SpeechSynthesizeOperator`` without ``source``.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=SpeechDecoratedOperator, **kwargs
    )
