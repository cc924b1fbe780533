"""Replace Arrow's view types, whose rows pyarrow 26 cannot take, by their plain types."""

from __future__ import annotations

import pyarrow as pa

from tts_pipeline.errors import ConfigurationError

_PLAIN_TYPES = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


def without_view_types(schema: pa.Schema) -> pa.Schema:
    """Return a schema with plain strings and binaries in place of views, at any depth.

    Refuse a column of another type whose rows cannot be taken.
    """
    plain = pa.schema([field.with_type(_plain_type(field.type)) for field in schema])
    no_indices = pa.nulls(0, pa.int64())  # not pa.array([]): that imports pandas where it is installed, in 0.2 s
    for field in plain:
        if _is_simple(field.type):  # these can be taken: a test would import Arrow's functions needlessly
            continue
        try:
            pa.nulls(0, field.type).take(no_indices)
        except pa.ArrowNotImplementedError as error:
            raise ConfigurationError(
                f"column {field.name!r} is of type {field.type}, which cannot be read row by row: {error}",
                hint=f"convert it, or leave it out with `drop={[field.name]}`",
            ) from error
    return plain


def _is_simple(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if kind in _PLAIN_TYPES:
        return _PLAIN_TYPES[kind]
    if pa.types.is_dictionary(kind):  # Polars's categories have views as values
        return pa.dictionary(kind.index_type, _plain_type(kind.value_type), kind.ordered)
    if pa.types.is_struct(kind):
        return pa.struct([_plain_field(child) for child in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain_field(kind.key_field), _plain_field(kind.item_field))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(_plain_field(kind.value_field))
    return kind


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(_plain_type(field.type))
