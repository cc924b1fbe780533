"""One cap for the shards of a dataset, each a real process: nothing beyond the cap, hardly anything left of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import job_of
from tests.conftest import StartEmulator
from tests.machine import LEASE_S, patience
from tests.scenarios.machines import URL
from tts_pipeline.config import BudgetCap
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import Job, Report, Shard, plan, run_parts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LINE = 12
"""Characters of each text."""

_RUN = """
import sys
from pathlib import Path
from tests.scenarios.test_caps import capped_job
from tts_pipeline.job import Shard, run_parts
folder, url, destination, work_dir, cap = sys.argv[1:6]
report = run_parts(capped_job(Path(folder), url, destination, Path(work_dir), int(cap)), Shard(*map(int, sys.argv[6:])))
print(report.stopped_by, report.this_run.attempts, report.stopped)
"""


def capped_job(folder: Path, url: str, destination: str, work_dir: Path, cap: int) -> Job:
    """Return a job under a cap of so many characters."""
    options = {"budget": BudgetCap(max_characters=cap), "part_rows": 5, "work_dir": work_dir, "lease_s": LEASE_S}
    return job_of(folder, url, destination=destination, options=options, limits={"max_concurrency": 4})


@dataclass(slots=True)
class Shards:
    """The shards of one job, and the process of each.

    Args:
        folder: Where the source and the work folders are.
        service: Its bill is the truth.
        destination: A folder or a URL.
        rows: Rows of the source, of ``LINE`` characters each.
        cap: In characters.
        shards: How many.
        has_own_disks: Whether each shard has a work folder of its own, as machines have.
        environ: By which the destination is found.
    """

    folder: Path
    service: LocalService
    destination: str
    rows: int
    cap: int
    shards: int
    has_own_disks: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    plan: list[Shard] = field(default_factory=list)
    processes: dict[int, subprocess.Popen[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the source, and plan."""
        texts = [f"Line {number:06}." for number in range(self.rows)]
        ids = [f"r{number}" for number in range(self.rows)]
        pq.write_table(pa.table({"id": ids, "text": texts}), self.folder / "lines.parquet")
        with self._environment():
            self.plan = plan(self._job(self.folder / "work-plan"), self.shards)
        assert len(self.plan) == self.shards

    def start(self, *indices: int) -> None:
        """Start some shards."""
        for index in indices:
            shard = self.plan[index]
            numbers = [shard.index, shard.first_part, shard.parts, shard.shards, shard.all_parts]
            arguments = [self.folder, self.service.url, self.destination, self._work_dir(index), self.cap, *numbers]
            command = [sys.executable, "-W", "ignore", "-c", _RUN, *map(str, arguments)]
            environ = {**os.environ, **self.environ}
            self.processes[index] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)

    def run(self, shard: Shard) -> Report:
        """Run a shard in this process."""
        with self._environment():
            return run_parts(self._job(self._work_dir(shard.index)), shard)

    def _job(self, work_dir: Path) -> Job:
        return capped_job(self.folder, self.service.url, self.destination, work_dir, self.cap)

    def _work_dir(self, index: int) -> Path:
        return self.folder / (f"work-{index}" if self.has_own_disks else "work")

    @contextmanager
    def _environment(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environ.items():
                patch.setenv(name, value)
            yield

    def kill(self, index: int) -> None:
        """End a shard's process at this instant."""
        self.processes[index].kill()
        self.processes.pop(index).communicate()

    def check_stops(self) -> list[tuple[str, int]]:
        """Wait for all processes, which stop for the budget, or have done all their rows.

        Return the reason of each stop, and the number of its attempts.
        """
        outputs = [process.communicate(timeout=patience(120))[0] for process in self.processes.values()]
        self.processes.clear()
        print(*outputs, sep="")
        stops = [(words[0], int(words[1])) for words in map(str.split, outputs)]
        assert {reason for reason, _ in stops} in ({"budget"}, {"budget", "None"})
        return stops

    def charged(self) -> int:
        """Return the characters that the service charged."""
        characters: int = self.service.bill()["characters"]
        return characters

    def wait_for(self, characters: int) -> None:
        """Wait until the service has charged so many characters."""
        while self.charged() < characters:
            assert any(process.poll() is None for process in self.processes.values())
            time.sleep(0.005)

    def close(self) -> None:
        """End what still runs."""
        for index in tuple(self.processes):
            self.kill(index)


StartShards = Callable[..., Shards]


@pytest.fixture
def make_shards(tmp_path: Path, emulator: StartEmulator) -> Iterator[StartShards]:
    """Make the shards of one job on one service; none outlives the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> Shards:
            service = emulator(voice_mode="tone", tone_bytes=1_000, latency_ms=30)
            shards = Shards(tmp_path, service, **{"destination": str(tmp_path / "out"), **options})
            stack.callback(shards.close)
            return shards

        yield make


def _check_spent(shards: Shards, *, lost: int = 0) -> None:
    """Check that the cap was kept and used, but for what kills may have lost; and that it stays spent."""
    print(f"{shards.charged()} of {shards.cap} characters")
    assert 0.97 * shards.cap - lost < shards.charged() <= shards.cap
    received = shards.service.bill()["received"]
    for shard in shards.plan:
        assert shards.run(shard).this_run.attempts == 0
    assert shards.service.bill()["received"] == received


def test_eight_shards_draw_from_one_cap(make_shards: StartShards) -> None:
    """The cap covers a third of the rows: every shard stops for the budget, once it is spent, and not before."""
    shards = make_shards(rows=480, cap=160 * LINE, shards=8)
    shards.start(*range(8))
    shards.check_stops()
    _check_spent(shards)


def test_shards_that_are_killed_take_nothing_away(make_shards: StartShards) -> None:
    """Two are killed and started again: their claims come back, but for what was in flight."""
    shards = make_shards(rows=480, cap=160 * LINE, shards=8)
    shards.start(*range(8))
    shards.wait_for(40 * LINE)
    for index in (2, 5):
        shards.kill(index)
        shards.start(index)
    shards.check_stops()
    _check_spent(shards, lost=2 * 4 * LINE)


def test_machines_draw_from_one_cap(make_shards: StartShards, s3: Mapping[str, str]) -> None:
    """Two machines that share a bucket alone."""
    shards = make_shards(rows=80, cap=30 * LINE, shards=2, destination=URL, has_own_disks=True, environ=s3)
    shards.start(0, 1)
    shards.check_stops()
    _check_spent(shards)
