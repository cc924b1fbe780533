"""Send a task's figures as Airflow metrics, to any backend (StatsD, OpenTelemetry)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

if TYPE_CHECKING:
    from tts_pipeline.job import Progress, Report


def send_metrics(report: Report, progress: Progress, tags: dict[str, str]) -> None:
    """Send the figures of one run, finished or stopped: rows, rejects, requests, characters, cost and mean latency.

    The tags identify the task; each has few values.
    """
    totals = report.this_run
    counts = {
        "speech.rows": totals.speech + totals.rejects,
        "speech.rejects": totals.rejects,
        "speech.attempts": totals.attempts,
        "speech.characters_billed": totals.characters_billed,
    }
    for name, count in counts.items():
        stats.incr(name, count, tags=tags)
    if totals.cost is not None and totals.currency is not None:
        # Metrics are floats; the exact bill is the usage table.
        stats.gauge("speech.cost", float(totals.cost), tags={**tags, "currency": totals.currency})
    if progress.settled:
        stats.timing("speech.latency", progress.latency_ms / progress.settled, tags=tags)
