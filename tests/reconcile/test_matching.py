"""Planted errors, request by request: each is found, and has its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from tests.reconcile.charges import (
    MODEL,
    START,
    Month,
    attempt,
    charge,
    cost_of,
    invoice_of,
    layout_of,
    month,
    usage_of,
)
from tests.reconcile.test_property import check_exact, check_settles
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.periods import period_of
from tts_pipeline.reconcile import Reconciliation, reconcile, settlements

LAYOUT = layout_of('[accounts]\nmain = "main"\n')
AT = 6
"""The request that the errors are about."""

Plant = Callable[[Month, dict[str, Any]], None]


def _line(found: Month) -> dict[str, Any]:
    return next(line for line in found.lines if line["request_id"] == f"r-{AT}")


def _missing(found: Month, line: dict[str, Any]) -> None:
    found.lines.remove(line)


def _double(found: Month, line: dict[str, Any]) -> None:
    found.lines.append({**line, "line": 900})


def _double_under_new_id(found: Month, line: dict[str, Any]) -> None:
    found.lines.append({**line, "line": 900, "request_id": "new", "start": line["start"] + timedelta(seconds=4)})


def _wrong_price(found: Month, line: dict[str, Any]) -> None:
    line["amount"] *= 2


def _price_of_another_day(found: Month, line: dict[str, Any]) -> None:
    row = attempt(300, per_10k=Decimal(1))
    found.rows.append(row)
    found.lines.append(charge(row))
    line["amount"] = cost_of(line["quantity_characters"], Decimal(1))


def _shifted_day(found: Month, line: dict[str, Any]) -> None:
    line["start"] += timedelta(days=1)
    line["end"] += timedelta(days=1)


def _foreign_request(found: Month, line: dict[str, Any]) -> None:
    found.lines.append({**line, "line": 900, "request_id": "x", "account": "other", "amount": Decimal("0.5")})


def _foreign_account(found: Month, line: dict[str, Any]) -> None:
    line["account"] = "other"


def _changed_quantity(found: Month, line: dict[str, Any]) -> None:
    line["quantity_characters"] += 50
    line["amount"] += cost_of(50)


def _changed_quantity_alone(found: Month, line: dict[str, Any]) -> None:
    line["quantity_characters"] += 50


def _lost_credit(found: Month, line: dict[str, Any]) -> None:
    found.rows[AT]["list_cost"] = line["amount"] * 2
    line["amount"] *= 2


def _credit(found: Month, line: dict[str, Any]) -> None:
    nothing = {"request_id": None, "model": None, "quantity_characters": None}
    found.lines.append({**line, **nothing, "line": 900, "charge": "credit", "amount": -Decimal("0.01")})


def _rounding_line(found: Month, line: dict[str, Any]) -> None:
    nothing = {"request_id": None, "model": None, "quantity_characters": None}
    found.lines.append({**line, **nothing, "line": 900, "charge": "rounding", "amount": -Decimal("0.004")})


def _other_currency(found: Month, line: dict[str, Any]) -> None:
    line["currency"] = "USD"


def _stranger_in_other_currency(found: Month, line: dict[str, Any]) -> None:
    found.lines.append({**line, "line": 900, "request_id": "x", "currency": "USD"})


def _stranger(found: Month, line: dict[str, Any]) -> None:
    found.lines.append({**line, "line": 900, "request_id": "x", "quantity_characters": 9_999, "amount": Decimal(1)})


PLANTED: dict[str, tuple[Plant, list[tuple[str, str]]]] = {
    "a missing request": (_missing, [("only_ours", "only_ours")]),
    "a double charge under its id": (_double, [("double", "double")]),
    "a double charge under a new id": (_double_under_new_id, [("double", "double")]),
    "a wrong price": (_wrong_price, [("wrong_price", "wrong_price")]),
    "a price of another day": (_price_of_another_day, [("wrong_price", "price_day")]),
    "a shifted day": (_shifted_day, [("wrong_day", "wrong_day")]),
    "a request of a foreign account": (_foreign_request, [("foreign_account", "foreign_account")]),
    "a foreign account": (_foreign_account, [("foreign_account", "foreign_account")]),
    "a changed quantity": (_changed_quantity, [("wrong_quantity", "wrong_quantity")]),
    "a changed quantity without a changed amount": (_changed_quantity_alone, [("wrong_quantity", "wrong_quantity")]),
    "a lost credit": (_lost_credit, [("credit", "credit")]),
    "a credit": (_credit, [("credit", "credit")]),
    "a rounding line": (_rounding_line, [("rounding", "rounding")]),
    "another currency": (_other_currency, [("other_currency", "other_currency")] * 2),
    "a stranger in another currency": (_stranger_in_other_currency, [("other_currency", "other_currency")]),
    "a stranger": (_stranger, [("only_theirs", "only_theirs")]),
}


def _named(result: Reconciliation) -> list[tuple[str, str]]:
    found = result.differences.filter(~pl.col("kind").is_in(["matched", "settled"]))
    return found.select("kind", "step").rows()


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_error_is_named(name: str) -> None:
    """Alone, among requests whose outcome is unknown; the bridge is exact, and settles."""
    plant, expected = PLANTED[name]
    found = month()
    plant(found, _line(found))
    usage, invoice = usage_of(found.rows), invoice_of(found.lines)
    result = reconcile(usage, invoice, LAYOUT)
    assert _named(result) == expected
    check_exact(result)
    check_settles(usage, invoice, LAYOUT)


def test_without_errors_all_is_explained() -> None:
    """Charged failures, and attempts without an answer, charged or not, are no differences to ask about."""
    found = month()
    result = reconcile(usage_of(found.rows), invoice_of(found.lines), LAYOUT)
    assert result.unexplained == {"CNY": 0}
    assert _named(result) == []
    kinds = dict(result.differences.group_by("step").len().iter_rows())
    assert kinds == {"matched": 42, "unknown": 12, "failed": 6}
    assert result.bridge["step"].to_list() == ["confirmed", "failed", "unknown", "invoice"]
    not_charged = result.differences.filter(pl.col("note") == "not charged")["attempt_id"]
    assert set(not_charged) == {f"a-{number}" for number in range(2, 60, 10)}


def test_an_unanswered_attempt_takes_only_its_own_charge() -> None:
    """A stranger of other characters is not explained by an attempt whose bound is large enough."""
    found = month(20)
    row = attempt(400, characters=5_000, outcome="unknown")
    found.rows.append(row)
    found.lines.append(charge(attempt(401, characters=77), request_id="x", amount=cost_of(77)))
    assert _named(reconcile(usage_of(found.rows), invoice_of(found.lines), LAYOUT)) == [("only_theirs", "only_theirs")]
    for line in found.lines:
        line["quantity_characters"] = None
    result = reconcile(usage_of(found.rows), invoice_of(found.lines), LAYOUT)
    assert _named(result) == []  # without quantities, the bound is all there is to go by


def test_a_lost_journal_stands_for_many_requests() -> None:
    """Its one row bounds what its requests may cost together; what is beyond the bound is a stranger."""
    sent = [attempt(number, characters=100) for number in range(5)]
    claim = attempt(50, characters=450, outcome="unknown", utterance_id=None, at=START)
    lines = [charge(row, request_id=f"lost-{number}") for number, row in enumerate(sent)]
    usage, invoice = usage_of([claim]), invoice_of(lines)
    result = reconcile(usage, invoice, LAYOUT)
    assert result.differences.group_by("kind").len().sort("kind").rows() == [("only_theirs", 1), ("settled", 5)]
    check_exact(result)
    check_settles(usage, invoice, LAYOUT)


def test_lines_of_one_request_belong_together() -> None:
    """Text and audio are two lines of some vendors; a refund is a negative one."""
    row = attempt(1, characters=400)
    line = charge(row)
    parts = [
        {**line, "amount": line["amount"] / 4, "quantity_characters": 100},
        {**line, "amount": line["amount"] * 3 / 4},
    ]
    parts[1]["quantity_characters"] = 300
    refunded = [line, {**line, "line": 7}, {**line, "line": 8, "amount": -line["amount"], "quantity_characters": -400}]
    for lines in (parts, refunded):
        assert reconcile(usage_of([row]), invoice_of(lines), LAYOUT).differences["kind"].to_list() == ["matched"]


def test_a_request_of_another_month_is_named_by_its_day() -> None:
    """It is on this month's invoice, and in the report of the month before: settling adds it to this one."""
    before = attempt(1, at=START - timedelta(days=3))
    ours = attempt(2)
    usage = usage_of([before, ours])
    invoice = invoice_of([charge(before, start=START, end=START + timedelta(days=1)), charge(ours)])
    result = reconcile(usage, invoice, LAYOUT)
    assert _named(result) == [("wrong_day", "wrong_day")]
    assert result.bridge.select("step", "amount").rows() == [
        ("confirmed", ours["cost"]),
        ("wrong_day", before["cost"]),
        ("invoice", before["cost"] + ours["cost"]),
    ]
    assert "sent 2026-10-29 00:00:00 UTC" in result.differences["note"].to_list()
    added = pl.DataFrame(settlements(result, "i.csv")).lazy()
    settled = pl.concat([usage, added], how="diagonal_relaxed")
    november = settled.filter(pl.col("started_at") >= START).select(pl.col("cost").sum()).collect().item()
    assert november == before["cost"] + ours["cost"]
    assert settlements(reconcile(settled, invoice, LAYOUT), "i.csv").num_rows == 0


def test_midnight_is_the_layouts() -> None:
    """A request of the 30th in UTC is of the 1st in Shanghai: that month's invoice has it."""
    row = attempt(1, at=datetime(2026, 11, 30, 20, tzinfo=UTC))
    layout = replace(LAYOUT, timezone="Asia/Shanghai")
    result = reconcile(usage_of([row]), invoice_of([charge(row)]), layout)
    assert result.basis.period.key == "2026-12"
    assert _named(result) == []


def test_a_tolerance_makes_rounding_of_small_differences() -> None:
    """For each line in money, or as a share."""
    found = month()
    _line(found)["amount"] += Decimal("0.000001")
    usage, invoice = usage_of(found.rows), invoice_of(found.lines)
    assert _named(reconcile(usage, invoice, LAYOUT)) == [("wrong_price", "wrong_price")]
    for more in ("money = 0.000001", "share = 0.01"):
        layout = layout_of(f'[accounts]\nmain = "main"\n[tolerance]\n{more}\n')
        assert _named(reconcile(usage, invoice, layout)) == [("rounding", "rounding")]


def test_only_the_layouts_services_and_accounts_are_compared() -> None:
    """A ledger holds more than one vendor's usage."""
    found = month(10)
    others = [attempt(70, service="elsewhere"), attempt(71, account="second"), attempt(72, account=None, key_id="abc")]
    layout = replace(LAYOUT, services=("local",))
    result = reconcile(usage_of([*found.rows, *others]), invoice_of(found.lines), layout)
    assert _named(result) == []
    by_key = replace(LAYOUT, accounts={"main": "main", "k": "abc"}, services=("local",))
    assert _named(reconcile(usage_of([*found.rows, others[2]]), invoice_of(found.lines), by_key)) == [
        ("only_ours", "only_ours")
    ]


def test_usage_without_a_price_gets_the_invoices() -> None:
    """Its cost is unknown, which is not 0: nothing is unexplained."""
    nothing = {"cost": None, "cost_upper_bound": None, "currency": None, "price_id": None, "price_basis": None}
    row = attempt(1)
    usage, invoice = usage_of([{**row, **nothing}]), invoice_of([charge(row)])
    result = reconcile(usage, invoice, LAYOUT)
    assert result.differences.select("kind", "step").rows() == [("settled", "unpriced")]
    check_exact(result)


def test_lines_of_other_months_are_left_out() -> None:
    """A file may hold a whole year."""
    found = month(10)
    period = period_of("month", "UTC", START + timedelta(days=1), "")
    away = charge(attempt(80), start=START - timedelta(days=40), end=START - timedelta(days=39), request_id="x")
    result = reconcile(usage_of(found.rows), invoice_of([*found.lines, away]), LAYOUT, period)
    assert _named(result) == []
    assert result.notes == [f"lines of other months are left out: 1, of {away['amount'].normalize():f} CNY together"]
    with pytest.raises(ConfigurationError, match="no lines in this period"):
        reconcile(usage_of(found.rows), invoice_of([away]), LAYOUT, period)


def test_an_invoice_that_is_not_final_is_told() -> None:
    """Its last days come later: the requests of these are not missing."""
    found = month(10)
    late = attempt(90, at=START + timedelta(days=20))
    result = reconcile(usage_of([*found.rows, late]), invoice_of(found.lines), LAYOUT)
    assert _named(result) == [("only_ours", "only_ours")]
    assert any("it may not be final" in note for note in result.notes)


def test_an_invoice_without_usage_is_all_theirs() -> None:
    """And usage without lines cannot be compared."""
    found = month(3)
    result = reconcile(usage_of([]), invoice_of(found.lines), LAYOUT)
    assert {kind for kind, _ in _named(result)} == {"only_theirs"}
    check_exact(result)
    with pytest.raises(ConfigurationError, match="no lines to compare"):
        reconcile(usage_of(found.rows), invoice_of([]), LAYOUT)


def test_names_that_only_one_side_has_are_told() -> None:
    """A layout may map them."""
    found = month(10)
    usage, lines = usage_of(found.rows), found.lines
    elsewhere = reconcile(usage, invoice_of(lines), replace(LAYOUT, services=("dashscope",)))
    assert elsewhere.notes == ["there is no usage of dashscope in this period; there is usage of local"]
    for line in lines:
        line["model"] = "flash-snapshot"
    assert reconcile(usage, invoice_of(lines), LAYOUT).notes == [
        "the usage has no model flash-snapshot: if it is one of ours, name it in [models] of the layout"
    ]


def test_differences_have_their_columns() -> None:
    """The table is for spreadsheets and scripts: names and types do not change."""
    found = month(10)
    _wrong_price(found, _line(found))
    result = reconcile(usage_of(found.rows), invoice_of(found.lines), LAYOUT)
    (row,) = result.differences.filter(pl.col("kind") == "wrong_price").to_dicts()
    cost = cost_of(106)
    assert row == {
        "kind": "wrong_price",
        "step": "wrong_price",
        "line": AT + 2,
        "lines": 1,
        "request_id": f"r-{AT}",
        "attempt_id": f"a-{AT}",
        "day": (START + timedelta(hours=12)).date(),
        "model": MODEL,
        "account": "main",
        "currency": "CNY",
        "ours": cost,
        "theirs": 2 * cost,
        "difference": cost,
        "ours_quantity": 106,
        "theirs_quantity": 106,
        "measure": "characters",
        "note": None,
    }
