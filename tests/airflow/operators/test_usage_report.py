"""The bill of many datasets as one table."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tests.airflow.tasks import job_fields, run_task
from tests.builders import write_lines
from tests.report.test_usage import a_request, write_dataset
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.airflow.operators.usage_report import SpeechUsageReportOperator
from tts_pipeline.emulator.local_service import LocalService


@pytest.fixture
def datasets(tmp_path: Path, service: LocalService) -> list[str]:
    """Two datasets of two teams, 12 rows each."""
    write_lines(tmp_path / "lines.parquet", 12)
    paths = []
    for team in ("books", "news"):
        fields = job_fields(tmp_path, destination=str(tmp_path / team), tags={"team": team})
        paths.append(run_task(SpeechSynthesizeOperator(task_id=team, **fields))["dataset"])
    return paths


def _report(destination: Path, **options: Any) -> SpeechUsageReportOperator:
    return SpeechUsageReportOperator(task_id="report", destination=str(destination), **options)


def test_the_table_equals_the_bill(tmp_path: Path, datasets: list[str], service: LocalService) -> None:
    """By day, voice and team, as CSV or Parquet; the result says where it is and what it comes to."""
    by = ["day", "voice", "tag:team"]
    result = run_task(_report(tmp_path / "reports" / "one.csv", datasets=datasets, by=by))
    table = pl.read_csv(result["table"])
    assert (result["rows"], table["tag:team"].to_list(), table["voice"].unique().to_list()) == (
        2,
        ["books", "news"],
        ["Cherry"],
    )
    assert table["characters_billed"].sum() == service.bill()["characters"]
    run_task(_report(tmp_path / "one.parquet", datasets=datasets, by=by))
    cost = pl.read_parquet(tmp_path / "one.parquet")["cost"].sum()
    assert result["cost"] == {"CNY": str(cost)}


def test_a_cost_that_is_not_known_is_null(tmp_path: Path) -> None:
    """Not 0: of one currency a part is known, of the other nothing; how many costs are not known is told."""
    rows: list[dict[str, Any]] = [{"currency": "CNY"}, {"currency": "USD"}, {"currency": "USD", "cost": Decimal(1)}]
    out = write_dataset(str(tmp_path / "out"), tmp_path, *(a_request(**row) for row in rows))
    result = run_task(_report(tmp_path / "one.parquet", datasets=out, by=["voice"]))
    assert result["cost"] == {"CNY": None, "USD": "1.000000000"}
    assert result["cost_upper_bound"] == {"CNY": None, "USD": None}
    assert (result["requests_without_cost"], result["open_parts"]) == (3, 0)


def test_one_may_stand_without_a_list(tmp_path: Path, datasets: list[str]) -> None:
    """A text is a dataset or a column, not its letters."""
    result = run_task(_report(tmp_path / "one.parquet", datasets=datasets[1], by="dataset"))
    assert pl.read_parquet(result["table"])["requests"].to_list() == [12]


def test_triggering_events_say_which_datasets(tmp_path: Path, datasets: list[str]) -> None:
    """Each once; events of other assets are passed over."""
    events = [SimpleNamespace(extra={"dataset": datasets[0]})] * 2
    others = [SimpleNamespace(extra={"dataset": 5}), SimpleNamespace(extra={})]
    task = _report(tmp_path / "one.parquet", by=["dataset"])
    result = run_task(task, triggering_asset_events={"news": events, "other": others})
    assert pl.read_parquet(result["table"])["requests"].to_list() == [12]


def test_no_dataset_is_no_report(tmp_path: Path) -> None:
    """A run by hand without any is skipped."""
    with pytest.raises(AirflowSkipException, match="no dataset"):
        run_task(_report(tmp_path / "one.csv", datasets=[]))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("one.csv", {"datasets": ["/no/such/dataset"]}, "no dataset at"),
        ("one.xlsx", {}, "parquet or .csv"),
        ("one.csv", {"by": ["weekday"]}, "cannot be grouped"),
    ],
)
def test_what_is_wrong_is_told(
    tmp_path: Path, datasets: list[str], name: str, options: dict[str, Any], message: str
) -> None:
    """And not retried."""
    with pytest.raises(AirflowFailException, match=message):
        run_task(_report(tmp_path / name, **{"datasets": datasets, **options}))
