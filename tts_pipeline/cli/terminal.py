"""Lines to standard output and standard error, also when no reader is left."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from datetime import date
from decimal import Decimal
from typing import Any, TextIO

from tts_pipeline.cli.flags import with_flags
from tts_pipeline.errors import printable

_CELL_CHARACTERS = 120
"""More of a cell is cut, but of the last one in a line."""


def print_result(text: str) -> None:
    """Write to standard output: results, and nothing else."""
    _write(text, sys.stdout)


def print_json(value: Any) -> None:
    """Write a value to standard output as one line of JSON."""
    print_result(json_line(value))


def json_line(value: Any) -> str:
    """Return a value as one line of JSON; what is not printable is escaped, and so is read as it was."""
    return _UNPRINTABLE.sub(_escape, json.dumps(value, ensure_ascii=False, default=_to_json))


def _to_json(value: Any) -> Any:
    """Return money, a date or a record as JSON holds it; of a record never a key, or an address with a login."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return value.isoformat()
    return {attribute.name: getattr(value, attribute.name) for attribute in fields(value) if attribute.repr}


def print_status(text: str) -> None:
    """Write to standard error: progress, warnings and errors, which name flags."""
    _write(with_flags(text), sys.stderr)


def print_error(error: BaseException) -> None:
    """Tell an error as one line."""
    print_status(f"tts-pipeline: {error}")


def redirect_to_null(stream: TextIO) -> None:
    """Let a stream whose reader is gone lead nowhere, so that the interpreter's own last flush does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def align_columns(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Lay rows out under one another; the last column is as long as it is, so that a line is a line in a pipe too."""
    cells = [[*map(truncate, row[:-1]), row[-1]] for row in (list(map(printable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def truncate(text: str, max_characters: int = _CELL_CHARACTERS) -> str:
    """Return the beginning of a text, with an ellipsis where it was longer."""
    return text if len(text) <= max_characters else f"{text[: max_characters - 1]}…"


_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def _escape(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]


def _write(text: str, stream: TextIO) -> None:
    """Write lines; whoever puts a value into a line makes it ``printable``, so that it does not begin another."""
    try:
        print("\n".join(map(printable, text.split("\n"))), file=stream, flush=True)
    except BrokenPipeError:  # a run's result is on the disk: that nobody reads the summary does not change its status
        redirect_to_null(stream)
