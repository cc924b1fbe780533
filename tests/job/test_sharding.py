"""Shards share the rates and the limits of a job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import job_of, write_lines
from tts_pipeline.config import BudgetCap, Limits
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import Shard, plan, run_job, run_parts
from tts_pipeline.job.sharding import limits_of_shard


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


def test_a_shard_draws_from_the_cap_of_the_whole_job(tmp_path: Path, tone_service: LocalService) -> None:
    """The spending of a plain run counts."""
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
