"""Run this package end to end: planning, durable journal, published Parquet parts, the bill."""

from __future__ import annotations

import encodings.idna  # noqa: F401 (the first look-up of a host imports it)
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.parquet as pq

import tts_pipeline as tts
import tts_pipeline.audio.signal_meter  # the first answer imports it
import tts_pipeline.job.runner  # planning imports it, with the HTTP stack; the others' imports are not timed either
from benchmarks.contestants.task import MODEL, VOICE, Task, TaskResult, compete
from tts_pipeline.job import run_job


class Occupancy:
    """Samples the share of busy slots until the source is used up; this counts as our CPU time.

    Args:
        progress: The run's progress.
        task: The task, whose rows are the requests of a run without failures.
    """

    def __init__(self, progress: tts.Progress, task: Task) -> None:
        self._progress = progress
        self._rows = pq.read_metadata(task.source).num_rows
        self._slots = task.max_concurrency
        self._interval_s = task.slot_sample_s
        self._samples = 0
        self._busy = 0
        self._stop = threading.Event()

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Sample while the block runs."""
        thread = threading.Thread(target=self._sample, name="benchmark-occupancy")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(self._interval_s):
            if 0 < self._progress.totals.attempts < self._rows:
                self._samples += 1
                self._busy += min(self._progress.in_flight, self._slots)

    @property
    def share(self) -> float:
        """The mean share of busy slots."""
        return self._busy / (self._samples * self._slots) if self._samples else 0.0


def job_of(task: Task) -> tts.Job:
    """Return the task as a job."""
    limits = tts.Limits(max_concurrency=task.max_concurrency, requests_per_minute=task.requests_per_minute or None)
    return tts.Job(
        source=task.source,
        destination=task.destination,
        service=tts.Service(base_url=task.base_url),
        model=MODEL,
        parameters={"voice": VOICE},
        options=tts.RunOptions(limits=limits),
    )


def do(task: Task) -> TaskResult:
    """Run the task."""
    if not task.slot_sample_s:  # nobody watches the progress, and no thread of the harness is charged to us
        return _speech(run_job(job_of(task))), {}
    progress = tts.Progress()
    occupancy = Occupancy(progress, task)
    with occupancy.sampling():
        report = run_job(job_of(task), progress)
    return _speech(report), {"slots_busy": occupancy.share}


def _speech(report: tts.Report) -> int:
    if report.stopped is not None:
        raise report.stopped
    return report.this_run.speech


if __name__ == "__main__":
    compete(do, ("tts-pipeline", "aiohttp", "httpx", "orjson", "pybase64", "pyarrow"))
