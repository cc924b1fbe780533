"""Manifests, read back by lhotse."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import wrap_pcm
from tests.datasets import files_below, speech_row, write_dataset
from tests.exports.readers import words_of
from tts_pipeline.exports import export
from tts_pipeline.exports.manifests import seconds_of


@pytest.fixture
def lhotse() -> Iterator[Any]:
    """The library; it needs PyTorch, and is there only where its extra is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's warnings are theirs
        yield pytest.importorskip("lhotse")


def _rows() -> list[dict[str, Any]]:
    timestamps = [
        {"text": "Good", "start_ms": 10, "end_ms": 40, "text_start": 0, "text_end": 4},
        {"text": "morning", "start_ms": 45, "end_ms": 90, "text_start": 5, "text_end": 12},
    ]
    return [
        speech_row("a", text="Good morning", timestamps=timestamps),
        speech_row("b", timestamps=None, voice=None, language=None),
        speech_row("b", take=1, text="Another take"),
        speech_row("stereo", data=wrap_pcm(bytes(9_600), 24_000, 2), channels=2),
    ]


def test_cuts_load_with_their_audio_texts_and_words(lhotse: Any, tmp_path: Path) -> None:
    """Sample for sample; words are alignments of the supervision; ids are those of the utterances."""
    rows = _rows()
    export(write_dataset(tmp_path / "dataset", rows), tmp_path / "out", as_="lhotse")
    cuts = list(lhotse.CutSet.from_jsonl_lazy(tmp_path / "out" / "speech_cuts_all.jsonl.gz"))
    assert [cut.id for cut in cuts][:2] == ["a", "b"]
    assert len({cut.id for cut in cuts}) == len(rows)
    for row, cut in zip(rows, cuts, strict=True):
        lhotse.validate(cut)
        (supervision,) = cut.supervisions
        assert (supervision.text, supervision.speaker, supervision.language) == (
            row["text"],
            row["voice"],
            row["language"],
        )
        words = (supervision.alignment or {}).get("word", [])
        assert [(word.symbol, round(word.start * 1_000), round(word.end * 1_000)) for word in words] == words_of(
            row["timestamps"]
        )
        samples = cut.load_audio()
        assert samples.shape == (row["channels"], cut.num_samples) == (row["channels"], 2_400)
        assert cut.duration == supervision.duration == 0.1
    assert np.abs(cuts[0].load_audio()).max() > 0.1


def test_recordings_and_supervisions_are_sets_of_their_own(lhotse: Any, tmp_path: Path) -> None:
    """By split, under the names that lhotse's recipes give; together they make the same cuts."""
    from lhotse.recipes.utils import read_manifests_if_cached

    dataset = write_dataset(tmp_path / "dataset", [speech_row(f"u{number}") for number in range(10)])
    report = export(dataset, tmp_path / "out", as_="lhotse", split="train=0.5,dev=0.5")
    splits = read_manifests_if_cached(
        ["train", "dev"], tmp_path / "out", prefix="speech", types=("recordings", "supervisions", "cuts")
    )
    assert splits is not None
    for split, manifests in splits.items():
        assert len(manifests["recordings"]) == len(manifests["supervisions"]) == report.splits[split]
        lhotse.validate(manifests["recordings"], read_data=True)
        joined = lhotse.CutSet.from_manifests(manifests["recordings"], manifests["supervisions"])
        texts = {cut.id: cut.supervisions[0].text for cut in manifests["cuts"]}
        assert {cut.recording_id: cut.supervisions[0].text for cut in joined} == texts


def test_the_same_dataset_gives_the_same_bytes(lhotse: Any, tmp_path: Path) -> None:
    """No time and no name of a temporary file is in them."""
    dataset = write_dataset(tmp_path / "dataset", _rows())
    export(dataset, tmp_path / "out", as_="lhotse")
    before = files_below(tmp_path / "out")
    export(dataset, tmp_path / "out", as_="lhotse")
    assert files_below(tmp_path / "out") == before


def test_seconds_are_those_of_the_samples_where_these_were_counted() -> None:
    """Else those of the speech table."""
    assert seconds_of({"frames": 24_001, "sample_rate_hz": 24_000, "duration_ms": 1_000}) == 24_001 / 24_000
    assert seconds_of({"frames": None, "sample_rate_hz": 24_000, "duration_ms": 1_234}) == 1.234
