"""The budget: reserve each attempt's upper bound before the attempt is sent. Pure, for one event loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.card import Card
from tts_pipeline.config import BudgetCap
from tts_pipeline.errors import ConfigurationError, StoppedError
from tts_pipeline.flow.slow_start import SlowStart
from tts_pipeline.flow.spend_source import SpendSource
from tts_pipeline.flow.spend_tally import SpendTally
from tts_pipeline.models import Price
from tts_pipeline.money import ZERO, Cost, SpendBound, price_at, sum_of


class Budget:
    """Reserves the upper bounds of attempts, so that their sum never exceeds the cap.

    An attempt is reserved once. Its settlement replaces the reservation: a smaller cost frees the rest, and a larger
    cost (the service counts differently) counts in full. An abandoned attempt stays reserved: it may have been billed.

    Spending exceeds the cap only where the service charges more: more than ``PLAUSIBLE_RATIO`` times our count if
    several attempts are in flight (see ``SlowStart``), more than the reservation if an attempt is alone.

    An empty cap is no cap (``has_cap``): nothing is counted, and nobody need call. Without a ``tally``, attempts count
    for this budget alone.
    ``max_in_flight`` is the most attempts in flight that the cap permits; without a cap, any number.

    ``sources`` are the pots that other processes draw from, too: each must cover an attempt. They call ``on_change``
    when an attempt that did not fit may fit now. Without a source, the cap is this budget's alone.
    """

    def __init__(
        self, cap: BudgetCap | None = None, tally: SpendTally | None = None, *, by_token: bool = False
    ) -> None:
        self._cap = cap or BudgetCap()
        self._limit = SpendBound.of_cap(self._cap)
        self._own_limit = self._limit
        self._tally = tally or SpendTally()
        self._external = Cost()
        self.has_cap = self._cap != BudgetCap()
        self._by_token = by_token
        self._slow_start = SlowStart(by_token=by_token) if self.has_cap else None
        self.max_in_flight = sys.maxsize if self._slow_start is None else self._slow_start.max_in_flight
        self.sources: list[SpendSource] = []
        self.on_change: Callable[[], None] = lambda: None

    def add_source(self, source: SpendSource) -> None:
        """Add a pot, which each attempt has to fit into from now on."""
        self.sources.append(source)
        if self._slow_start is None:
            self.has_cap, self._slow_start = True, SlowStart(by_token=self._by_token)
            self.max_in_flight = self._slow_start.max_in_flight

    def set_external_spend(self, spend: Cost) -> None:
        """Replace the spending of other processes, past and present, that counts against the cap. From any thread."""
        self._external = spend
        self._own_limit = self._limit.minus(spend.bound)

    def has_room_beside(self, attempt: Attempt) -> bool:
        """Return whether the cap also covers an attempt beside the open ones if the service counts more than we do."""
        margin = self._margin_beside(attempt)
        return margin == SpendBound() or self._own_limit.covers(
            self._tally.spend.bound.with_attempt(attempt).plus(margin)
        )

    def reserve(self, attempt: Attempt) -> bool:
        """Reserve an attempt's upper bounds; return False, and reserve nothing, if they do not fit."""
        if self._slow_start is None:
            return True
        if not (self._reserve_in_sources(attempt) if self.sources else self._fits(attempt)):
            return False
        self._tally.reserve(attempt)
        self._slow_start.on_reserve(attempt)
        return True

    def release(self, attempt: Attempt) -> None:
        """Free the reservation of an attempt that was never recorded, so never sent."""
        if self._slow_start is not None and attempt.attempt_id in self._slow_start.open_attempts:
            self._tally.release(attempt)
            self._slow_start.on_close(attempt.attempt_id)
            for source in self.sources:
                source.release(attempt)

    def settle(self, settlement: Settlement) -> None:
        """Replace an attempt's reservation with its settlement."""
        if self._slow_start is not None and settlement.attempt_id in self._slow_start.open_attempts:
            self._tally.settle(settlement)
            attempt = self._slow_start.on_close(settlement.attempt_id)
            self._slow_start.on_settle(attempt, settlement)
            for source in self.sources:
                source.settle(attempt, settlement)
            self.max_in_flight = self._slow_start.max_in_flight

    def abandon(self, attempt: Attempt) -> None:
        """Keep the reservation of an attempt that ended without a settlement; does nothing after a settlement."""
        if self._slow_start is not None and attempt.attempt_id in self._slow_start.open_attempts:
            self._slow_start.on_close(attempt.attempt_id)

    def refusal(self, attempt: Attempt) -> StoppedError | None:
        """Return why an attempt that was not reserved never will be; None while it may fit later.

        It may, while another attempt is open, and until the source that was short of it knows that nothing can come
        back. The source is asked for more.

        Raises:
            StorageError: The source cannot be read or written.
        """
        is_idle = self._is_idle()
        if self._is_without_price(attempt):
            return _no_price_error() if is_idle else None
        if self.sources:
            return self.sources[0].request(attempt, is_idle=is_idle)  # the one that was short, see ``reserve``
        return self.used_up_error(attempt) if is_idle else None

    def give_back(self) -> None:
        """Give back what was drawn from the sources: for now, nothing may be sent."""
        for source in self.sources:
            source.give_back()

    def give_back_others(self, short_source: SpendSource) -> None:
        """Give back what was drawn from other sources, because one has too little, unless an attempt is in flight.

        The processes that this one waits for may wait for just that. Sources call this in the loop.
        """
        if self._is_idle():
            for source in self.sources:
                if source is not short_source:
                    source.give_back()

    def close(self) -> None:
        """Ask the sources for nothing more until the next refusal."""
        for source in self.sources:
            source.close()

    def used_up_error(self, attempt: Attempt) -> StoppedError:
        """Return the error that stops a run whose cap does not cover an attempt, by the spending at the last count."""
        cap, total = self._cap, sum_of((self._tally.spend, self._external))
        is_beyond_cost = self._tally.spend.bound.with_attempt(attempt).cost > self._own_limit.cost
        if cap.max_cost is not None and (is_beyond_cost or cap.max_characters is None):
            figures = (cap.max_cost, total.bound.cost, total.cost or ZERO, SpendBound.of(attempt).cost)
            amounts = [f"{amount.normalize():f} {cap.currency}" for amount in figures]
            return _budget_error(amounts, self._ratio_note(), parameter="max_cost")
        return self._characters_refusal(total, attempt.characters_upper_bound)

    def _ratio_note(self) -> str:
        ratio = 1 if self._slow_start is None else self._slow_start.largest_ratio
        return f": the service reports {ratio:,} times what we count" if ratio > 1 else ""

    def refusal_for_text(self, characters: int) -> StoppedError | None:
        """Return why a text can never be paid for: it exceeds the cap less the confirmed characters; else None."""
        max_characters, total = self._cap.max_characters, sum_of((self._tally.spend, self._external))
        if max_characters is None or total.characters_billed + characters <= max_characters:
            return None
        return self._characters_refusal(total, characters)

    def _characters_refusal(self, total: Cost, needed: int) -> StoppedError:
        counts = (self._cap.max_characters or 0, total.characters_upper_bound, total.characters_billed, needed)
        amounts = [f"{count:,} characters" for count in counts]
        return _budget_error(amounts, self._ratio_note(), parameter="max_characters")

    def _margin_beside(self, attempt: Attempt) -> SpendBound:
        """Return the margin to keep for the open attempts and another one; none for one that is alone."""
        if self._slow_start is None or not self._slow_start.open_attempts:
            return SpendBound()
        return self._slow_start.open_margin.plus(self._slow_start.margin_of(attempt))

    def _is_idle(self) -> bool:
        return self._slow_start is None or not self._slow_start.open_attempts

    def _is_without_price(self, attempt: Attempt) -> bool:
        return self._cap.max_cost is not None and attempt.cost_upper_bound is None

    def _fits(self, attempt: Attempt) -> bool:
        is_covered = self._own_limit.covers(self._tally.spend.bound.with_attempt(attempt))
        return is_covered and not self._is_without_price(attempt)

    def _reserve_in_sources(self, attempt: Attempt) -> bool:
        if self._is_without_price(attempt):
            return False
        margin = self._margin_beside(attempt)
        for number, source in enumerate(self.sources):
            if not source.try_reserve(attempt, margin):
                for earlier_source in self.sources[:number]:
                    earlier_source.release(attempt)
                # first from now on: while it is short, nothing is drawn from the others
                self.sources.insert(0, self.sources.pop(number))
                return False
        return True


def _no_price_error() -> StoppedError:
    return StoppedError(
        "no price applies now: the cost of the next request is unknown, so the cap on cost cannot be kept",
        stopped_by="budget",
        hint="give today's price with `prices`, or continue without `max_cost`",
    )


def _budget_error(amounts: Sequence[str], note: str, *, parameter: str) -> StoppedError:
    cap, at_most, confirmed, needed = amounts
    return StoppedError(
        f"the budget of {cap} is used up: {at_most} are spent at most ({confirmed} confirmed), "
        f"and the next request may take {needed}{note}",
        stopped_by="budget",
        hint=f"everything done is kept; a higher `{parameter}` goes on from here",
    )


def check_cap(cap: BudgetCap, card: Card, now: datetime) -> None:
    """Check that a cap can be enforced with a model's present prices, before anything is sent.

    Raises:
        ConfigurationError: The amount has no currency or is not above 0, its currency differs from the price's, the
            model has no price, or a price by token has no bound for the tokens of audio.
    """
    if cap.max_characters is not None and cap.max_characters < 1:
        raise ConfigurationError(f"max_characters is {cap.max_characters}", hint="give at least 1")
    if cap.max_cost is None:
        return
    if not cap.max_cost.is_finite() or cap.max_cost <= 0:
        raise ConfigurationError(f"max_cost is {cap.max_cost}", hint="give more than 0, with its currency: 500CNY")
    if cap.currency is None:
        raise ConfigurationError("max_cost has no currency", hint="give the currency too, as in 500CNY")
    _check_price(cap, card, price_at(card.prices, now))


def _check_price(cap: BudgetCap, card: Card, price: Price | None) -> None:
    model = f"{card.model} on {card.service}"
    if price is None:
        raise ConfigurationError(
            f"a cap on cost needs a price, and none is known for {model} today",
            hint="give one with `prices`, or cap what is billed with `max_characters`",
        )
    if price.currency != cap.currency:
        raise ConfigurationError(
            f"the cap is in {cap.currency}, but the price of {model} is in {price.currency}",
            hint=f"give the cap in {price.currency}, or your own price in {cap.currency} with `prices`",
        )
    if card.billing == "tokens" and card.output_tokens_per_second is None:
        raise ConfigurationError(
            f"{model} is billed by the tokens of its audio, and its tokens per second are not known: a cap on cost "
            "could not be kept",
            hint="cap what is sent with `max_characters`, or set output_tokens_per_second on its card with `catalog`",
        )
