"""``@task.speech``: what a function returns becomes a dataset."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException

from tests.airflow.tasks import job_fields, run_task
from tests.datasets import read_table
from tts_pipeline.emulator.local_service import LocalService

_LINES = {"id": ["a", "b"], "text": ["Good morning.", "Good night."]}


def _task(folder: Path, make: Any) -> Any:
    fields = job_fields(folder)
    del fields["source"]
    with DAG("spoken", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        return task.speech(**fields)(make)().operator


def _arrow() -> pa.Table:
    return pa.table(_LINES)


def _polars() -> pl.DataFrame:
    return pl.DataFrame(_LINES)


def _lazy() -> pl.LazyFrame:
    return pl.LazyFrame(_LINES)


@pytest.mark.parametrize("make", [_arrow, _polars, _lazy])
def test_rows_become_a_dataset(tmp_path: Path, service: LocalService, make: Any) -> None:
    """The task returns where it is; called again with the same rows, it buys nothing."""
    assert run_task(_task(tmp_path, make)) == str(tmp_path / "out")
    assert read_table(tmp_path / "out", "speech")["text"].to_pylist() == _LINES["text"]
    run_task(_task(tmp_path, make))
    assert service.bill()["received"] == 2


def test_the_function_gets_arguments_and_context(tmp_path: Path, service: LocalService) -> None:
    """As with any task."""

    def greet(names: list[str], run_id: str | None = None) -> pa.Table:
        return pa.table({"id": names, "text": [f"Good night, {name}, from {run_id}." for name in names]})

    fields = job_fields(tmp_path)
    del fields["source"]
    with DAG("spoken", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        operator = task.speech(**fields)(greet)(["Ada", "Bob"]).operator
    run_task(operator, run_id="tonight")
    assert read_table(tmp_path / "out", "speech")["text"].to_pylist()[0] == "Good night, Ada, from tonight."


def test_what_is_no_frame_is_told(tmp_path: Path, service: LocalService) -> None:
    """And not retried."""

    def plain() -> dict[str, list[str]]:
        return _LINES

    with pytest.raises(AirflowFailException, match="rows cannot be read from a dict"):
        run_task(_task(tmp_path, plain))
