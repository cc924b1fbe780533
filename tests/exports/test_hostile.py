"""A dataset that somebody else wrote: its formats become no paths, and its clips take no more memory than speech."""

from __future__ import annotations

import shutil
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets import files_below, speech_row, write_dataset
from tts_pipeline.browse.row import RowAddress, read_clip
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.dataset.speech_file import audio_path
from tts_pipeline.emulator.containers import bomb
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.exports import export
from tts_pipeline.schema import SPEECH
from tts_pipeline.storage.local_store import LocalStore

NAMES = ["../../x", "wav/../../x", "/etc/x", "", "wav\0", "x" * 5_000, "WAV"]


@pytest.mark.parametrize("name", NAMES)
def test_a_format_that_there_is_not_becomes_no_file_name(tmp_path: Path, name: str) -> None:
    """The file that says so is named, and nothing is written anywhere."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row("u1", audio_format=name)])
    with pytest.raises(StorageError) as exc_info:
        export(dataset, tmp_path / "out", as_="files")
    assert "part-00000.parquet" in exc_info.value.message
    assert len(exc_info.value.message) < 500
    assert {path.name for path in tmp_path.iterdir()} <= {"dataset", "out"}
    assert not any(name.startswith("u1") for name in files_below(tmp_path / "out"))
    with pytest.raises(StorageError):
        read_clip(DatasetReader(LocalStore(dataset)), RowAddress("speech", "part-00000", 0))
    with pytest.raises(StorageError):
        audio_path(("u1", 0), name)


@pytest.mark.parametrize("as_", ["files", "nemo", "huggingface"])
@pytest.mark.parametrize("is_dropped", [True, False], ids=["dropped", "null"])
@pytest.mark.parametrize("name", [column.name for column in SPEECH if column.name not in {"timestamps", "audio"}])
def test_a_file_without_a_column_is_read_or_named_in_every_form(
    tmp_path: Path, as_: str, name: str, is_dropped: bool
) -> None:
    """A column that may be null is null; without another one the file is damaged, if the form needs it."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row("u1")])
    path = dataset / "speech" / "part-00000.parquet"
    table = pq.read_table(path)
    nulls = table.set_column(table.column_names.index(name), name, pa.nulls(1, table.schema.field(name).type))
    pq.write_table(table.drop_columns([name]) if is_dropped else nulls, path)
    is_needed = not next(column.nullable for column in SPEECH if column.name == name)
    damaged = "it has no column" if is_dropped else "column"
    try:
        outcome = f"{export(dataset, tmp_path / 'out', as_=as_).rows} row"
    except StorageError as error:
        outcome = error.message
    assert outcome == "1 row" or (
        is_needed and "part-00000.parquet is damaged: " in outcome and f"{damaged} {name!r}" in outcome
    ), outcome


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
    report = export(dataset, tmp_path / "out", as_="files", audio_format=audio_format)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (report.rows, list(report.failed)) == (1, ["bomb", "lie"])
    assert "the longest accepted clip is 1800 s" in report.failed["bomb"]
    assert peak_bytes < 120_000_000


def test_the_page_gives_no_clip_of_hours_to_a_player(tmp_path: Path) -> None:
    """A browser decodes all of it at once to draw it; what was joined from many segments may be that long."""
    rows = [
        speech_row("good"),
        speech_row("bomb", data=bomb(), audio_format="flac"),
        speech_row("joined", data=bomb(), audio_format="flac", segments=6),
    ]
    reader = DatasetReader(LocalStore(write_dataset(tmp_path / "dataset", rows)))
    sounds = [read_clip(reader, RowAddress("speech", "part-00000", number)) for number in range(3)]
    is_refused = [sound.refusal is not None for sound in sounds if sound is not None]
    assert is_refused == [False, True, False]


def _hostile_index(out: Path, name: str | None) -> None:
    table = pq.read_table(out / "index.parquet")
    place = table.column_names.index("name")
    pq.write_table(
        table.set_column(place, "name", pa.array([name] * table.num_rows, pa.string())), out / "index.parquet"
    )


@pytest.mark.parametrize("name", ["../victim.wav", "{absolute}/victim.wav", "audio/../../victim.wav", "", None, "a//b"])
@pytest.mark.parametrize("piece", ["index.parquet", ".index/000001-00000.begun"])
def test_an_index_removes_nothing_outside(tmp_path: Path, name: str | None, piece: str) -> None:
    """A name that leads out of the export, or is none, is damage that names its file, whichever file tells it."""
    dataset, out, victim = (
        write_dataset(tmp_path / "dataset", [speech_row("u1")]),
        tmp_path / "out",
        tmp_path / "victim.wav",
    )
    export(dataset, out, as_="files")
    victim.write_bytes(b"do not touch")
    name = name and name.format(absolute=tmp_path)
    if piece == "index.parquet":
        _hostile_index(out, name)
    else:
        (out / ".index").mkdir()
        (out / piece).write_text(name or "..")
    if piece == "index.parquet" or name != "":
        with pytest.raises(StorageError) as exc_info:
            export(dataset, out, as_="files")
        assert Path(piece).name in exc_info.value.message
    assert victim.read_bytes() == b"do not touch"
    assert (out / "u1.wav").exists()


def test_a_speech_file_without_audio_is_damage_that_names_it(tmp_path: Path) -> None:
    """Whether the column is gone or null."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row("u1")])
    path = dataset / "speech" / "part-00000.parquet"
    table = pq.read_table(path)
    nulls = pa.nulls(1, table.schema.field("audio").type)
    for changed in (table.drop_columns(["audio"]), table.set_column(table.column_names.index("audio"), "audio", nulls)):
        pq.write_table(changed, path)
        with pytest.raises(StorageError, match=r"speech/part-00000\.parquet"):
            export(dataset, tmp_path / "out", as_="files")


@pytest.mark.parametrize("as_", ["files", "nemo"])
def test_links_inside_an_export_are_not_followed(tmp_path: Path, as_: str) -> None:
    """Neither files nor folders that are links: what they lead to stays as it is."""
    dataset, outside = write_dataset(tmp_path / "dataset", [speech_row("u1"), speech_row("u2")]), tmp_path / "outside"
    outside.mkdir()
    (outside / "victim.wav").write_bytes(b"do not touch")
    for number, link in enumerate(("audio", "u1.wav", ".index", "manifest.json", "index.parquet", "export.json")):
        out = tmp_path / f"out{number}"
        export(dataset, out, as_=as_, name="audio/{utterance_id}.{ext}")
        place = out / link
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        place.symlink_to(outside if link in ("audio", ".index") else outside / "victim.wav")
        with suppress(StorageError, ConfigurationError):
            export(dataset, out, as_=as_, name="audio/{utterance_id}.{ext}")
        assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"victim.wav": b"do not touch"}
