"""Build the file of the speech table: uncompressed audio, compressed other columns, row groups that fit memory."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.audio.identify import KNOWN_FORMATS, check_audio_formats
from tts_pipeline.config import ROW_GROUP_BYTES
from tts_pipeline.errors import StorageError
from tts_pipeline.models import UtteranceKey
from tts_pipeline.schema import AUDIO, SPEECH, arrow_fields, to_array
from tts_pipeline.storage.parquet import parquet_writer
from tts_pipeline.storage.row_sizes import groups_within
from tts_pipeline.storage.store import DISK_HINT
from tts_pipeline.wal.frames import Blob
from tts_pipeline.wal.records import SpeechValues
from tts_pipeline.wal.replay import UtteranceRecord

_UNSAFE = re.compile(r"[^\w.-]")

AUDIO_LEAVES = ("audio.bytes", "audio.path")
"""Columns without dictionary, compression and statistics, which cost time and gain nothing for audio."""


def split_row_groups(indices: Sequence[int], row_bytes: Callable[[int], int]) -> Iterator[list[int]]:
    """Divide row indices into groups of at most ``ROW_GROUP_BYTES``; a larger row is a group of its own."""
    return groups_within(indices, row_bytes, ROW_GROUP_BYTES)


def regroup(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Concatenate consecutive small tables into tables of at most ``ROW_GROUP_BYTES``."""
    return map(pa.concat_tables, groups_within(tables, lambda table: table.nbytes, ROW_GROUP_BYTES))


_MAX_GAP_BYTES = 64 * 1024
"""Bytes between two payloads that are read and thrown away, which takes less time than another system call."""

_MAX_PIECES = 1_000
"""Pieces of one read; Linux and macOS take 1,024. One read for many payloads releases Python's lock once, not twice
for each: under load, a thread waits up to 5 ms to get the lock back."""


class BlobReader(ExitStack):
    """Reads payloads from journals, and opens each journal once. Use it in a ``with`` statement."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[Path, int] = {}
        self._gap = memoryview(bytearray(_MAX_GAP_BYTES))

    def read(self, blobs: Sequence[Blob]) -> tuple[pa.Array, list[str]]:
        """Return the blobs as one binary column, read directly into its memory, and the SHA-256 of each."""
        ends = list(accumulate((blob.length for blob in blobs), initial=0))
        data = pa.allocate_buffer(ends[-1])
        with memoryview(data) as view:
            places = defaultdict[Path, list[tuple[int, int, int]]](list)
            for blob, start, end in zip(blobs, ends, ends[1:], strict=False):
                places[blob.path].append((blob.offset, start, end))
            for path, places_in_file in places.items():
                self._read_file(path, sorted(places_in_file), view)
            hashes = [hashlib.sha256(view[start:end]).hexdigest() for start, end in pairwise(ends)]
        offsets = pa.array(ends, pa.int32()).buffers()[1]
        return pa.Array.from_buffers(pa.binary(), len(blobs), [None, offsets, data]), hashes

    def _read_file(self, path: Path, places: Sequence[tuple[int, int, int]], view: memoryview) -> None:
        """Read payloads of one journal: (offset in it, start and end in the view) of each, in ascending order."""
        first = position = places[0][0]
        pieces: list[memoryview] = []
        for offset, start, end in places:
            gap_bytes = offset - position
            if not 0 <= gap_bytes <= _MAX_GAP_BYTES or len(pieces) > _MAX_PIECES - 2:
                self._read_pieces(path, first, pieces)
                first, pieces = offset, []
            elif gap_bytes:
                pieces.append(self._gap[:gap_bytes])
            pieces.append(view[start:end])
            position = offset + end - start
        self._read_pieces(path, first, pieces)

    def _read_pieces(self, path: Path, offset: int, pieces: list[memoryview]) -> None:
        fd = self._files.get(path)
        if fd is None:
            fd = self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.callback(os.close, fd)
        os.lseek(fd, offset, os.SEEK_SET)
        if os.readv(fd, pieces) != sum(map(len, pieces)):
            raise StorageError(f"the journal {path} is shorter than it was", hint=DISK_HINT)


def speech_columns(
    keys: Sequence[UtteranceKey], records: Sequence[UtteranceRecord], texts: pa.Array, blobs: BlobReader
) -> list[pa.Array]:
    """Return the speech table's own columns for finished utterances; keys and records have the same order."""
    speeches = [record.speech for record in records if record.speech is not None]
    paths = list(map(audio_path, keys, (speech.audio_format for speech in speeches)))
    data, hashes = blobs.read([record.audio for record in records if record.audio is not None])
    ids, takes = zip(*keys, strict=True)
    columns: dict[str, Sequence[Any] | pa.Array] = {
        "text": texts,
        "audio": pa.StructArray.from_arrays([data, pa.array(paths, pa.string())], fields=list(AUDIO)),
        "utterance_id": ids,
        "take": takes,
        "audio_sha256": hashes,
        "timestamps": msgspec.to_builtins([speech.timestamps for speech in speeches]),
        **{name: _header_column(name, records) for name in ("service", "model", "invocation_id")},
    }
    for name in SpeechValues.__struct_fields__:
        if name not in columns:
            columns[name] = list(map(attrgetter(name), speeches))
    return [to_array(columns[field.name], field) for field in arrow_fields(SPEECH)]


def _header_column(name: str, records: Sequence[UtteranceRecord]) -> Sequence[Any] | pa.Array:
    values = [getattr(record.header, name) for record in records]
    is_constant = values.count(values[0]) == len(values)
    return pa.repeat(values[0], len(values)) if is_constant else values


def audio_path(key: UtteranceKey, audio_format: str) -> str:
    """Return the file name that is stored beside audio; characters with a meaning in paths are replaced.

    Raises:
        StorageError: The format is unknown: the journal or the dataset was tampered with.
    """
    utterance_id, take = key
    if audio_format not in KNOWN_FORMATS:
        check_audio_formats((audio_format,), f"the record of utterance {utterance_id!r}")
    safe_id = _UNSAFE.sub("_", utterance_id).lstrip(".") or "_"
    return f"{safe_id}{f'-{take}' if take else ''}.{audio_format}"


def speech_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a speech file for writing; only columns other than audio are compressed. Use it in a ``with`` statement."""
    return parquet_writer(path, schema, raw_leaves=AUDIO_LEAVES, has_checksums=False, dictionaries=False)
