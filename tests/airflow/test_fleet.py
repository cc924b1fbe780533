"""A fleet of Celery workers whose tasks share one account: one of them dies, and nothing is lost."""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from tests.airflow.conftest import connection
from tests.airflow.fleet import TASKS_OF_A_WORKER, Fleet, running_fleet
from tests.airflow.fleet_dag import MAX_CONCURRENCY, SHARDS
from tests.airflow.standalone import DagRun
from tests.builders import row_ids, write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table, spoken_ids
from tests.machine import patience
from tests.postgres import PostgresServer
from tts_pipeline.emulator.local_service import LocalService

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="follows Airflow's processes in /proc")

REQUESTS_PER_MINUTE = 3_000
WINDOW_S = 10
MISSED_S = 60.0
"""Airflow waits 15 s for a task's sign of life, and looks every two."""
_TASK = "spoken.synthesize"


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    ("rows", "least_share"),
    [
        pytest.param(2_000, 0.0, marks=pytest.mark.slow, id="small"),  # most of its time goes into starting tasks
        pytest.param(10_000, 0.92, marks=pytest.mark.fleet, id="full"),
    ],
)
def test_a_worker_dies(
    tmp_path: Path,
    emulator: StartEmulator,
    postgres_server: PostgresServer,
    postgres: str,
    *,
    rows: int,
    least_share: float,
) -> None:
    """Every row once, the bill exact, the service's rate used and kept, by 20 shards that divide nothing."""
    service = emulator(
        voice_mode="tone", latency_ms=200, requests_per_minute=REQUESTS_PER_MINUTE, rate_tolerance_ms=950
    )
    write_lines(tmp_path / "lines.parquet", rows)
    environ = {
        "AIRFLOW_CONN_SPEECH_DEFAULT": connection(
            service.url, account_store=postgres, requests_per_minute=REQUESTS_PER_MINUTE
        ),
        "AIRFLOW_VAR_SPEECH_ROOT": str(tmp_path),
    }
    account = postgres.rpartition("/")[2]
    with postgres_server.database() as database, running_fleet(tmp_path / "fleet", database, environ) as fleet:
        run = fleet.airflow.trigger("fleet")

        def both_speak() -> bool:
            if service.bill()["received"] <= rows // 3:
                return False
            speaking = {pid for (pid,) in postgres_server.query("SELECT pid FROM tts_worker", account)}
            return all(speaking & processes for processes in fleet.processes())

        fleet.airflow.wait_until(both_speak, "tasks of both workers to share the account", 300)
        fleet.kill_worker()
        killed_at = time.time()
        assert fleet.airflow.wait_for_run(run, 600) == "success", fleet.airflow.logs()
        _check_tries(fleet, run, killed_at)
    ((slots,),) = postgres_server.query("SELECT sum(slots) FROM tts_rate_clock", account)
    assert slots >= rows
    dataset = tmp_path / "out"
    _check_rows(dataset, rows)
    _check_purchases(dataset, service)
    assert _share_of_the_rate(service, killed_at) >= least_share


def _check_rows(dataset: Path, rows: int) -> None:
    """Every row is in speech, once: none was rejected for the troubles of a machine."""
    assert read_table(dataset, "rejects").num_rows == 0
    assert Counter(spoken_ids(dataset)) == Counter(row_ids(rows))


def _check_purchases(dataset: Path, service: LocalService) -> None:
    """Usage knows each request; only of those that were in flight at the death, it does not know whether they cost."""
    check_bill(dataset, service)
    usage = read_table(dataset, "usage").select(["utterance_id", "outcome", "characters_billed"]).to_pylist()
    charged = Counter(entry["text"] for entry in service.bill(entries=True)["entries"] if entry["charged"])
    known = Counter(_text_of(row) for row in usage if row["characters_billed"])
    unknown = Counter(_text_of(row) for row in usage if row["outcome"] == "unknown")
    assert known - charged == Counter()
    assert charged - known <= unknown
    assert unknown.total() <= TASKS_OF_A_WORKER * MAX_CONCURRENCY
    print(f"{unknown.total()} requests in flight at the death, {(charged - known).total()} of them charged")


def _text_of(row: dict[str, Any]) -> str:
    return f"Line {row['utterance_id'].removeprefix('r')}."


def _check_tries(fleet: Fleet, run: DagRun, killed_at: float) -> None:
    """Airflow missed the dead worker's tasks soon; when they run again depends on what waits for the other worker."""
    tasks = fleet.airflow.tasks(run, _TASK)
    missed_s: list[float] = []
    for task in tasks:
        tries = fleet.airflow.ask("GET", f"{run.path}/taskInstances/{_TASK}/{task['map_index']}/tries")
        ends = [each["end_date"] for each in tries["task_instances"] if each["try_number"] < task["try_number"]]
        missed_s += [datetime.fromisoformat(end).timestamp() - killed_at for end in ends]
    assert len(tasks) == SHARDS
    assert missed_s
    assert max(missed_s) < patience(MISSED_S)
    print(f"\n{len(missed_s)} tasks had died, and were missed {min(missed_s):.0f} to {max(missed_s):.0f} s later")


def _share_of_the_rate(service: LocalService, killed_at: float) -> float:
    """Return how much of the permitted rate was used from the first to the last request; few were refused."""
    entries = service.bill(entries=True)["entries"]
    refused = sum(entry["status"] == 429 for entry in entries)
    times_s = sorted(entry["received_at"] for entry in entries if entry["status"] != 429)
    span_s = times_s[-1] - times_s[0]
    share: float = (len(times_s) - 1) * 60 / REQUESTS_PER_MINUTE / span_s
    windows = Counter(int((time_s - times_s[0]) // WINDOW_S) for time_s in times_s)
    shares = [f"{windows[window] * 60 / REQUESTS_PER_MINUTE / WINDOW_S:.0%}" for window in range(max(windows) + 1)]
    print(f"{share:.1%} of the permitted rate in {span_s:.0f} s; {refused} of {len(entries)} refused")
    print(f"by {WINDOW_S} s, with the death after {killed_at - times_s[0]:.0f} s: {' '.join(shares)}")
    assert refused <= 0.01 * len(entries)
    return share
