"""Handle a source that is missing or has no rows: skip the task, fail it, or publish an empty dataset."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from tts_pipeline.errors import MissingSourceError, without_passwords

if TYPE_CHECKING:
    from tts_pipeline.job import Job

OnEmpty = Literal["skip", "publish", "fail"]


def handle_empty_source(job: Job, on_empty: OnEmpty) -> None:
    """Skip or fail the task if the source is missing or has no rows; ``publish`` lets it make an empty dataset.

    Raises:
        AirflowSkipException: With ``skip``.
        AirflowException: With ``fail``; retried, because the text may arrive later.
        AirflowFailException: With ``publish``, if a rebuild would replace a dataset with rows by an empty one.
    """
    if on_empty == "publish" and not job.options.rebuild:
        return
    problem = _empty_reason(job)
    if problem is None:
        return
    message = f"the source {without_passwords(os.fspath(job.source))!r} {problem}"
    if on_empty == "skip":
        raise AirflowSkipException(message)
    if on_empty == "fail":
        raise AirflowException(f"{message}: on_empty is 'fail'")
    rows = _existing_rows(job)
    if rows:
        raise AirflowFailException(
            f"{message}, but the dataset at {without_passwords(os.fspath(job.destination))} has {rows:,} rows: it is "
            "not replaced. Restore the source, or remove the dataset if you want an empty one"
        )


def _empty_reason(job: Job) -> str | None:
    from tts_pipeline.job.prepare import open_job_source

    try:
        rows = open_job_source(replace(job, options=replace(job.options, missing_is_empty=False))).rows
    except MissingSourceError:
        return "does not exist"
    return None if rows else "has no rows"


def _existing_rows(job: Job) -> int:
    from tts_pipeline.dataset.descriptor import read_descriptor
    from tts_pipeline.job.folders import work_dir_of
    from tts_pipeline.storage.open_store import open_store

    descriptor = read_descriptor(open_store(job.destination, work_dir_of(job) / "staging"))
    return 0 if descriptor is None else descriptor.rows
