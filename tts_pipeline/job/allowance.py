"""Compute the allowance of a run: its cap, less the spending of all invocations of the job."""

from __future__ import annotations

from typing import NamedTuple

from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.active_part import Progress
from tts_pipeline.dataset.budget_pool import BudgetPool, OtherSpend
from tts_pipeline.dataset.spending import DatasetSpend
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.job.account import Membership
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.money import Cost
from tts_pipeline.storage.local_store import LocalStore

LOCAL_POLL_S = (0.25, 1.0)
REMOTE_POLL_S = (1.0, 4.0)
"""The least and the most time until a process that waits for the money of others counts again."""


class Allowance(NamedTuple):
    """The spending that a run is allowed: its budget, and the pool of its parts' claims, which other processes see.

    ``pool`` is None without a cap, and ``membership`` without an account store.
    """

    budget: Budget
    pool: BudgetPool | None = None
    membership: Membership | None = None


def make_allowance(prepared: PreparedJob, progress: Progress) -> Allowance:
    """Make a run's allowance; without a cap nothing is read. Blocking.

    The cap is one pot for all runs and shards of the dataset. ``progress`` gets the cap and the spending so far.
    """
    cap, by_token = prepared.job.options.budget, prepared.card.billing == "tokens"
    if cap == BudgetCap():
        return Allowance(Budget(tally=progress.tally, by_token=by_token))
    leases = prepared.leases
    dataset_spend = DatasetSpend(prepared.store, prepared.descriptor, prepared.journals_dir, leases.lock_folder)
    spent_before = dataset_spend.total()
    if cap.max_cost is not None:
        _refuse_unknown_costs(spent_before, cap)
    budget = Budget(cap, progress.tally, by_token=by_token)
    budget.set_external_spend(spent_before)
    progress.cap, progress.spent_before = cap, spent_before
    others = OtherSpend(dataset_spend.refresh, lambda: dataset_spend.may_shrink(leases.has_ended))
    poll_s = LOCAL_POLL_S if isinstance(prepared.store, LocalStore) else REMOTE_POLL_S
    pool = BudgetPool(cap, budget, others, poll_s)
    budget.add_source(pool)
    return Allowance(budget, pool)


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
