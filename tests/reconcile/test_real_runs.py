"""Runs that meet faults and die, against the bill of the service that they used."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import StartEmulator
from tests.invoices import FORMS, InvoiceForm, charges
from tests.killing import FAULTS, KilledJob, write_source
from tests.machine import patience
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.reconcile import parse_layout, read_invoice, reconcile, settlements
from tts_pipeline.report import usage


@pytest.fixture
def killed(emulator: StartEmulator, tmp_path: Path) -> tuple[LocalService, pl.LazyFrame]:
    """A service, and the usage of a job that was killed several times, and then finished."""
    service = emulator(voice_mode="tone", latency_ms=20)
    service.set_faults(list(FAULTS))
    write_source(tmp_path / "lines.parquet", 400)
    job = KilledJob(
        service,
        tmp_path / "lines.parquet",
        str(tmp_path / "dataset"),
        tmp_path / "work",
        max_concurrency=16,
        part_rows=100,
        chance=random.Random(15),
    )
    for _ in range(4):
        job.kill_at_random(within_s=0.5)
    assert job.finish().returncode == 0
    assert job.kills
    rows = usage([str(tmp_path / "dataset")])
    unknown = rows.filter(pl.col("outcome").is_in(["unknown", "failed"])).select(pl.len()).collect().item()
    assert unknown
    return service, rows


@pytest.mark.timeout(patience(120))
def test_a_killed_job_reconciles_with_every_form_of_invoice(killed: tuple[LocalService, pl.LazyFrame]) -> None:
    """Nothing is left unexplained, and once settled the usage has the sum of the invoice, to the last digit."""
    service, rows = killed
    found = charges(service)
    for form in FORMS:
        _check(form, form.export(found), rows, sum(charge.amount for charge in found))


def _check(form: InvoiceForm, content: bytes, rows: pl.LazyFrame, total: object) -> None:
    layout = parse_layout(f"services = []\n{form.layout}", form.name)
    invoice = read_invoice(content, layout, "invoice.csv")
    assert invoice.lines["amount"].sum() == total
    result = reconcile(rows, invoice.lines, layout)
    assert result.unexplained == {"CNY": 0}, (form.name, result.bridge)
    assert not result.disputed, form.name
    added = pl.DataFrame(settlements(result, "invoice.csv")).lazy()
    settled = pl.concat([rows, added], how="diagonal_relaxed")
    sums = settled.select(pl.col("cost", "cost_upper_bound").sum()).collect().row(0)
    assert sums == (total, total), form.name
    again = reconcile(settled, invoice.lines, layout)
    assert settlements(again, "invoice.csv").num_rows == 0
    assert again.bridge["step"].to_list() == ["confirmed", "invoice"]
