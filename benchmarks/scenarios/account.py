"""Measure processes that share one account's rate: together, and when one of them dies or is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.contest import OURS, TIMEOUT_S, Arena, remove
from benchmarks.contestants.task import MODEL, VOICE
from benchmarks.permits import BUNCH
from benchmarks.scenarios.scenario import Outcome, Scenario
from benchmarks.service import PROJECT
from benchmarks.settings import PROCESS_S, Settings
from benchmarks.tables import Table
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.options import EmulatorOptions

_MAX_CONCURRENCY = 64
_CROWDS = (1, 3, 8)
_START_EVERY_S = 1.0
_BURSTS = {20: 950.0, 1: 0.0}
"""Requests that may come together, and how many milliseconds before its slot the last of them then comes."""

_WORKERS = (1, 8, 64)
_POSTGRES = "BENCH_POSTGRES"

_TAKE_OVER_S = 10.0
"""Seconds after a death or a stop in which the others have to have its share."""


def _expected_s(settings: Settings) -> float:
    rounds = len(_BURSTS) * len(_CROWDS) * (settings.rate_s + 2 * PROCESS_S)
    return rounds + 20 + settings.stopped_s + 2 * len(_WORKERS) * (settings.permits_s + 10)


def _run(arena: Arena, settings: Settings) -> Outcome:
    together = Table(
        "Processes that share one account, where the service enforces its rate",
        ("burst", "processes", "requests", "429", "share of the permitted rate"),
        notes="They start a second apart and end one after the other. Answered requests over time at the service, from "
        "the first to the last.",
    )
    promised = dict[str, float]()
    for burst in _BURSTS:
        for processes in _CROWDS:
            figures = _measure_together(arena, settings, burst, processes)
            together.rows.append([burst, processes, figures["requests"], figures["429"], figures["share"]])
            promised[f"share of a rate, burst {burst}, {processes} processes"] = figures["share"]
            promised[f"429s, burst {burst}, {processes} processes"] = figures["429"]
    lost = _measure_losses(arena, settings)
    apart = Table(
        "Three processes of one account, one killed and one stopped",
        ("s since", "share of the permitted rate"),
        [[f"{since_s:.0f} to {until_s:.0f}", share] for since_s, until_s, share in lost],
        notes=f"The last one has the whole rate {_TAKE_OVER_S:.0f} s later.",
    )
    promised["share of a rate beside a dead and a stopped process"] = lost[-1][-1]
    return Outcome([together, apart, _measure_permits(arena, settings)], promised, promised)


def _measure_permits(arena: Arena, settings: Settings) -> Table:
    """Measure what a store gives to many workers that want all that they can get."""
    table = Table(
        "Permits a second that an account store gives",
        ("store", "workers", "permits/s", "exchanges/s"),
        notes=f"Processes that ask for {BUNCH} at a time, without a pause. PostgreSQL is measured where "
        f"{_POSTGRES} names a database.",
    )
    stores = {"SQLite": str(arena.folder / "permits.db"), "PostgreSQL": os.environ.get(_POSTGRES, "")}
    for store, place in stores.items():
        for workers in _WORKERS if place else ():
            took = _take_permits(place, workers, settings.permits_s)
            figures = [sum(each[name] for each in took) / settings.permits_s for name in ("slots", "exchanges")]
            table.rows.append([store, workers, *(round(figure) for figure in figures)])
    return table


def _take_permits(place: str, workers: int, seconds: float) -> list[dict[str, int]]:
    command = [str(OURS.python), "-m", "benchmarks.permits", place]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": PROJECT}
    processes = [subprocess.Popen([*command, f"{n}", f"{seconds}"], **pipes) for n in range(workers)]  # type: ignore[call-overload]
    try:
        for process in processes:
            process.stdout.readline()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.stdout.read()) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _service(settings: Settings, burst: int) -> LocalService:
    return LocalService(
        EmulatorOptions(
            voice_mode="tone",
            tone_bytes=20_000,
            latency_ms=settings.latency_ms,
            requests_per_minute=settings.requests_per_minute,
            rate_tolerance_ms=_BURSTS[burst],
        )
    )


def _start(arena: Arena, service: LocalService, rate: float, name: str, rows: int) -> subprocess.Popen[bytes]:
    command = [OURS.python.with_name("tts-pipeline"), "run", arena.source(rows), arena.folder / "made" / name]
    flags = [
        "--service",
        service.url,
        "--model",
        MODEL,
        "--voice",
        VOICE,
        "--quiet",
        "--requests-per-minute",
        f"{rate}",
    ]
    flags += ["--max-concurrency", f"{_MAX_CONCURRENCY}", "--account-store", f"{arena.folder / 'made' / 'account.db'}"]
    return subprocess.Popen([*map(str, command), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def _started(
    arena: Arena, service: LocalService, rate: float, rows: Sequence[int]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = list[subprocess.Popen[bytes]]()
    try:
        for number, count in enumerate(rows):
            processes.append(_start(arena, service, rate, f"{number}", count))
            time.sleep(_START_EVERY_S)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
        remove(arena.folder / "made")


def _measure_together(arena: Arena, settings: Settings, burst: int, processes: int) -> dict[str, float]:
    rate = settings.requests_per_minute
    part = rate / 60 * settings.rate_s / (processes * (processes + 1) / 2)
    with _service(settings, burst) as service:
        with _started(arena, service, rate, [int(part * (number + 1)) for number in range(processes)]) as running:
            for process in running:
                process.wait(TIMEOUT_S)
        entries = service.bill(entries=True)["entries"]
    return {
        "requests": len(entries),
        "429": sum(entry["status"] == 429 for entry in entries) / len(entries),
        "share": _share(entries, rate),
    }


def _measure_losses(arena: Arena, settings: Settings) -> list[tuple[float, float, float]]:
    rate = settings.requests_per_minute
    rows = int(rate / 60 * (2 * settings.stopped_s + 60))
    with _service(settings, 20) as service, _started(arena, service, rate, [rows] * 3) as running:
        time.sleep(10)
        os.kill(running[0].pid, signal.SIGKILL)
        os.kill(running[1].pid, signal.SIGSTOP)
        lost_at = time.time()
        time.sleep(settings.stopped_s)
        entries = service.bill(entries=True)["entries"]
    spans = ((0.0, _TAKE_OVER_S), (_TAKE_OVER_S, settings.stopped_s))
    return [(*span, _share(entries, rate, *(lost_at + each for each in span))) for span in spans]


def _share(entries: Sequence[dict[str, Any]], rate: float, since: float = 0.0, until: float = float("inf")) -> float:
    """Return the answered requests that came in a span as a share of the permitted ones."""
    times = [entry["received_at"] for entry in entries if entry["charged"] and since <= entry["received_at"] < until]
    if until < float("inf"):
        return len(times) / (until - since) * 60 / rate
    return float((len(times) - 1) / (max(times) - min(times)) * 60 / rate)


ACCOUNT = Scenario("account", "Do processes that share an account use its whole rate?", _expected_s, _run)
