"""The load service: a real process, asked over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from benchmarks.answers import AnswerSpec, audio, text_of
from benchmarks.capacity import measure_capacity
from benchmarks.server import Gauge
from benchmarks.service import LoadService, load_service
from tests.machine import patience


@pytest.fixture(scope="module")
def service() -> Iterator[LoadService]:
    """One service for the tests of this module."""
    with load_service() as running:
        yield running


def ask(service: LoadService, method: str, path: str, body: bytes = b"") -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection(urlsplit(service.origin).netloc, timeout=patience(10))
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()
    finally:
        connection.close()


def speech(answering: AnswerSpec) -> str:
    return answering.base_url("") + "/v1/audio/speech"


def test_it_answers_with_audio(service: LoadService) -> None:
    """Bytes are answered as they are; a URL leads to them."""
    body = json.dumps({"input": text_of(1)}).encode()
    assert ask(service, "POST", speech(AnswerSpec("raw", 2_000, 0)), body) == (200, "audio/wav", audio(2_000))
    status, kind, answer = ask(service, "POST", speech(AnswerSpec("url", 2_000, 0)), body)
    assert (status, kind) == (200, "application/json")
    url = json.loads(answer)["output"]["audio"]["url"]
    assert ask(service, "GET", urlsplit(url).path) == (200, "audio/wav", audio(2_000))


def test_it_counts_what_it_serves(service: LoadService) -> None:
    """Requests are counted from a reset on; asking for the counts is none."""
    service.reset()
    assert service.stats().requests == 0
    for _ in range(3):
        ask(service, "POST", speech(AnswerSpec("raw", 2_000, 0)), b"{}")
    served = service.stats()
    assert served.requests == 3
    assert served.max_in_flight == 1
    assert served.first_s is not None
    assert served.last_s is not None
    assert served.first_s < served.last_s


def test_an_unknown_path_is_an_error(service: LoadService) -> None:
    """A contestant that asks for something else does not go unnoticed."""
    assert ask(service, "POST", "/v1/audio/speech", b"{}")[0] == 404


def test_its_capacity_is_measured(service: LoadService) -> None:
    """Asked without latency it answers, and tells what that costs it."""
    capacity = measure_capacity(service, 2_000, seconds=0.2)
    assert capacity.answers_per_s > 0
    assert capacity.service_cpu_ms > 0


def test_the_gauge_adds_up_request_seconds() -> None:
    """Busy is the number in flight over time, until the last arrival; what comes after does not count."""
    now_s = 0.0
    gauge = Gauge(lambda: now_s)
    for at_s, event in ((1.0, gauge.arrive), (2.0, gauge.arrive), (4.0, gauge.leave), (5.0, gauge.arrive)):
        now_s = at_s
        event()
    now_s = 9.0
    gauge.leave()
    summary = gauge.summary()
    assert summary["busy_s"] == 1 + 2 * 2 + 1
    assert (summary["first_s"], summary["last_s"], summary["requests"], summary["max_in_flight"]) == (1.0, 5.0, 3, 2)
