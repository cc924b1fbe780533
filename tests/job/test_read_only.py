from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import orjson
import pytest

from tests.builders import write_lines
from tests.killing import COMMAND
from tests.machine import patience
from tts_pipeline.cli import main
from tts_pipeline.emulator.local_service import LocalService

ROWS = 20


def _unprivileged() -> list[str]:
    """Return the start of a command line that takes root's right to write everywhere from a command."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner"]


@pytest.mark.slow
def test_a_destination_that_turns_read_only_is_a_storage_error(tmp_path: Path, tone_service: LocalService) -> None:
    """Exit 6 with a summary, work folder and all; answers are kept, and no row is bought twice."""
    write_lines(tmp_path / "lines.parquet", ROWS)
    out = tmp_path / "out"
    tone_service.set_faults([{"what": "slow", "text": f"Line {row}.", "delay_s": 0.4} for row in range(4, ROWS)])
    service_flags = [
        "--service",
        tone_service.url,
        "--model",
        "qwen3-tts-flash",
        "--voice",
        "Cherry",
        "--part-rows",
        "2",
    ]
    run = ["run", str(tmp_path / "lines.parquet"), str(out), *service_flags, "--max-concurrency", "4"]
    command = [*_unprivileged(), str(COMMAND), *run, "--json", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (out / "done/part-00000.json").exists() and process.poll() is None:
            time.sleep(0.01)
        folders = [folder for folder in (out, *out.rglob("*")) if folder.is_dir()]
        _set_mode(folders, 0o555)
        output, errors = process.communicate(timeout=patience(60))
        _set_mode(folders, 0o755)
    assert process.returncode == 6, errors
    assert "Permission denied" in errors
    assert "Traceback" not in errors
    assert orjson.loads(output.splitlines()[-1])["stopped_by"] == "storage"
    tone_service.clear_faults()
    assert main([*run, "--quiet"]) == 0
    assert tone_service.bill()["received"] == ROWS


def _set_mode(folders: list[Path], mode: int) -> None:
    for folder in folders:
        folder.chmod(mode)
