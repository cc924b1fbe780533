"""Running single operators without a database."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.sdk import BaseOperator
from airflow.sdk.execution_time.context import OutletEventAccessors

from tts_pipeline.config import Limits
from tts_pipeline.job import RunOptions

MODEL = "qwen3-tts-flash"


def _write_no_source(folder: Path) -> None:
    """A night without a file."""


def _write_no_rows(folder: Path) -> None:
    """A night with an empty file."""
    pq.write_table(pa.table({"id": pa.array([], "string"), "text": pa.array([], "string")}), folder / "lines.parquet")


EMPTY_NIGHTS = (_write_no_source, _write_no_rows)
"""What a night may write that brings no text: ``night(folder)``."""


def context_of(operator: BaseOperator, **more: Any) -> Any:
    """Return the context of a task's run, as far as operators look at it."""
    instance = SimpleNamespace(dag_id="night", task_id=operator.task_id, run_id="manual__1", map_index=None)
    return {"ti": instance, "outlet_events": OutletEventAccessors(), **more}


def run_task(operator: BaseOperator, **more: Any) -> Any:
    """Run a task as Airflow's worker would, without a database; returns its result."""
    context = context_of(operator, **more)
    token = f"{type(operator).__name__}__sentinel"
    from airflow.sdk.bases.operator import ExecutorSafeguard

    return operator.execute(context, **{token: ExecutorSafeguard.sentinel_value})


def job_fields(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return a job's fields: the source in a folder, with small parts and a short grace."""
    limits = Limits(**{"max_concurrency": 8, "stop_grace_s": 1.0, **changes.pop("limits", {})})
    options = RunOptions(**{"limits": limits, "part_rows": 5, **changes.pop("options", {})})
    return {
        "source": str(folder / "lines.parquet"),
        "destination": str(folder / "out"),
        "model": MODEL,
        "parameters": {"voice": "Cherry"},
        "options": options,
        **changes,
    }
