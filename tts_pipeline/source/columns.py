"""Assign the source's columns to their roles: text, id, parameters, and columns that pass through to the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import pyarrow as pa

from tts_pipeline.card import Card
from tts_pipeline.catalog.checks import check_column
from tts_pipeline.catalog.value import to_json_text
from tts_pipeline.config import MAX_TEXT_CHARACTERS, InputColumns
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.models import Parameters, ParameterValue, Utterance, UtteranceKey
from tts_pipeline.schema import SPEECH, is_readable_by_hugging_face
from tts_pipeline.source.parquet_source import stem_of

TAKE = "take"


class ColumnRoles:
    """The source's columns by their role, checked against its schema.

    Raises:
        ConfigurationError: A column is missing, has the wrong type, or has the name of a column of the speech table.
    """

    def __init__(self, columns: InputColumns, schema: pa.Schema) -> None:
        self.columns = columns
        self.schema = schema
        require_columns(columns, schema)
        unknown = sorted(set(columns.rename) - set(schema.names))
        if unknown:
            hint = did_you_mean(unknown[0], schema.names) + f"the columns are {_format_names(schema.names)}"
            raise ConfigurationError(
                f"`rename` names a column that the source does not have: {unknown[0]!r}", hint=hint
            )
        self.passthrough = passthrough_columns(columns, schema)
        _refuse_collisions([field.name for _, field in self.passthrough])

    @property
    def input_schema(self) -> pa.Schema:
        """The source's columns as the rejects have them: ``rename`` names those that differ in case only."""
        counts = Counter(name.lower() for name in self.schema.names)
        names = [
            self.columns.rename.get(name, name) if counts[name.lower()] > 1 else name for name in self.schema.names
        ]
        return pa.schema([field.with_name(name) for field, name in zip(self.schema, names, strict=True)])

    def refuse_case_collisions(self) -> None:
        """Refuse columns of one table that differ in case only. Datasets of earlier versions may have such columns."""
        _refuse_case_collisions(
            [(field.name, name) for name, field in self.passthrough], [column.name for column in SPEECH]
        )
        _refuse_case_collisions(zip(self.input_schema.names, self.schema.names, strict=True))

    def texts(self, rows: pa.Table) -> list[str | None]:
        """Return the text of each row."""
        return _values(rows, self.columns.text)

    def keys(self, rows: pa.Table, locations: Sequence[tuple[str, int]]) -> list[UtteranceKey]:
        """Return the utterance key of each row.

        ``locations`` holds each row's file name and its position in that file: see ``Source.locate``.
        """
        if self.columns.generate_ids:
            ids = [f"{stem_of(name)}:{row}" for name, row in locations]
        else:
            ids = [str(value) for value in _values(rows, self.columns.utterance_id)]
        takes = self.takes(rows)
        return list(zip(ids, repeat(0) if takes is None else takes, strict=takes is not None))

    def takes(self, rows: pa.Table) -> list[int] | None:
        """Return the take of each row; None if no column carries it: all are 0."""
        column = self.columns.parameters.get(TAKE)
        return None if column is None else [int(take or 0) for take in _values(rows, column)]

    def id_and_parameter_columns(self) -> list[str]:
        """Return the columns of ids, takes and parameters, each once: planning checks these columns."""
        ids = [] if self.columns.generate_ids else [self.columns.utterance_id]
        return list(dict.fromkeys([*ids, *self.columns.parameters.values()]))

    def parameter_columns(self) -> dict[str, str]:
        """Return the column of each voice parameter that comes from a column; ``take`` is not among them."""
        return {name: column for name, column in self.columns.parameters.items() if name != TAKE}


@dataclass(frozen=True, slots=True)
class UtteranceMapper:
    """Maps rows to utterances: a row's own parameter replaces the fixed one.

    Parameters in ``unchecked`` are not compared with the card's lists.
    """

    roles: ColumnRoles
    card: Card
    fixed: Parameters
    unchecked: Collection[str] = ()

    def utterances(self, rows: pa.Table, keys: Sequence[UtteranceKey]) -> list[Utterance]:
        """Return the utterances of rows: a null text becomes the empty text, a null parameter keeps the fixed value."""
        varying = self.varying_parameters(rows)
        texts = self.roles.texts(rows)
        utterances = []
        for index, (text, (utterance_id, take)) in enumerate(zip(texts, keys, strict=True)):
            row_values = {name: value for name, values in varying if (value := values[index]) is not None}
            # A longer text is rejected without a request: memory need not hold its end while the part is open.
            prefix = (text or "")[: MAX_TEXT_CHARACTERS + 1]
            utterances.append(
                Utterance(utterance_id, prefix, {**self.fixed, **row_values} if row_values else self.fixed, take)
            )
        return utterances

    def varying_parameters(self, rows: pa.Table) -> list[tuple[str, list[ParameterValue | None]]]:
        """Return each parameter that comes from a column, with the value to send for each row; None is not set.

        Raises:
            ConfigurationError: Some values are not allowed; the error names them and counts their rows.
        """
        return [self._wire_values(rows, name, column) for name, column in self.roles.parameter_columns().items()]

    def _wire_values(self, rows: pa.Table, name: str, column: str) -> tuple[str, list[ParameterValue | None]]:
        values = parameter_values(rows, column)
        wire_values = self.check_values(name, Counter(values))
        return name, [wire_values.get(value) for value in values]

    def check_values(self, name: str, counts: Mapping[Any, int]) -> dict[Any, ParameterValue]:
        """Return the value to send for each distinct value of a parameter's column; refuse forbidden values."""
        return check_column(self.card, name, counts, self.unchecked, has_fixed_value=name in self.fixed)


def passthrough_columns(columns: InputColumns, schema: pa.Schema) -> tuple[tuple[str, pa.Field], ...]:
    """Return the columns that pass through to the speech table: the name in the source, and the field in the table."""
    used = {columns.text, *columns.parameters.values()}
    if not columns.generate_ids:
        used.add(columns.utterance_id)
    return tuple((f.name, f.with_name(columns.rename.get(f.name, f.name))) for f in schema if f.name not in used)


def hugging_face_note(passthrough: Iterable[tuple[str, pa.Field]]) -> str | None:
    """Return a note on columns with which Hugging Face ``datasets`` cannot open the speech table; None without any."""
    unreadable = [(source, field) for source, field in passthrough if not is_readable_by_hugging_face(field.type)]
    if not unreadable:
        return None
    labels = ", ".join(f"{field.name!r} ({field.type})" for _, field in unreadable)
    names = [source for source, _ in unreadable]
    return f"Hugging Face datasets cannot open the column {labels}: convert it, or leave it out with `drop={names}`"


def require_columns(columns: InputColumns, schema: pa.Schema) -> None:
    """Check that the source has each column of an utterance once, with a suitable type.

    Raises:
        ConfigurationError: A column is missing, occurs twice or has the wrong type.
    """
    _require(schema, columns.text, _TEXT)
    if not columns.generate_ids:
        _require(schema, columns.utterance_id, _ID)
    for parameter, column in columns.parameters.items():
        _require(schema, column, _TAKE if parameter == TAKE else _parameter_role(parameter))


def parameter_values(rows: pa.Table, column: str) -> list[Any]:
    """Return the values of a parameter's column; objects and lists as ``JsonText``, so that they can be counted."""
    values = _values(rows, column)
    return [to_json_text(value) for value in values] if _is_nested(rows.schema.field(column).type) else values


def _values(rows: pa.Table, column: str) -> list[Any]:
    values: list[Any] = rows.column(column).to_pylist()
    return values


@dataclass(frozen=True, slots=True)
class _ColumnRole:
    """The purpose of a column, its possible types, and the hint for a missing column."""

    name: str
    fits: Callable[[pa.DataType], bool]
    expected_type: str
    hint: str


def _require(schema: pa.Schema, column: str, role: _ColumnRole) -> None:
    indices = schema.get_all_field_indices(column)
    if not indices:
        raise ConfigurationError(
            f"the source has no column {column!r} for {role.name}; its columns are {_format_names(schema.names)}",
            hint=did_you_mean(column, schema.names) + role.hint,
        )
    if len(indices) > 1:
        raise ConfigurationError(f"the source has {len(indices)} columns named {column!r}", hint="rename one of them")
    column_type = schema.field(column).type
    if not role.fits(column_type.value_type if pa.types.is_dictionary(column_type) else column_type):
        raise ConfigurationError(
            f"column {column!r} for {role.name} is of type {column_type}, not {role.expected_type}",
            hint="convert it, or name another column",
        )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_id(kind: pa.DataType) -> bool:
    return _is_text(kind) or bool(pa.types.is_integer(kind))


def _is_scalar(kind: pa.DataType) -> bool:
    is_other = pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    return bool(is_other) or _is_id(kind)


def _is_nested(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list or pa.types.is_struct(kind) or pa.types.is_map(kind))


def _is_parameter(kind: pa.DataType) -> bool:
    return _is_scalar(kind) or _is_nested(kind) or isinstance(kind, pa.JsonType)


_TEXT = _ColumnRole("the text", _is_text, "string", "use `text='NAME'`")
_ID = _ColumnRole(
    "the id",
    _is_id,
    "string or integer",
    "use `utterance_id='NAME'`, or `generate_ids=True` to make ids from file and row",
)
_TAKE = _ColumnRole("the take", pa.types.is_integer, "integer", "use `columns={'take': 'COLUMN'}`")


def _parameter_role(name: str) -> _ColumnRole:
    expected_type = "string, number, boolean, struct or list"
    return _ColumnRole(f"the parameter {name!r}", _is_parameter, expected_type, f"use `columns={{{name!r}: 'COLUMN'}}`")


def _refuse_collisions(names: Sequence[str]) -> None:
    speech_columns = {column.name for column in SPEECH}
    clashes = [name for name in names if name in speech_columns]
    if clashes:
        raise ConfigurationError(
            f"the source's column {clashes[0]!r} has the name of a column of the speech table",
            hint=_rename_hint(clashes[0]),
        )
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise ConfigurationError(f"two columns would be named {duplicates[0]!r}", hint="correct `rename` or the source")


def _refuse_case_collisions(columns: Iterable[tuple[str, str]], reserved: Iterable[str] = ()) -> None:
    """Refuse names that differ in case only, each given with its name in the source; ``reserved`` are ours."""
    spellings = {name.lower(): name for name in reserved}
    for name, source in columns:
        other = spellings.setdefault(name.lower(), name)
        if other != name:
            raise ConfigurationError(
                f"the source's column {source!r} would differ in case only from the column {other!r}: DuckDB, Spark "
                "and others take them for one column",
                hint=f"{_rename_hint(source)}, or `drop={[source]}`",
            )


def _rename_hint(name: str) -> str:
    return f"use `rename={ {name: 'NEW'} }`, for example `rename={ {name: f'source_{name}'} }`"


def _format_names(names: Sequence[str]) -> str:
    first_names = ", ".join(repr(name) for name in names[:12])
    return first_names + (f" and {len(names) - 12} more" if len(names) > 12 else "")
