"""Planted errors in invoices by day: each is found, and has its name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from tests.reconcile.charges import MODEL, START, attempt, by_day, charge, cost_of, invoice_of, layout_of, usage_of
from tests.reconcile.test_property import check_exact, check_settles
from tts_pipeline.reconcile import Reconciliation, parse_layout, read_invoice, reconcile, settlements

LAYOUT = layout_of('[accounts]\nmain = "main"\n', level="day")
AT = 2
"""The day that the errors are about, of five."""

Lines = list[dict[str, Any]]
Plant = Callable[[Lines, dict[str, Any]], None]


def _days(requests: int = 40) -> tuple[list[dict[str, Any]], Lines]:
    rows = [attempt(number, at=START + timedelta(days=number % 5, hours=2 + number // 5)) for number in range(requests)]
    return rows, by_day([charge(row) for row in rows])


def _missing(lines: Lines, line: dict[str, Any]) -> None:
    lines.remove(line)


def _double(lines: Lines, line: dict[str, Any]) -> None:
    lines.append({**line, "line": 90})


def _wrong_price(lines: Lines, line: dict[str, Any]) -> None:
    line["amount"] *= 2


def _shifted_day(lines: Lines, line: dict[str, Any]) -> None:
    line["start"] += timedelta(days=1)
    line["end"] += timedelta(days=1)


def _half_shifted(lines: Lines, line: dict[str, Any]) -> None:
    moved = {**line, "line": 90, "quantity_characters": 100, "amount": cost_of(100)}
    line["quantity_characters"] -= 100
    line["amount"] -= cost_of(100)
    _shifted_day(lines, moved)
    lines.append(moved)


def _foreign_line(lines: Lines, line: dict[str, Any]) -> None:
    lines.append({**line, "line": 90, "account": "other"})


def _foreign_account(lines: Lines, line: dict[str, Any]) -> None:
    line["account"] = "other"


def _changed_quantity(lines: Lines, line: dict[str, Any]) -> None:
    line["quantity_characters"] += 50
    line["amount"] += cost_of(50)


def _credit(lines: Lines, line: dict[str, Any]) -> None:
    nothing = {"model": None, "quantity_characters": None}
    lines.append({**line, **nothing, "line": 90, "charge": "credit", "amount": -Decimal("0.01")})


def _credit_of_model(lines: Lines, line: dict[str, Any]) -> None:
    lines.append({**line, "line": 90, "quantity_characters": None, "charge": "credit", "amount": -Decimal("0.01")})


def _free_quota(lines: Lines, line: dict[str, Any]) -> None:
    line.update(charge="credit", amount=Decimal(0))


def _rounding_line(lines: Lines, line: dict[str, Any]) -> None:
    nothing = {"model": None, "quantity_characters": None}
    lines.append({**line, **nothing, "line": 90, "charge": "rounding", "amount": -Decimal("0.004")})


def _other_currency(lines: Lines, line: dict[str, Any]) -> None:
    line.update(currency="USD", amount=Decimal("0.001"))


def _other_model(lines: Lines, line: dict[str, Any]) -> None:
    lines.append({**line, "line": 90, "model": "sambert"})


PLANTED: dict[str, tuple[Plant, list[str]]] = {
    "nothing": (lambda lines, line: None, []),
    "a missing day": (_missing, ["only_ours"]),
    "a day charged twice": (_double, ["double"]),
    "a wrong price": (_wrong_price, ["wrong_price"]),
    "a shifted day": (_shifted_day, ["wrong_day", "wrong_day"]),
    "a part of a day on the next": (_half_shifted, ["wrong_day", "wrong_day"]),
    "a line of a foreign account": (_foreign_line, ["foreign_account"]),
    "a foreign account": (_foreign_account, ["foreign_account", "foreign_account"]),
    "a changed quantity": (_changed_quantity, ["wrong_quantity"]),
    "a credit": (_credit, ["credit"]),
    "a credit of a model": (_credit_of_model, ["credit"]),
    "a free quota": (_free_quota, ["credit"]),
    "a rounding line": (_rounding_line, ["rounding"]),
    "another currency": (_other_currency, ["other_currency", "other_currency"]),
    "a model that is none of ours": (_other_model, ["only_theirs"]),
}


def _named(result: Reconciliation) -> list[str]:
    return result.differences.filter(~pl.col("kind").is_in(["matched", "settled"]))["kind"].to_list()


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("has_quantities", [True, False])
def test_each_planted_error_of_a_day_is_named(name: str, has_quantities: bool) -> None:
    """Without quantities, all but a changed one, which is a changed price then."""
    plant, expected = PLANTED[name]
    rows, lines = _days()
    plant(lines, lines[AT])
    usage, invoice = usage_of(rows), invoice_of(lines)
    if not has_quantities:
        invoice = invoice.with_columns(quantity_characters=pl.lit(None, dtype=pl.Int64))
        expected = ["wrong_price" if kind == "wrong_quantity" else kind for kind in expected]
    result = reconcile(usage, invoice, LAYOUT)
    assert _named(result) == expected
    check_exact(result)
    check_settles(usage, invoice, LAYOUT)


def test_a_lost_credit_is_named_by_the_list_price() -> None:
    """The contract's price is ours; a day at the list price lacks its credit."""
    rows, lines = _days()
    for row in rows:
        row["list_cost"] = row["cost"] * 2
    lines[AT]["amount"] *= 2
    result = reconcile(usage_of(rows), invoice_of(lines), LAYOUT)
    assert _named(result) == ["credit"]
    assert "charged at the list price: the credit is missing" in result.differences["note"].to_list()
    assert result.unexplained == {"CNY": 0}


def test_a_day_at_the_price_of_the_next_is_named() -> None:
    """Vendors change prices at their midnight: a part of a day may have the other price."""
    rows, _ = _days()
    rows += [
        attempt(100 + number, at=START + timedelta(days=5, hours=number), per_10k=Decimal(1)) for number in range(9)
    ]
    lines = by_day([charge(row) for row in rows])
    whole, part = (reconcile(usage_of(rows), invoice_of(_last_priced(lines, share)), LAYOUT) for share in (1, 3))
    for result in (whole, part):
        kinds = result.differences.filter(pl.col("kind") != "matched").select("kind", "step").rows()
        assert kinds == [("wrong_price", "price_day")]
        assert result.unexplained == {"CNY": 0}


def _last_priced(lines: Lines, share: int) -> Lines:
    """Return the lines, with a share of the last day at the price of the day before."""
    last = lines[-1]
    old = last["quantity_characters"] // share
    return [*lines[:-1], {**last, "amount": cost_of(old) + cost_of(last["quantity_characters"] - old, Decimal(1))}]


def test_attempts_without_an_answer_explain_a_day() -> None:
    """What they were charged is shared among them by their bounds, to the last digit and character."""
    rows, _ = _days(20)
    unknown = [attempt(50 + n, 300 + 7 * n, "unknown", at=START + timedelta(days=1, hours=n)) for n in range(3)]
    failed = attempt(60, 100, "failed", at=START + timedelta(days=1, hours=9))
    lines = by_day([charge(row) for row in (*rows, unknown[1], failed)])
    usage, invoice = usage_of([*rows, *unknown, failed]), invoice_of(lines)
    result = reconcile(usage, invoice, LAYOUT)
    assert result.bridge["step"].to_list() == ["confirmed", "unknown", "invoice"]
    check_exact(result)
    check_settles(usage, invoice, LAYOUT)


def test_a_month_is_compared_as_a_whole() -> None:
    """Some invoices have one line for each model."""
    rows, lines = _days()
    total = {
        **lines[0],
        "level": "month",
        "end": START + timedelta(days=30),
        "amount": sum(line["amount"] for line in lines),
        "quantity_characters": sum(line["quantity_characters"] for line in lines),
    }
    layout = layout_of(level="month")
    assert _named(reconcile(usage_of(rows), invoice_of([total]), layout)) == []
    total["amount"] += 1
    result = reconcile(usage_of(rows), invoice_of([total]), layout)
    assert _named(result) == ["wrong_price"]
    check_settles(usage_of(rows), invoice_of([total]), layout)


def test_a_file_may_have_months_in_place_of_days() -> None:
    """An export of the same vendor may be by month; also when it is settled, and compared again."""
    rows, _ = _days()
    layout = parse_layout(
        'level = "day"\ncurrency = "CNY"\nunit = "1 characters"\n[columns]\nday = "Day"\nmonth = "Month"\n'
        'model = "Model"\nquantity = "Quantity"\namount = "CNY"\n',
        "plain",
    )
    characters = sum(row["characters_billed"] for row in rows)
    for more in (0, 500):
        line = f"2026-11,{MODEL},{characters + more},{cost_of(characters + more)}"
        invoice = read_invoice(f"Month,Model,Quantity,CNY\n{line}\n".encode(), layout, "i.csv").lines
        assert _named(reconcile(usage_of(rows), invoice, layout)) == (["wrong_quantity"] if more else [])
        check_settles(usage_of(rows), invoice, layout)


def test_days_are_of_the_layouts_zone() -> None:
    """The same lines by the days of Shanghai match only there."""
    rows = [attempt(number, at=START + timedelta(days=3, hours=number)) for number in range(48)]
    lines = by_day([charge(row) for row in rows], "Asia/Shanghai")
    there = layout_of(level="day", timezone="Asia/Shanghai")
    result = reconcile(usage_of(rows), invoice_of(lines), there)
    assert _named(result) == []
    assert {str(day) for day in result.differences["day"]} == {"2026-11-04", "2026-11-05", "2026-11-06"}
    elsewhere = reconcile(usage_of(rows), invoice_of(lines), layout_of(level="day"))
    assert set(_named(elsewhere)) == {"wrong_day"}
    assert elsewhere.unexplained == {"CNY": 0}


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/Santiago", "2026-09-06"),  # without midnight
        ("Africa/Cairo", "2026-04-24"),
        ("America/Sao_Paulo", "2018-11-04"),
        ("America/Asuncion", "2023-10-01"),  # nor has the month
        ("America/New_York", "2026-03-08"),
        ("America/New_York", "2026-11-01"),
        ("America/Havana", "2026-11-01"),  # with two midnights
    ],
)
def test_days_survive_a_change_of_clocks(zone: str, day: str) -> None:
    """Each request at the edges of the days around it is on the line of its day, or of its month."""
    first, rows, lines = date.fromisoformat(day) - timedelta(days=1), list[dict[str, Any]](), ["Day,Quantity,CNY"]
    for here in (first + timedelta(days=n) for n in range(3)):
        edges = [datetime.combine(here + timedelta(days=n), time(), ZoneInfo(zone)).astimezone(UTC) for n in (0, 1)]
        for at in (edges[0], edges[1] - timedelta(microseconds=1)):
            rows.append(attempt(len(rows) + 1, 100 * len(rows) + 7, at=at))
        characters = sum(row["characters_billed"] for row in rows[-2:])
        lines.append(f"{here},{characters},{cost_of(characters)}")
    for level in ("day", "month"):
        columns = '[columns]\nday = "Day"\nquantity = "Quantity"\namount = "CNY"\n'
        top = f'level = "{level}"\ntimezone = "{zone}"\ncurrency = "CNY"\nunit = "1 characters"\n'
        layout = parse_layout(top + columns, zone)
        invoice = read_invoice("\n".join(lines).encode(), layout, "i.csv")
        result = reconcile(usage_of(rows), invoice.lines, layout)
        assert set(result.differences["kind"]) == {"matched"}
        assert settlements(result, "i.csv").num_rows == 0


def test_a_request_across_midnight_is_on_another_day() -> None:
    """Sent before, charged after: neither day is wrong by more than that."""
    rows, _ = _days(20)
    late = attempt(70, at=datetime(2026, 11, 3, 23, 59, 59, tzinfo=UTC))
    after = charge(late, start=datetime(2026, 11, 4, 0, 0, 2, tzinfo=UTC))
    lines = by_day([*(charge(row) for row in rows), after])
    result = reconcile(usage_of([*rows, late]), invoice_of(lines), LAYOUT)
    assert _named(result) == ["wrong_day", "wrong_day"]
    assert result.unexplained == {"CNY": 0}


def test_an_invoice_without_models_is_compared_by_day() -> None:
    """All models of a day are one line."""
    rows, lines = _days()
    rows += [attempt(90, model="qwen-tts", at=START)]
    lines[0]["amount"] += rows[-1]["cost"]
    lines[0]["quantity_characters"] += 190
    invoice = invoice_of(lines).with_columns(model=pl.lit(None, dtype=pl.String))
    assert _named(reconcile(usage_of(rows), invoice, LAYOUT)) == []
    check_settles(usage_of(rows), invoice, LAYOUT)
