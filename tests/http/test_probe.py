"""A probe finds out whether a service is reachable, and buys nothing."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tts_pipeline.card import Endpoint
from tts_pipeline.errors import TransientError
from tts_pipeline.http.probe import MODELS_PATH, probe


@contextmanager
def _answering(status: int, requests: list[tuple[str, str, str | None]]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.command, self.path, self.headers.get("Authorization")))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_the_status_is_told(status: int) -> None:
    """One GET for the list of models, with the key, returns the status."""
    requests: list[tuple[str, str, str | None]] = []
    with _answering(status, requests) as url:
        assert probe(Endpoint("one", url, api_key="sk-probe")) == status
    assert requests == [("GET", MODELS_PATH, "Bearer sk-probe")]


def test_it_works_where_a_loop_runs() -> None:
    """A web server may test connections within its loop."""

    async def inside(url: str) -> int:
        return probe(Endpoint("one", url, auth="none"))

    requests: list[tuple[str, str, str | None]] = []
    with _answering(200, requests) as url:
        assert asyncio.run(inside(url)) == 200
    assert requests[0][2] is None


def test_nobody_there_is_said() -> None:
    """It is reported like any other failure to connect."""
    with pytest.raises(TransientError, match="no connection"):
        probe(Endpoint("one", "http://127.0.0.1:9"))
