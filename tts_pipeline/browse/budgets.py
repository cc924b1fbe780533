"""Read the budgets of an account store for the page, without changing or making a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tts_pipeline.account.location import StoreLocation
from tts_pipeline.account.status import BudgetStatus, read_status
from tts_pipeline.errors import TtsPipelineError

BudgetReader = Callable[[], dict[str, Any]]
"""Returns what ``read_budgets`` does, anew at each call."""


def read_budgets(location: StoreLocation | None) -> dict[str, Any]:
    """Return ``rows``, one for each budget and period, and ``trouble``: why they cannot be read, or None. Blocking.

    Amounts are exact text in units of ``unit``. No store has no budgets. A store that is away does not hide the bill.
    """
    if location is None:
        return {"rows": [], "trouble": None}
    try:
        database = location.open()
        try:
            if not database.is_made():
                return {"rows": [], "trouble": None}
            with database.transaction() as transaction:
                status = read_status(transaction)
        finally:
            database.close()
    except TtsPipelineError as error:
        return {"rows": [], "trouble": str(error)}
    return {"rows": [_budget_facts(budget) for budget in status.budgets], "trouble": None}


def _budget_facts(status: BudgetStatus) -> dict[str, Any]:
    terms, period = status.budget.terms, status.period
    return {
        "name": terms.name,
        "unit": terms.amount.unit,
        "amount": terms.amount.number,
        "used": status.used.number,
        "possible": status.possible.number,
        "leased": status.leased.number,
        "left": status.left.number,
        "forecast": None if status.forecast is None else status.forecast.number,
        "exceeds": status.forecast is not None and status.forecast.value > terms.amount.value,
        "per": terms.period,
        "period": None if period is None else period.key,
        "timezone": terms.timezone,
        "condition": str(terms.condition),
        "waiting_workers": status.waiting_workers,
    }
