"""Values that many tests build: prices, cards, descriptors, sources, jobs, and what a client makes of an utterance."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.audio.wav import wav_header
from tts_pipeline.card import Card, Endpoint, Parameter
from tts_pipeline.catalog import Service
from tts_pipeline.config import Limits
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.tone import tone
from tts_pipeline.job import Job, RunOptions
from tts_pipeline.job.prepare import create_or_extend_dataset, prepare
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.models import Answer, Audio, CachedAudio, Parameters, Price, Speech, Usage, Utterance, Word
from tts_pipeline.wire.request import Request, RequestBuilder


def price_of(per_10k: Decimal | str | int = 1, price_id: str = "p", currency: str = "CNY", **more: Any) -> Price:
    """Return a list price by character; ``more`` are the days on which it holds."""
    return Price(price_id, currency, "list", per_10k_characters=Decimal(per_10k), **more)


def token_price_of(
    per_1m_input: Decimal | str | int = 1, per_1m_output: int = 10, *, price_id: str = "t", currency: str = "CNY"
) -> Price:
    """Return a list price by token, of text and of audio."""
    per_input, per_output = Decimal(per_1m_input), Decimal(per_1m_output)
    return Price(price_id, currency, "list", per_1m_input_tokens=per_input, per_1m_output_tokens=per_output)


PRICE = price_of()
TOKEN_PRICE = token_price_of()
STUDIO_PRICE = price_of(2, "studio-list", "EUR")
FLASH_PRICE = price_of("0.8", "list-1")
MODEL = "qwen3-tts-flash"
NOW_US = 1_760_000_000_000_000
NOW = datetime(2026, 3, 10, 23, 30, tzinfo=UTC)
REQUEST_KEY = "ab" * 32


NOWHERE = Service(base_url="http://127.0.0.1:9", auth="none")
STUDIO = Endpoint(name="studio", base_url="https://studio.example", auth="none", maker=True)
NARRATOR = Card(
    service="studio",
    model="narrator",
    parameters={
        "voice": Parameter("voice", "string", choices=("anna", "bert")),
        "language": Parameter("language", "string", choices=("Auto", "English", "Chinese", "German")),
        "speed": Parameter("speed", "number", minimum=Decimal("0.5"), maximum=Decimal(2)),
        "style": Parameter("style", "string"),
        "stream": Parameter("stream", "boolean", in_body=False),
    },
    languages={"en": "English", "zh": "Chinese", "de": "German"},
    language_parameter="language",
    billing="han_double",
    prices=(STUDIO_PRICE,),
)
"""Takes everything there is to take; its service is ``STUDIO``."""
FLASH = Card(
    service="local",
    model=MODEL,
    parameters={
        "voice": Parameter("voice", "string", required=True, choices=("Cherry", "Stella")),
        "language_type": Parameter("language_type", "string", choices=("Auto", "English", "German")),
        "speed": Parameter("speed", "number", minimum=Decimal("0.5"), maximum=Decimal(2), step=Decimal("0.1")),
        "stream": Parameter("stream", "boolean", in_body=False),
    },
    languages={"en": "English", "de": "German"},
    language_parameter="language_type",
    input_limit=600,
    billing="han_double",
    prices=(FLASH_PRICE,),
)
"""The model of small datasets that are made without a service."""


def narrator(**changes: Any) -> Card:
    """Return the narrator's card with other values."""
    return replace(NARRATOR, **changes)


FILE = {"path": "a.parquet", "bytes": 100, "rows": 1_200, "footer_sha256": "00"}
DESCRIPTOR = Descriptor(
    rows=1_200,
    part_rows=500,
    job={"model": "qwen3-tts-flash", "parameters": {"speed": 1.2, "voice": "Cherry"}, "limit": None},
    source=[FILE],
    prices=[{"price_id": "p", "per_10k_characters": "0.8"}],
)


def descriptor_of(
    rows: int, part_rows: int, job: Mapping[str, Any], source: Sequence[Mapping[str, Any]] = (), **more: Any
) -> Descriptor:
    """Describe a dataset whose prices do not matter."""
    return Descriptor(rows, part_rows, job, list(map(dict, source)), [], **more)


def source_files(*names: str, rows: int = 1_200) -> list[dict[str, Any]]:
    """Describe the files of a source."""
    return [{**FILE, "path": f"{name}.parquet", "rows": rows} for name in names]


def described(*names: str, rows: int = 1_200) -> Descriptor:
    """Describe a dataset whose source is these files."""
    return replace(DESCRIPTOR, source=source_files(*names, rows=rows), rows=rows * len(names))


def row_ids(rows: int) -> list[str]:
    """Return the ids of the source's rows."""
    return [f"r{number}" for number in range(rows)]


def write_lines(path: Path, rows: int = 20, **more: Any) -> Path:
    """Write a source of short, distinct texts (``r0``: ``Line 0.``), with more columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = pa.array(row_ids(rows), pa.string())
    texts = pa.array([f"Line {number}." for number in range(rows)], pa.string())
    pq.write_table(pa.table({"id": ids, "text": texts, **more}), path)
    return path


def write_rows(path: Path, table: pa.Table | None = None, *, rows: int = 4) -> Path:
    """Write a source of the given table, or of so many lines."""
    if table is None:
        return write_lines(path, rows)
    pq.write_table(table, path)
    return path


def line_frame(rows: int = 5) -> pl.DataFrame:
    """Return short, distinct texts."""
    return pl.DataFrame({"text": [f"Line {number}." for number in range(rows)]})


def job_of(folder: Path, url: str = "http://127.0.0.1:9", **changes: Any) -> Job:
    """Return a job of the source in a folder, by default on a service that is not there."""
    limits = Limits(**{"max_concurrency": 8, "stop_grace_s": 1.0, **changes.pop("limits", {})})
    options = {"limits": limits, "part_rows": 5, **changes.pop("options", {})}
    values: dict[str, Any] = {
        "source": folder / "lines.parquet",
        "destination": folder / "out",
        "service": Service(base_url=url, name="voices", auth="none"),
        "model": MODEL,
        "parameters": {"voice": "Cherry"},
        **changes,
    }
    return Job(**values, options=RunOptions(**options))


def prepare_lines(folder: Path) -> PreparedJob:
    """Write 20 lines, and begin their dataset of four parts."""
    write_lines(folder / "lines.parquet")
    return create_or_extend_dataset(prepare(job_of(folder)))


def call_arguments(local: LocalService, work_dir: Path, **options: Any) -> dict[str, Any]:
    """Return the arguments of a call: the service, and a state directory."""
    limits = Limits(**{"max_concurrency": 8, "stop_grace_s": 1.0, **options.pop("limits", {})})
    return {
        "service": Service(base_url=local.url, auth="none"),
        "model": MODEL,
        "options": RunOptions(limits=limits, work_dir=work_dir, **options),
    }


def build_request(service: Endpoint, card: Card, text: str, parameters: Parameters) -> Request:
    """Build a single request."""
    return RequestBuilder(service, card).build(text, parameters)


def settlement_of(attempt: Attempt, outcome: Outcome = Outcome.SUCCEEDED, **changes: Any) -> Settlement:
    """Return how an attempt ended: as it was counted, unless given otherwise."""
    is_success = outcome is Outcome.SUCCEEDED
    characters_billed = attempt.characters_counted if is_success else 0
    values: dict[str, Any] = {
        "attempt_id": attempt.attempt_id,
        "outcome": outcome,
        "finished_at_us": attempt.started_at_us + 200_000,
        "latency_ms": 200,
        "http_status": 200 if is_success else 400,
        "error_code": None if is_success else "InvalidParameter",
        "request_id": f"q-{attempt.attempt_id}",
        "usage": Usage(characters_reported=characters_billed) if is_success else Usage(),
        "characters_billed": characters_billed,
        "characters_upper_bound": characters_billed,
        "cost": cost_of(characters_billed),
        "cost_upper_bound": cost_of(characters_billed),
    }
    return Settlement(**{**values, **changes})


def cost_of(characters: int) -> Decimal:
    """Return what characters cost at the card's price."""
    return (Decimal("0.8") * characters / 10_000).quantize(Decimal("1e-9"))


def audio_of(text: str, *, audio_bytes: int | None = None) -> Audio:
    """Return audio that only this text has."""
    data = tone(text, tone_bytes=400) if audio_bytes is None else bytes(audio_bytes)
    return Audio(data, "wav", 24_000, 1, duration_ms=8)


def make_speech(utterance: Utterance, audio: Audio, characters: int, **changes: Any) -> Speech:
    """Return an utterance's speech, of one attempt, as a client makes it."""
    values: dict[str, Any] = {
        "utterance": utterance,
        "audio": audio,
        "words": (Word(utterance.text, 0, audio.duration_ms, 0, len(utterance.text)),),
        "language": "en",
        "segments": 1,
        "attempts": 1,
        "request_id": "q",
        "request_key": hashlib.sha256(utterance.text.encode()).hexdigest(),
        "usage": Usage(characters),
        "characters_counted": characters,
        "characters_billed": characters,
        "cost": cost_of(characters),
        "currency": "CNY",
        "quality": (),
        "created_at_us": NOW_US,
    }
    return Speech(**{**values, **changes})


def cached_audio(data: bytes = b"audio", *, origin: str = "u1") -> CachedAudio:
    """Return audio as a cache gives it, with everything that an answer may tell."""
    audio = Audio(data, "wav", 24_000, 1, 500)
    words = (Word("Hé", 0, 250, 0, 2), Word("", 250, 500, None, None))
    answer = Answer(0, audio, words, Usage(6, None, 2, 3), "q-1", ("clipped",))
    return CachedAudio(answer, origin, segments=3)


def wrap_pcm(samples: bytes, sample_rate_hz: int, channels: int = 1) -> bytes:
    """Return 16-bit little-endian samples with a WAV header of 44 bytes before them."""
    return wav_header(len(samples), (1, sample_rate_hz, channels, 16)) + samples


def numbered_table(rows: int, first: int = 0) -> pa.Table:
    """Return rows whose id is their number."""
    numbers = range(first, first + rows)
    return pa.table(
        {"id": pa.array(numbers, pa.int64()), "text": pa.array([f"Line {n}" for n in numbers], pa.string())}
    )


def write_numbered(path: Path, rows: int, first: int = 0, *, row_group_size: int = 1_000_000) -> Path:
    """Write a source of rows whose id is their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(numbered_table(rows, first), path, row_group_size=row_group_size)
    return path
