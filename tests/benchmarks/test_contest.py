"""Contests: what a run says, and how rounds are compared."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.answers import AnswerSpec
from benchmarks.contest import BARE, OURS, Arena, Course, Run, Spread, ratios
from benchmarks.contestants.task import Task, peak_rss_mb, task_from
from benchmarks.service import load_service


def run_of(rows_per_s: float) -> Run:
    return Run(rows=100, seconds=100 / rows_per_s, cpu_s=0.1, peak_rss_mb=1, slots_busy=1, service_cpu=0)


def test_ratios_are_taken_inside_a_round() -> None:
    """A round on a slow moment is slow for both: the ratio is of pairs, and who sat out has fewer."""
    rounds = {BARE.name: [run_of(100), run_of(50), run_of(80)], "peer": [run_of(200), run_of(50)]}
    ratio = ratios(rounds, "peer", lambda run: run.rows_per_s)
    assert (ratio.median, ratio.least, ratio.most) == pytest.approx((1.5, 1.0, 2.0))


def test_a_spread_is_median_least_and_most() -> None:
    """Of an even number the median is between the two in the middle."""
    assert Spread.of([4, 1, 3, 2]) == Spread(2.5, 1, 4)


def test_a_task_survives_the_command_line() -> None:
    """What is handed to a contestant's process is what it reads."""
    task = Task("http://127.0.0.1:1/raw-1-2-3", "a b.parquet", "made", 32, 1.5, 600, 0.1)
    assert task_from(task.flags()) == task


def test_a_task_ends_with_its_time(tmp_path: Path) -> None:
    """When the time is used up there are no more rows."""
    source = Arena(service=None, folder=tmp_path).source(10)  # type: ignore[arg-type]  # writes a file only
    assert pq.read_metadata(source).num_rows == 10
    assert len(list(Task("", str(source), "", 1).rows())) == 10
    assert list(Task("", str(source), "", 1, stop_after_s=1e-9).rows()) == []


def test_peak_memory_is_that_of_this_process() -> None:
    """It is at least what Python and Arrow take, and not bytes or pages by mistake."""
    assert 10 < peak_rss_mb() < 100_000


def test_a_file_holds_the_audio_of_every_row(tmp_path: Path) -> None:
    """Not one copy of what all answers of the load service share: a script writes as many bytes as we do."""
    task = Task("", "", str(tmp_path / "made.parquet"), 1)
    audio = random.Random(1).randbytes(10_000)
    assert task.save([(f"row-{number}", "text", audio) for number in range(50)]) == 50
    assert (tmp_path / "made.parquet").stat().st_size > 50 * len(audio)


@pytest.mark.slow
def test_contestants_run_interleaved_and_do_all_rows(tmp_path: Path) -> None:
    """In each round everybody does all rows in its own process, imports nothing in its time, and leaves no file."""
    script, own = (
        replace(contestant, environment=".venv") for contestant in (BARE, OURS)
    )  # which `make bench` alone makes others
    lines: list[str] = []
    with load_service() as service:
        arena = Arena(service, tmp_path, log=lines.append)
        rounds = arena.contest(Course(AnswerSpec("raw", 2_000, 5), 40, 8), (script, own), (2, 1))
        by_url = arena.contest(Course(AnswerSpec("url", 2_000, 5), 40, 8), (script, own), (1, 1))
    assert [len(runs) for runs in rounds.values()] == [2, 1]
    assert all(run.rows == 40 for runs in rounds.values() for run in runs)
    assert [line.split(" ")[0] for line in lines[:3]] == ["aiohttp", "tts_pipeline", "aiohttp"]
    for run in [run for each in (rounds, by_url) for runs in each.values() for run in runs]:
        packages = {
            name.partition(".")[0] for name in run.more["timed_imports"]
        }  # pyarrow imports pandas, if there is one
        assert not packages & {"aiohttp", "httpx", "tts_pipeline"}
    assert rounds[OURS.name][0].versions["aiohttp"] == rounds[BARE.name][0].versions["aiohttp"]
    assert [path.name for path in tmp_path.iterdir()] == ["rows-40.parquet"]
