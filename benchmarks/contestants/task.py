"""What every contestant has in common: its task, its clock, and where it leaves its rows. Of no library but Arrow."""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MODEL = "qwen3-tts-flash"
VOICE = "Cherry"

Row = tuple[str, str]
SpokenRow = tuple[str, str, bytes]
TaskResult = tuple[int, Mapping[str, Any]]
"""Rows done, and what else there is to tell; ``elapsed_s`` is the run's own clock, taken in place of ours."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done.

    Args:
        base_url: Of the service.
        source: A Parquet file with columns ``id`` and ``text``.
        destination: What is to be made; it does not exist yet.
        max_concurrency: Requests in flight at one time.
        stop_after_s: After so long nothing new is asked for, and what there is counts; 0 is to the end.
        requests_per_minute: A rate to keep to, by those who can; 0 is none.
    """

    base_url: str
    source: str
    destination: str
    max_concurrency: int
    stop_after_s: float = 0.0
    requests_per_minute: float = 0.0

    @property
    def url(self) -> str:
        """Where speech is asked for."""
        return f"{self.base_url}/v1/audio/speech"

    def flags(self) -> list[str]:
        """Return the command line that ``task_from`` reads back."""
        return [f"--{field.name.replace('_', '-')}={getattr(self, field.name)}" for field in fields(self)]

    def rows(self) -> Iterator[Row]:
        """Yield id and text until the source, or the time, is used up."""
        until_s = time.monotonic() + self.stop_after_s if self.stop_after_s else float("inf")
        table = pq.read_table(self.source, columns=["id", "text"])
        for row in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
            if time.monotonic() >= until_s:
                return
            yield row

    def save(self, spoken_rows: Sequence[SpokenRow]) -> int:
        """Write everything as one Parquet file; returns how many rows that are."""
        names = ("id", "text", "audio")
        columns = {name: [row[index] for row in spoken_rows] for index, name in enumerate(names)}
        types = pa.schema([("id", pa.string()), ("text", pa.string()), ("audio", pa.large_binary())])
        pq.write_table(pa.table(columns, types), self.destination, compression={"id": "zstd", "text": "zstd"})
        return len(spoken_rows)


def task_from(words: Sequence[str]) -> Task:
    """Read a task from a command line."""
    parser = argparse.ArgumentParser()
    for name, kind in (("base-url", str), ("source", str), ("destination", str), ("max-concurrency", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("stop-after-s", "requests-per-minute"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    return Task(**vars(parser.parse_args(words)))


def compete(do: Callable[[Task], TaskResult], libraries: Sequence[str]) -> None:
    """Do the task of this process's command line, and print what it took; imports are done by then.

    Args:
        do: From reading the source to the last byte on the disk.
        libraries: Whose versions matter.
    """
    task = task_from(sys.argv[1:])
    started_s, cpu_s = time.monotonic(), time.process_time()
    rows, more = do(task)
    whole_s = time.monotonic() - started_s
    result = {
        "rows": rows,
        "seconds": more.get("elapsed_s", whole_s),
        "cpu_s": time.process_time() - cpu_s,
        "peak_rss_mb": peak_rss_mb(),
        "versions": {name: version(name) for name in libraries},
        "more": {**more, "whole_s": whole_s},
    }
    print(json.dumps(result))


def peak_rss_mb() -> float:
    """Return the most memory that this process held."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts what the parent held when it forked
        match = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if match:
            return int(match[1]) / 1_024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1_024 if sys.platform == "linux" else 1_048_576)
