"""Everything that an account store knows, as data: rates and pauses, who lives, and what is left of the budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tts_pipeline.account import rate_clock
from tts_pipeline.account.amounts import Amount
from tts_pipeline.account.budgets import Budget, list_budgets
from tts_pipeline.account.database import Transaction
from tts_pipeline.account.identity import Account
from tts_pipeline.account.pot_rows import Slice, slices_in_use
from tts_pipeline.account.rate_clock import FULL_RATE, RateClock
from tts_pipeline.account.worker_rows import Worker, all_workers
from tts_pipeline.periods import Period, instant, period_of

MIN_FORECAST_SHARE = 0.05
"""The share of a period that has to be counted before a forecast says something."""

_MINUTE_US = 60_000_000
_SHOWN_US = 86_400_000_000
"""An account is shown for a day after its last worker."""


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """The rate of an account and a model, and its requests in flight.

    ``requests_per_minute`` is the permitted rate, with the slowdown learned from 429s; None if no living worker has
    one. ``slots_given`` and ``throttles`` (429s) count all that ever were. ``pause_until`` is None without a pause.

    ``account_concurrency`` is the permitted number of requests in flight, and ``max_in_flight`` how many of them each
    living worker may have, the largest first; both are None if no living worker has a limit.
    """

    account: Account
    requests_per_minute: float | None
    slots_given: int
    throttles: int
    slowdown_percent: float
    pause_until: datetime | None
    account_concurrency: int | None
    max_in_flight: Sequence[int] | None


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker holds of a budget: it may have ``possible`` spent beyond ``used``, which is confirmed.

    ``leased`` is what it may still spend. That of a dead worker is 0: all that it was granted is possible.
    """

    budget: Budget
    period_key: str
    used: Amount
    possible: Amount
    leased: Amount
    is_waiting: bool


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker; ``worker`` is None if the store knows no more than its id."""

    worker_id: str
    worker: Worker | None
    started_at: datetime | None
    lease_until: datetime | None
    is_living: bool
    shares: Sequence[Share]


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """A budget in its present period; for one per run, in a run that goes on.

    The amounts ``used`` (confirmed), ``possible`` (beyond that), ``leased`` (given to living workers) and ``left`` add
    up to the budget's. ``forecast`` is what will be used and possible at the period's end, at the pace since it, or the
    budget, began; None where that is too early to say, or the period has no end. ``period`` is None where no run goes
    on.
    """

    budget: Budget
    period: Period | None
    used: Amount
    possible: Amount
    leased: Amount
    left: Amount
    forecast: Amount | None
    waiting_workers: int


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """All that a store knows, at one time."""

    at: datetime
    accounts: Sequence[AccountStatus]
    workers: Sequence[WorkerStatus]
    budgets: Sequence[BudgetStatus]


def read_status(transaction: Transaction) -> StoreStatus:
    """Read everything, in a transaction that changes nothing.

    Raises:
        ConfigurationError: The time zone of a budget is not known on this machine.
    """
    now_us = transaction.now_us()
    at = instant(transaction.wall_us())
    registered = all_workers(transaction)
    living = {one.worker_id: one for one, lease_until_us in registered if lease_until_us > now_us}
    budgets = list_budgets(transaction)
    slices = {budget.budget_id: _slices(transaction, budget, at) for budget in budgets}
    shares = _shares(budgets, slices, living)
    leases = {one.worker_id: at + timedelta(microseconds=until_us - now_us) for one, until_us in registered}
    known = {one.worker_id: one for one, _ in registered}
    workers = [
        WorkerStatus(
            worker_id,
            known.get(worker_id),
            instant(known[worker_id].started_wall_us) if worker_id in known else None,
            leases.get(worker_id),
            worker_id in living,
            shares.get(worker_id, ()),
        )
        for worker_id in dict.fromkeys([*known, *shares])
    ]
    return StoreStatus(
        at,
        list(_accounts(transaction, list(living.values()), at, now_us)),
        sorted(workers, key=lambda status: (not status.is_living, status.started_at or at, status.worker_id)),
        [status for budget in budgets for status in _budget_statuses(budget, slices[budget.budget_id], living, at)],
    )


def forecast(spent: int, period: Period, created_at: datetime, at: datetime) -> int | None:
    """Return what will be spent at a period's end, at the pace since the period, or the budget, began.

    None where that is too early to say, or the period has no end.
    """
    if period.start is None or period.end is None:
        return None
    began = max(period.start, created_at)
    counted, whole, left = at - began, period.end - period.start, period.end - at
    if counted < MIN_FORECAST_SHARE * whole:
        return None
    microsecond = timedelta(microseconds=1)
    return spent + spent * (left // microsecond) // (counted // microsecond)


def _accounts(transaction: Transaction, living: Sequence[Worker], at: datetime, now_us: int) -> Iterator[AccountStatus]:
    columns = ", ".join(rate_clock.COLUMNS)
    rows = transaction.execute(f"SELECT service, account, model, {columns} FROM tts_rate_clock")
    in_flight: dict[str, int] = dict(transaction.execute("SELECT worker_id, max_in_flight FROM tts_worker"))
    for service, name, model, *values in sorted(rows):
        account, clock = Account(service, name, model), RateClock(*values)
        workers = [one for one in living if one.account == account]
        if not workers and max(clock.seen_us, clock.pause_until_us) < now_us - _SHOWN_US:
            continue
        intervals_us = [one.interval_us for one in workers if one.interval_us]
        limits = [one.account_concurrency for one in workers if one.account_concurrency is not None]
        interval_us = clock.interval_us(max(intervals_us)) if intervals_us else None
        pause_us = clock.pause_until_us - now_us
        yield AccountStatus(
            account,
            round(_MINUTE_US / interval_us, 3) if interval_us else None,
            clock.slots,
            clock.throttles,
            100 * clock.slowdown / FULL_RATE,
            at + timedelta(microseconds=pause_us) if pause_us > 0 else None,
            min(limits, default=None),
            sorted((in_flight[one.worker_id] for one in workers), reverse=True) if limits else None,
        )


def _slices(transaction: Transaction, budget: Budget, at: datetime) -> list[Slice]:
    """Return the slices of a budget's present period, and of all runs or earlier periods that go on."""
    terms = budget.terms
    key = "" if terms.period == "run" else period_of(terms.period, terms.timezone, at, "").key
    return slices_in_use(transaction, (budget.budget_id, key))


def _shares(
    budgets: Sequence[Budget], slices: Mapping[str, Sequence[Slice]], living: Mapping[str, Worker]
) -> dict[str, list[Share]]:
    """Return the open slices of each worker."""
    shares: dict[str, list[Share]] = {}
    for budget in budgets:
        for slice_ in slices[budget.budget_id]:
            if slice_.is_open:
                currency = budget.terms.amount.currency
                used, possible, leased = (Amount(part, currency) for part in _parts(slice_, living))
                share = Share(budget, slice_.pot.key[1], used, possible, leased, slice_.is_waiting)
                shares.setdefault(slice_.worker_id, []).append(share)
    return shares


def _parts(slice_: Slice, living: Mapping[str, Worker]) -> tuple[int, int, int]:
    """Return what of a slice is confirmed, what is possible beyond that, and what may still be spent."""
    is_leased = slice_.is_open and slice_.worker_id in living
    leased = max(slice_.granted - slice_.possible, 0) if is_leased else 0
    return slice_.confirmed, slice_.granted - leased - slice_.confirmed, leased


def _budget_statuses(
    budget: Budget, slices: Sequence[Slice], living: Mapping[str, Worker], at: datetime
) -> Iterator[BudgetStatus]:
    terms = budget.terms
    if terms.period != "run":
        yield _budget_status(budget, period_of(terms.period, terms.timezone, at, ""), slices, living, at)
        return
    periods = [Period(run) for run in sorted({slice_.pot.key[1] for slice_ in slices})]
    for period in periods or (None,):
        yield _budget_status(budget, period, slices, living, at)


def _budget_status(
    budget: Budget, period: Period | None, slices: Sequence[Slice], living: Mapping[str, Worker], at: datetime
) -> BudgetStatus:
    amount = budget.terms.amount
    own = [slice_ for slice_ in slices if period is not None and slice_.pot.key[1] == period.key]
    used, possible, leased = map(sum, zip((0, 0, 0), *(_parts(slice_, living) for slice_ in own), strict=True))
    at_end = None if period is None else forecast(used + possible, period, budget.created_at, at)
    return BudgetStatus(
        budget,
        period,
        used=Amount(used, amount.currency),
        possible=Amount(possible, amount.currency),
        leased=Amount(leased, amount.currency),
        left=Amount(amount.value - used - possible - leased, amount.currency),
        forecast=None if at_end is None else Amount(at_end, amount.currency),
        waiting_workers=sum(slice_.is_waiting and slice_.worker_id in living for slice_ in own),
    )
