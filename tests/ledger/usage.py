"""Usage for ledgers: files as datasets publish them, and the sums that a ledger must tell of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from tts_pipeline.dataset.claims import Claim
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE
from tts_pipeline.dataset.usage_files import usage_name
from tts_pipeline.dataset.usage_table import claim_usage
from tts_pipeline.ledger import Ledger
from tts_pipeline.ledger.contents import LedgerContents
from tts_pipeline.ledger.scan import scan_ledger, scan_sums
from tts_pipeline.ledger.sums import MEASURES, as_sums
from tts_pipeline.periods import microseconds
from tts_pipeline.schema import to_table, usage_schema
from tts_pipeline.storage.store import Store

COST = Decimal("0.000000080")
"""Of one character."""

Sums = Mapping[str, Any]


def journal_id(at: datetime, number: int = 0) -> str:
    """Return the id of a journal that was opened at an instant."""
    return f"{microseconds(at) * 1_000:016x}{number:08x}"


def usage_rows(journal: str, at: datetime, rows: int = 4, **more: Any) -> list[dict[str, Any]]:
    """Return requests, one a minute: each succeeded, and row n has n + 1 characters."""
    return [
        {
            "attempt_id": f"{journal}-{number}",
            "invocation_id": f"run-{journal[-8:]}",
            "journal_id": journal,
            "utterance_id": f"u{number}",
            "take": 0,
            "segment": 0,
            "attempt": 1,
            "account": "acme",
            "service": "studio",
            "model": "narrator",
            "voice": "Cherry",
            "started_at": at + timedelta(minutes=number),
            "outcome": "succeeded",
            "characters_counted": number + 1,
            "characters_billed": number + 1,
            "characters_upper_bound": number + 1,
            "price_id": "list-1",
            "price_basis": "list",
            "cost": COST * (number + 1),
            "cost_upper_bound": COST * (number + 1),
            "currency": "CNY",
            "tags": [("team", "radio")],
            "implausible": False,
            "kind": "speech",
            "audio_ms": 1_000,
            "door": "run",
            "key_id": "0123abcd",
            **more,
        }
        for number in range(rows)
    ]


def guess_rows(journal: str, at: datetime, characters: int) -> list[dict[str, Any]]:
    """Return what another machine writes of a journal that seems lost: all of its claim is possible."""
    bound = microseconds(at), characters, COST * characters, "CNY"
    claim = Claim(journal, f"run-{journal[-8:]}", *bound, "studio", "narrator", "acme", {"team": "radio"})
    return [claim_usage(claim)]


def usage_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as a usage file."""
    buffer = BytesIO()
    pq.write_table(to_table(rows, usage_schema()), buffer, compression="zstd")
    return buffer.getvalue()


def put_usage(dataset: Store, part: int, journal: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write a usage file into a dataset; return its name."""
    if not dataset.exists(DESCRIPTOR_FILE):
        dataset.write(DESCRIPTOR_FILE, b"{}")
    dataset.write(usage_name(part, journal), usage_bytes(rows))
    return usage_name(part, journal)


def expected_sums(rows: Iterable[Mapping[str, Any]]) -> Sums:
    """Add rows up in Python."""
    sums: Counter[str] = Counter()
    cost = upper_bound = Decimal(0)
    for row in rows:
        sums["requests"] += row["outcome"] != "settled"
        sums["characters_billed"] += row["characters_billed"]
        sums["characters_upper_bound"] += row["characters_upper_bound"]
        cost += row["cost"] or 0
        upper_bound += row["cost_upper_bound"] or 0
    counts = {name: sums[name] for name in ("requests", "characters_billed", "characters_upper_bound")}
    return {**counts, "cost": cost, "cost_upper_bound": upper_bound}


def sums_of(ledger: Ledger, since: datetime | None = None, until: datetime | None = None) -> Sums:
    """Add up what a ledger tells of a period, after checking that its rows and its sums agree."""
    return ledger.query(_read_sums, *(None if at is None else microseconds(at) for at in (since, until)))


def _read_sums(contents: LedgerContents) -> Sums:
    summed = scan_sums(contents, MEASURES)
    assert summed is not None
    totals = [_totals(as_sums(scan_ledger(contents))), _totals(summed)]
    assert totals[0] == totals[1]
    return {name: totals[0][name] for name in expected_sums([])}


def _totals(sums: pl.LazyFrame) -> dict[str, Any]:
    return sums.select(pl.col(*MEASURES).sum()).collect().row(0, named=True)


def rows_of(contents: LedgerContents) -> list[dict[str, Any]]:
    """Return all rows of a ledger's period, by attempt."""
    return scan_ledger(contents).collect().sort("attempt_id").to_dicts()
