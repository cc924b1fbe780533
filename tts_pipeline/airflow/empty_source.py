"""Nights without text: a missing source, or one without rows."""

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
    """Do what is wanted about a source that is missing or has no rows; with ``publish`` that is mostly nothing.

    Raises:
        AirflowSkipException: With ``skip``.
        AirflowException: With ``fail``; retried, for the text may come.
        AirflowFailException: With ``publish``, where a rebuild would put nothing in place of a dataset with rows.
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
            f"{message}, but the dataset at {without_passwords(os.fspath(job.destination))} has {rows:,} rows: it "
            "stays as it is. Restore the source, or remove the dataset if an empty one is meant"
        )


def _empty_reason(job: Job) -> str | None:
    from tts_pipeline.job.prepare import open_job_source

    try:
        rows = open_job_source(replace(job, options=replace(job.options, missing_is_empty=False))).rows
    except MissingSourceError:
        return "is not there"
    return None if rows else "has no rows"


def _existing_rows(job: Job) -> int:
    from tts_pipeline.dataset.descriptor import read_descriptor
    from tts_pipeline.job.folders import work_dir_of
    from tts_pipeline.storage.open_store import open_store

    descriptor = read_descriptor(open_store(job.destination, work_dir_of(job) / "staging"))
    return 0 if descriptor is None else descriptor.rows
