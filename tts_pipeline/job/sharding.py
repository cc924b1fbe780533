"""Divide a job's cap and rates among shards, so that all shards together keep them.

The division of a cap needs no message between the shards, or from the plan. Each shard computes it from the dataset's
spending by part, and all shards get the same result, whenever and however often they start. The cap is divided in
proportion to the shards' rows. If a shard has spent more than its share (before the job was divided), all others
give up the excess. The remainder of a finished shard goes to the unfinished shards.

This division is safe: the level L (the share of one row) solves ``sum(max(spent, L * rows)) = cap`` over the shards,
where a finished shard counts as its spending. Each shard may spend up to ``L * rows``. Spending within that bound
changes no term of the sum, so L stays the same; a shard that finishes can only raise L. The spending so far and the
spending that is still allowed never exceed the cap together, at any instant.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from math import floor

from tts_pipeline.card import Card
from tts_pipeline.config import BudgetCap, Limits
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.errors import ConfigurationError, StoppedError
from tts_pipeline.job.job import Shard, divide_into_shards
from tts_pipeline.money import ZERO, Cost, sum_of

_NANO = 10**9


@dataclass(frozen=True, slots=True)
class ShardSpend:
    """A shard's rows and its highest spending over all invocations; a finished shard spends no more."""

    rows: int
    spent: Decimal
    is_finished: bool = False


def water_fill(cap: Decimal, spends: Sequence[ShardSpend], index: int) -> Decimal:
    """Return the most that one shard may spend over all its invocations, in units of 1e-9, rounded down."""
    active = {number for number, spend in enumerate(spends) if not spend.is_finished and spend.rows}
    level = _level(cap, spends, active)
    while overspent := {number for number in active if Fraction(spends[number].spent) > level * spends[number].rows}:
        active -= overspent
        level = _level(cap, spends, active)
    return Decimal(floor(level * spends[index].rows * _NANO)) / _NANO if index in active else ZERO


def _level(cap: Decimal, spends: Sequence[ShardSpend], active: Collection[int]) -> Fraction:
    rows = sum(spends[number].rows for number in active)
    spent = sum((spend.spent for number, spend in enumerate(spends) if number not in active), ZERO)
    return max(Fraction(0), Fraction(cap) - Fraction(spent)) / rows if rows else Fraction(0)


def cap_of_shard(
    cap: BudgetCap,
    shard: Shard,
    descriptor: Descriptor,
    spent_by_part: Mapping[int, Cost],
    finished_parts: Collection[int],
) -> BudgetCap:
    """Return the cap of one shard, which includes its own spending so far.

    Spending outside the parts of all shards is first subtracted from the cap. Finished parts spend no more.
    """
    shards = divide_into_shards(shard.all_parts, shard.shards)
    outside = cost_of_parts(spent_by_part, spent_by_part.keys() - set(range(shard.all_parts)))
    cost_by_shard = [cost_of_parts(spent_by_part, each.numbers()) for each in shards]

    def share(amount: Decimal, spent_by_shard: Sequence[Decimal], spent_outside: Decimal) -> Decimal:
        spends = [
            ShardSpend(_rows(descriptor, each), spent, all(number in finished_parts for number in each.numbers()))
            for each, spent in zip(shards, spent_by_shard, strict=True)
        ]
        return water_fill(max(ZERO, amount - spent_outside), spends, shard.index)

    costs = [cost.bound.cost for cost in cost_by_shard]
    characters = [Decimal(cost.characters_upper_bound) for cost in cost_by_shard]
    return replace(
        cap,
        max_cost=None if cap.max_cost is None else share(cap.max_cost, costs, outside.bound.cost),
        max_characters=None
        if cap.max_characters is None
        else int(share(Decimal(cap.max_characters), characters, Decimal(outside.characters_upper_bound))),
    )


def cost_of_parts(spent_by_part: Mapping[int, Cost], numbers: Collection[int]) -> Cost:
    """Add up the spending of some parts."""
    return sum_of(spent_by_part[number] for number in numbers if number in spent_by_part)


def _rows(descriptor: Descriptor, shard: Shard) -> int:
    return sum(len(descriptor.row_range(number)) for number in shard.numbers())


def limits_of_shard(limits: Limits, card: Card, shard: Shard, at_a_time: int | None = None) -> Limits:
    """Return the limits of one shard: the rates are divided, the concurrency is not.

    Without ``requests_per_minute`` the card's rate is divided. ``at_a_time`` None means all shards run at one time.
    """
    if at_a_time is not None and at_a_time < 1:
        raise ConfigurationError(f"at_a_time is {at_a_time}", hint="give at least 1")
    concurrent_shards = shard.shards if at_a_time is None else min(at_a_time, shard.shards)
    requests = card.requests_per_minute if limits.requests_per_minute is None else limits.requests_per_minute
    characters = limits.characters_per_minute
    return replace(
        limits,
        requests_per_minute=None if requests is None else float(requests) / concurrent_shards,
        characters_per_minute=None if characters is None else characters / concurrent_shards,
    )


def as_shard_error(error: StoppedError, shard: Shard) -> StoppedError:
    """Return a used-up budget's error with the note that the budget is one shard's share."""
    return StoppedError(
        f"{error.message}; that is the share of shard {shard.index} of {shard.shards}",
        stopped_by=error.stopped_by,
        hint="everything done is kept; run the shard again when other shards are finished, to use the rest of their "
        "shares, or raise the cap",
    )
