"""The HTTP service: the way of a request from its arrival to its answer, and the doors for its users."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from tts_pipeline.emulator.asked import BILLED_BY_TOKEN, Asked, RefusalError, check, invalid, unnested
from tts_pipeline.emulator.billing import Bill, Charge, Entry, charged_characters, tokens_of
from tts_pipeline.emulator.containers import Contained, contain
from tts_pipeline.emulator.delivery import Delivery, deliver
from tts_pipeline.emulator.echo import echo_of, echoed, echoing
from tts_pipeline.emulator.failures import refuse
from tts_pipeline.emulator.faults import Faults, refusal_of, throttled
from tts_pipeline.emulator.fetches import fetch
from tts_pipeline.emulator.gate import SmoothRate
from tts_pipeline.emulator.options import MAX_BODY_BYTES, EmulatorOptions
from tts_pipeline.emulator.rules import Rule, read_rules
from tts_pipeline.emulator.shapes import NEEDS_URL, Answer, answer, with_wav_length
from tts_pipeline.emulator.sound import CONTENT_TYPES, SpeakingError, Spoken
from tts_pipeline.emulator.store import AudioStore, Stored

_SAMPLE_BYTES = 2
"""Mono, 16 bits. That model has no other audio than WAV."""

_ROUTES = ("/v1/audio/speech", "/api/v1/services/aigc/multimodal-generation/generation")

Voice = Callable[[Asked], Awaitable[Spoken]]
"""Speaks a request; raises ``SpeakingError``."""


class SpeechServer:
    """The service: who may ask, what goes wrong, what is answered and what it costs.

    Args:
        options: How it is started.
        voice: Who speaks.
    """

    def __init__(self, options: EmulatorOptions, voice: Voice) -> None:
        self._options = options
        self._voice = voice
        self._bill = Bill(options.bill)
        self._faults = Faults()
        self._rate = SmoothRate(options.requests_per_minute, options.rate_tolerance_ms / 1_000)
        self._store = AudioStore()

    def application(self) -> web.Application:
        """Return the service as an application of aiohttp."""
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.add_routes(
            [
                *(web.post(route + slash, self._speech) for route in _ROUTES for slash in ("", "/")),
                web.get("/emulator/audio/{name}", self._audio),
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

    async def _speech(self, request: web.Request) -> web.StreamResponse:
        with self._bill.receive() as entry:
            try:
                delivery = await self._answer(request, entry)
            except RefusalError as error:
                delivery = refuse(error, entry.request_id)
            except SpeakingError as error:
                delivery = refuse(RefusalError(500, "InternalError", str(error)), entry.request_id)
            entry.status = delivery.status
            return await deliver(request, delivery)

    async def _answer(self, request: web.Request, entry: Entry) -> Delivery:
        arrived_s = asyncio.get_running_loop().time()
        self._admit(request)
        asked = _read(await _body(request), entry)
        rule = self._faults.match(asked.text, is_redirected=request.path.endswith("/"))
        if rule.what == "redirect":
            self._bill.forget(entry)
            return Delivery(rule.status, b"", headers={"Location": rule.location or f"{request.path}/"})
        echo = None if rule.echo is None else echo_of(request.headers.get("Authorization", ""), rule.echo)
        if refusal := refusal_of(rule):
            await _until(arrived_s + rule.delay_s)
            delivery = refuse(refusal if echo is None else echoing(refusal, echo), echo or entry.request_id, rule)
        else:
            spoken = await self._voice(asked)
            await _until(arrived_s + self._options.latency_ms / 1_000 + rule.delay_s)
            delivery = self._finish(request, entry, asked, spoken, rule)
            if echo is not None:
                delivery = echoed(delivery, entry.request_id, echo)
        entry.status = delivery.status
        if rule.charge:
            self._bill.charge(entry)
        return delivery

    def _admit(self, request: web.Request) -> None:
        key, most, header = self._options.required_key, self._options.max_in_flight, self._options.key_header
        given = request.headers.get(header, "").encode(errors="surrogateescape")
        expected = f"Bearer {key}" if header.lower() == "authorization" else f"{key}"
        if key is not None and not hmac.compare_digest(given, expected.encode()):
            raise RefusalError(401, "InvalidApiKey", "Invalid API-key provided.")
        if self._options.required_query not in (None, request.query_string):
            raise RefusalError(404, "ResourceNotFound", "There is no such version of this service.")
        if most is not None and self._bill.in_flight > most:
            raise RefusalError(429, "Throttling", "Too many requests in flight, please try again later.")
        if not self._rate.admits():
            raise throttled()

    def _finish(self, request: web.Request, entry: Entry, asked: Asked, spoken: Spoken, rule: Rule) -> Delivery:
        audio = with_wav_length(_spoilt(spoken.audio, rule.sound), rule.wav_length)
        tokens = (0, 0)
        if asked.model == BILLED_BY_TOKEN:
            tokens = tokens_of(asked.text, len(audio) / _SAMPLE_BYTES / asked.sample_rate_hz)
        charge = Charge(entry.characters, *tokens).times(rule.charge_ratio)
        entry.owe(charge)
        entry.sha256 = hashlib.sha256(audio).hexdigest()
        shape = rule.shape or self._usual_shape(request)
        expires_at = int(entry.received_at + rule.lifetime_s)
        sent = contain(Contained(audio, CONTENT_TYPES[asked.response_format]), asked.sample_rate_hz, rule.container)
        said = Answer(
            request_id=entry.request_id,
            text=asked.text,
            audio=sent.audio,
            content_type=sent.content_type,
            url=None,
            expires_at=expires_at,
            characters=entry.characters,
            words=spoken.words,
            usage={**charge.times(rule.report_ratio).usage(), **rule.usage},
        )
        if shape in NEEDS_URL:
            name = f"{entry.request_id}.{asked.response_format}"
            self._store.put(name, Stored(sent.audio, sent.content_type, expires_at, rule))
            ours = f"{request.scheme}://{request.host}/emulator/audio/{name}?Expires={expires_at}"
            said = replace(said, url=ours if rule.url is None else rule.url)
        delivery = answer(said, shape, rule)
        return replace(delivery, headers={**sent.headers, **delivery.headers})

    def _usual_shape(self, request: web.Request) -> str:
        if request.headers.get("X-DashScope-SSE", "").lower() == "enable":
            return "ali_sse"
        return "ali_url" if request.query.get("answer", self._options.answer) == "url" else "ali_data"

    async def _audio(self, request: web.Request) -> web.StreamResponse:
        return await fetch(request, self._store.get(request.match_info["name"]))

    async def _show_bill(self, request: web.Request) -> web.Response:
        return _json(self._bill.summary(entries=request.query.get("entries") == "1"))

    async def _reset_bill(self, _request: web.Request) -> web.Response:
        self._bill.reset()
        return web.Response(status=204)

    async def _put_faults(self, request: web.Request) -> web.Response:
        try:
            self._faults.put(read_rules(_parsed(await _body(request))))
        except RefusalError as error:
            return _json({"code": error.code, "message": error.message}, error.status)
        return _json(self._faults.summary())

    async def _show_faults(self, _request: web.Request) -> web.Response:
        return _json(self._faults.summary())

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._faults.put(())
        return web.Response(status=204)


def _spoilt(audio: bytes, sound: str | None) -> bytes:
    if sound is None:
        return audio
    from tts_pipeline.emulator.spoilt import spoil  # with numpy, without which this process starts sooner

    return spoil(audio, sound)


def _read(body: bytes, entry: Entry) -> Asked:
    """Return what is asked for; what can be read is on the bill's entry also when it is refused."""
    fields = _parsed(body)
    if not isinstance(fields, dict):
        raise invalid("The request body must be a JSON object.")
    fields = unnested(fields)
    entry.note(fields)
    asked = check(fields)
    entry.voice, entry.characters = asked.voice, charged_characters(asked.text)
    return asked


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise RefusalError(413, "RequestTooLarge", f"The body is larger than {MAX_BODY_BYTES} bytes.") from None


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise invalid("The request body is not valid JSON.") from None


def _json(value: Mapping[str, Any] | list[dict[str, Any]], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


async def _until(moment_s: float) -> None:
    delay_s = moment_s - asyncio.get_running_loop().time()
    if delay_s > 0:
        await asyncio.sleep(delay_s)
