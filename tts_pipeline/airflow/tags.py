"""A task's place in Airflow as tags in every row of the bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Context


def context_tags(context: Context) -> dict[str, str]:
    """Return ``dag_id``, ``task_id``, ``run_id`` and ``map_index`` (-1 where nothing is mapped)."""
    task = context["ti"]
    ids = {"dag_id": task.dag_id, "task_id": task.task_id, "run_id": task.run_id, "map_index": task.map_index}
    return {name: str(-1 if value is None else value) for name, value in ids.items()}
