"""One row in full: every column of it, its requests, and its audio. Read from its own row group only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.audio.measure import playable
from tts_pipeline.config import MAX_CLIP_S
from tts_pipeline.dataset.formats import check_formats
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.dataset.tables import own_columns
from tts_pipeline.errors import ServiceError, StorageError, UnreadableError
from tts_pipeline.schema import SPEECH, TABLES, USAGE

_OWN = frozenset(column.name for column in SPEECH)
_TOLD = frozenset({"utterance_id", "take", "audio", "audio_format", "audio_sha256"})
_PART = re.compile(r"part-[0-9]{1,9}")
_ATTEMPT = (
    *("segment", "attempt", "started_at", "latency_ms", "http_status", "outcome", "error_code", "request_id"),
    *("characters_billed", "characters_upper_bound", "cost", "cost_upper_bound", "currency"),
)


@dataclass(frozen=True, slots=True)
class Place:
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
class Sound:
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


def place_of(table: str, part: str, number: str) -> Place | None:
    """Return a place that a URL names; None when there can be none of that name."""
    if table not in {"speech", "rejects"} or not _PART.fullmatch(part) or not re.fullmatch("[0-9]{1,9}", number):
        return None
    return Place(table, part, int(number))


def read_row(store: Store, place: Place) -> dict[str, Any] | None:
    """Return a row's columns, without the audio's bytes, as ``row``, and its requests as ``requests``. Blocking.

    Columns that came with the source are together under ``input``.

    Returns:
        None when there is no such row.

    Raises:
        StorageError: The dataset cannot be read.
    """
    row = _read(store, place, but="audio")
    if row is None:
        return None
    _require(store, place, row, ("utterance_id", "take"))
    if place.table == "speech":
        row["input"] = {name: row.pop(name) for name in [*row] if name not in _OWN}
    return {"row": row, "requests": _requests(store, place.part, row["utterance_id"], row["take"])}


def read_sound(store: Store, place: Place) -> Sound | None:
    """Return a row's audio; None when there is none. Blocking.

    Raises:
        StorageError: The dataset cannot be read.
    """
    if place.table != "speech":
        return None
    row = _read(store, place, only=("audio", "audio_format", "audio_sha256", "segments"))
    if row is None:
        return None
    _require(store, place, row, ("audio", "audio_format", "audio_sha256"))
    check_formats((row["audio_format"],), store.describe(place.file))
    data = row["audio"]["bytes"]
    if not isinstance(data, bytes):
        raise _damaged(store, place, "audio")
    return Sound(
        data, row["audio_format"], row["audio_sha256"], _refusal(data, MAX_CLIP_S * max(1, row.get("segments") or 1))
    )


def _require(store: Store, place: Place, row: Mapping[str, Any], names: Iterable[str]) -> None:
    """Make sure that a row has the columns that every version has written, and that its audio is told.

    Raises:
        StorageError: One is missing; names the file.
    """
    for name in names:
        if name not in row or (row[name] is None and name in _TOLD):
            raise _damaged(store, place, name)


def _damaged(store: Store, place: Place, column: str) -> StorageError:
    return StorageError(f"{store.describe(place.file)} is damaged: it has no {column!r}", hint="restore it")


def _refusal(data: bytes, max_s: float) -> str | None:
    """Return why a browser must not decode a file: it would take the memory of hours; None for any other file."""
    try:
        playable(data, pcm_sample_rate_hz=None, complete=True, max_s=max_s)
    except UnreadableError as error:
        return error.message if error.code in ("ClipTooLong", "ImplausibleAudio") else None
    except ServiceError:
        return None
    return None


def _read(store: Store, place: Place, *, only: Sequence[str] | None = None, but: str = "") -> dict[str, Any] | None:
    if not store.exists(place.file):
        return None
    with _parquet(store, place.file) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if place.number < first + rows:
                there = parquet.schema_arrow.names
                names = [name for name in only or there if name in there and name != but]
                table: pa.Table = parquet.read_row_group(group, columns=list(names), use_threads=False)
                table = own_columns(table, names, TABLES[place.table], store.describe(place.file), keeps_nulls=True)
                return {name: _value(table.column(name)[place.number - first]) for name in table.column_names}
            first += rows
    return None


def _value(told: pa.Scalar) -> Any:
    """Return a value as Python has it; as text what it does not have, in columns that came with the source."""
    try:
        return told.as_py()
    except (ValueError, OverflowError):  # nanoseconds, where there is no pandas, and years beyond 9999
        if isinstance(told, pa.StructScalar):
            return {name: _value(one) for name, one in told.items()}
        if isinstance(told, pa.ListScalar):
            return [_value(one) for one in told.values]
        return str(told.cast(pa.string()))


def _requests(store: Store, part: str, utterance_id: str, take: int) -> list[dict[str, Any]]:
    """Return the requests of an utterance in the order of sending."""
    names = [f"usage/{name}" for name in store.names("usage", f"{part}-")]
    wanted = (pl.col("utterance_id") == utterance_id) & (pl.col("take") == take)
    columns = ("utterance_id", "take", *_ATTEMPT)
    found = []
    for name in names:
        with _parquet(store, name) as parquet:
            table = parquet.read(columns=list(columns), use_threads=False)
        requests = pl.DataFrame(own_columns(table, columns, USAGE, store.describe(name), keeps_nulls=True))
        found.append(requests.filter(wanted).select(_ATTEMPT))
    return pl.concat(found).sort("started_at").to_dicts() if found else []


@contextmanager
def _parquet(store: Store, name: str) -> Iterator[pq.ParquetFile]:
    reading = storage_errors(f"reading {store.describe(name)}", Exception)
    with reading, store.open(name) as stream, pq.ParquetFile(stream, pre_buffer=False) as parquet:
        yield parquet
