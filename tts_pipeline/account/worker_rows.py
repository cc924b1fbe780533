"""The workers of an account: who lives, with which rate, and who waits for a slot.

A worker is one run of one process. It renews its lease each second; one whose lease has ended is dead, or was stopped,
and has no share until it is back.
"""

from __future__ import annotations

from dataclasses import dataclass

from tts_pipeline.account.database import Transaction
from tts_pipeline.account.identity import Account

LEASE_US = 5_000_000
"""Five heartbeats: on a busy machine, a process may get no time for a second or two."""

PRUNE_US = 7 * 86_400_000_000
"""A worker that died so long ago is forgotten, unless a slice of a budget still counts for it."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as people see it; ``dataset_id`` is empty for a call that leaves no dataset.

    ``interval_us`` is the time between two requests at the rate that it was permitted, and ``account_concurrency`` the
    number of attempts in flight that its account is permitted; None without one.
    """

    worker_id: str
    account: Account
    dataset_id: str
    destination: str
    door: str
    host: str
    pid: int
    started_wall_us: int
    interval_us: int | None
    account_concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Crowd:
    """The living workers of an account, which share its rate.

    A worker has about the ``sharers``-th part of the rate: jobs that want slots have equal parts, and so have the
    workers of a job. ``interval_us`` is that of the lowest rate; ``rates`` counts the different ones.
    """

    sharers: int
    interval_us: int | None
    rates: int

    @classmethod
    def of_one(cls, worker: Worker) -> Crowd:
        """Return the crowd of a worker that is alone."""
        return cls(1, worker.interval_us, 1)


_KEY = "service = ? AND account = ? AND model = ?"
_COLUMNS = (
    "worker_id, service, account, model, dataset_id, destination, door, host, pid, started_wall_us, interval_us,"
    " account_concurrency, lease_until_us, is_waiting, max_in_flight"
)


def register(transaction: Transaction, worker: Worker, now_us: int, *, is_waiting: bool = False) -> None:
    """Write a worker's row, or write it anew; forget the long dead."""
    account = worker.account
    transaction.execute(
        "DELETE FROM tts_worker WHERE lease_until_us < ?"
        " AND worker_id NOT IN (SELECT worker_id FROM tts_slice WHERE is_open = 1)",
        (now_us - PRUNE_US,),
    )
    transaction.execute("DELETE FROM tts_worker WHERE worker_id = ?", (worker.worker_id,))
    transaction.execute(
        f"INSERT INTO tts_worker ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        (
            worker.worker_id,
            account.service,
            account.name,
            account.model,
            worker.dataset_id,
            worker.destination,
            worker.door,
            worker.host,
            worker.pid,
            worker.started_wall_us,
            worker.interval_us,
            worker.account_concurrency,
            now_us + LEASE_US,
            int(is_waiting),
        ),
    )


def renew(transaction: Transaction, worker: Worker, now_us: int, *, is_waiting: bool) -> bool:
    """Renew a worker's lease; return False if its row is gone."""
    rows = transaction.execute(
        "UPDATE tts_worker SET lease_until_us = ?, is_waiting = ? WHERE worker_id = ? RETURNING worker_id",
        (now_us + LEASE_US, int(is_waiting), worker.worker_id),
    )
    return bool(rows)


def all_workers(transaction: Transaction) -> list[tuple[Worker, int]]:
    """Return all workers, the dead ones too, each with the end of its lease in the store's time."""
    rows = transaction.execute(f"SELECT {_COLUMNS} FROM tts_worker ORDER BY started_wall_us, worker_id")
    return [
        (Worker(worker_id, Account(service, name, model), *others), lease_until_us)
        for worker_id, service, name, model, *others, lease_until_us, _, _ in rows
    ]


def is_living(transaction: Transaction, worker_id: str, now_us: int) -> bool:
    """Return whether a worker's lease holds, and lock it."""
    rows = transaction.execute("SELECT lease_until_us FROM tts_worker WHERE worker_id = ? FOR UPDATE", (worker_id,))
    return bool(rows) and rows[0][0] > now_us


def end(transaction: Transaction, worker_id: str) -> None:
    """Remove a worker that has ended."""
    transaction.execute("DELETE FROM tts_worker WHERE worker_id = ?", (worker_id,))


def crowd_of(transaction: Transaction, worker: Worker, now_us: int) -> Crowd:
    """Return the living workers of a worker's account."""
    account = worker.account
    rows = transaction.execute(
        f"SELECT dataset_id, interval_us, is_waiting FROM tts_worker WHERE {_KEY} AND lease_until_us > ?",
        (account.service, account.name, account.model, now_us),
    )
    waiting = [dataset_id for dataset_id, _, is_waiting in rows if is_waiting]
    jobs, job_workers = len({*waiting, worker.dataset_id}), max(waiting.count(worker.dataset_id), 1)
    intervals_us = {interval_us for _, interval_us, _ in rows if interval_us is not None}
    return Crowd(jobs * job_workers, max(intervals_us, default=None), len(intervals_us))


def share_in_flight(transaction: Transaction, worker: Worker, now_us: int, *, held: int) -> int | None:
    """Return how many attempts a worker may have in flight from now on; None without a limit of the account.

    ``held`` is the most that it may have until it hears. All living workers have equal parts; one that has more gives
    it up with its next renewal, and only then another one has it: together they never have more than the limit.
    """
    account = worker.account
    rows = transaction.execute(
        f"SELECT worker_id, account_concurrency, max_in_flight FROM tts_worker WHERE {_KEY} AND lease_until_us > ?"
        " ORDER BY worker_id",
        (account.service, account.name, account.model, now_us),
    )
    limits = [limit for _, limit, _ in rows if limit is not None]
    if not limits:
        return None
    rank = next(number for number, (worker_id, _, _) in enumerate(rows) if worker_id == worker.worker_id)
    part = min(limits) // len(rows) + (rank < min(limits) % len(rows))
    free = min(limits) - sum(others for worker_id, _, others in rows if worker_id != worker.worker_id)
    share = int(min(part, max(free, 0)))
    transaction.execute(
        "UPDATE tts_worker SET max_in_flight = ? WHERE worker_id = ?", (max(held, share), worker.worker_id)
    )
    return share
