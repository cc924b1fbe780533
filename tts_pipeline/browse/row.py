"""One row in full: every column of it, its requests, and its audio. Read from its own row group only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from tts_pipeline.audio.measure import make_playable
from tts_pipeline.browse.tables import read_file
from tts_pipeline.config import MAX_CLIP_S
from tts_pipeline.errors import ServiceError, StorageError, UnreadableError
from tts_pipeline.schema import SPEECH
from tts_pipeline.storage.audio_formats import check_audio_formats
from tts_pipeline.storage.parquet import open_parquet
from tts_pipeline.storage.store import Store

_SPEECH_COLUMNS = frozenset(column.name for column in SPEECH)
_REQUIRED_COLUMNS = frozenset({"utterance_id", "take", "audio", "audio_format", "audio_sha256"})
_PART = re.compile(r"part-[0-9]{1,9}")
_REQUEST_COLUMNS = (
    *("segment", "attempt", "started_at", "latency_ms", "http_status", "outcome", "error_code", "request_id"),
    *("characters_billed", "characters_upper_bound", "cost", "cost_upper_bound", "currency"),
)


@dataclass(frozen=True, slots=True)
class RowAddress:
    """Where a row is.

    Args:
        table: ``speech`` or ``rejects``.
        part: As in the file's name: ``part-00007``.
        number: The row's, in the file, from 0.
    """

    table: str
    part: str
    number: int

    @property
    def file(self) -> str:
        """The file's name in the dataset."""
        return f"{self.table}/{self.part}.parquet"


@dataclass(frozen=True, slots=True)
class Clip:
    """A row's audio.

    Args:
        data: The file's bytes.
        format: As found in the bytes: wav, mp3, ...
        sha256: Of the bytes, hexadecimal.
        refusal: Why it is not given to a player; None where it is.
    """

    data: bytes
    format: str
    sha256: str
    refusal: str | None = None


def parse_row_address(table: str, part: str, number: str) -> RowAddress | None:
    """Return a place that a URL names; None when there can be none of that name."""
    if table not in {"speech", "rejects"} or not _PART.fullmatch(part) or not re.fullmatch("[0-9]{1,9}", number):
        return None
    return RowAddress(table, part, int(number))


def read_row(store: Store, address: RowAddress) -> dict[str, Any] | None:
    """Return a row's columns, without the audio's bytes, as ``row``, and its requests as ``requests``. Blocking.

    Columns that came with the source are together under ``input``.

    Returns:
        None when there is no such row.

    Raises:
        StorageError: The dataset cannot be read.
    """
    row = _read(store, address, exclude="audio")
    if row is None:
        return None
    _require(store, address, row, ("utterance_id", "take"))
    if address.table == "speech":
        row["input"] = {name: row.pop(name) for name in [*row] if name not in _SPEECH_COLUMNS}
    return {"row": row, "requests": _requests(store, address.part, row["utterance_id"], row["take"])}


def read_clip(store: Store, address: RowAddress) -> Clip | None:
    """Return a row's audio; None when there is none. Blocking.

    Raises:
        StorageError: The dataset cannot be read.
    """
    if address.table != "speech":
        return None
    row = _read(store, address, only=("audio", "audio_format", "audio_sha256", "segments"))
    if row is None:
        return None
    _require(store, address, row, ("audio", "audio_format", "audio_sha256"))
    check_audio_formats((row["audio_format"],), store.describe(address.file))
    data = row["audio"]["bytes"]
    if not isinstance(data, bytes):
        raise _damaged(store, address, "audio")
    return Clip(
        data, row["audio_format"], row["audio_sha256"], _refusal(data, MAX_CLIP_S * max(1, row.get("segments") or 1))
    )


def _require(store: Store, address: RowAddress, row: Mapping[str, Any], names: Iterable[str]) -> None:
    """Make sure that a row has the columns that every version has written, and that its audio is told.

    Raises:
        StorageError: One is missing; names the file.
    """
    for name in names:
        if name not in row or (row[name] is None and name in _REQUIRED_COLUMNS):
            raise _damaged(store, address, name)


def _damaged(store: Store, address: RowAddress, column: str) -> StorageError:
    return StorageError(f"{store.describe(address.file)} is damaged: it has no {column!r}", hint="restore it")


def _refusal(data: bytes, max_s: float) -> str | None:
    """Return why a browser must not decode a file: it would take the memory of hours; None for any other file."""
    try:
        make_playable(data, pcm_sample_rate_hz=None, complete=True, max_s=max_s)
    except UnreadableError as error:
        return error.message if error.code in ("ClipTooLong", "ImplausibleAudio") else None
    except ServiceError:
        return None
    return None


def _read(
    store: Store, address: RowAddress, *, only: Sequence[str] | None = None, exclude: str = ""
) -> dict[str, Any] | None:
    if not store.exists(address.file):
        return None
    with open_parquet(store, address.file) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if address.number < first + rows:
                column_names = parquet.schema_arrow.names
                names = [name for name in only or column_names if name in column_names and name != exclude]
                table: pa.Table = parquet.read_row_group(group, columns=list(names), use_threads=False)
                return {name: _value(table.column(name)[address.number - first]) for name in table.column_names}
            first += rows
    return None


def _value(scalar: pa.Scalar) -> Any:
    """Return a value as Python has it; as text what it does not have, in columns that came with the source."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):  # nanoseconds, where there is no pandas, and years beyond 9999
        if isinstance(scalar, pa.StructScalar):
            return {name: _value(child) for name, child in scalar.items()}
        if isinstance(scalar, pa.ListScalar):
            return [_value(child) for child in scalar.values]
        return str(scalar.cast(pa.string()))


def _requests(store: Store, part: str, utterance_id: str, take: int) -> list[dict[str, Any]]:
    """Return the requests of an utterance in the order of sending."""
    names = [f"usage/{name}" for name in store.names("usage", f"{part}-")]
    is_row = (pl.col("utterance_id") == utterance_id) & (pl.col("take") == take)
    columns = ("utterance_id", "take", *_REQUEST_COLUMNS)
    frames = [read_file(store, name, columns).filter(is_row).select(_REQUEST_COLUMNS) for name in names]
    return pl.concat(frames).sort("started_at").to_dicts() if frames else []
