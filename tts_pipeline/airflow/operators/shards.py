"""Provide the operators that make one dataset by many workers: plan, a mapped task for each shard, publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tts_pipeline.airflow.empty_source import OnEmpty, handle_empty_source
from tts_pipeline.airflow.operators.base import DOOR, SpeechJobOperator
from tts_pipeline.airflow.outcome import xcom_result

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tts_pipeline.job import Shard

MAX_SHARDS = 1_000
"""The most mapped tasks of one dataset: Airflow's own limit is 1,024 (``max_map_length``)."""


class SpeechPlanOperator(SpeechJobOperator):
    """Check a whole job, write its dataset's descriptor, and divide its parts among shards.

    The task returns the shards, at least one, and always the same ones however many parts are done; ``shard`` of
    ``SpeechSynthesizeShardOperator`` is mapped over them.

    Args:
        max_shards: The most shards, 1 to 1,000.
        on_empty: See ``SpeechSynthesizeOperator``.
        kwargs: Arguments of ``SpeechJobOperator``.

    Raises:
        ValueError: ``max_shards`` is out of range, or the task has outlets, although the dataset is not made yet.
    """

    def __init__(self, *, max_shards: int = 8, on_empty: OnEmpty = "publish", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 1 <= max_shards <= MAX_SHARDS:
            raise ValueError(f"max_shards is {max_shards}: give 1 to {MAX_SHARDS}")
        _refuse_outlets(self)
        self.max_shards = max_shards
        self.on_empty = on_empty

    def _work(self, context: Context) -> Any:
        from tts_pipeline.job import plan

        job = self._build_job(context)
        handle_empty_source(job, self.on_empty)
        return [_to_json(shard) for shard in plan(job, self.max_shards)]


class SpeechSynthesizeShardOperator(SpeechJobOperator):
    """Run the parts of one shard; mapped over the shards that ``SpeechPlanOperator`` returns.

    ::

        SpeechSynthesizeShardOperator.partial(task_id="synthesize", **job).expand(shard=plan.output)

    The task returns the dataset's path or URL, and its counts so far.

    Args:
        shard: A shard of the plan.
        at_a_time: The most shards that run at the same time, by a pool or ``max_active_tis_per_dag``; None is all
            shards. Where shards share no account store, each has this part of the account's limits.
        map_index_template: The name of the mapped task in Airflow: its parts.
        kwargs: Arguments of ``SpeechJobOperator``.

    Raises:
        ValueError: The task has outlets, although the dataset is finished only when it is published.
    """

    template_fields: Sequence[str] = (*SpeechJobOperator.template_fields, "shard")

    def __init__(
        self,
        *,
        shard: Mapping[str, int],
        at_a_time: int | None = None,
        map_index_template: str = "{{ task.shard_label }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(map_index_template=map_index_template, **kwargs)
        _refuse_outlets(self)
        self.shard = shard
        self.at_a_time = at_a_time

    @property
    def shard_label(self) -> str:
        """The shard's parts as text, such as ``parts 8-15``."""
        numbers = _from_json(self.shard).numbers()
        if len(numbers) < 2:
            return f"part {numbers[0]}" if numbers else "no parts"
        return f"parts {numbers[0]}-{numbers[-1]}"

    def _work(self, context: Context) -> Any:
        from tts_pipeline.job import run_parts

        job, shard, at_a_time = self._build_job(context), _from_json(self.shard), self.at_a_time
        report = self._run_to_end(
            lambda progress, stop: run_parts(job, shard, progress, at_a_time=at_a_time, stop=stop, door=DOOR)
        )
        self._record_output(context, job, report, report.this_run.speech)
        return xcom_result(report)


class SpeechPublishOperator(SpeechJobOperator):
    """Finalize a dataset whose parts are all done: verify every part, then write ``parts.json`` and the dataset card.

    The task returns the dataset's path or URL, and its counts; its ``outlets`` get an event with rows, hours and cost.
    """

    def _work(self, context: Context) -> Any:
        from tts_pipeline.job import publish

        job = self._build_job(context)
        report = publish(job)
        self._record_output(context, job, report, report.dataset.speech)
        return xcom_result(report)


def _refuse_outlets(operator: SpeechJobOperator) -> None:
    if operator.outlets:
        raise ValueError(f"{operator.task_id}: give the outlets to SpeechPublishOperator, which finishes the dataset")


def _to_json(shard: Shard) -> dict[str, int]:
    return {"index": shard.index, "shards": shard.shards, "parts": shard.all_parts}


def _from_json(values: Mapping[str, int]) -> Shard:
    from tts_pipeline.job.job import divide_into_shards

    return divide_into_shards(values["parts"], values["shards"])[values["index"]]
