"""Processes that write to a ledger or compact it, to be killed."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tts_pipeline.account.identity import dataset_id
from tts_pipeline.ledger import Ledger, LedgerLocation, LedgerSync, RunEnd, RunStart
from tts_pipeline.periods import microseconds
from tts_pipeline.storage.local_store import LocalStore

NOW_US = microseconds(datetime(2027, 1, 15, tzinfo=UTC))
STARTED_US = microseconds(datetime(2026, 11, 15, tzinfo=UTC))


def run_start(invocation_id: str, destination: str = "/data/one", **more: Any) -> RunStart:
    """Return the start of a run."""
    values: dict[str, Any] = {
        "invocation_id": invocation_id,
        "dataset_id": dataset_id(destination),
        "destination": destination,
        "door": "run",
        "host": "host-1",
        "user": "ada",
        "pid": 4711,
        "service": "studio",
        "model": "narrator",
        "account": "acme",
        "key_id": "0123abcd",
        "tags": {"team": "radio"},
        "started_at_us": STARTED_US,
        **more,
    }
    return RunStart(**values)


def start_process(role: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that has imported all it needs when it prints ``ready``, and begins when it is told."""
    command = [sys.executable, "-c", "from tests.ledger.processes import main; main()", role, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def begin(process: subprocess.Popen[str]) -> None:
    """Let a process begin that ``start_process`` has started."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()


def kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill a process after some time; return False if it had ended by itself."""
    time.sleep(seconds)
    process.kill()
    process.communicate()
    return process.returncode != 0


def main() -> None:
    """Do what the arguments say."""
    role, place, *rest = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    if role == "compact":
        ledger = Ledger.open(LedgerLocation(place, is_named=True))
        for month in rest:
            ledger.compact(month, "UTC", NOW_US)
    else:
        folders = [Path(folder) for folder in rest]
        with ThreadPoolExecutor(len(folders)) as writers:
            list(writers.map(lambda folder: write_run(place, folder), folders))


def write_run(place: str, folder: Path) -> None:
    """Put a dataset into a ledger as a run does: its start, part after part, its end."""
    start = run_start(folder.name, str(folder))
    sync = LedgerSync(LedgerLocation(place, is_named=True), LocalStore(folder), start)
    sync.begin()
    for path in sorted((folder / "unpublished").glob("part-*")):
        path.rename(folder / "usage" / path.name)
        sync.published(int(path.name.split("-")[1]))
    assert sync.close(RunEnd(ended_at_us=start.started_at_us + 1), timeout_s=300)
