"""Workers whose disk is lost with them: what they shipped is gone on with elsewhere, and the bill is never short."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import StartEmulator
from tests.killing import FAULTS, KilledJob, check_bill, check_nothing_lost, write_source
from tts_pipeline.dataset.adoption import adopt_journals
from tts_pipeline.dataset.names import parse_part_number
from tts_pipeline.wal.replay import replay_journal
from tts_pipeline.wal.shipping import FOLDER

_RUN = """
import sys
from pathlib import Path
from tts_pipeline.catalog import Service
from tts_pipeline.config import Limits
from tts_pipeline.job import Job, RunOptions, run_job
source, destination, url, work_dir, max_concurrency, part_rows, lease_s = sys.argv[1:]
options = RunOptions(
    limits=Limits(max_concurrency=int(max_concurrency)), part_rows=int(part_rows), work_dir=Path(work_dir),
    ship_journals=None if "://" in destination else True, lease_s=float(lease_s),
)
service = Service(base_url=url, name="voices", auth="none")
job = Job(source, destination, service, "qwen3-tts-flash", {"voice": "Cherry"}, options=options)
stopped = run_job(job).stopped
sys.exit(None if stopped is None else str(stopped))
"""


@dataclass(slots=True)
class ShippingJob(KilledJob):
    """A job whose journals are shipped, also where its destination is a local folder.

    Args:
        shipped: Texts whose answers were in shipped segments at a kill, with how many requests had come by then.
    """

    shipped: dict[str, int] = field(default_factory=dict)

    def command(self) -> list[str]:
        """Return the command line."""
        arguments = [str(self.source), self.destination, self.service.url, str(self.work_dir)]
        return [
            sys.executable,
            "-c",
            _RUN,
            *arguments,
            str(self.max_concurrency),
            str(self.part_rows),
            str(self.lease_s),
        ]

    def kill_once_shipped(self) -> None:
        """Start a run, and kill it soon after it began to ship."""
        process = subprocess.Popen(self.command(), env={**os.environ, **self.environ}, stderr=subprocess.DEVNULL)
        while not self.store.names(FOLDER):
            assert process.poll() is None, "the job ended before it had shipped anything"
            time.sleep(0.02)
        time.sleep(self.chance.uniform(0.3, 0.5))
        process.kill()
        process.wait()
        self._count_kill()

    def _count_kill(self) -> None:
        received = len(self.service.bill(entries=True)["entries"])
        adopted_dir = self.work_dir.with_name("looked-at")
        for number in {parse_part_number(name) for name in self.store.names(FOLDER)}:
            adopt_journals(self.store, adopted_dir, number)
        for path in adopted_dir.glob("*.journal"):
            journal = replay_journal(path)
            assert journal is not None
            for (utterance_id, _), record in journal.utterances.items():
                if record.answers:
                    self.shipped.setdefault(utterance_id, received)
        shutil.rmtree(adopted_dir, ignore_errors=True)
        KilledJob._count_kill(self)

    def bought_again(self, texts: list[str]) -> list[str]:
        """Return the texts that were paid for again after their answers had been shipped."""
        entries = self.service.bill(entries=True)["entries"]
        of_text = {text: f"r{number}" for number, text in enumerate(texts)}
        after = [(of_text[entry["text"]], place) for place, entry in enumerate(entries) if entry["charged"]]
        return [
            utterance_id
            for utterance_id, place in after
            if utterance_id in self.shipped and place >= self.shipped[utterance_id]
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("destination", "rows", "kills"),
    [
        ("out", 300, 2),
        pytest.param("out", 3_000, 20, marks=[pytest.mark.kill, pytest.mark.timeout(1_800)]),
        ("s3://bucket/out", 300, 1),
        pytest.param("s3://bucket/out", 3_000, 20, marks=[pytest.mark.kill, pytest.mark.timeout(1_800)]),
    ],
)
def test_what_was_shipped_is_not_bought_again(  # noqa: PLR0917 (fixtures and cases)
    emulator: StartEmulator, tmp_path: Path, s3: Mapping[str, str], destination: str, rows: int, kills: int
) -> None:
    """SIGKILL and the journals' disk gone, again and again: every row once, and only what was not shipped twice."""
    service = emulator(voice_mode="tone", tone_bytes=10_000, latency_ms=100)
    service.set_faults(FAULTS)
    texts = write_source(tmp_path / "lines.parquet", rows)
    job = ShippingJob(
        *(service, tmp_path / "lines.parquet"),
        destination if "://" in destination else str(tmp_path / destination),
        *(tmp_path / "work", 16),
        part_rows=150,
        loses_disk=True,
        environ={**s3, "PYTHONWARNINGS": "ignore"},
    )
    began = time.monotonic()
    job.kill_once_shipped()
    while job.kills < kills:
        assert job.kill_at_random(within_s=1.0), f"the job ended after {job.kills} kills"
    last = job.finish()
    assert last.returncode == 0, last.stderr
    check_nothing_lost(job, rows)
    print(check_bill(job, texts), f"shipped at kills: {len(job.shipped)}", f"{time.monotonic() - began:.0f} s")
    assert job.shipped
    assert job.bought_again(texts) == []
    assert job.store.names("claims") == job.store.names(FOLDER) == []
    received = service.bill()["received"]
    assert job.finish().returncode == 0
    assert service.bill()["received"] == received
