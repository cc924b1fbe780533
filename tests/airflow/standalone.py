"""A whole Airflow (API server, scheduler, DAG processor, triggerer) as its page starts it, and its REST API."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.docs.pages import Block, Reader, blocks, environment
from tests.machine import free_port, patience

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "airflow.md"
WORKERS = 3
_LOG_LINES = 60
_LOOK_S = 0.5
_START_S = 300.0
_OVER = {"success", "failed"}
_PARTS = ("scheduler", "triggerer", "dag_processor")

Value = TypeVar("Value")


@dataclass(frozen=True)
class DagRun:
    """A run that was triggered."""

    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        """Where the API has it."""
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"


class Standalone:
    """An Airflow that runs.

    Args:
        url: Of the API server, which is also the user interface.
        folder: Where it was started.
        process: Ends with Airflow.
        parts: What runs beside the API server.
    """

    def __init__(self, url: str, folder: Path, process: subprocess.Popen[bytes], parts: Iterable[str] = _PARTS) -> None:
        self.url = url
        self.folder = folder
        self._process = process
        self._parts = tuple(parts)
        self._client = httpx.Client(base_url=f"{url}/api/v2", trust_env=False, timeout=patience(60))

    def log_in(self) -> None:
        """Take a token, once everything is up; all are administrators here."""
        self.wait_until(self._is_up, "Airflow to start", _START_S)
        token = self._client.get(f"{self.url}/auth/token").json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        """Give back the connections to it."""
        self._client.close()

    def ask(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        """Call the API (``/dags/...``) or another path of the server (a URL), and return what it answers."""
        answer = self._client.request(method, path, json=body, params=query)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}\n{self.logs()}"
        return answer.json() if answer.content else None

    def forget(self, path: str) -> None:
        """Delete what is there, or not."""
        answer = self._client.delete(path)
        assert answer.status_code in {204, 404}, answer.text

    def wait_until(self, look: Callable[[], Value | None], event: str, timeout_s: float = 60.0) -> Value:
        """Look again and again until something is there; returns it.

        Raises:
            AssertionError: It is not there in time; tells what Airflow logged.
        """
        end = time.monotonic() + patience(timeout_s)
        while time.monotonic() < end:
            if value := look():
                return value
            assert self._process.poll() is None, f"Airflow ended\n{self.logs()}"
            time.sleep(_LOOK_S)
        raise AssertionError(f"waited {patience(timeout_s):.0f} s for {event}\n{self.logs()}")

    def trigger(self, dag_id: str) -> DagRun:
        """Trigger a DAG, as soon as Airflow has read its file."""
        self.wait_until(lambda: self._client.get(f"/dags/{dag_id}").is_success, f"the DAG {dag_id}")
        self.ask("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        run = self.ask("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None})
        return DagRun(dag_id, run["dag_run_id"])

    def tasks(self, run: DagRun, task_id: str | None = None) -> list[dict[str, Any]]:
        """Return a run's task instances, in order of their map index; of one task only, if given."""
        instances = self.ask("GET", f"{run.path}/taskInstances")["task_instances"]
        return sorted(
            (each for each in instances if task_id in {None, each["task_id"]}), key=lambda task: int(task["map_index"])
        )

    def wait_for_run(self, run: DagRun, timeout_s: float = 90.0) -> str:
        """Wait for a run to end; returns its state."""

        def state() -> str | None:
            run_state = str(self.ask("GET", run.path)["state"])
            return run_state if run_state in _OVER else None

        return self.wait_until(state, f"{run.run_id} of {run.dag_id} to end", timeout_s)

    def wait_until_idle(self, timeout_s: float = 120.0) -> None:
        """Wait until no run is queued or running; one that an asset's event is about to trigger counts."""

        def nothing() -> bool:
            return not (self._unfinished() or self._waiting_events() or self._unfinished())

        self.wait_until(nothing, "all runs to end", timeout_s)

    def has_killed(self, process: int) -> bool:
        """Whether Airflow killed a task's process that did not end within its five seconds: the machine was too busy.

        Then the usage is published by whoever goes on.
        """
        lines = (self.folder / "standalone.log").read_text(errors="replace").splitlines()
        return any("did not terminate in time" in line and f"pid={process} " in line for line in lines)

    def logs(self) -> str:
        """Return the ends of what Airflow and its tasks logged."""
        files = sorted(self.folder.rglob("*.log"), key=lambda path: path.stat().st_mtime)[-6:]
        return "\n".join(f"--- {path}\n{_end_of(path)}" for path in files)

    def _unfinished(self) -> int:
        return int(self.ask("GET", "/dags/~/dagRuns", state=["queued", "running"])["total_entries"])

    def _waiting_events(self) -> bool:
        dags = self.ask("GET", "/dags")["dags"]
        return any(self.ask("GET", f"/dags/{dag['dag_id']}/assets/queuedEvents")["total_entries"] for dag in dags)

    def _is_up(self) -> bool:
        try:
            health = self._client.get("/monitor/health").json()
        except (httpx.TransportError, ValueError):
            return False
        return all(health[part]["status"] == "healthy" for part in self._parts)


@dataclass(frozen=True)
class DocumentedAirflow:
    """An Airflow that was started as its page says, whoever did it, and the blocks of the page after that."""

    airflow: Standalone
    reader: Reader
    rest: list[Block]


@contextmanager
def started_as_documented(
    folder: Path, service_url: str, more_dags: Iterable[Path] = ()
) -> Iterator[DocumentedAirflow]:
    """Do what the page says up to ``airflow standalone``, and start it; it ends with the ``with``.

    Args:
        folder: Where; empty.
        service_url: The local service.
        more_dags: Files beside those of the page.
    """
    reader = Reader(folder, service_url, _environment(service_url, folder / "home"))
    rest = blocks(PAGE.read_text())
    while reader.server is None:
        reader.do(next(rest))
    for path in more_dags:
        shutil.copy(path, folder / "dags")
    with started(reader.server, folder, reader.environ) as airflow:
        yield DocumentedAirflow(airflow, reader, list(rest))


@contextmanager
def started(
    script: str, folder: Path, environ: Mapping[str, str], parts: Iterable[str] = _PARTS
) -> Iterator[Standalone]:
    """Run a shell script that starts Airflow and ends with it; all of it ends with the ``with``, and with this process.

    Args:
        script: What is typed.
        folder: Where.
        environ: Its environment, and settings that differ from those of the tests: free ports, three workers.
        parts: What runs beside the API server.
    """
    port, *log_ports = (free_port() for _ in range(3))
    command = [sys.executable, "-m", "tests.airflow.guarded", "bash", "-euc", script]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "standalone.log").open("wb"))
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**_settings(port, log_ports), **environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the tests
        )
        stack.callback(_end, process)
        airflow = Standalone(f"http://127.0.0.1:{port}", folder, process, parts)
        stack.callback(airflow.close)
        airflow.log_in()
        yield airflow


def _settings(port: int, log_ports: list[int]) -> dict[str, str]:
    # What a machine shared with others needs, and what saves a test's time.
    worker_logs, trigger_logs = log_ports
    return {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of the tests alone, long enough for its algorithm to be content",
        "AIRFLOW__CORE__PARALLELISM": str(WORKERS),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def _end_of(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-_LOG_LINES:])


def _environment(service_url: str, home: Path) -> dict[str, str]:
    """Return a reader's environment, without what tests of Airflow as a library have set in this process."""
    home.mkdir()
    inherited = environment(service_url, home)
    return {name: value for name, value in inherited.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
