"""Whatever is wrong in an invoice: the bridge is exact, each error has its name, and settling makes the sums equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reconcile.charges import attempt, by_day, charge, cost_of, invoice_of, layout_of, usage_of
from tts_pipeline.reconcile import Layout, Reconciliation, reconcile, settlements

Line = dict[str, Any]
Edit = Callable[[Line], list[Line]]

BY_REQUEST = layout_of('[accounts]\nmain = "main"\n')
BY_DAY = layout_of('[accounts]\nmain = "main"\n', level="day")

EDITS: dict[str, Edit] = {
    "only_ours": lambda line: [],
    "double": lambda line: [line, {**line, "line": 9_001}],
    "double under a new id": lambda line: [line, {**line, "request_id": f"new-{line['request_id']}"}],
    "only_theirs": lambda line: [line, {**line, "request_id": f"x-{line['request_id']}", "amount": Decimal("7.77")}],
    "wrong_price": lambda line: [{**line, "amount": line["amount"] * 3}],
    "wrong_day": lambda line: [
        {**line, "start": line["start"] + timedelta(days=2), "end": line["end"] + timedelta(days=2)}
    ],
    "wrong_quantity": lambda line: [
        {**line, "quantity_characters": line["quantity_characters"] + 7_000, "amount": line["amount"] + cost_of(7_000)}
    ],
    "foreign_account": lambda line: [{**line, "account": "other"}],
    "other_currency": lambda line: [{**line, "currency": "USD"}],
    "credit": lambda line: [
        line,
        {**line, "charge": "credit", "amount": -line["amount"] / 2, "quantity_characters": None},
    ],
    "rounding": lambda line: [
        line,
        {**line, "charge": "rounding", "amount": -Decimal("0.000000003"), "quantity_characters": None},
    ],
}
"""What can be wrong with a line, by the kind of difference that it makes."""

outcomes = st.sampled_from(["succeeded", "succeeded", "discarded", "failed", "unknown"])
requests = st.tuples(outcomes, st.booleans(), st.sampled_from([None, *EDITS]))


def check_exact(result: Reconciliation) -> None:
    """In each currency, all steps before the invoice add up to it."""
    for steps in result.bridge.partition_by("currency"):
        is_invoice = pl.col("step") == "invoice"
        assert steps.filter(~is_invoice)["amount"].sum() == steps.filter(is_invoice)["amount"].sum()


def check_settles(rows: pl.LazyFrame, invoice: pl.DataFrame, layout: Layout) -> None:
    """Once settled, the usage has the invoice's sum in each currency, for certain; and nothing is left to settle."""
    added = pl.DataFrame(settlements(reconcile(rows, invoice, layout), "i.csv")).lazy()
    settled = pl.concat([rows, added], how="diagonal_relaxed")
    sums = settled.group_by("currency").agg(pl.col("cost", "cost_upper_bound").sum()).collect()
    theirs = dict(invoice.group_by("currency").agg(pl.col("amount").sum()).iter_rows())
    for currency, cost, bound in sums.iter_rows():
        assert cost == bound == theirs.get(currency, 0)
    assert theirs.keys() <= set(sums["currency"])
    assert settlements(reconcile(settled, invoice, layout), "i.csv").num_rows == 0


@settings(max_examples=25)
@given(st.lists(requests, min_size=1, max_size=25))
def test_every_edit_of_an_invoice_by_request_is_named(cases: list[tuple[str, bool, str | None]]) -> None:
    """Requests are all different here: equal ones may take each other's place."""
    rows, lines, expected = [], [], Counter[str]()
    for number, (outcome, is_charged, edit) in enumerate(cases):
        row = attempt(number, characters=100 + 31 * number, outcome=outcome)
        rows.append(row)
        if outcome in {"failed", "unknown"}:
            lines += [charge(row)] if is_charged else []
        elif edit is None:
            lines.append(charge(row))
        else:
            lines += EDITS[edit](charge(row))
            expected[edit.partition(" ")[0]] += 2 if edit == "other_currency" else 1
    if not lines:
        return
    usage, invoice = usage_of(rows), invoice_of(lines)
    result = reconcile(usage, invoice, BY_REQUEST)
    check_exact(result)
    named = Counter(kind for kind in result.differences["kind"] if kind not in {"matched", "settled"})
    assert named == expected
    check_settles(usage, invoice, BY_REQUEST)


@settings(max_examples=25)
@given(st.lists(requests, min_size=1, max_size=25), st.booleans())
def test_an_invoice_by_day_settles_to_the_last_digit(
    cases: list[tuple[str, bool, str | None]], has_quantities: bool
) -> None:
    """Errors may hide behind attempts with an unknown outcome there; the sums are exact all the same."""
    rows, lines = [], []
    for number, (outcome, is_charged, edit) in enumerate(cases):
        row = attempt(number, characters=100 + 31 * number, outcome=outcome)
        rows.append(row)
        found = EDITS[edit](charge(row)) if edit else [charge(row)]
        lines += found if is_charged or outcome not in {"failed", "unknown"} else []
    if not lines:
        return
    usage, invoice = usage_of(rows), invoice_of(by_day(lines))
    if not has_quantities:
        invoice = invoice.with_columns(quantity_characters=pl.lit(None, dtype=pl.Int64))
    check_exact(reconcile(usage, invoice, BY_DAY))
    check_settles(usage, invoice, BY_DAY)


@settings(max_examples=15)
@given(st.lists(st.tuples(requests, st.booleans()), min_size=1, max_size=20))
def test_lines_with_and_without_ids_settle_together(cases: list[tuple[tuple[str, bool, str | None], bool]]) -> None:
    """Some vendors name only some requests: these are compared one by one, the others by day."""
    rows: list[Line] = []
    named: list[Line] = []
    unnamed: list[Line] = []
    for number, ((outcome, is_charged, edit), has_id) in enumerate(cases):
        row = attempt(number, characters=100 + 31 * number, outcome=outcome)
        rows.append(row)
        if is_charged or outcome not in {"failed", "unknown"}:
            (named if has_id else unnamed).extend(EDITS[edit](charge(row)) if edit else [charge(row)])
    if not named and not unnamed:
        return
    usage, invoice = usage_of(rows), invoice_of([*named, *by_day(unnamed)])
    for layout in (BY_DAY, BY_REQUEST):
        check_exact(reconcile(usage, invoice, layout))
        check_settles(usage, invoice, layout)
