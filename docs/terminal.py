"""Make the picture of a terminal in ``docs/images``: ``python docs/terminal.py``. What it shows is really run."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from rich.console import Console
from rich.text import Text

from tts_pipeline.emulator import EmulatorOptions, LocalService

PICTURE = Path(__file__).parent / "images" / "terminal.svg"
LINES = 2_000
WIDTH = 118
COMMANDS = (
    "tts-pipeline estimate lines.parquet --service modelstream --model qwen3-tts-flash --requests-per-minute 180",
    "tts-pipeline run lines.parquet dataset --service local --model qwen3-tts-flash --voice Cherry --max-cost 5CNY",
    "tts-pipeline run lines.parquet dataset --service local --model qwen3-tts-flash --voice Cherry --max-cost 50CNY",
    "tts-pipeline report dataset --by voice",
)


def main() -> None:
    """Estimate a job, run into its cap, go on with a higher one, and read the bill."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    with TemporaryDirectory() as folder, LocalService(EmulatorOptions(latency_ms=20)) as local:
        texts = [f"Line {number}: the ferry leaves at half past seven and waits for nobody." for number in range(LINES)]
        pl.DataFrame({"id": range(LINES), "text": texts}).write_parquet(Path(folder) / "lines.parquet")
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            console.print(Text(_output(command, folder, local.url)))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(console.export_svg(title="tts-pipeline"), encoding="utf-8")


def _output(command: str, folder: str, url: str) -> str:
    environ = {**os.environ, "TTS_LOCAL_URL": url, "COLUMNS": str(WIDTH)}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(command.split(), cwd=folder, env=environ, capture_output=True, text=True, check=False)
    return done.stdout.replace(f"{folder}/", "")


if __name__ == "__main__":
    main()
