"""Tests of the headers of Parquet pages."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.storage.page_headers import PageHeader, read_page_headers


def _pages(data: bytes, chunk: pq.ColumnChunkMetaData) -> list[PageHeader]:
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return list(read_page_headers(lambda at, size: data[at : at + size], start, start + chunk.total_compressed_size))


def test_pages_add_up_to_their_column() -> None:
    """Every page is found, for both page versions, with and without a dictionary, and for values of any length."""
    texts = [f"line {number} " * (number % 40) for number in range(500)] + ["long " * 20_000]
    table = pa.table({"text": texts, "speaker": ["Cherry"] * len(texts), "lists": [[1, 2, 3]] * len(texts)})
    for version in ("1.0", "2.0"):
        file = io.BytesIO()
        pq.write_table(table, file, data_page_version=version, data_page_size=1_024, compression="zstd")
        group = pq.ParquetFile(file).metadata.row_group(0)
        for number in range(group.num_columns):
            pages = _pages(file.getvalue(), group.column(number))
            assert sum(page.values for page in pages if not page.is_dictionary) == group.column(number).num_values
            unpacked_bytes = sum(page.unpacked_bytes for page in pages)
            headers_bytes = group.column(number).total_uncompressed_size - unpacked_bytes
            assert 0 < headers_bytes < 100 * len(pages)
            assert any(page.is_dictionary for page in pages) == group.column(number).has_dictionary_page


@given(st.binary(max_size=300))
def test_what_is_no_header_ends_the_look(data: bytes) -> None:
    """Damaged or hostile bytes raise nothing and end the iteration."""
    assert len(list(read_page_headers(lambda at, size: data[at : at + size], 0, len(data)))) <= len(data)
    nested = b"\x1c" * 100_000
    assert list(read_page_headers(lambda at, size: nested[at : at + size], 0, len(nested))) == []
