"""Audio files and their index."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.datasets import files_below, index_of, speech_row, write_dataset
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.exports import Export, export
from tts_pipeline.exports.index import CHECKPOINT_FOLDER, INDEX_FILE, INDEX_SCHEMA

IDS = [f"u{number}" for number in range(10)]


def export_files(dataset: Path, destination: object, **options: Any) -> Export:
    """Export to files."""
    return export(dataset, str(destination), as_="files", **options)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Ten rows in three parts."""
    return write_dataset(tmp_path / "dataset", [speech_row(name) for name in IDS])


@pytest.fixture(params=["local", "memory", "s3"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty place of each kind."""
    if request.param == "local":
        yield str(tmp_path / "out")
    elif request.param == "memory":
        url = f"memory://{uuid.uuid4().hex}/out"
        yield url
        filesystem, path = fsspec.core.url_to_fs(url)
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)
    else:
        request.getfixturevalue("s3")
        yield "s3://bucket/some/out"


def test_each_utterance_is_a_file_and_a_row_of_the_index(dataset: Path, destination: str) -> None:
    """Byte for byte, opened by the URI that the index tells, in the order of the dataset, on any file system."""
    report = export_files(dataset, destination)
    assert (report.rows, report.written, report.unchanged, report.renamed, report.failures) == (10, 10, 0, 0, 0)
    with fsspec.open(f"{destination}/{INDEX_FILE}") as file:
        index = pq.read_table(io.BytesIO(file.read()))
    assert index.schema.equals(INDEX_SCHEMA)
    rows = index.to_pylist()
    assert [row["utterance_id"] for row in rows] == IDS
    for row in rows:
        with fsspec.open(row["uri"]) as file:
            data = file.read()
        assert data == tone(row["text"], tone_bytes=4_800)
        assert row["sha256"] == row["source_sha256"] == hashlib.sha256(data).hexdigest()
        assert (row["name"], row["bytes"], row["frames"]) == (f"{row['utterance_id']}.wav", len(data), 2_400)
        assert (row["split"], row["renamed"], row["duration_ms"]) == (None, False, 100)


def test_a_second_export_writes_only_what_is_new_or_changed(dataset: Path, destination: str) -> None:
    """Rows that came, changed and went, wherever they stand now; the index is again that of the whole."""
    export_files(dataset, destination)
    assert (export_files(dataset, destination).written, export_files(dataset, destination).unchanged) == (0, 10)
    changed = [speech_row(name, text="Said anew." if name == "u4" else None) for name in IDS if name != "u7"]
    write_dataset(dataset, [speech_row("first"), *changed, speech_row("last")])
    report = export_files(dataset, destination)
    assert (report.rows, report.written, report.unchanged, report.removed) == (11, 3, 8, 1)
    with fsspec.open(f"{destination}/{INDEX_FILE}") as file:
        rows = pq.read_table(io.BytesIO(file.read())).to_pylist()
    assert [row["utterance_id"] for row in rows] == ["first", *(name for name in IDS if name != "u7"), "last"]
    filesystem, path = fsspec.core.url_to_fs(destination)
    names = {name.rsplit("/", 1)[-1] for name in filesystem.find(path)}
    assert names == {*(row["name"] for row in rows), INDEX_FILE, "export.json"}
    for row in rows:
        with fsspec.open(row["uri"]) as file:
            assert hashlib.sha256(file.read()).hexdigest() == row["sha256"] == row["source_sha256"]


def test_files_that_stay_are_not_touched(dataset: Path, tmp_path: Path) -> None:
    """Nor read."""
    out = tmp_path / "out"
    export_files(dataset, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.wav")}
    export_files(dataset, out)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.wav")} == before


def test_a_file_that_is_gone_or_cut_is_written_again(dataset: Path, tmp_path: Path) -> None:
    """On a local disk, where looking costs nothing."""
    out = tmp_path / "out"
    export_files(dataset, out)
    (out / "u2.wav").unlink()
    (out / "u3.wav").write_bytes(b"RIFF")
    report = export_files(dataset, out)
    assert (report.written, report.unchanged) == (2, 8)
    assert (out / "u3.wav").read_bytes() == tone("Line u3.", tone_bytes=4_800)


def _interrupt_at(rows: int) -> Callable[[int, int], None]:
    def on_rows(done: int, _: int) -> None:
        if done >= rows:
            raise KeyboardInterrupt

    return on_rows


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_an_export_that_was_broken_off_goes_on(dataset: Path, tmp_path: Path, kind: str) -> None:
    """What its finished parts wrote stays; what is looked for and not there is written."""
    destination = str(tmp_path / "out") if kind == "local" else f"memory://{uuid.uuid4().hex}/out"
    with pytest.raises(KeyboardInterrupt):
        export_files(dataset, destination, on_rows=_interrupt_at(10))
    filesystem, path = fsspec.core.url_to_fs(destination)
    assert not filesystem.exists(f"{path}/{INDEX_FILE}")
    filesystem.rm_file(f"{path}/u1.wav")
    report = export_files(dataset, destination)
    assert (report.written, report.unchanged) == (3, 7)
    assert not filesystem.exists(f"{path}/{CHECKPOINT_FOLDER}")


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_what_was_broken_off_with_other_settings_leaves_nothing(dataset: Path, tmp_path: Path, kind: str) -> None:
    """Neither audio that the index tells otherwise, nor files that it does not tell; however often that happens."""
    destination = str(tmp_path / "out") if kind == "local" else f"memory://{uuid.uuid4().hex}/out"
    export_files(dataset, destination)
    for settings in (
        {"sample_rate_hz": 16_000},
        {"name": "a/{utterance_id}.{ext}"},
        {"name": "b/{utterance_id}.{ext}"},
    ):
        with pytest.raises(KeyboardInterrupt):
            export_files(dataset, destination, on_rows=_interrupt_at(6), **settings)
    export_files(dataset, destination)
    filesystem, path = fsspec.core.url_to_fs(destination)
    paths = {name.removeprefix(path).lstrip("/"): name for name in filesystem.find(path)}
    assert paths.keys() == {INDEX_FILE, "export.json", *(f"{name}.wav" for name in IDS)}
    for name in IDS:
        assert filesystem.cat_file(paths[f"{name}.wav"]) == tone(f"Line {name}.", tone_bytes=4_800)


def test_a_dataset_that_cannot_be_read_is_told(dataset: Path, tmp_path: Path) -> None:
    """By its file, before anything is written."""
    (dataset / "speech" / "part-00002.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(StorageError, match=r"speech/part-00002\.parquet"):
        export_files(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_setting_that_changes_the_audio_changes_the_files(dataset: Path, tmp_path: Path) -> None:
    """Converted, at another rate, with the extension of the format; the old files go."""
    out = tmp_path / "out"
    export_files(dataset, out)
    report = export_files(dataset, out, audio_format="flac", sample_rate_hz=16_000)
    assert (report.written, report.removed) == (10, 10)
    assert sorted(files_below(out)) == sorted(f"{name}.flac" for name in IDS)
    for row in index_of(out):
        sound = soundfile.info(out / row["name"])
        assert (sound.format, sound.samplerate, sound.frames) == ("FLAC", 16_000, row["frames"])
        assert (row["audio_format"], row["sample_rate_hz"], row["duration_ms"]) == ("flac", 16_000, 100)
        assert row["sha256"] == hashlib.sha256((out / row["name"]).read_bytes()).hexdigest() != row["source_sha256"]
    assert export_files(dataset, out, audio_format="flac", sample_rate_hz=16_000).unchanged == 10


HARD = ["../up", "up", "Up", "UP", "con", "dot.", "e\u0301", "é", "a/b", "a_b", "x" * 400, "\u202etxt", "index.parquet"]


def test_ids_that_are_no_names_have_safe_ones_that_the_index_tells(tmp_path: Path) -> None:
    """All there, each in a file of its own on every kind of disk; the first of those that collide has the name."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row(name) for name in HARD])
    out = tmp_path / "below" / "out"
    report = export_files(dataset, out)
    rows = {row["utterance_id"]: row for row in index_of(out)}
    assert (report.rows, report.written, len(rows)) == (len(HARD), len(HARD), len(HARD))
    assert {name: row["name"] for name, row in rows.items() if not row["renamed"]} == {
        "up": "up.wav",
        "é": "é.wav",
        "a_b": "a_b.wav",
        "index.parquet": "index.parquet.wav",
    }
    assert report.renamed == len(HARD) - 4
    assert len({row["name"].casefold() for row in rows.values()}) == len(HARD)
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["out"]
    for row in rows.values():
        assert (out / row["name"]).read_bytes() == tone(row["text"], tone_bytes=4_800)


def test_names_do_not_depend_on_what_else_is_exported(tmp_path: Path) -> None:
    """A filter changes no name, and rows that come later take none."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row("A"), speech_row("a", language="de"), speech_row("b")])
    export_files(dataset, tmp_path / "all")
    export_files(dataset, tmp_path / "some", where="language = 'de'")
    names = {row["utterance_id"]: row["name"] for row in index_of(tmp_path / "all")}
    assert names["A"] == "A.wav"
    assert [row["name"] for row in index_of(tmp_path / "some")] == [names["a"]] != ["a.wav"]


def test_takes_of_one_id_are_files_of_their_own(tmp_path: Path) -> None:
    """By a mark, or by the template."""
    rows = [speech_row("u", take=take, text=f"Take {take}.") for take in range(3)]
    dataset = write_dataset(tmp_path / "dataset", rows)
    assert export_files(dataset, tmp_path / "out").renamed == 2
    assert [row["text"] for row in index_of(tmp_path / "out")] == ["Take 0.", "Take 1.", "Take 2."]
    export_files(dataset, tmp_path / "named", name="{utterance_id}-{take}.{ext}")
    assert sorted(files_below(tmp_path / "named")) == ["u-0.wav", "u-1.wav", "u-2.wav"]


def test_columns_of_the_input_make_names(tmp_path: Path) -> None:
    """With folders; a column that is not there is told with those that are."""
    rows = [speech_row(name, speaker=speaker) for name, speaker in (("a", "Ann"), ("b", "../Bob"), ("c", None))]
    dataset = write_dataset(tmp_path / "dataset", rows, passed_through=[pa.field("speaker", pa.string())])
    export_files(dataset, tmp_path / "out", name="{speaker}/{language}/{utterance_id}.{ext}")
    names = [row["name"] for row in index_of(tmp_path / "out")]
    assert names[0] == "Ann/en/a.wav"
    assert names[1].startswith("_._Bob/en/b~") or names[1].startswith("___Bob/en/b~")
    assert names[2] == "_/en/c.wav"
    with pytest.raises(ConfigurationError, match=r"\{speakr\} is not a known field \(Did you mean 'speaker'"):
        export_files(dataset, tmp_path / "other", name="{speakr}.{ext}")
    assert not (tmp_path / "other").exists()


def test_splits_are_folders_and_told_in_the_index(dataset: Path, tmp_path: Path) -> None:
    """An utterance stays in its split when the dataset grows; shares of less than 1 leave the rest out."""
    report = export_files(dataset, tmp_path / "out", split="train=0.5,validation=0.3")
    first = {row["utterance_id"]: row["split"] for row in index_of(tmp_path / "out")}
    assert report.splits == {name: list(first.values()).count(name) for name in set(first.values())}
    assert 0 < report.rows < 10
    write_dataset(dataset, [speech_row(f"n{number}") for number in range(20)] + [speech_row(name) for name in IDS])
    export_files(dataset, tmp_path / "out", split="train=0.5,validation=0.3")
    rows = index_of(tmp_path / "out")
    assert {row["utterance_id"]: row["split"] for row in rows if row["utterance_id"] in IDS} == first
    assert all(row["name"] == f"{row['split']}/{row['utterance_id']}.wav" for row in rows)
    assert sorted(files_below(tmp_path / "out")) == sorted(row["name"] for row in rows)


def test_a_filter_leaves_rows_out(tmp_path: Path) -> None:
    """By columns of the speech table, and of the input."""
    rows = [speech_row(f"u{number}", duration_ms=number * 1_000, score=number) for number in range(10)]
    dataset = write_dataset(tmp_path / "dataset", rows, passed_through=[pa.field("score", pa.int64())])
    report = export_files(dataset, tmp_path / "out", where="duration_ms < 5000 AND score >= 3")
    assert report.rows == 2
    assert sorted(files_below(tmp_path / "out")) == ["u3.wav", "u4.wav"]
    assert report.audio_ms == 7_000


def test_audio_that_does_not_decode_is_left_out_and_told(tmp_path: Path) -> None:
    """Of the row alone; as received it is exported as it is."""
    rows = [speech_row("good"), speech_row("bad", data=b"RIFF" + bytes(40))]
    dataset = write_dataset(tmp_path / "dataset", rows)
    report = export_files(dataset, tmp_path / "out", audio_format="mp3")
    assert (report.rows, report.failures, list(report.failed)) == (1, 1, ["bad"])
    assert "cannot be decoded" in report.failed["bad"]
    assert sorted(files_below(tmp_path / "out")) == ["good.mp3"]
    whole = export_files(dataset, tmp_path / "whole")
    assert (whole.rows, whole.failures) == (2, 0)
    assert [row["frames"] for row in index_of(tmp_path / "whole")] == [2_400, None]


def test_a_dataset_without_speech_is_exported_as_nothing(tmp_path: Path) -> None:
    """An empty night; a filter on a column that nobody can know yet is no mistake."""
    dataset = write_dataset(tmp_path / "dataset", [])
    report = export_files(dataset, tmp_path / "out", where="speaker = 'x'")
    assert (report.rows, report.parts_left) == (0, 0)
    assert index_of(tmp_path / "out") == []


def test_parts_that_are_not_done_are_counted(tmp_path: Path) -> None:
    """What is there is exported."""
    dataset = write_dataset(tmp_path / "dataset", [speech_row(name) for name in IDS[:8]], parts_left=2)
    report = export_files(dataset, tmp_path / "out")
    assert (report.rows, report.parts_left) == (8, 2)


def test_the_same_export_gives_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    """Index included, but for where it is."""
    export_files(dataset, tmp_path / "one")
    export_files(dataset, tmp_path / "other")
    assert files_below(tmp_path / "one") == files_below(tmp_path / "other")
    first, other = ([{**row, "uri": ""} for row in index_of(tmp_path / name)] for name in ("one", "other"))
    assert first == other


def test_whoever_watches_is_told_rows(dataset: Path, tmp_path: Path) -> None:
    """Never fewer than before, and all at the end."""
    calls: list[tuple[int, int]] = []
    export_files(dataset, tmp_path / "out", on_rows=lambda done, rows: calls.append((done, rows)))
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1]


def test_a_dataset_on_an_object_store_is_exported_too(dataset: Path, tmp_path: Path, s3: Mapping[str, str]) -> None:
    """From S3 to a disk."""
    fsspec.filesystem("s3").put(str(dataset), "bucket/dataset", recursive=True)
    assert export("s3://bucket/dataset", tmp_path / "out", as_="files").written == 10
    assert files_below(tmp_path / "out")["u0.wav"] == tone("Line u0.", tone_bytes=4_800)
