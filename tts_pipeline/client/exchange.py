"""Run one exchange: send a request, parse the answer, fetch the audio and make it playable."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from http import HTTPStatus

from msgspec import Struct
from msgspec.structs import astuple

from tts_pipeline.audio.identify import locate_audio
from tts_pipeline.audio.measure import FlaggedAudio, make_pcm_playable, make_playable
from tts_pipeline.audio.quality import assess
from tts_pipeline.audio.wav import is_canonical
from tts_pipeline.client.headerless_pcm import check_duration, find_pcm_format
from tts_pipeline.errors import ServiceError, TransientError
from tts_pipeline.flow.loop_batcher import LoopBatcher
from tts_pipeline.http.fetch import Fetcher
from tts_pipeline.http.transport import Transport
from tts_pipeline.models import Answer, Audio, Parameters, Segment, Usage
from tts_pipeline.wire.redaction import Redactor
from tts_pipeline.wire.redirect import MAX_REDIRECTS, REDIRECTS, redirect_url, too_many_redirects_error
from tts_pipeline.wire.request import Request
from tts_pipeline.wire.response import ParsedResponse, Response
from tts_pipeline.wire.shapes import parse_response, reported_usage
from tts_pipeline.wire.timestamps import TIMESTAMPS_DROPPED, align_words
from tts_pipeline.wire.usage import NO_USAGE

_INLINE_AUDIO_BYTES = 100_000
"""Larger compressed audio is measured in a thread: it is walked or decoded. A WAV takes only microseconds."""

_INLINE_WAV_BYTES = 500_000
"""A larger WAV is assessed in a thread. This size takes 0.2 ms, and the way to a thread and back about as long."""

_INLINE_BODY_BYTES = 1_000_000
"""A larger body is parsed in a thread: this size takes about 1 ms of JSON and base64, while every other row waits."""


class SegmentRequest(Struct, frozen=True):
    """The request for one segment, and our count of its characters by the card's billing rule.

    The language is BCP-47; None leaves it to the service.
    """

    http_request: Request
    segment: Segment
    characters_counted: int
    parameters: Parameters
    language: str | None


@dataclass(slots=True)
class ResponseFacts:
    """The facts of an answer that matter for the bill; filled in step by step, so that a failure keeps them."""

    http_status: int | None = None
    request_id: str | None = None
    usage: Usage = NO_USAGE


class Exchange:
    """Gets the answer to one request. The transport has the service's key; the fetcher of audio elsewhere has no key.

    All text of an answer that leaves this class has passed the redactor.
    """

    def __init__(self, transport: Transport, fetcher: Fetcher, batcher: LoopBatcher, redactor: Redactor) -> None:
        self._redactor = redactor
        self._transport = transport
        self._fetcher = fetcher
        self._batcher = batcher
        self._permanent_redirects: dict[str, str] = {}

    async def answer(self, segment_request: SegmentRequest, facts: ResponseFacts) -> Answer:
        """Send a request and return its answer with the audio; fill in ``facts``, also before an error.

        An error carries the answer's status and request id, and never the key.
        """
        request = segment_request.http_request
        url = self._permanent_redirects.get(request.url, request.url)
        try:
            reply = await self._transport.exchange(request.method, url, request.headers, request.body)
            if reply.status in REDIRECTS:
                reply = await self._redirected(request, url, reply)
            return await self._answer(reply, segment_request, facts)
        except ServiceError as error:
            failure = error
        self._redactor.redact_error(failure)
        _complete_error(failure, facts)
        # Raised here without its cause: a parser's exception holds the whole answer, which may hold the key.
        failure.__cause__ = failure.__context__ = None
        raise failure

    async def _answer(self, reply: Response, segment_request: SegmentRequest, facts: ResponseFacts) -> Answer:
        segment = segment_request.segment
        facts.http_status, facts.request_id = reply.status, self._redactor.redact(reply.request_id)
        await self._batcher.wait_turn()
        is_large = len(reply.body) > _INLINE_BODY_BYTES
        reading = await asyncio.to_thread(self._read, reply, facts) if is_large else self._read(reply, facts)
        facts.request_id, facts.usage = self._redactor.redact(reading.request_id), reading.usage
        audio, flags = await self._load_audio(reply, reading, segment_request)
        words, timestamp_flags = align_words(reading.words, segment.text, audio.duration_ms)
        if words and self._redactor.is_secret_in(words, segment.text):
            words, timestamp_flags = None, (TIMESTAMPS_DROPPED,)
        quality_flags = await _assess_audio(audio, segment_request)
        quality = tuple(sorted({*reading.quality, *flags, *timestamp_flags, *quality_flags}))
        return Answer(segment.index, audio, words, reading.usage, facts.request_id, quality)

    def _read(self, reply: Response, facts: ResponseFacts) -> ParsedResponse:
        """Parse an answer; parse a failure again without the key, because messages may be cut within the key."""
        try:
            return parse_response(reply)
        except ServiceError:
            facts.usage = reported_usage(reply)
            redacted = self._redactor.redact_response(reply)
            if redacted is not reply:
                parse_response(redacted)
            raise

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

    async def _load_audio(
        self, reply: Response, reading: ParsedResponse, segment_request: SegmentRequest
    ) -> FlaggedAudio:
        source, complete = reply, reading.complete
        if reading.data is None:
            source = await self._fetcher.fetch(reading, was_redirected=reply.status in REDIRECTS)
            complete = source.complete
        data = source.body if reading.data is None else reading.data
        samples = (
            find_pcm_format(source, reading, segment_request.parameters)
            if data and locate_audio(data)[1] is None
            else None
        )
        if samples is not None:
            audio, flags = make_pcm_playable(data, samples.format, complete)
            check_duration(
                audio,
                segment_request.segment.text,
                segment_request.language,
                _speed(segment_request),
                complete=complete,
            )
            return audio, (*flags, *samples.flags)
        if len(data) > _INLINE_AUDIO_BYTES and not is_canonical(data):
            return await asyncio.to_thread(make_playable, data, complete=complete)
        return make_playable(data, complete=complete)


async def _assess_audio(audio: Audio, segment_request: SegmentRequest) -> tuple[str, ...]:
    text, language, speed = segment_request.segment.text, segment_request.language, _speed(segment_request)
    if audio.format == "wav" and len(audio.data) <= _INLINE_WAV_BYTES:
        return assess(audio, text, language, speed=speed)
    return await asyncio.to_thread(assess, audio, text, language, speed=speed)


def _speed(segment_request: SegmentRequest) -> float:
    """Return the requested speed; 1.0 for a word or an object, which a model without a card may take."""
    speed = segment_request.parameters.get("speed", 1.0)
    try:
        factor = 1.0 if isinstance(speed, dict | list) else float(speed)
    except ValueError:
        return 1.0
    return factor if 0 < factor < math.inf else 1.0  # some services count up and down from 0


def _complete_error(error: ServiceError, facts: ResponseFacts) -> None:
    """Complete an error and the facts from each other: status, request id, and whether it may be billed."""
    error.http_status = facts.http_status = error.http_status or facts.http_status
    error.request_id = facts.request_id = error.request_id or facts.request_id
    if any(astuple(facts.usage)):  # reported usage may be billed, whatever else the answer says
        error.may_be_billed = True
