"""Sources as people have them, from the command line to the dataset."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tts_pipeline as tts
from tests.cli.conftest import LOCAL, MODEL, Command
from tts_pipeline.config import InputColumns
from tts_pipeline.emulator.local_service import LocalService

QUIET = (*LOCAL, "--quiet")


def _write(path: Path, rows: int = 2, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = [f"{path.stem}{number}" for number in range(rows)]
    pq.write_table(pa.table({"id": ids, "text": [f"Line {number}." for number in ids], **more}), path)
    return path


def _speech(destination: Path, *columns: str) -> list[dict[str, Any]]:
    files = sorted((destination / "speech").glob("*.parquet"))
    rows: list[dict[str, Any]] = pa.concat_tables([pq.read_table(f, columns=list(columns)) for f in files]).to_pylist()
    return rows


def _folders(root: Path) -> Path:
    for speaker, take in (("Cherry", "a"), ("Stella", "b")):
        _write(root / f"speaker={speaker}" / "month=7" / f"{take}.parquet")
    return root


def test_folders_are_columns(command: Command, local: LocalService, tmp_path: Path) -> None:
    """One carries the voice, another one passes through; a second run buys nothing."""
    source, out = _folders(tmp_path / "in"), tmp_path / "out"
    first = command("run", source, out, *QUIET, "--column", "voice=speaker")
    assert first.status == 0, first.err
    assert [(row["voice"], row["month"]) for row in _speech(out, "voice", "month")] == [
        *[("Cherry", 7)] * 2,
        *[("Stella", 7)] * 2,
    ]
    assert command("run", source, out, *QUIET, "--column", "voice=speaker").status == 0
    assert local.bill()["received"] == 4
    estimate = command(
        "estimate", source, "--service", "local", "--model", MODEL, "--column", "voice=speaker", "--json"
    )
    assert {row["voice"] for row in estimate.json["spoken"]} == {"Cherry", "Stella"}


def test_a_dataset_without_columns_of_folders_is_gone_on_with(
    command: Command, local: LocalService, tmp_path: Path
) -> None:
    """One that was made before is of another job; the error names the way, by flag and in a job file."""
    source, out = _folders(tmp_path / "in"), tmp_path / "out"
    flags = (*QUIET, "--voice", "Cherry")
    assert command("run", source, out, *flags, "--hive", "off").status == 0
    assert "hive" not in json.loads((out / "dataset.json").read_bytes())["job"]
    refusal = command("run", source, out, *flags)
    assert (refusal.status, "--hive off" in refusal.err) == (2, True)
    (tmp_path / "job.toml").write_text('hive = "off"\n')
    _write(source / "speaker=Stella" / "month=8" / "c.parquet")
    assert command("run", source, out, *flags, "--config", tmp_path / "job.toml").status == 0
    assert not {"speaker", "month"} & {*_speech(out, *pq.read_schema(next((out / "speech").iterdir())).names)[0]}
    assert local.bill()["received"] == 6
    assert "on or off" in command("run", source, out, *flags, "--hive", "maybe").err


def test_a_folder_that_changes_the_type_of_a_column_is_told(
    command: Command, local: LocalService, tmp_path: Path
) -> None:
    """Parts of one dataset have the same columns; whoever adds such a folder rebuilds."""
    source, out = _folders(tmp_path / "in"), tmp_path / "out"
    assert command("run", source, out, *QUIET).status == 0
    _write(source / "speaker=Tom" / "month=seven" / "c.parquet")
    result = command("run", source, out, *QUIET)
    assert result.status == 2
    assert "int32" in result.err
    assert command("run", source, out, *QUIET, "--rebuild").status == 0
    assert {row["month"] for row in _speech(out, "month")} == {"7", "seven"}
    assert local.bill()["received"] == 6


def test_a_folder_named_as_a_column_of_ours_is_refused_with_both_ways(
    command: Command, local: LocalService, tmp_path: Path
) -> None:
    """It may be meant as the voice, be renamed, or be none."""
    source = tmp_path / "in"
    _write(source / "voice=Cherry" / "a.parquet")
    result = command("run", source, tmp_path / "out", *QUIET)
    assert result.status == 2
    assert "--rename voice=" in result.err
    assert "--hive off" in result.err
    assert command("run", source, tmp_path / "out", *QUIET, "--column", "voice=voice").status == 0
    assert local.bill()["received"] == 2


def test_python_has_the_same_switch(local: LocalService, tmp_path: Path) -> None:
    """For a run and an estimate, beside ``InputColumns``."""
    source, service = _folders(tmp_path / "in"), tts.Service(base_url=local.url, name="voices", auth="none")
    report = tts.run(source, tmp_path / "out", service, model=MODEL, voice="Cherry", hive=False)
    assert (report.dataset.speech, report.left_out) == (4, {})
    speaker = InputColumns(parameters={"voice": "speaker"})
    assert tts.estimate(source, service, model=MODEL, columns=speaker).rows == 4
    for columns, hive in ((replace(speaker, hive=False), True), (speaker, False)):
        with pytest.raises(tts.ConfigurationError, match="no column 'speaker'"):
            tts.estimate(source, service, model=MODEL, columns=columns, hive=hive)


def test_a_destination_in_its_source_is_no_source(command: Command, local: LocalService, tmp_path: Path) -> None:
    """However often it runs, also beside another dataset; what is left out is counted wherever a job is told of."""
    source, out = tmp_path / "in", tmp_path / "in" / "out"
    _write(source / "a.parquet")
    assert command("run", source, out, *QUIET).status == 0
    message = "1 file named with _ or . in front, 2 files of the dataset at out/"
    _write(source / "_b.parquet")
    summary = command("run", source, out, *QUIET)
    assert (summary.status, message in summary.out) == (0, True)
    assert command("run", source, out, *QUIET, "--json").json["left_out"] == {
        "of the dataset at out/": 2,
        "named with _ or . in front": 1,
    }
    for destination in ((), (out,)):
        assert message in command("estimate", source, *destination, *QUIET).out
        assert sum(command("estimate", source, *destination, *QUIET, "--json").json["left_out"].values()) == 3
    assert command("validate", source, out, *QUIET, "--json").json["left_out"]["of the dataset at out/"] == 2
    other = command("run", source, tmp_path / "in" / "more", *QUIET, "--rebuild")
    assert (other.status, local.bill()["received"]) == (0, 4)
    assert command("run", out / "speech", tmp_path / "again", *QUIET, "--id-column", "utterance_id").status == 2


def test_a_table_with_a_log_is_refused_before_anything_is_sent(
    command: Command, local: LocalService, tmp_path: Path
) -> None:
    """By a run and an estimate alike, with what reads it."""
    _write(tmp_path / "in" / "a.parquet")
    (tmp_path / "in" / "_delta_log").mkdir()
    for name, destination in (("run", (tmp_path / "out",)), ("estimate", ())):
        result = command(name, tmp_path / "in", *destination, *QUIET)
        assert result.status == 2
        assert "tts.run(pl.scan_delta(" in result.err
    assert local.bill()["received"] == 0


def test_no_home_is_needed(
    command: Command, local: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for a run nor for an estimate, with a work folder or without."""
    for name, value in (("HOME", "/dev/null"), ("XDG_CACHE_HOME", ""), ("XDG_STATE_HOME", "")):
        monkeypatch.setenv(name, value)
    source = _write(tmp_path / "a.parquet")
    for work_dir_flags in ((), ("--work-dir", tmp_path / "work")):
        for name in ("run", "estimate", "validate"):
            result = command(name, source, tmp_path / f"out{len(work_dir_flags)}", *QUIET, *work_dir_flags)
            assert result.status == 0, result.err
    assert local.bill()["received"] == 4


def test_journals_that_cannot_be_kept_are_told_before_anything_is_sent(
    local: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a bucket's dataset they are in the user's state, or where the work folder is."""
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/nowhere")
    service = tts.Service(base_url=local.url, name="voices", auth="none")
    source, bucket = _write(tmp_path / "a.parquet"), f"memory://{tmp_path.name}"
    with pytest.raises(tts.StorageError, match="cannot be written") as exc_info:
        tts.run(source, bucket, service, model=MODEL)
    assert ("`work_dir`" in (exc_info.value.hint or ""), local.bill()["received"]) == (True, 0)
    with pytest.raises(tts.StorageError, match="cannot be written") as exc_info:
        tts.synthesize(pl.DataFrame({"text": ["Hi."]}), service, model=MODEL)
    assert "`work_dir`" in (exc_info.value.hint or "")
    options = tts.RunOptions(work_dir=tmp_path / "work")
    assert tts.run(source, bucket, service, model=MODEL, options=options).dataset.speech == 2


@pytest.mark.parametrize("case", ["source", "destination", "work folder", "current folder"])
def test_names_that_are_not_utf8(
    command: Command, local: LocalService, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source has any name; a place that is written to is refused before anything is sent."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    source = (odd if case == "source" else tmp_path) / os.fsdecode(b"\xff.parquet")
    _write(tmp_path / "a.parquet").rename(source)
    if case == "current folder":
        monkeypatch.chdir(odd)
    out = {"destination": odd / "out", "current folder": Path("out")}.get(case, tmp_path / "out")
    work_dir_flags = ("--work-dir", odd) if case == "work folder" else ()
    result = command("run", source, out, *QUIET, "--generate-ids", *work_dir_flags)
    if case == "source":
        assert [row["utterance_id"] for row in _speech(out, "utterance_id")] == [r"\xff:0", r"\xff:1"]
        assert command("run", tmp_path, tmp_path / "more", *QUIET, "--generate-ids").status == 0
        return
    assert (result.status, "is not UTF-8" in result.err, local.bill()["received"]) == (2, True, 0)
    for reading in (("report", out), ("browse", out), ("export", out, tmp_path / "e", "--as", "files")):
        assert case == "work folder" or command(*reading).status == 2


@pytest.mark.parametrize("flag", ["--tag=x=%s", "--set=instructions=%s", "--id-column=%s", "--voice=%s", "--model=%s"])
def test_settings_that_are_not_utf8_are_refused(command: Command, tmp_path: Path, flag: str) -> None:
    """They would be written into requests and tables; the error names the flag."""
    result = command("run", _write(tmp_path / "a.parquet"), tmp_path / "out", *QUIET, flag % os.fsdecode(b"\xff"))
    assert (result.status, f"{flag.partition('=')[0]} is not UTF-8" in result.err) == (2, True)


@pytest.mark.parametrize("url", ["file://{}", "file:{}", "file://localhost{}"])
def test_file_urls_are_taken_everywhere(command: Command, local: LocalService, tmp_path: Path, url: str) -> None:
    """For sources, destinations, reuse stores, work folders, job files and exports; escapes, spaces and brackets."""

    def at(name: str) -> str:
        return url.format(quote(os.fsencode(tmp_path / name)))

    _write(tmp_path / "my texts" / "a[1].parquet")
    (tmp_path / "job.toml").write_text(f'reuse = ["{at("kept %1")}"]\nwork_dir = "{at("work 2")}"\n')
    flags = (*QUIET, "--config", at("job.toml"))
    for _ in range(2):
        result = command("run", at("my texts/a[1].parquet"), at("out[1] é"), *flags)
        assert result.status == 0, result.err
    assert local.bill()["received"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.toml", "kept %1", "my texts", "out[1] é", "work 2"]
    assert command("estimate", at("my texts"), at("out[1] é"), *flags, "--json").json["rows_there"] == 2
    again = command("run", at("my texts"), at("again"), *QUIET, "--reuse", at("out[1] é"), "--json")
    assert again.json["reused"] == 2
    bill = os.fsdecode(b"bill \xff.parquet")
    assert command("report", at("out[1] é"), "--output", at(bill)).status == 0
    assert (tmp_path / bill).exists()
    assert command("export", at("out[1] é"), at("audio"), "--as", "files").status == 0
    assert (tmp_path / "audio" / "index.parquet").exists()
