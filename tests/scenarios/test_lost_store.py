"""An account store that is lost in the middle: the runs wait for it and go on, and nothing is sent without it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.conftest import StartEmulator
from tests.killing import KilledJob, check_nothing_lost, write_source
from tests.machine import patience
from tests.postgres import PostgresServer
from tts_pipeline.emulator.local_service import LocalService

RATE, ROWS = 1_200, 120
AWAY_S = 3.0
BURST_MS = 600.0
"""A slot may be used half a second late, on a busy machine."""


def _job(folder: Path, service: LocalService, store: str) -> KilledJob:
    """Return a job that takes 6 s at the permitted rate, and leaves half of the rate to another one."""
    folder.mkdir()
    environ = {"TTS_ACCOUNT_STORE": store}
    flags = ["--requests-per-minute", str(RATE)]
    return KilledJob(
        service, folder / "lines.parquet", str(folder / "out"), folder / "work", 16, 40, environ=environ, flags=flags
    )


def _entries(service: LocalService) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = service.bill(entries=True)["entries"]
    return entries


def _refused(service: LocalService) -> int:
    return sum(entry["status"] == 429 for entry in _entries(service))


def _run_two(folder: Path, service: LocalService, store: str, lose: Callable[[], None]) -> str:
    """Run two jobs on one account, lose the store in the middle, and check what came of it; return their messages."""
    jobs = [_job(folder / name, service, store) for name in ("one", "two")]
    for job in jobs:
        write_source(job.source, ROWS)
    with ExitStack() as running:
        processes = [
            running.enter_context(
                subprocess.Popen(
                    [part for part in job.command() if part != "--quiet"],
                    env={**os.environ, **job.environ},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for job in jobs
        ]
        while service.bill()["received"] < ROWS // 2:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.02)
        lose()
        messages = [process.communicate(timeout=patience(60))[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], messages
    for job in jobs:
        check_nothing_lost(job, ROWS)
    assert service.bill()["requests"] == len(jobs) * ROWS, "each row once"
    return "".join(messages)


def test_a_server_that_stops_is_waited_for(
    emulator: StartEmulator, tmp_path: Path, postgres: str, postgres_server: PostgresServer
) -> None:
    """What was leased is sent, then nothing until it is back; the rate holds before and after."""
    service = emulator(voice_mode="tone", requests_per_minute=RATE, rate_tolerance_ms=BURST_MS)

    def stop() -> None:
        with postgres_server.stopped():
            time.sleep(AWAY_S)  # the length of the outage, which is the scenario

    messages = _run_two(tmp_path, service, postgres, stop)
    assert messages.count("the account store is back after") == 2, messages
    entries = _entries(service)
    gaps_s = [later["received_at"] - earlier["received_at"] for earlier, later in pairwise(entries)]
    assert max(gaps_s) >= AWAY_S - 1.0
    assert _refused(service) <= 2


def test_a_file_that_is_deleted_is_made_anew(emulator: StartEmulator, tmp_path: Path) -> None:
    """Both meet in the new file, at once."""
    service = emulator(voice_mode="tone", requests_per_minute=RATE, rate_tolerance_ms=BURST_MS)
    store = tmp_path / "account.db"
    messages = _run_two(tmp_path, service, str(store), store.unlink)
    assert messages.count("account.db was deleted or replaced") == 2, messages
    assert _refused(service) <= 2
