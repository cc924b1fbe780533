"""The bill on the command line: for people, for a spreadsheet and for programs."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import LOCAL, Command, MakeSource
from tts_pipeline.emulator.local_service import LocalService


@pytest.fixture
def dataset(command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path) -> Path:
    """Three lines in two voices: Cherry's cost 2 x 22 characters, Stella's 22."""
    assert local.url
    assert command("run", make_source(), tmp_path / "out", *LOCAL, "--column", "voice=speaker").status == 0
    return tmp_path / "out"


def test_people_get_a_table(command: Command, dataset: Path) -> None:
    """A line per voice and currency, numbers in full."""
    result = command("report", dataset, "--by", "voice")
    assert result.status == 0
    head, *lines = (line.split() for line in result.out.splitlines())
    assert head[:2] + head[-1:] == ["voice", "requests", "currency"]
    assert [(line[0], line[1], line[-4], line[-1]) for line in lines] == [
        ("Cherry", "2", "0.003520000", "CNY"),
        ("Stella", "1", "0.001760000", "CNY"),
    ]


def test_programs_get_json(command: Command, dataset: Path) -> None:
    """Money as text, days as dates."""
    (row,) = command("report", dataset, dataset, "--format", "json").json["report"]
    assert row["cost"] == "0.005280000"
    assert (row["requests"], row["characters_billed"], row["currency"]) == (3, 66, "CNY")
    (row,) = command("report", dataset, "--by", "day", "--format", "json").json["report"]
    assert len(row["day"]) == len("2026-01-01")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_hold_the_same(command: Command, dataset: Path, tmp_path: Path, kind: str) -> None:
    """The format is that of the file's name."""
    path = tmp_path / f"bill.{kind}"
    result = command("report", dataset, "--by", "voice", "--output", path)
    assert (result.status, result.out) == (0, "")
    assert "2 rows" in result.err
    read = pl.read_csv if kind == "csv" else pl.read_parquet
    assert read(path)["voice"].to_list() == ["Cherry", "Stella"]
    assert float(read(path)["cost"].sum()) == pytest.approx(0.00528)


def test_a_bill_without_requests_says_so(command: Command, tmp_path: Path) -> None:
    """No heads over nothing."""
    (tmp_path / "dataset.json").write_text("{}")
    assert command("report", tmp_path).out == "no requests\n"


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (("--by", "voize"), 2, "Did you mean 'voice'"),
        (("--format", "parquet"), 2, "give a file"),
        (("--format", "xlsx"), 2, "xlsx"),
        (("--output", "/nowhere/bill.csv"), 6, "/nowhere/bill.csv"),
    ],
)
def test_what_cannot_be_is_told(
    command: Command, dataset: Path, flags: tuple[str, ...], status: int, message: str
) -> None:
    """With the status of its kind."""
    result = command("report", dataset, *flags)
    assert result.status == status
    assert message in result.err


def test_what_cannot_be_true_is_told_wherever_a_bill_is(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path
) -> None:
    """Once while it runs, with both figures; then in the summary, for programs, and in the report."""
    local.set_faults([{"what": "shape", "report_ratio": 0}])
    ran = command("run", make_source(), tmp_path / "out", *LOCAL, "--set", "voice=Cherry")
    assert ran.status == 0
    assert ran.err.count("reports 0 characters where we count 22, which cannot be true") == 1
    assert "3 requests with a reported usage that cannot be true: 0.0053 CNY are in question" in ran.out
    summary = command("run", make_source(), tmp_path / "out", *LOCAL, "--set", "voice=Cherry", "--json").json
    assert (summary["implausible_attempts"], summary["cost_in_question"], summary["cost"]) == (
        3,
        "0.005280000",
        "0.005280000",
    )
    assert summary["this_run"]["implausible_attempts"] == 0
    report = command("report", tmp_path / "out").out
    assert "3 requests with a reported usage that cannot be true: 0.005280000 CNY of cost_upper_bound" in report
    (row,) = command("report", tmp_path / "out", "--format", "json").json["report"]
    assert (row["implausible"], row["cost_in_question"]) == (3, "0.005280000")
