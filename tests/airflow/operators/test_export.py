"""A dataset exported by a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import OutletEventAccessors

from tests.airflow.tasks import job_fields, run_task
from tests.builders import write_lines
from tts_pipeline.airflow.operators.export import SpeechExportOperator
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.emulator.local_service import LocalService


@pytest.fixture
def dataset(tmp_path: Path, service: LocalService) -> str:
    """Twelve rows."""
    write_lines(tmp_path / "lines.parquet", 12)
    return str(run_task(SpeechSynthesizeOperator(task_id="speak", **job_fields(tmp_path)))["dataset"])


def _export(dataset: str, destination: Path, **changes: Any) -> SpeechExportOperator:
    fields = {"as_": "files", **changes}
    return SpeechExportOperator(task_id="export", dataset=dataset, destination=str(destination), **fields)


def test_a_file_for_each_utterance(dataset: str, tmp_path: Path) -> None:
    """The result says where and how many; the same task again writes nothing."""
    first = run_task(_export(dataset, tmp_path / "audio", audio_format="flac"))
    assert (first["rows"], first["written"], first["failures"]) == (12, 12, 0)
    names = pl.read_parquet(tmp_path / "audio" / "index.parquet")["name"]
    assert all((Path(first["destination"]) / name).read_bytes()[:4] == b"fLaC" for name in names)
    again = run_task(_export(dataset, tmp_path / "audio", audio_format="flac"))
    assert (again["written"], again["unchanged"]) == (0, 12)


def test_filters_and_splits_are_the_doors_own(dataset: str, tmp_path: Path) -> None:
    """They are passed on as they are."""
    condition = "utterance_id < 'r5'"
    summary = run_task(_export(dataset, tmp_path / "audio", as_="nemo", where=condition, split="train=0.5,rest=0.5"))
    rows = pl.read_parquet(f"{dataset}/speech/*.parquet", columns=["utterance_id"]).filter(
        pl.col("utterance_id") < "r5"
    )
    assert summary["rows"] == sum(summary["splits"].values()) == len(rows) < 12


def test_the_event_of_an_outlet_tells_the_counts(dataset: str, tmp_path: Path) -> None:
    """For who is triggered by it."""
    outlet, events = Asset("audio"), OutletEventAccessors()
    run_task(_export(dataset, tmp_path / "audio", outlets=[outlet]), outlet_events=events)
    assert (events[outlet].extra["rows"], events[outlet].extra["as"]) == (12, "files")


@pytest.mark.parametrize("changes", [{"as_": "tapes"}, {"where": "no_such_column = 1"}, {"split": "train=2"}])
def test_what_is_wrong_is_not_retried(dataset: str, tmp_path: Path, changes: dict[str, str]) -> None:
    """However often it is tried, it stays wrong."""
    with pytest.raises(AirflowFailException):
        run_task(_export(dataset, tmp_path / "audio", **changes))
