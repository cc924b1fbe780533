"""Exports stream: their memory does not grow with the dataset."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.datasets import speech_row, write_parts
from tts_pipeline.emulator.tone import tone

PART_ROWS = 500
_EXPORT = r"""
import re, sys
from pathlib import Path
from tts_pipeline.exports import export
dataset, destination, as_, *again = sys.argv[1:]
for _ in range(2 if as_ == "files" else 1):
    report = export(dataset, destination, as_=as_, where="duration_ms < 20000", split="train=0.98,validation=0.02")
# Not ru_maxrss: that of a process that a large one started begins with the large one's.
peak_kb = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
print(report.rows, report.unchanged, peak_kb)
"""


def _parts(rows: int) -> Iterator[list[dict[str, Any]]]:
    data = tone("All alike.", tone_bytes=2_000)
    template = speech_row("u", data=data)
    for start in range(0, rows, PART_ROWS):
        yield [{**template, "utterance_id": f"u{number}"} for number in range(start, start + PART_ROWS)]


def _peak_kb(tmp_path: Path, rows: int, as_: str) -> int:
    dataset = tmp_path / f"dataset-{rows}"
    if not dataset.exists():
        write_parts(dataset, _parts(rows), part_rows=PART_ROWS)
    command = [sys.executable, "-W", "ignore", "-c", _EXPORT, str(dataset), str(tmp_path / f"{as_}-{rows}"), as_]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    exported, unchanged, peak_kb = map(int, output.split())
    assert exported == rows
    assert unchanged == (rows if as_ == "files" else 0)
    return peak_kb


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("as_", "few", "many"),
    [
        ("files", 10_000, 30_000),  # the caches of its two runs are full by then
        ("huggingface", 10_000, 20_000),  # Arrow's pools grow until then
        *(pytest.param(as_, 10_000, 100_000, marks=pytest.mark.kill) for as_ in ("files", "huggingface")),
    ],
)
def test_many_rows_take_the_memory_of_few(tmp_path: Path, as_: str, few: int, many: int) -> None:
    """Within 10 %, and 8 MB for the hashes of names; written anew, and again when all is there."""
    if as_ == "huggingface":
        pytest.importorskip("datasets")
    few_kb, many_kb = _peak_kb(tmp_path, few, as_), _peak_kb(tmp_path, many, as_)
    print(f"{as_}: {few_kb / 1024:.0f} MB at {few:,} rows, {many_kb / 1024:.0f} MB at {many:,}")
    assert many_kb <= few_kb * 1.1 + 8 * 1024
