"""Measure the capacity of the load service first, to know that it is not the limit of a run."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from benchmarks.answers import AnswerSpec, answer
from benchmarks.service import LoadService

CONNECTIONS = 32
BUSY_LIMIT = 0.7
"""The share of one core: a service that is busier than this during a run may be its limit."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The figures of the service at its full speed.

    Args:
        audio_bytes: Bytes of audio in each answer, as base64 JSON.
        answers_per_s: The least capacity: answers to a client on the other core that only counts bytes.
        service_cpu_ms: The service's CPU time per answer.
    """

    audio_bytes: int
    answers_per_s: float
    service_cpu_ms: float


class _LoadClient(asyncio.Protocol):
    """Sends the next request as soon as an answer is complete, and checks only its length."""

    def __init__(self, request: bytes, answer_bytes: int, until_s: float) -> None:
        self._request = request
        self._answer_bytes = answer_bytes
        self.ended = asyncio.Event()
        self._until_s = until_s
        self._received = 0
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received < self._answer_bytes:
            return
        self._received = 0
        self.answers += 1
        if time.monotonic() < self._until_s:
            self._transport.write(self._request)
        else:
            self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self.ended.set()


def measure_capacity(service: LoadService, audio_bytes: int, *, seconds: float) -> Capacity:
    """Request answers without latency, as fast as they come."""
    spec = AnswerSpec(audio_bytes=audio_bytes, latency_ms=0)
    service.prepare(spec)
    service.reset()
    started_s = time.monotonic()
    answers = asyncio.run(_ask(service.origin, spec, started_s + seconds))
    elapsed_s = time.monotonic() - started_s
    return Capacity(audio_bytes, answers / elapsed_s, 1_000 * service.stats().cpu_s / max(answers, 1))


async def _ask(origin: str, spec: AnswerSpec, until_s: float) -> int:
    parts = urlsplit(spec.base_url(origin))
    body = b'{"input": "row 0000001"}'
    head = f"POST {parts.path}/v1/audio/speech HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    answer_bytes = len(answer(spec.shape, spec.audio_bytes, origin))
    connect = partial(asyncio.get_running_loop().create_connection, host=parts.hostname, port=parts.port)
    make_client = partial(_LoadClient, head.encode() + body, answer_bytes, until_s)
    connections = [await connect(make_client) for _ in range(CONNECTIONS)]
    for transport, client in connections:
        await client.ended.wait()
        transport.close()
    return sum(client.answers for _, client in connections)
