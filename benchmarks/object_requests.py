"""Count the requests that a job's driver sends to an object store, by operation, and print the counts as JSON.

The store is a real S3 server, moto, on this machine. Listings and repeated requests are counted as sent.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.contest import write_source
from benchmarks.scale import job_of
from tests.machine import s3_server
from tts_pipeline import plan, publish, run_job, run_parts
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.options import EmulatorOptions

_BUCKET = "bucket"
_ROWS = 4
"""Rows of a part, and of a file of the source."""

RequestCounts = dict[str, int]


class _RequestCounter:
    """Counts the requests that a driver sends, by operation."""

    def __init__(self, filesystem: Any) -> None:
        self._counts: Counter[str] = Counter()
        filesystem.connect()
        filesystem.s3.meta.events.register("before-call.s3", self._count)

    def _count(self, model: Any, **_: Any) -> None:
        self._counts[model.name] += 1

    def count(self, step: Callable[[], object]) -> RequestCounts:
        """Return the number of requests of a step, by operation."""
        self._counts.clear()
        step()
        return dict(sorted(self._counts.items()))


def count_job_requests(parts: int) -> dict[str, RequestCounts]:
    """Return the requests to the destination of each step of a job with ``parts`` parts, by operation."""
    with _store() as (counter, folder), LocalService(EmulatorOptions(voice_mode="tone", tone_bytes=2_000)) as service:
        write_source(folder / "rows.parquet", parts * _ROWS)
        template = job_of(str(folder / "rows.parquet"), f"s3://{_BUCKET}/out", service.url, part_rows=_ROWS)
        job = replace(template, options=replace(template.options, work_dir=folder / "work"))
        *shards, last = plan(job, max_shards=parts)
        for shard in shards:
            run_parts(job, shard)
        remote = replace(job, destination=f"s3://{_BUCKET}/planned")
        return {
            "plan": counter.count(lambda: plan(remote)),
            "going on, one part left": counter.count(lambda: run_parts(job, last)),
            "publish": counter.count(lambda: publish(job)),
            "nothing to do": counter.count(lambda: run_job(job)),
        }


def count_source_requests(files: int) -> dict[str, RequestCounts]:
    """Return the requests of opening and reading a source of ``files`` files."""
    import s3fs

    from tts_pipeline.source.parquet_source import open_source

    with _store() as (counter, folder):
        write_source(folder / "rows.parquet", _ROWS)
        for number in range(files):
            s3fs.S3FileSystem().put_file(str(folder / "rows.parquet"), f"{_BUCKET}/source/{number:05}.parquet")
        sources = [open_source(f"s3://{_BUCKET}/source")]
        return {
            "open": counter.count(lambda: sources.append(open_source(f"s3://{_BUCKET}/source"))),
            "read": counter.count(lambda: list(sources[0].batches(columns=["text"]))),
        }


@contextmanager
def _store() -> Iterator[tuple[_RequestCounter, Path]]:
    with s3_server() as environ, tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        os.environ.update(environ)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        filesystem = s3fs.S3FileSystem()
        filesystem.mkdir(_BUCKET)
        yield _RequestCounter(filesystem), Path(folder).absolute()


def main() -> None:
    """Count for the numbers of parts and files on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.object_requests", description=__doc__)
    parser.add_argument("--parts", type=int, required=True)
    parser.add_argument("--files", type=int, required=True)
    arguments = parser.parse_args()
    print(json.dumps({**count_job_requests(arguments.parts), **count_source_requests(arguments.files)}))


if __name__ == "__main__":
    main()
