from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import write_rows
from tests.datasets import utterance_mapper_of
from tts_pipeline.config import InputColumns
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.source import scan as scanning
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.source.scan import scan_source


def _scan(location: Path, row_indices: Sequence[int] | None = None, **columns: Any) -> None:
    source = open_source(location)
    scratch = location.parent / "scratch"
    mapper = utterance_mapper_of(source, InputColumns(**columns))
    scan_source(source, range(source.rows) if row_indices is None else row_indices, mapper, scratch=scratch)
    assert not scratch.exists()


def test_distinct_ids_are_good(tmp_path: Path) -> None:
    """Distinct ids pass silently, and no scratch folder is made."""
    _scan(write_rows(tmp_path / "a.parquet", rows=10_000))


def test_duplicate_ids_are_told_with_examples_across_files(tmp_path: Path) -> None:
    """The error gives five examples at most, each with its rows over all files, and counts the others."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(3):
        ids = [f"own-{number}", "thrice", *(f"twice-{n}" for n in range(6) if number < 2)]
        pq.write_table(pa.table({"id": ids, "text": ["x"] * len(ids)}), folder / f"{number}.parquet")
    with pytest.raises(ConfigurationError) as exc_info:
        _scan(folder)
    assert "'thrice' (3 rows), 'twice-0' (2 rows)" in exc_info.value.message
    assert exc_info.value.message.endswith(" and 2 more")
    assert "`generate_ids=True`" in (exc_info.value.hint or "")


def test_an_integer_id_and_its_text_are_the_same_id(tmp_path: Path) -> None:
    """Ids are compared as they are stored: as text."""
    _scan(write_rows(tmp_path / "a.parquet", pa.table({"id": [1, 2, 12], "text": ["x"] * 3})))
    with pytest.raises(ConfigurationError, match=r"'7' \(2 rows\)"):
        _scan(write_rows(tmp_path / "b.parquet", pa.table({"id": [7, 8, 7], "text": ["x"] * 3})))


def test_readings_of_one_id_differ_by_take(tmp_path: Path) -> None:
    """An id may occur several times with different takes, but not with the same take."""
    table = pa.table({"id": ["a", "a", "b"], "text": ["x"] * 3, "t": [0, 1, 0]})
    _scan(write_rows(tmp_path / "a.parquet", table), parameters={"take": "t"})
    doubled = table.set_column(2, "t", [[1, 1, 0]])
    with pytest.raises(ConfigurationError, match=r"'a' \(2 rows\)"):
        _scan(write_rows(tmp_path / "b.parquet", doubled), parameters={"take": "t"})


def test_ids_of_equal_hashes_are_no_duplicates(tmp_path: Path) -> None:
    """Equal hashes only start a second pass: different ids of one hash are not refused."""
    source = open_source(write_rows(tmp_path / "a.parquet", rows=10))
    mapper = utterance_mapper_of(source)
    repeated = np.sort([hash(f"r{number}") for number in range(10)])
    scanning._refuse_duplicates(source, range(10), mapper, repeated)


def test_only_ids_of_repeated_hashes_are_held(tmp_path: Path) -> None:
    """The second pass remembers only ids of duplicate hashes: memory stays constant."""
    location = write_rows(tmp_path / "a.parquet", pa.table({"id": ["a", "a", "b", "b"], "text": ["x"] * 4}))
    source = open_source(location)
    with pytest.raises(ConfigurationError) as exc_info:
        scanning._refuse_duplicates(source, range(4), utterance_mapper_of(source), np.array([hash("b")]))
    assert "'b' (2 rows)" in exc_info.value.message
    assert "'a'" not in exc_info.value.message


def test_only_the_rows_taken_are_looked_at(tmp_path: Path) -> None:
    """A duplicate outside the selected rows is ignored."""
    location = write_rows(tmp_path / "a.parquet", pa.table({"id": ["a", "b", "a"], "text": ["x"] * 3}))
    _scan(location, [0, 1])
    with pytest.raises(ConfigurationError):
        _scan(location, [0, 2])


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int8(), pa.string()), pa.int64()])
def test_null_ids_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    """A null id is refused."""
    table = pa.table({"id": pa.array([None, None], kind), "text": ["x", "y"]})
    with pytest.raises(ConfigurationError, match="'id' for the id has null values"):
        _scan(write_rows(tmp_path / "a.parquet", table))


def test_generated_ids_need_no_scan(tmp_path: Path) -> None:
    """Generated ids are unique: nulls and duplicates in a column ``id`` do not matter."""
    table = pa.table({"id": ["a", "a", None], "text": ["x"] * 3})
    _scan(write_rows(tmp_path / "a.parquet", table), generate_ids=True)


@pytest.mark.parametrize("take", [2**31, -(2**31) - 1])
def test_a_take_that_fits_no_column_is_refused(tmp_path: Path, take: int) -> None:
    """A take outside 32 bits is refused before anything is bought, not when the tables are written."""
    table = pa.table({"id": ["a", "b"], "text": ["x", "y"], "t": [2**31 - 1, take]})
    with pytest.raises(ConfigurationError, match=f"'t' for the take holds {take}"):
        _scan(write_rows(tmp_path / "a.parquet", table), parameters={"take": "t"})
    _scan(write_rows(tmp_path / "b.parquet", table.slice(0, 1)), parameters={"take": "t"})


def test_bad_parameter_values_are_counted_over_all_rows(tmp_path: Path) -> None:
    """Bad values of a column are counted over the whole source, not over one batch."""
    speakers = ["Cherry", "Cherri", "Bob", "Cherri"] * 3_000
    table = pa.table({"id": range(12_000), "text": ["x"] * 12_000, "speaker": speakers})
    with pytest.raises(ConfigurationError, match=r"'Cherri' \(6000 rows\), 'Bob' \(3000 rows\)"):
        _scan(write_rows(tmp_path / "a.parquet", table), parameters={"voice": "speaker"})


def test_many_distinct_values_are_checked_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a number of distinct values, values are checked and released; a bad value is still found."""
    monkeypatch.setattr(scanning, "MAX_DISTINCT", 4)
    speeds = [round(0.5 + (number % 15) / 10, 1) for number in range(30)]
    good = pa.table({"id": range(30), "text": ["x"] * 30, "pace": speeds})
    _scan(write_rows(tmp_path / "a.parquet", good), parameters={"speed": "pace"})
    bad = good.set_column(2, "pace", [[*speeds[:29], 9.0]])
    with pytest.raises(ConfigurationError, match=r"9\.0 \(1 row\)"):
        _scan(write_rows(tmp_path / "b.parquet", bad), parameters={"speed": "pace"})


def test_only_the_columns_that_are_checked_are_read(tmp_path: Path) -> None:
    """A damaged page of an unused column does not disturb the scan, which does not read it."""
    table = pa.table({"id": ["a", "b"], "text": ["x", "y"], "note": ["x" * 500, "y" * 500]})
    location = write_rows(tmp_path / "a.parquet", table)
    metadata = pq.read_metadata(location).row_group(0).column(2)
    with location.open("r+b") as file:
        file.seek(metadata.data_page_offset)
        file.write(bytes(metadata.total_compressed_size // 2))
    _scan(location)
