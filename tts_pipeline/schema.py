"""Arrow schemas of the three tables, and conversion of values to Arrow. ``schemas/`` publishes them as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

MONEY = pa.decimal128(18, 9)
MAX_MONEY = Decimal("999999999.999999999")
TIMESTAMP = pa.timestamp("us", tz="UTC")
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
WORD_TIMESTAMPS = pa.list_(
    pa.struct(
        [
            ("text", pa.string()),
            ("start_ms", pa.int64()),
            ("end_ms", pa.int64()),
            ("text_start", pa.int32()),
            ("text_end", pa.int32()),
        ]
    )
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a published table: name, Arrow type, whether it may be null, unit and meaning."""

    name: str
    type: pa.DataType
    nullable: bool
    unit: str | None
    meaning: str


def _column(name: str, type_: pa.DataType, meaning: str, *, unit: str | None = None, null: bool = False) -> Column:
    return Column(name, type_, null, unit, meaning)


SPEECH: tuple[Column, ...] = (
    _column("utterance_id", pa.string(), "The row's id; unique together with take."),
    _column("take", pa.int32(), "Distinguishes several readings of one text; 0 by default."),
    _column("text", pa.string(), "The text to speak, as in the source."),
    _column("service", pa.string(), "The service's name, or its URL when it was given by URL."),
    _column("model", pa.string(), "The model's name as sent."),
    _column("voice", pa.string(), "The requested voice; null when left to the service.", null=True),
    _column("language", pa.string(), "BCP-47 tag; null when left to the service.", null=True),
    # Never null, but Hugging Face compares the field with its own, which is nullable.
    _column("audio", AUDIO, "The file's bytes and a name for it; Hugging Face datasets reads it as Audio.", null=True),
    _column("audio_format", pa.string(), "As identified from the bytes, not as requested: wav, mp3, flac, ogg, ..."),
    _column("sample_rate_hz", pa.int32(), "Sample rate of the audio.", unit="Hz"),
    _column("channels", pa.int32(), "Channels of the audio; 1 is mono."),
    _column("duration_ms", pa.int64(), "Measured from the bytes.", unit="ms"),
    _column("audio_sha256", pa.string(), "Hash of audio.bytes, hexadecimal."),
    _column(
        "timestamps",
        WORD_TIMESTAMPS,
        "Timed words; text_start and text_end are a half-open range of code points in text. Null without timestamps.",
        unit="ms",
        null=True,
    ),
    _column("timestamps_source", pa.string(), "service, or null without timestamps.", null=True),
    _column("segments", pa.int16(), "Number of segments that the text was spoken in."),
    _column("attempts", pa.int16(), "Number of requests that were sent for the row, over all invocations."),
    _column("request_id", pa.string(), "The service's request id of the last segment.", null=True),
    _column("request_key", pa.string(), "Hash of exactly what was sent, hexadecimal."),
    _column("deduplicated_from", pa.string(), "Origin of the audio when nothing was bought for the row.", null=True),
    _column("characters_counted", pa.int64(), "Our count of the sent text, by the billing rule.", unit="characters"),
    _column("characters_reported", pa.int64(), "The service's count.", unit="characters", null=True),
    _column("characters_billed", pa.int64(), "Confirmed characters of all attempts of this row.", unit="characters"),
    _column("input_tokens", pa.int64(), "As reported.", unit="tokens", null=True),
    _column("output_tokens", pa.int64(), "As reported.", unit="tokens", null=True),
    _column("total_tokens", pa.int64(), "As reported.", unit="tokens", null=True),
    _column("cost", MONEY, "Confirmed cost of all its attempts; null without a price.", unit="currency", null=True),
    _column("currency", pa.string(), "ISO 4217; null without a price.", null=True),
    _column("quality", pa.list_(pa.string()), "Quality flags; an empty list when none was raised."),
    _column("created_at", TIMESTAMP, "When the row was finished."),
    _column("invocation_id", pa.string(), "The execution that finished the row."),
)

USAGE: tuple[Column, ...] = (
    _column("attempt_id", pa.string(), "Unique for all time."),
    _column("invocation_id", pa.string(), "The execution that sent the request."),
    _column("journal_id", pa.string(), "The journal that recorded the request; also in the file's name."),
    _column("utterance_id", pa.string(), "Id of the utterance; null for a claim whose journal was lost.", null=True),
    _column("take", pa.int32(), "Take of the utterance; null like utterance_id.", null=True),
    _column("segment", pa.int16(), "Index of the segment in the utterance, from 0.", null=True),
    _column("attempt", pa.int16(), "Number of the attempt for this segment, from 1.", null=True),
    _column("account", pa.string(), "A label from the service's configuration, never the key.", null=True),
    _column("service", pa.string(), "The service's name, or its URL when it was given by URL."),
    _column("model", pa.string(), "The model's name as sent."),
    _column("voice", pa.string(), "The voice sent; null when left to the service.", null=True),
    _column("started_at", TIMESTAMP, "Just before the request was sent."),
    _column("finished_at", TIMESTAMP, "When the outcome was known; null for unknown.", null=True),
    _column("latency_ms", pa.int64(), "From sending to the end of reading the answer.", unit="ms", null=True),
    _column("http_status", pa.int16(), "Null when no answer came.", null=True),
    _column("outcome", pa.string(), "succeeded, discarded, failed or unknown."),
    _column("error_code", pa.string(), "The service's code or ours; null on success.", null=True),
    _column("request_id", pa.string(), "The service's request id; null when it sent none.", null=True),
    _column("characters_counted", pa.int64(), "Our count of the sent text, by the billing rule.", unit="characters"),
    _column("characters_reported", pa.int64(), "The service's count.", unit="characters", null=True),
    _column(
        "characters_billed",
        pa.int64(),
        "Confirmed: the reported count if it is plausible, else ours; 0 without success.",
        unit="characters",
    ),
    _column("characters_upper_bound", pa.int64(), "The most that may have been billed.", unit="characters"),
    _column("input_tokens", pa.int64(), "As reported.", unit="tokens", null=True),
    _column("output_tokens", pa.int64(), "As reported.", unit="tokens", null=True),
    _column("total_tokens", pa.int64(), "As reported.", unit="tokens", null=True),
    _column("price_id", pa.string(), "The price that applied when the request was sent.", null=True),
    _column("price_basis", pa.string(), "list (the maker's published price) or user.", null=True),
    _column("cost", MONEY, "Confirmed cost; null without a price.", unit="currency", null=True),
    _column("cost_upper_bound", MONEY, "The most it may have cost; null without a price.", unit="currency", null=True),
    _column("currency", pa.string(), "ISO 4217; null without a price.", null=True),
    _column("tags", pa.map_(pa.string(), pa.string()), "The user's own labels, for reports."),
    _column(
        "implausible",
        pa.bool_(),
        "Whether the reported usage is implausible; null for unknown, and in files older than this column.",
        null=True,
    ),
    # Null in files older than these columns.
    _column(
        "list_cost",
        MONEY,
        "The confirmed usage at the maker's list price of the time; null if there was none in the currency.",
        unit="currency",
        null=True,
    ),
    _column("kind", pa.string(), "What was bought: speech.", null=True),
    _column("audio_ms", pa.int64(), "Length of the answer's audio; null without audio.", unit="ms", null=True),
    _column("door", pa.string(), "Where the job was started: run, synthesize, airflow, ...", null=True),
    _column("key_id", pa.string(), "8 hex digits that tell the API key from others; none without a key.", null=True),
)

REJECTS: tuple[Column, ...] = (
    _column("utterance_id", pa.string(), "The row's id; unique together with take."),
    _column("take", pa.int32(), "Distinguishes several readings of one text; 0 by default."),
    _column("error_class", pa.string(), "input (never sent), permanent, or transient (its attempts used up)."),
    _column("error_code", pa.string(), "The service's code or ours."),
    _column("message", pa.string(), "The failure, with a hint; never the whole text."),
    _column("attempts", pa.int16(), "Number of requests that were sent for the row, over all invocations."),
    _column("cost", MONEY, "Confirmed cost of the row's attempts; null without a price.", unit="currency", null=True),
    _column("currency", pa.string(), "ISO 4217; null without a price.", null=True),
    _column("failed_at", TIMESTAMP, "When the row was given up."),
    _column("invocation_id", pa.string(), "The execution that gave the row up."),
)

TABLES: Mapping[str, tuple[Column, ...]] = {"speech": SPEECH, "usage": USAGE, "rejects": REJECTS}

HUGGING_FACE = {b"huggingface": json.dumps({"info": {"features": {"audio": {"_type": "Audio"}}}}).encode()}
"""Metadata that makes Hugging Face ``datasets`` read the column ``audio`` of a Parquet file as Audio (datasets 5.2)."""


def is_readable_by_hugging_face(kind: pa.DataType) -> bool:
    """Return whether Hugging Face ``datasets`` can open a column of a type (5.2, 2026-11)."""
    if isinstance(kind, pa.BaseExtensionType):
        return isinstance(kind, pa.JsonType)
    if pa.types.is_map(kind) or pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return False
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return False
    if pa.types.is_dictionary(kind):
        return is_readable_by_hugging_face(kind.value_type)
    children = (kind.field(index) for index in range(kind.num_fields))
    return all(is_readable_by_hugging_face(child.type) for child in children)


def arrow_fields(columns: Iterable[Column]) -> list[pa.Field]:
    """Return the Arrow fields of a table's columns, in order."""
    return [pa.field(column.name, column.type, nullable=column.nullable) for column in columns]


def speech_schema(passed_through: Iterable[pa.Field]) -> pa.Schema:
    """Return the speech table's schema: its own columns, then the other columns of the input."""
    return pa.schema([*arrow_fields(SPEECH), *passed_through], metadata=HUGGING_FACE)


def usage_schema() -> pa.Schema:
    """Return the usage table's schema."""
    return pa.schema(arrow_fields(USAGE))


def rejects_schema(source: pa.Schema) -> pa.Schema:
    """Return the rejects table's schema: its own columns, then the whole input row as a struct."""
    return pa.schema([*arrow_fields(REJECTS), pa.field("input", pa.struct(list(source)), nullable=False)])


def to_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Build a table from rows, mappings by column name; a missing name is null. See ``table_of``."""
    return table_of({field.name: [row.get(field.name) for row in rows] for field in schema}, schema)


def table_of(columns: Mapping[str, Sequence[Any] | pa.Array], schema: pa.Schema) -> pa.Table:
    """Build a table from its columns, each of them a sequence of values or an Arrow array.

    Raises:
        ValueError: A column that must not be null holds a null (a bug of ours, caught before the table is written).
    """
    table = pa.table([to_array(columns[field.name], field) for field in schema], schema=schema)
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            raise ValueError(f"column {field.name!r} must not be null")
    return table


def to_array(values: Sequence[Any] | pa.Array, field: pa.Field) -> pa.Array:
    """Build one Arrow column; money may come as text. An array is returned as it is.

    An amount that the column cannot hold becomes the largest that it can: only an implausible report is that large, and
    audio that is paid for is published all the same.
    """
    if isinstance(values, pa.Array):
        return values
    return _money_array(values) if field.type == MONEY else pa.array(values, field.type)


def _money_array(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, MONEY)
    except (pa.ArrowTypeError, pa.ArrowInvalid):  # text, or an amount that is too large
        texts = [None if value is None else str(min(Decimal(value), MAX_MONEY)) for value in values]
        return pa.array(texts, pa.string()).cast(MONEY)


def repeat(value: Any, field: pa.Field, rows: int) -> pa.Array:
    """Build an Arrow column that holds one value in every row, of which there is at least one."""
    return pa.repeat(pa.scalar(value, field.type), rows)
