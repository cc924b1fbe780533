"""Print warnings of the package's logger, each as one line on standard error, between lines of progress."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tts_pipeline.cli.terminal import print_status
from tts_pipeline.errors import printable
from tts_pipeline.log import logger


class _StderrHandler(logging.Handler):
    """Writes to the current ``sys.stderr``, which the live display replaces, so that it redraws below the line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            print_status(printable(f"tts-pipeline: {self.format(record)}"))
        except Exception:
            self.handleError(record)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Print the package's warnings while the block runs, even if progress is not shown."""
    handler = _StderrHandler(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
