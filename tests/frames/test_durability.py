"""A call that is killed or interrupted, and made again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import tts_pipeline as tts
from tests.builders import call_arguments, line_frame
from tests.conftest import StartEmulator
from tests.frames.speak import __file__ as SCRIPT  # noqa: N812
from tests.machine import patience
from tts_pipeline.emulator.local_service import LocalService

ROWS = 2_000
IN_FLIGHT = 16


KILL_AFTER_S = (0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08)
"""From the charge for a call's only request, through its answer, its bill and its end."""


def _start(local: LocalService, folder: Path, rows: int, *, until: int) -> subprocess.Popen[str]:
    """Start a call in a process of its own, and wait until so many rows are charged."""
    command = [sys.executable, "-m", "tests.frames.speak", local.url, str(folder), str(rows)]
    root = Path(SCRIPT).parents[2]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while local.bill()["charged"] < until and process.poll() is None:
        time.sleep(0.005)
    return process


def test_a_killed_call_buys_only_what_was_in_flight_again(emulator: StartEmulator, tmp_path: Path) -> None:
    """Killed at row 1,500 of 2,000; every request is on the bill, and what it says lies around what was charged."""
    local = emulator(voice_mode="tone", tone_bytes=4_000, latency_ms=50)
    process = _start(local, tmp_path, ROWS, until=1_500)
    process.kill()
    process.communicate()
    before = local.bill()["received"]
    assert 1_500 <= before < ROWS
    arguments = call_arguments(local, tmp_path, limits={"max_concurrency": IN_FLIGHT})
    spoken = tts.synthesize(line_frame(ROWS), voice="Cherry", **arguments)
    assert spoken.select("text").equals(line_frame(ROWS))
    assert spoken["audio"].null_count() == 0
    bill = local.bill(entries=True)
    again = Counter(entry["text"] for entry in bill["entries"])
    assert sum(count - 1 for count in again.values()) <= IN_FLIGHT
    assert max(again.values()) <= 2
    usage = tts.usage_of(spoken, work_dir=tmp_path)
    assert usage.height == bill["received"] or usage.filter(outcome="unknown").height
    assert usage["characters_billed"].sum() <= bill["characters"] <= usage["characters_upper_bound"].sum()
    print(f"killed after {before} of {ROWS} requests; bought again: {bill['received'] - ROWS}")


def test_an_interrupted_call_stops_in_good_order(emulator: StartEmulator, tmp_path: Path) -> None:
    """It says so, and nothing is bought again."""
    local = emulator(voice_mode="tone", tone_bytes=4_000, latency_ms=200)
    process = _start(local, tmp_path, 200, until=40)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=patience(20))
    assert "StoppedError: interrupted by SIGINT" in complaint
    assert local.bill()["received"] < 200
    tts.synthesize(line_frame(200), voice="Cherry", **call_arguments(local, tmp_path))
    assert local.bill()["received"] == 200


def test_a_killed_call_that_nobody_makes_again_stays_on_the_bill(emulator: StartEmulator, tmp_path: Path) -> None:
    """When it is given up, a month later, at the latest; what was in flight is unknown, at most."""
    local = emulator(voice_mode="tone", tone_bytes=4_000, latency_ms=200)
    process = _start(local, tmp_path, 200, until=40)
    process.kill()
    process.communicate()
    (call,) = (tmp_path / "frames" / "calls").glob("*/")
    os.utime(call, (1_000, 1_000))
    tts.synthesize(line_frame(0), voice="Cherry", **call_arguments(local, tmp_path))
    tts.synthesize(line_frame(1), voice="Cherry", **call_arguments(local, tmp_path))
    assert not call.exists()
    bill, usage = local.bill(), tts.usage_of(work_dir=tmp_path)
    assert usage.height >= bill["received"]
    assert usage["characters_billed"].sum() <= bill["characters"] <= usage["characters_upper_bound"].sum()


def test_a_call_of_one_row_is_killed_at_any_instant(emulator: StartEmulator, tmp_path: Path) -> None:
    """The same call buys at most once more, and every request is on the bill once."""
    local = emulator(voice_mode="tone", tone_bytes=4_000, latency_ms=20)
    for kill_after_s in KILL_AFTER_S:
        local.reset_bill()
        folder = tmp_path / str(kill_after_s)
        process = _start(local, folder, 1, until=1)
        time.sleep(kill_after_s)
        process.kill()
        process.communicate()
        tts.synthesize(line_frame(1), voice="Cherry", **call_arguments(local, folder))
        bill, usage = local.bill(), tts.usage_of(work_dir=folder)
        assert usage.height == bill["received"] <= 2
        assert usage["attempt_id"].n_unique() == usage.height
        assert usage["characters_billed"].sum() <= bill["characters"] <= usage["characters_upper_bound"].sum()


def test_equal_calls_of_two_processes(emulator: StartEmulator, tmp_path: Path) -> None:
    """Neither waits for the other, and the bill has what both bought."""
    local = emulator(voice_mode="tone", tone_bytes=4_000, latency_ms=200)
    processes = [_start(local, tmp_path, 1, until=0) for _ in range(2)]
    outputs = [process.communicate(timeout=patience(30)) for process in processes]
    assert [output for output, _ in outputs] == ["0 without audio\n"] * 2, outputs
    usage = tts.usage_of(work_dir=tmp_path)
    assert usage.height == local.bill()["received"] <= 2
    assert not list((tmp_path / "frames" / "calls").glob("*/"))
