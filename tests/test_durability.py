"""Whatever happens to the disks and the clock: no row is lost, and no bill is short."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from tests.builders import job_of, write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table
from tests.machine import patience, small_disk
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StorageError
from tts_pipeline.job import run_job
from tts_pipeline.wal.journal import encode_frame
from tts_pipeline.wal.records import encode_record

IN_FLIGHT = 4

_RUN = """
import sys
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.job import run_job
folder = Path(sys.argv[1])
options = {"part_rows": 20, "work_dir": folder / "work"}
report = run_job(job_of(folder, sys.argv[2], options=options, limits={"max_concurrency": 4}))
print(report.stopped_by, report.stopped)
"""


def _command(script: str, folder: Path, service: LocalService, *more: str) -> list[str]:
    return [sys.executable, "-c", script, str(folder), service.url, *more]


@contextmanager
def _running(script: str, folder: Path, service: LocalService, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Run in a process of its own, which is killed in the end."""
    with subprocess.Popen(_command(script, folder, service, *more), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for(service: LocalService, received: int, process: subprocess.Popen[str]) -> None:
    while service.bill()["received"] < received and process.poll() is None:
        time.sleep(0.01)


def _finish(folder: Path, service: LocalService, rows: int, **options: Any) -> None:
    """Run to the end in this process, and check that every row is speech once and the bill true."""
    options = {"part_rows": 20, "work_dir": folder / "work", **options}
    report = run_job(job_of(folder, service.url, options=options, limits={"max_concurrency": IN_FLIGHT}))
    assert (report.stopped, report.dataset.speech) == (None, rows)
    assert read_table(folder / "out", "speech")["utterance_id"].to_pylist() == [f"r{number}" for number in range(rows)]
    check_bill(folder / "out", service)


def _unknown(folder: Path, *, is_named: bool = False) -> int:
    """Count attempts whose end is not known; named ones only, without what noise in a journal may have held."""
    usage = read_table(folder / "out", "usage").filter(pc.field("outcome") == "unknown")
    return int(usage.num_rows - usage["utterance_id"].null_count * is_named)


# What a power cut leaves of a file is at least what was synced. The length goes to a file of its own before anybody
# hears of the sync, so that it is never behind what was acted upon.
_SYNCED = """
import os
import tts_pipeline.dataset.active_part as parts

class Recorded(parts.Journal):
    def fdatasync(self):
        super().fdatasync()
        if not hasattr(self, "record"):
            self.record = os.open(f"{self.path}.synced", os.O_CREAT | os.O_WRONLY)
        os.pwrite(self.record, f"{os.fstat(self._fd).st_size:020}".encode(), 0)

parts.Journal = Recorded
"""


@pytest.mark.slow
def test_a_power_cut_loses_no_row_and_no_request(tmp_path: Path, emulator: StartEmulator) -> None:
    """What was not synced is gone, or zeros, or whatever was on the disk: every request is on the bill all the same."""
    service = emulator(voice_mode="tone", tone_bytes=3_000, latency_ms=10)
    write_lines(tmp_path / "lines.parquet", 200)
    chance, cuts = random.Random(), ("cut", "zeros", "noise")
    for number, left in enumerate(cuts):
        with _running(_SYNCED + _RUN, tmp_path, service) as process:
            _wait_for(service, 30 * (number + 1) + chance.randrange(20), process)
            process.kill()
        for path in (tmp_path / "work").rglob("*.journal"):
            _lose_what_was_not_synced(path, left, chance)
    _finish(tmp_path, service, 200)
    charged = Counter(entry["text"] for entry in service.bill(entries=True)["entries"] if entry["charged"])
    bought_again = sum(count - 1 for count in charged.values())
    assert bought_again <= _unknown(tmp_path, is_named=True) <= len(cuts) * IN_FLIGHT


def _lose_what_was_not_synced(path: Path, left: str, chance: random.Random) -> None:
    synced = Path(f"{path}.synced")
    if not synced.exists() or not synced.stat().st_size:
        return
    size_bytes, written = int(synced.read_text()), path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size_bytes)
        file.seek(size_bytes)
        if left != "cut":
            file.write(bytes(written - size_bytes) if left == "zeros" else chance.randbytes(written - size_bytes))
    synced.unlink()


_CLOCK = """
import sys, time
real, back_s = time.time_ns, float(sys.argv[3])
time.time_ns = lambda: real() - int(back_s * 1e9)
"""


@pytest.mark.slow
def test_a_clock_that_is_set_back_loses_nothing(tmp_path: Path, emulator: StartEmulator) -> None:
    """Each run believes that it is a day earlier than the one before: journals are still read in their order."""
    service = emulator(voice_mode="tone", tone_bytes=3_000, latency_ms=10)
    write_lines(tmp_path / "lines.parquet", 200)
    for day in range(3):
        with _running(_CLOCK + _RUN, tmp_path, service, str(86_400 * day)) as process:
            _wait_for(service, 40 * (day + 1), process)
            process.kill()
    _finish(tmp_path, service, 200)
    assert service.bill()["received"] <= 200 + 3 * IN_FLIGHT
    assert _unknown(tmp_path) <= 3 * IN_FLIGHT


_TOGETHER = """
import os, sys, time
from pathlib import Path
import tts_pipeline.job.api, tts_pipeline.job.runner
ready = Path(sys.argv[1]) / "ready"
ready.mkdir(exist_ok=True)
(ready / str(os.getpid())).touch()
while len(os.listdir(ready)) < 2:
    time.sleep(0.005)
"""
"""Imports take longer than the run: two that begin at one time are together behind them only."""


@pytest.mark.parametrize("paused", [True, False], ids=["one is paused", "both run"])
def test_two_runs_on_one_destination_at_once(tmp_path: Path, emulator: StartEmulator, paused: bool) -> None:
    """Who comes to a part that the other has stops in good order, and a last run finishes; nothing is bought twice.

    Two free runs need not meet on a busy machine; a run that is paused in the middle of its parts is always met.
    """
    service = emulator(voice_mode="tone", tone_bytes=3_000, latency_ms=50)
    write_lines(tmp_path / "lines.parquet", 120)
    script = _RUN if paused else _TOGETHER + _RUN
    with _running(script, tmp_path, service) as first:
        if paused:
            _wait_for(service, 30, first)
            first.send_signal(signal.SIGSTOP)
        with _running(script, tmp_path, service) as second:
            second_stopped_by = _stopped_by(second)
        first.send_signal(signal.SIGCONT)
        first_stopped_by = _stopped_by(first)
    assert {first_stopped_by, second_stopped_by} <= {"None", "storage"}
    assert not paused or second_stopped_by == "storage"
    _finish(tmp_path, service, 120)
    assert service.bill()["received"] == 120
    assert _unknown(tmp_path) == 0


def _stopped_by(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=patience(60))[0].split(maxsplit=1)[0]


def test_a_dead_runs_lock_stops_nobody(tmp_path: Path, emulator: StartEmulator) -> None:
    """SIGKILL leaves the lock's file behind, and nothing that holds it."""
    service = emulator(voice_mode="tone", tone_bytes=3_000, latency_ms=100)
    write_lines(tmp_path / "lines.parquet", 60)
    with _running(_RUN, tmp_path, service) as process:
        _wait_for(service, 30, process)
        process.kill()
    assert list((tmp_path / "out" / ".work" / "locks").iterdir())
    _finish(tmp_path, service, 60)


def test_a_journal_of_another_version_is_left_to_it(tmp_path: Path, tone_service: LocalService) -> None:
    """It may hold audio that is paid for: the run stops, says so, and touches nothing; with it gone it goes on."""
    write_lines(tmp_path / "lines.parquet", 60)
    journals = next(iter(_work_of(tmp_path, tone_service)), tmp_path) / "journals"
    path = journals / "part-00001-0123456789abcdef01234567.journal"
    path.parent.mkdir(parents=True)
    content = b"".join(encode_frame(encode_record({"kind": "open", "format": 99, "journal_id": "x"})))
    path.write_bytes(content)
    options = {"part_rows": 20, "work_dir": tmp_path / "work"}
    report = run_job(job_of(tmp_path, tone_service.url, options=options))
    assert isinstance(report.stopped, StorageError)
    assert "is of format 99" in str(report.stopped)
    assert path.read_bytes() == content
    path.unlink()
    _finish(tmp_path, tone_service, 60)
    assert tone_service.bill()["received"] == 60


def _work_of(folder: Path, service: LocalService) -> list[Path]:
    """Return where a job keeps its journals: it has run once, over nothing."""
    from tts_pipeline.job.folders import work_dir_of

    return [work_dir_of(job_of(folder, service.url, options={"work_dir": folder / "work"}))]


@pytest.mark.parametrize("marked", [True, False])
def test_a_part_published_twice_is_published_once(tmp_path: Path, emulator: StartEmulator, marked: bool) -> None:
    """Killed just before the journal went, with the marker or without: nothing is bought or counted again."""
    service = emulator(voice_mode="tone", tone_bytes=3_000)
    write_lines(tmp_path / "lines.parquet", 20)
    with _running(_DYING_PUBLISHED + _RUN, tmp_path, service) as process:
        assert process.wait(patience(60)) == -9
    speech, marker = (tmp_path / "out" / name for name in ("speech/part-00000.parquet", "done/part-00000.json"))
    before = speech.read_bytes()
    if not marked:
        marker.unlink()
    _finish(tmp_path, service, 20)
    assert speech.read_bytes() == before
    assert marker.exists()
    assert service.bill()["received"] == read_table(tmp_path / "out", "usage").num_rows == 20
    assert list((tmp_path / "work").rglob("*.journal")) == []


_DYING_PUBLISHED = """
import os
import tts_pipeline.job.open_parts as open_parts
open_parts.remove_journals = lambda *_: os.kill(os.getpid(), 9)
"""


_VANISHING = """
import os, sys
from pathlib import Path
from tts_pipeline.dataset.commit import PartCommitter

out, publish = Path(sys.argv[1]) / "out", PartCommitter.commit_part

def vanishing(self, rows, replays):
    out.rename(out.with_name("away"))
    out.mkdir()
    (out / "dataset.json").write_bytes(b"{}")
    publish(self, rows, replays)
    (out / "dataset.json").unlink()

PartCommitter.commit_part = vanishing
"""


def test_a_destination_that_vanishes_while_publishing_keeps_the_journal(
    tmp_path: Path, emulator: StartEmulator
) -> None:
    """What was published went to where nobody finds it: the journal is not removed for that."""
    service = emulator(voice_mode="tone", tone_bytes=3_000)
    write_lines(tmp_path / "lines.parquet", 20)
    with _running(_VANISHING + _RUN, tmp_path, service) as process:
        assert process.communicate(timeout=patience(60))[0].startswith("storage")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "away").rename(tmp_path / "out")
    _finish(tmp_path, service, 20)
    assert service.bill()["received"] == 20


# One place at a time is small: journals of their own, the destination, or both together.


def test_answers_in_flight_are_kept_when_the_journals_disk_is_full(tmp_path: Path, emulator: StartEmulator) -> None:
    """Nothing new is sent, and what is paid for has room: no outcome is unknown, and nothing is bought again."""
    service = emulator(voice_mode="tone", tone_bytes=150_000, latency_ms=50)
    write_lines(tmp_path / "lines.parquet", 60)
    with small_disk(tmp_path / "work", 6_144) as disk:
        job = job_of(tmp_path, service.url, options={"part_rows": 60, "work_dir": tmp_path / "work"}, limits=_LIMITS)
        report = run_job(job)
        assert report.stopped_by == "storage"
        assert "No space left" in str(report.stopped)
        received = service.bill()["received"]
        assert 5 < received < 20
        assert (report.dataset.speech, report.dataset.unknown_attempts) == (received, 0)
        disk.resize(64_000)
        _finish(tmp_path, service, 60, part_rows=60)
        assert service.bill()["received"] == 60


_LIMITS = {"max_concurrency": IN_FLIGHT}


def test_a_full_disk_is_told_before_anything_is_sent(tmp_path: Path, tone_service: LocalService) -> None:
    """A run that could keep nothing does not begin."""
    write_lines(tmp_path / "lines.parquet", 20)
    with small_disk(tmp_path / "work", 512) as disk:
        (disk.folder / "film").write_bytes(bytes(400_000))
        report = run_job(job_of(tmp_path, tone_service.url, options={"work_dir": tmp_path / "work"}, limits=_LIMITS))
        assert report.stopped_by == "storage"
        assert "is full" in str(report.stopped)
        assert tone_service.bill()["received"] == 0
        disk.resize(8_192)
        _finish(tmp_path, tone_service, 20)


@pytest.mark.parametrize("kilobytes", [40, 300, 1_000])
def test_a_destination_that_is_full_keeps_parts_in_their_journals(
    tmp_path: Path, emulator: StartEmulator, kilobytes: int
) -> None:
    """Whether a claim, a usage or a speech file no longer fits: with room again, nothing is bought again."""
    service = emulator(voice_mode="tone", tone_bytes=20_000, latency_ms=10)
    write_lines(tmp_path / "lines.parquet", 60)
    with small_disk(tmp_path / "out", kilobytes) as disk:
        options = {"part_rows": 20, "work_dir": tmp_path / "work"}
        report = run_job(job_of(tmp_path, service.url, options=options, limits=_LIMITS))
        assert report.stopped_by == "storage"
        disk.resize(16_000)
        received = service.bill()["received"]
        _finish(tmp_path, service, 60)
        assert service.bill()["received"] == 60
        assert received <= 60


def test_one_full_disk_for_everything(tmp_path: Path, emulator: StartEmulator) -> None:
    """Journals and dataset side by side, as by default: the same."""
    service = emulator(voice_mode="tone", tone_bytes=50_000, latency_ms=50)
    write_lines(tmp_path / "lines.parquet", 100)
    with small_disk(tmp_path / "out", 7_168) as disk:
        report = run_job(job_of(tmp_path, service.url, options={"part_rows": 20}, limits=_LIMITS))
        assert report.stopped_by == "storage"
        assert report.dataset.unknown_attempts == 0
        disk.resize(64_000)
        assert service.bill()["received"] < 100
        _finish(tmp_path, service, 100, work_dir=None)
        assert service.bill()["received"] == 100


def test_a_destination_that_vanishes_keeps_parts_in_their_journals(tmp_path: Path, emulator: StartEmulator) -> None:
    """Its disk is not mounted any more, and an empty folder stands there: nothing is published into that for nobody."""
    service = emulator(voice_mode="tone", tone_bytes=3_000, latency_ms=20)
    write_lines(tmp_path / "lines.parquet", 200)
    away = tmp_path / "away"
    with _running(_RUN, tmp_path, service) as process:
        _wait_for(service, 50, process)
        (tmp_path / "out").rename(away)
        (tmp_path / "out").mkdir()
        assert process.communicate(timeout=patience(60))[0].startswith("storage")
    assert len(list(away.glob("done/*"))) < 10
    assert list((tmp_path / "out").glob("claims/*")) == [], "nothing is begun there"
    shutil.rmtree(tmp_path / "out")
    away.rename(tmp_path / "out")
    _finish(tmp_path, service, 200)
    assert service.bill()["received"] == 200 + _unknown(tmp_path)
