"""The client: turn one utterance into speech."""

from __future__ import annotations

from random import Random
from types import TracebackType
from typing import Self

from tts_pipeline.audio.convert import check_settings
from tts_pipeline.card import Card, Endpoint, with_card_limits
from tts_pipeline.catalog.checks import language_tag
from tts_pipeline.catalog.entries import LOCAL
from tts_pipeline.catalog.keys import environment
from tts_pipeline.catalog.rehearsal import rehearsal_warning
from tts_pipeline.catalog.route import route_of
from tts_pipeline.catalog.service import refuse_plain_http
from tts_pipeline.catalog.service_headers import authorization_of, refuse_bad_headers
from tts_pipeline.client.assembly import assemble, convert_audio, is_as_received
from tts_pipeline.client.attempt_log import AttemptLog, MemoryAttemptLog
from tts_pipeline.client.cache import AudioCache
from tts_pipeline.client.exchange import Exchange
from tts_pipeline.client.meter import Meter
from tts_pipeline.client.segmenter import Segmenter
from tts_pipeline.client.synthesis import Resources, Synthesis
from tts_pipeline.config import (
    MAX_TEXT_CHARACTERS,
    UNSPEAKABLE,
    AudioSettings,
    Limits,
    QualityPolicy,
    UnspeakableAction,
)
from tts_pipeline.deprecation import renamed_arguments, renamed_attributes
from tts_pipeline.errors import ServiceError, StoppedError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.limiter import Limiter
from tts_pipeline.flow.rates import Rates
from tts_pipeline.flow.retry_policy import RetryPolicy
from tts_pipeline.http.fetch import Fetcher
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.http.tls import check_certificates
from tts_pipeline.http.transport_cache import TransportCache
from tts_pipeline.log import logger
from tts_pipeline.models import Speech, Utterance
from tts_pipeline.text import check_speakable
from tts_pipeline.wire.redaction import Redactor
from tts_pipeline.wire.request import RequestBuilder

_TIMESTAMPS_PARAMETER = "enable_timestamp"
"""The parameter that asks for word timestamps, on every card that knows them."""


@renamed_attributes(expect_no_more="input_exhausted")
@renamed_arguments(library="cache")
class SpeechClient:
    """Speaks utterances with one model of one service, as many at one time as callers request and limits allow.

    ::

        async with SpeechClient(service, card) as client:
            speech = await client.synthesize(Utterance("a", "Hello.", {"voice": "Cherry"}))

    Args:
        service: The service, with its key.
        card: The model's card. Parameters are not checked here, see ``catalog.checks.check_parameters``.
        limits: Concurrency, rates and timeouts. Without ``requests_per_minute`` the card's rate applies.
        audio: The format and sample rate of the speech's audio; None is as received.
        quality: The actions for audio with quality flags; None is the default policy.
        budget: The spending that is still allowed; None is no cap. ``budget.check_cap`` checks that a cap can be kept.
        cache: Audio that was bought before; new audio is added to it. None is no cache.
        unspeakable: Whether texts with nothing to say are sent (``keep``) or rejected.
        clock: The time, and the way to wait.
        random: The source of jitter.
        transports: Connections that outlive the client, in the same event loop; None closes them with the client.
        rates: The permitted rates, where other processes share them; None is the client's own, from ``limits``.

    Raises:
        ConfigurationError: The audio settings are impossible, the key cannot be sent or would travel in clear text off
            loopback, or the address of a proxy or a file of certificates is not valid.
    """

    def __init__(  # noqa: PLR0913 (a public entry point: each by name, each with a default)
        self,
        service: Endpoint,
        card: Card,
        limits: Limits | None = None,
        *,
        audio: AudioSettings | None = None,
        quality: QualityPolicy | None = None,
        budget: Budget | None = None,
        cache: AudioCache | None = None,
        unspeakable: UnspeakableAction = UNSPEAKABLE,
        clock: Clock | None = None,
        random: Random | None = None,
        transports: TransportCache | None = None,
        rates: Rates | None = None,
    ) -> None:
        limits = with_card_limits(card, limits or Limits())
        clock = clock or Clock()
        timeouts = Timeouts(limits.timeout_s, limits.connect_timeout_s)
        self._service = service
        self._card = card
        self._requests = RequestBuilder(service, card)
        self._limiter = Limiter(limits, clock, budget, rates)
        retry_policy = RetryPolicy(limits, random or Random(), self._limiter.sleep)
        authorization, route = _authorization(service), route_of(service, environment())
        check_certificates(route)
        self._closes_transports = transports is None
        self._transports = transports or TransportCache()
        transport = self._transports.transport(timeouts, authorization, service.key_header, route)
        self._fetcher = Fetcher(service.base_url, timeouts, retry_policy, clock, route=route)
        self._is_rehearsal = service.name == LOCAL
        self._meter = Meter(card, clock, service)
        self._exchange = Exchange(transport, self._fetcher, Redactor([service.api_key, *route.passwords]))
        self._audio = audio or AudioSettings()
        self._keeps_unspeakable = unspeakable == "keep"
        check_settings(self._audio)
        self._is_as_received = is_as_received(self._audio)
        self._warnings: set[str] = set()
        self._resources = Resources(
            self._requests,
            self._limiter,
            retry_policy,
            self._exchange,
            self._meter,
            Segmenter(card, keeps_unspeakable=self._keeps_unspeakable),
            quality or QualityPolicy(),
            clock,
            cache,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter.close()
        if self._closes_transports:
            await self._transports.aclose()
        await self._fetcher.aclose()

    @property
    def in_flight(self) -> int:
        """The number of attempts in flight: permitted and not settled."""
        return self._limiter.in_flight

    @property
    def limiter(self) -> Limiter:
        """The limiter, which says when more rows should begin."""
        return self._limiter

    async def synthesize(self, utterance: Utterance, log: AttemptLog | None = None) -> Speech:
        """Speak one utterance, with as many attempts as it needs and the limits allow.

        Cancellation leaves an attempt in flight unsettled in the log.

        Args:
            utterance: The utterance; its parameters are already checked.
            log: Knows the answers that are paid for, and records every attempt; None is a new log in memory.

        Raises:
            PermanentError: The utterance will never succeed. Never retried.
            TransientError: Its attempts are used up while others succeed.
            FatalError: No utterance can succeed; nothing is sent any more.
            StoppedError: Nothing is sent any more; the error gives the reason.
            StorageError: The log could not write; nothing was sent.
        """
        synthesis = Synthesis(self._resources, utterance, MemoryAttemptLog() if log is None else log)
        try:
            # An utterance that an earlier version began is finished without this check, unless its text is too long: it
            # may have been cut to one character more than the bound.
            if not synthesis.attempts or len(utterance.text) > MAX_TEXT_CHARACTERS:
                check_speakable(utterance.text, allow_unspeakable=self._keeps_unspeakable)
            whole_request = self._requests.build(utterance.text, utterance.parameters)
            language = language_tag(self._card, utterance.parameters)
            if self._is_rehearsal:
                self._warn_once(rehearsal_warning(self._service, utterance.text, language))
            answers = await synthesis.run(whole_request, language)
            if self._is_as_received and len(answers) == 1:
                speech = assemble(synthesis, answers, answers[0].answer.audio, (0,))
            else:
                speech = assemble(synthesis, answers, *await convert_audio(answers, self._audio))
        except ServiceError as error:
            error.for_utterance(
                utterance.utterance_id,
                attempts=synthesis.attempts,
                cost=synthesis.cost,
                currency=self._meter.currency_at(self._resources.clock.utc_us()),
            )
            raise
        if speech.words is None and utterance.parameters.get(_TIMESTAMPS_PARAMETER) is True:
            self._warn_once(f"timestamps were requested, but {self._service.name} gives none: they are null")
        return speech

    def input_exhausted(self) -> None:
        """Record that no more utterances will come beside those in progress.

        The success of other rows tells rows that always fail from an outage. When the last rows of a run all fail, no
        others will come: after this call, they are given up after a minute if other rows have succeeded.
        """
        self._limiter.input_exhausted()

    def stop(self, reason: StoppedError) -> None:
        """Send no new attempt from now on.

        Waiting callers get the reason; attempts in flight go on, and their owner cancels them after the grace time. The
        first reason stays.
        """
        self._limiter.stop(reason)
        self._exchange.release_all()  # answers that have come are settled within the grace time

    def _warn_once(self, warning: str | None) -> None:
        if warning is not None and warning not in self._warnings:
            self._warnings.add(warning)
            logger.warning("%s", warning)


def _authorization(service: Endpoint) -> str | None:
    refuse_bad_headers(service)
    authorization = authorization_of(service)
    if authorization is not None:
        refuse_plain_http(service)
    return authorization
