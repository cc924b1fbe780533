"""The rows of a table are a source like those of a file."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.builders import numbered_table
from tts_pipeline.source.frame_stream import GROUP_ROWS
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.source.table_source import TableSource


@pytest.mark.parametrize("rows", [1, GROUP_ROWS, 2 * GROUP_ROWS + 3])
def test_rows_are_read_at_any_ascending_positions(rows: int) -> None:
    """Whatever the chunks of the table, and for some of its columns, too."""
    table = numbered_table(rows)
    chunked = pa.concat_tables([table.slice(0, rows // 3), table.slice(rows // 3)])
    source = TableSource(chunked, "ab")
    places = sorted({0, rows // 2, rows - 1})
    assert source.rows == rows
    assert RowReader(source).read(places) == table.take(pa.array(places))
    names = table.column_names[:1]
    assert RowReader(source, names).read(range(rows)).combine_chunks() == table.select(names).combine_chunks()


def test_its_identity_is_the_hash_of_its_contents() -> None:
    """And its number of rows."""
    (file,) = TableSource(numbered_table(4), "ab").fingerprint()
    assert (file["footer_sha256"], file["rows"]) == ("ab", 4)
