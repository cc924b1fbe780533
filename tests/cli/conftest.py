"""A source, a local service that runs already, and the command line: in this process or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.machine import patience
from tts_pipeline.cli import main
from tts_pipeline.emulator.local_service import LocalService

MODEL = "qwen3-tts-flash"
LOCAL = ("--service", "local", "--model", MODEL)
PROGRAM = (sys.executable, "-c", "import sys; from tts_pipeline.cli import main; sys.exit(main())")

MakeSource = Callable[..., Path]


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The object on the last line of standard output."""
        last_line: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return last_line


Command = Callable[..., CommandResult]


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """Write ``rows`` rows with an id, a text, a speaker and a note; columns given by name replace these or add."""

    def make(rows: int = 3, *, name: str = "lines.parquet", **columns: Sequence[object]) -> Path:
        usual: dict[str, Sequence[object]] = {
            "id": [f"u{number}" for number in range(rows)],
            "text": [f"This is line number {number}." for number in range(rows)],
            "speaker": ["Cherry", "Stella", "Cherry"][:rows] + ["Aiden"] * (rows - 3),
            "note": ["kept"] * rows,
        }
        path = tmp_path / name
        pq.write_table(pa.table({**usual, **columns}), path)
        return path

    return make


@pytest.fixture
def local(tone_service: LocalService, monkeypatch: pytest.MonkeyPatch) -> LocalService:
    """A humming service that ``--service local`` finds; its bill and its faults are empty."""
    monkeypatch.setenv("TTS_LOCAL_URL", tone_service.url)
    return tone_service


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process."""

    def run(*argv: object) -> CommandResult:
        capfd.readouterr()
        status = main([str(word) for word in argv])
        return CommandResult(status, *capfd.readouterr())

    return run


@pytest.fixture
def program() -> Command:
    """Run a command in a process of its own, as a shell does."""

    def run(*argv: object, environ: Mapping[str, str] | None = None) -> CommandResult:
        result = subprocess.run(
            [*PROGRAM, *map(str, argv)],
            env={**os.environ, **(environ or {})},
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )
        return CommandResult(result.returncode, result.stdout, result.stderr)

    return run
