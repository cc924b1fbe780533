"""Answer HTTP requests for speech, and serve the endpoints for tests."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import astuple, replace
from typing import Any

import orjson
from aiohttp import web

from tts_pipeline.emulator.audio import CONTENT_TYPES, SynthesisError, SynthesisResult
from tts_pipeline.emulator.audio_urls import AudioFile, AudioStore, serve_audio
from tts_pipeline.emulator.billing import Bill, BillEntry, Charge, charged_characters, tokens_of
from tts_pipeline.emulator.containers import AudioPayload, wrap_audio
from tts_pipeline.emulator.delivery import Delivery, deliver
from tts_pipeline.emulator.echo import echo_in_answer, echo_in_refusal, encode_echo
from tts_pipeline.emulator.error_forms import refuse
from tts_pipeline.emulator.faults import Faults, refusal_of, throttle_error
from tts_pipeline.emulator.options import MAX_BODY_BYTES, EmulatorOptions
from tts_pipeline.emulator.request import (
    BILLED_BY_TOKEN,
    RefusalError,
    SpeechRequest,
    flatten_fields,
    invalid,
    parse_request,
)
from tts_pipeline.emulator.rules import Rule, parse_rules
from tts_pipeline.emulator.shapes import NEEDS_URL, AnswerContent, render_answer, with_wav_length

_SAMPLE_BYTES = 2
"""Mono, 16 bits. The model that is billed by token has only WAV audio."""

_ROUTES = ("/v1/audio/speech", "/api/v1/services/aigc/multimodal-generation/generation")

Engine = Callable[[SpeechRequest], Awaitable[SynthesisResult]]
"""Speaks a request, or raises ``SynthesisError``."""


class RateLimit:
    """Admits one request per interval, never a minute's worth together (the generic cell rate algorithm).

    A request may come up to ``tolerance_s`` early; the next request's wait is then longer by the same time.
    """

    def __init__(
        self, requests_per_minute: float | None, tolerance_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._tolerance_s = tolerance_s
        self._clock = clock
        self._next_slot = clock()

    def try_acquire(self) -> bool:
        """Take a slot and return True, or return False if the request comes before its slot."""
        now = self._clock()
        if now < self._next_slot - self._tolerance_s:
            return False
        self._next_slot = max(now, self._next_slot) + self._interval_s
        return True


class SpeechServer:
    """The service, which admits requests, applies fault rules, answers and keeps the bill."""

    def __init__(self, options: EmulatorOptions, engine: Engine) -> None:
        self._options = options
        self._engine = engine
        self._bill = Bill(options.bill)
        self._faults = Faults()
        self._rate_limit = RateLimit(options.requests_per_minute, options.rate_tolerance_ms / 1_000)
        self._store = AudioStore()

    def application(self) -> web.Application:
        """Return the service as an aiohttp application."""
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.add_routes(
            [
                *(web.post(route + slash, self._post_speech) for route in _ROUTES for slash in ("", "/")),
                web.get("/emulator/audio/{name}", self._get_audio),
                web.get("/emulator/bill", self._show_bill),
                web.delete("/emulator/bill", self._reset_bill),
                web.put("/emulator/faults", self._put_faults),
                web.get("/emulator/faults", self._show_faults),
                web.delete("/emulator/faults", self._clear_faults),
            ]
        )
        return application

    def close(self) -> None:
        """Close the file of the bill."""
        self._bill.close()

    async def _post_speech(self, request: web.Request) -> web.StreamResponse:
        with self._bill.receive() as entry:
            try:
                delivery = await self._answer(request, entry)
            except RefusalError as error:
                delivery = refuse(error, entry.request_id)
            except SynthesisError as error:
                delivery = refuse(RefusalError(500, "InternalError", str(error)), entry.request_id)
            entry.status = delivery.status
            return await deliver(request, delivery)

    async def _answer(self, request: web.Request, entry: BillEntry) -> Delivery:
        arrival_s = asyncio.get_running_loop().time()
        self._admit(request)
        speech_request = _read_request(await _read_body(request), entry)
        rule = self._faults.match(speech_request.text, is_redirected=request.path.endswith("/"))
        if rule.what == "redirect":
            self._bill.forget(entry)
            return Delivery(rule.status, b"", headers={"Location": rule.location or f"{request.path}/"})
        echo = None if rule.echo is None else encode_echo(request.headers.get("Authorization", ""), rule.echo)
        if refusal := refusal_of(rule):
            await _sleep_until(arrival_s + rule.delay_s)
            delivery = refuse(
                refusal if echo is None else echo_in_refusal(refusal, echo), echo or entry.request_id, rule
            )
        else:
            result = await self._engine(speech_request)
            await _sleep_until(arrival_s + self._options.latency_ms / 1_000 + rule.delay_s)
            delivery = self._render(request, entry, speech_request, result, rule)
            if echo is not None:
                delivery = echo_in_answer(delivery, entry.request_id, echo)
        entry.status = delivery.status
        if rule.charge:
            self._bill.charge(entry)
        return delivery

    def _admit(self, request: web.Request) -> None:
        key, max_in_flight, header = self._options.required_key, self._options.max_in_flight, self._options.key_header
        credential = request.headers.get(header, "").encode(errors="surrogateescape")
        expected = f"Bearer {key}" if header.lower() == "authorization" else f"{key}"
        if key is not None and not hmac.compare_digest(credential, expected.encode()):
            raise RefusalError(401, "InvalidApiKey", "Invalid API-key provided.")
        if self._options.required_query not in (None, request.query_string):
            raise RefusalError(404, "ResourceNotFound", "There is no such version of this service.")
        if max_in_flight is not None and self._bill.in_flight > max_in_flight:
            raise RefusalError(429, "Throttling", "Too many requests in flight, please try again later.")
        if not self._rate_limit.try_acquire():
            raise throttle_error()

    def _render(
        self, request: web.Request, entry: BillEntry, speech_request: SpeechRequest, result: SynthesisResult, rule: Rule
    ) -> Delivery:
        audio = with_wav_length(_damage_sound(result.audio, rule.sound), rule.wav_length)
        tokens = (0, 0)
        if speech_request.model == BILLED_BY_TOKEN:
            tokens = tokens_of(speech_request.text, len(audio) / _SAMPLE_BYTES / speech_request.sample_rate_hz)
        charge = Charge(entry.characters, *tokens).times(rule.charge_ratio)
        entry.characters, entry.input_tokens, entry.output_tokens = astuple(charge)
        entry.sha256 = hashlib.sha256(audio).hexdigest()
        shape = rule.shape or self._default_shape(request)
        expires_at = int(entry.received_at + rule.lifetime_s)
        payload = wrap_audio(
            AudioPayload(audio, CONTENT_TYPES[speech_request.response_format]),
            speech_request.sample_rate_hz,
            rule.container,
        )
        answer = AnswerContent(
            request_id=entry.request_id,
            text=speech_request.text,
            audio=payload.audio,
            content_type=payload.content_type,
            url=None,
            expires_at=expires_at,
            characters=entry.characters,
            words=result.words,
            usage={**charge.times(rule.report_ratio).usage(), **rule.usage},
        )
        if shape in NEEDS_URL:
            name = f"{entry.request_id}.{speech_request.response_format}"
            self._store.put(name, AudioFile(payload.audio, payload.content_type, expires_at, rule))
            served_url = f"{request.scheme}://{request.host}/emulator/audio/{name}?Expires={expires_at}"
            answer = replace(answer, url=served_url if rule.url is None else rule.url)
        delivery = render_answer(answer, shape, rule)
        return replace(delivery, headers={**payload.headers, **delivery.headers})

    def _default_shape(self, request: web.Request) -> str:
        if request.headers.get("X-DashScope-SSE", "").lower() == "enable":
            return "ali_sse"
        return "ali_url" if request.query.get("answer", self._options.answer) == "url" else "ali_data"

    async def _get_audio(self, request: web.Request) -> web.StreamResponse:
        return await serve_audio(request, self._store.get(request.match_info["name"]))

    async def _show_bill(self, request: web.Request) -> web.Response:
        return _json(self._bill.summary(entries=request.query.get("entries") == "1"))

    async def _reset_bill(self, _request: web.Request) -> web.Response:
        self._bill.reset()
        return web.Response(status=204)

    async def _put_faults(self, request: web.Request) -> web.Response:
        try:
            self._faults.put(parse_rules(_parse_json(await _read_body(request))))
        except RefusalError as error:
            return _json({"code": error.code, "message": error.message}, error.status)
        return _json(self._faults.summary())

    async def _show_faults(self, _request: web.Request) -> web.Response:
        return _json(self._faults.summary())

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._faults.put(())
        return web.Response(status=204)


def _damage_sound(audio: bytes, sound: str | None) -> bytes:
    if sound is None:
        return audio
    from tts_pipeline.emulator.damage import damage_audio  # imported here with numpy, so that the process starts sooner

    return damage_audio(audio, sound)


def _read_request(body: bytes, entry: BillEntry) -> SpeechRequest:
    """Return the request in a body; copy its readable fields to the bill's entry, also of a refused request."""
    fields = _parse_json(body)
    if not isinstance(fields, dict):
        raise invalid("The request body must be a JSON object.")
    fields = flatten_fields(fields)
    entry.read_fields(fields)
    request = parse_request(fields)
    entry.voice, entry.characters = request.voice, charged_characters(request.text)
    return request


async def _read_body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise RefusalError(413, "RequestTooLarge", f"The body is larger than {MAX_BODY_BYTES} bytes.") from None


def _parse_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise invalid("The request body is not valid JSON.") from None


def _json(value: Mapping[str, Any] | list[dict[str, Any]], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


async def _sleep_until(moment_s: float) -> None:
    delay_s = moment_s - asyncio.get_running_loop().time()
    if delay_s > 0:
        await asyncio.sleep(delay_s)
