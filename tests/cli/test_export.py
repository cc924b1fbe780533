"""The command ``export``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import LOCAL, Command, MakeSource
from tests.datasets import speech_row, write_dataset
from tts_pipeline.cli.export import periodic_progress
from tts_pipeline.cli.parser import EXPORT_FORMATS
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.exports.formats import LIBRARIES
from tts_pipeline.job.progress_view import LINE_EVERY_S


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three rows, one of which does not decode."""
    rows = [speech_row("a"), speech_row("b", duration_ms=30_000), speech_row("bad", data=b"RIFF" + bytes(40))]
    return write_dataset(tmp_path / "dataset", rows)


def test_what_a_run_made_is_exported(
    local: LocalService, command: Command, make_source: MakeSource, tmp_path: Path
) -> None:
    """The result of one command is the input of the next."""
    command("run", make_source(3), tmp_path / "dataset", *LOCAL, "--voice", "Cherry")
    result = command(
        "export", tmp_path / "dataset", tmp_path / "out", "--as", "files", "--name", "{speaker}/{note}.{ext}"
    )
    assert (result.status, result.err) == (0, "")
    assert "files    3 written, 0 unchanged, 0 removed" in result.out
    assert "renamed  1: " in result.out
    assert (tmp_path / "out" / "Cherry" / "kept.wav").exists()


def test_the_result_is_one_json_object(command: Command, dataset: Path, tmp_path: Path) -> None:
    """For programs; what is left out is counted and named, and the status says so."""
    flags = ("--as", "files", "--audio-format", "flac", "--sample-rate-hz", "16000", "--split", "train=1", "--json")
    result = command("export", dataset, tmp_path / "out", *flags)
    summary = json.loads(result.out)
    assert result.status == 3
    assert summary.pop("elapsed_s") > 0
    assert list(summary.pop("failed")) == ["bad"]
    assert summary == {
        "as": "files",
        "destination": str(tmp_path / "out"),
        "rows": 2,
        "splits": {"train": 2},
        "audio_hours": 0.000056,
        "written": 2,
        "unchanged": 0,
        "removed": 0,
        "renamed": 0,
        "failures": 1,
        "parts_left": 0,
    }


def test_the_summary_tells_what_people_want_to_know(command: Command, dataset: Path, tmp_path: Path) -> None:
    """Splits, files, what was left out and why."""
    flags = ("--as", "nemo", "--where", "duration_ms < 20000", "--split", "train=1", "--audio-format", "ogg")
    result = command("export", dataset, tmp_path / "out", *flags)
    assert "rows      1 (train: 1)" in result.out
    assert "files     1 written, 0 unchanged, 0 removed" in result.out
    assert "left out  bad: the wav cannot be decoded" in result.out
    assert f"export    {tmp_path / 'out'}, as nemo, in" in result.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "the following arguments are required: --as"),
        (("--as", "lohtse"), "Did you mean 'lhotse'?"),
        (("--as", "files", "--were", "x"), "Did you mean '--where'?"),
        (("--as", "files", "--where", "duration < 1"), "no column 'duration'"),
        (("--as", "files", "--sample-rate-hz", "many"), "--sample-rate-hz"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    command: Command, dataset: Path, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    """Before anything is written, with status 2."""
    result = command("export", dataset, tmp_path / "out", *flags)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_a_line_tells_how_far_it_is_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Every 30 seconds, and not more often."""
    now_s = 0.0
    on_rows = periodic_progress(lambda: now_s)
    for done in range(0, 6_000, 100):
        on_rows(done, 12_000)
        now_s += LINE_EVERY_S / 20
    assert capsys.readouterr().err.splitlines() == ["2,000 of 12,000 rows", "4,000 of 12,000 rows"]


def test_help_tells_the_formats_there_are() -> None:
    """The parser names them without loading what makes them."""
    assert tuple(LIBRARIES) == EXPORT_FORMATS
