"""Compute the allowance of a run: its cap, less the spending of all invocations of the job."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.active_part import Progress
from tts_pipeline.dataset.claim_high_water import BudgetPool
from tts_pipeline.dataset.finalize import committed_parts
from tts_pipeline.dataset.spending import DatasetSpend
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.job.job import Shard
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.sharding import cap_of_shard, cost_of_parts
from tts_pipeline.money import Cost


class Allowance(NamedTuple):
    """The spending that a run is allowed: its budget, and the pool of its parts' claims, which other processes see.

    ``pool`` is None without a cap.
    """

    budget: Budget
    pool: BudgetPool | None = None


def make_allowance(prepared: PreparedJob, progress: Progress, shard: Shard | None = None) -> Allowance:
    """Make a run's allowance; without a cap nothing is read. Blocking.

    ``progress`` gets the cap and the spending so far. A shard gets its share of the cap; None is the whole job.
    """
    cap = prepared.job.options.budget
    if cap == BudgetCap():
        return Allowance(Budget())
    is_share = shard is not None and shard.shards > 1
    # Read before the spending: a shard that finishes in between would seem to have spent less than it did.
    finished_parts = _finished_parts(prepared) if is_share else set[int]()
    dataset_spend = DatasetSpend(
        prepared.store, prepared.descriptor, prepared.journals_dir, prepared.leases.lock_folder
    )
    spent_by_part = dataset_spend.by_part()
    if cap.max_cost is not None:
        _refuse_unknown_costs(cost_of_parts(spent_by_part, spent_by_part.keys()), cap)
    own_parts = None
    if shard is not None and is_share:
        cap, own_parts = cap_of_shard(cap, shard, prepared.descriptor, spent_by_part, finished_parts), shard.numbers()
    spent_before = cost_of_parts(spent_by_part, spent_by_part.keys() if own_parts is None else own_parts)
    budget = Budget(cap, progress.tally, by_token=prepared.card.billing == "tokens")
    budget.set_external_spend(spent_before)
    progress.cap, progress.spent_before = cap, spent_before

    def count(own_journals: Collection[str]) -> Cost:
        counted_by_part = dataset_spend.refresh(own_journals)
        return cost_of_parts(counted_by_part, counted_by_part.keys() if own_parts is None else own_parts)

    return Allowance(budget, BudgetPool(cap, count, budget.set_external_spend))


def _finished_parts(prepared: PreparedJob) -> set[int]:
    """Return the parts that will spend no more; none if rejects are retried, because any part may then spend."""
    return set() if prepared.job.options.retry_rejects else committed_parts(prepared.store, prepared.descriptor)


def _refuse_unknown_costs(spent_before: Cost, cap: BudgetCap) -> None:
    if spent_before.characters_without_price:
        raise ConfigurationError(
            "a cap on cost counts everything this dataset spent, but the cost of "
            f"{spent_before.characters_without_price:,} characters is not known: there was no price",
            hint="cap what is billed with `max_characters` instead",
        )
    if spent_before.currency not in {None, cap.currency}:
        raise ConfigurationError(
            f"the cap is in {cap.currency}, but this dataset has costs in {spent_before.currency}",
            hint=f"go on with a price and a cap in {spent_before.currency}, or use another destination",
        )
