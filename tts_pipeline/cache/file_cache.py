"""Keep bought audio in a reuse store: one file for each request and take, safe for any number of writers.

A file's name is the request key and the take, in a folder of the key's first two digits. The file holds a header of 28
bytes (``ttsreuse``, format version, length of the record, length of the audio, CRC-32 of both; little endian), the
record as JSON, and the audio as received. It is written whole; a second purchase of the same audio replaces it.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import orjson

from tts_pipeline.audio.identify import check_audio_formats
from tts_pipeline.log import logger
from tts_pipeline.models import CachedAudio, Take
from tts_pipeline.storage.store import Store, storage_errors
from tts_pipeline.wal.records import AnswerRecord, MalformedRecordError, Positive16, encode_record, refuse_malformed

FORMAT_VERSION = 1
MARKER = "reuse.json"
"""The file that marks a reuse store, so that no other folder is filled with answers by mistake."""

SUFFIX = ".answer"
_MAGIC = b"ttsreuse"
_HEADER = struct.Struct("<8sIIQI")


class CacheRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record beside the bytes of bought audio."""

    request_key: str
    take: Take
    origin: str
    segments: Positive16
    audio_bytes: int = 0
    answer: AnswerRecord

    def to_cached(self, audio: bytes, label: str) -> CachedAudio:
        """Return the audio; its origin is the label, unless that is empty, and the utterance."""
        origin = f"{label}#{self.origin}" if label else self.origin
        return CachedAudio(self.answer.to_answer(audio), origin, self.segments)


class FileCache:
    """Answers by request key and take, in a folder or at any URL.

    ``label`` begins each origin; it is empty for the job's own answers.
    """

    def __init__(self, store: Store, label: str = "") -> None:
        self.label = label
        self._store = store
        self._has_warned = False

    def create(self) -> None:
        """Mark the place as a reuse store. Blocking."""
        if self._store.read(MARKER) is None:
            self._store.write(MARKER, orjson.dumps({"format_version": FORMAT_VERSION}))

    def may_have(self, request_key: str, take: int) -> bool:  # noqa: ARG002 (only a read can tell)
        """Return True: only a read can tell. Never blocks."""
        return True

    def get(self, request_key: str, take: int) -> CachedAudio | None:
        """Return the audio of a request; None when there is none, or the file is damaged. Blocking.

        Raises:
            StorageError: The store failed, or a file has an unknown audio format.
        """
        name = _file_name(request_key, take)
        data = self._store.read(name)
        if data is None:
            return None
        try:
            cached = self._parse(data, request_key, take)
        except MalformedRecordError:
            self._warn_once(name)
            return None
        check_audio_formats((cached.answer.audio.format,), self._store.describe(name))
        return cached

    def _parse(self, data: bytes, request_key: str, take: int) -> CachedAudio:
        record, audio = _split_file(data)
        if (record.request_key, record.take) != (request_key, take):
            raise MalformedRecordError("request_key")
        return record.to_cached(audio, self.label)

    def put(self, request_key: str, take: int, cached: CachedAudio) -> None:
        """Write bought audio, in place of an earlier answer. Blocking."""
        audio = cached.answer.audio.data
        record = encode_record(
            CacheRecord(
                request_key=request_key,
                take=take,
                origin=cached.origin,
                segments=cached.segments,
                audio_bytes=len(audio),
                answer=AnswerRecord.of(cached.answer),
            )
        )
        header = _HEADER.pack(_MAGIC, FORMAT_VERSION, len(record), len(audio), zlib.crc32(audio, zlib.crc32(record)))
        self._store.write(_file_name(request_key, take), b"".join((header, record, audio)), durable=False)

    def keys(self) -> Iterator[tuple[str, int]]:
        """Yield the request key and the take of each answer. Blocking."""
        for folder in self._store.names(""):
            for name in self._store.names(folder) if len(folder) == 2 else ():
                if match := _FILE_NAME.fullmatch(name):
                    yield match[1], int(match[2])

    def _warn_once(self, name: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            where = self._store.describe(name)
            logger.warning("%s is damaged, or of another version: such answers are bought again", where)


def evict(folder: Path, max_bytes: int) -> int:
    """Remove the oldest answers of a local reuse store until it fits ``max_bytes``; return their number. Blocking.

    A process that needs a removed answer buys it again.
    """
    with storage_errors(f"making room in {folder}"):
        files = sorted(_files_by_age(folder))
        excess_bytes = sum(size for _, size, _ in files) - max_bytes
        removed = 0
        for _, size, path in files:
            if excess_bytes <= 0:
                break
            Path(path).unlink(missing_ok=True)
            excess_bytes -= size
            removed += 1
        return removed


def _files_by_age(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Yield the time of writing, the size and the path of each answer."""
    for subfolder in folder.glob("??/"):
        with os.scandir(subfolder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process evicts, too
                    if entry.name.endswith(SUFFIX):
                        status = entry.stat()
                        yield status.st_mtime_ns, status.st_size, entry.path


def is_request_key(text: object) -> bool:
    """Return whether a value can be a request key."""
    return isinstance(text, str) and _REQUEST_KEY.fullmatch(text) is not None


def request_hash(request_key: str, take: int) -> int:
    """Return a 64-bit hash of a request key, which is a hash itself, and the take."""
    return (int(request_key[:16], 16) + take * _TAKE_FACTOR) & _64_BITS


_TAKE_FACTOR = 0x9E3779B97F4A7C15
_64_BITS = 0xFFFFFFFFFFFFFFFF


def _file_name(request_key: str, take: int) -> str:
    return f"{request_key[:2]}/{request_key}.{take}{SUFFIX}"


_REQUEST_KEY = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"([0-9a-f]{64})\.(-?[0-9]{1,10})" + re.escape(SUFFIX))


def _split_file(data: bytes) -> tuple[CacheRecord, bytes]:
    """Return the record and the audio of a file; refuse a cut or damaged file."""
    if len(data) < _HEADER.size:
        raise MalformedRecordError("length")
    magic, version, record_length, audio_length, crc = _HEADER.unpack_from(data)
    if (magic, version) != (_MAGIC, FORMAT_VERSION) or len(data) != _HEADER.size + record_length + audio_length:
        raise MalformedRecordError("length")
    if zlib.crc32(memoryview(data)[_HEADER.size :]) != crc:
        raise MalformedRecordError("checksum")
    with refuse_malformed():
        record = msgspec.json.decode(data[_HEADER.size : _HEADER.size + record_length], type=CacheRecord)
    return record, data[_HEADER.size + record_length :]
