"""A lazy frame as the source of a dataset: streamed, in flat memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

import tts_pipeline as tts
from tests.builders import call_arguments, line_frame
from tests.conftest import StartEmulator
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.frames.rows import materialize

ROOT = Path(__file__).parents[2]


def _named(rows: int) -> pl.LazyFrame:
    return line_frame(rows).lazy().with_row_index("id")


@pytest.mark.parametrize(
    "rows",
    [
        _named(30),
        _named(30).collect(),
        _named(30).collect().to_arrow(),
        _named(30).collect().to_arrow().to_reader(),
        _named(30).collect().to_pandas(),
    ],
    ids=["LazyFrame", "DataFrame", "Table", "RecordBatchReader", "pandas"],
)
def test_rows_become_a_dataset(rows: Any, tone_service: LocalService, tmp_path: Path) -> None:
    """As a file of the same rows would; nothing of them stays on the disk."""
    destination, arguments = tmp_path / "out", call_arguments(tone_service, tmp_path / "work")
    report = tts.run(rows, destination, voice="Cherry", **arguments)
    assert (report.dataset.speech, report.stopped) == (30, None)
    speech = pl.read_parquet(destination / "speech" / "*.parquet")
    assert speech["text"].to_list() == line_frame(30)["text"].to_list()
    assert list((tmp_path / "work" / "rows").iterdir()) == []


def test_the_same_rows_go_on_with_their_dataset(tone_service: LocalService, tmp_path: Path) -> None:
    """Whatever they are computed from; other rows are refused, with nothing sent."""
    destination = tmp_path / "out"
    capped = call_arguments(tone_service, tmp_path / "work", budget=tts.BudgetCap(max_characters=100), part_rows=5)
    assert tts.run(_named(30), destination, voice="Cherry", **capped).stopped_by == "budget"
    arguments = call_arguments(tone_service, tmp_path / "work")
    again: Any = duckdb.sql("select * from rows", connection=_connection(_named(30).collect()))
    assert tts.run(again, destination, voice="Cherry", **arguments).dataset.speech == 30
    assert tone_service.bill()["received"] == 30
    other = _named(30).with_columns(pl.col("text").str.replace("Line 7", "Lime 7"))
    with pytest.raises(ConfigurationError, match="source"):
        tts.run(other, destination, voice="Cherry", **arguments)
    assert tone_service.bill()["received"] == 30


def _connection(frame: pl.DataFrame) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.register("rows", pa.table(frame))
    return connection


def test_what_is_no_frame_is_refused(tmp_path: Path) -> None:
    """With a way out, and before the destination is touched."""
    with pytest.raises(ConfigurationError, match="Series"):
        tts.run(pl.Series([1]), tmp_path / "out", tts.Service(base_url="http://127.0.0.1:9", auth="none"), model="m")
    with pytest.raises(ConfigurationError, match="int"):
        materialize(1)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("few", "many"),
    [(1_000, 5_000), pytest.param(10_000, 100_000, marks=pytest.mark.kill)],
    ids=["5,000 rows", "100,000 rows"],
)
def test_the_memory_does_not_grow_with_the_rows(few: int, many: int, emulator: StartEmulator, tmp_path: Path) -> None:
    """At most a tenth more for many times the rows."""
    local = emulator(voice_mode="tone", tone_bytes=2_000)
    peaks_mb = [_peak_mb(local, tmp_path / str(rows), rows) for rows in (few, many)]
    print(f"{few:,} rows: {peaks_mb[0]} MB; {many:,} rows: {peaks_mb[1]} MB")
    assert peaks_mb[1] <= 1.1 * peaks_mb[0]


def _peak_mb(local: LocalService, folder: Path, rows: int) -> int:
    command = [sys.executable, "-m", "tests.frames.dataset_of", local.url, str(folder), str(rows)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])
