"""Choose the unit in which INT96 timestamps, as Spark and Impala write them, are read unaltered.

Their range is wider than that of any Arrow type, and Arrow wraps silently. They are read as nanoseconds if all of them
fit (1677 to 2262), else as microseconds if none is finer.
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
    """A file's INT96 columns, each with the units that hold all values unaltered, and its schema in microseconds."""

    units: Mapping[str, frozenset[Int96Unit]]
    schema: pa.Schema


def find_int96(stream: Any, label: str, metadata: pq.FileMetaData, drop: Collection[str]) -> Int96 | None:
    """Read a file's INT96 columns, except dropped ones, and return their units; None, at no cost, if it has none.

    Raises:
        ConfigurationError: The decoded columns are disproportionately large.
        OSError: The file cannot be read.
        pyarrow.ArrowInvalid: The file is damaged.
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
    """Return the unit that holds the INT96 timestamps of all files unaltered.

    Raises:
        ConfigurationError: No unit does; the error names the file and the column.
    """
    columns = [(path, name, units) for path, int96 in files for name, units in int96.units.items()]
    for unit in _PER_SECOND:
        if all(unit in units for _, _, units in columns):
            return unit
    path, name, _ = min(columns, key=lambda column: len(column[2]))
    raise ConfigurationError(
        f"the INT96 timestamps of column {name!r} in {path!r} cannot be read unaltered: Arrow holds nanoseconds from "
        "1677 to 2262 only, and microseconds would cut some off",
        hint=f"write it as TIMESTAMP, or leave it out with `drop={[name]}`",
    )


def _has_ns(kind: pa.DataType) -> bool:
    return bool(kind == _NS) or any(_has_ns(kind.field(index).type) for index in range(kind.num_fields))


def _units_without_loss(*readers: Iterator[pa.RecordBatch], name: str) -> frozenset[Int96Unit]:
    """Return the units that hold all values of a column; the readers give it in seconds, micro- and nanoseconds."""
    units = frozenset(_PER_SECOND)
    for batches in zip(*readers, strict=True):
        for seconds, micros, nanos in zip(*(leaf_arrays(batch.column(name)) for batch in batches), strict=True):
            if seconds.type == pa.timestamp("s"):  # else the column is stored in nanoseconds, not INT96
                units &= _fitting_units(
                    *(leaf.drop_null().cast(pa.int64()).to_numpy() for leaf in (seconds, micros, nanos))
                )
    return units


def _fitting_units(seconds: Any, micros: Any, nanos: Any) -> frozenset[Int96Unit]:
    """Return the units in which no value wrapped or lost digits; nanoseconds wrap here as they did in Arrow."""
    fits = {"ns": np.array_equal(nanos // _PER_SECOND["ns"], seconds)}
    fits["us"] = np.array_equal(micros // _PER_SECOND["us"], seconds) and np.array_equal(micros * 1_000, nanos)
    return frozenset(unit for unit in _PER_SECOND if fits[unit])
