"""Measure the peak memory of a job and of a job of ten times its size."""

from __future__ import annotations

import shutil

from benchmarks.answers import AnswerSpec
from benchmarks.contest import BARE, OURS, Arena, Course, remove, run_for_json
from benchmarks.scale import write_wide
from benchmarks.scenarios.scenario import Outcome, Scenario, as_json
from benchmarks.settings import Settings
from benchmarks.tables import Table

_COPIES = 2.5
"""The disk space of a job, as a multiple of its audio: the dataset, and the journals of unpublished parts."""


_WIDE = (
    ("a wide column of 200 MB", 1, 2_000, ()),
    ("6 rows of a wide column of 2.3 GB", 4, 5_750, ("--limit=6",)),
)


def _expected_s(settings: Settings) -> float:
    few, many = settings.memory_rows
    most = settings.concurrencies[-1]
    return 2 * settings.expected_s(few, most) + settings.expected_s(many, most)


def _run(arena: Arena, settings: Settings) -> Outcome:
    few, many = settings.memory_rows
    audio_bytes = _bytes_that_fit(arena, settings)
    spec = AnswerSpec(audio_bytes=audio_bytes, latency_ms=settings.latency_ms)
    most = settings.concurrencies[-1]
    table = Table(
        f"Peak memory at {most} in flight, answers of {audio_bytes // 1_000} KB",
        ("client", "rows", "peak MB", "rows/s"),
        notes=f"The script, which holds all audio, is not tried with {many:,} rows.",
    )
    measured, peaks = [], {}
    for contestant, rows in ((BARE, few), (OURS, few), (OURS, many)):
        run = arena.run(contestant, Course(spec, rows, most))
        table.rows.append([contestant.name, rows, run.peak_rss_mb, run.rows_per_s])
        measured.append({"rows": rows, "clients": as_json({contestant.name: [run]})})
        peaks[contestant.name, rows] = run.peak_rss_mb
    wide, wide_peaks = _wide(arena, settings)
    figures = {"memory, large job / small": peaks[OURS.name, many] / peaks[OURS.name, few], **wide_peaks}
    return Outcome([table, wide], measured, figures)


def _wide(arena: Arena, settings: Settings) -> tuple[Table, dict[str, float]]:
    """Measure the memory of a process whose source has 100 kB a row."""
    table = Table("Peak memory with 100 kB a row beside the text", ("row groups", "rows taken", "peak MB"))
    spec = AnswerSpec(audio_bytes=20_000, latency_ms=settings.latency_ms)
    arena.service.prepare(spec)
    source, destination = arena.folder / "wide.parquet", arena.folder / "made"
    figures = {}
    for name, groups, rows, flags in _WIDE:
        try:
            write_wide(source, groups, rows)
            step = [str(OURS.python), "-m", "benchmarks.scale", "run", str(source), str(destination)]
            step_figures = run_for_json([*step, spec.base_url(arena.service.origin), "--max-concurrency=16", *flags])
        finally:
            remove(source)
            remove(destination)
        table.rows.append([f"{groups} of {rows / 10:g} MB", " ".join(flags) or "all", step_figures["peak_mb"]])
        figures[f"peak MB, {name}"] = step_figures["peak_mb"]
    return table, figures


def _bytes_that_fit(arena: Arena, settings: Settings) -> int:
    """Return the size of answers that leaves half of the free disk space."""
    room = shutil.disk_usage(arena.folder).free // 2
    fit = int(room / (_COPIES * settings.memory_rows[1]))
    if fit < settings.memory_bytes:
        arena.warn(f"WARNING: the disk is nearly full: answers of {fit:,} bytes in place of {settings.memory_bytes:,}")
    return min(fit, settings.memory_bytes)


MEMORY = Scenario("memory", "Does memory grow with the rows?", _expected_s, _run)
