"""Arrow's view types, of which pyarrow 26 cannot take rows: they are read as their plain kin."""

from __future__ import annotations

import pyarrow as pa

from tts_pipeline.errors import ConfigurationError


def without_views(schema: pa.Schema) -> pa.Schema:
    """Return a schema with plain strings and binaries in place of views, at any depth.

    Raises:
        ConfigurationError: A column's type is still one that rows cannot be taken of.
    """
    plain = pa.schema([field.with_type(_plain(field.type)) for field in schema])
    for field in plain:
        try:
            pa.array([], field.type).take(pa.array([], pa.int64()))
        except pa.ArrowNotImplementedError as error:
            raise ConfigurationError(
                f"column {field.name!r} is of type {field.type}, which cannot be read by row: {error}",
                hint="convert it, or leave it out of the source",
            ) from error
    return plain


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([_plain_field(child) for child in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain_field(kind.key_field), _plain_field(kind.item_field))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(_plain_field(kind.value_field))
    return kind


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(_plain(field.type))
