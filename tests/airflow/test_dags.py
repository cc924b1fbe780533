"""Whole DAGs, by a real Airflow with a database against the local service: the examples, unchanged, and bad nights."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from tests.airflow.conftest import KEY, connection
from tests.airflow.home import Airflow, DagRun
from tests.builders import write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table
from tests.ledger.usage import journal_id, put_usage, usage_rows
from tests.machine import patience
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.storage.open_store import open_store

LAST_WEEK = "2026-11-13T03:00:00+00:00"

Run = Callable[..., DagRun]


@pytest.fixture
def service(emulator: StartEmulator) -> LocalService:
    """A service that hums, of the test's own: requests that hang stay with it."""
    return emulator(voice_mode="tone")


@pytest.fixture
def run(airflow: Airflow, tmp_path: Path, service: LocalService) -> Run:
    """Run a DAG whose root is the test's folder."""
    environ = {"AIRFLOW_CONN_SPEECH_DEFAULT": connection(service.url), "AIRFLOW_VAR_SPEECH_ROOT": str(tmp_path)}
    return partial(airflow.run, environ=environ)


def _last_week(run: Run) -> DagRun:
    return run("speech_dataset_daily", logical_date=LAST_WEEK)


def test_the_daily_dag(run: Run, tmp_path: Path, service: LocalService) -> None:
    """A day's folder in; the day's dataset, its asset event and a small result out; the key nowhere."""
    write_lines(tmp_path / "articles" / "2026-11-13" / "a.parquet", 12)
    done = _last_week(run)
    assert (done.state, done.of("speak")) == ("success", ["success"])
    (result,) = done.results("speak")
    assert (result["dataset"], result["speech"]) == (f"{tmp_path}/speech/2026-11-13", 12)
    (event,) = done.result["events"]
    assert (event["asset"], event["extra"]["rows"], event["extra"]["cost"]) == ("news_speech", 12, result["cost"])
    assert done.results("speak", "_link_SpeechReportLink") == [f"file://{tmp_path}/speech/2026-11-13/README.md"]
    assert "12 of 12 rows" in done.log
    assert KEY not in done.log + json.dumps(done.result)
    check_bill(tmp_path / "speech" / "2026-11-13", service)


def test_a_cleared_run_of_last_week(run: Run, tmp_path: Path, service: LocalService) -> None:
    """It finds its dataset; articles that came late are added, and of a corrected one only that is bought."""
    day = tmp_path / "articles" / "2026-11-13"
    write_lines(day / "a.parquet", 12)
    first = _last_week(run)
    assert _last_week(run).results("speak") == first.results("speak")
    assert service.bill()["received"] == 12
    pq.write_table(pa.table({"id": ["late"], "text": ["A late one."]}), day / "b.parquet")
    assert _last_week(run).results("speak")[0]["speech"] == 13
    assert service.bill()["received"] == 13
    pq.write_table(pa.table({"id": ["late"], "text": ["A late one, corrected."]}), day / "b.parquet")
    assert _last_week(run).results("speak")[0]["speech"] == 13
    assert service.bill()["received"] == 14
    spoken = read_table(tmp_path / "speech" / "2026-11-13", "speech")["text"].to_pylist()
    assert "A late one, corrected." in spoken


def test_a_run_without_a_logical_date(run: Run, tmp_path: Path, service: LocalService) -> None:
    """As one that an asset triggered: its day is ``run_after``'s. No article is an empty dataset, and an event."""
    done = run("speech_dataset_daily", run_after="2026-11-12T22:00:00+00:00")
    assert done.state == "success"
    assert done.results("speak")[0]["rows"] == 0
    (event,) = done.result["events"]
    assert event["extra"] == {**event["extra"], "dataset": f"{tmp_path}/speech/2026-11-12", "rows": 0}
    assert service.bill()["received"] == 0


def test_a_fatal_error_is_not_retried(run: Run, tmp_path: Path, service: LocalService) -> None:
    """The example's two retries stay unused; the message is the service's, with what to do."""
    write_lines(tmp_path / "articles" / "2026-11-13" / "a.parquet", 12)
    service.set_faults([{"what": "error", "status": 402, "code": "Arrearage", "message": "Please pay.", "after": 5}])
    done = _last_week(run)
    assert (done.state, done.of("speak", "tries")) == ("failed", [1])
    assert "Arrearage" in done.log
    assert "clear the task to continue" in done.log
    assert KEY not in done.log


def test_the_sharded_dag_and_the_report(run: Run, tmp_path: Path, service: LocalService) -> None:
    """Plan, mapped shards, publish; then the bill by day, voice and team, equal to the service's."""
    write_lines(tmp_path / "books" / "a.parquet", 1_200, narrator=["Cherry", "Aiden"] * 600)
    done = run("speech_dataset_sharded")
    assert done.state == "success"
    assert done.of("speech_dataset.synthesize", "label") == ["part 0", "part 1", "part 2"]
    (result,) = done.results("speech_dataset.publish")
    assert (result["rows"], result["speech"]) == (1_200, 1_200)
    assert [event["asset"] for event in done.result["events"]] == ["books_speech"]
    assert max(len(json.dumps(xcom["value"])) for xcom in done.result["xcoms"]) < 600
    tags = [dict(row) for row in read_table(tmp_path / "speech" / "books", "usage")["tags"].to_pylist()]
    assert {row["map_index"] for row in tags} == {"0", "1", "2"}
    assert {row["task_id"] for row in tags} == {"speech_dataset.synthesize"}
    check_bill(tmp_path / "speech" / "books", service)
    report = run("speech_usage_report", conf={"datasets": [f"{tmp_path}/speech/books"]})
    (summary,) = report.results("report")
    table = pl.read_csv(summary["table"])
    assert table["characters_billed"].sum() == service.bill()["characters"]
    assert (table["voice"].to_list(), table["tag:team"].to_list()) == (["Aiden", "Cherry"], ["audiobooks"] * 2)
    assert summary["cost"] == {"CNY": result["cost"]}


def test_the_reports_of_all_runs_add_up_to_the_bill(run: Run, tmp_path: Path) -> None:
    """Of the example DAG, in a real Airflow; a run that is made again, as if cleared, writes what it wrote before."""
    dataset, at = open_store(tmp_path / "speech"), datetime(2026, 11, 15, 12, tzinfo=UTC)
    tables, conf = [], {"datasets": [f"{tmp_path}/speech"]}
    for night, rows in ((1, 4), (2, 7), (1, 2), (3, 0)):
        if night != 3:
            journal = journal_id(at, rows)
            put_usage(dataset, rows, journal, usage_rows(journal, at, rows=rows))
        moment = f"2026-11-{night:02}T03:00:00+00:00"
        done = run("speech_usage_report", conf=conf, logical_date=moment, run_after=moment)
        assert done.state == "success"
        (result,) = done.results("report")
        tables.append((result["increment"], pl.read_csv(result["table"])["requests"].sum(), result["table"]))
    assert [(number, requests) for number, requests, _ in tables] == [(1, 4), (2, 7), (1, 4), (3, 2)]
    assert len({table for _, _, table in tables}) == 3


def test_a_report_of_nothing_is_skipped(run: Run) -> None:
    """By hand and without datasets."""
    assert run("speech_usage_report").of("report") == ["skipped"]


def test_a_task_that_takes_too_long_is_tried_again(run: Run, tmp_path: Path, service: LocalService) -> None:
    """``execution_timeout`` stops in good order; the next try buys only what was in flight."""
    write_lines(tmp_path / "lines.parquet", 23)
    service.set_faults([{"what": "slow", "delay_s": patience(120), "after": 10, "count": 4}])
    began = time.monotonic()
    done = run("interrupted")
    assert (done.state, done.of("speak", "tries")) == ("success", [2])
    assert time.monotonic() - began < patience(90), "an answer takes 120 s"
    assert done.results("speak")[0]["speech"] == 23
    assert service.bill()["received"] <= 23 + 4
    check_bill(tmp_path / "out", service)


def test_a_task_that_is_killed_stops_in_good_order(
    run: Run, airflow: Airflow, tmp_path: Path, service: LocalService
) -> None:
    """Not after the answers; usage is published, and the cleared task buys only what was in flight."""
    write_lines(tmp_path / "lines.parquet", 23)
    service.set_faults([{"what": "slow", "delay_s": patience(30), "after": 10, "count": 4}])
    with _killing(airflow.pid, lambda: service.bill()["received"] >= 14) as killed_at:
        done = run("killed")
    assert done.state == "failed"
    assert time.monotonic() - killed_at[0] < patience(20), "an answer takes 30 s"
    assert "interrupted by SIGTERM" in done.log
    assert read_table(tmp_path / "out", "usage").num_rows == 14
    again = run("killed")
    assert again.results("speak")[0]["speech"] == 23
    assert service.bill()["received"] <= 23 + 4
    check_bill(tmp_path / "out", service)


def test_a_long_pause_defers_the_task(run: Run, tmp_path: Path, service: LocalService) -> None:
    """Until the service's own moment; then it goes on, in the same try."""
    write_lines(tmp_path / "lines.parquet", 12)
    service.set_faults([{"what": "throttle", "retry_after_s": 3, "after": 5, "count": 1}])
    done = run("paused")
    assert (done.state, done.of("speak", "tries")) == ("success", [1])
    assert "Pausing task as DEFERRED" in done.log
    assert done.results("speak")[0]["speech"] == 12
    assert service.bill()["charged"] == 12


def test_a_decorated_function(run: Run, tmp_path: Path, service: LocalService) -> None:
    """Its rows become a dataset, whose place is the result; Polars runs in tasks."""
    done = run("decorated")
    assert (done.state, done.results("greetings")) == ("success", [f"{tmp_path}/out"])
    assert (tmp_path / "bill.csv").exists()


@contextmanager
def _killing(pid: int, when: Callable[[], bool]) -> Iterator[list[float]]:
    """Send SIGTERM to a process as soon as something holds; gives the moment of it."""
    end, moments = threading.Event(), list[float]()

    def kill() -> None:
        while not end.wait(0.02):
            if when():
                moments.append(time.monotonic())
                os.kill(pid, signal.SIGTERM)
                return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield moments
    finally:
        end.set()
        killer.join()
