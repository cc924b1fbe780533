"""A dataset that somebody else wrote: its formats become no paths, and its clips take no more memory than speech."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from tests.exports.samples import files_below, speech_row, write_dataset
from tts_pipeline.browse.row import Place, read_sound
from tts_pipeline.dataset.speech_file import audio_path
from tts_pipeline.dataset.store import LocalStore
from tts_pipeline.emulator.containers import bomb
from tts_pipeline.errors import StorageError
from tts_pipeline.exports import export

NAMES = ["../../x", "wav/../../x", "/etc/x", "", "wav\0", "x" * 5_000, "WAV"]


@pytest.mark.parametrize("name", NAMES)
def test_a_format_that_there_is_not_becomes_no_file_name(tmp_path: Path, name: str) -> None:
    """The file that says so is named, and nothing is written anywhere."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row("u1", audio_format=name)])
    with pytest.raises(StorageError) as met:
        export(dataset, tmp_path / "out", as_="files")
    assert "part-00000.parquet" in met.value.message
    assert len(met.value.message) < 500
    assert {path.name for path in tmp_path.iterdir()} <= {"dataset", "out"}
    assert not any(found.startswith("u1") for found in files_below(tmp_path / "out"))
    with pytest.raises(StorageError):
        read_sound(LocalStore(dataset), Place("speech", "part-00000", 0))
    with pytest.raises(StorageError):
        audio_path(("u1", 0), name)


@pytest.mark.parametrize("audio_format", ["as-received", "wav", "flac"])
def test_a_clip_of_hours_is_left_out_and_told(tmp_path: Path, audio_format: str) -> None:
    """Whatever the row says of it, converted or not; it takes no memory, and the others are exported."""
    rows = [
        speech_row("good"),
        speech_row("bomb", data=bomb(), audio_format="flac", sample_rate_hz=8_000),
        speech_row("lie", data=bomb(), audio_format="ogg"),
    ]
    dataset = write_dataset(tmp_path / "dataset", rows)
    tracemalloc.start()
    made = export(dataset, tmp_path / "out", as_="files", audio_format=audio_format)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (made.rows, list(made.failed)) == (1, ["bomb", "lie"])
    assert "1800 s is the longest" in made.failed["bomb"]
    assert peak_bytes < 120_000_000


def test_the_page_gives_no_clip_of_hours_to_a_player(tmp_path: Path) -> None:
    """A browser decodes all of it at once to draw it; what was joined from many segments may be that long."""
    rows = [
        speech_row("good"),
        speech_row("bomb", data=bomb(), audio_format="flac"),
        speech_row("joined", data=bomb(), audio_format="flac", segments=6),
    ]
    store = LocalStore(write_dataset(tmp_path / "dataset", rows))
    sounds = [read_sound(store, Place("speech", "part-00000", number)) for number in range(3)]
    refused = [sound.refusal is not None for sound in sounds if sound is not None]
    assert refused == [False, True, False]
