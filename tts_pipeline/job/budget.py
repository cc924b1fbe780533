"""What a job may still spend: its cap, less what all its invocations have spent."""

from __future__ import annotations

from decimal import Decimal

from tts_pipeline.client.budget import Budget, Spending
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.finish import done_parts
from tts_pipeline.dataset.parts import Progress
from tts_pipeline.dataset.spending import spent_by_part
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job.division import cap_of_shard, totals_in
from tts_pipeline.job.job import Shard
from tts_pipeline.job.prepared import Prepared

_NOTHING = Decimal(0)


def budget_of(prepared: Prepared, progress: Progress, shard: Shard | None = None) -> Budget:
    """Make the budget that a run has; without a cap nothing is looked at. Blocking.

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
        return Budget()
    is_share = shard is not None and shard.shards > 1
    # Looked at before the spending is: a shard that finishes in between would seem to have spent less than it did.
    done = _for_good(prepared) if is_share else set[int]()
    spent = spent_by_part(prepared.store, prepared.descriptor, prepared.journals)
    before = totals_in(spent, spent.keys())
    if cap.max_cost is not None:
        _refuse_unknown_costs(before, cap)
    if shard is not None and is_share:
        cap = cap_of_shard(cap, shard, prepared.descriptor, spent, done)
        before = totals_in(spent, shard.numbers())
    progress.cap, progress.spent_before = cap, before
    return Budget(
        cap,
        Spending(
            before.characters_billed,
            before.characters_upper_bound,
            before.cost or _NOTHING,
            before.cost_upper_bound or _NOTHING,
        ),
        by_token=prepared.card.billing == "tokens",
    )


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
