"""Hive folders: columns whose values are in the names of folders, as in ``speaker=Cherry/a.parquet``.

Names, values and types are those of pyarrow's hive partitioning (26.0, 2026-11): escapes are decoded, a column is int32
where all its values are, else string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.errors import ConfigurationError

NULL = "__HIVE_DEFAULT_PARTITION__"
OFF = "mend it, or use --hive off: the names of folders are no columns then"

Keys = Mapping[str, str | None]


def keys_of(path: str) -> Keys:
    """Return the keys that a file's folders name, with their values; None is null.

    Args:
        path: Relative to the source's root.

    Raises:
        ConfigurationError: One of them is named twice.
    """
    keys: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        name, _, value = map(unquote, folder.partition("="))
        if not name or "=" not in folder:
            continue
        if name in keys:
            raise ConfigurationError(f"the folders of {path!r} give {name!r} twice", hint=OFF)
        keys[name] = None if value == NULL else value
    return keys


def hive_columns(paths: Sequence[str]) -> dict[str, pa.Array]:
    """Return the columns that the folders of files name: for each one, the value of each file.

    Raises:
        ConfigurationError: The folders of two files name different keys.
    """
    every = [keys_of(path) for path in paths]
    first = every[0] if every else {}
    for path, keys in zip(paths, every, strict=True):
        if keys.keys() != first.keys():
            raise ConfigurationError(
                f"the folders of {path!r} name {_listed(keys)}, those of {paths[0]!r} {_listed(first)}",
                hint=OFF,
            )
    return {name: _typed([keys[name] for keys in every]) for name in first}


def is_throughout(metadata: pq.FileMetaData, name: str, key: pa.Scalar, written: str | None) -> bool:
    """Say whether a file's own column holds the value of its folder and no other, as its statistics tell.

    Args:
        metadata: Of the file.
        name: The column's.
        key: The value of its folder.
        written: The same as the folder's name has it.
    """
    index = metadata.schema.to_arrow_schema().get_field_index(name)
    paths = [metadata.schema.column(place).path for place in range(len(metadata.schema))]
    if index < 0 or name not in paths:
        return False
    texts = {written, str(key)}
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(paths.index(name))
        found = chunk.statistics
        if written is None:
            is_equal = found is not None and found.null_count == chunk.num_values
        else:
            is_known = found is not None and found.has_min_max and found.null_count == 0
            is_equal = is_known and str(found.min) in texts and str(found.max) in texts
        if not is_equal:
            return False
    return True


def _typed(values: Sequence[str | None]) -> pa.Array:
    texts = pa.array(values, pa.string())
    if texts.null_count == len(texts):
        return texts
    try:
        return texts.cast(pa.int32())
    except pa.ArrowInvalid:
        return texts


def _listed(keys: Keys) -> str:
    return ", ".join(repr(name) for name in keys) or "none"
