"""Settlements: whose cost they are, and what a second invoice adds."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from tests.reconcile.charges import START, attempt, by_day, charge, cost_of, invoice_of, layout_of, month, usage_of
from tts_pipeline.reconcile import Layout, reconcile, settlement_name, settlements
from tts_pipeline.schema import usage_schema

BY_REQUEST = layout_of()
BY_DAY = layout_of(level="day")


def _settle(usage: pl.LazyFrame, invoice: pl.DataFrame, layout: Layout) -> tuple[pa.Table, pl.LazyFrame]:
    """Return what is added, and the usage with it."""
    added = settlements(reconcile(usage, invoice, layout), "November.csv")
    return added, pl.concat([usage, pl.DataFrame(added).lazy()], how="diagonal_relaxed")


def _team(tags: list[dict[str, str]] | dict[str, str]) -> str:
    found = dict(tags) if isinstance(tags, dict) else {tag["key"]: tag["value"] for tag in tags}
    return found.get("team", "")


def _by_team(usage: pl.LazyFrame) -> dict[str, Decimal]:
    rows = usage.select("tags", "cost").collect().rows()
    teams: dict[str, Decimal] = {}
    for tags, cost in rows:
        teams[_team(tags)] = teams.get(_team(tags), Decimal(0)) + cost
    return teams


def test_a_settlement_is_a_row_of_the_usage() -> None:
    """With the keys of its attempt, and differences for figures."""
    row = attempt(1, 250, "unknown")
    added, _ = _settle(
        usage_of([row]), invoice_of([charge(row, amount=cost_of(250) / 2, quantity_characters=None)]), BY_REQUEST
    )
    assert added.schema.remove(added.schema.get_field_index("dataset_id")).equals(usage_schema())
    (settled,) = added.to_pylist()
    same = (
        "utterance_id",
        "take",
        "segment",
        "account",
        "service",
        "model",
        "voice",
        "price_id",
        "key_id",
        "door",
        "kind",
    )
    assert {name: settled[name] for name in same} == {name: row[name] for name in same}
    assert (settled["attempt_id"], settled["outcome"], settled["error_code"]) == ("settled-a-1", "settled", "settled")
    assert (settled["request_id"], settled["attempt"]) == ("their-a-1", None)
    assert settled["started_at"] == row["started_at"]
    assert dict(settled["tags"]) == row["tags"]
    half = cost_of(250) / 2
    assert (settled["cost"], settled["cost_upper_bound"]) == (half, -half)
    assert (settled["characters_billed"], settled["characters_upper_bound"]) == (125, -125)


def test_a_difference_of_a_day_is_spread_over_its_teams() -> None:
    """By what each of them cost, to the last digit."""
    rows = [attempt(n, 100 * (1 + n % 2), at=START + timedelta(hours=n)) for n in range(9)]
    (line,) = by_day([charge(row) for row in rows])
    line["amount"] += Decimal("0.000000100")
    usage = usage_of(rows)
    before = _by_team(usage)
    rows_added, settled = _settle(usage, invoice_of([line]), BY_DAY)
    assert rows_added.column("utterance_id").to_pylist() == [None, None]  # it is of no utterance
    after = _by_team(settled)
    added = {team: after[team] - before[team] for team in after}
    # 800 and 500 of 1,300 characters: 61.5 and 38.5 of 100, cut where the shares meet.
    assert added == {"books": Decimal("0.000000061"), "radio": Decimal("0.000000039")}


def test_a_corrected_invoice_adds_only_what_differs() -> None:
    """And the first one again takes that back: settlements are never rewritten."""
    found = month(30)
    usage = usage_of(found.rows)
    first = invoice_of(found.lines)
    second = first.with_columns(
        amount=pl.when(pl.col("request_id") == "r-6").then(pl.col("amount") + Decimal("0.25")).otherwise("amount")
    )
    names = set()
    for invoice, count in ((first, None), (first, 0), (second, 1), (second, 0), (first, 1), (second, 1)):
        result = reconcile(usage, invoice, BY_REQUEST)
        added = settlements(result, "November.csv")
        assert count is None or added.num_rows == count
        if added.num_rows:
            name = settlement_name(added, result, "November.csv")
            assert name not in names
            names.add(name)
        usage = pl.concat([usage, pl.DataFrame(added).lazy()], how="diagonal_relaxed")
        assert usage.select(pl.col("cost").sum()).collect().item() == invoice["amount"].sum()


def test_the_name_is_that_of_the_same_settlements() -> None:
    """Two processes that settle one invoice add one file; its name is safe for every store."""
    found = month(10)
    results = [reconcile(usage_of(found.rows), invoice_of(found.lines), BY_REQUEST) for _ in range(2)]
    names = {settlement_name(settlements(result, "../账单 11.csv"), result, "../账单 11.csv") for result in results}
    (name,) = names
    assert name.startswith("_")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert not name.startswith(".")


def test_what_has_no_attempt_has_the_invoices_account() -> None:
    """And the service of the usage; it belongs to no team."""
    row = attempt(1)
    stranger: dict[str, Any] = charge(attempt(2), request_id="x", account="acct-9", model="sambert")
    added, settled = _settle(usage_of([row]), invoice_of([charge(row), stranger]), BY_REQUEST)
    (only,) = added.to_pylist()
    assert (only["service"], only["account"], only["model"], only["tags"]) == ("local", "acct-9", "sambert", [])
    assert (only["error_code"], only["request_id"], only["utterance_id"]) == ("only_theirs", "x", None)
    assert settled.select(pl.col("cost").sum()).collect().item() == row["cost"] + stranger["amount"]


def test_attempts_with_one_id_are_settled_apart() -> None:
    """A service may repeat an id; an invoice by day names no ids, and each day has a charge of its own."""
    days = [{"at": START + timedelta(days=day), "request_id": "same"} for day in (1, 2)]
    rows = [attempt(number, 100, outcome="unknown", **more) for number, more in enumerate(days)]
    lines = by_day([charge(rows[0]), charge(rows[1], amount=Decimal("0.004"), quantity_characters=50)])
    added, settled = _settle(usage_of(rows), invoice_of(lines), BY_DAY)
    assert added.num_rows == 2
    assert _settle(settled, invoice_of(lines), BY_DAY)[0].num_rows == 0


def test_only_the_periods_usage_is_settled() -> None:
    """The month before stays as it is."""
    before = attempt(1, outcome="unknown", at=START - timedelta(days=1))
    row = attempt(2)
    added, _ = _settle(usage_of([before, row]), invoice_of([charge(row)]), BY_REQUEST)
    assert added.num_rows == 0
