"""Measure CPU and rows per second beside the bare script's, for each size, shape, load and placement."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from benchmarks.answers import SHAPES, AnswerSpec
from benchmarks.contest import BARE, OURS, Arena, Course, Rounds
from benchmarks.placement import NOTES, Placement, possible_placements
from benchmarks.scenarios.scenario import CPU, ROWS_PER_S, Outcome, Scenario, as_json, compare, peak_mb
from benchmarks.settings import FULL, Settings
from benchmarks.tables import Table

_COLUMNS = (
    "shape",
    "in flight",
    "cores",
    "CPU x script's",
    "CPU ms/row",
    "script's",
    "rows/s x script's",
    "rows/s",
    "script's",
    "peak MB",
    "script's",
)
_SLOW_SHAPE = "raw"
"""The shape whose answers the script reads with the least CPU."""


def _courses(settings: Settings, audio_bytes: int) -> list[Course]:
    """Return the courses of one size: free and pinned each; the lightest shape also on a slow machine."""
    shapes = SHAPES if audio_bytes in settings.sizes else SHAPES[:1]
    first, last = settings.concurrencies[0], settings.concurrencies[-1]
    placements = possible_placements()
    return [
        Course(AnswerSpec(shape, audio_bytes, settings.latency_ms), settings.rows(most), most, placement)
        for shape in shapes
        for most in settings.concurrencies
        for placement in placements
        if placement is not Placement.SLOW or (shape == _SLOW_SHAPE and most in {first, last})
    ]


def _rounds(settings: Settings, course: Course) -> int:
    return settings.rounds if course.placement is Placement.FREE else settings.pinned_rounds


def _expected_s(audio_bytes: int, settings: Settings) -> float:
    return sum(
        2 * _rounds(settings, course) * settings.expected_s(course.rows, course.max_concurrency)
        for course in _courses(settings, audio_bytes)
    )


def _run(audio_bytes: int, arena: Arena, settings: Settings) -> Outcome:
    table = Table(
        f"Beside the bare script, answers of {audio_bytes // 1_000} KB",
        _COLUMNS,
        notes="Ours, and beside it the bare script: aiohttp, no retries, all in memory, one Parquet file at the end. "
        "Ratios are those of a round. Median (least-most) of the rounds. CPU is that of the whole process with all its "
        "threads, planning and publishing included, imports excluded; seconds are from reading the source to the last "
        f"byte on the disk. {NOTES}",
    )
    outcome = Outcome([table], [])
    if len(possible_placements()) == 1:
        arena.warn("WARNING: no two cores to choose from: pinned and slow contests are left out")
    try:
        for course in _courses(settings, audio_bytes):
            _add(outcome, course, arena.contest(course, (BARE, OURS), [_rounds(settings, course)] * 2))
    except KeyboardInterrupt as interrupt:
        return replace(outcome, interrupt=interrupt)
    return outcome


def _add(outcome: Outcome, course: Course, rounds: Rounds) -> None:
    """Add a contest to the outcome."""
    spec, most, placement = course.answering, course.max_concurrency, course.placement
    own, script = compare(rounds, OURS.name), compare(rounds, BARE.name)
    cpu_ratio, speed_ratio = own[f"{CPU}_ratio"], own[f"{ROWS_PER_S}_ratio"]
    peaks = peak_mb(rounds[OURS.name]), peak_mb(rounds[BARE.name])
    costs = cpu_ratio, own[CPU].median, script[CPU].median
    speeds = speed_ratio, own[ROWS_PER_S].median, script[ROWS_PER_S].median
    outcome.tables[0].rows.append([spec.shape, most, placement, *costs, *speeds, *peaks])
    load = {"audio_bytes": spec.audio_bytes, "shape": spec.shape, "max_concurrency": most, "placement": placement}
    outcome.measured.append({**load, "clients": as_json(rounds)})
    case = f"at {most}, {spec.audio_bytes // 1_000} KB {spec.shape}"
    if placement is Placement.FREE:
        outcome.promised[f"CPU x script {case}"] = cpu_ratio.median
        outcome.promised[f"rows/s x script {case}"] = speed_ratio.median
        outcome.promised[f"peak MB {case}"] = peaks[0]
    elif placement is Placement.PINNED:
        outcome.promised[f"rows/s x script {case}, pinned"] = speed_ratio.median


SPEED = tuple(
    Scenario(
        f"speed-{audio_bytes // 1_000}",
        f"How much CPU, and how fast, beside a bare script, with answers of {audio_bytes // 1_000} KB?",
        partial(_expected_s, audio_bytes),
        partial(_run, audio_bytes),
    )
    for audio_bytes in (*FULL.sizes, FULL.large_bytes)
)
"""One for each size, so that an interrupted benchmark has those that are done."""
