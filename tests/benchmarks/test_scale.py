"""The large job, in small."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.contest import run_for_json
from benchmarks.scale import job_of, write_files
from tts_pipeline.job import plan
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.source.row_reader import RowReader


def test_a_source_of_many_files_has_distinct_rows_in_order(tmp_path: Path) -> None:
    """Whatever is measured with it is not made cheaper by repeats, and its job can be planned."""
    write_files(tmp_path / "source", files=205, rows_per_file=3)
    source = open_source(tmp_path / "source")
    rows = RowReader(source).read(range(source.rows)).to_pydict()
    assert len(source.files) == 205
    assert rows["id"] == [f"row-{number:08}" for number in range(615)]
    assert len(set(rows["text"])) == 615
    job = job_of(str(tmp_path / "source"), str(tmp_path / "dataset"), "http://127.0.0.1:9", part_rows=100)
    assert [shard.parts for shard in plan(job, max_shards=3)] == [2, 2, 3]


@pytest.mark.slow
def test_requests_to_a_store_grow_no_faster_than_the_parts() -> None:
    """Planning and a finished dataset cost the same at any size; the others look at each part, or file, once."""
    few, many = (_requests(size) for size in (2, 5))
    assert (many["plan"], many["nothing to do"]) == (few["plan"], few["nothing to do"])
    for step in ("going on, one part left", "publish", "open", "read"):
        assert few[step] < many[step] <= few[step] + 3


def _requests(size: int) -> dict[str, int]:
    command = [sys.executable, "-m", "benchmarks.object_requests", f"--parts={size}", f"--files={size}"]
    return {step: sum(counts.values()) for step, counts in run_for_json(command).items()}
