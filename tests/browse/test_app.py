"""The server as any client meets it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.machine import patience

AUDIO = "/api/audio/speech/part-00000/1"


class HttpResponse(NamedTuple):
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def get(site: str, path: str, method: str = "GET", **headers: str) -> HttpResponse:
    """Send one request."""
    with closing(HTTPConnection(urlsplit(site).netloc, timeout=patience(20))) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return HttpResponse(response.status, dict(response.headers), response.read())


def test_audio_is_served_whole_and_in_pieces(site: str) -> None:
    """Every form of a range; the pieces make up the whole."""
    whole = get(site, AUDIO)
    size = len(whole.body)
    assert (whole.status, whole.headers["Content-Type"], whole.headers["Accept-Ranges"]) == (200, "audio/wav", "bytes")
    assert whole.headers["ETag"] == f'"{hashlib.sha256(whole.body).hexdigest()}"'
    for byte_range, start, stop in (
        ("0-9", 0, 10),
        ("100-", 100, size),
        ("-7", size - 7, size),
        (f"5-{size * 2}", 5, size),
    ):
        piece = get(site, AUDIO, Range=f"bytes={byte_range}")
        assert piece.status == 206
        assert piece.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert piece.body == whole.body[start:stop]


@pytest.mark.parametrize("byte_range", ["bytes=99999999-", "bytes=-0"])
def test_a_range_that_is_not_there_is_refused(site: str, byte_range: str) -> None:
    """With the size, so that the client can ask again."""
    reply = get(site, AUDIO, Range=byte_range)
    assert reply.status == 416
    assert reply.headers["Content-Range"].startswith("bytes */")


@pytest.mark.parametrize(
    "byte_range", ["lines=1-2", "bytes=1-2,5-6", "bytes=9-1", "bytes=-", "bytes=" + "9" * 5_000 + "-"]
)
def test_a_range_of_another_kind_is_passed_over(site: str, byte_range: str) -> None:
    """As HTTP has it: the answer is the whole."""
    assert get(site, AUDIO, Range=byte_range).status == 200


def test_a_piece_of_what_was_there_before_is_not_given(site: str) -> None:
    """A client that has the beginning of another file gets the whole of this one."""
    assert get(site, AUDIO, Range="bytes=5-", If_Range='"other"').status == 200
    assert get(site, AUDIO, Range="bytes=5-", If_Range=get(site, AUDIO).headers["ETag"]).status == 206


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/dataset", AUDIO, "/nowhere", "/api/rows?sort=x"])
def test_every_answer_says_what_it_may_do(site: str, path: str) -> None:
    """Nothing but the page's own files; not in a frame, not for another site."""
    headers = get(site, path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


def test_a_foreign_name_is_refused(site: str) -> None:
    """However it leads here (DNS rebinding); and what it is told is not the data."""
    reply = get(site, "/api/rows", Host="evil.example")
    assert (reply.status, b"ferry" in reply.body) == (403, False)


@pytest.mark.parametrize(
    "path",
    [
        "/api/row/speech/part-00000/99",
        "/api/row/speech/..%2F..%2Fdataset/0",
        "/api/audio/rejects/part-00000/0",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/dataset.json",
    ],
)
def test_nothing_else_is_served(site: str, path: str) -> None:
    """No other file of the dataset, of the package or of the machine."""
    assert get(site, path).status in {403, 404}


def test_nothing_is_changed(site: str) -> None:
    """There is nothing but reading."""
    for method in ("POST", "PUT", "DELETE"):
        assert get(site, "/api/rows", method).status == 405


def test_a_wrong_question_is_told(site: str) -> None:
    """As JSON, with a hint."""
    reply = get(site, "/api/rows?sort=message")
    assert reply.status == 400
    assert "by one of" in json.loads(reply.body)["error"]


def test_money_is_text(site: str) -> None:
    """Exact, never a float, never an exponent."""
    rows = json.loads(get(site, "/api/rows?status=reject").body)["rows"]
    assert rows[0]["cost"] == "0.000000000"
    (total,) = json.loads(get(site, "/api/bill").body)["totals"]
    assert total["cost"].startswith("0.0")
