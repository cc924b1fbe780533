"""Doors beside Airflow that spend on the same budget: a command line, and a notebook's call in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.airflow.home import ROOT
from tests.killing import COMMAND
from tts_pipeline.emulator.local_service import LocalService

BUDGET = "radio"

_NOTEBOOK = """
import sys
from pathlib import Path
import tts_pipeline as tts
from tests.builders import MODEL, line_frame
url, folder, rows = sys.argv[1:]
options = tts.RunOptions(limits=tts.Limits(max_concurrency=8), work_dir=Path(folder), tags={"team": "radio"})
service = tts.Service(base_url=url, auth="none")
try:
    tts.synthesize(line_frame(int(rows)), service, model=MODEL, voice="Cherry", options=options)
except tts.StoppedError as error:
    sys.exit(error.stopped_by)
"""


def set_monthly(store: Path, amount: Decimal) -> None:
    """Set a budget per month for the requests of one team, in a time zone whose month does not end meanwhile."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    zone = next(zone for zone in ("Asia/Shanghai", "UTC") if _month(zone, soon) == _month(zone, datetime.now(UTC)))
    period = ["--per", "month", "--timezone", zone, "--where", "team=radio"]
    _tts(store, "budget", "set", BUDGET, f"{amount:f} CNY", *period)


def _month(zone: str, at: datetime) -> int:
    return at.astimezone(ZoneInfo(zone)).month


def read_budget(store: Path) -> Mapping[str, str]:
    """Return what ``budget list`` says."""
    (facts,) = json.loads(_tts(store, "budget", "list", "--json"))["budgets"]
    values: Mapping[str, str] = facts
    return values


def start_command(folder: Path, store: Path, service: LocalService) -> subprocess.Popen[str]:
    """Speak the lines of a folder into a dataset of its own."""
    paths = str(folder / "lines.parquet"), str(folder / "by-command")
    flags = ["--model", "qwen3-tts-flash", "--voice", "Cherry", "--max-concurrency", "8", "--tag", "team=radio"]
    return _start(store, COMMAND, "run", *paths, "--service", service.url, *flags)


def start_notebook(folder: Path, store: Path, service: LocalService, rows: int) -> subprocess.Popen[str]:
    """Speak so many lines of a frame."""
    return _start(store, sys.executable, "-W", "ignore", "-c", _NOTEBOOK, service.url, str(folder / "work"), str(rows))


def _start(store: Path, *command: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=ROOT, env=_environ(store), stderr=subprocess.PIPE, text=True)


def _tts(store: Path, *arguments: str) -> str:
    return subprocess.run([COMMAND, *arguments], env=_environ(store), check=True, capture_output=True, text=True).stdout


def _environ(store: Path) -> dict[str, str]:
    return {**os.environ, "TTS_ACCOUNT_STORE": str(store)}
