"""Measure the bytes of each row of Arrow data. Pure, with numpy: Arrow's own functions take a second to import."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Sizes = npt.NDArray[np.int64]

_T = TypeVar("_T")


def groups_within(items: Iterable[_T], size: Callable[[_T], float], max_size: float) -> Iterator[list[_T]]:
    """Divide consecutive items into groups of at most ``max_size``; a larger item is a group of its own."""
    group: list[_T] = []
    group_size = 0.0
    for item in items:
        item_size = size(item)
        if group and group_size + item_size > max_size:
            yield group
            group, group_size = [], 0.0
        group.append(item)
        group_size += item_size
    if group:
        yield group


def row_sizes(rows: pa.RecordBatch | pa.Table) -> Sizes:
    """Return the bytes of each row, which depend on its values only, not on the division into batches."""
    batches = rows.to_batches() if isinstance(rows, pa.Table) else [rows]
    return np.concatenate([np.zeros(0, np.int64), *(_sum_sizes(batch.columns, batch.num_rows) for batch in batches)])


def _sum_sizes(arrays: list[pa.Array], rows: int) -> Sizes:
    return sum(map(value_sizes, arrays), np.zeros(rows, np.int64))


def value_sizes(array: pa.Array) -> Sizes:
    """Return the bytes of each value; a text counts in full, even if it is in a dictionary."""
    kind, types = array.type, pa.types
    if isinstance(array, pa.ExtensionArray):
        return value_sizes(array.storage)
    if types.is_dictionary(kind):
        return _dictionary_sizes(array)
    if types.is_nested(kind):
        return _nested_sizes(array)
    if types.is_string(kind) or types.is_binary(kind):
        return _lengths(array, np.int32)
    if types.is_large_string(kind) or types.is_large_binary(kind):
        return _lengths(array, np.int64)
    return np.full(len(array), _width_bytes(kind), np.int64)


def leaf_arrays(array: pa.Array) -> Iterator[pa.Array]:
    """Yield the leaf arrays of a column of structs, maps or lists, at any depth; for other types, the column itself."""
    if pa.types.is_map(array.type):
        children = [array.keys, array.items]
    elif pa.types.is_struct(array.type):
        children = array.flatten()
    elif pa.types.is_nested(array.type):
        children = [array.flatten()]
    else:
        yield array
        return
    for child in children:
        yield from leaf_arrays(child)


def _nested_sizes(array: pa.Array) -> Sizes:
    kind, types = array.type, pa.types
    if types.is_struct(kind):
        return _sum_sizes([array.field(number) for number in range(kind.num_fields)], len(array))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind):
        elements = (
            _sum_sizes([array.keys, array.items], len(array.keys)) if types.is_map(kind) else value_sizes(array.values)
        )
        ends = np.concatenate([[0], np.cumsum(elements)])
        lengths: Sizes = np.diff(ends[array.offsets.to_numpy()]).astype(np.int64)
        return lengths
    if types.is_fixed_size_list(kind):
        elements = value_sizes(array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size))
        sizes: Sizes = elements.reshape(len(array), kind.list_size).sum(axis=1)
        return sizes
    return np.ones(len(array), np.int64)


def _lengths(array: pa.Array, kind: Any) -> Sizes:
    ends = array.buffers()[1]
    if ends is None or not len(array):
        return np.zeros(len(array), np.int64)
    sizes: Sizes = np.diff(np.frombuffer(ends, kind)[array.offset : array.offset + len(array) + 1]).astype(np.int64)
    return sizes


def _dictionary_sizes(array: pa.DictionaryArray) -> Sizes:
    indices, sizes = array.indices, value_sizes(array.dictionary)
    if not len(indices) or not len(sizes):
        return np.zeros(len(indices), np.int64)
    data = np.frombuffer(indices.buffers()[1], indices.type.to_pandas_dtype())
    value_bytes: Sizes = sizes[np.clip(data[indices.offset : indices.offset + len(indices)], 0, len(sizes) - 1)]
    if indices.null_count:
        bits = np.unpackbits(np.frombuffer(indices.buffers()[0], np.uint8), bitorder="little")
        value_bytes = value_bytes * bits[indices.offset : indices.offset + len(indices)]
    return value_bytes


def _width_bytes(kind: pa.DataType) -> int:
    try:
        return int(max(1, kind.bit_width // 8))
    except ValueError:  # the type has no fixed width
        return 1
