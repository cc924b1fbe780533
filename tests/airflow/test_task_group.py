"""The task group's wiring, and what Airflow stores of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk import DAG, Asset, TaskGroup
from airflow.serialization.serialized_objects import DagSerialization

from tests.airflow.tasks import job_fields
from tts_pipeline.airflow.task_group import speech_dataset


def _dag(folder: Path, **changes: Any) -> tuple[DAG, TaskGroup]:
    with DAG("spoken", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        return dag, speech_dataset(**{**job_fields(folder), **changes})


def test_plan_map_publish(tmp_path: Path) -> None:
    """One after the other; the assets are given out at the end alone."""
    dag, group = _dag(tmp_path, outlets=[Asset("spoken")], shards={"pool": "speech", "at_a_time": 4})
    plan, synthesize, publish = (dag.get_task(f"speech_dataset.{name}") for name in ("plan", "synthesize", "publish"))
    assert plan.downstream_task_ids == {synthesize.task_id}
    assert synthesize.downstream_task_ids == {publish.task_id}
    assert synthesize.is_mapped
    assert (plan.pool, synthesize.pool, publish.pool) == ("default_pool", "speech", "default_pool")
    assert (plan.outlets, synthesize.outlets, publish.outlets) == ([], [], [Asset("spoken")])
    assert group.group_id == "speech_dataset"


@pytest.mark.parametrize(
    ("shards", "most"),
    [(None, None), ({"at_a_time": 4}, 4), ({"at_a_time": 4, "max_active_tis_per_dagrun": 2}, 2)],
)
def test_no_more_shards_run_at_a_time_than_rates_are_divided_by(
    tmp_path: Path, shards: dict[str, Any] | None, most: int | None
) -> None:
    """Airflow sees to it, so that a larger pool does not multiply a rate."""
    dag, _ = _dag(tmp_path, shards=shards)
    (stored,) = (
        each["__var"]["partial_kwargs"]
        for each in DagSerialization.serialize_dag(dag)["tasks"]
        if "partial_kwargs" in each["__var"]
    )
    assert stored.get("max_active_tis_per_dagrun") == most


def test_what_airflow_stores_is_stable(tmp_path: Path) -> None:
    """A DAG that is read twice is the same version of it: no address in memory is part of it."""
    stored = [DagSerialization.serialize_dag(_dag(tmp_path)[0]) for _ in range(2)]
    assert stored[0] == stored[1]
    assert "0x" not in str(stored[0]["tasks"])
