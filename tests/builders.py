"""Values that many tests build: a descriptor, prices by character and by token, a WAV file, a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tts_pipeline.audio.wav import wav_header
from tts_pipeline.card import Card, Endpoint
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.models import Parameters, Price
from tts_pipeline.wire.request import Request, RequestBuilder

PRICE = Price("p", "CNY", "list", per_10k_characters=Decimal(1))
TOKEN_PRICE = Price("t", "CNY", "list", per_1m_input_tokens=Decimal(1), per_1m_output_tokens=Decimal(10))


def descriptor_of(
    rows: int, part_rows: int, job: Mapping[str, Any], source: Sequence[Mapping[str, Any]] = (), **more: Any
) -> Descriptor:
    """Describe a dataset whose prices do not matter."""
    return Descriptor(rows, part_rows, job, list(map(dict, source)), [], **more)


def wrap_pcm(samples: bytes, sample_rate_hz: int, channels: int = 1) -> bytes:
    """Return 16-bit little-endian samples with a WAV header of 44 bytes before them."""
    return wav_header(len(samples), (1, sample_rate_hz, channels, 16)) + samples


def build_request(service: Endpoint, card: Card, text: str, parameters: Parameters) -> Request:
    """Build a single request."""
    return RequestBuilder(service, card).build(text, parameters)


FILE = {"path": "a.parquet", "bytes": 100, "rows": 1_200, "footer_sha256": "00"}


DESCRIPTOR = Descriptor(
    rows=1_200,
    part_rows=500,
    job={"model": "qwen3-tts-flash", "parameters": {"speed": 1.2, "voice": "Cherry"}, "limit": None},
    source=[FILE],
    prices=[{"price_id": "p", "per_10k_characters": "0.8"}],
)


def source_files(*names: str, rows: int = 1_200) -> list[dict[str, Any]]:
    return [{**FILE, "path": f"{name}.parquet", "rows": rows} for name in names]


def described(*names: str, rows: int = 1_200) -> Descriptor:
    return replace(DESCRIPTOR, source=source_files(*names, rows=rows), rows=rows * len(names))
