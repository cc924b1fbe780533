"""Lines to standard output and standard error, also when nobody reads them any more."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO


def say(text: str) -> None:
    """Write to standard output: results, and nothing else."""
    _write(text, sys.stdout)


def tell(text: str) -> None:
    """Write to standard error: progress, warnings and errors."""
    _write(text, sys.stderr)


def complain(error: BaseException) -> None:
    """Tell an error as one line."""
    tell(f"tts-pipeline: {error}")


def silence(stream: TextIO) -> None:
    """Let a stream whose reader is gone lead nowhere, so that the interpreter's own last flush does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def columns(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Lay rows out under one another; the last column is as long as it is, so that a line is a line in a pipe too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def _write(text: str, stream: TextIO) -> None:
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:  # a run's result is on the disk: that nobody reads the summary does not change its status
        silence(stream)
