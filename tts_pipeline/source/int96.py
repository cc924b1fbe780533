"""INT96 timestamps, as Spark and Impala write them: they reach further than any type of Arrow's, which wraps silently.

They are read as nanoseconds where all of them fit (1677 to 2262), else as microseconds where none is finer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.parquet import parquet_file
from tts_pipeline.storage.parquet_reader import ParquetReader, Projection
from tts_pipeline.storage.row_sizes import leaf_arrays

Int96Unit = Literal["ns", "us"]
_NS = pa.timestamp("ns")
_UNITS_READ = ("s", "us", "ns")
_PER_SECOND: Mapping[Int96Unit, int] = {"ns": 10**9, "us": 10**6}


@dataclass(frozen=True, slots=True)
class Int96:
    """The INT96 columns of a file, with the units that hold each value unaltered, and the schema in microseconds."""

    units: Mapping[str, frozenset[Int96Unit]]
    schema: pa.Schema


def find_int96(stream: Any, label: str, metadata: pq.FileMetaData, drop: Collection[str]) -> Int96 | None:
    """Look at the values of a file's INT96 columns, but the dropped; None where there are none, which costs nothing.

    Raises:
        ConfigurationError: They are out of all proportion when they are read.
        OSError: It cannot be read.
        pyarrow.ArrowInvalid: It is damaged.
    """
    leaves = metadata.schema
    names = [field.name for field in leaves.to_arrow_schema() if field.name not in drop and _has_ns(field.type)]
    if not names or not any(leaves.column(index).physical_type == "INT96" for index in range(len(leaves))):
        return None
    units = {}
    for name in names:
        readers = [ParquetReader(stream, label, projection=Projection([name], unit)) for unit in _UNITS_READ]
        units[name] = _units_without_loss(
            *(reader.slices(range(metadata.num_row_groups), [name]) for reader in readers), name=name
        )
    parquet = parquet_file(stream, metadata=metadata, coerce_int96_timestamp_unit="us")
    return Int96(units, parquet.schema_arrow)


def choose_unit(files: Iterable[tuple[str, Int96]]) -> Int96Unit:
    """Return what the INT96 timestamps of all files are read as, so that none is altered.

    Raises:
        ConfigurationError: There is no such unit; names the file and the column.
    """
    columns = [(path, name, units) for path, int96 in files for name, units in int96.units.items()]
    for unit in _PER_SECOND:
        if all(unit in units for _, _, units in columns):
            return unit
    path, name, _ = min(columns, key=lambda column: len(column[2]))
    raise ConfigurationError(
        f"the INT96 timestamps of column {name!r} in {path!r} cannot be read unaltered: Arrow holds nanoseconds from "
        "1677 to 2262 only, and microseconds would cut some off",
        hint=f"write it as TIMESTAMP, or leave it out by `drop={[name]}`",
    )


def _has_ns(kind: pa.DataType) -> bool:
    return bool(kind == _NS) or any(_has_ns(kind.field(index).type) for index in range(kind.num_fields))


def _units_without_loss(*readers: Iterator[pa.RecordBatch], name: str) -> frozenset[Int96Unit]:
    """Return the units that hold all of a column, which is read as seconds, micro- and nanoseconds."""
    units = frozenset(_PER_SECOND)
    for batches in zip(*readers, strict=True):
        for seconds, micros, nanos in zip(*(leaf_arrays(batch.column(name)) for batch in batches), strict=True):
            if seconds.type == pa.timestamp("s"):  # else a column that is nanoseconds by itself
                units &= _fitting_units(
                    *(leaf.drop_null().cast(pa.int64()).to_numpy() for leaf in (seconds, micros, nanos))
                )
    return units


def _fitting_units(seconds: Any, micros: Any, nanos: Any) -> frozenset[Int96Unit]:
    """Return the units in which nothing wrapped, and nothing is cut off; what wraps does so in all arithmetic alike."""
    fits = {"ns": np.array_equal(nanos // _PER_SECOND["ns"], seconds)}
    fits["us"] = np.array_equal(micros // _PER_SECOND["us"], seconds) and np.array_equal(micros * 1_000, nanos)
    return frozenset(unit for unit in _PER_SECOND if fits[unit])
