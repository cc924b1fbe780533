"""A cap holds over runs, shards and kills, at any concurrency, under all faults; a spent cap is final."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import job_of, write_lines
from tests.conftest import StartEmulator
from tests.datasets import read_table
from tests.machine import patience
from tts_pipeline.catalog import Service, load_catalog
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.claims import Claim, claim_names, read_claim, write_claim
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError, StoppedError
from tts_pipeline.job import CancelToken, Job, Progress, Shard, plan, run_job, run_parts
from tts_pipeline.report import usage_report
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.local_store import LocalStore

LINE = 12
"""Characters of each text."""

PRICE = Decimal("0.8") / 10_000
FAULTS: list[dict[str, Any]] = [
    {"what": "error", "status": 500, "ratio": 0.05, "seed": 1},
    {"what": "error", "status": 500, "charge": True, "ratio": 0.02, "seed": 2},
    {"what": "cut", "ratio": 0.02, "seed": 3},
    {"what": "throttle", "ratio": 0.01, "seed": 4, "retry_after_s": 0.05},
]


def _job(folder: Path, url: str, *, concurrency: int = 8, **cap: Any) -> Job:
    options = {"budget": BudgetCap(**cap), "part_rows": 50}
    limits = {"max_concurrency": concurrency, "retry_wait_s": 0.01}
    return job_of(folder, url, options=options, limits=limits)


def _write(folder: Path, rows: int) -> None:
    ids = [f"r{number}" for number in range(rows)]
    texts = [f"Line {number:06}." for number in range(rows)]
    pq.write_table(pa.table({"id": ids, "text": texts}), folder / "lines.parquet")


@pytest.mark.parametrize(
    "cap", [{"max_characters": 6_000}, {"max_cost": 6_000 * PRICE, "currency": "CNY"}], ids=["characters", "cost"]
)
def test_a_cap_is_kept_and_used(tmp_path: Path, emulator: StartEmulator, cap: dict[str, Any]) -> None:
    """With faults and 256 in flight the service never charges more than the cap, and 95 % of it is used."""
    service = emulator(voice_mode="tone", tone_bytes=1_000, latency_ms=20)
    service.set_faults(FAULTS)
    _write(tmp_path, 1_000)
    report = run_job(_job(tmp_path, service.url, concurrency=256, **cap))
    assert report.stopped_by == "budget"
    totals = report.dataset
    assert totals.characters_billed <= service.bill()["characters"] <= totals.characters_upper_bound <= 6_000
    assert totals.characters_upper_bound >= 0.95 * 6_000


def test_a_higher_cap_goes_on_and_the_same_one_sends_nothing(tmp_path: Path, tone_service: LocalService) -> None:
    """The cap counts all spending of the job; a sufficient one ends the run, with every row bought once."""
    _write(tmp_path, 100)
    cap: dict[str, Any] = {"currency": "CNY"}
    first = run_job(_job(tmp_path, tone_service.url, max_cost=40 * LINE * PRICE, **cap))
    assert isinstance(first.stopped, StoppedError)
    assert "0.0384 CNY are spent at most (0.0384 CNY confirmed)" in first.stopped.message
    assert (first.stopped_by, first.dataset.speech) == ("budget", 40)
    again = run_job(_job(tmp_path, tone_service.url, max_cost=40 * LINE * PRICE, **cap))
    assert (again.stopped_by, again.this_run.attempts) == ("budget", 0)
    assert tone_service.bill()["received"] == 40
    last = run_job(_job(tmp_path, tone_service.url, max_cost=100 * LINE * PRICE, **cap))
    assert (last.stopped, last.dataset.speech) == (None, 100)
    assert tone_service.bill()["charged"] == 100
    enough = run_job(_job(tmp_path, tone_service.url, max_characters=1))
    assert enough.stopped is None, "a finished job needs nothing"


def test_unknown_attempts_of_earlier_runs_count(tmp_path: Path, emulator: StartEmulator) -> None:
    """A cut answer counts at its upper bound for good: it may have been charged."""
    service = emulator(voice_mode="tone", tone_bytes=1_000)
    service.set_faults([{"what": "cut", "count": 10}])
    _write(tmp_path, 100)
    job = _job(tmp_path, service.url, max_characters=50 * LINE)
    report = run_job(job)
    assert (report.dataset.speech, report.dataset.characters_upper_bound) == (40, 50 * LINE)
    assert service.bill()["characters"] == 50 * LINE
    assert run_job(job).this_run.attempts == 0


def test_a_shard_counts_what_others_spent(tmp_path: Path, tone_service: LocalService) -> None:
    """One after the other: the cap belongs to the job, whichever shard spends."""
    _write(tmp_path, 150)
    job = _job(tmp_path, tone_service.url, max_characters=70 * LINE)
    progress = Progress()
    assert run_parts(job, Shard(0, 0, 1)).stopped is None
    second = run_parts(job, Shard(1, 1, 1), progress)
    assert (second.stopped_by, second.this_run.speech) == ("budget", 20)
    assert (progress.spent_before.characters_upper_bound, progress.cap) == (50 * LINE, job.options.budget)
    assert run_parts(job, Shard(2, 2, 1)).this_run.attempts == 0


def test_a_cap_that_cannot_be_kept_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """Its currency is not the price's."""
    _write(tmp_path, 1)
    with pytest.raises(ConfigurationError, match="is in CNY"):
        run_job(_job(tmp_path, "http://127.0.0.1:9", max_cost=Decimal(5), currency="USD"))
    assert not (tmp_path / "out").exists()


def test_a_cap_on_cost_needs_to_know_what_was_spent(tmp_path: Path, tone_service: LocalService) -> None:
    """Requests without a price have no known cost: nothing is sent, but characters can be capped."""
    _write(tmp_path, 50)
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[prices.mine]\nservice = "voices"\nmodel = "qwen3-tts-flash"\ncurrency = "CNY"\nper_10k_characters = 1\n'
        "effective_until = 2020-01-01\n"
    )
    own = tmp_path / "own.toml"
    own.write_text(
        '[services.voices]\nbase_url = "http://127.0.0.1:9"\nauth = "none"\n'
        '[[cards]]\nservice = "voices"\nmodel = "qwen3-tts-flash"\nlike = ["local/qwen3-tts-flash"]\n'
    )
    without = job_of(tmp_path, tone_service.url, catalog=load_catalog(own, prices), options={"part_rows": 50})
    tone_service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 5}])
    assert run_job(without).stopped_by == "service"
    tone_service.clear_faults()
    capped = _job(tmp_path, tone_service.url, max_cost=Decimal(5), currency="CNY")
    with pytest.raises(ConfigurationError, match="characters is not known: there was no price"):
        run_job(capped)
    assert run_job(_job(tmp_path, tone_service.url, max_characters=10_000)).stopped is None
    assert read_table(tmp_path / "out", "usage")["cost"].null_count > 0


def test_without_a_cap_nothing_is_looked_at(tmp_path: Path, tone_service: LocalService) -> None:
    """A run of a large dataset does not read all its markers first."""
    write_lines(tmp_path / "lines.parquet", 5)
    progress = Progress()
    assert run_job(job_of(tmp_path, tone_service.url), progress).stopped is None
    assert (progress.cap, progress.spent_before.attempts) == (BudgetCap(), 0)


@pytest.mark.parametrize("fault", [{"report_ratio": 1_000}, {"charge_ratio": 1_000}], ids=["reports", "charges"])
def test_a_report_that_cannot_be_true_is_possible_and_not_confirmed(
    tmp_path: Path, emulator: StartEmulator, fault: dict[str, Any]
) -> None:
    """A report of 1,000 times our count, with 256 allowed in flight: one is sent, and the run stops with the reason."""
    service = emulator(voice_mode="tone", tone_bytes=1_000)
    service.set_faults([{"what": "shape", **fault}])
    _write(tmp_path, 300)
    report = run_job(_job(tmp_path, service.url, concurrency=256, max_cost=Decimal(1), currency="CNY"))
    totals, bill = report.dataset, service.bill()
    assert isinstance(report.stopped, StoppedError)
    assert "0.96 CNY are spent at most (0.00096 CNY confirmed)" in report.stopped.message
    assert "the service reports 1,000 times what we count" in report.stopped.message
    assert (totals.characters_billed, totals.characters_upper_bound) == (LINE, 1_000 * LINE)
    assert (totals.implausible_attempts, totals.cost_in_question) == (1, totals.cost_upper_bound)
    assert (bill["charged"], bill["characters"]) == (1, LINE * fault.get("charge_ratio", 1))
    (row,) = read_table(tmp_path / "out", "usage").to_pylist()
    assert (row["implausible"], row["characters_reported"]) == (True, 1_000 * LINE)


@pytest.mark.parametrize(
    "fault", [{"charge_ratio": 3}, {"report_ratio": 0}, {"usage": {"characters": 1}}], ids=["3 times", "0", "1"]
)
def test_a_cap_is_kept_whatever_the_service_counts(
    tmp_path: Path, emulator: StartEmulator, fault: dict[str, Any]
) -> None:
    """At 256 in flight: a service that counts three times as much, and one that reports next to nothing."""
    service = emulator(voice_mode="tone", tone_bytes=1_000, latency_ms=5)
    service.set_faults([{"what": "shape", **fault}])
    _write(tmp_path, 130)
    report = run_job(_job(tmp_path, service.url, concurrency=256, max_cost=Decimal("0.1"), currency="CNY"))
    totals, bill = report.dataset, service.bill()
    assert report.stopped_by == "budget"
    assert 1_150 < bill["characters"] == totals.characters_billed == totals.characters_upper_bound <= 1_250
    assert totals.implausible_attempts == (0 if "charge_ratio" in fault else bill["charged"])


def test_a_report_beyond_all_bounds_stops_no_publishing(tmp_path: Path, tone_service: LocalService) -> None:
    """At the highest price: no column overflows, all paid speech is published, and the possible cost is reported."""
    most = 2**53
    tone_service.set_faults([{"what": "shape", "usage": {"characters": most}}])
    prices = tmp_path / "prices.toml"
    prices.write_text(
        f'[prices.mine]\nservice = "{tone_service.url}"\nmodel = "qwen3-tts-flash"\ncurrency = "CNY"\n'
        "per_10k_characters = 1000000000\n"
    )
    write_lines(tmp_path / "lines.parquet", 8)
    job = job_of(tmp_path, tone_service.url, catalog=load_catalog(prices=prices))
    totals = run_job(replace(job, service=Service(base_url=tone_service.url, auth="none"))).dataset
    assert (totals.speech, totals.implausible_attempts) == (8, 8)
    usage = read_table(tmp_path / "out", "usage")
    assert set(usage["characters_reported"].to_pylist()) == {most}
    assert sum(usage["characters_billed"].to_pylist()) == totals.characters_billed == 8 * len("Line 0.")
    assert set(usage["cost_upper_bound"].to_pylist()) == {Decimal("999999999.999999999")}
    (row,) = usage_report([tmp_path / "out"]).to_dicts()
    assert row["cost_in_question"] == 8 * Decimal("999999999.999999999")


@pytest.mark.parametrize("cap", [{"max_characters": 60 * LINE}, {"max_cost": 60 * LINE * PRICE, "currency": "CNY"}])
def test_runs_at_one_time_keep_one_cap(tmp_path: Path, emulator: StartEmulator, cap: dict[str, Any]) -> None:
    """Each run writes its claim, then counts the others': four together spend the cap, and never exceed it."""
    service = emulator(voice_mode="tone", tone_bytes=1_000, latency_ms=20)
    _write(tmp_path, 120)
    job = _job(tmp_path, service.url, concurrency=4, **cap)
    job = replace(job, options=replace(job.options, part_rows=5, max_open_parts=2))
    plan(job)
    with ThreadPoolExecutor(4) as machines:
        reports = list(machines.map(run_parts, [job] * 4, [Shard(0, first, 6) for first in range(0, 24, 6)]))
    bill = service.bill()
    assert bill["characters"] <= 60 * LINE
    assert "budget" in {report.stopped_by for report in reports}
    assert run_job(job).dataset.characters_upper_bound == service.bill()["characters"] == 60 * LINE


def _mark_of(store: LocalStore, part: int) -> bool | None:
    """Return whether the claim on a part, of whatever journal, is marked; None without one."""
    names = claim_names(store, part)
    claim = read_claim(store, names[0]) if names else None
    return None if claim is None else claim.is_waiting


@pytest.mark.parametrize("end", ["gives back", "waits", "dies", "is stopped"])
def test_a_run_waits_while_another_may_give_back(tmp_path: Path, tone_service: LocalService, end: str) -> None:
    """It goes on with what comes back, and stops once nothing can, or once it is told to stop."""
    _write(tmp_path, 100)
    job = _job(tmp_path, tone_service.url, max_characters=20 * LINE)
    plan(job)
    store, stop = LocalStore(tmp_path / "out"), CancelToken()
    claim = Claim("other", "i", 1, 17 * LINE, None, None, "local", "m", None)
    write_claim(store, 1, claim)
    with ThreadPoolExecutor(1) as thread, FileLock(tmp_path / "out/.work/locks/part-00001.lock") as lock:
        running = thread.submit(run_parts, job, Shard(0, 0, 1), stop=stop)
        while _mark_of(store, 0) is not True:
            assert not running.done()
            time.sleep(0.01)
        if end == "gives back":
            write_claim(store, 1, replace(claim, characters_upper_bound=0))
            while tone_service.bill()["received"] < 20 and not running.done():
                time.sleep(0.01)
            write_claim(store, 1, replace(claim, characters_upper_bound=0, is_waiting=True))
        elif end == "waits":
            write_claim(store, 1, replace(claim, is_waiting=True))
        elif end == "dies":
            lock.path.unlink()
        else:
            stop.set()
        report = running.result(patience(60))
    speech = 20 if end == "gives back" else 3
    assert (report.dataset.speech, tone_service.bill()["received"]) == (speech, speech)
    assert report.stopped_by == ("interrupted" if end == "is stopped" else "budget")
    assert _mark_of(store, 0) is None
