"""URLs as httpx parses them, and httpx only where it is needed."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machine import patience
from tts_pipeline.http.url import InvalidUrlError, host_of, join_url, origin_of_plain

PLAIN = (
    "http://127.0.0.1:8000/base64-20000/v1/audio/speech",
    "https://api.openai.com/v1/audio/speech",
    "https://1d-bucket.oss-cn-beijing.aliyuncs.com/a%20b/c.wav?Expires=1766113409&Signature=ab%2Bc%3D",
    "http://minio:9000/a.wav",
)
PIECES = (
    "http://",
    "https://",
    "a",
    "B",
    "-",
    "_",
    ".",
    "..",
    "/",
    ":",
    "80",
    "443",
    "0123",
    "65536",
    "256",
    "127.0.0.1",
)
MORE_PIECES = (
    "?a=b&c=%2B",
    "%2f",
    "%zz",
    "'",
    "(",
    "[",
    "|",
    "^",
    ";",
    ",",
    "{",
    '"',
    "1d.oss-cn.aliyuncs.com",
    "/.",
    "1",
    "?",
    "#",
    "@",
    "%41",
    "%",
    " ",
    "é",
    "example.com",
    "localhost",
    "xn--",
    "[::1]",
    "~",
    "\\",
    "\n",
)


@pytest.mark.parametrize(
    ("url", "normalized"),
    [
        *((url, url) for url in PLAIN),
        ("https://API.example.com:443/a b", "https://api.example.com/a%20b"),
        ("http://bücher.example/é", "http://xn--bcher-kva.example/%C3%A9"),
    ],
)
def test_a_url_is_normalised(url: str, normalized: str) -> None:
    """A plain URL stays, any other is written as httpx writes it."""
    assert join_url("", url) == normalized
    assert (origin_of_plain(url) is not None) == (url in PLAIN)
    assert host_of(url) == httpx.URL(url).host


@settings(max_examples=1_000)
@given(st.lists(st.sampled_from(PIECES + MORE_PIECES), max_size=8).map("".join))
def test_no_url_is_taken_for_a_plain_one(rest: str) -> None:
    """Whatever follows the scheme, the result is that of httpx, or its refusal."""
    url = f"http://{rest}"
    try:
        expected = str(httpx.URL(url))
    except httpx.InvalidURL:
        with pytest.raises(InvalidUrlError):
            join_url("", url)
        assert host_of(url) == ""
        assert origin_of_plain(url) is None
    else:
        assert join_url("", url) == expected
        if (origin := origin_of_plain(url)) is not None:
            assert url == expected
            assert origin == "://".join(urlsplit(url)[:2])
        with suppress(ValueError):  # httpx decodes no label that is no Punycode
            assert host_of(url) == httpx.URL(url).host


def test_a_target_is_relative_to_its_base() -> None:
    """A redirect may name a path alone; a whole URL replaces the base."""
    assert join_url("https://a.example/v1/audio", "../b?c=1") == "https://a.example/b?c=1"
    assert join_url("https://a.example/v1/audio", "https://b.example/c") == "https://b.example/c"
    with pytest.raises(InvalidUrlError):
        join_url("https://a.example/", "http://a:b")


def test_httpx_is_not_imported_for_a_plain_url() -> None:
    """The import would delay the first request of a run."""
    use = f"[join_url('', url) for url in {PLAIN!r}]"
    code = f"import sys; from tts_pipeline.http.url import *; {use}; print('httpx' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=patience(60))
    assert ran.stdout.strip() == "False"
