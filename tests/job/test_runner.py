from __future__ import annotations

import errno
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.builders import job_of, write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table
from tests.machine import patience
from tts_pipeline.dataset.active_part import ActivePart, Progress
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StorageError
from tts_pipeline.job import Job, run_job
from tts_pipeline.job.prepare import create_or_extend_dataset, prepare
from tts_pipeline.job.runner import Runner
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.wal import journal


def _invocation(job: Job, fingerprint: str) -> Invocation:
    return Invocation("i", job.service.name, job.model, None, {}, {}, fingerprint)


class _WatchedRunner(Runner):
    """A runner that records the parts it opened, and how many were open at one time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opened: list[int] = []
        self.most_open = 0
        self._open = self.parts.open
        self.parts.open = self._open_watched  # type: ignore[method-assign]  # watched, not replaced

    def _open_watched(self, number: int) -> ActivePart | None:
        part = self._open(number)
        self.opened.append(number)
        self.most_open = max(self.most_open, len(self.parts))
        return part


def _watched(job: Job) -> _WatchedRunner:
    prepared = create_or_extend_dataset(prepare(job))
    return _WatchedRunner(prepared, _invocation(job, prepared.descriptor.fingerprint), Progress())


@pytest.mark.parametrize("max_open_parts", [1, 3])
def test_no_more_parts_are_open_than_allowed(tmp_path: Path, tone_service: LocalService, max_open_parts: int) -> None:
    """Memory follows the open parts, however many workers wait; all parts are done in order."""
    write_lines(tmp_path / "lines.parquet", 40)
    options = {"part_rows": 2, "max_open_parts": max_open_parts}
    runner = _watched(job_of(tmp_path, tone_service.url, options=options, limits={"max_concurrency": 32}))
    assert runner.run(range(20)) is None
    assert runner.opened == list(range(20))
    assert runner.most_open <= max_open_parts
    assert len(list((tmp_path / "out" / "done").iterdir())) == 20


class _FullDisk:
    """Intercepts the writes of all journals: permits some of them, then none until the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes: int) -> None:
        self.answers = 0
        self.is_full, self.has_room = threading.Event(), threading.Event()
        self._left = takes
        self._write = journal._write_all
        monkeypatch.setattr(journal, "_write_all", self._take)

    def _take(self, descriptor: int, pieces: list[bytes]) -> None:
        self._left -= 1
        if self._left < 0:
            self.is_full.set()
            assert self.has_room.wait(patience(20))
        self._write(descriptor, pieces)
        self.answers += sum(len(piece) > 15_000 for piece in pieces)


def test_a_disk_that_takes_nothing_stops_the_sending(
    tmp_path: Path, emulator: StartEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers wait for it in their slots: no more than slots exist, however fast the service is."""
    service = emulator(voice_mode="tone", tone_bytes=20_000)
    write_lines(tmp_path / "lines.parquet", 100)
    runner = _watched(job_of(tmp_path, service.url, options={"part_rows": 50}, limits={"max_concurrency": 4}))
    disk, progress, outcome = _FullDisk(monkeypatch, 20), runner._progress, queue.SimpleQueue[object]()
    threading.Thread(target=lambda: outcome.put(runner.run(range(2))), daemon=True).start()
    assert disk.is_full.wait(patience(10))
    until_s = time.monotonic() + patience(10)
    while progress.in_flight and time.monotonic() < until_s:
        time.sleep(0.005)
    assert progress.in_flight == 0, "all that was sent is answered, and nothing new is sent"
    received = service.bill()["received"]
    assert disk.answers <= received <= disk.answers + 4
    assert received < 100
    disk.has_room.set()
    assert outcome.get(timeout=patience(20)) is None
    assert service.bill()["received"] == disk.answers == 100


def test_a_last_row_that_cannot_be_written_is_not_done(
    tmp_path: Path, emulator: StartEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No later request finds the broken disk: the run itself ends with the error, and the row is bought again."""
    service = emulator(voice_mode="tone", tone_bytes=20_000)
    write_lines(tmp_path / "lines.parquet", 1)
    job, write = job_of(tmp_path, service.url), journal._write_all

    def write_no_answers(descriptor: int, pieces: list[bytes]) -> None:
        if any(len(piece) > 15_000 for piece in pieces):
            raise OSError(errno.EIO, "Input/output error")
        write(descriptor, pieces)

    monkeypatch.setattr(journal, "_write_all", write_no_answers)
    runner = _watched(job)
    error = runner.run(range(1))
    assert isinstance(error, StorageError)
    assert "Input/output error" in error.message
    assert (runner._progress.totals.speech, list((tmp_path / "out").glob("done/*"))) == (0, [])
    monkeypatch.undo()
    run_job(job)
    assert read_table(tmp_path / "out", "speech").num_rows == 1
    assert service.bill()["received"] == 2


def test_reading_does_not_run_ahead_of_saying(tmp_path: Path, emulator: StartEmulator) -> None:
    """After an early stop, only parts in progress were ever opened."""
    service = emulator(voice_mode="tone", tone_bytes=20_000)
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 4}])
    write_lines(tmp_path / "lines.parquet", 200)
    runner = _watched(job_of(tmp_path, service.url, options={"part_rows": 50}, limits={"max_concurrency": 2}))
    assert runner.run(range(4)) is not None
    assert runner.opened == [0]


def test_locks_are_free_after_a_mistake_of_ours(
    tmp_path: Path, tone_service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any abrupt end, the same process can run the job again."""

    def mistaken() -> StorageError | None:
        raise ZeroDivisionError

    write_lines(tmp_path / "lines.parquet", 20)
    job = job_of(tmp_path, tone_service.url, limits={"max_concurrency": 1})
    tone_service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 3}])
    prepared = create_or_extend_dataset(prepare(job))
    runner = Runner(prepared, _invocation(job, prepared.descriptor.fingerprint), Progress())
    monkeypatch.setattr(runner.parts, "suspend_all", mistaken)
    with pytest.raises(ZeroDivisionError):
        runner.run(range(4))
    with FileLock(prepared.leases.lock_folder / "part-00000.lock"):
        pass
    tone_service.clear_faults()
    assert run_job(job).dataset.speech == 20
    assert not [thread for thread in threading.enumerate() if thread.name == "journal-writer"]


def test_whoever_handled_signals_before_does_so_again(tmp_path: Path, tone_service: LocalService) -> None:
    """After a run, a notebook's or a worker's own handlers are restored."""
    write_lines(tmp_path / "lines.parquet", 5)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def own(number: int, frame: Any) -> None:
        raise AssertionError

    try:
        for number in before:
            signal.signal(number, own)
        assert run_job(job_of(tmp_path, tone_service.url)).stopped is None
        assert {signal.getsignal(number) for number in before} == {own}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_RUN = """
import json, sys, time
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.job import run_job
limits = {"max_concurrency": 8, "stop_grace_s": float(sys.argv[3])}
report = run_job(job_of(Path(sys.argv[1]), sys.argv[2], limits=limits))
print(json.dumps(report.to_json()))
"""


def _interrupted(
    folder: Path, service: LocalService, number: signal.Signals, *, received: int, grace_s: float
) -> dict[str, Any]:
    """Run a job in another process, interrupt it after so many requests, and return its output."""
    command = [sys.executable, "-c", _RUN, str(folder), service.url, str(grace_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while service.bill()["received"] < received:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.01)
        began = time.monotonic()
        process.send_signal(number)
        output, complaints = process.communicate(timeout=patience(30))
    assert process.returncode == 0, complaints
    report: dict[str, Any] = json.loads(output)
    return {**report, "took_s": time.monotonic() - began}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_good_order(tmp_path: Path, emulator: StartEmulator, number: signal.Signals) -> None:
    """Paid answers are waited for, no attempt is unknown, and the next run buys only the rest."""
    service = emulator(voice_mode="tone", tone_bytes=20_000)
    service.set_faults([{"what": "slow", "delay_s": 0.5}])  # the end is far, also on a busy machine
    write_lines(tmp_path / "lines.parquet", 200)
    stopped = _interrupted(tmp_path, service, number, received=10, grace_s=3.0)
    assert stopped["stopped_by"] == "interrupted"
    assert stopped["unknown_attempts"] == 0
    received = service.bill()["received"]
    assert stopped["speech"] == stopped["attempts"] == received
    assert list((tmp_path / "out" / "claims").iterdir()) == []
    service.clear_faults()
    report = run_job(job_of(tmp_path, service.url, limits={"max_concurrency": 32}))
    assert (report.stopped, report.dataset.speech) == (None, 200)
    assert service.bill()["received"] == 200
    assert read_table(tmp_path / "out", "speech")["utterance_id"].to_pylist() == [f"r{number}" for number in range(200)]
    check_bill(tmp_path / "out", service)


def test_what_does_not_come_within_the_grace_is_unknown_on_the_bill(tmp_path: Path, emulator: StartEmulator) -> None:
    """The run does not wait for ever; attempts in flight may cost their bound, and the next run repeats them."""
    service = emulator(voice_mode="tone", tone_bytes=20_000)
    service.set_faults([{"what": "slow", "delay_s": patience(20), "after": 4}])
    write_lines(tmp_path / "lines.parquet", 40)
    stopped = _interrupted(tmp_path, service, signal.SIGTERM, received=4 + 8, grace_s=0.3)
    assert (stopped["stopped_by"], stopped["speech"], stopped["unknown_attempts"]) == ("interrupted", 4, 8)
    assert stopped["took_s"] < patience(15), "an answer takes 20 s"
    assert read_table(tmp_path / "out", "usage")["outcome"].to_pylist().count("unknown") == 8
    service.clear_faults()
    report = run_job(job_of(tmp_path, service.url))
    assert (report.stopped, report.dataset.speech, report.dataset.unknown_attempts) == (None, 40, 8)
    check_bill(tmp_path / "out", service)


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, emulator: StartEmulator) -> None:
    """SIGKILL: answers are not bought again; attempts in flight are unknown, and bought once more."""
    service = emulator(voice_mode="tone", tone_bytes=20_000)
    service.set_faults([{"what": "slow", "delay_s": patience(20), "after": 12}])
    write_lines(tmp_path / "lines.parquet", 40)
    command = [sys.executable, "-c", _RUN, str(tmp_path), service.url, "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while service.bill()["received"] < 20:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    service.clear_faults()
    report = run_job(job_of(tmp_path, service.url))
    assert (report.stopped, report.dataset.speech) == (None, 40)
    assert report.dataset.unknown_attempts == 8
    assert service.bill()["received"] == 40 + 8
    assert read_table(tmp_path / "out", "speech")["utterance_id"].to_pylist() == [f"r{number}" for number in range(40)]
    check_bill(tmp_path / "out", service)
    assert os.listdir(tmp_path / "out" / ".work" / "journals") == []
