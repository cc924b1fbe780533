"""Source -> dataset in one task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException

from tests.airflow.tasks import EMPTY_NIGHTS, context_of, job_fields, run_task
from tests.builders import write_lines
from tests.datasets import check_bill, read_table
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.emulator.local_service import LocalService


def _speak(folder: Path, on_empty: Any = "publish", **changes: Any) -> SpeechSynthesizeOperator:
    outlets = changes.pop("outlets", [])
    fields = job_fields(folder, **changes)
    return SpeechSynthesizeOperator(task_id="speak", on_empty=on_empty, outlets=outlets, **fields)


def test_a_dataset_is_made_and_counted(tmp_path: Path, service: LocalService) -> None:
    """The result is its place and counts, a few hundred bytes."""
    write_lines(tmp_path / "lines.parquet", 12)
    result = run_task(_speak(tmp_path))
    assert result["dataset"] == str(tmp_path / "out")
    assert (result["rows"], result["speech"], result["rejects"], result["attempts"]) == (12, 12, 0, 12)
    assert (result["characters_billed"], result["currency"]) == (service.bill()["characters"], "CNY")
    assert len(json.dumps(result)) < 600
    check_bill(tmp_path / "out", service)


def test_a_task_that_is_cleared_buys_nothing_again(tmp_path: Path, service: LocalService) -> None:
    """Whatever its try or its run."""
    write_lines(tmp_path / "lines.parquet", 12)
    first = run_task(_speak(tmp_path))
    assert run_task(_speak(tmp_path)) == first
    assert service.bill()["received"] == 12


def test_an_asset_event_tells_rows_hours_and_cost(tmp_path: Path, service: LocalService) -> None:
    """And where the dataset is."""
    write_lines(tmp_path / "lines.parquet", 6)
    asset = Asset("spoken")
    task = _speak(tmp_path, outlets=[asset])
    context = context_of(task)
    run_task(task, outlet_events=context["outlet_events"])
    extra = context["outlet_events"][asset].extra
    assert (extra["dataset"], extra["rows"], extra["speech"], extra["rejects"]) == (str(tmp_path / "out"), 6, 6, 0)
    assert extra["hours"] > 0
    assert (extra["cost"], extra["currency"]) == ("0.003360000", "CNY")


@pytest.mark.parametrize("night", EMPTY_NIGHTS)
def test_an_empty_night_is_an_empty_dataset(tmp_path: Path, service: LocalService, night: Any) -> None:
    """By default: with an asset event, so that what comes after it runs as always."""
    night(tmp_path)
    asset = Asset("spoken")
    task = _speak(tmp_path, outlets=[asset])
    context = context_of(task)
    result = run_task(task, outlet_events=context["outlet_events"])
    assert (result["rows"], result["speech"], result["cost"]) == (0, 0, None)
    assert context["outlet_events"][asset].extra["rows"] == 0
    assert (tmp_path / "out" / "parts.json").exists()


def test_text_that_comes_after_an_empty_night_is_spoken(tmp_path: Path, service: LocalService) -> None:
    """A cleared run of that night finds it."""
    changes = {"source": str(tmp_path / "day")}
    run_task(_speak(tmp_path, **changes))
    write_lines(tmp_path / "day" / "late.parquet", 3)
    result = run_task(_speak(tmp_path, **changes))
    assert (result["rows"], result["speech"]) == (3, 3)


def test_late_articles_are_added(tmp_path: Path, service: LocalService) -> None:
    """Only they are bought; those that stand are as they were."""
    changes = {"source": str(tmp_path / "day")}
    write_lines(tmp_path / "day" / "a.parquet", 12)
    run_task(_speak(tmp_path, **changes))
    table = pa.table({"id": ["late"], "text": ["A late one."]})
    pq.write_table(table, tmp_path / "day" / "b.parquet")
    assert run_task(_speak(tmp_path, **changes))["speech"] == 13
    assert service.bill()["received"] == 13
    assert read_table(tmp_path / "out", "speech")["utterance_id"].to_pylist()[-1] == "late"


def test_a_corrected_article_is_bought_again_alone(tmp_path: Path, service: LocalService) -> None:
    """With ``rebuild``; without it the difference is told, and the dataset stays."""
    source = write_lines(tmp_path / "lines.parquet", 12)
    run_task(_speak(tmp_path))
    table = pq.read_table(source)
    texts = [text.replace("Line 5.", "Line five.") for text in table["text"].to_pylist()]
    pq.write_table(table.set_column(1, "text", pa.array(texts)), source)
    with pytest.raises(AirflowFailException, match="has changed"):
        run_task(_speak(tmp_path))
    assert run_task(_speak(tmp_path, options={"rebuild": True}))["speech"] == 12
    assert service.bill()["received"] == 13
    assert "Line five." in read_table(tmp_path / "out", "speech")["text"].to_pylist()
