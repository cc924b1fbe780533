"""Shards share a cap and the rates: together they spend what one job may, however they start and end."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import job_of, write_lines
from tests.conftest import StartEmulator
from tests.machine import patience
from tts_pipeline.config import BudgetCap, Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError, StoppedError
from tts_pipeline.job import Progress, Shard, plan, publish, run_job, run_parts
from tts_pipeline.job.sharding import ShardSpend, limits_of_shard, water_fill

PRICE = Decimal("0.8") / 10_000


def _shares(cap: int, spenders: list[ShardSpend]) -> list[Decimal]:
    return [water_fill(Decimal(cap), spenders, index) for index in range(len(spenders))]


@pytest.mark.parametrize(
    ("spenders", "shares"),
    [
        ([(10, 0), (10, 0), (20, 0)], [25, 25, 50]),
        ([(10, 25), (10, 3), (20, 50)], [25, 25, 50]),  # what they spend of it changes nothing
        ([(10, 70), (10, 0), (20, 0)], [0, 10, 20]),  # spent before the job was divided
        ([(10, 5, True), (10, 0), (20, 0)], [0, Decimal(95) / 3, Decimal(190) / 3]),  # left over by a finished one
        ([(10, 70), (10, 20), (10, 0)], [0, 0, 10]),  # the second is above what the first leaves it
        ([(10, 200), (10, 0)], [0, 0]),
        ([(0, 0)], [0]),
        ([(10, 0, True), (0, 0)], [0, 0]),
    ],
)
def test_a_cap_is_divided_by_rows(spenders: list[Any], shares: list[Any]) -> None:
    """Spending above a share is taken from the others; the rest of a finished shard goes to them."""
    actual = _shares(100, [ShardSpend(rows, Decimal(spent), *rest) for rows, spent, *rest in spenders])
    assert [float(share) for share in actual] == pytest.approx([float(share) for share in shares])


@st.composite
def _nights(draw: st.DrawFn) -> tuple[int, list[ShardSpend], list[tuple[int, int, bool]]]:
    size = draw(st.integers(1, 5))
    spenders = [ShardSpend(draw(st.integers(1, 50)), Decimal(draw(st.integers(0, 300)))) for _ in range(size)]
    steps = st.tuples(st.integers(0, size - 1), st.integers(0, 100), st.booleans())
    return draw(st.integers(0, 1_000)), spenders, draw(st.lists(steps, max_size=60))


@given(_nights())
def test_whatever_happens_the_sum_never_passes_the_cap(
    night: tuple[int, list[ShardSpend], list[tuple[int, int, bool]]],
) -> None:
    """Shards start at any time, spend some of their allowance, and end, finished or not."""
    cap, spenders, steps = night
    before = sum(spend.spent for spend in spenders)
    allowed: dict[int, Decimal] = {}
    for index, wants, is_finished in steps:
        if spenders[index].is_finished:
            continue
        if index not in allowed:
            allowed[index] = water_fill(Decimal(cap), spenders, index)
        spent = spenders[index].spent
        spends = min(Decimal(wants), max(Decimal(0), allowed[index] - spent))
        spenders[index] = replace(spenders[index], spent=spent + spends)
        if wants % 3 == 0:  # its run ends here; another one begins with its next step
            del allowed[index]
            spenders[index] = replace(spenders[index], is_finished=is_finished)
        assert sum(spender.spent for spender in spenders) <= max(Decimal(cap), before)


def test_rates_are_divided_among_those_that_run_at_a_time() -> None:
    """The card's rate too; no limit stays none, and concurrency is not divided."""
    card = replace(job_of(Path()).card(), requests_per_minute=180)
    limits = Limits(requests_per_minute=60, characters_per_minute=1_000, max_concurrency=7)
    shard = Shard(1, 8, 8, shards=8, all_parts=64)
    divided = limits_of_shard(limits, card, shard, 4)
    assert (divided.requests_per_minute, divided.characters_per_minute, divided.max_concurrency) == (15, 250, 7)
    assert limits_of_shard(Limits(), card, shard, 4).requests_per_minute == 45
    assert limits_of_shard(Limits(), replace(card, requests_per_minute=None), shard, 4) == Limits()
    assert [limits_of_shard(limits, card, shard, most).requests_per_minute for most in (None, 100)] == [7.5, 7.5]
    with pytest.raises(ConfigurationError, match="at_a_time is 0"):
        limits_of_shard(limits, card, shard, 0)


_RUN = """
import sys
from decimal import Decimal
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.config import BudgetCap
from tts_pipeline.job import Shard, run_parts
options = {"budget": BudgetCap(max_cost=Decimal(sys.argv[3]), currency="CNY"), "work_dir": Path(sys.argv[4])}
job = job_of(Path(sys.argv[1]), sys.argv[2], options=options)
print(run_parts(job, Shard(*map(int, sys.argv[5:]))).stopped_by)
"""


@pytest.mark.slow
def test_shards_at_one_time_and_again_keep_a_cap(tmp_path: Path, emulator: StartEmulator) -> None:
    """Three processes with work folders of their own, twice: never past the cap; once more in turn: nearly all of it.

    A shard that begins while others are at work counts all that those claim, so its own share may be smaller then.
    """
    service = emulator(voice_mode="tone", latency_ms=20)
    service.set_faults([{"what": "error", "status": 500, "charge": True, "ratio": 0.05, "seed": 2}])
    write_lines(tmp_path / "lines.parquet", 200)
    cap = 900 * PRICE  # of some 1,700 characters
    job = job_of(tmp_path, service.url, options={"budget": BudgetCap(max_cost=cap, currency="CNY")})
    shards = plan(job, 3)

    def begun(shard: Shard, run: int) -> subprocess.Popen[str]:
        numbers = [shard.index, shard.first_part, shard.parts, shard.shards, shard.all_parts]
        work_dir = tmp_path / f"work-{run}-{shard.index}"
        command = [sys.executable, "-c", _RUN, tmp_path, service.url, cap, work_dir, *numbers]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)

    for run in range(2):
        processes = [begun(shard, run) for shard in shards]
        assert {process.communicate(timeout=patience(60))[0].strip() for process in processes} == {"budget"}
        assert service.bill()["characters"] <= 900
    assert {begun(shard, 2).communicate(timeout=patience(60))[0].strip() for shard in shards} == {"budget"}
    assert 0.9 * 900 < service.bill()["characters"] <= 900


def test_what_a_finished_shard_leaves_over_is_for_the_others(tmp_path: Path, tone_service: LocalService) -> None:
    """The error says that the budget was a share, and running the shard again uses the rest."""
    write_lines(tmp_path / "lines.parquet", 40)
    job = job_of(tmp_path, tone_service.url, options={"budget": BudgetCap(max_characters=260)})
    tone_service.set_faults([{"what": "refuse", "text": f"Line {number}."} for number in range(15)])
    first, second = plan(job, 2)
    progress = Progress()
    stopped = run_parts(job, second, progress).stopped
    assert isinstance(stopped, StoppedError)
    assert stopped.message.endswith("; that is the share of shard 1 of 2")
    assert (progress.cap.max_characters, progress.totals.speech) == (130, 16)
    assert run_parts(job, first).stopped is None
    assert run_parts(job, second).stopped is None
    assert publish(job).dataset.rejects == 15


def test_a_shard_without_others_has_the_whole_cap(tmp_path: Path, tone_service: LocalService) -> None:
    """The spending of a plain run counts towards the shards' shares."""
    write_lines(tmp_path / "lines.parquet", 20)
    job = job_of(tmp_path, tone_service.url, options={"budget": BudgetCap(max_characters=77)})
    assert run_job(job).dataset.speech == 10
    shards = plan(job, 2)
    assert run_parts(job, shards[1]).this_run.attempts == 0
    assert shards == [Shard(0, 0, 2, 2, 4), Shard(1, 2, 2, 2, 4)]


def test_a_share_of_rejects_is_of_the_shards_rows(tmp_path: Path, tone_service: LocalService) -> None:
    """A wrong setting shows in a shard as in the whole job."""
    write_lines(tmp_path / "lines.parquet", 40)
    tone_service.set_faults([{"what": "refuse", "text": f"Line {number}."} for number in (2, 5, 9)])
    job = job_of(tmp_path, tone_service.url, options={"max_rejects": 0.1}, limits={"max_concurrency": 1})
    first, second = plan(job, 2)
    assert run_parts(job, first).stopped_by == "rejects"
    assert run_parts(job, second).stopped is None
    assert run_job(job).stopped is None
