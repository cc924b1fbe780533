"""Showing what the package logs: each warning is one line on standard error, among the progress."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tts_pipeline.cli.terminal import tell
from tts_pipeline.errors import printable


class _Teller(logging.Handler):
    """Writes to standard error as it is then: the live display stands in for it, and draws itself below the line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            tell(printable(f"tts-pipeline: {self.format(record)}"))
        except Exception:
            self.handleError(record)


@contextmanager
def logs_told() -> Iterator[None]:
    """Tell the package's own warnings while the block runs; also when progress is not shown."""
    logger = logging.getLogger("tts_pipeline")
    teller = _Teller(logging.WARNING)
    logger.addHandler(teller)
    try:
        yield
    finally:
        logger.removeHandler(teller)
