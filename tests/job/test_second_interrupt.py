"""A second Ctrl-C ends a run immediately, whichever threads get the signals and whatever is in flight."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import job_of, write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill
from tests.machine import patience
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import run_job


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and sends signals to single threads")
def test_nothing_that_hangs_is_waited_for(tmp_path: Path, tone_service: LocalService) -> None:
    """In a script, a notebook, an awaited call and a shell's background; no thread keeps the process alive."""
    command = [sys.executable, "-m", "tests.job.hanging", str(tmp_path), tone_service.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=patience(60))
        finally:
            subprocess.run(["pkill", "-KILL", "-g", str(process.pid)], check=False)
    assert [line.rpartition(": ")[2] for line in output.splitlines()] == ["130"] * 10, output


_PUBLISHING_HANGS = f"""
import sys, time
from tts_pipeline.cli import interrupts, main
from tts_pipeline.job.open_parts import OpenParts
interrupts._GRACE_S = {patience(30)}  # to tell how it ended
OpenParts.suspend_all = lambda _: time.sleep(3_600)
sys.exit(main(sys.argv[1:]))
"""
_IN_THE_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")


@pytest.mark.parametrize("shell", [(), _IN_THE_BACKGROUND], ids=["as it is", "in the background"])
def test_the_command_line_ends_with_its_status(tmp_path: Path, emulator: StartEmulator, shell: tuple[str, ...]) -> None:
    """Even if a shell lets it ignore Ctrl-C; the journals show the attempts in flight, and the same job continues."""
    service = emulator(voice_mode="tone")
    service.set_faults([{"what": "slow", "delay_s": patience(60), "after": 4}])
    write_lines(tmp_path / "lines.parquet", 20)
    job = job_of(tmp_path, service.url)
    argv = ["run", str(job.source), str(job.destination), "--service", service.url, "--model", job.model, "--json"]
    flags = ["--voice", "Cherry", "--part-rows", "5", "--max-concurrency", "8"]
    command = [*shell, sys.executable, "-c", _PUBLISHING_HANGS, *argv, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while service.bill()["received"] < 12 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _wait_until_heard(process.pid)
        process.send_signal(signal.SIGINT)
        output, complaints = process.communicate(timeout=patience(60))
    assert process.returncode == 130, complaints
    assert json.loads(output.splitlines()[-1])["stopped_by"] == "interrupted"
    service.clear_faults()
    report = run_job(replace(job, service=replace(job.service, name=service.url)))
    assert (report.dataset.speech, report.dataset.unknown_attempts) == (20, 8)
    check_bill(tmp_path / "out", service)


def _wait_until_heard(pid: int) -> None:
    """Wait until SIGTERM has the system's handler, as after the first interrupt: two at one instant are one."""
    while True:
        signal_mask = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigCgt" in line)
        if not int(signal_mask.split()[1], 16) & 1 << (signal.SIGTERM - 1):
            return
        time.sleep(0.01)


_DEAF = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever who started this ignores
import tts_pipeline.cli.run as jobs
from tts_pipeline.cli import main

def run_job(*_, **__):
    while True:
        try:
            print("deaf", flush=True)
            time.sleep(3_600)
        except KeyboardInterrupt:
            pass

jobs.run_job = run_job
sys.exit(main(sys.argv[1:]))
"""


def test_a_main_thread_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """Whatever it waits for, and even if code swallows its interrupts."""
    source = str(write_lines(tmp_path / "lines.parquet"))
    argv = ["run", source, str(tmp_path / "out"), "--service", "http://127.0.0.1:9", "--model", "m", "--voice", "x"]
    with subprocess.Popen([sys.executable, "-c", _DEAF, *argv], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == "deaf\n"
            process.send_signal(signal.SIGINT)
        assert process.wait(patience(60)) == 130
