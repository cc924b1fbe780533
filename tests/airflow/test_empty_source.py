"""Nights without text: skipped, failed, or an empty dataset; never a full one that becomes empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from tests.airflow.tasks import EMPTY_NIGHTS, job_fields, run_task
from tests.builders import write_lines
from tests.datasets import read_table
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.emulator.local_service import LocalService


def _speak(folder: Path, on_empty: Any = "publish", **changes: Any) -> SpeechSynthesizeOperator:
    return SpeechSynthesizeOperator(task_id="speak", on_empty=on_empty, **job_fields(folder, **changes))


@pytest.mark.parametrize("night", EMPTY_NIGHTS)
def test_an_empty_night_can_be_skipped_or_failed(tmp_path: Path, service: LocalService, night: Any) -> None:
    """Failed is retried, for the text may come; nothing is written in either case."""
    night(tmp_path)
    with pytest.raises(AirflowSkipException, match=r"does not exist|has no rows"):
        run_task(_speak(tmp_path, "skip"))
    with pytest.raises(AirflowException, match="on_empty is 'fail'") as exc_info:
        run_task(_speak(tmp_path, "fail"))
    assert not isinstance(exc_info.value, AirflowFailException)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_source_that_is_gone_does_not_empty_its_dataset(tmp_path: Path, service: LocalService) -> None:
    """A cleared run of last week, whose text was tidied away: also a rebuild leaves the dataset as it is."""
    source = write_lines(tmp_path / "lines.parquet", 3)
    run_task(_speak(tmp_path))
    source.unlink()
    with pytest.raises(AirflowFailException, match="has 3 rows: it is not replaced"):
        run_task(_speak(tmp_path, options={"rebuild": True}))
    with pytest.raises(AirflowFailException):
        run_task(_speak(tmp_path))
    assert read_table(tmp_path / "out", "speech").num_rows == 3
