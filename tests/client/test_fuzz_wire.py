"""Answers are changed on their way, in bytes, heads and timing: no wrong audio, no foreign exception, no hang.

``make fuzz`` does it with 20,000 answers; bodies that are changed are in ``tests/wire/test_fuzz.py``.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import resource
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import orjson
import pybase64
import pytest

from tests.client.scripted_server import CARD, KEY, Request, ScriptedServer, raw_response, serving
from tests.http.test_connection import sound_of
from tests.machine import patience
from tts_pipeline.card import Endpoint
from tts_pipeline.client.attempt_log import MemoryAttemptLog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import Limits
from tts_pipeline.errors import ServiceError, StoppedError
from tts_pipeline.models import Utterance

LIMITS = Limits(max_concurrency=1, max_attempts=1, timeout_s=0.25, connect_timeout_s=patience(20))
AT_ONE_TIME = 64
HANG_S = patience(60)
"""Far beyond the seconds after which an exchange ends, on however busy a machine."""

NEVER_CHARGED = {400, 401, 402, 403, 404, 413, 422, 429, 307, 308}
"""Statuses of refusals; the key or the text was not taken."""

LINES = [
    *(b"content-length: 7", b"content-length: -1", b"content-length: 99999999999999999999", b"content-length: abc"),
    *(b"content-length: " + 5_000 * b"0" + b"9", b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked"),
    *(
        b"transfer-encoding: identity",
        b"content-encoding: gzip",
        b"content-encoding: br",
        b"content-encoding: gzip, gzip",
    ),
    *(b"connection: close", b"connection: keep-alive", b"connection: upgrade\r\nupgrade: websocket", b"trailer: x"),
    *(
        b"x: " + 20_000 * b"y",
        b"x: " + 70_000 * b"y",
        b"x: \x01\x02",
        b"x: \0",
        b"x: \xff\xfe",
        b": empty",
        b"no colon",
    ),
    *(b" folded", b"set-cookie: \xff=;;=; max-age=9" + 40 * b"9", b"retry-after: -5", b"location: http://[::1"),
    *(
        b"content-type: text/event-stream",
        b"content-type: text/html",
        b"content-type: \xff/;=",
        b"sec-websocket-key1: 1",
    ),
]
STATUS_LINES = [
    *(b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"HTTP/2 200 OK", b"HTTP/1.1 99 Low", b"HTTP/1.1 1000 High", b"ICY 200 OK"),
    *(
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 101 Switching",
        b"HTTP/1.1 204 None",
        b"HTTP/1.1 304 Same",
        b"HTTP/1.1 500 No",
    ),
    *(
        b"HTTP/1.1 302 There",
        b"HTTP/1.1 000 Zero",
        b"HTTP/9.9 200 OK",
        b"http/1.1 200 ok",
        b"",
        b"\r\n\r\nHTTP/1.1 200 OK",
    ),
]


def content_of(text: str, random: Random, url: str) -> tuple[dict[str, str], bytes]:
    """Return a good answer's headers and body, in one of the usual forms."""
    form = random.randrange(5)
    if form == 0:
        return {"content-type": "audio/wav"}, sound_of(text)
    audio = {"url": f"{url}/{text}"} if form == 1 else {"data": pybase64.b64encode(sound_of(text)).decode()}
    return {"content-type": "application/json"}, orjson.dumps({"output": {"audio": audio}})


def framed(headers: dict[str, str], body: bytes, random: Random) -> bytes:
    """Return the bytes of an answer: compressed or not, with a length, in chunks, or up to the connection's end."""
    coding = random.choice(["", "", "", "", "gzip", "deflate", "gzip, gzip"])
    for name in coding.split(", ") if coding else ():
        body = gzip.compress(body, 1) if name == "gzip" else zlib.compress(body, 1)
    headers |= {"content-encoding": coding} if coding else {}
    framing = random.randrange(5)
    if framing == 0:
        return raw_response(200, {**headers, "connection": "close"}, body)
    if framing < 3:
        return raw_response(200, {**headers, "content-length": str(len(body))}, body)
    size = random.choice([1_000, 3_000, 100_000])
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return raw_response(200, {**headers, "transfer-encoding": "chunked"}, chunks + b"0\r\n\r\n")


def changed(content: bytes, random: Random) -> bytes:
    """Change an answer's head, or the bytes around the answer."""
    head, separator, body = content.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    kind = random.randrange(9)
    if kind == 0:
        lines.insert(random.randint(1, len(lines)), random.choice(LINES))
    elif kind == 1:
        lines[0] = random.choice(STATUS_LINES)
    elif kind == 2:
        lines.insert(1, random.choice(lines))
    elif kind == 3:
        del lines[random.randrange(len(lines))]
    elif kind == 4:
        place, byte = random.randrange(len(head)), random.randbytes(random.randrange(3))
        lines = [head[:place] + byte + head[place + 1 :]]
    elif kind == 5:
        return content + random.choice([content, content[: random.randrange(len(content))], b"\r\n", b"garbage", b"\0"])
    elif kind == 6:
        return random.choice([b"\r\n", b"\0", b"HTTP/1.1 102 Processing\r\n\r\n" * 9, random.randbytes(5)]) + content
    elif kind == 7:
        return content[: random.randrange(len(content))]
    else:
        separator = random.choice([b"\n\n", b"\r\n\n", b"\r\r", b"\r\n", b"\r\n \r\n\r\n"])
    return b"\r\n".join(lines) + separator + body


@dataclass
class Findings:
    """The results of the answers."""

    codes: Counter[str] = field(default_factory=Counter)
    charged: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0


async def write(request: Request, content: bytes, random: Random) -> None:
    """Write an answer immediately, in pieces, a byte at a time, or with a silence within."""
    pace = random.randrange(40)
    size = 1 if pace == 0 else random.randint(1, len(content) + 1) if pace < 9 else len(content)
    for start in range(0, len(content), max(size, 1)):
        request.writer.write(content[start : start + size])
        if size < len(content):
            await asyncio.sleep(0.5 if pace == 1 else 0.002)
        if request.writer.is_closing():
            return
    if random.randrange(3):
        request.writer.close()


async def say(server: ScriptedServer, number: int, seed: int, findings: Findings) -> None:
    """Speak one unique text, and compare the result with the server's audio and charge."""
    text = str(number)
    log = MemoryAttemptLog()
    async with SpeechClient(Endpoint("s", server.url, api_key=KEY), CARD, LIMITS, random=Random(seed)) as client:
        since_s = time.monotonic()
        try:
            speech = await asyncio.wait_for(client.synthesize(Utterance(text, text), log), HANG_S)
            assert speech.audio.data == sound_of(text)
            findings.codes["right audio"] += 1
        except (ServiceError, StoppedError) as error:
            findings.codes[getattr(error, "code", "stopped")] += 1
        findings.longest_s = max(findings.longest_s, time.monotonic() - since_s)
    settlements = list(log.settlements.values())
    confirmed, at_most = (
        sum(settlement.characters_billed for settlement in settlements),
        sum(settlement.characters_upper_bound for settlement in settlements),
    )
    assert confirmed <= findings.charged[text] * len(text) <= at_most or findings.charged[text] < 0


async def fuzz(count: int, seed: int) -> Findings:
    """Speak so many texts, each with an answer that was changed on its way."""
    findings = Findings()

    async def step(request: Request) -> None:
        text = request.path.strip("/") if request.method == "GET" else request.text
        random = Random(f"{seed} {text} {request.method} {findings.charged[text]}")
        if request.method == "GET":
            headers, body = {"content-type": "audio/wav"}, sound_of(text)
        else:
            headers, body = content_of(text, random, server.url)
        content = framed(headers, body, random)
        if random.randrange(5):
            content = changed(content, random)
        if request.method == "POST":
            statuses = {int(digits) for digits in re.findall(rb"HTTP/1\.[01] (\d\d\d)", content)}
            findings.charged[text] += -99 if statuses & NEVER_CHARGED else 1
        await write(request, content, random)

    async with serving(otherwise=step) as server:
        numbers = iter(range(count))

        async def worker() -> None:
            for number in numbers:
                await say(server, number, seed, findings)

        async with asyncio.TaskGroup() as workers:
            for _ in range(AT_ONE_TIME):
                workers.create_task(worker())
    sound_of.cache_clear()
    return findings


def test_an_answer_that_was_changed_on_its_way_is_right_or_refused() -> None:
    """Its audio belongs to this text, or it is one of our errors, in time; its possible cost is on the bill."""
    findings = asyncio.run(fuzz(200, seed=1))
    assert findings.codes.total() == 200
    assert findings.codes["right audio"] > 0


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.timeout(3_600)
def test_20_000_of_them() -> None:
    """In less memory than a laptop can spare."""
    codes: Counter[str] = Counter()
    longest_s = 0.0
    for seed in range(100, 120):
        findings = asyncio.run(fuzz(1_000, seed))
        codes += findings.codes
        longest_s = max(longest_s, findings.longest_s)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"\n{codes.total()} answers, longest {longest_s:.1f} s, peak memory {peak_mb} MB")
    print("\n".join(f"{number:7} {code}" for code, number in codes.most_common()))
    assert peak_mb < 600
