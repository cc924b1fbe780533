"""Machines: processes with a home, a work folder and a clock of their own, which share nothing but a destination."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tests.killing import COMMAND, PRICE, KilledJob, check_nothing_lost
from tests.machine import patience
from tts_pipeline.emulator.local_service import LocalService

ROWS, CAP = 120, 835
"""The case that was reported: half of what the rows cost is allowed."""

IN_FLIGHT = 4
URL = "s3://bucket/out"


def write_lines(path: Path, rows: int = ROWS) -> list[str]:
    """Write a source of distinct texts, and return them; 120 of them have 1,670 characters."""
    texts = [f"Line {number} " + "abcdef"[: 6 if number < 100 else 5] for number in range(rows)]
    pq.write_table(pa.table({"id": [f"r{number}" for number in range(rows)], "text": texts}), path)
    return texts


@dataclass(slots=True)
class Machine:
    """One machine, and the process that runs on it.

    Args:
        job: With a work folder and an environment of this machine's own.
        home: Everything that it has.
        process: None before the first start.
        exits: Exit codes so far, without those of kills.
        messages: What its runs wrote to stderr.
    """

    job: KilledJob
    home: Path
    process: subprocess.Popen[bytes] | None = None
    exits: list[int] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Run the job's command on this machine."""
        self.home.mkdir(exist_ok=True)
        environ = {**os.environ, **self.job.environ}
        with (self.home / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(self.job.command(), env=environ, stdout=subprocess.DEVNULL, stderr=stderr)

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended; the exit code of one that has is kept."""
        if self.process is not None and self.process.poll() is not None:
            self._note(self.process.returncode)
        return self.process is not None

    def wait(self) -> int:
        """Wait for the process to end, and return its exit code."""
        assert self.process is not None
        code = self.process.wait(patience(120))
        self._note(code)
        return code

    def kill(self, *, loses_disk: bool = False) -> None:
        """End the process at this instant; with its disk, all that this machine had is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None
        if loses_disk:
            shutil.rmtree(self.home)

    def suspend(self) -> None:
        """Stop the process where it is, as a machine that sleeps."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a process that was stopped go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _note(self, code: int) -> None:
        self.process = None
        self.exits.append(code)
        self.messages.append((self.home / "stderr").read_text())
        (self.home / "stderr").write_text("")


@dataclass(slots=True)
class Fleet:
    """Machines that all run the same command; the service's bill is the truth.

    Args:
        folder: For the source and the machines' homes.
        service: It outlives all machines.
        environ: By which the destination is found.
        flags: Further flags of the command.
        rows: Of the source.
        chance: What instants and machines are drawn by.
        interruptions: Kills and stops, each of which may have cost the requests in flight.
    """

    folder: Path
    service: LocalService
    environ: Mapping[str, str]
    flags: Sequence[str] = ()
    rows: int = ROWS
    chance: random.Random = field(default_factory=random.Random)
    machines: list[Machine] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    interruptions: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Write the source."""
        self.texts = write_lines(self.folder / "lines.parquet", self.rows)

    def add(self, *, ahead_s: float = 0, flags: Sequence[str] = ()) -> Machine:
        """Add a machine whose clock is ahead of the others by so many seconds; it is not started."""
        home = self.folder / f"machine-{len(self.machines)}"
        job = KilledJob(
            *(self.service, self.folder / "lines.parquet", URL, home / "work", IN_FLIGHT),
            part_rows=10,
            environ={**self.environ, **_clock(ahead_s), "HOME": str(home), "PYTHONWARNINGS": "ignore"},
            flags=(*self.flags, *flags),
        )
        self.machines.append(Machine(job, home))
        return self.machines[-1]

    def start(self, machines: int, *, ahead_s: float = 0) -> list[Machine]:
        """Add and start machines; each one's clock is ahead of the one's before."""
        added = [self.add(ahead_s=ahead_s * number) for number in range(machines)]
        for machine in added:
            machine.start()
        return added

    def received(self) -> int:
        """Return how many requests the service has had."""
        received: int = self.service.bill()["received"]
        return received

    def wait_for(self, received: int) -> None:
        """Wait until the service has had so many requests, or no machine runs any more."""
        while self.received() < received and any(machine.is_running for machine in self.machines):
            time.sleep(0.005)

    def wait(self) -> None:
        """Wait for all machines to end."""
        for machine in self.machines:
            if machine.is_running:
                machine.wait()

    def finish(self, machine: Machine | None = None, runs: int = 20) -> None:
        """Run on one machine until the job is done."""
        last = machine or self.add()
        for _ in range(runs):
            last.start()
            if last.wait() == 0:
                return
        raise AssertionError(f"exit codes {last.exits}: {last.messages[-1]}")

    def close(self) -> None:
        """End what still runs, also what is stopped."""
        for machine in self.machines:
            if machine.process is not None:
                machine.kill()

    def count_interruption(self, how: str) -> None:
        """Count a kill or a stop."""
        self.interruptions[how] += 1

    def check(self) -> dict[str, Any]:
        """Check all that must hold at the end, and return the figures."""
        job = self.machines[-1].job
        check_nothing_lost(job, self.rows)
        twice = self.bought_twice()
        assert twice <= sum(self.interruptions.values()) * IN_FLIGHT, "more was bought twice than was in flight"
        for folder in ("claims", "journal") if self.interruptions["lost"] else ("leases", "claims", "journal"):
            # Of a machine that is lost, a lease stays until a run is there for longer than it takes to call it dead.
            assert job.store.names(folder) == []
        figures = self._check_bill(job)
        return {
            "machines": len(self.machines),
            **self.interruptions,
            "bought twice": twice,
            "exit codes": [machine.exits for machine in self.machines],
            **figures,
        }

    def bought_twice(self) -> int:
        """Return how many purchases were made beyond one for each text."""
        entries = self.service.bill(entries=True)["entries"]
        charged = Counter(entry["text"] for entry in entries if entry["charged"])
        assert set(charged) <= set(self.texts)
        return sum(count - 1 for count in charged.values())

    def _check_bill(self, job: KilledJob) -> dict[str, Any]:
        """The bill is never short, wherever it is told: the tables, the summary of all parts, the report."""
        charged: int = self.service.bill()["characters"]
        usage = job.read("usage")
        assert len({row["attempt_id"] for row in usage}) == len(usage)
        part_totals = orjson.loads(job.store.read("parts.json") or b"")["totals"]
        report_rows = self._report()
        bills = {
            "usage": [_sum(usage, name) for name in _FIGURES],
            "parts.json": [Decimal(str(part_totals[name])) for name in _FIGURES],
            "report": [_sum(report_rows, name) for name in _FIGURES],
        }
        for source, (billed, at_most, cost, cost_at_most) in bills.items():
            assert billed <= charged <= at_most, source
            assert cost <= charged * PRICE <= cost_at_most, source
        assert bills["usage"] == bills["parts.json"] == bills["report"]
        return {"characters": f"{bills['usage'][0]} <= {charged} <= {bills['usage'][1]}", "usage rows": len(usage)}

    def _report(self) -> list[dict[str, Any]]:
        output = self.folder / "report.parquet"
        environ = {**os.environ, **self.environ, "PYTHONWARNINGS": "ignore"}
        command = [str(COMMAND), "report", URL, "--output", str(output)]
        reporting = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
        assert reporting.returncode == 0, reporting.stderr
        return pl.read_parquet(output).to_dicts()


_FIGURES = ("characters_billed", "characters_upper_bound", "cost", "cost_upper_bound")


def _sum(rows: Sequence[Mapping[str, Any]], name: str) -> Decimal:
    return sum((Decimal(str(row[name])) for row in rows), Decimal(0))


def _clock(ahead_s: float) -> dict[str, str]:
    folder = Path(__file__).with_name("clock")
    return {"PYTHONPATH": str(folder), "TTS_TEST_CLOCK_AHEAD_S": str(ahead_s)} if ahead_s else {}
