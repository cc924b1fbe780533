"""A dataset as a job makes it, and its page as the command serves it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tests.builders import job_of, write_lines
from tests.cli.conftest import PROGRAM
from tests.machine import patience
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import run_job
from tts_pipeline.storage.open_store import open_store

MARKUP = "<img src=x onerror=\"document.title='owned'\"> & <b>bold</b>, said aloud."
"""The text of row ``r2``."""

LONG = "Good morning, all of you; the ferry 🚢 leaves at seven and waits for nobody."
"""The text of row ``r1``; its words lie behind a character of two UTF-16 units."""

REFUSED = "Nobody may say this aloud."
"""The text of row ``r3``, a reject."""


@pytest.fixture(scope="session")
def dataset(tone_service: LocalService, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows in three parts: one is refused, two requests fail first; two voices, two tags."""
    folder = tmp_path_factory.mktemp("browse")
    texts = [f"Line number {number}, the usual length." for number in range(12)]
    texts[1:4] = [LONG, MARKUP, REFUSED]
    voices = pa.array(["Cherry", "Stella", "Cherry"] * 4)
    write_lines(folder / "lines.parquet", 12, text=pa.array(texts), speaker=voices, note=pa.array([MARKUP] * 12))
    job = job_of(
        folder,
        tone_service.url,
        parameters={"enable_timestamp": True},
        options={"tags": {"team": "blue"}, "tag_columns": {"speaker": "speaker"}},
    )
    columns = replace(job.columns, parameters={"voice": "speaker"})
    refused = {"what": "refuse", "text": REFUSED}
    tone_service.set_faults([refused, {"what": "error", "status": 500, "code": "InternalError", "first": 2}])
    report = run_job(replace(job, columns=columns))
    assert (report.dataset.speech, report.dataset.rejects) == (11, 1)
    tone_service.clear_faults()
    return folder / "out"


@pytest.fixture(scope="session")
def snapshot(dataset: Path) -> Snapshot:
    """The dataset as the page's server sees it."""
    return Snapshot(open_store(dataset, dataset.parent))


@contextmanager
def served(*arguments: str | Path, **variables: str) -> Iterator[str]:
    """Run ``browse`` in a process of its own, with more variables, and give the URL that it prints."""
    running, environment = [*PROGRAM, "browse", *map(str, arguments)], {**os.environ, **variables}
    with subprocess.Popen(
        running, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            assert process.wait(patience(20)) == 0


@pytest.fixture(scope="session")
def site(dataset: Path) -> Iterator[str]:
    """The URL of the dataset's page."""
    with served(dataset) as url:
        yield url
