"""Show log records: each warning is one line on standard error, between lines of progress."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tts_pipeline.cli.terminal import print_status
from tts_pipeline.errors import printable
from tts_pipeline.log import logger


class _StderrHandler(logging.Handler):
    """Writes to standard error as it is then: the live display stands in for it, and draws itself below the line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            print_status(printable(f"tts-pipeline: {self.format(record)}"))
        except Exception:
            self.handleError(record)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Tell the package's own warnings while the block runs; also when progress is not shown."""
    handler = _StderrHandler(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
