"""A task's figures as metrics of Airflow's, whatever they are sent to (StatsD, OpenTelemetry)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

if TYPE_CHECKING:
    from tts_pipeline.job import Progress, Report


def emit(report: Report, progress: Progress, tags: dict[str, str]) -> None:
    """Send what one run did: counters of rows, rejects, requests and characters; its cost; the mean latency.

    Args:
        report: Of the run, also of one that was stopped.
        progress: Of the run.
        tags: What tells tasks apart; few values each.
    """
    done = report.this_run
    counts = {
        "speech.rows": done.speech + done.rejects,
        "speech.rejects": done.rejects,
        "speech.attempts": done.attempts,
        "speech.characters_billed": done.characters_billed,
    }
    for name, count in counts.items():
        stats.incr(name, count, tags=tags)
    if done.cost is not None and done.currency is not None:
        # Metrics are floats; the bill is the usage table.
        stats.gauge("speech.cost", float(done.cost), tags={**tags, "currency": done.currency})
    if progress.settled:
        stats.timing("speech.latency", progress.latency_ms / progress.settled, tags=tags)
