"""Write the heads of requests: once for an address and its headers, not once for each request.

httpx checks a URL (it refuses more of them than aiohttp), and yarl, aiohttp's library for URLs, quotes it. This takes
0.1 ms, and a ``ClientRequest`` as long again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp.client_exceptions import InvalidUrlClientError, NonHttpUrlClientError
from aiohttp.client_reqrep import ConnectionKey
from msgspec import Struct
from msgspec.structs import replace
from yarl import URL

from tts_pipeline.http.url import join_url

_MAX_HEADS = 16

_BODILESS_METHODS = frozenset({"GET"})

_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Would end a header's line (RFC 9110, 5.5)."""

_QUOTED_URL = re.compile(
    r"(?P<origin>https?://[a-z0-9.-]+(?::[0-9]+)?)"
    r"(?P<path>(?:/(?!\.)[\w!$&'()*+,\-.:;=@~]*)+)"
    r"(?P<query>\?(?:[\w!$&'()*+,\-./:;=?@~]|%(?:20|25|26|2B|2F|3D))+)?",
    re.ASCII,
)
"""A URL that yarl leaves as it is, but for a ``%2F`` in its query; httpx leaves others (see ``url.py``)."""


class RequestHead(Struct, frozen=True, eq=False):
    """The head of a request but for the length of its body.

    ``opening`` opens a connection: it has no headers, so that no proxy gets the key. ``headers`` are those of the
    request, by which a head is found again. ``address`` precedes the path if the request goes to a proxy in clear text.
    """

    method: str
    headers: Mapping[str, str]
    opening: aiohttp.ClientRequest
    key: ConnectionKey
    address: str
    fields: bytes
    lines: bytes

    def for_target(self, target: str) -> RequestHead:
        """Return the head for another path and query at the same address."""
        return replace(self, lines=_request_line(self.method, self.address + target) + self.fields)

    def with_body(self, body: bytes) -> bytes:
        """Return the whole request."""
        if not body and self.method in _BODILESS_METHODS:
            return b"%b\r\n" % self.lines
        return b"%bContent-Length: %d\r\n\r\n%b" % (self.lines, len(body), body)


class RequestHeadCache:
    """Keeps the heads of the last addresses. ``constant_headers`` are sent with every request."""

    def __init__(self, constant_headers: Mapping[str, str], proxy_for: Callable[[str], str | None]) -> None:
        self._constant_headers = constant_headers
        self._proxy_for = proxy_for
        self._by_url: dict[tuple[str, str], RequestHead] = {}
        self._by_origin: dict[tuple[str, str], RequestHead] = {}

    def head_of(self, method: str, url: str, headers: Mapping[str, str]) -> RequestHead:
        """Return the head of a request.

        Raises:
            InvalidUrlError, aiohttp.InvalidURL: The URL is not valid, or it holds a login beside the key.
            ValueError: A header has control characters.
        """
        head = self._by_url.get((method, url))
        if head is not None and head.headers == headers:
            return head
        parts = _QUOTED_URL.fullmatch(url)
        neighbour = None if parts is None else self._by_origin.get((method, parts["origin"]))
        if parts is not None and neighbour is not None and neighbour.headers == headers:
            return neighbour.for_target(parts["path"] + (parts["query"] or "").replace("%2F", "/"))
        head = self._build(method, url, headers)
        _keep(self._by_url, (method, url), head)
        if parts is not None:
            _keep(self._by_origin, (method, parts["origin"]), head)
        return head

    def _build(self, method: str, url: str, headers: Mapping[str, str]) -> RequestHead:
        address = _parse_url(url)
        proxy = self._proxy_for(url)
        proxy_url = None if proxy is None else URL(proxy)
        is_through_proxy = proxy_url is not None and address.scheme == "http"
        fields = {"host": address.host_port_subcomponent or "", **self._constant_headers, **headers}
        _add_login(fields, "authorization", address)
        if proxy_url is not None and is_through_proxy:
            _add_login(fields, "proxy-authorization", proxy_url)
        if method not in _BODILESS_METHODS:
            fields.setdefault("content-type", "application/octet-stream")
        bare = address.with_user(None).with_fragment(None)
        opening = aiohttp.ClientRequest("GET", bare, proxy=proxy_url)
        prefix = str(bare).removesuffix(bare.raw_path_qs) if is_through_proxy else ""
        lines = _header_lines(fields)
        request_line = _request_line(method, prefix + bare.raw_path_qs)
        return RequestHead(method, dict(headers), opening, opening.connection_key, prefix, lines, request_line + lines)


def _keep(heads: dict[tuple[str, str], RequestHead], key: tuple[str, str], head: RequestHead) -> None:
    if len(heads) >= _MAX_HEADS:
        heads.clear()
    heads[key] = head


def _parse_url(url: str) -> URL:
    """Parse and quote a URL."""
    normalized = join_url("", url)
    try:
        address = URL(normalized)
    except ValueError as error:
        raise InvalidUrlClientError(normalized) from error
    if address.scheme not in ("http", "https"):
        raise NonHttpUrlClientError(address)
    if not address.raw_host:
        raise InvalidUrlClientError(address)
    return address


def _add_login(fields: dict[str, str], name: str, address: URL) -> None:
    """Turn the login of a URL into a header."""
    if address.raw_user is None and address.raw_password is None:
        return
    if name in fields:
        raise InvalidUrlClientError(address.with_user(None), "holds a login beside the key")
    try:
        fields[name] = aiohttp.encode_basic_auth(address.user or "", address.password or "", "latin-1")
    except ValueError:
        raise InvalidUrlClientError(address.with_user(None), "holds a login that no header can carry") from None


def _request_line(method: str, target: str) -> bytes:
    line = f"{method} {target} HTTP/1.1"
    if _CONTROL_CHARACTER.search(line) or " " in target:
        raise InvalidUrlClientError("", "has characters that no request line can carry")
    return f"{line}\r\n".encode()


def _header_lines(fields: Mapping[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in fields.items()]
    if any(map(_CONTROL_CHARACTER.search, lines)):
        raise ValueError("a header has control characters")  # the value is not shown: it may be the key
    return "".join(f"{line}\r\n" for line in lines).encode()
