"""Compute cost and time from counts, with notes on the assumptions behind them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from tts_pipeline.card import Card, Endpoint
from tts_pipeline.catalog.entries import LOCAL
from tts_pipeline.catalog.rehearsal import NO_JAPANESE
from tts_pipeline.config import BudgetCap, Limits, QualityPolicy
from tts_pipeline.estimates.measurements import Latency
from tts_pipeline.estimates.tally import Counts
from tts_pipeline.models import Price, Usage
from tts_pipeline.money import Cost, add_costs, cost_of, price_at

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """The time that a job takes, in the fields of ``Estimate`` with these names."""

    requests_per_minute: float | None
    characters_per_minute: float | None
    latency_s: float | None
    elapsed_s: float | None
    limited_by: str | None
    answer_within_s: float | None


def estimate_time(counts: Counts, card: Card, limits: Limits, latency: Latency | None = None) -> TimeEstimate:
    """Compute the time that a job takes; the card's rate holds if ``limits`` has none."""
    requests = card.requests_per_minute if limits.requests_per_minute is None else limits.requests_per_minute
    rates = {
        "requests_per_minute": (counts.segments, requests),
        "characters_per_minute": (counts.characters_billed, limits.characters_per_minute),
    }
    rate_times = {name: 60 * amount / rate for name, (amount, rate) in rates.items() if rate is not None}
    times = {**rate_times, **_answer_times(counts, limits, latency)}
    longest = max(times, key=lambda name: times[name], default=None)
    rate_limited_s = max(rate_times.values(), default=0.0)
    return TimeEstimate(
        requests_per_minute=None if requests is None else float(requests),
        characters_per_minute=limits.characters_per_minute,
        latency_s=_mean_latency(counts, latency),
        elapsed_s=None if longest is None else times[longest],
        limited_by=longest,
        answer_within_s=rate_limited_s * _most_in_flight(limits) / counts.segments if rate_limited_s else None,
    )


def _answer_times(counts: Counts, limits: Limits, latency: Latency | None) -> dict[str, float]:
    if latency is None:
        return {}
    in_flight = max(1, min(_most_in_flight(limits), counts.segments))
    return {
        "latency": latency.seconds(counts.segments, counts.characters_billed) / in_flight,
        "longest_text": latency.seconds(*counts.longest),
    }


def _most_in_flight(limits: Limits) -> int:
    return min(limits.max_concurrency, limits.account_concurrency or limits.max_concurrency)


def _mean_latency(counts: Counts, latency: Latency | None) -> float | None:
    if latency is None or not counts.segments:
        return None if latency is None else latency.request_s
    return latency.seconds(counts.segments, counts.characters_billed) / counts.segments


def max_purchases(quality: QualityPolicy) -> int:
    """Return the most purchases of one segment: one, and one more for each retake."""
    return 1 + quality.max_retakes * ("retry" in quality.actions.values())


def expected_cost(price: Price | None, counts: Counts, card: Card) -> Decimal | None:
    """Compute the cost of a job; None without a price, or for a price by token if the card has no token rate."""
    return cost_of(price, characters=counts.characters_billed, usage=_tokens(counts, card))


def estimate_notes(counts: Counts, card: Card, service: Endpoint, time: TimeEstimate, now: datetime) -> Iterator[str]:
    """Yield the assumptions behind the figures."""
    price = price_at(card.prices, now)
    if price is None:
        yield f"the catalog has no price for {card.model} on {card.service} today: the cost is null, which is not 0"
    else:
        yield from _price_notes(price, card, service)
        yield from _price_end_notes(price, card, time, now)
    if service.name == LOCAL and counts.japanese_rows:
        yield NO_JAPANESE
    if counts.long_texts > counts.cut_texts:
        yield (
            f"{counts.long_texts:,} texts are over the limit of {card.input_limit} {card.input_unit}; the first "
            f"{counts.cut_texts:,} of them were cut, and the segments of the others are extrapolated"
        )


def cap_notes(counts: Counts, cost: Decimal | None, cap: BudgetCap, prior_spend: Cost) -> Iterator[str]:
    """Yield the caps over all runs of the job that would stop this run, given the most that earlier runs spent."""
    money = add_costs(prior_spend.cost_upper_bound, cost)
    if cap.max_cost is not None and money is not None and money > cap.max_cost:
        yield f"the run stops at `max_cost` {cap.max_cost} {cap.currency}: with earlier runs this comes to {money:,.4f}"
    characters = prior_spend.characters_upper_bound + counts.characters_billed
    if cap.max_characters is not None and characters > cap.max_characters:
        yield (
            f"the run stops at `max_characters` {cap.max_characters:,}: with earlier runs this comes to {characters:,}"
        )


def _price_notes(price: Price, card: Card, service: Endpoint) -> Iterator[str]:
    if price.per_10k_characters is None:
        has_token_rate = card.output_tokens_per_second is not None
        yield (
            "the price is by token: the cost follows from the estimated length of the audio, and is as rough"
            if has_token_rate
            else "the price is by token, and the card does not state the tokens per second of audio: the cost is null"
        )
    if price.basis == "list" and service.name == LOCAL:
        yield "nobody charges for the local service: the cost is the maker's list price, for comparison"
    elif price.basis == "list" and not service.maker:
        yield f"the cost is at the maker's list price: {service.name} may charge otherwise"


def _price_end_notes(price: Price, card: Card, time: TimeEstimate, now: datetime) -> Iterator[str]:
    end, last_day = price.end, price.effective_until
    if end is None:
        return
    successor = price_at(card.prices, end)
    next_price = f"then {successor.price_id} holds" if successor else "no price is known from then on"
    if time.elapsed_s is None:
        yield f"the price {price.price_id} ends before {last_day}; {next_price}"
    elif end <= now + timedelta(seconds=time.elapsed_s):
        yield f"the price {price.price_id} ends before {last_day}, while the job runs; {next_price}"


def _tokens(counts: Counts, card: Card) -> Usage:
    per_second = card.output_tokens_per_second
    if per_second is None:
        return Usage()
    spoken_rows = sum(voice.rows for voice in counts.spoken)
    bought_share = (spoken_rows - counts.repeated_rows - counts.reused_rows) / spoken_rows if spoken_rows else 0.0
    audio_s = 3_600 * sum(voice.audio_hours for voice in counts.spoken)
    # The maker bills audio of less than a second as one second.
    output_tokens = max(math.ceil(per_second * audio_s * bought_share), per_second * counts.segments)
    # One token for each character of text is too many, but audio is nearly all of the bill.
    return Usage(input_tokens=counts.characters_billed, output_tokens=output_tokens)
