"""Keep the rows of an open part: in memory up to a limit, then in an anonymous file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa

from tts_pipeline.storage.row_sizes import row_sizes
from tts_pipeline.storage.store import storage_errors

_NARROW_BYTES = 4_096
"""Rows with fewer bytes on average are not measured one by one: all rows of a part take little memory then."""


class SpooledRows:
    """Rows in order, written once and read in slices; ``RowReader`` reads them as it reads a source.

    Rows beyond ``memory_bytes`` go to a file in ``folder``, on a local disk. The file has no name, so that it vanishes
    with the process. ``folder`` None keeps all rows in memory.
    """

    def __init__(self, schema: pa.Schema, memory_bytes: int = 0, folder: Path | None = None) -> None:
        self.schema = schema
        self.row_bytes: list[int] = []
        """Bytes of each row; 0 for a small row."""
        self._memory_bytes = memory_bytes
        self._folder = folder
        self._batches: list[pa.RecordBatch] = []
        self._buffered_bytes = 0
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchStreamWriter | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Append rows. Blocking."""
        sizes = _row_bytes(batch)
        self.row_bytes += sizes
        self._buffered_bytes += batch.nbytes
        is_small = self._writer is None and not any(sizes) and self._buffered_bytes <= self._memory_bytes
        if self._folder is None or is_small:
            self._batches.append(batch)  # a few wide rows would keep a whole slice of the source in memory
            return
        with storage_errors(f"keeping rows of the source in {self._folder}"):
            if self._writer is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (it is open as long as the part)
                self._writer = pa.ipc.new_stream(pa.PythonFile(self._file, "w"), self.schema)
            self._writer.write_batch(batch)

    def batches(self, start: int = 0, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield batches as ``Source.batches`` does, from the batch that holds row ``start``."""
        first_row, names = 0, self.schema.names if columns is None else list(columns)
        for batch in self._read_all():
            if start < first_row + batch.num_rows:
                yield first_row, batch.select(names)
            first_row += batch.num_rows

    def group_of(self, row: int) -> int:  # noqa: ARG002 (as a source has it)
        """Return 0: all rows are one group."""
        return 0

    def close(self) -> None:
        """Release the rows."""
        self._batches.clear()
        if self._file is not None:
            self._file.close()

    def _read_all(self) -> Iterator[pa.RecordBatch]:
        yield from self._batches
        if self._file is not None:
            with storage_errors(f"reading rows of the source in {self._folder}", Exception):
                self._file.flush()
                self._file.seek(0)
                reader = pa.ipc.open_stream(pa.PythonFile(self._file, "r"))
                for _ in range(len(self.row_bytes)):
                    try:
                        yield reader.read_next_batch()
                    except StopIteration:
                        return


def _row_bytes(batch: pa.RecordBatch) -> list[int]:
    if batch.nbytes < _NARROW_BYTES * batch.num_rows:
        return [0] * batch.num_rows
    sizes: list[int] = row_sizes(batch).tolist()
    return sizes
