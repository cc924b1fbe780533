"""Runs that die at random instants, and what must hold after a last run that does not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.machine import LEASE_S
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.store import Store

COMMAND = Path(sys.executable).with_name("tts-pipeline")
PRICE = Decimal("0.8") / 10_000
"""CNY a character, by the list."""

FAULTS = (
    {"what": "throttle", "ratio": 0.05, "seed": 1, "retry_after_s": 0.05},
    {"what": "error", "status": 500, "ratio": 0.02, "seed": 2},
    {"what": "cut", "ratio": 0.01, "seed": 3},
)
"""5 % are told to wait, 2 % fail, and of 1 % the connection is cut after they were charged."""


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
        destination: The dataset: a folder or a URL.
        work_dir: For the journals.
        max_concurrency: In flight at one time, so also in flight at a kill, at most.
        part_rows: Rows in a part.
        loses_disk: Whether the journals' disk is lost with every kill.
        environ: What the runs find in their environment, beside what is there.
        flags: Further flags of the command.
        chance: Where the instants come from.
        lease_s: How long a killed run keeps others from its parts, where they have lost its work folder.
    """

    service: LocalService
    source: Path
    destination: str
    work_dir: Path
    max_concurrency: int
    part_rows: int = 250
    loses_disk: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    flags: Sequence[str] = ()
    chance: random.Random = field(default_factory=random.Random)
    lease_s: float = LEASE_S
    kills: int = 0
    rows_open: int = 0
    """Rows of the parts that were open at the kills."""

    @property
    def store(self) -> Store:
        """The destination, to look into."""
        return open_store(self.destination, self.work_dir / "looking")

    def command(self) -> list[str]:
        """Return the command line."""
        return [
            *[str(COMMAND), "run", str(self.source), self.destination, "--work-dir", str(self.work_dir)],
            *["--service", self.service.url, "--model", "qwen3-tts-flash", "--voice", "Cherry"],
            *["--max-concurrency", str(self.max_concurrency), "--part-rows", str(self.part_rows), "--quiet", "--json"],
            *["--lease-s", str(self.lease_s), *self.flags],
        ]

    def kill_at_random(self, *, within_s: float) -> bool:
        """Start a run and kill it at a random instant; return whether it was still alive.

        One in five dies at any time from its very start, the others within that time after their first request.
        """
        before = self.service.bill()["received"]
        process = subprocess.Popen(
            self.command(), env={**os.environ, **self.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            if self.chance.random() < 0.2:
                process.wait(self.chance.uniform(0, 1.0))
            while process.poll() is None and self.service.bill()["received"] == before:
                time.sleep(0.005)
            process.wait(self.chance.uniform(0, within_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self._count_kill()
            return True
        finally:
            assert process.stderr is not None
            process.stderr.close()
        return False

    def _count_kill(self) -> None:
        self.kills += 1
        self.rows_open += self.part_rows * len(self.store.names("claims", "part-"))
        if self.loses_disk and self.work_dir.exists():
            shutil.rmtree(self.work_dir)

    def finish(self) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        environ = {**os.environ, **self.environ}
        return subprocess.run(self.command(), env=environ, capture_output=True, text=True, check=False)

    def read(self, table: str) -> list[dict[str, Any]]:
        """Read a table of the dataset without its audio, all parts in order."""
        rows: list[dict[str, Any]] = []
        for name in self.store.names(table):
            with self.store.open(f"{table}/{name}") as file:
                parquet = pq.ParquetFile(file)
                columns = [column for column in parquet.schema_arrow.names if column != "audio"]
                rows += parquet.read(columns=columns).to_pylist()
        return rows


def check_nothing_lost(job: KilledJob, rows: int) -> None:
    """Every row of the source is in speech or rejects, exactly once, and none was rejected for the service's faults."""
    speech = [row["utterance_id"] for row in job.read("speech")]
    rejects = [row["utterance_id"] for row in job.read("rejects")]
    assert Counter([*speech, *rejects]) == Counter(f"r{number}" for number in range(rows))
    assert rejects == []


def check_bill(job: KilledJob, texts: Sequence[str]) -> dict[str, Any]:
    """The bill is never short, in characters and money, and what was bought twice is explained. Returns the figures."""
    bill, usage = job.service.bill(entries=True), job.read("usage")
    charged = Counter(entry["text"] for entry in bill["entries"] if entry["charged"])
    cut = Counter(row["utterance_id"] for row in usage if row["outcome"] == "failed" and row["http_status"] is None)
    repurchases = {text: count - 1 for text, count in charged.items()}
    # Of a purchase whose connection was cut nobody knows whether it was charged: it is made again for a good reason.
    bought_twice = sum(max(0, repurchases.get(text, 0) - cut[f"r{number}"]) for number, text in enumerate(texts))
    unknown = [row for row in usage if row["outcome"] == "unknown"]
    unknown_named = [row for row in unknown if row["utterance_id"] is not None]
    billed, at_most = (sum(row[f"characters_{name}"] for row in usage) for name in ("billed", "upper_bound"))
    cost, cost_at_most = (sum(row[name] for row in usage) for name in ("cost", "cost_upper_bound"))
    assert len({row["attempt_id"] for row in usage}) == len(usage)
    # Journals of several parts are shipped side by side. So a lost disk may leave the next intents of the same slots
    # at the destination, which were never sent, and not the answers before them.
    assert len(unknown_named) <= job.kills * job.max_concurrency * (2 if job.loses_disk else 1)
    if job.loses_disk:
        assert bought_twice <= job.kills * job.max_concurrency, (
            "what was answered is at the destination before more is sent"
        )
    else:
        assert len(usage) >= bill["received"], "a request was sent that the usage table does not know"
        assert bought_twice <= len(unknown_named), "what was bought twice was in flight at a kill"
        assert len(unknown) == len(unknown_named)
    assert billed <= bill["characters"] <= at_most
    assert cost <= PRICE * bill["characters"] <= cost_at_most
    return {
        "kills": job.kills,
        "received": bill["received"],
        "usage rows": len(usage),
        "bought twice": bought_twice,
        "cut": sum(cut.values()),
        "unknown": len(unknown),
        "rows of open parts at the kills": job.rows_open,
        "characters": (billed, bill["characters"], at_most),
        "cost": (str(cost), str(PRICE * bill["characters"]), str(cost_at_most)),
    }
