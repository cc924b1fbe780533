"""Unify the schemas of a source's files: accept differences that only Arrow knows, and refuse those of Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from tts_pipeline.errors import ConfigurationError

_MAX_DIFFERENCES = 5


def unify_schemas(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Return the columns that all files have, with types that hold the values of each file unchanged.

    Differences that Parquet does not know are unified: strings and binaries of any width, categories and their values,
    lists of any kind, time zones of instants, an extension and its storage type, nullability, and columns without any
    value. Column order and the names of list items are those of the first file. Integers of two widths, or times of two
    units, differ.

    Raises:
        ConfigurationError: Columns differ; the error names two files, the column and both types.
    """
    unified = schemas[0][1]
    unified_schemas = [unified]
    for index, (_, schema) in enumerate(schemas):
        if any(schema.equals(other) for other in unified_schemas):
            continue
        merged = _merge_schemas(unified, schema)
        if merged is None:
            raise _difference_error(schemas, index)
        unified = merged
        unified_schemas.append(schema)
    return unified


def _merge_schemas(first: pa.Schema, second: pa.Schema) -> pa.Schema | None:
    fields = _merge_fields(first, second)
    return None if fields is None else pa.schema(fields)


def _merge_fields(first: Iterable[pa.Field], second: Iterable[pa.Field]) -> list[pa.Field] | None:
    """Return the merged fields, in the order of ``first``; None if names or types differ, or a name occurs twice."""
    fields_in_order, fields_by_name = list(first), {field.name: field for field in second}
    names = {field.name for field in fields_in_order}
    if len(names) < len(fields_in_order) or names != fields_by_name.keys() or len(list(second)) > len(fields_by_name):
        return None
    fields = [_merge_field(field, fields_by_name[field.name]) for field in fields_in_order]
    merged = [field for field in fields if field is not None]
    return merged if len(merged) == len(fields_in_order) else None


def _merge_field(first: pa.Field, second: pa.Field) -> pa.Field | None:
    kind = _merge_types(first.type, second.type)
    if kind is None or not (_can_be_cast(first.type, kind) and _can_be_cast(second.type, kind)):
        return None
    return first.with_type(kind).with_nullable(first.nullable or second.nullable)


def _can_be_cast(kind: pa.DataType, other: pa.DataType) -> bool:
    try:
        pa.nulls(0, kind).cast(other)
    except pa.ArrowNotImplementedError:  # for example, Arrow 26 casts nothing to a list view
        return False
    return True


def _merge_types(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if first.equals(second) or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    plain = _storage_type(first), _storage_type(second)
    if plain != (first, second):
        return _merge_types(*plain)
    merged = _merge_scalars(first, second)
    return _merge_nested(first, second) if merged is None else merged


def _merge_scalars(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    for family, large in _FAMILIES:
        if first in family and second in family:
            return large if large in (first, second) else family[0]
    if (
        pa.types.is_decimal(first)
        and pa.types.is_decimal(second)
        and (first.precision, first.scale) == (second.precision, second.scale)
    ):
        return max(first, second, key=lambda kind: kind.bit_width)
    are_instants = pa.types.is_timestamp(first) and pa.types.is_timestamp(second) and first.tz and second.tz
    return pa.timestamp(first.unit, "UTC") if are_instants and first.unit == second.unit else None


def _merge_nested(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        fields = _merge_fields(first, second)
        return None if fields is None else pa.struct(fields)
    if pa.types.is_map(first) and pa.types.is_map(second):
        key, item = _merge_field(first.key_field, second.key_field), _merge_field(first.item_field, second.item_field)
        return None if key is None or item is None else pa.map_(key, item)
    return _merge_lists(first, second)


def _merge_lists(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if not (_is_list(first) and _is_list(second)):
        return None
    item = _merge_field(first.value_field, second.value_field)
    if item is None:
        return None
    if (
        pa.types.is_fixed_size_list(first)
        and pa.types.is_fixed_size_list(second)
        and first.list_size == second.list_size
    ):
        return pa.list_(item, first.list_size)
    is_large = pa.types.is_large_list(first) or pa.types.is_large_list(second)
    return pa.large_list(item) if is_large else pa.list_(item)


def _storage_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that Parquet stores: the values of categories, the storage type of an extension."""
    if isinstance(kind, pa.BaseExtensionType):
        return _storage_type(kind.storage_type)
    return _storage_type(kind.value_type) if pa.types.is_dictionary(kind) else kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


_FAMILIES = (
    ((pa.string(), pa.large_string(), pa.string_view()), pa.large_string()),
    ((pa.binary(), pa.large_binary(), pa.binary_view()), pa.large_binary()),
)
"""The Arrow types of one Parquet type, and the type that holds them all."""


def _difference_error(schemas: Sequence[tuple[str, pa.Schema]], index: int) -> ConfigurationError:
    """Return the error for the file at ``index``; it names the first file that differs from it."""
    path, schema = schemas[index]
    pairs = ((name, other) for name, other in schemas[:index] if _merge_schemas(other, schema) is None)
    name, other = next(pairs, schemas[0])
    return ConfigurationError(
        f"the columns of {path!r} differ from those of {name!r}: {_format_difference(other, schema)}",
        hint="give all files of the source the same columns and types, or leave columns out with `drop=['COLUMN']`",
    )


def _format_difference(first: pa.Schema, second: pa.Schema) -> str:
    first_types, second_types = _types_by_name(first), _types_by_name(second)
    names = sorted(name for name in first_types.keys() | second_types.keys() if _differ(first, second, name))
    differences = [
        f"{name}: {first_types.get(name, 'absent')} / {second_types.get(name, 'absent')}"
        for name in names[:_MAX_DIFFERENCES]
    ]
    return "; ".join(differences) or "a name occurs twice"


def _differ(first: pa.Schema, second: pa.Schema, name: str) -> bool:
    if name not in first.names or name not in second.names:
        return True
    indices = first.get_field_index(name), second.get_field_index(name)
    return min(indices) >= 0 and _merge_field(first.field(indices[0]), second.field(indices[1])) is None


def _types_by_name(schema: pa.Schema) -> dict[str, str]:
    return {field.name: f"{field.type}{'' if field.nullable else ' not null'}" for field in schema}
