"""Draw slices from the pots of budgets, and return them: together, workers never spend more than the amount.

A worker draws a slice ahead, and reserves each attempt in its own slice before it is sent. What is granted counts as
spent until the worker says otherwise, whoever dies whenever. A worker returns what it does not need.

An exchange of a living worker is: renew its lease, ``report``, ``draw``, in one transaction. A worker that was refused
and has nothing else to send returns its rest with ``give_back`` before it draws again: two workers that wait for each
other's rest would wait forever. All functions lock the pots first, in the order of their keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tts_pipeline.account import pot_rows, worker_rows
from tts_pipeline.account.database import Transaction
from tts_pipeline.account.pot_rows import PotKey, Slice
from tts_pipeline.periods import Period, instant

CLOSED = "closed"
"""The worker of a slice that stands for all that were closed in a store that was lost."""


@dataclass(frozen=True, slots=True)
class Want:
    """What a worker wants of a pot, beyond its slice: ``need`` at least, ``want`` at most."""

    budget_id: str
    period: Period
    need: int
    want: int

    @property
    def pot(self) -> PotKey:
        """The pot."""
        return self.budget_id, self.period.key


@dataclass(frozen=True, slots=True)
class Spending:
    """What a worker says of its slice: the upper bounds of settled attempts, their confirmed part, and those in flight.

    An attempt that ended without a settlement counts as settled, at its upper bound.
    """

    budget_id: str
    period: Period
    settled: int
    confirmed: int
    open_bound: int = 0

    @property
    def pot(self) -> PotKey:
        """The pot."""
        return self.budget_id, self.period.key

    @property
    def possible(self) -> int:
        """The most that may have been spent."""
        return self.settled + self.open_bound


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pot that has less than a worker needs.

    ``is_final`` says that it is not enough even if all living workers return all that they have not spent.
    """

    pot: PotKey
    amount: int
    free: int
    need: int
    is_final: bool


@dataclass(frozen=True, slots=True)
class Draw:
    """The outcome of a draw: the sizes of the slices from now on, or the pots that refused, without any change."""

    granted: Mapping[PotKey, int]
    refusals: Sequence[Refusal] = ()


def draw(transaction: Transaction, worker_id: str, wants: Iterable[Want], now_us: int) -> Draw:
    """Enlarge a worker's slices of all these pots, or of none. The transaction has to be durable.

    Beyond its need, a worker gets at most the free amount, divided by twice the number of the pot's living workers. A
    worker that is refused counts as waiting until a draw succeeds. A removed budget refuses, and never finally: its
    jobs learn from ``budgets.revision`` that it counts no more.
    """
    offers = [_offer(transaction, worker_id, want, now_us) for want in sorted(wants, key=lambda want: want.pot)]
    refused = [offer for offer in offers if offer.refusal is not None]
    for offer in refused or offers:
        offer.slice.is_open, offer.slice.is_waiting = True, bool(refused)
        if not refused:
            offer.slice.granted += offer.size
        pot_rows.store(transaction, offer.slice)
    if refused:
        return Draw({}, [offer.refusal for offer in refused if offer.refusal is not None])
    return Draw({offer.slice.pot.key: offer.slice.granted for offer in offers})


def report(transaction: Transaction, worker_id: str, spending: Iterable[Spending]) -> dict[PotKey, int]:
    """Record what a worker spent of its slices; return the sizes of these, which hold from now on.

    Spending counts in full, also where it is more than the slice: the service may charge more than was reserved, and a
    worker that was taken for dead may be back after its slice was settled.
    """
    return _record(transaction, worker_id, spending, gives_back=False)


def give_back(transaction: Transaction, worker_id: str, spending: Iterable[Spending]) -> dict[PotKey, int]:
    """Record what a worker spent of its slices, and return to the pots all that is neither spent nor in flight.

    Returns the sizes of the slices. Until then, the worker may reserve nothing in them. The transaction has to be
    durable.
    """
    return _record(transaction, worker_id, spending, gives_back=True)


def close(transaction: Transaction, worker_id: str, spending: Iterable[Spending]) -> None:
    """End a worker's slices: what it may have spent stays, the rest returns. A slice without figures counts in full.

    The transaction has to be durable.
    """
    final = {figures.pot: figures for figures in spending}
    periods = {pot: figures.period for pot, figures in final.items()}
    for slice_ in pot_rows.lock_slices(transaction, worker_id, periods):
        figures = final.get(slice_.pot.key)
        if figures is not None:
            slice_.confirmed = figures.confirmed
        slice_.end(slice_.granted if figures is None else figures.possible)
        pot_rows.store(transaction, slice_)


def settle_dead(transaction: Transaction, worker_id: str, spending: Iterable[Spending], now_us: int) -> int:
    """Replace a dead worker's slices by what all its journals, or its usage, say; return how many, 0 while it lives.

    More than was granted never counts. A slice stays as it is if it is not named, or if the worker itself said that it
    spent more: then some of its journals are elsewhere, or lost. The transaction has to be durable.
    """
    settled = 0
    if worker_rows.is_living(transaction, worker_id, now_us):
        return settled
    final = {figures.pot: figures for figures in spending}
    for slice_ in pot_rows.lock_slices(transaction, worker_id, {}):
        figures = final.get(slice_.pot.key)
        if figures is not None and slice_.is_open and figures.possible >= slice_.settled:
            slice_.confirmed = figures.confirmed
            slice_.end(min(figures.possible, slice_.granted))
            pot_rows.store(transaction, slice_)
            settled += 1
    return settled


def open_slices_of_dead(transaction: Transaction, dataset_id: str, now_us: int) -> list[tuple[str, str, Period]]:
    """Return the slices of a dataset's dead workers that still count in full: worker, budget's id and period."""
    rows = transaction.execute(
        "SELECT tts_slice.worker_id, tts_pot.budget_id, tts_pot.period, start_us, end_us FROM tts_slice"
        " JOIN tts_worker ON tts_worker.worker_id = tts_slice.worker_id"
        " JOIN tts_pot ON tts_pot.budget_id = tts_slice.budget_id AND tts_pot.period = tts_slice.period"
        " WHERE is_open = 1 AND dataset_id = ? AND lease_until_us <= ?",
        (dataset_id, now_us),
    )
    return [
        (worker_id, budget_id, Period(key, *(None if us is None else instant(us) for us in (start_us, end_us))))
        for worker_id, budget_id, key, start_us, end_us in rows
    ]


def forget(transaction: Transaction, worker_id: str, now_us: int) -> list[Slice] | None:
    """Count all that a dead worker was granted as spent, for good; return its slices, or None while it lives.

    The transaction has to be durable.
    """
    if worker_rows.is_living(transaction, worker_id, now_us):
        return None
    slices = [slice_ for slice_ in pot_rows.lock_slices(transaction, worker_id, {}) if slice_.is_open]
    for slice_ in slices:
        slice_.end(slice_.granted)
        pot_rows.store(transaction, slice_)
    worker_rows.end(transaction, worker_id)
    return slices


def sizes(transaction: Transaction, pot: PotKey) -> dict[str, int]:
    """Return what was taken of a pot: the sizes of its open slices by worker, and all others together as ``CLOSED``."""
    slices = pot_rows.open_sizes(transaction, pot)
    return {**slices, CLOSED: pot_rows.lock_pot(transaction, pot).taken - sum(slices.values())}


def restore(transaction: Transaction, figures: Spending, slices: Mapping[str, int]) -> None:
    """Bring what was taken of a pot, as ``sizes`` returned it, back to a store that was lost.

    What the store has by then counts where it is more. The transaction has to be durable.
    """
    pot = pot_rows.lock_pot(transaction, figures.pot, figures.period)
    for worker_id, size in slices.items():
        slice_ = pot_rows.slice_of(transaction, pot, worker_id)
        if size > slice_.granted:
            slice_.granted, slice_.is_open = size, worker_id != CLOSED
            slice_.settled = slice_.settled if slice_.is_open else size
            pot_rows.store(transaction, slice_)


@dataclass(slots=True)
class _Offer:
    """What a pot has for a worker; ``size`` is what it would get."""

    slice: Slice
    size: int = 0
    refusal: Refusal | None = None


def _offer(transaction: Transaction, worker_id: str, want: Want, now_us: int) -> _Offer:
    pot = pot_rows.lock_pot(transaction, want.pot, want.period)
    slice_ = pot_rows.slice_of(transaction, pot, worker_id)
    others, others_unspent = pot_rows.other_sharers(transaction, pot, worker_id, now_us)
    amount, is_removed = pot_rows.budget_amount(transaction, want.budget_id)
    free = amount - pot.taken
    if is_removed or free < want.need:
        own_unspent = slice_.unspent if slice_.is_open else 0
        is_final = not is_removed and free + own_unspent + others_unspent < want.need
        return _Offer(slice_, refusal=Refusal(want.pot, amount, free, want.need, is_final))
    share = max(0, min(free // (2 * (others + 1)), want.want - want.need, free - want.need))
    return _Offer(slice_, size=want.need + share)


def _record(
    transaction: Transaction, worker_id: str, spending: Iterable[Spending], *, gives_back: bool
) -> dict[PotKey, int]:
    sizes = {}
    for figures in sorted(spending, key=lambda figures: figures.pot):
        pot = pot_rows.lock_pot(transaction, figures.pot, figures.period)
        slice_ = pot_rows.slice_of(transaction, pot, worker_id)
        slice_.settled, slice_.confirmed, slice_.open_bound = figures.settled, figures.confirmed, figures.open_bound
        slice_.granted = figures.possible if gives_back else max(slice_.granted, figures.possible)
        slice_.is_open = True
        pot_rows.store(transaction, slice_)
        sizes[pot.key] = slice_.granted
    return sizes
