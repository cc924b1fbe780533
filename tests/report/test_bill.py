"""One bill over every door: the ledger's, by rows and by sums, with its corrections, settlements and open runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.ledger.usage import COST, journal_id, put_usage, usage_rows
from tests.report.test_usage import CLAIM, a_request, write_dataset
from tts_pipeline.dataset.claims import write_claim
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.ledger import Ledger, RunEnd, RunStart, Saving
from tts_pipeline.ledger.layout import usage_path
from tts_pipeline.periods import microseconds
from tts_pipeline.report import open_parts, usage, usage_report
from tts_pipeline.report.bill import Bill, query_bill, query_ledger
from tts_pipeline.report.period import read_period
from tts_pipeline.report.usage import savings_by_origin, sum_bill
from tts_pipeline.schema import to_table, usage_schema
from tts_pipeline.storage.open_store import open_store

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
NOW_US = microseconds(datetime(2027, 1, 15, tzinfo=UTC))
TEAMS = ("radio", "news", None)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Three datasets, one of each team, each with rows in four months; the datasets are gone."""
    ledger = Ledger(open_store(tmp_path / "ledger"))
    for number, team in enumerate(TEAMS):
        dataset = open_store(tmp_path / f"out-{number}")
        for month in range(4):
            _publish(dataset, number * 10 + month, NOVEMBER + timedelta(days=31 * (month - 1), hours=number), team)
        ledger.sync_dataset(dataset, f"/data/{team}")
    return ledger


def _publish(dataset: Any, part: int, at: datetime, team: str | None, rows: int = 6) -> None:
    journal = journal_id(at, part)
    outcomes = ("succeeded", "discarded", "failed", "succeeded", "unknown", "succeeded")
    tags = [("team", team), ("part", str(part))] if team else []
    requests = [
        row
        | {"outcome": outcome, "voice": ("Cherry", "Stella", None)[n % 3], "attempt": 1 + n % 2, "tags": tags}
        | {"characters_reported": row["characters_counted"] + n % 2, "implausible": n == 3}
        | ({"list_cost": row["cost"] * 2} if n % 2 else {})
        | (
            {}
            if outcome in {"succeeded", "discarded"}
            else {"characters_billed": 0, "cost": Decimal(0), "audio_ms": None}
        )
        for n, (row, outcome) in enumerate(zip(usage_rows(journal, at, rows), outcomes, strict=True))
    ]
    put_usage(dataset, part, journal, requests)


REPORTS: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    (["tag:team"], {"month": "2026-11"}),
    (["tag:team", "month", "voice"], {"timezone": "Asia/Shanghai"}),
    (
        ["hour", "outcome", "error_code", "door", "kind", "key_id", "dataset"],
        {"month": "2026-11", "timezone": "Asia/Kolkata"},
    ),
    (["day", "tag:part"], {"where": "tag:team = 'radio' AND voice = 'Cherry'"}),
    (["model"], {"where": "voice = 'Stella'", "since": "2026-11-01"}),
    (["invocation_id"], {"where": "characters_billed > 3"}),
    (["model"], {"where": "started_at >= '2026-11-01 00:03'", "month": "2026-11"}),
    (["service"], {"until": "2026-11-01T02:07"}),
    (["account"], {"where": "tag:team = 'news' AND characters_billed > 3", "until": "2026-11-01T02:30"}),
]


@pytest.mark.parametrize(("by", "options"), REPORTS)
def test_rows_and_sums_say_the_same(ledger: Ledger, tmp_path: Path, by: list[str], options: dict[str, Any]) -> None:
    """Before and after months are frozen, and as the datasets say it."""
    place = str(tmp_path / "ledger")
    before = usage_report(None, by, ledger=place, **options)
    assert before["requests"].sum() > 0
    ledger.compact("2026-11", "UTC", NOW_US)
    ledger.compact("2026-12", "UTC", NOW_US)
    assert_frame_equal(usage_report(None, by, ledger=place, **options), before)
    if "dataset" not in by:
        datasets = [str(tmp_path / f"out-{number}") for number in range(len(TEAMS))]
        assert_frame_equal(usage_report(datasets, by, **options), before)


def test_rows_are_those_of_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    """The same columns as those of datasets; of a period, and of a team."""
    assert ledger.is_made()
    place = str(tmp_path / "ledger")
    rows = usage(ledger=place, since="2026-11-01", until="2026-12-01", where="tag:team = 'radio'")
    assert rows.select(pl.len()).collect().item() == 6
    assert rows.collect_schema() == usage([str(tmp_path / "out-0")]).collect_schema()
    assert usage(ledger=place).select(pl.len()).collect().item() == 72


def test_what_comes_after_a_month_was_frozen_is_a_correction(ledger: Ledger, tmp_path: Path) -> None:
    """It is in the sums, and told."""
    ledger.compact("2026-11", "UTC", NOW_US)
    late = open_store(tmp_path / "late")
    _publish(late, 99, NOVEMBER + timedelta(days=3), "radio")
    ledger.sync_dataset(late, "/data/late")
    (row,) = usage_report(None, ledger=str(tmp_path / "ledger"), month="2026-11").to_dicts()
    assert (row["requests"], row["corrections"], row["correction_cost"]) == (24, 6, COST * (1 + 2 + 4 + 6))


def test_settlements_are_no_requests(ledger: Ledger, tmp_path: Path) -> None:
    """What an invoice says of an unknown attempt is added to its cost, and taken from what is possible."""
    place = str(tmp_path / "ledger")
    before = usage_report(None, ["tag:team"], ledger=place, month="2026-11").row(0, named=True)
    absent = {"attempt": None, "audio_ms": None}
    (settled,) = usage_rows("settled", NOVEMBER, 1, outcome="settled", tags=[("team", "news")], **absent)
    change = {"cost": COST * 3, "cost_upper_bound": COST * -2, "characters_billed": 3, "characters_upper_bound": -2}
    ledger.append_settlement("invoice-11", to_table([settled | change], usage_schema()))
    after = usage_report(None, ["tag:team"], ledger=place, month="2026-11").row(0, named=True)
    assert after["tag:team"] == "news"
    for name, delta in change.items():
        assert after[name] - before[name] == delta
    assert (after["requests"], after["settled_cost"]) == (before["requests"], COST * 3)
    assert all(after[name] == before[name] for name in ("requests_without_cost", "succeeded", "wasted"))


def _run(name: str, at: datetime, **more: Any) -> RunStart:
    facts: dict[str, Any] = {
        "invocation_id": name,
        "dataset_id": "0" * 16,
        "destination": "/data/night",
        "door": "run",
        "host": "h",
        "user": "u",
        "pid": 7,
        "service": "studio",
        "model": "narrator",
        "account": "acme",
        "key_id": None,
        "tags": {"team": "radio"},
        "started_at_us": microseconds(at),
    }
    return RunStart(**(facts | more))


def _bill(ledger: Ledger, month: str) -> Bill:
    return query_ledger(ledger, read_period(month=month), lambda bill: bill)


def test_a_month_may_be_frozen_while_it_is_read(ledger: Ledger, tmp_path: Path) -> None:
    """The files that were chosen are gone then: the bill is read again, and is the same."""
    place, bills = str(tmp_path / "ledger"), list[Bill]()
    expected = usage_report(None, ["voice"], ledger=place, month="2026-11")

    def read(bill: Bill) -> pl.DataFrame:
        if not bills:
            for file in ledger.compact("2026-11", "UTC", NOW_US).manifest.files:
                ledger.store.remove(usage_path(file.dataset_id, file.name))
        bills.append(bill)
        return sum_bill(bill, ["voice"])

    assert_frame_equal(query_bill(None, place, read_period(month="2026-11"), read), expected)
    assert len(bills) == 2


def test_a_copy_of_a_dataset_has_no_bill_of_its_own(ledger: Ledger, tmp_path: Path) -> None:
    """Its usage and its open parts count once, as they do in the ledger; what one of the two alone has counts, too."""
    original, copy = tmp_path / "out-0", tmp_path / "copy"
    claims = {journal_id(NOVEMBER, part): part for part in (70, 71, 72)}
    for journal, part in claims.items():
        write_claim(open_store(original), part, replace(CLAIM, journal_id=journal))
    shutil.copytree(original, copy)
    journal = next(iter(claims))
    put_usage(open_store(copy), 70, journal, usage_rows(journal, NOVEMBER))
    ledger.sync_dataset(open_store(copy), "/data/copy")
    both = [str(original), str(copy)]
    expected = usage_report(None, ledger=str(tmp_path / "ledger"), where="tag:team = 'radio'")
    for datasets in (both, both[::-1]):
        assert usage(datasets).collect().height == expected["requests"].sum() == 24 + 4
        report = usage_report(datasets)
        assert report["requests"].sum() == 24 + 4
        assert report["cost"].to_list() == expected["cost"].to_list()
        assert report["open_parts"].sum() == 2
        assert len(open_parts(datasets)) == 3


def test_a_run_without_an_end_is_open(ledger: Ledger) -> None:
    """With its bound, in the report of each period that it may have spent in."""
    ledger.begin_run(_run("a" * 32, NOVEMBER, cost_upper_bound=Decimal(5), currency="CNY"))
    ended = _run("b" * 32, NOVEMBER)
    ledger.begin_run(ended)
    ledger.end_run(ended, RunEnd(ended_at_us=microseconds(NOVEMBER)))
    for month, runs in (("2026-10", []), ("2026-11", ["a" * 32]), ("2026-12", ["a" * 32])):
        bill = _bill(ledger, month)
        assert [run.invocation_id for run in bill.open_runs] == runs


def test_reuse_saved_what_others_paid_first(ledger: Ledger) -> None:
    """In money, on the line of the team that saved it, and by who paid."""
    for number, team in enumerate(("radio", "radio", "books")):
        start = _run(str(number) * 32, NOVEMBER + timedelta(hours=number), tags={"team": team})
        pilot = Saving(origin="s3://pilot", rows=2, characters=10, cost=Decimal("0.5"))
        saved = [pilot, Saving(origin="", rows=1, characters=4)]
        ledger.end_run(start, RunEnd(ended_at_us=start.started_at_us, currency="CNY", saved=saved))
    bill = _bill(ledger, "2026-11")
    report = sum_bill(bill, ["tag:team"]).select("tag:team", "currency", "requests", "saved_rows", "saved")
    assert report.filter(pl.col("saved_rows") > 0).rows() == [
        *(("books", "CNY", 0, 2, Decimal("0.5")), ("books", None, 0, 1, None)),
        *(("radio", "CNY", 6, 4, Decimal(1)), ("radio", None, 0, 2, None)),
    ]
    assert savings_by_origin(bill, "tag:team = 'radio'").rows() == [
        ("s3://pilot", 4, 20, Decimal(1), "CNY"),
        ("", 2, 8, None, None),
    ]
    by_kind = sum_bill(bill, ["kind"]).filter(pl.col("saved_rows") > 0)
    assert set(by_kind["kind"]) == {"speech"}, "it would have been bought as such"
    assert savings_by_origin(_bill(ledger, "2026-12")).is_empty()
    assert sum_bill(bill, where="voice = 'Cherry'")["saved_rows"].sum() == 0, "a run does not know voices"


def test_it_is_of_datasets_or_of_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of both; and a ledger that is not there is told, not read as nothing."""
    out = write_dataset(str(tmp_path / "out"), tmp_path, a_request())
    for read in (usage, usage_report):
        with pytest.raises(ConfigurationError, match="of datasets or of a ledger"):
            read([out], ledger=str(tmp_path / "ledger"))
        with pytest.raises(ConfigurationError, match="there is no ledger yet at"):
            read(ledger=tmp_path / "ledger")
        with pytest.raises(ConfigurationError, match="set to none"):
            read()
    Ledger(open_store(tmp_path / "mine")).sync_dataset(open_store(out), out)
    monkeypatch.setenv("TTS_LEDGER", str(tmp_path / "mine"))
    assert usage_report()["requests"].to_list() == [1]
