"""Run one step of a large job in its own process, and print the time and memory of the step as JSON."""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.answers import text_of
from benchmarks.contestants.task import MODEL, VOICE, peak_rss_mb
from tts_pipeline import Job, Limits, RunOptions, Service
from tts_pipeline.config import Selection
from tts_pipeline.job import plan, publish, run_job
from tts_pipeline.source.parquet_source import open_source

_FILES_IN_FOLDER = 100
_WIDE_BYTES = 100_000


def write_files(folder: Path, files: int, rows_per_file: int) -> None:
    """Write a source of many Parquet files with distinct texts, in the folders of a partitioned table."""
    for number in range(files):
        rows = range(number * rows_per_file, (number + 1) * rows_per_file)
        path = folder / f"day={number // _FILES_IN_FOLDER:05}" / f"{number % _FILES_IN_FOLDER:02}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": [f"row-{n:08}" for n in rows], "text": [text_of(n) for n in rows]}), path)


def write_wide(path: Path, groups: int, rows_per_group: int) -> None:
    """Write a source with a column of 100 kB a row, in row groups of ``rows_per_group`` rows."""
    noise = os.urandom(_WIDE_BYTES + groups * rows_per_group)
    schema = pa.schema({"id": pa.string(), "text": pa.string(), "document": pa.binary()})
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for group in range(groups):
            rows = range(group * rows_per_group, (group + 1) * rows_per_group)
            wide = [noise[n : n + _WIDE_BYTES] for n in rows]
            columns = {"id": [f"row-{n}" for n in rows], "text": [text_of(n) for n in rows], "document": wide}
            writer.write_table(pa.table(columns, schema), row_group_size=rows_per_group)


def job_of(
    source: str, destination: str, base_url: str, *, max_concurrency: int = 64, part_rows: int | None = None
) -> Job:
    """Return the job of all steps."""
    return Job(
        source=source,
        destination=destination,
        service=Service(base_url=base_url),
        model=MODEL,
        parameters={"voice": VOICE},
        options=RunOptions(limits=Limits(max_concurrency=max_concurrency), part_rows=part_rows),
    )


def _open(job: Job) -> None:
    open_source(job.source)


def _plan(job: Job) -> None:
    plan(job, max_shards=64)


def _run(job: Job) -> None:
    stopped = run_job(job).stopped
    if stopped is not None:
        raise stopped


def _publish(job: Job) -> None:
    publish(job)


STEPS: Mapping[str, Callable[[Job], None]] = {"open": _open, "plan": _plan, "run": _run, "publish": _publish}


def main() -> None:
    """Run the step that the command line names; imports are not measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("source")
    parser.add_argument("destination")
    parser.add_argument("base_url")
    parser.add_argument("--max-concurrency", type=int, default=64)
    parser.add_argument("--part-rows", type=int)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    logging.getLogger("tts_pipeline").setLevel(logging.ERROR)  # the load service has no prices: not worth a warning
    job = job_of(
        arguments.source,
        arguments.destination,
        arguments.base_url,
        max_concurrency=arguments.max_concurrency,
        part_rows=arguments.part_rows,
    )
    job = replace(job, selection=Selection(limit=arguments.limit))
    started_s, cpu_s = time.monotonic(), time.process_time()
    STEPS[arguments.step](job)
    figures = {"seconds": time.monotonic() - started_s, "cpu_s": time.process_time() - cpu_s}
    print(json.dumps({**figures, "peak_mb": peak_rss_mb()}))


if __name__ == "__main__":
    main()
