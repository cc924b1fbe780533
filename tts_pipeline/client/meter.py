"""The meter: compute an attempt's highest cost before it is sent, and its cost when it has ended."""

from __future__ import annotations

import itertools
import math
import secrets
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.card import Card, Endpoint
from tts_pipeline.catalog.prices import caveat
from tts_pipeline.client.plausibility import MAX_COUNT, Figure, TokenFigures, check_count, check_tokens
from tts_pipeline.config import PLAUSIBLE_RATIO
from tts_pipeline.errors import ServiceError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.log import logger
from tts_pipeline.models import Price, Segment, Usage, Utterance
from tts_pipeline.money import cost_of, price_at
from tts_pipeline.periods import instant
from tts_pipeline.text import billed_characters, input_length
from tts_pipeline.wire.usage import NO_USAGE, InvalidUsage

_QUARTER_US = 900_000_000
"""A day begins at a whole quarter of an hour in every time zone in use."""
_ZERO_USAGE = Usage(input_tokens=0, output_tokens=0)

_OUTPUT_TOKENS_PER_SECOND = 50
"""Our estimate if the card names no figure; a cap on cost never relies on it."""

_MAX_SECONDS_PER_CHARACTER = 1
"""The bound until longer audio is seen: no character of any language takes longer in ordinary reading. Less than a
second of audio is billed as a second."""


class AttemptResult(Struct, frozen=True):
    """An attempt that ended, and the facts of its answer that matter for the bill.

    The latency runs from before sending to after reading. Without an answer the status and the request id are None.
    ``usage`` is the service's report, even with an answer that could not be used.
    """

    attempt: Attempt
    latency_ms: int
    http_status: int | None = None
    request_id: str | None = None
    usage: Usage = NO_USAGE
    text: str = ""
    audio_ms: int | None = None


class Meter:
    """Makes attempts and settlements for one model card, and learns the ratio of a service's count to ours.

    A service's reports are checked before they are believed (see ``plausibility``). The first implausible report causes
    a warning; the upper bounds of later attempts follow even such reports, because the service may charge so much.

    The clock gives each attempt its date, and so its price. Without a ``service``, no warnings about its prices are
    logged.
    """

    def __init__(self, card: Card, clock: Clock, service: Endpoint | None = None) -> None:
        self._card = card
        self._clock = clock
        self._service = service
        self._caveats: set[str | None] = {None}
        # Not a uuid4 each time: it reads random bytes from the kernel, several microseconds a row.
        self._id_prefix = secrets.token_hex(10)
        self._numbers = itertools.count(1)
        self._prices: dict[int, Price | None] = {}
        self._is_by_token = card.billing == "tokens"
        # Then equal characters cost the same: most settlements need no price.
        self._is_by_character = not self._is_by_token and all(
            price.per_10k_characters is not None for price in card.prices
        )
        self._largest_ratio = (1, 1)  # reported, counted; kept as integers, so that bounds are exact
        self._min_output_tokens = card.output_tokens_per_second or _OUTPUT_TOKENS_PER_SECOND
        self._output_tokens_per_character = float(self._min_output_tokens * _MAX_SECONDS_PER_CHARACTER)
        self._input_tokens_per_byte = 1.0
        self._has_warned = False

    def currency_at(self, utc_us: int) -> str | None:
        """Return the currency of the price at a time; None without a price."""
        price = self._price_at(utc_us)
        return None if price is None else price.currency

    @property
    def zero_cost(self) -> Decimal | None:
        """The cost of reused audio: 0 if there is a price today; None without a price, as for bought audio."""
        return cost_of(self._price_at(self._clock.utc_us()), characters=0, usage=_ZERO_USAGE)

    def count(self, text: str) -> int:
        """Count a text's characters by the card's billing rule."""
        return billed_characters(text, self._card.billing)

    def new_attempt(self, utterance: Utterance, segment: Segment, characters_counted: int, *, number: int) -> Attempt:
        """Return the attempt that is about to be sent, with its upper bounds at today's price.

        ``number`` counts the attempts of a segment from 1.
        """
        now_us = self._clock.utc_us()
        price = self._price_at(now_us)
        ratio_reported, ratio_counted = self._largest_ratio
        bound = min(max(characters_counted, -(-ratio_reported * characters_counted // ratio_counted)), MAX_COUNT)
        usage = self._max_tokens(segment.text) if self._is_by_token else _ZERO_USAGE
        return Attempt(
            attempt_id=f"{self._id_prefix}-{next(self._numbers):x}",
            utterance_id=utterance.utterance_id,
            take=utterance.take,
            segment=segment.index,
            number=number,
            voice=utterance.voice,
            started_at_us=now_us,
            characters_counted=characters_counted,
            characters_upper_bound=bound,
            price_id=None if price is None else price.price_id,
            cost_upper_bound=cost_of(price, characters=bound, usage=usage),
        )

    def settle_success(self, result: AttemptResult, *, outcome: Outcome = Outcome.SUCCEEDED) -> Settlement:
        """Settle an attempt that brought audio, by the service's count if that is plausible, else by ours.

        The outcome is ``discarded`` if the audio is not kept; it is billed all the same.
        """
        attempt, usage, counted = result.attempt, result.usage, result.attempt.characters_counted
        is_as_counted = usage.characters_reported is None or usage.characters_reported == counted
        is_as_reserved = is_as_counted and attempt.characters_upper_bound == counted and type(usage) is Usage
        if self._is_by_character and is_as_reserved:
            bound = attempt.cost_upper_bound
            return self._settlement(result, outcome, Figure(counted, counted), (bound, bound))
        return self._settle_by_figures(result, outcome)

    def _settle_by_figures(self, result: AttemptResult, outcome: Outcome) -> Settlement:
        """Settle an attempt that brought audio, whatever its report, price and reservation.

        Any success could be settled so. The usual one teaches nothing and costs what was reserved, which saves its row
        seven calls (of 490) and a microsecond.
        """
        attempt = result.attempt
        self._learn(result)
        characters = check_count(result.usage.characters_reported, attempt.characters_counted)
        tokens = self._token_figures(result)
        price = self._price_at(attempt.started_at_us)
        cost = cost_of(price, characters=characters.confirmed, usage=tokens.confirmed if tokens else NO_USAGE)
        at_most = cost_of(price, characters=characters.at_most, usage=tokens.at_most if tokens else NO_USAGE)
        is_sound = not isinstance(result.usage, InvalidUsage)
        is_plausible = is_sound and characters.is_plausible and (tokens is None or tokens.is_plausible)
        if not is_plausible:
            self._warn(result, characters, tokens)
            characters = replace(characters, is_plausible=False)
        costs = (cost, attempt.cost_upper_bound if at_most is None else at_most)
        return self._settlement(result, outcome, characters, costs)

    def settle_failure(self, result: AttemptResult, error: ServiceError) -> Settlement:
        """Settle an attempt that failed: nothing is confirmed; the upper bound is 0 if it was surely not billed.

        A failure may plausibly consume little or nothing, so only a report of too much is implausible.
        """
        attempt = result.attempt
        price = self._price_at(attempt.started_at_us)
        zero = cost_of(price, characters=0, usage=_ZERO_USAGE)
        if not error.may_be_billed:
            return self._settlement(result, Outcome.FAILED, Figure(0, 0), (zero, zero), error)
        self._learn(result)
        counted = attempt.characters_counted
        reports = (result.usage.characters_reported, error.characters_reported)
        max_characters = min(max(counted, *(reported or 0 for reported in reports)), MAX_COUNT)
        at_most = cost_of(price, characters=max_characters, usage=result.usage)
        if self._is_by_token:  # without audio to count, the reservation is our count
            at_most = max((cost for cost in (at_most, attempt.cost_upper_bound) if cost is not None), default=None)
        characters = Figure(0, max_characters, is_plausible=max_characters <= counted * PLAUSIBLE_RATIO)
        if not characters.is_plausible:
            self._warn(result, characters, None)
        return self._settlement(result, Outcome.FAILED, characters, (zero, at_most), error)

    def _settlement(
        self,
        result: AttemptResult,
        outcome: Outcome,
        characters: Figure,
        costs: tuple[Decimal | None, Decimal | None],
        error: ServiceError | None = None,
    ) -> Settlement:
        return Settlement(
            attempt_id=result.attempt.attempt_id,
            outcome=outcome,
            finished_at_us=self._clock.utc_us(),
            latency_ms=result.latency_ms,
            http_status=result.http_status,
            error_code=error.code if error else None,
            request_id=result.request_id,
            usage=result.usage,
            characters_billed=characters.confirmed,
            characters_upper_bound=characters.at_most,
            cost=costs[0],
            cost_upper_bound=costs[1],
            implausible=not characters.is_plausible,
        )

    def _token_figures(self, result: AttemptResult) -> TokenFigures | None:
        """Return the reported tokens as confirmed and possible figures; None unless the card bills by tokens."""
        if not self._is_by_token:
            return None
        per_second, min_tokens = self._card.output_tokens_per_second, self._min_output_tokens
        by_duration = max(min_tokens, math.ceil(min_tokens * (result.audio_ms or 0) / 1_000))
        is_known = per_second is not None and result.audio_ms is not None
        usage, text_bytes = result.usage, input_length(result.text, "tokens")
        if isinstance(usage, InvalidUsage) and usage.input_tokens is usage.output_tokens is None:
            usage = replace(usage, input_tokens=0, output_tokens=0)
        return check_tokens(usage, text_bytes, by_duration if is_known else None, by_duration)

    def _warn(self, result: AttemptResult, characters: Figure, tokens: TokenFigures | None) -> None:
        """Log a warning about the first implausible report, with both figures."""
        if self._has_warned:
            return
        self._has_warned = True
        usage = result.usage
        if isinstance(usage, InvalidUsage):
            reported, counted = "a count that is negative, a fraction or beyond all bounds", "otherwise"
        elif tokens is not None and not tokens.is_plausible:
            reported = (
                f"{_format_count(usage.input_tokens)} + {_format_count(usage.output_tokens)} tokens of text and audio"
            )
            counted = f"{tokens.text.confirmed:,} + {tokens.audio.confirmed:,}"
        else:
            figure = characters.at_most if usage.characters_reported is None else usage.characters_reported
            reported, counted = f"{figure:,} characters", f"{result.attempt.characters_counted:,}"
        logger.warning(
            "the service reports %s where we count %s, which cannot be true: what we count is confirmed, the larger "
            "figure counts as possible, and such requests are marked implausible in the usage table",
            reported,
            counted,
        )

    def _learn(self, result: AttemptResult) -> None:
        counted, usage = result.attempt.characters_counted, result.usage
        if not counted:
            return
        ratio_reported, ratio_counted = self._largest_ratio
        if (
            usage.characters_reported is not None
            and usage.characters_reported * ratio_counted > ratio_reported * counted
        ):
            self._largest_ratio = (usage.characters_reported, counted)
        if usage.output_tokens is not None:
            per_character = min(usage.output_tokens, MAX_COUNT) / counted
            self._output_tokens_per_character = max(self._output_tokens_per_character, per_character)
        if usage.input_tokens is not None and result.text:
            per_byte = min(usage.input_tokens, MAX_COUNT) / input_length(result.text, "tokens")
            self._input_tokens_per_byte = max(self._input_tokens_per_byte, per_byte)

    def _max_tokens(self, text: str) -> Usage:
        """Return an upper bound of the tokens of a text and its audio."""
        output = math.ceil(self._output_tokens_per_character * len(text))
        return Usage(
            input_tokens=math.ceil(self._input_tokens_per_byte * input_length(text, "tokens")),
            output_tokens=max(output, self._min_output_tokens),
        )

    def _price_at(self, utc_us: int) -> Price | None:
        quarter = utc_us // _QUARTER_US
        if quarter not in self._prices:
            price = price_at(self._card.prices, instant(quarter * _QUARTER_US))
            self._prices[quarter] = price
            text = None if self._service is None else caveat(self._service, self._card, price)
            if text not in self._caveats:
                self._caveats.add(text)
                logger.warning("%s", text)
        return self._prices[quarter]


def _format_count(count: int | None) -> str:
    return "no" if count is None else f"{count:,}"
