"""Measure our CPU time per row by layer."""

from __future__ import annotations

from benchmarks.contest import OURS, Arena, run_for_json
from benchmarks.scenarios.scenario import Outcome, Scenario
from benchmarks.settings import Settings
from benchmarks.tables import Table


def _expected_s(settings: Settings) -> float:
    most = settings.concurrencies[-1]
    return 1.3 * len(settings.sizes) * settings.expected_s(settings.rows(most), most)


def _run(_arena: Arena, settings: Settings) -> Outcome:
    most = settings.concurrencies[-1]
    tables = []
    for size in settings.sizes:
        flags = [f"--rows={settings.rows(most)}", f"--max-concurrency={most}", f"--audio-bytes={size}", "--json"]
        tables.append(Table(**run_for_json([str(OURS.python), "-m", "benchmarks.profile", *flags])))
    return Outcome(tables, [{"title": table.title, "rows": table.rows} for table in tables])


LAYERS = Scenario("layers", "Where does our CPU go?", _expected_s, _run)
