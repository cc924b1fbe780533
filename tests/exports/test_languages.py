"""Every format of a dataset that was really said, in ten languages, read back: counts, durations and words."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.datasets import index_of
from tests.exports.readers import TimedWords, nemo_words, read_nemo, words_of
from tests.sounds import UDHR
from tts_pipeline.catalog import load_catalog
from tts_pipeline.config import InputColumns
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.exports import Export, export
from tts_pipeline.job import Job, run_job
from tts_pipeline.storage.parquet import read_columns

Readings = dict[str, tuple[float, TimedWords]]
"""By utterance: its seconds and its words."""

SPLIT = "train=0.8,validation=0.2"


def _lines(path: Path) -> Path:
    lines = tomllib.loads((files("tts_pipeline.cli") / "demo_lines.toml").read_text(encoding="utf-8"))["lines"]
    pq.write_table(pa.Table.from_pylist(lines).select(["id", "text", "language_type"]), path)
    return path


@pytest.fixture(scope="module", params=["lines", pytest.param("articles", marks=pytest.mark.slow)])
def dataset(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, espeak_service: LocalService
) -> Path:
    """Short lines of the project's own, or the articles of a declaration where these are at hand."""
    folder = tmp_path_factory.mktemp("languages")
    if request.param == "articles" and not UDHR.exists():
        pytest.skip(f"{UDHR} is not there")
    job = Job(
        source=_lines(folder / "lines.parquet") if request.param == "lines" else UDHR,
        destination=folder / "dataset",
        service=replace(load_catalog().service("local"), base_url=espeak_service.url),
        model="qwen3-tts-flash",
        parameters={"voice": "Cherry", "enable_timestamp": True},
        columns=InputColumns(parameters={"language_type": "language_type"}),
    )
    report = run_job(job)
    assert report.stopped is None
    return folder / "dataset"


def _speech(dataset: Path) -> Iterator[dict[str, Any]]:
    columns = ["utterance_id", "duration_ms", "timestamps", "language"]
    for path in sorted((dataset / "speech").iterdir()):
        yield from read_columns(path, columns).to_pylist()


def _check(dataset: Path, report: Export, readings: Readings) -> None:
    """Compare what a reader found with the speech table."""
    speech = {row["utterance_id"]: row for row in _speech(dataset)}
    assert len({row["language"] for row in speech.values()}) >= 10
    assert readings.keys() == speech.keys()
    assert (report.rows, sum(report.splits.values()), report.failures) == (len(speech), len(speech), 0)
    for name, (seconds, words) in readings.items():
        assert abs(seconds * 1_000 - speech[name]["duration_ms"]) <= 0.500001, name
        assert words == words_of(speech[name]["timestamps"]), name
    assert any(words for _, words in readings.values())


def _timed_word(word: Any) -> tuple[str, int, int]:
    return word.symbol, round(word.start * 1_000), round(word.end * 1_000)


def test_hugging_face(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ``load_dataset``."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    report = export(dataset, tmp_path / "out", as_="huggingface", split=SPLIT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's warnings are theirs
        datasets = pytest.importorskip("datasets")
        datasets.disable_progress_bars()
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
        loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == dict(report.splits)
    readings: Readings = {}
    for split in loaded.values():
        for row in split.remove_columns("audio"):
            readings[row["utterance_id"]] = row["duration_ms"] / 1_000, words_of(row["timestamps"])
    _check(dataset, report, readings)


def test_files(dataset: Path, tmp_path: Path) -> None:
    """By libsndfile; words stay in the dataset."""
    report = export(dataset, tmp_path / "out", as_="files", split=SPLIT, audio_format="flac")
    speech = {row["utterance_id"]: words_of(row["timestamps"]) for row in _speech(dataset)}
    readings: Readings = {}
    for row in index_of(tmp_path / "out"):
        seconds = soundfile.info(tmp_path / "out" / row["name"]).duration
        readings[row["utterance_id"]] = seconds, speech[row["utterance_id"]]
    _check(dataset, report, readings)


def test_nemo(dataset: Path, tmp_path: Path) -> None:
    """By the rules of its manifests."""
    report = export(dataset, tmp_path / "out", as_="nemo", split=SPLIT)
    readings: Readings = {}
    for split in report.splits:
        for item in read_nemo(tmp_path / "out" / f"{split}_manifest.json"):
            assert soundfile.info(item["audio_filepath"]).duration == item["duration"]
            readings[item["utterance_id"]] = item["duration"], nemo_words(item)
    _check(dataset, report, readings)


def test_lhotse(dataset: Path, tmp_path: Path) -> None:
    """By lhotse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's warnings are theirs
        lhotse = pytest.importorskip("lhotse")
        report = export(dataset, tmp_path / "out", as_="lhotse", split=SPLIT)
        readings: Readings = {}
        for split in report.splits:
            for cut in lhotse.CutSet.from_jsonl_lazy(tmp_path / "out" / f"speech_cuts_{split}.jsonl.gz"):
                lhotse.validate(cut, read_data=True)
                words = (cut.supervisions[0].alignment or {}).get("word", [])
                readings[cut.id] = cut.duration, [_timed_word(word) for word in words]
    _check(dataset, report, readings)
