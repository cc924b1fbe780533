"""An Airflow of the tests' own: an sqlite database in a folder, and one process that runs DAGs there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "dags"
NIGHTS = Path(__file__).parent / "nights.py"


@dataclass(frozen=True)
class DagRun:
    """What came of a DAG run.

    Args:
        result: States of run and tasks, XComs, asset events.
        log: All that was printed meanwhile.
    """

    result: Mapping[str, Any]
    log: str

    @property
    def state(self) -> str:
        """The run's."""
        return str(self.result["state"])

    def of(self, task_id: str, field: str = "state") -> list[Any]:
        """Return the ``state``, ``tries`` or ``label`` of each instance of a task."""
        return [task[field] for task in self.result["tasks"] if task["task_id"] == task_id]

    def results(self, task_id: str, key: str = "return_value") -> list[Any]:
        """Return what the instances of a task gave to XCom."""
        return [x["value"] for x in self.result["xcoms"] if (x["task_id"], x["key"]) == (task_id, key)]


class Airflow:
    """Runs DAGs, in a process that has the database."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The process that the tasks run in."""
        return self._process.pid

    def run(
        self,
        dag_id: str,
        environ: Mapping[str, str],
        *,
        conf: Mapping[str, Any] | None = None,
        logical_date: str | None = None,
        run_after: str | None = None,
    ) -> DagRun:
        """Run a DAG with ``dag.test()``.

        Args:
            dag_id: The DAG's.
            environ: Connections and variables; they stay.
            conf: Of the run.
            logical_date: ISO 8601; None is as for an asset-triggered run.
            run_after: ISO 8601; None is now.
        """
        request = {
            "dag_id": dag_id,
            "environ": dict(environ),
            "conf": conf or {},
            "logical_date": logical_date,
            "run_after": run_after,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        begin = self._log.stat().st_size
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        with self._log.open("rb") as file_of_log:
            file_of_log.seek(begin)
            log = file_of_log.read().decode()
        assert answer, log
        result = json.loads(answer)
        assert "broken" not in result, result["broken"]
        return DagRun(result, log)


@contextmanager
def airflow_in(folder: Path) -> Iterator[Airflow]:
    """Make an Airflow in an empty folder, with the example DAGs and ``nights.py``; it ends with the ``with``."""
    environ = _environ(folder)
    dags = folder / "dags"
    dags.mkdir()
    for path in (*EXAMPLES.glob("*.py"), NIGHTS):
        shutil.copy(path, dags)
    log = folder / "runs.log"
    command = [sys.executable, "-m", "tests.airflow.dag_runs"]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, env=environ, cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        ) as process,
    ):
        yield Airflow(process, log)
        assert process.stdin is not None
        process.stdin.close()


def _environ(folder: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "_AIRFLOW__AS_LIBRARY"}
    return {
        **inherited,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of the tests alone, long enough for its algorithm",
        "PYTHONPATH": str(ROOT),
    }
