"""One row in full, found by its place."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.browse.conftest import LONG, MARKUP
from tests.datasets import speech_row, write_dataset
from tts_pipeline.browse.row import RowAddress, parse_row_address, read_clip, read_row
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.local_store import LocalStore


def test_speech_is_told_in_full(snapshot: Snapshot) -> None:
    """All columns but the audio's bytes, the source's own apart, and every request in the order of sending."""
    details = read_row(snapshot.dataset, RowAddress("speech", "part-00000", 1))
    assert details is not None
    row = details["row"]
    assert (row["utterance_id"], row["text"], row["voice"]) == ("r1", LONG, "Stella")
    assert "audio" not in row
    assert row["input"] == {"note": MARKUP}
    assert [word["text"] for word in row["timestamps"]][:2] == ["Good", "morning"]
    assert len(details["requests"]) == row["attempts"]
    assert details["requests"][-1]["request_id"] == row["request_id"]
    assert sum(request["cost"] for request in details["requests"]) == row["cost"]


def test_all_attempts_are_told(snapshot: Snapshot) -> None:
    """Also those that failed, and those of a reject."""
    rows = [read_row(snapshot.dataset, RowAddress("speech", "part-00000", number)) for number in range(4)]
    codes = [request["error_code"] for row in rows if row for request in row["requests"]]
    assert codes.count("InternalError") == 2
    reject = read_row(snapshot.dataset, RowAddress("rejects", "part-00000", 0))
    assert reject is not None
    assert reject["row"]["input"]["id"] == "r3"
    assert [request["error_code"] for request in reject["requests"]][-1] == "DataInspectionFailed"


def test_audio_is_that_of_the_row(snapshot: Snapshot) -> None:
    """Byte for byte; a reject has none."""
    sound = read_clip(snapshot.dataset, RowAddress("speech", "part-00001", 2))
    assert sound is not None
    assert hashlib.sha256(sound.data).hexdigest() == sound.sha256
    assert (sound.format, sound.data[:4]) == ("wav", b"RIFF")
    assert read_clip(snapshot.dataset, RowAddress("rejects", "part-00000", 0)) is None


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pa.timestamp("us"), 300_000_000_000_000_000, "11476-08-15 05:20:00.000000"),
        (pa.struct([("day", pa.date32())]), {"day": 4_000_000}, {"day": "12921-08-18"}),
        (pa.list_(pa.date32()), [4_000_000, None], ["12921-08-18", None]),
    ],
)
def test_what_python_has_not_is_told_as_text(
    tmp_path: Path, kind: pa.DataType, value: object, expected: object
) -> None:
    """A column of the source may hold it: the row is shown all the same."""
    field = pa.field("far", kind)
    rows = [speech_row("a"), speech_row("b", far=value)]
    dataset = write_dataset(tmp_path / "dataset", rows, passed_through=[field])
    details = read_row(DatasetReader(LocalStore(dataset)), RowAddress("speech", "part-00000", 1))
    assert details is not None
    assert details["row"]["input"] == {"far": expected}


@pytest.mark.parametrize("place", [RowAddress("speech", "part-00000", 4), RowAddress("speech", "part-00009", 0)])
def test_a_row_that_is_not_there_is_none(snapshot: Snapshot, place: RowAddress) -> None:
    """Beyond the end of a file, or in no file."""
    assert read_row(snapshot.dataset, place) is None
    assert read_clip(snapshot.dataset, place) is None


@pytest.mark.parametrize(
    "address",
    [
        ("usage", "part-00000", "0"),
        ("speech", "../dataset", "0"),
        ("speech", "part-00000-x", "0"),
        ("speech", "part-00000", "-1"),
        ("speech", "part-00000", "٣"),
        ("speech", "part-00000", "9" * 30),
    ],
)
def test_a_url_names_no_other_files(address: tuple[str, str, str]) -> None:
    """Only parts of two tables, and rows by number."""
    assert parse_row_address(*address) is None
    assert parse_row_address("speech", "part-00007", "12") == RowAddress("speech", "part-00007", 12)


def test_a_file_that_lost_what_a_row_is_told_by_is_a_storage_error(tmp_path: Path) -> None:
    """Columns that are gone, or null: the file is named, and the other files are shown."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row("u1")])
    path, place = dataset / "speech" / "part-00000.parquet", RowAddress("speech", "part-00000", 0)
    table = pq.read_table(path)
    for name in ("utterance_id", "audio", "audio_format", "audio_sha256"):
        nulls = pa.nulls(1, table.schema.field(name).type)
        for changed in (table.drop_columns([name]), table.set_column(table.column_names.index(name), name, nulls)):
            pq.write_table(changed, path)
            with pytest.raises(StorageError, match=r"speech/part-00000\.parquet"):
                (read_row if name == "utterance_id" else read_clip)(DatasetReader(LocalStore(dataset)), place)


def test_a_part_that_is_a_link_out_of_the_dataset_is_not_shown(tmp_path: Path) -> None:
    """Neither its rows nor its audio."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row("u1")])
    path = dataset / "speech" / "part-00000.parquet"
    path.rename(tmp_path / "elsewhere.parquet")
    path.symlink_to(tmp_path / "elsewhere.parquet")
    reader, place = DatasetReader(LocalStore(dataset)), RowAddress("speech", "part-00000", 0)
    for read in (lambda: read_row(reader, place), lambda: read_clip(reader, place)):
        with pytest.raises(StorageError, match="is a link"):
            read()
