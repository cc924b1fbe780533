"""Whole jobs on a service that makes trouble: what they end in, and what both bills say."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import job_of, write_lines
from tests.datasets import read_table
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import Report, run_job


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended.

    Args:
        report: What ``run_job`` returned.
        folder: Where its source and its dataset are.
        elapsed_s: How long it took.
    """

    report: Report
    folder: Path
    elapsed_s: float

    def table(self, name: str) -> pa.Table:
        """Read one table of the dataset."""
        return read_table(self.folder / "out", name)

    def reject_codes(self) -> dict[str, str]:
        """Return the rejects: id -> error code."""
        return {row["utterance_id"]: row["error_code"] for row in self.table("rejects").to_pylist()}

    def outcomes(self) -> Counter[str]:
        """Return how many attempts ended how."""
        return Counter(self.table("usage")["outcome"].to_pylist())

    def billed(self) -> tuple[int, int]:
        """Return the characters that are confirmed, and those that are possible."""
        usage = self.table("usage")
        billed, at_most = (sum(usage[f"characters_{name}"].to_pylist()) for name in ("billed", "upper_bound"))
        return billed, at_most


RunJob = Callable[..., JobResult]
"""``run(service, rows=100, limits={...}, **job)``: the same folder each time, so that a second run goes on."""


@pytest.fixture
def run(tmp_path: Path) -> RunJob:
    """Run a job of short lines (``r0``: ``Line 0.``) on a service, to its end."""

    def run(
        service: LocalService, *, rows: int = 100, limits: dict[str, Any] | None = None, **changes: Any
    ) -> JobResult:
        if not (tmp_path / "lines.parquet").exists():
            write_lines(tmp_path / "lines.parquet", rows)
        options = {"part_rows": 100, **changes.pop("options", {})}
        began_s = time.monotonic()
        report = run_job(job_of(tmp_path, service.url, limits=limits or {}, options=options, **changes))
        return JobResult(report, tmp_path, time.monotonic() - began_s)

    return run


def check_bill(result: JobResult, service: LocalService) -> None:
    """Every request is in usage once, and what was charged is between what is confirmed and what is possible."""
    usage, bill = result.table("usage"), service.bill()
    billed, at_most = result.billed()
    assert len(set(usage["attempt_id"].to_pylist())) == usage.num_rows >= bill["received"]
    assert billed <= bill["characters"] <= at_most
    if set(result.outcomes()) <= {"succeeded", "discarded"}:
        assert billed == bill["characters"] == at_most


def check_every_row_once(result: JobResult, rows: int) -> None:
    """Every row of the source is in speech or rejects, once."""
    ids = [name for table in ("speech", "rejects") for name in _ids(result, table)]
    assert Counter(ids) == Counter(f"r{number}" for number in range(rows))


def _ids(result: JobResult, table: str) -> list[str]:
    rows = result.table(table)
    return list(rows["utterance_id"].to_pylist()) if rows.num_rows else []
