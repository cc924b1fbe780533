"""Build a task group that makes a dataset by many workers: plan, a task for each shard, publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Asset, TaskGroup

from tts_pipeline.airflow.empty_source import OnEmpty
from tts_pipeline.airflow.operators.shards import (
    SpeechPlanOperator,
    SpeechPublishOperator,
    SpeechSynthesizeShardOperator,
)
from tts_pipeline.deprecation import renamed_arguments


@renamed_arguments(running="options")
def speech_dataset(
    group_id: str = "speech_dataset",
    *,
    max_shards: int = 8,
    on_empty: OnEmpty = "publish",
    outlets: Sequence[Asset] = (),
    shards: Mapping[str, Any] | None = None,
    **job: Any,
) -> TaskGroup:
    """Make a speech dataset by many workers.

    Args:
        group_id: The id of the task group; its tasks are ``plan``, ``synthesize`` (mapped) and ``publish``.
        max_shards: The most tasks that share the work, 1 to 1,000. They share the account's rates; without an account
            store in which all of them meet, these are divided among them.
        on_empty: See ``SpeechSynthesizeOperator``.
        outlets: Assets that get an event when the dataset is finished.
        shards: Fields of the mapped tasks alone: ``{"pool": "speech", "at_a_time": 4}``. Airflow runs at most
            ``at_a_time`` of them at the same time, whatever the size of the pool.
        **job: The job's fields, as for ``SpeechJobOperator``, and fields of all three tasks.

    Returns:
        The group; ``upstream >> speech_dataset(...) >> downstream`` works as with any group.
    """
    shard_fields = {"max_active_tis_per_dagrun": (shards or {}).get("at_a_time"), **job, **(shards or {})}
    with TaskGroup(group_id) as group:
        plan = SpeechPlanOperator(task_id="plan", max_shards=max_shards, on_empty=on_empty, **job)
        synthesize = SpeechSynthesizeShardOperator.partial(task_id="synthesize", **shard_fields)
        publish = SpeechPublishOperator(task_id="publish", outlets=outlets, **job)
        synthesize.expand(shard=plan.output) >> publish
    return group
