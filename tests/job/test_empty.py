"""An empty or missing source, through every function that takes a public functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.builders import job_of, write_lines
from tests.datasets import read_table
from tts_pipeline.card import Endpoint
from tts_pipeline.config import InputColumns
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError, MissingSourceError
from tts_pipeline.job import Job, Shard, plan, publish, run_job, run_parts


def _check_empty(destination: Path) -> None:
    assert {path.name for path in destination.iterdir() if not path.name.startswith(".")} == {
        *("dataset.json", "README.md", "parts.json"),
    }
    assert orjson.loads((destination / "dataset.json").read_bytes())["parts"] == 0
    assert orjson.loads((destination / "parts.json").read_bytes())["parts"] == []


def _empty_jobs(folder: Path) -> dict[str, Job]:
    write_lines(folder / "lines.parquet", 0)
    columns = InputColumns(parameters={"voice": "speaker"})
    missing: dict[str, Any] = {"source": folder / "later", "options": {"missing_is_empty": True}}
    return {"no rows": job_of(folder), "missing": job_of(folder, columns=columns, parameters={}, **missing)}


@pytest.mark.parametrize("kind", ["no rows", "missing"])
@pytest.mark.parametrize("verb", ["run", "shards", "publish"])
def test_an_empty_source_is_a_finished_dataset_in_every_way(tmp_path: Path, kind: str, verb: str) -> None:
    """One shard with nothing to do; ``publish`` alone is enough; a repetition changes nothing."""
    job = _empty_jobs(tmp_path)[kind]
    for _ in range(2):
        if verb == "run":
            report = run_job(job)
            assert (report.stopped, report.dataset.rows, report.dataset.cost) == (None, 0, None)
        elif verb == "publish":
            assert publish(job).dataset.rows == 0
        else:
            assert plan(job, 64) == [Shard(0, 0, 0)]
            assert run_parts(job, plan(job, 64)[0]).stopped is None
            assert publish(job).dataset.rows == 0
        _check_empty(tmp_path / "out")


@pytest.mark.parametrize("source", ["nowhere.parquet", "nowhere/*.parquet", "folder", "memory://nowhere/at/all"])
def test_a_missing_source_is_told_apart(tmp_path: Path, source: str) -> None:
    """By its type, and nothing is written; a file that is not Parquet is another error."""
    (tmp_path / "folder").mkdir()
    job = job_of(tmp_path, source=source if "://" in source else tmp_path / source)
    for verb in (run_job, plan, publish):
        with pytest.raises(MissingSourceError):
            verb(job)
    (tmp_path / "lines.parquet").write_text("text")
    with pytest.raises(ConfigurationError) as exc_info:
        plan(job_of(tmp_path, options={"missing_is_empty": True}))
    assert not isinstance(exc_info.value, MissingSourceError)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("was", ["no rows", "missing"])
def test_a_source_that_comes_late_is_taken_in(tmp_path: Path, tone_service: LocalService, was: str) -> None:
    """The same job extends the empty dataset."""
    if was == "no rows":
        write_lines(tmp_path / "lines.parquet", 0)
    job = job_of(tmp_path, tone_service.url, options={"missing_is_empty": True})
    assert run_job(job).dataset.rows == 0
    _check_empty(tmp_path / "out")
    write_lines(tmp_path / "lines.parquet", 7)
    assert [shard.parts for shard in plan(job, 2)] == [1, 1]
    assert run_job(job).dataset.speech == 7
    assert read_table(tmp_path / "out", "speech").num_rows == 7


def test_a_source_that_is_gone_does_not_empty_a_dataset(tmp_path: Path, tone_service: LocalService) -> None:
    """A missing source counts as empty, so a dataset with rows has another source."""
    write_lines(tmp_path / "lines.parquet", 3)
    job = job_of(tmp_path, tone_service.url, options={"missing_is_empty": True})
    run_job(job)
    (tmp_path / "lines.parquet").unlink()
    with pytest.raises(ConfigurationError, match=r"'lines\.parquet' is gone"):
        run_job(job)


def test_publishing_needs_no_key(tmp_path: Path, tone_service: LocalService) -> None:
    """It sends nothing; all other checks apply."""
    write_lines(tmp_path / "lines.parquet", 3)
    job = job_of(tmp_path, tone_service.url)
    run_parts(job, plan(job)[0])
    elsewhere = Endpoint(base_url="https://speech.example", name="voices", auth="bearer")
    assert publish(job_of(tmp_path, service=elsewhere)).dataset.speech == 3
    with pytest.raises(ConfigurationError, match="needs a key"):
        plan(job_of(tmp_path, service=elsewhere))
