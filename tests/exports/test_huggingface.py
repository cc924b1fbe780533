"""A repository, read back by ``load_dataset``."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.datasets import RATE_HZ, speech_row, write_dataset
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.exports import export

IDS = [f"u{number}" for number in range(10)]
LINE = pa.field("line", pa.int64())


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The library, offline, with its cache in the test's folder."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's warnings are theirs
        module = pytest.importorskip("datasets")
        module.disable_progress_bars()
        monkeypatch.setattr(module.config, "HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")
        yield module


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Ten rows in three parts, with a column of the input's own."""
    rows = [speech_row(name, line=number, language="de" if number % 2 else "en") for number, name in enumerate(IDS)]
    return write_dataset(tmp_path / "dataset", rows, passed_through=[LINE])


def load(datasets: Any, out: Path, **options: Any) -> Any:
    """Open a repository; audio as bytes."""
    loaded = datasets.load_dataset(str(out), cache_dir=str(out.parent / "cache"), **options)
    return loaded.cast_column("audio", datasets.Audio(decode=False))


@pytest.mark.parametrize("streaming", [False, True])
def test_load_dataset_gives_every_row_whole(dataset: Path, tmp_path: Path, datasets: Any, streaming: bool) -> None:
    """All columns, money as decimals, words and bytes as they are; audio is an Audio feature."""
    report = export(dataset, tmp_path / "out", as_="huggingface")
    raw = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"), streaming=streaming)
    assert isinstance(raw["train"].features["audio"], datasets.Audio)
    rows = list(load(datasets, tmp_path / "out", streaming=streaming)["train"])
    assert (report.rows, report.audio_ms, len(rows)) == (10, 1_000, 10)
    for number, row in enumerate(rows):
        expected = speech_row(IDS[number], line=number, language="de" if number % 2 else "en")
        assert row["audio"] == {"bytes": tone(row["text"], tone_bytes=4_800), "path": f"{IDS[number]}.wav"}
        assert {name: row[name] for name in expected.keys() - {"audio"}} == {
            name: value for name, value in expected.items() if name != "audio"
        }


def test_splits_are_splits(dataset: Path, tmp_path: Path, datasets: Any) -> None:
    """As the card says, with the right counts; one without rows is none."""
    report = export(dataset, tmp_path / "out", as_="huggingface", split="train=0.5,validation=0.5")
    loaded = load(datasets, tmp_path / "out")
    assert {name: split.num_rows for name, split in loaded.items()} == dict(report.splits)
    assert sorted(name for split in loaded.values() for name in split["utterance_id"]) == IDS
    assert len(loaded) == 2
    export(dataset, tmp_path / "tiny", as_="huggingface", split="train=0.999999,test=0.000001")
    assert list(load(datasets, tmp_path / "tiny")) == ["train"]


def test_audio_is_converted_and_what_is_said_of_it_too(dataset: Path, tmp_path: Path, datasets: Any) -> None:
    """Format, rate, hash and name are those of the bytes that are there."""
    export(dataset, tmp_path / "out", as_="huggingface", audio_format="flac", sample_rate_hz=16_000)
    for row in load(datasets, tmp_path / "out")["train"]:
        data = row["audio"]["bytes"]
        sound = soundfile.info(io.BytesIO(data))
        assert (sound.format, sound.samplerate) == ("FLAC", 16_000)
        assert (row["audio_format"], row["sample_rate_hz"]) == ("flac", 16_000)
        assert row["audio_sha256"] == hashlib.sha256(data).hexdigest()
        assert row["audio"]["path"] == f"{row['utterance_id']}.flac"


def test_a_filter_leaves_rows_out(dataset: Path, tmp_path: Path, datasets: Any) -> None:
    """Also a whole part of them."""
    report = export(dataset, tmp_path / "out", as_="huggingface", where="line >= 5 AND language = 'de'")
    loaded = load(datasets, tmp_path / "out")["train"]
    assert (loaded["line"][:], report.rows) == ([5, 7, 9], 3)


def test_made_again_it_replaces_the_earlier_one(dataset: Path, tmp_path: Path, datasets: Any) -> None:
    """No file of the earlier one is left."""
    export(dataset, tmp_path / "out", as_="huggingface", split="train=0.5,validation=0.5")
    export(dataset, tmp_path / "out", as_="huggingface")
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == ["train-00000.parquet"]
    assert {name: split.num_rows for name, split in load(datasets, tmp_path / "out").items()} == {"train": 10}


def test_large_splits_are_several_files(
    dataset: Path, tmp_path: Path, datasets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of about so many bytes each, in order."""
    from tts_pipeline.exports import huggingface

    monkeypatch.setattr(huggingface, "FILE_BYTES", 10_000)
    monkeypatch.setattr(huggingface, "GROUP_BYTES", 10_000)
    export(dataset, tmp_path / "out", as_="huggingface")
    assert len(list((tmp_path / "out" / "data").iterdir())) > 2
    assert load(datasets, tmp_path / "out")["train"]["utterance_id"][:] == IDS


def test_row_groups_fit_the_memory_of_whoever_reads(tmp_path: Path) -> None:
    """16 MB of audio at most."""
    pytest.importorskip("datasets")
    rows = [speech_row(f"u{number}", data=tone(f"{number}", tone_bytes=6_000_000)) for number in range(6)]
    export(write_dataset(tmp_path / "dataset", rows), tmp_path / "out", as_="huggingface")
    with pq.ParquetFile(tmp_path / "out" / "data" / "train-00000.parquet") as parquet:
        assert [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)] == [2, 2, 2]


def test_the_card_says_that_voices_are_synthetic(dataset: Path, tmp_path: Path) -> None:
    """And which languages, and how much."""
    pytest.importorskip("datasets")
    export(dataset, tmp_path / "out", as_="huggingface")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "language:\n- de\n- en\n" in card
    assert "Every voice in this dataset is synthetic: made from text by the model `qwen3-tts-flash`" in card
    assert "10 utterances, 0.00 hours." in card


def test_a_type_that_the_library_does_not_know_is_told(tmp_path: Path) -> None:
    """By its column, before anything is written."""
    pytest.importorskip("datasets")
    tags = pa.field("tags", pa.map_(pa.string(), pa.string()))
    dataset = write_dataset(tmp_path / "dataset", [speech_row("a", tags=[("k", "v")])], passed_through=[tags])
    with pytest.raises(ConfigurationError, match="the column 'tags' is of type map"):
        export(dataset, tmp_path / "out", as_="huggingface")
    assert not (tmp_path / "out").exists()


def test_audio_that_does_not_decode_is_left_out_and_told(tmp_path: Path, datasets: Any) -> None:
    """Of the row alone."""
    rows = [speech_row("good"), speech_row("bad", data=b"RIFF" + bytes(40))]
    report = export(
        write_dataset(tmp_path / "dataset", rows),
        tmp_path / "out",
        as_="huggingface",
        audio_format="wav",
        sample_rate_hz=RATE_HZ // 3,
    )
    assert (report.rows, list(report.failed)) == (1, ["bad"])
    assert load(datasets, tmp_path / "out")["train"]["utterance_id"][:] == ["good"]


def test_a_dataset_without_speech_is_a_repository_without_rows(tmp_path: Path) -> None:
    """An empty night is no failure."""
    pytest.importorskip("datasets")
    report = export(write_dataset(tmp_path / "dataset", []), tmp_path / "out", as_="huggingface")
    assert report.rows == 0
    assert (tmp_path / "out" / "README.md").exists()
