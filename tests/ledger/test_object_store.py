"""Two hundred writers put their usage into one ledger on an S3 API server; half of their processes are killed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.ledger.processes import NOW_US, begin, kill_after, start_process
from tests.ledger.usage import expected_sums, journal_id, put_usage, sums_of, usage_rows
from tests.machine import patience
from tts_pipeline.ledger import Ledger, LedgerLocation
from tts_pipeline.storage.local_store import LocalStore

PLACE = "s3://bucket/deep/ledger"
PROCESSES, WRITERS, PARTS = 5, 200, 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_writers_at_once(tmp_path: Path, s3: Mapping[str, str]) -> None:
    """The next run of a killed job catches up; all sums are exact, before and after the month closes."""
    rows, folders = [], []
    for number in range(WRITERS):
        folder = tmp_path / f"{number:032x}"
        for part in range(PARTS):
            at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=PARTS * number + part)
            journal = journal_id(at, PARTS * number + part)
            some = usage_rows(journal, at, rows=3)
            put_usage(LocalStore(folder), part, journal, some)
            rows += some
        (folder / "usage").rename(folder / "unpublished")
        (folder / "usage").mkdir()
        folders.append(folder)
    expected = expected_sums(rows)
    shares = [folders[number::PROCESSES] for number in range(PROCESSES)]
    writers = [start_process("write", PLACE, *share) for share in shares]
    for writer in writers:
        begin(writer)
    ledger = Ledger.open(LedgerLocation(PLACE, is_named=True))
    for number, writer in enumerate(writers[:3], 1):
        _wait_for_usage(ledger, number * WRITERS // 10)
        assert kill_after(writer, 0)
    for writer in writers[3:]:
        writer.communicate(timeout=patience(300))
        assert writer.returncode == 0
    assert 0 < sums_of(ledger)["requests"] < expected["requests"]
    assert len(ledger.open_runs()) > 0
    again = [start_process("write", PLACE, *share) for share in shares[:3]]
    for writer in again:
        begin(writer)
    for writer in again:
        writer.communicate(timeout=patience(300))
        assert writer.returncode == 0
    assert sums_of(ledger) == expected
    assert ledger.open_runs() == []
    assert len(ledger.ended_runs()) == WRITERS
    result = ledger.compact("2026-11", "UTC", NOW_US)
    assert (result.manifest.rows, result.removed_files) == (expected["requests"], PARTS * WRITERS)
    assert sums_of(ledger) == expected
    assert sum(ledger.sync_dataset(LocalStore(folder), str(folder)) for folder in folders[::10]) == 0


def _wait_for_usage(ledger: Ledger, files: int) -> None:
    give_up_s = time.monotonic() + patience(300)
    while len(ledger.store.sizes("usage")) < files:
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
