"""Reading Parquet files of ours back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_columns(file: bytes | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file of a table, in this thread.

    Not by ``pyarrow.parquet.read_table``: it reads through Arrow's datasets, whose threads abort the process now and
    then when it ends soon after ("terminate called without an active exception", pyarrow 26.0.1 on a busy machine).

    Args:
        file: A path, or what is in the file.
        columns: Which; None is all of them.
    """
    stream = pa.OSFile(str(file), "rb") if isinstance(file, Path) else pa.BufferReader(file)
    with stream, pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True) as parquet:
        return parquet.read(columns=None if columns is None else list(columns), use_threads=False)
