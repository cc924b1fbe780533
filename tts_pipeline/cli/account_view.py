"""Show the status of an account store: as tables for people, and as JSON with the names that programs rely on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from tts_pipeline.account.amounts import Amount
from tts_pipeline.account.status import AccountStatus, BudgetStatus, Share, StoreStatus, WorkerStatus
from tts_pipeline.cli.terminal import align_columns
from tts_pipeline.periods import Period


def sections(status: StoreStatus) -> Iterator[str]:
    """Yield a text for accounts, workers and budgets each."""
    yield _account_table(status.accounts)
    yield _worker_table(status.workers)
    yield budget_table(status.budgets)
    if any(not worker.is_living and worker.shares for worker in status.workers):
        yield (
            "What a dead worker was granted counts as possibly spent. Run its job again, which reads its journals; or, "
            "if it\nwill never run again, count all of it: tts-pipeline account forget WORKER"
        )


def facts(status: StoreStatus) -> dict[str, Any]:
    """Return the whole status for JSON."""
    return {
        "at": _time(status.at),
        "accounts": [_account_facts(account) for account in status.accounts],
        "workers": [_worker_facts(worker) for worker in status.workers],
        "budgets": [budget_facts(budget) for budget in status.budgets],
    }


def budget_table(budgets: Sequence[BudgetStatus]) -> str:
    """Return the table of budgets."""
    if not budgets:
        return "no budgets"
    head = ("BUDGET", "PERIOD", "AMOUNT", "USED", "POSSIBLE", "LEASED", "LEFT", "FORECAST", "COUNTS")
    rows = [
        (
            status.budget.terms.name,
            _period(status),
            str(status.budget.terms.amount),
            *map(_number, (status.used, status.possible, status.leased, status.left, status.forecast)),
            str(status.budget.terms.condition),
        )
        for status in budgets
    ]
    return _table(head, rows, right=range(2, 8))


def budget_facts(status: BudgetStatus) -> dict[str, Any]:
    """Return a budget for JSON: amounts are exact, as text, in units of ``unit``."""
    terms, period = status.budget.terms, status.period
    return {
        "name": terms.name,
        "budget_id": status.budget.budget_id,
        "unit": terms.amount.unit,
        "amount": terms.amount.number,
        "used": status.used.number,
        "possible": status.possible.number,
        "leased": status.leased.number,
        "left": status.left.number,
        "forecast": None if status.forecast is None else status.forecast.number,
        "waiting_workers": status.waiting_workers,
        "per": terms.period,
        "timezone": terms.timezone,
        **_period_facts(period),
        "tags": dict(terms.condition.tags),
        "service": terms.condition.service,
        "model": terms.condition.model,
        "created_at": _time(status.budget.created_at),
    }


def _period_facts(period: Period | None) -> dict[str, Any]:
    start, end = (None, None) if period is None else (period.start, period.end)
    return {
        "period": None if period is None else period.key,
        "period_start": None if start is None else _time(start),
        "period_end": None if end is None else _time(end),
    }


def _period(status: BudgetStatus) -> str:
    terms = status.budget.terms
    if terms.period == "run":
        return "run" if status.period is None else f"run {status.period.key}"
    key = "" if status.period is None else status.period.key
    return key if terms.timezone is None else f"{key} {terms.timezone}"


def _account_table(accounts: Sequence[AccountStatus]) -> str:
    if not accounts:
        return "no accounts"
    head = (
        *("SERVICE", "ACCOUNT", "MODEL", "REQUESTS/MIN", "SLOTS GIVEN", "429S", "SLOWDOWN", "PAUSE UNTIL"),
        "MAX IN FLIGHT",
    )
    rows = [
        (
            one.account.service,
            one.account.name,
            one.account.model,
            "-" if one.requests_per_minute is None else f"{one.requests_per_minute:,g}",
            f"{one.slots_given:,}",
            f"{one.throttles:,}",
            f"{one.slowdown_percent:g} %",
            _time(one.pause_until) or "-",
            _in_flight(one),
        )
        for one in accounts
    ]
    return _table(head, rows, right=range(3, 7))


def _in_flight(one: AccountStatus) -> str:
    """Return the permitted requests in flight, and the workers' shares of them: ``100: 1 x 34, 2 x 33``."""
    if one.account_concurrency is None:
        return "-"
    shares = ", ".join(f"{workers} x {share:,}" for share, workers in Counter(one.max_in_flight).items())
    return f"{one.account_concurrency:,}: {shares}"


def _account_facts(one: AccountStatus) -> dict[str, Any]:
    return {
        "service": one.account.service,
        "account": one.account.name,
        "model": one.account.model,
        "requests_per_minute": one.requests_per_minute,
        "slots_given": one.slots_given,
        "throttles": one.throttles,
        "slowdown_percent": one.slowdown_percent,
        "pause_until": _time(one.pause_until),
        "account_concurrency": one.account_concurrency,
        "max_in_flight": one.max_in_flight,
    }


def _worker_table(workers: Sequence[WorkerStatus]) -> str:
    if not workers:
        return "no workers"
    head = ("WORKER", "STATE", "HOST", "PID", "DOOR", "SINCE", "LEASE UNTIL", "HOLDS", "DESTINATION")
    rows = [
        (
            one.worker_id,
            _state(one),
            one.worker.host if one.worker else "-",
            str(one.worker.pid) if one.worker else "-",
            one.worker.door if one.worker else "-",
            _time(one.started_at) or "-",
            _time(one.lease_until) or "-",
            ", ".join(map(_holding, one.shares)) or "-",
            one.worker.destination if one.worker else "-",
        )
        for one in workers
    ]
    return _table(head, rows, right=(3,))


def _state(one: WorkerStatus) -> str:
    if not one.is_living:
        return "dead"
    return "waits" if any(share.is_waiting for share in one.shares) else "lives"


def _holding(share: Share) -> str:
    """Return what a worker holds beyond what is confirmed."""
    held = Amount(share.possible.value + share.leased.value, share.leased.currency)
    return f"{held} of {share.budget.terms.name}"


def _worker_facts(one: WorkerStatus) -> dict[str, Any]:
    worker = one.worker
    return {
        "worker_id": one.worker_id,
        "is_living": one.is_living,
        "service": worker.account.service if worker else None,
        "account": worker.account.name if worker else None,
        "model": worker.account.model if worker else None,
        "host": worker.host if worker else None,
        "pid": worker.pid if worker else None,
        "door": worker.door if worker else None,
        "destination": worker.destination if worker else None,
        "dataset_id": worker.dataset_id if worker else None,
        "started_at": _time(one.started_at),
        "lease_until": _time(one.lease_until),
        "slices": [
            {
                "budget": share.budget.terms.name,
                "period": share.period_key,
                "unit": share.used.unit,
                "used": share.used.number,
                "possible": share.possible.number,
                "leased": share.leased.number,
                "is_waiting": share.is_waiting,
            }
            for share in one.shares
        ],
    }


def _number(amount: Amount | None) -> str:
    return "-" if amount is None else str(amount).removesuffix(f" {amount.unit}")


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    """Align columns, those of numbers to the right."""
    columns = [list(column) for column in zip(head, *rows, strict=True)]
    for number in right:
        width = max(map(len, columns[number]))
        columns[number] = [cell.rjust(width) for cell in columns[number]]
    return align_columns(list(zip(*columns, strict=True)))
