"""What counts come to in money and in time, and what there is to say about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from tts_pipeline.catalog.entries import LOCAL
from tts_pipeline.catalog.rehearsal import NO_JAPANESE
from tts_pipeline.config import BudgetCap, Limits, QualityPolicy
from tts_pipeline.cost import cost_of, price_at
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.estimates.measured import Latency
from tts_pipeline.estimates.tally import Counts
from tts_pipeline.models import Card, Price, Service, Usage

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a job takes.

    Args:
        requests_per_minute: As given, else the service's own; None is none.
        characters_per_minute: As given; None is none.
        latency_s: Mean time to an answer; None is not known.
        elapsed_s: The longest of the times below; None without any.
        limited_by: Which one it is; None without any.
        answer_within_s: The longest that an answer may take, with the given requests in flight, so that the rates are
            reached; None without any rate, or without requests.
    """

    requests_per_minute: float | None
    characters_per_minute: float | None
    latency_s: float | None
    elapsed_s: float | None
    limited_by: str | None
    answer_within_s: float | None


def pace_of(counts: Counts, card: Card, limits: Limits, latency: Latency | None = None) -> Pace:
    """Work out how long a job takes.

    Args:
        counts: Of its rows.
        card: Its own rate holds where none is given.
        limits: Rates, and requests in flight.
        latency: Time to an answer; None is not known.
    """
    requests = card.requests_per_minute if limits.requests_per_minute is None else limits.requests_per_minute
    rates = {
        "requests_per_minute": (counts.segments, requests),
        "characters_per_minute": (counts.characters_billed, limits.characters_per_minute),
    }
    at_rates = {name: 60 * amount / rate for name, (amount, rate) in rates.items() if rate is not None}
    times = {**at_rates, **_times_of_answers(counts, limits, latency)}
    longest = max(times, key=lambda name: times[name], default=None)
    rated_s = max(at_rates.values(), default=0.0)
    return Pace(
        requests_per_minute=None if requests is None else float(requests),
        characters_per_minute=limits.characters_per_minute,
        latency_s=_mean_latency(counts, latency),
        elapsed_s=None if longest is None else times[longest],
        limited_by=longest,
        answer_within_s=rated_s * limits.max_concurrency / counts.segments if rated_s else None,
    )


def _times_of_answers(counts: Counts, limits: Limits, latency: Latency | None) -> dict[str, float]:
    if latency is None:
        return {}
    in_flight = max(1, min(limits.max_concurrency, counts.segments))
    return {
        "latency": latency.seconds(counts.segments, counts.characters_billed) / in_flight,
        "longest_text": latency.seconds(*counts.longest),
    }


def _mean_latency(counts: Counts, latency: Latency | None) -> float | None:
    if latency is None or not counts.segments:
        return None if latency is None else latency.request_s
    return latency.seconds(counts.segments, counts.characters_billed) / counts.segments


def purchases_at_most(quality: QualityPolicy) -> int:
    """Return how often one segment is bought at most: once, and once more for each retake."""
    return 1 + quality.max_retakes * ("retry" in quality.actions.values())


def cost_at(price: Price | None, counts: Counts, card: Card) -> Decimal | None:
    """Work out what a job costs; None without a price, and by token when it is not known what audio takes."""
    return cost_of(price, characters=counts.characters_billed, usage=_tokens(counts, card))


def notes_on(counts: Counts, card: Card, service: Service, pace: Pace, today: date) -> Iterator[str]:
    """Say what the figures rest on."""
    price = price_at(card.prices, today)
    if price is None:
        yield f"the catalog has no price for {card.model} on {card.service} today: the cost is null, which is not 0"
    else:
        yield from _notes_on_price(price, card, service)
        yield from _notes_on_its_end(price, card, pace, today)
    if service.name == LOCAL and counts.japanese_rows:
        yield NO_JAPANESE
    if counts.long_texts > counts.cut_texts:
        yield (
            f"{counts.long_texts:,} texts are over the limit of {card.input_limit} {card.input_unit}; the first "
            f"{counts.cut_texts:,} of them were cut, and the others are taken to be cut like these"
        )


def notes_on_caps(counts: Counts, cost: Decimal | None, cap: BudgetCap, spent: Totals) -> Iterator[str]:
    """Say where a cap would stop the run.

    Args:
        counts: Of the rows.
        cost: Of the run; None is not known.
        cap: Over all runs of the job.
        spent: By the earlier ones, at most.
    """
    money = (spent.cost_upper_bound or Decimal(0)) + (cost or Decimal(0))
    if cap.max_cost is not None and money > cap.max_cost:
        yield f"the run stops at --max-cost {cap.max_cost} {cap.currency}: with earlier runs this comes to {money:,.4f}"
    characters = spent.characters_upper_bound + counts.characters_billed
    if cap.max_characters is not None and characters > cap.max_characters:
        yield (
            f"the run stops at --max-characters {cap.max_characters:,}: with earlier runs this comes to {characters:,}"
        )


def _notes_on_price(price: Price, card: Card, service: Service) -> Iterator[str]:
    if price.per_10k_characters is None:
        known = card.output_tokens_per_second is not None
        yield (
            "the price is by token: the cost rests on the length of the audio, and is as rough"
            if known
            else "the price is by token, and the card does not say how many a second of audio takes: the cost is null"
        )
    if price.basis == "list" and service.name == LOCAL:
        yield "nobody charges for the local service: the cost is the maker's list price, for comparison"
    elif price.basis == "list" and not service.maker:
        yield f"the cost is at the maker's list price: {service.name} may charge otherwise"


def _notes_on_its_end(price: Price, card: Card, pace: Pace, today: date) -> Iterator[str]:
    end = price.effective_until
    if end is None:
        return
    following = price_at(card.prices, end)
    then = f"then {following.price_id} holds" if following else "no price is known from then on"
    if pace.elapsed_s is None:
        yield f"the price {price.price_id} ends before {end}; {then}"
    elif end <= today + timedelta(days=math.ceil(pace.elapsed_s / _DAY_S)):
        yield f"the price {price.price_id} ends before {end}, within the time that this takes; {then}"


def _tokens(counts: Counts, card: Card) -> Usage:
    """Estimate what is billed by token, of the rows that are bought."""
    per_second = card.output_tokens_per_second
    if per_second is None:
        return Usage()
    heard = sum(one.rows for one in counts.spoken)
    bought = (heard - counts.repeated_rows - counts.reused_rows) / heard if heard else 0.0
    seconds = 3_600 * sum(one.audio_hours for one in counts.spoken)
    # The maker bills audio under a second as a second.
    output = max(math.ceil(per_second * seconds * bought), per_second * counts.segments)
    # A token of text for each character is too many, and makes no difference: audio is nearly all of the bill.
    return Usage(input_tokens=counts.characters_billed, output_tokens=output)
