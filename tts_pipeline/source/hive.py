"""Read columns from the names of Hive folders, as in ``speaker=Cherry/a.parquet``.

Names, values and types are those of pyarrow's hive partitioning (26.0, 2026-11): escapes are decoded, and a column is
int32 if all its values are, else string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.errors import ConfigurationError

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
HIVE_OFF_HINT = "rename the folders, or use `hive=False`, which makes no columns from their names"

PartitionKeys = Mapping[str, str | None]


def partition_keys(path: str) -> PartitionKeys:
    """Return the keys and values in the names of a file's folders; None is null. Refuse a key that occurs twice."""
    keys: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        name, _, value = map(unquote, folder.partition("="))
        if not name or "=" not in folder:
            continue
        if name in keys:
            raise ConfigurationError(f"the folders of {path!r} give {name!r} twice", hint=HIVE_OFF_HINT)
        keys[name] = None if value == NULL_FOLDER else value
    return keys


def hive_columns(paths: Sequence[str]) -> dict[str, pa.Array]:
    """Return the columns from the names of folders, each with one value per file.

    Raises:
        ConfigurationError: The folders of two files name different keys.
    """
    partitions = [partition_keys(path) for path in paths]
    first = partitions[0] if partitions else {}
    for path, keys in zip(paths, partitions, strict=True):
        if keys.keys() != first.keys():
            raise ConfigurationError(
                f"the folders of {path!r} name {_format_names(keys)}, those of {paths[0]!r} {_format_names(first)}",
                hint=HIVE_OFF_HINT,
            )
    return {name: _infer_type([keys[name] for keys in partitions]) for name in first}


def holds_only(metadata: pq.FileMetaData, name: str, folder_value: pa.Scalar, folder_text: str | None) -> bool:
    """Return whether a file's own column, by its statistics, holds only the value of the file's folder."""
    index = metadata.schema.to_arrow_schema().get_field_index(name)
    paths = [metadata.schema.column(number).path for number in range(len(metadata.schema))]
    if index < 0 or name not in paths:
        return False
    texts = {folder_text, str(folder_value)}
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(paths.index(name))
        statistics = chunk.statistics
        if folder_text is None:
            is_equal = statistics is not None and statistics.null_count == chunk.num_values
        else:
            has_bounds = statistics is not None and statistics.has_min_max and statistics.null_count == 0
            is_equal = has_bounds and str(statistics.min) in texts and str(statistics.max) in texts
        if not is_equal:
            return False
    return True


def _infer_type(values: Sequence[str | None]) -> pa.Array:
    texts = pa.array(values, pa.string())
    if texts.null_count == len(texts):
        return texts
    try:
        return texts.cast(pa.int32())
    except pa.ArrowInvalid:
        return texts


def _format_names(keys: PartitionKeys) -> str:
    return ", ".join(repr(name) for name in keys) or "none"
