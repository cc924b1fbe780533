"""Other tools open the published files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.dataset as pads
import pytest
import soundfile

from tests.builders import descriptor_of
from tests.datasets import Bench
from tts_pipeline.dataset.finalize import finalize
from tts_pipeline.dataset.growth import create_or_extend_descriptor
from tts_pipeline.emulator.tone import tone
from tts_pipeline.storage.local_store import LocalStore

ROWS = 10
SPOKEN = [number for number in range(ROWS) if number != 5]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A finished dataset of three parts, with one reject."""
    destination = tmp_path / "out"
    bench = Bench.of(tmp_path, LocalStore(destination), rows=ROWS, part_rows=4)
    job = {"model": "qwen3-tts-flash", "service": "local"}
    descriptor = create_or_extend_descriptor(bench.store, descriptor_of(ROWS, 4, job, bench.source.fingerprint()))
    for number in range(descriptor.parts):
        bench.run(number, refused=["r5"])
    finalize(bench.store, descriptor)
    return destination


@contextmanager
def _hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of other projects do not concern us
        import datasets

        datasets.disable_progress_bars()
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")
        yield datasets


@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_opens_the_speech_table_with_an_audio_feature(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    """``load_dataset(folder)`` gives the speech table; its Audio feature holds bytes that soundfile decodes."""
    with _hugging_face(tmp_path, monkeypatch) as datasets:
        options = {"cache_dir": str(tmp_path / "cache"), "split": "train", "streaming": streaming}
        loaded = datasets.load_dataset(str(dataset), **options)
        assert isinstance(loaded.features["audio"], datasets.Audio)
        rows = list(loaded.cast_column("audio", datasets.Audio(decode=False)))
    assert [row["utterance_id"] for row in rows] == [f"r{number}" for number in SPOKEN]
    for row in rows:
        assert row["audio"] == {"bytes": tone(row["text"], tone_bytes=400), "path": f"{row['utterance_id']}.wav"}
        samples, rate_hz = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
        assert (len(samples), rate_hz) == (200, row["sample_rate_hz"])


def test_hugging_face_opens_the_rejects_by_name(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rejects are a separate configuration."""
    with _hugging_face(tmp_path, monkeypatch) as datasets:
        options = {"cache_dir": str(tmp_path / "cache"), "split": "train"}
        rejects = datasets.load_dataset(str(dataset), "rejects", **options)
    assert [row["input"]["id"] for row in rejects] == ["r5"]


def test_polars_opens_the_parts(dataset: Path) -> None:
    """All tables open unchanged, with money as decimals."""
    speech = pl.read_parquet(dataset / "speech" / "*.parquet")
    assert speech["utterance_id"].to_list() == [f"r{number}" for number in SPOKEN]
    assert speech.schema["cost"] == pl.Decimal(18, 9)
    usage = pl.read_parquet(dataset / "usage" / "*.parquet")
    assert usage["characters_billed"].sum() == 7 * len(SPOKEN)
    assert pl.read_parquet(dataset / "rejects" / "*.parquet")["input"].struct.field("text").to_list() == ["Line 5."]


def test_pyarrow_opens_the_parts(dataset: Path) -> None:
    """The parts open as one dataset with one schema."""
    table = pads.dataset(dataset / "speech").to_table()
    assert table["audio"].to_pylist()[0]["bytes"] == tone("Line 0.", tone_bytes=400)
    assert table.num_rows == len(SPOKEN)


def test_duckdb_opens_the_parts(dataset: Path) -> None:
    """Sums over structs, lists and decimals work in SQL."""
    with duckdb.connect() as connection:
        speech = f"read_parquet('{dataset}/speech/*.parquet')"
        sums = connection.execute(
            f"select count(*), sum(cost)::varchar, sum(octet_length(audio.bytes)), sum(len(timestamps)) from {speech}"
        ).fetchone()
        (requests,) = connection.execute(f"select count(*) from '{dataset}/usage/*.parquet'").fetchone() or (None,)
    assert sums == (9, "0.005040000", 9 * 444, 9)
    assert requests == ROWS
