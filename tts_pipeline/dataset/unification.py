"""One schema for the files of a source: what only Arrow tells apart is unified, what Parquet tells apart is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from tts_pipeline.errors import ConfigurationError

_SHOWN = 5


def unify_schemas(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Return the columns that all files have, with types that hold the values of each without a change.

    Strings and binaries of any width, categories and their values, lists of any kind, time zones of one kind of
    instant, an extension and what it is stored as, what may be null, and columns without any value are the same Parquet
    and go together. Column order, and names of list items, are those of the first file. Integers of two widths, or
    times of two units, differ.

    Args:
        schemas: Each file's name and schema; at least one.

    Raises:
        ConfigurationError: Columns differ; names two files, the column and both types.
    """
    unified = schemas[0][1]
    known = [unified]
    for place, (_, schema) in enumerate(schemas):
        if any(schema.equals(one) for one in known):
            continue
        merged = _merged(unified, schema)
        if merged is None:
            raise _difference(schemas, place)
        unified = merged
        known.append(schema)
    return unified


def _merged(one: pa.Schema, other: pa.Schema) -> pa.Schema | None:
    fields = _merged_fields(one, other)
    return None if fields is None else pa.schema(fields)


def _merged_fields(one: Iterable[pa.Field], other: Iterable[pa.Field]) -> list[pa.Field] | None:
    """Return the fields of both, by name, in the order of the first; None where they differ, or a name stands twice."""
    first, second = list(one), {field.name: field for field in other}
    names = {field.name for field in first}
    if len(names) < len(first) or names != second.keys() or len(list(other)) > len(second):
        return None
    fields = [_merged_field(field, second[field.name]) for field in first]
    merged = [field for field in fields if field is not None]
    return merged if len(merged) == len(first) else None


def _merged_field(one: pa.Field, other: pa.Field) -> pa.Field | None:
    kind = _merged_type(one.type, other.type)
    if kind is None or not (_can_be_cast(one.type, kind) and _can_be_cast(other.type, kind)):
        return None
    return one.with_type(kind).with_nullable(one.nullable or other.nullable)


def _can_be_cast(kind: pa.DataType, other: pa.DataType) -> bool:
    try:
        pa.nulls(0, kind).cast(other)
    except pa.ArrowNotImplementedError:  # Arrow 26 casts nothing to a list view, for one
        return False
    return True


def _merged_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    plain = _without_hint(one), _without_hint(other)
    if plain != (one, other):
        return _merged_type(*plain)
    merged = _merged_scalar(one, other)
    return _merged_nested(one, other) if merged is None else merged


def _merged_scalar(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    for family, large in _WIDTHS:
        if one in family and other in family:
            return large if large in (one, other) else family[0]
    if _is_decimal(one) and _is_decimal(other) and (one.precision, one.scale) == (other.precision, other.scale):
        return max(one, other, key=lambda kind: kind.bit_width)
    are_instants = pa.types.is_timestamp(one) and pa.types.is_timestamp(other) and one.tz and other.tz
    return pa.timestamp(one.unit, "UTC") if are_instants and one.unit == other.unit else None


def _merged_nested(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = _merged_fields(one, other)
        return None if fields is None else pa.struct(fields)
    if pa.types.is_map(one) and pa.types.is_map(other):
        key, item = _merged_field(one.key_field, other.key_field), _merged_field(one.item_field, other.item_field)
        return None if key is None or item is None else pa.map_(key, item)
    return _merged_lists(one, other)


def _merged_lists(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not (_is_list(one) and _is_list(other)):
        return None
    item = _merged_field(one.value_field, other.value_field)
    if item is None:
        return None
    if pa.types.is_fixed_size_list(one) and pa.types.is_fixed_size_list(other) and one.list_size == other.list_size:
        return pa.list_(item, one.list_size)
    is_large = pa.types.is_large_list(one) or pa.types.is_large_list(other)
    return pa.large_list(item) if is_large else pa.list_(item)


def _without_hint(kind: pa.DataType) -> pa.DataType:
    """Return what Parquet knows of a type: the values of categories, the storage of an extension."""
    if isinstance(kind, pa.BaseExtensionType):
        return _without_hint(kind.storage_type)
    return _without_hint(kind.value_type) if pa.types.is_dictionary(kind) else kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_decimal(kind: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(kind))


_WIDTHS = (
    ((pa.string(), pa.large_string(), pa.string_view()), pa.large_string()),
    ((pa.binary(), pa.large_binary(), pa.binary_view()), pa.large_binary()),
)
"""Kinds of one type in Parquet, and the one that holds all."""


def _difference(schemas: Sequence[tuple[str, pa.Schema]], place: int) -> ConfigurationError:
    """Name the first file that one of the others does not go with."""
    path, schema = schemas[place]
    pairs = ((name, one) for name, one in schemas[:place] if _merged(one, schema) is None)
    name, one = next(pairs, schemas[0])
    return ConfigurationError(
        f"the columns of {path!r} differ from those of {name!r}: {_listed(one, schema)}",
        hint="give all files of the source the same columns and types, or leave columns out by --drop COLUMN",
    )


def _listed(expected: pa.Schema, found: pa.Schema) -> str:
    one, two = _types(expected), _types(found)
    names = sorted(name for name in one.keys() | two.keys() if _differ(expected, found, name))
    shown = [f"{name}: {one.get(name, 'absent')} / {two.get(name, 'absent')}" for name in names[:_SHOWN]]
    return "; ".join(shown) or "a name stands twice"


def _differ(one: pa.Schema, other: pa.Schema, name: str) -> bool:
    if name not in one.names or name not in other.names:
        return True
    places = one.get_field_index(name), other.get_field_index(name)
    return min(places) >= 0 and _merged_field(one.field(places[0]), other.field(places[1])) is None


def _types(schema: pa.Schema) -> dict[str, str]:
    return {field.name: f"{field.type}{'' if field.nullable else ' not null'}" for field in schema}
