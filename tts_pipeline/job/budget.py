"""What a job may still spend: its cap, less what all its invocations have spent."""

from __future__ import annotations

from decimal import Decimal

from tts_pipeline.client.budget import Budget, Spending
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.parts import Progress
from tts_pipeline.dataset.spending import spent
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job.prepared import Prepared

_NOTHING = Decimal(0)


def budget_of(prepared: Prepared, progress: Progress) -> Budget:
    """Make the budget that a run has; without a cap nothing is looked at. Blocking.

    Args:
        prepared: The job.
        progress: Learns the cap and what is spent already.

    Raises:
        ConfigurationError: What was spent before cannot be counted in the cap's currency.
        StorageError: The destination or the disk failed.
    """
    cap = prepared.job.running.budget
    if cap == BudgetCap():
        return Budget()
    before = spent(prepared.store, prepared.descriptor, prepared.journals)
    if cap.max_cost is not None:
        _refuse_unknown_costs(before, cap)
    progress.cap, progress.spent_before = cap, before
    return Budget(
        cap,
        Spending(
            before.characters_billed,
            before.characters_upper_bound,
            before.cost or _NOTHING,
            before.cost_upper_bound or _NOTHING,
        ),
    )


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
