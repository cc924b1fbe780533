"""The command ``export``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

from tts_pipeline.cli.logs import logs_told
from tts_pipeline.cli.status import OK, REJECTS
from tts_pipeline.cli.summary import duration_told
from tts_pipeline.cli.terminal import columns, say, say_json, tell
from tts_pipeline.exports import Export, export
from tts_pipeline.watch import LINE_EVERY_S


def show_export(given: argparse.Namespace) -> int:
    """Export a dataset and say what it came to.

    Returns:
        0, or 3 where utterances were left out because their audio cannot be brought to the format.
    """
    with logs_told():
        made = export(
            given.dataset,
            given.destination,
            as_=given.as_,
            name=given.name,
            where=given.where,
            split=given.split,
            audio_format=given.audio_format,
            sample_rate_hz=given.sample_rate_hz,
            on_rows=None if given.quiet else now_and_then(),
        )
    if given.json:
        say_json(made.to_json())
    else:
        say(columns(list(_lines(made))))
    return REJECTS if made.failures else OK


def now_and_then(clock: Callable[[], float] = time.monotonic) -> Callable[[int, int], None]:
    """Return what tells on standard error how far an export is, every 30 seconds.

    Args:
        clock: Seconds that never go backwards.
    """
    told_s = clock()

    def on_rows(done: int, rows: int) -> None:
        nonlocal told_s
        if clock() - told_s >= LINE_EVERY_S:
            told_s = clock()
            tell(f"{done:,} of {rows:,} rows")

    return on_rows


def _lines(made: Export) -> Iterator[tuple[str, str]]:
    divided = ", ".join(f"{name}: {rows:,}" for name, rows in made.splits.items())
    yield "rows", f"{made.rows:,}" + (f" ({divided})" if divided else "")
    yield "audio", duration_told(made.audio_ms)
    if made.has_files:
        yield "files", f"{made.written:,} written, {made.unchanged:,} unchanged, {made.removed:,} removed"
    if made.renamed:
        yield "renamed", f"{made.renamed:,}: their ids are no safe names, or taken; the index tells which"
    for utterance_id, why in made.failed.items():
        yield "left out", f"{utterance_id}: {why}"
    if made.failures > len(made.failed):
        yield "", f"{made.failures - len(made.failed):,} more"
    if made.parts_left:
        yield "not done", f"{made.parts_left:,} parts of the dataset: run its job, then export again"
    yield "export", f"{made.destination}, as {made.as_}, in {made.elapsed_s:,.1f} s"
