"""Measure the goodput under a rate that the service enforces smoothly."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.contest import OURS, Arena, remove, run_for_json
from benchmarks.contestants.task import Task
from benchmarks.scenarios.scenario import Outcome, Scenario
from benchmarks.settings import PROCESS_S, Settings
from benchmarks.tables import Table
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.options import EmulatorOptions

_MAX_CONCURRENCY = 64


def _expected_s(settings: Settings) -> float:
    return settings.rate_s + 2 * PROCESS_S


def _run(arena: Arena, settings: Settings) -> Outcome:
    rate = settings.requests_per_minute
    rows = int(rate / 60 * settings.rate_s)
    options = EmulatorOptions(
        voice_mode="tone", tone_bytes=20_000, latency_ms=settings.latency_ms, requests_per_minute=rate
    )
    with LocalService(options) as service:
        task = Task(
            base_url=service.url,
            source=str(arena.source(rows)),
            destination=str(arena.folder / "made"),
            max_concurrency=_MAX_CONCURRENCY,
            requests_per_minute=rate,
        )
        try:
            run_for_json([str(OURS.python), "-m", f"benchmarks.contestants.{OURS.module}", *task.flags()])
        finally:
            remove(arena.folder / "made")
        figures = _goodput(service.bill(entries=True)["entries"], rate)
    table = Table(
        f"Goodput where the service enforces {rate:,} requests a minute",
        ("requests", "429", "share of the permitted rate"),
        [[figures["requests"], figures["refused"], figures["goodput"]]],
        notes="Charged requests over time at the service, from the first to the last.",
    )
    return Outcome([table], figures, {"goodput": figures["goodput"], "429": figures["refused"]})


def _goodput(entries: list[dict[str, Any]], rate: float) -> dict[str, float]:
    charged = [entry["received_at"] for entry in entries if entry["charged"]]
    statuses = Counter(entry["status"] for entry in entries)
    per_s = (len(charged) - 1) / (max(charged) - min(charged))
    return {"requests": len(entries), "refused": statuses[429], "goodput": per_s * 60 / rate}


RATE = Scenario("rate", "Is a permitted rate used, and kept?", _expected_s, _run)
