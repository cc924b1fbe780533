"""Readers see the finished parts and the files of a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets import speech_row, write_dataset
from tts_pipeline.dataset.generations import SWAP_FILE
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.storage.local_store import LocalStore

NAMES = [f"speech/part-0000{number}.parquet" for number in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten rows in three parts, whose files have two row groups each; a fourth part is not finished."""
    rows = [speech_row(f"u{number}", duration_ms=number) for number in range(10)]
    return write_dataset(tmp_path / "dataset", rows, parts_left=1)


def test_finished_parts_are_told_from_files(folder: Path) -> None:
    """A part without a marker may have a file; a file with a foreign name does not belong to the dataset."""
    shutil.copy(folder / NAMES[0], folder / "speech/part-00003.parquet")
    shutil.copy(folder / NAMES[0], folder / "speech/part-3.parquet")
    dataset = DatasetReader.open(folder)
    assert dataset.parts == [0, 1, 2]
    assert dataset.committed_files("speech") == NAMES
    assert dataset.files("speech") == [*NAMES, "speech/part-00003.parquet"]
    assert [*dataset.files("rejects"), *dataset.bill_files(), *dataset.open_claims()] == []


def test_rows_are_read_in_order_whichever_way(folder: Path) -> None:
    """Rows are read by file, by row group with its audio, and one by one."""
    dataset = DatasetReader(LocalStore(folder))
    ids = [f"u{number}" for number in range(10)]
    tables = list(dataset.read_files(NAMES, ["utterance_id"]))
    assert [len(table) for table in tables] == [4, 4, 2]
    assert pa.concat_tables(tables)["utterance_id"].to_pylist() == ids
    groups = list(dataset.row_groups(NAMES, ["duration_ms", "utterance_id"]))
    assert [(group.part, group.first_row) for group in groups] == [(0, 0), (0, 2), (1, 4), (1, 6), (2, 8), (2, 9)]
    assert groups[0].rows.column_names == ["duration_ms", "utterance_id"]
    for group in dataset.row_groups(NAMES[:1], ["audio"]):
        assert group.audio().to_pylist() == [audio["bytes"] for audio in group.rows["audio"].to_pylist()]
    row = dataset.row(NAMES[1], 3)
    assert row is not None
    assert (row["utterance_id"].to_pylist(), "audio" in row.column_names) == (["u7"], False)
    assert (dataset.row(NAMES[1], 4), dataset.row("speech/part-00009.parquet", 0)) == (None, None)
    assert dataset.row_group(NAMES[0], 2, ["take"]) is None


def test_a_column_that_a_file_lacks_is_null_or_damage(folder: Path) -> None:
    """It is null where the table allows nulls, as in files of earlier versions; else the error names the file."""
    table = pq.read_table(folder / NAMES[0])
    pq.write_table(table.drop_columns(["currency", "take"]), folder / NAMES[0])
    dataset = DatasetReader.open(folder)
    assert dataset.read(NAMES[0], ["utterance_id", "currency"])["currency"].to_pylist() == [None] * 4
    with pytest.raises(StorageError, match=r"part-00000\.parquet is damaged: it has no column 'take'"):
        dataset.row(NAMES[0], 0, ["take"])


def test_a_dataset_that_is_being_replaced_has_no_finished_parts(folder: Path) -> None:
    """For a moment its files belong to two generations."""
    LocalStore(folder).write(SWAP_FILE, b"{}")
    with pytest.raises(ConfigurationError, match="being replaced by a new generation"):
        _ = DatasetReader.open(folder).parts


def test_a_place_without_a_dataset_is_told(tmp_path: Path) -> None:
    """The hint describes a dataset."""
    with pytest.raises(ConfigurationError, match=r"there is no dataset at .*it holds dataset\.json"):
        DatasetReader.open(tmp_path)
