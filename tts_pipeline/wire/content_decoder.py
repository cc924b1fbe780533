"""Decompress response bodies in small pieces, so that a bound on their size holds. Pure.

One coding at most: 2 KB that were compressed twice stand for gigabytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from tts_pipeline.errors import TransientError, UnreadableError

_CHUNK_BYTES = 1024 * 1024
_MAX_FILES = 1_000
"""gzip files in one body: each may be empty, so that no size bounds them."""

_IDENTITY = frozenset({"", "identity"})
_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15


class ContentDecoder:
    """Inflates a body; the codings of several ``Content-Encoding`` have commas between.

    Raises:
        UnreadableError: ``UnsupportedCoding``: not gzip and not deflate, or more than one. It may be billed.
    """

    def __init__(self, codings: str) -> None:
        names = [name for coding in codings.split(",") if (name := coding.strip().lower()) not in _IDENTITY]
        if len(names) > 1 or not {*names} <= _GZIP | {"deflate"}:
            raise unsupported_coding_error(codings)
        self._coding = names[0] if names else None
        self._pending = b""
        self._file_count = 0
        self._inflater: zlib._Decompress | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Inflate what arrived.

        Yields:
            Pieces of at most 1 MB, as they are asked for.

        Raises:
            TransientError: ``MalformedBody``: it is damaged. Retried, and may be billed.
        """
        if self._coding is None:
            yield data
            return
        try:
            yield from self._inflate(self._pending + data)
        except zlib.error:
            raise _damaged_error() from None

    def close(self) -> None:
        """Take note that this was all: a body that was cut is ``MalformedBody``, retried, and may be billed."""
        if self._inflater is not None or self._pending:
            raise _damaged_error()

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflater is None:
                self._pending = data = data.lstrip(b"\0") if self._file_count else data  # padding
                if len(data) < 2:
                    return
                self._pending = b""
                self._inflater = self._start_file(data)
            chunk = self._inflater.decompress(data, _CHUNK_BYTES)
            data = self._inflater.unconsumed_tail
            while chunk:
                yield chunk
                # A full piece may not be all that the input so far stands for.
                chunk = self._inflater.decompress(data, _CHUNK_BYTES) if len(chunk) == _CHUNK_BYTES else b""
                data = self._inflater.unconsumed_tail
            if self._inflater.eof:
                data = self._inflater.unused_data
                self._inflater = None

    def _start_file(self, data: bytes) -> zlib._Decompress:
        """Begin to inflate; another gzip file may follow the first (RFC 1952, 2.2)."""
        is_gzip = self._coding in _GZIP
        self._file_count += 1
        if self._file_count > (_MAX_FILES if is_gzip else 1):
            raise zlib.error
        # "deflate" is zlib's format (RFC 9110, 8.4.1.2), and some servers send it without that header.
        is_zlib = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
        return zlib.decompressobj(_GZIP_BITS if is_gzip else _ZLIB_BITS if is_zlib else _RAW_BITS)


def unsupported_coding_error(codings: str) -> UnreadableError:
    """Return the refusal of a body in codings that are not read."""
    return UnreadableError(
        f"the answer has a content coding that cannot be read: {codings[:60]!r}",
        code="UnsupportedCoding",
        hint="the request asks for 'identity': correct the setup of the service, or of a proxy before it",
    )


def _damaged_error() -> TransientError:
    return TransientError("the answer does not decompress: it was cut or damaged", code="MalformedBody")
