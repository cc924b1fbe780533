"""The columns of a source, from the command line to the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tts_pipeline as tts
from tests.cli.conftest import LOCAL, Command, MakeSource
from tts_pipeline.emulator.local_service import LocalService

QUIET = (*LOCAL, "--quiet")
MAPS: Any = pa.array([[("k", "v")]] * 3, pa.map_(pa.string(), pa.string()))


def _names(destination: Path, table: str = "speech") -> set[str]:
    return set(pq.read_schema(next((destination / table).iterdir())).names)


def test_a_dropped_column_is_not_read(
    command: Command, local: LocalService, make_source: MakeSource, tmp_path: Path
) -> None:
    """It may be what nothing here can read; it is in no table, and part of what identifies the job."""
    source, out = (
        make_source(views=pa.array([["a"]] * 3, pa.list_(pa.string_view(), 1)), voice=["x"] * 3),
        tmp_path / "o",
    )
    assert "--drop views" in command("run", source, out, *QUIET).err
    flags = (*QUIET, "--drop", "views", "--drop", "voice")
    assert command("estimate", source, *flags, "--json").status == 0
    assert command("run", source, out, *flags).status == 0
    assert not {"views", "voice.1"} & _names(out)
    assert json.loads((out / "dataset.json").read_bytes())["job"]["drop"] == ["views", "voice"]
    assert command("run", source, out, *reversed(flags[-4:-2]), *flags).status == 2
    (tmp_path / "job.toml").write_text('drop = ["voice"]\n')
    assert command("run", source, out, *flags[:-2], "--config", tmp_path / "job.toml").status == 0
    assert local.bill()["received"] == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--drop", "ntoe"), "does not have: 'ntoe' (Did you mean 'note'?"),
        (("--drop", "text"), "'text' cannot be dropped: it is needed for the text"),
        (("--drop", "id"), "'id' cannot be dropped: it is needed for the id"),
        (("--drop", "speaker", "--column", "voice=speaker"), "needed for the parameter 'voice'"),
        (("--drop", "note", "--rename", "note=n"), "needed for --rename note=n"),
        (("--drop", "note", "--tag-column", "project=note"), "needed for the tag 'project'"),
    ],
)
def test_a_column_that_cannot_be_dropped_is_told(
    command: Command, make_source: MakeSource, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    """By a run and an estimate alike: one that is not there, or that the job needs."""
    for place in ((tmp_path / "out",), ()):
        result = command("run" if place else "estimate", make_source(), *place, *QUIET, *flags)
        assert (result.status, message in result.err) == (2, True), result.err


def test_python_drops_columns_of_frames_too(local: LocalService, tmp_path: Path) -> None:
    """Also those that Parquet or Polars cannot hold; an unknown one is refused."""
    service = tts.Service(base_url=local.url, name="voices", auth="none")
    run_ends = pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["x"]))
    frame = pa.table({"id": [1, 2], "text": ["One.", "Two."], "odd": run_ends, "kept": [3, 4]})
    with pytest.raises(tts.ConfigurationError, match="'odd'"):
        tts.run(frame, tmp_path / "out", service, model="qwen3-tts-flash", voice="Cherry")
    report = tts.run(frame, tmp_path / "out", service, model="qwen3-tts-flash", voice="Cherry", drop=["odd"])
    assert report.dataset.speech == 2
    assert ("odd" in _names(tmp_path / "out"), "kept" in _names(tmp_path / "out")) == (False, True)
    for rows, name in ((frame, "odd"), (frame.to_reader(), "odd"), (pl.DataFrame(frame.drop_columns("odd")), "kept")):
        assert tts.estimate(rows, service, model="qwen3-tts-flash", voice="Cherry", drop=[name]).rows == 2
    with pytest.raises(tts.ConfigurationError, match="'odd' is of type run_end_encoded"):
        tts.estimate(frame, service, model="qwen3-tts-flash", voice="Cherry")
    with pytest.raises(tts.ConfigurationError, match="'nope'"):
        tts.estimate(frame.drop_columns("odd"), service, model="qwen3-tts-flash", voice="Cherry", drop=["nope"])


@pytest.mark.parametrize("name", ["Voice", "Text", "Note"])
def test_columns_that_differ_in_case_only_are_refused(
    command: Command, local: LocalService, make_source: MakeSource, tmp_path: Path, name: str
) -> None:
    """From ours or from one another, before anything is sent; renamed they are apart in both tables."""
    source, out = make_source(text=["One.", "Two.", ""], **{name: ["x"] * 3}), tmp_path / "out"
    result = command("run", source, out, *QUIET)
    assert (result.status, f"--rename {name}=source_{name}" in result.err) == (2, True), result.err
    assert command("run", source, out, *QUIET, "--rename", f"{name}=other").status == 3
    assert local.bill()["received"] == 2
    tried = pq.read_table(out / "rejects")
    for names in (_names(out), {field.name for field in tried.schema.field("input").type}):
        assert len({name.lower() for name in names}) == len(names)


def test_a_dataset_of_before_with_such_columns_is_gone_on_with(
    command: Command, local: LocalService, make_source: MakeSource, tmp_path: Path
) -> None:
    """What earlier versions let through is no reason to leave a dataset unfinished."""
    source, out = make_source(Voice=["x"] * 3), tmp_path / "out"
    assert command("run", source, out, *QUIET, "--rename", "Voice=other").status == 0
    descriptor = json.loads((out / "dataset.json").read_bytes())
    descriptor["job"]["rename"] = {}
    del descriptor["checksum"], descriptor["job_fingerprint"]  # that follow from the rest
    (out / "dataset.json").write_text(json.dumps(descriptor))
    for written in (out / "parts.json", *(out / "done").iterdir()):
        written.unlink()
    assert command("run", source, out, *QUIET).status == 0
    assert command("report", out).status == 0
    assert local.bill()["received"] == 3


def test_what_hugging_face_cannot_open_is_told_before_it_is_bought(
    command: Command, local: LocalService, make_source: MakeSource, tmp_path: Path
) -> None:
    """Once, when the dataset is made, and by estimates of it; nothing is said of columns that it can open."""
    source, out = make_source(pairs=MAPS), tmp_path / "out"
    message = "Hugging Face datasets cannot open the column 'pairs' (map<string, string"
    for place in ((), (out,)):
        assert message in " ".join(command("estimate", source, *place, *LOCAL).out.split())
    assert "Hugging Face" not in command("estimate", source, *LOCAL, "--drop", "pairs").out
    first, second = (command("run", source, out, *QUIET).err for _ in range(2))
    assert (message in first, "--drop pairs" in first, message in second) == (True, True, False)
    assert local.bill()["received"] == 3


def test_generated_ids_are_unique(
    command: Command, local: LocalService, make_source: MakeSource, tmp_path: Path
) -> None:
    """Of files that are called the same but for ``.parquet``; a file that comes later takes no other's."""
    for name in ("in/a.parquet", "in/b/a.parquet", "in/b-a.parquet", "in/A.parquet", "in/a.parquet.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_source(1, name=name)
    flags = (*QUIET, "--generate-ids", "--append")
    assert command("run", tmp_path / "in" / "**" / "*", tmp_path / "out", *flags).status == 0
    first = pq.read_table(tmp_path / "out" / "speech", columns=["utterance_id"])["utterance_id"].to_pylist()
    assert sorted(first) == sorted(["a:0", "b/a:0", "b-a:0", "A:0", "a.parquet:0"])
    for name in ("in/a", "in/a~2.parquet"):
        make_source(1, name=name)
    assert command("run", tmp_path / "in" / "**" / "*", tmp_path / "out", *flags).status == 0
    ids = pq.read_table(tmp_path / "out" / "speech", columns=["utterance_id"])["utterance_id"].to_pylist()
    assert sorted(ids) == sorted([*first, "a~2:0", "a~2.parquet~2:0"])
