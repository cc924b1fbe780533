"""What a job may still spend: its cap, less what all its invocations have spent."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import NamedTuple

from tts_pipeline.client.budget import Budget, Spending
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.cover import BudgetPool
from tts_pipeline.dataset.finish import done_parts
from tts_pipeline.dataset.parts import Progress
from tts_pipeline.dataset.spending import SpendTally
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job.division import cap_of_shard, totals_in
from tts_pipeline.job.job import Shard
from tts_pipeline.job.prepared import Prepared

_NOTHING = Decimal(0)


class Allowance(NamedTuple):
    """What a run may spend.

    Args:
        budget: Reserves what each request may cost.
        pot: What the parts' claims are drawn from, which other processes see; None is without a cap.
    """

    budget: Budget
    pot: BudgetPool | None = None


def allowance_of(prepared: Prepared, progress: Progress, shard: Shard | None = None) -> Allowance:
    """Make the allowance that a run has; without a cap nothing is looked at. Blocking.

    Args:
        prepared: The job.
        progress: Learns the cap and what is spent already.
        shard: What is run, where that is one of several: it has its share of the cap. None is the whole job.

    Raises:
        ConfigurationError: What was spent before cannot be counted in the cap's currency.
        StorageError: The destination or the disk failed.
    """
    cap = prepared.job.running.budget
    if cap == BudgetCap():
        return Allowance(Budget())
    is_share = shard is not None and shard.shards > 1
    # Looked at before the spending is: a shard that finishes in between would seem to have spent less than it did.
    done = _for_good(prepared) if is_share else set[int]()
    spending = SpendTally(prepared.store, prepared.descriptor, prepared.journals, prepared.locks)
    spent = spending.by_part()
    if cap.max_cost is not None:
        _refuse_unknown_costs(totals_in(spent, spent.keys()), cap)
    ours = None
    if shard is not None and is_share:
        cap, ours = cap_of_shard(cap, shard, prepared.descriptor, spent, done), shard.numbers()
    before = totals_in(spent, spent.keys() if ours is None else ours)
    budget = Budget(cap, by_token=prepared.card.billing == "tokens")
    budget.set_external_spending(_spent(before))
    progress.cap, progress.spent_before = cap, before

    def count(own: Collection[str]) -> Totals:
        found = spending.count_anew(own)
        return totals_in(found, found.keys() if ours is None else ours)

    return Allowance(budget, BudgetPool(cap, count, lambda totals: budget.set_external_spending(_spent(totals))))


def _spent(totals: Totals) -> Spending:
    costs = totals.cost or _NOTHING, totals.cost_upper_bound or _NOTHING
    return Spending(totals.characters_billed, totals.characters_upper_bound, *costs)


def _for_good(prepared: Prepared) -> set[int]:
    """Return the parts that will spend nothing any more: rejects that are tried anew are spending to come."""
    return set() if prepared.job.running.retry_rejects else done_parts(prepared.store, prepared.descriptor)


def _refuse_unknown_costs(before: Totals, cap: BudgetCap) -> None:
    if before.characters_without_price:
        raise ConfigurationError(
            "a cap on cost counts everything this dataset spent, but the cost of "
            f"{before.characters_without_price:,} characters is not known: there was no price",
            hint="cap what is billed with --max-characters instead",
        )
    if before.currency not in {None, cap.currency}:
        raise ConfigurationError(
            f"the cap is in {cap.currency}, but this dataset has costs in {before.currency}",
            hint=f"go on with a price and a cap in {before.currency}, or use another destination",
        )
