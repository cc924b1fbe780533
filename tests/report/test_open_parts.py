"""What is not in any usage table yet is on the bill all the same, as possible."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conftest import StartEmulator
from tests.killing import PRICE, KilledJob, write_source
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.cli import main
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.errors import StorageError
from tts_pipeline.report import open_parts, usage_report
from tts_pipeline.storage.open_store import open_store

CLAIM = Claim("j", "i", 1_700_000_000_000_000, 500, Decimal("0.04"), "CNY", "local", "m", "books", {"team": "blue"})


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A dataset of which nothing is published: one part is claimed."""
    store = open_store(tmp_path / "out", tmp_path)
    store.write("dataset.json", b"{}")
    write_claim(store, 3, CLAIM)
    return tmp_path / "out"


@pytest.mark.slow
def test_a_job_that_was_killed_is_on_the_bill(
    emulator: StartEmulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not run again: confirmed <= charged <= possible, in characters and money, on the report and the page."""
    service = emulator(voice_mode="tone", tone_bytes=2_000, latency_ms=100)
    write_source(tmp_path / "lines.parquet", 100)
    job = KilledJob(service, tmp_path / "lines.parquet", str(tmp_path / "out"), tmp_path / "work", 4)
    while not service.bill()["characters"]:
        assert job.kill_at_random(within_s=0.3)
    charged = service.bill()["characters"]
    bills = [
        usage_report([job.destination]).to_dicts(),
        usage_report([job.destination], ["service", "voice", "day"]).to_dicts(),
        Snapshot(open_store(job.destination, tmp_path)).bill()["totals"],
    ]
    for rows in bills:
        (row,) = rows
        assert row["open_parts"] >= 1
        assert row["requests"] < service.bill()["received"], "those of the open part are not published"
        assert row["characters_billed"] <= charged <= row["characters_upper_bound"]
        assert row["cost"] <= PRICE * charged <= row["cost_upper_bound"]
    assert main(["report", job.destination]) == 0
    told = capsys.readouterr().out
    assert "at most" in told
    assert "Run the job again" in told


def test_an_open_part_is_told_apart_like_any_request(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By account, tag and service; programs get each with its machine; an open part of a rebuild counts as well."""
    (row,) = usage_report([left], ["account", "tag:team", "outcome"]).to_dicts()
    assert (row["account"], row["tag:team"], row["outcome"], row["cost_upper_bound"]) == (
        *("books", "blue", "unknown"),
        Decimal("0.04"),
    )
    assert main(["report", str(left), "--format", "json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["open"]
    assert (one["part"], one["characters_upper_bound"], one["cost_upper_bound"]) == ("part-00003", 500, "0.04")
    write_claim(open_store(left / ".generations/2", left), 0, replace(CLAIM, journal_id="k"))
    assert usage_report([left])["characters_upper_bound"].to_list() == [1_000]


def test_an_open_part_without_a_price_has_no_cost(left: Path) -> None:
    """Null, which is not 0; it is counted among open parts, not among requests."""
    write_claim(open_store(left, left), 3, replace(CLAIM, cost_upper_bound=None, currency=None))
    (row,) = usage_report([left]).to_dicts()
    assert (row["cost"], row["cost_upper_bound"], row["requests_without_cost"], row["open_parts"]) == (None, None, 0, 1)


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"cost_upper_bound": "x"}', b"[1]"])
def test_a_damaged_claim_is_named(left: Path, damage: bytes) -> None:
    """A bill without what it may have spent would be short."""
    (claim,) = (left / "claims").iterdir()
    claim.write_bytes(damage)
    with pytest.raises(StorageError, match=rf"{claim.name}.* is damaged"):
        open_parts([left])
