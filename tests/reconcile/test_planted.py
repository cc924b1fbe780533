"""Ten errors, planted in the invoices of two vendors: from the bytes of the file to the name of the error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from tests.invoices import FORMS, Charge, InvoiceForm
from tests.reconcile.charges import attempt, cost_of, usage_of
from tests.reconcile.test_property import check_exact, check_settles
from tts_pipeline.reconcile import parse_layout, read_invoice, reconcile

Plant = Callable[[Charge], list[Charge]]

PLANTED: dict[str, tuple[Plant, dict[str, int]]] = {
    "nothing": (lambda charge: [charge], {}),
    "a missing request": (lambda charge: [], {"only_ours": 1}),
    "a double charge under its id": (lambda charge: [charge, charge], {"double": 1}),
    "a double charge under a new id": (lambda charge: [charge, replace(charge, request_id="new")], {"double": 1}),
    "a wrong price": (lambda charge: [replace(charge, amount=charge.amount * 3)], {"wrong_price": 1}),
    "a shifted day": (lambda charge: [replace(charge, at=charge.at + timedelta(days=2))], {"wrong_day": 1}),
    "a foreign account": (lambda charge: [replace(charge, account="2002")], {"foreign_account": 1}),
    "a changed quantity": (
        lambda charge: [replace(charge, characters=charge.characters + 9_000, amount=charge.amount + cost_of(9_000))],
        {"wrong_quantity": 1},
    ),
    "a lost credit": (lambda charge: [replace(charge, amount=charge.amount * 2)], {"credit": 1}),
    "a credit": (
        lambda charge: [charge, replace(charge, request_id=None, amount=Decimal("-0.01"), characters=0, fee="退款")],
        {"credit": 1},
    ),
    "a rounding line": (
        lambda charge: [
            charge,
            replace(charge, request_id=None, amount=Decimal("-0.000004"), characters=0, fee="抹零"),
        ],
        {"rounding": 1},
    ),
    "another currency": (lambda charge: [replace(charge, currency="USD")], {"other_currency": 2}),
}
ONLY_ALIYUN = {"a credit", "a rounding line"}
"""Errors of lines of a kind, which the other export has not."""

BY_REQUEST = {form.name.split()[0]: form for form in FORMS if form.zone is None}


@pytest.mark.parametrize("vendor", BY_REQUEST)
@pytest.mark.parametrize("error", PLANTED)
def test_each_error_is_found_and_named(error: str, vendor: str) -> None:
    """Among requests that failed and were charged, or never got an answer; and the bridge ends in the file's sum."""
    if vendor == "openai" and error in ONLY_ALIYUN:
        pytest.skip("its lines have no kinds")
    outcomes = {1: "failed", 3: "unknown", 5: "unknown"}
    rows = [attempt(number, 100 + 31 * number, outcomes.get(number, "succeeded")) for number in range(12)]
    if error == "a lost credit":
        rows[8]["list_cost"] = rows[8]["cost"] * 2
    found: list[Charge] = []
    plant, expected = PLANTED[error]
    for number, row in enumerate(rows):
        charge = Charge(
            row["request_id"] or f"their-{number}",
            row["started_at"],
            row["model"],
            row["characters_counted"],
            row["cost_upper_bound"],
        )
        found += plant(charge) if number == 8 else [charge] if number != 5 else []
    form: InvoiceForm = BY_REQUEST[vendor]
    layout = parse_layout(f'services = ["local"]\n{form.layout}\n[accounts]\n1001 = "main"\n', form.name)
    invoice = read_invoice(form.export(found), layout, "invoice.csv")
    assert invoice.lines["amount"].sum() == sum(charge.amount for charge in found)
    usage = usage_of(rows)
    result = reconcile(usage, invoice.lines, layout)
    if vendor == "openai" and error == "a changed quantity":
        expected = {"wrong_price": 1}  # its export has no quantities
    kinds = result.differences.filter(~pl.col("kind").is_in(["matched", "settled"])).group_by("kind").len()
    assert dict(kinds.iter_rows()) == expected
    check_exact(result)
    check_settles(usage, invoice.lines, layout)
