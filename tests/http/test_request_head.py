"""The heads of requests: what is refused, and that a head that is found again is the one that would be built."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.http.request_head import RequestHead, RequestHeadCache
from tts_pipeline.http.url import InvalidUrlError

KEY = {"authorization": "Bearer sk-very-secret-key"}
PROXY = "http://me:p%40ss@proxy.example:3128"


def no_proxy(_: str) -> str | None:
    return None


def head_of(
    *urls: str,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    constant: Mapping[str, str] | None = None,
    proxy_for: Callable[[str], str | None] = no_proxy,
) -> RequestHead:
    """Return the head for the last of several URLs."""

    async def main() -> RequestHead:
        heads = RequestHeadCache(constant or {}, proxy_for)
        return [heads.head_of(method, url, headers or {}) for url in urls][-1]

    return asyncio.run(main())


def lines_of(head: RequestHead) -> list[str]:
    return head.lines.decode().split("\r\n")[:-1]


def test_a_request_is_its_line_its_headers_and_its_body() -> None:
    """A body has its length; only a request that takes a body says that it has none."""
    head = head_of("http://h.example/a?b=c", headers={"x-mine": "1"}, constant={"accept": "*/*"})
    assert head.with_body(b"{}") == (
        b"POST /a?b=c HTTP/1.1\r\nhost: h.example\r\naccept: */*\r\nx-mine: 1\r\n"
        b"content-type: application/octet-stream\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert head.with_body(b"").endswith(b"\r\nContent-Length: 0\r\n\r\n")
    get = head_of("http://h.example/", method="GET")
    assert get.with_body(b"") == b"GET / HTTP/1.1\r\nhost: h.example\r\n\r\n"


def test_the_callers_headers_go_before_the_constant_ones() -> None:
    """A name stands once."""
    head = head_of("http://h.example/", headers={"content-type": "application/json", "a": "1"}, constant={"a": "0"})
    assert lines_of(head)[1:] == ["host: h.example", "a: 1", "content-type: application/json"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "a\r\nb: c"),
        ("x", "a\nb: c"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x\r\ny", "a"),
        ("x", "\x7f"),
        ("x", "a\x0b"),
    ],
)
@pytest.mark.parametrize("is_constant", [False, True])
def test_no_header_begins_another_line(name: str, value: str, *, is_constant: bool) -> None:
    """Control characters are refused, and the value is not shown: it may be the key."""
    headers = {name: value}
    with pytest.raises(ValueError, match=r"^a header has control characters$"):
        head_of("http://h.example/", **{"constant" if is_constant else "headers": headers})  # type: ignore[arg-type] # either argument


@pytest.mark.parametrize("ending", ["\r\nx: y", "\n", "a b\r\n\r\nGET / HTTP/1.1", "\0", "\x7f"])
@pytest.mark.parametrize("start", ["http://h.example/", "http://h.example/?a=", "http://h.example"])
def test_no_url_begins_another_line(start: str, ending: str) -> None:
    """Nor a request line that ends early, whether its address is known or not."""
    for urls in ([start + ending], ["http://h.example/", start + ending]):
        with pytest.raises((InvalidUrlError, aiohttp.InvalidURL)):
            head_of(*urls)


@pytest.mark.parametrize("character", [" ", "\u2028", "\u00a0", "é", "\u0130", "<", '"', "{"])
def test_other_characters_of_a_url_are_quoted(character: str) -> None:
    """A request line is ASCII, and has two spaces."""
    for urls in ([f"http://h.example/{character}?{character}"], ["http://h.example/", f"http://h.example/{character}"]):
        line = lines_of(head_of(*urls))[0]
        assert line.isascii()
        assert line.count(" ") == 2
        assert "%" in line


def test_header_values_are_utf8() -> None:
    """Some gateways take such values."""
    assert "x: é".encode() in head_of("http://h.example/", headers={"x": "é"}).lines


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://h.example:8080/x", "h.example:8080"),
        ("http://h.example:80/x", "h.example"),
        ("https://h.example:443/x", "h.example"),
        ("https://h.example:80/x", "h.example:80"),
        ("http://H.Example/x", "h.example"),
        ("http://[::1]:8080/x", "[::1]:8080"),
        ("http://[::1]/x", "[::1]"),
        ("http://bücher.example:81/x", "xn--bcher-kva.example:81"),
    ],
)
def test_the_host_is_named_as_http_wants_it(url: str, host: str) -> None:
    """With its port unless it is the scheme's own, and in ASCII."""
    assert lines_of(head_of(url))[:2] == ["POST /x HTTP/1.1", f"host: {host}"]


def test_a_login_in_a_url_becomes_a_header() -> None:
    """It is in neither the request line nor the host."""
    lines = lines_of(head_of("http://me:p%40ss@h.example/a", method="GET"))
    assert lines == ["GET /a HTTP/1.1", "host: h.example", "authorization: Basic bWU6cEBzcw=="]


@pytest.mark.parametrize("url", ["http://me:word@h.example/a", "http://a%3Ab:word@h.example/a"])
def test_a_login_never_replaces_the_key(url: str) -> None:
    """Nor is one sent that no header can carry; the error does not show it."""
    with pytest.raises(aiohttp.InvalidURL) as exc_info:
        head_of(url, constant=KEY if "me" in url else None)
    assert "word" not in str(exc_info.value)


def test_a_proxy_in_clear_text_gets_the_whole_address_and_its_login() -> None:
    """RFC 9112, 3.2.2; for every path at that address."""
    for urls in (["http://h.example:8080/a?b"], ["http://h.example:8080/x", "http://h.example:8080/a?b"]):
        lines = lines_of(head_of(*urls, method="GET", proxy_for=lambda _: PROXY))
        assert lines == [
            "GET http://h.example:8080/a?b HTTP/1.1",
            "host: h.example:8080",
            "proxy-authorization: Basic bWU6cEBzcw==",
        ]


def test_behind_a_tunnel_a_request_is_as_without_a_proxy() -> None:
    """The proxy's login is for the proxy alone."""
    tunnelled = head_of("https://h.example/a", constant=KEY, proxy_for=lambda _: PROXY)
    assert tunnelled.lines == head_of("https://h.example/a", constant=KEY).lines


@pytest.mark.parametrize("url", ["https://h.example/a", "http://h.example/a"])
def test_what_opens_a_connection_has_no_key(url: str) -> None:
    """So a proxy cannot get it with the request to open a tunnel."""
    head = head_of(url, constant=KEY, headers={"x-token": "secret"}, proxy_for=lambda _: PROXY)
    assert "secret" not in repr(dict(head.opening.headers))


def test_addresses_on_different_ways_share_no_connection() -> None:
    """By scheme, host, port and proxy; a path makes no difference."""
    urls = ["http://h.example/", "https://h.example/", "http://h.example:81/", "http://i.example/"]
    keys = {head_of(url).key for url in urls} | {head_of(urls[0], proxy_for=lambda _: PROXY).key}
    assert len(keys) == 5
    assert head_of(urls[0]).key == head_of(f"{urls[0]}x").key


_PIECES = [*"aZ09_-.~/?&=+%:;@!$'()*,|^[]# é", "%2F", "%2B", "%41", "%2e", "..", "/."]
_TARGETS = st.lists(st.sampled_from(_PIECES), max_size=9).map("".join)


@given(_TARGETS)
def test_a_path_at_a_known_address_is_written_as_if_it_were_the_first(target: str) -> None:
    """The short way to a head changes nothing."""
    url = f"http://h.example/{target}"
    assert head_of("http://h.example/", url).lines == head_of(url).lines


def test_a_head_is_found_by_method_and_headers_too() -> None:
    """Also after more addresses than are kept."""
    url = "http://h.example/a"

    async def main() -> list[list[str]]:
        heads = RequestHeadCache({}, no_proxy)
        for number in range(40):
            heads.head_of("GET", f"http://h{number}.example/a", {})
        requests = [("GET", {}), ("GET", {"x": "1"}), ("GET", {"x": "2"}), ("PUT", {"x": "2"}), ("GET", {})]
        return [lines_of(heads.head_of(method, url, headers)) for method, headers in requests]

    lines = asyncio.run(main())
    assert [each[0].split(" ")[0] for each in lines] == ["GET", "GET", "GET", "PUT", "GET"]
    assert [each[2:3] for each in lines] == [[], ["x: 1"], ["x: 2"], ["x: 2"], []]


def test_a_mapping_that_changes_is_written_as_it_is_now() -> None:
    """The head that is kept has its own copy."""

    async def main() -> list[str]:
        heads = RequestHeadCache({}, no_proxy)
        headers = {"x": "1"}
        heads.head_of("GET", "http://h.example/", headers)
        headers["x"] = "2"
        return lines_of(heads.head_of("GET", "http://h.example/", headers))

    assert asyncio.run(main())[2] == "x: 2"
