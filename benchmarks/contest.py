"""Run contestants with the same rows and the same service, one after the other, in several rounds."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.answers import AnswerSpec, text_of
from benchmarks.capacity import BUSY_LIMIT
from benchmarks.contestants.task import Task
from benchmarks.placement import Placement, placed
from benchmarks.service import PROJECT, LoadService

TIMEOUT_S = 900.0
_QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
"""litellm fetches prices from the internet when it is imported, unless this variable is set."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A client that is measured.

    Args:
        name: Its name in the tables.
        module: Its module within ``benchmarks.contestants``.
        environment: The folder of its virtual environment, within the project.
        takes_json: Whether it reads the services' JSON; else the answers are the bytes.
        impatient: Whether it stops after ``Course.stop_after_s``, and is measured by the rows that are done by then.
    """

    name: str
    module: str
    environment: str
    takes_json: bool = True
    impatient: bool = False

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return PROJECT / self.environment / "bin" / "python"


BARE = Contestant("aiohttp script", "aiohttp_script", ".venv-bench/peers")
TUNED = Contestant("script + orjson", "tuned_script", ".venv-bench/peers")
OURS = Contestant("tts_pipeline", "ours", ".venv-bench/ours")
"""Measured in a plain install, because pyarrow, for example, imports pandas if it is installed, which takes 0.2 s."""
OPENAI = Contestant("openai", "openai_client", ".venv-bench/peers", takes_json=False, impatient=True)
LITELLM = Contestant("litellm", "litellm_client", ".venv-bench/litellm", takes_json=False, impatient=True)
HTTPX = Contestant("httpx + tenacity", "httpx_client", ".venv-bench/peers", impatient=True)
PEERS = (OPENAI, LITELLM, HTTPX)


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one run of one contestant.

    Args:
        rows: Rows done.
        seconds: From reading the source, for planning or at once, to the last byte on the disk; imports excluded.
        cpu_s: CPU time of its own process, all threads, children excluded.
        peak_rss_mb: The most memory that it held.
        slots_busy: The share of its slots that were busy at the service until the source was used up.
        service_cpu: The load service's share of one core during the run.
        versions: Versions of its libraries.
        more: Further figures that it reports.
    """

    rows: int
    seconds: float
    cpu_s: float
    peak_rss_mb: float
    slots_busy: float
    service_cpu: float
    versions: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def rows_per_s(self) -> float:
        """Rows done per second."""
        return self.rows / self.seconds

    @property
    def cpu_ms_per_row(self) -> float:
        """CPU time per row."""
        return 1_000 * self.cpu_s / self.rows


@dataclass(frozen=True, slots=True)
class Course:
    """The conditions of a run.

    Args:
        answering: The answers to contestants that take JSON.
        rows: The number of rows.
        max_concurrency: Requests in flight at the same time.
        placement: The cores of client and service.
        stop_after_s: The time after which impatient contestants stop.
        slot_sample_s: The interval at which contestants that can count their busy slots; 0 is never.
    """

    answering: AnswerSpec
    rows: int
    max_concurrency: int
    placement: Placement = Placement.FREE
    stop_after_s: float = 0.0
    slot_sample_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, the least and the most of several measurements."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of one or more values."""
        return cls(statistics.median(values), min(values), max(values))


Rounds = dict[str, list[Run]]
"""Runs by contestant, in the order of the rounds; a contestant that does not take part in all rounds has fewer."""


class Arena:
    """Runs contestants against the load service.

    Args:
        service: The load service.
        folder: The folder of sources and outputs, on a real disk.
        warn: Called with each warning about a measurement.
        log: Called with a line for each run.
    """

    def __init__(
        self,
        service: LoadService,
        folder: Path,
        warn: Callable[[str], object] = print,
        log: Callable[[str], object] = print,
    ) -> None:
        self.service = service
        self.folder = folder
        self.warn = warn
        self.log = log

    def contest(self, course: Course, contestants: Sequence[Contestant], rounds: Sequence[int]) -> Rounds:
        """Run all contestants, round by round; every other round in reverse, because a machine changes its speed.

        Args:
            course: The conditions of the runs.
            contestants: The contestants, in the order of the first round.
            rounds: The number of rounds of each contestant, in the same order.
        """
        runs: Rounds = {contestant.name: [] for contestant in contestants}
        for number in range(max(rounds)):
            pairs = list(zip(contestants, rounds, strict=True))
            for contestant, round_count in pairs if number % 2 == 0 else reversed(pairs):
                if number < round_count:
                    runs[contestant.name].append(self.run(contestant, course))
        return runs

    def run(self, contestant: Contestant, course: Course) -> Run:
        """Run one contestant once, and remove its output."""
        spec = course.answering if contestant.takes_json else _raw(course.answering)
        task = Task(
            base_url=spec.base_url(self.service.origin),
            source=str(self.source(course.rows)),
            destination=str(self.folder / "made"),
            max_concurrency=course.max_concurrency,
            stop_after_s=course.stop_after_s if contestant.impatient else 0.0,
            slot_sample_s=course.slot_sample_s,
        )
        self.service.prepare(spec)
        self.service.reset()
        command = [str(contestant.python), "-m", f"benchmarks.contestants.{contestant.module}", *task.flags()]
        try:
            with placed(course.placement, self.service.pid):
                measured = run_for_json(command)
        finally:
            remove(Path(task.destination))
        stats = self.service.stats()
        busy = stats.slots_busy(course.max_concurrency)
        run = Run(**measured, slots_busy=busy, service_cpu=stats.cpu_s / measured["seconds"])
        self.log(
            f"{contestant.name:<16} {run.rows:>9,} rows {run.seconds:6.1f} s {run.rows_per_s:7.0f} rows/s "
            f"{run.cpu_ms_per_row:6.3f} ms/row"
        )
        self._check(contestant, run)
        return run

    def _check(self, contestant: Contestant, run: Run) -> None:
        """Warn if a run's figures are not its own."""
        if run.service_cpu > BUSY_LIMIT:
            self.warn(f"WARNING: the load service was {run.service_cpu:.0%} busy: it may be the limit, not the client")
        imports = run.more.get("timed_imports")
        if imports and not contestant.impatient:
            self.warn(
                f"WARNING: {contestant.name} imported {len(imports)} modules in its time, {imports[0]} among them"
            )

    def source(self, rows: int) -> Path:
        """Return a source of ``rows`` rows, which is written once."""
        path = self.folder / f"rows-{rows}.parquet"
        if not path.exists():
            write_source(path, rows)
        return path


def write_source(path: Path, rows: int) -> None:
    """Write a source of distinct texts."""
    numbers = range(rows)
    table = pa.table({"id": [f"row-{number:07}" for number in numbers], "text": list(map(text_of, numbers))})
    pq.write_table(table, path, row_group_size=65_536)


def run_for_json(command: Sequence[str]) -> dict[str, Any]:
    """Run a command of the project, and return the JSON in the last line that it prints.

    Raises:
        RuntimeError: The command failed; the message has the end of its standard error.
    """
    process = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, **_QUIET},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        start_new_session=True,  # of its own share of a core, beside what else runs
    )
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:3])} failed:\n{process.stderr[-2_000:]}")
    output: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return output


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def ratios(rounds: Rounds, name: str, measure: Callable[[Run], float], base: str = BARE.name) -> Spread:
    """Return the ratio of a contestant's measure to the base's in the same round."""
    pairs = zip(rounds[name], rounds[base], strict=False)  # only rounds in which both took part
    return Spread.of([measure(run) / measure(base_run) for run, base_run in pairs])


def _raw(spec: AnswerSpec) -> AnswerSpec:
    return AnswerSpec("raw", spec.audio_bytes, spec.latency_ms, spec.slow_every)
