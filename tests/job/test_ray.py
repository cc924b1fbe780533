"""The example of another engine in the documentation runs there, where that engine is installed."""

from __future__ import annotations

import multiprocessing
import re
from pathlib import Path

import pytest

from tests.builders import job_of, write_lines
from tests.datasets import check_bill
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job.job import Job

PAGE = Path(__file__).parents[2] / "docs" / "account.md"


def test_the_example_makes_the_dataset(tmp_path: Path, tone_service: LocalService) -> None:
    """Its shards run in processes of the engine; the example is short."""
    pytest.importorskip("ray", reason="Ray is not installed (pip install ray)")
    match = re.search(r"^```python\n# fleet\.py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert match is not None
    assert match[1].count("\n") <= 40
    write_lines(tmp_path / "lines.parquet", 100)
    # Ray leaves processes behind that it has not waited for, until its own process ends.
    example = multiprocessing.get_context("spawn").Process(
        target=_run, args=(match[1], job_of(tmp_path, tone_service.url))
    )
    example.start()
    example.join()
    assert example.exitcode == 0
    check_bill(tmp_path / "out", tone_service)


def _run(code: str, job: Job) -> None:
    example: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), example)
    example["main"](job)  # type: ignore[operator]
