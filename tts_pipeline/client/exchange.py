"""Run one exchange: send a request, parse the answer, fetch the audio and make it playable."""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus

from msgspec.structs import astuple

from tts_pipeline.client.answer_reader import NOT_RECEIVED, AnswerReader, ReceivedAnswer, ResponseFacts, SegmentRequest
from tts_pipeline.errors import ServiceError, TransientError
from tts_pipeline.flow.loop_batcher import LoopBatcher
from tts_pipeline.http.fetch import Fetcher
from tts_pipeline.http.transport import Transport
from tts_pipeline.models import Answer
from tts_pipeline.wire.redaction import Redactor
from tts_pipeline.wire.redirect import MAX_REDIRECTS, REDIRECTS, redirect_url, too_many_redirects_error
from tts_pipeline.wire.request import Request
from tts_pipeline.wire.response import Response

_INLINE_BODY_BYTES = 1_000_000
"""A larger body is parsed in a thread: this size takes about 1 ms of JSON and base64, while every other row waits."""

_SMALL_BODY_BYTES = 2_048
"""A body this small is parsed at once, in 10 us: it is a link or a failure, and waiting for the loop's next turn costs
as much. Its audio is read with others, wherever it is."""


class Exchange:
    """Gets the answer to one request. The transport has the service's key; the fetcher of audio elsewhere has no key.

    All text of an answer that leaves this class has passed the redactor.
    """

    def __init__(self, transport: Transport, fetcher: Fetcher, redactor: Redactor) -> None:
        self._redactor = redactor
        self._transport = transport
        self._fetcher = fetcher
        self._reader = AnswerReader(redactor)
        self._batcher = LoopBatcher(self._reader.read)
        self._permanent_redirects: dict[str, str] = {}

    async def answer(self, segment_request: SegmentRequest, facts: ResponseFacts) -> Answer:
        """Send a request and return its answer with the audio; fill in ``facts``, also before an error.

        An error carries the answer's status and request id, and never the key.
        """
        request = segment_request.http_request
        url = self._permanent_redirects.get(request.url, request.url)
        received = ReceivedAnswer(segment_request, facts)
        try:
            reply = await self._transport.exchange(
                request.method, url, request.headers, request.body, partial(self._read_with_others, received)
            )
            if received.reply is NOT_RECEIVED:
                received.reply = await self._redirected(request, url, reply) if reply.status in REDIRECTS else reply
            outcome = received.outcome or await self._read(received)
            if isinstance(outcome, Answer):
                return outcome
            raise outcome
        except ServiceError as error:
            failure = error
        self._redactor.redact_error(failure)
        _complete_error(failure, facts)
        # Raised here without its cause: a parser's exception holds the whole answer, which may hold the key.
        failure.__cause__ = failure.__context__ = None
        raise failure

    def release_all(self) -> None:
        """Read all answers that have come, and those that come, without delay: the run stops."""
        self._batcher.release_all()

    def _read_with_others(self, received: ReceivedAnswer, reply: Response, waiter: asyncio.Future[None]) -> bool:
        """Read a usual answer, before its row goes on, with others of this turn; return False for any other."""
        body_bytes = len(reply.body)
        if not _SMALL_BODY_BYTES < body_bytes <= _INLINE_BODY_BYTES or reply.status in REDIRECTS:
            return False
        received.reply = reply
        self._batcher.add(received, body_bytes, waiter)
        return True

    def _read_audio_with_others(self, received: ReceivedAnswer, source: Response, waiter: asyncio.Future[None]) -> bool:
        """Read usual audio from a URL in the same way."""
        body_bytes = len(source.body)
        if not 200 <= source.status < 300 or body_bytes > _INLINE_BODY_BYTES:
            return False
        received.source = source
        self._batcher.add(received, body_bytes, waiter)
        return True

    async def _read(self, received: ReceivedAnswer) -> Answer | Exception:
        """Read an answer in several steps: parse its body, fetch audio from its URL, measure the audio."""
        if received.reading is None:
            await self._parse(received)
        if received.source is None and received.reading is not None:
            was_redirected = received.reply.status in REDIRECTS  # then it may be a page, which the fetcher refuses
            on_response = None if was_redirected else partial(self._read_audio_with_others, received)
            received.source = await self._fetcher.fetch(received.reading, on_response, was_redirected=was_redirected)
        if received.outcome is None and received.audio is None and received.source is not None:
            await self._batcher.submit(received, len(received.source.body))
        if received.outcome is None:
            return await asyncio.to_thread(self._reader.finish, received)
        return received.outcome

    async def _parse(self, received: ReceivedAnswer) -> None:
        """Parse an answer that was not read with others: small, large, compressed, or without a length."""
        body_bytes = len(received.reply.body)
        if body_bytes <= _SMALL_BODY_BYTES:
            self._reader.parse(received)
        elif body_bytes <= _INLINE_BODY_BYTES:
            await self._batcher.submit(received, body_bytes)
        else:
            await asyncio.to_thread(self._reader.parse, received)

    async def _redirected(self, request: Request, url: str, reply: Response) -> Response:
        """Follow redirects to addresses that may get the key; remember a permanent redirect (308)."""
        statuses: list[int] = []
        try:
            async with asyncio.timeout(self._transport.exchange_s):
                while reply.status in REDIRECTS and (target := redirect_url(url, reply)) is not None:
                    statuses.append(reply.status)
                    if len(statuses) > MAX_REDIRECTS:
                        raise too_many_redirects_error(url)
                    url = target
                    reply = await self._transport.exchange(request.method, url, request.headers, request.body)
        except TimeoutError:
            raise TransientError("the service's redirects took too long", code="Timeout") from None
        if reply.status < 300 and set(statuses) == {HTTPStatus.PERMANENT_REDIRECT}:
            self._permanent_redirects[request.url] = url
        return reply


def _complete_error(error: ServiceError, facts: ResponseFacts) -> None:
    """Complete an error and the facts from each other: status, request id, and whether it may be billed."""
    error.http_status = facts.http_status = error.http_status or facts.http_status
    error.request_id = facts.request_id = error.request_id or facts.request_id
    if any(astuple(facts.usage)):  # reported usage may be billed, whatever else the answer says
        error.may_be_billed = True
