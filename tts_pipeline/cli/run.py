"""Run the commands ``run`` and ``validate``: make a dataset, or check its job."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from tts_pipeline.catalog.keys import environment
from tts_pipeline.cli.build_job import build_job
from tts_pipeline.cli.local_service import LocalServiceRun
from tts_pipeline.cli.logs import warnings_shown
from tts_pipeline.cli.settings import read_settings
from tts_pipeline.cli.status import OK, status_of_run
from tts_pipeline.cli.summary import RejectCauses, read_reject_causes, result_without_report, summary
from tts_pipeline.cli.terminal import align_columns, print_error, print_json, print_result, print_status
from tts_pipeline.dataset.finalize import committed_parts
from tts_pipeline.errors import ConfigurationError, StorageError, without_passwords
from tts_pipeline.job import Job, Progress, Report, run_job
from tts_pipeline.job import validate as check
from tts_pipeline.job.folders import work_dir_of
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.progress_view import ProgressView, live_display, report_lines
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.storage.open_store import open_store


def run(arguments: argparse.Namespace) -> int:
    """Make the dataset, or continue it. Return the exit status."""
    settings = read_settings(arguments)
    job = build_job(settings, environment())
    # Beside the planning; within it, loading aiohttp's certificates and reading the source hold no lock of Python's.
    threading.Thread(target=import_module, args=["tts_pipeline.job.runner"], name="runner-import").start()
    try:
        report = run_with_progress(job, quiet=bool(settings.get("quiet")))
    except (StorageError, KeyboardInterrupt) as error:
        if settings.get("json"):
            stopped_by = "storage" if isinstance(error, StorageError) else "interrupted"
            print_json(result_without_report(stopped_by, without_passwords(settings.destination)))
        raise
    if settings.get("json"):
        print_json(report.to_json())
    else:
        print_result(summarise(job, report))
    return status_of_run(report.stopped_by, report.dataset.rejects)


def run_with_progress(job: Job, *, quiet: bool, faults: Sequence[Mapping[str, Any]] = ()) -> Report:
    """Run a job and show its progress; print its stop and the local service's bill to standard error."""
    progress = Progress()
    local = LocalServiceRun(job.service, environment(), faults)
    local.check()
    with progress_shown(progress, quiet=quiet), warnings_shown():
        try:
            report = run_job(job, progress, start_service=local.start_service)
        except ConfigurationError:  # nothing was sent: there is no progress to show
            progress.totals.rows = 0
            raise
    if report.stopped is not None:
        print_error(report.stopped)
    comparison = local.compare_bills(report.this_run)
    if comparison is not None:
        print_status(comparison)
    return report


@contextmanager
def progress_shown(progress: Progress, *, quiet: bool) -> Iterator[None]:
    """Show progress on standard error while the block runs, unless ``quiet``."""
    if quiet:
        yield
    elif sys.stderr.isatty():
        from rich.console import Console

        with live_display(ProgressView(progress), Console(stderr=True)):
            yield
    else:
        with report_lines(ProgressView(progress), print_status):
            yield


def summarise(job: Job, report: Report) -> str:
    """Return the summary of a run for people."""
    causes = RejectCauses()
    if report.dataset.rejects:
        try:
            causes = read_reject_causes(open_store(job.destination, work_dir_of(job) / "staging"))
        except StorageError as error:  # the run is finished and counted: the causes are only examples
            print_error(error)
    return summary(report, job.service, job.card(), causes)


def validate(arguments: argparse.Namespace) -> int:
    """Check a job and print its facts; send and write nothing. Return the exit status."""
    settings = read_settings(arguments)
    job = build_job(settings, environment())
    LocalServiceRun(job.service, environment())
    facts = _facts(check(job))
    if settings.get("json"):
        print_json(facts)
    else:
        print_result(align_columns([(name, _format_value(value)) for name, value in facts.items()]))
    return OK


def _facts(prepared: PreparedJob) -> dict[str, Any]:
    job, descriptor = prepared.job, prepared.descriptor
    return {
        "source": without_passwords(os.fspath(job.source)),
        "destination": prepared.store.root,
        "service": job.service.name,
        "model": job.model,
        "rows": descriptor.rows,
        "left_out": dict(prepared.source.left_out),
        "part_rows": descriptor.part_rows,
        "parts": descriptor.parts,
        "parts_done": len(committed_parts(prepared.store, descriptor)),
        "parameters": dict(prepared.mapper.fixed),
        "columns": prepared.mapper.roles.parameter_columns(),
        "voices": _voices(prepared),
    }


def _voices(prepared: PreparedJob) -> dict[str, int]:
    """Count the rows of each voice; read the rows only if a column carries the voice."""
    descriptor, fixed = prepared.descriptor, prepared.mapper.fixed.get("voice")
    counts: Counter[str | None] = Counter()
    if "voice" in prepared.mapper.roles.parameter_columns():
        roles = prepared.mapper.roles
        reader = RowReader(
            prepared.source, list(dict.fromkeys([*roles.id_and_parameter_columns(), roles.columns.text]))
        )
        for number in range(descriptor.parts):
            counts.update(utterance.voice for utterance in prepared.read_part(reader, number).utterances)
    else:
        counts[None if fixed is None else str(fixed)] = descriptor.rows
    return {voice or "left to the service": count for voice, count in counts.most_common()}


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            ", ".join(f"{name}: {item:,}" if type(item) is int else f"{name}: {item}" for name, item in value.items())
            or "none"
        )
    return f"{value:,}" if isinstance(value, int) else str(value)
