"""One worker's side of the pots: it reports, draws, and brings them back to a store that was lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tts_pipeline.account import budgets, pots
from tts_pipeline.account.budgets import Budget
from tts_pipeline.account.database import StoreLostError, Transaction
from tts_pipeline.account.pot_rows import PotKey
from tts_pipeline.account.pots import Draw, Refusal, Spending, Want
from tts_pipeline.account.schema import begin_recovery, read_meta, recovery_end_us


class PotExchange:
    """The pots of one worker, for its exchanges.

    It remembers what it saw of the store, which may be lost: deleted, or replaced by an earlier copy. The workers bring
    back its budgets and what was taken of them: each its own slice, and those of others as it last saw them. So nothing
    is forgotten, unless a worker draws, and dies together with the store before another one has looked.
    """

    def __init__(self, worker_id: str) -> None:
        self._worker_id = worker_id
        self._store_id: str | None = None
        self._revision = -1
        self._budgets: Sequence[Budget] = ()
        self._seen: dict[PotKey, Mapping[str, int]] = {}

    def restore(self, transaction: Transaction, spending: Sequence[Spending]) -> None:
        """Bring back what this worker knows of a store that was lost. The transaction is durable."""
        self._store_id = read_meta(transaction)["store_id"]
        if self._budgets:
            begin_recovery(transaction)
            budgets.restore(transaction, self._budgets)
        seen = {figures: self._seen[figures.pot] for figures in spending if figures.pot in self._seen}
        for figures, slices in seen.items():
            pots.restore(transaction, figures, slices)
        self._revision = -1

    def beat(
        self, transaction: Transaction, spending: Sequence[Spending]
    ) -> tuple[Sequence[Budget] | None, Mapping[PotKey, int]]:
        """Report what was spent; return the store's budgets, None if they are as before, and the sizes of the slices.

        A slice may be smaller than before: a worker that was stopped for a while may have been taken for dead.

        Raises:
            StoreLostError: The store is another one: somebody has made its tables anew. ``draw`` and ``close``, too.
        """
        meta = self._read_meta(transaction)
        sizes = pots.report(transaction, self._worker_id, spending) if spending else {}
        self._look(transaction, sizes)
        revision = budgets.revision(meta)
        if revision == self._revision:
            return None, sizes
        self._revision, self._budgets = revision, budgets.list_budgets(transaction)
        return self._budgets, sizes

    def draw(self, transaction: Transaction, wants: Sequence[Want], returned: Sequence[Spending] | None) -> Draw:
        """Draw, after all that is not spent was returned unless ``returned`` is None. The transaction is durable."""
        meta, now_us = self._read_meta(transaction), transaction.now_us()
        if now_us < recovery_end_us(meta):
            return Draw({}, [Refusal(want.pot, 0, 0, want.need, is_final=False) for want in wants])
        sizes = {} if returned is None else pots.give_back(transaction, self._worker_id, returned)
        draw = pots.draw(transaction, self._worker_id, wants, now_us)
        sizes = {**sizes, **draw.granted}
        self._look(transaction, sizes)
        return replace(draw, granted=sizes)

    def close(self, transaction: Transaction, spending: Sequence[Spending]) -> None:
        """End the worker's slices: what it has not spent returns. The transaction is durable if something was spent."""
        if self._budgets:
            self._read_meta(transaction)
        pots.close(transaction, self._worker_id, spending)

    def _read_meta(self, transaction: Transaction) -> Mapping[str, str]:
        """Return what the store says of itself, if it is the store that this worker knows."""
        meta = read_meta(transaction)
        if self._store_id is None:
            self._store_id = meta["store_id"]
        if meta["store_id"] != self._store_id:
            raise StoreLostError("the account store was deleted or replaced", hint="it is made anew")
        return meta

    def _look(self, transaction: Transaction, keys: Iterable[PotKey]) -> None:
        for key in keys:
            self._seen[key] = pots.sizes(transaction, key)
