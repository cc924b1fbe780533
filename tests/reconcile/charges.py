"""A month of usage, and the lines that a vendor would charge for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from tts_pipeline.reconcile import Layout, parse_layout
from tts_pipeline.reconcile.invoice import LINES
from tts_pipeline.schema import to_table, usage_schema

MODEL = "qwen3-tts-flash"
PER_10K = Decimal("0.8")
START = datetime(2026, 11, 1, tzinfo=UTC)

LAYOUT = """
level = "request"
currency = "CNY"
unit = "1 characters"
[columns]
request_id = "id"
time = "time"
model = "model"
account = "account"
quantity = "quantity"
amount = "amount"
currency = "currency"
"""


def layout_of(more: str = "", **replaced: str) -> Layout:
    """Return the layout of a plain invoice by request, with other top-level texts, and more TOML after it."""
    top = "".join(f"{name} = {value!r}\n" for name, value in replaced.items())
    kept = "".join(line for line in LAYOUT.splitlines(keepends=True) if line.partition(" = ")[0] not in replaced)
    return parse_layout(top + kept + more, "plain")


def cost_of(characters: int, per_10k: Decimal = PER_10K) -> Decimal:
    """Return the price of characters, to 9 decimals."""
    return (per_10k * characters / 10_000).quantize(Decimal("1e-9"))


def attempt(number: int, characters: int = 0, outcome: str = "succeeded", **more: Any) -> dict[str, Any]:
    """Return a usage row; failed and unknown attempts are bounded by their characters."""
    characters = characters or 100 + number
    at = START + timedelta(hours=12, minutes=37 * number)
    is_paid = outcome in {"succeeded", "discarded"}
    at = more.pop("at", at)
    price = more.pop("per_10k", PER_10K)
    cost = cost_of(characters, price)
    row = {
        "attempt_id": f"a-{number}",
        "invocation_id": "run",
        "journal_id": "journal",
        "utterance_id": f"u-{number}",
        "take": 0,
        "segment": 0,
        "attempt": 1,
        "account": "main",
        "service": "local",
        "model": MODEL,
        "voice": "Cherry",
        "started_at": at,
        "finished_at": at + timedelta(seconds=2),
        "outcome": outcome,
        "request_id": None if outcome == "unknown" else f"r-{number}",
        "characters_counted": characters,
        "characters_billed": characters if is_paid else 0,
        "characters_upper_bound": characters,
        "price_id": f"p-{price}",
        "price_basis": "list",
        "cost": cost if is_paid else Decimal(0),
        "cost_upper_bound": cost,
        "currency": "CNY",
        "tags": {"team": ("radio", "books")[number % 2]},
        "kind": "speech",
        "door": "run",
        "key_id": "0" * 8,
    }
    return {**row, **more}


def usage_of(rows: Sequence[Mapping[str, Any]]) -> pl.LazyFrame:
    """Return rows as the ledger gives them."""
    return pl.DataFrame(to_table(rows, usage_schema())).lazy()


def charge(row: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return the invoice line of a usage row, by request."""
    line = {
        "line": int(row["attempt_id"].removeprefix("a-")) + 2,
        "level": "request",
        "charge": "usage",
        "request_id": row["request_id"] or f"their-{row['attempt_id']}",
        "start": row["started_at"],
        "end": row["started_at"] + timedelta(microseconds=1),
        "model": row["model"],
        "account": "main",
        "quantity_characters": row["characters_upper_bound"],
        "quantity_tokens": None,
        "amount": row["cost_upper_bound"],
        "currency": row["currency"],
    }
    return {**line, **more}


def invoice_of(lines: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return lines in the normal form."""
    return pl.DataFrame([{name: line.get(name) for name in LINES} for line in lines], schema=LINES)


def by_day(lines: Sequence[Mapping[str, Any]], timezone: str = "UTC") -> list[dict[str, Any]]:
    """Return the lines of one request each added up by day, model, account and currency."""
    days: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in lines:
        day = line["start"].astimezone(ZoneInfo(timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
        key = (day, line["model"], line["account"], line["currency"], line["charge"])
        first = {**line, "level": "day", "request_id": None, "start": day, "end": day + timedelta(days=1)}
        total = days.setdefault(key, {**first, "line": len(days) + 2, "amount": Decimal(0), "quantity_characters": 0})
        total["amount"] += line["amount"]
        total["quantity_characters"] += line["quantity_characters"] or 0
    return list(days.values())


@dataclass(frozen=True, slots=True)
class Month:
    """Usage, and the lines that charge it."""

    rows: list[dict[str, Any]]
    lines: list[dict[str, Any]]


def month(requests: int = 60) -> Month:
    """Return requests of a few days that are charged as we counted them; the outcome of some is unknown to us.

    Every tenth is unknown, and charged; every tenth and one failed, and is charged; every tenth and two is unknown, and
    not charged.
    """
    outcomes = {0: "unknown", 1: "failed", 2: "unknown"}
    rows = [attempt(number, outcome=outcomes.get(number % 10, "succeeded")) for number in range(requests)]
    return Month(rows, [charge(row) for number, row in enumerate(rows) if number % 10 != 2])
