"""Four processes on one budget, with kills, faults, and a lost store: nothing beyond it, hardly anything left of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartEmulator
from tests.killing import COMMAND, KilledJob, write_source
from tests.machine import patience
from tests.postgres import PostgresServer
from tts_pipeline.account.location import find_store
from tts_pipeline.account.status import read_status
from tts_pipeline.emulator.local_service import LocalService

PROCESSES, CONCURRENCY, ROWS = 4, 64, 1_000
AMOUNT = 30_000
"""Characters: about half of what all rows have."""

FAULTS = (
    {"what": "throttle", "ratio": 0.02, "seed": 1, "retry_after_s": 0.05},
    {"what": "error", "status": 500, "ratio": 0.005, "seed": 2},
    {"what": "cut", "ratio": 0.005, "seed": 3},
)
"""Of the errors nobody knows whether they were charged; the cut ones were."""

BUDGET_STOP = 4


@dataclass(slots=True)
class Crowd:
    """Processes of the command line, each with a dataset of its own, on one budget.

    Args:
        folder: For sources and datasets.
        service: Its bill is the truth.
        store: The account store's setting.
        amount: The budget in characters.
        rows: Of each dataset.
    """

    folder: Path
    service: LocalService
    store: str
    amount: int = AMOUNT
    rows: int = ROWS
    jobs: list[KilledJob] = field(default_factory=list)
    processes: dict[int, subprocess.Popen[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the sources, and set the budget."""
        environ, flags = {"TTS_ACCOUNT_STORE": self.store}, ["--tag", "team=radio"]
        for number in range(PROCESSES):
            folder = self.folder / f"{number}"
            folder.mkdir()
            paths = folder / "lines.parquet", str(folder / "out"), folder / "work"
            self.jobs.append(KilledJob(self.service, *paths, CONCURRENCY, environ=environ, flags=flags))
            write_source(paths[0], self.rows)
        self.tts("budget", "set", "radio", f"{self.amount} characters", "--per", "ever", "--where", "team=radio")

    def tts(self, *arguments: str) -> str:
        """Run a short command; return what it printed."""
        environ = {**os.environ, "TTS_ACCOUNT_STORE": self.store}
        return subprocess.run([COMMAND, *arguments], env=environ, check=True, capture_output=True, text=True).stdout

    def start(self, number: int) -> None:
        """Start a process, or start it again."""
        job = self.jobs[number]
        self.processes[number] = subprocess.Popen(
            job.command(),
            env={**os.environ, **job.environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_all(self) -> None:
        """Start all."""
        for number in range(PROCESSES):
            self.start(number)

    def kill(self, number: int) -> None:
        """End a process at this instant."""
        process = self.processes.pop(number)
        process.kill()
        process.communicate()

    def wait_for(self, characters: int) -> None:
        """Wait until the service has charged so many characters, or all processes have ended."""
        while self.charged() < characters and any(process.poll() is None for process in self.processes.values()):
            time.sleep(0.02)

    def stops(self) -> list[int]:
        """Wait for all processes; return how each ended."""
        messages = [process.communicate(timeout=patience(120))[1] for process in self.processes.values()]
        print(*(message[-400:] for message in messages), sep="\n")
        codes = [process.returncode for process in self.processes.values()]
        self.processes.clear()
        return codes

    def charged(self) -> int:
        """Return the characters that the service charged."""
        characters: int = self.service.bill()["characters"]
        return characters

    def living(self) -> int:
        """Return how many processes the store takes for living."""
        location = find_store(self.store)
        assert location is not None
        with closing(location.open()) as database, database.transaction() as transaction:
            return sum(worker.is_living for worker in read_status(transaction).workers)

    def wait_until(self, living: int) -> None:
        """Wait until so many processes live, by the store."""
        while self.living() != living:
            assert all(process.poll() is None for process in self.processes.values())
            time.sleep(0.1)

    def close(self) -> None:
        """End what still runs."""
        for number in tuple(self.processes):
            self.kill(number)

    def check_bill(self, *, is_exact: bool = False) -> None:
        """Check that the budget was kept and used, and that the store's figures are those of the service."""
        (facts,) = json.loads(self.tts("budget", "list", "--json"))["budgets"]
        charged, used, possible = self.charged(), int(facts["used"]), int(facts["possible"])
        usage = [row for job in self.jobs for row in job.read("usage")]
        billed, at_most = (sum(row[f"characters_{name}"] for row in usage) for name in ("billed", "upper_bound"))
        print(f"{charged} of {self.amount} characters were charged; used {used}, possible {possible}, usage {at_most}")
        assert (facts["leased"], facts["waiting_workers"]) == ("0", 0)
        assert billed <= charged <= at_most <= used + possible <= self.amount
        assert at_most >= 0.97 * self.amount, "what a kill left in flight is spent at most; nothing else is left over"
        if is_exact:
            assert (used, possible) == (charged, 0)


StartCrowd = Callable[..., Crowd]


@pytest.fixture
def make_crowd(tmp_path: Path, emulator: StartEmulator) -> Iterator[StartCrowd]:
    """Make the processes of one round on a service of their own; none outlives the test."""
    with ExitStack() as stack:

        def make(store: str, **options: Any) -> Crowd:
            folder = tmp_path / "round"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            crowd = Crowd(folder, emulator(voice_mode="tone", tone_bytes=1_000, latency_ms=300), store, **options)
            stack.callback(crowd.close)
            return crowd

        yield make


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The setting of an account store that is not made yet, once in a file and once in PostgreSQL."""
    return str(tmp_path / "account.db") if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.mark.slow
def test_together_they_spend_it_exactly(make_crowd: StartCrowd, place: str) -> None:
    """Each stops for the budget; the store's figures are the service's bill, to the character."""
    crowd = make_crowd(place)
    crowd.start_all()
    assert crowd.stops() == PROCESSES * [BUDGET_STOP]
    crowd.check_bill(is_exact=True)


def _kill_some(crowd: Crowd, kills: int) -> None:
    """Kill some at random moments and start them again at once, on a service with faults.

    The slice of a killed process comes back from the one that goes on with its dataset, before that is stopped.
    """
    crowd.service.set_faults(FAULTS)
    crowd.start_all()
    for share in sorted(random.uniform(0.02, 0.8) for _ in range(kills)):
        crowd.wait_for(round(share * crowd.amount))
        number = random.randrange(PROCESSES)
        crowd.kill(number)
        crowd.start(number)
    assert crowd.stops() == PROCESSES * [BUDGET_STOP]
    crowd.check_bill()


@pytest.mark.slow
def test_kills_and_faults(make_crowd: StartCrowd, place: str) -> None:
    """Killed processes take nothing away but what was in flight, and nothing passes the budget."""
    _kill_some(make_crowd(place), kills=2)


@pytest.mark.kill
@pytest.mark.parametrize("_round", range(10))
def test_more_kills_and_faults(make_crowd: StartCrowd, place: str, _round: int) -> None:
    """As above."""
    _kill_some(make_crowd(place, amount=2 * AMOUNT, rows=2 * ROWS), kills=6)


def _lose_the_file(crowd: Crowd, losses: int) -> None:
    """Delete the store at random moments, once all know it."""
    crowd.start_all()
    crowd.wait_until(living=PROCESSES)
    for share in sorted(random.uniform(0.05, 0.8) for _ in range(losses)):
        crowd.wait_for(round(share * crowd.amount))
        Path(crowd.store).unlink(missing_ok=True)  # it may not be made anew yet
    assert crowd.stops() == PROCESSES * [BUDGET_STOP]
    crowd.check_bill(is_exact=True)


@pytest.mark.slow
def test_a_file_that_is_deleted(make_crowd: StartCrowd, tmp_path: Path) -> None:
    """Those who knew the budget bring it back, with all that was taken of it."""
    _lose_the_file(make_crowd(str(tmp_path / "account.db")), losses=1)


@pytest.mark.kill
@pytest.mark.parametrize("_round", range(10))
def test_a_file_that_is_deleted_again_and_again(make_crowd: StartCrowd, tmp_path: Path, _round: int) -> None:
    """As above."""
    _lose_the_file(make_crowd(str(tmp_path / "account.db"), amount=2 * AMOUNT, rows=2 * ROWS), losses=3)


def _stop_the_server(crowd: Crowd, server: PostgresServer, stops: int) -> None:
    """Stop the server at random moments, for some seconds."""
    crowd.start_all()
    crowd.wait_until(living=PROCESSES)
    for share in sorted(random.uniform(0.05, 0.8) for _ in range(stops)):
        crowd.wait_for(round(share * crowd.amount))
        with server.stopped():
            time.sleep(random.uniform(0, 6))  # the length of the outage, which is the scenario
    assert crowd.stops() == PROCESSES * [BUDGET_STOP]
    crowd.check_bill(is_exact=True)


@pytest.mark.slow
def test_a_server_that_stops(make_crowd: StartCrowd, postgres: str, postgres_server: PostgresServer) -> None:
    """All wait for it, also for longer than their leases."""
    _stop_the_server(make_crowd(postgres), postgres_server, stops=1)


@pytest.mark.kill
@pytest.mark.parametrize("_round", range(10))
def test_a_server_that_stops_again_and_again(
    make_crowd: StartCrowd, postgres: str, postgres_server: PostgresServer, _round: int
) -> None:
    """As above."""
    _stop_the_server(make_crowd(postgres, amount=2 * AMOUNT, rows=2 * ROWS), postgres_server, stops=3)
