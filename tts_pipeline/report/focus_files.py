"""Write charges of FOCUS as files that cost tools take."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from tts_pipeline.storage.store import storage_errors

MAX_UPLOAD_ROWS = 10_000
MAX_UPLOAD_BYTES = 2_000_000
"""The most rows and bytes of one file in a folder, so that it can be uploaded at once."""

_UPLOAD = re.compile(r"focus-\d{5,}\.csv", re.ASCII)


def write_focus(charges: pl.DataFrame, place: Path) -> list[Path]:
    """Write charges to a file, or as uploads to a folder; return the files.

    A place that ends in ``.parquet`` or ``.csv`` is a file. Any other is a folder, which gets ``focus-00001.csv`` and
    so on, each of at most 10,000 rows and 2 MB. Such files of an earlier report are removed, because their charges
    would be uploaded twice.

    Raises:
        StorageError: The disk failed.
    """
    with storage_errors(f"writing {place}"):
        match place.suffix.lower():
            case ".parquet":
                with place.open("wb") as file:  # Polars takes no path whose name is not UTF-8
                    charges.write_parquet(file)
                return [place]
            case ".csv":
                place.write_bytes(to_focus_csv(charges))
                return [place]
        place.mkdir(parents=True, exist_ok=True)
        for earlier in place.iterdir():
            if _UPLOAD.fullmatch(earlier.name):
                earlier.unlink()
        paths = []
        for number, data in enumerate(_uploads(charges), 1):
            paths.append(place / f"focus-{number:05}.csv")
            paths[-1].write_bytes(data)
        return paths


def to_focus_csv(charges: pl.DataFrame) -> bytes:
    """Return charges as CSV: UTF-8, instants such as ``2026-11-01T00:00:00Z``, nothing for null, texts as they are."""
    data = io.BytesIO()
    charges.write_csv(data, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    return data.getvalue()


def _uploads(charges: pl.DataFrame) -> Iterator[bytes]:
    """Yield the files of charges, in order; without charges one that has only the names of the columns."""
    for part in charges.iter_slices(MAX_UPLOAD_ROWS) if charges.height else [charges]:
        data = to_focus_csv(part)
        if len(data) <= MAX_UPLOAD_BYTES or part.height == 1:
            yield data
        else:
            yield from _uploads(part[: part.height // 2])
            yield from _uploads(part[part.height // 2 :])
