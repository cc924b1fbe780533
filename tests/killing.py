"""Runs that die at random instants, and what must hold after a last run that does not."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.emulator.local import LocalService

COMMAND = Path(sys.executable).with_name("tts-pipeline")


def write_source(path: Path, rows: int) -> list[str]:
    """Write a source of short, distinct texts, and return them."""
    texts = [f"Line {number} says {'la ' * (number % 7)}." for number in range(rows)]
    pq.write_table(pa.table({"id": [f"r{number}" for number in range(rows)], "text": texts}), path)
    return texts


@dataclass(slots=True)
class KilledJob:
    """One job, run again and again by the real command line.

    Args:
        service: Where the requests go; it outlives the runs, and its bill is the truth.
        source: The rows.
        destination: The dataset.
        max_concurrency: In flight at one time, so also in flight at a kill, at most.
        chance: Where the instants come from.
    """

    service: LocalService
    source: Path
    destination: Path
    max_concurrency: int
    chance: random.Random
    kills: int = 0
    flags: list[str] = field(default_factory=list)

    def command(self) -> list[str]:
        """Return the command line."""
        return [
            *[str(COMMAND), "run", str(self.source), str(self.destination)],
            *["--service", self.service.url, "--model", "qwen3-tts-flash", "--voice", "Cherry"],
            *["--max-concurrency", str(self.max_concurrency), "--part-rows", "250", "--quiet", "--json", *self.flags],
        ]

    def kill_at_random(self, *, from_s: float, to_s: float) -> bool:
        """Start a run and kill it that long after its first request; return whether it was still alive."""
        before = self.service.bill()["received"]
        process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None and self.service.bill()["received"] == before:
            time.sleep(0.005)
        try:
            process.wait(self.chance.uniform(from_s, to_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.kills += 1
            return True
        finally:
            assert process.stderr is not None
            process.stderr.close()
        return False

    def finish(self) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(self.command(), capture_output=True, text=True, check=False)


def read(destination: Path, table: str) -> pa.Table:
    """Read one table of a dataset, all parts in order; an empty one where there is no file."""
    files = sorted((destination / table).glob("*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in files]) if files else pa.table({})


def check_nothing_lost(destination: Path, rows: int) -> None:
    """Every row of the source is in speech or rejects, exactly once."""
    speech = read(destination, "speech")
    rejects = read(destination, "rejects")
    ids = [*speech.column("utterance_id").to_pylist(), *(rejects.column("utterance_id").to_pylist() if rejects else [])]
    assert Counter(ids) == Counter(f"r{number}" for number in range(rows))


def check_bill(job: KilledJob) -> dict[str, Any]:
    """The bill is never short, and what was bought twice was in flight at a kill. Returns the figures."""
    bill = job.service.bill(entries=True)
    usage = read(job.destination, "usage")
    charged = Counter(entry["text"] for entry in bill["entries"] if entry["charged"])
    bought_again = sum(count - 1 for count in charged.values())
    unknown = usage.column("outcome").to_pylist().count("unknown")
    billed = sum(usage.column("characters_billed").to_pylist())
    at_most = sum(usage.column("characters_upper_bound").to_pylist())
    assert usage.num_rows >= bill["received"], "a request was sent that the usage table does not know"
    assert len(set(usage.column("attempt_id").to_pylist())) == usage.num_rows
    assert unknown <= job.kills * job.max_concurrency
    assert bought_again <= job.kills * job.max_concurrency
    assert billed <= bill["characters"] <= at_most
    return {"kills": job.kills, "bought_again": bought_again, "unknown": unknown, "billed": billed, "at_most": at_most}
