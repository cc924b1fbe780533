"""Read the head of an answer: its headers, and whether its body can be read."""

from __future__ import annotations

from functools import lru_cache

import aiohttp
from aiohttp.http_exceptions import BadStatusLine
from aiohttp.http_parser import RawResponseMessage

from tts_pipeline.config import MAX_HEAD_BYTES
from tts_pipeline.errors import PermanentError
from tts_pipeline.wire.content_decoder import ContentDecoder, unsupported_coding_error


class HeadTooLargeError(aiohttp.ClientError):
    """An answer's head, trailer or chunk extensions are larger than ``MAX_HEAD_BYTES``."""


class ResponseHead:
    """The head of an answer; the header names are in lower case, and repeated headers of a coding are joined.

    ``received_bytes`` came until its end, and with it. ``is_delimited``: the body has a length or chunks; if not, it
    ends with the connection, and may be cut.

    Raises:
        BadStatusLine: The status is 101, or less than 100: the connection would speak another protocol.
        HeadTooLargeError: All headers together are larger than ``MAX_HEAD_BYTES``.
        PermanentError: ``AnswerTooLarge``: the body is announced to be longer than ``max_body_bytes``.
        UnreadableError: ``UnsupportedCoding``: the body has a coding that was not requested, and cannot be read.
    """

    __slots__ = ("decoder", "headers", "is_delimited", "should_close", "status")

    def __init__(self, message: RawResponseMessage, received_bytes: int, max_body_bytes: int) -> None:
        self.status: int = message.code
        self.should_close: bool = message.should_close
        self.headers = headers = {_lower(name): value.decode("latin-1") for name, value in message.raw_headers}
        self.decoder: ContentDecoder | None = None
        if self.status < 200:
            raise BadStatusLine
        if received_bytes > MAX_HEAD_BYTES and sum(map(len, (*headers, *headers.values()))) > MAX_HEAD_BYTES:
            raise HeadTooLargeError
        if "content-encoding" in headers or "transfer-encoding" in headers:
            self._read_codings(message)
        length = headers.get("content-length", "")
        self.is_delimited = "content-length" in headers or headers.get("transfer-encoding") == "chunked"
        if length.isdecimal() and int(length[-20:]) > max_body_bytes:  # further digits are leading zeros
            raise too_large_error(max_body_bytes)

    def _read_codings(self, message: RawResponseMessage) -> None:
        for name in ("content-encoding", "transfer-encoding"):
            if name in self.headers:
                self.headers[name] = ", ".join(message.headers.getall(name)).lower()
        if self.headers.get("transfer-encoding", "chunked") not in ("chunked", "identity"):
            raise unsupported_coding_error(self.headers["transfer-encoding"])
        if "content-encoding" in self.headers:
            self.decoder = ContentDecoder(self.headers["content-encoding"])


def too_large_error(max_body_bytes: int) -> PermanentError:
    """Return the error for a body that is larger than ``max_body_bytes``."""
    return PermanentError(f"the answer is larger than {max_body_bytes} bytes", code="AnswerTooLarge")


@lru_cache(maxsize=128)
def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()
