"""Print lines to standard output and standard error, even if the reader has closed the pipe."""

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
"""The most characters of a cell; only the last cell of a line may be longer."""


def print_result(text: str) -> None:
    """Print a result to standard output, which gets nothing else."""
    _write(text, sys.stdout)


def print_json(value: Any) -> None:
    """Print a value to standard output as one line of JSON."""
    print_result(json_line(value))


def json_line(value: Any) -> str:
    """Return a value as one line of JSON; unprintable characters are escaped, so that a reader gets them back."""
    return _UNPRINTABLE.sub(_escape, json.dumps(value, ensure_ascii=False, default=_to_json))


def _to_json(value: Any) -> Any:
    """Return money, a date or a record as JSON; fields with ``repr=False`` (a key, a URL with a login) are left out."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return value.isoformat()
    return {attribute.name: getattr(value, attribute.name) for attribute in fields(value) if attribute.repr}


def print_status(text: str) -> None:
    """Print progress, warnings or errors to standard error, with flags in place of parameters."""
    _write(with_flags(text), sys.stderr)


def print_error(error: BaseException) -> None:
    """Print an error as one line on standard error."""
    print_status(f"tts-pipeline: {error}")


def redirect_to_null(stream: TextIO) -> None:
    """Redirect a stream without a reader to the null device, so that the interpreter's last flush does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def align_columns(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Align rows in columns; the last column is neither cut nor wrapped, so that each row is one line in a pipe too."""
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
    """Print lines; a caller makes each value in them ``printable``, so that a value cannot begin a new line."""
    try:
        print("\n".join(map(printable, text.split("\n"))), file=stream, flush=True)
    except BrokenPipeError:  # a run's result is on the disk: a summary without a reader does not change its status
        redirect_to_null(stream)
