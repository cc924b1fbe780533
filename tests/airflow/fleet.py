"""An Airflow with PostgreSQL, Redis and two Celery workers, each with a tree of processes that can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.airflow.guarded import descendants
from tests.airflow.standalone import Standalone, started
from tests.machine import free_port, patience

TASKS_OF_A_WORKER = 4
_WORKERS = ("one", "two")
_DAG = Path(__file__).with_name("fleet_dag.py")
_PARTS = ("scheduler", "dag_processor")
_HEARTBEAT_S = 2

_SCRIPT = f"""
airflow db migrate
for name in {" ".join(_WORKERS)}; do
    airflow celery worker --celery-hostname "$name@%h" --skip-serve-logs --without-mingle &
    echo $! >"$name.pid"
done
disown -a  # one of them dies; all ends when one of the others does
redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --save '' --appendonly no &
airflow dag-processor &
airflow scheduler &
airflow api-server &
wait -n
"""


@dataclass(frozen=True)
class Fleet:
    """An Airflow whose tasks are run by Celery workers.

    Args:
        airflow: Its REST API.
        folder: Where it was started.
    """

    airflow: Standalone
    folder: Path

    def processes(self) -> list[set[int]]:
        """Return the processes of each worker."""
        roots = [int((self.folder / f"{name}.pid").read_text()) for name in _WORKERS]
        return [{root, *descendants(root)} for root in roots]

    def kill_worker(self) -> None:
        """Kill one of the workers with all of its processes, as a machine's end would."""
        root = int((self.folder / f"{_WORKERS[0]}.pid").read_text())
        pids = [root]
        for pid in pids:  # each is stopped before its children are listed: it starts no others meanwhile
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            pids += [child for child in descendants(pid) if child not in pids]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running_fleet(folder: Path, database_url: str, environ: Mapping[str, str]) -> Iterator[Fleet]:
    """Run a fleet for the length of a ``with``; skip the test where Redis is not installed.

    Args:
        folder: Where; it is made.
        database_url: Of Airflow's own database, which is empty.
        environ: Connections and variables.
    """
    if shutil.which("redis-server") is None:
        pytest.skip("needs Redis: apt install redis-server")
    pytest.importorskip("airflow.providers.celery", reason="apache-airflow-providers-celery is not installed")
    dags = folder / "dags"
    dags.mkdir(parents=True)
    shutil.copy(_DAG, dags)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    with started(_SCRIPT, folder, {**inherited, **_settings(folder, database_url), **environ}, _PARTS) as airflow:
        yield Fleet(airflow, folder)


def _settings(folder: Path, database_url: str) -> dict[str, str]:
    address = database_url.removeprefix("postgresql")
    redis_port = free_port()
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "REDIS_PORT": str(redis_port),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": "64",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        # Both named: Airflow 3.3 itself takes psycopg2 and asyncpg, which nothing else here needs.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg{address}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+psycopg_async{address}",
        "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(TASKS_OF_A_WORKER),
        # What a worker had taken from the queue and not begun goes to another; of what has begun, Airflow ignores that.
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "20",
        # A task whose worker is silent for so long has failed, and is tried again.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": str(_HEARTBEAT_S),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": f"{patience(15):.0f}",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": str(_HEARTBEAT_S),
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": str(_HEARTBEAT_S),
    }
