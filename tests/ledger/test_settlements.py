"""Settlements are rows that are added, once, and never rewrite usage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from tests.ledger.processes import NOW_US
from tests.ledger.usage import COST, expected_sums, journal_id, put_usage, rows_of, sums_of, usage_rows
from tts_pipeline.account.identity import dataset_id
from tts_pipeline.ledger import Ledger
from tts_pipeline.periods import microseconds
from tts_pipeline.schema import to_table, usage_schema
from tts_pipeline.storage.store import Store

AT = datetime(2026, 11, 15, tzinfo=UTC)
JOURNAL = journal_id(AT)


def _settled(row: dict[str, Any], characters: int) -> dict[str, Any]:
    """Return the settlement of an unknown attempt that the invoice charges with so many characters."""
    return {
        **row,
        "attempt_id": f"settled-{row['attempt_id']}",
        "outcome": "settled",
        "characters_billed": characters,
        "characters_upper_bound": characters - row["characters_upper_bound"],
        "cost": COST * characters,
        "cost_upper_bound": COST * characters - row["cost_upper_bound"],
    }


def _unknown_rows() -> list[dict[str, Any]]:
    rows = usage_rows(JOURNAL, AT, outcome="unknown", characters_billed=0, cost=0)
    return [{**row, "characters_upper_bound": 100, "cost_upper_bound": COST * 100} for row in rows]


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_settlement_is_added_once(store: Store, *, is_frozen: bool) -> None:
    """The confirmed and the possible amounts meet; it is no request, and belongs to the dataset of its attempt."""
    dataset, ledger = store.subfolder("dataset"), Ledger(store.subfolder("ledger"))
    rows = _unknown_rows()
    put_usage(dataset, 0, JOURNAL, rows)
    ledger.sync_dataset(dataset, "/data/one")
    if is_frozen:
        ledger.compact("2026-11", "UTC", NOW_US)
    settled = [_settled(row, 7) for row in rows]
    table = to_table(settled, usage_schema()).append_column("dataset_id", pa.array([dataset_id("/data/one")] * 4))
    assert ledger.append_settlement("aliyun-2026-11", table)
    assert not ledger.append_settlement("aliyun-2026-11", table)
    sums = sums_of(ledger)
    assert sums == expected_sums([*rows, *settled])
    assert (sums["requests"], sums["cost"], sums["cost_upper_bound"]) == (4, COST * 28, COST * 28)
    marked = [row for row in rows_of(ledger.contents()) if row["is_settlement"]]
    assert [row["dataset"] for row in marked] == ["/data/one"] * 4
    assert not any(row["is_correction"] for row in marked)
    assert sums_of(ledger, datetime(2026, 12, 1, tzinfo=UTC))["cost"] == 0
    if not is_frozen:
        ledger.compact("2026-11", "UTC", NOW_US)
    assert sums_of(ledger) == sums


def test_a_correction_of_an_invoice_adds_the_difference(store: Store) -> None:
    """Under a name of its own, and without a dataset where the invoice is coarse."""
    ledger = Ledger(store)
    first = {**_unknown_rows()[0], "outcome": "settled", "cost": COST * 9, "cost_upper_bound": COST * 9}
    ledger.append_settlement("bill-1", to_table([first], usage_schema()))
    difference = {**first, "cost": -COST, "cost_upper_bound": -COST}
    ledger.append_settlement("bill-1.corrected", to_table([difference], usage_schema()))
    assert sums_of(ledger)["cost"] == COST * 8
    assert {row["dataset"] for row in rows_of(ledger.contents(0, microseconds(AT) + 1))} == {None}


@pytest.mark.parametrize("name", ["", "../evil", "a/b", "x" * 300, "-", "\n"])
def test_a_name_that_is_no_name_is_refused(store: Store, name: str) -> None:
    """It becomes the name of a file."""
    with pytest.raises(ValueError, match="is not a name of a settlement"):
        Ledger(store).append_settlement(name, to_table([], usage_schema()))


def test_rows_that_are_no_usage_are_refused(store: Store) -> None:
    """Before anything is written."""
    rows = to_table(_unknown_rows(), usage_schema())
    with pytest.raises(ValueError, match="settlements need the column 'outcome'"):
        Ledger(store).append_settlement("x", rows.drop_columns(["outcome"]))
    with pytest.raises(ValueError, match="the outcome of settlements is 'settled', not unknown"):
        Ledger(store).append_settlement("x", rows)
    assert store.names("") == []
