"""Meet the other processes that spend on a job's account, in the account store."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tts_pipeline.account import pots
from tts_pipeline.account.budgets import Budget as AccountBudget
from tts_pipeline.account.budgets import amount_of, list_budgets
from tts_pipeline.account.identity import account_of, dataset_id
from tts_pipeline.account.location import VARIABLE, StoreLocation, find_store
from tts_pipeline.account.pots import Spending
from tts_pipeline.account.probe import count_workers
from tts_pipeline.account.session import AccountSession
from tts_pipeline.account.shared_pots import JobFacts, SharedPots
from tts_pipeline.account.store_thread import StoreThread
from tts_pipeline.account.worker_rows import Worker
from tts_pipeline.card import with_card_limits
from tts_pipeline.catalog.keys import environment
from tts_pipeline.config import Limits
from tts_pipeline.dataset.invocation_spend import AttemptSpend, spend_of_invocations
from tts_pipeline.errors import ConfigurationError, StorageError, printable, without_passwords
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.clock import Clock
from tts_pipeline.job.job import Job, Shard
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.log import logger
from tts_pipeline.periods import Period, run_id
from tts_pipeline.storage.location import is_local, local_path
from tts_pipeline.storage.mounts import network_file_system

_MINUTE_US = 60_000_000


def store_of(job: Job) -> StoreLocation | None:
    """Return the job's account store; None without one.

    Raises:
        ConfigurationError: The setting is a URL of another kind of database.
    """
    try:
        return find_store(job.options.account_store or environment().get(VARIABLE))
    except StorageError as error:  # no home
        logger.warning("%s: rates and pauses are not shared with other processes", error)
        return None


def covers_shards(job: Job) -> bool:
    """Return whether all processes that may work on a job meet in its account store, if it can be used.

    A file is of one machine, and those that work on a job at a URL, or on a network disk, may run on several.
    """
    location, destination = store_of(job), os.fspath(job.destination)
    if location is None or location.is_shared:
        return location is not None
    return is_local(destination) and not network_file_system(local_path(destination))


def has_store(job: Job) -> bool:
    """Return whether a job's account store can be used. Blocking.

    Raises:
        ConfigurationError: A store that was named, or that may hold budgets, cannot be used.
    """
    location = store_of(job)
    if location is None:
        return False
    try:
        count_workers(location)
    except StorageError as error:
        go_on_without(location, error)
        return False
    return True


def unshared_note(job: Job, shards: int, *, has_store: bool) -> str | None:
    """Say that the account's limits are not shared, and how to share them; None if they are, or if none is known."""
    limits = with_card_limits(job.card(), job.options.limits)
    if not (limits.requests_per_minute or limits.characters_per_minute or limits.account_concurrency):
        return None
    if has_store and covers_shards(job):
        return None
    if shards > 1:
        state = f"{shards} shards share no account store: each has its part of the account's limits, used or not"
    elif has_store:
        state = "only the processes of this machine share the account's limits"
    else:
        state = "other processes do not share the account's limits"
    return (
        f"{state}; to share them, give `account_store` (or {VARIABLE}) a PostgreSQL database that all machines reach, "
        "or for one machine a file"
    )


class Membership(NamedTuple):
    """A worker's session with the account store, and its slices of the budgets that count its attempts."""

    session: AccountSession
    pots: SharedPots


@contextmanager
def open_account(
    prepared: PreparedJob, budget: Budget, *, door: str, shard: Shard | None = None
) -> Iterator[Membership | None]:
    """Register a worker in the job's account store while the block runs; yield None without a store.

    A shard whose rates were divided shares only pauses: its rates are its own.

    Raises:
        ConfigurationError: The store that was named cannot be used, or a budget that counts the job cannot be kept.
    """
    job = prepared.job
    location = store_of(job)
    if location is None:
        yield None
        return
    is_divided = shard is not None and shard.shards > 1 and not covers_shards(job)
    limits = with_card_limits(prepared.card, job.options.limits)
    destination = os.fspath(job.destination)
    worker = Worker(
        worker_id=prepared.leases.invocation_id,
        account=account_of(job.service, job.model),
        dataset_id=dataset_id(destination),
        destination=printable(without_passwords(destination)),
        door=door,
        host=socket.gethostname(),
        pid=os.getpid(),
        started_wall_us=time.time_ns() // 1_000,
        interval_us=None if is_divided else _interval_us(limits),
        account_concurrency=None if is_divided else limits.account_concurrency,
    )
    thread = StoreThread.take(location.place, location.open)
    session = AccountSession(thread, worker, is_binding=location.is_named)
    try:
        if not _start(session, location):
            yield None
            return
        facts, clock = job_facts(prepared), Clock()
        settle_dead = partial(_settle_dead_workers, prepared, location)
        if budgets := facts.matching(session.budgets, clock.utc_us()):
            try:
                settle_dead(budgets)
            except StorageError as error:
                logger.warning("what dead workers were granted stays counted as spent for now: %s", error)
        yield Membership(session, SharedPots(session, facts, budget, clock, partial(asyncio.to_thread, settle_dead)))
    finally:
        session.close()


def settle_finished(prepared: PreparedJob) -> None:
    """Settle what the dead workers of a dataset that is done were granted of budgets. Blocking."""
    location = store_of(prepared.job)
    if location is None:
        return
    try:
        with closing(location.open()) as database:
            if not database.is_made():
                return
            with database.transaction() as transaction:
                budgets = list_budgets(transaction)
        _settle_dead_workers(prepared, location, budgets)
    except StorageError as error:
        logger.warning("what dead workers were granted stays counted as spent for now: %s", error)


def _settle_dead_workers(prepared: PreparedJob, location: StoreLocation, budgets: Sequence[AccountBudget]) -> bool:
    """Replace what dead workers of the dataset were granted by what its journals and its usage say they spent.

    Returns whether something was replaced. Blocking.
    """
    by_id, is_settled = {budget.budget_id: budget for budget in budgets}, False
    dataset = dataset_id(prepared.job.destination)
    with closing(location.open()) as database:
        with database.transaction() as transaction:
            slices = pots.open_slices_of_dead(transaction, dataset, transaction.now_us())
        slices = [each for each in slices if each[1] in by_id]
        if not slices:
            return False
        workers = {worker_id for worker_id, _, _ in slices}
        leases = prepared.leases
        spend = spend_of_invocations(prepared.store, prepared.journals_dir, workers, leases.has_ended)
        for worker_id, attempts in spend.items():
            spending = [
                _spending_of(attempts, by_id[budget_id], period)
                for each_id, budget_id, period in slices
                if each_id == worker_id
            ]
            with database.transaction(durable=True) as transaction:
                count = pots.settle_dead(transaction, worker_id, spending, transaction.now_us())
            is_settled = is_settled or count > 0
    return is_settled


def _spending_of(attempts: Sequence[AttemptSpend], budget: AccountBudget, period: Period) -> Spending:
    settled = confirmed = 0
    for attempt in attempts:
        if period.contains(attempt.started_at_us):
            settled += amount_of(budget, attempt.characters_upper_bound, attempt.cost_upper_bound) or 0
            confirmed += amount_of(budget, attempt.characters_billed, attempt.cost) or 0
    return Spending(budget.budget_id, period, settled, confirmed)


def job_facts(prepared: PreparedJob) -> JobFacts:
    """Return what decides which budgets count a job's attempts."""
    job = prepared.job
    return JobFacts(
        card=prepared.card,
        service=without_passwords(job.service.name),
        tags=job.options.tags,
        tag_columns=job.options.tag_columns,
        run=run_id(job.options.tags, prepared.leases.invocation_id),
        max_outage_s=job.options.limits.max_outage_s,
    )


def _interval_us(limits: Limits) -> int | None:
    """Return the time between two requests at the permitted rate; 0 if only characters have a rate, None without."""
    if limits.requests_per_minute is not None:
        return round(_MINUTE_US / limits.requests_per_minute)
    return None if limits.characters_per_minute is None else 0


def _start(session: AccountSession, location: StoreLocation) -> bool:
    try:
        session.start()
    except StorageError as error:
        go_on_without(location, error)
        return False
    return True


def go_on_without(location: StoreLocation, error: StorageError) -> None:
    """Warn that the default store cannot be used; refuse to go on without one that may hold budgets, or was named."""
    if location.is_named or Path(location.place).exists():
        hint = error.hint or "check its address"
        raise ConfigurationError(
            error.message, hint=f"{hint}; or give `account_store` none: then no budget is kept and nothing is shared"
        ) from error
    logger.warning("%s: rates and pauses are not shared with other processes", error)
