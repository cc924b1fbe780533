"""A ledger as it looks in the middle of a month: the month before is frozen, corrected and settled; a run is open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.ledger.processes import run_start
from tests.ledger.usage import COST, journal_id, put_usage, usage_rows
from tts_pipeline.ledger import Ledger
from tts_pipeline.ledger.runs import RunEnd, Saving
from tts_pipeline.periods import microseconds
from tts_pipeline.schema import to_table, usage_schema
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
"""The value of a tag, and the destination of the open run."""

POSSIBLE = 100
"""Characters that the attempt of unknown outcome may have been billed; the invoice charges ``CHARGED``."""

CHARGED = 40


ORIGIN = f"s3://bucket/{HOSTILE}"
"""The place whose audio a run of this month reused, for ``SAVED``."""

SAVED = Decimal("1.25")

SAVINGS = (
    Saving(origin=ORIGIN, rows=7, characters=15_625, cost=SAVED),
    Saving(origin="", rows=2, characters=12_500, cost=Decimal(1)),
)
"""Of that run: also equal rows of its own job."""


def month_begins(now: datetime) -> tuple[datetime, datetime]:
    """Return the first instants of the month before ``now``, and of its own (UTC)."""
    this = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (this - timedelta(days=1)).replace(day=1), this


def write_ledger(folder: Path, now: datetime, savings: Sequence[Saving] = SAVINGS) -> Ledger:
    """Make a ledger whose present month is that of ``now``.

    The month before has 4 requests of radio, one of unknown outcome, which is settled, and 2 of a late file, without a
    team; this month 3 of radio, and 5 with another key, account, model, door and voice, whose team is ``HOSTILE``. A
    run of this month has ended, and reused audio: it has ``savings``.
    """
    ledger, (before, this) = Ledger(LocalStore(folder / "ledger")), month_begins(now)
    first = add_rows(ledger, folder, 1, before + timedelta(days=2), 4)
    unknown = {"outcome": "unknown", "characters_billed": 0, "cost": 0 * COST}
    bound = {"characters_upper_bound": POSSIBLE, "cost_upper_bound": POSSIBLE * COST}
    lost = add_rows(ledger, folder, 2, before + timedelta(days=3), 1, **unknown, **bound)[0]
    assert len(first) == 4
    ledger.compact(f"{before:%Y-%m}", "UTC", microseconds(this + timedelta(seconds=1)))
    add_rows(ledger, folder, 3, before + timedelta(days=4), 2, tags=[])
    settled = {
        **lost,
        "attempt_id": f"settled-{lost['attempt_id']}",
        "outcome": "settled",
        "characters_billed": CHARGED,
        "characters_upper_bound": CHARGED - POSSIBLE,
        "cost": CHARGED * COST,
        "cost_upper_bound": (CHARGED - POSSIBLE) * COST,
    }
    ledger.append_settlement("invoice-7", to_table([settled], usage_schema()))
    add_rows(ledger, folder, 4, this + timedelta(minutes=1), 3)
    other = {"account": "spare", "key_id": "89abcdef", "model": "singer", "door": "synthesize", "voice": "Ethan"}
    add_rows(ledger, folder, 5, this + timedelta(hours=1), 5, tags=[("team", HOSTILE)], **other)
    bound = {"cost_upper_bound": 12 * COST, "currency": "CNY"}
    ledger.begin_run(run_start("run-open", destination=HOSTILE, started_at_us=microseconds(this), **bound))
    reusing = run_start("run-reused", started_at_us=microseconds(this))
    ledger.begin_run(reusing)
    ledger.end_run(reusing, RunEnd(ended_at_us=microseconds(now), currency="CNY", saved=savings))
    return ledger


def add_rows(ledger: Ledger, folder: Path, number: int, at: datetime, rows: int, **more: Any) -> list[dict[str, Any]]:
    """Add a dataset of one usage file; return its rows."""
    dataset: Store = LocalStore(folder / f"dataset-{number}")
    journal = journal_id(at, number)
    written = usage_rows(journal, at, rows, **more)
    put_usage(dataset, 0, journal, written)
    ledger.sync_dataset(dataset, f"/data/{number}")
    return written
