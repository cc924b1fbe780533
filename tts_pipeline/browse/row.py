"""Read one row in full, its columns, its requests and its audio, from its own row group only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from tts_pipeline.audio.measure import make_playable
from tts_pipeline.config import MAX_CLIP_S
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import ServiceError, StorageError, UnreadableError
from tts_pipeline.schema import SPEECH
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
    """The address of a row: its table (``speech`` or ``rejects``), its part (``part-00007``), its number from 0."""

    table: str
    part: str
    number: int

    @property
    def file(self) -> str:
        """The file's name in the dataset."""
        return f"{self.table}/{self.part}.parquet"


@dataclass(frozen=True, slots=True)
class Clip:
    """A row's audio, its format and its hash; ``refusal`` is the reason not to send the audio to a player."""

    data: bytes
    format: str
    sha256: str
    refusal: str | None = None


def parse_row_address(table: str, part: str, number: str) -> RowAddress | None:
    """Parse the address in a URL; None if no row can have it."""
    if table not in {"speech", "rejects"} or not _PART.fullmatch(part) or not re.fullmatch("[0-9]{1,9}", number):
        return None
    return RowAddress(table, part, int(number))


def read_row(dataset: DatasetReader, address: RowAddress) -> dict[str, Any] | None:
    """Return a row's columns, without the audio's bytes, as ``row``, and its requests as ``requests``. Blocking.

    Passed-through columns of the source are grouped under ``input``. None if the row does not exist.
    """
    row = _read(dataset, address)
    if row is None:
        return None
    _require(dataset.store, address, row, ("utterance_id", "take"))
    if address.table == "speech":
        row["input"] = {name: row.pop(name) for name in [*row] if name not in _SPEECH_COLUMNS}
    return {"row": row, "requests": _requests(dataset, address.part, row["utterance_id"], row["take"])}


def read_clip(dataset: DatasetReader, address: RowAddress) -> Clip | None:
    """Return a row's audio; None if the row does not exist or is a reject. Blocking."""
    if address.table != "speech":
        return None
    row = _read(dataset, address, ("audio", "audio_format", "audio_sha256", "segments"))
    if row is None:
        return None
    _require(dataset.store, address, row, ("audio", "audio_format", "audio_sha256"))
    data = row["audio"]["bytes"]
    if not isinstance(data, bytes):
        raise _damaged(dataset.store, address, "audio")
    return Clip(
        data, row["audio_format"], row["audio_sha256"], _refusal(data, MAX_CLIP_S * max(1, row.get("segments") or 1))
    )


def _require(store: Store, address: RowAddress, row: Mapping[str, Any], names: Iterable[str]) -> None:
    """Check that a row has the columns that every version has written, and that those of the audio are not null."""
    for name in names:
        if name not in row or (row[name] is None and name in _REQUIRED_COLUMNS):
            raise _damaged(store, address, name)


def _damaged(store: Store, address: RowAddress, column: str) -> StorageError:
    return StorageError(f"{store.describe(address.file)} is damaged: it has no {column!r}", hint="restore it")


def _refusal(data: bytes, max_s: float) -> str | None:
    """Return the reason why a browser must not decode a file that would take hours of memory; None for other files."""
    try:
        make_playable(data, complete=True, max_s=max_s)
    except UnreadableError as error:
        return error.message if error.code in ("ClipTooLong", "ImplausibleAudio") else None
    except ServiceError:
        return None
    return None


def _read(dataset: DatasetReader, address: RowAddress, columns: Sequence[str] | None = None) -> dict[str, Any] | None:
    table = dataset.row(address.file, address.number, columns)
    return None if table is None else {name: _value(table.column(name)[0]) for name in table.column_names}


def _value(scalar: pa.Scalar) -> Any:
    """Return a value as Python's type; as text if Python has none, which passed-through columns may contain."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):  # nanoseconds without pandas, and years beyond 9999
        if isinstance(scalar, pa.StructScalar):
            return {name: _value(child) for name, child in scalar.items()}
        if isinstance(scalar, pa.ListScalar):
            return [_value(child) for child in scalar.values]
        return str(scalar.cast(pa.string()))


def _requests(dataset: DatasetReader, part: str, utterance_id: str, take: int) -> list[dict[str, Any]]:
    """Return the requests of an utterance in the order of sending."""
    names = [name for name in dataset.files("usage") if name.startswith(f"usage/{part}-")]
    is_row = (pl.col("utterance_id") == utterance_id) & (pl.col("take") == take)
    tables = dataset.read_files(names, ("utterance_id", "take", *_REQUEST_COLUMNS))
    frames = [pl.DataFrame(table).filter(is_row).select(_REQUEST_COLUMNS) for table in tables]
    return pl.concat(frames).sort("started_at").to_dicts() if frames else []
