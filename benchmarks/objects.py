"""What a job asks of an object store: every request that its driver sends, counted by operation; prints them as JSON.

The store is a real S3 server, moto, on this machine. Listings and requests that may be repeated are counted as sent.
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
from tests.s3 import s3_server
from tts_pipeline import plan, publish, run_job, run_parts
from tts_pipeline.emulator.local import LocalService
from tts_pipeline.emulator.options import EmulatorOptions

_BUCKET = "bucket"
_ROWS = 4
"""Rows of a part, and of a file of the source."""

Asked = dict[str, int]


class _Counted:
    """Counts a driver's requests, while they are sent, by operation."""

    def __init__(self, filesystem: Any) -> None:
        self._sent: Counter[str] = Counter()
        filesystem.connect()
        filesystem.s3.meta.events.register("before-call.s3", self._see)

    def _see(self, model: Any, **_: Any) -> None:
        self._sent[model.name] += 1

    def by(self, step: Callable[[], object]) -> Asked:
        """Return what a step asked."""
        self._sent.clear()
        step()
        return dict(sorted(self._sent.items()))


def asked_by_job(parts: int) -> dict[str, Asked]:
    """Return what each step of a job of so many parts asks of its destination, by operation."""
    with _store() as (counted, folder), LocalService(EmulatorOptions(voice_mode="tone", tone_bytes=2_000)) as service:
        write_source(folder / "rows.parquet", parts * _ROWS)
        made = job_of(str(folder / "rows.parquet"), f"s3://{_BUCKET}/out", service.url, part_rows=_ROWS)
        job = replace(made, running=replace(made.running, work_dir=folder / "work"))
        *shards, last = plan(job, max_shards=parts)
        for shard in shards:
            run_parts(job, shard)
        remote = replace(job, destination=f"s3://{_BUCKET}/planned")
        return {
            "plan": counted.by(lambda: plan(remote)),
            "going on, one part left": counted.by(lambda: run_parts(job, last)),
            "publish": counted.by(lambda: publish(job)),
            "nothing to do": counted.by(lambda: run_job(job)),
        }


def asked_by_source(files: int) -> dict[str, Asked]:
    """Return what opening and reading a source of so many files asks."""
    import s3fs

    from tts_pipeline.dataset.source import open_source

    with _store() as (counted, folder):
        write_source(folder / "rows.parquet", _ROWS)
        for number in range(files):
            s3fs.S3FileSystem().put_file(str(folder / "rows.parquet"), f"{_BUCKET}/source/{number:05}.parquet")
        opened = [open_source(f"s3://{_BUCKET}/source")]
        return {
            "open": counted.by(lambda: opened.append(open_source(f"s3://{_BUCKET}/source"))),
            "read": counted.by(lambda: list(opened[0].batches(columns=["text"]))),
        }


@contextmanager
def _store() -> Iterator[tuple[_Counted, Path]]:
    with s3_server() as environ, tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
        os.environ.update(environ)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        filesystem = s3fs.S3FileSystem()
        filesystem.mkdir(_BUCKET)
        yield _Counted(filesystem), Path(folder).absolute()


def main() -> None:
    """Count as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.objects", description=__doc__)
    parser.add_argument("--parts", type=int, required=True)
    parser.add_argument("--files", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps({**asked_by_job(given.parts), **asked_by_source(given.files)}))


if __name__ == "__main__":
    main()
