"""Jobs with wide source columns: memory is bounded in bytes, and no value is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import job_of
from tests.datasets import read_table
from tts_pipeline.config import MAX_TEXT_CHARACTERS
from tts_pipeline.dataset import speech_file
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import run_job
from tts_pipeline.storage import parquet_reader


def test_wide_columns_pass_through_in_small_row_groups(
    tmp_path: Path, tone_service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row keeps its values, in speech and in rejects, and no row group exceeds its bound."""
    monkeypatch.setattr(parquet_reader, "SLICE_BYTES", 200_000)
    monkeypatch.setattr(speech_file, "ROW_GROUP_BYTES", 400_000)
    texts = [f"Line {number}." if number % 10 else "" for number in range(120)]
    texts[7] = "long " * MAX_TEXT_CHARACTERS
    table = pa.table({"id": list(map(str, range(120))), "text": texts, "wide": [os.urandom(20_000) for _ in texts]})
    pq.write_table(table, tmp_path / "lines.parquet", use_dictionary=False)
    run_job(job_of(tmp_path, tone_service.url, options={"part_rows": 50}))
    speech, rejects = read_table(tmp_path / "out", "speech"), read_table(tmp_path / "out", "rejects")
    inputs = {row["id"]: row for row in table.to_pylist()}
    assert speech.num_rows == 107
    assert all(row["wide"] == inputs[row["utterance_id"]]["wide"] for row in speech.to_pylist())
    assert [row["input"] for row in rejects.to_pylist()] == [inputs[id_] for id_ in rejects["utterance_id"].to_pylist()]
    for path in (tmp_path / "out" / "speech").glob("*.parquet"):
        groups = pq.read_metadata(path)
        assert max(groups.row_group(n).total_byte_size for n in range(groups.num_row_groups)) < 500_000
