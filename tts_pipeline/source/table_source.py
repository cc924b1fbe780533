"""Use the rows of a table in memory as a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from tts_pipeline.source.frame_stream import FILE_NAME, GROUP_ROWS
from tts_pipeline.source.parquet_source import Source, SourceFile


class TableSource(Source):
    """The rows of one table, as if they were a file with one row group; ``content_sha256`` identifies them."""

    def __init__(self, table: pa.Table, content_sha256: str) -> None:
        super().__init__([SourceFile(FILE_NAME, FILE_NAME, 0, content_sha256, (table.num_rows,))], table.schema)
        self._table = table

    def batches(self, start: int = 0, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the rows from ``start`` on; see ``Source.batches``."""
        names = self.schema.names if columns is None else list(columns)
        for batch in self._table.select(names).slice(start).to_batches(GROUP_ROWS):
            yield start, batch
            start += batch.num_rows
