"""Show progress: a live display on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tts_pipeline.cli.terminal import print_status
from tts_pipeline.job import Progress
from tts_pipeline.job.progress_view import ProgressView, live_display, report_lines


@contextmanager
def progress_shown(progress: Progress, *, quiet: bool) -> Iterator[None]:
    """Show progress on standard error while the block runs; nothing when ``quiet``."""
    if quiet:
        yield
    elif sys.stderr.isatty():
        from rich.console import Console

        with live_display(ProgressView(progress), Console(stderr=True)):
            yield
    else:
        with report_lines(ProgressView(progress), print_status):
            yield
