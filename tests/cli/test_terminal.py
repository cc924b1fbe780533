"""What is printed moves no cursor and forges no line, whatever data and services hold."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import LOCAL, Command, CommandResult, MakeSource
from tts_pipeline.cli.terminal import align_columns, json_line
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import printable

HOSTILE = "x\x1b[31mred\r\nforged  1  9\x9b2J\x07\u202eoverride\u2066\u200f\u200b\u2028end\x00"


@pytest.fixture
def dataset(command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path) -> Path:
    """Three rows: ids, a voice and a tag are hostile, and so is what the service says of the row that it refuses."""
    local.set_faults([{"what": "error", "status": 400, "code": "Bad", "message": HOSTILE, "text": "number 1"}])
    ids = [f"{number}{HOSTILE}" for number in range(3)]
    source = make_source(id=ids, note=[HOSTILE, HOSTILE, "=1+2"], speaker=["Cherry", "Stella", HOSTILE])
    flags = ("--column", "voice=speaker", "--unchecked", "voice", "--tag-column", "note=note")
    for more in ((), ("--json",)):
        result = command("run", source, tmp_path / "out", *LOCAL, *flags, *more)
        assert result.status == 3
        _check(result)
    for name in ("validate", "estimate"):
        _check(command(name, source, *([tmp_path / "out"] if name == "validate" else []), *LOCAL, *flags))
    return tmp_path / "out"


def _check(result: CommandResult) -> None:
    for text in (result.out, result.err):
        assert all(character.isprintable() for character in text.replace("\n", "")), repr(text)
        assert not any(line.startswith("forged") for line in text.splitlines())


def test_every_command_prints_lines_of_its_own(command: Command, dataset: Path, tmp_path: Path) -> None:
    """Run, validate and estimate before; a report has a line for each group and no other, in every format.

    As a table it has two, of requests and of other figures, each under a header, and an empty line in between.
    """
    by = ("--by", "tag:note", "--by", "voice", "--by", "error_code")
    for kind, lines in (("table", 4 + 1 + 4), ("markdown", 5 + 1 + 5), ("csv", 4), ("json", 1)):
        result = command("report", dataset, *by, "--format", kind)
        _check(result)
        assert len(result.out.splitlines()) == lines
    notes = {row["tag:note"] for row in json.loads(command("report", dataset, *by, "--format", "json").out)["report"]}
    assert notes == {HOSTILE, "=1+2"}, "JSON is exact"
    _check(command("export", dataset, tmp_path / "files", "--as", "files"))
    _check(command("report", f"{tmp_path}/{HOSTILE.rstrip(chr(0))}"))
    _check(command("models", HOSTILE))
    catalog = tmp_path / "hostile.toml"
    catalog.write_text(
        f"[services.a]\nbase_url = 'https://a.example'\nkey_variable = 'K'\nsource = {json.dumps(HOSTILE)}\n"
        f"[[cards]]\nservice = 'a'\nmodel = {json.dumps(HOSTILE)}\nbilling = 'characters'\n"
    )
    for words in (("services",), ("models",), ("models", "--service", "a")):
        _check(command(*words, "--catalog", catalog))
        _check(command(*words, "--catalog", catalog, "--json"))


def test_a_cell_that_begins_like_a_formula_is_harmless(command: Command, dataset: Path, tmp_path: Path) -> None:
    """In the file for spreadsheets; in Parquet it is exact."""
    for kind in ("csv", "parquet"):
        assert command("report", dataset, "--by", "tag:note", "--output", tmp_path / f"bill.{kind}").status == 0
    assert "'=1+2" in pl.read_csv(tmp_path / "bill.csv")["tag:note"].to_list()
    assert "=1+2" in pl.read_parquet(tmp_path / "bill.parquet")["tag:note"].to_list()


@given(st.text())
def test_a_printable_text_is_one_line(text: str) -> None:
    """No control, format or separating character and no lone surrogate is left; JSON is read as it was written."""
    assert printable(text).isprintable()
    line = json_line({text: [text]})
    assert line.isprintable()
    assert json.loads(line) == {text: [text]}
    rows = [("a", text, "b"), (text * 50, "c", text)]
    assert [line.isprintable() for line in align_columns(rows).split("\n")] == [True, True]


def test_an_absurd_cell_does_not_widen_a_table() -> None:
    """But the last one in a line is whole."""
    assert align_columns([("x" * 5_000, "y" * 300)]) == f"{'x' * 119}…  {'y' * 300}"
