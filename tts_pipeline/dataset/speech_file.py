"""Build the file of the speech table: uncompressed audio, compressed other columns, row groups that fit memory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from io import FileIO
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.audio.identify import check_audio_formats
from tts_pipeline.config import ROW_GROUP_BYTES
from tts_pipeline.errors import StorageError
from tts_pipeline.models import UtteranceKey
from tts_pipeline.schema import AUDIO, SPEECH, arrow_fields, to_array
from tts_pipeline.storage.parquet import parquet_writer
from tts_pipeline.storage.row_sizes import groups_within
from tts_pipeline.storage.store import DISK_HINT
from tts_pipeline.wal.frames import Blob
from tts_pipeline.wal.replay import UtteranceRecord

AUDIO_LEAVES = ("audio.bytes", "audio.path")
"""Columns without dictionary, compression and statistics, which cost time and gain nothing for audio."""


def split_row_groups(indices: Sequence[int], row_bytes: Callable[[int], int]) -> Iterator[list[int]]:
    """Divide row indices into groups of at most ``ROW_GROUP_BYTES``; a larger row is a group of its own."""
    return groups_within(indices, row_bytes, ROW_GROUP_BYTES)


def regroup(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Concatenate consecutive small tables into tables of at most ``ROW_GROUP_BYTES``."""
    return map(pa.concat_tables, groups_within(tables, lambda table: table.nbytes, ROW_GROUP_BYTES))


class BlobReader(ExitStack):
    """Reads payloads from journals, and opens each journal once. Use it in a ``with`` statement."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[Path, FileIO] = {}

    def read(self, blobs: Sequence[Blob]) -> tuple[pa.Array, list[str]]:
        """Return the blobs as one binary column, read directly into its memory, and the SHA-256 of each."""
        ends = list(accumulate((blob.length for blob in blobs), initial=0))
        data = pa.allocate_buffer(ends[-1])
        hashes = []
        with memoryview(data) as view:
            for blob, (start, end) in zip(blobs, pairwise(ends), strict=True):
                self._read_into(view[start:end], blob)
                hashes.append(hashlib.sha256(view[start:end]).hexdigest())
        offsets = pa.array(ends, pa.int32()).buffers()[1]
        return pa.Array.from_buffers(pa.binary(), len(blobs), [None, offsets, data]), hashes

    def _read_into(self, buffer: memoryview, blob: Blob) -> None:
        file = self._files.get(blob.path)
        if file is None:
            file = self._files[blob.path] = self.enter_context(FileIO(blob.path))
        file.seek(blob.offset)
        if file.readinto(buffer) != blob.length:
            raise StorageError(f"the journal {blob.path} is shorter than it was", hint=DISK_HINT)


def speech_columns(
    keys: Sequence[UtteranceKey], records: Sequence[UtteranceRecord], texts: pa.Array, blobs: BlobReader
) -> list[pa.Array]:
    """Return the speech table's own columns for finished utterances; keys and records have the same order."""
    speeches = [record.speech for record in records if record.speech is not None]
    paths = [audio_path(key, speech.audio_format) for key, speech in zip(keys, speeches, strict=True)]
    data, hashes = blobs.read([record.audio for record in records if record.audio is not None])
    audio = pa.StructArray.from_arrays([data, pa.array(paths, pa.string())], fields=list(AUDIO))
    arrays = {"text": texts, "audio": audio}
    known_values: dict[str, Sequence[Any]] = {
        "utterance_id": [utterance_id for utterance_id, _ in keys],
        "take": [take for _, take in keys],
        "audio_sha256": hashes,
        "timestamps": [msgspec.to_builtins(speech.timestamps) for speech in speeches],
        **{
            name: [getattr(record.header, name) for record in records] for name in ("service", "model", "invocation_id")
        },
    }
    for field in arrow_fields(SPEECH):
        if field.name not in arrays:
            values = known_values.get(field.name) or [getattr(speech, field.name) for speech in speeches]
            arrays[field.name] = to_array(values, field)
    return [arrays[column.name] for column in SPEECH]


def audio_path(key: UtteranceKey, audio_format: str) -> str:
    """Return the file name that is stored beside audio; characters with a meaning in paths are replaced.

    Raises:
        StorageError: The format is unknown: the journal or the dataset was tampered with.
    """
    utterance_id, take = key
    check_audio_formats((audio_format,), f"the record of utterance {utterance_id!r}")
    safe_id = re.sub(r"[^\w.-]", "_", utterance_id).lstrip(".") or "_"
    return f"{safe_id}{f'-{take}' if take else ''}.{audio_format}"


def speech_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a speech file for writing; only columns other than audio are compressed. Use it in a ``with`` statement."""
    return parquet_writer(path, schema, raw_leaves=AUDIO_LEAVES, has_checksums=False)
