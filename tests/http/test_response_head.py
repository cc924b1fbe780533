"""The heads of answers: their headers, and the answers that are refused before their bodies arrive."""

from __future__ import annotations

import asyncio

import pytest

from tests.client.scripted_server import raw_response, serving, verbatim
from tests.machine import patience
from tts_pipeline.config import MAX_HEAD_BYTES
from tts_pipeline.errors import ServiceError
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.http.transport import Transport
from tts_pipeline.wire.response import Response

TIMEOUTS = Timeouts(timeout_s=patience(20), connect_timeout_s=patience(20), max_body_bytes=1_000)


def reply_to(content: bytes) -> Response:
    """Return the answer of a server that writes these bytes, and keeps the connection open."""

    async def main() -> Response:
        async with serving(verbatim(content, close=False)) as server:
            transport = Transport(TIMEOUTS)
            try:
                return await transport.exchange("GET", server.url, {})
            finally:
                await transport.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-length": "1001"}, "AnswerTooLarge"),
        ({"content-length": "00000000000000000000001001"}, "AnswerTooLarge"),
        ({"content-length": "9", "content-encoding": "br"}, "UnsupportedCoding"),
        ({"content-length": "9", "content-encoding": "gzip, gzip"}, "UnsupportedCoding"),
        ({"transfer-encoding": "gzip"}, "UnsupportedCoding"),
    ],
)
def test_an_answer_that_cannot_be_read_is_refused_by_its_head(headers: dict[str, str], code: str) -> None:
    """Nobody waits for its body, which may never come."""
    with pytest.raises(ServiceError) as exc_info:
        reply_to(raw_response(200, headers, b""))
    assert (exc_info.value.code, exc_info.value.may_be_billed) == (code, True)


def test_all_headers_together_are_bounded() -> None:
    """However many lines they are, and even if they arrive at once with the body."""
    lines = {f"x-{number}": "y" * 1_000 for number in range(MAX_HEAD_BYTES // 1_000)}
    with pytest.raises(ServiceError) as exc_info:
        reply_to(raw_response(200, {**lines, "content-length": "1"}, b"x"))
    assert exc_info.value.code == "HeadTooLarge"


def test_headers_are_latin_1_in_lower_case_and_the_last_of_a_name_counts() -> None:
    """As the bytes came; HTTP names no other coding."""
    content = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: \xe9 \r\nCONTENT-LENGTH: 1\r\n\r\nb"
    assert reply_to(content).headers == {"x-a": "\xe9", "content-length": "1"}


def test_repeated_codings_are_joined() -> None:
    """A second coding is not overlooked."""
    content = (
        b"HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\nContent-Encoding: Identity\r\ncontent-length: 1\r\n\r\nb"
    )
    reply = reply_to(content)
    assert (reply.headers["content-encoding"], reply.body) == ("identity, identity", b"b")
