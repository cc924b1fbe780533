"""Decompress response bodies in small pieces, so that a limit on their size works. Pure.

A body may have one coding at most: 2 KB that were compressed twice inflate to gigabytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from tts_pipeline.errors import TransientError, UnreadableError

_CHUNK_BYTES = 1024 * 1024
_MAX_FILES = 1_000
"""The most gzip files in one body: each may be empty, so a limit on the size does not stop them."""

_IDENTITY = frozenset({"", "identity"})
_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15


class ContentDecoder:
    """Inflates a body; commas separate the codings of several ``Content-Encoding`` headers.

    Raises:
        UnreadableError: ``UnsupportedCoding``: neither gzip nor deflate, or several codings. May have been billed.
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
        """Inflate received bytes lazily, in pieces of at most 1 MB.

        Raises:
            TransientError: ``MalformedBody``: the body is damaged. Retried; may have been billed.
        """
        if self._coding is None:
            yield data
            return
        try:
            yield from self._inflate(self._pending + data)
        except zlib.error:
            raise _damaged_error() from None

    def close(self) -> None:
        """End the body.

        Raises:
            TransientError: ``MalformedBody``: the body was cut. Retried; may have been billed.
        """
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
                # After a full piece, the input so far may inflate to more.
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
    """Return the error for a body in codings that we do not decode."""
    return UnreadableError(
        f"the answer has a content coding that cannot be read: {codings[:60]!r}",
        code="UnsupportedCoding",
        hint="the request accepts only 'identity': correct the setup of the service, or of a proxy before it",
    )


def _damaged_error() -> TransientError:
    return TransientError("the answer does not decompress: it was cut or damaged", code="MalformedBody")
