"""The commands ``run`` and ``validate``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tts_pipeline.catalog.keys import environment
from tts_pipeline.cli.assembly import job_of
from tts_pipeline.cli.local import LocalRun
from tts_pipeline.cli.logs import logs_told
from tts_pipeline.cli.progress import shown
from tts_pipeline.cli.settings import Settings
from tts_pipeline.cli.status import OK, status_of_run
from tts_pipeline.cli.summary import Causes, causes_of, result_without_report, summary
from tts_pipeline.cli.terminal import columns, complain, say, say_json, tell
from tts_pipeline.dataset.finish import done_parts
from tts_pipeline.dataset.row_reader import RowReader
from tts_pipeline.dataset.store import open_store
from tts_pipeline.errors import StorageError, without_passwords
from tts_pipeline.job import Job, Progress, Report, run_job
from tts_pipeline.job import validate as check
from tts_pipeline.job.prepared import Prepared, work_dir_of


def run(settings: Settings) -> int:
    """Make the dataset, or go on with it; returns the exit status."""
    job = job_of(settings, environment())
    try:
        report = run_shown(job, quiet=settings.quiet)
    except (StorageError, KeyboardInterrupt) as error:
        if settings.json:
            stopped_by = "storage" if isinstance(error, StorageError) else "interrupted"
            say_json(result_without_report(stopped_by, without_passwords(settings.destination)))
        raise
    if settings.json:
        say_json(report.to_json())
    else:
        say(told(job, report))
    return status_of_run(report.stopped_by, report.dataset.rejects)


def run_shown(job: Job, *, quiet: bool, faults: Sequence[Mapping[str, Any]] = ()) -> Report:
    """Run a job with its progress shown; tells on standard error what stopped it, and the local service's own bill.

    Args:
        job: The job.
        quiet: No progress.
        faults: What the local service does wrong, when one is started.
    """
    progress = Progress()
    local = LocalRun(job.service, environment(), faults)
    local.check()
    with shown(progress, quiet=quiet), logs_told():
        report = run_job(job, progress, reach=local.reach)
    if report.stopped is not None:
        complain(report.stopped)
    compared = local.compared(report.this_run)
    if compared is not None:
        tell(compared)
    return report


def told(job: Job, report: Report) -> str:
    """Return the summary of a run for people."""
    causes = Causes()
    if report.dataset.rejects:
        try:
            causes = causes_of(open_store(job.destination, work_dir_of(job) / "staging"))
        except StorageError as error:  # the run is over and counted: this only illustrates it
            complain(error)
    return summary(report, job.service, job.card(), causes)


def validate(settings: Settings) -> int:
    """Say what a run with these settings would do; sends and writes nothing. Returns the exit status."""
    job = job_of(settings, environment())
    LocalRun(job.service, environment())
    found = _facts(check(job))
    if settings.json:
        say_json(found)
    else:
        say(columns([(name, _told(value)) for name, value in found.items()]))
    return OK


def _facts(prepared: Prepared) -> dict[str, Any]:
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
        "parts_done": len(done_parts(prepared.store, descriptor)),
        "parameters": dict(prepared.voicing.fixed),
        "columns": prepared.voicing.roles.parameter_columns(),
        "voices": _voices(prepared),
    }


def _voices(prepared: Prepared) -> dict[str, int]:
    """Count the rows of each voice; reads them only where they differ."""
    descriptor, fixed = prepared.descriptor, prepared.voicing.fixed.get("voice")
    counts: Counter[str | None] = Counter()
    if "voice" in prepared.voicing.roles.parameter_columns():
        layout = prepared.voicing.roles
        reader = RowReader(
            prepared.source, list(dict.fromkeys([*layout.id_and_parameter_columns(), layout.columns.text]))
        )
        for number in range(descriptor.parts):
            counts.update(utterance.voice for utterance in prepared.read_part(reader, number).utterances)
    else:
        counts[None if fixed is None else str(fixed)] = descriptor.rows
    return {voice or "left to the service": count for voice, count in counts.most_common()}


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return (
            ", ".join(f"{name}: {one:,}" if type(one) is int else f"{name}: {one}" for name, one in value.items())
            or "none"
        )
    return f"{value:,}" if isinstance(value, int) else str(value)
