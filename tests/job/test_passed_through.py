"""Columns that pass through are never altered: every type, from the source's Parquet to the tables."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.builders import job_of
from tts_pipeline.config import InputColumns
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import run_job

FAR = (2**63 - 1, -(2**63) + 1)


def _bits(values: list[int], width: int) -> pa.Array:
    kinds = {16: (np.uint16, np.float16), 32: (np.uint32, np.float32), 64: (np.uint64, np.float64)}
    bits, floats = kinds[width]
    return pa.array(np.array(values, bits).view(floats))


def _of(kind: pa.DataType, *values: Any) -> pa.Array:
    return pa.array(list(values), kind)


def _extension(kind: Any, *values: Any) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, pa.array(list(values), kind.storage_type))


TEXT = pa.string()
COLUMNS: dict[str, pa.Array] = {
    **{
        f"timestamp {unit} {zone}": _of(pa.timestamp(unit, zone), *FAR)
        for unit in ("us", "ns")
        for zone in (None, "UTC")
    },
    "timestamp in a place": _of(pa.timestamp("ms", "Europe/Berlin"), -1, None),
    "timestamp of an offset": _of(pa.timestamp("us", "+05:30"), -1, None),
    "time ms": _of(pa.time32("ms"), 86_399_999, None),
    **{f"time {unit}": _of(pa.time64(unit), 86_399_999_999, None) for unit in ("us", "ns")},
    "date": _of(pa.date32(), -(2**31), 2**31 - 1),
    **{f"duration {unit}": _of(pa.duration(unit), *FAR) for unit in ("s", "ms", "us", "ns")},
    "decimal32": _of(pa.decimal32(9, 2), Decimal("9999999.99"), None),
    "decimal64": _of(pa.decimal64(18, 0), Decimal(10**18 - 1), None),
    "decimal128": _of(pa.decimal128(38, 38), Decimal("-0." + "9" * 38), None),
    "decimal256": _of(pa.decimal256(76, 2), Decimal("9" * 74 + ".99"), None),
    "uint64": _of(pa.uint64(), 2**64 - 1, None),
    "float16": _bits([0x7E01, 0x8000], 16),
    "float32": _bits([0x7FC00123, 0x80000000], 32),
    "float64": _bits([0x7FF8000000000123, 0x8000000000000000], 64),
    "zeros": _bits([0, 0x8000000000000000], 64),
    "subnormal": _bits([1, 0xFFF0000000000000], 64),
    "bytes": _of(pa.binary(), b"\x00\xff", None),
    "fixed bytes": _of(pa.binary(2), b"\x00\xff", None),
    "large bytes": _of(pa.large_binary(), b"", None),
    "text": _of(TEXT, "a\x00\u0301", None),
    "large text": _of(pa.large_string(), "", None),
    "category": _of(TEXT, "a", None).dictionary_encode(),
    "ordered": pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array(["b", "a"]), ordered=True),
    "categories within": _of(pa.struct([("a", pa.dictionary(pa.int8(), TEXT))]), {"a": "x"}, {"a": "y"}),
    "listed categories": _of(pa.list_(pa.dictionary(pa.int8(), TEXT)), ["x", "y"], ["y"]),
    "list": _of(pa.list_(pa.field("member", pa.int64())), [None, 1], []),
    "large list": _of(pa.large_list(pa.int64()), [1], None),
    "fixed list": _of(pa.list_(pa.int64(), 2), [1, None], None),
    "map": _of(pa.map_(TEXT, pa.int64()), [("b", 1), ("a", None), ("b", 2)], []),
    "struct": _of(pa.struct([("a", pa.int64())]), {"a": None}, None),
    "nothing": pa.nulls(2),
    "nothing within": _of(pa.struct([("a", pa.list_(pa.null()))]), {"a": [None]}, None),
    "uuid": _extension(pa.uuid(), bytes(range(16)), None),
    "json": _extension(pa.json_(), '{"a": 1.0}', None),
    "bool8": _extension(pa.bool8(), 2, None),
    "tensor": _extension(pa.fixed_shape_tensor(pa.int32(), [2]), [1, 2], [3, 4]),
}


def _raw(column: pa.ChunkedArray) -> list[Any]:
    """Return values in their stored form: Python has no nanoseconds, and takes all NaN for one."""
    values = column.combine_chunks()
    values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_floating(values.type):
        return values.view(f"uint{values.type.bit_width}").to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_temporal(values.type):
        return values.view(f"int{values.type.bit_width}").to_pylist()  # type: ignore[no-any-return]
    return values.to_pylist()  # type: ignore[no-any-return]


def test_every_type_comes_through_as_it_is(tone_service: LocalService, tmp_path: Path) -> None:
    """Type, values to the last bit and field metadata, in speech and in rejects, over files and row groups."""
    ids, lines = pa.array(["a", "b"]), pa.array(["One.", ""])
    fields = [pa.field(f"c {name}", column.type, metadata={"k": "v"}) for name, column in COLUMNS.items()]
    table = pa.table([ids, lines, *COLUMNS.values()], pa.schema([("id", TEXT), ("line", TEXT), *fields]))
    (tmp_path / "in").mkdir()
    for place, name in enumerate(("a", "b")):
        turned = table.take(pa.array([1 - place, place]))
        turned = turned.set_column(0, "id", pa.array([f"{name}0", f"{name}1"])).set_column(1, "line", lines)
        pq.write_table(turned, tmp_path / "in" / f"{name}.parquet", row_group_size=1)
    job = job_of(tmp_path, tone_service.url, source=tmp_path / "in", columns=InputColumns(text="line"))
    report = run_job(job)
    assert report.stopped is None, report.stopped
    assert (report.dataset.speech, report.dataset.rejects) == (2, 2)
    source = pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / "in").iterdir())])
    speech, rejects = (pq.read_table(next((tmp_path / "out" / name).iterdir())) for name in ("speech", "rejects"))
    inputs = pa.Table.from_batches([pa.RecordBatch.from_struct_array(chunk) for chunk in rejects["input"].chunks])
    for field in fields:
        values = _raw(source[field.name])
        for output, rows in ((speech, (0, 2)), (inputs, (1, 3))):
            assert output.schema.field(field.name).type == source.schema.field(field.name).type, field
            assert _raw(output[field.name]) == [values[row] for row in rows], field
        assert (speech.schema.field(field.name).metadata or {})[b"k"] == b"v"
