"""What reuse saved, as the page shows it: of a real job, and of a ledger's runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from tests.browse.ledgers import ORIGIN, SAVED, month_begins, write_ledger
from tests.builders import job_of, write_lines
from tts_pipeline.browse.months import ALL, Selection
from tts_pipeline.browse.savings import MAX_ORIGINS, dataset_saved, ledger_saved
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import run_job
from tts_pipeline.ledger.runs import Saving

PRICE = Decimal("0.00008")
"""Of a character."""

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def test_a_dataset_tells_who_paid_first(tone_service: LocalService, tmp_path: Path) -> None:
    """What the service would have charged again, in the months in which the rows were finished."""
    write_lines(tmp_path / "lines.parquet", 3, text=pa.array(["One.", "Twice.", "Twice."]))
    job = job_of(tmp_path, tone_service.url)
    run_job(job)
    pilot = DatasetReader.open(job.destination)
    (row,) = dataset_saved(pilot, Selection(ALL, "UTC"))["rows"]
    assert (row["from"], row["rows"], row["cost"]) == ("", 1, PRICE * len("Twice."))
    options = replace(job.options, reuse=(str(job.destination),))
    run_job(replace(job, destination=str(tmp_path / "again"), options=options))
    again = DatasetReader.open(tmp_path / "again")
    saved = dataset_saved(again, Selection(f"{datetime.now(UTC):%Y-%m}", "UTC"))
    (total,) = saved["totals"]
    assert (total["rows"], total["cost"], total["currency"]) == (3, PRICE * len("One.Twice.Twice."), "CNY")
    assert any(row["from"].endswith("/out") for row in saved["rows"])
    assert dataset_saved(again, Selection("2020-01", "UTC")) == {"rows": [], "more": 0, "totals": []}


def test_a_ledger_adds_up_the_runs_of_a_month(tmp_path: Path) -> None:
    """Of its time zone: a run that began at midnight in UTC began in the month before in New York."""
    ledger, (before, this) = write_ledger(tmp_path, NOW), month_begins(NOW)
    saved = ledger_saved(ledger, Selection(f"{this:%Y-%m}", "UTC"))
    assert [(row["from"], row["rows"], row["cost"]) for row in saved["rows"]] == [
        (ORIGIN, 7, SAVED),
        ("", 2, Decimal(1)),
    ]
    assert [(row["currency"], row["rows"], row["cost"]) for row in saved["totals"]] == [("CNY", 9, SAVED + 1)]
    assert not ledger_saved(ledger, Selection(f"{before:%Y-%m}", "UTC"))["rows"]
    assert ledger_saved(ledger, Selection(f"{before:%Y-%m}", "America/New_York")) == saved


def test_many_places_are_cut(tmp_path: Path) -> None:
    """Those that saved most are shown; the totals count all."""
    places = [Saving(origin=f"/data/{number}", rows=1, characters=1, cost=Decimal(number)) for number in range(50)]
    places.append(Saving(origin="/unpriced", rows=2, characters=2))
    ledger, (_, this) = write_ledger(tmp_path, NOW, places), month_begins(NOW)
    saved = ledger_saved(ledger, Selection(f"{this:%Y-%m}", "UTC"))
    assert (len(saved["rows"]), saved["more"]) == (MAX_ORIGINS, 51 - MAX_ORIGINS)
    assert saved["rows"][0]["from"] == "/data/49"
    assert [(row["currency"], row["rows"], row["cost"]) for row in saved["totals"]] == [
        ("CNY", 50, Decimal(sum(range(50)))),
        (None, 2, None),
    ]
