"""Run this package end to end: durable journal, published Parquet parts, the bill.

Its time is the run's own ``elapsed_s``, without planning, which a job does once; its CPU time includes planning.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.compute  # noqa: F401 (a cast imports it; the others' imports are not timed either)
import pyarrow.parquet as pq

import tts_pipeline as tts
import tts_pipeline.audio.signal_stats  # the first answer imports it
from benchmarks.contestants.task import MODEL, VOICE, Task, TaskResult, compete
from tts_pipeline.job import run_job  # imports everything, as the others' imports do

_SAMPLE_INTERVAL_S = 0.1
"""Long, because sampling counts as our CPU time: at 0.02 s it is 2 % of a row's CPU time."""


class Occupancy:
    """Samples the share of busy slots until the source is used up.

    Args:
        progress: The run's progress.
        rows: The requests of a run without failures.
        max_concurrency: The number of slots.
    """

    def __init__(self, progress: tts.Progress, rows: int, max_concurrency: int) -> None:
        self._progress = progress
        self._rows = rows
        self._slots = max_concurrency
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
        while not self._stop.wait(_SAMPLE_INTERVAL_S):
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
    progress = tts.Progress()
    job = job_of(task)
    occupancy = Occupancy(progress, pq.read_metadata(task.source).num_rows, task.max_concurrency)
    with occupancy.sampling():
        report = run_job(job, progress)
    if report.stopped is not None:
        raise report.stopped
    return report.this_run.speech, {"elapsed_s": report.elapsed_s, "slots_busy": occupancy.share}


if __name__ == "__main__":
    compete(do, ("tts-pipeline", "aiohttp", "httpx", "orjson", "pybase64", "pyarrow"))
