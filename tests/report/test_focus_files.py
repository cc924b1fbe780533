"""Charges become files that cost tools take, whole and without leftovers."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from tests.report.test_focus import LIST_PRICE, PRICES, frame, priced
from tts_pipeline.errors import StorageError
from tts_pipeline.report import focus_files
from tts_pipeline.report.focus import SCHEMA, focus_rows
from tts_pipeline.report.focus_files import to_focus_csv, write_focus


def charges(number: int, tag: str = "x") -> pl.DataFrame:
    """Return as many charges, of teams of their own."""
    rows = [priced(LIST_PRICE, account="=1+1", tags=[("team", f"{tag}{each}")]) for each in range(number)]
    return focus_rows(frame(rows), prices=PRICES).charges


def test_texts_of_a_csv_are_those_of_the_specification() -> None:
    """Instants in UTC with a Z, plain decimals, nothing for null, and no text is changed, not even a formula."""
    header, line = to_focus_csv(charges(1)).decode().splitlines()
    assert header.split(",") == list(SCHEMA)
    assert ",2026-03-01T00:00:00Z," in line
    assert line.startswith("0.000800000,=1+1,=1+1,CNY,")
    assert '"{""team"":""x0""}"' in line
    assert ",Usage,,qwen3-tts-flash: " in line


def test_parquet_has_exact_types(tmp_path: Path) -> None:
    """Decimals and instants, as another reader sees them."""
    (path,) = write_focus(charges(2), tmp_path / "focus.parquet")
    schema = pq.read_schema(path)
    assert [str(schema.field(name).type) for name in ("BilledCost", "ContractedCost", "ChargePeriodStart")] == [
        "decimal128(38, 9)",
        "decimal128(36, 15)",
        "timestamp[us, tz=UTC]",
    ]


def test_a_folder_gets_uploads_within_both_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and bytes; together they are the whole, in order."""
    monkeypatch.setattr(focus_files, "MAX_UPLOAD_ROWS", 40)
    monkeypatch.setattr(focus_files, "MAX_UPLOAD_BYTES", 10_000)
    whole = pl.concat([charges(50), charges(3, "long" * 1_000)])
    paths = write_focus(whole, tmp_path / "uploads")
    assert [path.name for path in paths[:2]] == ["focus-00001.csv", "focus-00002.csv"]
    assert all(path.stat().st_size <= 10_000 for path in paths)
    tags = [tag for path in paths for tag in pl.read_csv(path, columns=["Tags"])["Tags"]]
    assert tags == whole["Tags"].to_list()
    monkeypatch.setattr(focus_files, "MAX_UPLOAD_BYTES", 1_000_000)
    assert [pl.read_csv(path).height for path in write_focus(whole, tmp_path / "uploads")] == [40, 13]


def test_a_smaller_report_leaves_nothing_of_a_larger_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever uploads the folder again uploads each charge once; other files stay."""
    monkeypatch.setattr(focus_files, "MAX_UPLOAD_ROWS", 2)
    (tmp_path / "focus-notes.csv").touch()
    assert len(write_focus(charges(5), tmp_path)) == 3
    assert len(write_focus(charges(1), tmp_path)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["focus-00001.csv", "focus-notes.csv"]


def test_no_charges_are_a_file_of_names(tmp_path: Path) -> None:
    """A cost tool sees an empty month, not a missing file."""
    paths = [*write_focus(charges(0), tmp_path / "out"), *write_focus(charges(0), tmp_path / "one.CSV")]
    assert [path.name for path in paths] == ["focus-00001.csv", "one.CSV"]
    assert all(path.read_text().splitlines() == [",".join(SCHEMA)] for path in paths)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """As a failure of the disk."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"writing .*file/uploads"):
        write_focus(charges(1), tmp_path / "file" / "uploads")
