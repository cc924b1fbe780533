"""What counts come to in money and in time, and what there is to say about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from tts_pipeline.config import Limits, QualityPolicy
from tts_pipeline.cost import cost_of, price_at
from tts_pipeline.estimates.tally import Counts
from tts_pipeline.models import Card, Price, Service, Usage

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a job takes at the rates that hold.

    Args:
        requests_per_minute: As given, else the service's own; None is none.
        characters_per_minute: As given; None is none.
        elapsed_s: By the slower of the two; None without any.
        limited_by: The slower of the two; None without any.
        answer_within_s: The longest that an answer may take, with the given requests in flight, so that this time is
            reached; None without any rate, or without requests.
    """

    requests_per_minute: float | None
    characters_per_minute: float | None
    elapsed_s: float | None
    limited_by: str | None
    answer_within_s: float | None


def pace_of(counts: Counts, card: Card, limits: Limits) -> Pace:
    """Work out how long a job takes."""
    requests = card.requests_per_minute if limits.requests_per_minute is None else limits.requests_per_minute
    rates = {
        "requests_per_minute": (counts.segments, requests),
        "characters_per_minute": (counts.characters_billed, limits.characters_per_minute),
    }
    times = {name: 60 * amount / rate for name, (amount, rate) in rates.items() if rate is not None}
    slower = max(times, key=lambda name: times[name], default=None)
    elapsed_s = None if slower is None else times[slower]
    return Pace(
        requests_per_minute=None if requests is None else float(requests),
        characters_per_minute=limits.characters_per_minute,
        elapsed_s=elapsed_s,
        limited_by=slower,
        answer_within_s=elapsed_s * limits.max_concurrency / counts.segments if elapsed_s else None,
    )


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
    if counts.long_texts > counts.cut_texts:
        yield (
            f"{counts.long_texts:,} texts are over the limit of {card.input_limit} {card.input_unit}; the first "
            f"{counts.cut_texts:,} of them were cut, and the others are taken to be cut like these"
        )


def _notes_on_price(price: Price, card: Card, service: Service) -> Iterator[str]:
    if price.per_10k_characters is None:
        known = card.output_tokens_per_second is not None
        yield (
            "the price is by token: the cost rests on the length of the audio, and is as rough"
            if known
            else "the price is by token, and the card does not say how many a second of audio takes: the cost is null"
        )
    if price.basis == "list" and service.name == "local":
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
