"""An Airflow that really runs: by its page, by REST, and with tasks that are killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from tests.airflow import doors
from tests.airflow.conftest import KEY
from tests.airflow.standalone import DagRun, DocumentedAirflow, Standalone, started_as_documented
from tests.builders import row_ids, write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table, spoken_ids
from tests.docs.pages import fits
from tests.killing import PRICE
from tests.machine import patience
from tts_pipeline.airflow import get_provider_info
from tts_pipeline.emulator.local_service import LocalService

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="follows Airflow's processes in /proc"),
]

SHARDS = "spoken.synthesize"
SLOW = [{"what": "slow", "text": f"Line {line}.", "delay_s": 100, "count": 1} for line in (3, 5, 7, 9)]
"""Longer than a busy machine takes to disturb who waits, and shorter than a client waits for an answer (120 s)."""


@pytest.fixture(scope="session")
def documented(tmp_path_factory: pytest.TempPathFactory, tone_service: LocalService) -> Iterator[DocumentedAirflow]:
    """One Airflow for all tests, as the page has it."""
    folder = tmp_path_factory.mktemp("standalone")
    with started_as_documented(folder, tone_service.url, [Path(__file__).with_name("shards.py")]) as running:
        yield running


@pytest.fixture
def service(emulator: StartEmulator) -> LocalService:
    """A service that hums, of the test's own: requests that hang stay with it."""
    return emulator(voice_mode="tone")


@pytest.fixture
def airflow(documented: DocumentedAirflow, tmp_path: Path, service: LocalService) -> Iterator[Standalone]:
    """The Airflow, with the test's folder as ``speech_root``, the service and the pool, as REST makes them."""
    ask = documented.airflow.ask
    _forget(documented.airflow)
    ask("POST", "/variables", {"key": "speech_root", "value": str(tmp_path)})
    ask("POST", "/pools", {"name": "speech", "slots": 4})
    ask("POST", "/connections", _connection(service))
    yield documented.airflow
    documented.airflow.wait_until_idle()
    _forget(documented.airflow)


def test_the_page(documented: DocumentedAirflow) -> None:
    """Whoever does what it says, and waits until what was triggered is green, sees what it says."""
    for block in documented.rest:
        output = documented.reader.do(block)
        if block.expected is not None:
            assert fits(output, block.expected), f"line {block.line}, printed:\n{output}\n{documented.airflow.logs()}"
        documented.airflow.wait_until_idle()


def test_the_form_of_connections(documented: DocumentedAirflow) -> None:
    """The API server knows the provider's fields, and the page of connections asks it for them."""
    (form,) = (
        each
        for each in documented.airflow.ask("GET", f"{documented.airflow.url}/ui/connections/hook_meta")
        if each["connection_type"] == "speech"
    )
    (declared,) = get_provider_info()["connection-types"]
    labels = {name: each["schema"]["title"] for name, each in form["extra_fields"].items()}
    assert labels == {name: each["label"] for name, each in declared["conn-fields"].items()}
    assert form["standard_fields"]["password"]["title"] == "API key"
    assert form["standard_fields"]["login"]["hidden"]


def test_the_test_button_of_connections(documented: DocumentedAirflow, tone_service: LocalService) -> None:
    """It asks the service, and buys nothing."""
    connection = {"connection_id": "speech_tested", "conn_type": "speech", "host": tone_service.url, "password": KEY}
    answer = documented.airflow.ask("POST", "/connections/test", connection)
    assert answer["status"], answer
    assert "answers" in answer["message"]
    assert tone_service.bill()["charged"] == 0


def test_2000_rows_by_several_workers(airflow: Standalone, tmp_path: Path, service: LocalService) -> None:
    """Plan, four mapped tasks, publish: the dataset, an event with its figures, small results, and the exact bill."""
    write_lines(tmp_path / "books" / "a.parquet", 2_000, narrator=["Cherry", "Aiden"] * 1_000)
    run = airflow.trigger("speech_dataset_sharded")
    assert airflow.wait_for_run(run) == "success", airflow.logs()
    mapped = airflow.tasks(run, "speech_dataset.synthesize")
    assert [task["rendered_map_index"] for task in mapped] == [f"part {number}" for number in range(4)]
    dataset = tmp_path / "speech" / "books"
    assert read_table(dataset, "speech")["utterance_id"].to_pylist() == [f"r{number}" for number in range(2_000)]
    extra = _event(airflow, "books_speech", run)
    assert (extra["dataset"], extra["rows"], extra["speech"]) == (str(dataset), 2_000, 2_000)
    assert (float(extra["hours"]) > 0, float(extra["cost"]) > 0, extra["currency"]) == (True, True, "CNY")
    sizes = _xcom_bytes(airflow, run)
    assert max(sizes.values()) < 1_000, sizes
    assert service.bill()["received"] == 2_000
    check_bill(dataset, service)
    assert KEY not in airflow.logs()


def test_a_task_that_is_marked_failed(airflow: Standalone, tmp_path: Path, service: LocalService) -> None:
    """It stops in good order, its usage is published, and the cleared task buys only what was in flight."""

    def mark_failed(run: DagRun, task: dict[str, Any]) -> None:
        place = f"{run.path}/taskInstances/{SHARDS}/{task['map_index']}"
        airflow.ask("PATCH", place, {"new_state": "failed"})
        airflow.wait_until(lambda: not Path(f"/proc/{task['pid']}").exists(), "the task's process to end", 20)
        airflow.wait_for_run(run)
        outcomes = read_table(tmp_path / "out", "usage")["outcome"].to_pylist()
        assert outcomes.count("unknown") == len(SLOW) or airflow.has_killed(task["pid"])
        again = {"dag_run_id": run.run_id, "dry_run": False, "only_failed": True}
        airflow.ask("POST", f"/dags/{run.dag_id}/clearTaskInstances", again)

    _disturbed(airflow, tmp_path, service, mark_failed)


def test_a_task_whose_process_is_killed(airflow: Standalone, tmp_path: Path, service: LocalService) -> None:
    """By SIGKILL: Airflow tries it again by itself, and it buys only what was in flight."""

    def kill(run: DagRun, task: dict[str, Any]) -> None:
        os.kill(task["pid"], signal.SIGKILL)

    run = _disturbed(airflow, tmp_path, service, kill)
    assert [task["try_number"] for task in airflow.tasks(run, SHARDS)] == [2, 1]


def test_three_doors_on_one_budget(
    airflow: Standalone, tmp_path: Path, service: LocalService, emulator: StartEmulator
) -> None:
    """A DAG's shards, a command line and a notebook at once: nothing beyond it, and the store's figures are the bills.

    The shards are stopped by the budget, and are not tried again.
    """
    rows, amount, store = 1_500, PRICE * 8_000, tmp_path / "account.db"
    services = [service, *(emulator(voice_mode="tone") for _ in range(2))]
    for each in services:
        each.set_faults([{"what": "slow", "delay_s": 3.0}])  # until all are at work
    write_lines(tmp_path / "lines.parquet", rows)
    doors.set_monthly(store, amount)
    extra = json.dumps({"account_store": str(store)})
    airflow.ask("PATCH", "/connections/speech_default", _connection(service, extra=extra), update_mask="extra")
    run = airflow.trigger("on_a_budget")
    airflow.wait_until(lambda: service.bill()["received"], "the first request of the DAG")
    processes = [
        doors.start_command(tmp_path, store, services[1]),
        doors.start_notebook(tmp_path, store, services[2], rows),
    ]
    airflow.wait_until(lambda: all(each.bill()["received"] for each in services), "the first request of each door")
    for each in services:
        each.set_faults([{"what": "slow", "delay_s": 0.3}])
    messages = [process.communicate(timeout=patience(120))[1] for process in processes]
    assert [process.returncode for process in processes] == [4, 1], messages
    assert messages[1].strip().endswith("budget")
    assert airflow.wait_for_run(run) == "failed"
    shards = airflow.tasks(run, SHARDS)
    assert len({task["pid"] for task in shards}) == len(shards) == 3
    assert {(task["state"], task["try_number"]) for task in shards} == {("failed", 1)}
    bills = [each.bill()["characters"] for each in services]
    assert min(bills) > 0
    for name, bill in zip(_DATASETS, bills, strict=False):
        assert sum(read_table(tmp_path / name, "usage")["characters_billed"].to_pylist()) == bill
    facts = doors.read_budget(store)
    print(f"the DAG, the command and the notebook: {bills} characters; {facts}")
    assert Decimal("0.97") * amount <= PRICE * sum(bills) <= amount
    assert (Decimal(facts["used"]), facts["possible"], facts["leased"]) == (PRICE * sum(bills), "0", "0")


_DATASETS = ("out", "by-command")


def _connection(service: LocalService, **fields: str) -> dict[str, str]:
    return {"connection_id": "speech_default", "conn_type": "speech", "host": service.url, "password": KEY, **fields}


def _forget(airflow: Standalone) -> None:
    for path in ("/variables/speech_root", "/pools/speech", "/connections/speech_default"):
        airflow.forget(path)


def _disturbed(
    airflow: Standalone, folder: Path, service: LocalService, disturb: Callable[[DagRun, dict[str, Any]], None]
) -> DagRun:
    """Disturb the first of two mapped tasks while all its requests wait for an answer, and check the end of it all."""
    rows = 40
    write_lines(folder / "lines.parquet", rows)
    service.set_faults(SLOW)
    run = airflow.trigger("killed_shards")

    def waiting() -> dict[str, Any] | None:
        tasks = airflow.tasks(run, SHARDS)
        stuck = len(tasks) == 2 and tasks[1]["state"] == "success" and service.bill()["in_flight"] == len(SLOW)
        return tasks[0] if stuck and tasks[0]["pid"] else None

    task = airflow.wait_until(waiting, "the first shard to be alone and stuck")
    before = service.bill()
    disturb(run, task)
    airflow.wait_until(lambda: service.bill()["received"] > before["received"], "the task to go on")
    assert airflow.wait_for_run(run) == "success", airflow.logs()
    again = service.bill()["received"] - rows
    assert 0 < again <= before["in_flight"]
    assert sorted(spoken_ids(folder / "out")) == sorted(row_ids(rows))
    check_bill(folder / "out", service)
    print(f"in flight at the end of the process: {before['in_flight']}; bought again: {again}")
    return run


def _event(airflow: Standalone, asset: str, run: DagRun) -> dict[str, Any]:
    airflow.wait_until_idle()  # the API (3.3.2) fails on events while a run that they triggered is queued
    events = airflow.ask("GET", "/assets/events", source_run_id=run.run_id, source_dag_id=run.dag_id)["asset_events"]
    (extra,) = (dict(event["extra"]) for event in events if event["name"] == asset)
    return extra


def _xcom_bytes(airflow: Standalone, run: DagRun) -> dict[str, int]:
    """Return how much each result takes in Airflow's database."""
    database = airflow.folder / "airflow" / "airflow.db"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        query = "SELECT task_id || '[' || map_index || '] ' || key, length(value) FROM xcom WHERE run_id = ?"
        return dict(connection.execute(query, [run.run_id]).fetchall())
