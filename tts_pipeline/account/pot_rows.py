"""The rows of pots and slices, which a transaction locks, changes and stores.

A pot is the amount of one budget for one period. A slice is the part of it that one worker may spend, or has spent.
Whoever changes a slice has locked its pot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tts_pipeline.account.database import Row, Transaction
from tts_pipeline.periods import Period

PotKey = tuple[str, str]
"""A budget's id, and the key of a period."""


@dataclass(slots=True)
class Pot:
    """A locked pot; ``taken`` is the sum of ``granted`` over its slices."""

    key: PotKey
    taken: int


@dataclass(slots=True)
class Slice:
    """A slice of a locked pot.

    ``granted`` counts as spent, whatever became of it. ``settled`` are the upper bounds of the attempts that ended,
    ``confirmed`` their confirmed part, and ``open_bound`` those of the attempts in flight. A worker keeps its slice
    open as long as it may spend of it. ``counted`` is its part of what the pot has in the database.
    """

    pot: Pot
    worker_id: str
    granted: int = 0
    settled: int = 0
    confirmed: int = 0
    open_bound: int = 0
    is_open: bool = False
    is_waiting: bool = False
    counted: int = 0

    @property
    def possible(self) -> int:
        """The most that may have been spent, as far as the worker has said."""
        return self.settled + self.open_bound

    @property
    def unspent(self) -> int:
        """What may still return to the pot."""
        return self.granted - self.settled

    def end(self, spent: int) -> None:
        """Close the slice; so much of it counts as spent for good."""
        self.granted = self.settled = spent
        self.confirmed = min(self.confirmed, spent)
        self.open_bound, self.is_open, self.is_waiting = 0, False, False


_POT = "budget_id = ? AND period = ?"
_FIELDS = "granted, settled, confirmed, open_bound, is_open, is_waiting"


def lock_pot(transaction: Transaction, key: PotKey, period: Period | None = None) -> Pot:
    """Lock and return a pot. Make it, for its period, if it is missing."""
    while not (rows := transaction.execute(f"SELECT taken FROM tts_pot WHERE {_POT} FOR UPDATE", key)):
        period = period or Period(key[1])
        transaction.execute(
            "INSERT INTO tts_pot (budget_id, period, start_us, end_us, taken) VALUES (?, ?, ?, ?, 0)"
            " ON CONFLICT DO NOTHING",
            (*key, period.start_us, period.end_us),
        )
    return Pot(key, rows[0][0])


def slice_of(transaction: Transaction, pot: Pot, worker_id: str) -> Slice:
    """Return a worker's slice of a pot; an empty one if there is none yet."""
    rows = transaction.execute(f"SELECT {_FIELDS} FROM tts_slice WHERE {_POT} AND worker_id = ?", (*pot.key, worker_id))
    return _slice(pot, worker_id, rows[0]) if rows else Slice(pot, worker_id)


def _slice(pot: Pot, worker_id: str, row: Row) -> Slice:
    granted, settled, confirmed, open_bound, is_open, is_waiting = row
    return Slice(pot, worker_id, granted, settled, confirmed, open_bound, bool(is_open), bool(is_waiting), granted)


def store(transaction: Transaction, slice_: Slice) -> None:
    """Keep a slice, and count it in its pot."""
    transaction.execute(
        f"INSERT INTO tts_slice (budget_id, period, worker_id, {_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (budget_id, period, worker_id) DO UPDATE SET granted = excluded.granted,"
        " settled = excluded.settled, confirmed = excluded.confirmed, open_bound = excluded.open_bound,"
        " is_open = excluded.is_open, is_waiting = excluded.is_waiting",
        (
            *slice_.pot.key,
            slice_.worker_id,
            slice_.granted,
            slice_.settled,
            slice_.confirmed,
            slice_.open_bound,
            int(slice_.is_open),
            int(slice_.is_waiting),
        ),
    )
    if slice_.granted != slice_.counted:
        slice_.pot.taken += slice_.granted - slice_.counted
        slice_.counted = slice_.granted
        transaction.execute(f"UPDATE tts_pot SET taken = ? WHERE {_POT}", (slice_.pot.taken, *slice_.pot.key))


def lock_slices(transaction: Transaction, worker_id: str, periods: Mapping[PotKey, Period]) -> list[Slice]:
    """Lock the pots of a worker's open slices, and these others; return its slices of them."""
    rows = transaction.execute(
        "SELECT budget_id, period FROM tts_slice WHERE worker_id = ? AND is_open = 1", (worker_id,)
    )
    keys = {(budget_id, period) for budget_id, period in rows} | periods.keys()
    pots = [lock_pot(transaction, key, periods.get(key)) for key in sorted(keys)]
    return [slice_of(transaction, pot, worker_id) for pot in pots]


def slices_in_use(transaction: Transaction, key: PotKey) -> list[Slice]:
    """Return, to be read only, all slices of a pot, and of the budget's other pots in which one is open."""
    rows = transaction.execute(
        f"SELECT period, worker_id, {_FIELDS} FROM tts_slice WHERE budget_id = ? AND (period = ? OR period IN"
        " (SELECT period FROM tts_slice WHERE budget_id = ? AND is_open = 1)) ORDER BY period, worker_id",
        (*key, key[0]),
    )
    return [_slice(Pot((key[0], period), 0), worker_id, tuple(row)) for period, worker_id, *row in rows]


def other_sharers(transaction: Transaction, pot: Pot, worker_id: str, now_us: int) -> tuple[int, int]:
    """Return the number of a pot's other living workers, and what may return to the pot from them."""
    ((workers, unspent),) = transaction.execute(
        "SELECT COUNT(*), COALESCE(SUM(granted - settled), 0) FROM tts_slice"
        " JOIN tts_worker ON tts_worker.worker_id = tts_slice.worker_id"
        f" WHERE {_POT} AND is_open = 1 AND tts_slice.worker_id <> ? AND lease_until_us > ?",
        (*pot.key, worker_id, now_us),
    )
    return workers, int(unspent)


def open_sizes(transaction: Transaction, key: PotKey) -> dict[str, int]:
    """Return the sizes of a pot's open slices by worker."""
    return dict(transaction.execute(f"SELECT worker_id, granted FROM tts_slice WHERE {_POT} AND is_open = 1", key))


def budget_amount(transaction: Transaction, budget_id: str) -> tuple[int, bool]:
    """Return a budget's amount, and whether it was removed, or was in another store."""
    rows = transaction.execute(
        "SELECT amount, removed_wall_us IS NOT NULL FROM tts_budget WHERE budget_id = ?", (budget_id,)
    )
    return (rows[0][0], bool(rows[0][1])) if rows else (0, True)
