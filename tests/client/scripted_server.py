"""A real HTTP server that treats each request by a script, down to cutting the connection; and its client."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pybase64

from tests.builders import PRICE, wrap_pcm
from tests.machine import patience
from tts_pipeline.attempt import Outcome
from tts_pipeline.card import Card, Endpoint
from tts_pipeline.client.attempt_log import MemoryAttemptLog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import AudioSettings, Limits, QualityPolicy
from tts_pipeline.errors import ServiceError, StoppedError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.models import Speech, Utterance


@dataclass
class Request:
    """One request as it was read, and its connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter = field(repr=False)

    @property
    def text(self) -> str:
        """The text to speak."""
        return str(json.loads(self.body)["input"])


Step = Callable[[Request], Awaitable[None]]


def wav(seconds: float = 0.5, rate_hz: int = 24_000) -> bytes:
    """Make a WAV file of a hum that fades, as speech does."""
    frames = int(seconds * rate_hz)
    loudness = [99 * (frames - index) // frames for index in range(frames)]
    samples = b"".join(struct.pack("<h", (index % 99) * loud) for index, loud in enumerate(loudness))
    return wrap_pcm(samples, rate_hz)


def raw_response(status: int, headers: dict[str, str], body: bytes) -> bytes:
    """Return the bytes of an answer; no header is added."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


def answer(status: int, body: bytes | dict[str, Any] = b"", headers: dict[str, str] | None = None) -> Step:
    """Return a good answer."""
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    kind = {"content-type": "application/json"} if isinstance(body, dict) else {}

    async def step(request: Request) -> None:
        request.writer.write(
            raw_response(status, {"content-length": str(len(content)), **kind, **(headers or {})}, content)
        )

    return step


def speech_body(audio: bytes | None = None, *, characters: int | None = None, **changes: Any) -> dict[str, Any]:
    """Return the JSON of a good answer."""
    data = pybase64.b64encode(wav() if audio is None else audio).decode()
    usage = {} if characters is None else {"characters": characters}
    output = {"finish_reason": "stop", "audio": {"data": data, "url": ""}}
    return {"status_code": 200, "request_id": "r-1", "code": "", "output": output, "usage": usage, **changes}


def url_body(url: str, *, expires_at: int | None = None, characters: int | None = None) -> dict[str, Any]:
    """Return the JSON of an answer whose audio is at a URL."""
    audio = {"data": "", "url": url, **({} if expires_at is None else {"expires_at": expires_at})}
    return speech_body(characters=characters, output={"finish_reason": "stop", "audio": audio})


def verbatim(content: bytes, *, close: bool = True) -> Step:
    """Write the bytes, then close the connection."""

    async def step(request: Request) -> None:
        request.writer.write(content)
        if close:
            await request.writer.drain()
            request.writer.close()

    return step


async def disconnect(request: Request) -> None:
    """Close the connection after the request was read."""
    request.writer.close()


async def silence(_: Request) -> None:
    """Never answer."""


def after(event: asyncio.Event, then: Step) -> Step:
    """Wait for the test's signal before going on."""

    async def step(request: Request) -> None:
        await event.wait()
        await then(request)

    return step


class ScriptedServer:
    """Does to each request what the next step says; when the steps are used up, what ``otherwise`` says.

    Attributes:
        requests: Every request, in the order of arrival.
        url: Where it listens.
    """

    def __init__(self, *steps: Step, otherwise: Step | None = None) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self.steps = list(steps)
        self.otherwise = otherwise or answer(200, speech_body())
        self._connections: set[asyncio.Task[None]] = set()
        self._arrival = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while not writer.is_closing():
                request = await _read(reader, writer)
                await self._record(request)
                step = self.steps.pop(0) if self.steps else self.otherwise
                await step(request)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def wait_for_requests(self, count: int) -> None:
        """Wait until so many requests have arrived in all."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.requests) >= count)

    async def _record(self, request: Request) -> None:
        async with self._arrival:
            self.requests.append(request)
            self._arrival.notify_all()

    async def close(self) -> None:
        """Close every connection."""
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body, writer)


@asynccontextmanager
async def serving(*steps: Step, otherwise: Step | None = None) -> AsyncIterator[ScriptedServer]:
    """Run a scripted server on a free port of this machine."""
    scripted = ScriptedServer(*steps, otherwise=otherwise)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, backlog=1_024)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield scripted
    finally:
        server.close()
        await scripted.close()
        await server.wait_closed()


KEY = "sk-very-secret-key"
LIMITS = Limits(max_concurrency=8, max_attempts=3, timeout_s=patience(20))
CARD = Card("s", "m", prices=(PRICE,), input_limit=600)
HELLO = Utterance("a", "Hello.", {"voice": "Cherry"})

IN_TWO = replace(CARD, input_limit=40)
"""A model for which the long text is two segments: 37 characters, and what comes behind the space after them."""
LONG_TEXT = "One sentence here. Another one there. And a third, to end with."
LONG = Utterance("a", LONG_TEXT)


def instant_clock() -> Clock:
    """Return a clock whose waits take no time."""

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    return Clock(sleep=sleep)


def client_of(
    server: ScriptedServer,
    *,
    limits: Limits = LIMITS,
    card: Card = CARD,
    clock: Clock | None = None,
    audio: AudioSettings | None = None,
    quality: QualityPolicy | None = None,
) -> SpeechClient:
    """Return a client of a server, with a clock whose waits take no time."""
    service = Endpoint("s", server.url, api_key=KEY)
    clock = clock or instant_clock()
    return SpeechClient(service, card, limits, audio=audio, quality=quality, clock=clock, random=Random(1))


def synthesize(
    *steps: Step,
    utterance: Utterance = HELLO,
    otherwise: Step | None = None,
    log: MemoryAttemptLog | None = None,
    **settings: Any,
) -> tuple[Speech | ServiceError | StoppedError, MemoryAttemptLog, ScriptedServer]:
    """Speak one utterance with a server that follows a script; the settings are those of ``client_of``."""
    own_log = MemoryAttemptLog() if log is None else log

    async def main() -> tuple[Speech | ServiceError | StoppedError, MemoryAttemptLog, ScriptedServer]:
        async with serving(*steps, otherwise=otherwise) as server, client_of(server, **settings) as client:
            try:
                return await client.synthesize(utterance, own_log), own_log, server
            except (ServiceError, StoppedError) as error:
                return error, own_log, server

    return asyncio.run(main())


def synthesize_speech(*steps: Step, utterance: Utterance = HELLO, **settings: Any) -> Speech:
    """Speak one utterance that becomes speech."""
    speech, _, _ = synthesize(*steps, utterance=utterance, **settings)
    assert isinstance(speech, Speech)
    return speech


async def say_hello(service: Endpoint) -> tuple[Speech | ServiceError | StoppedError, MemoryAttemptLog]:
    """Say one utterance by a client of its own; return its speech or its error, and the log."""
    log = MemoryAttemptLog()
    async with SpeechClient(service, CARD, LIMITS, clock=instant_clock()) as client:
        try:
            return await client.synthesize(HELLO, log), log
        except (ServiceError, StoppedError) as error:
            return error, log


def outcomes(log: MemoryAttemptLog) -> list[tuple[Outcome, str | None, int | None, int, int]]:
    """Return each settlement: outcome, code, status, billed, at most."""
    settlements = [log.settlements[attempt.attempt_id] for attempt in log.attempts]
    return [
        (
            settlement.outcome,
            settlement.error_code,
            settlement.http_status,
            settlement.characters_billed,
            settlement.characters_upper_bound,
        )
        for settlement in settlements
    ]


def with_client(
    main: Callable[[SpeechClient, ScriptedServer], Coroutine[Any, Any, Any]],
    *steps: Step,
    otherwise: Step | None = None,
    limits: Limits = LIMITS,
) -> None:
    """Run a coroutine with a server that follows a script, and its client."""

    async def run() -> None:
        async with serving(*steps, otherwise=otherwise) as server, client_of(server, limits=limits) as client:
            await main(client, server)

    asyncio.run(run())
