"""The bytes in the dataset are the bytes that the service sent for that text."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

import tts_pipeline as tts
from tests.conftest import StartEmulator
from tests.killing import write_source
from tts_pipeline.emulator.tone import tone
from tts_pipeline.storage.parquet import read_columns

ROWS = 1_500


def test_every_row_has_its_own_audio_under_256_fold_concurrency(emulator: StartEmulator, tmp_path: Path) -> None:
    """With 256 requests in flight, answered in an order of their own, no row gets another's audio, byte for byte."""
    service = emulator(voice_mode="tone", tone_bytes=9_000, latency_ms=30)
    service.set_faults([{"what": "slow", "delay_s": 0.2, "ratio": 0.3}])
    source = tmp_path / "lines.parquet"
    texts = write_source(source, ROWS)

    report = tts.run(
        source,
        tmp_path / "out",
        tts.Service(base_url=service.url, auth="none"),
        model="qwen3-tts-flash",
        voice="Cherry",
        options=tts.RunOptions(limits=tts.Limits(max_concurrency=256)),
    )

    assert report.stopped is None
    assert report.dataset.speech == ROWS
    parts = sorted((tmp_path / "out" / "speech").glob("*.parquet"))
    speech = pa.concat_tables([read_columns(path) for path in parts])
    assert speech.column("text").to_pylist() == texts
    for text, audio in zip(texts, speech.column("audio").to_pylist(), strict=True):
        assert audio["bytes"] == tone(text, tone_bytes=9_000)
    assert service.bill()["max_in_flight"] > 200
