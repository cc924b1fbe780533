"""A task's figures as metrics of Airflow's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

import airflow.sdk.serde  # noqa: F401 (sets the backend of metrics when it is first imported, which a task does)
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.observability import stats

from tests.airflow.tasks import MODEL, job_fields, run_task
from tests.builders import write_lines
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.emulator.local_service import LocalService

TAGS = {"dag_id": "adhoc_airflow", "task_id": "speak", "model": MODEL}


class Recorder(NoStatsLogger):
    """A backend for metrics, as StatsD's and OpenTelemetry's are, that keeps what it gets."""

    def __init__(self) -> None:
        self.metrics: dict[str, tuple[float, dict[str, str]]] = {}

    def incr(self, stat: str, count: int = 0, *_: Any, tags: Any = None, **__: Any) -> None:  # type: ignore[override]
        self.metrics[stat] = (count, tags)

    def gauge(self, stat: str, value: float, *_: Any, tags: Any = None, **__: Any) -> None:  # type: ignore[override]
        self.metrics[stat] = (value, tags)

    def timing(self, stat: str, dt: Any, *_: Any, tags: Any = None, **__: Any) -> None:  # type: ignore[override]
        self.metrics[stat] = (dt, tags)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """The backend that Airflow's metrics go to during a test."""
    backend = Recorder()
    stats.initialize(factory=lambda: backend, export_legacy_names=True)
    yield backend
    stats.initialize(factory=NoStatsLogger, export_legacy_names=True)


def test_a_run_is_counted(tmp_path: Path, service: LocalService, recorder: Recorder) -> None:
    """Rows, rejects, requests, characters, cost with its currency, and the mean latency in milliseconds."""
    write_lines(tmp_path / "lines.parquet", 6)
    service.set_faults([{"what": "refuse", "text": "Line 3."}])
    run_task(SpeechSynthesizeOperator(task_id="speak", **job_fields(tmp_path)))
    metrics = {name: value for name, value in recorder.metrics.items() if name.startswith("speech.")}
    latency, _ = metrics.pop("speech.latency")
    assert 0 < latency < 5_000
    assert metrics == {
        "speech.rows": (6, TAGS),
        "speech.rejects": (1, TAGS),
        "speech.attempts": (6, TAGS),
        "speech.characters_billed": (35, TAGS),
        "speech.cost": (0.0028, {**TAGS, "currency": "CNY"}),
    }


def test_a_run_that_was_stopped_is_counted_too(tmp_path: Path, service: LocalService, recorder: Recorder) -> None:
    """What it spent was spent."""
    write_lines(tmp_path / "lines.parquet", 6)
    service.set_faults([{"what": "error", "status": 402, "code": "Arrearage", "message": "no", "after": 3}])
    with pytest.raises(AirflowFailException):
        run_task(SpeechSynthesizeOperator(task_id="speak", **job_fields(tmp_path, limits={"max_concurrency": 1})))
    assert recorder.metrics["speech.rows"][0] == 3
    assert recorder.metrics["speech.attempts"][0] == 4
