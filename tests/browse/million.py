"""A dataset of any size, written without a service: texts, words, costs and a bill; no sound."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.builders import descriptor_of
from tts_pipeline.dataset.speech_file import speech_writer
from tts_pipeline.schema import speech_schema, usage_schema

PART_ROWS = 500
_SENTENCE = "the harbour is quiet before dawn and a baker lights his oven while gulls argue over the first boat home"
_WORDS = _SENTENCE.split()
_VOICES = ("Cherry", "Serena", "Ethan", "Chelsie", "Aiden", "Stella")
_LANGUAGES = ("en", "de", "fr", "es", "it", "pt")
_AUDIO_BYTES = 200
_DISTINCT_PARTS = 8


def write_million(destination: Path, rows: int) -> None:
    """Write a dataset of ``rows`` rows, a whole number of parts; ids and moments are a row's own, texts come again."""
    generator = np.random.default_rng(7)
    for folder in ("speech", "usage"):
        (destination / folder).mkdir(parents=True)
    job = {"service": "baze", "model": "qwen3-tts-instruct-flash", "text_column": "text", "columns": {}}
    (destination / "dataset.json").write_bytes(descriptor_of(rows, PART_ROWS, {**job, "parameters": {}}).to_json())
    parts = [_columns(generator) for _ in range(_DISTINCT_PARTS)]
    for part in range(rows // PART_ROWS):
        columns = parts[part % _DISTINCT_PARTS] | _own(part)
        name = f"part-{part:05d}"
        with speech_writer(destination / f"speech/{name}.parquet", speech_schema([])) as writer:
            writer.write_table(_table(columns, speech_schema([])))
        usage = _table(columns, usage_schema())
        pq.write_table(usage, destination / f"usage/{name}-{part:032x}.parquet", compression="zstd")


def _own(part: int) -> dict[str, pa.Array]:
    numbers = range(part * PART_ROWS, (part + 1) * PART_ROWS)
    moments = pa.array([1_790_000_000_000_000 + number * 600_000 for number in numbers])
    return {
        **dict.fromkeys(
            ("utterance_id", "attempt_id", "request_id"), pa.array([f"row-{number:07d}" for number in numbers])
        ),
        **dict.fromkeys(("created_at", "started_at", "finished_at"), moments),
    }


def _columns(generator: np.random.Generator) -> dict[str, pa.Array]:
    texts = [" ".join(generator.choice(_WORDS, length)) for length in generator.integers(6, 20, PART_ROWS)]
    characters = pa.array([len(text) for text in texts])
    cost = pa.array([Decimal(8 * len(text)).scaleb(-5) for text in texts])
    words = [{"text": word, "start_ms": 0, "end_ms": 90, "text_start": 0, "text_end": 1} for word in _WORDS[:12]]
    same = {
        "invocation_id": "i",
        "journal_id": "j",
        "service": "baze",
        "model": "qwen3-tts-instruct-flash",
        "take": 0,
        "segment": 0,
        "attempt": 1,
        "attempts": 1,
        "segments": 1,
        "http_status": 200,
        "latency_ms": 200,
        "outcome": "succeeded",
        "currency": "CNY",
        "price_id": "p",
        "price_basis": "list",
        "account": "main",
        "audio_format": "wav",
        "sample_rate_hz": 24_000,
        "channels": 1,
        "audio_sha256": "0",
        "request_key": "0",
    }
    return {
        **{name: pa.array([value] * PART_ROWS) for name, value in same.items()},
        "text": pa.array(texts),
        "voice": pa.array(generator.choice(_VOICES, PART_ROWS)),
        "language": pa.array(generator.choice(_LANGUAGES, PART_ROWS)),
        "audio": pa.array([{"bytes": bytes(_AUDIO_BYTES), "path": "x.wav"}] * PART_ROWS),
        "duration_ms": pa.array([62 * len(text) for text in texts]),
        "timestamps": pa.array([words] * PART_ROWS),
        "quality": pa.array([["slow"] if rare else [] for rare in generator.integers(0, 50, PART_ROWS) == 0]),
        "tags": pa.array([[("project", "atlas")]] * PART_ROWS, pa.map_(pa.string(), pa.string())),
        **dict.fromkeys(("cost", "cost_upper_bound"), cost),
        **dict.fromkeys(
            (f"characters_{kind}" for kind in ("counted", "reported", "billed", "upper_bound")), characters
        ),
    }


def _table(columns: dict[str, pa.Array], schema: pa.Schema) -> pa.Table:
    arrays = [columns.get(field.name, pa.nulls(PART_ROWS)).cast(field.type) for field in schema]
    return pa.table(arrays, schema=schema)
