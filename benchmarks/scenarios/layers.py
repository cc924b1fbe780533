"""Measure our CPU time per row by layer, beside that of an earlier version.

The earlier version's figures are in ``profile_before.json``: this scenario's part of the ``results.json`` that
``python -m benchmarks --only layers --results FOLDER`` wrote with the package of that time. Machines differ, so both
versions stand beside the bare script's CPU in the same minutes.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.answers import AnswerSpec
from benchmarks.contest import BARE, OURS, Arena, Course, Rounds, run_for_json
from benchmarks.profile import LAYER_NOTES, LAYERS, ModuleCosts, by_layer, module_table
from benchmarks.scenarios.scenario import CPU, Outcome, Scenario, compare
from benchmarks.settings import Settings
from benchmarks.tables import Cell, Table

_CASES = (AnswerSpec("raw", 20_000), 256), (AnswerSpec("base64", 20_000), 256), (AnswerSpec("raw", 48_000), 128)
_BEFORE = Path(__file__).parent.parent / "profile_before.json"

Figures = Mapping[str, Any]
"""Of one case, in ms: ``script`` and ``ours`` per row, ``layers`` per row, ``start`` in all."""


def _expected_s(settings: Settings) -> float:
    return (2 + 1.2 * settings.profile_rounds) * sum(
        settings.expected_s(settings.rows(most), most) for _, most in _CASES
    )


def _run(arena: Arena, settings: Settings) -> Outcome:
    before: dict[str, Figures] = json.loads(_BEFORE.read_text()) if _BEFORE.exists() else {}
    now: dict[str, Figures] = {}
    tables: list[Table] = []
    for spec, most in _CASES:
        case = f"{spec.audio_bytes // 1_000} KB as {spec.shape}, {most} in flight"
        course = Course(spec, settings.rows(most), most)
        rounds = arena.contest(course, (BARE, OURS), (1, 1))
        profiles = [_profile(course) for _ in range(settings.profile_rounds)]
        now[case] = _figures(rounds, profiles, course.rows)
        before.setdefault(case, now[case])
        tables.append(_layer_table(case, before[case], now[case]))
        tables.append(module_table(profiles[-1], f"{case}, now"))
    return Outcome([_start_table(before, now), *tables], now)


CPU_BY_LAYER = Scenario("layers", "Where does our CPU go?", _expected_s, _run)


def _profile(course: Course) -> ModuleCosts:
    spec = course.answering
    flags = [f"--rows={course.rows}", f"--max-concurrency={course.max_concurrency}"]
    flags += [f"--audio-bytes={spec.audio_bytes}", f"--shape={spec.shape}", "--json"]
    costs: ModuleCosts = run_for_json([str(OURS.python), "-m", "benchmarks.profile", *flags])["costs"]
    return costs


def _figures(rounds: Rounds, profiles: Sequence[ModuleCosts], rows: int) -> Figures:
    """Return medians; the sum of the layers is what runs without a profile take."""
    sums = [by_layer(costs) for costs in profiles]
    layers = {layer: statistics.median(each[layer] for each in sums) for layer in LAYERS}
    own_ms = compare(rounds, OURS.name)[CPU].median
    scale = own_ms / sum(layers.values())
    layers = {layer: round(scale * cost_ms, 4) for layer, cost_ms in layers.items()}
    imports = {
        f"{name}: interpreter and imports": 1_000 * statistics.median(run.more["import_cpu_s"] for run in runs)
        for name, runs in rounds.items()
    }
    start = {**imports, f"{OURS.name}: planning and finalizing": layers["start-up"] * rows}
    return {"script": compare(rounds, BARE.name)[CPU].median, "ours": own_ms, "layers": layers, "start": start}


def _layer_table(case: str, before: Figures, now: Figures) -> Table:
    table = Table(
        f"By layer, {case}",
        ("layer", "ms/row before", "now", "of the script's ms before", "now"),
        notes=f"{LAYER_NOTES} The profile divides the CPU of runs without it.",
    )
    for layer in LAYERS:
        table.rows.append([layer, *_pair(before, now, before["layers"][layer], now["layers"][layer])])
    table.rows.append(["all", *_pair(before, now, before["ours"], now["ours"])])
    table.rows.append(["the bare script", *_pair(before, now, before["script"], now["script"])])
    return table


def _pair(before: Figures, now: Figures, before_ms: float, now_ms: float) -> list[Cell]:
    return [f"{before_ms:.3f}", f"{now_ms:.3f}", before_ms / before["script"], now_ms / now["script"]]


def _start_table(before: Mapping[str, Figures], now: Mapping[str, Figures]) -> Table:
    table = Table("What a process does once, CPU ms in all", ("what", "before", "now"))
    for what in next(iter(now.values()))["start"]:
        cells = [statistics.median(case["start"][what] for case in each.values()) for each in (before, now)]
        table.rows.append([what, *cells])
    return table
