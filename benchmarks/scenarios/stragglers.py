"""Measure whether slow answers, 1 % of all and 30 times slower, hold back the others."""

from __future__ import annotations

from benchmarks.answers import SLOWER, AnswerSpec
from benchmarks.contest import BARE, OURS, Arena, Course, Spread
from benchmarks.scenarios.scenario import CPU, ROWS_PER_S, Outcome, Scenario, as_json, compare
from benchmarks.settings import PROCESS_S, Settings
from benchmarks.tables import Cell, Table

_SLOW_EVERY = 100
_SLOT_SAMPLE_S = 0.1


def _course(settings: Settings) -> Course:
    slowed = 1 + (SLOWER - 1) / _SLOW_EVERY
    rows = settings.rows(settings.usual_concurrency, run_s=settings.straggler_s / slowed)
    spec = AnswerSpec(latency_ms=settings.latency_ms, slow_every=_SLOW_EVERY)
    return Course(spec, rows, settings.usual_concurrency, slot_sample_s=_SLOT_SAMPLE_S)


def _expected_s(settings: Settings) -> float:
    tail_s = settings.latency_ms * SLOWER / 1_000
    return 2 * settings.rounds * (settings.straggler_s + tail_s + PROCESS_S)


def _run(arena: Arena, settings: Settings) -> Outcome:
    course, rounds_each = _course(settings), settings.rounds
    rounds = arena.contest(course, (BARE, OURS), (rounds_each, rounds_each))
    table = Table(
        f"1 % of the answers {SLOWER} times slower, {course.max_concurrency} in flight",
        ("client", "CPU x script's", "CPU ms/row", "rows/s x script's", "rows/s", "slots busy at the service", "own"),
        notes="The same rows are slow for both. Slots busy: the mean share until the last request was sent, as the "
        "service saw it; and by our own count, which also holds a slot until its answer is written.",
    )
    for name, runs in rounds.items():
        spreads = compare(rounds, name)
        own = [run.more["slots_busy"] for run in runs if "slots_busy" in run.more]
        figures = [spreads[key] for key in (f"{CPU}_ratio", CPU, f"{ROWS_PER_S}_ratio", ROWS_PER_S)]
        cells: list[Cell] = [*figures, Spread.of([run.slots_busy for run in runs])]
        table.rows.append([name, *cells, Spread.of(own) if own else None])
    promised = {
        "rows/s x script with stragglers": compare(rounds, OURS.name)[f"{ROWS_PER_S}_ratio"].median,
        "slots busy with stragglers": Spread.of([run.more["slots_busy"] for run in rounds[OURS.name]]).median,
    }
    return Outcome([table], {"rows": course.rows, "clients": as_json(rounds)}, promised)


STRAGGLERS = Scenario("stragglers", "Do slow answers hold back the others?", _expected_s, _run)
