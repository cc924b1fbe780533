"""Measure the steps of a job of ten million rows in 64 shards, and compute its time from a rate or a latency."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.answers import AnswerSpec
from benchmarks.contest import OURS, Arena, remove, run_for_json
from benchmarks.finished_dataset import make_finished_dataset, undo_last_part
from benchmarks.scale import job_of, write_files
from benchmarks.scenarios.scenario import Outcome, Scenario
from benchmarks.scenarios.startup import command_of, first_requests, seconds_of
from benchmarks.settings import PROCESS_S, Settings
from benchmarks.tables import Table
from tts_pipeline import Job

SHARDS = 64
IN_FLIGHT = 256
REQUESTS_PER_MINUTE = (180, 10)
"""Ali's limits for an account: for ``qwen3-tts-flash``, and for its snapshot ``qwen3-tts-flash-2025-09-18``."""
LATENCIES_S = (0.2, 1.0, 3.0)

_DONE_BYTES = 1_000
_ROWS_OF_SMALL_FILES = 100
_MINUTES_A_DAY = 1_440
_FILE_S = 0.005
_STEPS_S = 90.0
_PARTS = (10, 30)
"""Parts of the jobs whose requests are counted; their difference gives the requests of one more part."""


def _expected_s(settings: Settings) -> float:
    runs_s = 2 * settings.expected_s(settings.scale_run_rows, IN_FLIGHT)
    return _FILE_S * settings.scale_files + _STEPS_S * settings.scale_rows / 10_000_000 + runs_s + 15 * PROCESS_S


def _run(arena: Arena, settings: Settings) -> Outcome:
    with _job(arena, settings.scale_files, _ROWS_OF_SMALL_FILES) as job:
        of_files = f"plan, {_ROWS_OF_SMALL_FILES} rows a file"
        steps = {of_files: _step("plan", job)}
    with _job(arena, settings.scale_files, settings.scale_rows // settings.scale_files) as job:
        more, sizes = _dataset(arena, job, settings)
        steps |= more
    memory, measured_memory = _memory(arena, settings)
    requests, measured_requests = _requests()
    duration = _duration(settings.scale_rows, min(run["rows_per_s"] for run in measured_memory))
    tables = [_steps_table(settings, steps), _sizes_table(settings, sizes), memory, requests, duration]
    files = {name: {"count": len(file_sizes), "bytes": sum(file_sizes)} for name, file_sizes in sizes.items()}
    measured = {"steps": steps, "files": files, "memory": measured_memory, "requests": measured_requests}
    return Outcome(tables, measured, {f"s to plan {settings.scale_files:,} files": steps[of_files]["seconds"]})


SCALE = Scenario("scale", "What do ten million rows take?", _expected_s, _run)


@contextmanager
def _job(arena: Arena, files: int, rows_per_file: int) -> Iterator[Job]:
    source, destination = arena.folder / "many-files", arena.folder / "dataset"
    try:
        write_files(source, files, rows_per_file)
        url = AnswerSpec(audio_bytes=_DONE_BYTES).base_url(arena.service.origin)
        yield job_of(str(source), str(destination), url)
    finally:
        remove(source)
        remove(destination)


def _step(name: str, job: Job, *flags: str) -> dict[str, float]:
    command = [str(OURS.python), "-m", "benchmarks.scale", name, str(job.source), str(job.destination)]
    return run_for_json([*command, job.service.base_url, *flags])


def _dataset(arena: Arena, job: Job, settings: Settings) -> tuple[dict[str, dict[str, float]], dict[str, list[int]]]:
    """Return the figures of each step of a job, and the sizes of its files by kind."""
    folder = Path(job.destination)
    steps = {"open": _step("open", job), "plan": _step("plan", job), "plan again": _step("plan", job)}
    make_finished_dataset(job, open_parts=1)
    sizes: dict[str, list[int]] = {}

    def look() -> None:
        sizes["claim"] = _sizes(folder, "claims/*") or sizes.get("claim", [])
        undo_last_part(job)

    first = first_requests(arena, job, settings.tries, look)
    steps["first request of a resume"] = {"seconds": first.median}
    run_for_json([*command_of(job)])
    (folder / "parts.json").unlink()
    steps["publish"] = _step("publish", job)
    steps["nothing to do"] = {"seconds": seconds_of(command_of(job), settings.tries).median}
    for name, pattern in (("descriptor", "dataset.json"), ("marker", "done/*"), ("manifest", "parts.json")):
        sizes[name] = _sizes(folder, pattern)
    sizes["file"] = _sizes(folder, "*/*.*")
    return steps, sizes


def _sizes(folder: Path, pattern: str) -> list[int]:
    return [path.stat().st_size for path in folder.glob(pattern) if not path.name.startswith(".")]


def _steps_table(settings: Settings, steps: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(
        f"Steps of a job of {settings.scale_rows:,} rows in {settings.scale_files:,} files",
        ("step", "s", "CPU s", "peak MB"),
        notes="On a local disk; a process each. The two without CPU are from the start of the process.",
    )
    for name, figures in steps.items():
        table.rows.append([name, figures["seconds"], figures.get("cpu_s"), figures.get("peak_mb")])
    return table


def _sizes_table(settings: Settings, sizes: Mapping[str, list[int]]) -> Table:
    table = Table(
        f"What a dataset of {settings.scale_rows:,} rows consists of",
        ("what", "how many", "bytes each", "MB in all"),
        notes="Beside the tables. Claims are there only while their parts are open.",
    )
    for name, file_sizes in sizes.items():
        if name != "file":
            table.rows.append(
                [name, len(file_sizes), sum(file_sizes) // max(len(file_sizes), 1), sum(file_sizes) / 1e6]
            )
    table.rows.append(["files, without those of rejects", len(sizes["file"]) + 3, None, None])
    return table


def _memory(arena: Arena, settings: Settings) -> tuple[Table, list[dict[str, float]]]:
    """Measure the memory of a process with the parts of a small job, and with those of the large one."""
    rows, audio_bytes = settings.scale_run_rows, settings.memory_bytes
    large = max(500, settings.scale_rows // 2_000)
    table = Table(
        f"One shard's process, {IN_FLIGHT} in flight, answers of {audio_bytes // 1_000} KB",
        ("rows of a part", "rows", "peak MB", "rows/s", "CPU ms/row"),
    )
    spec = AnswerSpec(audio_bytes=audio_bytes, latency_ms=settings.latency_ms)
    arena.service.prepare(spec)
    job = job_of(str(arena.source(rows)), str(arena.folder / "made"), spec.base_url(arena.service.origin))
    measured = []
    for part_rows in (500, large):
        try:
            figures = _step("run", job, f"--max-concurrency={IN_FLIGHT}", f"--part-rows={part_rows}")
        finally:
            remove(Path(job.destination))
        figures = {"part_rows": part_rows, "rows": rows, **figures, "rows_per_s": rows / figures["seconds"]}
        cpu_ms = 1_000 * figures["cpu_s"] / rows
        table.rows.append([part_rows, rows, figures["peak_mb"], figures["rows_per_s"], cpu_ms])
        measured.append(figures)
    return table, measured


def _requests() -> tuple[Table, list[dict[str, Any]]]:
    """Count the requests of jobs of two sizes, each with as many parts as files of its source."""
    table = Table(
        "Requests to an object store",
        ("step", *(f"at {parts} parts or files" for parts in _PARTS), "for each one more"),
        notes="Sent by s3fs to a real S3 server. A listing answers 1,000 names; of more, one request for each 1,000.",
    )
    counted = [
        run_for_json([sys.executable, "-m", "benchmarks.object_requests", f"--parts={parts}", f"--files={parts}"])
        for parts in _PARTS
    ]
    for step in counted[0]:
        few, many = (sum(counts[step].values()) for counts in counted)
        table.rows.append([step, few, many, (many - few) / (_PARTS[1] - _PARTS[0])])
    return table, counted


def _duration(rows: int, rows_per_s: float) -> Table:
    """Compute the time of all rows from the service's rate, or else from the slots and the speed of a process."""
    table = Table(
        f"How long {rows:,} rows take",
        ("limit", "rows/s", "days"),
        notes="Computed: one request a row; a rate is of the account, whatever the number of shards. Without one, "
        f"{SHARDS} shards of {IN_FLIGHT} in flight, none of which does more than the process above did.",
    )
    for rate in REQUESTS_PER_MINUTE:
        table.rows.append([f"{rate} requests a minute", rate / 60, rows / rate / _MINUTES_A_DAY])
    for latency_s in LATENCIES_S:
        per_s = SHARDS * min(IN_FLIGHT / latency_s, rows_per_s)
        table.rows.append([f"none, answers after {latency_s:g} s", per_s, f"{rows / per_s / 86_400:.4f}"])
    return table
