"""The commands ``ledger add``, ``ledger compact`` and ``ledger status``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.conftest import LOCAL, Command, MakeSource
from tests.ledger.processes import NOW_US, run_start
from tests.ledger.usage import guess_rows, journal_id, put_usage, usage_rows
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.ledger import Ledger
from tts_pipeline.periods import microseconds
from tts_pipeline.storage.local_store import LocalStore

OCTOBER, NOVEMBER = datetime(2025, 10, 15, tzinfo=UTC), datetime(2025, 11, 15, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ledger that the environment names."""
    monkeypatch.setenv("TTS_LEDGER", str(tmp_path / "ledger"))
    return tmp_path / "ledger"


def _dataset(folder: Path, *days: datetime) -> str:
    for part, at in enumerate(days):
        put_usage(LocalStore(folder), part, journal_id(at, part), usage_rows(journal_id(at, part), at))
    return str(folder)


def test_a_real_run_is_added(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: Path, place: Path
) -> None:
    """Its usage is there once, however often it is added; so a report needs no dataset any more."""
    destination = tmp_path / "spoken"
    assert command("run", make_source(), destination, *LOCAL, "--voice", "Cherry").status == 0
    added = command("ledger", "add", destination)
    assert (added.status, added.err) == (0, "")
    again = command("ledger", "add", destination, "--json").json
    assert again == {"ledger": str(place), "copied_files": {str(destination): 0}}
    status = command("ledger", "status", "--json").json
    assert [month["rows"] for month in status["months"]] == [3]
    (dataset,) = status["datasets"]
    assert (dataset["destination"], dataset["missing_files"], dataset["open_claims"]) == (str(destination), 0, 0)


def test_a_month_is_frozen(command: Command, tmp_path: Path, place: Path) -> None:
    """People and programs see what it holds; a second time changes nothing."""
    command("ledger", "add", _dataset(tmp_path / "one", OCTOBER, NOVEMBER))
    result = command("ledger", "compact", "--month", "2025-11")
    first, totals = result.out.splitlines()
    assert first.startswith("2025-11 (UTC), frozen 20")
    assert first.endswith(": 4 rows of 1 file in 1 table")
    assert totals == "4 requests, 10 characters, 0.000000800 CNY"
    again = command("ledger", "compact", "--month", "2025-11", "--json").json
    assert (again["was_frozen"], again["rows"], again["totals"]["CNY"]["cost"]) == (True, 4, "0.000000800")
    assert (again["start"], again["end"]) == ("2025-11-01T00:00:00+00:00", "2025-12-01T00:00:00+00:00")


def test_open_runs_are_a_warning(command: Command, tmp_path: Path, place: Path) -> None:
    """What they add later will be corrections."""
    ledger = Ledger(LocalStore(place))
    ledger.begin_run(run_start("a" * 32, started_at_us=microseconds(NOVEMBER), characters_upper_bound=1_000))
    result = command("ledger", "compact", "--month", "2025-11")
    assert result.status == 0
    assert f"warning: open: run {'a' * 32} since 2025-11-15 00:00 UTC (process 4711 of ada on host-1)" in result.err
    assert "at most 1,000 characters: what it adds to 2025-11 will be a correction" in result.err


def test_people_see_what_is_in_it(command: Command, tmp_path: Path, place: Path) -> None:
    """Months that are frozen or open, corrections, datasets with what is missing, and open runs."""
    dataset = _dataset(tmp_path / "one", OCTOBER, NOVEMBER)
    command("ledger", "add", dataset)
    command("ledger", "compact", "--month", "2025-11")
    late = journal_id(NOVEMBER, 7)
    put_usage(LocalStore(tmp_path / "one"), 7, late, guess_rows(late, NOVEMBER, 10))
    command("ledger", "add", dataset)
    other = journal_id(OCTOBER, 8)
    put_usage(LocalStore(tmp_path / "one"), 8, other, usage_rows(other, OCTOBER))
    Ledger(LocalStore(place)).begin_run(run_start("a" * 32, started_at_us=microseconds(NOVEMBER)))
    result = command("ledger", "status")
    assert (result.status, result.err) == (0, "")
    head, months, datasets, runs, note = result.out.rstrip("\n").split("\n\n")
    assert head == f"ledger {place}"
    assert [line.split() for line in months.splitlines()] == [
        ["MONTH", "ZONE", "STATE", "ROWS", "FILES", "CORRECTIONS"],
        ["2025-10", "UTC", "open", "4", "1", "-"],
        ["2025-11", "UTC", "frozen", "4", "1", "1"],
    ]
    assert datasets.splitlines()[1].split()[2:] == ["1", "0", dataset]
    assert runs.startswith(f"open: run {'a' * 32}")
    assert runs.endswith("makes /data/one, without a cap")
    assert "tts-pipeline ledger add DATASET" in note


def test_a_month_without_usage_is_frozen_with_a_warning(command: Command, place: Path) -> None:
    """It may be a typing error."""
    Ledger(LocalStore(place)).make()
    result = command("ledger", "compact", "--month", "2024-01")
    assert result.status == 0
    assert "there is no usage in 2024-01 (UTC)" in result.err


def test_a_dataset_that_is_gone_is_shown_as_such(command: Command, tmp_path: Path, place: Path) -> None:
    """Its usage stays; so does that of a place that nobody should be led to."""
    folder = tmp_path / "one"
    _dataset(folder, OCTOBER)
    ledger = Ledger(LocalStore(place))
    ledger.sync_dataset(LocalStore(folder), str(tmp_path / "gone"))
    ledger.sync_dataset(LocalStore(folder), "http://127.0.0.1:9/x")
    status = command("ledger", "status", "--json").json
    assert [one["missing_files"] for one in status["datasets"]] == [None, None]
    assert [month["rows"] for month in status["months"]] == [4]


def test_there_is_none_yet(command: Command, place: Path) -> None:
    """Looking at it makes nothing."""
    assert "no ledger yet at" in command("ledger", "status").out
    assert command("ledger", "status", "--json").json["is_made"] is False
    result = command("ledger", "compact", "--month", "2025-11")
    assert (result.status, "no ledger yet at" in result.err) == (2, True)
    assert not place.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("status", "--ledger", ""), "--ledger must not be empty"),
        (("status", "--ledger", "none"), "there is no ledger: it is set to none"),
        (("status", "--ledger", "ftp://ada:secret@host/x"), "--ledger has a password"),
        (("add", "nowhere"), "there is no dataset at"),
        (("add",), "the following arguments are required: DATASET"),
        (("compact",), "the following arguments are required: --month"),
        (("compact", "--month", "November"), "'November' is not a month"),
        (("compact", "--month", "2999-01"), "the month 2999-01 of UTC has not ended"),
        (("compact", "--month", "2025-11", "--timezone", "Mars"), "no time zone 'Mars' is known"),
    ],
)
def test_a_wrong_argument_is_an_error(
    command: Command, place: Path, arguments: Sequence[str], message: str, tmp_path: Path
) -> None:
    """Exit 2, one line, and no password in it."""
    Ledger(LocalStore(place)).compact("2024-11", "UTC", NOW_US)
    result = command("ledger", *arguments)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert "secret" not in result.err


def test_a_damaged_file_is_exit_6(command: Command, tmp_path: Path, place: Path) -> None:
    """And is named."""
    command("ledger", "add", _dataset(tmp_path / "one", OCTOBER))
    (file,) = place.glob("usage/*/*")
    file.write_bytes(b"x")
    result = command("ledger", "status")
    assert result.status == 6
    assert file.name in result.err
