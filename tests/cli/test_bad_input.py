"""What bad input gets: the thing named, the way out, exit status 2, nothing sent and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.cli.conftest import LOCAL, MODEL, Command, MakeSource
from tts_pipeline.emulator.local_service import LocalService

Refused = Callable[..., str]


@pytest.fixture
def refused(command: Command, local: LocalService, tmp_path: Path) -> Refused:
    """Run something wrong: it ends with 2 and one line, and leaves no trace at the service and the destination."""

    def run(*argv: object) -> str:
        destination = tmp_path / "out"
        result = command("run", argv[0], destination, *argv[1:])
        assert result.status == 2, result.err
        assert result.out == ""
        assert not destination.exists()
        assert local.bill()["received"] == 0
        assert len(result.err.splitlines()) == 1
        assert result.err.startswith("tts-pipeline: ")
        return result.err

    return run


@pytest.mark.parametrize(
    ("flags", "name", "way_out"),
    [
        (["--service", "locl", "--model", "m"], "unknown service 'locl'", "Did you mean 'local'?"),
        (["--service", "local", "--model", "qwen3-tts-flesh"], "'qwen3-tts-flesh'", "Did you mean 'qwen3-tts-flash'?"),
        (["--service", "local"], "no model", "--model"),
        (["--model", "qwen3-tts-flash"], "no service", "--service"),
        ([*LOCAL, "--voice", "Chery"], "'voice' cannot be 'Chery'", "Did you mean 'Cherry'?"),
        ([*LOCAL, "--set", "sped=1.2"], "no parameter 'sped'", "Did you mean 'speed'?"),
        ([*LOCAL, "--set", "speed=9"], "'speed' cannot be 9", "from 0.5 to 2"),
        ([*LOCAL, "--set", "speed=fast"], "'speed' cannot be 'fast'", "from 0.5 to 2"),
        ([*LOCAL, "--set", "language_type=Klingon"], "'Klingon'", "or a tag: zh"),
        ([*LOCAL, "--text-column", "txt"], "no column 'txt'", "Did you mean 'text'?"),
        ([*LOCAL, "--id-column", "uid"], "no column 'uid'", "--generate-ids"),
        ([*LOCAL, "--column", "voice=speakr"], "no column 'speakr'", "Did you mean 'speaker'?"),
        ([*LOCAL, "--column", "voice=note"], "'kept' (3 rows)", "'Cherry'"),
        ([*LOCAL, "--tag-column", "team=nte"], "no column 'nte'", "Did you mean 'note'?"),
        ([*LOCAL, "--rename", "nte=remark"], "'nte'", "Did you mean 'note'?"),
        ([*LOCAL, "--column", "voice"], "--column is 'voice'", "PARAM=COLUMN"),
        ([*LOCAL, "--voice", "Cherry", "--set", "voice=Stella"], "'voice' a second value", "give one"),
        ([*LOCAL, "--limit", "0"], "--limit must be 1 or more", "pilot"),
        ([*LOCAL, "--max-concurrency", "many"], "--max-concurrency must be a whole number", "in flight"),
        ([*LOCAL, "--max-rejects", "1.5"], "--max-rejects", "share"),
        ([*LOCAL, "--max-cost", "500"], "--max-cost must be an amount with its currency", "500CNY"),
        ([*LOCAL, "--max-cost", "0.00CNY"], "--max-cost must be more than 0", "over all its runs"),
        ([*LOCAL, "--max-cost", "5USD"], "the cap is in USD", "give the cap in CNY"),
        ([*LOCAL, "--max-characters", "0"], "--max-characters must be 1 or more", "over all its runs"),
        ([*LOCAL, "--prices", "nowhere.toml"], "nowhere.toml", "cannot be read"),
        ([*LOCAL, "--limit", "1", "--sample", "1"], "--limit and --sample", "one of them"),
        ([*LOCAL, "--seed", "1"], "--seed", "--sample N"),
        ([*LOCAL, "--voise", "Cherry"], "'--voise'", "Did you mean '--voice'?"),
        ([*LOCAL, "surplus"], "'surplus'", "run --help"),
        ([*LOCAL, "--config", "nowhere.toml"], "'nowhere.toml'", "--config"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(
    refused: Refused, make_source: MakeSource, flags: list[str], name: str, way_out: str
) -> None:
    """A setting that cannot be right is refused before anything is sent or written."""
    message = refused(make_source(), *flags)
    assert name in message
    assert way_out in message


def test_a_source_that_is_not_there_is_named(refused: Refused, tmp_path: Path) -> None:
    """No such file."""
    assert "nowhere.parquet" in refused(tmp_path / "nowhere.parquet", *LOCAL)


def test_a_source_that_is_not_parquet_is_named(refused: Refused, tmp_path: Path) -> None:
    """Neither another format nor an empty file passes for Parquet."""
    for name, content in (("text.csv", "id,text\na,Hello\n"), ("empty.parquet", "")):
        (tmp_path / name).write_text(content)
        message = refused(tmp_path / name, *LOCAL)
        assert name in message
        assert "not a Parquet file" in message


def test_ids_that_stand_twice_are_shown(refused: Refused, make_source: MakeSource) -> None:
    """Duplicate ids are refused with examples and three ways out."""
    message = refused(make_source(id=["a", "b", "a"]), *LOCAL)
    assert "'a' (2 rows)" in message
    assert "--generate-ids" in message


def test_a_text_column_that_is_no_string_is_refused(refused: Refused, make_source: MakeSource) -> None:
    """The text must be a string column; its type is named."""
    message = refused(make_source(text=[1, 2, 3]), *LOCAL)
    assert "'text'" in message
    assert "int64" in message


def test_a_column_with_the_name_of_one_of_ours_is_refused(refused: Refused, make_source: MakeSource) -> None:
    """A colliding column would be overwritten, or overwrite: --rename is the way out."""
    message = refused(make_source(duration_ms=[1, 2, 3]), *LOCAL)
    assert "'duration_ms'" in message
    assert "--rename duration_ms=" in message


def test_a_service_without_its_key_is_refused(
    refused: Refused, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable that the key is looked for in."""
    monkeypatch.delenv("MODELSTREAM_API_KEY", raising=False)
    assert "MODELSTREAM_API_KEY" in refused(make_source(), "--service", "modelstream", "--model", MODEL)


def test_a_local_service_that_does_not_run_is_named(
    command: Command, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where TTS_LOCAL_URL leads nowhere, nothing is written and no outage is waited for."""
    monkeypatch.setenv("TTS_LOCAL_URL", "http://127.0.0.1:9")
    result = command("run", make_source(), tmp_path / "out", *LOCAL)
    assert (result.status, (tmp_path / "out").exists()) == (2, False)
    assert "http://127.0.0.1:9" in result.err
    assert "TTS_LOCAL_URL" in result.err


def test_a_destination_that_holds_another_job_is_left_alone(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """The difference is named, and neither the service nor the dataset notices anything."""
    source, destination = make_source(), tmp_path / "out"
    assert command("run", source, destination, *LOCAL, "--voice", "Cherry").status == 0
    before, received = _files(destination), local.bill()["received"]
    result = command("run", source, destination, *LOCAL, "--voice", "Stella")
    assert result.status == 2
    assert "'voice': 'Cherry'" in result.err
    assert "'voice': 'Stella'" in result.err
    assert (_files(destination), local.bill()["received"]) == (before, received)


def test_a_source_that_has_changed_is_refused(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """A dataset goes on with the source it was begun with, or not at all."""
    destination = tmp_path / "out"
    assert command("run", make_source(), destination, *LOCAL).status == 0
    before, received = _files(destination), local.bill()["received"]
    result = command("run", make_source(4), destination, *LOCAL)
    assert result.status == 2
    assert "'lines.parquet' has changed" in result.err
    assert (_files(destination), local.bill()["received"]) == (before, received)


def test_a_folder_that_is_no_dataset_is_left_alone(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """Nothing is written among files that are not ours."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    result = command("run", make_source(), tmp_path / "out", *LOCAL)
    assert result.status == 2
    assert "not empty" in result.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    assert local.bill()["received"] == 0


def test_integer_ids_are_taken_as_their_text(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """Not every odd input is bad: integers are ids too."""
    source = make_source(id=pa.array([7, 8, 9], pa.int32()))
    assert command("run", source, tmp_path / "out", *LOCAL).status == 0
    assert local.bill()["charged"] == 3


def test_a_row_without_text_is_a_reject_and_the_run_goes_on(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """Null, empty and white-space texts are rejects of their own, never sent, and the exit status says so."""
    source = make_source(4, text=["Hello.", None, "", " \n"])
    result = command("run", source, tmp_path / "out", *LOCAL, "--json", "--quiet")
    assert result.status == 3
    assert (result.json["speech"], result.json["rejects"]) == (1, 3)
    assert local.bill()["received"] == 1


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
