"""The job and source that a descriptor's file states, checked."""

from __future__ import annotations

from typing import Any

import orjson

from tts_pipeline.storage.json_files import JsonFields

_TEXTS = frozenset({"service", "model", "text_column", "audio_format"})
_OBJECTS = frozenset({"parameters", "columns", "rename", "query", "headers"})


class JobIdentity(dict[str, Any]):
    """What determines the dataset; a setting that a damaged file lacks is told as such.

    Args:
        descriptor: The whole file.

    Raises:
        StorageError: One is of another type, or (later) one that is asked for is missing.
    """

    def __init__(self, descriptor: JsonFields) -> None:
        job = descriptor.object("job")
        super().__init__(job.values)
        for name in _TEXTS & self.keys():
            job.text(name)
        for name in _OBJECTS & self.keys():
            job.object(name)
        self._descriptor = descriptor

    def __missing__(self, name: str) -> Any:
        raise self._descriptor.damage_error(f"it does not tell {name!r} of the job")


def format_version_of(data: bytes) -> Any:
    """Return what a descriptor's file says of its version; None when it says nothing."""
    try:
        values = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return values.get("format_version") if isinstance(values, dict) else None


def check_source_file(file: JsonFields) -> dict[str, Any]:
    """Return what is told of a file of the source.

    Raises:
        StorageError: It cannot be true.
    """
    file.text("path")
    file.count("rows")
    return file.values
