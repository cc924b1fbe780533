"""Run all benchmarks, print their tables, and write ``results.json`` and ``results.md``: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.capacity import measure_capacity
from benchmarks.contest import Arena
from benchmarks.results import Results
from benchmarks.scenarios.account import ACCOUNT
from benchmarks.scenarios.layers import CPU_BY_LAYER
from benchmarks.scenarios.ledger import LEDGER
from benchmarks.scenarios.memory import MEMORY
from benchmarks.scenarios.peers import BESIDE_PEERS
from benchmarks.scenarios.rate import RATE
from benchmarks.scenarios.scale import SCALE
from benchmarks.scenarios.scenario import Scenario
from benchmarks.scenarios.speed import SPEED
from benchmarks.scenarios.startup import RESUME, START
from benchmarks.scenarios.stragglers import STRAGGLERS
from benchmarks.service import LoadService, load_service
from benchmarks.settings import FULL, QUICK, Settings
from benchmarks.tables import Table
from tts_pipeline.errors import TtsPipelineError

SCENARIOS = (*SPEED, STRAGGLERS, CPU_BY_LAYER, BESIDE_PEERS, START, RESUME, MEMORY, RATE, ACCOUNT, SCALE, LEDGER)
"""Contests first: an interrupted benchmark has those that are done."""
_CAPACITY_S = 1.5


def main() -> int:
    """Measure the scenarios that the command line selects; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less, in a few minutes")
    parser.add_argument(
        "--only", choices=[scenario.name for scenario in SCENARIOS], action="append", help="default: all"
    )
    parser.add_argument("--results", type=Path, default=Path(__file__).parent, help="folder for results.{json,md}")
    arguments = parser.parse_args()
    settings = QUICK if arguments.quick else FULL
    scenarios = [scenario for scenario in SCENARIOS if arguments.only is None or scenario.name in arguments.only]
    _announce(scenarios, settings)
    logging.getLogger("tts_pipeline").setLevel(logging.ERROR)  # the load service has no prices: not worth a warning
    results = Results(quick=arguments.quick)
    try:
        with load_service() as service, tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
            results.show(_capacity(service, settings, results))
            arena = Arena(service, Path(folder), results.warn, partial(print, flush=True))
            measured = [_measure(scenario, arena, settings, results) for scenario in scenarios]
    finally:  # keep the measurements if Ctrl-C stops the rest
        results.write(arguments.results)
    return 0 if all(measured) else 1


def _announce(scenarios: Sequence[Scenario], settings: Settings) -> None:
    total_s = 0.0
    for scenario in scenarios:
        expected_s = scenario.expected_s(settings)
        total_s += expected_s
        print(f"{expected_s:6.0f} s  {scenario.name:<11} {scenario.question}")
    print(
        f"{total_s:6.0f} s  in all, about; on a busy machine it takes longer, and the figures mean little", flush=True
    )


def _capacity(service: LoadService, settings: Settings, results: Results) -> Table:
    table = Table(
        "The load service alone",
        ("KB", "answers/s", "its CPU ms per answer"),
        notes="Answers of base64 JSON without latency, to a client that only counts bytes. "
        "Every run measures the load service too, and warns if it is the limit.",
    )
    for size in (*settings.sizes, settings.large_bytes):
        capacity = measure_capacity(service, size, seconds=_CAPACITY_S)
        table.rows.append([size // 1_000, capacity.answers_per_s, f"{capacity.service_cpu_ms:.3f}"])
        results.measured.setdefault("capacity", []).append(
            {"audio_bytes": size, "answers_per_s": capacity.answers_per_s}
        )
    return table


def _measure(scenario: Scenario, arena: Arena, settings: Settings, results: Results) -> bool:
    """Measure one scenario; return False if it fails, so that the others are still measured."""
    print(f"\n## {scenario.question}\n", flush=True)
    started_s = time.monotonic()
    try:
        outcome = scenario.run(arena, settings)
    except (RuntimeError, subprocess.SubprocessError, TtsPipelineError) as error:
        print(error, file=sys.stderr)
        results.warn(f"WARNING: {scenario.name} could not be measured")
        return False
    results.add(scenario.name, scenario.question, outcome, time.monotonic() - started_s)
    if outcome.interrupt is not None:
        raise outcome.interrupt
    return True


if __name__ == "__main__":
    sys.exit(main())
