"""Define the task of all contestants, measure it, and write its rows; imports no library except Arrow."""

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
"""Rows done, and further figures."""


@dataclass(frozen=True, slots=True)
class Task:
    """The rows to speak, the service, and the limits.

    Args:
        base_url: The service's base URL.
        source: A Parquet file with columns ``id`` and ``text``.
        destination: The output, which does not exist yet.
        max_concurrency: Requests in flight at the same time.
        stop_after_s: The time after which no new request is sent, and the finished rows count; 0 is no limit.
        requests_per_minute: A rate for contestants that support it; 0 is none.
        slot_sample_s: The interval of samples of the busy slots, by contestants that can; 0 is none.
    """

    base_url: str
    source: str
    destination: str
    max_concurrency: int
    stop_after_s: float = 0.0
    requests_per_minute: float = 0.0
    slot_sample_s: float = 0.0

    @property
    def url(self) -> str:
        """The URL of requests for speech."""
        return f"{self.base_url}/v1/audio/speech"

    def flags(self) -> list[str]:
        """Return the command line that ``task_from`` parses."""
        return [f"--{field.name.replace('_', '-')}={getattr(self, field.name)}" for field in fields(self)]

    def rows(self) -> Iterator[Row]:
        """Yield id and text of each row, until ``stop_after_s`` has passed."""
        until_s = time.monotonic() + self.stop_after_s if self.stop_after_s else float("inf")
        table = pq.ParquetFile(self.source).read(columns=["id", "text"])  # ``read_table`` would import more, timed
        for row in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
            if time.monotonic() >= until_s:
                return
            yield row

    def save(self, spoken_rows: Sequence[SpokenRow]) -> int:
        """Write all rows as one Parquet file, laid out as this package's; return their number.

        With a dictionary of the audio, which all answers of the load service share, the file would hold it only once.
        """
        names = ("id", "text", "audio")
        columns = {name: [row[index] for row in spoken_rows] for index, name in enumerate(names)}
        types = pa.schema([("id", pa.string()), ("text", pa.string()), ("audio", pa.large_binary())])
        texts = ["id", "text"]
        pq.write_table(
            pa.table(columns, types),
            self.destination,
            compression=dict.fromkeys(texts, "zstd"),
            use_dictionary=False,
            write_statistics=texts,
        )
        return len(spoken_rows)


def task_from(words: Sequence[str]) -> Task:
    """Parse a task from a command line."""
    parser = argparse.ArgumentParser()
    for name, kind in (("base-url", str), ("source", str), ("destination", str), ("max-concurrency", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("stop-after-s", "requests-per-minute", "slot-sample-s"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    return Task(**vars(parser.parse_args(words)))


def compete(do: Callable[[Task], TaskResult], libraries: Sequence[str]) -> None:
    """Run the task of this process's command line, and print its figures; imports are measured apart.

    Args:
        do: Runs a task, from reading the source to the last byte on the disk.
        libraries: The libraries whose versions are reported.
    """
    task = task_from(sys.argv[1:])
    modules = set(sys.modules)
    started_s, cpu_s = time.monotonic(), time.process_time()
    rows, more = do(task)
    seconds = time.monotonic() - started_s
    result = {
        "rows": rows,
        "seconds": seconds,
        "cpu_s": time.process_time() - cpu_s,
        "peak_rss_mb": peak_rss_mb(),
        "versions": {name: version(name) for name in libraries},
        "more": {**more, "import_cpu_s": cpu_s, "timed_imports": sorted(set(sys.modules) - modules)},
    }
    print(json.dumps(result))


def peak_rss_mb() -> float:
    """Return the peak memory of this process, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts what the parent held when it forked
        match = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if match:
            return int(match[1]) / 1_024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1_024 if sys.platform == "linux" else 1_048_576)
