"""Datasets to export: a small one that was really said, and ones of any rows, written as a job writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from tests.builders import descriptor_of
from tts_pipeline.dataset.descriptor import MANIFEST_FILE
from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.speech_file import speech_writer
from tts_pipeline.emulator.tone import tone
from tts_pipeline.exports.index import INDEX_FILE
from tts_pipeline.schema import speech_schema
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.parquet import read_columns

RATE_HZ = 24_000
JOB = {"model": "qwen3-tts-flash", "service": "local"}
NOW = datetime(2026, 11, 20, tzinfo=UTC)


def speech_row(utterance_id: str, *, text: str | None = None, **values: Any) -> dict[str, Any]:
    """Return a row of a speech table; its audio is a tone that only its text has."""
    line = f"Line {utterance_id}." if text is None else text
    data = values.pop("data", None) or tone(line, tone_bytes=4_800)
    return {
        "utterance_id": utterance_id,
        "take": 0,
        "text": line,
        "service": "local",
        "model": "qwen3-tts-flash",
        "voice": "Cherry",
        "language": "en",
        "audio": {"bytes": data, "path": "u.wav"},
        "audio_format": "wav",
        "sample_rate_hz": RATE_HZ,
        "channels": 1,
        "duration_ms": 100,
        "audio_sha256": hashlib.sha256(data).hexdigest(),
        "timestamps": [{"text": line, "start_ms": 10, "end_ms": 90, "text_start": 0, "text_end": len(line)}],
        "timestamps_source": "service",
        "segments": 1,
        "attempts": 1,
        "request_key": hashlib.sha256(line.encode()).hexdigest(),
        "characters_counted": len(line),
        "characters_billed": len(line),
        "cost": Decimal("0.001"),
        "currency": "CNY",
        "quality": [],
        "created_at": NOW,
        "invocation_id": "i",
        **values,
    }


def write_dataset(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    part_rows: int = 4,
    passed_through: Sequence[pa.Field] = (),
    parts_left: int = 0,
) -> Path:
    """Write a dataset of these rows, in two row groups for each part.

    Args:
        folder: Where.
        rows: Of the speech table.
        part_rows: Rows in a part.
        passed_through: The input's other columns.
        parts_left: Parts that are not done; without any, the dataset is sealed.
    """
    chunks = [rows[start : start + part_rows] for start in range(0, len(rows), part_rows)]
    write_parts(folder, chunks, part_rows=part_rows, passed_through=passed_through, parts_left=parts_left)
    return folder


def write_parts(
    folder: Path,
    chunks: Sequence[Sequence[Mapping[str, Any]]] | Iterator[Sequence[Mapping[str, Any]]],
    *,
    part_rows: int,
    passed_through: Sequence[pa.Field] = (),
    parts_left: int = 0,
) -> None:
    """Write a dataset part by part."""
    store, schema, parts = LocalStore(folder), speech_schema(passed_through), 0
    for number, rows in enumerate(chunks):
        parts += 1
        store.write(f"done/{part_name(number)}.json", b"{}", durable=False)
        with store.stage(f"speech/{part_name(number)}.parquet") as path, speech_writer(path, schema) as writer:
            half = -(-len(rows) // 2)
            for group in filter(None, (rows[:half], rows[half:])):
                writer.write_table(pa.Table.from_pylist([dict(row) for row in group], schema=schema))
    descriptor = descriptor_of((parts + parts_left) * part_rows, part_rows, JOB)
    store.write("dataset.json", descriptor.to_json())
    store.remove(MANIFEST_FILE)
    if not parts_left:
        store.write(MANIFEST_FILE, orjson.dumps({"totals": {}, "parts": [{"part": part} for part in range(parts)]}))


def index_of(destination: Path) -> list[dict[str, Any]]:
    """Return the index of an export."""
    rows: list[dict[str, Any]] = read_columns(destination / INDEX_FILE).to_pylist()
    return rows


def files_below(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder by name, but what the export says of itself."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: data for name, data in contents.items() if name not in {INDEX_FILE, "export.json"}}
