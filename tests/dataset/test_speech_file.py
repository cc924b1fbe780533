from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.config import ROW_GROUP_BYTES
from tts_pipeline.dataset.speech_file import BlobReader, speech_writer, split_row_groups
from tts_pipeline.errors import StorageError
from tts_pipeline.wal.frames import Blob

MEGABYTE = 1024 * 1024


@given(sizes=st.lists(st.integers(0, 20), max_size=30))
def test_groups_are_as_large_as_they_may_be_and_no_larger(sizes: list[int]) -> None:
    """Every row comes once, in order; a group of several rows fits, and the next row would not fit into it."""
    groups = list(split_row_groups(range(len(sizes)), lambda place: sizes[place] * MEGABYTE))
    assert [place for group in groups for place in group] == list(range(len(sizes)))
    for number, group in enumerate(groups):
        group_bytes = sum(sizes[place] for place in group) * MEGABYTE
        assert group_bytes <= ROW_GROUP_BYTES or len(group) == 1
        if number + 1 < len(groups):
            assert group_bytes + sizes[groups[number + 1][0]] * MEGABYTE > ROW_GROUP_BYTES


def test_bytes_are_read_by_their_place(tmp_path: Path) -> None:
    """Blobs come from several journals in any order; a missing blob is an error, never a partial result."""
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(b"0123456789")
    second.write_bytes(b"abcdefghij")
    with BlobReader() as reader:
        blobs = [Blob(first, 2, 3), Blob(second, 0, 10), Blob(first, 0, 1), Blob(second, 9, 1)]
        column, hashes = reader.read(blobs)
        column.validate(full=True)
        assert column.to_pylist() == [b"234", b"abcdefghij", b"0", b"j"]
        assert hashes == [hashlib.sha256(data).hexdigest() for data in column.to_pylist()]
        with pytest.raises(StorageError, match="shorter"):
            reader.read([Blob(first, 8, 3)])


def test_payloads_far_apart_and_very_many_are_read(tmp_path: Path) -> None:
    """In any order, with gaps between them that are read over and gaps that are not."""
    journal = tmp_path / "journal"
    data = bytes(range(251)) * 2_000
    journal.write_bytes(data)
    offsets = [*range(0, 20_000, 7), 200_000, 400_001, *range(20_000, 40_000, 5)][::-1]
    with BlobReader() as reader:
        column, _ = reader.read([Blob(journal, offset, 5) for offset in offsets])
    assert column.to_pylist() == [data[offset : offset + 5] for offset in offsets]


def test_every_table_is_a_row_group(tmp_path: Path) -> None:
    """A table of any number of rows is one row group, and the file reads back completely."""
    schema = pa.schema([("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("n", pa.int64())])
    rows = [[{"audio": {"bytes": bytes(n), "path": "x"}, "n": n} for n in some] for some in (range(3), range(3, 4))]
    with speech_writer(tmp_path / "x.parquet", schema) as writer:
        for some in rows:
            writer.write_table(pa.Table.from_pylist(some, schema))
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [3, 1]
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == [*rows[0], *rows[1]]
