"""The bill of many datasets as one table."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import polars as pl
import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from tests.airflow.tasks import context_of, job_fields, run_task
from tests.builders import write_lines
from tests.ledger.usage import COST, expected_sums, journal_id, put_usage, usage_rows
from tests.report.test_usage import a_request, write_dataset
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.airflow.operators.usage_report import SpeechUsageReportOperator
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.ledger import Ledger
from tts_pipeline.schema import to_table, usage_schema
from tts_pipeline.storage.open_store import open_store

NOVEMBER = datetime(2026, 11, 15, 12, tzinfo=UTC)


@pytest.fixture
def datasets(tmp_path: Path, service: LocalService) -> list[str]:
    """Two datasets of two teams, 12 rows each."""
    write_lines(tmp_path / "lines.parquet", 12)
    paths = []
    for team in ("books", "news"):
        fields = job_fields(tmp_path, destination=str(tmp_path / team), tags={"team": team})
        paths.append(run_task(SpeechSynthesizeOperator(task_id=team, **fields))["dataset"])
    return paths


def _report(destination: Path | str, **options: Any) -> SpeechUsageReportOperator:
    return SpeechUsageReportOperator(task_id="report", destination=str(destination), **options)


def _run(task: SpeechUsageReportOperator, run_id: str) -> dict[str, Any]:
    """Run a task as a part of a DAG run."""
    context = context_of(task, run_id=run_id)
    context["ti"].run_id = run_id
    task.render_template_fields(context)
    result: dict[str, Any] = run_task(task, ti=context["ti"])
    return result


def _add_up(tables: Iterable[str]) -> dict[str, Any]:
    """Add up what tables say."""
    frames = [pl.read_parquet(table) for table in tables]
    columns = ("requests", "characters_billed", "characters_upper_bound", "cost", "cost_upper_bound")
    return pl.concat(frames).select(pl.col(*columns).sum()).row(0, named=True)


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
    out = write_dataset(str(tmp_path / "out"), tmp_path, *(a_request(**row, journal_id="a") for row in rows))
    result = run_task(_report(tmp_path / "one.parquet", datasets=out, by=["voice"]))
    assert result["cost"] == {"CNY": None, "USD": "1.000000000"}
    assert result["cost_upper_bound"] == {"CNY": None, "USD": None}
    assert (result["requests_without_cost"], result["open_parts"]) == (3, 0)


def test_all_tables_are_the_bill(tmp_path: Path) -> None:
    """Each night counts what is new, wherever its time lies; a night without usage is an empty table."""
    dataset = open_store(tmp_path / "out")
    task: dict[str, Any] = {"destination": tmp_path / "bill-{{ run_id }}.parquet", "datasets": str(tmp_path / "out")}
    rows, results = [], []
    for number, at in enumerate((NOVEMBER, NOVEMBER - timedelta(days=40)), 1):
        journal = journal_id(at, number)
        rows += usage_rows(journal, at, rows=number)
        put_usage(dataset, number, journal, usage_rows(journal, at, rows=number))
        results.append(_run(_report(**task), f"night {number}"))
    results.append(_run(_report(**task), "night 3"))
    assert [(result["increment"], result["rows"]) for result in results] == [(1, 1), (2, 1), (3, 0)]
    assert results[2]["cost"] == {}
    assert results[1]["cost"] == {"CNY": f"{3 * COST:f}"}
    assert _add_up(result["table"] for result in results) == expected_sums(rows)
    total = _run(_report(tmp_path / "total.parquet", datasets=str(tmp_path / "out"), mode="total"), "night 3")
    assert _add_up([total["table"]]) == expected_sums(rows)
    assert total["increment"] is None


@pytest.mark.parametrize("mode", ["increment", "total"])
@pytest.mark.parametrize("source", ["datasets", "ledger"])
def test_a_night_may_have_untagged_requests_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, mode: Literal["increment", "total"]
) -> None:
    """The tag is a column of nulls then, and the log tells; other nights have teams, and no warning."""
    dataset, ledger = open_store(tmp_path / "out"), Ledger(open_store(tmp_path / "ledger"))
    place = {source: str(tmp_path / ("out" if source == "datasets" else "ledger"))}
    task: dict[str, Any] = {"destination": tmp_path / "bill-{{ run_id }}.parquet", "by": ["tag:team"], "mode": mode}
    tables = []
    for number, tags in enumerate(([], [("team", "radio")])):
        journal = journal_id(NOVEMBER, number)
        put_usage(dataset, number, journal, usage_rows(journal, NOVEMBER, tags=tags))
        ledger.sync_dataset(dataset, "/data/out")
        tables.append(pl.read_parquet(_run(_report(**task, **place), f"night-{number}")["table"]))
        assert ("no request has the tag:team" in capsys.readouterr().out) == (not tags)
    teams = ["radio"] if mode == "increment" else ["radio", None]
    assert [table["tag:team"].to_list() for table in tables] == [[None], teams]


def test_a_try_that_failed_is_repeated_as_it_was(tmp_path: Path) -> None:
    """The disk fails after the increment was made: the next try writes it, and what came meanwhile waits."""
    dataset, journal = open_store(tmp_path / "out"), journal_id(NOVEMBER, 1)
    put_usage(dataset, 1, journal, usage_rows(journal, NOVEMBER))
    fields = {"datasets": str(tmp_path / "out"), "state": str(tmp_path / "state")}
    (tmp_path / "reports").touch()
    with pytest.raises(AirflowException, match="clear the task"):
        _run(_report(tmp_path / "reports" / "{{ run_id }}.parquet", **fields), "night")
    (tmp_path / "reports").unlink()
    later = journal_id(NOVEMBER, 2)
    put_usage(dataset, 2, later, usage_rows(later, NOVEMBER, rows=9))
    task = _report(tmp_path / "reports" / "{{ run_id }}.parquet", **fields)
    result = _run(task, "night")
    assert _add_up([result["table"]]) == expected_sums(usage_rows(journal, NOVEMBER))
    dataset.remove_folder("usage")
    table = Path(result["table"]).read_bytes()
    assert _run(task, "night") == result
    assert Path(result["table"]).read_bytes() == table


def test_mapped_tasks_count_apart(tmp_path: Path) -> None:
    """They are one report: together they count each file once."""
    dataset, journal = open_store(tmp_path / "out"), journal_id(NOVEMBER, 1)
    put_usage(dataset, 1, journal, usage_rows(journal, NOVEMBER))
    tables = []
    for map_index in (0, 1):
        task = _report(tmp_path / f"{map_index}.parquet", datasets=str(tmp_path / "out"))
        context = context_of(task)
        context["ti"].map_index = map_index
        tables.append(run_task(task, ti=context["ti"])["table"])
    assert _add_up(tables) == expected_sums(usage_rows(journal, NOVEMBER))


def test_a_table_is_never_overwritten_by_the_next_increment(tmp_path: Path) -> None:
    """A name that stays the same is refused when it would lose an increment; the total may have it."""
    fields = {"datasets": write_dataset(str(tmp_path / "out"), tmp_path, a_request(journal_id="a"))}
    before = _run(_report(tmp_path / "bill.parquet", **fields), "night 1")
    with pytest.raises(AirflowFailException, match=r"already holds the increment of another run.*ts_nodash"):
        _run(_report(tmp_path / "bill.parquet", **fields), "night 2")
    assert _run(_report(tmp_path / "bill.parquet", **fields), "night 1") == before
    _run(_report(tmp_path / "bill.parquet", **fields, mode="total"), "night 2")


def test_the_state_must_be_found_by_every_run(tmp_path: Path) -> None:
    """A folder that is new every night would count everything every night."""
    fields = {"datasets": write_dataset(str(tmp_path / "out"), tmp_path, a_request(journal_id="a"))}
    with pytest.raises(AirflowFailException, match=r"may differ from run to run by run_id.*`state`"):
        _run(_report(tmp_path / "{{ run_id }}" / "bill.parquet", **fields), "night 1")
    fields["state"] = f"{tmp_path}/state"
    nightly = tmp_path / "{{ run_id }}" / "bill.parquet"
    results = [_run(_report(nightly, **fields), f"night {number}") for number in (1, 2)]
    assert [result["rows"] for result in results] == [1, 0]
    folder = tmp_path / "{{ dag.dag_id }}" / "{{ run_id }}.parquet"
    task = _report(folder, datasets=fields["datasets"])
    context = context_of(task, run_id="night 1", dag=SimpleNamespace(dag_id="night"))
    task.render_template_fields(context)
    assert run_task(task)["rows"] == 1


def test_a_ledger_is_reported_with_its_settlements(tmp_path: Path) -> None:
    """All datasets that it knows, also deleted ones, and what invoices add."""
    ledger, journal = Ledger(open_store(tmp_path / "ledger")), journal_id(NOVEMBER, 1)
    dataset = open_store(tmp_path / "out")
    evening = NOVEMBER.replace(hour=20)
    put_usage(dataset, 1, journal, usage_rows(journal, evening))
    ledger.sync_dataset(dataset, str(tmp_path / "out"))
    shutil.rmtree(tmp_path / "out")
    task: dict[str, Any] = {"destination": tmp_path / "{{ run_id }}.parquet", "ledger": str(tmp_path / "ledger")}
    task |= {"timezone": "Asia/Shanghai"}
    first = _run(_report(**task), "night 1")
    assert pl.read_parquet(first["table"])["day"].to_list() == [evening.date() + timedelta(days=1)]
    settled = {**usage_rows(journal, evening, rows=1)[0], "attempt_id": "settled-1", "outcome": "settled"}
    ledger.append_settlement("invoice", to_table([settled], usage_schema()))
    second = _run(_report(**task), "night 2")
    assert (first["cost"], second["cost"]) == ({"CNY": f"{10 * COST:f}"}, {"CNY": f"{COST:f}"})
    total = _run(_report(tmp_path / "total.parquet", ledger=task["ledger"], mode="total"), "night 2")
    assert total["cost"] == {"CNY": f"{11 * COST:f}"}


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
        ("one.csv", {"by": ["weekday"], "mode": "total"}, "cannot be grouped"),
        ("one.csv", {"mode": "sum"}, "'increment' or 'total'"),
        ("one.csv", {"timezone": "Asia/Shanghay"}, "Did you mean 'Asia/Shanghai'"),
        ("one.csv", {"ledger": "/no/such/ledger"}, "both `ledger` and `datasets`"),
    ],
)
def test_what_is_wrong_is_told(
    tmp_path: Path, datasets: list[str], name: str, options: dict[str, Any], message: str
) -> None:
    """And not retried."""
    with pytest.raises(AirflowFailException, match=message):
        run_task(_report(tmp_path / name, **{"datasets": datasets, **options}))
