"""NeMo's manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from tests.datasets import speech_row, write_dataset
from tests.exports.readers import nemo_words, read_nemo
from tts_pipeline.exports import export


def _word(text: str, start_ms: int, end_ms: int) -> dict[str, object]:
    return {"text": text, "start_ms": start_ms, "end_ms": end_ms, "text_start": 0, "text_end": 1}


def test_a_manifest_tells_files_texts_durations_and_words(tmp_path: Path) -> None:
    """Paths lead to the audio from wherever it is read; the duration is that of the samples; null is left out."""
    words = [_word("How", 40, 50), _word("are", 50, 70), _word("you", 80, 90)]
    rows = [
        speech_row("a", timestamps=words),
        speech_row("b", timestamps=None, voice=None, language=None, duration_ms=101),
    ]
    export(write_dataset(tmp_path / "dataset", rows), tmp_path / "out", as_="nemo")
    first, other = read_nemo(tmp_path / "out" / "manifest.json")
    assert first == {
        "audio_filepath": tmp_path / "out" / "audio" / "a.wav",
        "duration": 0.1,
        "text": "Line a.",
        "speaker": "Cherry",
        "lang": "en",
        "utterance_id": "a",
        "words": ["", "How", "are", "", "you", ""],
        "alignments": [0.04, 0.05, 0.07, 0.08, 0.09, 0.1],
    }
    assert nemo_words(first) == [("How", 40, 50), ("are", 50, 70), ("you", 80, 90)]
    assert other.keys() == {"audio_filepath", "duration", "text", "utterance_id"}
    for item in (first, other):
        assert soundfile.info(item["audio_filepath"]).duration == item["duration"]


@pytest.mark.parametrize(
    ("timestamps", "words", "ends"),
    [
        ([], [""], [0.1]),
        ([_word("a", 0, 100)], ["a"], [0.1]),
        ([_word("a", 0, 60), _word("b", 50, 100)], ["a", "b"], [0.06, 0.1]),
        ([_word("a", 0, 120)], ["a"], [0.12]),
    ],
)
def test_silences_are_told_where_there_are_any(
    tmp_path: Path, timestamps: list[dict[str, object]], words: list[str], ends: list[float]
) -> None:
    """Words that overlap are told one after the other."""
    export(write_dataset(tmp_path / "dataset", [speech_row("a", timestamps=timestamps)]), tmp_path / "out", as_="nemo")
    item = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (item["words"], item["alignments"]) == (words, ends)


def test_each_split_has_a_manifest(tmp_path: Path) -> None:
    """Named as NeMo's own recipes name them; one without rows is empty."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row(f"u{number}") for number in range(10)])
    report = export(dataset, tmp_path / "out", as_="nemo", split="train=0.5,validation=0.499999,test=0.000001")
    counts = {split: len(read_nemo(tmp_path / "out" / f"{split}_manifest.json")) for split in ("train", "validation")}
    assert counts == report.splits
    assert read_nemo(tmp_path / "out" / "test_manifest.json") == []


def test_a_second_export_writes_manifests_anew_and_no_audio(tmp_path: Path) -> None:
    """They tell of all files, also of those that were there."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row("a"), speech_row("b")])
    export(dataset, tmp_path / "out", as_="nemo")
    write_dataset(dataset, [speech_row("a", timestamps=[_word("Anew", 0, 100)]), speech_row("b"), speech_row("c")])
    report = export(dataset, tmp_path / "out", as_="nemo")
    assert (report.written, report.unchanged) == (1, 2)
    items = read_nemo(tmp_path / "out" / "manifest.json")
    assert [item["utterance_id"] for item in items] == ["a", "b", "c"]
    assert items[0]["words"] == ["Anew"]


def test_manifests_of_splits_that_are_gone_are_removed(tmp_path: Path) -> None:
    """They would tell of files that are not there; also of an export that did not come to its end. No others are."""

    def interrupted(_: int, __: int) -> None:
        raise KeyboardInterrupt

    dataset, out = write_dataset(tmp_path / "dataset", [speech_row("a"), speech_row("b")]), tmp_path / "out"
    export(dataset, out, as_="nemo", split="train=0.5,test=0.5")
    (out / "my_manifest.json").touch()
    with pytest.raises(KeyboardInterrupt):
        export(dataset, out, as_="nemo", split="one=0.5,two=0.5", on_rows=interrupted)
    export(dataset, out, as_="nemo")
    assert sorted(path.name for path in out.glob("*manifest.json")) == ["manifest.json", "my_manifest.json"]
    assert len(list((out / "audio").rglob("*.wav"))) == 2
