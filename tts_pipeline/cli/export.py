"""Run the command ``export``: export a dataset and print the figures of the export."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

from tts_pipeline.cli.logs import warnings_shown
from tts_pipeline.cli.status import OK, REJECTS
from tts_pipeline.cli.summary import format_duration
from tts_pipeline.cli.terminal import align_columns, print_json, print_result, print_status
from tts_pipeline.exports import Export, export
from tts_pipeline.job.progress_view import LINE_EVERY_S


def show_export(arguments: argparse.Namespace) -> int:
    """Export a dataset and print its figures; return 3 if utterances were left out because they cannot be converted."""
    with warnings_shown():
        result = export(
            arguments.dataset,
            arguments.destination,
            as_=arguments.as_,
            name=arguments.name,
            where=arguments.where,
            split=arguments.split,
            audio_format=arguments.audio_format,
            sample_rate_hz=arguments.sample_rate_hz,
            on_rows=None if arguments.quiet else periodic_progress(),
        )
    if arguments.json:
        print_json(result.to_json())
    else:
        print_result(align_columns(list(_lines(result))))
    return REJECTS if result.failures else OK


def periodic_progress(clock: Callable[[], float] = time.monotonic) -> Callable[[int, int], None]:
    """Return a callback that prints the progress of an export to standard error, every 30 seconds of the clock."""
    printed_at_s = clock()

    def on_rows(rows_done: int, rows: int) -> None:
        nonlocal printed_at_s
        if clock() - printed_at_s >= LINE_EVERY_S:
            printed_at_s = clock()
            print_status(f"{rows_done:,} of {rows:,} rows")

    return on_rows


def _lines(result: Export) -> Iterator[tuple[str, str]]:
    splits = ", ".join(f"{name}: {rows:,}" for name, rows in result.splits.items())
    yield "rows", f"{result.rows:,}" + (f" ({splits})" if splits else "")
    yield "audio", format_duration(result.audio_ms)
    if result.has_files:
        yield "files", f"{result.written:,} written, {result.unchanged:,} unchanged, {result.removed:,} removed"
    if result.renamed:
        yield "renamed", f"{result.renamed:,}: their names are not safe or not unique; the index has them"
    for utterance_id, reason in result.failed.items():
        yield "left out", f"{utterance_id}: {reason}"
    if result.failures > len(result.failed):
        yield "", f"{result.failures - len(result.failed):,} more"
    if result.parts_left:
        yield "not done", f"{result.parts_left:,} parts of the dataset: run its job, then export again"
    yield "export", f"{result.destination}, as {result.as_}, in {result.elapsed_s:,.1f} s"
