"""The figures of the ledger's page: those of the report, by month."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.browse.ledgers import CHARGED, HOSTILE, POSSIBLE, add_rows, month_begins, write_ledger
from tests.ledger.usage import COST
from tts_pipeline.browse.ledger_bill import LedgerBill
from tts_pipeline.browse.months import ALL
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.ledger import Ledger
from tts_pipeline.report.usage import usage_report

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return write_ledger(tmp_path, NOW)


def _rows(bill: dict[str, Any], name: str) -> dict[str | None, tuple[int, Decimal]]:
    return {row["value"]: (row["requests"], row["cost"]) for row in bill["by"][name]["rows"]}


def test_the_current_month_comes_first(ledger: Ledger) -> None:
    """Then the others, the newest first; a frozen one is marked."""
    bill = LedgerBill(ledger).figures(now=NOW)
    assert (bill["month"], bill["timezone"]) == ("2026-11", "UTC")
    months = [(one["month"], one["is_current"], one["frozen_at"] is not None) for one in bill["months"]]
    assert months == [("2026-11", True, False), ("2026-10", False, True)]
    assert bill["totals"][0]["requests"] == 8
    assert bill["frozen"] is None


def test_every_key_adds_up_to_the_month(ledger: Ledger) -> None:
    """By team, model, account, key, door and voice, with the figures of the report."""
    bill = LedgerBill(ledger).figures(now=NOW)
    radio, other = (3, COST * 6), (5, COST * 15)
    assert _rows(bill, "tag:team") == {"radio": radio, HOSTILE: other}
    assert _rows(bill, "model") == {"narrator": radio, "singer": other}
    assert _rows(bill, "account") == {"acme": radio, "spare": other}
    assert _rows(bill, "key_id") == {"0123abcd": radio, "89abcdef": other}
    assert _rows(bill, "door") == {"run": radio, "synthesize": other}
    assert _rows(bill, "voice") == {"Cherry": radio, "Ethan": other}
    assert _rows(bill, "dataset") == {"/data/4": radio, "/data/5": other}


@pytest.mark.parametrize(("month", "timezone"), [("2026-10", "UTC"), ("2026-11", "Asia/Shanghai"), (ALL, "UTC")])
def test_it_is_the_report(ledger: Ledger, month: str, timezone: str) -> None:
    """Of a frozen month, of a month of another time zone, which the frozen one overlaps, and of all."""
    bill = LedgerBill(ledger).figures(month, timezone, NOW)
    period = {} if month == ALL else {"month": month}
    names = ("requests", "cost", "cost_upper_bound", "corrections", "settled_cost")
    report = usage_report(ledger=str(ledger.store.root), timezone=timezone, **period)
    assert [{name: row[name] for name in names} for row in bill["totals"]] == report.select(names).to_dicts()


def test_a_frozen_month_is_told_with_what_came_later(ledger: Ledger) -> None:
    """From its cost when it was frozen, over corrections and settlements, to the cost now."""
    bill = LedgerBill(ledger).figures("2026-10", now=NOW)
    (row,) = bill["reconciliation"]
    assert row == {
        "currency": "CNY",
        "frozen_cost": COST * 10,
        "requests_cost": COST * 13,
        "corrections": 2,
        "correction_cost": COST * 3,
        "settled_cost": COST * CHARGED,
        "cost": COST * (13 + CHARGED),
        "unknown": 1,
        "still_possible": 0,
    }
    (settled,) = bill["settlements"]
    assert (settled["name"], settled["rows"]) == ("invoice-7", 1)
    assert (settled["cost"], settled["cost_upper_bound"]) == (COST * CHARGED, COST * (CHARGED - POSSIBLE))
    assert bill["frozen"]["rows"] == 5
    assert LedgerBill(ledger).figures(now=NOW)["settlements"] == []


def test_days_are_those_of_the_time_zone(ledger: Ledger) -> None:
    """The first minute of a month of UTC is 8 o'clock in Shanghai; in New York it is a day of the month before."""
    bill = LedgerBill(ledger)
    days = {
        zone: {row["start"].isoformat() for row in bill.figures(ALL, zone, NOW)["over_time"]["rows"]}
        for zone in ("Asia/Shanghai", "America/New_York")
    }
    assert "2026-11-01T00:00:00" in days["Asia/Shanghai"]
    assert "2026-10-31T00:00:00" in days["America/New_York"]
    assert bill.figures("2026-11", "America/New_York", NOW)["totals"] == []


def test_open_runs_have_their_bounds(ledger: Ledger) -> None:
    """In the month in which they began, and in later ones; not before."""
    (run,) = LedgerBill(ledger).figures(now=NOW)["open"]
    assert (run["what"], run["cost_upper_bound"]) == ("run-open", COST * 12)
    assert run["makes"].endswith(HOSTILE)
    assert LedgerBill(ledger).figures("2026-10", now=NOW)["open"] == []
    assert LedgerBill(ledger).figures("2026-12", now=NOW)["open"] == [run]


def test_what_is_added_is_seen(ledger: Ledger, tmp_path: Path) -> None:
    """A page that is loaded again adds new files to what it knows, and a month that is frozen meanwhile is the same."""
    bill = LedgerBill(ledger)
    assert bill.figures(now=NOW)["totals"][0]["requests"] == 8
    add_rows(ledger, tmp_path, 6, NOW, 7)
    grown = bill.figures(now=NOW)
    assert grown["totals"][0]["requests"] == 15
    assert grown == LedgerBill(ledger).figures(now=NOW)
    later = month_begins(NOW)[1] + timedelta(days=40)
    ledger.compact("2026-11", "UTC", int(later.timestamp() * 1e6))
    assert bill.figures("2026-11", now=later)["totals"] == grown["totals"]


def test_known_files_are_not_read_again(ledger: Ledger, tmp_path: Path) -> None:
    """A file that is damaged later fails a new page, which names it; a page that has read the file needs it no more."""
    bill = LedgerBill(ledger)
    before = bill.figures(now=NOW)
    (path,) = (tmp_path / "ledger/usage").glob("*/part-00000-*00000005.parquet")
    path.write_bytes(bytes(path.stat().st_size))
    assert bill.figures(now=NOW) == before
    with pytest.raises(StorageError, match="00000005"):
        LedgerBill(ledger).figures(now=NOW)


def test_a_wrong_month_or_time_zone_is_refused(ledger: Ledger) -> None:
    """With what is wrong."""
    for month, timezone, match in (("2026-13", "UTC", "no month"), (None, "Asia/Shanghia", "no time zone")):
        with pytest.raises(ConfigurationError, match=match):
            LedgerBill(ledger).figures(month, timezone, NOW)


def test_an_empty_ledger_has_a_month(tmp_path: Path) -> None:
    """And nothing in it."""
    bill = LedgerBill(Ledger(write_ledger(tmp_path, NOW).store.subfolder("none"))).figures(now=NOW)
    assert ([one["month"] for one in bill["months"]], bill["totals"], bill["by"].keys() >= {"model"}) == (
        ["2026-11"],
        [],
        True,
    )
