"""The bill on the command line: for people, for a spreadsheet and for programs."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
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
    """A line per voice and currency, numbers in full, without columns that are 0 everywhere."""
    result = command("report", dataset, "--by", "voice")
    assert result.status == 0
    head, *lines = (line.split() for line in result.out.partition("\n\n")[0].splitlines())
    assert head[:2] + head[-1:] == ["voice", "requests", "currency"]
    assert "unknown" not in head
    cost = head.index("cost")
    assert [(line[0], line[1], line[cost], line[-1]) for line in lines] == [
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
        (("--by", "team"), 2, "A tag is tag:team"),
        (("--format", "parquet"), 2, "give a file"),
        (("--format", "xlsx"), 2, "xlsx"),
        (("--output", "bill.xlsx"), 2, "does not tell the format"),
        (("--output", "/nowhere/bill.csv"), 6, "/nowhere/bill.csv"),
        (("--month", "2026-13"), 2, "'2026-13' is no month"),
        (("--timezone", "Asia/Shangai"), 2, "Did you mean 'Asia/Shanghai'"),
        (("--from", "2026-11-02", "--until", "2026-11-01"), 2, "is empty"),
        (("--where", "vioce = 'Cherry'"), 2, "Did you mean 'voice'"),
        (("--by", "tag:team"), 2, "none of these requests has the tag 'team' (They have no tags at all)"),
        (("--reprice", "/nowhere/prices.toml"), 2, "/nowhere/prices.toml"),
        (("--ledger", "elsewhere"), 2, "of datasets or of a ledger"),
        (("--ledger", ""), 2, "--ledger must not be empty"),
        (("--ledger", "s3://key:secret@bucket/ledger"), 2, "--ledger has a password"),
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


TEAMS = ("--tag", "team=radio")


@pytest.fixture
def ledger(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A ledger with the usage of two datasets, one of them of a team; the datasets are gone."""
    assert local.url
    monkeypatch.setenv("TTS_LEDGER", str(tmp_path / "ledger"))
    for name, tags in (("tagged", TEAMS), ("untagged", ())):
        assert command("run", make_source(), tmp_path / name, *LOCAL, "--set", "voice=Cherry", *tags).status == 0
        assert command("ledger", "add", tmp_path / name).status == 0
        shutil.rmtree(tmp_path / name)
    return tmp_path / "ledger"


def test_without_datasets_it_is_of_the_ledger(command: Command, ledger: Path) -> None:
    """Spend without a team has a line of its own; the period is told; a deleted dataset is in it."""
    month = f"{datetime.now(UTC):%Y-%m}"
    result = command("report", "--by", "tag:team", "--by", "month")
    assert result.status == 0
    tagged, untagged = (line.split("  ") for line in result.out.partition("\n\n")[0].splitlines()[1:])
    assert (tagged[0], untagged[0]) == ("radio", "(no team)")
    first, second = command("report", "--by", "tag:team", "--by", "month", "--format", "json").json["report"]
    assert [(row["tag:team"], row["month"], row["requests"]) for row in (first, second)] == [
        ("radio", month, 3),
        (None, month, 3),
    ]
    assert f"\nrequests from {month}-01 00:00 until " in command("report", "--month", month).out
    assert first["cost"] == first["list_cost"]
    assert (first["effective_rate"], first["audio_hours"] > 0) == (1.0, True)
    other = command("report", "--ledger", ledger, "--where", "tag:team = 'radio'", "--format", "json").json["report"]
    assert other[0]["requests"] == 3
    past = command("report", "--month", "2020-02", "--timezone", "Asia/Shanghai")
    assert (past.status, past.out) == (0, "no requests from 2020-02-01 00:00 until 2020-03-01 00:00 (Asia/Shanghai)\n")
    facts = command("report", "--month", "2020-02", "--format", "json").json
    assert facts["period"] == {
        "since": "2020-02-01T00:00:00+00:00",
        "until": "2020-03-01T00:00:00+00:00",
        "timezone": "UTC",
    }
    assert (facts["report"], facts["open"], facts["saved"]) == ([], [], [])


def test_a_table_is_pasted_as_markdown(command: Command, dataset: Path, tmp_path: Path) -> None:
    """A table for each block of figures, numbers to the right; a file's name is enough."""
    result = command("report", dataset, "--by", "voice", "--format", "markdown")
    blocks = result.out.rstrip().split("\n\n")
    assert [line.count("|") for line in blocks[0].splitlines()] == [9] * 4
    assert blocks[0].splitlines()[1].split("|")[1:3] == [" --- ", " ---: "]
    assert "| Cherry | 2 |" in blocks[0]
    assert "cost_per_10k_characters" in blocks[1].splitlines()[0]
    assert command("report", dataset, "--by", "voice", "--output", tmp_path / "bill.md").status == 0
    assert (tmp_path / "bill.md").read_text() == result.out


def test_history_is_priced_anew(command: Command, dataset: Path, tmp_path: Path) -> None:
    """Old and new sums side by side, and nothing is sent."""
    (tmp_path / "prices.toml").write_text(
        '[prices.half]\nservice = "local"\nmodel = "qwen3-tts-flash"\ncurrency = "CNY"\nper_10k_characters = 0.4\n'
    )
    reprice = ("--reprice", tmp_path / "prices.toml")
    (row,) = command("report", dataset, *reprice, "--format", "json").json["report"]
    assert [row[name] for name in ("cost", "repriced_cost", "difference", "repriced_list_cost")] == [
        *("0.005280000", "0.002640000", "-0.002640000", "0.005280000"),
    ]
    table = command("report", dataset, *reprice, "--by", "voice")
    assert "repriced_cost" in table.out.splitlines()[0]
    assert "0.001760000" in table.out.splitlines()[1]


def test_what_was_reused_is_told_with_who_paid_first(
    command: Command, make_source: MakeSource, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In rows, characters and money; by the dataset, and by the ledger of a run that bought nothing."""
    monkeypatch.setenv("TTS_LEDGER", str(tmp_path / "ledger"))
    reuse = ("--reuse", dataset, "--column", "voice=speaker")
    assert command("run", make_source(), tmp_path / "again", *LOCAL, *reuse).status == 0
    out = command("report", tmp_path / "again").out
    assert f"saved: 3 rows, 66 characters, 0.005280000 CNY: paid first by {dataset}" in out
    (saved,) = command("report", tmp_path / "again", "--format", "json").json["saved"]
    assert command("report", "--format", "json").json["saved"] == [saved]
    assert saved == {"from": str(dataset), "rows": 3, "characters": 66, "cost": "0.005280000", "currency": "CNY"}
