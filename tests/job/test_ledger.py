"""A job and its ledger: what was bought is kept there, whatever becomes of the dataset."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.builders import call_arguments, job_of, line_frame, write_lines
from tests.conftest import StartEmulator
from tests.killing import KilledJob, write_source
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.frames.call_store import CallStore, _tidied_at_s
from tts_pipeline.frames.synthesize import synthesize
from tts_pipeline.job import RunOptions, plan, publish, run_job, run_parts
from tts_pipeline.ledger import Ledger, find_ledger
from tts_pipeline.ledger.run_sync import KILLED
from tts_pipeline.ledger.scan import scan_ledger


def ledger_at(folder: Path) -> Ledger:
    location = find_ledger(str(folder))
    assert location is not None
    return Ledger.open(location)


def usage_in(ledger: Ledger) -> pl.DataFrame:
    return scan_ledger(ledger.contents()).collect()


def _characters(rows: pl.DataFrame) -> tuple[int, int]:
    billed, at_most = (int(rows[f"characters_{name}"].sum()) for name in ("billed", "upper_bound"))
    return billed, at_most


def test_the_ledger_outlives_the_dataset(tmp_path: Path, tone_service: LocalService) -> None:
    """It has every request, with its door and its tags, and the run with its totals."""
    write_lines(tmp_path / "lines.parquet")
    options = {"ledger": tmp_path / "ledger", "tags": {"team": "radio"}}
    report = run_job(job_of(tmp_path, tone_service.url, options=options))
    shutil.rmtree(tmp_path / "out")
    ledger = ledger_at(tmp_path / "ledger")
    rows = usage_in(ledger)
    assert _characters(rows) == 2 * (tone_service.bill()["characters"],)
    assert rows["door"].unique().to_list() == ["run"]
    assert rows["dataset"].unique().to_list() == [str(tmp_path / "out")]
    (run,) = ledger.ended_runs()
    assert (run.start.invocation_id, dict(run.start.tags)) == (report.invocation_id, {"team": "radio"})
    assert run.end is not None
    assert (run.end.cost, run.end.speech, run.end.stopped_by) == (report.this_run.cost, 20, None)
    assert ledger.open_runs() == []


def test_a_ledger_knows_a_dataset_by_one_name(tmp_path: Path, tone_service: LocalService) -> None:
    """Whatever is in its path, or in the name of the user."""
    write_lines(tmp_path / "lines.parquet", 2)
    job = job_of(tmp_path, tone_service.url, options={"ledger": tmp_path / "ledger"})
    job = replace(job, destination=tmp_path / "a\nb \u202e?token=x '\"")
    run_job(job)
    ledger = ledger_at(tmp_path / "ledger")
    (run,) = ledger.ended_runs()
    (dataset,) = ledger.status().datasets
    assert dataset.dataset_id == run.start.dataset_id == usage_in(ledger)["dataset_id"].unique().item()
    assert dataset.missing_files == 0


def test_the_user_of_a_run_is_text(
    tmp_path: Path, tone_service: LocalService, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is not UTF-8 does not keep the run out of the ledger."""
    monkeypatch.setenv("LOGNAME", os.fsdecode(b"ad\xffa"))
    write_lines(tmp_path / "lines.parquet", 2)
    run_job(job_of(tmp_path, tone_service.url, options={"ledger": tmp_path / "ledger"}))
    (run,) = ledger_at(tmp_path / "ledger").ended_runs()
    assert run.start.user == "ad\ufffda"
    assert not [message for message in caplog.messages if "ledger" in message]


def test_shards_and_calls_meet_in_it(tmp_path: Path, tone_service: LocalService) -> None:
    """Every request of every door is there once; what is repeated or continued adds nothing."""
    write_lines(tmp_path / "lines.parquet")
    job = job_of(tmp_path, tone_service.url, options={"ledger": tmp_path / "ledger"})
    for shard in plan(job, 2):
        run_parts(job, shard)
    publish(job)
    run_job(job)
    frame = pl.DataFrame({"text": ["One.", "Two."]})
    arguments = call_arguments(tone_service, tmp_path / "state", ledger=tmp_path / "ledger")
    for _ in range(2):
        synthesize(frame, **arguments)
    CallStore.at(tmp_path / "state", find_ledger(str(tmp_path / "ledger"))).close_finished_calls()
    ledger = ledger_at(tmp_path / "ledger")
    rows = usage_in(ledger)
    assert _characters(rows) == 2 * (tone_service.bill()["characters"],)
    assert sorted(rows["door"].unique()) == ["run", "synthesize"]
    doors = [run.start.door for run in ledger.ended_runs()]
    assert (doors.count("run"), doors.count("synthesize")) == (3, 2)
    (saving,) = (saving for run in ledger.ended_runs() if run.end for saving in run.end.saved)
    assert (saving.rows, saving.characters) == (2, 8)


def test_a_ledger_that_was_away_is_caught_up(
    tmp_path: Path, tone_service: LocalService, caplog: pytest.LogCaptureFixture
) -> None:
    """The run tells it once, and does not fail; the next one copies what is missing."""
    write_lines(tmp_path / "lines.parquet")
    (tmp_path / "ledger").write_text("a file where the folder should be")
    job = job_of(tmp_path, tone_service.url, options={"ledger": tmp_path / "ledger"})
    assert run_job(job).this_run.speech == 20
    assert ["lacks usage of this run" in message for message in caplog.messages if "ledger" in message] == [True]
    (tmp_path / "ledger").unlink()
    assert run_job(job).this_run.attempts == 0
    assert _characters(usage_in(ledger_at(tmp_path / "ledger"))) == 2 * (tone_service.bill()["characters"],)


def test_a_run_that_is_killed_is_open_until_its_usage_is_known(tmp_path: Path, emulator: StartEmulator) -> None:
    """It is in the ledger from its start, with its cap; the next run puts its usage there, and ends it."""
    service = emulator(voice_mode="tone", tone_bytes=1_000, latency_ms=100)
    environ = {"TTS_LEDGER": str(tmp_path / "ledger")}
    write_source(tmp_path / "lines.parquet", 100)
    paths: tuple[Path, str, Path] = (tmp_path / "lines.parquet", str(tmp_path / "out"), tmp_path / "work")
    job = KilledJob(service, *paths, 8, part_rows=50, environ=environ, flags=["--max-cost", "5CNY"])
    ledger = ledger_at(tmp_path / "ledger")
    process = subprocess.Popen(job.command(), env={**os.environ, **environ}, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (ledger.open_runs() and service.bill()["received"] > 8):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (start,) = ledger.open_runs()
    assert (start.cost_upper_bound, start.currency) == (Decimal(5), "CNY")
    assert job.finish().returncode == 0
    assert ledger.open_runs() == []
    assert sorted(run.end.stopped_by or "" for run in ledger.ended_runs() if run.end) == ["", KILLED]
    billed, at_most = _characters(usage_in(ledger))
    assert billed <= service.bill()["characters"] <= at_most
    usage = job.read("usage")
    assert (billed, at_most) == tuple(
        sum(row[f"characters_{name}"] for row in usage) for name in ("billed", "upper_bound")
    )


def test_a_call_that_is_killed_is_open_until_its_usage_is_known(tmp_path: Path, emulator: StartEmulator) -> None:
    """Other calls of the machine, whose usage has the same name in the ledger, do not end it."""
    service, state = emulator(voice_mode="tone", tone_bytes=1_000, latency_ms=200), tmp_path / "state"
    environ = {**os.environ, "TTS_LEDGER": str(tmp_path / "ledger")}
    command = [sys.executable, "-m", "tests.frames.speak", service.url, str(state), "100"]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    while process.poll() is None and service.bill()["charged"] < 20:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    ledger = ledger_at(tmp_path / "ledger")
    (start,) = ledger.open_runs()
    arguments = call_arguments(service, state, ledger=tmp_path / "ledger")
    calls = CallStore.at(state, find_ledger(str(tmp_path / "ledger")))
    for frame, open_runs in ((pl.DataFrame({"text": ["Another one."]}), [start]), (line_frame(100), [])):
        synthesize(frame, voice="Cherry", **arguments)
        calls.close_finished_calls()
        _tidied_at_s.clear()  # as another process, or later
        calls.tidy()
        assert ledger.open_runs() == open_runs
    billed, at_most = _characters(usage_in(ledger))
    assert billed <= service.bill()["characters"] <= at_most
    assert sorted(run.end.stopped_by or "" for run in ledger.ended_runs() if run.end) == ["", "", KILLED]


def test_none_keeps_nothing(tmp_path: Path, tone_service: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option goes before the variable."""
    monkeypatch.setenv("TTS_LEDGER", str(tmp_path / "ledger"))
    write_lines(tmp_path / "lines.parquet", 2)
    options: dict[str, Any] = {"ledger": "none"}
    run_job(job_of(tmp_path, tone_service.url, options=options))
    synthesize(
        pl.DataFrame({"text": ["One."]}),
        **{
            **call_arguments(tone_service, tmp_path / "state"),
            "options": RunOptions(ledger="none", work_dir=tmp_path / "state"),
        },
    )
    assert not (tmp_path / "ledger").exists()
