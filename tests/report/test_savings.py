"""What reuse saved, of real jobs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from tests.builders import job_of, write_lines
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StorageError
from tts_pipeline.job import run_job
from tts_pipeline.report import usage_report
from tts_pipeline.report.bill import bill_of_datasets
from tts_pipeline.report.period import read_period
from tts_pipeline.report.savings import dataset_savings
from tts_pipeline.report.usage import savings_by_origin

PRICE = Decimal("0.00008")
"""Of a character."""


def test_audio_of_others_is_saved_at_the_price_of_the_time(tone_service: LocalService, tmp_path: Path) -> None:
    """Equal rows of a job, and rows of a pilot: as many characters as the service would have charged again."""
    write_lines(tmp_path / "lines.parquet", 6, text=pa.array(["Same.", "Same.", "Other.", "Same.", "One.", "Two."]))
    job = job_of(tmp_path, tone_service.url)
    run_job(job)
    (row,) = usage_report([job.destination]).to_dicts()
    paid = tone_service.bill()["characters"]
    assert (row["requests"], row["cost"]) == (4, PRICE * paid)
    assert (row["saved_rows"], row["saved"]) == (2, PRICE * 2 * len("Same."))
    options = replace(job.options, reuse=(str(job.destination),))
    again = replace(job, destination=str(tmp_path / "again"), options=options)
    run_job(again)
    assert tone_service.bill()["characters"] == paid
    bill = bill_of_datasets([again.destination], read_period())
    places = savings_by_origin(bill).to_dicts()
    assert sum(place["rows"] for place in places) == 6
    assert {place["currency"] for place in places} == {"CNY"}
    (row,) = usage_report([again.destination], ["voice"]).to_dicts()
    assert (row["requests"], row["saved_rows"], row["currency"]) == (0, 6, "CNY")
    assert row["saved"] == PRICE * sum(map(len, ("Same.", "Same.", "Other.", "Same.", "One.", "Two.")))
    shutil.copytree(again.destination, tmp_path / "copy")
    (both,) = usage_report([again.destination, tmp_path / "copy"], ["voice"]).to_dicts()
    assert both == row, "a copy saved nothing of its own"
    assert usage_report([again.destination], until="2020-01-01").is_empty()
    assert usage_report([again.destination], where="latency_ms > 0").is_empty(), "what was not sent has no latency"


def test_damaged_prices_are_a_damaged_dataset(tone_service: LocalService, tmp_path: Path) -> None:
    """The error names it."""
    write_lines(tmp_path / "lines.parquet", 2, text=pa.array(["Same.", "Same."]))
    job = job_of(tmp_path, tone_service.url)
    run_job(job)
    reader = DatasetReader.open(job.destination)
    reader.descriptor = replace(reader.descriptor, prices=[{"price_id": "x", "currency": "CNY", "basis": "free"}])
    with pytest.raises(StorageError, match=r"the prices of the dataset at .* are damaged"):
        dataset_savings(reader)
