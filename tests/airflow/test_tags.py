"""Whose a request was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from tts_pipeline.airflow.operators.base import context_tags


@pytest.mark.parametrize(("map_index", "tag"), [(None, "-1"), (-1, "-1"), (0, "0"), (7, "7")])
def test_a_tasks_place_is_text(map_index: int | None, tag: str) -> None:
    """-1 is Airflow's own word for not mapped; there is no try among it."""
    instance = SimpleNamespace(dag_id="d", task_id="g.t", run_id="r", map_index=map_index, try_number=3)
    context: Any = {"ti": instance}
    assert context_tags(context) == {"dag_id": "d", "task_id": "g.t", "run_id": "r", "map_index": tag}
