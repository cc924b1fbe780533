"""Another machine continues a job from the shipped journals, without the first machine's work folder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import job_of, write_lines
from tts_pipeline.config import BudgetCap
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StorageError
from tts_pipeline.job import Report, publish, run_job
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.wal.shipping import FOLDER


@pytest.fixture(params=["local", "memory"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder, and an object store."""
    url = f"memory://{uuid.uuid4().hex}/out"
    yield str(tmp_path / "out") if request.param == "local" else url
    filesystem, path = fsspec.core.url_to_fs(url)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def _run(folder: Path, service: LocalService, destination: str, *, cap: int | None = None, **options: Any) -> Report:
    shipped = True if "://" not in destination else None
    run_options = {
        "work_dir": folder / "work",
        "ship_journals": shipped,
        "budget": BudgetCap(max_characters=cap),
        **options,
    }
    return run_job(job_of(folder, service.url, destination=destination, options=run_options))


def _shipped(folder: Path, destination: str) -> list[str]:
    return open_store(destination, folder / "looking").names(FOLDER)


def test_after_an_orderly_stop_any_machine_goes_on(
    tmp_path: Path, tone_service: LocalService, destination: str
) -> None:
    """Answers of open parts are not bought again, no attempt is unknown, and no journal remains."""
    write_lines(tmp_path / "lines.parquet", 20)
    stopped = _run(tmp_path, tone_service, destination, cap=50)
    assert (stopped.stopped_by, stopped.dataset.speech) == ("budget", 7)
    assert _shipped(tmp_path, destination)
    shutil.rmtree(tmp_path / "work")
    report = _run(tmp_path, tone_service, destination)
    assert (report.stopped, report.dataset.speech, report.this_run.attempts) == (None, 20, 13)
    assert report.dataset.characters_billed == report.dataset.characters_upper_bound
    assert tone_service.bill()["received"] == 20
    assert _shipped(tmp_path, destination) == []


@pytest.mark.parametrize("machine", ["work", "another"])
def test_publishing_too_early_takes_nothing_away(
    tmp_path: Path, tone_service: LocalService, destination: str, machine: str
) -> None:
    """Journals of unfinished parts stay, here and at the destination: they hold paid answers."""
    write_lines(tmp_path / "lines.parquet", 20)
    assert _run(tmp_path, tone_service, destination, cap=50).dataset.speech == 7
    options: dict[str, Any] = {"work_dir": tmp_path / machine}
    with pytest.raises(StorageError, match="are not done"):
        publish(job_of(tmp_path, tone_service.url, destination=destination, options=options))
    assert _run(tmp_path, tone_service, destination, **options).this_run.attempts == 13
    assert tone_service.bill()["received"] == 20


def test_what_the_old_rows_cost_is_taken_into_a_new_generation(
    tmp_path: Path, tone_service: LocalService, destination: str
) -> None:
    """A rebuild also reuses the audio of shipped journals, and removes them."""
    write_lines(tmp_path / "lines.parquet", 20)
    assert _run(tmp_path, tone_service, destination, cap=50).dataset.speech == 7
    shutil.rmtree(tmp_path / "work")
    texts = [f"Line {number}." for number in range(3, 8)]
    pq.write_table(pa.table({"id": list("abcde"), "text": texts}), tmp_path / "lines.parquet")
    report = _run(tmp_path, tone_service, destination, rebuild=True)
    assert (report.stopped, report.dataset.speech, report.this_run.attempts) == (None, 5, 1)
    assert (report.dataset.attempts, tone_service.bill()["received"]) == (8, 8)
    assert _shipped(tmp_path, destination) == []


def test_nothing_is_shipped_where_that_is_not_wanted(
    tmp_path: Path, tone_service: LocalService, destination: str
) -> None:
    """A local destination already holds the journals; elsewhere shipping can be turned off."""
    write_lines(tmp_path / "lines.parquet", 20)
    ship_journals = None if "://" not in destination else False
    assert _run(tmp_path, tone_service, destination, cap=50, ship_journals=ship_journals).dataset.speech == 7
    assert _shipped(tmp_path, destination) == []
