"""The bill tab's figures: those of the usage table."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets import read_table
from tts_pipeline.browse.bill import chart_step, histogram, round_width_up
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.dataset.descriptor import MANIFEST_FILE
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.local_store import LocalStore


def test_every_breakdown_adds_up_to_the_usage_table(snapshot: Snapshot, dataset: Path) -> None:
    """Requests, characters and cost, over time, by model, voice and tag."""
    bill, usage = snapshot.bill(), read_table(dataset, "usage")
    cost = sum(usage["cost"].to_pylist(), Decimal(0))
    parts = [bill["totals"], bill["over_time"]["rows"], *(part["rows"] for part in bill["by"].values())]
    assert list(bill["by"]) == ["model", "account", "key_id", "door", "voice", "tag:speaker", "tag:team"]
    for rows in parts:
        assert sum(row["requests"] for row in rows) == usage.num_rows
        assert sum(row["characters_billed"] for row in rows) == sum(usage["characters_billed"].to_pylist())
        assert sum(row["cost"] for row in rows) == cost
    failed = {row["error_code"]: row["requests"] for row in bill["failures"]}
    assert failed == {"DataInspectionFailed": 1, "InternalError": 2}


def test_damaged_usage_is_named(dataset: Path, tmp_path: Path) -> None:
    """Of a part that is not finished, whose file no marker has the hash of: and in a column without amounts."""
    shutil.copytree(dataset, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "done")
    (tmp_path / "copy" / MANIFEST_FILE).unlink()
    (path, *_) = (tmp_path / "copy" / "usage").iterdir()
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunk = next(
        filter(lambda chunk: chunk.path_in_schema == "started_at", map(group.column, range(group.num_columns)))
    )
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(data)
    with pytest.raises(StorageError, match="reading usage tables"):
        Snapshot(LocalStore(tmp_path / "copy")).bill()


def test_the_dearest_come_first(snapshot: Snapshot) -> None:
    """They are what a bill is read for."""
    costs = [row["cost"] for row in snapshot.bill()["by"]["voice"]["rows"]]
    assert costs == sorted(costs, reverse=True)


def test_sounds_are_counted_once(snapshot: Snapshot) -> None:
    """Every utterance with speech is in one bin of each histogram."""
    for name in ("duration", "pace"):
        assert sum(snapshot.bill()[name]["counts"]) == 11


@given(st.lists(st.floats(0, 1e6), max_size=200))
def test_a_histogram_counts_everything(values: list[float]) -> None:
    """Whatever the values, in a handful of bins that reach from the least on."""
    bars = histogram(pl.Series(values, dtype=pl.Float64))
    if not values:
        assert bars == {}
        return
    assert sum(bars["counts"]) == len(values)
    assert len(bars["counts"]) <= 42
    assert bars["start"] <= min(values) + bars["width"] * 1e-6
    assert bars["width"] > 0


def test_equal_values_are_one_bar() -> None:
    """Also where divisions made them differ in their last digits."""
    bars = histogram(pl.Series([62 * size / size / 1_000 for size in range(1, 500)]))
    assert sorted(bars["counts"])[-1] == 499
    assert histogram(pl.Series([0.0, 0.0]))["counts"] == [2]


def test_outliers_do_not_hide_the_others() -> None:
    """They are counted in the last bin, and told."""
    bars = histogram(pl.Series([float(number % 10) for number in range(10_000)] + [1e6, None]))
    assert bars["beyond"] == 1
    assert bars["width"] == pytest.approx(0.5)
    assert sum(bars["counts"]) == 10_001


@given(st.floats(1e-9, 1e9))
def test_widths_are_round(width: float) -> None:
    """1, 2 or 5 times a power of ten, and no more than that above what was asked for."""
    rounded = round_width_up(width)
    assert width * 0.999 <= rounded <= width * 2.51
    assert f"{rounded:e}"[:8] in {"1.000000", "2.000000", "5.000000"}


@pytest.mark.parametrize(
    ("spanned", "step"),
    [
        (timedelta(seconds=2), timedelta(seconds=1)),
        (timedelta(hours=1), timedelta(minutes=1)),
        (timedelta(days=7), timedelta(hours=6)),
        (timedelta(days=5_000), timedelta(days=56)),
    ],
)
def test_a_chart_has_a_readable_number_of_steps(spanned: timedelta, step: timedelta) -> None:
    """From seconds to years."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert chart_step(start, start + spanned) == step
    assert chart_step(None, None) == timedelta(seconds=1)
