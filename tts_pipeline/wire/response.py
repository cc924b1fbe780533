"""Values of an HTTP answer before and after parsing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tts_pipeline.models import Usage
from tts_pipeline.wire.timestamps import TimedText
from tts_pipeline.wire.usage import NO_USAGE

_REQUEST_ID_HEADERS = ("x-request-id", "x-dashscope-request-id", "x-oneapi-request-id", "request-id")


class Response(Struct, frozen=True, gc=False):
    """One whole HTTP answer, decompressed, with header names in lower case.

    ``complete`` is False when the body ended with the connection, without a length or chunks, and so may be cut.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool = True

    def __repr__(self) -> str:
        """Show neither the body nor the headers."""
        return f"Response(status={self.status}, {len(self.body)} bytes, complete={self.complete})"

    @property
    def content_type(self) -> str | None:
        """The media type with its parameters; None without one."""
        return self.headers.get("content-type")

    @property
    def request_id(self) -> str | None:
        """The service's request id in the headers; None without one."""
        return request_id_of(self.headers)


class ParsedResponse(Struct, frozen=True, gc=False):
    """The content of a successful answer: either audio, or the URL to fetch it from.

    The first four fields are those of an ``AudioContent``; a URL may be relative after a redirect, and is fetched
    without the API key. The words are not yet aligned with the text. ``quality`` has flags such as
    ``timestamps_dropped``. ``complete`` is False when ``data`` is a body that ended with the connection; audio inside
    JSON or a finished stream is whole, however the connection ended.
    """

    data: bytes | None = None
    url: str | None = None
    url_expires_at: int | None = None
    content_type: str | None = None
    usage: Usage = NO_USAGE
    request_id: str | None = None
    words: tuple[TimedText, ...] | None = None
    quality: tuple[str, ...] = ()
    complete: bool = True

    def __repr__(self) -> str:
        """Show all fields but the bytes."""
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__[1:])
        return f"ParsedResponse({len(self.data or b'')} bytes, {fields})"


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the request id that a service or gateway put into its headers; None without one."""
    for name in _REQUEST_ID_HEADERS:
        if name in headers:
            return clean_id(headers[name])
    return None


def request_id_in(payload: Mapping[str, Any]) -> str | None:
    """Return the request id in an object; None without one. MiniMax names it ``trace_id``."""
    return clean_id(payload.get("request_id")) or clean_id(payload.get("trace_id"))


def clean_id(value: object) -> str | None:
    """Return a request id that is fit to store, cut to 200 characters; None if it is not printable text."""
    if isinstance(value, str) and value and value.isprintable():
        return value[:200]
    return None
